# SPDX-License-Identifier: GPL-2.0-only
"""What MAINTAINERS-notes.md refers to is there."""

from __future__ import annotations

import re
import subprocess
import unittest
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


class Reviews(unittest.TestCase):
    def setUp(self):
        text = (PROJECT / "MAINTAINERS-notes.md").read_text()
        section = text.partition("## What review asked for")[2].partition("\n## ")[0]
        self.rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| ")][1:]
        self.assertGreater(len(self.rows), 20)
        self.rows = [row for row in self.rows if not row[0].startswith("---")]
        self.series = (PROJECT / "patches/linux/series").read_text().split()

    def test_patches(self):
        for row in self.rows:
            self.assertEqual(len(row), 4, row)
            named = [int(n) for n in re.findall(r"(?<![\w.`])(\d{1,2})(?![\w.`])", row[2])]
            self.assertTrue(named or row[2].startswith(("not yet", "stated", "not taken")), row)
            for number in named:
                self.assertLessEqual(number, len(self.series), row)

    def test_cases(self):
        known = {line.split()[0].partition(".")[2] for path in (PROJECT / "kunit/expect").glob("*.txt") for line in path.read_text().splitlines()
                 if re.match(r"\w+\.\w+", line)}
        for row in self.rows:
            for name in re.findall(r"`(\w+)`", row[3]):
                self.assertIn(name, known, row)

    def test_sections(self):
        """A section is that of the documentation the patch adds, or of the cover letter."""
        for row in self.rows:
            for title, where in re.findall(r'"([^"]+)" in (\d+|the cover letter)', row[2]):
                path = PROJECT / "patches/linux" / ("0000-cover-letter.txt" if not where.isdigit() else self.series[int(where) - 1])
                self.assertRegex(path.read_text(), rf"(?m)^\+?{re.escape(title)}\n\+?[=-]{{4,}}$", row)

    def test_targets(self):
        makefile = (PROJECT / "Makefile").read_text()
        for target in re.findall(r"`make ([a-z-]+)", (PROJECT / "MAINTAINERS-notes.md").read_text()):
            self.assertRegex(makefile, rf"(?m)^{re.escape(target)}: ", target)

    def test_help(self):
        """Each target is in make's help, and each verb of the series has a target."""
        said = subprocess.run(["make", "-C", PROJECT, "help"], capture_output=True, text=True).stdout
        for target in re.search(r"^\.PHONY: (load .*)$", (PROJECT / "Makefile").read_text(), re.M)[1].split():
            self.assertRegex(said, rf"(?m)^  {target} ")


if __name__ == "__main__":
    unittest.main()
