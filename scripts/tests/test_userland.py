# SPDX-License-Identifier: GPL-2.0-only
"""Whether the comparison with unprotected page tables notices what it is there to notice.

Each test breaks one thing in the handmade consoles of two guests, or three, and asks for the verdict.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from test_selftests import console  # noqa: E402

from kpkeyslib import selftests, settings, toolroot, ui, userland  # noqa: E402
from kpkeyslib.selftests import Ending, Outcome, Test  # noqa: E402
from kpkeyslib.ui import Failure  # noqa: E402

TESTS = {test.name: test for test in (
    Test("cow", False, 60, "/tests/mm/cow"), Test("merge", False, 60, "/tests/mm/merge"),
    Test("pfnmap", False, 60, "/tests/mm/pfnmap"), Test("swap", False, 60, "/tests/traffic"),
    Test("modules", False, 60, "/tests/traffic"), Test("kexec", True, 60, "/tests/traffic"),
    Test("kexec_after", True, 60, "/tests/traffic"))}

GOOD = """\
KTAP version 1
1..5
# guest release=7.3.4 cpus=2 poe=1
  # Subtest: cow
  TAP version 13
  1..3
  ok 1 fork
  ok 2 vmsplice # SKIP no such system call
  ok 3 fork of a huge page
ok 1 cow # exit=0 time=1.5 orphans=22
  # Subtest: merge
  1..2
  ok 1 left
  not ok 2 right
not ok 2 merge # EXIT 1 time=0.1 orphans=0
  # Subtest: pfnmap
  1..0 # SKIP cannot map /dev/mem
ok 3 pfnmap # SKIP exit=4 time=0.1 orphans=0
  # Subtest: swap
  # pswpout: 0 before, 700 now
SCAN
ok 4 swap # exit=0 time=3.0 orphans=0
  # Subtest: modules
SCAN
ok 5 modules # exit=0 time=3.0 orphans=0
# Totals: run=5 failed=1
# end
"""
SCAN = "  # scan tables: 812\n  # scan unkeyed: 0\n  # scan stale: 0"
NO_SCAN = "  # scan enabled: 0"
ENABLED = "kpkeys_hardened_pgtables: enabled, 40 early page table pages protected"
DISABLED = "kpkeys_hardened_pgtables: disabled on the command line"

KEXEC_FIRST = f"""\
KTAP version 1
1..1
  # Subtest: kexec
{SCAN}
  # kexec: leaving
"""
KEXEC_SECOND = f"""\
KTAP version 1
1..1
  # Subtest: kexec_after
{SCAN}
ok 1 kexec_after # exit=0 time=2.0 orphans=0
# end
"""
KEXEC = userland.Run("kexec", "", "enabled", userland.ENABLED, names=("kexec", "kexec_after"))
TWO = (userland.HARDENED, userland.OFF)
EXCEPTIONS = userland.Exceptions(fails={"merge": "it wants more CPUs"})


class Judged(unittest.TestCase):
    """Consoles of a protected and an unprotected guest, and what the judge says of them."""

    def judge(self, hardened: str | None = None, off: str | None = None, *, feature: str = ENABLED, after: str = "",
              ending: Ending = Ending.EXIT, tests=TESTS, exceptions=None, **more) -> userland.Verdict:
        """The verdict on the two consoles; of each kernel message @feature and @after are the protected one's."""
        hardened = GOOD if hardened is None else hardened
        reports = {"hardened": userland.read(console(hardened.replace("SCAN", SCAN), feature, after), ending),
                   "off": userland.read(console((GOOD if off is None else off).replace("SCAN", NO_SCAN), DISABLED))}
        return userland.judge(reports, tests, exceptions or EXCEPTIONS, TWO)

    def assert_fails(self, verdict: userland.Verdict, *phrases: str, number: int = 1, status: int = ui.TEST_FAILED) -> None:
        """@number problems, and each of @phrases in them."""
        text = "\n".join(verdict.problems)
        self.assertEqual((len(verdict.problems), verdict.status), (number, status), text)
        for phrase in phrases:
            self.assertIn(phrase, text)

    def changed(self, old: str, new: str, text: str = GOOD) -> str:
        self.assertEqual(text.count(old), 1)
        return text.replace(old, new)


