# SPDX-License-Identifier: GPL-2.0-only
"""The stored series as a git branch that b4 manages, and back.

A series is held by plain files under patches/: the cover letter with b4's tracking data, the
ordered list `series`, what it applies to in `base`, one file per patch. `load` makes a branch
of them: an empty commit that carries the cover letter, the patches on top, as `b4 prep` has
it. `save` writes the branch back in one canonical form, so that load followed by save changes
nothing, and whatever drifted shows as a diff.

Neither loses work. What `load` replaces is what an earlier load or save left there, and the
commits are made aside and checked out in one go. `save` writes a directory beside the old one
and swaps the two. Both can be killed at any moment and run again.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import bases, proc, settings, sources, trees, ui
from .plumbing import _argv, _ask, _environment, _forget_inherited, _git, _holds, _own_index, _pipe, _point, _read, _write, write_series
from .trees import COVER, TRACKING
from .ui import Failure

BRANCHES = {"linux": "b4/kpkeys", "qemu": "b4/qemu-s1poe"}
# What `load` knows of its work tree, in the work tree's own git directory.
STATE = "kpkeys-series"
# Where no user.email is set. b4 finds its cover letter by the committer, so there must be one.
NOBODY = ("kpkeys", "kpkeys@localhost")
# b4 looks for the cover letter among commits of the last year; load makes them anew in time.
YEAR = 365 * 86400
# More commits than this between the tag and the branch are no series but another base.
MOST = 500

def stored(name: str) -> Path:
    """The directory that holds series @name."""
    return settings.PROJECT / "patches" / name


def worktree(name: str) -> Path:
    """Where the branch of series @name is checked out (WORKTREE=)."""
    return settings._path("WORKTREE", settings.PROJECT / "work" / name)


def _verb(verb: str, name: str) -> str:
    return f"scripts/kpkeys {verb}{'' if name == 'linux' else ' ' + name}"


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Hold series @name: its files and its branch."""
    _forget_inherited()
    with settings.lock(settings.PROJECT / "work" / f".{name}-lock", f"the {name} series"):
        _settle(stored(name))
        yield


# The state file

def _git_dir(tree: Path) -> Path:
    return Path(_git(tree, "rev-parse", "--absolute-git-dir"))


def _state(tree: Path) -> dict:
    """What the last load or save left: 'tip', 'stored', while a load runs 'to', after one that stopped 'pending'."""
    try:
        return json.loads((_git_dir(tree) / STATE).read_text())
    except (OSError, json.JSONDecodeError):
        return {}


def _note_state(tree: Path, **values) -> None:
    path = _git_dir(tree) / STATE
    path.with_suffix(".new").write_text(json.dumps(values) + "\n")
    os.replace(path.with_suffix(".new"), path)


def _digest(directory: Path) -> str:
    """A short name for all that is stored in @directory, but the upstream id save may add to `base`."""
    parts: list[bytes] = []
    for path in [*sorted(directory.glob("*")), *sorted(directory.glob(f"{bases.PREFIX}*/*"))]:
        if path.is_file() and (path.suffix == ".patch" or path.name in (COVER, "series")):
            parts += [str(path.relative_to(directory)).encode(), path.read_bytes()]
    return settings.digest(*parts)


# From a branch to files

@dataclass(frozen=True)
class Commit:
    """One commit of a branch."""

    id: str
    parents: list[str]
    tree: str
    message: str

    @property
    def subject(self) -> str:
        return self.message.partition("\n")[0]

    def __str__(self) -> str:
        return f"{self.id[:12]} (\"{self.subject}\")"


def _commits(tree: Path, *revisions: str) -> list[Commit]:
    """The commits git log gives for @revisions."""
    found = []
    for record in _git(tree, "log", "-z", "--format=%H%x01%P%x01%T%x01%B", *revisions).split("\0"):
        if record.strip():
            commit, parents, content, message = record.split("\1", 3)
            found.append(Commit(commit.strip(), parents.split(), content, message.strip("\n")))
    return found


def find_cover(tree: Path, tip: str) -> Commit | None:
    """The commit below @tip that carries the cover letter, None if there is none near."""
    for commit in _commits(tree, "--first-parent", f"--max-count={MOST}", tip):
        if TRACKING in commit.message:
            return commit
    return None


