# SPDX-License-Identifier: GPL-2.0-only
"""Mutants for kpkeys-lint, and the hand-made list of writes that it is held against."""

from __future__ import annotations

import json
import shutil
import re
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kpkeyslib import lintmutants, lintrun, lintwrites, mutants, mutantslint, ui  # noqa: E402

SET_H = """\
#include <linux/kpkeys.h>

static inline void set_one(pte_t *ptep, pte_t pte)
{
	guard(kpkeys_hardened_pgtables)();
	WRITE_ONCE(*ptep, pte);
}

static inline int set_two(pte_t *ptep, pte_t pte)
{
	scoped_guard(kpkeys_hardened_pgtables)
		WRITE_ONCE(*ptep, pte);

	return 0; /* guard(kpkeys_hardened_pgtables)(); */
}
"""

CONTEXT_C = """\
static u64 user(void)
{
	u64 reg = kpkeys_set_context(KPKEYS_CTX_TEST);

	if (!reg)
		return 1;
	kpkeys_restore_pkey_reg(reg);
	kpkeys_restore_pkey_reg(KPKEYS_PKEY_REG_INVAL);
	return 0;
}

static __always_inline u64 kpkeys_set_context(const int ctx)
{
	return arch_kpkeys_set_context(ctx);
}
"""

GUARD_H = """\
static __always_inline void arch_kpkeys_leave_pgtables(u64 por)
{
	if (unlikely(!__kpkeys_por_has_context(por, KPKEYS_CTX_PGTABLES)))
		arch_kpkeys_restore_pkey_reg(por);
}

#ifdef arch_kpkeys_enter_pgtables
KPKEYS_GUARD_ARCH(kpkeys_hardened_pgtables, KPKEYS_CTX_PGTABLES,
		  arch_kpkeys_enter_pgtables, arch_kpkeys_leave_pgtables)
#else
KPKEYS_GUARD_COND(kpkeys_hardened_pgtables, KPKEYS_CTX_PGTABLES,
		  kpkeys_hardened_pgtables_enabled())
#endif
"""


def made(**files: str) -> dict[str, str]:
    """The texts of the mutants of files, by name; __ in a name stands for a slash, the last _ for the dot."""
    sources = {"/".join(n.rsplit("_", 1)[0].split("__")) + "." + n.rsplit("_", 1)[1]: t for n, t in files.items()}
    with mock.patch.object(lintmutants, "check"):
        return {m.name: m.text for m in lintmutants.find(sources)}


