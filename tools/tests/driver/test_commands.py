# SPDX-License-Identifier: GPL-2.0-only
"""The two steps as commands, and the Ninja file that joins them."""

import difflib
import json
import os
import shutil
import subprocess
import time
import unittest
from pathlib import Path

from support import BAD, BAD_PLACE, CLEAN, HEADER, PROGRAM, LintTest


class ReplaceTest(LintTest):
    def setUp(self):
        super().setUp()
        self.tree.add("a.c", CLEAN)
        self.tree.add("b.c", CLEAN.replace("clean", "other"))
        self.tree.write("unread.h", "")
        self.bad = self.tree.root / "bad.c"
        self.bad.write_text(BAD)

    def test_unit(self):
        for name in ("a.c", self.tree.src / "a.c"):
            with self.subTest(name=name):
                self.assertEqual(self.places("a.c", f"--replace={name}={self.bad}"), [("context-constant", "a.c", *BAD_PLACE)])

    def test_header_only_for_what_is_named(self):
        header = self.tree.root / "new.h"
        header.write_text(HEADER.replace("int ctx", "int ctx, int more"))
        done = self.lint("a.c", f"--replace=include/linux/kpkeys.h={header}", expect=3)
        self.assertIn("a.c: not analysed: ", done.stderr)
        self.assertIn("too few arguments", done.stderr)
        self.assertNotIn("b.c", done.stderr)

    def test_nothing_of_it_is_kept(self):
        # What has just been written is not kept: it can change again under the same time stamp.
        time.sleep(0.1)
        self.lint()
        self.lint("a.c", f"--replace=a.c={self.bad}", expect=1)
        self.assertIn("2 of them before", self.lint().stderr)

    def test_comments_are_those_of_the_other_text(self):
        self.bad.write_text(BAD.replace("(x);", "(x); /* kpkeys-lint: allow(context-constant) a test */"))
        self.assertIn("1 suppressed", self.lint("a.c", f"--replace=a.c={self.bad}").stderr)

    def test_bad_input(self):
        for args, part in ((("a.c", f"--replace=gone.h={self.bad}"), "gone.h"), (("a.c", "--replace=a.c=/gone"), "/gone"),
                           (("a.c", "--replace=a.c"), "FILE=OTHER"), ((f"--replace=a.c={self.bad}",), "name the units")):
            with self.subTest(args=args):
                self.assertOneLine(self.lint(*args, expect=2), "--replace", part)

    def test_a_file_that_the_unit_does_not_read(self):
        self.assertIn("none of the named units reads", self.lint("a.c", f"--replace=unread.h={self.bad}", expect=3).stderr)
        # One is enough: each unit has files of its own.
        self.assertEqual(self.places("a.c", "b.c", f"--replace=a.c={self.bad}"), [("context-constant", "a.c", *BAD_PLACE)])


