# SPDX-License-Identifier: GPL-2.0-only
"""The benchmark: what a guest says is read right, the model finds what is there, nothing wrong looks right."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.dom.minidom
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import support  # noqa: E402
from kpkeyslib import bench, benchmock, benchmodel, benchreport, guests, toolroot, trees, ui  # noqa: E402

TOOLS = toolroot.ToolRoot()
COLUMNS = "columns insn call por_read por_write isb dsb tlbi atomic\n"
COUNTS = COLUMNS + """region 5 2
user - 100 0 0 0 0 0 0 0
other - 10 0 0 0 0 0 0 0
function copy_pte_range 2000 2 8 8 10 4 0 14
function pmd_install 60 6 0 0 0 0 0 0
function __switch_to 0 2 0 0 0 0 0 0
function set_memory_pkey 40 6 0 0 0 6 6 0
function local 5 1 0 0 0 0 0 0
function local 7 1 0 0 0 0 0 0
end
"""
CONSOLE = "[    0.1] kpkeys_hardened_pgtables: enabled, 9 pages\nbench op 5 fork-small 2 5000\nbench end\n"


def points(isb: float, atomic: float, tlbi: float) -> list[benchmodel.Point]:
    """Made-up operations, and what they would show on a CPU with these prices."""
    found = []
    for n, (base, more) in enumerate((((100, 1, 0, 2), (130, 5, 0, 2)), ((600, 0, 1, 40), (640, 2, 1, 40)), ((900, 3, 2, 9), (990, 7, 4, 10)),
                                      ((50, 0, 0, 1), (70, 2, 1, 1)), ((3000, 9, 1, 90), (3300, 30, 9, 95)), ((800, 2, 0, 0), (830, 9, 2, 0)))):
        counts = [dict(zip(("insn", "isb", "tlbi", "atomic"), row)) for row in (more, base)]
        found.append(benchmodel.Point(f"op{n}", *counts, benchmodel.overhead(*counts, (isb, atomic, tlbi))))
    return found


class Reading(unittest.TestCase):
    def test_guests_of_a_run(self) -> None:
        def names(quick: bool) -> list[str]:
            return sorted(f"{j.kernel} {j.kind}" for j in bench.plan(KERNELS, quick) if j.again)

        self.assertEqual(names(True), ["unhardened operations"])
        self.assertEqual(names(False), ["batched operations", "batched programs", "unhardened operations"])
        for quick in (True, False):
            jobs = bench.plan(KERNELS, quick)
            self.assertEqual(len(jobs), len(set(jobs)))
            self.assertEqual({j.kernel for j in jobs if j.kind == "operations" and not j.again}, set(KERNELS))
        self.assertFalse([j for j in bench.plan(KERNELS, True) if j.kind == "programs"])

    def test_the_largest_difference_is_told(self) -> None:
        one = bench.operations(CONSOLE, COUNTS)
        off, far = copy.deepcopy(one), copy.deepcopy(one)
        off["fork-small"].counts["insn"] *= 1.0005
        far["fork-small"].counts["isb"] += 1
        a, b = bench.Job("a", "operations"), bench.Job("b", "programs")
        again = [bench.Job(j.kernel, j.kind, True) for j in (a, b)]
        self.assertEqual(bench.repeated({a: one, b: one, again[0]: one, again[1]: one}), (0.0, ""))
        found, where = bench.repeated({a: one, b: one, again[0]: off, again[1]: far})
        self.assertEqual(where, "b: fork-small: isb")
        self.assertGreater(found, bench.REPEATABLE)

    def test_guests_that_memory_allows(self) -> None:
        with mock.patch.dict(os.environ, J="8"):
            for available, count in ((64 << 20, 8), (13 << 20, 4), (3 << 20, 1), (1 << 20, 1)):
                self.assertEqual(bench.at_once(2560, f"MemTotal: 99999999 kB\nMemAvailable:   {available} kB\n"), count)
            self.assertEqual(bench.at_once(2560, ""), 1)

    def test_per_repetition(self) -> None:
        operation = bench.operations(CONSOLE, COUNTS)["fork-small"]
        self.assertEqual(operation.counts, {"insn": 1061.0, "por_read": 4.0, "por_write": 4.0, "isb": 5.0, "dsb": 5.0, "tlbi": 3.0,
                                            "atomic": 7.0, "tables": 3.0, "keyed": 0.0, "unkeyed": 0.0,
                                            "set_memory": 3.0, "switches": 1.0, "user": 50.0})
        self.assertEqual(operation.nanoseconds, 2500)
        self.assertEqual(operation.functions["local"]["insn"], 6.0)

    def assertRefused(self, pattern: str, console: str = CONSOLE, counts: str = COUNTS, status: int = ui.NO_RESULTS) -> None:
        with self.assertRaisesRegex(ui.Failure, pattern) as caught:
            bench.operations(console, counts)
        self.assertEqual(caught.exception.status, status)

    def test_incomplete(self) -> None:
        self.assertRefused("did not end its work", CONSOLE.replace("bench end\n", ""))
        self.assertRefused("bench failed: mmap", CONSOLE.replace("bench end\n", "bench failed: mmap: no\n"))
        self.assertRefused("Kernel panic", "Kernel panic - not syncing: x\n", status=ui.GUEST_PANIC)
        self.assertRefused("not whole", counts=COUNTS.replace("end\n", ""))
        self.assertRefused("not whole", counts="")
        self.assertRefused("did not end the region 5", counts=COUNTS.replace("end\n", "open 5\nend\n"))
        self.assertRefused("nothing was counted for fork-small", CONSOLE, COLUMNS + "end\n")
        self.assertRefused("nothing was counted", counts=COUNTS.replace("region 5", "region 6"))
        self.assertRefused("measured nothing", "bench end\n")

    def test_refused_arguments(self) -> None:
        args = ("rodata=full", "nonsense=1")
        self.assertEqual(bench.refused(CONSOLE, args), "")
        self.assertEqual(bench.refused("Invalid option string for rodata: 'full'\n", args), "rodata=full")
        self.assertEqual(bench.refused('Unknown kernel command line parameters "nonsense=1", will be passed to user space.\n', args), "nonsense=1")

    def test_deviation(self) -> None:
        one = bench.operations(CONSOLE, COUNTS)
        self.assertEqual(bench.deviation(one, one)[0], 0.0)
        other = copy.deepcopy(one)
        other["fork-small"].counts["insn"] *= 1.002
        self.assertGreater(bench.deviation(one, other)[0], bench.REPEATABLE)
        self.assertIn("insn", bench.deviation(one, other)[1])
        other = copy.deepcopy(one)
        other["fork-small"].counts["por_write"] += 1
        self.assertGreater(bench.deviation(one, other)[0], bench.REPEATABLE)
        self.assertEqual(bench.deviation(one, {})[0], 1.0)

    def test_kernels_and_figures_of_the_repository(self) -> None:
        kernels = bench.read_kernels(bench.SOURCES / "bench.ini")
        self.assertLessEqual({"unhardened", "unbatched", "batched", "off"}, set(kernels))
        self.assertEqual(kernels["off"].build, kernels["batched"].build)
        for entry in kernels.values():
            for fragment in entry.fragments:
                self.assertTrue((guests.CONFIGS / f"{fragment}.config").is_file(), fragment)
        published = benchmodel.read_published(bench.SOURCES / "published.ini")
        self.assertEqual((published["fork-small"].unbatched, published["munmap-huge"].batched), (221, 8.08))
        self.assertEqual({n: round(p.limit, 9) for n, p in published.items() if p.bar},
                         {"fork-small": 3.355, "fork-huge": 6.995, "munmap-small": 0.5, "munmap-huge": 8.15})
        self.assertFalse(published["build"].fit)

    def test_programs_and_marks_agree(self) -> None:
        """Numbers of regions are used once each; those of the module are known to bench.c."""
        source = (bench.SOURCES / "guest" / "bench.c").read_text()
        module = (bench.SOURCES / "module" / "kpkeys_bench.c").read_text()
        numbers = [int(n) for n in re.findall(r"^(\d+) ", (bench.SOURCES / "guest" / "programs.list").read_text(), re.M)]
        self.assertIn("VMALLOC = 32,", source)
        self.assertEqual([int(n) for n in re.findall(r"MARKED\((\d+),", module)], list(range(32, 38)))
        self.assertEqual(len(numbers), len(set(numbers)))
        self.assertGreater(min(numbers), 37)
        self.assertLess(max(numbers), 256)


class Guest(unittest.TestCase):
    SOURCE = (bench.SOURCES / "guest" / "bench.c").read_text()

    def test_no_copies_at_once(self) -> None:
        """FEAT_MOPS, which QEMU has and the CPU of the figures has not, makes copies of pages free: it is off, and the guest looks."""
        machine = bench.Machine(bench.qemu.Qemu(Path("qemu"), "", True), Path("count.so"))
        argv = machine.argv(bench.Built(Path("Image"), Path("map"), Path("m.ko")), KERNELS["off"], Path("a.cpio"), 640, ["size=64"], Path("counts"))
        line = argv[argv.index("-append") + 1].partition(" -- ")
        self.assertIn("arm64.nomops", line[0].split())
        self.assertIn("kpkeys_hardened_pgtables=off", line[0].split())
        self.assertRegex(self.SOURCE, r"getauxval\(AT_HWCAP2\) & MOPS")

    def test_the_clock_does_not_decide(self) -> None:
        """An interrupt of the clock takes 10000 instructions, which one run may have more than another; the bar is 0.1 %."""
        for count, operation, insns in (("SYSCALLS", "null_syscalls", 230), ("ROUND_TRIPS", "ping_pongs", 8000)):
            self.assertIn(f"\t\t{operation}({count});\n", self.SOURCE)
            times = int(re.search(rf"#define {count} (\d+)ul\n", self.SOURCE)[1])
            self.assertLess(10000, times * insns * bench.REPEATABLE / 4, operation)

    def test_what_was_put_off_is_not_counted(self) -> None:
        """Each region begins when nothing is left from before."""
        begun = re.findall(r"(?:(settle\(\);)\s+(?:if \(i\)\s+|for [^\n]*\n\s+if \(i == WARM_UP\)\s+)?)?begin\((\w+)", self.SOURCE)[1:]
        self.assertEqual([where for settled, where in begun if not settled], [])
        self.assertEqual({where for _, where in begun}, {"FORK", "EXIT", "MUNMAP", "MPROTECT", "MREMAP", "DONTNEED", "FAULT", "NULL_SYSCALL", "PING_PONG",
                                                         "EXEC", "id"})


class Functions(unittest.TestCase):
    def test_those_that_are_counted_are_there(self) -> None:
        plain, hardened = KERNELS["unhardened"], KERNELS["batched"]
        names = [*bench.TABLES, *bench.SET_MEMORY, *bench.SWITCHES]
        text = "".join(f"ffff8000800{n:05x} {name}\n" for n, name in enumerate(names))
        bench._refuse_unknown(text, plain)
        with self.assertRaisesRegex(ui.Failure, "has no function __kpkeys_protect_pgtable, __kpkeys_unprotect_pgtable"):
            bench._refuse_unknown(text, hardened)
        for name in names:
            with self.assertRaisesRegex(ui.Failure, f"no function {name} "):
                bench._refuse_unknown(text.replace(f" {name}\n", " other\n"), plain)


class Patches(unittest.TestCase):
    def test_they_apply(self) -> None:
        """A change of the series that patches/bench and patches/mock do not fit, in the order of the README, shows here."""
        series = bench.patched_series()
        told = re.search(r"`git am (patches/\S+(?: patches/\S+)*)`", (bench.SOURCES / "README.md").read_text())[1].split()
        on_top = [patch for pattern in told for patch in sorted(support.PROJECT.glob(pattern))]
        self.assertEqual([*trees.linux_series().patches, *on_top], series.patches)
        self.assertGreaterEqual(len(series.patches), len(trees.linux_series().patches) + len(trees.OUT_OF_SERIES))
        where = Path(os.environ.get("CACHE") or support.PROJECT / ".cache") / f"linux-{series.base.version}.git"
        if not where.is_dir():
            self.skipTest(f"the base is not in the cache: {where.name}")
        with tempfile.TemporaryDirectory() as name:
            tree = Path(name) / "tree"
            trees._prepare(tree, where)
            base = subprocess.run(["git", "-C", where, "rev-parse", "base"], check=True, capture_output=True, text=True).stdout.strip()
            commit = trees.apply(series, tree, base)
            shown = subprocess.run(["git", "-C", tree, "show", f"{commit}:security/Kconfig.hardening"], check=True, capture_output=True, text=True)
        for fragment in ("bench-unbatched", "mock"):
            for symbol in re.findall(r"^CONFIG_(\w+)=y", (guests.CONFIGS / f"{fragment}.config").read_text(), re.M):
                self.assertIn(f"config {symbol}\n", shown.stdout)


class Content(unittest.TestCase):
    """What git calls a tree without the patches on top, by which results are told to be of just the series."""

    def test_without_the_patches_on_top(self) -> None:
        def git(*words: str) -> str:
            return subprocess.run(["git", "-C", tree, "-c", "user.name=A", "-c", "user.email=a@example.org", *words], check=True, capture_output=True,
                                  text=True).stdout

        with tempfile.TemporaryDirectory() as name:
            tree, patches = Path(name) / "tree", []
            tree.mkdir()
            git("init", "-q")
            lines = [f"{n}\n" for n in range(20)]
            for n in range(3):
                (tree / "a.c").write_text("".join(lines))
                git("add", "a.c")
                git("commit", "-q", "-m", str(n))
                if n:
                    patches.append(Path(name) / f"{n}.patch")
                    patches[-1].write_text(git("diff", "HEAD^", "HEAD"))
                lines.insert(10, f"of {n}\n")
            files = sorted(str(p.relative_to(tree)) for p in tree.rglob("*"))
            self.assertEqual(bench.content(tree, patches), git("rev-parse", "HEAD~2^{tree}").strip())
            self.assertEqual(bench.content(tree), git("rev-parse", "HEAD^{tree}").strip())
            self.assertEqual(sorted(str(p.relative_to(tree)) for p in tree.rglob("*")), files)
            self.assertEqual(bench.content(tree, patches[:1]), "")
            (tree / "a.c").write_text("mine\n")
            self.assertEqual(bench.content(tree, patches), "")


class BadFiles(unittest.TestCase):
    def file(self, text: str) -> Path:
        handle = tempfile.NamedTemporaryFile("w", suffix=".ini", delete=False)
        self.addCleanup(Path(handle.name).unlink)
        with handle:
            handle.write(text)
        return Path(handle.name)

    def test_kernels(self) -> None:
        for text, pattern in (("[kernel a]\nabout = x\n", "build"), ("[guest a]\n", r"\[guest a\] is not"), ("nonsense", "no section"),
                              ("[kernel a]\nabout = x\nbuild = y\nlinear = huge\n", "'huge', not pages or blocks"),
                              ("[kernel a]\nabout = x\nbuild = y\nmore = fork\n", "'fork', not OPERATION PERCENT"),
                              ("[kernel a]\nabout = x\nbuild = y\n", "nothing to compare")):
            with self.assertRaisesRegex(ui.Failure, pattern):
                bench.read_kernels(self.file(text))
        with self.assertRaisesRegex(ui.Failure, "No such file"):
            bench.read_kernels(Path("/nonexistent"))

    def test_published(self) -> None:
        for text in ("[a]\nwhat = x\nunbatched = 1\n", "[a]\nwhat = x\nunbatched = 1\nbatched = 1\nbar = -1\n", "[a]\nwhat = x\nunbatched = many\nbatched = 1\n"):
            with self.assertRaises(ui.Failure):
                benchmodel.read_published(self.file(text))

    def test_not_enforced(self) -> None:
        self.assertTrue(benchmock.read_not_enforced(benchmock.NOT_ENFORCED))
        for line in ("kpkeys.x", "kpkeys.x y", "kpkeys.x # why", "x y # why"):
            with self.assertRaisesRegex(ui.Failure, "SUITE.CASE EXPECTATION # REASON"):
                benchmock.read_not_enforced(self.file(line + "\n"))


class Model(unittest.TestCase):
    def test_finds_the_prices(self) -> None:
        fit = benchmodel.fit(points(40, 12, 300))
        for price, truth in zip(fit.prices, (40, 12, 300)):
            self.assertAlmostEqual(price, truth, delta=truth / 100)
        self.assertLess(fit.error, 1e-4)
        self.assertLess(fit.left_out_error, 1e-3)

    def test_prices_are_not_negative(self) -> None:
        rows = [benchmodel.Point(p.operation, p.counts, p.base, p.published / 3) for p in points(1, 1, 1)]
        self.assertTrue(all(price >= 0 for price in benchmodel.fit(rows).prices))

    def test_a_price_is_taken_only_if_it_predicts(self) -> None:
        """Each of three kinds alone, and none of them where the figures come without it."""
        for prices in ((40, 0, 0), (40, 12, 0), (40, 0, 300)):
            fit = benchmodel.fit(points(*prices))
            self.assertEqual([price > 0 for price in fit.prices], [price > 0 for price in prices], fit)
            self.assertEqual(fit.left_out_error, min(fit.tried.values()), fit)

    def test_what_cannot_be_told_is_left_out(self) -> None:
        """Without an operation that differs in TLBIs, or with one alone, any price of one fits."""
        rows = [benchmodel.Point(f"op{n}", {"insn": i + 20, "isb": 4, "tlbi": 0, "atomic": 0}, {"insn": i, "isb": 0, "tlbi": 0, "atomic": 0},
                                 ((i + 20 + 160) / i - 1) * 100) for n, i in enumerate((100, 200, 400, 900, 1600))]
        fit = benchmodel.fit(rows)
        self.assertAlmostEqual(fit.prices[0], 40, delta=0.5)
        self.assertEqual(fit.prices[1:], (0.0, 0.0))
        self.assertEqual(fit.spread[2], (0.0, benchmodel.LIMITS[2]))
        # A trace of them is fitted best by some price, which nothing confirms.
        rows[4] = benchmodel.Point("op4", {**rows[4].counts, "tlbi": 0.01}, rows[4].base, (1783 / 1600 - 1) * 100)
        self.assertGreater(benchmodel._best(rows, (0, 2))[2], 100)
        self.assertEqual(benchmodel.fit(rows).prices[1:], (0.0, 0.0))

    def test_a_price_at_the_end_of_the_search_is_none(self) -> None:
        rows = points(40, 0, 3 * benchmodel.LIMITS[2])
        self.assertGreater(benchmodel._best(rows, (0, 2))[2], 0.99 * benchmodel.LIMITS[2])
        fit = benchmodel.fit(rows)
        self.assertEqual(fit.prices[2], 0)
        self.assertGreater(fit.left_out_error, min(fit.tried.values()))

    def test_a_bad_fit_shows(self) -> None:
        rows = points(40, 12, 300)
        rows[0] = benchmodel.Point("op0", rows[0].counts, rows[0].base, 5.0)
        self.assertGreater(benchmodel.fit(rows).error, 0.05)

    def test_too_few(self) -> None:
        with self.assertRaisesRegex(ui.Failure, "too few"):
            benchmodel.fit(points(40, 12, 300)[:4])


def found() -> dict[str, dict[str, bench.Operation]]:
    """Counts of all kernels for the published operations and the unchanged ones, made up with prices 40 and 300."""
    kernels: dict[str, dict[str, bench.Operation]] = {}
    names = [n for n, p in benchmodel.read_published(bench.SOURCES / "published.ini").items()] + list(bench.UNCHANGED)
    for kernel, factor in (("unhardened", 0), ("unbatched", 4), ("batched", 0.02), ("off", 0), ("mock", 0.02)):
        kernels[kernel] = {}
        for n, name in enumerate(names):
            more = 0 if name in bench.UNCHANGED else factor
            counts = {"insn": 1000.0 * (n + 1) + 10 * more, "isb": 5.0 + more, "tlbi": 1.0 + more / 4, "atomic": 30.0, "dsb": 1.0,
                      "por_read": 2.0 * (kernel not in ("unhardened", "off") and name != "null-syscall"), "switches": 2.0 * (name == "ping-pong"),
                      "por_write": more, "tables": 40.0, "keyed": 40.0, "unkeyed": 2.0, "set_memory": 42.0, "user": 9.0}
            functions = {"copy_pte_range": {**{k: v for k, v in counts.items() if k in ("insn", "isb", "tlbi", "atomic", "por_write")}, "call": 1.0}}
            kernels[kernel][name] = bench.Operation(name, 10, counts, functions)
    return kernels


KERNELS = bench.read_kernels(bench.SOURCES / "bench.ini")


def measured(rows: dict, repeat: tuple[float, str] = (0.0, ""), **memory: tuple[int, int]) -> bench.Measured:
    """A run that counted @rows; the memory of kernels is as in a guest of 640 MB."""
    return bench.Measured(rows, repeat, {name: memory.get(name.replace("-", "_"), (633076, 655360)) for name in rows})


def published() -> dict[str, benchmodel.Published]:
    """What a CPU of these prices shows, and a little more with batching, so that the bars are met."""
    rows = found()
    before = rows["unhardened"]
    return {name: benchmodel.Published(name, name, benchmodel.overhead(rows["unbatched"][name].counts, before[name].counts, (40, 0, 300)),
                                       benchmodel.overhead(rows["batched"][name].counts, before[name].counts, (40, 0, 300)) + 0.1, True,
                                       benchmodel.read_published(bench.SOURCES / "published.ini")[name].bar and "0.25")
            for name in before if name not in bench.UNCHANGED}


def data() -> dict:
    rows = found()
    return {"when": "2026-01-01T00:00:00Z", "quick": True, "series": "s", "content": "0123", "base_tree": "linux", "qemu": "10", "compiler": "LLVM", "size": 64,
            "rounds": 1, "loops": 9, "seconds": 1.0, "kernels": {k: {"about": "<b>&"} for k in rows},
            "published": {n: vars(p) for n, p in published().items()}, **bench.evaluate(measured(rows), KERNELS, published()),
            "operations": {k: {o: r.to_json() for o, r in of.items()} for k, of in rows.items()}}


class Bars(unittest.TestCase):
    def missed(self, rows: dict, repeat: tuple[float, str] = (0.0, ""), **memory: tuple[int, int]) -> list[str]:
        return [bar["name"] for bar in bench.evaluate(measured(rows, repeat, **memory), KERNELS, published())["bars"] if not bar["met"]]

    def test_met(self) -> None:
        self.assertEqual(self.missed(found()), [])

    def test_each_can_be_missed(self) -> None:
        self.assertIn("two runs count the same (x)", self.missed(found(), (0.002, "x")))
        for kernel, name, kind, more, bar in (("off", "null-syscall", "insn", 20, "off: null-syscall: instructions over 'unhardened'"),
                                              ("batched", "ping-pong", "insn", 60, "batched: ping-pong: instructions over 'unhardened'"),
                                              # Reads of the register allow no instructions: they are what is to be bounded.
                                              ("batched", "ping-pong", "por_read", 5, "batched: ping-pong: reads of POR_EL1"),
                                              ("batched", "null-syscall", "por_read", 1, "batched: null-syscall: reads of POR_EL1"),
                                              ("batched", "null-syscall", "insn", 20, "batched: null-syscall: instructions over 'unhardened'"),
                                              ("batched", "ping-pong", "por_write", 2, "batched: ping-pong: writes of POR_EL1"),
                                              ("off", "munmap-small", "insn", 20, "off: munmap-small: instructions"),
                                              ("batched", "fork-small", "isb", 1, "batched: fork-small: estimated overhead"),
                                              ("batched", "munmap-huge", "insn", 200, "batched: munmap-huge: estimated overhead")):
            rows = found()
            rows[kernel][name].counts[kind] += more
            self.assertIn(bar, self.missed(rows), (kernel, name, kind))
        rows = found()
        for kind, more in (("insn", 50), ("por_read", 5), ("switches", 5)):
            rows["batched"]["ping-pong"].counts[kind] += more
        self.assertIn("batched: ping-pong: instructions over 'unhardened'", self.missed(rows))

    def test_the_mock_writes_as_often(self) -> None:
        """What patches/mock promises, of a register that the plugin is told of."""
        bar = "mock: writes of the register and ISBs are those of 'batched'"
        for kind, more in (("por_write", 2), ("isb", -2)):
            rows = found()
            rows["mock"]["fork-huge"].counts[kind] += more
            self.assertIn(bar, self.missed(rows), kind)
            # Where a table happens to be freed in an interrupt
            rows["mock"]["fork-huge"].functions["pageattr_pte_entry"] = {kind: float(more)}
            self.assertNotIn(bar, self.missed(rows), kind)
        self.assertIn("mock", KERNELS["mock"].build)
        self.assertEqual(len({k.build for k in KERNELS.values()}), len({k.fragments for k in KERNELS.values()}))
        argv = bench.Machine(bench.qemu.Qemu(Path("qemu"), "", True), Path("count.so")).argv(
            bench.Built(Path("Image"), Path("map"), Path("m.ko")), KERNELS["mock"], Path("a.cpio"), 640, [], Path("counts"))
        self.assertIn(",por=d518d020", argv[-1])

    def test_tables_are_counted_twice(self) -> None:
        bar = "batched: page tables made are those that were given a pkey"
        for kind, more in (("tables", -4), ("keyed", 4), ("set_memory", 4)):
            rows = found()
            rows["batched"]["fork-small"].counts[kind] += more
            self.assertIn(bar, self.missed(rows), kind)
        rows = found()
        rows["batched"]["fork-small"].counts["tables"] += 1
        rows["off"]["fork-small"].counts["set_memory"] = 0
        self.assertNotIn(bar, self.missed(rows))

    def test_another_linear_map(self) -> None:
        """A parameter that does not do what it is there for shows in the memory that is left: figures of a guest with 640 MB."""
        bar = "linear maps are as bench.ini says, by free memory"
        self.assertEqual(bench.memory("Memory: 634348K/655360K available (2624K kernel code, 636K rwdata)\n"), (634348, 655360))
        rows = {**found(), "block-mapped": found()["unhardened"]}
        self.assertNotIn(bar, self.missed(rows, block_mapped=(634348, 655360), batched=(633012, 655360)))
        self.assertIn(bar, self.missed(rows))
        self.assertIn(bar, self.missed(rows, block_mapped=(634348, 655360), batched=(634284, 655360)))

    def test_without_the_unbatched_kernel_nothing_is_estimated(self) -> None:
        rows = found()
        del rows["unbatched"]
        result = bench.evaluate(measured(rows), KERNELS, published())
        self.assertIsNone(result["model"])
        missed = [bar["name"] for bar in result["bars"] if not bar["met"]]
        self.assertEqual(missed, [f"batched: {name}: estimated overhead" for name in ("fork-small", "fork-huge", "munmap-small", "munmap-huge")])
        # Who asks for some kernels is not told what the others would say.
        result = bench.evaluate(measured(rows), KERNELS, published(), whole=False)
        self.assertFalse(any("estimated" in bar["name"] for bar in result["bars"]))

    def test_more_is_allowed_where_listed(self) -> None:
        rows = found()
        for name in ("fork-small", "fork-huge"):
            rows["off"][name].counts["insn"] *= 1.02
        for more, missed in (("", ["off: fork-small: instructions", "off: fork-huge: instructions"]),
                             ("fork-small 2.5", ["off: fork-huge: instructions"]),
                             ("fork-small 1.5, fork-huge 2.5", ["off: fork-small: instructions"])):
            kernels = KERNELS | {"off": dataclasses.replace(KERNELS["off"], more=bench._more(more))}
            found_bars = bench.evaluate(measured(rows), kernels, published())["bars"]
            self.assertEqual([bar["name"] for bar in found_bars if not bar["met"]], missed)

    def test_a_lost_operation_is_missed(self) -> None:
        for kernel, name, bar in (("off", "ping-pong", "off: ping-pong"), ("off", "fork-huge", "off: fork-huge: instructions"),
                                  ("batched", "munmap-small", "batched: munmap-small: estimated overhead"),
                                  ("unhardened", "fork-small", "batched: fork-small: estimated overhead")):
            rows = found()
            del rows[kernel][name]
            self.assertIn(bar, self.missed(rows), (kernel, name))

    def test_what_the_model_cannot_tell(self) -> None:
        """An estimate that is nearer to the bar than the model's error says so, met or not."""
        rows = {bar["name"]: bar for bar in bench.evaluate(measured(found()), KERNELS, published())["bars"]}
        row = rows["batched: fork-small: estimated overhead"]
        self.assertEqual((row["value"], row["bar"]), ("0.17 %", "< 0.255 %"))
        self.assertIn("published +0.2", row["note"])
        self.assertIn("instructions alone +0.02 %; error of the model 0.1 %: the model cannot tell", row["note"])
        # What makes it, where something does: less in a function is chance.
        changed = found()
        changed["batched"]["fork-small"].functions["set_ptes"] = {"insn": 90.0}
        changed["unhardened"]["fork-small"].functions["free_one_page"] = {"insn": 80.0}
        changed["off"]["fork-small"].functions["set_ptes"] = {"insn": 60.0}
        notes = {bar["name"]: bar["note"] for bar in bench.evaluate(measured(changed), KERNELS, published())["bars"]}
        self.assertIn("; set_ptes +9.00 %; free_one_page -8.00 %", notes[row["name"]])
        self.assertEqual(notes["off: fork-small: instructions"], "set_ptes +6.00 %, free_one_page -8.00 %")
        more = found()
        for name, operation in more["batched"].items():
            operation.counts["insn"] += 0 if name != "fork-small" else 400
        row = next(b for b in bench.evaluate(measured(more), KERNELS, published())["bars"] if b["name"] == row["name"])
        self.assertFalse(row["met"])
        self.assertNotIn("cannot tell", row["note"])
        self.assertTrue(benchmodel.told_apart(0, 10, 0.05))
        self.assertFalse(benchmodel.told_apart(3, 3.355, 0.05))


