# SPDX-License-Identifier: GPL-2.0-only
"""load, save and lint-series, on a small tree with a small series.

Every test has its own copy of the project's scripts, so that nothing real is touched. What
needs the real series or b4 says why it is skipped where they are not there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

SCRIPTS = Path(__file__).resolve().parents[1]
sys.dont_write_bytecode = True
sys.path.insert(0, str(SCRIPTS))

from kpkeyslib import bases, benchqemu, cli, plumbing, proc, series, serieslint, seriescheck, settings, sources, toolroot, trees, ui  # noqa: E402

VERSION = "7.3.4-1"
USER = "[user]\n\tname = A Developer\n\temail = dev@example.org\n"
COVER = """mm: kpkeys: Protect something

Four lines that say what this is.

--- b4-submit-tracking ---
# This section is used internally by b4 prep for tracking purposes.
{
  "series": {
    "revision": 1,
    "change-id": "20261121-kpkeys-0123456789ab",
    "prefixes": [
      "RFC"
    ]
  }
}
"""
AUTHOR = {"GIT_AUTHOR_NAME": "kpkeys", "GIT_AUTHOR_EMAIL": "kpkeys@localhost", "GIT_COMMITTER_NAME": "kpkeys",
          "GIT_COMMITTER_EMAIL": "kpkeys@localhost"}
A_C = "".join(f"int line_{n};\n" for n in range(1, 61))


def environment(**extra) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "KPKEYS_")) and
           k not in ("KERNEL", "BASE", "TREE", "WORKTREE", "CACHE", "O", "V", "EMAIL", "OVERWRITE", "TOOLS", "MSGID", "MBOX", "A", "B", "MAIL_LIMIT",
                      "LINUX_VERSION", "QEMU_VERSION")}
    return dict(env, GIT_CONFIG_NOSYSTEM="1", GIT_TERMINAL_PROMPT="0", LC_ALL="C", **extra)


def git(directory: Path, *args, check=True, **extra) -> str:
    done = subprocess.run(["git", "-C", str(directory), *map(str, args)], capture_output=True, text=True,
                          env=environment(**{"GIT_CONFIG_GLOBAL": os.devnull, **AUTHOR, **extra}))
    if check and done.returncode:
        raise AssertionError(f"git {args}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def commit(tree: Path, message: str, files: dict[str, str], date="Fri, 20 Nov 2026 10:00:00 +0100", **extra) -> str:
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", message, **{"GIT_AUTHOR_DATE": date, **extra})
    return git(tree, "rev-parse", "HEAD")


def make_fixture(root: Path, prepare=lambda dev: None) -> None:
    """@root/cache with the base, @root/project with scripts and a canonical series, @root/dev it was made in.

    @prepare may put more files into the base.
    """
    dev, project = root / "dev", root / "project"
    dev.mkdir(parents=True)
    prepare(dev)
    git(dev, "init", "-q", "-b", "base")
    commit(dev, "linux 7.3.4\n\nImported from nowhere.", {
        "Makefile": "VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\n", "mm/a.c": A_C, "arch/arm64/Kconfig": "config ARM64\n\tdef_bool y\n",
        ".gitattributes": "*.c diff=cpp\n", ".gitignore": "*.o\n"})
    git(dev, "tag", "-m", "linux 7.3.4", "v7.3.4")
    bare = root / "cache" / f"linux-{VERSION}.git"
    git(root, "clone", "-q", "--bare", dev, bare)
    git(dev, "checkout", "-q", "-b", "topic")
    commit(dev, "mm: kpkeys: Add the header\n\nIt says what there is.", {
        "include/linux/k.h": "/* SPDX-License-Identifier: GPL-2.0-only */\n#define K 1\n"})
    commit(dev, "mm: kpkeys: Change a line in the middle\n\nThe line needs it - for\nénergie.", {
        "mm/a.c": A_C.replace("line_30;", "line_30 = 30;")})
    commit(dev, "arm64: kpkeys: Extend the header, and one line more\n\nBoth at once.", {
        "include/linux/k.h": "/* SPDX-License-Identifier: GPL-2.0-only */\n#define K 1\n#define L 2\n",
        "mm/a.c": A_C.replace("line_30;", "line_30 = 30;").replace("line_50;", "line_50 = 50;")})
    shutil.copytree(SCRIPTS, project / "scripts", ignore=shutil.ignore_patterns("__pycache__", "tests"))
    stored = project / "patches" / "linux"
    stored.mkdir(parents=True)
    (stored / "base").write_text(f"# Applies to\ntag: v7.3.4\ncommit:\npackage: linux-source-7.3\nversion: {VERSION}\n")
    with mock.patch.dict(os.environ, environment()):
        series.write_series(dev, "topic", "v7.3.4", COVER, stored)


FIXTURE: Path


def setUpModule(prepare=lambda dev: None):
    global FIXTURE
    FIXTURE = Path(tempfile.mkdtemp(prefix="kpkeys-series-"))
    unittest.addModuleCleanup(shutil.rmtree, FIXTURE, ignore_errors=True)
    make_fixture(FIXTURE, prepare)
    config = FIXTURE / "gitconfig"
    config.write_text(USER)
    subprocess.run([sys.executable, FIXTURE / "project/scripts/kpkeys", "load"], check=True, stdout=subprocess.DEVNULL, env=environment(
        CACHE=str(FIXTURE / "cache"), O=str(FIXTURE / "out"), WORKTREE=str(FIXTURE / "loaded"), GIT_CONFIG_GLOBAL=str(config)))
    shutil.rmtree(FIXTURE / "project/work")


class Case(unittest.TestCase):
    """A copy of the fixture for each test."""

    def setUp(self):
        self.root = Path(tempfile.mkdtemp(prefix="kpkeys-series-")).resolve()
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        shutil.copytree(FIXTURE, self.root, symlinks=True, dirs_exist_ok=True)
        self.project = self.root / "project"
        self.stored = self.project / "patches" / "linux"
        self.tree = self.project / "work" / "linux"
        self.config = self.root / "gitconfig"
        self.config.write_text(USER)
        self.before = self.files()

    def env(self, **extra) -> dict[str, str]:
        return environment(CACHE=str(self.root / "cache"), O=str(self.root / "out"), GIT_CONFIG_GLOBAL=str(self.config), **extra)

    def kpkeys(self, *args, **extra) -> subprocess.CompletedProcess:
        """scripts/kpkeys, in this process: it is run some hundred times."""
        out, error = io.StringIO(), io.StringIO()
        with mock.patch.dict(os.environ, self.env(**extra), clear=True), mock.patch.object(settings, "PROJECT", self.project), \
                mock.patch.object(sys, "argv", ["kpkeys", *args]), mock.patch.object(proc, "install_signal_handlers"), \
                contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            try:
                status = cli.main()
            except SystemExit as end:
                status = end.code
        return subprocess.CompletedProcess(args, status, out.getvalue(), error.getvalue())

    def start(self, *args, **extra) -> subprocess.Popen:
        """scripts/kpkeys, in a process of its own."""
        return subprocess.Popen([sys.executable, self.project / "scripts" / "kpkeys", *args], env=self.env(**extra), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def ok(self, *args, **extra) -> str:
        done = self.kpkeys(*args, **extra)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def refused(self, *args, says: str, status: int = 2, **extra) -> str:
        """The command fails with @status and one line that matches @says, and a remedy."""
        done = self.kpkeys(*args, **extra)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        lines = done.stderr.splitlines()
        # Before it there may be what git said.
        at = max(n for n, line in enumerate(lines) if line.startswith("error: "))
        self.assertRegex(lines[at], says)
        self.assertGreater(len(lines), at + 1, "no remedy")
        self.assertNotIn("Traceback", done.stderr)
        return done.stderr

    def files(self) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in sorted(self.stored.iterdir())}

    def names(self) -> list[str]:
        return (self.stored / "series").read_text().split()

    def unchanged(self):
        self.assertEqual(self.files(), self.before)
        self.assertEqual([p.name for p in self.stored.parent.iterdir()], ["linux"])

    def subjects(self, revision="HEAD", tree: Path | None = None) -> list[str]:
        return git(tree or self.tree, "log", "--format=%s", "--reverse", f"v7.3.4..{revision}").splitlines()

    def commit(self, message: str, files: dict[str, str], tree: Path | None = None) -> str:
        return commit(tree or self.tree, message, files)

    def rebase(self, *todo: str, onto="HEAD~3") -> None:
        """git rebase -i with its list replaced: 'pick 2' is the second patch."""
        ids = git(self.tree, "rev-list", "--reverse", f"{onto}..HEAD").split()
        lines = "\n".join(re.sub(r"\d+", lambda m: ids[int(m[0]) - 1], line) for line in todo)
        (self.root / "todo").write_text(lines + "\n")
        git(self.tree, "rebase", "-q", "-i", onto, GIT_SEQUENCE_EDITOR=f"cp {self.root / 'todo'}", GIT_EDITOR="true")

    def user_kernel(self, change=lambda text: text, real=False) -> Path:
        """A kernel repository of the user's, with a change after the release."""
        path = self.root / "kernel"
        git(self.root, "clone", "-q", self.root / "cache" / f"linux-{VERSION}.git", path)
        if real:
            who = {k: "linus@example.org" if k.endswith("EMAIL") else "Linus" for k in AUTHOR}
            env = {**who, "GIT_COMMITTER_DATE": "Mon, 02 Nov 2026 10:00:00 +0000"}
            git(path, "tag", "-d", "v7.3.4")
            git(path, "checkout", "-q", "--orphan", "upstream")
            subprocess.run(["git", "-C", path, "commit", "-q", "-m", "Initial"], check=True, env=self.env(**env))
            subprocess.run(["git", "-C", path, "commit", "-q", "--allow-empty", "-m", "Linux 7.3.4"], check=True, env=self.env(**env))
            subprocess.run(["git", "-C", path, "tag", "-m", "Linux 7.3.4", "v7.3.4"], check=True, env=self.env(**env))
        text = change(A_C)
        if text != A_C:
            self.commit("mm: Change by others", {"mm/a.c": text}, path)
        return path