class StepsTest(LintTest):
    def facts(self, unit: str, *args: str, expect: int = 0) -> Path:
        path = self.tree.root / (unit.replace("/", "_") + ".facts")
        self.lint(unit, f"--output={path}", *args, command="facts", expect=expect)
        return path

    def test_same_as_in_one(self):
        self.tree.add("a.c", BAD)
        self.tree.add("b.c", CLEAN)
        whole = self.lint(expect=1)
        linked = self.lint(self.facts("a.c"), self.facts("b.c"), command="link", expect=1)
        self.assertEqual(whole.stdout, linked.stdout)

    def test_list_of_files(self):
        self.tree.add("a.c", BAD)
        names = self.tree.root / "names"
        names.write_text(f"{self.facts('a.c')}\n")
        self.lint(f"@{names}", "--units=1", command="link", expect=1)
        self.assertOneLine(self.lint(f"@{names}", "--units=2", command="link", expect=2), "--units=2", "facts of 1")

    def test_link_refuses_what_does_not_fit(self):
        self.tree.add("a.c", BAD)
        path = self.facts("a.c")
        good = json.loads(path.read_text())
        self.assertOneLine(self.lint(command="link", expect=2), "no facts to link")
        self.assertOneLine(self.lint("/gone", command="link", expect=2), "/gone")
        other = self.tree.root / "other"
        for text, part in (("", "not a file of facts"), ("{}", "not a file of facts"), (json.dumps({**good, "stamp": "0"}), "another build"),
                           (json.dumps({**good, "format": 2}), "not a file of facts"), (json.dumps({**good, "facts": []}), str(other)),
                           (json.dumps({**good, "source_root": "/elsewhere"}), "another source tree")):
            with self.subTest(part=part):
                other.write_text(text)
                self.assertOneLine(self.lint(path, other, command="link", expect=2), part)
        config = self.tree.root / "config"
        config.write_text('{"guards": ["another"]}')
        self.assertOneLine(self.lint(path, f"--config={config}", command="link", expect=2), "another --config")

    def test_unit_that_does_not_parse_leaves_no_facts(self):
        self.tree.add("broken.c", "syntax error\n")
        self.assertFalse(self.facts("broken.c", expect=3).exists())

    def test_crash(self):
        self.tree.add("crash.c", "#pragma clang __debug crash\n/* crash here */\n")
        done = self.lint("crash.c", command="facts", expect=3)
        self.assertIn("crash.c: not analysed: the analysis crashed", done.stderr)

    def test_one_unit_at_a_time(self):
        self.tree.add("a.c", CLEAN)
        self.assertIn("name one unit", self.lint(command="facts", expect=2).stderr)
        self.assertIn("b.c is no kernel unit", self.lint("b.c", command="facts", expect=2).stderr)

    def test_unit_with_two_commands(self):
        text = CLEAN.replace("(1)", "(CTX)")
        self.tree.add("a.c", text, "-DCTX=1")
        self.tree.add("a.c", None, "-DCTX=x")
        self.assertOneLine(self.lint("a.c", command="facts", expect=2), "2 commands", "--command=1")
        self.lint(self.facts("a.c", "--command=1"), command="link")
        self.lint("a.c", "--command=3", command="facts", expect=2)
        self.assertIn("[context-constant]", self.lint(self.facts("a.c", "--command=2"), command="link", expect=1).stdout)
        self.assertEqual(len(self.findings()), 1)

    def test_dependencies(self):
        self.tree.add("a.c", CLEAN)
        rule = self.tree.root / "a.d"
        target = self.facts("a.c", f"--depfile={rule}")
        words = rule.read_text().replace("\\\n", " ").split()
        self.assertEqual(words[0], f"{target}:")
        self.assertIn(str(self.tree.src / "a.c"), words)
        self.assertIn(str(self.tree.src / "include/linux/kpkeys.h"), words)

    def test_writes_nothing_of_the_build(self):
        self.tree.add("a.c", CLEAN, "-Wp,-MMD,a.d", "-MD", "-MF", "b.d", "-save-temps", "-gsplit-dwarf", "-Werror", "-Wall",
                      "-Wp,-MT,a.o", "-Wa,--fatal-warnings")
        before = sorted(os.listdir(self.tree.build))
        self.lint()
        self.assertEqual(sorted(os.listdir(self.tree.build)), before)

    def test_commands_of_gcc(self):
        self.tree.add("a.c", BAD, "-fconserve-stack", "-fno-allow-store-data-races", "-fno-var-tracking-assignments",
                      "-fmin-function-alignment=4", "-mabi=lp64", "-mstack-protector-guard=sysreg", "-mstack-protector-guard-reg=sp_el0",
                      "-mstack-protector-guard-offset=1288", "-mbranch-protection=pac-ret", "--param=allow-store-data-races=0",
                      "-fplugin=./x.so", "-fno-tree-vectorize", "-fno-ipa-sra", "-isystem", "/usr/lib/gcc-cross/aarch64-linux-gnu/14/include",
                      compiler="aarch64-linux-gnu-gcc")
        self.lint(expect=1)

    def test_command_as_text_and_launcher(self):
        self.tree.write("a.c", BAD)
        words = ["ccache", *self.tree.command("a.c", "-DTEXT='\"a b\"'")]
        self.tree.entries = [{"directory": str(self.tree.build), "file": "../src/a.c", "command": " ".join(words)}]
        self.tree.save()
        self.lint(expect=1)


