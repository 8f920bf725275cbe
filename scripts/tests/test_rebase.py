# SPDX-License-Identifier: GPL-2.0-only
"""refresh, rebase and further bases, on a small tree with a small series."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent))

import test_series  # noqa: E402
from test_series import A_C, commit, git  # noqa: E402

from kpkeyslib import settings, trees  # noqa: E402

OLD, NEAR = "7.2.12-1", "7.1.9-1"


def setUpModule():
    test_series.setUpModule()
    root = test_series.FIXTURE
    # An older base on which the last patch conflicts, and one on which all patches apply.
    for version, tag, text in ((OLD, "v7.2.12", A_C.replace("line_50;", "line_50 = 5;")),
                               (NEAR, "v7.1.9", A_C.replace("line_1;", "line_1 = 1;"))):
        tree = root / tag
        tree.mkdir()
        git(tree, "init", "-q", "-b", "base")
        number = dict(zip(("VERSION", "PATCHLEVEL", "SUBLEVEL"), tag[1:].split(".")))
        commit(tree, f"linux {tag[1:]}\n\nImported from nowhere.", {
            "Makefile": "".join(f"{k} = {v}\n" for k, v in number.items()), "mm/a.c": text,
            "arch/arm64/Kconfig": "config ARM64\n\tdef_bool y\n", ".gitattributes": "*.c diff=cpp\n", ".gitignore": "*.o\n"})
        git(tree, "tag", "-m", f"linux {tag[1:]}", tag)
        git(root, "clone", "-q", "--bare", tree, root / "cache" / f"linux-{version}.git")


class Case(test_series.Case):
    def setUp(self):
        super().setUp()
        shutil.copytree(self.root / "loaded", self.tree, symlinks=True)
        for tag, version in (("v7.2.12", OLD), ("v7.1.9", NEAR)):
            (self.stored / f"on-{tag}").mkdir()
            (self.stored / f"on-{tag}" / "base").write_text(f"tag: {tag}\ncommit:\npackage: linux-source-{tag[1:4]}\nversion: {version}\n")
        self.before = self.files()

    def files(self) -> dict[str, bytes]:
        return {str(p.relative_to(self.stored)): p.read_bytes() for p in sorted(self.stored.rglob("*")) if p.is_file()}

    def differing(self, tag: str) -> list[str]:
        return sorted(p.name for p in (self.stored / f"on-{tag}").glob("*.patch"))

    def resolve(self, text="int line_50 = 55;\n"):
        path = self.tree / "mm/a.c"
        path.write_text(re.sub(r"<<<<<<<.*?>>>>>>>[^\n]*\n", text, path.read_text(), flags=re.S))
        git(self.tree, "add", "-A")

    def conflict(self, **extra) -> str:
        return self.refused("rebase", BASE="v7.2.12", says=r'"arm64: kpkeys: Extend .*" does not apply on .*v7\.2\.12 \(conflicts in mm/a\.c\)', **extra)


class Rebase(Case):
    def test_no_conflict(self):
        before = git(self.tree, "rev-parse", "HEAD")
        out = self.ok("rebase", BASE="v7.1.9")
        self.assertIn("no conflict", out)
        self.assertEqual(git(self.tree, "rev-parse", "HEAD~4"), git(self.root / "v7.1.9", "rev-parse", "HEAD"))
        what = "--format=%an %ae %ad%n%B"
        self.assertEqual(git(self.tree, "log", what, "-4"), git(self.tree, "log", what, "-4", before))
        self.assertEqual(git(self.tree, "log", "-1", "--format=%ce"), "dev@example.org")
        self.assertEqual(git(self.tree, "rev-parse", "refs/kpkeys/before-rebase"), before)
        self.assertIn("int line_1 = 1;", (self.tree / "mm/a.c").read_text())
        self.assertEqual(git(self.tree, "status", "--porcelain"), "")
        self.assertIn("no files differ", self.ok("save"))
        self.unchanged()
        self.assertIn("nothing to do", self.ok("rebase", BASE="v7.1.9"))

    def test_conflict_resume_save(self):
        error = self.conflict()
        self.assertIn("scripts/kpkeys rebase --abort", error)
        self.unchanged()
        self.refused("save", says="a rebase is in progress")
        self.refused("load", says="a rebase is in progress")
        self.refused("rebase", says=r"conflicts are left in mm/a\.c")
        self.refused("rebase", BASE="v7.1.9", says="a rebase to v7.2.12 is in progress")
        self.unchanged()
        self.resolve()
        self.ok("rebase")
        self.assertEqual(git(self.tree, "symbolic-ref", "--short", "HEAD"), "b4/kpkeys")
        self.refused("load", says="not saved in patches/linux")
        out = self.ok("save")
        self.assertRegex(out, r"new +on-v7\.2\.12/0003-")
        self.assertEqual(self.differing("v7.2.12"), self.names()[2:])
        kept = {k: v for k, v in self.files().items() if not k.startswith("on-v7.2.12/0003")}
        self.assertEqual(kept, self.before)
        # Both bases come out of what is stored.
        tree = git(self.tree, "rev-parse", "HEAD^{tree}")
        self.ok("load")
        self.assertIn("int line_50 = 50;", (self.tree / "mm/a.c").read_text())
        self.ok("load", BASE="v7.2.12")
        self.assertEqual(git(self.tree, "rev-parse", "HEAD^{tree}"), tree)
        self.assertIn("no files differ", self.ok("save"))
        self.assertIn("no files differ", self.ok("refresh"))
        self.assertIn("no files differ", self.ok("refresh", BASE="v7.2.12"))
        done = self.kpkeys("lint-series")
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_finished_with_git(self):
        self.conflict()
        self.resolve()
        git(self.tree, "rebase", "--continue", GIT_EDITOR="true", GIT_COMMITTER_EMAIL="dev@example.org")
        self.ok("save")
        self.assertEqual(self.differing("v7.2.12"), self.names()[2:])

    def test_no_longer_different(self):
        self.test_finished_with_git()
        git(self.tree, "reset", "-q", "--hard", "HEAD~1")
        text = (self.tree / "mm/a.c").read_text()
        self.commit("arm64: kpkeys: Extend the header, and one line more\n\nBoth at once.", {
            "include/linux/k.h": "/* SPDX-License-Identifier: GPL-2.0-only */\n#define K 1\n#define L 2\n", "mm/a.c": text.replace("line_50 = 5;", "line_50 = 5;\n//")})
        self.ok("save")
        self.assertEqual(self.differing("v7.2.12"), self.names()[2:])
        self.ok("load")
        self.ok("rebase", BASE="v7.1.9")
        self.ok("save")
        self.assertEqual(self.differing("v7.1.9"), [])

    def test_abort(self):
        before = git(self.tree, "rev-parse", "HEAD")
        self.refused("rebase", "--abort", says="there is no rebase to give up")
        self.conflict()
        self.ok("rebase", "--abort")
        self.assertEqual(git(self.tree, "rev-parse", "b4/kpkeys"), before)
        self.assertEqual(git(self.tree, "status", "--porcelain"), "")
        self.assertIn("nothing to do", self.ok("load"))
        self.assertIn("no files differ", self.ok("save"))
        self.unchanged()

    def test_commits_that_differ_in_shape_are_refused(self):
        self.ok("rebase", BASE="v7.1.9")
        head = self.commit("mm: One more\n\nText.", {"mm/b.c": "int b;\n"})
        self.refused("save", says="there are 4 patches on v7.1.9, and 3 on v7.3.4")
        git(self.tree, "reset", "-q", "--hard", f"{head}~1")
        git(self.tree, "commit", "-q", "--amend", "-m", "arm64: kpkeys: Another subject\n\nBoth at once.")
        self.refused("save", says="0003-arm64-kpkeys-Another-subject.patch on v7.1.9 is 0003-arm64-kpkeys-Extend")
        self.unchanged()

    def test_cover_letter_of_another_base_is_refused(self):
        self.ok("rebase", BASE="v7.1.9")
        # Some versions of git refuse to reword a commit without changes.
        reword = "exec git show -s --format=%B | sed s/Four/Five/ | git commit -q --amend --allow-empty -F -"
        git(self.tree, "rebase", "-q", "-i", "HEAD~4", GIT_SEQUENCE_EDITOR=f"sed -i '1a {reword}'", GIT_COMMITTER_EMAIL="dev@example.org")
        self.refused("save", says="the cover letter on v7.1.9 is not the stored one")
        self.unchanged()

    def test_message_that_differs_is_kept(self):
        self.ok("rebase", BASE="v7.1.9")
        subject = git(self.tree, "log", "-1", "--format=%s")
        git(self.tree, "commit", "-q", "--amend", "-m", f"{subject}\n\nOnly here.")
        self.ok("save")
        self.assertEqual(self.differing("v7.1.9"), self.names()[2:])

    def test_renumbered(self):
        self.test_finished_with_git()
        self.ok("load")
        self.rebase("pick 1", "drop 2", "pick 3")
        out = self.ok("save")
        self.assertRegex(out, r"renamed +on-v7\.2\.12/0003-.* -> on-v7\.2\.12/0002-|renamed +0003-")
        self.assertEqual(self.differing("v7.2.12"), self.names()[1:])
        self.assertEqual(self.kpkeys("lint-series").returncode, 0)

    def test_orphan(self):
        self.test_finished_with_git()
        self.ok("load")
        self.rebase("pick 1", "pick 2", "drop 3")
        self.assertIn("has no patch on the primary base any more", self.ok("save"))
        self.assertEqual(self.differing("v7.2.12"), [])

    def test_already_there(self):
        self.assertIn("nothing to do", self.ok("rebase", BASE="v7.3.4"))
        self.unchanged()

    def test_refusals(self):
        self.refused("rebase", says="which base")
        # Each says which bases there are, and no remedy is refused in turn.
        kept = "kept for: v7.3.4, v7.1.9, v7.2.12"
        for verb, more in (("rebase", "; for a commit of your tree add KERNEL=<dir>; for another Debian kernel add LINUX_VERSION="),
                           ("verify", "; for a commit of your tree add KERNEL=<dir>\n"), ("load", "; for a commit of your tree add KERNEL=<dir>\n"), ("refresh", "\n"), ("tarball", "\n")):
            error = self.refused(verb, BASE="v9", says="BASE=v9 is no base this series is kept for")
            self.assertIn(f"       {kept}{more}", error)
        self.assertIn(kept, self.refused("rebase", says="BASE is not set"))
        self.refused("rebase", BASE="frob", LINUX_VERSION="1", says="BASE=frob is not the tag of a release")
        (self.tree / "mm/a.c").write_text("mine\n")
        self.refused("rebase", BASE="v7.1.9", says="uncommitted changes")
        git(self.tree, "checkout", "-q", "-f")
        head = self.commit("mm: Mine\n\nText.", {"mm/b.c": "int b;\n"})
        self.refused("rebase", BASE="v7.1.9", says="not saved")
        self.assertEqual(git(self.tree, "rev-parse", "HEAD"), head)
        git(self.tree, "checkout", "-q", "--detach")
        self.refused("rebase", BASE="v7.1.9", says="b4/kpkeys is not checked out")
        git(self.tree, "checkout", "-q", "b4/kpkeys")
        git(self.tree, "rebase", "-q", "--exec", "false", "HEAD~2", check=False)
        self.refused("rebase", BASE="v7.1.9", says="a rebase is in progress")
        shutil.rmtree(self.tree)
        self.refused("rebase", BASE="v7.1.9", says="no branch of the linux series")
        self.unchanged()

    def test_stale_work_tree(self):
        # Its .git is there, and is no repository any more.
        shutil.rmtree(self.tree / ".git/objects")
        done = self.kpkeys("rebase", BASE="v7.1.9")
        self.assertEqual(done.returncode, 2)
        self.assertNotIn("Traceback", done.stderr)
        self.unchanged()

    def test_upstream_has_a_patch(self):
        kernel = self.user_kernel(lambda t: t.replace("line_30;", "line_30 = 30;"))
        shutil.rmtree(self.tree)
        self.ok("load", KERNEL=str(kernel), BASE="v7.3.4")
        out = self.ok("rebase", KERNEL=str(kernel), BASE="base")
        self.assertIn("left out, base has it already: mm: kpkeys: Change a line in the middle", out)
        self.assertEqual(len(git(self.tree, "log", "--format=%s", "base..HEAD").splitlines()), 3)

    def test_another_work_tree(self):
        self.refused("rebase", KERNEL=str(self.user_kernel(lambda t: t + "int x;\n")), BASE="base", says="is not what .*load.* made of")

    def test_move(self):
        for tag in ("v7.1.9", "v7.2.12"):
            shutil.rmtree(self.stored / f"on-{tag}")
        self.before = self.files()
        self.ok("rebase", BASE="v7.1.9", LINUX_VERSION=NEAR)
        self.unchanged()
        self.assertRegex(self.ok("save"), "changed +base")
        self.assertEqual((self.stored / "base").read_text(),
                         "# Applies to\ntag: v7.1.9\ncommit:\npackage: linux-source-7.1\nversion: 7.1.9-1\n")
        self.assertIn("nothing to do", self.ok("load"))

    def test_no_email(self):
        shutil.rmtree(self.tree)
        self.config.write_text("")
        self.ok("load")
        self.ok("rebase", BASE="v7.1.9")
        self.assertEqual(git(self.tree, "log", "-1", "--format=%ce"), "kpkeys@localhost")
        self.ok("save")
        self.unchanged()

    def test_two_at_once(self):
        both = [self.start("rebase", BASE="v7.1.9") for _ in range(2)]
        said = [child.communicate(timeout=120)[0] for child in both]
        self.assertEqual([child.returncode for child in both], [0, 0], said)
        self.ok("save")
        self.unchanged()

    def test_killed(self):
        for point in ("rebase-noted", "rebase-made", "checkout", "checked-out"):
            with self.subTest(point):
                shutil.rmtree(self.tree)
                shutil.copytree(self.root / "loaded", self.tree, symlinks=True)
                self.killed(point, "v7.1.9")
                self.ok("rebase")
                self.ok("save")
                self.unchanged()
                self.assertEqual(len(git(self.tree, "log", "--format=%s", "v7.1.9..HEAD").splitlines()), 4)

    def test_killed_and_dropped(self):
        for point in ("rebase-noted", "rebase-made", "checkout", "checked-out"):
            with self.subTest(point):
                shutil.rmtree(self.tree)
                shutil.copytree(self.root / "loaded", self.tree, symlinks=True)
                self.killed(point, "v7.1.9")
                self.ok("rebase", "--abort")
                self.assertIn("nothing to do", self.ok("load"))
                self.assertEqual(git(self.tree, "status", "--porcelain"), "")
                self.unchanged()

    def half_done(self) -> Path:
        """As git leaves it when it is killed in the middle of its checkout."""
        self.killed("checkout", "v7.1.9")
        state = json.loads((self.tree / ".git" / "kpkeys-series").read_text())
        path = self.tree / "mm/a.c"
        path.write_text(git(self.tree, "show", f"{state['to']}:mm/a.c")[:100])
        (self.tree / ".git/index.lock").write_text("")
        return path

    def test_checkout_half_done(self):
        self.half_done()
        self.ok("rebase")
        self.assertEqual(git(self.tree, "status", "--porcelain"), "")
        self.assertEqual(git(self.tree, "rev-parse", "HEAD~4"), git(self.root / "v7.1.9", "rev-parse", "HEAD"))
        self.assertIn("no files differ", self.ok("save"))

    def test_checkout_half_done_and_then_edited(self):
        path = self.half_done()
        path.write_text("mine\n")
        self.refused("rebase", says="mm/a.c has changes that are not its own")
        self.assertEqual(path.read_text(), "mine\n")
        self.unchanged()

    def test_killed_before_the_conflict(self):
        self.killed("rebase-handed-over", "v7.2.12")
        self.refused("rebase", says="does not apply on")
        self.resolve()
        self.ok("rebase")
        self.ok("save")
        self.assertEqual(self.differing("v7.2.12"), self.names()[2:])

    def test_killed_within_git_rebase(self):
        # What git leaves when it is killed before its first pick: its state, detached, a lock.
        self.killed("rebase-handed-over", "v7.2.12")
        git_dir = self.tree / ".git"
        git(self.tree, "rebase", "-q", "-i", "--onto", "HEAD", "HEAD~1", GIT_SEQUENCE_EDITOR="sed -i 1ibreak", check=False)
        self.assertTrue((git_dir / "rebase-merge").is_dir())
        (git_dir / "index.lock").write_text("")
        self.refused("rebase", says="does not apply on")
        self.unchanged()
        self.ok("rebase", "--abort")
        self.assertIn("nothing to do", self.ok("load"))

    def killed(self, point: str, base: str):
        child = self.start("rebase", BASE=base, KPKEYS_TEST_KILL=point)
        said, _ = child.communicate(timeout=60)
        self.assertEqual(child.returncode, -signal.SIGKILL, f"{point}: {said}")
        self.unchanged()


class Refresh(Case):
    def setUp(self):
        super().setUp()
        shutil.rmtree(self.tree)

    def test_canonical(self):
        stamps = {p.name: p.stat().st_mtime_ns for p in self.stored.iterdir()}
        self.assertIn("3 patches, no files differ", self.ok("refresh"))
        self.unchanged()
        self.assertEqual({p.name: p.stat().st_mtime_ns for p in self.stored.iterdir()}, stamps)
        self.assertFalse(self.tree.exists())
        self.assertEqual(list((self.root / "out").glob("tmp-*")), [])

    def drift(self):
        path = self.stored / self.names()[1]
        text = path.read_text().replace("@@ -27,7 +27,7 @@", "@@ -26,7 +26,7 @@").replace("index ", "index 0")
        self.assertNotEqual(text, path.read_text())
        path.write_text(text + "-- \n2.30.0\n")
        cover = self.stored / "0000-cover-letter.txt"
        cover.write_text(cover.read_text() + "\n\n")

    def test_drift(self):
        self.drift()
        out = self.ok("refresh")
        self.assertRegex(out, "changed +0000-cover-letter.txt\n")
        self.assertRegex(out, "changed +0002-")
        self.unchanged()

    def test_does_not_apply(self):
        path = self.stored / self.names()[1]
        path.write_text(re.sub(r"^index.*\n", "", path.read_text().replace("-int line_30;", "-int other;"), flags=re.M))
        before = self.files()
        self.refused("refresh", says=r"patch 2 of 3 does not apply on linux v7\.3\.4: 0002-")
        self.assertEqual(self.files(), before)

    def test_other_base(self):
        self.refused("refresh", BASE="v9", says="BASE=v9 is no base")
        self.assertIn("no files differ", self.ok("refresh", BASE="v7.1.9"))

    def test_killed(self):
        self.drift()
        drifted = self.files()
        for point in ("written", "refreshed", "before-swap", "after-swap"):
            child = self.start("refresh", KPKEYS_TEST_KILL=point)
            child.communicate(timeout=60)
            self.assertEqual(child.returncode, -signal.SIGKILL, point)
            self.assertIn(self.files(), (drifted, self.before))
        self.ok("refresh")
        self.unchanged()


class Bases(Case):
    def lint(self, says: str):
        done = self.kpkeys("lint-series")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertRegex(done.stdout, says)

    def test_lint(self):
        own = self.stored / "on-v7.1.9"
        (own / "0009-x.patch").write_text("x\n")
        self.lint(r"on-v7\.1\.9/0009-x\.patch:1: is no patch of the series")
        (own / "0009-x.patch").rename(own / self.names()[0])
        self.lint("another subject than the patch it stands for")
        (own / self.names()[0]).unlink()
        (own / "base").write_text((own / "base").read_text().replace("v7.1.9", "v7.1.8"))
        self.lint("names v7.1.8, the directory another base")
        (own / "base").unlink()
        self.lint("on-v7.1.9/base:1:")

    def test_lint_form(self):
        self.conflict()
        self.resolve()
        self.ok("rebase")
        self.ok("save")
        path = self.stored / "on-v7.2.12" / self.names()[2]
        good = path.read_text()
        where = re.escape(f"on-v7.2.12/{path.name}")
        for old, new, says in (("\n---\n", "\nSigned-off-by: A B <a@b>\n---\n", "a stored patch carries no trailer 'Signed-off-by:'"),
                               ("+int line_50 = 55;", "+int line_50 = 56; ", "white space at the end of an added line"),
                               ("+#define L", "+#define M", "the content is not that of the index line"),
                               ("@@ -1,2", "@@ -2,2", "the hunks do not fit what the patches before it make of the file|do not follow")):
            with self.subTest(says):
                self.assertIn(old, good)
                path.write_text(good.replace(old, new, 1))
                self.lint(rf"{where}:\d+: .*({says})")
        self.lint("BASE=v7.2.12 scripts/kpkeys load")
        path.write_text(good)
        # Of what holds on both bases nothing is told twice.
        first = self.stored / self.names()[0]
        first.write_text(first.read_text().replace("\n---\n", "\nSigned-off-by: A B <a@b>\n---\n", 1))
        self.assertEqual(self.kpkeys("lint-series").stdout.count("carries no trailer"), 1)

    def test_load(self):
        self.ok("load", BASE="v7.1.9")
        self.assertEqual(git(self.tree, "rev-parse", "HEAD~4"), git(self.root / "v7.1.9", "rev-parse", "HEAD"))
        self.refused("load", BASE="v9", says=r"BASE=v9 is no base this series is kept for")
        self.ok("load")
        self.assertIn("no files differ", self.ok("save"))

    def test_conflict_in_load(self):
        # What the patch was made on is the result of another patch: git am needs that for its merge.
        shutil.rmtree(self.tree)
        self.refused("load", BASE="v7.2.12", says=r"patch 3 of 3 does not apply: 0003-")
        self.assertEqual(git(self.tree, "diff", "--name-only", "--diff-filter=U"), "mm/a.c")
        self.resolve()
        git(self.tree, "am", "--continue", GIT_COMMITTER_EMAIL="dev@example.org")
        self.ok("save")
        self.assertEqual(self.differing("v7.2.12"), self.names()[2:])

    def test_stale_linked_work_tree(self):
        shutil.rmtree(self.tree)
        kernel = self.user_kernel()
        self.ok("load", KERNEL=str(kernel))
        # The directory is gone, its entry is not: as if it never was.
        shutil.rmtree(self.tree)
        self.ok("load", KERNEL=str(kernel))
        # The entry is gone, the directory is not.
        shutil.rmtree(kernel / ".git/worktrees")
        self.refused("load", says="exists and is not a git work tree", KERNEL=str(kernel))
        for verb in ("save", "rebase", "send-dry-run"):
            self.refused(verb, says="is not a git work tree", BASE="v7.1.9")
        self.assertTrue((self.tree / "mm/a.c").exists())
        self.unchanged()

    def test_verify_takes_the_base(self):
        with mock.patch.dict(os.environ, self.env(BASE="v7.2.12"), clear=True), mock.patch.object(settings, "PROJECT", self.project):
            (self.stored / "on-v7.2.12" / self.names()[2]).write_text("differs\n")
            series = trees.linux_series()
            self.assertEqual(series.name, "kpkeys-v1-on-v7.2.12")
            self.assertEqual([p.parent.name for p in series.patches], ["linux", "linux", "on-v7.2.12"])
            repo, base, name = trees.base_of(series)
            self.assertEqual((repo.name, name), ("linux-7.2.12-1.git", "linux v7.2.12"))
            self.assertEqual(base, git(self.root / "v7.2.12", "rev-parse", "HEAD"))


if __name__ == "__main__":
    unittest.main()
