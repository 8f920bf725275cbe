# SPDX-License-Identifier: GPL-2.0-only
"""Real guests that go wrong on purpose: each way ends with its own status, in seconds.

Needs the kernel '4k' and QEMU, as 'scripts/kpkeys verify' leaves them.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

OUT = Path(os.environ.get("KPKEYS_TEST_OUT") or os.environ.get("O") or Path(__file__).resolve().parents[3] / "out").absolute()
os.environ["O"] = str(OUT)

from kpkeyslib import guests, kernel, kunit, qemu, settings, ui  # noqa: E402


class TestGuests(unittest.TestCase):
    """kunit.run() on the kernel that 'verify' built."""

    @classmethod
    def setUpClass(cls):
        build = kernel.build_directory("4k")
        cls.tree = settings.tree() or OUT / "linux/src"
        if not (build / kernel.IMAGE).is_file():
            raise AssertionError(f"{build / kernel.IMAGE} is not there: run 'scripts/kpkeys verify' first")
        cls.machine = qemu.get()
        # A copy, so that the results of the build directory's last run stay.
        (OUT / "tests").mkdir(exist_ok=True)
        cls.top = Path(tempfile.mkdtemp(prefix="live-", dir=OUT / "tests"))
        cls.addClassCleanup(shutil.rmtree, cls.top)
        cls.build = cls.top / "build"
        (cls.build / kernel.IMAGE).parent.mkdir(parents=True)
        shutil.copyfile(build / kernel.IMAGE, cls.build / kernel.IMAGE)
        shutil.copyfile(build / ".config", cls.build / ".config")

    def boot(self, seconds: int = 240, **changes) -> kunit.Result:
        """The guest el1 with @changes, given @seconds."""
        guest = dataclasses.replace(guests.guest("el1"), **changes)
        with mock.patch.dict(os.environ, TIMEOUT=str(seconds)):
            return kunit.run(guest, self.tree, self.build, self.machine, self.top / "results")

    def assertVerdict(self, result: kunit.Result, status: int, problem: str) -> None:
        self.assertEqual(result.exit_status, status, result.problems)
        self.assertRegex("\n".join(result.problems), problem)

    def test_pass(self):
        """The control: without a change it passes, with the feature found, and leaves all four files."""
        result = self.boot()
        self.assertEqual((result.exit_status, result.problems), (ui.PASS, []))
        self.assertTrue(result.poe)
        self.assertEqual(result.passed, sum(not e.skip for e in guests.expected("poe")))
        for name in ("console.log", "kunit.ktap", "kunit.json", "kunit.xml"):
            self.assertGreater((self.top / "results" / name).stat().st_size, 0, name)

    def test_panic(self):
        """A kernel that finds no init: status 4, at once, with the kernel's words."""
        # What kunit.py adds comes after '--', where the kernel does not look.
        result = self.boot(args="kunit.enable=0 console=ttyAMA0 panic=-1 --")
        self.assertVerdict(result, ui.GUEST_PANIC, "guest panic: ")
        self.assertLess(result.seconds, 200)

    def test_hang(self):
        """A guest that never runs (QEMU -S): status 5 after TIMEOUT= seconds, and no QEMU stays."""
        result = self.boot(3, cpu="max -S")
        self.assertVerdict(result, ui.GUEST_HANG, r"did not end within 3 s \(TIMEOUT=\)")
        self.assertLess(result.seconds, 60)
        here = str(self.build).encode()
        left = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                left += [entry.parent.name] if here in entry.read_bytes() else []
            except OSError:
                pass
        self.assertEqual(left, [])

    def test_no_results(self):
        """A console without KTAP: status 6, although the guest ended well."""
        # The reports that the other suite provokes would end the silence.
        self.assertVerdict(self.boot(args="quiet kunit.filter_glob=kpkeys"), ui.NO_RESULTS, "printed no KTAP")

    def test_qemu_does_not_start(self):
        """An unknown CPU or machine: QEMU's own words, as a matter of set-up."""
        for changes, words in (({"cpu": "no-such-cpu"}, "no-such-cpu|unable to find CPU"), ({"machine": "no-such-machine"}, "no-such-machine|unsupported machine")):
            with self.subTest(changes), self.assertRaises(ui.Failure) as caught:
                self.boot(60, **changes)
            self.assertEqual(caught.exception.status, ui.USAGE)
            self.assertRegex(caught.exception.message + caught.exception.detail, words)
            self.assertIn("make qemu", caught.exception.remedy)

    def test_cpu_without_poe(self):
        """A CPU without the feature where it is to be tested: a failure, not a run of skips."""
        result = self.boot(cpu="neoverse-n2")
        self.assertVerdict(result, ui.TEST_FAILED, "no FEAT_S1POE")
        self.assertIn("make qemu", result.remedy)
        # Those of lazy MMU mode, which have nothing to do with it
        self.assertEqual(result.passed, sum(not e.skip for e in guests.expected("no-poe")))

    def test_poe_where_none_is_expected(self):
        """The run without the feature, on a CPU that has it."""
        self.assertVerdict(self.boot(poe=False, expect="no-poe"), ui.TEST_FAILED, "has FEAT_S1POE, and this is the run without it")

    def test_filtered_cases(self):
        """Cases that vanish are failures although kunit.py is content with what is left."""
        result = self.boot(args="kunit.filter_glob=kpkeys.set_restore")
        self.assertVerdict(result, ui.TEST_FAILED, "did not run")
        self.assertEqual(result.passed, 1)

    def test_one_cpu(self):
        """Cases that skip for want of a CPU are failures where the list does not say so."""
        self.assertVerdict(self.boot(smp=1), ui.TEST_FAILED, "skipped .*CPU")


if __name__ == "__main__":
    unittest.main()
