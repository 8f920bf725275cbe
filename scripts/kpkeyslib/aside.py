# SPDX-License-Identifier: GPL-2.0-only
"""A stored series as commits in a throw-away repository: nothing of the user's is touched.

What needs commits but no work tree of the user's works on these: refresh, cover, diff-versions.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import series, settings, trees
from .plumbing import put_attributes
from .ui import Failure


@dataclass(frozen=True)
class Commits:
    """A series as commits of @tree: its base, the commit with the cover letter, the last one."""

    tree: Path
    base: str
    cover: series.Commit
    tip: str


@contextmanager
def repository(what: str) -> Iterator[Path]:
    """The path of a repository to be made for @what; it is gone after the block."""
    path = settings.out() / f"tmp-{what}"
    with settings.lock(settings.out(), "the output directory"):
        shutil.rmtree(path, ignore_errors=True)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def commit(tree: Path, stored: trees.Series, merge: bool = False) -> Commits:
    """Make the commits of @stored in @tree, which is made unless it is there."""
    repo, base, name = trees.base_of(stored)
    tree.mkdir(parents=True, exist_ok=True)
    trees._prepare(tree, repo)
    series.know_base(tree, repo, stored.base)
    tip, count, complaint = series.make_commits(tree, stored, base, series.NOBODY, merge)
    if complaint:
        patch = stored.patches[count]
        raise Failure(f"patch {count + 1} of {len(stored.patches)} does not apply on {name}: {patch.name}: {trees._hunk(patch, complaint)}",
                      "'make load' stops at this patch: resolve it there, 'git am --continue', then 'make save'", detail=complaint)
    put_attributes(tree, tip)
    return Commits(tree, base, series.find_cover(tree, tip), tip)
