# SPDX-License-Identifier: GPL-2.0-only
"""Without a CPU that has FEAT_S1POE: the mock of patches/mock, tested in QEMU, and times on a machine of one's own.

The mock swaps POR_EL1 for a register without effect. It must change nothing but enforcement, and pages must be keyed: the
KUnit suites of the series run on it, and nothing may fail there but what expects that an access is refused. What follows from
that in other words is listed in kunit/bench/not-enforced.txt.
"""

from __future__ import annotations

import fnmatch
import functools
import json
import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import bench, benchmodel, guests, kernel, kunit, proc, qemu, settings, ui
from .ui import Failure

FRAGMENTS = ("arm64", "kunit", "kpkeys", "hardened", "mock")
NOT_ENFORCED = bench.SOURCES / "not-enforced.txt"
# An access was expected to end with -EFAULT, and was carried out. A message may follow.
NOT_REFUSED = re.compile(r"Expected (.+) == -14, but \1 == 0 \(0x0\)(?: .*)?")
EXPECTATION = re.compile(r"Expected (.+?), but\b")


@dataclass(frozen=True)
class Run:
    """A guest of the mock, and the suites that are judged in it."""

    guest: guests.Guest
    suites: tuple[str, ...]


RUNS = (
    Run(guests.Guest("mock", "CPU with FEAT_S1POE, which is not used", "mock", "virt", "max,pauth-impdef=on", 4, "", True, "poe"),
        ("kpkeys", "kpkeys_hardened_pgtables")),
    # The suite of the framework reads POR_EL1 itself, which such a CPU does not have.
    Run(guests.Guest("mock-no-poe", "CPU without FEAT_S1POE", "mock", "virt", "neoverse-n2", 4, "kunit.filter_glob=kpkeys_hardened_pgtables",
                     False, "poe-no-p4d"), ("kpkeys_hardened_pgtables",)),
)


@dataclass(frozen=True)
class NotEnforced:
    """What is not met where nothing is enforced, and does not look like it: patterns of a case and of its expectation."""

    case: str
    expectation: str
    reason: str


def read_not_enforced(path: Path) -> list[NotEnforced]:
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        entry, _, reason = line.partition("#")
        if entry.strip():
            case, _, expectation = entry.strip().partition(" ")
            if not reason.strip() or not expectation.strip() or not re.fullmatch(r"[\w*?-]+\.[\w*?-]+", case):
                raise Failure(f"{path}:{number}: '{line.strip()}' is not 'SUITE.CASE EXPECTATION # REASON'", "mend the line")
            found.append(NotEnforced(case, expectation.strip(), reason.strip()))
    return found


def judge(statuses: Mapping[tuple[str, str], str], failures: Callable[[str, str], Sequence[tuple[str, str]]],
          expected: Sequence[guests.Expected], listed: Sequence[NotEnforced], suites: Sequence[str]) -> tuple[int, int, list[str]]:
    """How many cases passed, how many showed that nothing is enforced, and what is wrong.

    @failures gives place and text of each expectation of a case that was not met.
    """
    passed = shown = 0
    problems = []
    used = set()
    for want in (e for e in expected if e.suite in suites):
        name = f"{want.suite}.{want.case}"
        status = statuses.get((want.suite, want.case), "missing")
        if want.skip:
            if status != "skipped":
                problems.append(f"{name}: {status}, with POR_EL1 it skips")
        elif status == "passed":
            passed += 1
        elif status != "failed":
            problems.append(f"{name}: {status}, with POR_EL1 it passes")
        else:
            told = failures(want.suite, want.case)
            others = [(place, text) for place, text in told if not NOT_REFUSED.fullmatch(text)]
            for place, text in others:
                # The text may end before that, where a macro is expanded.
                short = EXPECTATION.match(text)
                entry = next((n for n in listed if fnmatch.fnmatchcase(name, n.case)
                              and fnmatch.fnmatchcase(short[1] if short else text, n.expectation)), None)
                if entry:
                    used.add(entry)
                else:
                    problems.append(f"{name}: failed for another reason than that nothing is refused: {place}: {text[:200]}")
            if not told:
                problems.append(f"{name}: failed, and the console does not tell why")
            shown += 1
    problems += [f"{NOT_ENFORCED.name}: {n.case}: '{n.expectation}' did not fail in any such case" for n in listed
                 if n not in used and any(fnmatch.fnmatchcase(s, n.case.split(".")[0]) for s in suites)]
    if not passed:
        problems.append("nothing passed")
    if not shown:
        problems.append("no case showed that nothing is enforced")
    return passed, shown, problems


