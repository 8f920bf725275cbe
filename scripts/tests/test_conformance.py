# SPDX-License-Identifier: GPL-2.0-only
"""The judgement of the conformance of QEMU: what checked nothing has not passed."""

from __future__ import annotations

import json
import sys
import tempfile
import types
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kpkeyslib import conformance, qemu, toolroot  # noqa: E402


class TestJudge(unittest.TestCase):
    """A run, by its status and what it left in NAME.out."""

    def judge(self, text: str | None, *, name: str = "poe", counts: bool = True, status: int = 0) -> str:
        with tempfile.TemporaryDirectory() as top:
            if text is not None:
                (Path(top) / f"{name}.out").write_text(text)
            return conformance._judge(name, counts, Path(top), status)

    def test_counted(self):
        self.assertEqual(self.judge("ok something: 3 checks\npoe-dynamic: 3 passed, 0 failed\n"), "")
        self.assertEqual(self.judge("poe: 2 passed, 1 failed\n"), "poe: poe: 2 passed, 1 failed")
        self.assertIn("checked nothing", self.judge("poe: 0 passed, 0 failed\n"))

    def test_status(self):
        self.assertEqual(self.judge("poe: 3 passed, 0 failed\n", status=2), "poe: exit status 2; its last line: poe: 3 passed, 0 failed")
        self.assertEqual(self.judge(None, status=2), "poe: exit status 2; its last line: nothing")

    def test_not_counted(self):
        self.assertEqual(self.judge(None, counts=False), "")

    def test_silent(self):
        self.assertEqual(self.judge(None), "poe: printed nothing")
        self.assertEqual(self.judge("Bail out! FEAT_S1POE is absent\n"), "poe: Bail out! FEAT_S1POE is absent")

    def test_by_gdb(self):
        good = "ATTACHED: aarch64\nPASS: connected to aarch64\nPASS: POR_EL0 is 0x0, expected 0x0\nAll tests complete: 0 failures\n"
        self.assertEqual(self.judge(good), "")
        self.assertIn("checked nothing", self.judge("All tests complete: 0 failures\n"))
        self.assertIn("1 failures", self.judge(good.replace("0 failures", "1 failures")))
        self.assertTrue(self.judge(good.replace("PASS: POR", "FAIL: POR")))

    def test_by_no_gdb(self):
        """QEMU's makefiles skip the run, and test_gdbstub.py itself, with status 0."""
        self.assertEqual(self.judge("SKIP: not connected\n", name="gdbstub-poe"), "gdbstub-poe: SKIP: not connected")
        self.assertIn("SKIPPING", self.judge("PASS: one\nGDB crashed? (139, 11) SKIPPING\n", name="gdbstub-poe"))
        self.assertEqual(self.judge(None, name="gdbstub-poe"), "gdbstub-poe: printed nothing (is there a gdb?)")


class TestCheckpatch(unittest.TestCase):

    def check(self, said: str, error: str = "") -> str:
        done = types.SimpleNamespace(stdout=said, stderr=error, returncode=0)
        with mock.patch.object(toolroot, "get") as tools, mock.patch.object(qemu, "source"):
            tools.return_value.run.return_value = done
            return conformance._checkpatch([Path("0001-one.patch")])

    def test_clean(self):
        self.assertEqual(self.check("total: 0 errors, 0 warnings, 9 lines checked\n"), "")

    def test_new_file(self):
        self.assertEqual(self.check("/p/0001-one.patch:9: WARNING: added, moved or deleted file(s):\ntotal: 0 errors, 1 warnings, 9 lines checked\n"), "")

    def test_findings(self):
        self.assertEqual(self.check("/p/0001-one.patch:9: WARNING: line over 80 characters\n/p/0001-one.patch:11: ERROR: trailing whitespace\n"
                                    "total: 1 errors, 1 warnings, 9 lines checked\n"),
                         "checkpatch: 0001-one.patch:9: WARNING: line over 80 characters (and 1 more)")

    def test_does_not_run(self):
        self.assertEqual(self.check("", "perl: not found\n"), "checkpatch: it does not run: perl: not found")


class TestUserEmulation(unittest.TestCase):

    def test_touched(self):
        with tempfile.TemporaryDirectory() as top:
            patch = Path(top) / "0001-one.patch"
            patch.write_text("diff --git a/target/arm/b.c b/target/arm/b.c\n--- a/target/arm/b.c\n"
                             "diff --git a/a.h b/a.h\nnew file mode 100644\n")
            self.assertEqual(conformance.touched([patch, patch]), ["a.h", "target/arm/b.c"])

    def test_objects(self):
        with tempfile.TemporaryDirectory() as top:
            tree, build = Path(top) / "src", Path(top) / "build"
            build.mkdir()
            commands = [{"file": f"../src/{name}", "output": output} for name, output in (
                ("target/arm/b.c", "user.p/b.o"), ("target/arm/b.c", "system.p/b.o"), ("other.c", "user.p/other.o"))]
            (build / "compile_commands.json").write_text(json.dumps(commands))
            found = conformance.objects(build, tree, ["target/arm/b.c", "a.h"], {"user.p/b.o", "user.p/other.o"})
            self.assertEqual(found, (["user.p/b.o"], ["system.p/b.o"]))

    def test_symbols(self):
        defined, needed = conformance.symbols("\na.o:\n0000000000000010 T one\n                 U two\n                 w three\n"
                                              "\nb.o:\n0000000000000000 D two\n")
        self.assertEqual((defined, needed), ({"one", "two"}, {"three"}))


if __name__ == "__main__":
    unittest.main()
