# SPDX-License-Identifier: GPL-2.0-only
"""Move the branch of a series to another base.

The commits are made again aside, and checked out in one go. At a commit that conflicts git
rebase takes over, in the work tree: it stops there as it always does. The same command goes on
from wherever it was, after a conflict or a kill. What is stored changes only with `save`, and the
branch must be saved before, so there is nothing that could be lost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from . import bases, proc, series, settings, sources, trees, ui
from .plumbing import _argv, _ask, _environment, _git, _holds, _own_index, _pipe, _point
from .ui import Failure

# Where the branch was before the last rebase.
BEFORE = "refs/kpkeys/before-rebase"


@dataclass(frozen=True)
class Target:
    """The base to move to. @move are the new values of `base`, {} if the primary base stays what it is."""

    repo: Path
    commit: str
    name: str
    base: sources.Base
    move: dict[str, str]


def _target(name: str) -> Target:
    wanted = settings.text("BASE")
    if not wanted:
        raise Failure("which base? BASE is not set", f"make rebase BASE=<tag>; {trees.kept_for(series.stored(name))}")
    stored = trees.read_series(series.stored(name), wanted)
    recorded = bases.recorded(stored.directory)
    if settings.kernel() or wanted in recorded:
        repo, commit, label = trees.base_of(stored)
        return Target(repo, commit, label, stored.base, {})
    version = settings.text("LINUX_VERSION")
    if not version:
        raise Failure(f"BASE={wanted} is no base this series is kept for",
                      f"{trees.kept_for(stored.directory)}; for a commit of your tree add KERNEL=<dir>; "
                      "for another Debian kernel add LINUX_VERSION=<Debian version>")
    release = re.fullmatch(r"v(\d+\.\d+)(\.\d+)?(-rc\d+)?", wanted)
    if not release:
        raise Failure(f"BASE={wanted} is not the tag of a release", "for a commit of your tree add KERNEL=<dir>")
    base = sources.Base(name, wanted, "", f"linux-source-{release[1]}", version)
    repo = sources.repository(base)
    return Target(repo, _git(repo, "rev-parse", "base^{commit}"), f"linux {wanted}", base,
                  {"tag": wanted, "commit": "", "package": base.package, "version": version})


def _in_progress(tree: Path) -> bool:
    return any((series._git_dir(tree) / d).exists() for d in ("rebase-merge", "rebase-apply"))


def _unmerged(tree: Path) -> list[str]:
    return _git(tree, "diff", "--name-only", "--diff-filter=U").splitlines()


def _need_saved(name: str, tree: Path) -> series.Commit:
    """The cover letter's commit on the branch in @tree, once all of the branch is stored."""
    branch = series.BRANCHES[name]
    if _ask(tree, "symbolic-ref", "--quiet", "--short", "HEAD") != branch:
        raise Failure(f"{branch} is not checked out in {tree}", f"git -C {tree} checkout {branch}; or {series._verb('load', name)}")
    series._refuse_dirty(tree, "would be in the way")
    cover = series.find_cover(tree, "HEAD")
    if not cover:
        raise Failure(f"{tree}: no commit with b4's cover letter below HEAD", f"make the branch: {series._verb('load', name)}")
    if not is_saved(name, tree):
        raise Failure(f"branch {branch} of {tree} has commits that are not saved in patches/{name}",
                      f"save it: {series._verb('save', name)}")
    return cover


def is_saved(name: str, tree: Path) -> bool:
    """Whether what is stored holds all that the branch in @tree does, but sign-offs."""
    state = series._state(tree)
    # On another base the patches may differ from the files without having been changed.
    as_loaded = (state.get("tip"), state.get("stored")) == (_ask(tree, "rev-parse", "HEAD"), series._digest(series.stored(name)))
    return as_loaded and "pending" not in state or series._kept(tree, name, "HEAD")


def _replay(tree: Path, commits: list[series.Commit], onto: str, who: tuple[str, str]) -> tuple[str, int, list[str]]:
    """Make @commits again on @onto, with no file touched, up to the first conflict.

    Returns the last commit made, how many of @commits are in it, and those that became empty.
    """
    tip, dropped = onto, []
    with _own_index(series._git_dir(tree)) as index:
        env = _environment(GIT_INDEX_FILE=str(index), GIT_COMMITTER_NAME=who[0], GIT_COMMITTER_EMAIL=who[1])
        _git(tree, "read-tree", onto, env=env)
        for count, commit in enumerate(commits):
            before = _git(tree, "rev-parse", f"{tip}^{{tree}}")
            diff = _pipe(tree, "", "diff-tree", "-p", "--binary", "--full-index", f"{commit.id}~1", commit.id)
            if diff:
                applied = _apply(tree, diff, env)
                content = _git(tree, "write-tree", env=env) if applied else ""
                if not applied:
                    return tip, count, dropped
                if content == before:
                    dropped.append(commit.subject)
                    continue
            tip = commit_again(tree, commit, content if diff else before, tip, env)
        return tip, len(commits), dropped


