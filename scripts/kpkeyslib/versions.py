# SPDX-License-Identifier: GPL-2.0-only
"""From one version of the series to the next: what was sent, what reviewers said, what changed.

The versions are those of the project's own history: version N is what patches/ held last while
the cover letter said N.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from . import aside, letter, mail, rebase, series, settings, trees, ui
from .plumbing import _ask, _git, _pipe, _point, _read
from .trees import COVER, TRACKING
from .ui import Failure

LINK = "https://lore.kernel.org/r/"
CHANGES = """Changes in v{new}:
- EDITME: describe what is new in this series revision.
- Link to v{old}: {link}

"""


# The next version

def rerolled(text: str, msgid: str) -> str:
    """The cover letter @text of the version after the one that was sent as @msgid, in the form b4 gives it."""
    letter_text, _, tail = text.partition(TRACKING)
    start = tail.find("{")
    data = json.loads(tail[start:])
    tracked = data["series"]
    old = tracked["revision"]
    tracked["revision"] = old + 1
    tracked.setdefault("history", {}).setdefault(f"v{old}", []).append(msgid)
    entry = CHANGES.format(old=old, new=old + 1, link=LINK + msgid)
    found = re.search(r"^changes in v\d+", letter_text, re.I | re.M)
    if found:
        letter_text = letter_text[:found.start()] + entry + letter_text[found.start():]
    else:
        letter_text = f"{letter_text.rstrip()}\n\n---\n{entry}"
    return f"{letter_text}{TRACKING}{tail[:start]}{json.dumps(data, indent=2)}\n"


def _tracked(text: str) -> dict:
    found = trees.tracking(text)
    if "revision" not in found:
        raise Failure(f"the cover letter {COVER} has no tracking data of b4's", "restore it: git checkout -- patches/linux")
    return found


def _project_git(*args: str) -> str:
    return _ask(settings.PROJECT, *args)


def _need_committed(name: str, revision: int) -> None:
    """Refuse to go on to the next version while this one is not in the project's history."""
    if not _project_git("rev-parse", "--git-dir"):
        ui.note(f"{settings.PROJECT} is no git repository: diff-versions will not find v{revision} again")
        return
    changed = _project_git("status", "--porcelain", "--", f"patches/{name}").splitlines()
    if changed:
        raise Failure(f"v{revision} as it was sent is not in the project's history: {changed[0][3:]} is not committed",
                      f"git add patches/{name}; git commit -m 'patches: send v{revision}'")


def reroll(name: str) -> int:
    """Make the cover letter that of the next version, once this one was sent."""
    tree, msgid = series.worktree(name), settings.text("MSGID").strip().strip("<>")
    if msgid and not re.fullmatch(r"[^\s@<>/]+@[^\s@<>/]+", msgid):
        raise Failure(f"MSGID={settings.text('MSGID')} is not a Message-Id",
                      "take it from the cover letter as it was sent: MSGID=20261121-...@example.org")
    with series._alone(name):
        text = _read(series.stored(name) / COVER)
        now = _tracked(text)["revision"]
        _need_committed(name, now)
        branch = series.find_cover(tree, "HEAD") if series._is_tree(tree) else None
        sent = trees.tracking(branch.message) if branch else {}
        if sent.get("revision") == now + 1 and sent.get("history", {}).get(f"v{now}"):
            # b4 send has done it on the branch.
            if msgid:
                raise Failure(f"b4 has sent v{now} as {sent['history'][f'v{now}'][-1]}", "MSGID= is not needed: make reroll")
            series.save(name)
        elif not msgid and not branch:
            raise Failure(f"{tree} is not a git work tree" if not series._is_tree(tree) else f"{tree}: no commit with b4's cover letter below HEAD",
                          f"so nothing shows that b4 has sent v{now}. Make the branch with make load, or name its tree with WORKTREE=; "
                          "or, if it went another way, make reroll MSGID=<Message-Id of its cover letter>")
        elif not msgid:
            raise Failure(f"v{now} has not been sent by b4 from {tree}", "send it (make send-dry-run shows how); or, if it went another way, "
                          "make reroll MSGID=<Message-Id of its cover letter>")
        else:
            letter.amend(name, lambda text: _pipe(settings.PROJECT, rerolled(text, msgid), "stripspace"))
    ui.note(f"this is v{now + 1} now; say what changes where the cover letter has EDITME (b4 prep --edit-cover, then make save)")
    return ui.PASS


# What reviewers said

