# SPDX-License-Identifier: GPL-2.0-only
"""Bad input, a bad machine, and interruption.

Each case runs the real scripts/kpkeys on a toy kernel, QEMU and mirror (support.py) and holds
it to what a user may expect: the right exit status, one line that names the thing, one that
names the remedy, nothing of the user's touched, and nothing half-made left behind.
"""

from __future__ import annotations

import hashlib
import json
import os
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

sys.path.insert(0, str(Path(__file__).resolve().parent))

import support  # noqa: E402
from support import ProjectTest, git, no_network, private_mounts, processes, snapshot, wait_for, write  # noqa: E402

from kpkeyslib import proc, ui  # noqa: E402


class TestVerdict(ProjectTest):
    """The exit status alone tells what happened, and results are published whole or not at all."""

    def verdict(self, guest: str, **env):
        done = self.project.run("verify", TOY_GUEST=guest, **env)
        summary = json.loads((self.project.out / "verify/summary.json").read_text())
        self.assertEqual(summary["exit_status"], done.status)
        self.assertIn(f"verdict: {summary['verdict']}", done.out)
        return done.status

    def test_statuses(self):
        """Pass, failed test, panic, hang and no results are told apart by the exit status."""
        self.assertEqual(self.verdict("pass"), ui.PASS)
        self.assertEqual(self.verdict("fail"), ui.TEST_FAILED)
        self.assertEqual(self.verdict("panic"), ui.GUEST_PANIC)
        self.assertEqual(self.verdict("hang", TIMEOUT=1), ui.GUEST_HANG)
        self.assertEqual(self.verdict("silent"), ui.NO_RESULTS)
        self.assertNothingLeft()

    def test_build_failure(self):
        """A kernel that does not build is status 3, with the compiler's words."""
        write(self.project.top / "fragment", "")
        done = self.assertPasses(self.project.run("verify"))
        self.edit(self.project.source / "arch/arm64/mm/toy.c", "int line2;", "syntax error")
        done = self.assertFails(self.project.run("verify"), ui.BUILD_FAILED, "kernel '4k' does not build", r"log is \S+build\.log")
        self.assertIn("syntax error", done.err)
        self.assertNothingLeft()

    def test_content(self):
        """A result names the content it is about, so that it can be told to be of just this series."""
        def content() -> str:
            return json.loads((self.project.out / "verify/summary.json").read_text())["content"]

        self.verdict("pass")
        self.assertEqual(content(), git(self.project.source, "rev-parse", "HEAD^{tree}"))
        self.verdict("fail")
        self.assertEqual(content(), git(self.project.source, "rev-parse", "HEAD^{tree}"))
        self.edit(self.project.source / "arch/arm64/mm/toy.c", "int line2;", "int line2b;")
        self.verdict("pass")
        self.assertEqual(content(), "", "what was changed has no name")
        self.verdict("pass", TREE=self.project.kernel)
        self.assertEqual(content(), git(self.project.kernel, "rev-parse", "HEAD^{tree}"))
        write(self.project.kernel / "arch/arm64/mm/toy.c", "int x;\n")
        self.verdict("pass", TREE=self.project.kernel)
        self.assertEqual(content(), "")

    def test_circumstances(self):
        """A result says whose QEMU it is from, and what was added to the configuration: a pass may be of neither."""
        def said(*names: str) -> list:
            summary = json.loads((self.project.out / "verify/summary.json").read_text())
            return [summary[name] for name in names]

        self.verdict("pass")
        self.assertEqual(said("guest", "qemu_ours", "config"), ["el1", False, []])
        mine = write(self.project.top / "mine.config", "CONFIG_MINE=y\n")
        self.verdict("pass", GUEST="second", CONFIG=mine)
        self.assertEqual(said("guest", "config"), ["second", [str(mine)]])

    def test_worst_of_many(self):
        """'guests' ends with the worst status of all its guests."""
        self.assertEqual(self.project.run("guests", TOY_GUEST="panic").status, ui.GUEST_PANIC)
        for jobs in ("1", "2"):
            done = self.project.run("guests", J=jobs)
            self.assertEqual(done.status, ui.PASS)
            self.assertRegex(done.out, rf"2 guests, {jobs} at a time")
            self.assertRegex(done.out, r"(?s)guest +verdict.*\nel1 .*\nsecond ", "in the order of guests.ini")

    def test_results_of_guests_side_by_side(self):
        """Of two that run at the same time each has what it printed itself."""
        guests = self.project.path / "kunit/guests.ini"
        guests.write_text(guests.read_text() + "smp = 3\n")
        self.assertPasses(self.project.run("guests", TOY_GUEST="meet", J="2", TIMEOUT="60"))
        for name, cpus in (("el1", "4"), ("second", "3")):
            console = (self.project.out / "guests" / name / "console.log").read_text()
            self.assertRegex(console, rf"(?m)^guest: .*-smp {cpus}\b", name)


class TestUsage(ProjectTest):
    """A mistake on the command line costs a second, not a build."""

    def refused(self, *patterns: str, verb=("verify",), **env):
        done = self.assertFails(self.project.run(*verb, **env), ui.USAGE, *patterns)
        self.assertFalse((self.project.out / "linux").exists(), "it began before it refused")
        return done

    def test_guest(self):
        """A guest that does not exist: the names of those that do."""
        self.refused("no guest 'nosuch'", "el1, second", GUEST="nosuch")
        self.refused("no guest 'nosuch'", "el1, second", verb=("guests", "el1", "nosuch"))

    def test_numbers(self):
        """TIMEOUT and J are whole numbers above 0."""
        for value in ("0", "-3", "2m", "1.5", "²", " "):
            self.refused("TIMEOUT=.* is not a whole number above 0", "try TIMEOUT=120", TIMEOUT=value)
        self.refused("J=many is not a whole number", J="many")
        self.refused("J=0 is not a whole number", verb=("guests",), J="0")

    def test_qemu(self):
        """QEMU= must be a qemu-system-aarch64 that runs."""
        top = self.project.top
        self.refused(r"QEMU=/no/such/qemu: no such program", "unset QEMU", QEMU="/no/such/qemu")
        self.refused(r"QEMU=no-such-qemu: no such program in PATH", "give its path", QEMU="no-such-qemu")
        self.refused("no such program", QEMU=write(top / "plain/qemu-system-aarch64", "#!/bin/sh\n"))
        self.refused("no such program", QEMU=top)
        self.refused("is not a qemu-system-aarch64", QEMU=shutil.which("true"))
        for name, text in (("silent", "#!/bin/sh\n"), ("other", "#!/bin/sh\necho some other program\n"),
                           ("fails", "#!/bin/sh\necho broken library >&2\nexit 127\n"), ("garbage", "\x01\x02\x03")):
            done = self.refused(re.escape(str(top / name)), "QEMU",
                                QEMU=write(top / name / "qemu-system-aarch64", text, 0o755))
            self.assertNotIn("[", done.err.partition("error: ")[2], "a Python list is not a message")

    def test_tests(self):
        """'test' refuses a wrong variable as usage, before the first group, whichever group would have asked for it."""
        for name, value in (("SAMPLE", "x"), ("TIMEOUT", "0"), ("J", "many"), ("QEMU", "/no/such/qemu"), ("TOOLS", "foo")):
            done = self.refused(f"{name}={value}", verb=("test", "mutants"), **{name: value})
            self.assertEqual(done.out, "")

    def test_earlier_results_stay(self):
        """What is refused before anything is run says nothing of what was run before: its results stay."""
        self.assertPasses(self.project.run("verify"))
        self.assertPasses(self.project.run("guests", "el1"))
        before = {name: snapshot(self.project.out / name) for name in ("verify", "guests")}
        for env in ({"TIMEOUT": "x"}, {"J": "0"}, {"GUEST": "nosuch"}, {"TOOLS": "foo"}, {"CONFIG": "/nope"}, {"QEMU": "/nope"}, {"TREE": "/nope"},
                    {"KERNEL": "/nope"}, {"BASE": "nosuch"}, {"KERNEL": None, "BASE": "v9.9"}, {"KERNEL": None, "LINUX_TARBALL": "/nope"}, {"QEMU": None, "QEMU_TARBALL": "/nope"}):
            for verb in (("verify",), ("guests", "el1")) if "GUEST" not in env else (("verify",),):
                with self.subTest(verb=verb, **env):
                    self.assertFails(self.project.run(*verb, **env), ui.USAGE)
                    self.assertEqual({name: snapshot(self.project.out / name) for name in before}, before)

    def test_tree(self):
        """TREE= must be a kernel work tree, not built in place."""
        self.refused("TREE=/no/such/tree is not a Linux kernel work tree", "make load", TREE="/no/such/tree")
        self.refused("is not a Linux kernel work tree", TREE=self.project.top)
        write(self.project.kernel / ".config", "")
        self.refused("built in place", "make mrproper", TREE=self.project.kernel)

    def test_tree_success(self):
        """TREE= is built just as it stands, changes included, and stays as it is."""
        tree = self.project.kernel
        self.edit(tree / "arch/arm64/mm/toy.c", "int line2;", "int mine;")
        git(tree, "status")
        os.utime(tree / "Makefile")
        before = snapshot(tree)
        done = self.assertPasses(self.project.run("verify", TREE=tree, KERNEL=None))
        self.assertRegex(done.out, r"series: +work tree v7\.3\.4-dirty")
        self.assertIn("int mine;", (self.project.out / "linux/build-4k/arch/arm64/boot/Image").read_text())
        self.assertEqual(snapshot(tree), before)

    def test_expectations(self):
        """A list of cases that could not fail, or cannot be read, is refused before anything is built."""
        path = self.project.path / "kunit/expect/poe.txt"
        for text, pattern in (("# all gone\n", "expects nothing, so it could not fail"), ("toy.one skip\n", r"poe\.txt:1: not 'suite\.case'"),
                              ("include nosuch\n", "nosuch.txt: No such file"), ("toy.one\ninclude poe\n", "poe.txt.*includes itself")):
            for verb in ("verify", "guests"):
                write(path, text)
                self.refused(pattern, verb=(verb,))
        path.unlink()
        self.refused("poe.txt: No such file")

    def test_guests_file(self):
        """A mistake in guests.ini is named, with its guest."""
        path = self.project.path / "kunit/guests.ini"
        good = path.read_text()
        for text, pattern in (("[guest x]\nabout = x\n", r"guest x.*'kernel'"), ("[guest x]\nkernel = 4k\nsmp = four\n", r"guest x.*four"),
                              ("[guest x]\nkernel = 4k\npoe = maybe\n", r"guest x.*maybe"), ("no section\n", r"guests\.ini"),
                              ("[guest el1]\nkernel = 4k\n", r"guests\.ini.*el1"), ("[guest x]\nkernel = 5k\n", "no kernel '5k'")):
            write(path, text if "no section" in text else good + text)
            self.refused(pattern, verb=("guests",))
        path.unlink()
        self.refused(r"guests\.ini")

    def test_other_variables(self):
        """TOOLS=, DEBIAN_MIRROR= and CONFIG= with nonsense."""
        self.refused("TOOLS=hots: there is 'root'", "unset TOOLS", TOOLS="hots")
        self.refused("no/such.config: no such configuration fragment", CONFIG="no/such.config")
        self.refused("DEBIAN_MIRROR=mirror.example is not a URI", CACHE=self.project.top / "empty", DEBIAN_MIRROR="mirror.example",
                     PATH=f"{self.project.top / 'bin'}:{os.environ['PATH']}")

    def test_directories(self):
        """O= or CACHE= that cannot be written, or that kbuild cannot handle."""
        file = write(self.project.top / "file", "")
        for value in (file, file / "below"):
            self.refused(re.escape(str(file)), "O=", O=value)
        self.refused(re.escape(str(file)), "CACHE=", CACHE=file, verb=("tools",))
        self.refused("spaces or colons", "O=", O=self.project.top / "two words")
        self.assertFalse((self.project.top / "two words").exists())
        self.refused(r"Read-only file system", "O=", O=self.project.top / "ro/out", wrap=private_mounts(
            f"mkdir -p {self.project.top}/ro", f"mount -t tmpfs -o ro ro {self.project.top}/ro"))

    def test_one_directory_for_both(self):
        """O= and CACHE= may be one directory, by one name or two, without waiting for ourselves."""
        cache = self.project.cache
        other = self.project.path / "other"
        other.symlink_to(cache)
        self.project.make_mirror()
        for out in (cache, other):
            done = self.assertPasses(self.project.run("verify", O=out, KERNEL=None, timeout=60))
            self.assertNotIn("waiting", done.out)
            shutil.rmtree(cache / f"linux-{support.LINUX_VERSION}.git")

    def test_no_arguments(self):
        """Without a verb, or with an unknown one: usage, status 2."""
        for args in ((), ("frobnicate",), ("verify", "--frob")):
            done = self.project.run(*args)
            self.assertEqual(done.status, ui.USAGE)
            self.assertIn("usage:", done.err)


