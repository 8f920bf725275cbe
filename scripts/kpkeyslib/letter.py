# SPDX-License-Identifier: GPL-2.0-only
"""The parts of the cover letter that are made, not written.

They stand between two comment lines,

    # begin tests
    # end tests

which b4 leaves out of the mail. `make cover` replaces what is between them; a part whose lines
are not in the letter is not made. b4 adds shortlog and diffstat to the mail by itself, so that
a letter needs those two only where it is read elsewhere.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import aside, bases, benchreport, guests, rebase, series, settings, toolroot, trees, ui
from .plumbing import _ask, _environment, _git, _pipe, _point, _read, _write
from .trees import COVER
from .ui import Failure

_MARK = re.compile(r"^# (begin|end) (\S+)[ \t]*$", re.M)
TOOLS = (("clang", ["clang", "--version"]), ("gcc", ["aarch64-linux-gnu-gcc", "--version"]), ("lld", ["ld.lld", "--version"]),
         ("b4", ["b4", "--version"]), ("git", ["git", "--version"]))


@dataclass(frozen=True)
class Source:
    """What the parts are made from: the series as commits, and what git calls its content."""

    commits: aside.Commits
    content: str


def spans(text: str) -> dict[str, tuple[int, int]]:
    """Where in @text the content of each generated part is."""
    found: dict[str, tuple[int, int]] = {}
    opened: re.Match | None = None
    for mark in _MARK.finditer(text):
        line = text.count("\n", 0, mark.start()) + 1
        where = f"{COVER}:{line}"
        if mark[2] not in PARTS:
            raise Failure(f"{where}: there is no generated part '{mark[2]}'", f"parts: {', '.join(PARTS)}")
        if (mark[1] == "begin") == (opened is not None) or opened and opened[2] != mark[2] or mark[2] in found:
            raise Failure(f"{where}: '{mark[0]}' does not pair", "each part is there once, from its '# begin' to its '# end' line")
        if mark[1] == "end":
            found[mark[2]] = (opened.end() + 1, mark.start())
        opened = mark if mark[1] == "begin" else None
    if opened:
        raise Failure(f"{COVER}: '{opened[0]}' has no '# end {opened[2]}'", "each part is there once, from its '# begin' to its '# end' line")
    return found


def fill(text: str, values: dict[str, str]) -> str:
    """@text with the parts in @values replaced."""
    for name, (start, end) in sorted(spans(text).items(), key=lambda item: -item[1][0]):
        if name in values:
            text = text[:start] + values[name].rstrip("\n") + "\n" + text[end:]
    return text


# The parts

def _columns(rows: list[list[str]], right: set[int]) -> str:
    """Aligned columns, without the rule of dashes, at which mail tools end a message."""
    lines = ui.table(rows, right).splitlines()
    return "\n".join("  " + line for line in [lines[0], *lines[2:]])


def _summaries(content: str) -> list[dict]:
    """The results of the guests that ran on exactly @content, in the order of guests.ini."""
    found = {}
    for path in [*sorted((settings.out() / "guests").glob("*/summary.json")), settings.out() / "verify" / "summary.json"]:
        try:
            summary = json.loads(path.read_text())
        except (OSError, json.JSONDecodeError):
            continue
        if content and summary.get("content") == content:
            found[summary["guest"]] = summary
    order = list(guests.guests())
    return sorted(found.values(), key=lambda s: order.index(s["guest"]) if s["guest"] in order else len(order))


def _tests(source: Source) -> str:
    """One line for each guest that ran on exactly this series."""
    known = guests.guests()
    rows = [["guest", "passed", "failed", "skipped", "what"]]
    for s in _summaries(source.content):
        about = known[s["guest"]].about if s["guest"] in known else ""
        rows.append([s["guest"], str(s["passed"]), str(s["failed"]), str(s["skipped"]), about if s["verdict"] == "pass" else s["verdict"]])
    if len(rows) == 1:
        raise Failure("no guest has run on exactly this series: there is no test table to insert", "make verify, or make guests for all that CI runs")
    return _columns(rows, {1, 2, 3})


def _measured(content: str, *names: str) -> list[dict]:
    """What benchmarks left in the files @names and measured of exactly @content."""
    found = []
    for name in names:
        try:
            data = json.loads((settings.out() / "bench" / name).read_text())
        except (OSError, json.JSONDecodeError):
            continue
        if content and content in (data.get("content"), data.get("qemu_content")):
            found.append(data)
    return found


def _bench(source: Source) -> str:
    """The estimates and ratios of benchmarks that ran on exactly this series; of a quick run only if no full one did."""
    tables = []
    runs = sorted((data for data in _measured(source.content, "bench.json", "bench-full.json") if data["estimates"]), key=lambda data: data["quick"])
    for data in runs[:1]:
        tables.append(f"{benchreport.letter_heading(data)}\n\n{_columns(benchreport.letter(data), {1, 2})}")
    for data in _measured(source.content, "qemu.json"):
        rows = [["ratio", "bar", "what"]] + [[f"{c['ratio']:.2f}", c["bar"], c["name"]] for c in data["comparisons"]]
        tables.append(f"qemu, {data['rounds']} rounds:\n\n{_columns(rows, {0})}")
    return "\n\n".join(tables) or "Not measured."


def _tools(source: Source) -> str:
    tools = toolroot.get()
    rows = [["tool", "version"]]
    for name, argv in TOOLS:
        said = tools.run(argv, capture=True, check=False)
        version = re.search(r"\d+\.\d+(?:\.\d+)?", said.stdout + said.stderr) if said.returncode == 0 else None
        rows.append([name, version[0] if version else "not there"])
    machines = {s["qemu"] for s in _summaries(source.content)}
    rows.append(["QEMU", ", ".join(sorted(machines)) or "not run"])
    return _columns(rows, set())


def _shortlog(source: Source) -> str:
    c = source.commits
    return _git(c.tree, "shortlog", "-w75,2,4", f"{c.cover.id}..{c.tip}")


def _diffstat(source: Source) -> str:
    c = source.commits
    return _git(c.tree, "diff", "--stat=72", "--summary", c.base, c.tip)


PARTS: dict[str, Callable[[Source], str]] = {
    "shortlog": _shortlog, "diffstat": _diffstat, "tests": _tests, "bench": _bench, "tools": _tools}


def _branch(name: str) -> Source | None:
    """The branch of series @name, where it is just what is stored: its base may be one of the user's."""
    tree = series.worktree(name)
    if not series._is_tree(tree) or _ask(tree, "symbolic-ref", "--quiet", "--short", "HEAD") != series.BRANCHES[name]:
        return None
    cover = series.find_cover(tree, "HEAD")
    if not cover or not series._kept(tree, name, "HEAD"):
        return None
    return Source(aside.Commits(tree, cover.parents[0], cover, _git(tree, "rev-parse", "HEAD")), _git(tree, "rev-parse", "HEAD^{tree}"))


