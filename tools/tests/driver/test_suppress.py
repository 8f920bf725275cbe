# SPDX-License-Identifier: GPL-2.0-only
"""Suppressions from the outside; their grammar has unit tests."""

from support import BAD, CLEAN, LintTest


def with_comment(comment: str) -> str:
    return BAD.replace("(x);", f"(x); /* {comment} */")


class CommentTest(LintTest):
    def test_reason_given(self):
        self.tree.add("a.c", with_comment("kpkeys-lint: allow(context-constant) x is a constant in disguise"))
        done = self.lint()
        self.assertIn("1 suppressed", done.stderr)

    def test_no_reason(self):
        self.tree.add("a.c", with_comment("kpkeys-lint: allow(context-constant)"))
        self.assertEqual([f["check"] for f in self.findings()], ["context-constant", "suppression"])

    def test_not_needed(self):
        self.tree.add("a.c", CLEAN.replace("(1);", "(1); // kpkeys-lint: allow(context-constant) once upon a time"))
        found = self.findings()
        self.assertEqual([(f["check"], f["line"]) for f in found], [("suppression", 4)])
        self.assertIn("is not needed", found[0]["message"])

    def test_not_needed_in_a_header_is_told_once(self):
        self.tree.write("include/h.h", "/* kpkeys-lint: allow(context-constant) why */\nextern int y;\n")
        for n in range(3):
            self.tree.add(f"a{n}.c", "#include <h.h>\n" + CLEAN)
        self.assertEqual(self.places(), [("suppression", "include/h.h", 1, 4)])

    def test_found_from_the_cache_as_well(self):
        self.tree.add("a.c", with_comment("kpkeys-lint: allow(context-constant) why"))
        for _ in range(3):
            self.lint()

    def test_part_of_the_tree_cannot_tell(self):
        self.tree.add("a.c", "// kpkeys-lint: allow(context-constant) why\n" + CLEAN)
        self.tree.add("b.c", CLEAN)
        self.lint("a.c", "--per-unit")
        self.lint("b.c")
        self.lint("a.c", expect=1)

    def test_unit_that_failed_may_have_needed_it(self):
        self.tree.write("include/h.h", "/* kpkeys-lint: allow(context-constant) why */\nextern int y;\n")
        self.tree.add("a.c", "#include <h.h>\n" + CLEAN)
        self.tree.add("broken.c", "#include <h.h>\nsyntax error\n")
        self.assertEqual(self.lint(expect=3).stdout, "")

    def test_check_that_did_not_run_cannot_tell(self):
        self.tree.add("a.c", "// kpkeys-lint: allow(context-constant) why\n" + CLEAN)
        self.lint("--checks=-context-constant")


class ListTest(LintTest):
    def setUp(self):
        super().setUp()
        self.list = self.tree.root / "list"
        self.tree.add("a.c", BAD)

    def run_with(self, text: str, **options):
        self.list.write_text(text)
        return self.lint(f"--suppressions={self.list}", **options)

    def test_used(self):
        self.run_with("# reviewed\ncontext-constant a.c::bad a reason\n")

    def test_of_another_function(self):
        done = self.run_with("context-constant a.c::other a reason\n", expect=1)
        self.assertIn("[context-constant]", done.stdout)
        self.assertIn("'context-constant a.c::other' is not needed [suppression]", done.stdout)
        self.assertIn(f"{self.list}:1:1: error:", done.stdout)

    def test_two_lists(self):
        other = self.tree.root / "other"
        other.write_text("pgtable-guard a.c why\n")
        done = self.run_with("context-constant a.c why\n", expect=0)
        self.assertIn("1 suppressed", done.stderr)
        self.lint(f"--suppressions={self.list}", f"--suppressions={other}", expect=1)