def trailers(name: str, given: str) -> int:
    """Put the review trailers of the mails in the mailbox @given into the patches they are about."""
    mbox = Path(os.path.realpath(given))
    if not given or not os.access(mbox, os.R_OK):
        raise Failure(f"MBOX={given}: no such mailbox" if given else "which mails? MBOX is not set",
                      "save the thread as an mbox file, and give its name: make trailers MBOX=<file>")
    if mbox.is_file() and not re.match(rb"(From |[!-9;-~]+:)", mbox.open("rb").read(100)):
        raise Failure(f"MBOX={given} is not a mailbox", "save the thread in mbox format")
    tree = series.worktree(name)
    if not series._is_tree(tree):
        raise Failure(f"no branch of the {name} series: {tree} is not a git work tree", f"make it: {series._verb('load', name)}")
    with series._alone(name), settings.lock(settings.out(), "the output directory"):
        series._refuse_unfinished(tree)
        cover = rebase._need_saved(name, tree)
        if not _tracked(cover.message).get("history"):
            raise Failure("no version of this series was sent: nobody can have reviewed it", "after sending: make reroll")
        commits = series._range(tree, "HEAD", cover.id)
        with ui.step("b4: looking for review trailers") as line:
            messages, said = _collect(name, tree, mbox)
            messages = {c.id: m for c, m in zip(commits, messages) if m.rstrip() != c.message.rstrip()}
            line.detail = f"{len(messages)} of {len(commits)} patches get some"
        if messages:
            tip = letter.rewrite(tree, cover, {commit: text + "\n" for commit, text in messages.items()})
            _point("trailers-made")
            _git(tree, "update-ref", "-m", "kpkeys: add review trailers", f"refs/heads/{series.BRANCHES[name]}", tip, _git(tree, "rev-parse", "HEAD"))
            _point("trailers-on-branch")
            series.save(name)
    for commit in commits:
        for added in [t for t in messages.get(commit.id, "").splitlines() if t not in commit.message.splitlines()]:
            ui.note(f"{commit.subject}: + {added}")
    for trailer, sender in re.findall(r"! Trailer: (.*)\n *Msg From: (.*)", said):
        ui.note(f"left out, {sender} may not speak for others: {trailer}")
    if not messages:
        ui.note(f"nothing new for this series in {mbox}")
    return ui.PASS


def _collect(name: str, tree: Path, mbox: Path) -> tuple[list[str], str]:
    """The messages of the patches once b4 has added what it finds in @mbox; and what b4 said."""
    new = settings.out() / "tmp-trailers"
    shutil.rmtree(new, ignore_errors=True)
    try:
        repository = mail.make_repository(tree, series.BRANCHES[name], new)
        (shutil.copytree if mbox.is_dir() else shutil.copyfile)(mbox, new / "mails")
        b4 = mail.B4(repository, mail._config(tree, new, series._identity(tree, False)))
        said = b4.run("trailers", "-u", "-m", new / "mails", what=f"read {mbox}")
        cover = series.find_cover(repository, "HEAD")
        found = series._range(repository, "HEAD", cover.id)
        before = _git(tree, "log", "--reverse", "--topo-order", "--format=%T", f"{series.find_cover(tree, 'HEAD').id}..HEAD").split()
        if [c.tree for c in found] != before:
            raise Failure("b4 changed more than messages", "this is a bug of the scripts; nothing was changed")
        return [c.message for c in found], said
    finally:
        shutil.rmtree(new, ignore_errors=True)


# What changed

def _version(name: str, wanted: str, into: Path) -> Path:
    """The directory with version @wanted of the series: what is stored now, or out of the project's history in @into."""
    directory = series.stored(name)
    number = re.fullmatch(r"v?(\d+)", wanted)
    if number and _tracked(_read(directory / COVER))["revision"] == int(number[1]):
        return directory
    known: dict[int, str] = {}
    for commit in _project_git("log", "--format=%H", "--", f"patches/{name}").split():
        revision = trees.tracking(_project_git("show", f"{commit}:patches/{name}/{COVER}")).get("revision")
        if revision is not None:
            known.setdefault(revision, commit)
    commit = known.get(int(number[1]), "") if number else _project_git("rev-parse", "--verify", "--quiet", f"{wanted}^{{commit}}")
    if not commit:
        have = ", ".join(f"v{n}" for n in sorted(known)) or "none"
        raise Failure(f"no version {wanted} of the {name} series in the project's history",
                      f"versions there: {have}; or give a commit of the project")
    target = into / wanted.replace("/", "_") / name
    target.mkdir(parents=True)
    archive = subprocess.run(["git", "-C", str(settings.PROJECT), "archive", commit, f"patches/{name}"], capture_output=True)
    if archive.returncode:
        raise Failure(f"{wanted} of the project has no patches/{name}", "give a version such as v1", detail=archive.stderr.decode(errors="replace"))
    subprocess.run(["tar", "-x", "-C", str(target), "--strip-components=2"], input=archive.stdout, check=True)
    return target


def diff_versions(name: str, before: str, after: str) -> int:
    """Show what differs between two versions of series @name, patch by patch."""
    if not before or not after:
        raise Failure("which versions? A and B are not both set", "make diff-versions A=v1 B=v2")
    with series._alone(name), aside.repository("versions") as tree:
        tree.mkdir()
        with ui.step(f"{name} series: {before} and {after} as commits"):
            # Beside the repository's files, in which git would look for changes.
            extracted = tree / "versions"
            # Both are looked for before the first is applied, which takes a while.
            found = [trees.read_series(_version(name, wanted, extracted)) for wanted in (before, after)]
            sides = [aside.commit(tree / "repository", stored) for stored in found]
        one, two = (f"{side.cover.id}..{side.tip}" for side in sides)
        out = _git(tree / "repository", "range-diff", "--no-color", "--creation-factor=75", one, two)
    print(out)
    lines = re.findall(r"^ *(?:\d+|-): +(?:[0-9a-f]+|-+) ([=!<>]) ", out, re.M)
    print(f"\n{before} to {after}: {lines.count('=')} patches unchanged, {lines.count('!')} changed, {lines.count('>')} new, {lines.count('<')} gone")
    return ui.PASS
