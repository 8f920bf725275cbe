# SPDX-License-Identifier: GPL-2.0-only
"""Whether the tests notice if one guard or one keying call is missing from the kernel series.

mutantsites.py puts a switch at each site of a copy of the sources. The kernel is built once and
booted once for each mutant. A mutant is killed if a case that passes without it does not pass,
or if the guest panics, hangs or gives no results. One that survives all of GUESTS is tried in
Debian's user land, where memory comes and goes and the suites run when the boot is over. One that
survives that as well needs a reason in kunit/mutants/survivors.txt.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import hashlib
import itertools
import json
import math
import os
import queue
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import guests, kernel, kunit, mutantsites, proc, qemu, selftests, settings, ui, userland, verify
from .mutantsites import Site
from .ui import Failure

KERNEL = "mutants"
# For a sample: quick to build, and without a user land.
SMALL_KERNEL = "mutants-sample"
# A mutant that survives in one is tried in the next. Those that guests.ini does not have:
# a guest of guests.ini, and more of the command line.
GUESTS = ("el1", "no-lpa2", "rodata-off", "kpti", "vhe", "el1-1cpu")
VARIANTS = {
    # Nothing but kpkeys wants the linear map in pages: elsewhere rodata_full hides whether they do
    "rodata-off": ("el1", "rodata=off"),
    # The trampoline's page table is used, if only on request
    "kpti": ("el1", "kpti=on"),
}
# What is done in user land, of kunit/userland/tests.list: all of it is judged without another kernel to compare with.
USERLAND = userland.Run("userland", "page tables protected", "enabled", userland.ENABLED,
                        names=("kunit-hardened", "memory-hotplug", "processes", "mappings"))
SURVIVORS = guests.KUNIT / "mutants" / "survivors.txt"
# Mutants that only user land notices.
LATE = guests.KUNIT / "mutants" / "userland.txt"
SUITES = ("kpkeys", "kpkeys_hardened_pgtables")
OOPS = re.compile(r"Unable to handle kernel |Internal error: Oops")
HITS = re.compile(r"kpkeys_mutant (\d+): hits=(\d+)")
# Where sources with sites may be. Everything but other architectures, documents and tools.
DIRECTORIES = ("arch/arm64", "block", "crypto", "drivers", "fs", "include", "init", "io_uring", "ipc", "kernel", "lib", "mm", "net",
               "security", "virt")


@dataclass
class Control:
    """What a guest does without a mutant."""

    passed: list[tuple[str, str]]
    seconds: float

    @property
    def limit(self) -> int:
        """After so many seconds a mutant's guest has hung."""
        return min(settings.timeout(), max(30, math.ceil(10 * self.seconds)))


@dataclass
class Mutant:
    """A site, and what became of the kernel without it."""

    site: Site
    built: bool = True
    killed: str = ""  # by what; '' if it survived
    guest: str = ""
    seconds: float = 0.0
    hits: int = 0
    failures: list[str] = field(default_factory=list)
    reason: str = ""

    @property
    def verdict(self) -> str:
        if self.killed:
            return f"killed by {self.killed}"
        return "SURVIVED" + ("" if self.hits else " (never ran)" if self.built else " (not in this kernel)")

    def summary(self) -> dict:
        return {"name": self.site.name, "number": self.site.number, "verdict": "killed" if self.killed else "survived",
                "killed_by": self.killed, "failures": self.failures, "guest": self.guest, "built": self.built, "hits": self.hits,
                "reason": self.reason, "seconds": round(self.seconds, 1)}


def reasons_in(path: Path) -> dict[str, str]:
    """The mutants that @path lists, each with a reason. Lines: 'name reason'; what is indented goes on with the line before."""
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", "it lists mutants, each with a reason; restore it with git checkout") from None
    found: dict[str, str] = {}
    name = ""
    for number, text in enumerate(lines, 1):
        line = text.strip()
        if not line or line.startswith("#"):
            continue
        if text[0].isspace():
            if not name:
                raise Failure(f"{path}:{number}: goes on with no line", "write 'name reason'")
            found[name] = f"{found[name]} {line}".strip()
            continue
        name, _, reason = line.partition(" ")
        if name in found:
            raise Failure(f"{path}:{number}: {name} is there twice", "remove one")
        found[name] = reason.strip()
    empty = [n for n, reason in found.items() if not reason]
    if empty:
        raise Failure(f"{path}: no reason given for {', '.join(empty)}", "write 'name reason'")
    return found