class KbuildTest(LintTest):
    """As kbuild calls a checker: flags for sparse, the compiler's, the source."""

    CHECK = Path(__file__).resolve().parents[2] / "lint" / "kpkeys-lint-check"

    def check(self, name: str, *more: str, **env: str) -> subprocess.CompletedProcess:
        words = self.tree.command(name, *more)[1:]
        words = [w for w in words[:-1] if w not in ("-c", "-o") and not w.endswith(".o")] + [words[-1]]
        flags = ["-D__linux__", "-Dlinux", "-Wbitwise", "-Wno-unknown-attribute", "--arch=arm64", "-mlittle-endian", "-m64"]
        return subprocess.run([self.CHECK, *flags, *words], cwd=self.tree.build, capture_output=True, text=True, check=False,
                              env={**os.environ, "KPKEYS_LINT": PROGRAM, **env})

    def test_findings_do_not_end_the_build_unless_asked(self):
        self.tree.write("a.c", BAD)
        done = self.check("a.c", "-Wp,-MMD,a.d")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("[context-constant]", done.stdout)
        self.assertEqual(list(self.tree.build.iterdir()), [])
        self.assertEqual(self.check("a.c", KPKEYS_LINT_FLAGS="--fail-on=warning").returncode, 1)

    def test_clean_unit(self):
        self.tree.write("a.c", CLEAN)
        done = self.check("a.c")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_unit_that_does_not_parse(self):
        self.tree.write("a.c", "syntax error\n")
        self.assertEqual(self.check("a.c").returncode, 3)

    def test_what_is_no_kernel_code(self):
        self.tree.write("a.S", "syntax error\n")
        self.assertEqual(self.check("a.S").returncode, 0)

    def test_no_program(self):
        self.tree.write("a.c", CLEAN)
        done = self.check("a.c", KPKEYS_LINT="/gone/kpkeys-lint")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("/gone/kpkeys-lint", done.stderr)


class PatchTest(LintTest):
    """As b4 calls the check of a patch: a mail on standard input, in the tree."""

    CHECK = Path(__file__).resolve().parents[2] / "lint" / "kpkeys-lint-b4"

    def check(self, patch: str, *args: str, **env: str) -> subprocess.CompletedProcess:
        return subprocess.run([self.CHECK, "-p", self.tree.build, f"--cache-dir={self.tree.cache}", *args], cwd=self.tree.src, input=patch,
                              capture_output=True, text=True, check=False, env={**os.environ, "KPKEYS_LINT": PROGRAM, **env})

    @staticmethod
    def patch(name: str, before: str, after: str) -> str:
        diff = difflib.unified_diff(before.splitlines(True), after.splitlines(True), f"a/{name}", f"b/{name}")
        return "From: a\nSubject: b\n\nText.\n---\n" + "".join(diff) + "-- \n2.47\n\n"

    def test_line_that_the_patch_adds(self):
        self.tree.add("a.c", BAD)
        done = self.check(self.patch("a.c", CLEAN.replace("clean", "bad"), BAD))
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stdout, r"^a\.c:4: ERROR: .* \[context-constant\]\n$")

    def test_line_that_was_there_before(self):
        self.tree.add("a.c", BAD + "int more;\n")
        done = self.check(self.patch("a.c", BAD, BAD + "int more;\n"))
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_line_that_a_later_patch_moves(self):
        self.tree.add("a.c", "/* later\n *\n */\n" + BAD)
        self.assertIn("a.c:7: ERROR: ", self.check(self.patch("a.c", CLEAN.replace("clean", "bad"), BAD)).stdout)

    def test_patch_of_no_code(self):
        self.tree.add("a.c", BAD)
        self.tree.write("README", "text\n")
        self.assertEqual(self.check(self.patch("README", "", "text\n")).returncode, 0)
        self.assertEqual(self.check("no patch at all\n").returncode, 0)

    def test_failure_is_told(self):
        self.tree.add("a.c", BAD)
        patch = self.patch("a.c", CLEAN.replace("clean", "bad"), BAD)
        done = self.check(patch, "--checks=nonsense")
        self.assertEqual(done.returncode, 2)
        self.assertIn("nonsense", done.stderr)
        self.assertEqual(self.check(patch, KPKEYS_LINT="/gone").returncode, 2)
        self.tree.add("broken.c", "syntax error\n")
        self.assertEqual(self.check(patch).returncode, 3)


