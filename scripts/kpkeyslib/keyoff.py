# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel with hardened page tables executes while their static key is off.

Looked at is a linked kernel, in the words of llvm-objdump. Each function that accesses POR_EL1
(or the same register of EL2, POR_EL2 and POR_EL12), or that has a branch of the key, is walked
from its entry, every way execution can take:

- A branch of the key goes where it goes while the key is off: straight on, or to its target if
  the table of jump labels says that it is likely. What the image holds there must agree.
- What a guard looks at is an alternative with a callback of its own, which leaves a constant that
  tells the guard to do nothing if the key is not going to be on.
- A branch of another key, any other alternative, and the fixup of an instruction that may fault,
  are followed both ways. A callback alternative is what it is in the image, or nothing.
- A conditional branch is followed both ways, unless the register or the flags that it looks at
  are known constants on all ways that lead there. Guards need that: they begin with such a branch,
  and a guard that does nothing carries KPKEYS_PKEY_REG_INVAL to its end in a register or on the
  stack, and compares. What is not known to leave a register alone destroys each register that it
  names.
- A call comes back, and leaves x19 to x29 as they were; BUG() does not come back.
- A jump to the entry of another function ends the walk, as that one is walked by itself; to any
  other place it is followed.
- A computed jump is not understood, and counts as a finding. So does an access or a branch of the
  key that no way leads to even with the key on: then the walk has missed ways.

A finding is then

- an access to POR_EL1 that is reached; and
- an ISB that is reached without a reason of its own: between it and a DSB, or a write of another
  system register, there is more than arithmetic, on at least one of the ways that are taken while
  the key is off. Without kpkeys, page table code has ISBs in such pairs only, DSB and ISB to
  make a change visible; the ISBs of a guard come after the write of POR_EL1 or, where that is
  left out, after the write of the page table. What this would not find is an ISB for a guard,
  outside of its branch, right after a DSB that had none.