def chosen(sites: Sequence[Site], names: Iterable[str], sample: int = 0) -> list[Site]:
    """The sites that @names (names, patterns or numbers) stand for, all by default; @sample of them if that is not 0.

    The sample is of those whose names have the lowest SHA-256: the same in each run, from all
    over the sources, and little changed by a new site.
    """
    found = []
    for name in names:
        if name.isdigit():
            hits = [s for s in sites if s.number == int(name)]
        else:
            hits = [s for s in sites if s.name == name or fnmatch.fnmatchcase(s.name, name)]
        if not hits:
            near = ", ".join([s.name for s in sites if name.strip("*") in s.name][:5])
            raise Failure(f"there is no mutant '{name}'", f"did you mean {near}?" if near else "--list shows all")
        found += hits
    if sample < 0:
        raise Failure(f"a sample of {sample} mutants?", "give a whole number above 0")
    result = list(set(found)) if found else list(sites)
    if sample:
        result = sorted(result, key=lambda s: hashlib.sha256(s.name.encode()).hexdigest())[:sample]
    return sorted(result, key=lambda s: s.number)


def guest_of(name: str) -> guests.Guest:
    """The guest @name of GUESTS."""
    base, more = VARIANTS.get(name, (name, ""))
    guest = guests.guest(base)
    return dataclasses.replace(guest, name=name, args=f"{guest.args} {more}".strip())


def control_of(boot: kunit.Boot) -> Control:
    """The control run @boot, which must be good enough to tell a mutant from."""
    problems = []
    panic = kunit.PANIC.search(boot.console)
    statuses = boot.statuses()
    if panic:
        problems.append(f"guest panic: {panic[1].strip()}")
    if boot.timed_out:
        problems.append("the guest did not end in time")
    problems += [f"{suite}.{case}: {status}" for (suite, case), status in statuses.items() if status not in ("passed", "skipped")]
    passed = [key for key, status in statuses.items() if status == "passed"]
    problems += [f"no case of {suite} passed" for suite in SUITES if suite not in {s for s, _ in passed}]
    if problems:
        raise Failure(f"without a mutant the tests do not pass: {problems[0]}", "mend that first", ui.TEST_FAILED, "\n".join(problems))
    return Control(passed, boot.seconds)


def judge(mutant: Mutant, boot: kunit.Boot, control: Control) -> None:
    """Note in @mutant what @boot came to, held against @control."""
    mutant.seconds += boot.seconds
    statuses = boot.statuses()
    hits = HITS.search(boot.console)
    if hits and int(hits[1]) == mutant.site.number:
        mutant.hits = max(mutant.hits, int(hits[2]))
    lines = kunit.ktap(boot.console)
    failed = [f"{suite}.{case}" for suite, case in control.passed if statuses.get((suite, case)) in ("failed", "crashed")]
    missing = [f"{suite}.{case}" for suite, case in control.passed if (suite, case) not in statuses]
    skipped = [f"{suite}.{case} (skipped)" for suite, case in control.passed if statuses.get((suite, case)) == "skipped"]
    where = f"in {missing[0]}" if lines and missing else "after the suites" if lines else "at boot"
    # What has failed before tells more.
    before = f"{failed[0]}, then " if failed else ""
    mutant.failures = failed + missing + skipped
    panic = kunit.PANIC.search(boot.console)
    if panic:
        mutant.killed = f"{before}panic {where}: {panic[1].strip()}"
    elif boot.timed_out:
        mutant.killed = f"{before}hang {where}" + (" after an oops" if OOPS.search(boot.console) else "")
    elif not lines:
        mutant.killed = "no results"
    elif mutant.failures:
        first = mutant.failures[0] + (" (did not run)" if not failed and missing else "")
        mutant.killed = first + (f" and {len(mutant.failures) - 1} more" if len(mutant.failures) > 1 else "")


def judge_userland(mutant: Mutant, report: selftests.Report, console: str, tests: dict[str, selftests.Test]) -> None:
    """Note in @mutant what its @report of user land came to."""
    mutant.guest = USERLAND.name
    hits = HITS.search(console)
    if hits and int(hits[1]) == mutant.site.number:
        mutant.hits = max(mutant.hits, int(hits[2]))
    skips = userland.read_exceptions(userland.SOURCES / "exceptions.txt").skips
    found = userland.judge({USERLAND.name: report}, tests, userland.Exceptions(skips=skips), (USERLAND,)).problems
    mutant.failures = [problem.partition(": ")[2] for problem in found]
    if found:
        mutant.killed = mutant.failures[0] + (f" and {len(found) - 1} more" if len(found) > 1 else "")


