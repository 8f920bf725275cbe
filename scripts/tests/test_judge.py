# SPDX-License-Identifier: GPL-2.0-only
"""The judgement of a guest's results: nothing that did not pass may look as if it had."""

from __future__ import annotations

import copy
import dataclasses
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kpkeyslib import guests, kunit, toolroot, ui  # noqa: E402

BOOT = """\
[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x000f0510]
[    0.000000] CPU features: detected: Stage-1 Permission Overlay Extension (S1POE)
"""
NO_POE = "[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x410fd490]\n"


def console(*cases: str, suite: str = "toy", boot: str = BOOT) -> str:
    """A console log with one suite of the result lines @cases."""
    bad = any(c.startswith("not ok") for c in cases)
    lines = ["KTAP version 1", "1..1", "    KTAP version 1", f"    # Subtest: {suite}", f"    1..{len(cases)}",
             *("    " + c for c in cases), f"{'not ' if bad else ''}ok 1 {suite}"]
    # As the kernel prints: with time stamps, and with the serial line's carriage returns.
    return boot + "".join(f"[    0.5{n:05}] {line}\r\n" for n, line in enumerate(lines))


def group(name: str, **cases: str) -> dict:
    """A suite as kunit.py's JSON has it: case=STATUS."""
    return {"name": name, "sub_groups": [], "test_cases": [{"name": n, "status": s} for n, s in cases.items()]}


def parameterised(name: str, **counts: int) -> dict:
    """A parameterised case in it."""
    return {"name": name, "sub_groups": [], "test_cases": [{"name": "p", "status": "PASS"}],
            "misc": {"tests": sum(counts.values()), "passed": 0, "failed": 0, "crashed": 0, "skipped": 0, "errors": 0, **counts}}


def report(*groups: dict) -> dict:
    return {"name": "KUnit Test Group", "test_cases": [], "sub_groups": list(groups)}


class Judge(unittest.TestCase):
    expected = [guests.Expected("toy", "one", ""), guests.Expected("toy", "two", "")]
    poe = True

    def judge(self, log: str, data: dict | None, *, timed_out: bool = False) -> kunit.Result:
        guest = guests.Guest("el1", "a toy", "4k", "virt", "max", 4, "", self.poe, "toy")
        with mock.patch.object(guests, "expected", return_value=copy.deepcopy(self.expected)):
            return kunit.judge(guest, log, data, timed_out, 1.0)

    def assertVerdict(self, result: kunit.Result, verdict: str, *problems: str) -> None:
        """@verdict, its exit status, and each of @problems among those named."""
        self.assertEqual(result.verdict, verdict, result.problems)
        self.assertEqual(result.exit_status, {"pass": 0, "fail": 1, "panic": 4, "hang": 5, "no-results": 6}[verdict])
        for problem in problems:
            self.assertRegex("\n".join(result.problems), problem)
        if verdict == "pass":
            self.assertEqual((result.problems, result.failed), ([], 0))
        elif verdict == "fail":
            self.assertGreater(len(result.problems), 0)