def values(name: str, wanted: list[str]) -> dict[str, str]:
    """The content of the parts @wanted, of series @name as it is stored."""
    if not wanted:
        return {}
    branch = _branch(name)
    if branch:
        return {part: PARTS[part](branch) for part in wanted}
    stored = trees.read_series(series.stored(name), settings.text("BASE") if name == "linux" else "")
    with aside.repository("cover") as tree:
        commits = aside.commit(tree, stored)
        source = Source(commits, _git(tree, "rev-parse", f"{commits.tip}^{{tree}}"))
        return {part: PARTS[part](source) for part in wanted}


def _old(text: str, made: dict[str, str]) -> list[Failure]:
    """Generated parts of the letter @text that are not what is @made of them now."""
    there, now = spans(text), fill(text, made)
    old = [part for part in made if now[slice(*spans(now)[part])] != text[slice(*there[part])]]
    return [Failure(f"the cover letter's part '{old[0]}' is not up to date", "make cover")] if old else []


def stale(name: str, tree: Path) -> list[Failure]:
    """Generated parts of the stored letter that are not what they would be now."""
    text = _read(series.stored(name) / COVER)
    # That nothing ran on this series is for others to say.
    content = _git(tree, "rev-parse", "HEAD^{tree}")
    ran = {"tests": _summaries(content), "bench": _measured(content, "bench.json", "bench-full.json", "qemu.json")}
    return _old(text, values(name, [part for part in spans(text) if ran.get(part, True)]))