class Report(unittest.TestCase):
    def test_everything_is_written(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            out = Path(name)
            text = benchreport.write(data(), out, out / "history.jsonl")
            self.assertRegex(text, r"cost = instructions \+ \d+\.\d \* ")
            self.assertIn("these figures do not determine it", text)  # each comes with four ISBs
            self.assertIn("ATOMIC has no price", text)
            for file in ("bench.txt", "bench.md", "bench.html", "bench.json", "overhead-unbatched.svg", "overhead-batched.svg"):
                self.assertGreater((out / file).stat().st_size, 100, file)
            for plot in out.glob("*.svg"):
                xml.dom.minidom.parse(str(plot))
            page = (out / "bench.html").read_text()
            self.assertIn("&lt;b&gt;&amp;", page)
            self.assertNotIn("<b>&", page)
            self.assertEqual(json.loads((out / "bench.json").read_text())["base"], "unhardened")
            self.assertIn("fork-small", "\n".join(map(str, benchreport.letter(data()))))
            self.assertRegex(benchreport.letter_heading(data()), r"64 MB mapped, quick run,\nthe model is off by 0\.1 % ")
            self.assertFalse((out / "bench-full.json").exists())
            full = json.loads((out / "bench.json").read_text()) | {"quick": False}
            benchreport.write(full, out, out / "history.jsonl")
            benchreport.write(data(), out, out / "history.jsonl")
            self.assertTrue(json.loads((out / "bench.json").read_text())["quick"])
            self.assertFalse(json.loads((out / "bench-full.json").read_text())["quick"])

    def test_history_shows_a_change_and_only_that(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            out, history = Path(name) / "out", Path(name) / "cache" / "bench" / "history.jsonl"
            out.mkdir()
            self.assertNotIn("since", benchreport.write(data(), out, history))
            self.assertIn("nothing has changed", benchreport.write(data(), out, history))
            changed = data()
            counts = changed["operations"]["batched"]["fork-small"]["counts"]
            for kind, factor in (("insn", 1.002), ("isb", 3), ("tlbi", 1.1), ("tables", 2)):
                counts[kind] *= factor
            text = benchreport.write(changed, out, history)
            self.assertRegex(text, r"\nbatched: fork-small: instructions .* \(\+0\.20 %\), ISB .* \(\+200\.0 %\), TLBI .*, page tables made 40 -> 80 \(\+100\.0 %\)\n")
            self.assertNotIn("batched: munmap-small: instructions", text)
            # All that is counted, and not of what a line was cut short or is of an older kind.
            lines = history.read_text().splitlines()
            self.assertEqual(len(lines), 3)
            self.assertEqual(set(json.loads(lines[0])["counts"]["batched"]["fork-small"]), set(benchreport.KINDS))
            with open(history, "a") as handle:
                handle.write('{"quick": true, "size": 64, "insn": {}}\n{"cut": ')
            self.assertIn("(-0.20 %)", benchreport.write(data(), out, history))
            other = data()
            other["size"] = 1024
            self.assertNotIn("since", benchreport.write(other, out, history))

    def test_history_outlives_a_clean(self) -> None:
        with mock.patch.dict(os.environ, O="/o", CACHE="/c"):
            self.assertEqual(bench.history(), Path("/c/bench/history.jsonl"))
        self.assertEqual(benchreport.NOTABLE, bench.REPEATABLE)

    def test_guards_that_wrote_nothing(self) -> None:
        changed = data()
        row = changed["operations"]["batched"]["fork-small"]
        row["counts"].update(por_read=30.0, por_write=4.0)
        row["functions"] = {"copy_pte_range": {"insn": 900.0, "por_read": 21.0, "por_write": 1.0}, "set_ptes": {"insn": 1.0, "por_read": 9.0, "por_write": 3.0}}
        rows = benchreport.count_rows(changed)
        at = rows[0].index("guards that wrote nothing")
        self.assertEqual([r[at] for r in rows if r[:2] == ["fork-small", "batched"]], ["26"])
        self.assertEqual(benchreport.avoidable(changed, "batched")[1], ["copy_pte_range", "fork-small", "20", "20"])
        self.assertEqual(benchreport.costly(changed, "batched", "fork-small")[0][-1], "guards that wrote nothing")
        self.assertIn("| copy_pte_range | fork-small | 20 | 20 |", benchreport.markdown(changed))

    def test_errors_stand_beside_the_figures(self) -> None:
        changed = data()
        changed["estimates"]["unbatched"]["fork-small"], changed["published"]["fork-small"]["unbatched"] = 100.0, 50.0
        row = benchreport.model_rows(changed)[1]
        self.assertEqual(row[:4], ["fork-small", "+50.0", "+100.0", "+28.8"])
        self.assertEqual(row[-1], "-0.10")

    def test_published_figures_are_on_all_plots(self) -> None:
        for kernel, of in (("unbatched", "unbatched"), ("batched", "batched"), ("off", "batched"), ("mock", "batched")):
            self.assertIn(f"published, {of}<", benchreport.svg(data(), kernel), kernel)

    def test_costly_functions(self) -> None:
        rows = benchreport.costly(data(), "unbatched", "fork-small")
        self.assertEqual(rows[1][0], "copy_pte_range")
        self.assertEqual(rows[1][1], "500")  # 40 instructions, 4 ISBs of 40, 1 TLBI of 300


class Mock(unittest.TestCase):
    EXPECTED = [guests.Expected("s", "refused", ""), guests.Expected("s", "works", ""), guests.Expected("s", "lacks", "a reason")]
    GOOD = {("s", "refused"): "failed", ("s", "works"): "passed", ("s", "lacks"): "skipped"}
    LISTED = [benchmock.NotEnforced("s.ref*", "reported == *", "why")]
    NOT_REFUSED = "Expected try_write(p(1)) == -14, but try_write(p(1)) == 0 (0x0)"
    NOT_REPORTED = 'Expected reported == expected, but reported == ""'

    def judge(self, *told: str, **changes: str) -> tuple[int, int, list[str]]:
        statuses = {**self.GOOD, **{("s", case): status for case, status in changes.items()}}
        return benchmock.judge(statuses, lambda suite, case: [("a.c:1", text) for text in told or (self.NOT_REFUSED, self.NOT_REPORTED)],
                               self.EXPECTED, self.LISTED, ("s",))

    def test_judge(self) -> None:
        self.assertEqual(self.judge(), (1, 1, []))
        self.assertEqual(self.judge(self.NOT_REFUSED + " CPU 0", self.NOT_REPORTED), (1, 1, []))
        for case, status in (("refused", "crashed"), ("works", "skipped"), ("lacks", "passed")):
            self.assertEqual(len([p for p in self.judge(**{case: status})[2] if p.startswith(f"s.{case}: {status}")]), 1, (case, status))
        self.assertIn("s.works: failed for another reason than that nothing is refused: a.c:1: Expected reported", "".join(self.judge(works="failed")[2]))
        # Something has to show that nothing is enforced.
        self.assertIn("no case showed", "".join(self.judge(refused="passed")[2]))
        self.assertTrue(benchmock.judge({}, lambda suite, case: [], self.EXPECTED, self.LISTED, ("s",))[2])

    def test_what_is_not_a_refusal(self) -> None:
        for told in ("Expected try_write(p) == -14, but try_write(p) == -22 (0xffffffffffffffea)", "Expected try_write(p) == 0, but try_write(p) == -14",
                     "Expected a == -14, but b == 0 (0x0)", "Expected reportedly == expected, but x == 1", "something else"):
            self.assertEqual([p[:9] for p in self.judge(self.NOT_REFUSED, self.NOT_REPORTED, told)[2]], ["s.refused"], told)

    def test_each_line_is_needed(self) -> None:
        self.assertEqual(self.judge(self.NOT_REFUSED)[2], ["not-enforced.txt: s.ref*: 'reported == *' did not fail in any such case"])

    def test_no_reason_told(self) -> None:
        problems = benchmock.judge(self.GOOD, lambda suite, case: [], self.EXPECTED, [], ("s",))[2]
        self.assertEqual(problems, ["s.refused: failed, and the console does not tell why"])

    def test_times(self) -> None:
        found = benchmock.times("bench op 5 fork-small 4 8000\nbench end\n")
        self.assertEqual(found, {"fork-small": 2000.0})
        rows = benchmock.compare({"unhardened": found, "batched": {"fork-small": 2100.0}}, published())
        self.assertEqual(rows[1][:2], ["fork-small", "+5.0"])
        with self.assertRaisesRegex(ui.Failure, "bench failed: fork"):
            benchmock.times("bench failed: fork: no\n")


class Command(support.ProjectTest):
    def test_bad_input(self) -> None:
        self.assertFails(self.project.run("bench", "fastest"), 2, "there is no kernel 'fastest'", "kernels: unhardened, ")
        self.assertFails(self.project.run("bench", "--here", "Mine!"), 2, "is no name for a run")
        (self.project.path / "kunit/bench/bench.ini").write_text("[kernel a]\n")
        self.assertFails(self.project.run("bench"), 2, "bench.ini: ", "about")
        self.assertNothingLeft()

    @unittest.skipIf(__import__("platform").machine() == "aarch64", "this machine can take times")
    def test_not_an_arm64_machine(self) -> None:
        self.assertFails(self.project.run("bench", "--here", "unhardened"), 2, "times are taken on arm64")

    def test_another_qemu_is_refused(self) -> None:
        self.assertFails(self.project.run("bench"), 2, "QEMU= cannot be used")


CLASSIFY = """\
#include <stdio.h>
#include "kinds.h"
int main(void)
{
	uint32_t insn;

	while (fread(&insn, sizeof(insn), 1, stdin) == 1) {
		int kind = kind_of(insn);

		puts(begins_region(insn) ? "begin" : ends_region(insn) ? "end" : kind < 0 ? "" : kinds[kind]);
	}
	return 0;
}
"""


@unittest.skipUnless(TOOLS.ready() and shutil.which("bwrap"), "no compiler: there is no tool root; 'scripts/kpkeys tools' makes it")
class Plugin(unittest.TestCase):
    """What the plugin takes instructions for, as the cross assembler encodes them."""

    def test_encodings(self) -> None:
        lines = {"isb": "isb", "dsb ish": "dsb", "dsb nshst": "dsb", "ldadd w1, w2, [x3]": "atomic", "stclr x1, [x2]": "atomic", "swpa x1, x2, [x3]": "atomic",
                 "casal x1, x2, [x3]": "atomic", "caspal x0, x1, x2, x3, [x4]": "atomic", "stlxr w1, x2, [x3]": "atomic",
                 "stxp w1, x2, x3, [x4]": "atomic", "ldxr x1, [x2]": "", "ldxp x1, x2, [x3]": "", "ldapr x1, [x2]": "", "ldar x1, [x2]": "",
                 "stlr x1, [x2]": "", "ldr x1, [x2, x3]": "", "str x1, [x2], #8": "", "ldp x1, x2, [x3]": "", "prfm pstl1strm, [x1]": "",
                 "tlbi vmalle1is": "tlbi", "tlbi vale1is, x3": "tlbi",
                 "msr S3_0_C10_C2_4, x7": "por_write", "mrs x9, S3_0_C10_C2_4": "por_read", "msr contextidr_el1, x7": "", "dmb ish": "", "nop": "", "msr tpidr_el1, x0": "",
                 "at s1e1r, x0": "", "dc zva, x0": "", "dc civac, x0": "", "ic iallu": "", "sb": "", "movz xzr, #5": "begin", "movn xzr, #5": "end",
                 "mov x0, #5": "", "mov x0, xzr": "", "svc #0": ""}
        with tempfile.TemporaryDirectory() as name:
            where = Path(name).resolve()
            (where / "a.s").write_text("\n".join([".arch armv8.5-a", *lines]) + "\n")
            (where / "classify.c").write_text(CLASSIFY)
            steps = "aarch64-linux-gnu-as a.s -o a.o && aarch64-linux-gnu-objcopy -O binary a.o a.bin && " \
                    f"gcc -Wall -Werror -I{bench.SOURCES} classify.c -o classify && ./classify < a.bin"
            said = TOOLS.run(["sh", "-c", steps], cwd=where, writable=[where], capture=True, failure=ui.Failure("it does not build")).stdout
        self.assertEqual(dict(zip(lines, said.splitlines(), strict=True)), lines)

    def test_encoding_of_the_mock(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            where = Path(name).resolve()
            (where / "a.s").write_text("msr contextidr_el1, x0\n")
            said = TOOLS.run(["sh", "-c", "aarch64-linux-gnu-as a.s -o a.o && aarch64-linux-gnu-objcopy -O binary a.o a.bin && od -An -tx4 a.bin"],
                             cwd=where, writable=[where], capture=True, failure=ui.Failure("it does not build")).stdout
        self.assertEqual(said.strip(), KERNELS["mock"].por)


if __name__ == "__main__":
    unittest.main()
