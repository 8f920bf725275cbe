# SPDX-License-Identifier: GPL-2.0-only
"""Runs of kpkeys-lint on a kernel of ours, with files of it replaced."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from . import cxxtools, proc, settings, toolroot, ui
from .ui import Failure


def get() -> "Linter":
    """The tool and the kernel of this run, both built."""
    cxxtools.kernel_of()
    program = cxxtools.build("kpkeys-lint") / "bin" / "kpkeys-lint"
    what = cxxtools.target("")
    return Linter(program, cxxtools.database(what), what)


class Linter:
    """kpkeys-lint, the kernel @what, and the compilation database @commands of it."""

    def __init__(self, program: Path, commands: Path, what: cxxtools.Target):
        self.program, self.commands, self.what = program, commands, what

    def run(self, *arguments: str | Path, units: Sequence[str | Path] = ()) -> str:
        """What a run with @arguments prints. A unit that cannot be analysed is a Failure."""
        command = [self.program, "-p", self.commands, f"--cache-dir={cxxtools.lint_cache()}", f"--exemptions={cxxtools.EXEMPTIONS}",
                   "--quiet", *arguments, *units]
        argv = toolroot.get().argv(command, cwd=settings.PROJECT, **cxxtools.binds(self.what.tree))
        done = proc.run(argv, capture=True, check=False)
        if done.returncode not in (ui.PASS, ui.TEST_FAILED):
            raise Failure(f"kpkeys-lint ended with status {done.returncode}", "does the source parse, changed as it is?", detail=done.stderr)
        return done.stdout

    @cached_property
    def _readers(self) -> dict[str, list[tuple[int, str]]]:
        """For each file of the tree the units that read it, those that read the least first, as kbuild's dependency files have it."""
        found: dict[str, list[tuple[int, str]]] = {}
        prefix = f"{self.what.tree}/"
        entries = [e for e in json.loads(self.commands.read_text()) if "-D__KERNEL__" in e["command"] and e["file"].endswith(".c")]
        times = Counter(e["file"] for e in entries)
        for entry in entries:
            words = entry["command"].split()
            built = Path(entry["directory"], words[words.index("-o") + 1])
            record = built.with_name(f".{built.name}.cmd")
            # Of a source that is compiled twice it would have to be said which one is meant.
            if not record.is_file() or times[entry["file"]] > 1 or not entry["file"].startswith(prefix):
                continue
            read = {w for w in record.read_text().split() if w.startswith(prefix) and w.endswith(".h")}
            for name in (*read, entry["file"]):
                found.setdefault(name.removeprefix(prefix), []).append((len(read), entry["file"].removeprefix(prefix)))
        return {name: sorted(units) for name, units in found.items()}

    def unit(self, file: str) -> str:
        """The unit that a change of @file is to be looked at in. Of a header, one will do: what writes tables, or switches contexts,
        is analysed wherever it is read.
        """
        units = [unit for _, unit in self._readers.get(file, [])]
        if not units:
            raise Failure(f"no unit of this kernel reads {file}", "choose another kernel with GUEST=")
        return file if file in units else units[0]