@unittest.skipUnless(shutil.which("ninja"), "ninja is not installed")
class NinjaTest(LintTest):
    def ninja(self, *args: str, expect: int) -> str:
        done = subprocess.run(["ninja", "-C", self.tree.root, "-f", "lint.ninja", "-v", *args], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode != 0, expect != 0, done.stdout + done.stderr)
        return done.stdout

    def setUp(self):
        super().setUp()
        self.tree.add("mm/a.c", BAD)
        self.tree.add("mm/b $1.c", CLEAN)
        self.tree.add("c.c", "int unrelated;\n")
        self.tree.add("c.c", None, "-DAGAIN")
        self.lint(f"--ninja={self.tree.root}/lint.ninja", f"--json={self.tree.root}/n.json")

    def test_same_verdict(self):
        self.ninja(expect=1)
        mine = json.loads((self.tree.root / "n.json").read_text())
        self.assertEqual(mine["findings"], self.findings())
        self.assertEqual(mine["summary"]["analysed"], 4)

    def test_only_what_has_changed(self):
        self.assertEqual(self.ninja(expect=1).count(" facts -p "), 4)
        self.assertEqual(self.ninja(expect=1).count(" facts -p "), 0)
        time.sleep(0.01)
        self.tree.write("include/linux/kpkeys.h", HEADER)
        self.assertEqual(self.ninja(expect=1).count(" facts -p "), 2)
        self.tree.write("mm/a.c", CLEAN)
        self.assertEqual(self.ninja(expect=0).count(" facts -p "), 1)

    def test_broken_unit_ends_it(self):
        self.tree.write("c.c", "syntax error\n")
        self.assertIn("c.c: not analysed", self.ninja("-k0", expect=1))
        self.assertFalse((self.tree.root / "n.json").exists())

    def test_names_of_units_are_not_for_it(self):
        self.assertIn("--ninja", self.lint("--ninja=x", "mm/a.c", expect=2).stderr)


class WriteCommandsTest(LintTest):
    """--write-commands: a database for other programs."""

    def setUp(self):
        super().setUp()
        self.tree.add("mm/a.c", BAD, "-fconserve-stack", "--param=asan-globals=1", "-Wp,-MMD,.a.o.d", compiler="aarch64-linux-gnu-gcc")
        self.tree.add("mm/b $1.c", CLEAN, "-DNAME=\"a b\"", compiler="ccache")
        self.tree.entries.append({"directory": "/", "file": "fixdep.c", "command": "gcc -o fixdep fixdep.c"})
        self.tree.save()

    def test_as_clang_takes_them(self):
        path = self.tree.root / "new.json"
        done = self.lint(f"--write-commands={path}")
        self.assertEqual(done.stdout + done.stderr, "")
        entries = json.loads(path.read_text())
        self.assertEqual([Path(e["file"]).name for e in entries], ["a.c", "b $1.c"])
        self.assertEqual({e["directory"] for e in entries}, {str(self.tree.build)})
        for entry in entries:
            words = entry["arguments"]
            self.assertEqual(words[0], "clang")
            self.assertIn("--target=aarch64-linux-gnu", words)
            self.assertFalse({"-fconserve-stack", "-Wp,-MMD,.a.o.d", "-c", "-o"} & set(words), words)
        self.assertIn('-DNAME="a b"', entries[1]["arguments"])

    def test_same_verdict(self):
        mine = self.findings()
        self.lint(f"--write-commands={self.tree.build}/compile_commands.json")
        self.assertEqual(self.findings("--no-cache"), mine)

    def test_what_is_wrong_with_it(self):
        self.assertIn("leave out their names", self.lint("--write-commands=x", "mm/a.c", expect=2).stderr)
        self.assertOneLine(self.lint(f"--write-commands={self.tree.root}/no/x", expect=2), "choose another file")
        (self.tree.build / "compile_commands.json").unlink()
        self.assertOneLine(self.lint("--write-commands=x", expect=2), "no compilation database")