class SelftestsTest(Judged):
    """The list of what passes, on both sides."""

    def test_identical(self):
        verdict = self.judge()
        self.assertEqual((verdict.problems, verdict.status), ([], ui.PASS))
        # Cases of cow and merge, and the traffic in both guests.
        self.assertEqual(verdict.passed, 2 + 1 + 2 + 2)

    def test_skips_are_told_with_their_reason_and_do_not_pass(self):
        text = "\n".join(self.judge().skips)
        self.assertIn("pfnmap: skips in 'off' as well: cannot map /dev/mem", text)
        self.assertIn("hardened: cow: 2 vmsplice # SKIP no such system call", text)
        self.assertIn("merge: ends in 'fail' in 'off' as well: it wants more CPUs", text)

    def test_failing_alike_without_an_explanation(self):
        """The guest may lack something, and then all tests fail alike."""
        verdict = self.judge(exceptions=userland.Exceptions(whole={"cow": "its cases race"}))
        self.assert_fails(verdict, "merge: ends in 'fail' in 'off' as well (EXIT 1 time=0.1 orphans=0), which exceptions.txt does not explain")

    def test_case_fails_only_when_protected(self):
        text = self.changed("  ok 3 fork of a huge page", "  not ok 3 fork of a huge page")
        verdict = self.judge(self.changed("ok 1 cow # exit=0", "not ok 1 cow # EXIT 1", text))
        self.assert_fails(verdict, "hardened: cow: 3 fork of a huge page: does not pass", "hardened: cow: does not pass", number=2)

    def test_case_passes_only_when_protected(self):
        verdict = self.judge(self.changed("  not ok 2 right", "  ok 2 right"))
        self.assert_fails(verdict, "merge: 2 right: passes, but does not in 'off'")

    def test_case_that_is_expected_to_fail(self):
        """It may pass on either side, and counts on neither."""
        text = self.changed("ok 1 fork\n", "ok 1 # XFAIL fork\n")
        good = self.judge().passed
        for verdict in (self.judge(text), self.judge(off=text), self.judge(text, text)):
            self.assertEqual((verdict.problems, verdict.passed), ([], good - 1))

    def test_pass_turns_into_skip(self):
        verdict = self.judge(self.changed("ok 1 fork\n", "ok 1 # SKIP fork\n"))
        self.assert_fails(verdict, "cow: 1 fork: does not pass")

    def test_case_vanishes(self):
        verdict = self.judge(self.changed("  ok 1 fork\n", ""))
        self.assert_fails(verdict, "cow: 1 fork: does not pass")

    def test_test_is_killed_only_when_protected(self):
        verdict = self.judge(self.changed("ok 1 cow # exit=0", "not ok 1 cow # SIGNAL 11"))
        self.assert_fails(verdict, "hardened: cow: does not pass", "SIGNAL 11")

    def test_failing_alike_but_in_another_way(self):
        verdict = self.judge(self.changed("not ok 2 merge # EXIT 1", "not ok 2 merge # TIMEOUT limit=60"))
        self.assert_fails(verdict, "merge: ends in 'timeout', in 'off' it ends in 'fail'")

    def test_cases_of_a_test_judged_as_a_whole(self):
        exceptions = userland.Exceptions(whole={"merge": "its cases race"}, fails=EXCEPTIONS.fails)
        self.assertEqual(self.judge(self.changed("  not ok 2 right", "  ok 2 right"), exceptions=exceptions).problems, [])

    def test_test_vanishes(self):
        start, end = GOOD.index("  # Subtest: cow"), GOOD.index("  # Subtest: merge")
        text = self.changed("1..5", "1..4", GOOD[:start] + GOOD[end:])
        self.assert_fails(self.judge(text), "planned 4 tests, 5 are wanted", "cow: did not run", number=2)

    def test_test_vanishes_from_the_unprotected_side(self):
        start, end = GOOD.index("  # Subtest: cow"), GOOD.index("  # Subtest: merge")
        verdict = self.judge(off=self.changed("1..5", "1..4", GOOD[:start] + GOOD[end:]))
        self.assert_fails(verdict, "hardened: cow: there is nothing of 'off' to compare with", "off: cow: did not run", number=3)

    def test_unknown_test(self):
        text = self.changed("# Totals", "  # Subtest: x\nok 6 x # exit=0 time=0\n# Totals")
        self.assert_fails(self.judge(text), "hardened: x: ran, but is not wanted")

    def test_empty_list(self):
        nothing = "KTAP version 1\n1..0\n# end\n"
        self.assert_fails(self.judge(nothing, nothing, tests={}), "no test is listed")

    def test_nothing_passes(self):
        tests = {"pfnmap": TESTS["pfnmap"]}
        start, end = GOOD.index("  # Subtest: pfnmap"), GOOD.index("  # Subtest: swap")
        text = "KTAP version 1\n1..1\n" + GOOD[start:end] + "# end\n"
        self.assert_fails(self.judge(text, text, tests=tests), "nothing passed")