def verdict(mutants: Sequence[Mutant], sites: Sequence[Site], reasons: dict[str, str]) -> list[str]:
    """What is wrong with the outcome: survivors without a reason, and reasons without a survivor. Notes the reasons in @mutants."""
    problems = []
    for mutant in mutants:
        reason = reasons.get(mutant.site.name, "")
        if not mutant.killed:
            mutant.reason = reason
            if not reason:
                problems.append(f"{mutant.site.name}: survived, and {SURVIVORS.name} gives no reason")
        elif reason:
            problems.append(f"{mutant.site.name}: stale reason in {SURVIVORS.name}: it is killed by {mutant.killed}")
    return problems + _unknown(reasons, sites, SURVIVORS)


def verdict_late(mutants: Sequence[Mutant], sites: Sequence[Site], late: dict[str, str]) -> list[str]:
    """What is wrong with the list @late of mutants that are killed in user land and not before."""
    return [f"{m.site.name}: killed in {m.guest}, and {LATE.name} says otherwise"
            for m in mutants if m.killed and (m.guest == USERLAND.name) != (m.site.name in late)] + _unknown(late, sites, LATE)


def _unknown(names: Iterable[str], sites: Sequence[Site], path: Path) -> list[str]:
    known = {s.name for s in sites}
    return [f"{name}: stale reason in {path.name}: there is no such mutant" for name in names if name not in known]


def read_sources(tree: Path) -> dict[str, str]:
    """The files of @tree that may have sites."""
    directories = [d for d in DIRECTORIES if (tree / d).is_dir()]
    said = proc.run(["grep", "-rlE", "--include=*.[ch]", mutantsites.INTERESTING, *directories], cwd=tree, capture=True, check=False)
    names = {*said.stdout.split(), *(s.file for s in mutantsites.SPECIALS), mutantsites.MAKEFILE}
    return {name: (tree / name).read_bytes().decode("utf-8", "surrogateescape") for name in sorted(names) if (tree / name).is_file()}


def _write(path: Path, text: str) -> None:
    """@path with @text, untouched if it is that already."""
    data = text.encode("utf-8", "surrogateescape")
    if path.is_symlink():
        path.unlink()
    elif path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def copy(tree: Path, changed: dict[str, str], copy_: Path) -> None:
    """Make @copy_ the source tree @tree with the files @changed.

    All others are symbolic links, and @tree is only read.
    """
    wanted = set(changed)
    source, target = str(tree), str(copy_)
    for where, directories, files in os.walk(source):
        # Strings: there are a hundred thousand of them.
        here = where[len(source) + 1:]
        inside = f"{here}/" if here else ""
        directories[:] = [d for d in directories if d != ".git"]
        links = [d for d in directories if os.path.islink(f"{where}/{d}")]
        os.makedirs(f"{target}/{here}", exist_ok=True)
        for name in files + links:
            relative = inside + name
            if relative in changed or relative == ".git":
                continue
            wanted.add(relative)
            link = f"{target}/{relative}"
            try:
                if os.readlink(link) == f"{where}/{name}":
                    continue
                os.unlink(link)
            except FileNotFoundError:
                pass
            except OSError:
                # It had sites before: as a file it is newer than what was built from it.
                _write(Path(link), Path(where, name).read_bytes().decode("utf-8", "surrogateescape"))
                continue
            os.symlink(f"{where}/{name}", link)
    for name, text in changed.items():
        _write(copy_ / name, text)
    for where, directories, files in os.walk(target):
        inside = where[len(target) + 1:] + "/" if where != target else ""
        for name in files + [d for d in directories if os.path.islink(f"{where}/{d}")]:
            if inside + name not in wanted:
                os.unlink(f"{where}/{name}")


def _directory() -> Path:
    return settings.out() / "mutants"


def prepare(tree: Path) -> tuple[Path, list[Site]]:
    """The copy of @tree that has a switch at each site, and the sites."""
    copy_ = _directory() / "src"
    with ui.step("mutants: a copy of the tree with a switch at each site") as line:
        changed, sites = mutantsites.rewrite(read_sources(tree))
        made_of = _directory() / "made-of"
        if not made_of.exists() or made_of.read_text() != str(tree):
            # Time stamps of two trees do not compare.
            for old in (copy_, kernel.build_directory(KERNEL), kernel.build_directory(SMALL_KERNEL)):
                shutil.rmtree(old, ignore_errors=True)
            made_of.unlink(missing_ok=True)
        copy(tree, changed, copy_)
        made_of.write_text(str(tree))
        _write(_directory() / "sites.txt", "".join(f"{s.number} {s.name}\n" for s in sites))
        line.detail = f"{len(sites)} sites in {len({s.file for s in sites})} files"
    return copy_, sites


