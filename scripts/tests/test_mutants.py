# SPDX-License-Identifier: GPL-2.0-only
"""Mutants of the kernel series: no guard may be overlooked, and none that nobody notices accepted."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import sys
import tempfile
import threading
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kpkeyslib import guests, kunit, mutants, mutantsites, ui  # noqa: E402
from kpkeyslib.mutants import Control, Mutant  # noqa: E402
from kpkeyslib.mutantsites import Site  # noqa: E402
from support import ProjectTest  # noqa: E402

GUARD_H = """\
#include <linux/types.h>

/*
 *	guard(kpkeys_hardened_pgtables)();
 */
KPKEYS_GUARD_COND(kpkeys_hardened_pgtables, KPKEYS_CTX_PGTABLES,
		  kpkeys_hardened_pgtables_enabled())
"""

SETTERS = """\
#include <linux/kpkeys.h>
#include <linux/mm.h>

static inline void set_one(pte_t *ptep, pte_t pte)
{
	guard(kpkeys_hardened_pgtables)();
	WRITE_ONCE(*ptep, pte);
}

static inline int __must_check set_two(pte_t *ptep,
				       pte_t pte) __must_hold(lock)
{
	if (pte_none(pte)) {
		scoped_guard(kpkeys_hardened_pgtables)
			WRITE_ONCE(*ptep, pte);
	}
	/* not guard(kpkeys_hardened_pgtables)(); */
	scoped_guard(kpkeys_hardened_pgtables) {
		WRITE_ONCE(*ptep, pte);
	}
	return 0;
}
"""

KEYING = """\
#include <linux/mm.h>

int kpkeys_protect_pgtable(void *table, int nr_pages);

struct page *pagetable_alloc(int order)
{
	struct page *page = alloc_pages(order);

	if (page && kpkeys_protect_pgtable(page_address(page),
					   1 << order))
		return NULL;
	kpkeys_unprotect_pgtable(f(page, ','), 2);
	pr_info("kpkeys_hardened_pgtables: on");
	update(start, pgprot_pgtable(prot(1, 2)));
	if (kpkeys_hardened_pgtables_enabled())
		isb();
	return page;
}

#define pgtable_set_fixmap(idx, addr) \\
	__set_fixmap_offset(idx, addr, pgprot_pgtable(NORMAL))
