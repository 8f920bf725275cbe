# SPDX-License-Identifier: GPL-2.0-only
"""The static checkers of series-check: sparse, the tree's semantic patches, kpkeys-lint.

What a patch may have broken is looked at, not the whole tree: the units whose source it touches
and, if it touches a header, every unit that the series touches anywhere. kbuild says which of
them the configuration has, and how they are compiled: it calls scripts/check-units as CHECK=.

sparse and coccicheck report much about any kernel. Only what they do not say of the tree before
the patch counts, line numbers left out. An error of sparse always counts: it exits with 0 after
one, and says little about what comes after it.

kpkeys-lint has no such history, so each of its findings counts. But a patch in the middle of the
series cannot be clean of all: page tables are protected before all that writes to them has a
guard. What holds at every step is what a unit shows by itself: contexts are constants, entered
and left in order, and no address of a function that switches them is taken. The rest needs the
whole program, and is asked for from the patch on that lets kpkeys_hardened_pgtables be selected,
when all guards must be there. The exemptions are those of the complete series: that one has
nothing to exempt yet counts after the last patch only.
"""

from __future__ import annotations

import functools
import json
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from . import cxxtools, kernel, proc, settings, toolroot
from .ui import Failure

NAMES = ["sparse", "coccicheck", "lint"]
# Raised when what these checks do changes; the results of the others stay.
RECIPE = "1"
# Its search of the files for what a semantic patch is about is not to ask git, which knows nothing of copies; no file
# may take for ever.
SPATCH = "--use-coccigrep --timeout 600"
GAVE_UP = "An error occurred when attempting to transform some files"
NO_OCAML = "No OCaml compiler found"
# Selected: from here on all writes to page tables must be under a guard.
ENABLED = "CONFIG_KPKEYS_HARDENED_PGTABLES"
UNITS = settings.PROJECT / "scripts" / "check-units"

_FINDING = re.compile(r"^(?:\S+?:\d+(?::\d+)?: )?(?:warning|error): ")


@dataclass(frozen=True)
class Tree:
    """A built tree: its sources, its build directory, and how make is called for it."""

    src: Path
    build: Path
    make: list[str]
    env: dict[str, str]


def keys() -> dict[str, str]:
    """Names what the result of each check depends on beside the series."""
    tools = toolroot.get()

    def version(*argv: str) -> str:
        return tools.run([*argv, "--version"], capture=True, check=False).stdout

    sources = [p for d in ("lib", "lint") for p in sorted((cxxtools.SOURCES / d).rglob("*")) if p.is_file()]
    return {"sparse": settings.digest(RECIPE, version("sparse")), "coccicheck": settings.digest(RECIPE, version("spatch")),
            "lint": settings.digest(RECIPE, *sources)}


def units(touched: list[str], of_series: list[str]) -> list[str]:
    """The sources to look at after a patch that changes the files @touched."""
    sources = {f for f in touched if f.endswith(".c")}
    return sorted(sources | set(of_series) if any(f.endswith(".h") for f in touched) else sources)


def _plain(line: str, root: Path) -> str:
    """@line of a checker with neither line numbers nor the place of the tree @root."""
    line = line.replace(f"{root}/", "")
    line = re.sub(r"^(\S+?)(:[\d-]+)+:", r"\1:", line)
    return re.sub(r"\b(lines?) \d+", r"\1", line).strip()


def _outcome(problems: list[str], **more) -> dict:
    return {"ok": not problems, "problems": problems, **more}


def new_ones(after: dict[str, Counter], before: dict[str, Counter]) -> list[str]:
    """What is found in each unit more often than before."""
    return sorted({text for unit, texts in after.items() for text in texts - before.get(unit, Counter())})


# sparse, and kpkeys-lint unit by unit

def examine(tree: Tree, sources: list[str], checkers: list[str], into: Path) -> dict[str, dict[str, Counter]]:
    """What each of @checkers says of those of @sources that the configuration of @tree has: checker, source, findings."""
    shutil.rmtree(into, ignore_errors=True)
    for checker in checkers:
        (into / checker).mkdir(parents=True)
    if not sources:
        return {checker: {} for checker in checkers}
    names = {str(tree.src / source): source for source in sources}
    (into / "units").write_text("".join(f"{name}\n" for name in names))
    env = {**tree.env, "KPKEYS_UNITS": str(into / "units"), "KPKEYS_FOUND": str(into), "KPKEYS_CHECKERS": " ".join(checkers)}
    if "lint" in checkers:
        env |= {"KPKEYS_LINT": str(program()), "KPKEYS_LINT_FLAGS": f"--exemptions={cxxtools.EXEMPTIONS}"}
    log = into / "make.log"
    toolroot.get().run([*tree.make, "C=2", f"CHECK={UNITS}", f"-j{settings.jobs()}", "Image"], env=env, log=log,
                       failure=Failure(f"make C=2 failed in {tree.build}", f"the whole log is {log}"))
    found: dict[str, dict[str, Counter]] = {}
    for checker in checkers:
        found[checker] = {}
        for path in sorted((into / checker).iterdir()):
            lines = path.read_text(errors="replace").splitlines()
            found[checker][names[path.name.replace(",", "/")]] = Counter(_plain(line, tree.src) for line in lines if _FINDING.match(line))
    return found


