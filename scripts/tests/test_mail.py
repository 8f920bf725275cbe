# SPDX-License-Identifier: GPL-2.0-only
"""From the branch to mails and back: cover, send-dry-run, reroll, trailers, diff-versions.

b4 is the real one of the tool root; the tree, the series and the mailer are small.
"""

from __future__ import annotations

import email
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent))

import test_series  # noqa: E402
from test_series import COVER, git  # noqa: E402

from kpkeyslib import letter, settings, toolroot, trees, versions  # noqa: E402

SENDER = "dev@example.org"
# As get_maintainer.pl: --nol leaves out lists (b4's To), --nom leaves out people (its Cc).
GET_MAINTAINER = """\
#!/bin/sh
for d in Documentation arch include drivers fs init ipc kernel lib scripts MAINTAINERS; do
	[ -e "$d" ] || { echo "not in a kernel tree: $d" >&2; exit 1; }
done
patch=$(cat)
case "$*" in
*--nol*) echo "Ada Maintainer <ada@example.org>"; case "$patch" in *k.h*) echo "Header Person <header@example.org>";; esac;;
*--nom*) echo "linux-mm@example.org";;
esac
"""
MAILER = """\
#!/bin/sh
n=$(ls "$(dirname "$0")" | wc -l)
cat > "$(dirname "$0")/$(printf '%04d' "$n").mail"
"""
LETTER = COVER.replace("Four lines that say what this is.\n", """Four lines that say what this is.

# begin tests
# end tests

Tools:

# begin tools
# end tools

---
Changes in v1:
- First version.
""")


def tool_root() -> toolroot.ToolRoot | None:
    tools = toolroot.ToolRoot()
    return tools if tools.ready() and shutil.which("bwrap") else None


TOOLS = tool_root()


def _prepare(dev: Path) -> None:
    for name in ("Documentation", "drivers", "fs", "init", "ipc", "kernel", "lib"):
        (dev / name).mkdir()
        (dev / name / "Kconfig").write_text("")
    for name in ("MAINTAINERS", "COPYING", "Kconfig"):
        (dev / name).write_text(f"{name}\n")
    (dev / "scripts").mkdir()
    (dev / "scripts/get_maintainer.pl").write_text(GET_MAINTAINER)
    (dev / "scripts/get_maintainer.pl").chmod(0o755)


def setUpModule():
    test_series.setUpModule(_prepare)


class Case(test_series.Case):
    """The project as a git repository, the series loaded."""

    def setUp(self):
        if not TOOLS:
            self.skipTest("no b4: there is no tool root; 'scripts/kpkeys tools' makes it")
        super().setUp()
        (self.root / "cache" / TOOLS.path.name).symlink_to(TOOLS.path)
        patcher = mock.patch.object(toolroot, "_tools", None)
        patcher.start()
        self.addCleanup(patcher.stop)
        shutil.copytree(self.root / "loaded", self.tree, symlinks=True)
        git(self.project, "init", "-q", "-b", "main")
        (self.project / ".gitignore").write_text("/work/\n/out/\n")
        self.project_commit("Begin")

    def project_commit(self, message: str) -> None:
        git(self.project, "add", "-A")
        git(self.project, "commit", "-q", "-m", message)

    def head(self) -> str:
        return git(self.tree, "rev-parse", "HEAD")

    def sign(self):
        cover = git(self.tree, "log", "--format=%H", "-F", "--grep", trees.TRACKING)
        git(self.tree, "rebase", "-q", "--signoff", cover, GIT_COMMITTER_EMAIL=SENDER, GIT_COMMITTER_NAME="A Developer")

    def verified(self, verdict="pass", guest="el1", where="verify", **more):
        """A result as verify leaves it, for the branch as it is now."""
        path = self.root / "out" / where / "summary.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"verdict": verdict, "guest": guest, "passed": 7, "failed": 0, "skipped": 2, "series": "kpkeys-v1-on-v7.3.4",
                                    "base": "linux v7.3.4", "qemu": "10.2.2", "qemu_ours": True, "config": [], "content": git(self.tree, "rev-parse", "HEAD^{tree}"), **more}))

    def ready(self):
        self.sign()
        self.verified()

    def letter(self) -> str:
        return (self.stored / trees.COVER).read_text()

    def set_letter(self, text: str):
        (self.stored / trees.COVER).write_text(text)
        self.ok("load")

    def mails(self, directory: Path | None = None) -> list[email.message.Message]:
        return [email.message_from_bytes(p.read_bytes()) for p in sorted((directory or self.root / "out/send").glob("*.eml"))]

    def b4(self, *args, stdin="\n", **configure) -> str:
        """b4 on the branch itself, as the maintainer runs it."""
        settings_ = {**{"b4.send-no-patatt-sign": "yes"}, **configure}
        with mock.patch.dict(os.environ, self.env(), clear=True), mock.patch.object(settings, "PROJECT", self.project):
            argv = TOOLS.argv(["b4", "--offline-mode", *(a for k, v in settings_.items() for a in ("-c", f"{k}={v}")), *args], cwd=self.tree,
                              writable=[self.root], readable=[TOOLS.path, test_series.FIXTURE],
                              env={"GIT_CONFIG_GLOBAL": str(self.config), "HOME": str(self.root), "XDG_CACHE_HOME": str(self.root / "xdg")})
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def send(self) -> list[email.message.Message]:
        """The command that send-dry-run prints, with a stub for the mailer."""
        box = self.root / "sent"
        shutil.rmtree(box, ignore_errors=True)
        box.mkdir()
        (box / "mailer").write_text(MAILER)
        (box / "mailer").chmod(0o755)
        self.b4("prep", "--auto-to-cc")
        self.b4("send", stdin="\n\n\n", **{"sendemail.smtpserver": str(box / "mailer")})
        return [email.message_from_bytes(p.read_bytes().replace(b"\r\n", b"\n")) for p in sorted(box.glob("*.mail"))]