#define pte_set_fixmap(addr)	((pte_t *)pgtable_set_fixmap(FIX_PTE, addr))
"""


def rewrite(**files: str) -> tuple[dict[str, str], list[Site]]:
    """What becomes of files; __ in a name stands for a slash, the last _ for the dot."""
    return mutantsites.rewrite({"/".join(n.rsplit("_", 1)[0].split("__")) + "." + n.rsplit("_", 1)[1]: t for n, t in files.items()}, check=False)


class TestSites(unittest.TestCase):
    """What is found, and what the sources then look like."""

    def names(self, **files: str) -> list[str]:
        return [s.name for s in rewrite(**files)[1]]

    def refused(self, *patterns: str, **files: str) -> None:
        with self.assertRaises(ui.Failure) as caught:
            rewrite(linux__kpkeys_h=GUARD_H, **files)
        for pattern in patterns:
            self.assertRegex(caught.exception.message, pattern)
        self.assertIn("mutantsites.py", caught.exception.remedy)

    def test_guards(self):
        changed, sites = rewrite(linux__kpkeys_h=GUARD_H, mm__set_h=SETTERS)
        self.assertEqual([s.name for s in sites], ["mm/set.h:set_one:guard", "mm/set.h:set_two:guard", "mm/set.h:set_two:guard:2"])
        self.assertEqual([s.number for s in sites], [1, 2, 3])
        text = changed["mm/set.h"]
        self.assertIn("\tguard(kpkeys_mutant_1)();\n", text)
        self.assertIn("\t\tscoped_guard(kpkeys_mutant_2)\n", text)
        self.assertIn("\tscoped_guard(kpkeys_mutant_3) {\n", text)
        self.assertIn("/* not guard(kpkeys_hardened_pgtables)(); */", text)
        self.assertTrue(text.startswith("#include <linux/kpkeys_mutant.h>\n#include <linux/kpkeys.h>\n"))

    def test_guard_copies(self):
        """Each site has a guard of its own, after the real one and with its condition."""
        text = rewrite(linux__kpkeys_h=GUARD_H, mm__set_h=SETTERS)[0]["linux/kpkeys.h"]
        for number in (1, 2, 3):
            self.assertIn(f"KPKEYS_GUARD_COND(kpkeys_mutant_{number}, KPKEYS_CTX_PGTABLES, "
                          f"(kpkeys_hardened_pgtables_enabled()) && !kpkeys_mutant_is({number}))\n", text)
        self.assertLess(text.index("KPKEYS_GUARD_COND(kpkeys_hardened_pgtables,"), text.index("kpkeys_mutant_1"))

    def test_guard_of_the_architecture(self):
        text = rewrite(linux__kpkeys_h=GUARD_H.replace("KPKEYS_GUARD_COND(", "KPKEYS_GUARD_ARCH(").replace(
            "kpkeys_hardened_pgtables_enabled())", "enter, leave)"), mm__set_h=SETTERS)[0]["linux/kpkeys.h"]
        self.assertIn("KPKEYS_GUARD_COND(kpkeys_mutant_3, KPKEYS_CTX_PGTABLES, kpkeys_hardened_pgtables_enabled() && !kpkeys_mutant_is(3))\n", text)

    def test_guard_defined_anew(self):
        self.refused("defined in a new way: KPKEYS_GUARD_TRY", mm__set_h=SETTERS,
                     mm__other_h="#include <x.h>\nKPKEYS_GUARD_TRY(kpkeys_hardened_pgtables, KPKEYS_CTX_PGTABLES)\n")

    def test_guard_undefined(self):
        with self.assertRaisesRegex(ui.Failure, "defined nowhere"):
            rewrite(mm__set_h=SETTERS)

    def test_calls(self):
        changed, sites = rewrite(mm__key_c=KEYING)
        self.assertEqual([s.name.removeprefix("mm/key.c:") for s in sites],
                         ["pagetable_alloc:kpkeys_protect_pgtable", "pagetable_alloc:kpkeys_unprotect_pgtable",
                          "pagetable_alloc:pgprot_pgtable", "pagetable_alloc:enabled", "pgtable_set_fixmap:pgprot_pgtable",
                          "pte_set_fixmap:fixmap"])
        text = changed["mm/key.c"]
        for line in ("	if (page && (kpkeys_mutant_is(1) ? 0 : kpkeys_protect_pgtable(page_address(page),\n					   1 << order)))\n",
                     "	(kpkeys_mutant_is(2) ? (void)0 : kpkeys_unprotect_pgtable(f(page, ','), 2));\n",
                     "	update(start, (kpkeys_mutant_is(3) ? (prot(1, 2)) : pgprot_pgtable(prot(1, 2))));\n",
                     "	if ((kpkeys_hardened_pgtables_enabled() && !kpkeys_mutant_is(4)))\n		isb();\n",
                     "	__set_fixmap_offset(idx, addr, (kpkeys_mutant_is(5) ? (NORMAL) : pgprot_pgtable(NORMAL)))\n",
                     "((pte_t *)(kpkeys_mutant_is(6) ? set_fixmap_offset((FIX_PTE), (addr)) : pgtable_set_fixmap(FIX_PTE, addr)))\n",
                     "\nint kpkeys_protect_pgtable(void *table, int nr_pages);\n"):
            self.assertIn(line, text)

    def test_statement(self):
        changed, sites = rewrite(mm__a_h="#include <x.h>\nstatic inline void arch_leave_lazy_mmu_mode(void)\n{\n\tif (a)\n\t\tb();\n\telse\n\t\tisb();\n}\n")
        self.assertEqual([s.name for s in sites], ["mm/a.h:arch_leave_lazy_mmu_mode:isb"])
        self.assertIn("\telse\n\t\tdo { if (!kpkeys_mutant_is(1)) isb(); } while (0);\n", changed["mm/a.h"])

    def test_unrelated_functions(self):
        """isb() and the walk count where they are part of the protection."""
        self.assertEqual(self.names(mm__a_c="#include <x.h>\nvoid f(void)\n{\n\tisb();\n\twalk_kernel_page_table_range_lockless(1);\n}\n"), [])

    def test_preprocessor_and_structures(self):
        """Neither conditions with braces of their own nor initialisers confuse what function a site is in."""
        text = ("#include <x.h>\nstatic const struct ops ops = {\n\t.a = b,\n};\n\n#ifdef A\nvoid one(int a)\n#else\nvoid two(long (*a)(int))\n#endif\n{\n"
                "#ifdef B\n\tif (x) {\n#else\n\tif (y) {\n#endif\n\t\tguard(kpkeys_hardened_pgtables)();\n\t}\n}\n\nint\nthree(void)\n{\n"
                "\tguard(kpkeys_hardened_pgtables)();\n}\n")
        self.assertEqual(self.names(linux__kpkeys_h=GUARD_H, mm__a_c=text), ["mm/a.c:two:guard", "mm/a.c:three:guard"])

    def test_checkers(self):
        """Tests and the scanner are left alone."""
        self.assertEqual(self.names(mm__tests__x_kunit_c=SETTERS, mm__kpkeys_hardened_pgtables_debug_c=KEYING), [])

    def test_unknown_uses(self):
        """A guard in a form that cannot be rewritten is an error, not an omission."""
        function = "#include <x.h>\nvoid f(void)\n{{\n\t{}\n}}\n"
        for code, word in (("CLASS(kpkeys_hardened_pgtables, g)();", "kpkeys_hardened_pgtables"),
                           ("scoped_cond_guard(kpkeys_hardened_pgtables, return) {}", "kpkeys_hardened_pgtables"),
                           ("class_kpkeys_hardened_pgtables_constructor();", "class_kpkeys_hardened_pgtables_constructor"),
                           ("visit = kpkeys_protect_pgtable;", "kpkeys_protect_pgtable"),
                           ("kpkeys_protect_pgtables(t, 1);", "kpkeys_protect_pgtables"),
                           ("my_protect_pgtable(t);", "my_protect_pgtable"),
                           ("kpkeys_set_context(KPKEYS_CTX_PGTABLES);", "KPKEYS_CTX_PGTABLES")):
            with self.subTest(code):
                self.refused(rf"^mm/a\.c:4: {word} in f\(\)", mm__a_c=function.format(code))
        for text in ("static inline void f(void) { guard(kpkeys_hardened_pgtables)(); }\n",
                     "static int x = kpkeys_protect_pgtable(1, 2);\n", "#define w(x) do { my_pgprot_pgtable(x); } while (0)\n"):
            with self.subTest(text):
                self.refused(r"^mm/a\.c:2: ", mm__a_c="#include <x.h>\n" + text)

    def test_idle_rules(self):
        """A rule that finds nothing was made for something that is gone, or the series is not applied."""
        with self.assertRaisesRegex(ui.Failure, "no site for: .*kpkeys_thread_switch"):
            mutantsites.rewrite({"include/linux/kpkeys.h": GUARD_H, "mm/set.h": SETTERS})
        with self.assertRaisesRegex(ui.Failure, "no site for: guard"):
            mutantsites.rewrite({"mm/x.c": "#include <x.h>\n"})

    def test_specials(self):
        """Code that is no call, in exactly one place."""
        name = "arch__arm64__kernel__process_c"
        good = "#include <x.h>\nvoid kpkeys_thread_switch(struct task_struct *next)\n{\n\tcurrent->thread.por_el1 = por;\n}\n"
        changed, sites = rewrite(**{name: good})
        self.assertEqual([s.name for s in sites], ["arch/arm64/kernel/process.c:kpkeys_thread_switch:save"])
        self.assertIn("do { if (!kpkeys_mutant_is(1)) current->thread.por_el1 = por; } while (0);", changed["arch/arm64/kernel/process.c"])
        for bad in (good.replace("por;", "x;"), good.replace("por;\n", "por;\n\tcurrent->thread.por_el1 = por;\n")):
            self.refused("places match the rule for save", **{name: bad})

    def test_generated(self):
        changed, _ = mutantsites.rewrite({"mm/x.c": "#include <x.h>\n", "mm/Makefile": "obj-y := x.o\n"}, check=False)
        self.assertEqual(changed["mm/Makefile"], "obj-y := x.o\nobj-y += kpkeys_mutant.o\n")
        self.assertEqual(set(changed), {"mm/Makefile", mutantsites.HEADER, mutantsites.SOURCE})

    def test_built(self):
        self.assertEqual(mutantsites.built(b"\0kpkeys_mutant_site=3\0GCC\0kpkeys_mutant_site=12\0kpkeys_mutant_site=x\0"), {3, 12})


class TestCopy(unittest.TestCase):
    """The copy of the source tree."""

    def setUp(self):
        top = tempfile.TemporaryDirectory()
        self.addCleanup(top.cleanup)
        self.tree, self.copy = Path(top.name) / "tree", Path(top.name) / "copy"
        for name in ("a.c", "d/b.c", "d/e/c.h"):
            (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
            (self.tree / name).write_text(name)

    def contents(self) -> dict[str, str]:
        return {str(p.relative_to(self.copy)): p.read_text() for p in self.copy.rglob("*") if p.is_file()}

    def test_copy(self):
        mutants.copy(self.tree, {"d/b.c": "B", "d/new.c": "N"}, self.copy)
        self.assertEqual(self.contents(), {"a.c": "a.c", "d/b.c": "B", "d/new.c": "N", "d/e/c.h": "d/e/c.h"})
        self.assertEqual((self.tree / "d/b.c").read_text(), "d/b.c")
        self.assertFalse((self.copy / "d/b.c").is_symlink())

    def test_again(self):
        """Nothing is touched that need not be; what is gone goes; what had sites keeps a new time stamp."""
        mutants.copy(self.tree, {"d/b.c": "B", "d/new.c": "N"}, self.copy)
        os.utime(self.copy / "d/b.c", (1, 1))
        mutants.copy(self.tree, {"d/b.c": "B"}, self.copy)
        self.assertEqual((self.copy / "d/b.c").stat().st_mtime, 1)
        self.assertFalse((self.copy / "d/new.c").exists())
        (self.tree / "a.c").unlink()
        mutants.copy(self.tree, {}, self.copy)
        self.assertEqual(self.contents(), {"d/b.c": "d/b.c", "d/e/c.h": "d/e/c.h"})
        self.assertFalse((self.copy / "d/b.c").is_symlink())
        self.assertGreater((self.copy / "d/b.c").stat().st_mtime, 1)


def boot(*lines: str, timed_out: bool = False, hits: int | None = None, tail: str = "", number: int = 7, **cases: str) -> kunit.Boot:
    """A run with the cases toy.NAME=STATUS of kunit.py's JSON."""
    console = "Booting\n" + ("KTAP version 1\n1..1\n" if cases else "") + "".join(line + "\n" for line in lines) + tail
    if hits is not None:
        console += f"[ 1.0] kpkeys_mutant {number}: hits={hits}\n"
    data = {"test_cases": [], "sub_groups": [{"name": "toy", "sub_groups": [], "test_cases": [{"name": n, "status": s} for n, s in cases.items()]}]}
    return kunit.Boot(console, data if cases else None, timed_out, 1.5)