class Load(Case):
    def test_branch(self):
        out = self.ok("load")
        self.assertIn("b4/kpkeys is checked out in", out)
        self.assertEqual(git(self.tree, "symbolic-ref", "--short", "HEAD"), "b4/kpkeys")
        self.assertEqual(self.subjects(), ["mm: kpkeys: Protect something", "mm: kpkeys: Add the header",
                                           "mm: kpkeys: Change a line in the middle", "arm64: kpkeys: Extend the header, and one line more"])
        self.assertEqual(git(self.tree, "diff", "HEAD~4", "HEAD~3"), "")
        self.assertEqual(git(self.tree, "show", "-s", "--format=%B", "HEAD~3") + "\n", COVER)
        self.assertEqual(git(self.tree, "status", "--porcelain"), "")
        self.assertEqual(git(self.tree, "log", "-1", "--format=%an %ae %ce"), "kpkeys kpkeys@localhost dev@example.org")
        self.assertEqual(git(self.tree, "rev-parse", "HEAD^{tree}"), git(self.root / "dev", "rev-parse", "topic^{tree}"))

    def test_same_as_git_am(self):
        self.ok("load")
        other = self.root / "other"
        git(self.root, "clone", "-q", self.root / "cache" / f"linux-{VERSION}.git", other)
        git(other, "am", "-q", *(self.stored / n for n in self.names()))
        what = "--format=%T %an %ae %aD%n%B"
        self.assertEqual(git(other, "log", what, "v7.3.4.."), git(self.tree, "log", what, "HEAD~3.."))

    def test_nothing_in_the_cache(self):
        def state():
            return sorted((p.relative_to(self.root), p.stat().st_mtime_ns) for p in (self.root / "cache").rglob("*"))
        before = state()
        self.ok("load")
        self.assertEqual(state(), before)

    def test_twice(self):
        self.ok("load")
        head = git(self.tree, "rev-parse", "HEAD")
        self.assertIn("nothing to do", self.ok("load"))
        self.assertEqual(git(self.tree, "rev-parse", "HEAD"), head)

    def test_new_files_replace_what_was_loaded(self):
        self.ok("load")
        (self.tree / "mine.txt").write_text("untracked\n")
        (self.tree / "mm/a.o").write_text("object\n")
        stamp = (self.tree / "mm/a.c").stat().st_mtime_ns
        text = (self.stored / "0000-cover-letter.txt").read_text()
        (self.stored / "0000-cover-letter.txt").write_text(text.replace('"revision": 1', '"revision": 2'))
        self.ok("load")
        self.assertIn('"revision": 2', git(self.tree, "show", "-s", "--format=%B", "HEAD~3"))
        self.assertTrue((self.tree / "mine.txt").exists() and (self.tree / "mm/a.o").exists())
        self.assertEqual((self.tree / "mm/a.c").stat().st_mtime_ns, stamp, "a file that did not change was written")

    def test_dirty(self):
        self.ok("load")
        (self.tree / "mm/a.c").write_text("mine\n")
        self.refused("load", says=r"uncommitted changes \(mm/a\.c\)")
        self.assertEqual((self.tree / "mm/a.c").read_text(), "mine\n")
        self.unchanged()

    def test_unsaved_commit(self):
        self.ok("load")
        head = self.commit("mm: Mine\n\nText.", {"mm/b.c": "int b;\n"})
        error = self.refused("load", says="branch b4/kpkeys of .* not saved in patches/linux")
        self.assertIn("scripts/kpkeys save", error)
        self.assertEqual(git(self.tree, "rev-parse", "HEAD"), head)
        self.ok("save")
        self.ok("load")

    def test_unsaved_commit_the_remedy_works(self):
        self.ok("load")
        self.commit("mm: Mine\n\nText.", {"mm/b.c": "int b;\n"})
        error = self.refused("load", says="not saved")
        remedy = re.search(r"keep it aside: (git .*)", error)[1]
        subprocess.run(remedy, shell=True, check=True, env=self.env())
        self.ok("load")
        self.assertEqual(len(self.subjects("b4/kpkeys-old")), 5)
        self.assertEqual(len(self.subjects()), 4)

    def test_detached_commit(self):
        self.ok("load")
        git(self.tree, "checkout", "-q", "--detach")
        self.commit("mm: Mine\n\nText.", {"mm/b.c": "int b;\n"})
        self.refused("load", says="commit of yours on no branch")

    def test_rebase_in_progress(self):
        self.ok("load")
        git(self.tree, "rebase", "-q", "--exec", "false", "HEAD~2", check=False)
        self.refused("load", says="a rebase is in progress")

    def test_foreign_directory(self):
        self.tree.mkdir(parents=True)
        (self.tree / "thesis.txt").write_text("dear\n")
        self.refused("load", says="is not a git work tree")
        self.assertEqual((self.tree / "thesis.txt").read_text(), "dear\n")

    def test_foreign_repository(self):
        self.refused("load", says="is not what 'scripts/kpkeys load' made", WORKTREE=str(self.root / "dev"))
        self.assertEqual(git(self.root / "dev", "status", "--porcelain"), "")

    def test_worktree_variable(self):
        other = self.root / "else where"
        self.ok("load", WORKTREE=str(other))
        self.assertEqual(len(self.subjects(tree=other)), 4)
        self.assertFalse(self.tree.exists())
        self.ok("save", WORKTREE=str(other))
        self.unchanged()

    def test_missing_patch(self):
        (self.stored / self.names()[1]).unlink()
        self.refused("load", says="series names 0002-.* not there")
        self.assertFalse(self.tree.exists())

    def test_empty_series(self):
        (self.stored / "series").write_text("")
        self.refused("load", says="names no patch")

    def test_not_a_patch(self):
        (self.stored / self.names()[1]).write_text("hello\n")
        self.refused("load", says="0002-.*(not a patch|has no)")
        self.ok("lint-series", "--help")

    def test_bad_base(self):
        (self.stored / "base").write_text("tag v7\n")
        self.refused("load", says="base:1: not a 'tag:'")

    def test_two_at_once(self):
        both = [self.start("load") for _ in range(2)]
        said = [child.communicate(timeout=60)[0] for child in both]
        self.assertEqual([child.returncode for child in both], [0, 0], said)
        self.ok("save")
        self.unchanged()

    def test_no_email(self):
        self.config.write_text("")
        out = self.ok("load")
        self.assertIn("git config --global user.email", out)
        self.assertEqual(git(self.tree, "config", "--local", "user.email"), "kpkeys@localhost")
        self.assertEqual(git(self.tree, "log", "-1", "--format=%ce"), "kpkeys@localhost")
        self.assertEqual(self.config.read_text(), "")
        self.ok("save")
        self.unchanged()

    def test_other_email_later(self):
        self.ok("load")
        self.config.write_text(USER.replace("dev@", "new@"))
        self.ok("load")
        self.assertEqual(git(self.tree, "log", "-1", "--format=%ce", "HEAD~3"), "new@example.org")

    def test_b4_finds_the_cover_of_old_patches(self):
        # b4's own query; a committer date that is older than a year on top would hide the cover.
        for name in self.names():
            path = self.stored / name
            path.write_bytes(re.sub(rb"^Date: .*", b"Date: Wed, 20 Nov 2019 10:00:00 +0100", path.read_bytes(), flags=re.M))
        self.ok("load")
        found = git(self.tree, "log", "--grep", trees.TRACKING, "-F", "--pretty=%H", "--max-count=1", "--since=1.year",
                    "--committer=dev@example.org", "b4/kpkeys")
        self.assertEqual(found, git(self.tree, "rev-parse", "HEAD~3"))

    def test_cover_that_grows_old_is_made_anew(self):
        self.ok("load")
        git(self.tree, "rebase", "-q", "--force-rebase", "HEAD~4", GIT_COMMITTER_EMAIL="dev@example.org",
            GIT_COMMITTER_DATE="Wed, 20 Nov 2019 10:00:00 +0100")
        self.assertNotIn("nothing to do", self.ok("load"))
        self.assertGreater(int(git(self.tree, "log", "-1", "--format=%ct")), time.time() - 3600)

    def test_hostile_configuration(self):
        hooks = self.root / "hooks"
        hooks.mkdir()
        for name in ("commit-msg", "pre-commit", "applypatch-msg", "post-checkout", "prepare-commit-msg"):
            (hooks / name).write_text("#!/bin/sh\nexit 1\n")
            (hooks / name).chmod(0o755)
        self.config.write_text(USER + f"[core]\n\thooksPath = {hooks}\n\tabbrev = 7\n[commit]\n\tgpgSign = true\n[diff]\n\tnoprefix = true\n"
                               "\talgorithm = patience\n\tcontext = 1\n\tmnemonicPrefix = true\n[format]\n\tsignature = me\n\tthread = true\n"
                               "\tsubjectPrefix = XX\n\tattach = yes\n\tsignOff = true\n\theaders = \"X-Mine: 1\"\n\tuseAutoBase = true\n"
                               "\tcoverLetter = true\n\tto = me@example.org\n[color]\n\tui = always\n[log]\n\tshowSignature = true\n")
        self.ok("load")
        self.ok("save")
        self.unchanged()

    def test_run_from_a_hook(self):
        extra = {"GIT_DIR": str(self.root / "dev/.git"), "GIT_INDEX_FILE": str(self.root / "dev/.git/index"), "GIT_PREFIX": ""}
        before = git(self.root / "dev", "rev-parse", "HEAD")
        self.ok("load", **extra)
        self.ok("save", **extra)
        self.unchanged()
        self.assertEqual(git(self.root / "dev", "rev-parse", "HEAD"), before)
        self.assertEqual(git(self.root / "dev", "status", "--porcelain"), "")