def _range(tree: Path, tip: str, base: str) -> list[Commit]:
    """The patches from @base to @tip in order, each of a kind that a file can hold."""
    found = _commits(tree, "--reverse", "--topo-order", f"{base}..{tip}")
    rebase = f"git -C {tree} rebase -i {base[:12]}"
    if not found:
        raise Failure(f"{tree}: there are no patches between {base[:12]} and {tip[:12]}",
                      f"check which branch is checked out there: git -C {tree} status")
    below = _git(tree, "rev-parse", f"{base}^{{tree}}")
    for commit in found:
        if len(commit.parents) > 1:
            raise Failure(f"commit {commit} is a merge", f"make the series linear: git -C {tree} rebase {base[:12]}")
        if re.match(r"(fixup|squash|amend)! ", commit.subject):
            raise Failure(f"commit {commit} is still to be folded into another", f"{rebase} --autosquash")
        if commit.tree == below:
            raise Failure(f"commit {commit} is empty", f"drop it: {rebase}")
        below = commit.tree
        # git am ends a message where it takes the text for a patch or a header.
        for line in commit.message.splitlines()[1:]:
            if re.match(r"---\s*$|--- \S|diff -|Index: ", line) or (line.startswith(("From: ", "Subject: ", "Date: ")) and
                                                                  commit.message.split("\n\n", 1)[-1].startswith(line)):
                raise Failure(f"commit {commit}: git am would not keep the line '{line}' of its message",
                              f"indent it: {rebase}, 'reword' that commit")
    return found


def _upstream_id(tree: Path, base: sources.Base) -> str:
    """The upstream commit of the tag @base names, '' where @tree does not have the real thing.

    An import of ours bears the same tag. A real one is an annotated tag, by somebody else, of
    a commit that has a history or is the edge of a shallow clone, and names the same release.
    """
    tag = f"refs/tags/{base.tag}"
    if _ask(tree, "cat-file", "-t", tag) != "tag":
        return ""
    head = _git(tree, "cat-file", "tag", tag).partition("\n\n")[0]
    commit = _ask(tree, "rev-parse", "--verify", "--quiet", f"{tag}^{{commit}}")
    if not commit or f"\ntag {base.tag}\n" not in head or NOBODY[1] in head:
        return ""
    raw = _git(tree, "cat-file", "commit", commit).partition("\n\n")[0]
    if NOBODY[1] in raw or "\nparent " not in raw:
        return ""
    path = "VERSION" if base.name == "qemu" else "Makefile"
    content = _ask(tree, "show", f"{commit}:{path}").encode()
    return commit if sources._release_of(base.name, path, content + b"\n") == base.release else ""


def _moved(text: str, to: dict[str, str]) -> str:
    """The `base` file @text with the values of @to, a rebase's new base."""
    for key, value in to.items():
        text = re.sub(rf"^{key}:.*$", f"{key}: {value}".rstrip(), text, count=1, flags=re.M)
    return text


def _base_text(directory: Path, tree: Path) -> str:
    """The `base` file of @directory, with the upstream id if @tree has it."""
    move = _state(tree).get("rebase", {}).get("move")
    if move:
        return _moved(_read(directory / "base"), move)
    text = _read(directory / "base")
    base = sources.read_base(directory)
    found = _upstream_id(tree, base)
    if not found or found == base.commit:
        return text
    if base.commit:
        ui.note(f"{directory / 'base'} says commit {base.commit[:12]}, but {base.tag} in {tree} is {found[:12]}: not changed")
        return text
    if re.search(r"^commit:.*$", text, re.M):
        return re.sub(r"^commit:.*$", f"commit: {found}", text, count=1, flags=re.M)
    return re.sub(r"^(tag:.*)$", rf"\1\ncommit: {found}", text, count=1, flags=re.M)


# The swap

