# SPDX-License-Identifier: GPL-2.0-only
"""The C++ tools from the scripts' side: what CTest reports, and settings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kpkeyslib import cxxtools, lintrun, ui  # noqa: E402
from kpkeyslib.ui import Failure  # noqa: E402


def junit(*cases: str) -> str:
    return f"<testsuite>{''.join(cases)}</testsuite>"


def case(name: str, status: str = "run", out: str = "", more: str = "") -> str:
    return f'<testcase name="{name}" status="{status}">{more}<system-out>{out}</system-out></testcase>'


class Judge(unittest.TestCase):
    def test_each_case_counts(self):
        results = cxxtools.judge(junit(case("lib.A"), case("lib.B")))
        self.assertEqual((results.passed, results.failures, results.skips), (2, [], []))

    def test_modules_of_python_tests_are_taken_apart(self):
        out = "test_a (m.T.test_a) ... ok\ntest_b (m.T.test_b) ... skipped 'root writes anywhere'\n\nRan 3 tests in 0.1s\n\nOK (skipped=1)\n"
        results = cxxtools.judge(junit(case("driver.m", out=out)))
        self.assertEqual(results.passed, 2)
        self.assertEqual(results.skips, ["driver.m: test_b (m.T.test_b): root writes anywhere"])

    def test_failures_are_named(self):
        out = "FAIL: test_a (m.T.test_a)\n\nRan 2 tests in 0.1s\n\nFAILED (failures=1)\n"
        results = cxxtools.judge(junit(case("driver.m", "fail", out), case("lib.A", "fail"), case("lib.B")))
        self.assertEqual(results.failures, ["driver.m: fail: test_a (m.T.test_a)", "lib.A: fail"])
        self.assertEqual(results.passed, 1)

    def test_what_did_not_run_is_no_pass(self):
        for status in ("notrun", "fail", "?", "disabled"):
            with self.subTest(status=status):
                results = cxxtools.judge(junit(case("lib.A", status), case("lib.B")))
                self.assertEqual((results.passed, results.failures), (1, [f"lib.A: {status}"]))

    def test_no_test_is_a_failure(self):
        self.assertEqual(cxxtools.judge(junit()).failures, ["no test ran"])
        self.assertEqual(cxxtools.judge(junit(case("driver.m", out="Ran 0 tests in 0.0s\n\nOK\n"))).failures, ["driver.m: no test ran"])

    def test_skips_carry_their_reason(self):
        results = cxxtools.judge(junit(case("lib.A", "notrun", more='<skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>'), case("lib.B")))
        self.assertEqual(results.skips, ["lib.A: SKIP_REGULAR_EXPRESSION_MATCHED"])
        self.assertEqual(results.failures, [])


class Settings(unittest.TestCase):
    def test_sanitize(self):
        for value, expect in (("", False), ("0", False), ("1", True)):
            with mock.patch.dict(os.environ, SANITIZE=value):
                self.assertEqual(cxxtools._sanitize(), expect)
        with mock.patch.dict(os.environ, SANITIZE="yes"), self.assertRaisesRegex(ui.Failure, "SANITIZE=yes"):
            cxxtools._sanitize()

    def test_names_are_looked_up_before_the_build(self):
        with mock.patch.object(cxxtools, "build", side_effect=AssertionError), mock.patch.dict(os.environ):
            os.environ.pop("GUEST", None)
            for call in (lambda: cxxtools.lint([], "nope"), lambda: cxxtools.lint([], "", "nope"), lambda: cxxtools.audit([], "nope")):
                with self.assertRaisesRegex(Failure, "there is no (guest|kernel) 'nope'"):
                    call()
            os.environ["GUEST"] = "nope"
            for call in (cxxtools.lint, lambda: cxxtools.bench(1), lintrun.get):
                with self.assertRaisesRegex(Failure, "there is no guest 'nope'"):
                    call()

    def test_build_directory_of_another_project_is_made_anew(self):
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name, "build")
            directory.mkdir()
            cache = directory / "CMakeCache.txt"
            cache.write_text(f"CMAKE_HOME_DIRECTORY:INTERNAL={cxxtools.SOURCES}\n")
            cxxtools._forget_another_project(directory)
            self.assertTrue(cache.exists())
            cache.write_text("CMAKE_HOME_DIRECTORY:INTERNAL=/elsewhere/tools\n")
            cxxtools._forget_another_project(directory)
            self.assertEqual(list(directory.iterdir()), [])


class Audit(unittest.TestCase):
    def setUp(self):
        self.kernel = "4k"

    def pinned(self, host: bool = False, **environment: str) -> bool:
        with mock.patch.object(cxxtools.toolroot, "get", return_value=mock.Mock(host=host)), \
                mock.patch.dict(os.environ, environment), mock.patch.dict(os.environ):
            for name in ("LLVM", "CONFIG"):
                if name not in environment:
                    os.environ.pop(name, None)
            return cxxtools._is_pinned(self.kernel)

    def test_sites_are_pinned_for_one_compiler_and_configuration(self):
        self.assertTrue(self.pinned())
        self.assertFalse(self.pinned(LLVM=""))
        self.assertFalse(self.pinned(LLVM="-21"))
        self.assertFalse(self.pinned(CONFIG="more.config"))
        self.assertFalse(self.pinned(host=True))
        self.kernel = "16k"
        self.assertFalse(self.pinned())

    def test_lists_are_there(self):
        for name in ("places.txt", "places-debug.txt", "expect-el1-4k.txt"):
            self.assertTrue((cxxtools.AUDIT / name).is_file(), name)


class EmptyCompiler(unittest.TestCase):
    """scripts/empty-cc, in the place of the compiler."""

    def setUp(self):
        self.root = Path(tempfile.mkdtemp(prefix="kpkeys-cc-"))
        self.addCleanup(shutil.rmtree, self.root)
        (self.root / "empty.o").write_text("empty")
        (self.root / "cc").write_text('#!/bin/sh\nprintf "%s|" "$@" > called\n')
        (self.root / "cc").chmod(0o755)

    def compile(self, *arguments: str) -> str:
        """What the real compiler was called with; '' if it was not."""
        (self.root / "called").unlink(missing_ok=True)
        program = cxxtools.settings.PROJECT / "scripts" / "empty-cc"
        subprocess.run([program, self.root / "cc", self.root / "empty.o", *arguments], cwd=self.root, check=True)
        called = self.root / "called"
        return called.read_text() if called.exists() else ""

    def test_unit_of_the_kernel(self):
        self.assertEqual(self.compile("-Wp,-MMD,.a.o.d", "-D__KERNEL__", "-DX=\"a b\"", "-c", "-o", "a.o", "/src/mm/a.c"), "")
        self.assertEqual((self.root / "a.o").read_text(), "empty")
        self.assertEqual((self.root / ".a.o.d").read_text(), "a.o: /src/mm/a.c\n")

    def test_all_else_is_compiled(self):
        unit = ["-Wp,-MMD,.a.o.d", "-D__KERNEL__", "-c", "-o", "a.o"]
        for name, arguments in (("host", ["-Wp,-MMD,.a.o.d", "-c", "-o", "a.o", "scripts/a.c"]), ("assembly", [*unit, "a.S"]),
                                ("to assembly", ["-Wp,-MMD,.a.s.d", "-D__KERNEL__", "-S", "-o", "a.s", "kernel/bounds.c"]),
                                ("option test", ["-D__KERNEL__", "-c", "-x", "c", "/dev/null", "-o", "tmp"]), ("vdso", [*unit, "/src/arch/arm64/kernel/vdso/a.c"]),
                                ("early", [*unit, "/src/arch/arm64/kernel/pi/a.c"]), ("version", ["--version"])):
            with self.subTest(name=name):
                self.assertEqual(self.compile(*arguments), "".join(f"{a}|" for a in arguments))


if __name__ == "__main__":
    unittest.main()