class TrafficTest(Judged):
    """What is done to page tables, and the scan that follows."""

    def test_scan_finds_something(self):
        for finding in ("unkeyed", "stale"):
            verdict = self.judge(GOOD.replace("SCAN", SCAN.replace(f"{finding}: 0", f"{finding}: 3"), 1))
            self.assert_fails(verdict, f"hardened: swap: the scan found 3 {finding} page tables")

    def test_first_offender_is_named(self):
        scan = SCAN.replace("stale: 0", "stale: 1\n  # scan offender: stale level=none alias=linear pfn=0x7 addr=0x0 pid=1 comm=init")
        verdict = self.judge(GOOD.replace("SCAN", scan, 1))
        self.assert_fails(verdict, "the scan found 1 stale page tables, the first: stale level=none alias=linear pfn=0x7")

    def test_no_scanner(self):
        self.assert_fails(self.judge(GOOD.replace("SCAN", "  # scan: none")), "hardened: swap: the kernel has no scanner",
                          "hardened: modules: the kernel has no scanner", number=2)

    def test_scanner_of_a_kernel_that_protects_nothing(self):
        self.assert_fails(self.judge(GOOD.replace("SCAN", NO_SCAN, 1)), "swap: the scan does not say what is unkeyed",
                          "swap: the scan does not say what is stale", number=2)

    def test_scan_says_too_little(self):
        verdict = self.judge(GOOD.replace("SCAN", "  # scan unkeyed: 0", 1))
        self.assert_fails(verdict, "swap: the scan does not say what is stale")

    def test_scan_did_not_take_place(self):
        self.assert_fails(self.judge(GOOD.replace("SCAN\n", "", 1)), "hardened: swap: no scan after it")

    def test_unprotected_scan_that_finds_something(self):
        """A scanner may be there with the protection off, but has nothing to find."""
        good = self.judge(off=GOOD.replace("SCAN", SCAN))
        self.assertEqual(good.problems, [])
        self.assert_fails(self.judge(off=GOOD.replace("SCAN", SCAN.replace("stale: 0", "stale: 1"), 1)), "off: swap: the scan found 1 stale")

    def test_traffic_fails_alike(self):
        """Unlike a selftest, it must pass everywhere."""
        text = self.changed("ok 5 modules # exit=0", "not ok 5 modules # EXIT 1")
        self.assert_fails(self.judge(text, text), "hardened: modules: fail", "off: modules: fail", number=2)

    def test_traffic_is_missing(self):
        start, end = GOOD.index("  # Subtest: modules"), GOOD.index("# Totals")
        text = self.changed("1..5", "1..4", GOOD[:start] + GOOD[end:])
        self.assert_fails(self.judge(text, text), "hardened: modules: did not run", "off: modules: did not run", number=4)