class TestConfig(ProjectTest):
    """A requested symbol that does not take is an error that names it."""

    def test_symbol_lost(self):
        """The symbol, the fragment, and what the configuration has instead."""
        mine = write(self.project.top / "mine.config", "CONFIG_TOY_LOST=y\nCONFIG_TOY=y\n")
        done = self.assertFails(self.project.run("verify", CONFIG=mine), ui.USAGE, "1 requested symbol did not take: CONFIG_TOY_LOST\n",
                                "dependencies in Kconfig")
        self.assertIn("mine.config: CONFIG_TOY_LOST=y was asked for, the configuration has CONFIG_TOY_LOST=n", done.err)
        self.assertNothingLeft()
        self.assertPasses(self.project.run("verify"))

    def test_symbol_lost_is_not_forgotten(self):
        """The second run with the same bad fragment fails as the first did."""
        mine = write(self.project.top / "mine.config", "CONFIG_TOY_LOST=m\n")
        for _ in range(2):
            self.assertFails(self.project.run("verify", CONFIG=mine), ui.USAGE, "CONFIG_TOY_LOST")

    def test_last_fragment_wins(self):
        """CONFIG= may turn off what the project turns on."""
        mine = write(self.project.top / "mine.config", "# CONFIG_TOY is not set\n")
        self.edit(self.project.kernel / "scripts/kconfig/merge_config.sh", "cat", "tac")
        git(self.project.kernel, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-aqm", "x")
        self.assertFails(self.project.run("verify", CONFIG=mine), ui.USAGE, "CONFIG_TOY\n")

    def test_malformed(self):
        """A line that is no configuration line: file and line number."""
        for text in ("CONFIG_TOY=y\nTOY=y\n", "\nCONFIG_TOY y\n", "\nCONFIG_TOY\n", "\n\udcff\udcfe\n"):
            mine = self.project.top / "mine.config"
            mine.write_bytes(text.encode(errors="surrogateescape"))
            self.assertFails(self.project.run("verify", CONFIG=mine), ui.USAGE, r"mine\.config:2: not a configuration line")

    def test_fragment_anywhere(self):
        """A fragment may lie anywhere, and only it is visible to the build, not what lies beside it."""
        place = self.project.top / "elsewhere"
        mine = write(place / "mine.config", "CONFIG_MINE=y\n")
        write(place / "beside", "")
        self.edit(self.project.kernel / "scripts/kconfig/merge_config.sh", "shift 2\n", f"shift 2\nls {place} > \"$1/seen\"\n")
        git(self.project.kernel, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-aqm", "x")
        self.assertPasses(self.project.run("verify", CONFIG=mine))
        self.assertEqual((self.project.out / "linux/build-4k/seen").read_text().split(), ["mine.config"])


class TestKernel(ProjectTest):
    """KERNEL= is the user's own tree: read, never written to."""

    def setUp(self):
        super().setUp()
        git(self.project.kernel, "status")
        # What git would rewrite its index for, given the chance.
        os.utime(self.project.kernel / "Makefile")
        self.before = snapshot(self.project.kernel)

    def assertUntouched(self):
        self.assertEqual(snapshot(self.project.kernel), self.before)

    def test_success(self):
        """A clean tree is used, incrementally; not a byte of it changes."""
        self.assertPasses(self.project.run("verify"))
        done = self.assertPasses(self.project.run("verify"))
        self.assertIn("ok (unchanged)", done.out)
        self.assertUntouched()
        self.assertIn("int thirty;", (self.project.source / "arch/arm64/mm/toy.c").read_text())

    def test_missing(self):
        """No such directory, not a repository, not a kernel, nothing committed: each is said."""
        for name in ("empty", "none", "bare"):
            (self.project.top / name).mkdir()
        git(self.project.top / "none", "init", "-q")
        other = self.project.top / "qemu"
        for value, pattern in (("/no/such/dir", "KERNEL=/no/such/dir is not a git repository"),
                               (self.project.top / "empty", "KERNEL=.*empty is not a git repository"),
                               (self.project.top / "none", "KERNEL=.*none.*no.*commit"),
                               (other, "KERNEL=.*qemu is not a Linux kernel at HEAD: it has no arch/arm64/Kconfig")):
            before = snapshot(Path(value))if Path(value).exists() else None
            self.assertFails(self.project.run("verify", KERNEL=value), ui.USAGE, pattern, "kernel git tree|BASE=")
            self.assertEqual(snapshot(Path(value)) if before else None, before)

    def test_dirty(self):
        """Uncommitted changes would stay out of the result: refused, unless BASE= names the commit."""
        self.edit(self.project.kernel / "arch/arm64/mm/toy.c", "int line2;", "int mine;")
        self.before = snapshot(self.project.kernel)
        self.assertFails(self.project.run("verify"), ui.USAGE, "has uncommitted changes", "commit or stash.*BASE=")
        self.assertUntouched()
        self.assertPasses(self.project.run("verify", BASE="HEAD"))
        self.assertUntouched()
        self.assertNotIn("int mine;", (self.project.source / "arch/arm64/mm/toy.c").read_text())

    def test_untracked_is_not_dirty(self):
        """Files that git does not know, such as notes, do not stand in the way."""
        write(self.project.kernel / "notes", "")
        self.assertPasses(self.project.run("verify"))

    def test_base(self):
        """A BASE= that is not there: the tags that are."""
        for value in ("v9.9", "--all", "HEAD:Makefile", "a b"):
            self.assertFails(self.project.run("verify", BASE=value), ui.USAGE, f"BASE={value}: no such commit", "v7.3.4")
        self.assertUntouched()
        self.assertPasses(self.project.run("verify", BASE="v7.3.4"))

    def test_other_layouts(self):
        """A bare repository, a linked work tree, a shallow clone and a subdirectory serve as well."""
        kernel, top = self.project.kernel, self.project.top
        git(top, "clone", "-q", "--bare", str(kernel), "bare.git")
        git(top, "clone", "-q", "--depth=1", f"file://{kernel}", "shallow")
        git(top, "clone", "-q", str(kernel), "full")
        git(top / "full", "worktree", "add", "-q", "--detach", str(top / "linked"))
        for value in ("bare.git", "shallow", "linked", "full/kernel"):
            before = snapshot(top / value)
            self.assertPasses(self.project.run("verify", KERNEL=top / value))
            self.assertEqual(snapshot(top / value), before, value)

    def test_foreign_owner(self):
        """git refuses a repository of somebody else's: git's own words, with its remedy, are shown."""
        if os.geteuid() != 0:
            self.skipTest("only root can make a tree that belongs to somebody else")
        for path in (self.project.kernel, self.project.kernel / ".git"):
            os.chown(path, 12345, 12345)
        done = self.project.run("verify")
        self.assertFails(done, ui.USAGE, "KERNEL=.* (cannot be read|is not a git repository)")
        self.assertIn("dubious ownership", done.err)

    def test_hostile_git_configuration(self):
        """The user's git settings and hooks change neither the result nor the user's tree."""
        self.assertPasses(self.project.run("verify"))
        want = git(self.project.source, "rev-parse", "HEAD")
        shutil.rmtree(self.project.out)
        hook = write(self.project.top / "hooks/post-checkout", "#!/bin/sh\necho hook ran; exit 1\n", 0o755)
        config = write(self.project.top / "gitconfig", f"""[core]
\tautocrlf = true
\thooksPath = {hook.parent}
\tquotePath = false
[init]
\tdefaultObjectFormat = sha256
\ttemplateDir = {self.project.top / 'no-such-template'}
[apply]
\twhitespace = error-all
\tignoreWhitespace = change
[status]
\tshort = true
\tshowUntrackedFiles = all
[commit]
\tgpgSign = true
[i18n]
\tcommitEncoding = ISO-8859-1
""")
        self.assertPasses(self.project.run("verify", GIT_CONFIG_GLOBAL=config))
        self.assertEqual(git(self.project.source, "rev-parse", "HEAD"), want)
        self.assertEqual((self.project.source / "arch/arm64/mm/toy.c").read_bytes().count(b"\r"), 0)
        self.assertUntouched()

    def test_called_from_a_git_hook(self):
        """git's own variables, as in a hook, point at another repository: that one is left alone."""
        other = self.project.top / "qemu"
        before = snapshot(other)
        self.assertPasses(self.project.run("verify", GIT_DIR=other / ".git", GIT_WORK_TREE=other, GIT_INDEX_FILE=other / ".git/index",
                                           GIT_OBJECT_DIRECTORY=other / ".git/objects"))
        self.assertEqual(snapshot(other), before)
        self.assertUntouched()


class TestSeries(ProjectTest):
    """What is wrong with the stored series is named, and nothing changes."""

    def setUp(self):
        super().setUp()
        self.patch = sorted(self.project.patches.glob("0*.patch"))[0]
        self.assertPasses(self.project.run("verify"))
        self.head = git(self.project.source, "rev-parse", "HEAD")

    def refused(self, *patterns: str, **env):
        before = snapshot(self.project.patches), snapshot(self.project.kernel), snapshot(self.project.cache)
        tree = (self.project.source / "arch/arm64/mm/toy.c").read_text()
        done = self.assertFails(self.project.run("verify", **env), ui.USAGE, *patterns)
        self.assertEqual((snapshot(self.project.patches), snapshot(self.project.kernel), snapshot(self.project.cache)), before)
        self.assertEqual((self.project.source / "arch/arm64/mm/toy.c").read_text(), tree)
        self.assertEqual(git(self.project.source, "rev-parse", "HEAD"), self.head)
        self.assertNothingLeft()
        return done

    def test_does_not_apply(self):
        """The patch, its place in the series, the file, the hunk n of m, and how to go on."""
        self.edit(self.patch, "-int line30;", "-int line3000;")
        self.refused(re.escape(f"patch 1 of 2 does not apply: {self.patch.name}: arch/arm64/mm/toy.c: hunk 2 of 3"),
                     "make load.*git am --continue.*make save")

    def test_base_moved_on(self):
        """The same where it is the user's kernel that changed."""
        self.edit(self.project.kernel / "arch/arm64/mm/toy.c", "int line19;", "int moved;")
        git(self.project.kernel, "commit", "-aqm", "Moved on")
        self.refused("patch 2 of 2 does not apply: 0002-Change-2.patch: arch/arm64/mm/toy.c: hunk 1 of 1", "KERNEL= and BASE=")

    def test_no_fuzz(self):
        """A context line that differs, even in its blanks, is not guessed at."""
        self.edit(self.patch, "\n int line27;", "\n int  line27;")
        self.refused("patch 1 of 2 does not apply.*hunk 2 of 3")

    def test_truncated(self):
        """A patch cut off in the middle is not applied in part."""
        text = self.patch.read_text()
        self.patch.write_text(text[:text.index("int line31;") - 1])
        self.refused(f"patch 1 of 2 does not apply: {self.patch.name}: .*corrupt patch")

    def test_not_a_patch(self):
        """Empty, or something else altogether."""
        for content in (b"", b"\x00\xff\xfe binary", b"<html>not found</html>\n"):
            self.patch.write_bytes(content)
            self.refused(f"patch 1 of 2 does not apply: {self.patch.name}: ")

    def test_escapes(self):
        """A patch cannot write outside its tree."""
        self.edit(self.patch, "--- a/arch/arm64/mm/toy.c\n+++ b/arch/arm64/mm/toy.c", "--- /dev/null\n+++ b/../../../stolen")
        self.refused("patch 1 of 2 does not apply")

    def test_missing_patch(self):
        """`series` names a file that is not there."""
        self.patch.unlink()
        self.refused(f"names {self.patch.name}, which is not there", "git checkout")

    def test_missing_files(self):
        """`series`, `base` and the cover letter: each is named when it is gone."""
        for name in ("series", "base", "0000-cover-letter.txt"):
            content = (self.project.patches / name).read_bytes()
            (self.project.patches / name).unlink()
            self.refused(f"{name}: No such file", "git checkout")
            (self.project.patches / name).write_bytes(content)

    def test_bad_base_file(self):
        """A line that is none, a key that is missing."""
        path = self.project.patches / "base"
        for text, pattern in (("tag v7.3.4\n", r"base:1: not a 'tag:'"), ("tag: v7\npackge: x\n", "base:2: not a"), ("package: x\nversion: 1\n", "no 'tag:' line"),
                              ("tag:\npackage: x\nversion: 1\n", "no 'tag:' line"), ("", "no 'tag:' line"), ("\udcff\udcfe\n", "base:1: not a")):
            path.write_bytes(text.encode(errors="surrogateescape"))
            self.refused(pattern, "git checkout")


class TestWorkInProgress(ProjectTest):
    """What the user does in out/linux/src is kept and built, or refused; never lost."""

    def setUp(self):
        super().setUp()
        self.assertPasses(self.project.run("verify"))
        self.toy = self.project.source / "arch/arm64/mm/toy.c"

    def change_series(self):
        self.edit(sorted(self.project.patches.glob("0002*"))[0], "+int twenty;", "+int zwanzig;")

    def test_kept(self):
        """A changed file is built, and the result says so."""
        self.edit(self.toy, "int line2;", "int mine;")
        done = self.assertPasses(self.project.run("verify"))
        self.assertIn("with the 1 files you changed", done.out)
        self.assertRegex(done.out, r"series: +\S+-dirty")
        self.assertIn("int mine;", self.toy.read_text())
        self.assertIn("int mine;", (self.project.out / "linux/build-4k/arch/arm64/boot/Image").read_text())

    def test_refused_when_series_changed(self):
        """The series changed under the user's change: both are named, none is lost."""
        self.edit(self.toy, "int line2;", "int mine;")
        before = self.toy.read_bytes()
        self.change_series()
        self.assertFails(self.project.run("verify"), ui.USAGE, "has uncommitted changes", "stash.*checkout -f")
        self.assertEqual(self.toy.read_bytes(), before)
        git(self.project.source, "stash")
        self.assertPasses(self.project.run("verify"))
        self.assertIn("int zwanzig;", self.toy.read_text())
        git(self.project.source, "stash", "pop")
        self.assertIn("int mine;", self.toy.read_text())

    def test_staged(self):
        """A staged change counts as one."""
        self.edit(self.toy, "int line2;", "int mine;")
        git(self.project.source, "add", "-A")
        self.change_series()
        self.assertFails(self.project.run("verify"), ui.USAGE, "has uncommitted changes")
        self.assertIn("int mine;", self.toy.read_text())

    def test_commit(self):
        """A commit of the user's there is named and stays reachable; the remedy works."""
        self.edit(self.toy, "int line2;", "int mine;")
        git(self.project.source, "commit", "-aqm", "Mine")
        mine = git(self.project.source, "rev-parse", "HEAD")
        done = self.assertFails(self.project.run("verify"), ui.USAGE, f"at a commit of yours .{mine[:12]}")
        self.assertEqual(git(self.project.source, "rev-parse", "HEAD"), mine)
        git(self.project.source, "branch", "mine")
        remedy = re.search(r"then 'git -C (\S+) (checkout \S+)'", done.err)
        git(Path(remedy[1]), *remedy[2].split())
        self.assertPasses(self.project.run("verify"))
        self.assertEqual(git(self.project.source, "rev-parse", "mine"), mine)

    def test_untracked_file_in_the_way(self):
        """A new file of the user's that the series would now bring: refused, not overwritten."""
        extra = write(self.project.source / "arch/arm64/mm/extra.c", "mine\n")
        self.assertPasses(self.project.run("verify"))
        write(self.project.patches / "0003-extra.patch", "diff --git a/arch/arm64/mm/extra.c b/arch/arm64/mm/extra.c\nnew file mode 100644\n"
              "--- /dev/null\n+++ b/arch/arm64/mm/extra.c\n@@ -0,0 +1 @@\n+theirs\n")
        with open(self.project.patches / "series", "a") as handle:
            handle.write("0003-extra.patch\n")
        done = self.assertFails(self.project.run("verify"), ui.USAGE, "could not be checked out|in the way")
        self.assertIn("extra.c", done.err)
        self.assertEqual(extra.read_text(), "mine\n")
        extra.rename(self.project.top / "extra.c")
        self.assertPasses(self.project.run("verify"))
        self.assertEqual(extra.read_text(), "theirs\n")

    def test_only_changed_files_are_touched(self):
        """A changed series rewrites the files it changes and no other: builds stay incremental."""
        makefile = (self.project.source / "Makefile").stat().st_mtime_ns
        self.change_series()
        self.assertPasses(self.project.run("verify"))
        self.assertIn("int zwanzig;", self.toy.read_text())
        self.assertEqual((self.project.source / "Makefile").stat().st_mtime_ns, makefile)


class TestHalfMadeTree(ProjectTest):
    """Whatever an interrupted checkout left behind, the same command repairs it."""

    def slow_git(self) -> Path:
        """A git first in PATH that stops half-way through 'checkout'."""
        real = shutil.which("git")
        return write(self.project.top / "slow/git", f"""#!/bin/sh
case " $* " in *" checkout "*)
    echo half > "{self.project.source}/arch/arm64/mm/toy.c"
    touch "{self.project.source}/.git/index.lock" "{self.project.top}/started"
    exec sleep 1000;;
esac
exec {real} "$@"
""", 0o755).parent

    def start_and_stop(self, signum: int) -> int:
        started = self.project.top / "started"
        child = self.project.start("verify", PATH=f"{self.slow_git()}:{os.environ['PATH']}")
        wait_for(started.exists, "the checkout")
        started.unlink()
        child.send_signal(signum)
        child.communicate(timeout=30)
        return child.returncode

    def test_checkout(self):
        """Ctrl-C, kill -9: of the first checkout and of an update."""
        for signum, status in ((signal.SIGINT, ui.INTERRUPTED), (signal.SIGKILL, -signal.SIGKILL)):
            with self.subTest(signal=signum.name):
                shutil.rmtree(self.project.out, ignore_errors=True)
                (self.project.source / "arch/arm64/mm").mkdir(parents=True)
                self.assertEqual(self.start_and_stop(signum), status)
                wait_for(lambda: not processes(self.project.mark), "the end of its processes", 5)
                self.assertPasses(self.project.run("verify"))
                self.assertEqual(git(self.project.source, "status", "--porcelain"), "")
                with open(sorted(self.project.patches.glob("0002*"))[0], "r+") as handle:
                    text = handle.read()
                    handle.seek(0)
                    handle.truncate()
                    handle.write(text.replace("+int twenty;", f"+int zwanzig{signum};"))
                self.assertEqual(self.start_and_stop(signum), status)
                wait_for(lambda: not processes(self.project.mark), "the end of its processes", 5)
                self.assertPasses(self.project.run("verify"))
                self.assertIn("int line2;", (self.project.source / "arch/arm64/mm/toy.c").read_text())
                self.assertNothingLeft()
                with open(sorted(self.project.patches.glob("0002*"))[0], "r+") as handle:
                    handle.write(text)
                    handle.truncate()

    def test_half_made_repository(self):
        """A .git that git does not take for one: git must not go up to the project's own repository."""
        git(self.project.path, "init", "-q")
        git(self.project.path, "add", "Makefile")
        git(self.project.path, "commit", "-qm", "Project")
        write(self.project.path / "Makefile", "uncommitted work\n")
        before = snapshot(self.project.path / ".git")
        for content in ((), ("objects",), ("objects", "refs")):
            shutil.rmtree(self.project.out, ignore_errors=True)
            for name in content:
                (self.project.source / ".git" / name).mkdir(parents=True)
            (self.project.source / ".git").mkdir(parents=True, exist_ok=True)
            done = self.project.run("verify")
            self.assertEqual(snapshot(self.project.path / ".git"), before)
            self.assertEqual((self.project.path / "Makefile").read_text(), "uncommitted work\n")
            self.assertPasses(done)

    def test_stale_lock(self):
        """Lock files of a git that was killed (power failure) do not need a hand."""
        self.assertPasses(self.project.run("verify"))
        for name in ("apply-index.lock", "apply-index"):
            write(self.project.source / ".git" / name, "")
            self.assertPasses(self.project.run("verify"))
        write(self.project.source / ".git/index.lock", "")
        write(self.project.source / ".git/checkout-incomplete", "")
        self.assertPasses(self.project.run("verify"))
        self.assertNothingLeft()

    def test_borrowed_objects_gone(self):
        """KERNEL= was moved away after a run: the next one, from another place, works."""
        self.assertPasses(self.project.run("verify"))
        moved = self.project.kernel.rename(self.project.top / "moved")
        self.assertPasses(self.project.run("verify", KERNEL=moved))


class TestSources(ProjectTest):
    """Base sources come from a mirror or a checked tarball, whole or not at all."""

    def setUp(self):
        super().setUp()
        self.mirror = self.project.make_mirror()

    def verify(self, **env):
        return self.project.run("verify", **{"KERNEL": None, **env})

    def repository(self) -> Path:
        return self.project.cache / f"linux-{support.LINUX_VERSION}.git"

    def test_everything_from_the_mirror(self):
        """From nothing to a verdict, QEMU's build included; then again without network or mirror."""
        self.assertPasses(self.verify(QEMU=None))
        self.assertIs(json.loads((self.project.out / "verify/summary.json").read_text())["qemu_ours"], True)
        shutil.rmtree(self.mirror)
        before = snapshot(self.project.cache)
        done = self.assertPasses(self.project.run("verify", wrap=no_network(), KERNEL=None, QEMU=None))
        self.assertNotIn("fetching", done.out)
        self.assertEqual(snapshot(self.project.cache), before)
        self.assertNothingLeft()

    def test_import_is_deterministic(self):
        """The same source gives the same commit id, whenever and wherever it is imported."""
        self.assertPasses(self.verify())
        first = git(self.repository(), "rev-parse", "base")
        shutil.rmtree(self.repository())
        time.sleep(1)
        self.assertPasses(self.verify(TZ="Asia/Tokyo"))
        self.assertEqual(git(self.repository(), "rev-parse", "base"), first)

    def test_read_only_cache(self):
        """A finished cache that others share read-only is enough."""
        self.assertPasses(self.verify(QEMU=None))
        cache = self.project.cache
        self.assertPasses(self.project.run("verify", KERNEL=None, QEMU=None, wrap=private_mounts(
            f"mount --bind {cache} {cache}", f"mount -o remount,ro,bind {cache}")))

    def test_version_gone(self):
        """The pinned version left the mirror: those that are there, and the variable to choose one."""
        done = self.assertFails(self.verify(LINUX_VERSION="7.0.0-1"), ui.USAGE,
                                re.escape(f"does not have linux-source-7.3 7.0.0-1 (any more); it has: {support.LINUX_VERSION}"),
                                "choose one with LINUX_VERSION=, or give LINUX_TARBALL=")
        self.assertNotIn("CalledProcess", done.err)
        self.assertFails(self.verify(QEMU=None, QEMU_VERSION="1:9.0-1"), ui.USAGE,
                         re.escape(f"does not have qemu 1:9.0-1 (any more); it has: {support.QEMU_VERSION}"),
                         "choose one with QEMU_VERSION=")
        self.assertNothingLeft()
        self.assertPasses(self.verify(LINUX_VERSION=support.LINUX_VERSION))

    def test_mirror_unreachable(self):
        """No mirror: check the network, or give a tarball. Nothing half-made stays."""
        self.mirror.rename(self.project.top / "elsewhere")
        self.assertFails(self.verify(), ui.USAGE, "cannot fetch linux-source-7.3", "check the network.*LINUX_TARBALL")
        self.assertEqual(sorted(p.name for p in self.project.cache.glob("linux*")), [])
        self.assertNothingLeft()
        (self.project.top / "elsewhere").rename(self.mirror)
        self.assertPasses(self.verify())

    def test_corrupt_download(self):
        """A package that does not match the mirror's index is refused."""
        package = self.mirror / "linux-source.deb"
        content = bytearray(package.read_bytes())
        content[-20] ^= 1
        package.write_bytes(content)
        self.assertFails(self.verify(), ui.USAGE, "could not be fetched")
        self.assertFalse(self.repository().exists())
        self.assertNothingLeft()

    def test_odd_package(self):
        """A package without the source in it is named."""
        package = self.mirror / "linux-source.deb"
        write(self.project.path / "deb/DEBIAN/control", f"Package: linux-source-7.3\nVersion: {support.LINUX_VERSION}\nArchitecture: all\n"
              "Maintainer: A Tester <t@example.org>\nDescription: empty\n")
        old = support.sha256(package), package.stat().st_size
        self.assertPasses(self.project.run("tools", "dpkg-deb", "--root-owner-group", "-b", self.project.path / "deb", package))
        self.edit(self.mirror / "Packages", old[0], support.sha256(package))
        self.edit(self.mirror / "Packages", f"Size: {old[1]}", f"Size: {package.stat().st_size}")
        self.assertFails(self.verify(), ui.USAGE, "linux-source-7.3.*(holds|has) no")
        self.assertNothingLeft()

    def tarball(self, name: str = "linux-7.3.4.tar.xz") -> Path:
        return support.pack(self.project.kernel, self.project.top / name, "linux-7.3.4")

    def checked(self, path: Path) -> Path:
        write(path.with_name(path.name + ".sha256"), f"{support.sha256(path)}  {path.name}\n")
        return path

    def test_tarball(self):
        """LINUX_TARBALL= with the publisher's checksum beside it takes the place of the mirror."""
        path = self.tarball()
        write(path.parent / "sha256sums.asc", f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{'0' * 64}  linux-7.3.3.tar.xz\n"
              f"{support.sha256(path)}  {path.name}\n-----BEGIN PGP SIGNATURE-----\n")
        shutil.rmtree(self.mirror)
        self.assertPasses(self.verify(LINUX_TARBALL=path))
        self.assertPasses(self.project.run("verify", KERNEL=None, LINUX_TARBALL=path.name, cwd=path.parent))
        self.assertNothingLeft()

    def test_tarball_missing(self):
        """A tarball that is not there."""
        for value in ("/no/such.tar.xz", self.project.top):
            self.assertFails(self.verify(LINUX_TARBALL=value), ui.USAGE, f"LINUX_TARBALL={value}: no such file", r"linux-7\.3\.4\.tar\.xz")

    def test_tarball_without_checksum(self):
        """No checksum, or one of another file: not taken on trust."""
        path = self.tarball()
        self.assertFails(self.verify(LINUX_TARBALL=path), ui.USAGE, f"no checksum for {path}", "sha256sums.asc beside it")
        write(path.parent / "sha256sums.asc", f"{support.sha256(path)}  linux-7.3.5.tar.xz\n")
        self.assertFails(self.verify(LINUX_TARBALL=path), ui.USAGE, f"no checksum for {path}")

    def test_tarball_with_wrong_checksum(self):
        """Both checksums are shown."""
        path = self.tarball()
        write(path.with_name(path.name + ".sha256"), "0" * 64 + "\n")
        self.assertFails(self.verify(LINUX_TARBALL=path), ui.USAGE, "does not match its checksum",
                         f"expected {'0' * 64}, found {support.sha256(path)}")

    def test_tarball_of_another_release(self):
        """Another release is named; another stable of the same is used, with a note."""
        makefile = self.project.kernel / "Makefile"
        self.edit(makefile, "PATCHLEVEL = 3", "PATCHLEVEL = 2")
        self.assertFails(self.verify(LINUX_TARBALL=self.checked(self.tarball())), ui.USAGE,
                         r"holds linux 7\.2\.4, not linux 7\.3\.4", r"tarball of linux 7\.3\.4")
        self.edit(makefile, "PATCHLEVEL = 2", "PATCHLEVEL = 3")
        self.edit(makefile, "SUBLEVEL = 4", "SUBLEVEL = 9")
        done = self.assertPasses(self.verify(LINUX_TARBALL=self.checked(self.tarball())))
        self.assertIn("this is linux 7.3.9, the series was made on 7.3.4", done.out)
        self.assertNothingLeft()

    def test_tarball_that_is_none(self):
        """Empty, cut off, or no tar at all, though its checksum is right."""
        path = self.tarball()
        whole = path.read_bytes()
        for content in (b"", whole[:len(whole) // 2], b"<html>\n", whole[:-8]):
            path.write_bytes(content)
            self.assertFails(self.verify(LINUX_TARBALL=self.checked(path)), ui.USAGE, re.escape(path.name))
            self.assertEqual(list(self.project.cache.glob("linux*")), [])
            self.assertNothingLeft()
        os.remove(path)

    def test_interrupted_import(self):
        """Ctrl-C or kill -9 in the import: the same command then succeeds."""
        real = shutil.which("git")
        slow = write(self.project.top / "slow/git", f"#!/bin/sh\ncase \"$*\" in *fast-import*) touch {self.project.top}/started; exec sleep 1000;; esac\n"
                     f"exec {real} \"$@\"\n", 0o755).parent
        for signum, status in ((signal.SIGINT, ui.INTERRUPTED), (signal.SIGTERM, ui.INTERRUPTED), (signal.SIGKILL, -signal.SIGKILL)):
            with self.subTest(signal=signum.name):
                child = self.project.start("verify", KERNEL=None, PATH=f"{slow}:{os.environ['PATH']}")
                wait_for((self.project.top / "started").exists, "the import")
                (self.project.top / "started").unlink()
                child.send_signal(signum)
                out, err = child.communicate(timeout=30)
                self.assertEqual(child.returncode, status, err)
                self.assertFalse(self.repository().exists())
                if signum != signal.SIGKILL:
                    self.assertIn("error: interrupted", err)
                    self.assertNothingLeft()
                self.assertPasses(self.verify())
                self.assertNothingLeft()
                shutil.rmtree(self.repository())


class TestToolRoot(ProjectTest):
    """Making the tool root, with a mmdebstrap that takes no time."""

    cached = False

    def setUp(self):
        super().setUp()
        self.started = self.project.top / "started"
        self.root = self.project.make_tool_root(self.project.top / "root")
        self.final = self.project.cache / self.project.tool_root_name()

    def env(self, **env) -> dict:
        return {"PATH": f"{self.project.top / 'bin'}:{os.environ['PATH']}", "TOY_ROOT": self.root, "DEBIAN_MIRROR": "file:///nowhere", **env}

    def test_made_once(self):
        """Made on the first command that needs it, and not again."""
        self.assertPasses(self.project.run("verify", **self.env()))
        before = snapshot(self.project.cache)
        self.started.unlink()
        self.assertPasses(self.project.run("verify", **self.env()))
        self.assertFalse(self.started.exists())
        self.assertEqual(snapshot(self.project.cache), before)
        self.assertNothingLeft()

    def test_interrupted(self):
        """Ctrl-C, a closed terminal, kill -9: nothing half-made is taken for a tool root, and the
        same command then succeeds."""
        for signum, status in ((signal.SIGINT, ui.INTERRUPTED), (signal.SIGHUP, ui.INTERRUPTED), (signal.SIGTERM, ui.INTERRUPTED),
                               (signal.SIGKILL, -signal.SIGKILL)):
            with self.subTest(signal=signum.name):
                child = self.project.start("verify", **self.env(TOY_SLOW=1))
                wait_for(self.started.exists, "mmdebstrap")
                child.send_signal(signum)
                out, err = child.communicate(timeout=30)
                self.assertEqual(child.returncode, status, err)
                self.assertFalse(self.final.exists())
                if signum != signal.SIGKILL:
                    self.assertIn("error: interrupted", err)
                    self.assertNothingLeft()
                wait_for(lambda: not processes(self.project.mark), "the end of its processes", 5)
                self.assertPasses(self.project.run("verify", **self.env()))
                self.started.unlink()
                self.assertNothingLeft()
                shutil.rmtree(self.project.cache)
                shutil.rmtree(self.project.out)

    def test_impatient(self):
        """Ctrl-C twice, with a tool that is slow to end: still nothing is left running."""
        write(self.project.top / "bin/mmdebstrap", "#!/bin/sh\ntrap '' TERM INT\ntouch $TOY_STARTED\nwhile :; do sleep 0.1; done\n", 0o755)
        child = self.project.start("verify", **self.env())
        wait_for(self.started.exists, "mmdebstrap")
        child.send_signal(signal.SIGINT)
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=30)
        self.assertEqual(child.returncode, ui.INTERRUPTED)
        self.assertNothingLeft()

    def test_mmdebstrap_fails(self):
        """What mmdebstrap said is shown, with what to check and where the log is."""
        write(self.project.top / "bin/mmdebstrap", "#!/bin/sh\necho E: Unable to locate package clang-22 >&2\nexit 25\n", 0o755)
        done = self.assertFails(self.project.run("tools", **self.env()), ui.USAGE,
                                "tool root could not be made from file:///nowhere", r"network and the mirror.*DEBIAN_MIRROR.*TOOLS=host.*log: \S+")
        self.assertIn("Unable to locate package clang-22", done.err)
        self.assertEqual([p.name for p in self.project.cache.iterdir()], [".lock"])

    def test_no_network(self):
        """The real mmdebstrap without a network and nothing cached: refused in seconds."""
        done = self.project.run("verify", wrap=no_network(), PATH=os.environ["PATH"], DEBIAN_MIRROR="http://mirror.example/debian")
        self.assertFails(done, ui.USAGE, "tool root could not be made from http://mirror.example/debian", "check the network and the mirror")
        self.assertFalse(self.final.exists())
        self.assertNothingLeft()

    def test_two_at_once(self):
        """The second of two first commands waits, says so, and uses what the first made."""
        first = self.project.start("verify", **self.env(TOY_SLOW=1))
        wait_for(self.started.exists, "mmdebstrap")
        second = self.project.start("verify", **self.env(O=self.project.path / "out2"))
        time.sleep(1)
        self.assertIsNone(second.poll())
        first.send_signal(signal.SIGINT)
        self.assertIn("interrupted", first.communicate(timeout=30)[1])
        out, err = second.communicate(timeout=60)
        self.assertEqual(second.returncode, 0, out + err)
        self.assertIn("another command is using the cache", out)
        self.assertNothingLeft()

    def test_stale_tool_roots_go(self):
        """A new package list makes a new tool root, and the old one is removed."""
        self.assertPasses(self.project.run("tools", **self.env()))
        with open(self.project.path / "scripts/toolroot.packages", "a") as handle:
            handle.write("hello\n")
        self.assertPasses(self.project.run("tools", **self.env()))
        self.assertEqual(len(list(self.project.cache.glob("toolroot-*"))), 1)
        self.assertFalse(self.final.exists())

    def bin_without(self, *names: str) -> Path:
        """A PATH of one directory that lacks the programs @names."""
        directory = self.project.top / "path"
        directory.mkdir(exist_ok=True)
        for place in ("/usr/sbin", "/usr/bin", "/bin", "/sbin"):
            for program in Path(place).iterdir():
                if program.name not in names and not (directory / program.name).exists():
                    (directory / program.name).symlink_to(program)
        return directory

    def test_missing_mmdebstrap(self):
        """An ordinary user without mmdebstrap or bubblewrap: which packages, and TOOLS=host."""
        path = self.bin_without("mmdebstrap", "bwrap")
        wrap = []
        if os.geteuid() == 0:
            wrap = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"]
            subprocess.run(["chown", "-R", "12345:12345", self.project.path, self.project.kernel], check=True)
        self.assertFails(self.project.run("verify", wrap=wrap, PATH=path), ui.USAGE, "missing on this machine: bubblewrap mmdebstrap",
                         "apt-get install bubblewrap mmdebstrap.*TOOLS=host")

    def test_no_subordinate_ids(self):
        """An ordinary user without subordinate ids: said as such, not as a network problem."""
        wrap = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"] if os.geteuid() == 0 else \
            private_mounts("mount --bind /dev/null /etc/subuid")
        if os.geteuid() != 0:
            self.skipTest("needs root, to become a user without subordinate ids")
        subprocess.run(["chown", "-R", "54321:54321", self.project.path, self.project.kernel], check=True)
        self.assertFails(self.project.run("verify", wrap=wrap), ui.USAGE, "54321.*subordinate", "usermod --add-subuids|/etc/subuid")

    def test_host_tools(self):
        """TOOLS=host lists every tool that is missing or too old, with the version needed."""
        path = self.bin_without("flex", "bison", "b4", "clang-22", "ld.lld-22", "meson", "bc", "ninja")
        for name, text in (("bison", "bison (GNU Bison) 1.35"), ("bc", "no version at all")):
            write(path / name, f"#!/bin/sh\necho '{text}'\n", 0o755)
        (path / "gcc").unlink(missing_ok=True)
        write(path / "gcc", "#!/bin/sh\n[ $1 = --version ] && echo gcc 14.2\n", 0o755)
        done = self.assertFails(self.project.run("verify", PATH=path, TOOLS="host"), ui.USAGE, "machine's tools do not suffice", "leave TOOLS unset")
        for line in ("clang-22 is missing (need 19.0 or later, package clang-22)", "ld.lld-22 is missing", "flex is missing (need 2.5 or later, package flex)",
                     "bison is version 1.35 (need 2.0 or later, package bison)", "bc is version unknown (need 1.0", "b4 is missing", "meson is missing",
                     "library libfdt 1.5 or later is missing (package libfdt-dev)"):
            self.assertIn(line, done.err)
        self.assertFalse(self.final.exists())

    def test_host_tools_of_some_commands(self):
        """TOOLS=host does not ask everybody for what few commands need; these name it, with its package."""
        path = self.host_path(without=("sparse", "spatch", "ccache", "cmake"))
        write(path / "sparse", "#!/bin/sh\n", 0o755)
        self.assertPasses(self.project.run("verify", PATH=path, TOOLS="host"))
        done = self.project.run("series-check", PATH=path, TOOLS="host")
        self.assertFails(done, ui.USAGE, "TOOLS=host: series-check needs ccache, spatch, cmake,", "packages ccache coccinelle cmake,")
        done = self.project.run("tools-build", PATH=path, TOOLS="host")
        self.assertFails(done, ui.USAGE, "a build of kpkeys-lint and kpkeys-audit needs cmake", "packages cmake,")

    def test_host_tools_success(self):
        """TOOLS=host with tools that suffice needs no tool root."""
        self.assertPasses(self.project.run("verify", PATH=self.host_path(), TOOLS="host"))
        self.assertFalse(self.final.exists())

    def host_path(self, without=()) -> Path:
        """A directory of programs that suffice for TOOLS=host, none of @without among them."""
        path = self.bin_without("make", *without)
        (path / "make").symlink_to(shutil.which("make"))
        from kpkeyslib import toolroot
        for name, how, least, _ in toolroot.HOST_TOOLS:
            for full in (name.format(llvm="-22"),):
                if full in ("make", "git", "perl", "pkg-config"):
                    continue
                (path / full).unlink(missing_ok=True)
                write(path / full, f"#!/bin/sh\necho {full} {least[0] + 1}.0\n", 0o755)
        (path / "pkg-config").unlink(missing_ok=True)
        write(path / "pkg-config", "#!/bin/sh\necho 1.8.1\n", 0o755)
        (path / "python3").unlink(missing_ok=True)
        (path / "python3").symlink_to(sys.executable)
        return path


class TestInterrupted(ProjectTest):
    """Ctrl-C at any time: status 130, one line, no process left, and no results of an earlier run that look like this one's."""

    def interrupt(self, started: Path, verb=("verify",), signum: int = signal.SIGINT, **env):
        child = self.project.start(*verb, **env)
        wait_for(started.exists, "the step to interrupt")
        child.send_signal(signum)
        out, err = child.communicate(timeout=30)
        self.assertEqual(child.returncode, ui.INTERRUPTED, err)
        self.assertEqual(err.strip(), "error: interrupted")
        self.assertNothingLeft()

    def test_kernel_build(self):
        """In the kernel build, which runs in the tool root."""
        self.assertPasses(self.project.run("verify"))
        write(self.project.source / "slow", "")
        self.interrupt(self.project.out / "linux/build-4k/building")
        self.assertInterrupted()
        (self.project.source / "slow").unlink()
        self.assertPasses(self.project.run("verify"))

    def test_guest(self):
        """While the guest runs, by Ctrl-C and by SIGTERM."""
        started = self.project.top / "started"
        for signum in (signal.SIGINT, signal.SIGTERM):
            self.assertPasses(self.project.run("verify"))
            started.unlink(missing_ok=True)
            self.interrupt(started, signum=signum, TOY_GUEST="sleep")
            self.assertInterrupted()
        self.assertPasses(self.project.run("verify"))

    def assertInterrupted(self):
        summary = json.loads((self.project.out / "verify/summary.json").read_text())
        self.assertEqual((summary["verdict"], summary["exit_status"], summary["guest"]), ("interrupted", ui.INTERRUPTED, "el1"))
        self.assertEqual([p.name for p in (self.project.out / "verify").iterdir()], ["summary.json"])

    def test_guests(self):
        """Of the guests that were to run, none keeps the results of an earlier run; another one does."""
        self.assertPasses(self.project.run("guests"))
        self.interrupt(self.project.top / "started", verb=("guests", "second"), TOY_GUEST="sleep")
        self.assertFalse((self.project.out / "guests/second").exists())
        self.assertTrue((self.project.out / "guests/el1/summary.json").exists())

    def test_guests_side_by_side(self):
        """Two that run at the same time: both end, and neither leaves anything."""
        self.interrupt(self.project.top / "started", verb=("guests",), TOY_GUEST="sleep", J="2")
        self.assertEqual(list((self.project.out / "guests").iterdir()), [])
        self.assertPasses(self.project.run("guests", J="2"))
        self.assertEqual(sorted(p.name for p in (self.project.out / "guests").iterdir()), ["el1", "second"])

    def test_killed_in_the_guest(self):
        """kill -9 while the guest runs: the next command is not disturbed by what is left."""
        self.assertPasses(self.project.run("verify"))
        child = self.project.start("verify", TOY_GUEST="sleep")
        wait_for((self.project.top / "started").exists, "the guest")
        child.kill()
        child.communicate()
        self.assertFalse((self.project.out / "verify").exists(), "these are not the results of the run that was killed")
        self.assertPasses(self.project.run("verify"))
        self.assertEqual(self.project.unfinished(), [])


class TestStarting(unittest.TestCase):
    """A signal that comes while a child is started is neither lost nor leaves the child behind."""

    def test_not_lost(self):
        with self.assertRaises(KeyboardInterrupt):
            with proc.starting():
                os.kill(os.getpid(), signal.SIGINT)
                held = True
        self.assertTrue(held)

    def test_child_ends(self):
        real = subprocess.Popen
        started = []

        def popen(*args, **options):
            started.append(real(*args, **options))
            os.kill(os.getpid(), signal.SIGINT)
            return started[0]

        with mock.patch.object(subprocess, "Popen", popen), self.assertRaises(KeyboardInterrupt):
            proc.run(["sleep", "60"])
        self.assertEqual(started[0].poll(), -signal.SIGTERM)

    def test_child_gets_signals(self):
        done = proc.run(["sh", "-c", "kill -INT $$; echo still here"], capture=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (-signal.SIGINT, ""))


class TestClean(ProjectTest):
    """'make clean' removes what was made here, and nothing else."""

    def clean(self, *args, **env):
        return self.project.run("clean", *args, **env)

    def test_clean(self):
        """The output directory goes, the cache only when asked, and it can all be done again."""
        self.assertPasses(self.project.run("verify"))
        self.assertPasses(self.clean())
        self.assertFalse(self.project.out.exists())
        self.assertTrue(self.project.cache.exists())
        self.assertPasses(self.clean())
        self.assertPasses(self.project.run("verify"))
        self.assertPasses(self.clean("--cache"))
        self.assertFalse(self.project.cache.exists())

    def test_work_is_not_lost(self):
        """Changes, new files, commits, branches and stashes in out/linux/src: refused, named."""
        self.assertPasses(self.project.run("verify"))
        src = self.project.source
        toy = src / "arch/arm64/mm/toy.c"
        good = toy.read_text()

        def commit():
            toy.write_text(good + "int mine;\n")
            git(src, "commit", "-aqm", "Mine")

        for name, change, restore in (
                ("change", lambda: toy.write_text("int mine;\n"), lambda: toy.write_text(good)),
                ("new file", lambda: write(src / "mine.c", ""), lambda: (src / "mine.c").unlink()),
                ("commit", commit, lambda: git(src, "reset", "-q", "--hard", "HEAD^")),
                ("branch", lambda: (commit(), git(src, "branch", "mine"), git(src, "checkout", "-q", "--detach", "HEAD^")),
                 lambda: git(src, "branch", "-D", "mine")),
                ("stash", lambda: (toy.write_text("int mine;\n"), git(src, "stash")), lambda: git(src, "stash", "drop"))):
            with self.subTest(name):
                change()
                self.assertFails(self.clean(), ui.USAGE, re.escape(str(src)), "git -C")
                self.assertTrue(toy.exists())
                restore()
        self.assertPasses(self.clean())

    def test_strangers_are_safe(self):
        """O= that points at a directory with other things in it, by mistake: refused."""
        home = self.project.top / "home"
        write(home / "thesis", "")
        self.assertPasses(self.project.run("verify", O=home))
        self.assertFails(self.clean(O=home), ui.USAGE, f"{home} holds what was not made here: thesis", "correct O=")
        self.assertFails(self.clean(O=self.project.path), ui.USAGE, "not made here")
        self.assertTrue((home / "verify/summary.json").exists())
        (home / "thesis").unlink()
        self.assertPasses(self.clean(O=home))
        self.assertFalse(home.exists())

    def test_waits(self):
        """Not under the feet of a running command."""
        self.assertPasses(self.project.run("verify"))
        first = self.project.start("verify", TOY_GUEST="sleep", TIMEOUT=2)
        wait_for((self.project.top / "started").exists, "the guest")
        done = self.assertPasses(self.clean())
        self.assertIn("waiting for it", done.out)
        self.assertEqual(first.communicate(timeout=60)[0].count("verdict: hang"), 1)


class TestTwoAtOnce(ProjectTest):
    """Two commands in one project end well, both."""

    def test_same_output_directory(self):
        """The second waits for the first and says so."""
        first = self.project.start("verify", TOY_GUEST="sleep", TIMEOUT=3)
        wait_for((self.project.top / "started").exists, "the guest")
        second = self.project.start("verify")
        out1, _ = first.communicate(timeout=60)
        out2, _ = second.communicate(timeout=60)
        self.assertEqual((first.returncode, second.returncode), (ui.GUEST_HANG, ui.PASS), out1 + out2)
        self.assertIn(f"another command is using the output directory ({self.project.out}): waiting for it", out2)
        self.assertNothingLeft()

    def test_different_output_directories(self):
        """With O= of their own they run at the same time."""
        children = [self.project.start("verify", O=self.project.path / f"out{n}") for n in range(2)]
        for child in children:
            out, err = child.communicate(timeout=60)
            self.assertEqual(child.returncode, 0, out + err)
            self.assertNotIn("waiting", out)

    def test_one_cache_two_output_directories(self):
        """They fetch a source once."""
        self.project.make_mirror()
        children = [self.project.start("verify", O=self.project.path / f"out{n}", KERNEL=None) for n in range(2)]
        ends = [(c.communicate(timeout=60), c.returncode) for c in children]
        self.assertEqual([status for _, status in ends], [0, 0], ends)
        self.assertEqual(sum("importing" in out for (out, _), _ in ends), 1)


class TestDiskFull(ProjectTest):
    """A small disk is refused before the work, a full one reported; room made, it goes on."""

    def small(self, place: Path, size: str = "8m", inodes: int = 10000) -> list[str]:
        place.mkdir(parents=True, exist_ok=True)
        return private_mounts(f"mount -t tmpfs -o size={size},nr_inodes={inodes} small {place}")

    def test_cache_too_small(self):
        """CACHE= without room for a tool root: how much is needed, where, and what is free."""
        place = self.project.top / "small"
        done = self.project.run("tools", wrap=self.small(place), CACHE=place, PATH=f"{self.project.top / 'bin'}:{os.environ['PATH']}")
        self.assertFails(done, ui.USAGE, f"the tool root needs 5 GB in {place}, and 0.0 GB are free", "CACHE=")

    def test_no_room_for_the_source(self):
        """CACHE= with a tool root and no room for a source."""
        self.project.make_mirror()
        place = self.project.top / "small"
        name = self.project.tool_root_name()
        wrap = self.small(place)
        wrap[wrap.index("-ec") + 1] = wrap[wrap.index("-ec") + 1].replace("; exec", f"; ln -s {self.project.cache / name} {place / name}; exec")
        done = self.project.run("verify", wrap=wrap, CACHE=place, KERNEL=None)
        self.assertFails(done, ui.USAGE, f"the linux source needs 2 GB in {place}")

    def test_out_too_small(self):
        """O= without room for the tree; with a tree, without room for the build."""
        place = self.project.top / "small"
        done = self.project.run("verify", wrap=self.small(place), O=place)
        self.assertFails(done, ui.USAGE, f"the linux tree needs 2 GB in {place}/linux/src, and 0.0 GB are free", "O=")
        done = self.project.run("verify", wrap=self.small(place), O=place, TREE=self.project.kernel)
        self.assertFails(done, ui.USAGE, f"a kernel build needs 1.5 GB in {place}", "O=")

    def sweep(self, variable: str, *, inodes, command: list[str], report: Path, **env) -> int:
        """Run @command with @variable on a disk that has room for @inodes files; returns how often
        it was full. Then, with room made, the same command succeeds."""
        full = 0
        place = self.project.top / "small"
        place.mkdir(exist_ok=True)
        for count in inodes:
            script = (f"mount -t tmpfs -o size=64g,nr_inodes={count} small {place}; "
                      + (f"mkdir -p {place}/x && rmdir {place}/x; ln -s {self.project.cache / self.project.tool_root_name()} {place}/; " if variable == "CACHE" else "")
                      + f"set +e; \"$@\"; status=$?; find {place} -name 'tmp-*' -o -name '.new-*' > {report}; "
                      f"mount -o remount,nr_inodes=100000 {place}; echo ===AGAIN===; echo ===AGAIN=== >&2; \"$@\" || exit 99; exit $status")
            user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
            done = self.project.run_command("unshare", *user, "--mount", "sh", "-ec", script, "sh", *command,
                                            **{variable: place, "PROJECT": "", **env})
            first = support.Done(done.status, done.out.partition("===AGAIN===")[0], done.err.partition("===AGAIN===")[0])
            if first.status == 0:
                continue
            full += 1
            with self.subTest(variable=variable, inodes=count):
                self.assertNotEqual(done.status, 99, f"did not go on once there was room\n{done.text}")
                self.assertNotRegex(done.err, "(?m)^(Traceback|Exception ignored)")
                self.assertIn(done.status, (ui.USAGE, ui.BUILD_FAILED), done.text)
                self.assertRegex(first.err, r"(?i)no space left|disk")
                self.assertRegex(first.err, r"(?m)^error: ")
                self.assertEqual(report.read_text(), "", "left behind on the full disk")
        return full

    def test_full_while_importing(self):
        """CACHE= fills up at any point of fetching and importing a source."""
        self.project.make_mirror()
        full = self.sweep("CACHE", inodes=(8, 14, 20, 26, 32, 38, 44, 50, 56), command=self.project.command("verify"),
                          report=self.project.top / "left", KERNEL=None)
        self.assertGreaterEqual(full, 4)

    def test_full_while_building(self):
        """O= fills up at any point of checkout, build and run."""
        full = self.sweep("O", inodes=(4, 8, 16, 24, 32, 40, 44, 48, 52, 56, 60, 64), command=self.project.command("verify"),
                          report=self.project.top / "left")
        self.assertGreaterEqual(full, 5)


class TestMake(ProjectTest):
    """The front door."""

    def make(self, *args, **env):
        return self.project.run_command("make", *args, **env)

    def test_help(self):
        """'make' alone prints each target and each variable, variables last."""
        done = self.assertPasses(self.make())
        text = (self.project.path / "Makefile").read_text()
        for target in re.findall(r"^([a-z-]+):.*##", text, re.M):
            self.assertRegex(done.out, rf"(?m)^  {target} ")
        variables = done.out.index("Variables:")
        for name in ("KERNEL=", "TREE=", "QEMU=", "GUEST=", "TIMEOUT=", "TOOLS=", "CACHE=", "LINUX_VERSION=", "LINUX_TARBALL="):
            self.assertGreater(done.out.index(f"  {name}"), variables)
        self.assertFalse(self.project.out.exists())

    def test_every_target_has_help(self):
        """No target is missing from the help."""
        text = (self.project.path / "Makefile").read_text()
        phony = set(" ".join(re.findall(r"^\.PHONY: (.*)$", text, re.M)).split()) - {"help"}
        self.assertEqual(phony, set(re.findall(r"^([a-z-]+):.*##", text, re.M)))

    def test_failure_is_failure(self):
        """'make verify' fails where the verdict is not pass, variables on its command line."""
        kernel, qemu = f"KERNEL={self.project.kernel}", f"QEMU={self.project.qemu}"
        self.assertPasses(self.make("verify", kernel, qemu, KERNEL=None, QEMU=None))
        done = self.make("verify", kernel, qemu, "GUEST=second", TOY_GUEST="fail")
        self.assertNotEqual(done.status, 0)
        self.assertRegex(done.out, r"guest: +second")
        self.assertIn("verdict: fail (exit status 1)", done.out)
        self.assertNotEqual(self.make("verify", "KERNEL=/no/such").status, 0)

    def test_parallel_make(self):
        """make -j does not reach into the kernel's build."""
        self.assertPasses(self.make("-j8", "verify"))
        self.assertNotIn("jobserver", (self.project.out / "linux/build-4k/build.log").read_text())

    def test_verbs(self):
        """Every verb explains itself, and 'make' offers every verb."""
        verbs = re.search(r"\nVERB.*|\n  VERB\n(.*?)\n\n", self.project.run("--help").out, re.S)
        names = re.findall(r"(?m)^    ([a-z][a-z-]+)", self.project.run("--help").out)
        self.assertGreaterEqual(len(names), 7, verbs)
        text = (self.project.path / "Makefile").read_text()
        honoured = ""
        for name in names:
            said = self.assertPasses(self.project.run(name, "--help", COLUMNS=100)).out
            self.assertRegex(text, rf"\$\(KPKEYS\) {name}\b")
            # What it does, between its usage and its arguments; and all of it on one screen.
            usage, about, *_ = re.split(r"\n\n", said)
            self.assertTrue(usage.startswith("usage:"), said)
            self.assertRegex(about, r"(?s)^[A-Z].{40,}\.\Z", name)
            self.assertLessEqual(len(said.splitlines()), 40, name)
            honoured += said
        for name in re.findall(r"([A-Z_]+)=", "".join(re.findall(r"(?m)^#\? ((?:[A-Z_]+=\S* )+)", text))):
            if name not in ("SERIES",):
                self.assertRegex(honoured, rf"\b{name}=", "no verb says that it honours it")

    def test_no_escape_codes(self):
        """Output into a pipe is plain text; on a terminal NO_COLOR is obeyed."""
        self.assertNotIn("\033", self.project.run("verify").out)
        self.assertNotIn("\033", self.project.run("verify", KERNEL="/no").err)
        command = self.project.command("verify")
        script = ["script", "-qec", " ".join(command), "/dev/null"]
        self.assertIn("\033[32m", self.project.run_command(*script, TERM="xterm").out)
        self.assertNotRegex(self.project.run_command(*script, TERM="xterm", NO_COLOR="1").out, r"\033\[\d*(;\d+)*m")

    def test_verbose(self):
        """V=1 shows each command and its output."""
        done = self.assertPasses(self.project.run("verify", V=1))
        self.assertRegex(done.err, r"(?m)^\+ .*git .*apply")
        self.assertIn("  CC      arch/arm64/mm/toy.o", done.err)

    def test_reader_goes_away(self):
        """'scripts/kpkeys guests --list | head -1' ends quietly."""
        done = subprocess.run(["sh", "-c", '"$@" | head -c 1; :', "sh", *self.project.command("guests", "--list")],
                              env=self.project.environment(PYTHONUNBUFFERED=1), capture_output=True, text=True)
        self.assertNotIn("Traceback", done.stderr)
        with subprocess.Popen(self.project.command("verify"), env=self.project.environment(), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as child:
            child.stdout.close()
            err = child.stderr.read()
            child.wait(60)
        self.assertNotIn("Traceback", err)
        self.assertNotEqual(child.returncode, 0)
        self.assertNothingLeft()


class TestOrdinaryUser(ProjectTest):
    """An ordinary user, from nothing: the real mmdebstrap and the real mirror. Takes minutes."""

    cached = False
    USER = 12345

    def as_user(self) -> list[str]:
        """A command prefix: that user, with subordinate ids of its own, on a machine it knows."""
        if os.geteuid() != 0:
            return []
        top = self.project.top
        for name, line in (("passwd", f"tester:x:{self.USER}:{self.USER}::{top}/home:/bin/sh"), ("group", f"tester:x:{self.USER}:"),
                           ("subuid", "tester:200000:65536"), ("subgid", "tester:200000:65536")):
            old = Path("/etc", name).read_text() if Path("/etc", name).exists() else ""
            write(top / "etc" / name, old + line + "\n")
        mounts = private_mounts(*(f"touch /etc/{n}; mount --bind {top}/etc/{n} /etc/{n}" for n in ("passwd", "group", "subuid", "subgid")))
        return [*mounts, "setpriv", f"--reuid={self.USER}", f"--regid={self.USER}", "--clear-groups"]

    def test_from_nothing(self):
        """The tool root is made, its compiler runs, and plain rm removes the cache."""
        project = self.project
        (project.top / "home").mkdir()
        # Who makes it is the point, not how much of it there is.
        packages = project.path / "scripts" / "toolroot.packages"
        self.assertIn("clang-22\n", packages.read_text())
        packages.write_text("ca-certificates\nclang-22\n")
        user = self.as_user()
        if user:
            subprocess.run(["chown", "-R", f"{self.USER}:{self.USER}", project.path, project.top / "home"], check=True)
        # As closed as a home directory: mmdebstrap's mapped users cannot enter.
        project.path.chmod(0o700)
        env = {"HOME": project.top / "home", "USER": "tester", "KERNEL": None, "QEMU": None}
        done = self.assertPasses(project.run("tools", "clang-22", "--version", wrap=user, timeout=1500, **env))
        self.assertIn("clang version 22", done.out)
        self.assertNothingLeft()
        done = self.assertPasses(project.run("tools", "apt-get", "--version", wrap=[*no_network(), *user] if user else [], **env))
        self.assertPasses(project.run_command(*user, "rm", "-rf", project.cache, **env))
        self.assertFalse(project.cache.exists())


if __name__ == "__main__":
    unittest.main()
