# SPDX-License-Identifier: GPL-2.0-only
"""Whether kpkeys-lint notices each of the changes that lintmutants.py makes to the kernel series.

The patched kernel is linted once; then one unit that holds the change is analysed anew for each
mutant, and linked with all others as they are. A mutant is killed if there is a finding. One
that survives needs a reason in tools/tests/mutants/survivors.txt. One that does not parse is an error.
"""

from __future__ import annotations

import itertools
import json
import shutil
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import cxxtools, lintmutants, lintrun, mutants, proc, settings, ui
from .lintmutants import Mutant
from .ui import Failure

SURVIVORS = cxxtools.SOURCES / "tests" / "mutants" / "survivors.txt"
# A list that exempts too much says nothing of the change.
NO_ANSWER = "unused-exemption"


@dataclass
class Outcome:
    """What kpkeys-lint makes of a mutant."""

    site: Mutant
    unit: str
    killed: str = ""  # the first finding; '' if there is none
    findings: int = 0
    reason: str = ""
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        return f"killed by {self.killed}" if self.killed else "SURVIVED"

    def summary(self) -> dict:
        return {"name": self.site.name, "number": self.site.number, "line": self.site.line, "unit": self.unit,
                "verdict": "killed" if self.killed else "survived", "killed_by": self.killed, "findings": self.findings,
                "reason": self.reason, "seconds": round(self.seconds, 1)}


def directory() -> Path:
    return settings.out() / "lint" / "mutants"


class _Runner:
    def __init__(self, linter: lintrun.Linter):
        self.linter = linter
        self.stopped = threading.Event()

    def findings(self, *arguments: str, units: Sequence[str] = ()) -> list[dict]:
        """What kpkeys-lint finds; the text scan, which is not about what analysed units hold, is left out."""
        found = json.loads(self.linter.run("--checks=level1", "--format=json", *arguments, units=units))["findings"]
        return [f for f in found if f["check"] != NO_ANSWER]

    def control(self) -> None:
        with ui.step("lint: without a mutant"):
            findings = self.findings(f"-j{settings.jobs()}")
        if findings:
            raise Failure(f"without a mutant kpkeys-lint has {len(findings)} findings", "mend that first ('make lint')", ui.TEST_FAILED)

    def mutant(self, mutant: Mutant) -> Outcome:
        if self.stopped.is_set():
            raise Failure("interrupted")
        start = time.monotonic()
        unit = mutant.unit or self.linter.unit(mutant.file)
        text = directory() / f"{mutant.number}{Path(mutant.file).suffix}"
        text.write_bytes(mutant.text.encode("utf-8", "surrogateescape"))
        try:
            found = self.findings("-j1", f"--replace={mutant.file}={text}", units=[unit])
        except Failure as failure:
            failure.message = f"{mutant.name}: {failure.message}"
            raise
        text.unlink()
        killed = f"{found[0]['check']} at {found[0]['file']}:{found[0]['line']}" if found else ""
        return Outcome(mutant, unit, killed, len(found), seconds=time.monotonic() - start)

    def all(self, picked: Sequence[Mutant]) -> list[Outcome]:
        count = itertools.count(1)

        def say(outcome: Outcome) -> None:
            print(f"{time.strftime('%H:%M:%S')}  {next(count)}/{len(picked)} {outcome.site.name}: {outcome.verdict}", flush=True)

        outcomes = proc.side_by_side(self.mutant, picked, settings.jobs(), self.stopped, say)
        return sorted(outcomes, key=lambda o: o.site.number)


def run(names: Iterable[str] = (), sample: int = 0) -> mutants.Report:
    """Lint the mutants that @names stand for, or @sample of them, and leave summary.json in out/lint/mutants."""
    start = time.monotonic()
    reasons = mutants.reasons_in(SURVIVORS)
    with settings.lock(settings.out(), "the output directory"):
        # Of an earlier run.
        (directory() / "summary.json").unlink(missing_ok=True)
        linter = lintrun.get()
        found = lintmutants.find(mutants.read_sources(linter.what.tree))
        picked = mutants.chosen(found, names, sample)
        shutil.rmtree(directory(), ignore_errors=True)
        directory().mkdir(parents=True)
        runner = _Runner(linter)
        runner.control()
        outcomes = runner.all(picked)
        report = mutants.Report(outcomes, found, mutants.verdict(outcomes, found, reasons))
        summary = {"verdict": "fail" if report.problems else "pass", "mutants": [o.summary() for o in outcomes], "sites": len(found),
                   "killed": report.killed, "survived": len(outcomes) - report.killed, "problems": report.problems,
                   "seconds": round(time.monotonic() - start, 1)}
        (directory() / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return report


def lint_mutants(names: list[str], sample: int) -> int:
    """Run the mutants and print what became of them; 0 if each survivor has a reason and no reason is stale."""
    start = time.monotonic()
    report = run(names, sample)
    print()
    for outcome in report.mutants:
        if outcome.reason:
            print(f"survivor: {outcome.site.name}: {outcome.reason}")
    for problem in report.problems:
        print(f"{ui.bad('problem:')} {problem}")
    print(f"\n{len(report.mutants)} of {len(report.sites)} mutants, {report.killed} killed, {len(report.mutants) - report.killed} survived; "
          f"{ui.seconds(time.monotonic() - start)}; {directory() / 'summary.json'}")
    return ui.TEST_FAILED if report.problems else ui.PASS


def list_mutants() -> int:
    """Print the mutants of this run's tree."""
    found = lintmutants.find(mutants.sources_to_list())
    for mutant in found:
        print(f"{mutant.number:3} {mutant.name}")
    return ui.PASS
