# SPDX-License-Identifier: GPL-2.0-only
"""Whether the selftest runner tells one kind of breakage from another.

Most tests break a handmade console, one thing at a time, and ask for the report. Those of FakeQemuTest run a script
in QEMU's place. Those of LiveTest need a guest, named in the environment:

  KPKEYS_QEMU=<path> KPKEYS_IMAGE=<path> KPKEYS_SELFTESTS=<the out of 'selftests build'> [KPKEYS_ENTER=<wrapper>]
"""

from __future__ import annotations

import os
import shlex
import stat
import struct
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import support  # noqa: E402, F401
from kpkeyslib import selftests, ui  # noqa: E402
from kpkeyslib.selftests import Ending, Outcome  # noqa: E402
from kpkeyslib.ui import Failure  # noqa: E402

LIST = """\
alpha default 60 /tests/mm/alpha
beta  default 60 /tests/beta
gamma default 60 X=1 /tests/gamma now
slow  manual  60 /tests/slow
"""

EXPECT = """\
guest poe=1
alpha pass pass=3 skip=1 # one case needs a frobnicator
shows alpha POE present
hides alpha POE absent
beta  pass pass=1 skip=0
gamma skip pass=0 skip=1 # needs two CPUs
slow  pass pass=1 skip=0
"""

# What the guest's init prints when all is as expected.
GOOD = """\
KTAP version 1
1..3
# guest release=7.3.4 cpus=2 poe=1
  # Subtest: alpha
  TAP version 13
  1..4
  # POE present
  ok 1 first
  ok 2 second
  ok 3 # SKIP third
  ok 4 fourth
  # Totals: pass:3 fail:0 xfail:0 xpass:0 skip:1 error:0
ok 1 alpha # exit=0 time=1.5 orphans=22
  # Subtest: beta
  ==>> completed. PASS(1)
ok 2 beta # exit=0 time=0.1 orphans=0
  # Subtest: gamma
  1..0 # SKIP no second CPU
ok 3 gamma # SKIP exit=4 time=0.1 orphans=0
# Totals: run=3 failed=0
# end
"""


def console(text: str = GOOD, before: str = "Booting Linux on physical CPU 0x0", after: str = "") -> str:
    """The console of a guest whose init printed @text, between the kernel's messages @before and @after."""
    lines = before.splitlines() + ["selftests: " + line for line in text.splitlines()] + after.splitlines()
    return "".join(f"[{n / 10:12.6f}] {line}\r\n" for n, line in enumerate(lines))


