# SPDX-License-Identifier: GPL-2.0-only
"""What is kept from one run to the next, and what must not be."""

import os
import re
import subprocess
import time

from support import BAD, CLEAN, HEADER, PROGRAM, LintTest


class CacheTest(LintTest):
    def setUp(self):
        super().setUp()
        self.tree.add("a.c", BAD)
        self.tree.add("b.c", CLEAN)
        self.tree.add("c.c", "int unrelated;\n")
        # Older than the clock's tick: what changes in the moment of a run is not kept.
        time.sleep(0.1)

    def cached(self, *args, expect=1) -> int:
        """How many of the units a run took from the cache."""
        found = re.search(r"\((\d+) of them before\)", self.lint(*args, expect=expect).stderr)
        return int(found[1]) if found else 0

    def change(self, name: str, text: str) -> None:
        self.tree.write(name, text)
        time.sleep(0.1)

    def test_second_run_says_the_same_and_analyses_nothing(self):
        first = self.lint(expect=1)
        second = self.lint(expect=1)
        self.assertEqual(first.stdout, second.stdout)
        self.assertIn("(3 of them before)", second.stderr)

    def test_new_time_stamp_is_no_change(self):
        self.cached()
        os.utime(self.tree.src / "a.c")
        time.sleep(0.1)
        self.assertEqual(self.cached(), 3)

    def test_changed_source(self):
        self.cached()
        self.change("b.c", BAD)
        self.assertEqual(self.cached(), 2)
        self.assertEqual(len(self.findings()), 2)

    def test_change_that_keeps_size_and_time(self):
        self.cached()
        path = self.tree.src / "a.c"
        before = path.stat()
        path.write_text(BAD.replace("(x)", "(1)"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.lint(expect=0)

    def test_changed_header_concerns_who_includes_it(self):
        self.cached()
        self.change("include/linux/kpkeys.h", HEADER.replace("extern int x;", "enum { x = 1 };"))
        # Now a constant: no finding any more.
        self.assertEqual(len(self.findings(expect=0)), 0)
        self.assertEqual(self.cached(expect=0), 3)
        self.change("include/linux/kpkeys.h", HEADER)
        self.assertEqual(self.cached(), 1)

    def test_header_that_is_gone(self):
        self.cached()
        (self.tree.src / "include/linux/kpkeys.h").unlink()
        self.lint(expect=3)

    def test_changed_command(self):
        self.cached()
        self.tree.entries[2]["arguments"].insert(1, "-DNEW")
        self.tree.save()
        self.assertEqual(self.cached(), 2)

    def test_changed_configuration(self):
        self.cached()
        config = self.tree.root / "config.json"
        config.write_text("{}")
        self.assertEqual(self.cached(f"--config={config}"), 3)
        config.write_text('{"guards": ["another"]}')
        self.assertEqual(self.cached(f"--config={config}"), 0)

    def test_broken_unit_is_not_kept(self):
        self.tree.add("broken.c", "syntax error\n")
        self.assertEqual(self.cached(expect=3), 0)
        self.assertEqual(self.cached(expect=3), 3)

    def test_damage(self):
        first = self.findings()
        entries = [p for d in self.tree.cache.iterdir() if d.is_dir() for p in d.iterdir() if p.name != "used"]
        self.assertEqual(len(entries), 3)
        for damage in (lambda b: b"", lambda b: b[:20], lambda b: b[:-1], lambda b: b[:len(b) // 2], lambda b: b"\0" * len(b),
                       lambda b: b.replace(b"{", b"[")):
            for path in (*entries, self.tree.cache / "files"):
                path.write_bytes(damage(path.read_bytes()))
            self.assertEqual(self.findings(), first)
            self.assertEqual(self.cached(), 3)

    def test_two_runs_at_once(self):
        for n in range(12):
            self.tree.add(f"more{n}.c", BAD)
        time.sleep(0.1)
        for again in range(2):
            runs = [self.start("--format=json") for _ in range(4)]
            outputs = [run.communicate(timeout=120) for run in runs]
            self.assertEqual([run.returncode for run in runs], [1] * 4, outputs)
            self.assertEqual(len({out for out, _ in outputs}), 1)
        self.assertEqual(outputs[0][0].count('"check": "context-constant"'), 13)
        # Nothing half-written is left.
        self.assertEqual([p for p in self.tree.cache.rglob("*.tmp")], [])
        self.assertEqual(self.cached(), 15)

    def test_no_cache_keeps_nothing(self):
        self.assertEqual(self.cached("--no-cache"), 0)
        self.assertEqual(self.cached("--no-cache"), 0)
        self.assertFalse(self.tree.cache.exists())

    def test_default_directory(self):
        env = {"XDG_CACHE_HOME": str(self.tree.root / "xdg")}
        child = self.start("--no-cache", env=env)
        child.communicate()
        self.assertFalse((self.tree.root / "xdg").exists())
        subprocess.run([PROGRAM, "-p", self.tree.build], env={**os.environ, **env}, capture_output=True, check=False)
        self.assertTrue((self.tree.root / "xdg/kpkeys-lint/files").exists())

    def test_versions_that_nobody_runs_are_dropped(self):
        old = self.tree.cache / ("0" * 32)
        recent = self.tree.cache / ("1" * 32)
        for directory in (old, recent):
            directory.mkdir(parents=True)
            (directory / "used").touch()
        os.utime(old / "used", (1, 1))
        self.lint(expect=1)
        self.assertFalse(old.exists())
        self.assertTrue(recent.exists())