class TestJudge(Judge):
    """Both cases must run and pass."""

    def test_statuses(self):
        """The table of exit statuses that users' scripts rely on."""
        self.assertEqual((ui.PASS, ui.TEST_FAILED, ui.USAGE, ui.BUILD_FAILED, ui.GUEST_PANIC, ui.GUEST_HANG, ui.NO_RESULTS, ui.INTERRUPTED),
                         (0, 1, 2, 3, 4, 5, 6, 130))
        self.assertEqual(sorted(kunit.Result.STATUS.values()), [0, 1, 4, 5, 6])

    def test_why_a_case_failed(self):
        """The first expectation that was not met, of this case alone."""
        log = console("ok 1 one", "# two: EXPECTATION FAILED at mm/toy.c:7", "    Expected c.plain == -14, but", "        c.plain == 0 (0x0)", "",
                      "CPU 1", "# two: EXPECTATION FAILED at mm/toy.c:9", "not ok 2 two")
        data = report(group("toy", one="PASS", two="FAIL"))
        self.assertEqual(self.judge(log, data).problems,
                         ["toy.two: failed (mm/toy.c:7: Expected c.plain == -14, but c.plain == 0 (0x0) CPU 1)"])
        self.assertEqual(self.judge(log.replace("# two", "# other"), data).problems, ["toy.two: failed"])
        other = console("# two: EXPECTATION FAILED at mm/other.c:5", "not ok 1 two", suite="other", boot="")
        self.assertEqual(self.judge(BOOT + other + log.removeprefix(BOOT), data).problems, self.judge(log, data).problems)
        bare = console("# two: ASSERTION FAILED at mm/toy.c:7", "not ok 2 two", "ok 1 one")
        self.assertEqual(self.judge(bare, data).problems, ["toy.two: failed (mm/toy.c:7)"])

    def test_pass(self):
        result = self.judge(console("ok 1 one", "ok 2 two"), report(group("toy", one="PASS", two="PASS")))
        self.assertVerdict(result, "pass")
        self.assertEqual((result.passed, result.failed, result.skipped), (2, 0, 0))
        self.assertEqual(result.summary()["toy"]["verdict"], "pass")

    def test_failed(self):
        result = self.judge(console("ok 1 one", "not ok 2 two"), report(group("toy", one="PASS", two="FAIL")))
        self.assertVerdict(result, "fail", "toy.two: failed")
        self.assertEqual((result.passed, result.failed), (1, 1))
        self.assertEqual(result.summary()["toy"]["verdict"], "fail")

    def test_crashed(self):
        """A case that took its thread down has no result line."""
        self.assertVerdict(self.judge(console("ok 1 one"), report(group("toy", one="PASS", two="ERROR"))), "fail", "toy.two: crashed")

    def test_all_skipped(self):
        """kunit.py calls this a success."""
        result = self.judge(console("ok 1 one # SKIP no POE", "ok 2 two # SKIP no POE"), report(group("toy", one="SKIP", two="SKIP")))
        self.assertVerdict(result, "fail", r"toy.one: skipped \(no POE\)", r"toy.two: skipped \(no POE\)")
        self.assertEqual((result.passed, result.failed, result.skipped), (0, 2, 0))

    def test_one_skipped(self):
        for reason in ("# SKIP", "# SKIP why not"):
            result = self.judge(console("ok 1 one", f"ok 2 two {reason}"), report(group("toy", one="PASS", two="SKIP")))
            self.assertVerdict(result, "fail", "toy.two: skipped")

    def test_vanished_suite(self):
        """The suite was not built in: kunit.py sees all of the others pass."""
        result = self.judge(console("ok 1 x", suite="other"), report(group("other", x="PASS")))
        self.assertVerdict(result, "fail", "toy.one: did not run", "toy.two: did not run")
        self.assertEqual((result.passed, result.failed), (1, 2))

    def test_vanished_case(self):
        self.assertVerdict(self.judge(console("ok 1 one"), report(group("toy", one="PASS"))), "fail", "toy.two: did not run")

    def test_extra_case(self):
        """A case the list does not have would not be missed when it vanishes again."""
        self.assertVerdict(self.judge(console("ok 1 one", "ok 2 two", "ok 3 three"), report(group("toy", one="PASS", two="PASS", three="PASS"))),
                           "fail", r"toy.three: not in kunit/expect/toy\.txt, add it")

    def test_other_suites(self):
        """Suites the list does not name may come along, and must pass."""
        toy = group("toy", one="PASS", two="PASS")
        log = console("ok 1 one", "ok 2 two")
        self.assertVerdict(self.judge(log, report(toy, group("other", x="PASS"))), "pass")
        self.assertVerdict(self.judge(log, report(toy, group("other", x="FAIL"))), "fail", "other.x: failed")
        self.assertVerdict(self.judge(log, report(toy, group("other", x="SKIP"))), "fail", "other.x: skipped")

    def test_duplicate(self):
        """A case that ran twice may have two results."""
        twice = group("toy", one="PASS", two="PASS")
        twice["test_cases"].append({"name": "two", "status": "PASS"})
        self.assertVerdict(self.judge(console("ok 1 one", "ok 2 two", "ok 3 two"), report(twice)), "fail", "toy.two: printed more than once")
        once = group("toy", one="PASS", two="PASS")
        self.assertVerdict(self.judge(console("ok 1 one", "ok 2 two"), report(once, copy.deepcopy(once))), "fail", "toy.one: printed more than once")

    def test_second_result_fails(self):
        """The bad one of two results counts, whichever comes first."""
        for first, second in (("PASS", "FAIL"), ("FAIL", "PASS")):
            data = group("toy", one=first, two="PASS")
            data["test_cases"].append({"name": "one", "status": second})
            self.assertVerdict(self.judge(console("ok 1 one", "ok 2 two"), report(data)), "fail")

    def test_zero_tests(self):
        """KUnit ran and had nothing to run."""
        self.assertVerdict(self.judge(BOOT + "KTAP version 1\n1..0\n", report()), "fail", "toy.one: did not run")

    def test_unknown_status(self):
        """A word kunit.py may come up with later is not a pass."""
        self.assertVerdict(self.judge(console("ok 1 one", "ok 2 two"), report(group("toy", one="PASS", two="PERHAPS"))), "fail", "toy.two")

    def test_parameterised(self):
        """One case to the reader, as bad as its worst parameter."""
        log = console("ok 1 one", "ok 2 two")
        for counts, verdict in (({"passed": 3}, "pass"), ({"passed": 2, "failed": 1}, "fail"), ({"passed": 2, "errors": 1}, "fail"),
                                ({"passed": 2, "crashed": 1}, "fail"), ({"skipped": 3}, "fail"), ({}, "fail")):
            with self.subTest(counts):
                suite = group("toy", one="PASS")
                suite["sub_groups"].append(parameterised("two", **counts))
                self.assertVerdict(self.judge(log, report(suite)), verdict)

    def test_no_json(self):
        """kunit.py failed before it wrote its report: what the console shows does not count as passed."""
        self.assertVerdict(self.judge(console("ok 1 one", "ok 2 two"), None), "fail", "toy.one: did not run")

    def test_panic(self):
        """A panic counts as one, even after all cases have passed, and even if the guest then hangs."""
        log = console("ok 1 one", "ok 2 two") + "[    1.0] Kernel panic - not syncing: Attempted to kill init!\n"
        data = report(group("toy", one="PASS", two="PASS"))
        self.assertVerdict(self.judge(log, data), "panic", "Attempted to kill init")
        self.assertVerdict(self.judge(log, data, timed_out=True), "panic")
        self.assertVerdict(self.judge(BOOT + "[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs\n", None), "panic", "VFS")

    def test_hang(self):
        """A time-out counts as a hang, whatever passed before it; so does silence."""
        with mock.patch.dict("os.environ", TIMEOUT="7"):
            self.assertVerdict(self.judge(console("ok 1 one", "ok 2 two"), report(group("toy", one="PASS", two="PASS")), timed_out=True),
                               "hang", r"within 7 s \(TIMEOUT=\)")
            self.assertVerdict(self.judge("", None, timed_out=True), "hang")

    def test_no_results(self):
        """The guest ended without KTAP: its last line is shown."""
        self.assertVerdict(self.judge(BOOT + "reboot: Power down\n", report()), "no-results", "reboot: Power down")
        result = self.judge("", None)
        self.assertVerdict(result, "no-results", "nothing at all")
        self.assertIn("CONFIG_KUNIT", result.remedy)

    def test_no_poe(self):
        """A CPU without the feature, where it is to be tested: that, and the remedy, come first."""
        log = console("ok 1 one # SKIP no POE", "ok 2 two # SKIP no POE", boot=NO_POE)
        result = self.judge(log, report(group("toy", one="SKIP", two="SKIP")))
        self.assertVerdict(result, "fail")
        self.assertIn("no FEAT_S1POE", result.problems[0])
        self.assertIn("make qemu", result.remedy)