class TestJudge(unittest.TestCase):
    """What became of a mutant."""

    control = Control([("toy", "one"), ("toy", "two")], 1.0)

    def judge(self, run: kunit.Boot) -> Mutant:
        mutant = Mutant(Site(7, "mm/x.c:f:guard"))
        mutants.judge(mutant, run, self.control)
        return mutant

    def test_survives(self):
        mutant = self.judge(boot(one="PASS", two="PASS", three="FAIL", hits=5))
        self.assertEqual((mutant.killed, mutant.hits, mutant.verdict), ("", 5, "SURVIVED"))
        self.assertEqual(self.judge(boot(one="PASS", two="PASS", hits=0)).verdict, "SURVIVED (never ran)")
        self.assertEqual(self.judge(boot(one="PASS", two="PASS", hits=5, number=8)).hits, 0)
        self.assertEqual(Mutant(Site(1, "x"), built=False).verdict, "SURVIVED (not in this kernel)")

    def test_killed(self):
        for run, killed in ((boot(one="PASS", two="FAIL"), "toy.two"),
                            (boot(one="FAIL", two="FAIL"), "toy.one and 1 more"),
                            (boot(one="PASS", two="ERROR"), "toy.two"),
                            (boot(one="PASS", two="SKIP"), "toy.two (skipped)"),
                            (boot(one="PASS"), "toy.two (did not run)"),
                            (boot(), "no results"),
                            (boot(timed_out=True), "hang at boot"),
                            (boot(one="PASS", timed_out=True), "hang in toy.two"),
                            (boot("Unable to handle kernel access to user memory", timed_out=True), "hang at boot after an oops"),
                            (boot(one="PASS", two="PASS", timed_out=True), "hang after the suites"),
                            (boot(tail="[ 0.1] Kernel panic - not syncing: Oops: Fatal exception\n"), "panic at boot: Oops: Fatal exception"),
                            (boot(one="PASS", tail="Kernel panic - not syncing: x\n"), "panic in toy.two: x"),
                            (boot(one="FAIL", timed_out=True), "toy.one, then hang in toy.two")):
            with self.subTest(killed):
                self.assertEqual(self.judge(run).killed, killed)

    def test_control(self):
        """A mutant cannot be told from a kernel whose tests fail anyway."""
        with mock.patch.object(mutants, "SUITES", ("toy",)):
            control = mutants.control_of(boot(one="PASS", two="SKIP"))
            self.assertEqual((control.passed, control.limit), ([("toy", "one")], 30))
            for bad in (boot(one="PASS", two="FAIL"), boot(one="SKIP"), boot(), boot(one="PASS", timed_out=True),
                        boot(one="PASS", tail="Kernel panic - not syncing: x\n")):
                with self.assertRaisesRegex(ui.Failure, "without a mutant the tests do not pass"):
                    mutants.control_of(bad)
        with self.assertRaisesRegex(ui.Failure, "no case of kpkeys passed"):
            mutants.control_of(boot(one="PASS"))