def mock() -> int:
    """Build the mock, run the suites on it, judge; TEST_FAILED if it changes more than enforcement."""
    listed = read_not_enforced(NOT_ENFORCED)
    problems: list[str] = []
    total = [0, 0]
    with settings.lock(settings.out(), "the output directory"):
        machine = qemu.get()
        what, has_patches = bench.subject()
        if not has_patches:
            raise Failure(f"TREE={what.tree} lacks the patches of patches/mock and patches/bench", "git am them, or unset TREE=")
        out = settings.out() / "bench" / "mock"
        build = settings.out() / "bench" / "build-mock"
        kernel.build(what.tree, build, guests.Kernel("mock", [guests.CONFIGS / f"{f}.config" for f in FRAGMENTS]))
        for run in RUNS:
            with ui.step(f"guest {run.guest.name}: {run.guest.about}") as line:
                booted = kunit.boot(run.guest, what.tree, build, machine, out / run.guest.name, settings.out() / "log" / f"{run.guest.name}.log",
                                    settings.timeout())
                passed, shown, wrong = judge(booted.statuses(), functools.partial(kunit.failures, booted.console),
                                             guests.expected(run.guest.expect), listed, run.suites)
                panic = kunit.PANIC.search(booted.console)
                if panic or booted.timed_out:
                    wrong.insert(0, f"guest panic: {panic[1].strip()}" if panic else "the guest hung")
                problems += [f"{run.guest.name}: {p}" for p in wrong]
                total = [total[0] + passed, total[1] + shown]
                line.detail = f"{passed} as with POR_EL1, {shown} not refused, {len(wrong)} wrong"
    for problem in problems:
        print(f"{ui.bad('problem:')} {problem}")
    print(f"{total[0]} cases pass as they do with POR_EL1, {total[1]} fail because nothing is enforced, {len(problems)} problems")
    return ui.TEST_FAILED if problems else ui.PASS


# ---------------------------------------------------------------------------------------------------------------
# Times on a machine of one's own


def times(console: str) -> dict[str, float]:
    """Nanoseconds per repetition of each operation that the benchmark printed on @console."""
    if "bench end" not in console:
        failed = re.search(r"bench failed: .*", console)
        raise Failure(f"the benchmark did not end{': ' + failed[0] if failed else ''}", "run it as root, on an idle machine", ui.NO_RESULTS)
    return {name: int(took) / int(count) for name, count, took in re.findall(r"^bench op \d+ (\S+) (\d+) (\d+)$", console, re.M)}


def compare(runs: Mapping[str, Mapping[str, float]], published: Mapping[str, benchmodel.Published]) -> list[list[str]]:
    """Rows of overheads over the run 'unhardened', in percent."""
    base = runs["unhardened"]
    others = [name for name in runs if name != "unhardened"]
    rows = [["operation", *others, "published unbatched", "published batched"]]
    for name, before in base.items():
        row = published.get(name)
        rows.append([name, *(f"{(runs[o][name] / before - 1) * 100:+.1f}" if name in runs[o] else "" for o in others),
                     *((f"{row.unbatched:+.1f}", f"{row.batched:+.1f}") if row else ("", ""))])
    return rows


def here(label: str) -> int:
    """Time the operations on the kernel that runs here, as @label, and compare with what other kernels took."""
    if not re.fullmatch(r"[a-z][a-z0-9-]*", label):
        raise Failure(f"'{label}' is no name for a run", "take one of small letters: unhardened, unbatched, batched")
    if platform.machine() != "aarch64":
        raise Failure(f"this machine is {platform.machine()}: times are taken on arm64, with a kernel that has patches/mock",
                      "'make bench' counts instructions in QEMU instead")
    if os.geteuid() != 0:
        raise Failure("the benchmark loads a module", "run it as root")
    published = benchmodel.read_published(bench.SOURCES / "published.ini")
    out = settings.out() / "bench" / "here"
    with settings.lock(settings.out(), "the output directory"):
        out.mkdir(parents=True, exist_ok=True)
        headers = Path("/lib/modules") / platform.release() / "build"
        if not headers.is_dir():
            raise Failure(f"{headers} is not there, and the module needs it", "install the headers of the running kernel")
        with ui.step("benchmark: building program and module"):
            proc.run(["cc", "-O2", "-Wall", "-static", bench.SOURCES / "guest" / "bench.c", "-o", out / "bench"], log=out / "build.log")
            module = kernel.copy_module(bench.SOURCES / "module", out / "module")
            proc.run(["make", "-C", headers, f"M={module}", "modules"], log=out / "module.log")
        with ui.step(f"benchmark: timing {platform.release()} as '{label}'"):
            size, _, loops = bench.FULL
            said = proc.run([out / "bench", f"size={size}", "rounds=10", f"loops={loops * 10}", f"module={module / 'kpkeys_bench.ko'}"],
                            capture=True, check=False).stdout
        found = times(said)
        (out / f"{label}.json").write_text(json.dumps({"release": platform.release(), "times": found}, indent=1) + "\n")
        runs = {path.stem: json.loads(path.read_text())["times"] for path in sorted(out.glob("*.json"))}
    if "unhardened" not in runs:
        print(f"kept in {out / (label + '.json')}; boot the unhardened kernel and run it there as 'unhardened' to compare")
        return ui.PASS
    rows = compare(runs, published)
    print("\n" + ui.table(rows, set(range(1, len(rows[0])))) + "\n\ntimes over 'unhardened', percent")
    return ui.PASS
