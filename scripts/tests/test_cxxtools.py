# SPDX-License-Identifier: GPL-2.0-only
"""The C++ tools from the scripts' side: what CTest reports, and settings."""

from __future__ import annotations

import os
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kpkeyslib import cxxtools, ui  # noqa: E402


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
        self.kernel = mock.Mock(kernel="4k")

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
        self.kernel = mock.Mock(kernel="16k")
        self.assertFalse(self.pinned())

    def test_lists_are_there(self):
        for name in ("places.txt", "places-debug.txt", "expect-el1-4k.txt"):
            self.assertTrue((cxxtools.AUDIT / name).is_file(), name)


if __name__ == "__main__":
    unittest.main()