class TestMutants(unittest.TestCase):
    """What becomes of sources."""

    def test_guard(self):
        found = made(a__set_h=SET_H)
        one, two = "a/set.h:set_one:guard:", "a/set.h:set_two:guard:"
        self.assertIn("{\n\t\n\tWRITE_ONCE", found[one + "removed"])
        self.assertIn("{ guard(kpkeys_hardened_pgtables)(); }\n\tWRITE_ONCE", found[one + "inner-block"])
        self.assertIn("WRITE_ONCE(*ptep, pte);\nguard(kpkeys_hardened_pgtables)();\n}", found[one + "after"])
        self.assertIn(") { guard(kpkeys_hardened_pgtables)();\n\tWRITE_ONCE(*ptep, pte);\n} else {\n\tWRITE_ONCE", found[one + "one-arm"])
        self.assertIn("{\n\tWRITE_ONCE(*ptep, pte);\n\n\treturn 0;", found[two + "removed"])
        self.assertIn("{ WRITE_ONCE(*ptep, pte); scoped_guard(kpkeys_hardened_pgtables) { } }", found[two + "after"])
        self.assertIn("{ scoped_guard(kpkeys_hardened_pgtables) { } WRITE_ONCE(*ptep, pte); }", found[two + "before"])

    def test_each_changes_something(self):
        for name, text in made(a__set_h=SET_H, b__context_c=CONTEXT_C).items():
            with self.subTest(name=name):
                self.assertNotEqual(text, SET_H if name.startswith("a/") else CONTEXT_C)

    def test_comments_are_no_guards(self):
        self.assertEqual(len([n for n in made(a__set_h=SET_H) if ":set_two:guard:removed" in n]), 1)

    def test_tests_have_no_guards_to_miss(self):
        self.assertEqual(made(mm__tests__set_h=SET_H), {})

    def test_guard_that_is_not_understood(self):
        for text, part in (("\tscoped_guard(kpkeys_hardened_pgtables)\n\t\tfor (;;)\n\t\t\tset(p);\n", "a statement that the rules do not know"),
                           ("\tguard(kpkeys_hardened_pgtables)(1);\n", "no statement")):
            with self.subTest(text=text), self.assertRaisesRegex(ui.Failure, f"^set.h:3: a .*{part}") as caught:
                made(set_h=f"static void set(pte_t *p)\n{{\n{text}}}\n")
            self.assertIn("lintmutants.py", caught.exception.remedy)

    def test_contexts(self):
        found = made(b__context_c=CONTEXT_C)
        name = "b/context.c:user:context:"
        self.assertIn("kpkeys_set_context(({ const int kpkeys_ctx = KPKEYS_CTX_TEST; kpkeys_ctx; }))", found[name + "const"])
        self.assertIn("static noinline u64 kpkeys_mutant_set(int ctx) { return kpkeys_set_context(ctx); }\nstatic u64 user", found[name + "wrapper"])
        # The parameter of a wrapper is no constant.
        self.assertFalse([n for n in found if ":kpkeys_set_context:context" in n])

    def test_restores(self):
        found = made(b__context_c=CONTEXT_C)
        name = "b/context.c:user:restore:"
        self.assertIn("\t(void)(reg);\n", found[name + "removed"])
        self.assertIn("return 0; kpkeys_restore_pkey_reg(reg);", found[name + "return"])
        # One that restores nothing can go.
        self.assertNotIn(name + "removed:2", found)

    def test_what_asks_whether_to_restore(self):
        name = "b/kpkeys.h:arch_kpkeys_leave_pgtables:test:"
        found = {n.removeprefix(name): re.search(r"unlikely\((.*)\)\)$", t, re.M)[1]
                 for n, t in made(b__kpkeys_h=GUARD_H).items() if n.startswith(name)}
        self.assertEqual(found.pop("more").count("kpkeys_mutant"), 2)
        self.assertIn("kpkeys_mutant", found.pop("variable"))
        self.assertEqual(found, {"inverted": "!!__kpkeys_por_has_context(por, KPKEYS_CTX_PGTABLES)",
                                 "context": "!__kpkeys_por_has_context(por, KPKEYS_CTX_DEFAULT)",
                                 "value": "!__kpkeys_por_has_context(~por, KPKEYS_CTX_PGTABLES)"})

    def test_guard_of_the_architecture(self):
        found = made(b__kpkeys_h=GUARD_H)
        name = "b/kpkeys.h:kpkeys_hardened_pgtables:"
        self.assertIn("KPKEYS_GUARD_ARCH(kpkeys_hardened_pgtables, KPKEYS_CTX_DEFAULT,", found[name + "context:default"])
        # What other architectures have is not compiled.
        self.assertFalse([n for n, t in found.items() if "KPKEYS_GUARD_COND(kpkeys_hardened_pgtables, KPKEYS_CTX_PGTABLES" not in t])
        self.assertNotIn(name + "condition:more", found)
        alone = made(b__kpkeys_h=GUARD_H[GUARD_H.index("KPKEYS_GUARD_COND"):])
        self.assertIn("kpkeys_hardened_pgtables_enabled() && ", alone[name + "condition:more"])

    def test_macro_is_looked_at_where_it_is_used(self):
        macro = ("#define KPKEYS_GUARD_COND(_name, _ctx, _cond)\t\t\\\n\tDEFINE_LOCK_GUARD_0(_name, _T->reg = kpkeys_set_context(_ctx),\t\\\n"
                 "\t\tkpkeys_restore_pkey_reg(_T->reg), u64 reg)\n")
        with mock.patch.object(lintmutants, "check"):
            found = {m.name: m.unit for m in lintmutants.find({"b/kpkeys.h": macro + GUARD_H})}
        self.assertEqual(found["b/kpkeys.h:KPKEYS_GUARD_COND:restore:removed"], "mm/tests/kpkeys_kunit.c")
        self.assertEqual(found["b/kpkeys.h:arch_kpkeys_leave_pgtables:restore:removed"], "")

    def test_macro_for_guards_of_the_architecture(self):
        macro = ("#define KPKEYS_GUARD_ARCH(_name, _ctx, _enter, _leave)\t\\\n"
                 "\tDEFINE_LOCK_GUARD_0(_name, _T->reg = _enter(_ctx), _leave(_T->reg), u64 reg)\n")
        self.assertIn("_enter(_ctx), (void)(_T->reg), u64 reg)", made(b__kpkeys_h=macro)["b/kpkeys.h:KPKEYS_GUARD_ARCH:restore:removed"])

    def test_writers(self):
        found = made(b__context_c=CONTEXT_C)
        name = "b/context.c:kpkeys_set_context:"
        self.assertIn("static inline u64 kpkeys_set_context", found[name + "inline:inline"])
        self.assertIn("}\n\nstatic typeof(kpkeys_set_context) *", found[name + "address:pointer"])

    def test_rules_that_find_nothing(self):
        with self.assertRaisesRegex(ui.Failure, "barrier"):
            lintmutants.find({"a/set.h": SET_H})

    def test_without_guards(self):
        text = lintmutants.without_guards({"a/set.h": SET_H, "b.c": CONTEXT_C, "mm/tests/set.h": SET_H})
        self.assertEqual(list(text), ["a/set.h"])
        self.assertNotIn("guard(kpkeys_hardened_pgtables)", text["a/set.h"].replace("/* guard(kpkeys_hardened_pgtables)", ""))
        self.assertEqual([len(line) for line in text["a/set.h"].splitlines()], [len(line) for line in SET_H.splitlines()])