class GuestTest(Judged):
    """The guest as such."""

    def test_oops(self):
        verdict = self.judge(after="Internal error: Oops: 9600000f [#1] SMP")
        self.assert_fails(verdict, "hardened: the kernel warned: Internal error: Oops: 9600000f")

    def test_warning_in_the_midst(self):
        text = console(GOOD.replace("SCAN", SCAN), ENABLED)
        text = self.changed("] selftests:   ok 1 left", "] WARNING: mm/memory.c:1 at f\r\n[ 1.0] selftests:   ok 1 left", text)
        reports = {"hardened": userland.read(text), "off": userland.read(console(GOOD.replace("SCAN", NO_SCAN), DISABLED))}
        self.assert_fails(userland.judge(reports, TESTS, EXCEPTIONS, TWO), "WARNING: mm/memory.c:1")

    def test_panic(self):
        text = GOOD[:GOOD.index("ok 4 swap")]
        verdict = self.judge(text, after="Kernel panic - not syncing: Oops: Fatal exception")
        self.assert_fails(verdict, "hardened: guest panic: in swap", "swap: did not end", "modules: did not run", number=3,
                          status=ui.GUEST_PANIC)

    def test_guest_died_early(self):
        verdict = self.judge(GOOD[:GOOD.index("ok 2 merge")])
        self.assert_fails(verdict, "hardened: cut short: QEMU exited with 0 in merge", number=5, status=ui.NO_RESULTS)

    def test_guest_hangs(self):
        verdict = self.judge(GOOD[:GOOD.index("ok 5 modules")], ending=Ending.TIMEOUT)
        self.assert_fails(verdict, "hardened: guest hang: in modules", number=2, status=ui.GUEST_HANG)

    def test_no_output(self):
        reports = {"hardened": userland.read(""), "off": userland.read(console(GOOD.replace("SCAN", NO_SCAN), DISABLED))}
        verdict = userland.judge(reports, TESTS, EXCEPTIONS, TWO)
        self.assertEqual(verdict.status, ui.NO_RESULTS)
        self.assertIn("hardened: no output", "\n".join(verdict.problems))

    def test_protection_was_off_all_the_time(self):
        """Then the comparison is one of like with like."""
        verdict = self.judge(feature=DISABLED)
        self.assert_fails(verdict, "disabled on the command line; it must be enabled")
        self.assert_fails(self.judge(feature="Booting Linux"), "says of the protection: nothing")

    def test_boot_line_is_not_what_it_should_be(self):
        """The reason is part of it."""
        self.assert_fails(self.judge(feature="kpkeys_hardened_pgtables: enabled, 0 early page table pages protected"), "it must be enabled, and say")
        self.assert_fails(self.judge(feature="kpkeys_hardened_pgtables: enabled"), "it must be enabled, and say")


class KunitTest(Judged):
    """A suite that runs once more after boot."""

    RUN = userland.Run("kunit", "", "enabled", userland.ENABLED, names=("kunit-hardened",))
    TESTS = {**TESTS, "kunit-hardened": Test("kunit-hardened", True, 60, userland.KUNIT)}
    TEXT = """\
KTAP version 1
1..1
  # Subtest: kunit-hardened
  TAP version 13
  1..2
  ok 1 user_pte
  ok 2 efi_pgd # SKIP there are no EFI runtime services
ok 1 kunit-hardened # exit=0 time=2.0 orphans=0
# end
"""

    def judge_kunit(self, skips: dict[str, str], text: str = TEXT) -> userland.Verdict:
        return userland.judge({"kunit": userland.read(console(text, ENABLED))}, self.TESTS, userland.Exceptions(skips=skips), (self.RUN,))

    def test_known_skip(self):
        verdict = self.judge_kunit({"kunit-hardened:efi_pgd": "there are no EFI runtime services"})
        self.assertEqual((verdict.problems, verdict.passed, len(verdict.skips)), ([], 1, 1))

    def test_unknown_skip(self):
        self.assert_fails(self.judge_kunit({}), "efi_pgd # SKIP there are no EFI runtime services, which exceptions.txt does not say")

    def test_other_reason(self):
        verdict = self.judge_kunit({"kunit-hardened:efi_pgd": "no time"})
        self.assert_fails(verdict, "which exceptions.txt does not say")

    def test_not_skipped(self):
        known = {"kunit-hardened:efi_pgd": "there are no EFI runtime services", "kunit-hardened:user_pte": "because"}
        self.assert_fails(self.judge_kunit(known), "user_pte was not skipped: because")


