# SPDX-License-Identifier: GPL-2.0-only
"""From the branch to the mails, up to the last step, which is the maintainer's own.

b4 makes the mails, in a repository of their own that borrows the branch's objects: sending is
rehearsed without touching what is sent. That repository has checked out only what
get_maintainer.pl wants to see.
"""

from __future__ import annotations

import email
import email.policy
import email.utils
import json
import os
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from . import bases, guests, letter, series, serieslint, settings, toolroot, trees, ui
from .plumbing import _ask, _git
from .trees import COVER
from .ui import Failure

# Bytes of a mail above which kernel lists reject or moderate (MAIL_LIMIT=).
LIMIT = 100_000
# Top-level files, and what get_maintainer.pl and its tests of being in a kernel tree look for.
SPARSE = "/*\n!/*/\n/scripts/*\n!/scripts/*/\n"
KERNEL_DIRECTORIES = ("Documentation", "arch", "include", "drivers", "fs", "init", "ipc", "kernel", "lib", "scripts")


@dataclass(frozen=True)
class Mail:
    """One mail of the series, as b4 would send it."""

    path: Path
    subject: str
    identity: str
    parent: str  # In-Reply-To
    to: list[str]
    cc: list[str]
    size: int


def read_mail(path: Path) -> Mail:
    data = path.read_bytes()
    message = email.message_from_bytes(data, policy=email.policy.default)

    def people(header: str) -> list[str]:
        return [address for _, address in email.utils.getaddresses([str(v) for v in message.get_all(header, [])]) if address]

    return Mail(path, re.sub(r"\s+", " ", str(message["Subject"])), str(message["Message-Id"]), str(message["In-Reply-To"] or ""),
                people("To"), people("Cc"), len(data))


# What must be so before there is anything to send

def _editme(directory: Path, commits: list[series.Commit]) -> list[Failure]:
    where = [COVER for line in (directory / COVER).read_text(errors="replace").splitlines() if "EDITME" in line]
    where += [f'"{commit.subject}"' for commit in commits if "EDITME" in commit.message]
    if not where:
        return []
    return [Failure(f"EDITME is left in {', '.join(dict.fromkeys(where))}", "write what belongs there: b4 prep --edit-cover, or reword the patch; "
                    f"then '{series._verb('save', 'linux')}'")]


def _canonical(name: str, tree: Path) -> list[Failure]:
    if not series._kept(tree, name, "HEAD"):
        return [Failure(f"the series is not canonical: the branch in {tree} and patches/{name} differ",
                        f"write the branch back: {series._verb('save', name)}; or take what is stored: {series._verb('load', name)}")]
    findings = [f for f in serieslint.Lint(series.stored(name)).run() if "EDITME" not in f.what]
    if findings:
        more = f", and {len(findings) - 1} more" if len(findings) > 1 else ""
        return [Failure(f"the series is not canonical: {findings[0].path.name}:{findings[0].line}: {findings[0].what}{more}",
                        "see and repair: make lint-series")]
    return []


def _signed_off(tree: Path, cover: series.Commit, commits: list[series.Commit], sender: str) -> list[Failure]:
    missing = []
    for commit in commits:
        signers = re.findall(r"^Signed-off-by: .*<([^>]*)>\s*$", commit.message, re.M)
        if not signers or signers[-1].lower() != sender.lower():
            missing.append(commit)
    if not missing:
        return []
    return [Failure(f"{len(missing)} of {len(commits)} patches are not signed off by {sender}, the first: \"{missing[0].subject}\"",
                    f"if you can certify their origin (submitting-patches.rst): git -C {shlex.quote(str(tree))} rebase --signoff {cover.id[:12]}")]


def _sender(tree: Path) -> tuple[str, list[Failure]]:
    address = _ask(tree, "config", "sendemail.from") or _ask(tree, "config", "user.email")
    address = email.utils.parseaddr(address)[1]
    if not address or address == series.NOBODY[1]:
        return address or series.NOBODY[1], [Failure(
            "git has no user.email: the mails would be from nobody",
            "git config --global user.email you@example.org; git config --global user.name 'Your Name'; "
            f"then '{series._verb('load', 'linux')}'")]
    return address, []


def _verified(tree: Path) -> list[Failure]:
    path = settings.out() / "verify" / "summary.json"
    run = f"make verify{' BASE=' + settings.text('BASE') if settings.text('BASE') else ''}; or make verify TREE={shlex.quote(os.path.relpath(tree))}"
    try:
        summary = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):
        return [Failure(f"nothing was verified: there is no {path}", run)]
    if summary.get("content") != _git(tree, "rev-parse", "HEAD^{tree}"):
        last = f"{summary.get('series') or 'nothing'} on {summary.get('base') or 'nothing'}"
        return [Failure(f"verify has not run on exactly this series: the last was {last}, with other content", run)]
    if summary.get("verdict") != "pass":
        return [Failure(f"verify has not passed on this series: {summary.get('verdict')} in guest {summary.get('guest')}",
                        f"look at {path.parent}, mend it, {run}")]
    odd = _unusual(summary)
    if odd:
        return [Failure(f"verify has passed on this series {', '.join(odd)}: that is not what is to be shown",
                        f"without GUEST=, QEMU= and CONFIG=: {run}")]
    return []


