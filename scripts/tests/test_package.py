# SPDX-License-Identifier: GPL-2.0-only
"""The Debian package, of a tool of three lines."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kpkeyslib import package, settings, toolroot, ui  # noqa: E402

CMAKE = """cmake_minimum_required(VERSION 3.20)
project(toy VERSION 1.2 LANGUAGES CXX)
add_executable(kpkeys-toy toy.cpp)
install(TARGETS kpkeys-toy)
include(../packaging/Debian.cmake)
"""
TOOLS = toolroot.ToolRoot()


@unittest.skipUnless(TOOLS.ready() and shutil.which("bwrap"), "no cmake: there is no tool root; 'scripts/kpkeys tools' makes it")
class Package(unittest.TestCase):
    def setUp(self):
        self.root = Path(tempfile.mkdtemp(prefix="kpkeys-package-")).resolve()
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        self.project = self.root / "project"
        shutil.copytree(settings.PROJECT / "packaging", self.project / "packaging")
        (self.project / "tools").mkdir()
        (self.project / "tools/toy.cpp").write_text('#include <cstdio>\nint main() { std::puts("toy"); }\n')
        self.cmake(CMAKE)
        for patch in (mock.patch.object(settings, "PROJECT", self.project), mock.patch.object(toolroot, "_tools", TOOLS),
                      mock.patch.dict(os.environ, {"O": str(self.root / "out"), "CACHE": str(settings.cache())})):
            patch.start()
            self.addCleanup(patch.stop)

    def cmake(self, text: str):
        (self.project / "tools/CMakeLists.txt").write_text(text)

    def make(self) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            package.package(False)
        return out.getvalue()

    def refused(self, says: str, status: int = 2):
        with self.assertRaises(ui.Failure) as caught, contextlib.redirect_stdout(io.StringIO()):
            package.package(False)
        self.assertRegex(caught.exception.message, says)
        self.assertEqual(caught.exception.status, status)
        self.assertTrue(caught.exception.remedy)

    def test_package(self):
        self.assertIn("kpkeys-toy", self.make())
        path = next((self.root / "out/package").glob("*.deb"))
        self.assertRegex(path.name, r"^kpkeys-tools_1\.2_\w+\.deb$")

        def ask(*argv) -> str:
            return TOOLS.run(["dpkg-deb", *argv], capture=True).stdout

        self.assertRegex(ask("-f", path, "Depends"), r"libc6 \(>= ")
        self.assertIn("./usr/share/doc/kpkeys-tools/copyright", ask("--contents", path))
        TOOLS.run(["dpkg-deb", "-x", path, self.root / "out/root"])
        done = subprocess.run(TOOLS.argv([self.root / "out/root/usr/bin/kpkeys-toy"]), capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, "toy\n"))

    def test_module(self):
        module = ("add_library(kpkeys-mod MODULE toy.cpp)\ntarget_link_libraries(kpkeys-mod PRIVATE -Wl,--no-as-needed z)\n"
                  "install(TARGETS kpkeys-mod LIBRARY DESTINATION lib/kpkeys)\ninstall(TARGETS kpkeys-toy)\n")
        self.cmake(CMAKE.replace("install(TARGETS kpkeys-toy)\n", module))
        self.make()
        path = next((self.root / "out/package").glob("*.deb"))
        self.assertRegex(TOOLS.run(["dpkg-deb", "-f", path, "Depends"], capture=True).stdout, r"zlib1g \(>= ")
        self.assertEqual(package._modules(TOOLS, path), ["usr/lib/kpkeys/libkpkeys-mod.so"])

    def test_refusals(self):
        self.cmake(CMAKE.replace("install(TARGETS kpkeys-toy)\n", ""))
        self.refused("holds no program in /usr/bin", ui.BUILD_FAILED)
        (self.project / "tools/toy.cpp").write_text("oops\n")
        self.refused("the tools could not be built", ui.BUILD_FAILED)
        self.cmake(CMAKE.partition("include(")[0])
        self.refused(r"does not include packaging/Debian\.cmake")
        shutil.rmtree(self.project / "tools")
        self.refused("this tree has no C.. tools")
        self.assertEqual(list((self.root / "out/package").glob("*.deb")) if (self.root / "out/package").is_dir() else [], [])


if __name__ == "__main__":
    unittest.main()
