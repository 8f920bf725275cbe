# SPDX-License-Identifier: GPL-2.0-only
"""A small kernel tree to run kpkeys-lint on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

PROGRAM = os.environ["KPKEYS_LINT"]

HEADER = """\
#ifndef KPKEYS_H
#define KPKEYS_H
typedef unsigned long long u64;
u64 kpkeys_set_context(int ctx);
void kpkeys_restore_pkey_reg(u64 por);
extern int x;
#endif
"""
CLEAN = """\
#include <linux/kpkeys.h>
void clean(void)
{
	u64 por = kpkeys_set_context(1);
	kpkeys_restore_pkey_reg(por);
}
"""
# Line 4, column 31: the context is a variable.
BAD = CLEAN.replace("(1)", "(x)").replace("clean", "bad")
BAD_PLACE = (4, 31)


class Tree:
    """A source tree, a build directory with its database, and a cache, all in @root."""

    def __init__(self, root: Path):
        self.root = root
        self.src, self.build, self.cache = root / "src", root / "build", root / "cache"
        self.build.mkdir()
        self.entries: list[dict] = []
        self.flags: list[str] = []
        self.write("include/linux/kpkeys.h", HEADER)
        (self.src / "arch/arm64/include").mkdir(parents=True)

    def write(self, name: str, text: str) -> Path:
        path = self.src / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def command(self, name: str, *more: str, compiler: str = "clang") -> list[str]:
        return [compiler, "-D__KERNEL__", f"-I{self.src}/arch/arm64/include", f"-I{self.src}/include", "-nostdinc", "-std=gnu11",
                *self.flags, *more, "-c", "-o", Path(name).with_suffix(".o").name, str(self.src / name)]

    def add(self, name: str, text: str | None = None, *more: str, **options) -> None:
        """A unit @name that holds @text."""
        if text is not None:
            self.write(name, text)
        self.entries.append({"directory": str(self.build), "file": str(self.src / name),
                             "arguments": self.command(name, *more, **options)})
        self.save()

    def save(self) -> None:
        (self.build / "compile_commands.json").write_text(json.dumps(self.entries))


class LintTest(unittest.TestCase):
    """A test with a tree of its own."""

    maxDiff = None

    def setUp(self):
        self.tree = Tree(Path(tempfile.mkdtemp(prefix="kpkeys-lint-")))
        self.addCleanup(shutil.rmtree, self.tree.root)

    def start(self, *args: str, command: str = "", **options) -> subprocess.Popen:
        argv = [PROGRAM, *([command] if command else [])]
        if command != "link":
            argv += ["-p", str(self.tree.build)]
        if not command and "--no-cache" not in args and not any(a.startswith(("--cache-dir", "--ninja")) for a in args):
            argv.append(f"--cache-dir={self.tree.cache}")
        env = {**os.environ, "LC_ALL": "C.UTF-8", "ASAN_OPTIONS": "detect_leaks=0"}
        env.pop("NO_COLOR", None)
        env.update(options.pop("env", {}))
        return subprocess.Popen([*argv, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=env, cwd=self.tree.build, **options)

    def lint(self, *args: str, expect: int = 0, command: str = "", **options) -> subprocess.CompletedProcess:
        """Run kpkeys-lint, which must end with the status @expect."""
        child = self.start(*args, command=command, **options)
        out, err = child.communicate(timeout=120)
        self.assertEqual(child.returncode, expect, f"{child.args}\n{out}{err}")
        return subprocess.CompletedProcess(child.args, child.returncode, out, err)

    def findings(self, *args: str, expect: int = 1, **options) -> list[dict]:
        """The findings of a run, as JSON has them."""
        return json.loads(self.lint("--format=json", *args, expect=expect, **options).stdout)["findings"]

    def places(self, *args: str, **options) -> list[tuple]:
        return [(f["check"], f["file"], f["line"], f["column"]) for f in self.findings(*args, **options)]

    def assertOneLine(self, done: subprocess.CompletedProcess, *parts: str) -> None:
        """Standard error is one line for people that holds each of @parts; nothing looks like a verdict."""
        self.assertEqual(done.stdout, "")
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertTrue(lines[0].startswith("error: "), done.stderr)
        for part in parts:
            self.assertIn(part, lines[0])