def _apply(tree: Path, diff: str, env: dict[str, str]) -> bool:
    for how in ([], ["--3way"]):
        try:
            _pipe(tree, diff, "apply", "--cached", "--whitespace=nowarn", *how, "-", env=env)
            return True
        except Failure:
            continue
    return False


def commit_again(tree: Path, commit: series.Commit, content: str, parent: str, env: dict[str, str], message: str = "") -> str:
    """@commit with the tree @content on @parent, and its author as before; with another @message if given."""
    author = _git(tree, "show", "-s", "--format=%an%x01%ae%x01%ad", "--date=raw", commit.id).split("\1")
    who = dict(zip(("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_AUTHOR_DATE"), author))
    return _pipe(tree, message or commit.message + "\n", "commit-tree", content, "-p", parent, env=dict(env, **who)).strip()


def rebase(name: str, abort: bool = False) -> int:
    """Move the branch of series @name to BASE=, or go on with that."""
    tree = series.worktree(name)
    if not series._is_tree(tree):
        raise Failure(f"no branch of the {name} series: {tree} is not a git work tree", f"make it: {series._verb('load', name)}")
    with series._alone(name):
        state = series._state(tree)
        going = state.get("rebase") if not state.get("rebase", {}).get("done") else None
        if abort:
            return _abort(name, tree, state, going)
        if _in_progress(tree) and not going:
            series._refuse_unfinished(tree)
        if going:
            wanted = settings.text("BASE")
            if wanted and wanted != going["wanted"]:
                raise Failure(f"{tree}: a rebase to {going['wanted']} is in progress",
                              f"finish it: {series._verb('rebase', name)}; or give it up: {series._verb('rebase', name)} --abort")
            if _in_progress(tree) and (going.get("stopped") or _unmerged(tree)):
                return _go_on(name, tree, state)
            if not _in_progress(tree) and _done(tree, going):
                return _finish(name, tree, state)
            _recover(name, tree, state)
        return _start(name, tree, series._state(tree), going)


def _start(name: str, tree: Path, state: dict, again: dict | None) -> int:
    """Begin, or begin @again after a kill."""
    own = settings.kernel() is None
    to = _target(name) if not again or settings.text("BASE") else _target_again(name, again)
    series._refuse_foreign(name, tree, to.repo, own, to.base)
    force = "to" in state
    if not force:
        series._refuse_unfinished(tree)
    elif series._leftovers(tree, state):
        raise Failure(f"{tree}: the last command was cut short, and {series._leftovers(tree, state)[0]} has changes that are not its own",
                      f"drop them: git -C {tree} checkout -f")
    branch = series.BRANCHES[name]
    cover = series.find_cover(tree, state["rebase"]["from"]) if force else _need_saved(name, tree)
    tip = state["rebase"]["from"] if force else _git(tree, "rev-parse", "HEAD")
    if cover.parents == [to.commit]:
        ui.note(f"{branch} is on {to.name} already: nothing to do")
        series._note_state(tree, **{k: v for k, v in state.items() if k != "rebase"})
        return ui.PASS
    commits = [cover, *series._range(tree, tip, cover.id)]
    who = series._identity(tree, own)
    _git(tree, "update-ref", BEFORE, tip)
    going = {"from": tip, "onto": to.commit, "wanted": settings.text("BASE") or again["wanted"], "name": to.name, "move": to.move,
             "repo": str(to.repo)}
    state = {**state, "rebase": going}
    series._note_state(tree, **state)
    _point("rebase-noted")
    with ui.step(f"{name} series: moving {len(commits) - 1} patches to {to.name}") as line:
        new, count, dropped = _replay(tree, commits, to.commit, who)
        _point("rebase-made")
        if count == len(commits):
            series._checkout(tree, branch, new, state, _git(tree, "rev-parse", "HEAD"), force=force)
            line.detail = "no conflict"
        else:
            line.detail = f"{count - 1} of them as they are"
    for subject in dropped:
        ui.note(f"left out, {to.name} has it already: {subject}")
    if count < len(commits):
        _hand_over(name, tree, state, branch, new, commits, count, who)
    return _finish(name, tree, state)


def _target_again(name: str, going: dict) -> Target:
    tag = going["wanted"]
    move = going["move"]
    base = sources.Base(name, tag, "", move.get("package", ""), move.get("version", ""))
    return Target(Path(going["repo"]), going["onto"], going["name"], base, move)