def _built(build: Path) -> set[int]:
    for name in ("vmlinux", "vmlinux.unstripped"):
        path = build / name
        found = mutantsites.built(path.read_bytes()) if path.exists() else set()
        if found:
            return found
    raise Failure(f"{build / 'vmlinux'} names no mutants", "has the linker dropped .comment?")


class _Runner:
    """Boots mutants, several at a time."""

    def __init__(self, image: Path, tree: Path, machine: qemu.Qemu):
        self.tree = tree
        self.machine = machine
        self.jobs = settings.jobs()
        self.stopped = threading.Event()
        self.builds: queue.Queue[Path] = queue.Queue()
        for number in range(self.jobs):
            self.builds.put(kunit.bootable(image, _directory() / "boot" / str(number)))

    def boot(self, name: str, number: int, limit: int, results: str = "") -> kunit.Boot:
        """Boot the guest @name without the site @number, 0 for none. What it leaves is in @results."""
        guest = guest_of(name)
        # Some mutants die before there is a console.
        guest = dataclasses.replace(guest, args=f"{guest.args} earlycon kpkeys_mutant={number}".strip())
        if self.stopped.is_set():
            raise Failure("interrupted")
        directory = _directory() / "runs" / (results or f"{number}-{name}")
        build = self.builds.get()
        try:
            shutil.rmtree(directory, ignore_errors=True)
            return kunit.boot(guest, self.tree, build, self.machine, directory, directory / "kunit.py.log", limit)
        finally:
            self.builds.put(build)

    def control(self, name: str) -> Control:
        with ui.step(f"guest {name}: without a mutant") as line:
            control = control_of(self.boot(name, 0, settings.timeout()))
            line.detail = f"{len(control.passed)} passed"
        return control

    def mutant(self, mutant: Mutant, name: str, control: Control) -> Mutant:
        boot = self.boot(name, mutant.site.number, control.limit)
        if boot.timed_out and not kunit.PANIC.search(boot.console) and not OOPS.search(boot.console):
            # On a busy machine all guests are slow: what the control takes now tells how long to wait.
            mutant.seconds += boot.seconds
            again = self.boot(name, 0, 10 * settings.timeout(), f"{mutant.site.number}-{name}-control")
            boot = self.boot(name, mutant.site.number, max(2 * control.limit, math.ceil(10 * again.seconds)))
        mutant.guest = name
        judge(mutant, boot, control)
        return mutant

    def boot_all(self, mutants: list[Mutant], name: str, control: Control, done: Callable[[Mutant], None]) -> None:
        proc.side_by_side(lambda m: self.mutant(m, name, control), mutants, self.jobs, self.stopped, done)


def _in_userland(mutants: list[Mutant], tree: Path, image: Path, machine: qemu.Qemu, done: Callable[[Mutant], None]) -> None:
    """Try @mutants in Debian's user land, two at a time."""
    out = _directory() / USERLAND.name
    tests = selftests.read_list(userland.SOURCES / "tests.list")
    archive = userland.make_archive(tree, out, {n: tests[n] for n in USERLAND.names}, ["/tests/memwork"], None)

    def boot(some: list[Mutant]) -> None:
        prepared = [userland.guest_of(dataclasses.replace(USERLAND, append=(f"kpkeys_mutant={m.site.number}",)), machine, image, archive,
                                      _directory() / "runs" / f"{m.site.number}-{USERLAND.name}") for m in some]
        for mutant, guest, report in zip(some, prepared, userland.side_by_side(prepared)):
            mutant.seconds += sum(result.seconds for result in report.tests.values())
            judge_userland(mutant, report, (guest.directory / "console.log").read_text(errors="replace"), tests)

    with ui.step(f"{USERLAND.name}: without a mutant") as line:
        control = Mutant(Site(0, ""))
        boot([control])
        if control.killed:
            raise Failure(f"without a mutant the tests do not pass in {USERLAND.name}: {control.killed}", "mend that first",
                          ui.TEST_FAILED, "\n".join(control.failures))
        line.detail = f"{len(USERLAND.names)} tests passed"
    for pair in (mutants[i:i + 2] for i in range(0, len(mutants), 2)):
        boot(pair)
        for mutant in pair:
            done(mutant)


@dataclass
class Report:
    """All that a run came to."""

    mutants: list[Mutant]
    sites: list[Site]
    problems: list[str]

    @property
    def failed(self) -> int:
        return len(self.problems)

    @property
    def passed(self) -> int:
        bad = {p.split(": ")[0] for p in self.problems}
        return sum(m.site.name not in bad for m in self.mutants)

    @property
    def killed(self) -> int:
        return sum(bool(m.killed) for m in self.mutants)


