# SPDX-License-Identifier: GPL-2.0-only
"""Zero cost when off: what costs something must be found, and what does not must not be."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import support  # noqa: E402
from kpkeyslib import keyoff, ui, zerocost  # noqa: E402

TEXT = 0x1000


def code(source: str, start: int = TEXT) -> tuple[str, dict[str, int]]:
    """@source as llvm-objdump prints it, and where its labels are: 'name:' is a function, '.name:' a place in one."""
    lines = [line.split("#!")[0].strip() for line in textwrap.dedent(source).splitlines()]
    labels, address = {}, start
    for line in lines:
        if line.endswith(":"):
            labels[line[:-1]] = address
        elif line:
            address += 4
    out, address = [], start
    for line in lines:
        if line.endswith(":"):
            if not line.startswith("."):
                out.append(f"\n{address:016x} <{line[:-1]}>:")
        elif line:
            name, _, operands = line.partition(" ")
            for label in sorted(labels, key=len, reverse=True):
                operands = operands.replace(f"@{label}", f"0x{labels[label]:x} <f+0x0>")
            out.append(f"{address:16x}:      \t{name}" + (f"\t{operands.strip()}" if operands else ""))
            address += 4
    return "\n".join(out) + "\n", labels


class KeyOff(unittest.TestCase):
    """Made-up functions. The branch of the key is at '.site', its target at '.on'."""

    def image(self, source: str, likely: bool = False) -> keyoff.Image:
        text, self.labels = code(source)
        image = keyoff.Image(text)
        for n in ("", "2", "3"):
            if f".site{n}" in self.labels:
                image.add_branch(self.labels[f".site{n}"], self.labels[f".on{n}"], likely, True)
        return image

    def problems(self, source: str, listed: dict[str, str] = {}, likely: bool = False) -> list[str]:
        return keyoff.judge([keyoff.check(self.image(source, likely))], listed, "list")

    def assertClean(self, source: str, **options) -> None:
        self.assertEqual(self.problems(source, **options), [])

    def assertFound(self, source: str, *patterns: str, **options) -> None:
        found = self.problems(source, **options)
        self.assertEqual(len(found), len(patterns), found)
        for problem, pattern in zip(found, patterns):
            self.assertRegex(problem, pattern)

    # The access

    def test_access_behind_the_branch(self):
        self.assertClean("""
            f:
            .site:
                nop
            .back:
                str x1, [x0]
                ret
            .on:
                mrs x8, POR_EL1
                msr POR_EL1, x9
                isb
                b @.back
            """)

    def test_access_on_the_way(self):
        self.assertFound("""
            f:
            .site:
                nop
                mrs x8, POR_EL1
            .on:
                ret
            """, r"f\(\): reached with the key off: .*mrs x8, POR_EL1")

    def test_access_without_any_branch_of_the_key(self):
        self.assertFound("""
            f:
            .site:
                nop
            .on:
                ret
            g:
                cbz x0, @.out
                msr POR_EL1, x0
            .out:
                ret
            """, r"g\(\): .*msr POR_EL1")

    def test_every_name_of_the_register(self):
        for name in ("POR_EL1", "POR_EL2", "POR_EL12", "S3_0_C10_C2_4", "S3_4_C10_C2_4", "s3_5_c10_c2_4"):
            with self.subTest(name):
                self.assertFound(f"""
                    f:
                    .site:
                        nop
                    .on:
                        mrs x8, {name}
                        ret
                    """, "reached with the key off")

    def test_user_register_is_nothing(self):
        for name in ("POR_EL0", "S3_3_C10_C2_4"):
            with self.subTest(name):
                self.assertClean(f"""
                    f:
                    .site:
                        nop
                        mrs x8, {name}
                    .on:
                        ret
                    """)

    def test_access_in_a_loop_behind_a_call(self):
        self.assertFound("""
            f:
            .site:
                nop
            .again:
                bl @g
                subs w19, w19, #0x1
                b.ne @.again
                msr POR_EL1, x20
                ret
            .on:
                ret
            g:
                ret
            """, "msr POR_EL1")

    def test_part_that_the_compiler_moved_away(self):
        self.assertFound("""
            f:
            .site:
                nop
                b @f.cold
            .on:
                ret
            f.cold:
                msr POR_EL1, x20
                ret
            """, r"f\(\): .*msr POR_EL1", r"f.cold\(\): .*msr POR_EL1")

    def test_no_branch_of_the_key(self):
        self.assertFound("""
            f:
                ret
            """, "nothing was shown")

    # The branch

    def test_likely_branch_jumps_while_off(self):
        source = """
            f:
            .site:
                b @.on
                msr POR_EL1, x8
                isb
            .on:
                ret
            """
        self.assertClean(source, likely=True)
        self.assertFound(source, "not in the state of a key that is off", r"msr POR_EL1", "ISB without a DSB")

    def test_branch_left_on(self):
        self.assertFound("""
            f:
            .site:
                b @.on
                ret
            .on:
                mrs x8, POR_EL1
                ret
            """, "not in the state of a key that is off")

    def test_branch_of_another_key_goes_both_ways(self):
        source = """
            f:
            .other:
                nop
            .site:
                nop
            .on:
                ret
            .there:
                mrs x8, POR_EL1
                ret
            """
        image = self.image(source)
        self.assertRegex("\n".join(keyoff.judge([keyoff.check(image)], {}, "list")), "no way that leads here")
        image.add_branch(self.labels[".other"], self.labels[".there"], False, False)
        self.assertRegex("\n".join(keyoff.judge([keyoff.check(image)], {}, "list")), "reached with the key off: .*mrs x8")

    def test_alternative_goes_both_ways(self):
        source = """
            f:
            .orig:
                nop
            .site:
                nop
            .on:
                ret
            .there:
                mrs x8, POR_EL1
                ret
            g:
            .new:
                b @.there
            """
        image = self.image(source)
        image.add_alternative(keyoff.Alternative(self.labels[".orig"], 4, self.labels[".new"], 4))
        self.assertRegex("\n".join(keyoff.judge([keyoff.check(image)], {}, "list")), r"f\(\): reached with the key off: .*mrs x8")

    def test_access_that_an_alternative_brings(self):
        source = """
            f:
            .orig:
                nop
                nop
            .site:
                nop
            .on:
                ret
            g:
                ret
            .new:
                mrs x8, POR_EL1
                str x8, [x0]
            """
        image = self.image(source)
        image.add_alternative(keyoff.Alternative(self.labels[".orig"], 8, self.labels[".new"], 8))
        problems = keyoff.judge([keyoff.check(image)], {}, "list")
        self.assertEqual(len(problems), 1, problems)
        self.assertRegex(problems[0], r"^f\(\): reached with the key off: .*mrs x8")

    PROBE = """
        f:
        .site:
            nop
        .guard:
            mov x8, #0x40
            tbz w8, #0x6, @.closed
        .write:
            str x1, [x0]
        .on:
            ret
        .closed:
            mrs x8, POR_EL1
            b @.write
        """

    def probe(self, source: str, ours: bool = True) -> list[str]:
        image = self.image(source)
        image.add_alternative(keyoff.Alternative(self.labels[".guard"], 4, 0, 0, ours))
        report = keyoff.check(image)
        self.assertEqual(report.guards, int(ours))
        return keyoff.judge([report], {}, "list")

    def test_guard_of_a_constant(self):
        self.assertEqual(self.probe(self.PROBE), [])

    def test_guard_whose_constant_does_not_grant(self):
        for number in ("0x0", "0x80", "0x20"):
            self.assertRegex("\n".join(self.probe(self.PROBE.replace("#0x40", f"#{number}"))), "reached with the key off: .*mrs x8")

    def test_guard_of_two_pkeys(self):
        masks = """and x9, x8, #0x7fffffc0
            and x9, x9, #0xffffffffc000007f
            cmp x9, #0x40
            b.ne @.closed"""
        source = self.PROBE.replace("tbz w8, #0x6, @.closed", masks)
        self.assertEqual(self.probe(source), [])
        for change in (("cmp x9, #0x40", "cmp x9, #0x80"), ("mov x8, #0x40", "mov x8, #0x40000040"), ("and x9, x8,", "and x9, x7,")):
            self.assertRegex("\n".join(self.probe(source.replace(*change))), "reached with the key off: .*mrs x8", change)
        # Compared if the first differs: it does not, and Z is taken from the third operand, or not.
        masks = """and x9, x8, #0x7fffffc0
            cmp x9, #0x40
            ccmp x8, x7, #0x4, ne
            b.ne @.closed"""
        source = self.PROBE.replace("tbz w8, #0x6, @.closed", masks)
        self.assertEqual(self.probe(source), [])
        self.assertEqual(self.probe(source.replace("x7, #0x4, ne", "#0x40, #0x0, eq")), [])
        for other in ("x7, #0x0, ne", "x7, #0x4, eq", "#0x41, #0x4, eq", "x7, #0x4, hi"):
            self.assertRegex("\n".join(self.probe(source.replace("x7, #0x4, ne", other))), "reached with the key off: .*mrs x8", other)
        masks = """mov w7, #0x40
            tst w8, w7
            b.eq @.closed
            orr x9, x8, x7
            eor x9, x9, x8
            cbnz x9, @.closed"""
        self.assertEqual(self.probe(self.PROBE.replace("tbz w8, #0x6, @.closed", masks)), [])

    def test_callback_of_another_alternative(self):
        self.assertRegex("\n".join(self.probe(self.PROBE, ours=False)), "reached with the key off: .*mrs x8")

    def test_guard_in_no_way_that_is_walked(self):
        self.assertRegex("\n".join(self.probe(self.PROBE.replace(".guard:", "ret\n.guard:"))), "no way that leads here")

    def test_fixup_of_a_faulting_instruction(self):
        image = self.image("""
            f:
            .site:
                nop
            .load:
                ldtr x1, [x0]
            .on:
                ret
            .fixup:
                mrs x8, POR_EL1
                ret
            """)
        image.fixups[self.labels[".load"]] = [self.labels[".fixup"]]
        self.assertRegex("\n".join(keyoff.judge([keyoff.check(image)], {}, "list")), "reached with the key off")

    def test_bug_does_not_come_back(self):
        source = """
            f:
            .site:
                nop
                cbz x0, @.dead
                ret
            .dead:
                brk #0x800
            .on:
                mrs x8, POR_EL1
                ret
            """
        self.assertFound(source, "mrs x8")
        image = self.image(source)
        image.bugs.add(self.labels[".dead"])
        self.assertEqual(keyoff.judge([keyoff.check(image)], {}, "list"), [])

    def test_computed_jump(self):
        self.assertFound("""
            f:
            .site:
                nop
                br x8
            .on:
                ret
            """, "computed jump")

    def test_code_that_no_way_leads_to(self):
        self.assertFound("""
            f:
            .site:
                nop
            .on:
                ret
                mrs x8, POR_EL1
                ret
            """, "no way that leads here was found")

    # Constants

    GUARD = """
        f:
        {setup}
        .site:
            nop
            mov x8, #-0x1 // =-1
        .body:
            {body}
            cmn x8, #0x1
            b.eq @.out
            mrs x9, POR_EL1
            msr POR_EL1, x8
            isb
        .out:
            ret
        .on:
            mrs x8, POR_EL1
            b @.body
        g:
            ret
        """

    def guard(self, body: str, setup: str = "") -> str:
        return self.GUARD.format(setup=setup, body="\n".join(f"            {line}" for line in body.split("; ")).strip())

    def test_nothing_to_restore(self):
        for body in ("str x1, [x0]", "ldr w9, [x0, #0x8]", "add x0, x0, #0x8", "subs w12, w12, #0x1", "ldadd w9, w10, [x8]",
                     "stxr w9, x8, [x0]", "tlbi vaale1is, x8", "dsb ishst", "mov x9, x8"):
            with self.subTest(body):
                self.assertClean(self.guard(body))

    def test_register_is_not_known_any_more(self):
        for body in ("mov x8, x1", "mov w8, w1", "ldr x8, [x0]", "ldp x9, x8, [x0]", "add x8, x8, #0x1", "ldadd x9, x8, [x0]",
                     "swpal x9, x8, [x0]", "casal x8, x9, [x0]", "stxr w8, x9, [x0]", "ldr x9, [x8], #0x8", "str x9, [x8, #0x8]!",
                     "bl @g", "blr x9", "smc #0x0", "fmov x8, d0", "movk x8, #0x1, lsl #16", "mov x8, #0x0", "unheard x9, w8",
                     "csel x8, x9, x8, eq", "ldaxp x9, x8, [x0]", "mov w8, w8",
                     "<unknown>"):
            with self.subTest(body):
                self.assertFound(self.guard(body), "mrs x9", "msr POR_EL1", "ISB without a DSB")

    def test_both_ways_must_agree(self):
        self.assertFound("""
            f:
            .site:
                nop
                mov x8, #-0x1
                cbz x0, @.body
                ldr x8, [x1]
            .body:
                cmn x8, #0x1
                b.eq @.out
                msr POR_EL1, x8
                isb
            .out:
                ret
            .on:
                ret
            """, "msr POR_EL1", "ISB without a DSB")

    def test_kept_over_a_call_or_in_the_frame(self):
        spill = "str x8, [sp, #0x8]; bl @g; ldr x8, [sp, #0x8]"
        setup = "stp x29, x30, [sp, #-0x20]!\nmov x29, sp"
        self.assertClean(self.guard("mov x19, x8; bl @g; mov x8, x19"))
        self.assertClean(self.guard(spill, setup))
        self.assertClean(self.guard("str x8, [x29, #0x8]; bl @g; ldr x8, [sp, #0x8]", setup))
        for body in ("str x8, [sp, #0x8]; str x1, [sp, #0x8]; ldr x8, [sp, #0x8]",
                     "str x8, [sp, #0x8]; str w1, [x29, #0xc]; ldr x8, [sp, #0x8]",
                     "str x8, [sp, #0x8]; stp x1, x2, [sp]; ldr x8, [sp, #0x8]",
                     "str x8, [sp, #0x8]; str x1, [sp, x2]; ldr x8, [sp, #0x8]",
                     "str x8, [sp, #0x8]; add x0, sp, #0x8; bl @g; ldr x8, [sp, #0x8]",
                     "str w8, [sp, #0x8]; ldr x8, [sp, #0x8]"):
            with self.subTest(body):
                self.assertFound(self.guard(body, setup), "mrs x9", "msr POR_EL1", "ISB without a DSB")

    # ISBs

    def test_barrier_behind_the_branch_only(self):
        self.assertFound("""
            f:
            .site:
                nop
            .back:
                isb
                ret
            .on:
                msr POR_EL1, x8
                b @.back
            """, "ISB without a DSB")

    def test_barrier_of_page_tables(self):
        self.assertClean("""
            f:
            .site:
                nop
            .back:
                dsb ishst
                isb
                ret
            .on:
                msr POR_EL1, x8
                b @.back
            """)

    def test_barrier_that_only_one_way_needs(self):
        self.assertFound("""
            f:
            .site:
                nop
                cbz x0, @.sync
                dsb ishst
            .sync:
                isb
                ret
            .on:
                msr POR_EL1, x8
                b @.sync
            """, "ISB without a DSB")

    def test_barrier_at_the_end_of_a_guard(self):
        source = """
            f:
            .site:
                nop
            .back:
                {}
                isb
                ret
            .on:
                msr POR_EL1, x8
                isb
                b @.back
            """
        for before in ("dsb ishst", "dsb ish\nmov x22, #0x483\nnop\ntst x23, #0xfff", "msr TTBR0_EL1, x0", "dsb ishst\nb @.next\n.next:"):
            with self.subTest(before):
                self.assertClean(source.format(before))
        for before in ("str x1, [x0]", "dsb ishst\nisb", "dsb ishst\nstr x1, [x0]", "dsb ishst\nbl @f", "dsb ishst\nmrs x8, TTBR0_EL1\nldr x1, [x0]",
                       "dmb ishst", "nop"):
            with self.subTest(before):
                self.assertFound(source.format(before), "ISB without a DSB")

    # The list

    ALWAYS = """
        f:
        .site:
            nop
        .on:
            ret
        switch:
            mrs x8, POR_EL1
            msr POR_EL1, x9
            isb
            ret
        """

    def test_listed_function(self):
        self.assertClean(self.ALWAYS, listed={"switch": "threads differ"})
        self.assertFound(self.ALWAYS, "mrs", "msr", "ISB without a DSB", "other is in list, and does not access",
                         listed={"other": "threads differ"})

    def test_listed_file(self):
        image = self.image(self.ALWAYS)
        image.source[self.labels["switch"]] = "suite.c"
        self.assertEqual(keyoff.judge([keyoff.check(image)], {"suite.c": "tests"}, "list"), [])

    def test_stale_entry(self):
        self.assertFound(self.ALWAYS, "f is in list, and does not access POR_EL1", listed={"switch": "x", "f": "y"})

    def test_the_list_excuses_nothing_else(self):
        self.assertFound(self.ALWAYS.replace("mrs x8, POR_EL1", "cbz x0, @.go\nbr x7\n.go:"), "computed jump", listed={"switch": "x"})


class Linked(unittest.TestCase):
    """An assembled kernel of one function, to see that the tables are read as they are."""

    SOURCE = """
        .text
        .globl f
        .type f, %function
    f:
    1:  nop
        .pushsection __jump_table, "aw"
        .align 3
        .long 1b - ., 9f - .
        .quad kpkeys_hardened_pgtables_key + BRANCH - .
        .popsection
    2:  nop
        .pushsection __jump_table, "aw"
        .long 2b - ., 8f - .
        .quad another_key - .
        .popsection
    3:  nop
        .pushsection .altinstructions, "a"
        .long 3b - ., 7f - .
        .short 5
        .byte 4, 4
        .popsection
    0:  mov x9, #0x40
        .pushsection .altinstructions, "a"
        .long 0b - ., CALLBACK - .
        .short 0x8000
        .byte 4, 0
        .popsection
        tbz w9, #6, 9f
    4:  ldtr x1, [x0]
        .pushsection __ex_table, "a"
        .long 4b - ., 6f - .
        .short 0, 0
        .popsection
        cbz x0, 5f
        ret
    5:  brk #0x800
        .pushsection __bug_table, "aw"
    0:  .long 5b - 0b
        .short 0
        .align 2
        .popsection
    9:  mrs x8, s3_0_c10_c2_4
        ret
    8:  ADD
        ret
    6:  ret
    7:  b 8b
        .globl kpkeys_patch_pgtable_guard
    kpkeys_patch_pgtable_guard: ret
    another_callback: ret
        .data
        .align 3
        .globl kpkeys_hardened_pgtables_key
    kpkeys_hardened_pgtables_key: .quad 0, 0
    another_key: .quad 0, 0
    """
    SCRIPT = """
    SECTIONS {
        . = 0xffff800080000000;
        .text : { *(.text) }
        __jump_table : { __start___jump_table = .; *(__jump_table) __stop___jump_table = .; }
        .altinstructions : { __alt_instructions = .; *(.altinstructions) __alt_instructions_end = .; }
        __ex_table : { __start___ex_table = .; *(__ex_table) __stop___ex_table = .; }
        __bug_table : { __start___bug_table = .; *(__bug_table) __stop___bug_table = .; }
        .data : { *(.data) }
    }
    """

    @unittest.skipUnless((support.tool_root() / "usr/lib/llvm-22").is_dir(), "the tool root has not been made")
    def test_tables(self):
        guard = "kpkeys_patch_pgtable_guard"
        for branch, extra, callback, pattern in ((0, "nop", guard, None), (1, "nop", guard, "not in the state"),
                                                 (0, "mrs x8, s3_0_c10_c2_4", guard, "reached with the key off: .*mrs"),
                                                 (0, "nop", "another_callback", "reached with the key off: .*mrs")):
            with self.subTest(branch=branch, extra=extra, callback=callback), tempfile.TemporaryDirectory() as name:
                directory = Path(name).resolve()
                source = self.SOURCE.replace("BRANCH", str(branch)).replace("ADD", extra).replace("CALLBACK", callback)
                (directory / "f.s").write_text(source)
                (directory / "f.lds").write_text(self.SCRIPT)
                self.tool(directory, "clang", "--target=aarch64-linux-gnu", "-c", directory / "f.s", "-o", directory / "f.o")
                self.tool(directory, "ld.lld", "-T", directory / "f.lds", directory / "f.o", "-o", directory / "vmlinux")
                said = self.tool(directory, "llvm-objdump", "-d", "--no-show-raw-insn", directory / "vmlinux")
                image = keyoff.Image.of(directory / "vmlinux", said)
                self.assertEqual((len(image.sites), len(image.other_branches), len(image.fixups), len(image.bugs)), (1, 1, 1, 1))
                problems = "\n".join(keyoff.judge([keyoff.check(image)], {}, "list"))
                if pattern:
                    self.assertRegex(problems, pattern)
                else:
                    self.assertEqual(problems, "")

    def tool(self, out: Path, *command) -> str:
        """What @command prints in the tool root, with @out there as well."""
        env = {**support.clean_environment(), "O": str(out), "CACHE": os.environ.get("CACHE", "")}
        done = subprocess.run([sys.executable, support.PROJECT / "scripts/kpkeys", "tools", *command], env=env, text=True,
                              capture_output=True, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout


def make_object(path: Path, text: bytes = b"\x1f\x20\x03\xd5" * 4, symbols: tuple = (("f", 0, True),), target: str = "printk",
                addend: int = 0, note: bytes = b"one", strings: bytes = b"\0") -> Path:
    """A relocatable object: .text with one relocation against @target, .comment with @note, @strings, and @symbols (name, value, global)."""
    names = b"\0"
    table = struct.pack("<IBBHQQ", 0, 0, 0, 0, 0, 0)
    ordered = sorted([(n, v, g, 1) for n, v, g in symbols] + [(target, 0, True, 0)], key=lambda s: s[2])
    index = 1 + [s[0] for s in ordered].index(target)
    for name, value, outside, section in ordered:
        table += struct.pack("<IBBHQQ", len(names), (outside << 4) | (2 if section else 0), 0, section, value, 4 if section else 0)
        names += name.encode() + b"\0"
    relocations = struct.pack("<QQq", 4, index << 32 | 283, addend)
    section_names = b"\0.text\0.rela.text\0.comment\0.symtab\0.strtab\0.shstrtab\0.rodata.str\0"
    parts = [(b".text", 1, 6, text, 0, 0, 0), (b".rela.text", 4, 0x40, relocations, 4, 1, 24), (b".comment", 1, 0, note, 0, 0, 0),
             (b".symtab", 2, 0, table, 5, 1 + sum(not s[2] for s in ordered), 24), (b".strtab", 3, 0, names, 0, 0, 0),
             (b".shstrtab", 3, 0, section_names, 0, 0, 0), (b".rodata.str", 1, 0x32, strings, 0, 0, 1)]
    body, headers = b"", struct.pack("<IIQQQQIIQQ", *[0] * 10)
    for name, kind, flags, data, link, info, entry in parts:
        headers += struct.pack("<IIQQQQIIQQ", section_names.index(b"\0" + name + b"\0") + 1, kind, flags, 0, 64 + len(body), len(data), link, info, 4, entry)
        body += data
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 1, 183, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64, 8, 6)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + body + headers)
    return path


class Objects(unittest.TestCase):
    """Objects of the base and of the series."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.top = Path(directory.name)

    def difference(self, before: dict, after: dict) -> str:
        old, new = make_object(self.top / "old.o", **before), make_object(self.top / "new.o", **after)
        count, changed = zerocost.compare({"mm/x.o": old}, {"mm/x.o": new})
        self.assertEqual(count, 1)
        return changed.get("mm/x.o", "")

    def test_same(self):
        self.assertEqual(self.difference({}, {}), "")

    def test_what_is_not_loaded(self):
        self.assertEqual(self.difference({}, {"note": b"another"}), "")

    def test_instruction(self):
        self.assertEqual(self.difference({}, {"text": b"\x1f\x20\x03\xd5" * 3 + b"\xdf\x3f\x03\xd5"}), ".text")

    def test_size(self):
        self.assertEqual(self.difference({}, {"text": b"\x1f\x20\x03\xd5" * 5}), ".text")

    def test_relocation(self):
        self.assertIn(".text", self.difference({}, {"target": "panic"}))
        self.assertEqual(self.difference({}, {"addend": 8}), ".text")

    def test_symbol(self):
        self.assertEqual(self.difference({}, {"symbols": (("f", 0, True), ("g", 8, True))}), "+g")
        self.assertEqual(self.difference({}, {"symbols": (("f", 4, True),)}), "symbols")
        self.assertEqual(self.difference({}, {"symbols": (("f", 0, False),)}), "symbols")

    def test_numbers_of_local_symbols(self):
        local = [(("f", 0, True), (name, 4, False)) for name in ("__UNIQUE_ID_addressable_f_512", "__UNIQUE_ID_addressable_f_530")]
        self.assertEqual(self.difference({"symbols": local[0]}, {"symbols": local[1]}), "")
        local = [(("f", 0, True), (name, 4, False)) for name in ("__already_done.3", "__already_done.12")]
        self.assertEqual(self.difference({"symbols": local[0]}, {"symbols": local[1]}), "")
        self.assertEqual(self.difference({"symbols": (("f.1", 0, True),)}, {"symbols": (("f.2", 0, True),)}), "-f.1 +f.2")

    def test_numbers_in_messages(self):
        text = [b"VM_BUG_ON(__UNIQUE_ID_x__%d) __compiletime_assert_%d\0" % n for n in ((715, 717), (739, 741))]
        self.assertEqual(self.difference({"strings": text[0]}, {"strings": text[1]}), "")
        self.assertEqual(self.difference({"strings": b"order 715\0"}, {"strings": b"order 739\0"}), ".rodata.str")
        self.assertEqual(self.difference({"strings": text[0]}, {"strings": text[1].replace(b"739", b"1739")}), ".rodata.str")

    def test_object_on_one_side(self):
        one = make_object(self.top / "one.o")
        self.assertEqual(zerocost.compare({}, {"mm/new.o": one})[1], {"mm/new.o": "only with the series"})
        self.assertEqual(zerocost.compare({"mm/old.o": one}, {})[1], {"mm/old.o": "only in the base"})

    def test_not_an_object(self):
        bad = self.top / "bad.o"
        bad.write_bytes(b"")
        with self.assertRaises(ui.Failure):
            zerocost.compare({"mm/x.o": make_object(self.top / "x.o")}, {"mm/x.o": bad})

    def test_listed(self):
        self.assertEqual(zerocost.judge_objects(2, {"mm/x.o": ".text"}, {"mm/x.o": "must"}), [])

    def test_unlisted(self):
        problems = zerocost.judge_objects(2, {"mm/x.o": ".text"}, {})
        self.assertEqual(len(problems), 1)
        self.assertRegex(problems[0], r"mm/x\.o is not what the base makes of it \(\.text\), and is not in changed\.txt")

    def test_stale(self):
        problems = zerocost.judge_objects(2, {}, {"mm/x.o": "must"})
        self.assertEqual(len(problems), 1)
        self.assertRegex(problems[0], r"mm/x\.o is in changed\.txt, and is what the base makes of it")

    def test_nothing_compared(self):
        self.assertEqual(zerocost.judge_objects(0, {}, {}), ["no object was compared"])


class Lists(unittest.TestCase):
    def read(self, text: str) -> dict[str, str]:
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "list.txt"
            path.write_text(text)
            return zerocost.read_list(path)

    def test_form(self):
        self.assertEqual(self.read("# comment\n\nmm/x.o    why it must\n"), {"mm/x.o": "why it must"})

    def test_bad(self):
        for text, pattern in (("mm/x.o\n", "has no reason"), ("a one\na two\n", "listed twice")):
            with self.subTest(text), self.assertRaisesRegex(ui.Failure, pattern):
                self.read(text)

    def test_stored_lists(self):
        self.assertTrue(zerocost.read_list(zerocost.CHANGED))
        self.assertTrue(zerocost.read_list(zerocost.POR_ACCESS))


if __name__ == "__main__":
    unittest.main()
