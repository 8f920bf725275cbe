# SPDX-License-Identifier: GPL-2.0-only
"""Debian's user land and the kernel's selftests/mm on hardened page tables, compared with unprotected ones.

One kernel runs in several guests: with its page tables protected, with that turned off, and on a CPU that cannot.
Each boots a Debian arm64 tree and runs kunit/userland/tests.list: the selftests, and traffic that makes the kernel
change page tables in one way each, with a scan of all page tables afterwards. One more guest starts its kernel
again with kexec.

What passes must be the same with and without protection, case by case. What the scanner finds must be nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import guests, kernel, qemu, selftests, settings, toolroot, ui, verify
from .selftests import Ending, Outcome, Report, Result, Test
from .ui import Failure

KERNEL = "userland"
SOURCES = guests.KUNIT / "userland"
PACKAGES = settings.PROJECT / "scripts" / "userland.packages"
# Raised when the recipe below changes what the tree holds.
RECIPE = "1"

# Programs that traffic.sh and the lines of tests.list start, besides those that stand first on a line.
HELPERS = ("/tests/memwork", "/tests/mm/hmm-tests", "/tests/mm/memory-failure", "/tests/mm/uffd-stress")
TRAFFIC = "/tests/traffic"
KUNIT = "/tests/kunit_again"
# The scanner's findings that must be there, and be zero.
FINDINGS = ("unkeyed", "stale")

# What the guest has no use for: the archive is unpacked into its memory.
UNUSED = ("/usr/include", "/usr/games", "/usr/lib/aarch64-linux-gnu/gconv", "/usr/lib/aarch64-linux-gnu/perl-base",
          "/usr/lib/aarch64-linux-gnu/security", "/usr/lib/linux", "/usr/lib/systemd", "/usr/share", "/usr/src", "/var")


# ---------------------------------------------------------------------------------------------------------------
# What boots


def unpacked(include: Sequence[str], where: Path, name: str, what: str) -> Path:
    """The Debian arm64 tree of the packages @include, unpacked in the directory @where as @name-DIGEST unless it is there.

    It takes the place of earlier ones of that name. @what is for people.
    """
    path = where / f"{name}-{settings.digest(RECIPE, toolroot.SUITE, ' '.join(include))}"
    if path.is_dir():
        return path
    toolroot.install_host_needs()
    with settings.lock(where, "the directory"):
        if path.is_dir():
            return path
        settings.need_space(where, 1, what)
        work = where / f"tmp-{name}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            with ui.step(f"{what.removeprefix('the ')}: unpacking {len(include)} packages of Debian {toolroot.SUITE} for arm64") as line:
                toolroot.bootstrap(work / "root", include, ["--variant=extract", "--architectures=arm64"],
                                   settings.out() / "log" / f"{name}.log", what)
                os.rename(work / "root", path)
                line.detail = f"{toolroot.size_of(path)} MB in {path.name}"
        finally:
            shutil.rmtree(work, ignore_errors=True)
        for old in where.glob(f"{name}-*"):
            if old != path:
                shutil.rmtree(old, ignore_errors=True)
    return path


def debian() -> Path:
    """The Debian arm64 tree in the cache, made unless it is there."""
    return unpacked(toolroot.packages(PACKAGES), settings.cache(), "userland", "the guest's user land")


def make_archive(tree: Path, out: Path, tests: Mapping[str, Test], helpers: Sequence[str], build: Path | None) -> Path:
    """Debian, the @tests and the programs they start as an initramfs in @out, with the modules and the kernel of @build if any."""
    below = debian()
    with ui.step("user land: cross-building tests from the kernel tree") as line:
        root = selftests.build(tree, out / "build", toolroot.get(), tests=tests, jobs=settings.jobs(), sources=SOURCES,
                               more=helpers, sysroot=below)
        if build:
            kernel.install_modules(tree, build, root)
            (root / "boot").mkdir()
            shutil.copyfile(build / kernel.IMAGE, root / "boot" / "Image")
        static = [f"/{p.relative_to(below)}" for p in (below / "usr/lib").rglob("*.a")]
        archive = selftests.make_initramfs(root, out / "initramfs.cpio", without=[*UNUSED, *static], below=below)
        line.detail = f"{archive.stat().st_size >> 20} MB"
    return archive


@dataclass(frozen=True)
class Run:
    """A guest, what is done in it, and what its kernel must say of the protection."""

    name: str
    about: str
    feature: str
    says: str  # the kernel's line about it, a regular expression
    cpu: str = "max,pauth-impdef=on"
    append: tuple[str, ...] = ()
    names: tuple[str, ...] = ()  # of the tests; all but the manual ones if empty


# The first is what is judged; the second is what it is held against.
ENABLED = r"enabled, [1-9]\d* early page table pages protected"
HARDENED = Run("hardened", "page tables protected", "enabled", ENABLED)
OFF = Run("off", "kpkeys_hardened_pgtables=off", "disabled", "disabled on the command line", append=("kpkeys_hardened_pgtables=off",))
RUNS = (
    HARDENED,
    OFF,
    Run("no-poe", "CPU without FEAT_S1POE", "disabled", "disabled, the CPU has no protection keys for kernel memory", "neoverse-n2",
        names=("map_populate", "mremap_dontunmap", "madv_populate", "mkdirty", "scan", "swap", "page-migration", "modules",
               "processes", "mappings")),
    Run("kexec", "page tables protected, kexec into itself", "enabled", ENABLED, names=("kexec", "kexec_after")),
    Run("kunit", "page tables protected, KUnit suites after boot", "enabled", ENABLED, names=("kunit-kpkeys", "kunit-hardened")),
)
LEAVING = "# kexec: leaving"
MEMORY = 1 << 30
NODES = 2
# 32 TB: so much has one PUD table of vmemmap, with pages of 4K and a struct page of 64 bytes.
FAR = 33 << 40


def guest_of(run: Run, machine: qemu.Qemu, image: Path, archive: Path, directory: Path) -> selftests.Guest:
    """The machine of @run: one CPU a NUMA node, and a virtio-mem device that the host makes bigger and smaller.

    Its memory is far from the rest, so that the tables of the linear map and of vmemmap that it needs are new ones.
    """
    shutil.rmtree(directory, ignore_errors=True)
    extra = []
    for node in range(NODES):
        extra += ["-object", f"memory-backend-ram,id=node{node},size={MEMORY // NODES}",
                  "-numa", f"node,nodeid={node},memdev=node{node},cpus={node}"]
    extra += ["-object", "memory-backend-ram,id=more,size=512M",
              "-device", f"virtio-mem-pci,id=more-memory,memdev=more,node={NODES - 1},requested-size=0,memaddr={FAR}"]
    return selftests.Guest(
        qemu=machine.program, image=image, initramfs=archive, directory=directory, cpus=NODES, cpu=run.cpu, extra=extra, disk=512,
        # Without EFI a kernel does not tell the next one where the ITS keeps its tables, and these end up in that one.
        machine="virt,gic-version=3,its=off", memory=f"{MEMORY >> 20}M,slots=1,maxmem={FAR + (1 << 40)}B",
        # The suites have had their guests; the kernel that is started again does its own part.
        append=["kunit.autorun=0", *run.append], tests=run.names[:1] if run.name == "kexec" else run.names,
        timeout=900, tools=toolroot.get() if machine.ours else selftests.Tools())


def _set_memory(machine: selftests.Machine, size: int) -> None:
    machine.qmp("qom-set", path="/machine/peripheral/more-memory", property="requested-size", value=size)


# ---------------------------------------------------------------------------------------------------------------
# Reading


_FEATURE = re.compile(r"kpkeys_hardened_pgtables: ((?:enabled|disabled).*)")


def read(text: str, ending: Ending = Ending.EXIT, exit_status: int | None = 0) -> Report:
    """The Report of the console @text. What comes before and after a kexec is one run."""
    before, left, after = text.partition(LEAVING)
    report = selftests.parse(after if left else text, ending, exit_status)
    if left:
        first = selftests.parse(before)
        for result in first.tests.values():
            if result.status == "running":
                result.status = "pass"
        report.tests = {**first.tests, **report.tests}
        report.splats = first.splats + report.splats
        report.plan = (first.plan or 0) + report.plan if report.plan is not None else None
    # That of the last boot.
    for feature in _FEATURE.findall(after or text):
        report.guest["feature"] = feature.strip()
    return report


def scan(result: Result) -> dict[str, int] | None:
    """The most that the scanner found during traffic @result, {} if there is none in the kernel, None if it was not asked."""
    found: dict[str, int] | None = None
    for line in result.lines:
        if line.strip() == "# scan: none":
            return {}
        match = re.match(r"# scan (\w+): (\d+)", line)
        if match:
            found = found or {}
            found[match[1]] = max(found.get(match[1], 0), int(match[2]))
    return found


@dataclass
class Exceptions:
    """kunit/userland/exceptions.txt: programs and tests, each with its reason."""

    excluded: dict[str, str] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)
    fails: dict[str, str] = field(default_factory=dict)
    skips: dict[str, str] = field(default_factory=dict)


def read_exceptions(path: Path) -> Exceptions:
    found = Exceptions()
    kinds = {"exclude": found.excluded, "whole": found.whole, "fails": found.fails, "skips": found.skips}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        content, _, reason = line.partition("#")
        words = content.split()
        if not words:
            continue
        if len(words) != 2 or words[0] not in kinds or not reason.strip():
            raise Failure(f"{path}:{number}: '{line.strip()}' is not an exception", f"want: {'|'.join(kinds)} NAME # REASON")
        kinds[words[0]][words[1]] = reason.strip()
    return found


def unlisted(makefile: str, tests: Iterable[Test], exceptions: Exceptions) -> list[str]:
    """The programs of selftests/mm, by its @makefile, that neither run nor are excluded."""
    built = re.findall(r"^TEST_GEN_FILES\s*\+?=\s*([\w-]+)\s*$", makefile, re.M)
    run = {Path(program).name for program in [*(test.program for test in tests), *HELPERS]}
    return sorted(name for name in set(built) if name not in run and name not in exceptions.excluded)


# ---------------------------------------------------------------------------------------------------------------
# Judging


@dataclass
class Verdict:
    """What a run of all guests came to."""

    passed: int = 0
    problems: list[str] = field(default_factory=list)
    skips: list[str] = field(default_factory=list)  # each with its reason; none of them counts as passed
    status: int = ui.PASS

    def bad(self, problem: str, status: int = ui.TEST_FAILED) -> None:
        self.problems.append(problem)
        self.status = max(self.status, status)


def _passing(result: Result, whole: bool, unsettled: set[int]) -> set[str]:
    """The names of what passed: the test as such, and its cases, but for those of the numbers @unsettled, unless @whole."""
    found = {""} if result.status == "pass" else set()
    if not whole:
        found |= {f"{case.number} {case.text}".strip() for case in result.cases
                  if case.status == "pass" and case.number not in unsettled}
    return found


def _reason(result: Result) -> str:
    """Why a test did not pass, in its own words as far as it has any."""
    for line in result.lines:
        found = re.search(r"#\s*SKIP\b[:\s]*(.*)", line, re.IGNORECASE)
        if found and found[1]:
            return found[1].strip()
    said = [line for line in result.lines if line.strip()]
    return said[-1].strip() if said else result.detail


def _compare(name: str, mine: Result, other: Result, exceptions: Exceptions, run: Run, verdict: Verdict) -> None:
    """Hold the results @mine of test @name in @run against the @other ones of the unprotected kernel."""
    whole = name in exceptions.whole
    # Where a test expects to fail, it may as well pass: cow's races with vmsplice().
    unsettled = {case.number for result in (mine, other) for case in result.cases if case.status in ("xfail", "xpass")}
    passing, wanted = _passing(mine, whole, unsettled), _passing(other, whole, unsettled)
    for case in sorted(wanted - passing):
        verdict.bad(f"{run.name}: {name}{': ' if case else ''}{case}: does not pass, but does in '{OFF.name}' ({_status(mine)})")
    for case in sorted(passing - wanted):
        verdict.bad(f"{run.name}: {name}{': ' if case else ''}{case}: passes, but does not in '{OFF.name}' ({_status(other)})")
    if passing != wanted:
        return
    if mine.status != "pass":
        word = "skips" if mine.status == "skip" else f"ends in '{mine.status}'"
        if other.status != mine.status:
            verdict.bad(f"{run.name}: {name}: {word}, in '{OFF.name}' it ends in '{other.status}'")
            return
        if mine.status != "skip" and name not in exceptions.fails:
            # As it would if the guest lacked something, and so would all others.
            verdict.bad(f"{run.name}: {name}: {word} in '{OFF.name}' as well ({mine.detail}), which exceptions.txt does not explain: "
                        f"{_reason(mine)}")
        else:
            reason = exceptions.fails[name] if mine.status != "skip" else _reason(mine)
            verdict.skips.append(f"{run.name}: {name}: {word} in '{OFF.name}' as well: {reason}")
    verdict.passed += len(passing - {""}) or len(passing)
    for case in mine.cases:
        if mine.status == "pass" and not whole and (case.status == "skip" or case.number in unsettled):
            verdict.skips.append(f"{run.name}: {name}: {case.number} {case.text}")


def _status(result: Result) -> str:
    return f"{result.status}: {result.detail}" if result.detail else result.status


def _judge_scan(name: str, result: Result, run: Run, verdict: Verdict) -> None:
    """On a protected kernel the scan must have taken place and found nothing; on others there is nothing to find."""
    found = scan(result)
    if found is None:
        verdict.bad(f"{run.name}: {name}: no scan after it")
        return
    for finding in FINDINGS:
        if run.feature != "enabled" and not found.get(finding):
            continue
        if not found:
            verdict.bad(f"{run.name}: {name}: the kernel has no scanner")
            return
        if finding not in found:
            verdict.bad(f"{run.name}: {name}: the scan does not say what is {finding}")
        elif found[finding]:
            first = next((line for line in result.lines if line.startswith(f"# scan offender: {finding} ")), "")
            verdict.bad(f"{run.name}: {name}: the scan found {found[finding]} {finding} page tables" + first.replace("# scan offender", ", the first", 1))


def _judge_kunit(name: str, result: Result, exceptions: Exceptions, run: Run, verdict: Verdict) -> None:
    """Cases of a KUnit suite that are skipped must be those that are known to be, for the reason that is known."""
    verdict.passed += result.count("pass")
    known = {case.removeprefix(f"{name}:"): reason for case, reason in exceptions.skips.items() if case.startswith(f"{name}:")}
    for case in result.cases:
        if case.status != "skip":
            continue
        word, _, reason = case.text.partition(" # SKIP ")
        if known.pop(word, None) == reason:
            verdict.skips.append(f"{run.name}: {name}: {case.text}")
        else:
            verdict.bad(f"{run.name}: {name}: {case.text}, which exceptions.txt does not say")
    for word, reason in known.items():
        verdict.bad(f"{run.name}: {name}: {word} was not skipped: {reason}, says exceptions.txt")


def judge(reports: Mapping[str, Report], tests: Mapping[str, Test], exceptions: Exceptions, runs: Sequence[Run] = RUNS) -> Verdict:
    """Judge the @reports of @runs, by the runs' names."""
    verdict = Verdict()
    if not any(not test.manual for test in tests.values()):
        verdict.bad("no test is listed, so nothing could fail")
    off = reports.get(OFF.name)
    for run in runs:
        report = reports[run.name]
        names = run.names or [name for name, test in tests.items() if not test.manual]
        if report.outcome is not Outcome.COMPLETE:
            verdict.bad(f"{run.name}: {report.outcome}: {report.detail}", report.outcome.status)
        for splat in report.splats:
            verdict.bad(f"{run.name}: the kernel warned: {splat}")
        said = report.guest.get("feature", "nothing")
        if not re.fullmatch(run.says, said):
            verdict.bad(f"{run.name}: the kernel says of the protection: {said}; it must be {run.feature}, and say '{run.says}'")
        if report.outcome in (Outcome.COMPLETE, Outcome.FAILED) and report.plan != len(names):
            verdict.bad(f"{run.name}: the guest planned {report.plan} tests, {len(names)} are wanted")
        for name in names:
            result = report.tests.get(name)
            if result is None or result.status == "running":
                verdict.bad(f"{run.name}: {name}: {'did not run' if result is None else 'did not end'}")
                continue
            if tests[name].program in (TRAFFIC, KUNIT):
                if result.status != "pass":
                    verdict.bad(f"{run.name}: {name}: {_status(result)}: {_reason(result)}")
                elif tests[name].program == TRAFFIC:
                    verdict.passed += 1
                    _judge_scan(name, result, run, verdict)
                else:
                    _judge_kunit(name, result, exceptions, run, verdict)
            elif run.name != OFF.name:
                other = off.tests.get(name) if off else None
                if other is None or other.status == "running":
                    verdict.bad(f"{run.name}: {name}: there is nothing of '{OFF.name}' to compare with")
                else:
                    _compare(name, result, other, exceptions, run, verdict)
        verdict.problems += [f"{run.name}: {name}: ran, but is not wanted" for name in report.tests if name not in names]
    if verdict.problems and not verdict.status:
        verdict.status = ui.TEST_FAILED
    if not verdict.passed and not verdict.problems:
        verdict.bad("nothing passed")
    return verdict


