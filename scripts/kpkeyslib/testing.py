# SPDX-License-Identifier: GPL-2.0-only
"""`make test`: everything CI needs, in groups that can be run alone.

A group goes on after a failure, so that one run shows all there is to mend. Each skip says
why; none counts as passed.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from . import bench, benchmock, conformance, cxxtools, guests, kernel, lintwrites, mutants, mutantslint, proc, qemu, selftests, serieslint, settings, toolroot, ui, userland, verify, zerocost
from .ui import Failure

# The kernel of guests.ini that the selftests run on.
USERLAND = "userland"
# Mutants that `make test` runs unless SAMPLE= says otherwise; mutants.chosen() tells which.
SAMPLE = 8
# Those of `make mutants-lint` in the group checks.
LINT_SAMPLE = 24


@dataclass
class Outcome:
    """What a group of tests came to."""

    passed: int = 0
    failed: int = 0
    skips: list[str] = field(default_factory=list)  # each with its reason
    failures: list[str] = field(default_factory=list)
    skipped: int = 0  # where one line of skips stands for many cases

    def __iadd__(self, other: "Outcome") -> "Outcome":
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.skips += other.skips
        self.failures += other.failures
        return self


def _unittest(directory: str, only: str = "", **environment: str) -> Outcome:
    """Run the unittest modules of scripts/tests/@directory side by side, or just @only, each in a process of its own."""
    where = settings.PROJECT / "scripts" / "tests" / directory
    modules = [only] if only else sorted((p.stem for p in where.glob("test_*.py")), key=lambda m: -(where / f"{m}.py").stat().st_size)
    # Settings of this run are not those of the commands under test.
    env = {k: v for k, v in os.environ.items() if k not in ("V", "O", "KERNEL", "BASE", "TREE", "GUEST", "CONFIG", "MUTANTS", "QUICK", "SAMPLE", "SANITIZE")}
    env.update(PYTHONDONTWRITEBYTECODE="1", KPKEYS_TEST_OUT=str(settings.out()), CACHE=str(settings.cache()))
    env.update(environment)
    total = Outcome()
    if not modules:
        return Outcome(failed=1, failures=[f"{where}: there is no test"])
    with ui.step(f"tests-{only or directory or 'scripts'}: Python unit tests") as line:
        for outcome in proc.side_by_side(lambda module: _unittest_module(module, where, env), modules, settings.jobs(),
                                         threading.Event(), lambda outcome: None):
            total += outcome
        line.detail = f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped"
    return total


def _unittest_module(module: str, where: Path, env: dict[str, str]) -> Outcome:
    """Run @module of the directory @where."""
    name = f"tests-{module.removeprefix('test_')}"
    log = settings.out() / "log" / f"{name}.log"
    proc.run([sys.executable, "-m", "unittest", "-v", module], env=env, log=log, check=False, cwd=where)
    text = log.read_text(errors="replace")
    ran = re.search(r"^Ran (\d+) tests? in", text, re.M)
    verdict = re.search(r"^(OK|FAILED)(?: \((.*)\))?$", text, re.M)
    if not ran or not verdict or not int(ran[1]):
        return Outcome(failed=1, failures=[f"{name}: no test ran; see {log}"])
    counts = dict(part.split("=") for part in (verdict[2] or "").split(", ") if "=" in part)
    bad = sum(int(counts.get(k, 0)) for k in ("failures", "errors", "unexpected successes"))
    skips = [f"{name}: {test}: {reason}" for test, reason in
             re.findall(r"""^(.*) \.\.\. skipped ['"](.*)['"]$""", text, re.M)]
    skipped = int(counts.get("skipped", 0))
    failures = [f"{name}: {kind.lower()}: {test}" for kind, test in re.findall(r"^(FAIL|ERROR): (.*)$", text, re.M)]
    # A failing set-up of a class counts as an error without having run a test.
    passed = max(0, int(ran[1]) - bad - skipped)
    return Outcome(passed, bad, skips, failures + ([f"the whole log is {log}"] if bad else []), skipped)


