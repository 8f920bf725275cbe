# SPDX-License-Identifier: GPL-2.0-only
"""Conformance of QEMU's FEAT_S1POE, by the bare-metal programs the QEMU series brings.

They live where QEMU keeps such tests, tests/tcg/aarch64/system, and are built and run by
QEMU's own makefiles. kunit/expect/qemu.txt lists the runs by name, so that none can vanish.

Besides, the series must pass QEMU's checkpatch, and what it touches must compile for user
emulation, which has no FEAT_S1POE and none of what the series adds to the softmmu TLB.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from . import guests, proc, qemu, settings, toolroot, trees, ui
from .ui import Failure

LIST = guests.KUNIT / "expect" / "qemu.txt"
# What user emulation has in the place of accel/tcg/cputlb.c.
USER_SIDE = "libuser.a.p/accel_tcg_user-exec.c.o"
# Said of each patch that adds a file, whatever MAINTAINERS has for it.
PARDONED = "added, moved or deleted file(s)"


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
    text = proc.tail(directory / f"{name}.out", 1000)
    output = text.splitlines()[-1] if text else ""
    if status:
        return f"{name}: exit status {status}; its last line: {output or 'nothing'}"
    if not counts:
        return ""
    found = re.fullmatch(r"[\w-]+: (\d+) passed, (\d+) failed", output.strip())
    # What QEMU's tests/guest-debug/test_gdbstub.py prints, and gdb's status is only right if gdb did not crash.
    by_gdb = re.fullmatch(r"All tests complete: (\d+) failures", output.strip())
    if found:
        passed, failed = int(found[1]), int(found[2])
    elif by_gdb:
        passed, failed = len(re.findall(r"^PASS: ", text, re.M)), int(by_gdb[1]) or len(re.findall(r"^FAIL: ", text, re.M))
    else:
        return f"{name}: {output or 'printed nothing'}{'' if text or 'gdb' not in name else ' (is there a gdb?)'}"
    if failed:
        return f"{name}: {output}"
    return "" if passed else f"{name}: checked nothing: {output}"


def _checkpatch(patches: list[Path]) -> str:
    """What QEMU's checkpatch.pl finds in @patches, '' if nothing."""
    # They carry no Signed-off-by: see MAINTAINERS-notes.md.
    done = toolroot.get().run(["perl", "scripts/checkpatch.pl", "--no-signoff", "--terse", *patches], cwd=qemu.source(), capture=True, check=False)
    lines = [line for line in done.stdout.splitlines() if re.search(r": (ERROR|WARNING): ", line) and PARDONED not in line]
    if not re.search(r"^total: ", done.stdout, re.M):
        return f"checkpatch: it does not run: {(done.stderr or done.stdout).strip() or 'it prints nothing'}"
    more = f" (and {len(lines) - 1} more)" if lines[1:] else ""
    return f"checkpatch: {Path(lines[0]).name}{more}" if lines else ""


def touched(patches: list[Path]) -> list[str]:
    """The files of the tree that @patches change, in order."""
    found = {name for patch in patches for name in re.findall(r"^diff --git a/(\S+) b/", patch.read_text(errors="replace"), re.M)}
    return sorted(found)


def objects(directory: Path, tree: Path, names: list[str], inputs: set[str]) -> tuple[list[str], list[str]]:
    """What the files @names of @tree are compiled to in the build @directory: for a program made of @inputs, and for others."""
    found: tuple[set[str], set[str]] = (set(), set())
    for command in json.loads((directory / "compile_commands.json").read_text()):
        if os.path.relpath(os.path.normpath(directory / command["file"]), tree) in names:
            found[command["output"] not in inputs].add(command["output"])
    return sorted(found[0]), sorted(found[1])


def symbols(listing: str) -> tuple[set[str], set[str]]:
    """The functions and data that objects define for others, and those they need, by what nm -g prints of them."""
    defined, needed = set(), set()
    for line in listing.splitlines():
        found = re.fullmatch(r"(?:[0-9a-f]+)? +([A-Za-z]) (\S+)", line)
        if found:
            (needed if found[1] in "Uw" else defined).add(found[2])
    return defined, needed - defined


def _user_emulation(patches: list[Path], log: Path) -> tuple[str, str]:
    """What is wrong in user emulation with the files that the series touches, '' if nothing, and what was done.

    A whole build takes minutes, so that in place of the linker the names are compared: what only the objects of system
    emulation define must not be needed.
    """
    tools = toolroot.get()
    directory = qemu.prepare_user()
    listing = tools.run(["ninja", "-C", directory, "--quiet", "-t", "inputs", qemu.USER_PROGRAM], capture=True, failure=Failure(
        f"ninja does not say what {qemu.USER_PROGRAM} is made of", f"remove {directory}", ui.BUILD_FAILED)).stdout
    ours, others = objects(directory, qemu.source(), touched(patches), set(listing.split()))
    if not ours or not others:
        return "user emulation: no object is made of what the series touches", ""
    done = tools.run(["ninja", "-C", directory, f"-j{settings.jobs()}", USER_SIDE, *ours, *others], log=log, append=True, check=False)
    if done.returncode:
        return f"user emulation: what the series touches does not compile; the whole log is {log}", ""
    theirs, _ = symbols(tools.run(["nm", "-g", *others], cwd=directory, capture=True).stdout)
    defined, needed = symbols(tools.run(["nm", "-g", USER_SIDE, *ours], cwd=directory, capture=True).stdout)
    missing = sorted(needed & theirs - defined)
    if missing:
        return f"user emulation: needs what only system emulation has: {', '.join(missing)}", ""
    return "", f"{len(ours)} objects"


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
        patches = trees.qemu_series().patches
        with ui.step("conformance: QEMU's checkpatch") as line:
            problem = _checkpatch(patches)
            line.detail = problem or f"{len(patches)} patches"
        results = [("checkpatch", problem)]
        with ui.step("conformance: compiling for user emulation") as line:
            problem, what = _user_emulation(patches, log)
            line.detail = problem or what
        results.append(("user-emulation", problem))
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