def refuse_unfit(commits: aside.Commits) -> None:
    """Raise a Failure if a generated part in the letter of the series @commits is not up to date, or cannot be: no guest ran on it."""
    text = commits.cover.message + "\n"
    source = Source(commits, _git(commits.tree, "rev-parse", f"{commits.tip}^{{tree}}"))
    problems = _old(text, {part: PARTS[part](source) for part in spans(text)})
    if problems:
        raise problems[0]


# Changing the letter

def amend(name: str, edit: Callable[[str], str]) -> bool:
    """Change the cover letter by @edit: in the files, and on the branch where there is one. False if that changes nothing.

    On the branch only the commits are made anew: neither index nor files are touched.
    """
    directory, tree = series.stored(name), series.worktree(name)
    before = _read(directory / COVER)
    after = edit(before)
    if after == before:
        return False
    if not series._is_tree(tree):
        _amend_files(directory, after)
        return True
    series._refuse_unfinished(tree)
    cover = rebase._need_saved(name, tree)
    if not series._kept(tree, name, "HEAD"):
        raise Failure(f"the branch in {tree} is not on the base of patches/{name}", f"load it on that, or save it: {series._verb('save', name)}")
    if bases.is_other(directory, tree, cover.parents[0]):
        raise Failure(f"the branch in {tree} is not on the primary base", f"the letter is changed there: {series._verb('load', name)}, then again")
    tip = rewrite(tree, cover, {cover.id: after})
    _point("cover-made")
    _git(tree, "update-ref", "-m", "kpkeys: change the cover letter", f"refs/heads/{series.BRANCHES[name]}", tip, _git(tree, "rev-parse", "HEAD"))
    _point("cover-on-branch")
    series.save(name)
    return True


def rewrite(tree: Path, cover: series.Commit, messages: dict[str, str]) -> str:
    """Make the series from @cover to HEAD anew with other @messages, by commit; the new last commit."""
    committer = _git(tree, "show", "-s", "--format=%cn%x01%ce", cover.id).split("\1")
    env = _environment(GIT_COMMITTER_NAME=committer[0], GIT_COMMITTER_EMAIL=committer[1])
    tip = cover.parents[0]
    for commit in [cover, *series._commits(tree, "--reverse", "--topo-order", f"{cover.id}..HEAD")]:
        tip = rebase.commit_again(tree, commit, commit.tree, tip, env, messages.get(commit.id, ""))
    return tip


def _amend_files(directory: Path, text: str) -> None:
    new = series._beside(directory, "new")
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(directory, new)
    _write(new / COVER, text)
    series.publish(new, directory)


def cover(name: str) -> int:
    """Make the generated parts of the cover letter of series @name anew."""
    directory = series.stored(name)
    with series._alone(name):
        try:
            there = spans(_read(directory / COVER))
        except FileNotFoundError:
            raise Failure(f"{directory / COVER} is not there", f"restore it: git checkout -- {directory / COVER}") from None
        if not there:
            raise Failure(f"{os.path.relpath(directory / COVER)} has no generated part",
                          f"where one belongs, put the lines '# begin <part>' and '# end <part>'; parts: {', '.join(PARTS)}")
        with ui.step(f"{name} series: {', '.join(there)}"):
            made = values(name, list(there))
        changed = amend(name, lambda text: _pipe(settings.PROJECT, fill(text, made), "stripspace"))
    ui.note(f"the cover letter has {'new' if changed else 'the same'} {', '.join(there)}"
            + (f": git diff {os.path.relpath(directory / COVER)}" if changed else ": nothing to do"))
    return ui.PASS