class TestVerdict(unittest.TestCase):
    """What becomes of a mutant."""

    def outcome(self, *checks: str) -> mutantslint.Outcome:
        with tempfile.TemporaryDirectory() as directory, mock.patch.object(mutantslint, "directory", lambda: Path(directory)):
            linter = mock.Mock()
            linter.unit.return_value = "a.c"
            linter.run.return_value = json.dumps({"findings": [{"check": c, "file": "a.c", "line": 3} for c in checks]})
            outcome = mutantslint._Runner(linter).mutant(lintmutants.Mutant(1, "a.h:f:guard:removed", 3, "text"))
            self.assertEqual(linter.run.call_args.kwargs["units"], ["a.c"])
            self.assertTrue(any(a == f"--replace=a.h={directory}/1.h" for a in linter.run.call_args.args))
            self.assertEqual(list(Path(directory).iterdir()), [])
        return outcome

    def test_found(self):
        self.assertEqual(self.outcome("unused-exemption", "pgtable-guard").killed, "pgtable-guard at a.c:3")

    def test_not_found(self):
        self.assertEqual(self.outcome().killed, "")

    def test_exemption_without_use_is_no_answer(self):
        self.assertEqual(self.outcome("unused-exemption").killed, "")

    def test_dirty_control(self):
        linter = mock.Mock()
        linter.run.return_value = json.dumps({"findings": [{"check": "pgtable-guard", "file": "a.c", "line": 3}]})
        with self.assertRaisesRegex(ui.Failure, "without a mutant kpkeys-lint has 1 findings"):
            mutantslint._Runner(linter).control()

    def test_survivors_need_reasons(self):
        dead, alive = self.outcome("pgtable-guard"), self.outcome()
        sites = [dead.site]
        self.assertEqual(mutants.verdict([dead], sites, {}), [])
        self.assertEqual(mutants.verdict([alive], sites, {alive.site.name: "no write"}), [])
        self.assertIn("gives no reason", mutants.verdict([alive], sites, {})[0])
        self.assertIn("stale", mutants.verdict([dead], sites, {dead.site.name: "no write"})[0])


def listed(function: str, message: str, line: int = 1, shape: str = "store", file: str = "a.c") -> dict:
    return {"file": file, "function": function, "line": line, "column": 2, "shape": shape, "text": "*p", "message": message}