class Save(Case):
    def setUp(self):
        super().setUp()
        # As a load has left it: most of these tests begin there.
        shutil.copytree(self.root / "loaded", self.tree, symlinks=True)

    def again(self):
        """What was saved is canonical: to load and save it changes nothing."""
        after = self.files()
        shutil.rmtree(self.tree)
        self.ok("load")
        self.assertIn("no files differ", self.ok("save"))
        self.assertEqual(self.files(), after)
        done = self.kpkeys("lint-series")
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_nothing_changed(self):
        stamps = {p.name: p.stat().st_mtime_ns for p in self.stored.iterdir()}
        self.assertIn("no files differ", self.ok("save"))
        self.unchanged()
        self.assertEqual({p.name: p.stat().st_mtime_ns for p in self.stored.iterdir()}, stamps)

    def test_after_rebase(self):
        git(self.tree, "rebase", "-q", "--force-rebase", "HEAD~3")
        self.ok("save")
        self.unchanged()

    def test_add(self):
        self.commit("mm: kpkeys: Add b\n\nIt was missing.", {"mm/b.c": "// SPDX-License-Identifier: GPL-2.0-only\nint b;\n"})
        out = self.ok("save")
        self.assertRegex(out, r"new +0004-mm-kpkeys-Add-b\.patch")
        self.assertEqual(len(self.names()), 4)
        self.again()

    def test_reorder(self):
        self.rebase("pick 2", "pick 1", "pick 3")
        out = self.ok("save")
        self.assertRegex(out, r"renamed +0001-mm-kpkeys-Add-the-header\.patch -> 0002-mm-kpkeys-Add-the-header\.patch")
        self.assertEqual(self.names()[0], "0001-mm-kpkeys-Change-a-line-in-the-middle.patch")
        self.again()

    def test_drop(self):
        self.rebase("pick 1", "pick 2", "drop 3")
        self.assertRegex(self.ok("save"), r"removed +0003-")
        self.assertEqual(len(self.names()), 2)
        self.again()

    def test_fold(self):
        (self.tree / "mm/a.c").write_text((self.tree / "mm/a.c").read_text().replace("line_50 = 50;", "line_50 = 51;"))
        git(self.tree, "commit", "-q", "-a", "--amend", "--no-edit")
        self.assertRegex(self.ok("save"), r"changed +0003-")
        self.again()

    def test_cover(self):
        text = COVER.replace('"revision": 1', '"revision": 2').replace("Four lines", "Five lines")
        (self.root / "cover").write_text(text)
        ids = git(self.tree, "rev-list", "--reverse", "HEAD~4..HEAD").split()
        new = git(self.tree, "commit-tree", f"{ids[0]}^{{tree}}", "-p", f"{ids[0]}^", "-F", self.root / "cover")
        git(self.tree, "rebase", "-q", "--onto", new, ids[0])
        out = self.ok("save")
        self.assertRegex(out, r"changed +0000-cover-letter\.txt")
        self.assertNotIn("0001-", out)
        self.assertEqual((self.stored / "0000-cover-letter.txt").read_text(), text)
        self.again()

    def test_signoff_is_left_out(self):
        git(self.tree, "rebase", "-q", "--signoff", "HEAD~3")
        self.assertIn("Signed-off-by", git(self.tree, "log", "-1", "--format=%B"))
        self.assertIn("3 Signed-off-by lines left out", self.ok("save"))
        self.unchanged()

    def test_signoff_is_left_out_with_an_empty_description(self):
        self.commit("mm: kpkeys: Add b", {"mm/b.c": "// SPDX-License-Identifier: GPL-2.0-only\n"})
        self.ok("save")
        plain = (self.stored / "0004-mm-kpkeys-Add-b.patch").read_bytes()
        git(self.tree, "commit", "-q", "--amend", "--signoff", "--no-edit")
        self.ok("save")
        self.assertEqual((self.stored / "0004-mm-kpkeys-Add-b.patch").read_bytes(), plain)

    def test_other_files_stay(self):
        (self.stored / "NOTES").write_text("mine\n")
        self.commit("mm: kpkeys: Add b\n\nText.", {"mm/b.c": "int b;\n"})
        self.ok("save")
        self.assertEqual((self.stored / "NOTES").read_text(), "mine\n")

    def test_untracked_is_told(self):
        (self.tree / "mm/new.c").write_text("int new;\n")
        self.assertRegex(self.ok("save"), r"untracked in .*: mm/new\.c")

    def refuse(self, says: str):
        error = self.refused("save", says=says)
        self.unchanged()
        return error

    def test_dirty(self):
        (self.tree / "mm/a.c").write_text("mine\n")
        self.refuse(r"uncommitted changes \(mm/a\.c\)")

    def test_staged(self):
        (self.tree / "mm/new.c").write_text("mine\n")
        git(self.tree, "add", "mm/new.c")
        self.refuse(r"uncommitted changes \(mm/new\.c\)")

    def test_fixup(self):
        (self.tree / "mm/a.c").write_text(A_C)
        git(self.tree, "commit", "-q", "-a", "--fixup", "HEAD")
        error = self.refuse("fixup! .* still to be folded")
        self.assertIn("--autosquash", error)

    def test_empty_commit(self):
        git(self.tree, "commit", "-q", "--allow-empty", "-m", "mm: Nothing\n\nText.")
        self.refuse("is empty")

    def test_merge(self):
        git(self.tree, "checkout", "-q", "-b", "side", "HEAD~1")
        self.commit("mm: Side\n\nText.", {"mm/side.c": "int s;\n"})
        git(self.tree, "checkout", "-q", "b4/kpkeys")
        git(self.tree, "merge", "-q", "-m", "Merge", "side")
        self.refuse("is a merge")

    def test_detached(self):
        git(self.tree, "checkout", "-q", "--detach", "HEAD~1")
        self.refuse("is not on a branch")

    def test_message_that_am_cuts(self):
        for line in ("---", "diff -u a b", "--- a/file", "Index: x"):
            self.commit(f"mm: kpkeys: Add b\n\nText.\n\n{line}\nMore.", {"mm/b.c": f"{line}\n"})
            self.refuse("git am would not keep the line")
            git(self.tree, "reset", "-q", "--hard", "HEAD~1")

    def test_cover_not_empty(self):
        ids = git(self.tree, "rev-list", "--reverse", "HEAD~4..HEAD").split()
        new = git(self.tree, "commit-tree", f"{ids[1]}^{{tree}}", "-p", f"{ids[0]}^", "-m", COVER)
        git(self.tree, "rebase", "-q", "--onto", new, ids[1])
        self.refuse("carries the cover letter and is not empty")

    def test_patch_below_the_cover(self):
        ids = git(self.tree, "rev-list", "--reverse", "HEAD~4..HEAD").split()
        who = {"GIT_COMMITTER_EMAIL": "dev@example.org"}
        git(self.tree, "checkout", "-q", "--detach", f"{ids[0]}^")
        git(self.tree, "cherry-pick", ids[1], **who)
        git(self.tree, "cherry-pick", "--allow-empty", ids[0], **who)
        git(self.tree, "cherry-pick", ids[2], ids[3], **who)
        git(self.tree, "checkout", "-q", "-B", "b4/kpkeys")
        self.refuse("is below the cover letter")

    def test_no_patches(self):
        git(self.tree, "reset", "-q", "--hard", "HEAD~3")
        self.refuse("there are no patches")

    def test_other_branch(self):
        git(self.tree, "checkout", "-q", "-b", "mine", "HEAD~4")
        self.commit("mm: Other\n\nText.", {"mm/o.c": "int o;\n"})
        self.refuse("no commit with b4's cover letter")

    def test_not_loaded(self):
        shutil.rmtree(self.tree)
        self.refuse("no branch of the linux series")

    def test_files_changed_since_the_load(self):
        cover = self.stored / "0000-cover-letter.txt"
        cover.write_text(cover.read_text().replace("Four", "Six"))
        self.before = self.files()
        error = self.refuse("has changed since it was loaded")
        self.assertIn("--overwrite", error)
        self.ok("save", "--overwrite")
        self.assertIn("Four", cover.read_text())

    def test_from_a_work_tree_without_cover(self):
        dev = self.root / "dev"
        self.assertIn("no cover letter in", self.ok("save", WORKTREE=str(dev)))
        self.unchanged()
        self.assertEqual(git(dev, "symbolic-ref", "--short", "HEAD"), "topic")

    def test_base_commit_is_not_invented(self):
        self.commit("mm: kpkeys: Add b\n\nText.", {"mm/b.c": "int b;\n"})
        self.ok("save")
        self.assertIn("\ncommit:\n", (self.stored / "base").read_text())

    def test_rename_without_exchange(self):
        old, new = self.root / "p" / "linux", self.root / "p" / ".linux.new"
        for path in (old, new):
            path.mkdir(parents=True)
            (path / "series").write_text(path.name)

        class Killed(BaseException):
            pass

        def kill(name):
            if name == "between-renames":
                raise Killed
        with mock.patch.object(series, "_exchange", return_value=False):
            with mock.patch.object(series, "_point", kill), self.assertRaises(Killed):
                series.publish(new, old)
            self.assertFalse(old.exists())
            series._settle(old)
            self.assertEqual((old / "series").read_text(), "linux")
            new.mkdir()
            (new / "series").write_text("new")
            series.publish(new, old)
        self.assertEqual((old / "series").read_text(), "new")
        self.assertEqual([p.name for p in old.parent.iterdir()], ["linux"])


