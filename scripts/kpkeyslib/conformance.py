# SPDX-License-Identifier: GPL-2.0-only
"""Conformance of QEMU's FEAT_S1POE, by the bare-metal programs the QEMU series brings.

They live where QEMU keeps such tests, tests/tcg/aarch64/system, and are built and run by
QEMU's own makefiles. kunit/expect/qemu.txt lists the runs by name, so that none can vanish.
"""

from __future__ import annotations

import re
from pathlib import Path

from . import guests, proc, qemu, settings, toolroot, ui
from .ui import Failure

LIST = guests.KUNIT / "expect" / "qemu.txt"


def runs() -> dict[str, bool]:
    """The runs of the list, and whether each counts its checks."""
    found = {}
    for number, text in enumerate(LIST.read_text().splitlines(), 1):
        line = text.split("#")[0].split()
        if not line:
            continue
        if len(line) > 2 or line[1:] not in ([], ["counts"]):
            raise Failure(f"{LIST}:{number}: not 'RUN' or 'RUN counts'", "mend the line")
        found[line[0]] = len(line) == 2
    return found


def _judge(name: str, counts: bool, directory: Path, status: int) -> str:
    """What is wrong with run @name, '' if nothing is."""
    output = proc.tail(directory / f"{name}.out", 1)
    if status:
        return f"{name}: exit status {status}; its last line: {output or 'nothing'}"
    if not counts:
        return ""
    found = re.fullmatch(r"[\w-]+: (\d+) passed, (\d+) failed", output.strip())
    if not found or not int(found[1]) or int(found[2]):
        return f"{name}: {output or 'printed nothing'}"
    return ""


def run() -> list[tuple[str, str]]:
    """Build and run each program of the list: (name, problem) each, the problem '' where it passed."""
    with settings.lock(settings.out(), "the output directory"):
        machine = qemu.get()
        if not machine.ours:
            raise Failure("the conformance programs are built with our QEMU", "unset QEMU=")
        _, build = qemu.prepare()
        directory = build / "tests" / "tcg" / "aarch64-softmmu"
        log = settings.out() / "log" / "qemu-conformance.log"
        tools = toolroot.get()
        with ui.step("conformance: building the bare-metal programs"):
            tools.run(["make", "-C", build, "build-tcg-tests-aarch64-softmmu"], log=log,
                      failure=Failure("the conformance programs do not build", f"the whole log is {log}", ui.BUILD_FAILED))
        results = []
        for name, counts in runs().items():
            (directory / f"{name}.out").unlink(missing_ok=True)
            with ui.step(f"conformance: {name}") as line:
                # Without -nic QEMU looks for a network card's ROM, which this build has not.
                done = machine.run(["make", "-C", directory, "--no-print-directory", f"QEMU={machine.program} -nic none",
                                    "TIMEOUT=600", f"run-{name}"], log=log, append=True, check=False)
                problem = _judge(name, counts, directory, done.returncode)
                line.detail = problem or (proc.tail(directory / f"{name}.out", 1) if counts else "passed")
            results.append((name, problem))
        return results