def _progress(where: str, total: int) -> Callable[[Mutant], None]:
    """A function that prints what became of a mutant in @where, one of @total."""
    count = itertools.count(1)

    def show(mutant: Mutant) -> None:
        print(f"{time.strftime('%H:%M:%S')}  {where}: {next(count)}/{total} {mutant.site.name}: {mutant.verdict}", flush=True)

    return show


def run(names: Iterable[str] = (), sample: int = 0) -> Report:
    """Boot the mutants that @names stand for, and leave summary.json in out/mutants.

    If @sample is not 0, boot so many of those that are in a small kernel, and that are killed before user land.
    """
    start = time.monotonic()
    reasons, late = reasons_in(SURVIVORS), reasons_in(LATE)
    for name in GUESTS:
        guest_of(name)
    which = guests.kernel(SMALL_KERNEL if sample else KERNEL)
    settings.timeout(), settings.jobs(), qemu.users()
    with settings.lock(settings.out(), "the output directory"):
        _directory().mkdir(parents=True, exist_ok=True)
        # Of an earlier run.
        (_directory() / "summary.json").unlink(missing_ok=True)
        machine, what = verify.prepare()
        tree, sites = prepare(what.tree)
        # Before the build: it takes long, and a wrong name is an error.
        picked = chosen(sites, names)
        build = kernel.build_directory(which.name)
        image = kernel.build(tree, build, which, readable=(what.tree,))
        code = _built(build)
        if sample:
            picked = chosen([s for s in picked if s.number in code and s.name not in {*reasons, *late}], (), sample)
        mutants = [Mutant(site, site.number in code) for site in picked]
        shutil.rmtree(_directory() / "runs", ignore_errors=True)
        runner = _Runner(image, what.tree, machine)
        for name in GUESTS:
            left = [m for m in mutants if m.built and not m.killed]
            if not left:
                break
            runner.boot_all(left, name, runner.control(name), _progress(name, len(left)))
        left = [m for m in mutants if m.built and not m.killed]
        if left and not sample:
            _in_userland(left, tree, image, machine, _progress(USERLAND.name, len(left)))
        problems = verdict(mutants, sites, reasons) + verdict_late(mutants, sites, late)
        report = Report(mutants, sites, problems)
        summary = {"verdict": "fail" if problems else "pass", "exit_status": ui.TEST_FAILED if problems else ui.PASS,
                   "passed": report.passed, "failed": report.failed, "sites": len(sites),
                   "killed": report.killed, "survived": len(mutants) - report.killed,
                   "problems": problems, "mutants": [m.summary() for m in mutants], "series": what.series, "base": what.base,
                   "qemu": machine.version, "seconds": round(time.monotonic() - start, 1)}
        _write(_directory() / "summary.json", json.dumps(summary, indent=2) + "\n")
    return report


def mutants(names: list[str], sample: int) -> int:
    """Run the mutants, print what became of them; 0 if each survivor has a reason and no reason is stale."""
    start = time.monotonic()
    report = run(names, sample)
    rows = [["number", "mutant", "verdict", "guest", "seconds"]]
    rows += [[str(m.site.number), m.site.name, m.verdict, m.guest, f"{m.seconds:.1f}"] for m in report.mutants]
    print()
    print(ui.table(rows, {0, 4}))
    print()
    for mutant in report.mutants:
        if mutant.reason:
            print(f"survivor: {mutant.site.name}: {mutant.reason}")
    for problem in report.problems:
        print(f"{ui.bad('problem:')} {problem}")
    print(f"\n{len(report.mutants)} of {len(report.sites)} mutants, {report.killed} killed, {len(report.mutants) - report.killed} survived; "
          f"{ui.seconds(time.monotonic() - start)}; consoles: {_directory() / 'runs'}")
    print(f"{report.passed} passed, {report.failed} failed")
    return ui.TEST_FAILED if report.problems else ui.PASS


def sources_to_list() -> dict[str, str]:
    """The sources of this run's tree, for a list. One of the user's is only read; ours is brought up to date, so that nobody else may be at it."""
    alone = contextlib.nullcontext() if settings.tree() else settings.lock(
        settings.out(), "the kernel tree in the output directory, which the list is made from (TREE= is listed without)")
    with alone:
        return read_sources(verify.subject().tree)


def list_mutants() -> int:
    """Print the sites of this run's tree."""
    sites = mutantsites.rewrite(sources_to_list())[1]
    for site in sites:
        print(f"{site.number:3} {site.name}")
    return ui.PASS