def sparse(before: dict[str, Counter] | None, after: dict[str, Counter]) -> dict:
    if before is None:
        return _outcome(["the tree before the patch does not build: there is nothing to compare with"])
    errors = {text for texts in after.values() for text in texts if re.match(r"(\S+: )?error: ", text)}
    return _outcome(sorted(errors.union(new_ones(after, before))), units=len(after))


# kpkeys-lint

@functools.lru_cache(maxsize=None)
def program() -> Path:
    """The program, built."""
    return cxxtools.build("kpkeys-lint") / "bin" / "kpkeys-lint"


def lint(tree: Tree, alone: dict[str, Counter], last: bool, into: Path) -> dict:
    """What kpkeys-lint finds in @tree, beside what it has found in units @alone."""
    problems = sorted({text for texts in alone.values() for text in texts})
    whole = kernel.values(tree.build / ".config").get(ENABLED) == "y"
    if whole:
        problems += [text for text in _whole_program(tree, last, into) if text not in problems]
    return _outcome(problems, units=len(alone), whole_program=whole)


def _whole_program(tree: Tree, last: bool, into: Path) -> list[str]:
    tools = toolroot.get()
    report = into / "findings.json"
    report.unlink(missing_ok=True)
    commands = cxxtools.make_database(tree.src, tree.build, into)
    log = into / "lint.log"
    done = tools.run([program(), "-p", commands, f"--cache-dir={into / 'cache'}", f"-j{settings.jobs()}", f"--json={report}", "--quiet",
                      f"--exemptions={cxxtools.EXEMPTIONS}"], log=log, check=False)
    if not report.exists():
        return [f"kpkeys-lint exited with {done.returncode}: {(proc.tail(log, 1) or '?').strip()}"]
    said = json.loads(report.read_text())
    found = [_plain(f"{f['file']}: {f['severity']}: {f['message']} [{f['check']}]", tree.src) for f in said["findings"]
             if last or f["check"] != "unused-exemption"]
    return [*said["problems"], *([] if said["complete"] or said["problems"] else ["kpkeys-lint could not analyse all units"]), *found]


# coccicheck

def copy(src: Path, files: list[str], into: Path) -> Path:
    """Put @files of the tree @src as it is now, those that are there, in @into."""
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    for name in files:
        if (src / name).is_file():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(src / name, into / name)
    return into


def coccicheck(src: Path, before: Path, after: Path, into: Path) -> dict:
    """What the semantic patches of the tree @src find in the files below @after, and not in those below @before."""
    if not any(p.is_file() for p in after.rglob("*")):
        return _outcome([], scripts=0)
    scripts = [p for p in sorted((src / "scripts/coccinelle").rglob("*.cocci")) if re.search(r"virtual\s+report\b", p.read_text(errors="replace"))]
    found, skipped = _run_scripts(src, scripts, after, into)
    again = [script for script in scripts if found.get(script)]
    known = _run_scripts(src, again, before, into)[0] if again else {}
    problems = new_ones({str(s): c for s, c in found.items()}, {str(s): c for s, c in known.items()})
    return _outcome(problems, scripts=len(found), skipped=skipped)


def _run_scripts(src: Path, scripts: list[Path], files: Path, into: Path) -> tuple[dict[Path, Counter], list[str]]:
    """What the tree's coccicheck says of all @files with each of @scripts; and the scripts that cannot be run here, with the reason.

    One call a script, as coccicheck ends at the first that fails.
    """
    said = into / "said"
    shutil.rmtree(said, ignore_errors=True)
    said.mkdir(parents=True)
    include = " ".join(f"-I{src}/{d}" for d in ("arch/arm64/include", "include", "arch/arm64/include/uapi", "include/uapi"))
    env = {"MODE": "report", "J": "1", "srctree": str(src), "srcroot": str(files), "LINUXINCLUDE": include, "SPFLAGS": SPATCH, "SAID": str(said)}
    numbers = {script: f"{number:03}" for number, script in enumerate(scripts)}
    one = 'COCCI="${1#*=}" bash "$srctree/scripts/coccicheck" > "$SAID/${1%%=*}" 2>&1 || echo "error: coccicheck exited with $?" >> "$SAID/${1%%=*}"'
    toolroot.get().run(["sh", "-c", f'printf "%s\\n" "$@" | xargs -P{settings.jobs()} -n1 sh -c \'{one}\' sh', "sh",
                        *(f"{numbers[s]}={s}" for s in scripts)], cwd=src, env=env, log=into / "coccicheck.log",
                       failure=Failure("coccicheck could not be run", f"the whole log is {into / 'coccicheck.log'}"))
    found, skipped = {}, []
    for script, number in numbers.items():
        lines = (said / number).read_text(errors="replace").splitlines()
        if any(NO_OCAML in line for line in lines):
            skipped.append(f"{script.name}: {NO_OCAML.lower()}")
            continue
        # What spatch says beside findings is about its own trouble with a file; giving up is worth a word.
        found[script] = Counter(f"{_plain(line, files)} [{script.name}]" for line in lines
                                if line.startswith((f"{files}/", "error: ", GAVE_UP)))
    return found, skipped