def _hand_over(name: str, tree: Path, state: dict, branch: str, new: str, commits: list[series.Commit], count: int,
               who: tuple[str, str]) -> None:
    """Let git rebase go on from the commit that conflicts; raises a Failure where it stops."""
    going = {**state["rebase"], "partial": new}
    series._note_state(tree, **{**state, "rebase": going})
    _point("rebase-handed-over")
    env = _environment(GIT_COMMITTER_NAME=who[0], GIT_COMMITTER_EMAIL=who[1], GIT_EDITOR="true")
    done = proc.run(_argv(tree, "rebase", "-q", "--no-autosquash", "--no-autostash", "--onto", new, commits[count - 1].id, branch),
                    env=env, capture=True, check=False)
    _after(name, tree, {**state, "rebase": going}, done)


def _after(name: str, tree: Path, state: dict, done) -> None:
    """Say where git rebase stopped, unless it has finished."""
    if done.returncode == 0 and not _in_progress(tree):
        return
    if not _in_progress(tree):
        raise Failure(f"git rebase failed in {tree}", f"run it again: {series._verb('rebase', name)}", detail=done.stdout + done.stderr)
    series._note_state(tree, **{**state, "rebase": {**state["rebase"], "stopped": True}})
    subject = _ask(tree, "show", "-s", "--format=%s", "REBASE_HEAD")
    conflicts = _unmerged(tree)
    what = f" (conflicts in {', '.join(conflicts)})" if conflicts else ""
    raise Failure(f"\"{subject}\" does not apply on {state['rebase']['name']}{what}",
                  f"resolve it in {tree}, 'git add', then '{series._verb('rebase', name)}'; "
                  f"or give up: {series._verb('rebase', name)} --abort", status=ui.USAGE, detail=done.stderr)


def _go_on(name: str, tree: Path, state: dict) -> int:
    conflicts = _unmerged(tree)
    if conflicts:
        raise Failure(f"{tree}: conflicts are left in {', '.join(conflicts)}",
                      f"resolve them, 'git add', then '{series._verb('rebase', name)}'; or give up: {series._verb('rebase', name)} --abort")
    email = _git(tree, "show", "-s", "--format=%cn%x01%ce", state["rebase"]["from"]).split("\1")
    env = _environment(GIT_EDITOR="true", GIT_COMMITTER_NAME=email[0], GIT_COMMITTER_EMAIL=email[1])
    done = proc.run(_argv(tree, "rebase", "--continue"), env=env, capture=True, check=False)
    _after(name, tree, state, done)
    return _finish(name, tree, state)


def _done(tree: Path, going: dict) -> bool:
    cover = series.find_cover(tree, "HEAD")
    return bool(cover) and cover.parents == [going["onto"]] and not series._changed(tree)


def _finish(name: str, tree: Path, state: dict) -> int:
    going = state["rebase"]
    if not _done(tree, going):
        raise Failure(f"{tree}: the branch is not on {going['name']} after the rebase", f"give it up: {series._verb('rebase', name)} --abort")
    kept = {k: v for k, v in state.items() if k in ("tip", "stored", "pending")}
    series._note_state(tree, **kept, rebase={**going, "done": True})
    tag = bases.is_other(series.stored(name), tree, going["onto"])
    ui.note(f"{series.BRANCHES[name]} is on {going['name']}; before it was {going['from'][:12]} ({BEFORE})")
    where = f"what differs on {tag} to patches/{name}/{bases.PREFIX}{tag}" if tag else f"it to patches/{name}"
    ui.note(f"'{series._verb('save', name)}' writes {where}")
    return ui.PASS


def _recover(name: str, tree: Path, state: dict) -> None:
    """Back to where a rebase began that was killed."""
    going = state["rebase"]
    if not _in_progress(tree):
        return
    for lock in ("index.lock", "HEAD.lock"):
        series._abandon(series._git_dir(tree) / lock)
    theirs = series._leftovers(tree, {"from": going["from"], "to": going.get("partial", going["onto"])})
    if theirs:
        raise Failure(f"{tree}: the last rebase was cut short, and {theirs[0]} has changes that are not its own",
                      f"drop them: git -C {tree} checkout -f; then run it again")
    _back(name, tree, going)


def _back(name: str, tree: Path, going: dict) -> None:
    branch = series.BRANCHES[name]
    if _in_progress(tree) and not _holds(tree, "rebase", "--abort"):
        _holds(tree, "rebase", "--quit")
    if _ask(tree, "symbolic-ref", "--quiet", "--short", "HEAD") != branch or _ask(tree, "rev-parse", "HEAD") != going["from"] \
            or series._changed(tree):
        _git(tree, "checkout", "-q", "-f", "--no-track", "-B", branch, going["from"])


def _abort(name: str, tree: Path, state: dict, going: dict | None) -> int:
    if not going:
        raise Failure(f"{tree}: there is no rebase to give up", f"see git -C {tree} status")
    for lock in ("index.lock", "HEAD.lock"):
        series._abandon(series._git_dir(tree) / lock)
    _back(name, tree, going)
    series._note_state(tree, **{k: v for k, v in state.items() if k in ("tip", "stored", "pending")})
    ui.note(f"{series.BRANCHES[name]} is where it was: {going['from'][:12]}")
    return ui.PASS