class Scratch(unittest.TestCase):
    """A test with a directory of its own, that holds the list and the expectations."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.dir = Path(holder.name).resolve()
        self.write("tests.list", LIST)
        self.write("expect.txt", EXPECT)

    def write(self, name: str, text: str) -> Path:
        path = self.dir / name
        path.write_text(text)
        return path

    def judge(self, text: str, *, names=(), ending=Ending.EXIT, exit_status=0):
        """(exit status, problems as one string, report) of the console @text."""
        expected = selftests.read_expectations(self.dir / "expect.txt")
        wanted = selftests.wanted(selftests.read_list(self.dir / "tests.list"), expected, names)
        report = selftests.parse(text, ending, exit_status)
        status, problems = selftests.judge(report, expected, wanted)
        return status, "\n".join(problems), report

    def assert_failed(self, text: str, *phrases: str, **options):
        """The run of console @text must count as failed, with one problem that has each of @phrases."""
        status, problems, _ = self.judge(text, **options)
        self.assertEqual(status, ui.TEST_FAILED, problems)
        for phrase in phrases:
            self.assertIn(phrase, problems)


class GoodRunTest(Scratch):
    def test_good_run_passes(self):
        status, problems, report = self.judge(console())
        self.assertEqual((status, problems), (ui.PASS, ""))
        alpha = report.tests["alpha"]
        self.assertEqual((alpha.count("pass"), alpha.count("skip"), alpha.seconds), (3, 1, 1.5))
        self.assertEqual(report.guest["release"], "7.3.4")

    def test_named_test_runs_alone(self):
        text = ("KTAP version 1\n1..1\n# guest poe=1\n  # Subtest: slow\nok 1 slow # exit=0 time=9.0 orphans=0\n"
                "# end\n")
        status, problems, _ = self.judge(console(text), names=["slow"])
        self.assertEqual((status, problems), (ui.PASS, ""))

    def test_kernel_messages_between_results_do_no_harm(self):
        broken = console().replace("ok 2 second", "ok 2 second\r\n[    1.000000] random: crng init done", 1)
        self.assertEqual(self.judge(broken)[0], ui.PASS)

    def test_summary_names_each_test_and_reason(self):
        _, _, report = self.judge(console())
        table = selftests.summary(report, selftests.read_expectations(self.dir / "expect.txt"))
        for word in ("alpha", "beta", "gamma", "needs two CPUs"):
            self.assertIn(word, table)

    def test_exception_level_of_the_boot(self):
        text = console(before="CPU: All CPU(s) started at EL2")
        self.assertEqual(self.judge(text)[2].guest["boot"], "EL2")

    def test_thread_id_and_escape_before_the_message(self):
        text = "".join(line.replace("] ", "][   T1] ", 1) for line in console().splitlines(keepends=True))
        self.assertEqual(self.judge(text)[0], ui.PASS)


class BrokenResultsTest(Scratch):
    """Things a guest that ran to its end may get wrong: all of them are failures."""

    def mutate(self, old: str, new: str) -> str:
        self.assertIn(old, GOOD)
        return console(GOOD.replace(old, new, 1))

    def test_case_fails(self):
        text = GOOD.replace("  ok 2 second", "  not ok 2 second").replace("ok 1 alpha # exit=0",
                                                                         "not ok 1 alpha # EXIT 1")
        self.assert_failed(console(text), "alpha: fail (EXIT 1", "2 second")

    def test_case_fails_though_the_exit_status_is_good(self):
        self.assert_failed(self.mutate("  ok 2 second", "  not ok 2 second"), "fail 1 instead of 0")

    def test_expected_count_off_by_one(self):
        self.write("expect.txt", EXPECT.replace("pass=3", "pass=4"))
        self.assert_failed(console(), "alpha: counts differ: pass 3 instead of 4")

    def test_one_case_vanishes(self):
        self.assert_failed(self.mutate("  ok 4 fourth\n", ""), "planned 4 results and printed 3",
                           "pass 2 instead of 3")

    def test_case_in_the_middle_vanishes(self):
        self.assert_failed(self.mutate("  ok 2 second\n", ""), "not numbered")

    def test_pass_turns_into_skip(self):
        self.assert_failed(self.mutate("ok 4 fourth", "ok 4 # SKIP fourth"),
                           "pass 2 instead of 3, skip 2 instead of 1")

    def test_skip_turns_into_pass(self):
        self.assert_failed(self.mutate("ok 3 # SKIP third", "ok 3 third"), "skip 0 instead of 1")

    def test_all_cases_skipped(self):
        text = GOOD
        for n, name in ((1, "first"), (2, "second"), (4, "fourth")):
            text = text.replace(f"ok {n} {name}", f"ok {n} # SKIP {name}")
        self.assert_failed(console(text), "pass 0 instead of 3")

    def test_test_skips_as_a_whole(self):
        self.assert_failed(self.mutate("ok 2 beta # exit=0", "ok 2 beta # SKIP exit=4"),
                           "beta: ended in 'skip', expected 'pass'")

    def test_expected_skip_runs_after_all(self):
        self.assert_failed(self.mutate("ok 3 gamma # SKIP exit=4", "ok 3 gamma # exit=0"),
                           "gamma: ended in 'pass', expected 'skip'")

    def test_test_gives_up(self):
        self.assert_failed(self.mutate("  ok 4 fourth\n", "  Bail out! test 3 (iteration 1)\n"), "gave up")

    def test_binary_missing_from_the_initramfs(self):
        text = GOOD.replace("  # Subtest: beta\n  ==>> completed. PASS(1)\nok 2 beta # exit=0 time=0.1 orphans=0",
                            "not ok 2 beta # MISSING /tests/beta: No such file or directory")
        self.assert_failed(console(text), "beta: missing", "/tests/beta")

    def test_init_kills_a_test_that_takes_too_long(self):
        self.assert_failed(self.mutate("ok 2 beta # exit=0", "not ok 2 beta # TIMEOUT limit=60"), "beta: timeout")

    def test_test_dies_of_a_signal(self):
        self.assert_failed(self.mutate("ok 2 beta # exit=0", "not ok 2 beta # SIGNAL 11"), "beta: signal (SIGNAL 11")

    def test_orphan_fails(self):
        self.assert_failed(self.mutate("ok 1 alpha # exit=0", "not ok 1 alpha # ORPHAN status=0x100"),
                           "alpha: orphan")

    def test_test_vanishes_from_the_guest(self):
        text = GOOD.replace("1..3", "1..2")
        text = text[:text.index("  # Subtest: gamma")] + "# end\n"
        self.assert_failed(console(text), "gamma: did not run", "planned 2 tests, 3 are wanted")

    def test_test_vanishes_from_the_list_too(self):
        self.write("tests.list", LIST.replace("gamma", "delta"))
        text = GOOD.replace("gamma", "delta")
        self.assert_failed(console(text), "gamma: did not run", "delta: ran, but expect.txt does not expect it")

    def test_wrong_kind_of_guest(self):
        self.assert_failed(self.mutate("poe=1", "poe=0"), "the guest has poe=0, expect.txt is for poe=1")

    def test_guest_says_nothing_of_itself(self):
        self.assert_failed(self.mutate("# guest release=7.3.4 cpus=2 poe=1\n", ""), "poe=None")

    def test_text_missing_from_the_output(self):
        self.assert_failed(self.mutate("  # POE present\n", ""), "lacks 'POE present'")

    def test_unwanted_text_in_the_output(self):
        self.assert_failed(self.mutate("  # POE present\n", "  # POE present\n  # POE absent\n"),
                           "has 'POE absent'")

    def test_kernel_warns_though_all_tests_pass(self):
        text = console(before="WARNING: mm/memory.c:4711 at do_fault, CPU#1: beta/77")
        self.assert_failed(text, "the kernel warned: WARNING: mm/memory.c:4711")

    def test_init_gives_up(self):
        text = "KTAP version 1\nBail out! /tests.list: No such file or directory\n# end\n"
        self.assert_failed(console(text), "failed: Bail out! /tests.list")

    def test_init_starts_twice(self):
        self.assert_failed(console(GOOD + GOOD), "started twice")


class EndingTest(Scratch):
    """Ways for a guest not to reach its end: each has an outcome of its own."""

    HALF = GOOD[:GOOD.index("  ok 3")]

    def assert_outcome(self, text: str, outcome: Outcome, *phrases: str, **options):
        status, problems, report = self.judge(text, **options)
        self.assertIs(report.outcome, outcome)
        self.assertEqual(status, outcome.status)
        self.assertNotEqual(status, ui.PASS)
        for phrase in phrases:
            self.assertIn(phrase, problems)

    def test_panic_in_a_test(self):
        text = console(self.HALF, after="Kernel panic - not syncing: Oops: Fatal exception")
        self.assert_outcome(text, Outcome.PANIC, "guest panic: in alpha", "Fatal exception")

    def test_panic_at_boot(self):
        text = console("", after="Kernel panic - not syncing: No working init found.")
        self.assert_outcome(text, Outcome.PANIC, "before init started")

    def test_panic_wins_over_time_out(self):
        text = console(self.HALF, after="Kernel panic - not syncing: Fatal exception")
        self.assert_outcome(text, Outcome.PANIC, ending=Ending.TIMEOUT, exit_status=None)

    def test_panic_after_all_results(self):
        text = console(GOOD, after="Kernel panic - not syncing: Attempted to kill init!")
        self.assert_outcome(text, Outcome.PANIC, "after the last test")

    def test_hang_in_a_test(self):
        self.assert_outcome(console(self.HALF), Outcome.HANG, "guest hang: in alpha", "ok 2 second",
                            ending=Ending.TIMEOUT, exit_status=None)

    def test_hang_at_boot(self):
        self.assert_outcome(console(""), Outcome.HANG, "before init started", ending=Ending.TIMEOUT,
                            exit_status=None)

    def test_hang_at_power_off(self):
        self.assert_outcome(console(), Outcome.HANG, "did not power off", ending=Ending.TIMEOUT, exit_status=None)

    def test_no_output(self):
        self.assert_outcome("", Outcome.NO_OUTPUT, "nothing on the console", ending=Ending.TIMEOUT, exit_status=None)
        self.assert_outcome("", Outcome.NO_OUTPUT, "QEMU exited with 1", exit_status=1)

    def test_cut_short(self):
        self.assert_outcome(console(self.HALF), Outcome.CUT_SHORT, "cut short: QEMU exited with 0 in alpha")

    def test_end_marker_lost(self):
        self.assert_outcome(console(GOOD.replace("# end\n", "")), Outcome.CUT_SHORT, "after the last test")

    def test_outcomes_differ(self):
        self.assertEqual(len({Outcome.PANIC.status, Outcome.HANG.status, Outcome.NO_OUTPUT.status,
                              Outcome.FAILED.status, ui.PASS}), 5)


class FilesTest(Scratch):
    """Mistakes in the files: one line that names the place."""

    def assert_refused(self, phrase: str, action, *args):
        with self.assertRaises(Failure) as caught:
            action(*args)
        self.assertIn(phrase, caught.exception.message)
        self.assertTrue(caught.exception.remedy)
        self.assertNotIn("\n", caught.exception.message)

    def test_list(self):
        for line in ("alpha", "alpha default", "alpha often 60 /tests/alpha", "alpha default soon /tests/alpha",
                     "alpha default 60", "alpha default 60 X=1"):
            self.assert_refused("list:1: ", selftests.read_list, self.write("list", line + "\n"))
        self.assert_refused("twice", selftests.read_list, self.write("list", LIST + "beta default 1 /tests/b\n"))
        self.assert_refused("cannot read", selftests.read_list, self.dir / "absent")

    def test_expectations(self):
        for line in ("alpha", "alpha pass", "alpha pass pass=1", "alpha fail pass=1 skip=0",
                     "alpha pass pass=x skip=0", "shows alpha text"):
            self.assert_refused("expect:1: ", selftests.read_expectations, self.write("expect", line + "\n"))
        self.assert_refused("without a reason", selftests.read_expectations,
                            self.write("expect", "alpha pass pass=1 skip=1\n"))
        self.assert_refused("without a reason", selftests.read_expectations,
                            self.write("expect", "alpha skip pass=0 skip=1 #\n"))
        self.assert_refused("without a passing case", selftests.read_expectations,
                            self.write("expect", "alpha pass pass=0 skip=9 # all of them\n"))
        self.assert_refused("expects no test", selftests.read_expectations, self.write("expect", "# nothing\n"))

    def test_unknown_name(self):
        with self.assertRaises(Failure):
            self.judge(console(), names=["delta"])

    def test_project_files_agree(self):
        sources = selftests.GUEST_SOURCES
        tests = selftests.read_list(sources / "tests.list")
        for name in ("expect-poe.txt", "expect-no-poe.txt"):
            expected = selftests.read_expectations(sources / name)
            self.assertEqual(set(expected.tests), set(tests), name)
            self.assertIn("poe", expected.guest, name)


class ArchiveTest(Scratch):
    def make_root(self) -> Path:
        root = self.dir / "root"
        (root / "tests").mkdir(parents=True)
        for name, mode in (("init", 0o755), ("tests/alpha", 0o755), ("tests.list", 0o644)):
            (root / name).write_text(name * 3)
            (root / name).chmod(mode)
        return root

    def entries(self, blob: bytes) -> dict[str, tuple[int, bytes, tuple[int, int]]]:
        found, place = {}, 0
        while True:
            fields = [int(blob[place + 6 + 8 * n:place + 14 + 8 * n], 16) for n in range(13)]
            self.assertEqual(blob[place:place + 6], b"070701")
            name = blob[place + 110:place + 110 + fields[11] - 1].decode()
            data = place + (110 + fields[11] + 3) // 4 * 4
            if name == "TRAILER!!!":
                return found
            found[name] = (fields[1], blob[data:data + fields[6]], (fields[9], fields[10]))
            place = (data + fields[6] + 3) // 4 * 4

    def test_contents(self):
        blob = selftests.make_initramfs(self.make_root(), self.dir / "a.cpio").read_bytes()
        entries = self.entries(blob)
        self.assertEqual(entries["dev/console"], (stat.S_IFCHR | 0o600, b"", (5, 1)))
        self.assertEqual(entries["init"], (stat.S_IFREG | 0o755, b"initinitinit", (0, 0)))
        self.assertEqual(entries["tests.list"][0], stat.S_IFREG | 0o644)
        self.assertLess(list(entries).index("tests"), list(entries).index("tests/alpha"))

    def test_same_bytes_whatever_the_time_and_owner(self):
        root = self.make_root()
        first = selftests.make_initramfs(root, self.dir / "a.cpio").read_bytes()
        os.utime(root / "init", (1, 1))
        self.assertEqual(first, selftests.make_initramfs(root, self.dir / "b.cpio").read_bytes())

    def test_root_without_init(self):
        with self.assertRaises(Failure):
            selftests.make_initramfs(self.dir, self.dir / "a.cpio")


class SavedStateTest(unittest.TestCase):
    """Finding a system register in what QEMU writes."""

    NAMES = [0x4030000000138000, 0x6030000000130000, selftests.POR_EL1, selftests.POR_EL0, 0x603000000013DF00]

    def cpu(self, por: int) -> bytes:
        values = [1, 2, 3, por, 5]
        return struct.pack(f">i{2 * len(values)}Q", len(values), *self.NAMES, *values)

    def test_every_cpu_is_found(self):
        state = b"\x60" * 13 + self.cpu(0x17) + b"between" + self.cpu(0x27) + b"after"
        places = selftests.saved_registers(state, selftests.POR_EL0)
        self.assertEqual([state[place:place + 8] for place in places],
                         [struct.pack(">Q", 0x17), struct.pack(">Q", 0x27)])

    def test_register_named_in_memory_but_not_saved(self):
        state = os.urandom(64) + struct.pack(">Q", selftests.POR_EL0) + os.urandom(64)
        self.assertEqual(selftests.saved_registers(state, selftests.POR_EL0), [])

    def test_tamper_changes_just_the_register(self):
        with tempfile.TemporaryDirectory() as name:
            path = Path(name, "state")
            path.write_bytes(self.cpu(0x17))
            selftests.forget_register(selftests.POR_EL0)(path)
            self.assertEqual(path.read_bytes(), self.cpu(0))
            path.write_bytes(b"nothing in here")
            with self.assertRaises(Failure):
                selftests.forget_register(selftests.POR_EL0)(path)


class FakeQemuTest(Scratch):
    """The process around the console: a script in QEMU's place."""

    def setUp(self):
        super().setUp()
        patch = mock.patch.object(selftests, "_GRACE", 1.0)
        patch.start()
        self.addCleanup(patch.stop)

    def guest(self, body: str, timeout: float = 20) -> selftests.Guest:
        script = self.write("qemu", f"#!{sys.executable}\n" + "import os, subprocess, sys, time\n"
                            + textwrap.dedent(body))
        script.chmod(0o755)
        for name in ("Image", "initramfs"):
            self.write(name, "")
        return selftests.Guest(qemu=script, image=self.dir / "Image", initramfs=self.dir / "initramfs",
                               directory=self.dir / "run", timeout=timeout)

    def printing(self, text: str, then: str = "") -> str:
        self.write("text", text)
        return f"print(open({str(self.dir / 'text')!r}, newline='').read(), flush=True)\n" + then

    def test_run_to_the_end(self):
        report = selftests.run(self.guest(self.printing(console())))
        self.assertIs(report.outcome, Outcome.COMPLETE)
        self.assertEqual((self.dir / "run/console.log").read_text().count("# end"), 1)

    def test_guest_that_never_ends_is_ended(self):
        start = time.monotonic()
        report = selftests.run(self.guest(self.printing(console(EndingTest.HALF), "time.sleep(600)"), timeout=1))
        self.assertIs(report.outcome, Outcome.HANG)
        self.assertLess(time.monotonic() - start, 30)

    def test_panic_ends_the_run_long_before_the_time_out(self):
        text = console(EndingTest.HALF, after="Kernel panic - not syncing: oops")
        start = time.monotonic()
        report = selftests.run(self.guest(self.printing(text, "time.sleep(600)"), timeout=300))
        self.assertIs(report.outcome, Outcome.PANIC)
        self.assertLess(time.monotonic() - start, 60)

    def test_silent_qemu(self):
        report = selftests.run(self.guest("time.sleep(600)", timeout=1))
        self.assertIs(report.outcome, Outcome.NO_OUTPUT)

    def test_qemu_that_refuses(self):
        report = selftests.run(self.guest("sys.exit('no such CPU')"))
        self.assertIs(report.outcome, Outcome.NO_OUTPUT)
        self.assertIn("exited with 1", report.detail)
        self.assertIn("no such CPU", (self.dir / "run/qemu.log").read_text())

    def test_no_process_is_left_behind(self):
        pid_file = self.dir / "pid"
        body = f"child = subprocess.Popen(['sleep', '600']); open({str(pid_file)!r}, 'w').write(str(child.pid))\n"
        selftests.run(self.guest(body + "print('Booting', flush=True); time.sleep(600)", timeout=2))
        pid = int(pid_file.read_text())
        for _ in range(50):
            if not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text():
                return
            time.sleep(0.1)
        self.fail("the child of QEMU's stand-in still runs")

    def test_interrupt_ends_the_guest(self):
        guest = self.guest(f"open({str(self.dir / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)")
        self.write("expect.txt", EXPECT)
        command = [sys.executable, "-m", "kpkeyslib.selftests", "--sources", str(self.dir), "run", "--qemu",
                   str(guest.qemu), "--image", str(guest.image), "--initramfs", str(guest.initramfs), "--directory",
                   str(guest.directory), "--expect", str(self.dir / "expect.txt")]
        runner = subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        for _ in range(100):
            if (self.dir / "pid").exists() and (self.dir / "pid").read_text():
                break
            time.sleep(0.1)
        runner.send_signal(2)
        self.assertEqual(runner.wait(20), ui.INTERRUPTED)
        self.assertFalse(Path(f"/proc/{(self.dir / 'pid').read_text()}").exists())

    def test_missing_file(self):
        guest = self.guest("")
        guest.image = self.dir / "absent"
        with self.assertRaises(Failure) as caught:
            selftests.run(guest)
        self.assertIn("no kernel image", caught.exception.message)