def _scripts() -> Outcome:
    """Form of the stored series; the scripts against good and bad input."""
    total = Outcome()
    with ui.step("series: form of patches/linux and patches/qemu"):
        bad = serieslint.lint([]) != ui.PASS
    total += Outcome(not bad, bad, failures=["series: 'make lint-series' has findings"] if bad else [])
    toolroot.get()
    total += _unittest("")
    return total


def _tools() -> Outcome:
    """Unit tests of kpkeys-lint and kpkeys-audit, and both programs against good and bad input."""
    results = cxxtools.test()
    # The last line of failures tells where the log is.
    failed = max(0, len(results.failures) - 1)
    return Outcome(results.passed, failed, [f"tools: {s}" for s in results.skips], [f"tools: {f}" for f in results.failures], len(results.skips))


def _checks() -> Outcome:
    """kpkeys-lint and kpkeys-audit on the patched kernel: no findings, no write of POR_EL1 that is not known, no page table write or mutant missed."""
    total = Outcome()
    for name, check in (("lint", cxxtools.lint), ("audit", cxxtools.audit)):
        status = check()
        total += Outcome(status == ui.PASS, status != ui.PASS,
                         failures=[f"checks: 'make {name}' ends with status {status}; its report is in {settings.out() / name}"] if status else [])
    count, problems = lintwrites.results()
    total += Outcome(max(0, count - len(problems)), len(problems), failures=[f"checks: {p}" for p in problems])
    report = mutantslint.run(sample=settings.sample() or LINT_SAMPLE)
    left = len(report.sites) - len(report.mutants)
    total += Outcome(report.passed, report.failed,
                     [f"checks: {left} mutants: not in the sample, 'make mutants-lint' runs all"] if left else [],
                     [f"checks: {p}" for p in report.problems], left)
    return total


def _guests() -> Outcome:
    """KUnit in each guest, and guests that go wrong on purpose."""
    results = verify.results([])
    reasons = Counter((r.guest, name, c.reason) for r in results for name, cases in r.suites.items()
                      for c in cases if c.status == "skipped")
    total = Outcome(sum(r.passed for r in results), sum(max(r.failed, r.verdict != "pass") for r in results),
                    [f"{guest}: {suite}: {count} cases: {reason}" for (guest, suite, reason), count in reasons.items()],
                    [f"{r.guest}: {p}" for r in results for p in r.problems[:5]], sum(reasons.values()))
    total += _unittest("live")
    return total


def _qemu() -> Outcome:
    """Conformance of FEAT_S1POE, by bare-metal programs in QEMU's own test tree."""
    results = conformance.run()
    problems = [problem for _, problem in results if problem]
    return Outcome(len(results) - len(problems), len(problems), failures=problems)


def _zero_cost() -> Outcome:
    """Nothing changes where hardened page tables are configured out, nothing is executed where they are off."""
    result = zerocost.results()
    return Outcome(result.passed, len(result.problems), failures=[f"zero-cost: {p}" for p in result.problems])


@dataclass(frozen=True)
class SelftestRun:
    """A guest, and what to do in it. The machine is that of guests.ini, with a user land kernel."""

    name: str
    guest: str
    tests: tuple[str, ...] = ()
    saves: int = 0
    disk: int = 0
    power_off: bool = False
    cpus: int = 2