class TestRunner(unittest.TestCase):
    """Several guests at a time."""

    def runner(self, boots) -> mutants._Runner:
        top = tempfile.TemporaryDirectory()
        self.addCleanup(top.cleanup)
        for patch in (mock.patch.dict("os.environ", O=top.name, J="2"), mock.patch.object(kunit, "boot", side_effect=boots)):
            patch.start()
            self.addCleanup(patch.stop)
        return mutants._Runner(Path(top.name) / "Image", Path(top.name), None)

    def test_busy_machine(self):
        """A time-out counts once the guest had ten times what the control takes now."""
        limits = []

        def boots(guest, tree, build, machine, results, log, limit):
            limits.append(limit)
            if "kpkeys_mutant=0" in guest.args:
                return dataclasses.replace(boot(one="PASS", two="PASS"), seconds=40.0)
            return boot(one="PASS", timed_out=True) if limit < 400 else boot(one="PASS", two="PASS", hits=3)

        mutant = Mutant(Site(7, "mm/x.c:f:guard"))
        self.runner(boots).mutant(mutant, "el1", TestJudge.control)
        self.assertEqual((mutant.verdict, limits), ("SURVIVED", [30, 1200, 400]))

    def test_interrupted(self):
        """All guests end, and no other one starts."""
        ended = threading.Event()
        started = []

        def boots(guest, *_):
            started.append(guest.args)
            if len(started) == 2:
                raise KeyboardInterrupt
            ended.wait(10)
            return boot(timed_out=True)

        runner = self.runner(boots)
        with mock.patch.object(mutants.proc, "end_all", side_effect=ended.set), self.assertRaises((KeyboardInterrupt, ui.Failure)):
            runner.boot_all([Mutant(Site(n, f"mm/x.c:f{n}:guard")) for n in range(1, 9)], "el1", TestJudge.control, lambda m: None)
        self.assertLess(len(started), 8)


