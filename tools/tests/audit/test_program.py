# SPDX-License-Identifier: GPL-2.0-only
"""kpkeys-audit from outside: linked kernels, exit status, messages, forms of output."""

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

AUDIT, CLANG, LLD = (os.environ.get(name, "") for name in ("KPKEYS_AUDIT", "KPKEYS_CLANG", "KPKEYS_LLD"))

POR = "S3_0_C10_C2_4"
CLEAN = f"""
    .globl f
    .type f, %function
f:  mov x0, #0x17
    msr {POR}, x0
    isb
    ret
    .size f, . - f
"""
OTHER = CLEAN.replace("f:", "k:").replace(" f", " k")
BAD = f"""
    .globl g
    .type g, %function
g:  msr {POR}, x0
    isb
    ret
    .size g, . - g
"""
# The tables of a linked kernel lie between symbols.
ALTERNATIVE = f"""
    .globl h
    .type h, %function
h:
1:  nop
    ret
    .size h, . - h
    .subsection 1
2:  msr {POR}, x1
    .previous
    .section .data.alt, "aw"
    .globl __alt_instructions, __alt_instructions_end
__alt_instructions:
    .word 1b - ., 2b - .
    .hword 5
    .byte 4, 4
__alt_instructions_end:
"""


class Program(unittest.TestCase):
    def setUp(self):
        for name in (AUDIT, CLANG, LLD):
            self.assertTrue(name, "run this through ctest, which sets KPKEYS_AUDIT, KPKEYS_CLANG and KPKEYS_LLD")
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.dir = Path(directory.name)

    def module(self, text, name="m.ko", *flags):
        source = self.dir / (name + ".s")
        source.write_text(text)
        target = self.dir / name
        subprocess.run([CLANG, "--target=aarch64-linux-gnu", "-c", *flags, source, "-o", target], check=True)
        return target

    def kernel(self, text, name="vmlinux", *flags):
        target = self.dir / name
        subprocess.run([LLD, "-m", "aarch64linux", "-e", "0", *flags, self.module(text, name + ".o"), "-o", target], check=True)
        return target

    def run_audit(self, *arguments):
        return subprocess.run([AUDIT, *map(str, arguments)], capture_output=True, text=True)

    def check(self, status, *arguments):
        done = self.run_audit(*arguments)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done

    def refused(self, message, *arguments):
        done = self.check(2, *arguments)
        self.assertEqual(done.stdout, "")
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn(message, done.stderr)

    def test_clean(self):
        done = self.check(0, self.kernel(CLEAN))
        self.assertIn("1 writes of POR_EL1 in 1 functions (1 unset), 0 of POR_EL2, 0 of POR_EL12: 0 findings", done.stdout)

    def test_findings(self):
        done = self.check(1, self.kernel(CLEAN + BAD))
        self.assertIn("g() writes a value from its caller to POR_EL1: argument-x0", done.stdout)
        self.assertIn("[por-argument]", done.stdout)

    def test_position_independent_kernel(self):
        self.check(1, self.kernel(BAD, "vmlinux", "-pie"))

    def test_alternatives_of_a_linked_kernel(self):
        done = self.check(1, "--list", self.kernel(ALTERNATIVE))
        self.assertIn("(alternative)", done.stdout)
        self.assertIn("argument-x1", done.stdout)

    def test_tables_of_a_linked_kernel(self):
        def without(line):
            return ALTERNATIVE.replace(line, "")
        self.refused("there is no table between __alt_instructions and", self.kernel(without("\n__alt_instructions_end:")))
        self.refused("there is no table between __alt_instructions and", self.kernel(without("\n__alt_instructions:")))
        # So far away that nobody could read it all.
        far = without("\n__alt_instructions_end:") + "\n.set __alt_instructions_end, 0x7000000000000000\n"
        self.refused("there is no table between __alt_instructions and", self.kernel(far))

    def test_sections_that_overlap(self):
        text = CLEAN + ".section .hidden, \"ax\"\n.globl g\n.type g, %function\ng: ret\n.size g, 4\n"
        flags = ("--section-start=.text=0x400000", "--section-start=.hidden=0x400000", "--no-check-sections")
        self.refused("overlap", self.kernel(text, "vmlinux", *flags))

    def test_modules(self):
        vmlinux = self.kernel(CLEAN)
        self.check(0, vmlinux, self.module(CLEAN))
        done = self.check(1, vmlinux, self.module(BAD))
        self.assertIn("m.ko: error: ", done.stdout)
        self.check(0, self.module("\n.type f, %function\nf: ret\n.size f, 4\n"))

    def test_other_registers_are_listed_apart(self):
        done = self.check(0, "--list", self.kernel(CLEAN + OTHER.replace(POR, "S3_4_C10_C2_4")))
        mine, _, others = done.stdout.partition("Not the kernel's own register:")
        self.assertIn("POR_EL1 ", mine)
        self.assertIn("POR_EL2 ", others)

    def test_lines(self):
        vmlinux = self.kernel(BAD)
        self.assertIn("vmlinux: error: ", self.check(1, vmlinux).stdout)
        source = self.module(BAD, "debug.ko", "-g")
        self.assertRegex(self.check(1, source).stdout, r"debug\.ko\.s:4: error: ")

    def test_lines_of_compressed_debug_information(self):
        source = self.module(BAD, "debug.ko", "-g", "-gz=zlib")
        self.assertRegex(self.check(1, source).stdout, r"debug\.ko\.s:4: error: ")

    def test_size_of_compressed_debug_information(self):
        module = self.module(BAD, "debug.ko", "-g", "-gz=zlib")
        whole = bytearray(module.read_bytes())
        table, count = int.from_bytes(whole[40:48], "little"), int.from_bytes(whole[60:62], "little")
        headers = [whole[table + 64 * n:][:64] for n in range(count)]
        at = next(int.from_bytes(h[24:32], "little") for h in headers if int.from_bytes(h[8:16], "little") & 0x800)
        for size in (1, 0xffffffff, 0x7fffffffffffffff):
            whole[at + 8:at + 16] = size.to_bytes(8, "little")
            module.write_bytes(whole)
            # As much as it says would not fit.
            limited = ["bash", "-c", 'ulimit -v 8000000; exec "$0" "$@"', AUDIT, str(module)]
            done = subprocess.run(limited, capture_output=True, text=True)
            self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
            self.assertIn("is damaged: ", done.stderr)

    def test_json(self):
        done = self.check(1, "--format=json", self.kernel(CLEAN + BAD))
        report = json.loads(done.stdout)
        self.assertEqual([site["origin"] for site in report["sites"]], ["immediate", "argument-x0"])
        self.assertEqual([finding["check"] for finding in report["findings"]], ["por-argument"])

    def test_sarif_and_github(self):
        vmlinux = self.kernel(BAD)
        report = json.loads(self.check(1, "--format=sarif", vmlinux).stdout)
        self.assertEqual(report["version"], "2.1.0")
        self.assertEqual(report["runs"][0]["results"][0]["ruleId"], "por-argument")
        self.assertIn("::error", self.check(1, "--format=github", vmlinux).stdout)

    def test_output_file(self):
        target = self.dir / "report.txt"
        self.assertEqual(self.check(1, "-o", target, self.kernel(BAD)).stdout, "")
        self.assertIn("[por-argument]", target.read_text())
        self.refused("cannot write", "-o", self.dir / "no" / "report", self.kernel(BAD))

    def test_json_as_well(self):
        target = self.dir / "report.json"
        done = self.check(1, f"--json={target}", self.kernel(BAD))
        self.assertIn("[por-argument]", done.stdout)
        self.assertEqual(len(json.loads(target.read_text())["sites"]), 1)
        self.assertEqual(self.check(2, f"--json={self.dir}/no/report", self.kernel(BAD)).stderr.count("cannot write"), 1)

    def test_pinned_sites(self):
        pinned = self.dir / "sites.txt"
        pinned.write_text(self.check(0, "--print-sites", self.kernel(CLEAN)).stdout)
        self.assertEqual(pinned.read_text(), "f POR_EL1 unset immediate 1\n")
        self.check(0, "--expect", pinned, self.kernel(CLEAN))
        more = self.kernel(CLEAN + OTHER)
        done = self.check(1, "--expect", pinned, more)
        self.assertIn("k() has 1 writes of POR_EL1 of the kind unset from immediate", done.stdout)
        self.assertIn("[por-new-site]", done.stdout)
        self.assertNotIn("f() has", done.stdout)
        pinned.write_text(pinned.read_text() + "k POR_EL1 set mrs 2\n")
        self.assertIn("[por-gone-site]", self.check(1, "--expect", pinned, self.kernel(CLEAN)).stdout)

    def test_places(self):
        vmlinux = self.kernel(BAD)
        places = self.dir / "places.txt"
        places.write_text("argument g the test\n")
        self.check(0, "--places", places, vmlinux)
        self.check(0, "--places", places, "--unused-places", vmlinux)
        places.write_text("argument g the test\nmemory f the test\n")
        done = self.check(1, "--places", places, "--unused-places", vmlinux)
        self.assertIn("places.txt:2: warning: nothing needs this place: f [por-unused-place]", done.stdout)
        self.check(1, "--places", "none", vmlinux)

    def test_usage(self):
        self.refused("no kernel given")
        self.assertEqual(self.run_audit("--nonsense", "x").returncode, 2)
        self.refused("cannot read", self.dir / "absent")
        self.refused("cannot read", self.dir)
        self.refused("make it with --print-sites", "--expect", self.dir / "absent", self.kernel(CLEAN))
        bad = self.dir / "bad.txt"
        bad.write_text("memory f\n")
        self.refused("bad.txt:1: give the rule, a function and the reason", "--places", bad, self.kernel(CLEAN))
        self.refused("bad.txt:1: this is not", "--expect", bad, self.kernel(CLEAN))

    def test_what_is_no_kernel(self):
        image = self.dir / "Image"
        image.write_bytes(b"MZ\0\0" * 64)
        self.refused("is not an ELF file: give vmlinux", image)
        self.refused("is for another architecture", AUDIT)
        self.refused("has no symbols", self.kernel(CLEAN, "vmlinux", "-s"))
        whole = self.kernel(CLEAN).read_bytes()
        image.write_bytes(whole[:len(whole) // 2])
        self.refused("is damaged", image)

    def test_kernel_without_the_series_is_no_clean_verdict(self):
        vmlinux = self.kernel("\n.globl f\n.type f, %function\nf: ret\n.size f, 4\n")
        self.refused("never writes POR_EL1, so nothing was shown", vmlinux)
        self.check(0, "--allow-none", vmlinux)

    def test_help_fits_one_screen(self):
        done = self.check(0, "--help")
        self.assertLess(len(done.stdout.splitlines()), 45)
        self.assertIn("kpkeys-audit --expect sites.txt vmlinux", done.stdout)


if __name__ == "__main__":
    unittest.main()
