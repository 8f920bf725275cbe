# SPDX-License-Identifier: GPL-2.0-only
"""Whatever is wrong with the input: one clear line, the right status, never a clean verdict."""

import json
import os
import subprocess

from support import BAD, CLEAN, PROGRAM, LintTest


class DatabaseTest(LintTest):
    def test_no_database(self):
        self.assertOneLine(self.lint(expect=2), "no compilation database", str(self.tree.build), "gen_compile_commands.py")

    def test_empty(self):
        self.tree.save()
        self.assertOneLine(self.lint(expect=2), "the database is empty", "make compile_commands.json")

    def test_not_a_database(self):
        for text in ("", "{", "{}", "1", "[1]", "[{}]", '[{"directory": "/", "file": "a.c"}]',
                     '[{"directory": "/", "file": "a.c", "arguments": []}]'):
            with self.subTest(text=text):
                (self.tree.build / "compile_commands.json").write_text(text)
                self.assertOneLine(self.lint(expect=2), "compile_commands.json: ")

    def test_host_programs_only(self):
        self.tree.entries = [{"directory": "/", "file": "fixdep.c", "command": "gcc -o fixdep fixdep.c"}]
        self.tree.save()
        self.assertOneLine(self.lint(expect=2), "no C unit of an arm64 kernel", "1 of the host")

    def test_other_architecture(self):
        self.tree.entries = [{"directory": "/", "file": "/k/a.c", "command": "gcc -D__KERNEL__ -I/k/arch/x86/include -c /k/a.c"}]
        self.tree.save()
        self.assertOneLine(self.lint(expect=2), "another architecture: x86", "arm64")

    def test_mixed_architectures(self):
        self.tree.add("a.c", CLEAN)
        self.tree.entries.append({"directory": "/", "file": "/k/a.c", "command": "gcc -D__KERNEL__ -I/k/arch/riscv/include -c /k/a.c"})
        self.tree.save()
        self.assertOneLine(self.lint(expect=2), "another architecture: riscv")

    def test_compat_code_is_left_out(self):
        self.tree.add("a.c", CLEAN)
        self.tree.add("vdso32.c", "#error not for this tool\n", "--target=arm-linux-gnueabi")
        self.lint()

    def test_not_configured(self):
        self.tree.add("a.c", CLEAN)
        self.tree.write("Kbuild", "")
        self.assertOneLine(self.lint(expect=2), "generated header is missing", "include/generated/autoconf.h", "prepare")

    def test_unknown_unit(self):
        self.tree.add("a.c", CLEAN)
        self.assertOneLine(self.lint("b.c", expect=2), "b.c is no kernel unit of")
        self.assertOneLine(self.lint("include/linux/kpkeys.h", expect=2), "name a .c file")


class UnitTest(LintTest):
    def test_does_not_parse(self):
        self.tree.add("a.c", BAD)
        self.tree.add("broken.c", CLEAN + "int f(void) { syntax error; }\n")
        done = self.lint(expect=3)
        self.assertIn("error: broken.c: not analysed: ", done.stderr)
        self.assertIn("broken.c:7:", done.stderr)
        self.assertIn("no verdict", done.stderr)
        # What was found elsewhere is shown all the same.
        self.assertIn("[context-constant]", done.stdout)

    def test_nothing_but_a_broken_unit_is_not_clean(self):
        self.tree.add("broken.c", "syntax error\n")
        for form in ("text", "json", "sarif", "github"):
            with self.subTest(form=form):
                done = self.lint(f"--format={form}", "--fail-on=never", expect=3)
                self.assertIn("broken.c: not analysed", done.stderr)
                if form == "json":
                    report = json.loads(done.stdout)
                    self.assertFalse(report["complete"])
                    self.assertIn("broken.c", report["problems"][0])

    def test_mended_unit_is_analysed_again(self):
        self.tree.add("a.c", "syntax error\n")
        self.lint(expect=3)
        self.tree.write("a.c", CLEAN)
        self.lint()

    def test_missing_generated_header(self):
        self.tree.add("a.c", "#include <generated/bounds.h>\n" + CLEAN)
        done = self.lint(expect=3)
        self.assertIn("'generated/bounds.h' file not found", done.stderr)
        self.assertIn("prepare", done.stderr)

    def test_missing_source(self):
        self.tree.add("gone.c")
        done = self.lint(expect=3)
        self.assertIn("gone.c: not analysed", done.stderr)

    def test_many_broken_units_do_not_flood(self):
        for n in range(15):
            self.tree.add(f"broken{n}.c", "syntax error\n")
        done = self.lint(expect=3)
        self.assertEqual(done.stderr.count("not analysed: "), 10)
        self.assertIn("5 more units like these", done.stderr)
        self.assertEqual(len(json.loads(self.lint("--format=json", expect=3).stdout)["problems"]), 15)

    def test_crash_costs_one_unit(self):
        self.tree.add("crash.c", "#pragma clang __debug crash\n/* crash here */\n")
        for n in range(6):
            self.tree.add(f"a{n}.c", BAD)
        done = self.lint("-j2", expect=3)
        self.assertIn("crash.c: not analysed: the analysis crashed", done.stderr)
        self.assertEqual(done.stdout.count("[context-constant]"), 6)