class DryRun(Case):
    def test_mails(self):
        self.ready()
        before, files = self.head(), git(self.tree, "status", "--porcelain", "--ignored")
        refs = git(self.tree, "for-each-ref")
        out = self.ok("send-dry-run")
        self.unchanged()
        self.assertEqual((self.head(), git(self.tree, "status", "--porcelain", "--ignored"), git(self.tree, "for-each-ref")), (before, files, refs))
        mails = self.mails()
        self.assertEqual([re.sub(r"\s+", " ", m["Subject"]) for m in mails], [
            "[PATCH RFC 0/3] mm: kpkeys: Protect something", "[PATCH RFC 1/3] mm: kpkeys: Add the header",
            "[PATCH RFC 2/3] mm: kpkeys: Change a line in the middle", "[PATCH RFC 3/3] arm64: kpkeys: Extend the header, and one line more"])
        for mail in mails:
            self.assertIn("ada@example.org", mail["To"])
            self.assertIn("header@example.org", mail["To"])
            self.assertIn("linux-mm@example.org", mail["Cc"])
            self.assertIn(SENDER, mail["From"])
        self.assertIsNone(mails[0]["In-Reply-To"])
        self.assertEqual({m["In-Reply-To"] for m in mails[1:]}, {mails[0]["Message-Id"]})
        self.assertIn("change-id: 20261121-kpkeys-0123456789ab", mails[0].get_payload(decode=True).decode())
        self.assertIn(f"Signed-off-by: A Developer <{SENDER}>", mails[3].get_payload(decode=True).decode())
        self.assertRegex(out, r"(?m)^0003 +\[PATCH RFC 3/3\] arm64: kpkeys: Extend .* 2 +2 +\d+$")
        self.assertEqual(out.splitlines()[-1], f"cd {self.tree} && b4 prep --auto-to-cc && b4 send")
        self.assertIn("is of an import that nobody else has", out)
        table = json.loads((self.root / "out/send/mails.json").read_text())
        self.assertEqual([t["in-reply-to"] for t in table][1:], [mails[0]["Message-Id"]] * 3)
        self.assertEqual(list((self.root / "out").glob("tmp-*")), [])

    def nothing_made(self):
        self.assertFalse((self.root / "out/send").exists())
        self.unchanged()

    def dry(self, says: str, **extra) -> str:
        error = self.refused("send-dry-run", says=says, **extra)
        self.assertFalse((self.root / "out/send").exists())
        self.assertEqual(list((self.root / "out").glob("tmp-*")), [])
        return error

    def test_all_that_is_missing_is_told_at_once(self):
        (self.tree / "mm/a.c").write_text("mine\n")
        error = self.dry(says="nothing was verified")
        self.assertIn("has uncommitted changes (mm/a.c), which would not be sent", error)
        self.assertIn("3 of 3 patches are not signed off by dev@example.org", error)
        self.assertEqual(error.count("error: "), 3)
        self.nothing_made()

    def test_old_mails_go(self):
        self.ready()
        self.ok("send-dry-run")
        (self.tree / "mm/a.c").write_text("mine\n")
        self.dry(says="uncommitted changes")

    def test_not_signed_off(self):
        self.verified()
        error = self.dry(says=f"3 of 3 patches are not signed off by {SENDER}, the first: \"mm: kpkeys: Add the header\"")
        # The remedy is what to type.
        command = re.search(r"git -C .* rebase --signoff \w+", error)[0]
        subprocess.run(command, shell=True, check=True, capture_output=True, env=self.env())
        self.ok("send-dry-run")

    def test_signed_off_by_somebody_else(self):
        self.ready()
        self.config.write_text(test_series.USER.replace("dev@", "new@"))
        self.dry(says="3 of 3 patches are not signed off by new@example.org")

    def test_one_not_signed_off(self):
        self.ready()
        subject = git(self.tree, "log", "-1", "--format=%s")
        git(self.tree, "commit", "-q", "--amend", "-m", f"{subject}\n\nBoth at once.", GIT_COMMITTER_EMAIL=SENDER)
        self.dry(says=f"1 of 3 patches are not signed off by {SENDER}, the first: \"arm64")

    def test_nobody(self):
        shutil.rmtree(self.tree)
        self.config.write_text("")
        self.ok("load")
        self.ready()
        self.assertIn("git config --global user.email", self.dry(says="git has no user.email|not signed off"))

    def test_editme(self):
        self.set_letter(self.letter().replace("Four lines", "EDITME lines"))
        self.ready()
        error = self.dry(says=r"EDITME is left in 0000-cover-letter.txt")
        self.assertIn("b4 prep --edit-cover", error)
        self.assertEqual(error.count("error: "), 1)

    def test_editme_in_a_patch(self):
        subject = git(self.tree, "log", "-1", "--format=%s")
        git(self.tree, "commit", "-q", "--amend", "-m", f"{subject}\n\nEDITME.", GIT_COMMITTER_EMAIL=SENDER)
        self.ok("save")
        self.ready()
        self.dry(says="EDITME is left in \"arm64: kpkeys: Extend")

    def test_branch_and_files_differ(self):
        subject = git(self.tree, "log", "-1", "--format=%s")
        git(self.tree, "commit", "-q", "--amend", "-m", f"{subject}\n\nOther words.", GIT_COMMITTER_EMAIL=SENDER)
        self.ready()
        self.dry(says="is not canonical: the branch in .* and patches/linux differ")
        self.ok("save")
        self.ok("send-dry-run")

    def test_lint(self):
        subject = git(self.tree, "log", "-1", "--format=%s")
        git(self.tree, "commit", "-q", "--amend", "-m", f"{subject}.\n\nOther words.", GIT_COMMITTER_EMAIL=SENDER)
        self.ok("save")
        self.ready()
        self.dry(says=r"is not canonical: 0003-.*full stop")

    def test_not_verified(self):
        self.sign()
        self.dry(says="nothing was verified: there is no .*summary.json")
        self.verified(content="0" * 40)
        self.dry(says="verify has not run on exactly this series: the last was kpkeys-v1-on-v7.3.4")
        self.verified(verdict="test-failed")
        self.dry(says="verify has not passed on this series: test-failed in guest el1")
        # Passes that prove nothing of a kernel that is protected by the QEMU the series comes with.
        for more, says in (({"guest": "no-poe"}, "in guest no-poe, not el1"), ({"guest": "el1-off"}, "in guest el1-off, not el1"),
                           ({"qemu": "9.0 (/usr/bin/qemu-system-aarch64)", "qemu_ours": False}, "in QEMU 9.0 .*, not in the project's"),
                           ({"qemu_ours": None}, "in QEMU 10.2.2, not in the project's"), ({"config": ["/x/mine.config"]}, "with CONFIG=/x/mine.config")):
            self.verified(**more)
            self.assertIn("without GUEST=, QEMU= and CONFIG=: make verify", self.dry(says=f"verify has passed on this series {says}"))
        (self.root / "out/verify/summary.json").write_text("{")
        self.dry(says="nothing was verified")
        self.verified()
        self.ok("send-dry-run")

    def test_size(self):
        self.ready()
        size = max(len(p) for p in (self.stored / n for n in self.names()) for p in [p.read_bytes()])
        error = self.dry(says=r"0\d+.*\.eml has \d+ bytes, the lists take \d+: \[PATCH RFC \d/3\]", MAIL_LIMIT=str(size))
        self.assertIn("split that patch", error)
        self.dry(says="MAIL_LIMIT=x is not a whole number", MAIL_LIMIT="x")

    def test_no_recipients(self):
        shutil.rmtree(self.tree)
        kernel = self.user_kernel()
        (kernel / "scripts/get_maintainer.pl").write_text("#!/bin/sh\n")
        git(kernel, "commit", "-q", "-a", "-m", "scripts: Know nobody")
        self.ok("load", KERNEL=str(kernel))
        self.ready()
        self.dry(says="has no recipient")

    def test_no_get_maintainer(self):
        shutil.rmtree(self.tree)
        kernel = self.user_kernel()
        (kernel / "scripts/get_maintainer.pl").write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
        git(kernel, "commit", "-q", "-a", "-m", "scripts: Break")
        self.ok("load", KERNEL=str(kernel))
        self.ready()
        self.dry(says="b4 could not collect To and Cc")

    def test_in_the_user_s_repository(self):
        shutil.rmtree(self.tree)
        kernel = self.user_kernel(real=True)
        self.ok("load", KERNEL=str(kernel), BASE="v7.3.4")
        self.ok("save")
        self.ready()
        before = git(kernel, "for-each-ref")
        out = self.ok("send-dry-run")
        self.assertNotIn("import", out)
        self.assertIn(f"base-commit: {git(kernel, 'rev-parse', 'v7.3.4^{commit}')}", self.mails()[0].get_payload(decode=True).decode())
        self.assertEqual(git(kernel, "for-each-ref"), before)

    def test_beside_the_work_tree(self):
        """Send a version in MAINTAINERS-notes.md, step by step, after Change a patch: work/linux is a repository of our own then."""
        kernel, send = self.user_kernel(real=True), self.project / "work/send"
        self.refused("load", KERNEL=str(kernel), BASE="v7.3.4", says="work/linux is not what")
        notes = (settings.PROJECT / "MAINTAINERS-notes.md").read_text().partition("### Send a version")[2].partition("\n### ")[0]
        self.assertEqual(set(re.findall(r"work/\w+", re.sub(r"In a work tree.*", "", notes))), {"work/send"})
        worktree = {"WORKTREE": str(send)}
        for command in re.findall(r"`make (load|cover|send-dry-run|reroll)([^`]*)`", notes):
            self.assertIn("WORKTREE=work/send", command[1], command)
        (self.stored / trees.COVER).write_text(LETTER)
        self.ok("load", KERNEL=str(kernel), BASE="v7.3.4", **worktree)
        self.tree = send
        self.verified()
        self.ok("cover", **worktree)
        self.sign()
        self.ok("send-dry-run", **worktree)
        self.assertIn(f"base-commit: {git(kernel, 'rev-parse', 'v7.3.4^{commit}')}", self.mails()[0].get_payload(decode=True).decode())
        self.project_commit("patches: send v1")
        self.ok("reroll", MSGID="a@example.org", **worktree)
        self.assertEqual(trees.tracking(self.letter())["revision"], 2)

    def test_commands_can_be_typed(self):
        """What is printed to be typed holds for a directory whose name a shell would take apart."""
        odd = self.project / "work/it's mine"
        shutil.rmtree(self.tree)
        self.ok("load", WORKTREE=str(odd))
        self.tree = odd
        self.verified()
        error = self.dry(says="not signed off", WORKTREE=str(odd))
        subprocess.run(re.search(r"git -C .* rebase --signoff \w+", error)[0], shell=True, check=True, capture_output=True, env=self.env())
        command = self.ok("send-dry-run", WORKTREE=str(odd)).splitlines()[-1]
        self.assertEqual(shlex.split(command), ["cd", str(odd), "&&", "b4", "prep", "--auto-to-cc", "&&", "b4", "send"])

    def test_not_loaded(self):
        shutil.rmtree(self.tree)
        self.dry(says="no branch of the linux series")
        self.ok("load")
        git(self.tree, "checkout", "-q", "--detach")
        self.dry(says="b4/kpkeys is not checked out")
        git(self.tree, "checkout", "-q", "b4/kpkeys")
        git(self.tree, "rebase", "-q", "--exec", "false", "HEAD~2", check=False)
        self.dry(says="a rebase is in progress")

    def test_killed(self):
        self.ready()
        child = self.start("send-dry-run")
        try:
            child.communicate(timeout=3)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
        self.unchanged()
        self.ok("send-dry-run")

    def test_user_s_settings_reach_b4(self):
        self.ready()
        with self.config.open("a") as handle:
            handle.write("[b4]\n\tsend-series-cc = Extra List <extra@example.org>\n[sendemail]\n\tsmtpserver = /bin/false\n")
        self.ok("send-dry-run")
        self.assertIn("extra@example.org", self.mails()[2]["Cc"])