# ---------------------------------------------------------------------------------------------------------------
# The command


def _table(reports: Mapping[str, Report], tests: Mapping[str, Test], runs: Sequence[Run]) -> str:
    """One line a test: how it ended in each guest, with the number of its passing cases and its time."""
    rows = [["test", *(run.name for run in runs), "seconds"]]
    for name, test in tests.items():
        cells, times = [], []
        for run in runs:
            result = reports[run.name].tests.get(name)
            if result is None:
                cells.append("")
                continue
            found = scan(result) if test.program == TRAFFIC else None
            count = f" {result.count('pass')}" if len(result.cases) > 1 else ""
            cells.append(result.status + count + (", scanned" if found else ""))
            times.append(f"{result.seconds:.1f}")
        if any(cells):
            rows.append([name, *cells, " / ".join(times)])
    return ui.table(rows)


def _summary(verdict: Verdict, reports: Mapping[str, Report], what: verify.Subject, machine: qemu.Qemu, seconds: float) -> dict:
    results = {run: {name: {"status": r.status, "detail": r.detail, "passed": r.count("pass"), "skipped": r.count("skip"),
                            "failed": r.count("fail"), "scan": scan(r), "seconds": r.seconds}
                     for name, r in report.tests.items()} for run, report in reports.items()}
    return {"verdict": "fail" if verdict.status else "pass", "exit_status": verdict.status, "passed": verdict.passed,
            "failed": len(verdict.problems), "skipped": len(verdict.skips), "problems": verdict.problems, "skips": verdict.skips,
            "series": what.series, "base": what.base, "qemu": machine.version, "seconds": round(seconds, 1), "results": results}


