# SPDX-License-Identifier: GPL-2.0-only
"""What FEAT_S1POE costs in QEMU, as ratios of alternating runs on one machine.

payload  the bare-metal program poe-bench of the QEMU series: a window of POR_EL1 (read, write,
         ISB, store, restore, ISB), also with 64 other pages touched after it, against the same
         with a flush on every change (-cpu max,x-s1poe-flush=on)
load     a Linux guest that changes page tables (kunit/bench/qemu/init.c): fork, and mmap, touch,
         mprotect, munmap; with each store to a PTE in a window, against PTE tables that carry
         the key but are writable at all times (kunit/bench/qemu/pte-window.patch)
boot     that guest up to its PID 1: on a CPU without the feature, with it but unused, and used

Times are CPU time of the QEMU process, by semihosting's SYS_CLOCK, so that other load matters
little. A ratio is of the best of each side, since disturbance only ever adds; the median of
the rounds' ratios is printed beside it.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import bench as counting, guests, kernel, proc, qemu, selftests, settings, toolroot, trees, ui
from .ui import Failure

SOURCES = guests.KUNIT / "bench" / "qemu"
WINDOWS = SOURCES / "pte-window.patch"
# The patch of the kernel series it goes on. Later ones have windows of their own.
FRAMEWORK = "arm64-Enable-kpkeys"
KERNEL = "bench-qemu"
# The clock has ticks of 10 ms, and a window takes less than half a microsecond.
ITERATIONS = 2000000

Sample = dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """Ratio of @metric between two kinds of runs, and the bar it is held against."""

    name: str
    metric: str
    above: str
    below: str
    at_most: float | None = None
    at_least: float | None = None

    def judge(self, runs: dict[str, list[Sample]]) -> dict:
        a, b = ([sample[self.metric] for sample in runs[kind]] for kind in (self.above, self.below))
        ratio = min(a) / min(b)
        met = None
        if self.at_most is not None:
            met = ratio <= self.at_most
        if self.at_least is not None:
            met = ratio >= self.at_least
        return {"name": self.name, "ratio": ratio, "median": statistics.median(x / y for x, y in zip(a, b)), "met": met,
                "bar": f"<= {self.at_most:.2f}" if self.at_most else f">= {self.at_least:g}" if self.at_least else "",
                self.above: a, self.below: b}


PAYLOAD = [
    Comparison("window, 64 pages touched: flush / fast", "window-64", "flush", "fast", at_least=15),
    Comparison("window alone: flush / fast", "window", "flush", "fast"),
]
GUEST = [
    Comparison("load: windows / none", "load", "on", "open", at_most=1.10),
    Comparison("  fork", "fork", "on", "open"),
    Comparison("  mmap, touch, mprotect, munmap", "map", "on", "open"),
    Comparison("mprotect alone (worst case)", "pte", "on", "open"),
    Comparison("boot: feature unused / CPU without", "boot", "off", "stock", at_most=1.10),
    Comparison("boot: feature used / CPU without", "boot", "on", "stock", at_most=1.10),
]


def _run(machine: qemu.Qemu, arguments: list, what: str) -> str:
    done = machine.run([machine.program, *arguments], capture=True, check=False, timeout=settings.timeout() * 3)
    if done.returncode:
        raise Failure(f"{what}: QEMU exited with {done.returncode}", "run it with V=1", detail=(done.stdout + done.stderr)[-2000:])
    return done.stdout


def _payload(machine: qemu.Qemu, program: Path, flush: bool) -> Sample:
    # A flush at each change is slow, and its time per window steady.
    count = ITERATIONS // 20 if flush else ITERATIONS
    said = _run(machine, ["-M", "virt", "-cpu", "max,x-s1poe-flush=on" if flush else "max", "-nic", "none", "-display", "none",
                          "-serial", "none", "-monitor", "none", "-chardev", "stdio,id=out", "-semihosting-config",
                          f"enable=on,target=native,chardev=out,arg=1 n={count}", "-kernel", program], "poe-bench")
    found = {m[1]: float(m[2]) for m in re.finditer(r"^bench (\S+): [\d.]+ ns/iteration, CPU time ([\d.]+) ns", said, re.M)}
    if "window-64" not in found:
        raise Failure("poe-bench printed no result", "run it with V=1", detail=said[-1000:])
    return found


def _guest(machine: qemu.Qemu, image: Path, archive: Path, cpu: str, mode: str) -> Sample:
    said = _run(machine, ["-M", "virt", "-cpu", cpu, "-smp", "1", "-m", "256M", "-nic", "none", "-nographic", "-no-reboot",
                          "-semihosting-config", "enable=on,userspace=on,target=native", "-kernel", image, "-initrd", archive,
                          "-append", f"console=ttyAMA0 panic=-1 pte_window={mode}"], f"guest with pte_window={mode}")
    found = {m[1]: float(m[2]) for m in re.finditer(r"^bench cpu-(\S+) (\d+)\r?$", said, re.M)}
    took = re.search(r"pte_window: (\w+)", said)
    if "load" not in found or "bench end" not in said:
        raise Failure(f"the guest with pte_window={mode} did not end its work", "run it with V=1", detail=said[-2000:])
    if not took or took[1] != (mode if "s1poe=off" not in cpu else "off"):
        raise Failure(f"pte_window={mode} did not take: {took[1] if took else 'not mentioned'}", "does the patch fit the series?")
    return found


def _alternate(rounds: int, kinds: dict[str, Callable[[], Sample]]) -> dict[str, list[Sample]]:
    """One run of each kind a round, so that what disturbs the machine disturbs all kinds."""
    runs: dict[str, list[Sample]] = {kind: [] for kind in kinds}
    for number in range(1, rounds + 1):
        with ui.step(f"round {number} of {rounds}: {', '.join(kinds)}"):
            for kind, sample in kinds.items():
                runs[kind].append(sample())
    return runs


def with_windows(series: trees.Series) -> trees.Series:
    """The patches of @series up to the last one of the framework, and the windows on top."""
    for number, patch in enumerate(series.patches, 1):
        if patch.stem.partition("-")[2] == FRAMEWORK:
            return dataclasses.replace(series, patches=[*series.patches[:number], WINDOWS])
    raise Failure(f"{series.name} has no patch '{FRAMEWORK}', on which {WINDOWS.name} goes", "run 'make bench-qemu' on the stored series")


def _kernel() -> Path:
    """The framework and the windows, in a tree of their own."""
    series = with_windows(trees.linux_series())
    tree = settings.out() / "bench" / "linux"
    trees.checkout(series, tree)
    return kernel.build(tree, settings.out() / "bench" / "build", guests.kernel(KERNEL))


def _initramfs() -> Path:
    root = settings.out() / "bench" / "root"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    # Freestanding: its work is system calls, and there is nothing else in the guest.
    toolroot.get().run(["aarch64-linux-gnu-gcc", "-O2", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector",
                        "-mgeneral-regs-only", SOURCES / "init.c", "-o", root / "init"], log=settings.out() / "log" / "bench-init.log",
                       failure=Failure("the benchmark's PID 1 does not build", status=ui.BUILD_FAILED))
    return selftests.make_initramfs(root, settings.out() / "bench" / "initramfs.cpio")


def bench(rounds: int) -> int:
    """Run all comparisons; TEST_FAILED if a bar is missed."""
    with settings.lock(settings.out(), "the output directory"):
        machine = qemu.get()
        if not machine.ours:
            raise Failure("the payload is built with our QEMU", "unset QEMU=")
        source, build = qemu.prepare()
        log = settings.out() / "log" / "qemu-conformance.log"
        with ui.step("poe-bench: building"):
            toolroot.get().run(["make", "-C", build, "build-tcg-tests-aarch64-softmmu"], log=log,
                               failure=Failure("poe-bench does not build", f"the whole log is {log}", ui.BUILD_FAILED))
        program = build / "tests" / "tcg" / "aarch64-softmmu" / "poe-bench"
        image, archive = _kernel(), _initramfs()
        payload = _alternate(rounds, {"fast": lambda: _payload(machine, program, False),
                                      "flush": lambda: _payload(machine, program, True)})
        guest = _alternate(rounds, {
            "stock": lambda: _guest(machine, image, archive, "max,s1poe=off", "off"),
            "off": lambda: _guest(machine, image, archive, "max", "off"),
            "open": lambda: _guest(machine, image, archive, "max", "open"),
            "on": lambda: _guest(machine, image, archive, "max", "on")})
        results = [c.judge(payload) for c in PAYLOAD] + [c.judge(guest) for c in GUEST]
        report = settings.out() / "bench" / "qemu.json"
        report.write_text(json.dumps({"qemu": machine.version, "qemu_content": counting.content(source), "rounds": rounds, "comparisons": results}, indent=2) + "\n")
    rows = [["comparison", "ratio", "median", "bar", ""]]
    for r in results:
        rows.append([r["name"], f"{r['ratio']:.2f}", f"{r['median']:.2f}", r["bar"], "MISSED" if r["met"] is False else ""])
    print("\n" + ui.table(rows, {1, 2}))
    print(f"\nQEMU {machine.version}; {rounds} rounds; raw figures: {report}")
    return ui.TEST_FAILED if any(r["met"] is False for r in results) else ui.PASS
