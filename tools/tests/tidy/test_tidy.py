# SPDX-License-Identifier: GPL-2.0-only
"""The checks as clang-tidy runs them: the real program, with the module loaded."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent / "driver"), str(HERE.parent / "corpus")]

import run as corpus  # noqa: E402
from support import BAD, BAD_PLACE, CLEAN, HEADER, LintTest  # noqa: E402

CHECKS = ["context-address", "context-constant", "context-inline", "context-restore", "pgtable-plain-store", "suppression"]
DIAGNOSTIC = re.compile(r"^(?P<file>/.*?):(?P<line>\d+):(?P<column>\d+): (?P<level>warning|error|note): (?P<text>.*?)(?: \[(?P<name>[a-z][\w.,-]*)\])?$")
ONLY_OURS = "--checks=-*,kpkeys-*"
# What gcc compiles arm64 kernels with, and clang does not know.
GCC_FLAGS = ["-fconserve-stack", "-fno-allow-store-data-races", "-fmin-function-alignment=8", "-mabi=lp64", "--param=asan-globals=1",
             "-mbranch-protection=pac-ret"]


def diagnostics(text: str) -> list[dict]:
    """What clang-tidy printed: each warning or error with its notes, as kpkeys-lint has them in JSON."""
    found: list[dict] = []
    for line in text.splitlines():
        match = DIAGNOSTIC.match(line)
        if not match:
            continue
        one = {"file": match["file"], "line": int(match["line"]), "column": int(match["column"]), "message": match["text"]}
        if match["level"] == "note":
            found[-1]["notes"].append(one)
        else:
            found.append({**one, "check": match["name"], "severity": match["level"], "notes": []})
    return found


class TidyTest(LintTest):
    """A test with a tree of its own."""

    def setUp(self):
        if reason := os.environ.get("KPKEYS_TIDY_SKIP"):
            self.skipTest(reason)
        super().setUp()
        # As kbuild has it for clang. kpkeys-lint adds it where it is missing.
        self.tree.flags = ["--target=aarch64-linux-gnu"]

    def clang_tidy(self, *args: str | Path, build: Path | None = None, expect: int | None = 0) -> subprocess.CompletedProcess:
        """Run clang-tidy with the module, which must end with the status @expect."""
        argv = [os.environ["KPKEYS_CLANG_TIDY"], "-load", os.environ["KPKEYS_TIDY"], "-p", str(build or self.tree.build),
                "--header-filter=.*", *map(str, args)]
        env = {**os.environ, "LC_ALL": "C.UTF-8"}
        done = subprocess.run(argv, capture_output=True, text=True, env=env, check=False, cwd=self.tree.root)
        if expect is not None:
            self.assertEqual(done.returncode, expect, f"{argv}\n{done.stdout}{done.stderr}")
        return done

    def tidy(self, *args: str | Path, checks: str = ONLY_OURS, **options) -> list[dict]:
        """What is found in the units that @args name; all of the tree if they name none."""
        units = [] if any(not str(a).startswith("-") for a in args) else [e["file"] for e in self.tree.entries]
        return diagnostics(self.clang_tidy(checks, *args, *units, **options).stdout)

    def found(self, *args: str | Path, **options) -> list[tuple]:
        """The same, without messages."""
        return [(str(Path(d["file"]).relative_to(self.tree.src)), d["line"], d["column"], d["check"]) for d in self.tidy(*args, **options)]

    def write_lists(self, **texts: str) -> str:
        """Files in the source tree, as an option for clang-tidy that names them."""
        options = {f"Kpkeys{name}": str(self.tree.write(f"{name}.txt", text)) for name, text in texts.items()}
        return self.config(options)

    def config(self, options: dict[str, str]) -> str:
        return f"--config={json.dumps({'CheckOptions': options})}"


class CorpusTest(TidyTest):
    """Each annotated file: what clang-tidy says is what the annotations say, and what kpkeys-lint says, notes and all."""

    def setUp(self):
        super().setUp()
        self.sources = sorted(corpus.HERE.glob("*.c"))
        entries = [{"directory": str(self.tree.build), "file": str(s), "arguments": corpus.command(s)} for s in self.sources]
        (self.tree.build / "compile_commands.json").write_text(json.dumps(entries))

    def of_lint(self, source: Path) -> list[dict]:
        """The findings of kpkeys-lint in @source, as clang-tidy would have them."""
        with tempfile.TemporaryDirectory() as build:
            report = corpus.report(os.environ["KPKEYS_LINT"], source, Path(build), ["--per-unit"])

        def place(of: dict) -> dict:
            return {"file": str(source.parent / Path(of["file"]).name) if "/" not in of["file"] else of["file"],
                    "line": of["line"], "column": of["column"], "message": of["message"]}

        return [{**place(f), "check": f"kpkeys-{f['check']}", "severity": f["severity"], "notes": [place(n) for n in f["notes"]]}
                for f in report["findings"]]

    def test_all_units_in_one_process(self):
        order = ("file", "line", "column", "check", "message")
        mine = self.tidy(*self.sources)
        self.assertEqual({d["file"] for d in mine} - {str(s) for s in self.sources}, set())
        for source in self.sources:
            with self.subTest(source=source.name):
                here = sorted((d for d in mine if d["file"] == str(source)), key=lambda d: [d[k] for k in order])
                announced = [(line, column, f"kpkeys-{check}") for line, column, check in corpus.expectations(source)[0] if check in CHECKS]
                self.assertEqual(sorted((d["line"], d["column"], d["check"]) for d in here), sorted(announced))
                self.assertEqual(here, sorted(self.of_lint(source), key=lambda d: [d[k] for k in order]))
        # The corpus has no comment that suppresses without a reason; that has tests of its own.
        self.assertEqual({d["check"] for d in mine} | {"kpkeys-suppression"}, {f"kpkeys-{c}" for c in CHECKS})
        self.assertGreaterEqual(len(mine), 60)
        self.assertGreaterEqual(sum(len(d["notes"]) for d in mine), 30)

    def test_one_check_at_a_time(self):
        everything = self.tidy(*self.sources)
        for check in CHECKS:
            with self.subTest(check=check):
                alone = self.tidy(*self.sources, checks=f"--checks=-*,kpkeys-{check}")
                self.assertEqual(alone, [d for d in everything if d["check"] == f"kpkeys-{check}"])


class ProgramTest(TidyTest):
    """How the checks fit into clang-tidy."""

    def test_names(self):
        listing = self.clang_tidy(ONLY_OURS, "--list-checks").stdout.split()
        self.assertEqual([word for word in listing if word.startswith("kpkeys-")], [f"kpkeys-{c}" for c in CHECKS])

    def test_not_on_by_default(self):
        self.tree.add("a.c", BAD)
        self.assertNotIn("kpkeys-", self.clang_tidy("--checks=-*,linuxkernel-*", self.tree.src / "a.c").stdout)

    def test_place_and_level(self):
        self.tree.add("a.c", BAD)
        [one] = self.tidy()
        self.assertEqual((one["line"], one["column"]), BAD_PLACE)
        self.assertEqual((one["check"], one["severity"]), ("kpkeys-context-constant", "warning"))
        [alone] = self.findings("--per-unit", "a.c")
        self.assertEqual(one["message"], alone["message"])

    def test_text_is_no_format(self):
        self.tree.add("a.c", BAD.replace("(x)", "(x %0)").replace("%0", "% 2"))
        self.assertIn("'x % 2'", self.tidy()[0]["message"])

    def test_warnings_as_errors(self):
        self.tree.add("a.c", BAD)
        self.tidy("--warnings-as-errors=kpkeys-*", expect=1)

    def test_header_once(self):
        self.tree.write("include/linux/bad.h", "#pragma once\n" + BAD.replace("void bad", "static inline void bad"))
        for name in ("a.c", "b.c"):
            self.tree.add(name, "#include <linux/bad.h>\nvoid f(void) { bad(); }\n")
        self.assertEqual(self.found(), [("include/linux/bad.h", BAD_PLACE[0] + 1, BAD_PLACE[1], "kpkeys-context-constant")])

    def test_clean_unit_after_a_bad_one(self):
        self.tree.add("a.c", BAD)
        self.tree.add("b.c", CLEAN)
        self.tree.add("c.c", BAD)
        self.assertEqual([f[0] for f in self.found()], ["a.c", "c.c"])

    def test_out_of_tree_build(self):
        self.tree.add("mm/a.c", BAD)
        self.assertEqual(self.found(), [("mm/a.c", *BAD_PLACE, "kpkeys-context-constant")])


class SuppressTest(TidyTest):
    def suppressed(self, comment: str) -> list[str]:
        self.tree.add("a.c", BAD.replace("(x);", f"(x); {comment}"))
        return [d["check"] for d in self.tidy(expect=None)]

    def test_comment_with_reason(self):
        self.assertEqual(self.suppressed("/* kpkeys-lint: allow(context-constant) a test */"), [])

    def test_comment_for_another_check(self):
        self.assertEqual(self.suppressed("/* kpkeys-lint: allow(context-restore) a test */"), ["kpkeys-context-constant"])

    def test_comment_without_reason(self):
        self.tree.add("a.c", BAD.replace("(x);", "(x); /* kpkeys-lint: allow(context-constant) */"))
        found = self.tidy(expect=1)
        self.assertEqual([(d["check"], d["severity"]) for d in found],
                         [("kpkeys-context-constant", "warning"), ("kpkeys-suppression", "error")])
        self.assertIn("gives no reason", found[1]["message"])

    def test_comment_in_a_header(self):
        text = BAD.replace("void bad", "static inline void bad")
        self.tree.write("include/linux/bad.h", text.replace("(x);", "(x); // kpkeys-lint: allow(context-constant) a test"))
        self.tree.add("a.c", "#include <linux/bad.h>\n")
        self.assertEqual(self.tidy(), [])

    def test_nolint(self):
        self.assertEqual(self.suppressed("// NOLINT(kpkeys-context-constant)"), [])
        self.assertEqual(self.suppressed("// NOLINT(kpkeys-*)"), [])
        self.assertEqual(self.suppressed("// NOLINT(kpkeys-context-restore)"), ["kpkeys-context-constant"])


class OptionsTest(TidyTest):
    """Files that CheckOptions names."""

    def setUp(self):
        super().setUp()
        self.tree.add("mm/a.c", BAD)

    def test_config(self):
        self.tree.write("include/linux/kpkeys.h", HEADER.replace("kpkeys_set_context", "enter"))
        self.tree.write("mm/a.c", BAD.replace("kpkeys_set_context", "enter"))
        only = "--checks=-*,kpkeys-context-constant"
        self.assertEqual(self.tidy(checks=only), [])
        named = '{"context-functions": [{"name": "enter", "parameters": [0]}], "set-functions": ["enter"]}'
        self.assertEqual(len(self.tidy(self.write_lists(Config=named), checks=only)), 1)

    def test_of_one_check(self):
        self.tree.write("mm/a.c", BAD.replace("\tkpkeys_restore_pkey_reg(por);\n", ""))
        self.tree.write("one.txt", "context-constant mm/a.c a test\ncontext-restore mm/a.c a test\n")
        self.assertEqual({d["check"] for d in self.tidy()}, {"kpkeys-context-constant", "kpkeys-context-restore"})
        options = self.config({"kpkeys-context-restore.KpkeysExemptions": "one.txt"})
        self.assertEqual([d["check"] for d in self.tidy(options)], ["kpkeys-context-constant"])

    def test_exemptions(self):
        self.assertEqual(self.tidy(self.write_lists(Exemptions="context-constant mm/a.c::bad a test\n")), [])
        self.assertEqual(len(self.tidy(self.write_lists(Exemptions="context-constant mm/a.c::good a test\n"))), 1)

    def test_suppressions(self):
        self.assertEqual(self.tidy(self.write_lists(Suppressions="context-* mm/*.c a test\n")), [])

    def test_several_files_of_the_source_tree(self):
        self.tree.write("one.txt", "context-restore mm/a.c a test\n")
        self.tree.write("lists/two.txt", "context-constant mm/a.c a test\n")
        for name in ("Exemptions", "Suppressions"):
            self.assertEqual(self.tidy(self.config({f"Kpkeys{name}": "one.txt; lists/two.txt"})), [])

    def test_file_of_settings(self):
        self.tree.write(".clang-tidy", "Checks: '-*,kpkeys-*'\nCheckOptions:\n  KpkeysExemptions: lists/one.txt\n")
        self.tree.write("lists/one.txt", "context-constant mm/a.c a test\n")
        self.assertEqual(diagnostics(self.clang_tidy(self.tree.src / "mm/a.c").stdout), [])
        self.tree.write(".clang-tidy", "Checks: '-*,kpkeys-*'\n")
        self.assertEqual(len(diagnostics(self.clang_tidy(self.tree.src / "mm/a.c").stdout)), 1)

    def test_known_to_clang_tidy(self):
        options = self.config({"KpkeysConfig": "", "KpkeysExemptions": "", "KpkeysSuppressions": ""})
        said = self.clang_tidy(ONLY_OURS, options, "--verify-config")
        self.assertNotIn("kpkeys", said.stdout + said.stderr)
        said = self.clang_tidy(ONLY_OURS, self.config({"KpkeysExemption": ""}), "--verify-config", expect=None)
        self.assertIn("KpkeysExemption", said.stdout + said.stderr)
        self.assertIn("KpkeysSuppressions", self.clang_tidy(ONLY_OURS, "--dump-config", self.tree.src / "mm/a.c").stdout)

    def assertNoVerdict(self, options: str, *parts: str) -> None:
        [one] = self.tidy(options, expect=1)
        self.assertEqual(one["severity"], "error")
        for part in ("no verdict of kpkeys checks", *parts):
            self.assertIn(part, one["message"])

    def test_missing_file(self):
        for name in ("Config", "Exemptions", "Suppressions"):
            with self.subTest(name=name):
                self.assertNoVerdict(self.config({f"Kpkeys{name}": "missing.txt"}), f"{self.tree.src}/missing.txt", "check the path")

    def test_wrong_file(self):
        self.assertNoVerdict(self.write_lists(Config='{"contexts": []}'), "Config.txt", "'contexts'")
        self.assertNoVerdict(self.write_lists(Exemptions="context-constant mm/a.c\n"), "Exemptions.txt:1", "needs a reason")
        self.assertNoVerdict(self.write_lists(Suppressions="context-constant\n"), "Suppressions.txt:1", "names no file")


class BadUnitTest(TidyTest):
    """Whatever is wrong with a unit, it does not look clean."""

    def assertNoVerdict(self, *args: str, told: bool = True) -> list[dict]:
        found = self.tidy(*args, expect=1)
        self.assertTrue(found)
        self.assertEqual({d["severity"] for d in found}, {"error"})
        self.assertEqual(sum("no verdict of kpkeys checks" in d["message"] for d in found), int(told), found)
        return found

    def test_syntax_error(self):
        self.tree.add("a.c", CLEAN + "int f(void) { return\n")
        self.assertNoVerdict()

    def test_missing_header(self):
        self.tree.add("a.c", "#include <linux/missing.h>\n" + CLEAN)
        self.assertNoVerdict()

    def test_many_errors(self):
        self.tree.add("a.c", CLEAN + "int f(void) { return y; }\n" * 50)
        self.assertNoVerdict()

    def test_error_in_a_header(self):
        self.tree.write("include/linux/broken.h", "#error broken\n")
        self.tree.add("a.c", "#include <linux/broken.h>\n" + CLEAN)
        self.assertNoVerdict("--header-filter=nothing")

    def test_nolint_does_not_hide_it(self):
        self.tree.add("a.c", "// NOLINTBEGIN\n" + CLEAN + "int f(void) { return y; }\n// NOLINTEND\n")
        self.assertNoVerdict()

    def test_one_check_only(self):
        self.tree.add("a.c", CLEAN + "int f(void) { return y; }\n")
        for check in CHECKS:
            with self.subTest(check=check):
                self.assertNoVerdict(f"--checks=-*,kpkeys-{check}")

    def test_clean_unit_beside_it(self):
        self.tree.add("a.c", CLEAN)
        self.tree.add("b.c", CLEAN + "int f(void) { return y; }\n")
        self.tree.add("c.c", CLEAN)
        self.assertEqual({Path(d["file"]).name for d in self.assertNoVerdict()}, {"b.c"})

    def test_file_is_gone(self):
        self.tree.add("a.c", CLEAN)
        (self.tree.src / "a.c").unlink()
        self.clang_tidy(ONLY_OURS, self.tree.src / "a.c", expect=1)

    def test_warnings_that_are_errors_for_the_build(self):
        # They are no errors of the unit: kpkeys-lint does not mind them either.
        self.tree.add("a.c", BAD + "static void unused(void) { int y; }\n", "-Wall", "-Werror", "-Werror=unused-variable")
        self.assertIn((*BAD_PLACE, "kpkeys-context-constant"), [(d["line"], d["column"], d["check"]) for d in self.tidy(expect=None)])

    def test_parsed_for_another_machine(self):
        self.tree.add("a.c", BAD, "--target=x86_64-linux-gnu")
        [one] = self.assertNoVerdict()
        self.assertIn("not for arm64: add --target=aarch64-linux-gnu", one["message"])
        self.assertEqual(self.found("--extra-arg=--target=aarch64-linux-gnu")[0][1:], (*BAD_PLACE, "kpkeys-context-constant"))


class LeftOutTest(TidyTest):
    """What kpkeys-lint leaves out of a database."""

    def test_host_program(self):
        self.tree.add("a.c", BAD, "-U__KERNEL__")
        self.assertEqual(self.tidy(), [])

    def test_compat_vdso(self):
        self.tree.add("a.c", BAD, "--target=arm-linux-gnueabi")
        self.assertEqual(self.tidy(), [])

    def test_another_language(self):
        self.tree.add("a.cpp", BAD, "-std=gnu++17")
        self.tree.entries[0]["arguments"].remove("-std=gnu11")
        self.tree.save()
        self.assertEqual(self.tidy(), [])


class GccTest(TidyTest):
    """A tree that gcc has built."""

    def setUp(self):
        super().setUp()
        self.tree.flags = GCC_FLAGS
        self.tree.add("a.c", BAD, compiler="aarch64-linux-gnu-gcc")
        self.tree.add("b.c", CLEAN, compiler="aarch64-linux-gnu-gcc")
        self.tree.entries.append({"directory": str(self.tree.build), "file": "fixdep.c", "command": "gcc -o fixdep fixdep.c"})
        self.tree.save()

    def test_as_it_is(self):
        for name in ("a.c", "b.c"):
            done = self.clang_tidy(ONLY_OURS, self.tree.src / name, expect=1)
            self.assertIn("-fconserve-stack", done.stdout + done.stderr)

    def test_commands_for_clang(self):
        other = self.tree.root / "tidy"
        other.mkdir()
        self.lint(f"--write-commands={other}/compile_commands.json")
        units = [self.tree.src / "a.c", self.tree.src / "b.c"]
        self.assertEqual(self.found(*units, build=other), [("a.c", *BAD_PLACE, "kpkeys-context-constant")])
        # The same as they are for kpkeys-lint, when it reads its own.
        mine = self.findings("--per-unit", "a.c")
        self.tree.build = other
        self.assertEqual(self.findings("--per-unit", "a.c"), mine)
