# SPDX-License-Identifier: GPL-2.0-only
"""As much of an ELF file as the checks look at: sections, symbols, relocations, bytes at an address.

64-bit and little-endian only. Instructions are none of its business: see keyoff.py.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from .ui import Failure

SHT_SYMTAB, SHT_RELA, SHT_NOBITS, SHT_GROUP = 2, 4, 8, 17
SHF_ALLOC, SHF_STRINGS = 2, 0x20
SHN_UNDEF, SHN_LORESERVE = 0, 0xff00
STB_LOCAL = 0
STT_FUNC, STT_SECTION, STT_FILE = 2, 3, 4


@dataclass(frozen=True)
class Section:
    index: int
    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry: int


@dataclass(frozen=True)
class Symbol:
    name: str
    value: int
    size: int
    bind: int
    type: int
    visibility: int
    section: int


@dataclass(frozen=True)
class Relocation:
    offset: int
    type: int
    symbol: Symbol
    addend: int


class Elf:
    """The file @path, read at once."""

    def __init__(self, path: Path):
        self.path = path
        self.data = path.read_bytes()
        if self.data[:6] != b"\x7fELF\x02\x01" or len(self.data) < 64:
            raise Failure(f"{path} is not a 64-bit little-endian ELF file", "build it again")
        table, = struct.unpack_from("<Q", self.data, 0x28)
        size, count, names = struct.unpack_from("<HHH", self.data, 0x3a)
        raw = [struct.unpack_from("<IIQQQQIIQQ", self.data, table + n * size) for n in range(count)]
        strings = raw[names][4]
        self.sections = [Section(n, self._string(strings + r[0]), *r[1:]) for n, r in enumerate(raw)]
        self.symbols = self._symbols()

    def _string(self, offset: int) -> str:
        return self.data[offset:self.data.index(b"\0", offset)].decode(errors="replace")

    def _symbols(self) -> list[Symbol]:
        found = []
        for table in self.sections:
            if table.type != SHT_SYMTAB:
                continue
            strings = self.sections[table.link].offset
            for name, info, other, index, value, size in struct.iter_unpack("<IBBHQQ", self.content(table)):
                found.append(Symbol(self._string(strings + name), value, size, info >> 4, info & 15, other & 3, index))
        return found

    def content(self, section: Section) -> bytes:
        """The bytes of @section, none if it only takes memory."""
        return b"" if section.type == SHT_NOBITS else self.data[section.offset:section.offset + section.size]

    def relocations(self, section: Section) -> list[Relocation]:
        """Those that apply to @section."""
        found = []
        for table in self.sections:
            if table.type == SHT_RELA and table.info == section.index:
                for offset, info, addend in struct.iter_unpack("<QQq", self.content(table)):
                    found.append(Relocation(offset, info & 0xffffffff, self.symbols[info >> 32], addend))
        return found

    def value(self, name: str) -> int:
        """The address of the symbol @name."""
        for symbol in self.symbols:
            if symbol.name == name and symbol.section != SHN_UNDEF:
                return symbol.value
        raise Failure(f"{self.path} has no symbol {name}", "is its configuration the right one?")

    def between(self, start: str, stop: str) -> tuple[int, bytes]:
        """The address of the symbol @start, and what lies from there to the symbol @stop."""
        first, last = self.value(start), self.value(stop)
        for section in self.sections:
            if section.flags & SHF_ALLOC and section.type != SHT_NOBITS and section.address <= first and \
                    last <= section.address + section.size:
                begin = section.offset + first - section.address
                return first, self.data[begin:begin + last - first]
        raise Failure(f"{self.path}: {start} and {stop} are not in one section", "is it a linked kernel?")