class Kernel(Case):
    """KERNEL= and BASE=: a branch and a linked work tree in the user's repository."""

    def snapshot(self, kernel: Path):
        return [git(kernel, *a) for a in (["rev-parse", "HEAD"], ["symbolic-ref", "HEAD"], ["status", "--porcelain"],
                                          ["diff"], ["diff", "--cached"], ["stash", "list"], ["ls-files", "-s"])]

    def test_branch_there(self):
        kernel = self.user_kernel(lambda t: t.replace("line_5;", "line_5 = 5;"))
        (kernel / "mm/a.c").write_text("stashed\n")
        git(kernel, "stash", "-q")
        (kernel / "Makefile").write_text("dirty\n")
        before = self.snapshot(kernel)
        config = (kernel / ".git/config").read_text()
        self.refused("load", says="has uncommitted changes", KERNEL=str(kernel))
        self.ok("load", KERNEL=str(kernel), BASE="HEAD")
        self.assertEqual(self.snapshot(kernel), before)
        self.assertEqual((kernel / ".git/config").read_text(), config)
        self.assertTrue((self.tree / ".git").is_file())
        self.assertIn("b4/kpkeys", git(kernel, "branch"))
        self.assertEqual(len(git(self.tree, "log", "--format=%s", f"{before[0]}..HEAD").splitlines()), 4)
        self.assertIn("nothing to do", self.ok("load", KERNEL=str(kernel), BASE="HEAD"))
        self.ok("save")
        self.assertEqual(self.snapshot(kernel), before)

    def test_at_the_tag_is_an_empty_diff(self):
        kernel = self.user_kernel(real=True)
        self.ok("load", KERNEL=str(kernel), BASE="v7.3.4")
        self.ok("save")
        after = self.files()
        upstream = git(kernel, "rev-parse", "v7.3.4^{commit}")
        self.assertIn(f"\ncommit: {upstream}\n".encode(), after["base"])
        self.assertEqual({**after, "base": b""}, {**self.before, "base": b""})

    def test_lightweight_tag_is_not_upstream(self):
        kernel = self.user_kernel(real=True)
        git(kernel, "tag", "-f", "v7.3.4", "v7.3.4^{commit}")
        self.ok("load", KERNEL=str(kernel), BASE="v7.3.4")
        self.ok("save")
        self.unchanged()

    def test_no_email(self):
        self.config.write_text("")
        kernel = self.user_kernel()
        self.ok("load", KERNEL=str(kernel))
        self.assertEqual(git(self.tree, "config", "user.email"), "kpkeys@localhost")
        self.assertEqual(git(kernel, "config", "user.email", check=False), "")
        self.ok("save")
        self.unchanged()

    def test_branch_of_that_name(self):
        kernel = self.user_kernel()
        git(kernel, "branch", "b4/kpkeys")
        git(kernel, "checkout", "-q", "b4/kpkeys")
        head = self.commit("mm: Mine\n\nText.", {"mm/m.c": "int m;\n"}, kernel)
        git(kernel, "checkout", "-q", "base")
        error = self.refused("load", says="branch b4/kpkeys of .* not saved", KERNEL=str(kernel))
        self.assertEqual(git(kernel, "rev-parse", "b4/kpkeys"), head)
        subprocess.run(error.strip().splitlines()[-1].strip(), shell=True, check=True, env=self.env())
        self.ok("load", KERNEL=str(kernel))
        self.assertEqual(git(kernel, "rev-parse", "b4/kpkeys-old"), head)

    def test_branch_checked_out_elsewhere(self):
        kernel = self.user_kernel()
        self.ok("load", KERNEL=str(kernel))
        self.refused("load", says="is checked out in", KERNEL=str(kernel), WORKTREE=str(self.root / "second"))

    def test_branch_in_a_work_tree_that_is_gone(self):
        kernel = self.user_kernel()
        self.ok("load", KERNEL=str(kernel))
        shutil.rmtree(self.tree)
        second = {"KERNEL": str(kernel), "WORKTREE": str(self.root / "second")}
        error = self.refused("load", says="is checked out in .*, which is gone", **second)
        remedy = re.search(r"forget that work tree: (.*); or bring", error)[1]
        subprocess.run(remedy, shell=True, check=True, env=self.env())
        self.ok("load", **second)
        self.assertIn("no files differ", self.ok("save", **second))
        self.unchanged()

    def test_worktree_whose_repository_is_gone(self):
        kernel = self.user_kernel()
        self.ok("load", KERNEL=str(kernel))
        kernel.rename(kernel.with_name("moved"))
        self.refused("load", says="is not a git work tree|is not a git repository", KERNEL=str(kernel))
        self.refused("save", says="is not a git work tree")
        self.refused("send-dry-run", says="is not a git work tree")
        self.unchanged()

    def test_worktree_of_another_repository(self):
        self.ok("load")
        self.refused("load", says="is not what", KERNEL=str(self.user_kernel()))

    def test_not_a_repository(self):
        self.refused("load", says="KERNEL=.* is not a git repository", KERNEL=str(self.root / "cache"))

    def test_no_such_base(self):
        self.refused("load", says="BASE=v9: no such commit", KERNEL=str(self.user_kernel()), BASE="v9")

    def test_conflict(self):
        kernel = self.user_kernel(lambda t: t.replace("line_30;", "line_30 = 1;"))
        before = self.snapshot(kernel)
        error = self.refused("load", says=r"patch 2 of 3 does not apply: 0002-.*mm/a\.c: hunk 1 of 1", KERNEL=str(kernel))
        self.assertIn("git am --continue", error)
        self.assertIn("scripts/kpkeys save", error)
        self.assertEqual(self.snapshot(kernel), before)
        self.unchanged()
        self.refused("save", says="a git am is in progress")
        self.refused("load", says="the last load stopped", KERNEL=str(kernel))
        text = (self.tree / "mm/a.c").read_text()
        (self.tree / "mm/a.c").write_text(re.sub(r"<<<<<<<.*?>>>>>>>[^\n]*\n", "int line_30 = 30;\n", text, flags=re.S))
        git(self.tree, "add", "-A")
        git(self.tree, "am", "--continue", GIT_COMMITTER_EMAIL="dev@example.org")
        self.refused("load", says="not saved", KERNEL=str(kernel))
        self.assertRegex(self.ok("save"), r"changed +0002-")
        self.assertIn(b"-int line_30 = 1;", (self.stored / self.names()[1]).read_bytes())
        self.assertEqual(len(self.names()), 3)
        self.assertIn("nothing to do", self.ok("load", KERNEL=str(kernel)))

    def test_conflict_given_up(self):
        kernel = self.user_kernel(lambda t: t.replace("line_30;", "line_30 = 1;"))
        self.refused("load", says="does not apply", KERNEL=str(kernel))
        git(self.tree, "am", "--abort")
        self.refused("save", says="the last load stopped before .* 2 patches are not on the branch")
        self.unchanged()
        self.ok("load", KERNEL=str(kernel), BASE="v7.3.4")
        self.ok("save")
        self.unchanged()

    def test_drift(self):
        # The context has changed: git am merges, and saving shows it.
        kernel = self.user_kernel(lambda t: t.replace("line_28;", "line_28 = 28;"))
        self.assertIn("three-way merge", self.ok("load", KERNEL=str(kernel)))
        self.assertRegex(self.ok("save"), r"changed +0002-")