class KexecTest(Judged):
    """Two boots on one console."""

    def judge_kexec(self, first: str = KEXEC_FIRST, second: str = KEXEC_SECOND, before: str = "", between: str = ENABLED) -> userland.Verdict:
        text = console(first, ENABLED + before) + console(second, "Booting Linux on physical CPU 0x0\n" + between)
        return userland.judge({"kexec": userland.read(text)}, TESTS, userland.Exceptions(), (KEXEC,))

    def test_good(self):
        verdict = self.judge_kexec()
        self.assertEqual((verdict.problems, verdict.passed), ([], 2))

    def test_second_boot_does_not_come(self):
        self.assert_fails(self.judge_kexec(second=""), "kexec: cut short", "kexec_after: did not run", number=2, status=ui.NO_RESULTS)

    def test_second_boot_is_unprotected(self):
        self.assert_fails(self.judge_kexec(between=DISABLED), "it must be enabled")

    def test_warning_before(self):
        self.assert_fails(self.judge_kexec(before="\nWARNING: kernel/kexec.c:1 at f"), "WARNING: kernel/kexec.c:1")

    def test_scan_finds_something_afterwards(self):
        second = KEXEC_SECOND.replace("unkeyed: 0", "unkeyed: 2")
        self.assert_fails(self.judge_kexec(second=second), "kexec_after: the scan found 2 unkeyed")

    def test_kernel_does_not_leave(self):
        first = KEXEC_FIRST.replace("  # kexec: leaving\n", "not ok 1 kexec # EXIT 1 time=1.0 orphans=0\n# end\n")
        verdict = userland.judge({"kexec": userland.read(console(first, ENABLED))}, TESTS, userland.Exceptions(), (KEXEC,))
        self.assert_fails(verdict, "planned 1 tests, 2 are wanted", "kexec: kexec: fail", "kexec_after: did not run", number=3)


class FilesTest(unittest.TestCase):
    """The lists, and what is made of them."""

    def test_project_files_agree(self):
        tests = selftests.read_list(userland.SOURCES / "tests.list")
        exceptions = userland.read_exceptions(userland.SOURCES / "exceptions.txt")
        self.assertLessEqual({*exceptions.whole, *exceptions.fails}, set(tests))
        programs = {Path(test.program).name for test in tests.values()}
        self.assertFalse(programs & set(exceptions.excluded))
        for run in userland.RUNS:
            self.assertLessEqual(set(run.names), set(tests), run.name)
        traffic = (userland.SOURCES / "traffic.sh").read_text()
        for line in (userland.SOURCES / "tests.list").read_text().splitlines():
            item = re.search(rf"{userland.TRAFFIC} (\w+)$", line)
            if item:
                self.assertIn(f"\n{item[1]}()\n", traffic)
        self.assertLess(len(tests), 128, "MAX_TESTS of the guest's init")

    def test_bad_exceptions(self):
        with tempfile.TemporaryDirectory() as name:
            path = Path(name, "exceptions.txt")
            for line in ("exclude cow", "exclude # why", "forget cow # why", "exclude cow merge # why"):
                path.write_text(line + "\n")
                with self.assertRaises(Failure):
                    userland.read_exceptions(path)

    def test_program_that_is_nowhere(self):
        makefile = "TEST_GEN_FILES = cow\nTEST_GEN_FILES += merge\nifeq (1,1)\nTEST_GEN_FILES += new_test\nendif\nTEST_GEN_FILES += old-test\n"
        exceptions = userland.Exceptions(excluded={"old-test": "why"})
        self.assertEqual(userland.unlisted(makefile, TESTS.values(), exceptions), ["new_test"])

    def test_archive_of_two_trees(self):
        """The upper one wins, links stay links, and what is not wanted is not there."""
        with tempfile.TemporaryDirectory() as name:
            below, root = Path(name, "below"), Path(name, "root")
            for path, text in ((below / "usr/bin/sh", "shell"), (below / "usr/share/doc/x", "unwanted"), (below / "etc/passwd", "below"),
                               (root / "init", "init"), (root / "etc/passwd", "upper")):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            (below / "bin").symlink_to("usr/bin")
            archive = selftests.make_initramfs(root, Path(name, "cpio"), below=below, without=["/usr/share"])
            members = unpack(archive.read_bytes())
        self.assertEqual(members["etc/passwd"], (stat.S_IFREG | 0o644, b"upper"))
        self.assertEqual(members["bin"], (stat.S_IFLNK | 0o777, b"usr/bin"))
        self.assertEqual(members["usr/bin/sh"][1], b"shell")
        self.assertFalse([name for name in members if "share" in name])