class TestVerdict(unittest.TestCase):
    """No survivor without a reason, no reason without a survivor."""

    sites = [Site(1, "a:f:guard"), Site(2, "b:g:guard"), Site(3, "c:h:guard")]

    def problems(self, reasons: dict[str, str], killed: dict[str, str], ran: int = 3) -> list[str]:
        found = [Mutant(s, killed=killed.get(s.name, "")) for s in self.sites[:ran]]
        return mutants.verdict(found, self.sites, reasons)

    def test_right(self):
        self.assertEqual(self.problems({"b:g:guard": "why"}, {"a:f:guard": "x", "c:h:guard": "y"}), [])

    def test_no_reason(self):
        self.assertRegex("\n".join(self.problems({}, {"a:f:guard": "x", "c:h:guard": "y"})), "^b:g:guard: survived, and .* no reason$")

    def test_stale(self):
        everything = {s.name: "x" for s in self.sites}
        self.assertRegex("\n".join(self.problems({"b:g:guard": "why"}, everything)), "^b:g:guard: stale reason .* killed by x$")
        self.assertRegex("\n".join(self.problems({"z:g:guard": "why"}, everything)), "^z:g:guard: stale reason .* no such mutant$")

    def test_userland(self):
        """Those that only user land notices are listed, and no others."""
        def problems(late: list[str], guest: str) -> str:
            found = [Mutant(s, killed="x", guest=guest) for s in self.sites]
            return "\n".join(mutants.verdict_late(found, self.sites, dict.fromkeys(late, "why")))

        names = [s.name for s in self.sites]
        self.assertEqual(problems(names, mutants.USERLAND.name), "")
        self.assertRegex(problems(names[:1] + names[2:], mutants.USERLAND.name), "^b:g:guard: killed in userland, and .*$")
        self.assertRegex(problems(["b:g:guard"], "el1"), "^b:g:guard: killed in el1, and .*$")
        self.assertRegex(problems(["z:g:guard"], "el1"), "^z:g:guard: stale reason .* no such mutant$")

    def test_sample(self):
        """What was not run is not judged."""
        self.assertEqual(self.problems({"c:h:guard": "why"}, {"a:f:guard": "x", "b:g:guard": "x"}, ran=2), [])

    def read(self, text: str) -> dict[str, str]:
        with tempfile.TemporaryDirectory() as top:
            path = Path(top) / "survivors.txt"
            path.write_text(text)
            return mutants.reasons_in(path)

    def test_file(self):
        self.assertEqual(self.read("# comment\n\na:f:guard because\n  of this\nb:g:guard\n  that\n"), {"a:f:guard": "because of this", "b:g:guard": "that"})
        for bad, message in (("a:f:guard\n", "no reason given for a:f:guard"), ("a x\na y\n", "twice"), ("  x\n", "goes on with no line")):
            with self.assertRaisesRegex(ui.Failure, message):
                self.read(bad)

    def test_project_file(self):
        """The project's own lists can be read, and the guests and the kernels are there."""
        self.assertFalse(set(mutants.reasons_in(mutants.SURVIVORS)) & set(mutants.reasons_in(mutants.LATE)))
        # A sample is told from what goes wrong in CI's first kernel.
        self.assertEqual(guests.kernel(mutants.SMALL_KERNEL).fragments, guests.kernel("4k").fragments)
        self.assertTrue(guests.kernel(mutants.KERNEL).fragments)
        for name in mutants.GUESTS:
            self.assertEqual(mutants.guest_of(name).name, name)


