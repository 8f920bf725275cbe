# SPDX-License-Identifier: GPL-2.0-only
"""git for the series: nothing a user has configured reaches what is stored.

And the one form in which commits are written to files.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import proc, settings
from .trees import COVER
from .ui import Failure

# A stored patch depends on nothing but the commit: whatever a user's configuration may say
# about diffs and mails is said here.
_CONFIG = {
    "core.attributesFile": "/dev/null", "core.fsmonitor": "false", "core.hooksPath": "/dev/null", "core.quotePath": "true",
    "diff.algorithm": "myers", "diff.colorMoved": "no", "diff.context": "3", "diff.indentHeuristic": "true",
    "diff.interHunkContext": "0", "diff.mnemonicPrefix": "false", "diff.noPrefix": "false", "diff.orderFile": "/dev/null",
    "diff.relative": "false", "diff.renames": "true", "diff.renameLimit": "1000", "diff.statGraphWidth": "0",
    "diff.submodule": "short", "diff.suppressBlankEmpty": "false", "format.encodeEmailHeaders": "true",
    "format.filenameMaxLength": "64", "format.forceInBodyFrom": "false", "format.mboxrd": "false",
    "format.noprefix": "false", "format.subjectPrefix": "PATCH", "format.suffix": ".patch", "format.thread": "false",
    "format.useAutoBase": "false", "i18n.commitEncoding": "UTF-8", "i18n.logOutputEncoding": "UTF-8",
    "log.showSignature": "false", "mailinfo.scissors": "false", "commit.gpgSign": "false", "gc.auto": "0",
}
_FORMAT = ["--zero-commit", "--no-signature", "--no-numbered", "--no-base", "--full-index", "-N", "--no-to", "--no-cc",
           "--no-add-header", "--no-attach", "--no-thread", "--no-from", "--no-notes", "--no-cover-letter",
           "--no-signoff", "--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/", "-U3",
           "--subject-prefix=PATCH", "--suffix=.patch"]
# Variables git sets for its hooks: a command run from one must not take them for its own.
_INHERITED = ("GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG_PARAMETERS", "GIT_DIR", "GIT_GRAFT_FILE",
              "GIT_INDEX_FILE", "GIT_NAMESPACE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
              "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS", *(f"GIT_{who}_{what}" for who in ("AUTHOR", "COMMITTER")
                                                      for what in ("NAME", "EMAIL", "DATE")))


def _read(path: Path) -> str:
    """The text of @path, byte for byte: bytes that are not UTF-8 and line ends survive."""
    return path.read_bytes().decode(errors="surrogateescape")


def _write(path: Path, text: str) -> None:
    path.write_bytes(text.encode(errors="surrogateescape"))


def _point(name: str) -> None:
    """A place where the tests kill the command."""
    if os.environ.get("KPKEYS_TEST_KILL") == name:
        os.kill(os.getpid(), signal.SIGKILL)


def _argv(directory: Path, *args) -> list[str]:
    options = [part for key, value in _CONFIG.items() for part in ("-c", f"{key}={value}")]
    return ["git", "-C", str(directory), *options, *map(str, args)]


def _environment(**extra: str) -> dict[str, str]:
    # git's messages are read here.
    env = {k: v for k, v in os.environ.items() if k not in _INHERITED}
    return dict(env, LC_ALL="C", **extra)


def _git(directory: Path, *args, env: dict[str, str] | None = None, **options) -> str:
    """What git prints, without the last newline. Raises Failure."""
    return proc.output(_argv(directory, *args), env=env or _environment(), **options)


def _ask(directory: Path, *args) -> str:
    """What git prints, '' if it fails: for questions that may have no answer."""
    return proc.output(_argv(directory, *args), env=_environment(), check=False)


def _holds(directory: Path, *args) -> bool:
    return proc.run(_argv(directory, *args), env=_environment(), capture=True, check=False).returncode == 0


def _pipe(directory: Path, text: str, *args, env: dict[str, str] | None = None) -> str:
    """What git prints, as it is, when @text is its input."""
    done = subprocess.run(_argv(directory, *args), input=text.encode(errors="surrogateescape"), capture_output=True,
                          env=env or _environment(), pass_fds=settings.locks())
    if done.returncode:
        raise Failure(f"git {args[0]} exited with {done.returncode}", detail=done.stderr.decode(errors="replace"))
    return done.stdout.decode(errors="surrogateescape")


@contextmanager
def _own_index(git_dir: Path) -> Iterator[Path]:
    """The name of an index beside the user's, for GIT_INDEX_FILE; gone at the end.

    The series is held, so that a lock file was left by a git that was killed.
    """
    index = git_dir / "kpkeys-index"
    lock = index.with_suffix(".lock")
    lock.unlink(missing_ok=True)
    try:
        yield index
    finally:
        for left in (index, lock):
            left.unlink(missing_ok=True)


def _forget_inherited() -> None:
    for name in _INHERITED:
        os.environ.pop(name, None)


def _without_signoff(text: str) -> tuple[str, int]:
    """The patch @text without its Signed-off-by lines, and how many there were.

    A sign-off is the sender's statement (Developer's Certificate of Origin): it is made when
    a series is sent, with 'git rebase --signoff', and the stored patches carry none.
    """
    head, mark, diff = text.partition("\n---\n")
    header, _, message = head.partition("\n\n")
    kept, count = re.subn(r"^Signed-off-by: .*\n?", "", message, flags=re.M)
    if not count:
        return text, 0
    return f"{header}\n\n{kept.rstrip()}".rstrip("\n") + ("" if kept.strip() else "\n") + mark + diff, count


def put_attributes(tree: Path, commit: str) -> None:
    """Give @tree, in which nothing is checked out, the index of @commit and its files with attributes.

    They choose the text of hunk headers. git format-patch takes them from the files alone.
    """
    _git(tree, "read-tree", commit)
    _git(tree, "checkout-index", "--force", "--", *_git(tree, "ls-files", "--", ":(glob)**/.gitattributes").splitlines())


def write_series(tree: Path, tip: str, base: str, cover: str, into: Path) -> int:
    """Write cover letter @cover, the commits from @base to @tip of @tree and `series` to @into.

    Returns the number of Signed-off-by lines left out.
    """
    cover = _pipe(tree, cover, "stripspace")
    _write(into / COVER, cover)
    env = _environment(GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_NOSYSTEM="1")
    names = _git(tree, "format-patch", "-q", *_FORMAT, "-o", into, f"{base}..{tip}", env=env)
    written = sorted(p.name for p in into.glob("*.patch")) if not names else [Path(n).name for n in names.splitlines()]
    signoffs = 0
    for name in written:
        text = _read(into / name)
        kept, count = _without_signoff(text)
        if count:
            _write(into / name, kept)
        signoffs += count
    _write(into / "series", "".join(f"{name}\n" for name in written))
    return signoffs