class TestWrites(unittest.TestCase):
    """The list of writes, and how kpkeys-lint is held against it."""

    def read(self, text: str) -> list[lintwrites.Write]:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "list")
            path.write_text(text)
            return lintwrites.read(path)

    def test_own_list(self):
        self.assertGreater(sum(w.count for w in lintwrites.read()), 25)

    def test_read(self):
        first, second = self.read("# heading\na.c::f store x2 guard A B>3 # note\n\nb.h::g escape exempt\n")
        self.assertEqual((first.key, first.count, first.state, first.configs), (("a.c", "f", "store"), 2, "guard", ("A", "B>3")))
        self.assertTrue(first.built({"CONFIG_A": "y", "CONFIG_B": "4"}))
        self.assertFalse(first.built({"CONFIG_A": "y", "CONFIG_B": "3"}))
        self.assertFalse(first.built({"CONFIG_B": "4"}))
        self.assertTrue(second.built({}))

    def test_bad_list(self):
        for text, part in (("a.c f store guard\n", ":1: not a write"), ("a.c::f store maybe\n", "not a write"), ("a.c::f guess guard\n", "not a write"),
                           ("a.c::f store guard\n" * 2, ":2: .*already"), ("#\n", "empty")):
            with self.subTest(text=text), self.assertRaisesRegex(ui.Failure, part):
                self.read(text)

    def judge(self, text: str, guarded: list[dict], bare: list[dict]) -> list[str]:
        return lintwrites.judge(self.read(text), lintwrites.places(guarded), lintwrites.places(bare))

    def test_all_found(self):
        self.assertEqual(self.judge("a.c::f store guard\na.c::g store x2 exempt\n",
                                    [listed("f", "under a guard"), listed("g", "exempt: early"), listed("g", "exempt: early", 2)],
                                    # The unit that is not changed has the header as it was.
                                    [listed("f", "not under a guard"), listed("f", "under a guard"), listed("g", "exempt: early"),
                                     listed("g", "exempt: early", 2)]), [])

    def test_tests_and_copies_do_not_count(self):
        self.assertEqual(self.judge("a.c::f store guard\n", [listed("t", "exempt: test", file="mm/tests/t.c")],
                                    [listed("f", "not under a guard"), listed("out", lintwrites.COPY)]), [])

    def test_what_is_wrong(self):
        good = [listed("f", "not under a guard")]
        for name, guarded, bare, part in (("missed", [], [], "0 writes are listed, there are 1"),
                                          ("one too many", [], [*good, listed("f", "not under a guard", 2)], "2 writes are listed"),
                                          ("false", [listed("h", "under a guard")], good, "a.c:1:2: h: store: no such write"),
                                          ("guarded by what is not there", [], [listed("f", "under a guard")], "it is under a guard, it should be guard"),
                                          ("exempt", [], [listed("f", "exempt: x")], "it is exempt, it should be guard")):
            with self.subTest(name=name):
                self.assertIn(part, "\n".join(self.judge("a.c::f store guard\n", guarded, bare)))


class TestUnits(unittest.TestCase):
    """Which unit a change is looked at in."""

    def setUp(self):
        self.root = Path(tempfile.mkdtemp(prefix="kpkeys-units-"))
        self.addCleanup(lambda: shutil.rmtree(self.root))
        self.tree = self.root / "src"
        entries = []
        for name, headers in (("big.c", ("a.h", "b.h")), ("small.c", ("a.h",)), ("twice.c", ()), ("twice.c", ("c.h",))):
            command = f"cc -D__KERNEL__ -c -o {name}.o {self.tree / name}"
            entries.append({"directory": str(self.root), "file": str(self.tree / name), "command": command})
            words = " ".join(str(self.tree / h) for h in headers)
            (self.root / f".{name}.o.cmd").write_text(f"deps := {words} \\\n")
        (self.root / "commands").write_text(json.dumps(entries))
        self.linter = lintrun.Linter(Path("lint"), self.root / "commands", mock.Mock(tree=self.tree))

    def test_the_smallest_reader(self):
        self.assertEqual(self.linter.unit("a.h"), "small.c")
        self.assertEqual(self.linter.unit("b.h"), "big.c")

    def test_a_unit_itself(self):
        self.assertEqual(self.linter.unit("big.c"), "big.c")

    def test_read_by_none(self):
        for name in ("gone.h", "twice.c", "c.h"):
            with self.subTest(name=name), self.assertRaisesRegex(ui.Failure, name):
                self.linter.unit(name)


if __name__ == "__main__":
    unittest.main()