SELFTESTS = (
    SelftestRun("selftests", "el1"),
    SelftestRun("selftests-vhe", "vhe"),
    SelftestRun("selftests-no-poe", "no-poe"),
    SelftestRun("hotplug", "el1", ("por_hotplug",), cpus=3),
    SelftestRun("hotplug-vhe", "vhe", ("por_hotplug",), cpus=3),
    SelftestRun("saves", "el1", ("por_stress",), saves=3),
    SelftestRun("saves-1cpu", "el1", ("por_stress",), saves=3, cpus=1),
    SelftestRun("saves-vhe", "vhe", ("por_stress",), saves=3),
    # The suite before and after: hibernation comes back through cpu_resume().
    SelftestRun("hibernate", "el1", ("kunit_before", "hibernate", "kunit_after", "hardened_after"), disk=512),
    SelftestRun("hibernate-vhe", "vhe", ("kunit_before", "hibernate", "kunit_after", "hardened_after"), disk=512),
    SelftestRun("hibernate-off", "el1", ("hibernate_off",), disk=512, power_off=True),
)


def _selftests() -> Outcome:
    """The kernel's own tests of user pkeys, and a guest saved, restored and hibernated in the midst of them."""
    with settings.lock(settings.out(), "the output directory"):
        machine, what = verify.prepare()
        image = kernel.build(what.tree, kernel.build_directory(USERLAND), guests.kernel(USERLAND))
        tools = toolroot.get() if machine.ours else selftests.Tools()
        out = settings.out() / "selftests"
        with ui.step("selftests: cross-building from the kernel tree"):
            root = selftests.build(what.tree, out / "build", toolroot.get(), jobs=settings.jobs())
            archive = selftests.make_initramfs(root, out / "initramfs.cpio")
        total = Outcome()
        with ui.step(f"selftests: {len(SELFTESTS)} guests, two at a time") as line:
            for outcome in selftests.two_at_a_time(
                    lambda spec: _selftest_run(spec, machine, image, archive, out / spec.name, tools), SELFTESTS):
                total += outcome
            line.detail = f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped"
    enter = f"{settings.PROJECT / 'scripts' / 'kpkeys'} tools" if machine.ours else ""
    total += _unittest("", "test_selftests.LiveTest", KPKEYS_QEMU=str(machine.program), KPKEYS_IMAGE=str(image),
                       KPKEYS_SELFTESTS=str(out / "build"), KPKEYS_ENTER=enter)
    return total


def _guest_of(spec: SelftestRun, machine: qemu.Qemu, image: Path, archive: Path, directory: Path, tools) -> selftests.Guest:
    guest = guests.guest(spec.guest)
    shutil.rmtree(directory, ignore_errors=True)
    # The suites run when a test asks for them.
    options = {"append": ["kunit.autorun=0", f"POR_STRESS_SECONDS={5 + 5 * spec.saves}"]}
    if guest.machine.startswith("virt"):
        options["machine"] = guest.machine + ",gic-version=3"
    options["cpu"] = guest.cpu + (",pauth-impdef=on" if guest.cpu.startswith("max") else "")
    return selftests.Guest(qemu=machine.program, image=image, initramfs=archive, directory=directory, cpus=spec.cpus,
                           tests=spec.tests, disk=spec.disk, tools=tools, **options)


def _selftest_run(spec: SelftestRun, machine: qemu.Qemu, image: Path, archive: Path, directory: Path, tools) -> Outcome:
    guest = _guest_of(spec, machine, image, archive, directory, tools)
    poe = guests.guest(spec.guest).poe
    expected = selftests.read_expectations(selftests.GUEST_SOURCES / ("expect-poe.txt" if poe else "expect-no-poe.txt"))
    boot = "EL2" if "virtualization=on" in guests.guest(spec.guest).machine else "EL1"
    expected.guest.update(boot=boot, cpus=str(spec.cpus))
    names = selftests.wanted(selftests.read_list(selftests.GUEST_SOURCES / "tests.list"), expected, spec.tests)
    start = time.monotonic()
    if spec.saves:
        report = selftests.run_with_saves(guest, spec.saves)
    elif spec.power_off:
        report = selftests.run_with_power_off(guest)
    else:
        report = selftests.run(guest)
    _, problems = selftests.judge(report, expected, names)
    passed = sum(r.count("pass") for r in report.tests.values())
    skipped = sum(r.count("skip") for r in report.tests.values())
    skips = [f"{spec.name}: {name}: {r.count('skip')} cases: {expected.tests[name].reason}"
             for name, r in report.tests.items() if r.count("skip") and name in expected.tests]
    ui.note(f"{spec.name}: guest {spec.guest}, {spec.cpus} CPU{'s' * (spec.cpus > 1)}: {ui.seconds(time.monotonic() - start)}, "
            f"{passed} passed, {len(problems)} failed, {skipped} skipped")
    failures = [f"{spec.name}: {p}" for p in problems]
    return Outcome(passed, len(problems), skips, failures + ([f"the console's log is {directory / 'console.log'}"] if failures else []),
                   skipped)