class Kill(Case):
    """SIGKILL anywhere: patches/ is old or new, and the same command run again finishes."""

    def killed(self, verb: str, point: str, **extra):
        child = self.start(verb, KPKEYS_TEST_KILL=point, **extra)
        said, _ = child.communicate(timeout=60)
        self.assertEqual(child.returncode, -signal.SIGKILL, f"{point}: {said}")

    def test_first_load(self):
        for point in ("prepared", "created", "committed", "checkout", "checked-out"):
            with self.subTest(point):
                self.killed("load", point)
                self.unchanged()
                if point in ("checkout", "checked-out"):
                    self.refused("save", says="was cut short|uncommitted")
                self.ok("load")
                self.ok("save")
                self.unchanged()
                shutil.rmtree(self.tree)

    def test_load_into_the_user_s_repository(self):
        kernel = self.user_kernel()
        before = git(kernel, "rev-parse", "HEAD")
        for point in ("created", "committed", "checkout", "checked-out"):
            with self.subTest(point):
                self.killed("load", point, KERNEL=str(kernel))
                self.ok("load", KERNEL=str(kernel))
                self.ok("save")
                self.unchanged()
                self.assertEqual((git(kernel, "rev-parse", "HEAD"), git(kernel, "status", "--porcelain")), (before, ""))
                git(kernel, "worktree", "remove", "--force", self.tree)
                git(kernel, "branch", "-D", "b4/kpkeys")

    def test_second_load(self):
        self.ok("load")
        shorter = {**self.before, "series": "\n".join(self.names()[:2]).encode() + b"\n"}
        del shorter[self.names()[2]]
        states = [shorter, self.before]
        for n, point in enumerate(("committed", "checkout", "checked-out")):
            with self.subTest(point):
                for path in self.stored.iterdir():
                    path.unlink()
                for name, data in states[n % 2].items():
                    (self.stored / name).write_bytes(data)
                self.killed("load", point)
                self.ok("load")
                self.assertEqual(git(self.tree, "status", "--porcelain"), "")
                self.assertIn("no files differ", self.ok("save"))
                self.assertEqual(self.files(), states[n % 2])

    def test_checkout_half_done(self):
        self.ok("load")
        names = self.names()
        (self.stored / "series").write_text("\n".join(names[:2]) + "\n")
        (self.stored / names[2]).unlink()
        self.killed("load", "checkout")
        # As a checkout leaves it: one file cut short, one gone, and git's lock.
        text = git(self.tree, "show", "HEAD~1:mm/a.c")
        (self.tree / "mm/a.c").write_text(text[:100])
        (self.tree / "include/linux/k.h").unlink()
        for lock in ("index.lock", "kpkeys-index.lock"):
            (self.tree / ".git" / lock).touch()
        self.ok("load")
        self.assertEqual(git(self.tree, "status", "--porcelain"), "")
        self.assertEqual(len(self.subjects()), 3)

    def test_checkout_half_done_and_then_edited(self):
        self.ok("load")
        (self.stored / "0000-cover-letter.txt").write_text(COVER.replace("Four", "Six"))
        self.killed("load", "checkout")
        (self.tree / "mm/a.c").write_text("mine\n")
        self.refused("load", says="changes that are not its own")
        self.assertEqual((self.tree / "mm/a.c").read_text(), "mine\n")

    def test_save(self):
        self.ok("load")
        for n, point in enumerate(("written", "before-swap", "after-swap", "published")):
            with self.subTest(point):
                self.before = self.files()
                self.commit(f"mm: kpkeys: Add b{n}\n\nText.", {f"mm/b{n}.c": "// SPDX-License-Identifier: GPL-2.0-only\n"})
                self.killed("save", point)
                now = self.files()
                if point in ("written", "before-swap"):
                    self.assertEqual(now, self.before)
                else:
                    self.assertEqual(len(now), len(self.before) + 1)
                self.assertEqual(sorted(self.names()), sorted(k for k in now if k.endswith(".patch")))
                self.ok("save")
                self.assertEqual(len(self.names()), 4 + n)
                self.assertEqual([p.name for p in self.stored.parent.iterdir()], ["linux"])
        self.ok("lint-series")

    def test_any_moment(self):
        dice = random.Random(1)
        for _ in range(5):
            child = self.start("load")
            time.sleep(dice.uniform(0.05, 0.6))
            child.kill()
            child.communicate()
            self.unchanged()
        self.ok("load")
        self.ok("save")
        self.unchanged()

    def test_git_outlives_the_load(self):
        # A git that does not end with its parent is still writing when the same command is run again.
        bin, begun = self.root / "bin", self.root / "begun"
        bin.mkdir()
        (bin / "git").write_text(f"#!/bin/sh\ntrap '' TERM\ncase \" $* \" in *' checkout '*) touch {begun}; sleep 2;; esac\n"
                                 f"exec {shutil.which('git')} \"$@\"\n")
        (bin / "git").chmod(0o755)
        child = self.start("load", PATH=f"{bin}:{os.environ['PATH']}")
        while not begun.exists():
            self.assertIsNone(child.poll())
            time.sleep(0.01)
        child.kill()
        child.communicate()
        done = self.kpkeys("load")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("another command is using the linux series", done.stdout + done.stderr)
        self.assertEqual(git(self.tree, "status", "--porcelain"), "")
        self.ok("save")
        self.unchanged()

    def test_interrupt(self):
        child = self.start("load")
        child.stdout.read(1)
        child.send_signal(signal.SIGINT)
        said, _ = child.communicate(timeout=30)
        self.assertNotIn("Traceback", said)
        self.assertIn(child.returncode, (0, 130))
        self.ok("load")
        self.unchanged()


