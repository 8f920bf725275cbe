# SPDX-License-Identifier: GPL-2.0-only
"""Source trees with a stored series applied, in repositories of our own.

A tree is a git repository under O= that borrows the base's objects (git's alternates), so
that nothing at all is written into the repository the base comes from. Only files whose
content changes are touched, which keeps builds incremental.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from . import proc, settings, sources, ui
from .ui import Failure

COVER = "0000-cover-letter.txt"
TRACKING = "--- b4-submit-tracking ---"
# Directories of patches/ that hold no series, but patches that go on top of the kernel's for 'make bench'.
OUT_OF_SERIES = ("bench", "mock")


@dataclass(frozen=True)
class Series:
    """A stored series: cover letter, `series`, `base`, one file per patch."""

    directory: Path
    base: sources.Base
    patches: list[Path]
    revision: int

    @property
    def name(self) -> str:
        prefix = "kpkeys" if self.base.name == "linux" else f"kpkeys-{self.base.name}"
        return f"{prefix}-v{self.revision}-on-{self.base.tag}"

    def digest(self) -> str:
        """Changes when anything that reaches the source tree does."""
        return settings.digest(self.base.tag, *self.patches)


def read_series(directory: Path, tag: str = "") -> Series:
    """The series stored in @directory, as it is on the recorded base @tag (default: the primary one; see bases.py)."""
    remedy = f"restore it: git checkout -- {directory}"
    try:
        names = [n.split("#")[0].strip() for n in (directory / "series").read_text().splitlines()]
        cover = (directory / COVER).read_text()
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}", remedy) from None
    patches = [directory / name for name in names if name]
    for patch in patches:
        if not patch.is_file():
            raise Failure(f"{directory / 'series'} names {patch.name}, which is not there", remedy)
    base = sources.read_base(directory)
    own = directory / f"on-{tag}"
    if tag and tag != base.tag and "/" not in tag and own.is_dir():
        base = sources.read_base(own, directory.name)
        patches = [own / patch.name if (own / patch.name).is_file() else patch for patch in patches]
    return Series(directory, base, patches, tracking(cover).get("revision", 1))


def kept_for(directory: Path) -> str:
    """Which bases the series in @directory is recorded for, for whoever gave another."""
    others = sorted(d.name.removeprefix("on-") for d in directory.glob("on-*"))
    return f"kept for: {', '.join([sources.read_base(directory).tag, *others])}"


def tracking(cover: str) -> dict:
    """b4's tracking data in the text of a cover letter, {} if it has none."""
    _, marker, tail = cover.partition(TRACKING)
    start = tail.find("{")
    if not marker or start < 0:
        return {}
    try:
        return json.JSONDecoder().raw_decode(tail[start:])[0].get("series", {})
    except json.JSONDecodeError:
        return {}


def linux_series() -> Series:
    """The kernel series, as it is on BASE= where that is a base of ours."""
    return read_series(settings.PROJECT / "patches" / "linux", settings.text("BASE"))


def qemu_series() -> Series:
    return read_series(settings.PROJECT / "patches" / "qemu")


def _no_base(series: Series, wanted: str) -> Failure:
    return Failure(f"BASE={wanted} is no base this series is kept for", f"{kept_for(series.directory)}; for a commit of your tree add KERNEL=<dir>")


def check_users(kernel: bool) -> None:
    """Raise a Failure if what the user has given for the sources is not there; nothing is fetched. The kernel's only if @kernel is wanted."""
    if kernel and settings.kernel():
        base_of(linux_series())
    elif kernel:
        series, base = linux_series(), settings.text("BASE")
        # Another release than the recorded one brings its own tag.
        other = settings.text("LINUX_VERSION") or settings.text("LINUX_TARBALL")
        if base not in ("", series.base.tag, "base") and not other and not re.fullmatch(r"[0-9a-f]{7,40}", base):
            raise _no_base(series, base)
        sources.users_tarball(series.base)
    if not settings.qemu() and settings.text("QEMU_TARBALL"):
        sources.users_tarball(qemu_series().base)