class Rehearsal(Case):
    def test_send_and_reroll(self):
        self.ready()
        self.ok("send-dry-run")
        planned = self.mails()
        sent = self.send()
        self.assertEqual([m["Subject"] for m in sent], [m["Subject"] for m in planned])
        self.assertEqual([(m["To"], m["Cc"]) for m in sent], [(m["To"], m["Cc"]) for m in planned])
        first = sent[0]["Message-Id"].strip("<>")
        # patches/ is v1 still, and in the project's history.
        self.unchanged()
        self.assertRegex(self.ok("reroll"), "this is v2 now")
        text = self.letter()
        tracked = trees.tracking(text)
        self.assertEqual(tracked["revision"], 2)
        self.assertEqual(tracked["change-id"], "20261121-kpkeys-0123456789ab")
        self.assertEqual(tracked["history"], {"v1": [first]})
        self.assertIn(f"- Link to v1: https://lore.kernel.org/r/{first}", text)
        self.assertNotIn("Signed-off-by", "".join((self.stored / n).read_text() for n in self.names()))
        self.verified()
        self.refused("send-dry-run", says="EDITME is left in")
        # What reviewers said, and a change.
        self.reviews(sent)
        out = self.ok("trailers", str(self.root / "thread.mbox"))
        self.assertIn("mm: kpkeys: Add the header: + Reviewed-by: Rita Reviewer <rita@example.org>", out)
        self.assertRegex(out, r"left out, Mallory <mallory@example\.org> may not speak for others: Acked-by")
        self.assertIn("Reviewed-by: Rita", (self.stored / self.names()[0]).read_text())
        for n in (1, 2):
            self.assertNotIn("Reviewed-by", (self.stored / self.names()[n]).read_text())
        self.assertIn("Acked-by: Ada Maintainer <ada@example.org>", (self.stored / self.names()[2]).read_text())
        self.assertNotIn("Mallory", "".join((self.stored / n).read_text() for n in self.names()))
        self.assertIn("nothing new", self.ok("trailers", str(self.root / "thread.mbox")))
        self.assertEqual(self.kpkeys("lint-series").returncode, 1)  # EDITME
        self.ok("load")
        self.set_letter(re.sub(r"- EDITME:.*\n(  .*\n)?", "", self.letter()).replace("Changes in v2:\n", "Changes in v2:\n- Say more.\n"))
        self.assertEqual(self.kpkeys("lint-series").returncode, 0, self.kpkeys("lint-series").stdout)
        # Reviewers see what changed.
        out = self.ok("diff-versions", A="v1", B="v2")
        self.assertRegex(out, r"v1 to v2: 1 patches unchanged, 2 changed, 0 new, 0 gone")
        self.assertRegex(out, r"\+.*Reviewed-by: Rita")
        # v2 carries it all.
        self.project_commit("patches: v2")
        self.ready()
        self.ok("send-dry-run")
        again = self.send()
        self.assertEqual(again[0]["Subject"], "[PATCH RFC v2 0/3] mm: kpkeys: Protect something")
        body = again[0].get_payload(decode=True).decode()
        self.assertIn("change-id: 20261121-kpkeys-0123456789ab", body)
        self.assertRegex(body, rf"Changes in v2:\n- Say more.\n- Link to v1: https://lore\.kernel\.org/r/{re.escape(first)}\n")
        self.assertIsNone(again[0]["In-Reply-To"], "a new version begins a new thread")
        self.assertEqual({m["In-Reply-To"] for m in again[1:]}, {again[0]["Message-Id"]})
        self.assertNotEqual(again[0]["Message-Id"], sent[0]["Message-Id"])
        self.assertIn("Reviewed-by: Rita Reviewer", again[1].get_payload(decode=True).decode())
        self.ok("reroll")
        self.assertEqual(sorted(trees.tracking(self.letter())["history"]), ["v1", "v2"])

    def reviews(self, sent: list):
        """Answers: to patch 1 and 3, and one that claims to be another's."""
        answers = []
        for number, who, what in ((1, "Rita Reviewer <rita@example.org>", "Reviewed-by: Rita Reviewer <rita@example.org>"),
                                  (3, "Ada Maintainer <ada@example.org>", "Acked-by: Ada Maintainer <ada@example.org>"),
                                  (2, "Mallory <mallory@example.org>", "Acked-by: Linus <linus@example.org>")):
            mail = sent[number]
            subject = re.sub(r"\s+", " ", mail["Subject"])
            answers.append(f"From mboxrd@z Thu Jan  1 00:00:00 1970\nFrom: {who}\nTo: {SENDER}\nSubject: Re: {subject}\nDate: Sat, 21 Nov 2026 12:00:00 +0000\n"
                           f"Message-Id: <answer-{number}@example.org>\nIn-Reply-To: {mail['Message-Id']}\nReferences: {sent[0]['Message-Id']} {mail['Message-Id']}\n\n"
                           f"> {subject}\n\nLooks good.\n\n{what}\n\n")
        thread = "".join(f"From mboxrd@z Thu Jan  1 00:00:00 1970\n{m.as_string()}\n\n" for m in sent)
        (self.root / "thread.mbox").write_text(thread + "".join(answers))