def side_by_side(prepared: Sequence[selftests.Guest]) -> list[Report]:
    """The reports of all guests, of which two run at a time."""
    return selftests.two_at_a_time(lambda guest: selftests.run(guest, {"memory": _set_memory}, read), prepared)


def results(names: Sequence[str] = ()) -> Verdict:
    """Build, run all guests two at a time, judge, and leave everything in out/userland/.

    With @names only these tests run, in the first two guests.
    """
    start = time.monotonic()
    out = settings.out() / "userland"
    tests = selftests.read_list(SOURCES / "tests.list")
    exceptions = read_exceptions(SOURCES / "exceptions.txt")
    for name in names:
        if name not in tests or tests[name].manual:
            raise Failure(f"there is no test named {name}", "tests: " + " ".join(n for n, t in tests.items() if not t.manual))
    runs = RUNS if not names else tuple(replace(run, names=tuple(names)) for run in (HARDENED, OFF))
    with settings.lock(settings.out(), "the output directory"):
        (out / "summary.json").unlink(missing_ok=True)
        machine, what = verify.prepare()
        image = kernel.build(what.tree, kernel.build_directory(KERNEL), guests.kernel(KERNEL), ("Image", "modules"))
        archive = make_archive(what.tree, out, tests, HELPERS, kernel.build_directory(KERNEL))
        with ui.step(f"user land: {len(runs)} guests, two at a time: {', '.join(run.name for run in runs)}") as line:
            prepared = [guest_of(run, machine, image, archive, out / run.name) for run in runs]
            done = side_by_side(prepared)
            reports = {run.name: report for run, report in zip(runs, done)}
            verdict = judge(reports, tests, exceptions, runs)
            makefile = (what.tree / "tools/testing/selftests/mm/Makefile").read_text()
            for name in unlisted(makefile, tests.values(), exceptions):
                verdict.bad(f"selftests/mm has {name}, which is neither in tests.list nor in exceptions.txt")
            line.detail = f"{verdict.passed} passed, {len(verdict.problems)} failed, {len(verdict.skips)} skipped"
        print("\n" + _table(reports, tests, runs) + "\n")
        summary = _summary(verdict, reports, what, machine, time.monotonic() - start)
        (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return verdict


def run(names: Sequence[str]) -> int:
    """The command: results() for people."""
    verdict = results(names)
    for program, reason in read_exceptions(SOURCES / "exceptions.txt").excluded.items():
        print(f"excluded: {program}: {reason}")
    for skip in verdict.skips:
        print(f"skipped: {skip}")
    for problem in verdict.problems:
        print(f"{ui.bad('failed:')} {problem}")
    print(f"\nresults: {settings.out() / 'userland'}")
    print(f"{verdict.passed} passed, {len(verdict.problems)} failed, {len(verdict.skips)} skipped")
    return verdict.status