class CacheTest(LintTest):
    def test_unwritable(self):
        self.tree.add("a.c", CLEAN)
        for where in ("/proc/kpkeys", str(self.tree.src / "a.c"), str(self.tree.src / "a.c" / "below")):
            with self.subTest(where=where):
                self.assertOneLine(self.lint(f"--cache-dir={where}", expect=2), where, "cannot be written", "--no-cache")
        self.lint("--no-cache")

    def test_read_only_directory(self):
        if os.geteuid() == 0:
            self.skipTest("root writes anywhere")
        self.tree.add("a.c", CLEAN)
        self.lint()
        self.tree.cache.chmod(0o500)
        for directory in self.tree.cache.iterdir():
            if directory.is_dir():
                directory.chmod(0o500)
        self.assertOneLine(self.lint(expect=2), "cannot be written")


class UsageTest(LintTest):
    def setUp(self):
        super().setUp()
        self.tree.add("a.c", CLEAN)

    def test_bad_values(self):
        bad = self.tree.root / "bad"
        bad.write_text("pgtable-guard a.c\n")
        for option, part in ((f"--suppressions={bad}", "no reason"), ("--suppressions=/gone", "/gone"), (f"--exemptions={bad}", f"{bad}:1"),
                             ("--exemptions=/gone", "/gone"), (f"--baseline={bad}", "not JSON"), ("--baseline=/gone", "/gone"),
                             ("--new-only", "--baseline"), ("--line-filter={", "line-filter"), ("--line-filter=[1]", "--line-filter"),
                             ("--checks=nonsense", "nonsense"), ("--checks=-nonsense", "nonsense"), ("--list=nonsense", "nonsense"),
                             ("--report=nonsense", "nonsense"), ("--config=/gone", "/gone"), (f"--config={bad}", str(bad)),
                             ("--json=/gone/report", "/gone/report")):
            with self.subTest(option=option):
                done = self.lint(option, expect=2)
                self.assertIn(part, done.stderr)
                self.assertTrue(done.stderr.startswith("error: "), done.stderr)
                self.assertNotIn("analysed", done.stderr)

    def test_bad_option(self):
        for option in ("--nonsense", "--format=nonsense", "--fail-on=nonsense", "-jx", "--output=x"):
            with self.subTest(option=option):
                self.assertIn("error: ", self.lint(option, expect=2).stderr)

    def test_configuration_with_an_unknown_member(self):
        path = self.tree.root / "config.json"
        path.write_text('{"guardz": []}')
        self.assertOneLine(self.lint(f"--config={path}", expect=2), str(path), "guardz")

    def test_verdict_that_cannot_be_written_is_none(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([PROGRAM, "-p", self.tree.build, "--no-cache", "--format=json"], stdout=full, stderr=subprocess.PIPE,
                                  text=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("cannot write to standard output", done.stderr)