class Reroll(Case):
    def test_sent_another_way(self):
        self.refused("reroll", says="v1 has not been sent by b4")
        self.refused("reroll", says="MSGID=x y is not a Message-Id", MSGID="x y")
        before = git(self.tree, "rev-parse", "HEAD^{tree}")
        self.sign()
        self.ok("reroll", MSGID="<20261121-a@example.org>")
        self.assertIn("Changes in v2:\n- EDITME", self.letter())
        self.assertEqual(trees.tracking(self.letter())["history"], {"v1": ["20261121-a@example.org"]})
        self.assertEqual(git(self.tree, "rev-parse", "HEAD^{tree}"), before)
        self.assertIn("Signed-off-by", git(self.tree, "log", "-1", "--format=%B"), "the sender's word is gone")
        self.assertIn('"revision": 2', git(self.tree, "show", "-s", "--format=%B", "HEAD~3"))
        self.assertIn("cover-subject", self.b4("prep", "--show-info"))
        self.assertIn("no files differ", self.ok("save"))
        self.refused("reroll", says="is not in the project's history")

    def test_without_a_branch(self):
        git(self.tree, "checkout", "-q", "--detach", "v7.3.4")
        self.assertIn("make load", self.refused("reroll", says="no commit with b4's cover letter below HEAD"))
        shutil.rmtree(self.tree)
        self.assertIn("make load", self.refused("reroll", says="work/linux is not a git work tree"))
        self.ok("reroll", MSGID="a@example.org")
        self.assertEqual(trees.tracking(self.letter())["revision"], 2)
        self.assertEqual({k: v for k, v in self.files().items() if k != trees.COVER}, {k: v for k, v in self.before.items() if k != trees.COVER})
        self.ok("load")
        self.assertIn("no files differ", self.ok("save"))

    def test_as_b4_does(self):
        """The form is b4's own: its reroll gives the same letter."""
        self.set_letter(self.letter().replace("\n--- b4-", "\n---\nChanges in v1:\n- First version.\n\n--- b4-"))
        self.project_commit("patches: say what changed")
        self.ready()
        sent = self.send()
        self.ok("save")
        theirs = self.letter()
        git(self.project, "checkout", "-q", "patches")
        ours = versions.rerolled(self.letter(), sent[0]["Message-Id"].strip("<>"))
        people = re.compile(r"^(To|Cc): .*\n", re.M)
        tidy = [re.sub(r"\n{2,}", "\n", re.sub(r"- EDITME.*\n", "", people.sub("", t))) for t in (theirs, ours)]
        self.assertEqual(tidy[0], tidy[1])

    def test_not_committed(self):
        self.set_letter(self.letter().replace("Four", "Five"))
        self.refused("reroll", says=r"patches/linux/0000-cover-letter\.txt is not committed", MSGID="a@example.org")

    def test_unsaved(self):
        self.commit("mm: Mine\n\nText.", {"mm/b.c": "int b;\n"})
        self.refused("reroll", says="not saved", MSGID="a@example.org")
        self.unchanged()

    def test_killed(self):
        for point in ("cover-made", "cover-on-branch", "written", "before-swap", "after-swap", "published"):
            with self.subTest(point):
                git(self.project, "checkout", "-q", "patches")
                shutil.rmtree(self.tree)
                shutil.copytree(self.root / "loaded", self.tree, symlinks=True)
                child = self.start("reroll", MSGID="a@example.org", KPKEYS_TEST_KILL=point)
                said = child.communicate(timeout=60)[0]
                self.assertEqual(child.returncode, -signal.SIGKILL, said)
                revision = trees.tracking(self.letter())["revision"]
                rest = {k: v for k, v in self.files().items() if k != trees.COVER}
                self.assertEqual(rest, {k: v for k, v in self.before.items() if k != trees.COVER})
                self.assertEqual(revision, 2 if point in ("after-swap", "published") else 1)
                self.ok("save")
                self.assertEqual(trees.tracking(self.letter())["revision"], 1 if point == "cover-made" else 2)
                self.assertEqual(git(self.tree, "status", "--porcelain"), "")