def _userland() -> Outcome:
    """Debian's user land and selftests/mm, with and without hardened page tables."""
    verdict = userland.results()
    failures = [f"userland: {p}" for p in verdict.problems]
    return Outcome(verdict.passed, len(verdict.problems), [f"userland: {s}" for s in verdict.skips],
                   failures + ([f"the consoles' logs are in {settings.out() / 'userland'}"] if failures else []), len(verdict.skips))


def _bench() -> Outcome:
    """A quick run of the benchmark, which counts the same twice and meets its bars, and the mock of patches/mock."""
    total = Outcome()
    for name, status in (("bench", bench.bench(True)), ("bench-mock", benchmock.mock())):
        total += Outcome(status == ui.PASS, status != ui.PASS, failures=[f"bench: 'make {name}' ends with status {status}"] if status else [])
    return total


def _mutants() -> Outcome:
    """A sample of the mutants of the kernel series: do the tests notice?"""
    report = mutants.run(sample=settings.sample() or SAMPLE)
    left = len(report.sites) - len(report.mutants)
    skips = [f"mutants: {left} mutants: not in the sample, 'make mutants-kernel' runs all"] if left else []
    return Outcome(report.passed, report.failed, skips, [f"mutants: {p}" for p in report.problems], left)


GROUPS: dict[str, Callable[[], Outcome]] = {"scripts": _scripts, "tools": _tools, "qemu": _qemu, "zero-cost": _zero_cost, "checks": _checks,
                                            "guests": _guests, "selftests": _selftests, "mutants": _mutants, "bench": _bench, "userland": _userland}
# Run when named only: the benchmark needs kernels of its own.
NAMED_ONLY = ("bench",)


def test(names: list[str]) -> int:
    """Run the groups @names, those of CI by default. 0, or 1 if a test failed."""
    for name in names:
        if name not in GROUPS:
            raise Failure(f"there is no group of tests '{name}'", f"there are: {', '.join(GROUPS)}")
    # A mistake here is not that of a group, and not to be found when that group's turn comes.
    settings.sample(), settings.timeout(), settings.jobs(), toolroot.choice(), qemu.users()
    start = time.monotonic()
    outcomes: dict[str, tuple[Outcome, float]] = {}
    for name in names or [n for n in GROUPS if n not in NAMED_ONLY]:
        began = time.monotonic()
        try:
            outcome = GROUPS[name]()
        except Failure as failure:
            ui.report(failure)
            outcome = Outcome(failed=1, failures=[f"{name}: {failure.message}"])
        outcomes[name] = outcome, time.monotonic() - began
    total = Outcome()
    rows = [["group", "passed", "failed", "skipped", "time"]]
    for name, (outcome, took) in outcomes.items():
        rows.append([name, str(outcome.passed), str(outcome.failed), str(outcome.skipped), ui.seconds(took)])
        total += outcome
    print()
    for skip in total.skips:
        print(f"skipped: {skip}")
    for failure in total.failures:
        print(f"{ui.bad('failed:')} {failure}")
    print()
    print(ui.table(rows, {1, 2, 3}))
    print(f"\n{ui.seconds(time.monotonic() - start)}")
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    return ui.TEST_FAILED if total.failed else ui.PASS
