# SPDX-License-Identifier: GPL-2.0-only
"""What a user sees: steps with their time, failures with their remedy, exit statuses."""

from __future__ import annotations

import os
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

# Exit statuses of scripts/kpkeys; README.md carries the same table.
PASS = 0
TEST_FAILED = 1
USAGE = 2  # bad usage, or a piece of the set-up is missing or refused
BUILD_FAILED = 3
GUEST_PANIC = 4
GUEST_HANG = 5
NO_RESULTS = 6  # the guest ended without printing KTAP
INTERRUPTED = 130


class Failure(Exception):
    """Ends the command: one line that names the thing, one that names the remedy."""

    def __init__(self, message: str, remedy: str = "", status: int = USAGE, detail: str = ""):
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.status = status
        self.detail = detail


def _colour(stream) -> bool:
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def paint(text: str, code: str, stream=sys.stdout) -> str:
    """@text in the ANSI colour @code where @stream is a terminal that wants colour."""
    return f"\033[{code}m{text}\033[0m" if _colour(stream) else text


def good(text: str) -> str:
    return paint(text, "32")


def bad(text: str) -> str:
    return paint(text, "31;1")


def dim(text: str) -> str:
    return paint(text, "2")


def seconds(value: float) -> str:
    """Elapsed time for people: '3.1 s' or '4 min 07 s'."""
    if value < 60:
        return f"{value:.1f} s"
    return f"{int(value) // 60} min {int(value) % 60:02d} s"


def note(text: str) -> None:
    """A line that is not a step: a decision the user should know of."""
    _Line.interrupt()
    print(f"          {text}", flush=True)


def report(failure: Failure) -> None:
    """Print @failure on standard error: detail, message, remedy."""
    _Line.interrupt()
    sys.stdout.flush()
    if failure.detail:
        print(textwrap.indent(failure.detail.rstrip("\n"), "  "), file=sys.stderr)
    print(f"{paint('error:', '31;1', sys.stderr)} {failure.message}", file=sys.stderr)
    if failure.remedy:
        print(f"       {failure.remedy}", file=sys.stderr)


class _Line:
    """The step whose line is being written; nested steps fold into the outer one."""

    current: "_Line | None" = None

    def __init__(self, text: str):
        self.text = text
        self.start = time.monotonic()
        self.stamp = time.strftime("%H:%M:%S")
        self.open = True
        self.done = threading.Event()
        self.detail = ""

    def show(self) -> None:
        print(f"{self.stamp}  {self.text} ... ", end="", flush=True)
        if sys.stdout.isatty():
            threading.Thread(target=self._tick, daemon=True).start()

    def _tick(self) -> None:
        # A clock on the line shows that a long step lives; only a terminal can redraw it.
        while not self.done.wait(1):
            if self.open:
                took = seconds(time.monotonic() - self.start)
                print(f"\r\033[K{self.stamp}  {self.text} ... {dim(took)}", end="", flush=True)

    @classmethod
    def interrupt(cls) -> None:
        """Something else is about to print: give the step its own line."""
        if cls.current and cls.current.open:
            cls.current.open = False
            print(flush=True)

    def finish(self, word: str) -> None:
        took = seconds(time.monotonic() - self.start)
        self.done.set()
        tail = f"{word} ({self.detail})" if self.detail else word
        if self.open and sys.stdout.isatty():
            print(f"\r\033[K{self.stamp}  {self.text} ... {took} {tail}", flush=True)
        elif self.open:
            print(f"{took} {tail}", flush=True)
        else:
            print(f"{time.strftime('%H:%M:%S')}  {self.text}: {took} {tail}", flush=True)
        self.open = False


@contextmanager
def step(text: str) -> Iterator[_Line]:
    """One long step: a timestamped line that ends with the elapsed time.

    The caller may set .detail on the yielded line to say what came of it.
    """
    if _Line.current:
        yield _Line.current
        return
    line = _Line(text)
    _Line.current = line
    line.show()
    try:
        yield line
    except KeyboardInterrupt:
        line.finish("interrupted")
        raise
    except BaseException:
        line.finish(bad("failed"))
        raise
    else:
        line.finish(good("ok"))
    finally:
        line.done.set()
        _Line.current = None


def table(rows: list[list[str]], right: set[int] = frozenset()) -> str:
    """@rows as aligned columns, the first row being the heading; columns in @right are numbers."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for n, row in enumerate(rows):
        cells = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
        if n == 0:
            lines.append("  ".join("-" * w for w in widths))
    return "\n".join(lines)