class TestExpectedSkips(Judge):
    """The list says that a case skips, and why."""

    expected = [guests.Expected("toy", "one", ""), guests.Expected("toy", "two", "needs a second CPU")]

    def two(self, line: str, status: str) -> kunit.Result:
        return self.judge(console("ok 1 one", line), report(group("toy", one="PASS", two=status)))

    def test_right_skip(self):
        result = self.two("ok 2 two # SKIP needs a second CPU", "SKIP")
        self.assertVerdict(result, "pass")
        self.assertEqual((result.passed, result.skipped), (1, 1))
        self.assertEqual(result.suites["toy"][1].reason, "needs a second CPU")

    def test_wrong_reason(self):
        """A skip for another reason hides something."""
        self.assertVerdict(self.two("ok 2 two # SKIP out of memory", "SKIP"), "fail", "out of memory.*should be: needs a second CPU")
        self.assertVerdict(self.two("ok 2 two # SKIP", "SKIP"), "fail", "no reason given")

    def test_passes_now(self):
        """A case that can run now belongs off the list of skips."""
        self.assertVerdict(self.two("ok 2 two", "PASS"), "fail", "passed, and the list says it skips")

    def test_fails(self):
        self.assertVerdict(self.two("not ok 2 two", "FAIL"), "fail", "toy.two: failed")

    def test_vanished(self):
        self.assertVerdict(self.judge(console("ok 1 one"), report(group("toy", one="PASS"))), "fail", "toy.two: did not run")

    def test_reason_after_parameters(self):
        """The reason is found after a parameterised case, whose parameters have a plan of their own."""
        log = console("    KTAP version 1", "    # Subtest: one", "    ok 1 p", "ok 1 one", "ok 2 two # SKIP needs a second CPU")
        suite = group("toy", two="SKIP")
        suite["sub_groups"].append(parameterised("one", passed=1))
        self.assertVerdict(self.judge(log, report(suite)), "pass")


