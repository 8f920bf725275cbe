# SPDX-License-Identifier: GPL-2.0-only
"""What the benchmark counts in QEMU: exactly what a program executes, and the same in each run.

A program without a kernel, of a second: it turns on the MMU, goes to an address of the kernel's half, and works there in marked
regions. The second one takes as long as the clock says. 'make bench' shows the same of kernels, in minutes.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

OUT = Path(os.environ.get("KPKEYS_TEST_OUT") or os.environ.get("O") or Path(__file__).resolve().parents[3] / "out").absolute()
os.environ["O"] = str(OUT)

from kpkeyslib import bench, qemu, toolroot  # noqa: E402

HIGH, TEXT = 0xffffff8000000000, 0x40200000
TIMES = 1000
PROGRAM = f"""\
.arch armv8.5-a
.globl _start, work, wait, rest
_start:
	// One block of 1 GB, for both halves
	ldr x0, =0xff
	msr mair_el1, x0
	ldr x0, =0x2b5193519
	msr tcr_el1, x0
	adr x0, table
	msr ttbr0_el1, x0
	msr ttbr1_el1, x0
	tlbi vmalle1
	dsb sy
	isb
	mrs x0, sctlr_el1
	mov x1, #0x1005
	orr x0, x0, x1
	msr sctlr_el1, x0
	isb
	adr x0, high
	orr x0, x0, #{HIGH}
	br x0
high:
	movz xzr, #5
	bl work
	movn xzr, #5
	movz xzr, #6
	bl wait
	movn xzr, #6
	// PSCI SYSTEM_OFF
	ldr w0, =0x84000008
	hvc #0
	b .
work:
	mov x1, #{TIMES}
	adr x3, word
1:	mrs x0, S3_0_C10_C2_4
	msr S3_0_C10_C2_4, x0
	isb
	isb
	dsb ish
	tlbi vmalle1
	ldadd x1, x2, [x3]
	subs x1, x1, #1
	b.ne 1b
	ret
wait:
	mrs x1, cntvct_el0
	mov x2, #50000
	add x1, x1, x2
1:	mrs x2, cntvct_el0
	cmp x2, x1
	b.lo 1b
	ret
rest:
	.ltorg
	.balign 8
word:	.quad 0
	.balign 4096
table:	.quad 0, 0x40000701
	.zero 4080
"""


class TestCount(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        (OUT / "tests").mkdir(parents=True, exist_ok=True)
        (OUT / "log").mkdir(exist_ok=True)
        cls.top = Path(tempfile.mkdtemp(prefix="live-count-", dir=OUT / "tests"))
        cls.addClassCleanup(shutil.rmtree, cls.top)
        cls.machine = bench.Machine(qemu.get(), bench._plugin(cls.top))
        (cls.top / "a.s").write_text(PROGRAM)
        toolroot.get().run(["sh", "-c", f"aarch64-linux-gnu-as a.s -o a.o && aarch64-linux-gnu-ld --no-warn-rwx-segments -N -Ttext={TEXT:#x} a.o -o a.elf && "
                            "aarch64-linux-gnu-nm -n a.elf > a.map"], cwd=cls.top, writable=[cls.top])
        symbols = [line.split() for line in (cls.top / "a.map").read_text().splitlines()]
        (cls.top / "map").write_text("".join(f"{HIGH | int(address, 16):x} {name}\n" for address, kind, name in symbols if name in ("work", "wait", "rest")))

    def count(self, name: str) -> dict[int, bench.Region]:
        entry = bench.Kernel("none", "", (), (), "")
        counts = self.top / name
        argv = self.machine.argv(bench.Built(self.top / "a.elf", self.top / "map", self.top), entry, self.top / "map", 256, [], counts)
        self.machine.qemu.run(argv, capture=True, timeout=60)
        return bench.parse_counts(counts.read_text())

    def test_exact_and_the_same_twice(self):
        one = self.count("one")
        self.assertEqual(one[5].functions["work"], {"insn": 9 * TIMES + 3, "call": 1, "por_read": TIMES, "por_write": TIMES, "isb": 2 * TIMES, "dsb": TIMES,
                                                    "tlbi": TIMES, "atomic": TIMES})
        # The call, which is in no function of the map.
        self.assertEqual({name: row["insn"] for name, row in one[5].functions.items() if name != "work"}, {"(modules)": 1})
        self.assertGreater(one[6].functions["wait"]["insn"], 1000)
        self.assertEqual(self.count("two"), one)


if __name__ == "__main__":
    unittest.main()