The functions that access POR_EL1 whatever the key says are listed, with the reason, in
kunit/zero-cost/por-access.txt. A function that is listed and has no finding is one as well.
"""

from __future__ import annotations

import bisect
import operator
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from . import elf
from .ui import Failure

KEY = "kpkeys_hardened_pgtables_key"
# What replaces the constant that a guard looks at by the register.
GUARD = "kpkeys_patch_pgtable_guard"
# By name, or as the encoding where a decoder does not know the name.
POR = re.compile(r"(?i)\b(?:POR_EL(?:1|2|12)|S3_[045]_C10_C2_4)\b")
CALLBACK = 1 << 15  # of an alternative's capability
BUGFLAG_WARNING = 1

MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Instruction:
    address: int
    name: str
    operands: str

    @property
    def por(self) -> bool:
        return self.name in ("mrs", "msr") and bool(POR.search(self.operands))

    @property
    def target(self) -> int:
        """Where a direct branch goes."""
        return int(re.search(r"0x([0-9a-f]+)(?: <|$)", self.operands)[1], 16)

    def __str__(self) -> str:
        return f"{self.address:x}: {self.name} {self.operands}".rstrip()


@dataclass
class Function:
    """What lies between two labels."""

    name: str
    start: int
    end: int
    text: str
    decoded: dict[int, Instruction] | None = None

    @property
    def code(self) -> dict[int, Instruction]:
        if self.decoded is None:
            self.decoded = {}
            for match in _LINE.finditer(self.text):
                # Data between instructions is nothing to walk over.
                if not match[2].startswith("."):
                    address = int(match[1], 16)
                    self.decoded[address] = Instruction(address, match[2], (match[3] or "").split("//")[0].strip())
        return self.decoded


_LINE = re.compile(r"^ *([0-9a-f]+): *\t(\S+)(?:\t([^\n]*))?$", re.M)
_LABEL = re.compile(r"^([0-9a-f]+) <(.+)>:$", re.M)


@dataclass(frozen=True)
class Alternative:
    start: int
    length: int
    replacement: int  # where its instructions are; 0 if a callback writes them
    replaced: int
    guard: bool = False  # not replaced if the key is not going to be on


@dataclass(frozen=True)
class Site:
    """A branch of the key."""

    address: int
    target: int
    jumps: bool  # while the key is off


class Image:
    """A linked kernel: its code, and the tables that change it or the way through it."""

    def __init__(self, disassembly: str):
        self.functions: list[Function] = []
        labels = list(_LABEL.finditer(disassembly))
        for label, following in zip(labels, [*labels[1:], None]):
            text = disassembly[label.end():following.start() if following else len(disassembly)]
            start = int(label[1], 16)
            end = int(following[1], 16) if following else MASK
            self.functions.append(Function(label[2], start, end if end > start else MASK, text))
        self.functions.sort(key=lambda f: f.start)
        self.starts = [f.start for f in self.functions]
        self.sites: dict[int, Site] = {}
        self.other_branches: dict[int, list[int]] = {}
        self.alternatives: dict[int, list[Alternative]] = {}
        self.after_replacement: dict[int, list[int]] = {}
        self.replacements: dict[int, list[int]] = {}
        self.fixups: dict[int, list[int]] = {}
        self.bugs: set[int] = set()
        self.source: dict[int, str] = {}

    @classmethod
    def of(cls, vmlinux: Path, disassembly: str) -> "Image":
        image = cls(disassembly)
        image._read_tables(elf.Elf(vmlinux))
        return image

    def _read_tables(self, kernel: elf.Elf) -> None:
        key, guard = kernel.value(KEY), kernel.value(GUARD)
        address, data = kernel.between("__start___jump_table", "__stop___jump_table")
        for code, target, field_key in struct.iter_unpack("<iiq", data):
            pointer = (address + 8 + field_key) & MASK
            self.add_branch((address + code) & MASK, (address + 4 + target) & MASK, bool(pointer & 1), pointer & ~3 == key)
            address += 16
        address, data = kernel.between("__alt_instructions", "__alt_instructions_end")
        for original, other, capability, length, replaced in struct.iter_unpack("<iiHBB", data):
            callback = capability & CALLBACK or not replaced
            other = (address + 4 + other) & MASK
            self.add_alternative(Alternative((address + original) & MASK, length, 0 if callback else other, replaced,
                                             bool(callback) and other == guard))
            address += 12
        address, data = kernel.between("__start___ex_table", "__stop___ex_table")
        for instruction, fixup, _ in struct.iter_unpack("<iiI", data):
            self.fixups.setdefault((address + instruction) & MASK, []).append((address + 4 + fixup) & MASK)
            address += 12
        self._read_bugs(*kernel.between("__start___bug_table", "__stop___bug_table"))
        source = ""
        for symbol in kernel.symbols:
            if symbol.type == elf.STT_FILE:
                source = symbol.name
            elif symbol.bind == elf.STB_LOCAL and symbol.type == elf.STT_FUNC:
                self.source[symbol.value] = source

    def _read_bugs(self, address: int, data: bytes) -> None:
        """Take in the BUG()s, after which nothing follows; a WARN() stands in the same table."""
        # With CONFIG_DEBUG_BUGVERBOSE an entry has the source file and line as well.
        for size, flags in ((12, 10), (8, 4)):
            places = range(0, len(data) - len(data) % size, size)
            entries = [((address + n + struct.unpack_from("<i", data, n)[0]) & MASK, struct.unpack_from("<H", data, n + flags)[0])
                       for n in places]
            if not len(data) % size and all((i := self.instruction(place)) and i.name == "brk" for place, _ in entries[:8]):
                self.bugs.update(place for place, flag in entries if not flag & BUGFLAG_WARNING)
                return

    def add_branch(self, address: int, target: int, likely: bool, ours: bool) -> None:
        if ours:
            self.sites[address] = Site(address, target, likely)
        else:
            self.other_branches.setdefault(address, []).append(target)

    def add_alternative(self, alternative: Alternative) -> None:
        for place in range(alternative.start, alternative.start + alternative.length, 4):
            self.alternatives.setdefault(place, []).append(alternative)
        if alternative.replacement:
            end = alternative.replacement + alternative.replaced
            self.after_replacement.setdefault(end, []).append(alternative.start + alternative.length)
            for offset in range(0, alternative.replaced, 4):
                self.replacements.setdefault(alternative.replacement + offset, []).append(alternative.start + offset)

    def function_at(self, address: int) -> Function | None:
        """The function that @address lies in."""
        n = bisect.bisect_right(self.starts, address) - 1
        return self.functions[n] if n >= 0 and address < self.functions[n].end else None

    def homes(self, address: int) -> list[int]:
        """Where the instruction at @address is executed: itself, or the places whose alternative it is part of."""
        return self.replacements.get(address) or [address]

    def instruction(self, address: int) -> Instruction | None:
        function = self.function_at(address)
        return function.code.get(address) if function else None


# What an instruction does to registers

_REGISTER = re.compile(r"\b([xw])(\d+)\b")
# Write their first operand and nothing else.
_ONE_RESULT = frozenset(
    "add sub and orr eor bic orn eon lsl lsr asr ror neg mvn ubfx sbfx ubfiz sbfiz ubfm sbfm bfi bfxil bfc bfm sxtw sxtb sxth uxtw "
    "uxtb uxth madd msub mul mneg umulh smulh umull smull umaddl smaddl udiv sdiv csel csinc csinv csneg cset csetm cinc cinv cneg "
    "clz cls rbit rev rev16 rev32 adr adrp extr mrs mov movk movz movn xpaci xpacd pacia pacib pacda pacdb autia autib adc sbc "
    "smin smax umin umax abs".split())
# What is followed of them: a guard of more than one pkey masks the value that it looks at.
_BITS = {"and": operator.and_, "orr": operator.or_, "eor": operator.xor}
# As those, and the flags.
_RESULT_AND_FLAGS = frozenset("adds subs ands bics negs adcs sbcs ngcs".split())
_FLAGS = frozenset("cmp cmn tst ccmp ccmn fcmp fcmpe".split())
_STORES = frozenset("str stp stur strb strh sturb sturh stlr stlrb stlrh sttr sttrb sttrh stnp stlur".split())
_NOTHING = frozenset("nop hint isb dsb dmb sb prfm prfum dc ic at tlbi msr b bti yield csdb esb psb tsb clrex wfe wfi sev sevl brk "
                     "dgh autiasp paciasp autibsp pacibsp xpaclri clrbhb chkfeat gcspushm".split())
_BACK = frozenset("ret retaa retab eret eretaa eretab".split())


@dataclass(frozen=True)
class State:
    """Constants that registers ('x8'), the flags ('flags', whether equal) and stack slots are known to hold.

    sp and x29 are kept as distances from sp at the entry, under the same names.
    """

    known: tuple[tuple[str, int], ...] = ()

    def join(self, other: "State") -> "State":
        """What holds in both."""
        return self if self == other else State(tuple(sorted(set(self.known) & set(other.known))))


def _number(text: str) -> int | None:
    match = re.fullmatch(r"#(-?(?:0x)?[0-9a-f]+)", text)
    return int(match[1], 0) if match else None


def _split(operands: str) -> list[str]:
    return [part.strip() for part in re.split(r",(?![^\[]*\])", operands)] if operands else []


class Walk:
    """All that can be reached in one function with the key off."""

    def __init__(self, image: Image, function: Function, key_off: bool = True):
        self.image = image
        self.function = function
        self.key_off = key_off
        self.states: dict[int, State] = {}
        self.before: dict[int, set[int]] = {}
        self.computed: list[Instruction] = []
        # Addresses of the frame that are given away: what lies from there on may be changed by others.
        self.given = self._given_away()
        self._todo: list[int] = []
        self._arrive(function.start, State((("sp", 0),)), None)
        while self._todo:
            address = self._todo.pop()
            instruction = image.instruction(address)
            if instruction:
                self._step(instruction, self.states[address])

    def reached(self) -> Iterator[Instruction]:
        for address in sorted(self.states):
            instruction = self.image.instruction(address)
            if instruction:
                yield instruction

    # Edges

    def _arrive(self, address: int, state: State, origin: int | None, sequential: bool = False) -> None:
        self._enter(address, state, origin)
        for alternative in self.image.alternatives.get(address, ()):
            if sequential and address != alternative.start:
                continue
            if alternative.guard and self.key_off:
                continue
            if not alternative.replacement:
                self._arrive(alternative.start + alternative.length, state, origin, True)
            elif address - alternative.start < alternative.replaced:
                self._enter(alternative.replacement + address - alternative.start, state, origin)

    def _enter(self, address: int, state: State, origin: int | None) -> None:
        if origin is not None:
            self.before.setdefault(address, set()).add(origin)
        old = self.states.get(address)
        new = state if old is None else old.join(state)
        if new != old:
            self.states[address] = new
            self._todo.append(address)

    def _next(self, instruction: Instruction, state: State) -> None:
        """Go on behind @instruction."""
        following = instruction.address + 4
        ends = self.image.after_replacement.get(following)
        for place in ends or [following]:
            if not self._leaves(instruction, place):
                self._arrive(place, state, instruction.address, True)

    def _leaves(self, instruction: Instruction, place: int) -> bool:
        """Whether @place is behind a function that ended with a call that does not come back."""
        return instruction.name in ("bl", "blr", "brk", "udf") and bool(
            (there := self.image.function_at(place)) and there.start == place)

    def _jump(self, instruction: Instruction, target: int, state: State) -> None:
        there = self.image.function_at(target)
        if there and there.start == target and there is not self.function and not self._is_part(there):
            return
        self._arrive(target, state, instruction.address)

    def _is_part(self, there: Function) -> bool:
        """Whether @there is a piece that the compiler has moved away from a function."""
        return ".cold" in there.name or ".part" in there.name

    def _step(self, instruction: Instruction, state: State) -> None:
        address, name = instruction.address, instruction.name
        for fixup in self.image.fixups.get(address, ()):
            # The instruction may have been carried out in part.
            self._arrive(fixup, self._after(instruction, state), address)
        site = self.image.sites.get(address)
        if site and self.key_off:
            if site.jumps:
                self._jump(instruction, site.target, state)
            else:
                self._next(instruction, state)
            return
        if site:
            self._jump(instruction, site.target, state)
            self._next(instruction, state)
            return
        for target in self.image.other_branches.get(address, ()):
            self._jump(instruction, target, state)
            self._next(instruction, state)
        after = self._after(instruction, state)
        if name == "b":
            self._jump(instruction, instruction.target, after)
        elif name.startswith(("b.", "bc.")) or name in ("cbz", "cbnz", "tbz", "tbnz") or name.startswith("cb"):
            taken = self._taken(instruction, state)
            if taken is not False:
                self._jump(instruction, instruction.target, after)
            if taken is not True:
                self._next(instruction, after)
        elif name in _BACK or address in self.image.bugs:
            pass
        elif name.startswith("br") and name != "brk":
            self.computed.append(instruction)
        else:
            self._next(instruction, after)

    # Constants

    def _taken(self, instruction: Instruction, state: State) -> bool | None:
        known = dict(state.known)
        name = instruction.name
        if name in ("b.eq", "b.ne"):
            equal = known.get("flags")
            return None if equal is None else bool(equal) == (name == "b.eq")
        if name in ("cbz", "cbnz", "tbz", "tbnz"):
            operands = _split(instruction.operands)
            value = self._read(operands[0], known)
            if value is None:
                return None
            if name.startswith("t"):
                value = value >> _number(operands[1]) & 1
            return (value == 0) == name.endswith("bz")
        return None

    @staticmethod
    def _read(register: str, known: dict[str, int]) -> int | None:
        if register in ("xzr", "wzr"):
            return 0
        value = known.get("x" + register[1:]) if register[:1] in "xw" and register[1:] != "29" else None
        return value if value is None or register[0] == "x" else value & 0xffffffff

    def _given_away(self) -> int:
        """The lowest distance from sp at the entry whose address anything but x29 receives."""
        # The frame is set up by the first instructions, and sp then stays where it is.
        sp = x29 = 0
        lowest = 1
        for instruction in self.function.code.values():
            operands = _split(instruction.operands)
            if not operands:
                continue
            if instruction.name in ("mov", "add", "sub") and len(operands) > 1 and operands[1] in ("sp", "x29") and operands[0] != "sp":
                amount = _number(operands[2]) if len(operands) == 3 else 0
                base = sp if operands[1] == "sp" else x29
                place = None if amount is None else base + (amount if instruction.name != "sub" else -amount)
                if operands[0] == "x29" and operands[1] == "sp" and place is not None:
                    x29 = place
                else:
                    lowest = min(lowest, -(1 << 62) if place is None else place)
            elif operands[0] == "sp" and instruction.name == "sub" and len(operands) == 3 and _number(operands[2]) is not None:
                sp = min(sp, sp - _number(operands[2]))
            elif instruction.name == "stp" and operands[-1].endswith("]!") and operands[-1].startswith("[sp"):
                sp += _number(operands[-1][1:-2].split(",")[1].strip()) or 0
            elif operands[0] == "sp" and instruction.name == "mov":
                lowest = -(1 << 62)
        return lowest

    def _slot(self, operand: str, known: dict[str, int]) -> int | None:
        """The distance from sp at the entry that the memory @operand has, if it is a slot of the frame."""
        match = re.fullmatch(r"\[(sp|x29)(?:, (#\S+))?\]", operand)
        if not match or match[1] not in known:
            return None
        return known[match[1]] + (_number(match[2]) if match[2] else 0)

    def _after(self, instruction: Instruction, state: State) -> State:
        """@state behind @instruction."""
        name, known = instruction.name, dict(state.known)
        operands = _split(instruction.operands)
        if name in ("bl", "blr", "svc", "hvc", "smc") or name.startswith("blra"):
            for number in (*range(19), 30):
                known.pop(f"x{number}", None)
            known.pop("flags", None)
        elif name == "<unknown>":
            known.clear()
        elif name in _NOTHING or name.startswith(("b.", "bc.", "cb", "tb")) or name in _BACK:
            if name == "msr":
                # It may be NZCV.
                known.pop("flags", None)
        elif name in _FLAGS:
            self._compare(name, operands, known)
        elif name in _ONE_RESULT or name in _RESULT_AND_FLAGS:
            value = self._result(name, operands, known)
            if name in _RESULT_AND_FLAGS:
                known.pop("flags", None)
            self._set(operands[0], value, known)
        elif name.startswith(("ld", "st", "cas", "swp")) and "[" in instruction.operands:
            self._memory(name, instruction.operands, operands, known)
        else:
            for _, number in _REGISTER.findall(instruction.operands):
                known.pop(f"x{number}", None)
            known.pop("flags", None)
            if "sp" in instruction.operands:
                known.pop("sp", None)
        return State(tuple(sorted(known.items())))

    @staticmethod
    def _set(register: str, value: int | None, known: dict[str, int]) -> None:
        if register in ("xzr", "wzr"):
            return
        name = register if register == "sp" else "x" + register[1:]
        if value is None:
            known.pop(name, None)
        else:
            known[name] = value if name in ("sp", "x29") else value & (MASK if register[0] == "x" else 0xffffffff)

    def _result(self, name: str, operands: list[str], known: dict[str, int]) -> int | None:
        if operands[0] in ("sp", "x29") or operands[-1] == "sp" or (len(operands) > 1 and operands[1] in ("sp", "x29")):
            # The frame: distances. Whatever else receives one is not followed.
            if operands[0] not in ("sp", "x29") or name not in ("mov", "add", "sub") or operands[1] not in known:
                return None
            amount = 0 if len(operands) == 2 else _number(operands[2])
            if operands[1] not in ("sp", "x29") or amount is None:
                return None
            return known[operands[1]] + (-amount if name == "sub" else amount)
        if name == "mov":
            number = _number(operands[1])
            return number if number is not None else self._read(operands[1], known)
        if name == "movk":
            old, part = self._read(operands[0], known), _number(operands[1])
            shift = int(operands[2].split("#")[1], 0) if len(operands) == 3 else 0
            return None if old is None or part is None else old & ~(0xffff << shift) | part << shift
        if name in _BITS and len(operands) == 3:
            left, right = self._read(operands[1], known), self._value(operands[2], known)
            return None if left is None or right is None else _BITS[name](left, right)
        return None

    def _value(self, operand: str, known: dict[str, int]) -> int | None:
        """A number, or what a register is known to hold."""
        number = _number(operand)
        return number if number is not None else self._read(operand, known)

    def _compare(self, name: str, operands: list[str], known: dict[str, int]) -> None:
        before = known.pop("flags", None)
        if name == "ccmp" and len(operands) == 4:
            # Compared if the condition holds; otherwise Z, which says "equal", is bit 2 of the third operand.
            if before is None or operands[3] not in ("eq", "ne"):
                return
            if bool(before) != (operands[3] == "eq"):
                known["flags"] = (_number(operands[2]) or 0) >> 2 & 1
                return
        elif name not in ("cmp", "cmn", "tst") or len(operands) != 2:
            return
        left, right = self._read(operands[0], known), self._value(operands[1], known)
        if left is not None and right is not None:
            width = MASK if operands[0][0] == "x" else 0xffffffff
            difference = left & right if name == "tst" else left + right if name == "cmn" else left - right
            known["flags"] = int(difference & width == 0)

    def _memory(self, name: str, text: str, operands: list[str], known: dict[str, int]) -> None:
        before, _, memory = text.partition("[")
        place = next((o for o in operands if o.startswith("[")), "")
        slot = self._slot(place, known)
        plain = name in _STORES
        changes_base = place.endswith("!") or not text.rstrip().endswith("]")
        registers = [o for o in operands if _REGISTER.fullmatch(o) or o in ("xzr", "wzr")]
        # Of registers other than the general ones, as much as they may hold.
        width = 8 * len(registers) if registers else 64
        if name.startswith("st") and slot is not None and not changes_base:
            for key in [k for k in known if k.startswith("[") and slot - 8 < int(k[1:]) < slot + width]:
                known.pop(key)
            if name in ("str", "stp", "stur") and slot + width <= self.given and all(o[0] == "x" for o in registers):
                for n, register in enumerate(registers):
                    value = self._read(register, known)
                    if value is not None and register != "x29":
                        known[f"[{slot + 8 * n}"] = value
        elif name.startswith("st") and re.match(r"(?:sp|x29)\b", memory) and not changes_base:
            # Somewhere in the frame.
            for key in [k for k in known if k.startswith("[")]:
                known.pop(key)
        if not plain:
            # The exclusive stores return whether they stored, in the first operand.
            for _, number in _REGISTER.findall(before.split(",")[0] if name.startswith(("stx", "stlx")) else before):
                known.pop(f"x{number}", None)
            if name in ("ldr", "ldp", "ldur") and slot is not None and not changes_base and all(o[0] == "x" for o in registers):
                for n, register in enumerate(registers):
                    value = known.get(f"[{slot + 8 * n}")
                    if value is not None and register != "x29":
                        self._set(register, value, known)
        if changes_base:
            base = re.match(r"(\w+)", memory)[1]
            amount = None
            if base == "sp" and (found := re.search(r", (#-?0x[0-9a-f]+)\]!$|\], (#-?0x[0-9a-f]+)$", text)):
                amount = _number(found[1] or found[2])
            old = known.get("sp")
            for key in [k for k in known if k.startswith("[")] if name.startswith("st") and base == "sp" else []:
                known.pop(key)
            self._set(base, None if base != "sp" or old is None or amount is None else old + amount, known)


# Findings

@dataclass(frozen=True)
class Finding:
    """Something in @function, which is static and of the file @source if that is known."""

    function: str
    source: str
    text: str
    # Whether it is what the list of functions that access POR_EL1 is about.
    access: bool = False


@dataclass
class Report:
    findings: list[Finding] = field(default_factory=list)
    functions: int = 0
    sites: int = 0
    guards: int = 0
    accesses: int = 0
    # ISBs in all, and those of them that are reached with the key off.
    barriers: int = 0
    barriers_off: int = 0

    def add(self, image: Image, function: Function, text: str, access: bool = False) -> None:
        self.findings.append(Finding(function.name, image.source.get(function.start, ""), text, access))


def check(image: Image) -> Report:
    """Walk each function that accesses POR_EL1, has a branch of the key, or a guard."""
    report = Report()
    chosen: dict[int, Function] = {}
    accesses = [i for f in image.functions if POR.search(f.text) for i in f.code.values() if i.por]
    report.accesses = len(accesses)
    for access in accesses:
        # What an alternative brings belongs to the function that it is put into.
        for place in image.homes(access.address):
            function = image.function_at(place)
            chosen[function.start] = function
    for site in image.sites.values():
        function = image.function_at(site.address)
        instruction = image.instruction(site.address)
        if not function or not instruction:
            raise Failure(f"the jump label at {site.address:x} is not in any function", "is the disassembly complete?")
        wanted = ("b", site.target) if site.jumps else ("nop", 0)
        if (instruction.name, instruction.target if instruction.name == "b" else 0) != wanted:
            report.add(image, function, f"the branch is not in the state of a key that is off: {instruction}")
        chosen[function.start] = function
        report.sites += 1
    guards = sorted({a.start for there in image.alternatives.values() for a in there if a.guard})
    for place in guards:
        function = image.function_at(place)
        if not function or not image.instruction(place):
            raise Failure(f"the guard at {place:x} is not in any function", "is the disassembly complete?")
        chosen[function.start] = function
        report.guards += 1
    seen: set[int] = set()
    for _, function in sorted(chosen.items()):
        report.functions += 1
        everything = Walk(image, function, key_off=False)
        seen.update(everything.states)
        off = Walk(image, function)
        for instruction in everything.computed:
            report.add(image, function, f"a computed jump, which is not understood: {instruction}")
        report.barriers += sum(i.name == "isb" for i in everything.reached())
        for instruction in off.reached():
            if instruction.por:
                report.add(image, function, f"reached with the key off: {instruction}", True)
            elif instruction.name == "isb":
                report.barriers_off += 1
                if not _has_reason(image, off, instruction):
                    report.add(image, function, f"an ISB without a DSB before it, reached with the key off: {instruction}", True)
    # A walk that did not find all there is would prove nothing.
    for instruction in [*accesses, *(image.instruction(a) for a in [*image.sites, *guards])]:
        if instruction.address not in seen:
            report.add(image, image.function_at(instruction.address), f"no way that leads here was found: {instruction}")
    return report


def _has_reason(image: Image, walk: Walk, barrier: Instruction) -> bool:
    """Whether the ISB @barrier comes after a DSB, or the write of another register than POR_EL1, on all ways of @walk."""
    todo, seen = [barrier.address], set()
    while todo:
        address = todo.pop()
        if address in seen:
            continue
        seen.add(address)
        before = [image.instruction(a) for a in walk.before.get(address, ())]
        if not before:
            return False
        for instruction in before:
            if instruction.name == "dsb" or instruction.name == "msr" and not instruction.por:
                continue
            if instruction.por or instruction.name not in {"nop", "b"} | _ONE_RESULT | _RESULT_AND_FLAGS | _FLAGS:
                return False
            todo.append(instruction.address)
    return True


def judge(reports: list[Report], listed: dict[str, str], name: str) -> list[str]:
    """What is wrong with @reports, if the functions or source files @listed in the file @name may access POR_EL1."""
    problems = []
    if not reports or not all(report.sites for report in reports):
        problems.append(f"there is no branch of {KEY}, so nothing was shown")
    used = set()
    for finding in (f for report in reports for f in report.findings):
        entries = {finding.function, finding.source} & listed.keys() if finding.access else set()
        used |= entries
        if not entries:
            problems.append(f"{finding.function}(): {finding.text}")
    problems += [f"{entry} is in {name}, and does not access POR_EL1 with the key off" for entry in listed if entry not in used]
    return problems