def _exchange(one: Path, other: Path) -> bool:
    """Swap two directories in one step, with Linux's renameat2(2). False where that is not possible."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    at_cwd, exchange = -100, 2
    return rename(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), exchange) == 0


def _beside(directory: Path, what: str) -> Path:
    return directory.with_name(f".{directory.name}.{what}")


def _settle(directory: Path) -> None:
    """Clear what a killed save left beside @directory."""
    old = _beside(directory, "old")
    if old.is_dir() and not directory.exists():
        os.rename(old, directory)
    for rest in (old, _beside(directory, "new")):
        shutil.rmtree(rest, ignore_errors=True)


def publish(new: Path, directory: Path) -> None:
    """Put the directory @new in @directory's place: at any moment the one or the other is there whole.

    Where the file system cannot swap two directories there is a moment at which neither is
    there; the next command then puts the old one back.
    """
    _point("before-swap")
    if not directory.exists():
        os.rename(new, directory)
    elif _exchange(new, directory):
        _point("after-swap")
        shutil.rmtree(new)
    else:
        old = _beside(directory, "old")
        os.rename(directory, old)
        _point("between-renames")
        os.rename(new, directory)
        shutil.rmtree(old)


def _differences(new: Path, old: Path) -> list[str]:
    """What changed from directory @old to @new, a line each."""
    def files(directory: Path) -> set[str]:
        return {str(p.relative_to(directory)) for pattern in ("*", f"{bases.PREFIX}*/*") for p in directory.glob(pattern) if p.is_file()}

    there, here = files(old) if old.is_dir() else set(), files(new)
    gone, added = there - here, here - there
    lines = []

    def title(name: str) -> str:
        return name.partition("-")[2]

    for name in sorted(here | there):
        if name in added:
            was = next((g for g in sorted(gone) if title(g) and title(g) == title(name)), None)
            if was:
                gone.discard(was)
                same = (new / name).read_bytes() == (old / was).read_bytes()
                lines.append(f"renamed  {was} -> {name}{'' if same else ', changed'}")
            else:
                lines.append(f"new      {name}")
        elif name in here and (new / name).read_bytes() != (old / name).read_bytes():
            lines.append(f"changed  {name}")
    return lines + [f"removed  {name}" for name in sorted(gone)]


def _render(directory: Path, tree: Path, tip: str, base: str, cover: str, new: Path) -> int:
    """Write what the branch holds to @new, which has the rest of @directory already; the sign-offs left out.

    On a base other than the primary one only what differs there is written, the rest copied.
    """
    if not (directory / "base").is_file() or not bases.is_other(directory, tree, bases.cover_base(tree, base)):
        signoffs = write_series(tree, tip, base, cover, new)
        for orphan in bases.follow_names(directory, new):
            ui.note(f"{orphan} has no patch on the primary base any more: removed")
        return signoffs
    for path in directory.glob("*"):
        if path.suffix == ".patch" or path.name in (COVER, "series"):
            shutil.copy2(path, new / path.name)
    with _scratch(tree) as scratch:
        return bases.write_differences(directory, tree, tip, base, cover, new, scratch)


def _stage(directory: Path, tree: Path, tip: str, base: str, cover: str) -> tuple[Path, int]:
    """The new content of @directory, in a directory beside it; and the sign-offs left out."""
    new = _beside(directory, "new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        for path in directory.glob("*") if directory.is_dir() else ():
            # What save does not make it does not touch either.
            if path.suffix != ".patch" and path.name not in (COVER, "series", "base"):
                (shutil.copytree if path.is_dir() else shutil.copy2)(path, new / path.name)
        signoffs = _render(directory, tree, tip, base, cover, new)
        _point("written")
        _write(new / "base", _base_text(directory, tree))
        return new, signoffs
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _refuse_unfinished(tree: Path) -> None:
    git_dir = _git_dir(tree)
    for name, what, go_on in (("rebase-apply/applying", "a git am", "am --continue"),
                              ("rebase-apply", "a rebase", "rebase --continue"),
                              ("rebase-merge", "a rebase", "rebase --continue"),
                              ("MERGE_HEAD", "a merge", "merge --continue"),
                              ("CHERRY_PICK_HEAD", "a cherry-pick", "cherry-pick --continue"),
                              ("REVERT_HEAD", "a revert", "revert --continue"),
                              ("BISECT_LOG", "a bisection", "bisect reset")):
        if (git_dir / name).exists():
            stop = "" if go_on.startswith("bisect") else f", or give up: git -C {tree} {go_on.split()[0]} --abort"
            raise Failure(f"{tree}: {what} is in progress", f"finish it: git -C {tree} {go_on}{stop}")


def _changed(tree: Path) -> list[str]:
    """The tracked files of @tree with uncommitted changes."""
    found = _git(tree, "status", "--porcelain", "-z", "--untracked-files=no", "--no-renames", "--ignore-submodules=none")
    return [entry[3:] for entry in found.split("\0") if entry]


def _refuse_dirty(tree: Path, why: str) -> None:
    changed = _changed(tree)
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise Failure(f"{tree} has uncommitted changes ({changed[0]}{more}), which {why}",
                      f"commit them (git -C {tree} commit -a --fixup <patch>, then rebase -i --autosquash), "
                      f"or put them aside: git -C {tree} stash")


def _is_tree(tree: Path) -> bool:
    return (tree / ".git").exists() and Path(_ask(tree, "rev-parse", "--show-toplevel") or "/") == tree.resolve()


def _refuse_buried(name: str, tree: Path, cover: Commit) -> None:
    """Refuse where a rebase has moved the cover letter above some of the patches: they would be lost."""
    mine, *below = _git(tree, "log", "--first-parent", "--max-count=100", "--format=%ce%x01%H%x01%s", cover.id).splitlines()
    subjects = {_subject(path) for path in stored(name).glob("*.patch")}
    for entry in below:
        who, commit, subject = entry.split("\1", 2)
        if who == mine.partition("\1")[0] and subject in subjects:
            raise Failure(f"patch {commit[:12]} (\"{subject}\") is below the cover letter",
                          f"move the cover letter {cover.id[:12]} down: git -C {tree} rebase -i {commit[:12]}~1")


def _subject(patch: Path) -> str:
    """The subject of the stored @patch, '' if it has none."""
    found = re.search(r"^Subject: (?:\[[^\]]*\] )?(.*(?:\n[ \t].*)*)", patch.read_text(errors="replace"), re.M)
    return re.sub(r"\n[ \t]", " ", found[1]) if found else ""


def _read_branch(name: str, tree: Path, tip: str, loaded: bool) -> tuple[str, str]:
    """The base below the series at @tip, and its cover letter, which only a tree that was not @loaded may lack."""
    directory = stored(name)
    cover = find_cover(tree, tip)
    if cover:
        if len(cover.parents) != 1 or cover.tree != _git(tree, "rev-parse", f"{cover.parents[0]}^{{tree}}"):
            raise Failure(f"commit {cover} carries the cover letter and is not empty",
                          f"move its changes to a patch: git -C {tree} rebase -i {cover.id[:12]}~1")
        _refuse_buried(name, tree, cover)
        return cover.id, cover.message + "\n"
    remedy = f"check out the branch {BRANCHES[name]} there, or make it: {_verb('load', name)}"
    tag = sources.read_base(directory).tag
    if loaded or not (directory / COVER).is_file() or not _holds(tree, "merge-base", "--is-ancestor", tag, tip):
        raise Failure(f"{tree}: no commit with b4's cover letter below {tip[:12]}", remedy)
    if int(_git(tree, "rev-list", "--count", f"{tag}..{tip}")) > MOST:
        raise Failure(f"{tree}: no commit with b4's cover letter within {MOST} commits of {tip[:12]}", remedy)
    ui.note(f"no cover letter in {tree}: the stored one stays, and the patches are {tag}..{tip[:12]}")
    return tag, _read(directory / COVER)


def _marks(cover: str) -> list[str]:
    """The lines of the letter @cover that generated parts stand between (letter.py)."""
    return re.findall(r"^# (?:begin|end) \S+", cover, re.M)


def save(name: str, overwrite: bool = False) -> int:
    """Write the branch of series @name back to its files."""
    tree, directory = worktree(name), stored(name)
    if not _is_tree(tree):
        raise Failure(f"no branch of the {name} series: {tree} is not a git work tree",
                      f"make it: {_verb('load', name)}; or name one with WORKTREE=")
    with _alone(name), ui.step(f"{name} series: writing {os.path.relpath(directory)}") as line:
        _refuse_unfinished(tree)
        state = _state(tree)
        if "to" in state:
            verb = "rebase" if state.get("rebase") else "load"
            raise Failure(f"the last {verb} of {tree} was cut short", f"run it again: {_verb(verb, name)}")
        _refuse_dirty(tree, "would be missing from the saved series")
        branch = _ask(tree, "symbolic-ref", "--quiet", "--short", "HEAD")
        if not branch:
            raise Failure(f"{tree} is not on a branch: patches above {_ask(tree, 'rev-parse', '--short', 'HEAD')} would be lost",
                          f"git -C {tree} checkout {BRANCHES[name]}")
        tip = _git(tree, "rev-parse", "HEAD")
        base, cover = _read_branch(name, tree, tip, bool(state))
        subjects = {commit.subject for commit in _range(tree, tip, base)}
        pending = state.get("pending", [])
        if pending and (tip == state["tip"] or not subjects.intersection(pending)):
            raise Failure(f"the last load stopped before \"{pending[0]}\", and {len(pending)} patches are not on the branch",
                          f"load them again: {_verb('load', name)}")
        marks = set(_marks(_read(directory / COVER))) if (directory / COVER).is_file() else set()
        new, signoffs = _stage(directory, tree, tip, base, cover)
        changes = _differences(new, directory)
        now = _digest(directory)
        if changes and not overwrite and now not in (state.get("stored", now), state.get("saving")):
            shutil.rmtree(new)
            raise Failure(f"{os.path.relpath(directory)} has changed since it was loaded: saving would undo that",
                          f"compare (git diff, git log -p -- patches/{name}), then load it again; or take the branch: "
                          f"{_verb('save', name)} --overwrite")
        if changes:
            # Killed here, the files are the old ones or the new ones.
            _note_state(tree, **{**state, "stored": now, "saving": _digest(new)})
            publish(new, directory)
        else:
            shutil.rmtree(new)
        _point("published")
        _note_state(tree, tip=tip, stored=_digest(directory))
        line.detail = f"{len(subjects)} patches of {branch}, {len(changes) or 'no'} files differ"
    for change in changes:
        ui.note(change)
    lost = marks - set(_marks(cover))
    if lost:
        # git's 'reword' takes them for comments of its own.
        ui.note(f"the cover letter has lost '{sorted(lost)[0]}', between which a part of it is made; edit it with b4 prep --edit-cover")
    if signoffs:
        ui.note(f"{signoffs} Signed-off-by lines left out: the sender adds them when sending")
    loose = _git(tree, "ls-files", "--others", "--exclude-standard", "--directory").splitlines()
    if loose:
        ui.note(f"not part of it, untracked in {tree}: {', '.join(loose[:3])}{', ...' if len(loose) > 3 else ''}")
    return ui.PASS


# From files to a branch

def _identity(tree: Path, own: bool) -> tuple[str, str]:
    """Name and address of the user; b4 finds the cover letter by the address."""
    email = _ask(tree, "config", "user.email")
    if email:
        return _ask(tree, "config", "user.name") or email.partition("@")[0], email
    if own:
        scope: list[str] = ["--local"]
    else:
        # The user's repository: only this work tree may change.
        common = _git(tree, "rev-parse", "--path-format=absolute", "--git-common-dir")
        if _ask(tree, "config", "--file", f"{common}/config", "core.bare") == "true":
            raise Failure("git has no user.email, by which b4 finds the cover letter",
                          "git config --global user.email you@example.org; git config --global user.name 'Your Name'")
        if _ask(tree, "config", "extensions.worktreeConfig") != "true":
            _git(tree, "config", "extensions.worktreeConfig", "true")
        scope = ["--worktree"]
    for key, value in zip(("user.name", "user.email"), NOBODY):
        _git(tree, "config", *scope, key, value)
    ui.note(f"git has no user.email: commits in {tree} are by {NOBODY[0]} <{NOBODY[1]}>; "
            "to change that: git config --global user.email you@example.org")
    return NOBODY


def _message(tree: Path, patch: Path, scratch: Path) -> tuple[str, dict[str, str], Path]:
    """What git am makes of @patch: the commit's message, its author's variables, the diff."""
    text, diff = scratch / "kpkeys-message", scratch / "kpkeys-patch"
    try:
        head = _pipe(tree, _read(patch), "mailinfo", "--encoding=UTF-8", "--no-scissors", text, diff)
    except Failure as failure:
        raise Failure(f"{patch} is not a patch in git's mail format",
                      f"restore it: git checkout -- {os.path.relpath(patch)}", detail=failure.detail) from None
    fields = dict(re.findall(r"^(Author|Email|Subject|Date): (.*)$", head, re.M))
    if len(fields) < 4 or not diff.stat().st_size:
        missing = ", ".join(sorted({"Author", "Email", "Subject", "Date"} - set(fields))) or "a diff"
        raise Failure(f"{patch} has no {missing}", f"restore it: git checkout -- {os.path.relpath(patch)}")
    message = _pipe(tree, f"{fields['Subject']}\n\n{_read(text)}", "stripspace")
    who = {"GIT_AUTHOR_NAME": fields["Author"], "GIT_AUTHOR_EMAIL": fields["Email"], "GIT_AUTHOR_DATE": fields["Date"]}
    return message, who, diff


def make_commits(tree: Path, series: trees.Series, base: str, who: tuple[str, str], merge: bool = False) -> tuple[str, int, str]:
    """Commit the cover letter and the patches of @series on @base; no file, index or branch changes.

    The commits are those of 'git commit --allow-empty --cleanup=verbatim' and 'git am', but
    made aside, and stop at the first patch that does not apply as it is: git apply takes no
    fuzz. With @merge it may take a three-way merge. Returns the last commit, how many patches are in it, and git apply's complaint about
    the next. The committer's date is now, not the author's: b4 walks from the tip and gives up
    at the first commit that is older than a year.
    """
    git_dir = _git_dir(tree)
    mine = {"GIT_AUTHOR_NAME": who[0], "GIT_AUTHOR_EMAIL": who[1]}
    with _own_index(git_dir) as index:
        env = _environment(GIT_INDEX_FILE=str(index), GIT_COMMITTER_NAME=who[0], GIT_COMMITTER_EMAIL=who[1])
        _git(tree, "read-tree", base, env=env)
        cover = _read(series.directory / COVER)
        tip = _pipe(tree, cover, "commit-tree", f"{base}^{{tree}}", "-p", base, env=dict(env, **mine)).strip()
        try:
            for count, patch in enumerate(series.patches):
                message, author, diff = _message(tree, patch, git_dir)
                done = proc.run(_argv(tree, "apply", "--cached", "--whitespace=nowarn", diff), env=env, capture=True, check=False)
                if done.returncode and merge:
                    complaint = done.stderr
                    done = proc.run(_argv(tree, "apply", "--cached", "--3way", "--whitespace=nowarn", diff), env=env, capture=True, check=False)
                    done.stderr = complaint
                if done.returncode:
                    return tip, count, done.stderr
                content = _git(tree, "write-tree", env=env)
                tip = _pipe(tree, message, "commit-tree", content, "-p", tip, env=dict(env, **author)).strip()
            return tip, len(series.patches), ""
        finally:
            for name in ("kpkeys-message", "kpkeys-patch"):
                (git_dir / name).unlink(missing_ok=True)


def _kept(tree: Path, name: str, tip: str) -> bool:
    """Whether the files hold all that the branch at @tip does."""
    try:
        cover = find_cover(tree, tip)
        if not cover:
            return False
        with _aside(tree, "kept") as new:
            for path in stored(name).glob(f"{bases.PREFIX}*"):
                shutil.copytree(path, new / path.name)
            _render(stored(name), tree, tip, cover.id, cover.message + "\n", new)
            return _digest(new) == _digest(stored(name))
    except Failure:
        return False


def _scratch(tree: Path):
    return _aside(tree, "scratch")


@contextmanager
def _aside(tree: Path, what: str) -> Iterator[Path]:
    """A new directory in the git directory of @tree, until the end of the block."""
    path = _git_dir(tree) / f"kpkeys-{what}"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _known_to_b4(tree: Path, tip: str, who: tuple[str, str]) -> bool:
    """Whether b4 will go on finding the cover letter below @tip, for a month at least."""
    cover = find_cover(tree, tip)
    if not cover:
        return False
    found = _git(tree, "log", "--format=%ct %ce", f"{cover.id}~1..{tip}").splitlines()
    return min(int(f.split()[0]) for f in found) > time.time() - YEAR + 30 * 86400 and found[-1].split(" ", 1)[1] == who[1]


def _leftovers(tree: Path, state: dict) -> list[str]:
    """The changed files of @tree that a checkout cut short does not explain."""
    theirs = []
    for name in _changed(tree):
        path = tree / name
        try:
            here = os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
        except OSError:
            continue
        for commit in filter(None, (state.get("from"), state["to"])):
            done = subprocess.run(_argv(tree, "cat-file", "blob", f"{commit}:{name}"), capture_output=True, env=_environment())
            if done.returncode == 0 and done.stdout.startswith(here):
                break
        else:
            theirs.append(name)
    return theirs


def know_base(tree: Path, repo: Path, base: sources.Base) -> None:
    """Let @tree, a repository of our own that borrows @repo's objects, know the tag of @base."""
    tag = _ask(repo, "rev-parse", "--verify", "--quiet", f"refs/tags/{base.tag}")
    if tag and not _ask(tree, "rev-parse", "--verify", "--quiet", f"refs/tags/{base.tag}"):
        _git(tree, "update-ref", f"refs/tags/{base.tag}", tag)


