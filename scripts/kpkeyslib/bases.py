# SPDX-License-Identifier: GPL-2.0-only
"""Further bases of a stored series, and what has to differ on each.

`base` beside the patches names the primary one, which they are written on. For each other there
is a directory on-TAG with a `base` of its own and, under the same name, each patch that has to
differ there: one that applies without fuzz and gives what it should is not kept twice. So the
size of that directory is what the older base costs.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from . import proc, sources, trees
from .plumbing import _argv, _ask, _environment, _git, _read, _without_signoff, _write, write_series
from .trees import COVER
from .ui import Failure

PREFIX = "on-"


def directory_of(directory: Path, tag: str) -> Path:
    """Where what differs on base @tag is stored."""
    return directory / f"{PREFIX}{tag}"


def recorded(directory: Path) -> dict[str, sources.Base]:
    """The bases the series in @directory is kept for, by tag; the primary one first."""
    primary = sources.read_base(directory)
    found = {primary.tag: primary}
    for path in sorted(directory.glob(f"{PREFIX}*")):
        base = sources.read_base(path, directory.name)
        if path.name != f"{PREFIX}{base.tag}":
            raise Failure(f"{path / 'base'} names {base.tag}, the directory another base", f"git mv {path.name} {PREFIX}{base.tag}")
        found[base.tag] = base
    return found


def is_primary(directory: Path, tag: str) -> bool:
    return sources.read_base(directory).tag == tag


def below(directory: Path, tree: Path, commit: str) -> str:
    """The tag of the recorded base that @commit of @tree is, '' if it is none."""
    for tag in recorded(directory) if commit else ():
        if _ask(tree, "rev-parse", "--verify", "--quiet", f"refs/tags/{tag}^{{commit}}") == commit:
            return tag
    return ""


def is_other(directory: Path, tree: Path, commit: str) -> str:
    """The tag of the recorded base that @commit of @tree is, '' if it is none or the primary one."""
    tag = below(directory, tree, commit)
    return "" if not tag or is_primary(directory, tag) else tag


def _subject_of(text: str) -> str:
    found = re.search(r"^Subject: (?:\[[^\]]*\] )?(.*(?:\n[ \t].*)*)", text, re.M)
    return re.sub(r"\s*\n[ \t]+", " ", found[1]) if found else ""


def _header(text: str) -> str:
    """What a patch file says above its diffstat: author, date, message."""
    return re.sub(r"^From [0-9a-f]{40} .*\n", "", text.partition("\n---\n")[0])


def write_differences(directory: Path, tree: Path, tip: str, base: str, cover: str, into: Path, scratch: Path) -> int:
    """Write what has to differ on the base of the commits @base..@tip to @into; the number of sign-offs left out.

    @into holds a copy of all that is stored. Cover letter, names and order are those of the primary
    base: they are refused if they differ.
    """
    tag = is_other(directory, tree, cover_base(tree, base))
    signoffs = write_series(tree, tip, base, cover, scratch)
    primary = trees.read_series(directory)
    remedy = "make such a change on the primary base: load, change, save; then load it here again"
    if _read(scratch / COVER) != _read(directory / COVER):
        raise Failure(f"the cover letter on {tag} is not the stored one", remedy)
    names = (scratch / "series").read_text().split()
    if len(names) != len(primary.patches):
        raise Failure(f"there are {len(names)} patches on {tag}, and {len(primary.patches)} on {primary.base.tag}", remedy)
    for name, patch in zip(names, primary.patches):
        if _subject_of(_read(scratch / name)) != _subject_of(_read(patch)):
            raise Failure(f"patch {name} on {tag} is {patch.name} on {primary.base.tag}", remedy)
    own = directory_of(into, tag)
    for path in own.glob("*.patch"):
        path.unlink()
    for patch in _differing(tree, tip, base, primary.patches, names, scratch):
        shutil.copyfile(scratch / patch, own / patch)
    return signoffs


def cover_base(tree: Path, cover: str) -> str:
    """The commit below the commit @cover that carries the cover letter, '' if there is none."""
    return _ask(tree, "rev-parse", "--verify", "--quiet", f"{cover}~1")


def _differing(tree: Path, tip: str, base: str, patches: list[Path], names: list[str], scratch: Path) -> list[str]:
    """The patches that do not give their commit of @base..@tip when the primary base's are applied."""
    index = scratch / "index"
    env = _environment(GIT_INDEX_FILE=str(index))
    commits = _git(tree, "rev-list", "--reverse", "--topo-order", f"{base}..{tip}").split()
    found = []
    _git(tree, "read-tree", base, env=env)
    for commit, patch, name in zip(commits, patches, names):
        wanted = _git(tree, "rev-parse", f"{commit}^{{tree}}")
        done = proc.run(_argv(tree, "apply", "--cached", "--whitespace=nowarn", patch), env=env, capture=True, check=False)
        same = done.returncode == 0 and _git(tree, "write-tree", env=env) == wanted
        if not same or _header(_without_signoff(_read(patch))[0]) != _header(_read(scratch / name)):
            found.append(name)
        if not same:
            _git(tree, "read-tree", wanted, env=env)
    return found


def follow_names(directory: Path, new: Path) -> list[str]:
    """Rename in @new what differs on other bases, as the patches have been since @directory; what is left without one."""
    before = {_subject_of(_read(p)): p.name for p in directory.glob("*.patch")}
    after = {_subject_of(_read(p)): p.name for p in new.glob("*.patch")}
    renames = {name: after.get(subject, "") for subject, name in before.items()}
    orphans = []
    for own in sorted(new.glob(f"{PREFIX}*")):
        files = {p.name: _read(p) for p in sorted(own.glob("*.patch"))}
        for name in files:
            (own / name).unlink()
        for name, text in files.items():
            to = renames.get(name, name)
            if to:
                _write(own / to, text)
            else:
                orphans.append(f"{own.name}/{name}")
    return orphans


def lint(directory: Path, names: list[str]) -> list[tuple[Path, str, str]]:
    """What is wrong with what is stored for other bases: file, finding, repair."""
    found = []
    for own in sorted(directory.glob(f"{PREFIX}*")):
        try:
            tag = sources.read_base(own, directory.name).tag
        except Failure as failure:
            found.append((own / "base", failure.message.split(": ", 1)[-1], failure.remedy))
            continue
        if own.name != f"{PREFIX}{tag}":
            found.append((own / "base", f"names {tag}, the directory another base", f"git mv patches/{directory.name}/{own.name} "
                          f"patches/{directory.name}/{PREFIX}{tag}"))
        for path in sorted(own.iterdir()):
            if path.name != "base" and path.name not in names:
                found.append((path, "is no patch of the series", f"git rm -r patches/{directory.name}/{own.name}/{path.name}"))
            elif path.suffix == ".patch" and _subject_of(_read(path)) != _subject_of(_read(directory / path.name)):
                found.append((path, "has another subject than the patch it stands for", f"BASE={tag} scripts/kpkeys load, reword, save"))
    return found
