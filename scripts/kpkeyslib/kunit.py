# SPDX-License-Identifier: GPL-2.0-only
"""Run a kernel's KUnit suites with the kernel's own kunit.py, and judge what came of it.

kunit.py counts a run in which all is skipped, or a suite is gone, as success. The judgement
here is against a list of cases by name: each must be there and pass, or skip if the list says so.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from . import guests, kernel, proc, qemu, settings, toolroot, ui
from .ui import Failure

PANIC = re.compile(r"Kernel panic - not syncing: (.*)")
# From the root of the tools.
FIRMWARE = "usr/share/qemu-efi-aarch64/QEMU_EFI.fd"
_STAMP = re.compile(r"^\[[ .0-9]+\] ?")
# A suite's own; deeper ones are parameterised cases.
_SUBTEST = re.compile(r" {0,4}# Subtest: (\S+)")
KTAP_START = re.compile(r"(?:\[[ .0-9]+\] ?)?(KTAP version 1|TAP version 13)$")
# What the arm64 kernel prints for each CPU feature it found (cpufeature.c).
POE_FOUND = re.compile(r"CPU features: detected: .*(?:Overlay|S1POE|POE)")


@dataclass
class Case:
    name: str
    status: str  # passed, failed, skipped, missing, crashed
    reason: str = ""


@dataclass
class Result:
    """What one guest run came to."""

    guest: str
    verdict: str  # pass, fail, panic, hang, no-results
    suites: dict[str, list[Case]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    remedy: str = ""
    seconds: float = 0.0
    poe: bool = False

    STATUS = {"pass": ui.PASS, "fail": ui.TEST_FAILED, "panic": ui.GUEST_PANIC, "hang": ui.GUEST_HANG,
              "no-results": ui.NO_RESULTS}

    @property
    def exit_status(self) -> int:
        return self.STATUS[self.verdict]

    def count(self, *statuses: str, suite: str | None = None) -> int:
        return sum(c.status in statuses for s, cases in self.suites.items() if suite in (None, s) for c in cases)

    @property
    def passed(self) -> int:
        return self.count("passed")

    @property
    def failed(self) -> int:
        return self.count("failed", "crashed", "missing")

    @property
    def skipped(self) -> int:
        return self.count("skipped")

    def summary(self) -> dict:
        """The suites as summary.json holds them."""
        return {name: {"verdict": "fail" if any(c.status in ("failed", "crashed", "missing") for c in cases) else "pass",
                       "passed": self.count("passed", suite=name), "skipped": self.count("skipped", suite=name),
                       "failed": self.count("failed", "crashed", "missing", suite=name),
                       "cases": [{"name": c.name, "status": c.status, **({"reason": c.reason} if c.reason else {})}
                                 for c in cases]}
                for name, cases in self.suites.items()}


def ktap(console: str) -> list[str]:
    """The KTAP lines of a console log: from its version line on, without kernel timestamps."""
    lines: list[str] = []
    started = False
    for raw in console.splitlines():
        line = _STAMP.sub("", raw.rstrip("\r"))
        if KTAP_START.match(line.strip()):
            started = True
        if started and re.match(r"\s*(KTAP version|TAP version|1\.\.|#|ok |not ok )", line):
            lines.append(line)
    return lines


def skip_reasons(lines: list[str]) -> dict[tuple[str, str], str]:
    """(suite, case) -> reason, of each case the KTAP marks SKIP (kunit.py's JSON drops the reason)."""
    reasons: dict[tuple[str, str], str] = {}
    suite = ""
    for line in lines:
        subtest = _SUBTEST.match(line)
        if subtest:
            suite = subtest[1]
        found = re.match(r"\s*(?:not )?ok \d+ (?:- )?(\S+) # SKIP ?(.*)", line)
        if found:
            reasons[suite, found[1]] = found[2].strip()
    return reasons


def _suites(data: dict, reasons: dict[tuple[str, str], str]) -> dict[str, list[Case]]:
    """The suites and cases of kunit.py's JSON."""
    words = {"PASS": "passed", "SKIP": "skipped", "ERROR": "crashed"}
    found: dict[str, list[Case]] = {}

    def visit(group: dict, prefix: str) -> None:
        for case in group.get("test_cases", []):
            status = words.get(case["status"], "failed")
            suite = prefix or case["name"]
            found.setdefault(suite, []).append(Case(case["name"], status, reasons.get((suite, case["name"]), "")))
        for sub in group.get("sub_groups", []):
            name = sub["name"] if not prefix else prefix
            if prefix:
                # Parameterised cases: one case to the reader, as bad as its worst.
                counts = sub["misc"]
                status = "failed" if counts["failed"] or counts["errors"] else "crashed" if counts["crashed"] else \
                    "passed" if counts["passed"] else "skipped"
                found.setdefault(prefix, []).append(Case(sub["name"], status, reasons.get((prefix, sub["name"]), "")))
            else:
                visit(sub, name)

    visit(data, "")
    return found


def failures(console: str, suite: str, case: str) -> list[tuple[str, str]]:
    """Where and why the case @case of @suite failed, as its console log tells: each expectation that was not met."""
    lines = [_STAMP.sub("", raw.rstrip("\r")) for raw in console.splitlines()]
    head = re.compile(rf"\s*# {re.escape(case)}: (?:EXPECTATION|ASSERTION) FAILED at (\S+)$")
    within = False
    told = []
    for number, line in enumerate(lines):
        subtest = _SUBTEST.match(line)
        if subtest:
            within = subtest[1] == suite
        found = head.match(line) if within else None
        if found:
            text = itertools.takewhile(lambda said: not re.match(r"\s*(#|(not )?ok \d|KTAP)", said), lines[number + 1:number + 6])
            told.append((found[1], " ".join(" ".join(text).split())))
    return told


def why_failed(console: str, suite: str, case: str) -> str:
    """The first of failures() in brackets; '' if there is none."""
    return next((f" ({': '.join(filter(None, told))})" for told in failures(console, suite, case)), "")


def judge(guest: guests.Guest, console: str, data: dict | None, timed_out: bool, seconds: float) -> Result:
    """The result of a run from its console log and kunit.py's JSON, held against the guest's list."""
    result = Result(guest.name, "pass", seconds=seconds, poe=bool(POE_FOUND.search(console)))
    lines = ktap(console)
    if data and lines:
        result.suites = _suites(data, skip_reasons(lines))
    wanted = guests.expected(guest.expect)
    names = {w.suite for w in wanted}
    for want in wanted:
        cases = result.suites.setdefault(want.suite, [])
        case = next((c for c in cases if c.name == want.case), None)
        label = f"{want.suite}.{want.case}"
        if case is None:
            cases.append(Case(want.case, "missing", "did not run"))
            result.problems.append(f"{label}: did not run")
        elif case.status == "skipped" and (not want.skip or want.skip != case.reason):
            result.problems.append(f"{label}: skipped ({case.reason or 'no reason given'})"
                                   + (f", the reason should be: {want.skip}" if want.skip else ""))
            case.status = "failed"
            case.reason = f"must not skip: {case.reason or 'no reason given'}"
        elif case.status == "passed" and want.skip:
            result.problems.append(f"{label}: passed, and the list says it skips ({want.skip})")
            case.status = "failed"
        elif case.status in ("failed", "crashed"):
            result.problems.append(f"{label}: {case.status}{why_failed(console, want.suite, case.name)}")
    for suite, cases in result.suites.items():
        known = {w.case for w in wanted if w.suite == suite}
        for case in cases:
            if suite in names and case.name not in known:
                result.problems.append(f"{suite}.{case.name}: not in kunit/expect/{guest.expect}.txt, add it")
                case.status, case.reason = "failed", "not in the list of expected cases"
            elif suite not in names and case.status != "passed":
                result.problems.append(f"{suite}.{case.name}: {case.status}")
                if case.status == "skipped":
                    case.status, case.reason = "failed", f"must not skip: {case.reason}"
    repeated = [f"{s}.{n}" for s, cases in result.suites.items() for n, k in Counter(c.name for c in cases).items() if k > 1]
    result.problems += [f"{name}: printed more than once" for name in repeated]

    panic = PANIC.search(console)
    if panic:
        result.verdict = "panic"
        result.problems.insert(0, f"guest panic: {panic[1].strip()}")
    elif timed_out:
        result.verdict = "hang"
        result.problems.insert(0, f"the guest did not end within {settings.timeout()} s (TIMEOUT=)")
    elif not lines:
        result.verdict = "no-results"
        last = console.strip().splitlines()[-1:] or ["nothing at all"]
        result.problems.insert(0, f"the guest printed no KTAP; its last line: {last[0].strip()}")
        result.remedy = "is CONFIG_KUNIT set, and is the console ttyAMA0?"
    elif result.problems:
        result.verdict = "fail"
    if guest.poe and not result.poe and result.verdict == "fail":
        result.problems.insert(0, "the guest's CPU has no FEAT_S1POE, so nothing was enforced")
        result.remedy = "this QEMU lacks the feature: unset QEMU= and let 'make qemu' build ours"
    elif not guest.poe and result.poe:
        result.verdict = "fail" if result.verdict == "pass" else result.verdict
        result.problems.insert(0, "the guest's CPU has FEAT_S1POE, and this is the run without it")
    return result


@dataclass
class Boot:
    """What a guest run left behind: its console log, and kunit.py's JSON if there is any."""

    console: str
    data: dict | None
    timed_out: bool
    seconds: float

    def statuses(self) -> dict[tuple[str, str], str]:
        """(suite, case) -> status, the worst one of a case that was printed more than once."""
        found: dict[tuple[str, str], str] = {}
        if self.data and ktap(self.console):
            for suite, cases in _suites(self.data, {}).items():
                for case in cases:
                    if found.get((suite, case.name), "passed") == "passed":
                        found[suite, case.name] = case.status
        return found


def _firmware(guest: guests.Guest) -> str:
    """QEMU's option that starts @guest by EFI firmware, if it is to be."""
    if not guest.firmware:
        return ""
    path = toolroot.get().path / FIRMWARE
    if not path.is_file():
        raise Failure(f"{path}: no such file, and guest {guest.name} is started by it", "install Debian's package qemu-efi-aarch64")
    return f" -bios {path}"


def bootable(image: Path, directory: Path) -> Path:
    """Make @directory one that boot() can boot @image from. kunit.py writes its log there: one guest at a time."""
    link = directory / kernel.IMAGE
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(image)
    return directory


def boot(guest: guests.Guest, tree: Path, build: Path, machine: qemu.Qemu, results: Path, log: Path, limit: int) -> Boot:
    """Boot @build's kernel in @guest, for @limit seconds at most. @build is a build directory, or made by bootable().

    Leaves console.log, kunit.ktap, kunit.json, kunit.xml in @results; @log is what kunit.py said.
    """
    results.mkdir(parents=True, exist_ok=True)
    report = results / "kunit.json"
    junit = results / "kunit.xml"
    (build / "test.log").unlink(missing_ok=True)
    # What kunit.py holds the configuration against; ours is checked against the fragments.
    (build / ".kunitconfig").write_text("CONFIG_KUNIT=y\n")
    command = ["python3", tree / "tools/testing/kunit/kunit.py", "exec", "--arch=arm64", f"--build_dir={build}",
               f"--qemu_config={guests.KUNIT / 'arm64_poe.py'}", f"--timeout={limit}",
               f"--qemu_args=-machine {guest.machine} -cpu {guest.cpu} -smp {guest.smp}{_firmware(guest)}",
               *(f"--kernel_args={a}" for a in guest.args.split()), f"--json={report}", f"--junit={junit}"]
    start = time.monotonic()
    outside = [p for p in (tree, build) if settings.PROJECT not in p.parents and settings.out() not in p.parents]
    options = {"writable": outside} if machine.ours else {}
    machine.run(command, cwd=tree, log=log, check=False, **options)
    took = time.monotonic() - start
    said = log.read_text(errors="replace")
    shutil.copyfile(log, results / "kunit.log")
    console_file = build / "test.log"
    if not console_file.exists():
        raise Failure(f"guest {guest.name}: QEMU did not start", f"the whole log is {log}", detail=proc.tail(log))
    console = console_file.read_text(errors="replace")
    shutil.copyfile(console_file, results / "console.log")
    (results / "kunit.ktap").write_text("\n".join(ktap(console)) + "\n")
    # Of the accelerators kunit.py offers QEMU, all but the last may be missing.
    words = [line for line in console.splitlines() if not re.match(r"qemu-system-aarch64: (-accel|falling back to) ", line)]
    if words and len(words) < 5 and words[0].startswith("qemu-system-aarch64: ") and not re.match(r".*terminating on signal", words[0]):
        raise Failure(f"guest {guest.name}: {words[0]}",
                      "does this QEMU know the machine and CPU? 'make qemu' builds ours", detail="")
    try:
        data = json.loads(report.read_text())
    except (OSError, ValueError):
        # kunit.py itself failed; what the console has still counts.
        data = None
    # kunit.py prints the exception of its own wait() and ends the guest.
    timed_out = bool(re.search(r"^Command .* timed out after \d", said, re.M))
    return Boot(console, data, timed_out, took)


def run(guest: guests.Guest, tree: Path, build: Path, machine: qemu.Qemu, results: Path) -> Result:
    """Boot @build's kernel in @guest, leave what boot() does in @results, and judge it."""
    # Beside the other logs: @results goes away if the guest cannot be started.
    log = settings.out() / "log" / f"kunit-{guest.name}.log"
    done = boot(guest, tree, build, machine, results, log, settings.timeout())
    return judge(guest, done.console, done.data, done.timed_out, done.seconds)
