# SPDX-License-Identifier: GPL-2.0-only
"""Whether kpkeys-lint finds the page table writes that there are, all of them and no others.

tools/tests/writes/linux.txt names them; it was made by hand from a kernel without the series.
kpkeys-lint lists the writes of the patched kernel, and those of the same kernel with all guards taken out.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import cxxtools, kernel, lintmutants, lintrun, mutants, settings, ui
from .ui import Failure

LIST = cxxtools.SOURCES / "tests" / "writes" / "linux.txt"
# They come with the series.
TESTS = "mm/tests/"
# What kpkeys-lint says of a write.
STATES = {"not under a guard": "guard", "exempt": "exempt"}
# Without guards in the sources, that is a copy.
COPY = "every caller is under a guard, or passes a copy"


@dataclass(frozen=True)
class Write:
    """Writes of one shape in one function."""

    file: str
    function: str
    shape: str
    count: int
    state: str
    configs: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        return self.file, self.function, self.shape

    def built(self, config: Mapping[str, str]) -> bool:
        """Whether a kernel with the .config @config has it."""
        return all(_holds(word, config) for word in self.configs)


def _holds(word: str, config: Mapping[str, str]) -> bool:
    name, more, number = word.partition(">")
    value = config.get(f"CONFIG_{name}", "0" if more else "n")
    return int(value) > int(number) if more else value != "n"


def read(path: Path = LIST) -> list[Write]:
    """The list @path."""
    found: list[Write] = []
    for number, text in enumerate(path.read_text().splitlines(), 1):
        line = text.partition("#")[0].split()
        if not line:
            continue
        good = re.fullmatch(r"(\S+)::(\w+) (store|write-once|atomic|asm|escape|builtin) (?:x(\d+) )?(guard|exempt)((?: \w+(?:>\d+)?)*)", " ".join(line))
        if not good:
            raise Failure(f"{path}:{number}: not a write: {text}", "write FILE::FUNCTION SHAPE [xN] STATE [CONFIG...]")
        write = Write(good[1], good[2], good[3], int(good[4] or 1), good[5], tuple(good[6].split()))
        if write.key in {w.key for w in found}:
            raise Failure(f"{path}:{number}: {write.function} has a line for this shape already", "count them with xN")
        found.append(write)
    if not found:
        raise Failure(f"{path}: the list is empty", f"restore it: git checkout -- {path}")
    return found


Place = tuple[str, str, str, int, int]  # file, function, shape, line, column


def places(listed: Iterable[dict]) -> dict[Place, set[str]]:
    """What kpkeys-lint says of each write of its list, tests and copies left out."""
    found: dict[Place, set[str]] = {}
    for item in listed:
        if not item["file"].startswith(TESTS) and item["message"] != COPY:
            place = (item["file"], item["function"], item["shape"], item["line"], item["column"])
            found.setdefault(place, set()).add(item["message"].partition(":")[0])
    return found


def judge(expected: Iterable[Write], guarded: dict[Place, set[str]], bare: dict[Place, set[str]]) -> list[str]:
    """What is wrong with the lists of the patched kernel and of the one without its guards."""
    problems = []
    counts = [Counter(place[:3] for place in list_) for list_ in (guarded, bare)]
    known = set()
    for write in expected:
        known.add(write.key)
        name = f"{write.file}::{write.function} {write.shape}"
        seen = max(count[write.key] for count in counts)
        if seen != write.count:
            problems.append(f"{name}: {seen} writes are listed, there are {write.count}")
        states = {STATES.get(s, s) for place, said in bare.items() if place[:3] == write.key for s in said}
        # A header is read by other units as well, as it is.
        if write.state not in states or states - {write.state, "under a guard"}:
            problems.append(f"{name}: without its guard it is {' and '.join(sorted(states)) or 'not listed'}, it should be {write.state}")
    for place in sorted({p for list_ in (guarded, bare) for p in list_ if p[:3] not in known}):
        problems.append(f"{place[0]}:{place[3]}:{place[4]}: {place[1]}: {place[2]}: no such write is in {LIST.name}")
    return problems


def check(linter: lintrun.Linter) -> tuple[int, list[str]]:
    """Hold the lists that @linter makes against that made by hand: how many writes there are, and what is wrong."""
    config = kernel.values(linter.what.build / ".config")
    expected = [write for write in read() if write.built(config)]
    directory = settings.out() / "lint" / "writes"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    options = ["--list=pgtable-guard", "--format=json", "--checks=pgtable-guard", f"-j{settings.jobs()}"]
    with ui.step("lint: page table writes, with and without the guards") as line:
        guarded = places(json.loads(linter.run(*options)))
        bare = lintmutants.without_guards(mutants.read_sources(linter.what.tree))
        if not bare:
            raise Failure("there is no guard in the sources", "is the series with page table hardening applied?")
        for number, (name, text) in enumerate(bare.items()):
            path = directory / f"{number}{Path(name).suffix}"
            path.write_bytes(text.encode("utf-8", "surrogateescape"))
            options.append(f"--replace={name}={path}")
        units = {linter.unit(name) for name in {*bare, *(w.file for w in expected)}}
        problems = judge(expected, guarded, places(json.loads(linter.run(*options, units=sorted(units)))))
        count = sum(w.count for w in expected)
        line.detail = f"{count} writes in {len({w.key[:2] for w in expected})} functions"
    return count, problems


def results() -> tuple[int, list[str]]:
    """The same for the kernel of this run."""
    with settings.lock(settings.out(), "the output directory"):
        return check(lintrun.get())


def lint_writes() -> int:
    """Print what is wrong; 0 if nothing is."""
    count, problems = results()
    for problem in problems:
        print(f"{ui.bad('problem:')} {problem}")
    print(f"{count} writes expected, {len(problems)} problems; the list is {LIST}")
    return ui.TEST_FAILED if problems else ui.PASS