class Trailers(Case):
    def test_refusals(self):
        self.refused("trailers", says="MBOX is not set")
        self.refused("trailers", says="MBOX=/nowhere: no such mailbox", MBOX="/nowhere")
        (self.root / "x").write_text("hello\nworld\n")
        self.refused("trailers", says="x is not a mailbox", MBOX=str(self.root / "x"))
        (self.root / "x").write_text("From: a@example.org\nSubject: x\n\nx\n")
        self.refused("trailers", says="no version of this series was sent", MBOX=str(self.root / "x"))
        self.commit("mm: Mine\n\nText.", {"mm/b.c": "int b;\n"})
        self.refused("trailers", says="not saved", MBOX=str(self.root / "x"))
        shutil.rmtree(self.tree)
        self.refused("trailers", says="no branch of the linux series", MBOX=str(self.root / "x"))
        self.unchanged()


    def test_killed(self):
        self.ok("reroll", MSGID="a@example.org")
        self.project_commit("patches: v2")
        shutil.copytree(self.tree, self.root / "second", symlinks=True)
        before = self.files()
        mbox = self.root / "thread.mbox"
        mbox.write_text("From a Thu Jan  1 00:00:00 1970\nFrom: Rita <rita@example.org>\nSubject: Re: [PATCH RFC 1/3] mm: kpkeys: Add the header\n"
                        "Message-Id: <r@example.org>\nIn-Reply-To: <x@example.org>\n\nReviewed-by: Rita <rita@example.org>\n")
        for point in ("trailers-made", "trailers-on-branch", "written", "before-swap", "after-swap"):
            with self.subTest(point):
                git(self.project, "checkout", "-q", "patches")
                shutil.rmtree(self.tree)
                shutil.copytree(self.root / "second", self.tree, symlinks=True)
                child = self.start("trailers", str(mbox), KPKEYS_TEST_KILL=point)
                said = child.communicate(timeout=120)[0]
                self.assertEqual(child.returncode, -signal.SIGKILL, said)
                self.assertEqual(self.files() == before, point != "after-swap")
                self.ok("save")
                self.ok("trailers", str(mbox))
                self.assertIn("Reviewed-by: Rita <rita@example.org>\n---", (self.stored / self.names()[0]).read_text())
                self.assertEqual(git(self.tree, "status", "--porcelain"), "")