class TestWithoutPoe(Judge):
    """The run on a CPU without the feature."""

    poe = False
    expected = [guests.Expected("toy", "one", "no POE")]

    def test_right(self):
        self.assertVerdict(self.judge(console("ok 1 one # SKIP no POE", boot=NO_POE), report(group("toy", one="SKIP"))), "pass")

    def test_poe_present(self):
        """The CPU has it after all: this run shows nothing of what it is for."""
        result = self.judge(console("ok 1 one # SKIP no POE"), report(group("toy", one="SKIP")))
        self.assertVerdict(result, "fail", "has FEAT_S1POE, and this is the run without it")


class TestFirmware(unittest.TestCase):
    """What starts a guest."""

    def test_option(self):
        guest = guests.guest("el1")
        with tempfile.TemporaryDirectory() as top, mock.patch.object(toolroot, "_tools", mock.Mock(path=Path(top))):
            self.assertEqual(kunit._firmware(guest), "")
            guest = dataclasses.replace(guest, firmware=True)
            with self.assertRaisesRegex(ui.Failure, "QEMU_EFI.fd: no such file") as caught:
                kunit._firmware(guest)
            self.assertIn("qemu-efi-aarch64", caught.exception.remedy)
            image = Path(top) / kunit.FIRMWARE
            image.parent.mkdir(parents=True)
            image.touch()
            self.assertEqual(kunit._firmware(guest), f" -bios {image}")

    def test_guests(self):
        """Some guest of CI has EFI runtime services, which its list asks for."""
        names = [name for name in guests.of_ci() if guests.guest(name).firmware]
        self.assertTrue(names)
        for name in names:
            self.assertIn(("efi_pgd", ""), [(e.case, e.skip) for e in guests.expected(guests.guest(name).expect)])


class TestKtap(unittest.TestCase):
    """What is taken from the console."""

    def test_only_after_the_version_line(self):
        """'ok' in an ordinary message is no result."""
        self.assertEqual(kunit.ktap("[ 0.1] ok 1 not a test\nok then\n"), [])
        self.assertEqual(kunit.ktap("noise\n[    0.2] KTAP version 1\n[    0.3] 1..1\nother noise\nok 1 x\n"), ["KTAP version 1", "1..1", "ok 1 x"])

    def test_lists_of_the_project(self):
        """Each guest of guests.ini has a kernel and a list of cases that can be read."""
        for guest in guests.guests().values():
            with self.subTest(guest.name):
                self.assertTrue(guests.kernel(guest.kernel).fragments)
                wanted = guests.expected(guest.expect)
                self.assertEqual(any(not w.skip for w in wanted if w.suite.startswith("kpkeys")), guest.poe)


if __name__ == "__main__":
    unittest.main()
