#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Check annotated C files through the real kpkeys-lint.

A line with a finding says so at its end: "// CHECK: COLUMN CHECK-ID [CHECK-ID...]", and
"// CHECK: ...; ..." for findings at several columns. Every finding must be announced, and every
announced one found. "// OK" marks a line that looks like one that should be found, and is not: the
negative cases. Each file is a program of its own.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXPECTED = re.compile(r"//\s*CHECK:\s*(.*)$")
NEGATIVE = re.compile(r"//\s*OK\s*$")

Place = tuple[int, int, str]


def expectations(source: Path) -> tuple[list[Place], list[int]]:
    """What @source announces: (line, column, check), and the lines that are right."""
    expected: list[Place] = []
    negative: list[int] = []
    for number, line in enumerate(source.read_text().splitlines(), 1):
        if match := EXPECTED.search(line):
            for part in match[1].split(";"):
                column, *checks = part.split()
                expected += [(number, int(column), check) for check in checks]
        elif NEGATIVE.search(line):
            negative.append(number)
    return expected, negative


def command(source: Path) -> list[str]:
    """How @source is compiled."""
    argv = ["clang", "--target=aarch64-linux-gnu", "-std=gnu11", "-D__KERNEL__", "-w", "-nostdinc", "-ffreestanding",
            f"-I{HERE}/include", "-c", str(source), "-o", "out.o"]
    if "freestanding" not in source.name:
        argv.remove("-ffreestanding")
    return argv


def report(lint: str, source: Path, build: Path, extra: list[str]) -> dict:
    """What kpkeys-lint says of @source in JSON."""
    database = [{"directory": str(build), "file": str(source), "arguments": command(source)}]
    (build / "compile_commands.json").write_text(json.dumps(database))
    argv = [lint, "-p", str(build), "--no-cache", "--format=json", "--checks=level2", *extra]
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{source.name}: kpkeys-lint ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def findings(lint: str, source: Path, build: Path, extra: list[str]) -> list[Place]:
    """What kpkeys-lint finds in @source, and in nothing else."""
    result = []
    for finding in report(lint, source, build, extra)["findings"]:
        if finding["check"] == "unanalysed":
            continue
        if Path(finding["file"]).name != source.name:
            raise SystemExit(f"{source.name}: unexpected finding in {finding['file']}:{finding['line']}: "
                             f"{finding['message']} [{finding['check']}]")
        result.append((finding["line"], finding["column"], finding["check"]))
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lint", required=True, help="the program")
    parser.add_argument("--least", type=int, default=0, help="least number of positive and of negative cases")
    parser.add_argument("sources", nargs="*", type=Path, help="all of the corpus if none is given")
    args = parser.parse_args()

    positive = negative = failures = 0
    for source in [s.resolve() for s in args.sources] or sorted(HERE.glob("*.c")):
        expected, right = expectations(source)
        with tempfile.TemporaryDirectory() as build:
            found = findings(args.lint, source, Path(build), [])
        positive += len(expected)
        negative += len(right)
        for place in sorted(set(expected) | set(found)):
            missing = expected.count(place) - found.count(place)
            if missing:
                failures += 1
                line, column, check = place
                print(f"{source}:{line}:{column}: {'not found' if missing > 0 else 'not expected'}: {check}")
    print(f"{positive} positive and {negative} negative cases, {failures} wrong")
    if min(positive, negative) < args.least:
        print(f"at least {args.least} of each are to be there")
        return 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