class DiffVersions(Case):
    def test_refusals(self):
        self.refused("diff-versions", says="A and B are not both set")
        self.refused("diff-versions", says="no version v7 of the linux series", A="v7", B="v1")
        # Both are looked for before any is applied.
        with mock.patch.object(versions.aside, "commit", side_effect=AssertionError):
            self.refused("diff-versions", says="no version nonsense", A="v1", B="nonsense")

    def test_same(self):
        self.assertIn("v1 to HEAD: 3 patches unchanged, 0 changed, 0 new, 0 gone", self.ok("diff-versions", "v1", "HEAD"))

    def test_changed_dropped_new(self):
        git(self.tree, "rebase", "-q", "-i", "HEAD~3", GIT_SEQUENCE_EDITOR="sed -i 2d", GIT_COMMITTER_EMAIL=SENDER)
        self.commit("mm: kpkeys: Something else\n\nText.", {"mm/z.c": "/* SPDX-License-Identifier: GPL-2.0-only */\nint z;\n"})
        self.ok("save")
        self.assertIn("HEAD to v1: 2 patches unchanged, 0 changed, 1 new, 1 gone", self.ok("diff-versions", "HEAD", "v1"))


class Cover(Case):
    def setUp(self):
        super().setUp()
        self.set_letter(LETTER)
        self.before = self.files()

    def test_parts(self):
        self.verified(where="guests/vhe", guest="vhe", passed=5)
        self.verified(where="guests/old", guest="old", content="0" * 40)
        self.verified()
        self.sign()
        tree = git(self.tree, "rev-parse", "HEAD^{tree}")
        self.assertIn("new tests, tools", self.ok("cover"))
        text = self.letter()
        self.assertRegex(text, r"# begin tests\n  guest +passed +failed +skipped +what\n  el1 +7 +0 +2 +4K pages, boot at EL1.*\n  vhe +5 +0 +2 +4K pages, boot at EL2.*\n# end tests\n")
        self.assertRegex(text, r"# begin tools\n  tool +version\n  clang +22\.\d.*\n(  .*\n)*  QEMU +10\.2\.2\n# end tools\n")
        self.assertEqual(git(self.tree, "rev-parse", "HEAD^{tree}"), tree)
        self.assertIn("Signed-off-by", git(self.tree, "log", "-1", "--format=%B"))
        self.assertIn("4K pages, boot at EL1", git(self.tree, "show", "-s", "--format=%B", "HEAD~3"))
        self.assertIn("the same tests, tools", self.ok("cover"))
        self.assertIn("no files differ", self.ok("save"))
        self.assertEqual(self.kpkeys("lint-series").returncode, 0)
        # The mail has the table, and not the marks.
        self.ok("send-dry-run")
        body = self.mails()[0].get_payload(decode=True).decode()
        self.assertIn("4K pages, boot at EL1", body)
        self.assertNotIn("# begin", body)

    def test_without_a_branch(self):
        self.verified()
        shutil.rmtree(self.tree)
        self.ok("cover")
        self.assertRegex(self.letter(), r"# begin tests\n  guest .*\n  el1 +7 ")
        self.ok("load")
        self.assertIn("no files differ", self.ok("save"))

    def test_base_of_the_user_s(self):
        """On another tree the same series has another content, and results are those of that one."""
        shutil.rmtree(self.tree)
        kernel = self.user_kernel()
        self.commit("mm: Change by others", {"mm/others.c": "int x;\n"}, kernel)
        self.ok("load", KERNEL=str(kernel))
        self.verified(passed=9)
        self.ok("cover")
        self.assertRegex(self.letter(), r"\n  el1 +9 ")
        self.sign()
        self.ok("send-dry-run")

    def test_stale_letter_is_not_sent(self):
        self.ready()
        self.refused("send-dry-run", says="the cover letter's part 'tests' is not up to date")
        self.ok("cover")
        self.ok("send-dry-run")
        self.verified(passed=8)
        self.refused("send-dry-run", says="part 'tests' is not up to date")

    def test_other_content(self):
        self.verified(content="0" * 40)
        self.refused("cover", says="no guest has run on exactly this series")
        self.unchanged()

    def test_all_parts(self):
        marks = "".join(f"# begin {p}\n# end {p}\n" for p in letter.PARTS)
        self.set_letter(re.sub(r"# begin tests\n.*# end tools\n", marks, LETTER, flags=re.S))
        self.verified()
        (self.root / "out/bench").mkdir()
        (self.root / "out/bench/qemu.json").write_text(json.dumps({"content": git(self.tree, "rev-parse", "HEAD^{tree}"), "rounds": 3, "comparisons": [{"name": "boot", "ratio": 1.004, "bar": "< 1.1"}]}))
        self.ok("cover")
        text = self.letter()
        self.assertRegex(text, r"# begin shortlog\nkpkeys \(3\):\n  mm: kpkeys: Add the header\n")
        self.assertRegex(text, r" 2 files changed, 5 insertions\(\+\), 2 deletions\(-\)\n create mode 100644 include/linux/k\.h\n# end diffstat")
        self.assertRegex(text, r"qemu, 3 rounds:\n\n  ratio +bar +what\n   1\.00 +< 1\.1 +boot\n# end bench")
        self.assertEqual(self.kpkeys("lint-series").returncode, 0, self.kpkeys("lint-series").stdout)
        (self.root / "out/bench/qemu.json").unlink()
        self.ok("cover")
        self.assertIn("# begin bench\nNot measured.\n# end bench", self.letter())

    def counted(self, file: str, content: str, quick: bool, estimate: float):
        """What 'make bench' leaves, as far as the letter takes it."""
        path = self.root / "out/bench" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"content": content, "quick": quick, "size": 64 if quick else 1024, "base": "u", "published": {"fork": {"batched": 3.35}},
                                    "model": {"check_error": 0.095, "check_rows": ["fork"]}, "estimates": {"batched": {"fork": estimate}},
                                    "operations": {"u": {"fork": {}}}}))

    def test_benchmark_of_other_content(self):
        """Estimates are taken of exactly this series, and of a quick run only if there is no full one."""
        self.set_letter(LETTER.replace("# begin tools\n# end tools", "# begin bench\n# end bench"))
        self.verified()
        content = git(self.tree, "rev-parse", "HEAD^{tree}")
        self.counted("bench.json", "0" * 40, False, 1.0)
        self.counted("bench-full.json", "", False, 1.0)
        self.ok("cover")
        self.assertIn("# begin bench\nNot measured.\n# end bench", self.letter())
        self.counted("bench.json", content, True, 2.0)
        self.ok("cover")
        self.assertRegex(self.letter(), r"64 MB mapped, quick run,\nthe model is off by 9\.5 % of the time [^:]*:\n\n +estimate +published\n  fork +\+2\.00 % +\+3\.35 %\n")
        self.counted("bench-full.json", content, False, 3.0)
        self.ok("cover")
        self.assertRegex(self.letter(), r"1024 MB mapped, full run,\n[^:]*:\n\n.*\n  fork +\+3\.00 % ")
        self.assertNotIn("+2.00", self.letter())

    def test_marks(self):
        self.verified()
        for change, says in ((("# end tests\n", ""), "'# begin tools' does not pair"),
                             (("# end tools\n", ""), "'# begin tools' has no '# end tools'"),
                             (("begin tests", "begin tosts"), "there is no generated part 'tosts'"),
                             (("# begin tools", "# begin tests\n# end tests\n# begin tools"), "'# end tests' does not pair|'# begin tests' does not pair")):
            text = LETTER.replace(*change)
            (self.stored / trees.COVER).write_text(text)
            self.refused("cover", says=says)
            self.assertEqual(self.letter(), text)
        (self.stored / trees.COVER).write_text(COVER)
        self.refused("cover", says="has no generated part")
        (self.stored / trees.COVER).unlink()
        self.refused("cover", says="is not there")

    def test_marks_lost_in_a_reword(self):
        git(self.tree, "rebase", "-q", "-i", "--no-ff", "HEAD~4", GIT_SEQUENCE_EDITOR="sed -i 1s/pick/reword/", GIT_EDITOR="sed -i s,Four,Five,", GIT_COMMITTER_EMAIL=SENDER)
        self.assertIn("the cover letter has lost '# begin tests'", self.ok("save"))

    def test_on_another_base(self):
        self.verified()
        own = self.stored / "on-v7.2.12"
        own.mkdir()
        (own / "base").write_text("tag: v7.2.12\ncommit:\npackage: linux-source-7.2\nversion: 7.2.12-1\n")
        other = self.root / "other"
        git(self.root, "clone", "-q", self.root / "dev", other)
        git(other, "checkout", "-q", "v7.3.4")
        self.commit("linux 7.2.12", {"mm/x.c": "int x;\n"}, other)
        git(other, "tag", "-m", "x", "v7.2.12")
        git(other, "checkout", "-q", "-B", "base")
        git(self.root, "clone", "-q", "--bare", other, self.root / "cache/linux-7.2.12-1.git")
        before = self.files_below()
        self.ok("load", BASE="v7.2.12")
        self.verified()
        self.refused("cover", says="not on the primary base")
        self.assertEqual(self.files_below(), before)

    def files_below(self) -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in self.stored.rglob("*") if p.is_file()}


