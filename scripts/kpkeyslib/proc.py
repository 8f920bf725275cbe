# SPDX-License-Identifier: GPL-2.0-only
"""Child processes: logged, shown with V=1, and never left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

from . import settings, ui

T = TypeVar("T")
U = TypeVar("U")

_children: set[subprocess.Popen] = set()


def install_signal_handlers() -> None:
    """Make SIGTERM and SIGHUP end the command the way Ctrl-C does: through the finally blocks."""

    def interrupt(signum, frame):
        raise KeyboardInterrupt

    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, interrupt)


def _end(child: subprocess.Popen) -> None:
    """Stop @child's process group. In the tool root that ends its PID namespace, and all in it."""
    # A second Ctrl-C must not leave it running.
    before = {s: signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        for signum, patience in ((signal.SIGTERM, 3), (signal.SIGKILL, 10)):
            try:
                os.killpg(child.pid, signum)
            except ProcessLookupError:
                break
            try:
                child.wait(patience)
            except subprocess.TimeoutExpired:
                continue
            # The leader may leave group members behind; the last round takes them too.
        child.wait()
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def end_all() -> None:
    """Stop what other threads of this process have started. For the main thread, which gets the signals."""
    for child in list(_children):
        _end(child)


def side_by_side(run: Callable[[T], U], items: Iterable[T], together: int, stopped: threading.Event, done: Callable[[U], object]) -> list[U]:
    """What @run makes of each of @items, in their order, @together at a time; @done gets each as it comes. For the main thread.

    If one raises, or on Ctrl-C, no other is started and what runs is ended. @run finds @stopped set then.
    """
    pool = ThreadPoolExecutor(together)
    futures = [pool.submit(run, item) for item in items]
    try:
        for future in as_completed(futures):
            done(future.result())
    except BaseException:
        stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)
        while not all(f.done() for f in futures):
            # A child may just be starting.
            end_all()
            time.sleep(0.1)
        raise
    finally:
        pool.shutdown()
    return [future.result() for future in futures]


_prctl = ctypes.CDLL(None).prctl


@contextlib.contextmanager
def starting() -> Iterator[Callable[[], None]]:
    """Hold signals back while a child is started, with the preexec_fn that is yielded.

    Around a fork Python runs code of other modules, and drops an exception that comes up there: Ctrl-C would be lost.
    The child gets PR_SET_PDEATHSIG, so that it ends even if this process is killed outright.
    """
    parent = os.getpid()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))

    def in_child() -> None:
        _prctl(1, signal.SIGTERM)
        if os.getppid() != parent:
            # Too late for that signal.
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    try:
        yield in_child
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def tail(path: Path, lines: int = 20) -> str:
    """The last @lines lines of the text file @path, '' if there is none."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def run(argv: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None,
        log: Path | None = None, append: bool = False, capture: bool = False,
        stdin=subprocess.DEVNULL, check: bool = True, timeout: float | None = None,
        failure: ui.Failure | None = None) -> subprocess.CompletedProcess:
    """Run @argv to its end.

    @log receives what it prints; without one, and without @capture, that goes to the user.
    With V=1 the command itself is shown, and its output as well as logged.
    Raises @failure (or a Failure of its own) with the end of the log when @check and it
    does not exit 0. subprocess.TimeoutExpired if it outlives @timeout seconds.
    """
    verbose = os.environ.get("V", "0") not in ("", "0")
    if verbose:
        ui._Line.interrupt()
        print(ui.dim("+ " + shlex.join(map(str, argv))), file=sys.stderr, flush=True)
    out = None
    handle = None
    if capture:
        out = subprocess.PIPE
    elif log:
        log.parent.mkdir(parents=True, exist_ok=True)
        handle = open(log, "ab" if append else "wb")
        handle.write(("+ " + shlex.join(map(str, argv)) + "\n").encode())
        handle.flush()
        out = subprocess.PIPE if verbose else handle
    err = subprocess.PIPE if capture else subprocess.STDOUT if out is not None else None
    try:
        with starting() as in_child:
            child = subprocess.Popen([str(a) for a in argv], cwd=cwd, env=env, stdin=stdin, stdout=out,
                                     stderr=err, start_new_session=True, preexec_fn=in_child, pass_fds=settings.locks())
            _children.add(child)
    except OSError as error:
        if handle:
            handle.close()
        raise ui.Failure(f"cannot run {argv[0]}: {error.strerror}",
                         f"install {argv[0]}, or check PATH") from None
    except KeyboardInterrupt:
        # It came meanwhile, and waited.
        end_all()
        raise
    try:
        if capture:
            text_out, text_err = child.communicate(timeout=timeout)
        else:
            text_out = text_err = b""
            if verbose and log:
                for line in child.stdout:
                    handle.write(line)
                    sys.stderr.buffer.write(line)
                    sys.stderr.flush()
            child.wait(timeout)
    except BaseException:
        _end(child)
        raise
    finally:
        _children.discard(child)
        if handle:
            handle.close()
    done = subprocess.CompletedProcess(argv, child.returncode, text_out.decode(errors="replace"),
                                       text_err.decode(errors="replace"))
    if check and done.returncode:
        detail = tail(log) if log else done.stderr
        if failure is None:
            failure = ui.Failure(f"{Path(str(argv[0])).name} exited with {done.returncode}")
        failure.detail = failure.detail or detail
        if log and not failure.remedy:
            failure.remedy = f"the whole log is {log}"
        raise failure
    return done


def output(argv: Sequence[str], **options) -> str:
    """What @argv prints on standard output, without the last newline."""
    return run(argv, capture=True, **options).stdout.rstrip("\n")
