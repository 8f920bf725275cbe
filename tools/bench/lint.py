#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What kpkeys-lint costs: CPU time against clang -w -fsyntax-only over the same units in the same run.

Run by 'make bench-lint'. Exit status 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
import time
from pathlib import Path

RATIO, SECOND_RUN, ONE_FILE, MEMORY = 1.15, 2.0, 3.0, 200


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def timed(argv: list[str], allowed: tuple[int, ...]) -> tuple[float, float]:
    """CPU and elapsed seconds of @argv, which must end with one of the statuses @allowed."""
    before, start = cpu(), time.monotonic()
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    took = cpu() - before, time.monotonic() - start
    if done.returncode not in allowed:
        sys.exit(f"error: {argv[0]} ended with status {done.returncode}: {done.stderr.strip()[-500:]}")
    return took


def is_kernel_unit(entry: dict) -> bool:
    return "-D__KERNEL__" in entry["command"] and entry["file"].endswith(".c")


def parse_only(entry: dict) -> list[str]:
    """The command of @entry without what writes files, and with what makes clang only parse."""
    out, skip = [], False
    for word in shlex.split(entry["command"]):
        if skip:
            skip = False
        elif word == "-o":
            skip = True
        elif word != "-c" and not word.startswith("-Wp,-M"):
            out.append(word)
    return [*out, "-w", "-fsyntax-only"]


def sample(entries: list[dict], count: int) -> list[dict]:
    """@count of @entries, spread evenly: neighbours in a directory are alike."""
    if not count or count >= len(entries):
        return entries
    return [entries[i * len(entries) // count] for i in range(count)]


class Bench:
    def __init__(self, program: str, entries: list[dict], scratch: Path, jobs: int):
        self.program, self.entries, self.scratch, self.jobs = program, entries, scratch, jobs

    def lint(self, entries: list[dict], *args: str, cache: str = "") -> tuple[float, float]:
        database = self.scratch / "compile_commands.json"
        database.write_text(json.dumps(entries))
        where = [f"--cache-dir={self.scratch / cache}"] if cache else ["--no-cache"]
        return timed([self.program, "-p", str(database), f"-j{self.jobs}", "--quiet", "--fail-on=never", *where, *args], (0,))

    def ratio(self, count: int) -> tuple[float, int]:
        """CPU time of the tool over that of clang, in turns, so that a change of the machine's speed hits both."""
        chosen = sample(self.entries, count)
        theirs = ours = 0.0
        size = 10
        for at in range(0, len(chosen), size):
            part = chosen[at:at + size]
            theirs += sum(timed(["env", "-C", e["directory"], *parse_only(e)], (0,))[0] for e in part)
            ours += self.lint(part)[0]
        return ours / theirs, len(chosen)

    def changed(self) -> list[dict]:
        """The entries, with one unit compiled from a changed copy: the tree itself is not touched."""
        entry = next((e for e in self.entries if e["file"].endswith("/mm/memory.c")), self.entries[0])
        source = Path(entry["directory"], entry["file"]).resolve()
        copy = self.scratch / source.name
        copy.write_text(source.read_text() + "\nint changed_by_the_benchmark;\n")
        command = entry["command"].replace(entry["file"], f"-iquote {source.parent} {copy}")
        return [{**e, "file": str(copy), "command": command} if e is entry else e for e in self.entries]

    def memory(self) -> float:
        """Most megabytes that any one process of a run has had, the sampled units being analysed."""
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--units", type=int, default=40, help="units for the ratio; 0 for all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("program")
    parser.add_argument("database", type=Path)
    args = parser.parse_args()
    entries = [e for e in json.loads(args.database.read_text()) if is_kernel_unit(e)]
    bench = Bench(args.program, entries, args.scratch, args.jobs)

    # First, while nothing but the tool has been a child: memory is the maximum over all of them.
    first = bench.lint(entries, cache="cache")
    memory = bench.memory()
    second = bench.lint(entries, cache="cache")
    one = bench.lint(bench.changed(), cache="cache")
    ratio, count = bench.ratio(args.units)
    rows = [("lint / clang -w -fsyntax-only, CPU", f"{ratio:.3f}", f"{RATIO}", ratio <= RATIO, f"{count} units"),
            ("second run", f"{second[1]:.2f} s", f"{SECOND_RUN} s", second[1] <= SECOND_RUN, f"{len(entries)} units, {second[0]:.2f} s CPU"),
            ("after a change of one file", f"{one[1]:.2f} s", f"{ONE_FILE} s", one[1] <= ONE_FILE, f"{one[0]:.2f} s CPU"),
            ("memory of the largest process", f"{memory:.0f} MB", f"{MEMORY} MB", memory <= MEMORY, "")]
    print(f"first run: {first[1]:.1f} s, {first[0]:.1f} s CPU, {len(entries)} units, {args.jobs} jobs")
    for name, value, bar, good, about in rows:
        print(f"{name:36} {value:>9}  at most {bar:>6}  {'ok' if good else 'MISSED':6}  {about}")
    return 0 if all(row[3] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