@unittest.skipUnless(all(os.environ.get(name) for name in ("KPKEYS_QEMU", "KPKEYS_IMAGE", "KPKEYS_SELFTESTS")),
                     "no guest: KPKEYS_QEMU, KPKEYS_IMAGE, KPKEYS_SELFTESTS are not set")
class LiveTest(unittest.TestCase):
    """The same breakages, once each in a real guest."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory(dir=os.environ["KPKEYS_SELFTESTS"])
        self.addCleanup(holder.cleanup)
        self.dir = Path(holder.name).resolve()
        self.root = Path(os.environ["KPKEYS_SELFTESTS"], "root").resolve()

    def run_guest(self, **options) -> selftests.Report:
        return selftests.run(self.guest(**options))

    def guest(self, *, without=(), tests=("poe_siginfo",), list_text: str = "", **options) -> selftests.Guest:
        root = self.root
        if list_text:
            root = self.dir / "root"
            subprocess.run(["cp", "-a", self.root, root], check=True)
            (root / "tests.list").write_text(list_text)
        archive = selftests.make_initramfs(root, self.dir / "initramfs.cpio", without=without)
        options.setdefault("timeout", 120)
        # A kernel with KUnit suites built in need not run them each time.
        options["append"] = ["kunit.autorun=0", *options.get("append", ())]
        tools = selftests.Tools(shlex.split(os.environ.get("KPKEYS_ENTER", "")))
        return selftests.Guest(qemu=Path(os.environ["KPKEYS_QEMU"]).resolve(), tools=tools, tests=tests,
                               image=Path(os.environ["KPKEYS_IMAGE"]).resolve(), initramfs=archive,
                               directory=self.dir, **options)

    def test_good(self):
        report = self.run_guest()
        self.assertIs(report.outcome, Outcome.COMPLETE, report.detail)
        self.assertEqual(report.tests["poe_siginfo"].status, "pass")

    def test_program_removed(self):
        report = self.run_guest(without=["/tests/arm64/signal/poe_siginfo"])
        self.assertEqual(report.tests["poe_siginfo"].status, "missing")

    def test_time_out_of_a_test(self):
        report = self.run_guest(tests=["busy"], list_text="busy default 3 POR_STRESS_SECONDS=600 /tests/por_stress\n")
        self.assertIs(report.outcome, Outcome.COMPLETE, report.detail)
        self.assertEqual(report.tests["busy"].status, "timeout")

    def test_unknown_test(self):
        report = self.run_guest(tests=["absent"])
        self.assertIs(report.outcome, Outcome.FAILED)
        self.assertIn("no test named 'absent'", report.detail)

    def test_panic(self):
        report = self.run_guest(without=["/init"])
        self.assertIs(report.outcome, Outcome.PANIC)

    def test_hang(self):
        report = self.run_guest(tests=["por_stress"], append=["POR_STRESS_SECONDS=600"], timeout=20)
        self.assertIs(report.outcome, Outcome.HANG)
        self.assertIn("in por_stress", report.detail)

    def test_loss_of_a_register_is_noticed(self):
        for value in (0, 0x77777777):
            guest = self.guest(tests=["por_stress"], append=["POR_STRESS_SECONDS=20"])
            self.assertEqual(selftests.unnoticed_loss(guest, value), "")

    def test_no_output(self):
        report = self.run_guest(extra=["-S"], timeout=3)
        self.assertIs(report.outcome, Outcome.NO_OUTPUT)

    def test_bad_cpu(self):
        guest_report = self.run_guest(extra=["-no-such-option"], timeout=10)
        self.assertIs(guest_report.outcome, Outcome.NO_OUTPUT)


if __name__ == "__main__":
    unittest.main()