class Real(unittest.TestCase):
    """The series of this project on its kernel: load, save, and the mails.

    The work tree stays for the next run: to write and remove a kernel tree can take minutes.
    """

    LOADED = "refs/kpkeys-test/loaded"

    def test_load_save_mails(self):
        stored = trees.read_series(settings.PROJECT / "patches/linux")
        repository = settings.cache() / f"linux-{stored.base.version}.git"
        if not TOOLS or not repository.is_dir():
            self.skipTest("no tool root or no kernel source: 'scripts/kpkeys load' gets them")
        root = Path(tempfile.mkdtemp(prefix="kpkeys-real-")).resolve()
        self.addCleanup(shutil.rmtree, root, ignore_errors=True)
        for name in ("scripts", "patches", "kunit"):
            shutil.copytree(settings.PROJECT / name, root / "project" / name, ignore=shutil.ignore_patterns("__pycache__", "tests"))
        (root / "gitconfig").write_text(test_series.USER)
        tree = Path(os.environ.get("KPKEYS_TEST_OUT") or settings.out()).resolve() / "tests" / "mail-tree"
        env = test_series.environment(CACHE=str(settings.cache()), O=str(root / "out"), GIT_CONFIG_GLOBAL=str(root / "gitconfig"), WORKTREE=str(tree))
        if tree.is_dir() and git(tree, "rev-parse", "--verify", "--quiet", self.LOADED, check=False):
            git(tree, "reset", "-q", "--hard", self.LOADED)

        def kpkeys(*args) -> subprocess.CompletedProcess:
            return subprocess.run([sys.executable, root / "project/scripts/kpkeys", *args], env=env, capture_output=True, text=True)

        loaded = kpkeys("load")
        if loaded.returncode and tree.is_dir():
            # A run that failed leaves a branch which, once the series has changed, is refused as somebody's work.
            shutil.rmtree(tree)
            loaded = kpkeys("load")
        self.assertEqual(loaded.returncode, 0, loaded.stderr)
        git(tree, "update-ref", self.LOADED, "HEAD")
        saved = kpkeys("save")
        self.assertIn("no files differ", saved.stdout, saved.stderr)
        refused = kpkeys("send-dry-run")
        self.assertEqual(refused.returncode, 2)
        self.assertRegex(refused.stderr, rf"{len(stored.patches)} of {len(stored.patches)} patches are not signed off")
        self.assertIn("nothing was verified", refused.stderr)
        # Whether it passes is for verify to say; this is about the letter and the mails.
        (root / "out/verify").mkdir(parents=True)
        (root / "out/verify/summary.json").write_text(json.dumps({
            "verdict": "pass", "guest": "el1", "passed": 4711, "failed": 0, "skipped": 42, "qemu": "of this test", "qemu_ours": True, "config": [],
            "content": git(tree, "rev-parse", "HEAD^{tree}")}))
        self.assertIn("the cover letter's part 'tests' is not up to date", kpkeys("send-dry-run").stderr)
        covered = kpkeys("cover")
        self.assertRegex(covered.stdout, "the cover letter has new (bench, )?tests, tools", covered.stderr)
        # The next run begins where load and save know the branch.
        git(tree, "update-ref", self.LOADED, "HEAD")
        cover = git(tree, "log", "--format=%H", "-F", "--grep", trees.TRACKING, "-1")
        git(tree, "rebase", "-q", "--signoff", cover, GIT_COMMITTER_EMAIL=SENDER, GIT_COMMITTER_NAME="A Developer")
        done = kpkeys("send-dry-run")
        self.assertEqual(done.returncode, 0, done.stderr)
        mails = json.loads((root / "out/send/mails.json").read_text())
        self.assertEqual(len(mails), len(stored.patches) + 1)
        self.assertEqual({m["in-reply-to"] for m in mails[1:]}, {mails[0]["message-id"]})
        for mail in mails:
            self.assertIn("linux-mm@kvack.org", mail["cc"] + mail["to"])
        text = email.message_from_bytes((root / "out/send" / mails[0]["file"]).read_bytes()).get_payload(decode=True).decode()
        self.assertRegex(text, r"\n  el1 +4711 +0 +42 ")
        self.assertRegex(text, r"\n  QEMU +of this test\n")
        self.assertNotRegex(text, r"# (begin|end)")


if __name__ == "__main__":
    unittest.main()