def _unusual(summary: dict) -> list[str]:
    """In what the run of verify with @summary was not the usual one. A guest without POE, say, passes where nothing is enforced."""
    odd = []
    if summary.get("guest") != guests.DEFAULT:
        odd.append(f"in guest {summary.get('guest')}, not {guests.DEFAULT}")
    # What does not say so, as before it was asked for, counts as another.
    if summary.get("qemu_ours") is not True:
        odd.append(f"in QEMU {summary.get('qemu')}, not in the project's")
    if summary.get("config") != []:
        odd.append(f"with CONFIG={' '.join(summary.get('config', ['?']))}")
    return odd


def _dirty(tree: Path) -> list[Failure]:
    try:
        series._refuse_dirty(tree, "would not be sent")
    except Failure as failure:
        return [failure]
    return []


def _refuse(problems: list[Failure]) -> None:
    """Report all @problems; the last ends the command."""
    for problem in problems[:-1]:
        ui.report(problem)
    if problems:
        raise problems[-1]


# The mails

def _config(tree: Path, into: Path, sender: tuple[str, str]) -> Path:
    """git's configuration for b4: what the user has set for it, but no way to send."""
    lines = _ask(tree, "config", "-z", "--get-regexp", r"^(b4|sendemail)\.").split("\0")
    path = into / "gitconfig"
    path.write_text("")
    for key, value in [("user.name", sender[0]), ("user.email", sender[1]), *(tuple(line.split("\n", 1)) for line in lines if "\n" in line)]:
        if not key.startswith("sendemail.smtp") and not key.startswith("b4.send-endpoint"):
            _git(tree, "config", "--file", path, "--add", key, value)
    _git(tree, "config", "--file", path, "sendemail.smtpserver", "localhost")
    return path


def make_repository(tree: Path, branch: str, into: Path) -> Path:
    """A repository in @into with the branch of @tree, and of its files only what b4 needs."""
    new = into / "tree"
    new.mkdir(parents=True)
    trees._prepare(new, tree)
    _git(new, "update-ref", f"refs/heads/{branch}", _git(tree, "rev-parse", "HEAD"))
    _git(new, "symbolic-ref", "HEAD", f"refs/heads/{branch}")
    _git(new, "config", "core.sparseCheckout", "true")
    (new / ".git" / "info").mkdir(exist_ok=True)
    (new / ".git" / "info" / "sparse-checkout").write_text(SPARSE)
    _git(new, "read-tree", "-m", "-u", "HEAD")
    for name in KERNEL_DIRECTORIES:
        (new / name).mkdir(exist_ok=True)
    return new


class B4:
    """b4 of the tool root in repository @tree, offline."""

    def __init__(self, tree: Path, config: Path):
        self.tree, self.config = tree, config
        self.tools = toolroot.get()
        objects = [Path(line) for line in _alternates(tree)]
        self.readable = [p for p in objects if p.is_dir()]

    def run(self, *args, what: str) -> str:
        """What b4 @args says, once it has done @what."""
        home = str(self.config.parent)
        done = self.tools.run(["b4", "--no-interactive", "--offline-mode", *map(str, args)], cwd=self.tree, capture=True, check=False,
                              readable=self.readable, writable=[self.tree.parent],
                              env={"GIT_CONFIG_GLOBAL": str(self.config), "HOME": home, "XDG_CACHE_HOME": home, "XDG_DATA_HOME": home})
        said = done.stdout + done.stderr
        if done.returncode:
            # b4's own words are above its traceback.
            raise Failure(f"b4 could not {what}", "b4's words are above; with V=1 its command is shown", detail=said.partition("Traceback (")[0])
        return said


def _alternates(tree: Path) -> list[str]:
    """The object directories @tree borrows, and those that these borrow."""
    found, todo = [], [Path(_git(tree, "rev-parse", "--path-format=absolute", "--git-path", "objects"))]
    while todo:
        path = todo.pop() / "info" / "alternates"
        for line in path.read_text().splitlines() if path.is_file() else ():
            if line not in found:
                found.append(line)
                todo.append(Path(line))
    return found


def _mails(directory: Path) -> list[Mail]:
    return [read_mail(path) for path in sorted(directory.glob("*.eml"))]


def _check(mails: list[Mail], count: int, limit: int, sender: str) -> list[Failure]:
    """What is wrong with the mails themselves."""
    problems = []
    if len(mails) != count + (count > 1):
        problems.append(Failure(f"b4 made {len(mails)} mails of {count} patches", "run it again with V=1"))
    for mail in mails[1:]:
        if mail.parent != mails[0].identity:
            problems.append(Failure(f"{mail.path.name} is no reply to the cover letter", "look for 'thread' in your b4 and format configuration"))
    for mail in mails:
        if not {*mail.to, *mail.cc} - {sender}:
            problems.append(Failure(f"{mail.path.name} has no recipient but the sender",
                                    "does the tree have scripts/get_maintainer.pl? or: b4 prep --edit-cover, and add To:"))
        if mail.size > limit:
            problems.append(Failure(f"{mail.path.name} has {mail.size} bytes, the lists take {limit}: {mail.subject}",
                                    "split that patch; or, if the list takes more, MAIL_LIMIT=<bytes>"))
    return problems