def unpack(data: bytes) -> dict[str, tuple[int, bytes]]:
    """Name: (mode, content) of each member of a 'newc' archive."""
    members, place = {}, 0
    while True:
        numbers = [int(data[place + 6 + 8 * n:place + 14 + 8 * n], 16) for n in range(13)]
        start = place + 110
        name = data[start:start + numbers[11] - 1].decode()
        if name == "TRAILER!!!":
            return members
        start = (start + numbers[11] + 3) & ~3
        members[name] = (numbers[1], data[start:start + numbers[6]])
        place = (start + numbers[6] + 3) & ~3


class DebianTest(unittest.TestCase):
    """The tree in the cache, with a mmdebstrap that takes no time."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.top = Path(holder.name).resolve()
        (self.top / "bin").mkdir()
        self.asked = self.top / "asked"
        self.program("mmdebstrap", f'echo "$@" >> {self.asked}; [ ! -e {self.top}/broken ] || exit 25; mkdir {self.top}/t; '
                     f'touch {self.top}/t/file; for a; do case $a in *.tar) tar -C {self.top}/t -cf "$a" . ;; esac; done; rm -r {self.top}/t')
        environment = {"PATH": f"{self.top / 'bin'}:{os.environ['PATH']}", "CACHE": str(self.top / "cache"), "O": str(self.top / "out"),
                       "DEBIAN_MIRROR": "file:///nowhere"}
        for patch in (mock.patch.dict(os.environ, environment), mock.patch.object(toolroot, "install_host_needs"), mock.patch("builtins.print")):
            patch.start()
            self.addCleanup(patch.stop)

    def program(self, name: str, text: str) -> None:
        (self.top / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.top / "bin" / name).chmod(0o755)

    def test_made_once_and_again_when_the_list_changes(self):
        first = userland.debian()
        self.assertTrue((first / "file").is_file())
        self.assertEqual(userland.debian(), first)
        asked = self.asked.read_text()
        self.assertEqual(len(asked.splitlines()), 1)
        for word in ("--variant=extract", "--architectures=arm64", "libnuma-dev", "file:///nowhere"):
            self.assertIn(word, asked)
        changed = self.top / "packages"
        changed.write_text("bash  # only\n")
        with mock.patch.object(userland, "PACKAGES", changed):
            second = userland.debian()
        self.assertNotEqual(second, first)
        self.assertFalse(first.exists())

    def test_failure_leaves_nothing(self):
        (self.top / "broken").touch()
        with self.assertRaisesRegex(Failure, "user land could not be made"):
            userland.debian()
        self.assertEqual([p.name for p in settings.cache().iterdir() if p.name != ".lock"], [])


class AnswersTest(unittest.TestCase):
    """A guest that asks its host for something: a script in QEMU's place."""

    def run_guest(self, body: str) -> tuple[selftests.Report, list]:
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        top = Path(holder.name).resolve()
        for name in ("image", "initramfs"):
            (top / name).touch()
        qemu = top / "qemu"
        qemu.write_text("#!/bin/sh\n" + textwrap.dedent(body))
        qemu.chmod(0o755)
        asked = []
        guest = selftests.Guest(qemu=qemu, image=top / "image", initramfs=top / "initramfs", directory=top / "guest", timeout=20)
        report = selftests.run(guest, {"memory": lambda machine, number: asked.append(number)})
        return report, asked

    def test_each_question_is_answered_in_order(self):
        report, asked = self.run_guest("""\
            echo 'selftests: KTAP version 1'
            echo 'selftests:   # ask: memory 268435456'
            echo 'selftests:   # ask: nothing 5'
            sleep 0.1
            echo 'selftests:   # ask: memory 0'
            sleep 1
            echo 'selftests: # end'
            """)
        self.assertEqual(asked, [268435456, 0])
        self.assertIs(report.outcome, Outcome.COMPLETE)

    def test_guest_that_asks_and_dies(self):
        report, _ = self.run_guest("echo 'selftests:   # ask: memory 1'\n")
        self.assertIs(report.outcome, Outcome.CUT_SHORT)


if __name__ == "__main__":
    unittest.main()