def base_of(series: Series) -> tuple[Path, str, str]:
    """The repository and commit the series goes on, and that commit's name for people.

    For the kernel that is the user's KERNEL= at BASE=, if given. An uncommitted change there
    would silently stay out of the result, so without BASE= such a tree is refused.
    """
    user = settings.kernel() if series.base.name == "linux" else None
    wanted = settings.text("BASE") if series.base.name == "linux" else ""
    if user is None:
        repo = sources.repository(series.base)
        revision = "base" if wanted in ("", series.base.tag) else wanted
        name = f"{series.base.name} {series.base.tag}" if revision == "base" else revision
    else:
        repo, revision = user, wanted or "HEAD"
        said = proc.run(["git", "-C", user, "rev-parse", "--is-bare-repository"], capture=True, check=False) if user.is_dir() else None
        if not said or said.returncode:
            # git's own words: it also refuses what belongs to somebody else.
            raise Failure(f"KERNEL={user} is not a git repository", "give the directory of a kernel git tree",
                          detail=said.stderr if said else "")
        if not wanted and said.stdout.strip() == "false" and proc.output(["git", "-C", user, "status", "--porcelain", "--untracked-files=no"]):
            raise Failure(f"KERNEL={user} has uncommitted changes, which would not be part of the result",
                          "commit or stash them, or name the commit to use with BASE=")
        name = wanted or proc.output(["git", "-C", user, "describe", "--always", "--tags"], check=False)
    found = proc.run(["git", "-C", repo, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"], capture=True, check=False)
    if found.returncode:
        if not wanted:
            raise Failure(f"KERNEL={repo} has no commit yet", "give the directory of a kernel git tree")
        if user is None:
            # There is nothing to fetch into the cache's repository, which has one commit.
            raise _no_base(series, wanted)
        choice = ", ".join(proc.output(["git", "-C", repo, "tag", "--sort=-creatordate"], check=False).split()[:5])
        raise Failure(f"BASE={wanted}: no such commit in {repo}", f"fetch it, or choose another{': ' + choice if choice else ''}")
    commit = found.stdout.strip()
    if user and proc.run(["git", "-C", repo, "cat-file", "-e", f"{commit}:arch/arm64/Kconfig"], capture=True, check=False).returncode:
        raise Failure(f"KERNEL={user} is not a Linux kernel at {revision}: it has no arch/arm64/Kconfig",
                      "give the directory of a kernel git tree")
    return repo, commit, name


def _git(tree: Path) -> list[str]:
    """git in @tree and nowhere else: it must not go up to the project's repository from a broken one.

    The user's hooks and settings do not change what is made there.
    """
    return ["git", "-C", str(tree), "--git-dir=.git", "--work-tree=.", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false",
            "-c", "apply.ignoreWhitespace=no", "-c", "i18n.commitEncoding=UTF-8"]


def _prepare(tree: Path, repo: Path) -> None:
    """Make @tree a repository that borrows @repo's objects."""
    objects = proc.output(["git", "-C", repo, "rev-parse", "--path-format=absolute", "--git-path", "objects"])
    alternates = tree / ".git" / "objects" / "info" / "alternates"
    if not (tree / ".git").is_dir() or proc.run([*_git(tree), "rev-parse", "--git-dir"], capture=True, check=False).returncode:
        proc.run(["git", "init", "-q", "--object-format=sha1", "--template=", "-b", "none", tree], capture=True)
        for key, value in (("core.compression", "1"), ("gc.auto", "0"), ("advice.detachedHead", "false"), ("core.autocrlf", "false")):
            proc.run([*_git(tree), "config", key, value], capture=True)
    known = alternates.read_text().splitlines() if alternates.exists() else []
    if objects not in known:
        # Earlier ones stay: the commit now checked out may live there.
        alternates.write_text("\n".join([objects, *(k for k in known if Path(k).is_dir())]) + "\n")


def _hunk(patch: Path, error: str) -> str:
    """Which hunk of which file git apply's message is about, in the words of @patch."""
    found = re.search(r"patch failed: (\S+):(\d+)", error)
    if not found:
        return error.strip().splitlines()[-1].removeprefix("error: ") if error.strip() else "it is not a patch"
    name, line = found[1], int(found[2])
    hunks: list[str] = []
    current = ""
    for text in patch.read_text(errors="replace").splitlines():
        if text.startswith("--- "):
            continue
        if text.startswith("+++ "):
            current = text[4:].partition("/")[2]
        elif text.startswith("@@ -") and current == name:
            hunks.append(text)
    starts = [int(re.match(r"@@ -(\d+)", h)[1]) for h in hunks]
    if line in starts:
        n = starts.index(line)
        return f"{name}: hunk {n + 1} of {len(hunks)} ({hunks[n]})"
    return f"{name}: the hunk at line {line}"


def apply(series: Series, tree: Path, base: str) -> str:
    """The commit that is @base with @series applied; made in @tree's objects, no file touched.

    git apply takes no fuzz. The same input gives the same commit id.
    """
    index = tree / ".git" / "apply-index"
    # O= is locked, so what is there was left by a git that was killed.
    index.with_suffix(".lock").unlink(missing_ok=True)
    env = dict(os.environ, GIT_INDEX_FILE=str(index), GIT_AUTHOR_NAME="kpkeys", GIT_AUTHOR_EMAIL="kpkeys@localhost",
               GIT_COMMITTER_NAME="kpkeys", GIT_COMMITTER_EMAIL="kpkeys@localhost",
               GIT_AUTHOR_DATE=f"{sources.EPOCH} +0000", GIT_COMMITTER_DATE=f"{sources.EPOCH} +0000")
    git = _git(tree)
    try:
        proc.run([*git, "read-tree", base], env=env, capture=True)
        for number, patch in enumerate(series.patches, 1):
            done = proc.run([*git, "apply", "--cached", "--whitespace=nowarn", patch], env=env, capture=True, check=False)
            if done.returncode:
                raise Failure(f"patch {number} of {len(series.patches)} does not apply: {patch.name}: {_hunk(patch, done.stderr)}",
                              "'make load' with the same KERNEL= and BASE= stops at this patch: resolve it there, "
                              "'git am --continue', then 'make save'", detail=done.stderr)
        result = proc.output([*git, "write-tree"], env=env)
        return proc.output([*git, "commit-tree", result, "-p", base, "-m", f"{series.name}"], env=env)
    finally:
        index.unlink(missing_ok=True)


def checkout(series: Series, tree: Path) -> tuple[str, bool]:
    """Bring @tree to the base with @series applied. Returns the base's name and whether @tree
    holds changes of the user's on top, which are kept and built.
    """
    repo, base, name = base_of(series)
    what = f"with {series.name} ({len(series.patches)} patches)" if series.patches else "as it is"
    with ui.step(f"{series.base.name} tree: {name} {what}") as line:
        fresh = not (tree / ".git").is_dir()
        if fresh:
            settings.need_space(tree, 2, f"the {series.base.name} tree")
        _prepare(tree, repo)
        commit = apply(series, tree, base)
        git = _git(tree)
        head = proc.run([*git, "rev-parse", "--verify", "--quiet", "HEAD"], capture=True, check=False).stdout.strip()
        changed = [] if not head else proc.output([*git, "status", "--porcelain", "--untracked-files=no"]).splitlines()
        applied = tree / ".git" / "kpkeys-applied"
        if head and not _incomplete(tree) and (not applied.exists() or applied.read_text() != head):
            raise Failure(f"{tree} is at a commit of yours ({head[:12]})",
                          f"name it with a branch, then 'git -C {tree} checkout {applied.read_text()[:12] if applied.exists() else commit[:12]}'")
        if changed and not _incomplete(tree):
            if head != commit:
                raise Failure(f"{tree} has uncommitted changes, and what it is made from has changed under them",
                              f"keep them with 'git -C {tree} stash', or drop them with 'git -C {tree} checkout -f'")
            line.detail = f"with the {len(changed)} files you changed in {tree}"
            return name, True
        marker = tree / ".git" / "checkout-incomplete"
        # Forced only where there is nothing of the user's: git then overwrites files it does not know.
        force = ["-f"] if fresh or _incomplete(tree) or not head else []
        if force:
            (tree / ".git" / "index.lock").unlink(missing_ok=True)
            marker.touch()
        else:
            _refuse_untracked(tree, head, commit)
            marker.touch()
        proc.run([*git, "checkout", "-q", *force, "--detach", commit], capture=True,
                 failure=Failure(f"the {series.base.name} tree could not be checked out in {tree}", "is the disk full?"))
        applied.write_text(commit)
        marker.unlink()
        line.detail = "new" if fresh else "unchanged" if head == commit else "updated"
        return name, False


def _refuse_untracked(tree: Path, head: str, commit: str) -> None:
    """Raise a Failure if a file of the user's, unknown to git, is where @commit brings one."""
    new = proc.output([*_git(tree), "diff", "--name-only", "--no-renames", "--diff-filter=A", "-z", head, commit]).split("\0")
    there = [name for name in new if name and os.path.lexists(tree / name)]
    if there:
        raise Failure(f"a file of yours is in the way in {tree}: {', '.join(there[:5])}", "the series now brings a file of that name; move yours away")


def _incomplete(tree: Path) -> bool:
    """Whether an earlier checkout of @tree was cut short, so that what looks changed is not the user's."""
    return (tree / ".git" / "checkout-incomplete").exists()


def refuse_to_lose_work() -> None:
    """Raise a Failure if a tree under the output directory holds changes of the user's."""
    for tree in (settings.out() / "linux" / "src", settings.out() / "qemu" / "src"):
        applied = tree / ".git" / "kpkeys-applied"
        if _incomplete(tree) or not applied.exists():
            continue
        if proc.output([*_git(tree), "status", "--porcelain"], check=False):
            raise Failure(f"{tree} has changes of yours", f"drop them with 'git -C {tree} checkout -f' and 'git -C {tree} clean -fd'")
        # Commits, branches and stashes.
        ours = applied.read_text()
        if proc.output([*_git(tree), "rev-list", "-n", "1", "HEAD", "--all", "--not", ours], check=False):
            raise Failure(f"{tree} has commits of yours", f"take them elsewhere ('git -C {tree} format-patch {ours[:12]}'), then remove {tree}")