def _show(mails: list[Mail]) -> None:
    rows = [["mail", "subject", "to", "cc", "bytes"]]
    for mail in mails:
        rows.append([mail.path.name[:4], mail.subject if len(mail.subject) <= 72 else mail.subject[:69] + "...",
                     str(len(mail.to)), str(len(mail.cc)), str(mail.size)])
    print()
    print(ui.table(rows, {2, 3, 4}))
    print()
    for what in ("to", "cc"):
        print(f"{what.title()}: {', '.join(sorted({a for mail in mails for a in getattr(mail, what)})) or 'nobody'}")


def dry_run() -> int:
    """Make the mails of the kernel series as sending would, once all is as it must be; send nothing."""
    name = "linux"
    tree, directory = series.worktree(name), series.stored(name)
    limit = settings._number("MAIL_LIMIT", LIMIT)
    if not series._is_tree(tree):
        raise Failure(f"no branch of the {name} series: {tree} is not a git work tree",
                      f"make it: {series._verb('load', name)}; or name one with WORKTREE=")
    final = settings.out() / "send"
    with series._alone(name), settings.lock(settings.out(), "the output directory"):
        # What an earlier run made is not what would be sent now.
        shutil.rmtree(final, ignore_errors=True)
        series._refuse_unfinished(tree)
        cover = series.find_cover(tree, "HEAD")
        if not cover or _ask(tree, "symbolic-ref", "--quiet", "--short", "HEAD") != series.BRANCHES[name]:
            raise Failure(f"{series.BRANCHES[name]} is not checked out in {tree}", f"check it out, or make it: {series._verb('load', name)}")
        with ui.step(f"{name} series: looking at the branch in {tree}"):
            commits = series._range(tree, "HEAD", cover.id)
            sender, problems = _sender(tree)
            problems += _dirty(tree)
            problems += _canonical(name, tree)
            problems += _editme(directory, commits)
            problems += letter.stale(name, tree)
            problems += _signed_off(tree, cover, commits, sender)
            problems += _verified(tree)
        _refuse(problems)
        new = settings.out() / "tmp-send"
        shutil.rmtree(new, ignore_errors=True)
        try:
            with ui.step("b4: making the mails") as line:
                mails, command = _make(tree, cover, new)
                line.detail = f"{len(mails)} mails"
            _refuse(_check(mails, len(commits), limit, sender))
            _write_table(mails, new / "mails" / "mails.json")
            os.rename(new / "mails", final)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    _show([read_mail(final / mail.path.name) for mail in mails])
    for line in _remarks(directory, tree, cover, commits):
        ui.note(line)
    print(f"\nThe mails are in {final}; nothing was sent. To send them:\n{command}")
    return ui.PASS


def _make(tree: Path, cover: series.Commit, new: Path) -> tuple[list[Mail], str]:
    """The mails, made in the directory @new; and the command that would send them."""
    repository = make_repository(tree, series.BRANCHES["linux"], new)
    who = series._identity(tree, False)
    b4 = B4(repository, _config(tree, new, who))
    # As b4 prep --auto-to-cc says it on the branch itself, where it is the user's to run.
    b4.run("prep", "--auto-to-cc", what="collect To and Cc with get_maintainer.pl")
    b4.run("send", "-o", new / "mails", "--no-sign", what="make the mails")
    return _mails(new / "mails"), f"cd {shlex.quote(str(tree))} && b4 prep --auto-to-cc && b4 send"


def _write_table(mails: list[Mail], path: Path) -> None:
    rows = [{"file": m.path.name, "subject": m.subject, "message-id": m.identity, "in-reply-to": m.parent, "to": m.to, "cc": m.cc,
             "bytes": m.size} for m in mails]
    path.write_text(json.dumps(rows, indent=2) + "\n")


def _remarks(directory: Path, tree: Path, cover: series.Commit, commits: list[series.Commit]) -> list[str]:
    """What does not stand in the way of sending, and a reader of the mails will notice."""
    found = []
    tag = bases.below(directory, tree, cover.parents[0])
    if _git(tree, "show", "-s", "--format=%ae", cover.parents[0]) == series.NOBODY[1]:
        found.append("base-commit: in the mails is of an import that nobody else has; "
                     f"load with KERNEL=<clone of Linux> BASE={tag or 'v...'} before sending")
    authors = {a for a in _git(tree, "log", "--format=%ae", f"{cover.id}..HEAD").splitlines() if a.endswith("@localhost")}
    if authors:
        found.append(f"the patches are by {', '.join(sorted(authors))}: each mail's text begins with that From: line, and lists want a person's name")
    return found