class Lint(Case):
    """Each rule fires, with its line and a command; and the series as saved is clean."""

    def lint(self) -> list[str]:
        out = io.StringIO()
        with mock.patch.object(settings, "PROJECT", self.project), contextlib.redirect_stdout(out):
            self.status = serieslint.lint([self.stored])
        lines = out.getvalue().splitlines()
        for n, line in enumerate(lines):
            if re.match(r"\S+:\d+: ", line):
                self.assertRegex(lines[n + 1], r"^    repair: \S")
        return [line for line in lines if re.match(r"\S+:\d+: ", line)]

    def finds(self, pattern: str, where: str = ""):
        found = self.lint()
        self.assertEqual(self.status, ui.TEST_FAILED)
        self.assertTrue(any(re.search(pattern, line) and line.startswith(f"patches/linux/{where}") for line in found),
                        f"{pattern} is not in {found}")
        # The next rule starts from a clean series.
        for path in self.stored.iterdir():
            path.unlink()
        for name, data in self.before.items():
            (self.stored / name).write_bytes(data)

    def edit(self, name: str, old: str, new: str):
        path = next(self.stored.glob(name))
        text = path.read_text()
        self.assertIn(old, text)
        path.write_text(text.replace(old, new, 1))

    def test_clean(self):
        self.assertEqual(self.lint(), [])
        self.assertEqual(self.status, 0)

    def test_no_such_directory(self):
        self.refused("lint-series", "nowhere", says="no such directory")

    def test_needs_no_tools(self):
        shutil.rmtree(self.root / "cache")
        done = subprocess.run([sys.executable, self.project / "scripts/kpkeys", "lint-series"], capture_output=True, text=True,
                              env={"PATH": "/nonexistent"})
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_list(self):
        names = self.names()
        (self.stored / names[1]).unlink()
        self.finds("is not there", "series:2")
        (self.stored / "series").write_text("\n".join(names[:2]) + "\n")
        self.finds("is not listed", names[2])
        (self.stored / "series").write_text("\n".join([names[1], names[0], names[2]]) + "\n")
        self.finds("should be numbered 0001", "series:1")
        (self.stored / "series").write_text("\n".join([names[0], *names]) + "\n")
        self.finds("listed twice", "series:2")
        (self.stored / "series").write_text("# order\n" + "\n".join(names) + "\n")
        self.finds("is not the name of a patch", "series:1")
        (self.stored / "series").write_text("\n".join(names))
        self.finds("no newline", "series:3")
        (self.stored / "series").write_text("")
        self.finds("no patch is listed", "series:1")
        (self.stored / "series").unlink()
        self.finds("no list", "series:1")
        (self.stored / "0001-x.patch.orig").write_text("x\n")
        self.finds("does not belong", "0001-x.patch.orig:1")

    def test_names(self):
        name = self.names()[0]
        (self.stored / name).rename(self.stored / "0001-other.patch")
        self.edit("series", name, "0001-other.patch")
        self.finds(f"git format-patch names .* {re.escape(name)}", "0001-other.patch:4")

    def test_header(self):
        self.edit("0001-*", "From 0000", "From 1234")
        self.finds("--zero-commit", "0001-mm-kpkeys-Add-the-header.patch:1")
        self.edit("0001-*", "From: kpkeys <kpkeys@localhost>", "From: Me <me@example.org>")
        self.finds("the author is Me", "0001-mm-kpkeys-Add-the-header.patch:2")
        self.edit("0001-*", "Date: Fri", "Date: some Fri")
        self.finds("not a mail's date", "0001-mm-kpkeys-Add-the-header.patch:3")
        self.edit("0001-*", "Date: Fri", "X-Date: Fri")
        self.finds("no 'Date:' header")
        self.edit("0001-*", "Date: Fri", "Message-Id: <x>\nDate: Fri")
        self.finds("header 'Message-Id:'")
        self.edit("0001-*", "Date: Fri", "rubbish\nDate: Fri")
        self.finds("not a mail header")
        self.edit("0001-*", "Subject: [PATCH] ", "Subject: [PATCH 1/3] ")
        self.finds(r"does not begin with '\[PATCH\] '")
        self.edit("0001-*", "\nIt says", "\nFrom: Me <me@example.org>\n\nIt says")
        self.finds("a second 'From:'")

    def test_subject(self):
        self.edit("0001-*", "Add the header", "Add the header " + "x" * 60)
        self.finds("columns, 75 are the most", "0001-")
        self.edit("0001-*", "mm: kpkeys: Add", "Add")
        self.finds("has no prefix")
        self.edit("0001-*", "the header\n", "the header.\n")
        self.finds("full stop")
        self.edit("0001-*", "[PATCH] mm", "[PATCH] fixup! mm")
        self.finds("still to be folded")

    def test_message(self):
        self.edit("0001-*", "It says what there is.\n", "")
        self.finds("no description")
        for trailer in ("Signed-off-by", "Reviewed-by", "Acked-by", "Tested-by", "Co-developed-by", "Change-Id", "change-id"):
            self.edit("0001-*", "It says what there is.\n", f"It says what there is.\n\n{trailer}: A <a@example.org>\n")
            self.finds(f"carries no trailer '{trailer}:'", "0001-mm-kpkeys-Add-the-header.patch:8")

    def test_diff(self):
        for old, new, says in (
                ("@@ -0,0 +1,2 @@", "@@ -0,0 +1,3 @@", "the hunk says"),
                ("@@ -0,0 +1,2 @@", "@@ -0,0 +1,1 @@", "the hunk says"),
                ("@@ -0,0 +1,2 @@", "@@ broken @@", "not the head of a hunk"),
                ("index 0000000000000000000000000000000000000000", "index 0000000", "not a full one"),
                ("2 insertions(+)", "3 insertions(+)", "the diffstat says"),
                ("+#define K 1", "+#define K 2", "edited by hand"),
                ("+/* SPDX-License-Identifier: GPL-2.0-only */", "+/* no */", "has no SPDX"),
                ("+#define K 1", "+#define K 1 ", "white space at the end"),
                ("\n---\n", "\n", "no '---' line"),
                ("new file mode 100644", "old mode 100644", "does not fit")):
            with self.subTest(says):
                self.edit("0001-*", old, new)
                self.finds(says, "0001-")
        path = self.stored / self.names()[0]
        path.write_text(path.read_text() + "-- \n2.47.3\n")
        self.finds("mail signature")
        path.write_text(path.read_text() + "trailing\n")
        self.finds("not a line of a diff")
        path.write_text(path.read_text().rstrip("\n"))
        self.finds("no newline at the end")
        path.write_bytes(path.read_bytes() + b"\0\n")
        self.finds("binary data")
        path.write_text(path.read_text().replace("include/linux/k.h", "include/linux/k.h.orig"))
        self.finds("left-over")
        path.write_text(path.read_text().partition("diff --git")[0])
        self.finds("there is no diff")
        text = path.read_text()
        path.write_text(re.sub(r" include.*\n 1 file.*\n create.*\n", "", text))
        self.finds("no diffstat")
        path.write_text(text + "base-commit: 0123\n")
        self.finds("not a line of a diff|is for mails")

    def test_binary(self):
        text = (self.stored / self.names()[0]).read_text()
        head = text.partition("--- /dev/null")[0]
        (self.stored / self.names()[0]).write_text(head + "GIT binary patch\nliteral 3\nKcmXyZ\n\nliteral 0\nHcmV?d00001\n\n")
        self.finds("is a binary file")

    def test_offset_and_chain(self):
        self.edit("0003-*", "@@ -47,7 +47,7 @@", "@@ -47,7 +48,7 @@")
        self.finds("an offset", "0003-")
        # The second patch's a.c is no longer what the third was made for.
        path = next(self.stored.glob("0003-*"))
        text = path.read_text()
        index = re.search(r"^index ([0-9a-f]{40})(?=.*\n--- a/mm)", text, re.M)[1]
        path.write_text(text.replace(index, "a" * 40))
        self.finds("the patches before it leave", "0003-")
        path.write_text(text.replace(" #define K 1", " #define K 7"))
        self.finds("do not fit what the patches before", "0003-")

    def test_cover(self):
        cover = self.stored / "0000-cover-letter.txt"
        for old, new, says in (
                ("mm: kpkeys: Protect something\n", "\n", "first line"),
                ("mm: kpkeys: Protect something", "x" * 80, "columns"),
                ("mm: kpkeys: Protect something\n", "mm: kpkeys: Protect something.\n", "full stop"),
                ("something\n\n", "something\n", "an empty line"),
                ("Four lines", "EDITME: lines", "EDITME"),
                ("this is.\n", "this is.\n\nSigned-off-by: A <a@b>\n", "no trailer 'Signed-off-by:'"),
                ("this is.\n", "this is. \n", "git stripspace"),
                ("this is.\n", "this is.\n\n", "git stripspace"),
                ("--- b4-submit-tracking ---\n", "", "is there 0 times"),
                ("--- b4-submit-tracking ---\n", "--- b4-submit-tracking ---\n" * 2, "is there 2 times"),
                ('"series": {', '"series": [', "not readable"),
                ('"revision": 1', '"revision": "one"', "revision"),
                ('"change-id": "20261121-kpkeys-0123456789ab"', '"change-id": "kpkeys"', "change-id"),
                ('    "change-id": "20261121-kpkeys-0123456789ab",\n', "", "change-id null"),
                ("this is.\n", "this is.\n\n 9 files changed, 5 insertions(+)\n", "diffstat is stale"),
                ("this is.\n", "this is.\n\nkpkeys (9):\n", "shortlog is stale: it counts 9"),
                ("this is.\n", "this is.\n\nkpkeys (3):\n  mm: kpkeys: Gone\n", "no patch has the subject"),
                ('"prefixes": [\n      "RFC"\n    ]', '"prefixes": "RFC"', "prefixes")):
            with self.subTest(says):
                self.edit("0000-*", old, new)
                self.finds(says, "0000-cover-letter.txt:")
        cover.write_text(COVER + "\n")
        self.finds("one newline")
        cover.unlink()
        self.finds("no cover letter")
        self.edit("0000-*", "this is.\n", "this is.\n\n 2 files changed, 5 insertions(+), 2 deletions(-)\n\nkpkeys (3):\n  mm: kpkeys: Add the header\n")
        self.assertEqual(self.lint(), [])

    def test_base(self):
        self.edit("base", "tag: v7.3.4", "tag: latest")
        self.finds("not the tag of a release", "base:2")
        self.edit("base", "commit:", "commit: abc")
        self.finds("not a whole commit id", "base:3")
        self.edit("base", "commit:", "comit:")
        self.finds("not a 'tag:'", "base:3")
        self.edit("base", "tag: v7.3.4\n", "")
        self.finds("no 'tag:' line", "base:1")
        (self.stored / "base").unlink()
        self.finds("No such file", "base:1")

    def test_file_names_are_git_s(self):
        repo = self.root / "names"
        git(self.root, "init", "-q", repo)
        subjects = ["mm: kpkeys: Add", "a..b...c", "trailing dots...", "  spaced   out", "x" * 90, "a-b--c", "(paren) [x] y", "é accent é",
                    "arm64/mm: " + "word " * 20, "end with dash -", "1.2.3", "_under_", "tab\there", "a" * 51 + ": b", "a" * 50 + "- -b"]
        for n, subject in enumerate(subjects, 1):
            git(repo, "commit", "-q", "--allow-empty", "--cleanup=verbatim", "-m", subject)
        out = git(repo, "format-patch", "--always", "--root", "-o", self.root / "o", "HEAD").splitlines()
        mine = [serieslint.file_name(n, s.strip()) for n, s in enumerate(subjects, 1)]
        self.assertEqual(mine, [Path(p).name for p in out])

    def test_repair_by_load_and_save(self):
        # What the finding says mends it: here the name of a file.
        self.ok("load")
        name = self.names()[0]
        (self.stored / name).rename(self.stored / "0001-other.patch")
        self.edit("series", name, "0001-other.patch")
        done = self.kpkeys("lint-series")
        repair = re.search(r"repair: (.*)", done.stdout)[1]
        done = subprocess.run(repair, shell=True, cwd=self.project, env=self.env(), capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.unchanged()


class SeriesCheck(unittest.TestCase):
    """The parts of series-check that need no build."""

    LOG = ("  CC      mm/a.o\nmm/a.c:10:5: warning: unused variable 'x' [-Wunused-variable]\n   10 | int x;\n  CC      mm/b.o\n"
           "In file included from mm/b.c:1:\n./include/k.h:3:1: warning: bad [-Wk]\n  LD      vmlinux\n")

    def build(self):
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        out = mock.patch.object(seriescheck, "_out", return_value=directory)
        out.start()
        self.addCleanup(out.stop)
        build = seriescheck.Build("clang", [], [])
        build.directory.mkdir()
        return build, build.directory / "build.log"

    def test_warnings_belong_to_objects(self):
        found = seriescheck.warnings_of(self.LOG)
        self.assertEqual(list(found["mm/a.o"]), ["mm/a.c: warning: unused variable 'x' [-Wunused-variable]"])
        self.assertEqual(list(found["mm/b.o"]), ["./include/k.h: warning: bad [-Wk]"])
        self.assertEqual(sum(found["vmlinux"].values()), 0)

    def test_only_new_ones_count(self):
        build, log = self.build()
        log.write_text(self.LOG)
        self.assertEqual(len(seriescheck.Warnings(build).absorb()), 2)
        log.write_text(self.LOG.replace(":10:5:", ":99:5:"))
        self.assertEqual(seriescheck.Warnings(build).absorb(), [])
        log.write_text("  CC      mm/a.o\nmm/a.c:1:1: warning: other [-Wo]\n")
        self.assertEqual(seriescheck.Warnings(build).absorb(), ["mm/a.c: warning: other [-Wo]"])
        # The first warning of a.o is gone, so that its return would be new.
        log.write_text(self.LOG)
        self.assertEqual(len(seriescheck.Warnings(build).absorb()), 1)

    def test_a_second_one_of_the_same_kind_counts(self):
        build, log = self.build()
        line = "mm/a.c:1:1: warning: same [-Ws]\n"
        log.write_text("  CC      mm/a.o\n" + line)
        seriescheck.Warnings(build).absorb()
        log.write_text("  CC      mm/a.o\n" + line * 2)
        self.assertEqual(len(seriescheck.Warnings(build).absorb()), 1)

    def test_a_build_that_was_killed_is_not_forgotten(self):
        build, log = self.build()
        seriescheck.Warnings(build).start()
        log.write_text(self.LOG)
        known = seriescheck.Warnings(build).known
        self.assertEqual(sum(known["mm/a.o"].values()), 1)
        self.assertFalse((build.directory / "kpkeys-building").exists())

    def test_limits(self):
        with mock.patch.dict(os.environ, {"FROM": "2", "TO": "3"}):
            self.assertEqual(seriescheck._limits(5), (2, 3))
        for variables in ({"FROM": "4", "TO": "3"}, {"FROM": "1", "TO": "6"}, {"FROM": "x"}, {"FROM": "0"}):
            with mock.patch.dict(os.environ, variables), self.assertRaises(ui.Failure):
                seriescheck._limits(5)

    def test_status(self):
        good = {check: {"ok": True, "problems": []} for check in seriescheck.CHECKS}
        self.assertTrue(seriescheck._ok(good))
        self.assertFalse(seriescheck._ok({k: v for k, v in good.items() if k != "boot"}))
        self.assertEqual(seriescheck._status({1: {**good, "gcc": {"ok": False, "built": False}}}), ui.BUILD_FAILED)
        self.assertEqual(seriescheck._status({1: {**good, "boot": {"ok": False, "verdict": "panic"}}}), ui.GUEST_PANIC)
        self.assertEqual(seriescheck._status({1: {**good, "checkpatch": {"ok": False, "problems": ["x"]}}}), ui.TEST_FAILED)


class Real(unittest.TestCase):
    """The stored series themselves. No file is checked out, which keeps this to seconds."""

    @staticmethod
    def repository(base: sources.Base) -> Path:
        return settings.cache() / f"{base.name}-{re.sub(r'[^A-Za-z0-9.+~-]', '_', base.version)}.git"

    def scratch(self) -> Path:
        root = Path(tempfile.mkdtemp(prefix="kpkeys-real-"))
        self.addCleanup(shutil.rmtree, root, ignore_errors=True)
        return root

    def commits(self, tree: Path, repo: Path, stored: trees.Series) -> tuple[series.Commit, str]:
        """Make the commits of @stored, which all apply, in @tree; the one with the cover letter, and the last."""
        trees._prepare(tree, repo)
        series.know_base(tree, repo, stored.base)
        tip, count, complaint = series.make_commits(tree, stored, series._git(repo, "rev-parse", "base^{commit}"), series.NOBODY)
        self.assertEqual((complaint, count), ("", len(stored.patches)))
        plumbing.put_attributes(tree, tip)
        return series.find_cover(tree, tip), tip

    def roundtrip(self, name: str):
        directory = settings.PROJECT / "patches" / name
        if not (directory / "series").is_file() or not (directory / "series").read_text().strip():
            self.skipTest(f"patches/{name}/series names no patch")
        stored = trees.read_series(directory)
        repo = self.repository(stored.base)
        if not repo.is_dir():
            self.skipTest(f"{repo} is not there: 'scripts/kpkeys load {name}' fetches it")
        root = self.scratch()
        with mock.patch.dict(os.environ, environment()):
            cover, tip = self.commits(root / "tree", repo, stored)
            (root / "new").mkdir()
            series.write_series(root / "tree", tip, cover.id, cover.message + "\n", root / "new")
        shutil.copy(directory / "base", root / "new")
        # save copies what it does not make, a README and what differs on other bases; only the rest is made here.
        made = [d for d in series._differences(root / "new", directory) if not re.search(r"README\.md$|^removed  on-", d)]
        self.assertEqual(made, [])

    def test_linux(self):
        self.roundtrip("linux")

    def test_qemu(self):
        self.roundtrip("qemu")

    def test_patch_of_bench_qemu(self):
        """It goes on the framework, which changes now and then."""
        stored = benchqemu.with_windows(trees.read_series(settings.PROJECT / "patches" / "linux"))
        self.assertEqual(stored.patches[-1], benchqemu.WINDOWS)
        self.assertLess(len(stored.patches), len(trees.read_series(settings.PROJECT / "patches" / "linux").patches))
        repo = self.repository(stored.base)
        if not repo.is_dir():
            self.skipTest(f"{repo} is not there: 'scripts/kpkeys load' fetches it")
        tree = self.scratch() / "tree"
        with mock.patch.dict(os.environ, environment()):
            tip = self.commits(tree, repo, dataclasses.replace(stored, patches=stored.patches[:-1]))[1]
            series._git(tree, "read-tree", tip)
            series._git(tree, "apply", "--cached", "--check", stored.patches[-1])

    def test_other_bases(self):
        """All patches apply on each further base as well, and what differs there is what save would write."""
        directory = settings.PROJECT / "patches" / "linux"
        absent = []
        for tag in list(bases.recorded(directory))[1:]:
            stored = trees.read_series(directory, tag)
            repo = self.repository(stored.base)
            if not repo.is_dir():
                absent.append(f"{repo} is not there: 'BASE={tag} scripts/kpkeys load' fetches it")
                continue
            root = self.scratch()
            with self.subTest(tag), mock.patch.dict(os.environ, environment()):
                cover, tip = self.commits(root / "tree", repo, stored)
                shutil.copytree(directory, root / "new")
                (root / "made").mkdir()
                bases.write_differences(directory, root / "tree", tip, cover.id, cover.message + "\n", root / "new", root / "made")
                self.assertEqual(series._differences(root / "new", directory), [])
        if absent:
            self.skipTest("; ".join(absent))


class B4(Case):
    def test_b4_accepts_the_branch(self):
        tools = toolroot.HostTools() if os.environ.get("TOOLS") == "host" else toolroot.ToolRoot()
        if tools.host and not shutil.which("b4") or not tools.ready() or not tools.host and not shutil.which("bwrap"):
            self.skipTest("no b4: there is no tool root; 'scripts/kpkeys tools' makes it")
        self.ok("load")
        for what, wanted in (("--show-revision", "v1"), ("--show-info", "change-id: 20261121-kpkeys-0123456789ab")):
            done = tools.run(["b4", "--offline-mode", "-n", "prep", what], cwd=self.tree, capture=True, check=False, writable=[self.root],
                             env={"GIT_CONFIG_GLOBAL": str(self.config), "HOME": str(self.root), "XDG_CACHE_HOME": str(self.root)})
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(wanted, done.stdout + done.stderr)
        self.assertIn("cover-subject: mm: kpkeys: Protect something", done.stdout)
        self.assertIn("prefixes: RFC", done.stdout)


if __name__ == "__main__":
    unittest.main()