def _create(tree: Path, series: trees.Series, repo: Path, base: str, own: bool) -> None:
    """Make @tree, with nothing checked out: a repository of our own, or a work tree of the user's.

    Our own borrows the cache's objects: work on the series must outlive the cache, which is
    made again at will, and with the same commit ids.
    """
    settings.need_space(tree, 2, f"the {series.base.name} work tree")
    try:
        tree.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"cannot write in {tree.parent}: {error.strerror}", "choose another place with WORKTREE=") from None
    if not own:
        if tree.is_dir() and [p.name for p in tree.iterdir()] == [".git"]:
            (tree / ".git").unlink()
        # Twice -f: an earlier try may have been killed while git held the entry.
        _git(repo, "worktree", "add", "-q", "-f", "-f", "--no-checkout", "--detach", tree, base)
        return
    new = _beside(tree, "new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    trees._prepare(new, repo)
    know_base(new, repo, series.base)
    _git(new, "config", "rerere.enabled", "true")
    _point("prepared")
    if tree.is_dir():
        tree.rmdir()
    os.rename(new, tree)


def _refuse_foreign(name: str, tree: Path, repo: Path, own: bool, base: sources.Base) -> None:
    """Refuse @tree if it is not a work tree of the repository that the load is about; make it know @base."""
    if not _is_tree(tree):
        raise Failure(f"{tree} exists and is not a git work tree", "move it away, or choose another place with WORKTREE=")
    if own:
        borrowed = Path(_git(tree, "rev-parse", "--path-format=absolute", "--git-path", "objects/info/alternates"))
        if (tree / ".git").is_dir() and borrowed.is_file() and (_state(tree) or not _ask(tree, "rev-parse", "--verify", "--quiet", "HEAD")):
            # The cache may have moved, or the base may be another since.
            trees._prepare(tree, repo)
            know_base(tree, repo, base)
            return
    elif _ask(tree, "rev-parse", "--path-format=absolute", "--git-common-dir") == \
            _git(repo, "rev-parse", "--path-format=absolute", "--git-common-dir") and (tree / ".git").is_file():
        return
    raise Failure(f"{tree} is not what '{_verb('load', name)}' made of {repo}", "choose another place with WORKTREE=")


def _refuse_loss(name: str, tree: Path, state: dict, first: bool) -> None:
    """Refuse where loading would lose work in @tree, unless it is the @first time there, or on the branch."""
    branch, git = BRANCHES[name], f"git -C {tree}"
    pending = state.get("pending")
    if pending and (_git_dir(tree) / "rebase-apply").exists():
        raise Failure(f"{tree}: the last load stopped at a patch that does not apply",
                      f"resolve it there, 'git am --continue', then '{_verb('save', name)}'; or drop it: {git} am --abort")
    if not first:
        _refuse_unfinished(tree)
        theirs = _leftovers(tree, state) if "to" in state else []
        if theirs:
            raise Failure(f"{tree}: the last load was cut short, and {theirs[0]} has changes that are not its own",
                          f"drop them: {git} checkout -f")
        if "to" not in state:
            _refuse_dirty(tree, "loading would lose")
    head = _ask(tree, "rev-parse", "--verify", "--quiet", "HEAD")
    tip = _ask(tree, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}")
    known = {state.get("tip"), state.get("to"), state.get("from")}
    if not first and not _ask(tree, "symbolic-ref", "--quiet", "HEAD") and head not in known \
            and not (tip and _holds(tree, "merge-base", "--is-ancestor", head, tip)):
        raise Failure(f"{tree} is at a commit of yours on no branch ({head[:12]})", f"name it: {git} branch <name>")
    if tip and tip not in known and not _kept(tree, name, tip):
        where = tree if not first else Path(_git(tree, "rev-parse", "--path-format=absolute", "--git-common-dir"))
        aside = f"git -C {where} branch -m {branch} {branch}-old"
        raise Failure(f"branch {branch} of {where} has commits that are not saved in patches/{name}",
                      aside if first else f"save it: {_verb('save', name)}; or keep it aside: {aside}")
    other = _elsewhere(tree, branch)
    if other and not Path(other).exists():
        raise Failure(f"branch {branch} is checked out in {other}, which is gone",
                      f"forget that work tree: git -C {tree} worktree prune; or bring it back")
    if other:
        raise Failure(f"branch {branch} is checked out in {other}", f"free it: git -C {other} switch --detach; or WORKTREE={other}")


def _elsewhere(tree: Path, branch: str) -> str:
    """The other work tree that has @branch checked out, '' if none has."""
    for record in _git(tree, "worktree", "list", "--porcelain").split("\n\n"):
        lines = record.splitlines()
        if f"branch refs/heads/{branch}" in lines and Path(lines[0][len("worktree "):]).resolve() != tree.resolve():
            return lines[0][len("worktree "):]
    return ""


def _checkout(tree: Path, branch: str, tip: str, before: dict, head: str, force: bool) -> None:
    """Move @branch of @tree to @tip and check it out, in a way that can be taken up again."""
    if force:
        for name in ("index.lock", "HEAD.lock"):
            _abandon(_git_dir(tree) / name)
    _note_state(tree, **{**{k: v for k, v in before.items() if k != "pending"}, "from": head, "to": tip})
    _point("checkout")
    done = proc.run(_argv(tree, "checkout", "-q", *(["-f"] if force else []), "--no-track", "-B", branch, tip),
                    env=_environment(), capture=True, check=False)
    if done.returncode:
        if not force:
            # Git refuses before it touches anything.
            _note_state(tree, **before)
        raise Failure(f"{branch} could not be checked out in {tree}", "move away what is in the way, or free some disk space",
                      detail=done.stderr)
    _point("checked-out")


def _abandon(lock: Path) -> None:
    """Remove a lock file of git's, once nothing has it open: a git of the user's may be at work."""
    for _ in range(600):
        if not lock.exists():
            return
        for link in Path("/proc").glob("[0-9]*/fd/*"):
            try:
                if os.readlink(link) == str(lock):
                    break
            except OSError:
                continue
        else:
            break
        time.sleep(0.1)
    lock.unlink(missing_ok=True)


def _continue_with_am(name: str, tree: Path, series: trees.Series, count: int, tip: str, who: tuple[str, str]) -> None:
    """Have git am apply what is left after @count patches, by a three-way merge where it can.

    Where it cannot, it stops in @tree the way git am does, which this reports.
    """
    rest = series.patches[count:]
    _note_state(tree, tip=tip, stored=_digest(series.directory), pending=[_subject(p) for p in rest])
    env = _environment(GIT_COMMITTER_NAME=who[0], GIT_COMMITTER_EMAIL=who[1])
    done = proc.run(_argv(tree, "am", "--3way", *rest), env=env, capture=True, check=False)
    git_dir = _git_dir(tree)
    if done.returncode == 0:
        ui.note(f"{rest[0].name} and maybe more needed a three-way merge; '{_verb('save', name)}' stores them as they are now")
        return
    try:
        at = count + int((git_dir / "rebase-apply" / "next").read_text()) - 1
    except (OSError, ValueError):
        raise Failure(f"git am failed in {tree}", detail=done.stdout + done.stderr) from None
    with _own_index(git_dir) as index:
        again = _environment(GIT_INDEX_FILE=str(index))
        _git(tree, "read-tree", "HEAD", env=again)
        error = proc.run(_argv(tree, "apply", "--cached", "--check", git_dir / "rebase-apply" / "patch"), env=again,
                         capture=True, check=False).stderr
    patch = series.patches[at]
    conflicts = _git(tree, "diff", "--name-only", "--diff-filter=U").splitlines()
    what = f" (conflicts in {', '.join(conflicts)})" if conflicts else ""
    raise Failure(f"patch {at + 1} of {len(series.patches)} does not apply: {patch.name}: {trees._hunk(patch, error)}",
                  f"resolve it in {tree}{what}, 'git add', 'git am --continue', then '{_verb('save', name)}'; "
                  f"or give up: git -C {tree} am --abort", detail=error)


def _up_to_date(name: str, tree: Path, state: dict, base: str, who: tuple[str, str]) -> bool:
    """Whether @tree has checked out just what loading would make."""
    # On another base the patches differ from the files without having been changed.
    as_loaded = state == {"tip": _ask(tree, "rev-parse", "HEAD"), "stored": _digest(stored(name))}
    if _ask(tree, "symbolic-ref", "--short", "--quiet", "HEAD") != BRANCHES[name]:
        return False
    cover = find_cover(tree, "HEAD")
    return bool(cover) and cover.parents == [base] and (as_loaded or _kept(tree, name, "HEAD")) and _known_to_b4(tree, "HEAD", who)


def _know_primary(tree: Path, name: str, base: sources.Base, who: tuple[str, str]) -> None:
    """Let @tree, which is on @base, have what the patches were made on: a three-way merge needs it."""
    primary = trees.read_series(stored(name))
    if primary.base.tag == base.tag:
        return
    repo = sources.repository(primary.base)
    trees._prepare(tree, repo)
    make_commits(tree, primary, _git(repo, "rev-parse", "base^{commit}"), who)


def load(name: str) -> int:
    """Make or renew the branch of series @name in its work tree."""
    tree, branch = worktree(name), BRANCHES[name]
    own = name != "linux" or settings.kernel() is None
    with _alone(name):
        series = trees.read_series(stored(name), settings.text("BASE") if name == "linux" else "")
        if not series.patches:
            raise Failure(f"patches/{name}/series names no patch", f"restore it: git checkout -- patches/{name}")
        repo, base, base_name = trees.base_of(series)
        with ui.step(f"{name} series: {series.name} as branch {branch} on {base_name}") as line:
            if not tree.is_dir() or not any(tree.iterdir()) or not own and [p.name for p in tree.iterdir()] == [".git"]:
                _create(tree, series, repo, base, own)
                _point("created")
            else:
                _refuse_foreign(name, tree, repo, own, series.base)
            state = _state(tree)
            # Git writes the index last: without one nothing was ever handed to the user here.
            first = not (_git_dir(tree) / "index").exists() or ("to" in state and not state.get("from"))
            _refuse_loss(name, tree, state, first)
            who = _identity(tree, own)
            head = "" if first else _git(tree, "rev-parse", "HEAD")
            if not first and "to" not in state and _up_to_date(name, tree, state, base, who):
                _note_state(tree, tip=head, stored=_digest(series.directory))
                line.detail = f"{len(series.patches)} patches, nothing to do"
            else:
                tip, count, complaint = make_commits(tree, series, base, who)
                _point("committed")
                _checkout(tree, branch, tip, state, head, force=first or "to" in state)
                if complaint:
                    if own:
                        _know_primary(tree, name, series.base, who)
                    _continue_with_am(name, tree, series, count, tip, who)
                _note_state(tree, tip=_git(tree, "rev-parse", "HEAD"), stored=_digest(series.directory))
                line.detail = f"{len(series.patches)} patches"
    ui.note(f"{branch} is checked out in {tree}; '{_verb('save', name)}' writes it back")
    return ui.PASS