class TestChoice(unittest.TestCase):
    """Which mutants run."""

    sites = [Site(n, f"{f}:set_{n}:guard") for n, f in enumerate(("a.h", "a.h", "b.c", "b.c", "c.c"), 1)]

    def test_names(self):
        for names, numbers in (((), [1, 2, 3, 4, 5]), (("3", "1"), [1, 3]), (("a.h:set_2:guard",), [2]), (("b.c:*", "3"), [3, 4]), (("*:set_5:*",), [5])):
            self.assertEqual([s.number for s in mutants.chosen(self.sites, names)], numbers)
        for name in ("9", "a.h", "nothing:*"):
            with self.assertRaisesRegex(ui.Failure, f"no mutant '{name}'".replace("*", r"\*")):
                mutants.chosen(self.sites, [name])

    def test_sample(self):
        """The same each time, whatever else there is."""
        first = mutants.chosen(self.sites, (), 3)
        self.assertEqual(len(first), 3)
        self.assertEqual(mutants.chosen(list(reversed(self.sites)), (), 3), first)
        more = mutants.chosen([*self.sites, Site(6, "d.c:new:guard")], (), 3)
        self.assertGreaterEqual(len(set(first) & set(more)), 2)
        self.assertEqual(len(mutants.chosen(self.sites, (), 100)), 5)
        with self.assertRaisesRegex(ui.Failure, "sample of -1"):
            mutants.chosen(self.sites, (), -1)


class TestCommand(ProjectTest):
    """The command on a kernel without page table hardening."""

    def test_no_series(self):
        with open(self.project.path / "kunit/guests.ini", "a") as handle:
            handle.write(f"[kernel {mutants.KERNEL}]\nfragments = toy\n")
            handle.writelines(f"[guest {name}]\nkernel = 4k\n" for name in mutants.GUESTS if name != "el1" and name not in mutants.VARIANTS)
        done = self.project.run("mutants")
        self.assertFails(done, 2, "no site for: guard", "is the series with page table hardening applied")
        self.assertNothingLeft()

    def test_list_beside_another_command(self):
        """A list of TREE='s mutants is made at once; one of our own tree waits, and says for what."""
        self.project.out.mkdir()
        with open(self.project.out / ".lock", "a+") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            done = self.project.run("mutants", "--list", TREE=self.project.kernel)
            self.assertFails(done, 2, "no site for: guard")
            child = self.project.start("mutants", "--list")
            self.assertIn("another command is using the kernel tree in the output directory, which the list is made from", child.stdout.readline())
        child.communicate(timeout=60)

    def test_bad_list(self):
        path = self.project.path / "kunit/mutants/survivors.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mm/x.c:f:guard\n")
        self.assertFails(self.project.run("mutants"), 2, "no reason given for mm/x.c:f:guard")


if __name__ == "__main__":
    unittest.main()
