# SPDX-License-Identifier: GPL-2.0-only
"""Prove that hardened page tables cost nothing where they are off.

Configured out: mm/ and arch/arm64/mm/ are compiled from the base and from the base with the
series, both with configs/zero-cost.config, which takes in as much of them as there is. Objects
are compared by what the kernel gets from them: sections that are loaded, with their relocations,
and symbols. Those that differ are listed in kunit/zero-cost/changed.txt, each with the reason.
The compiler is told that every line is line 0, or a line added to a header would change each
object that reports one.

Switched off: code with CONFIG_KPKEYS_HARDENED_PGTABLES is walked as it runs with the static key
off; keyoff.py says what that proves, and how. It is walked twice: as a small kernel, all of it; and
as the objects of that wide configuration that write page tables. A kernel of it would take long
to build, so those objects alone are linked, with what they call elsewhere left out.
"""

from __future__ import annotations

import dataclasses
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import elf, guests, kernel, keyoff, proc, settings, toolroot, trees, ui, verify
from .ui import Failure

LISTS = guests.KUNIT / "zero-cost"
CHANGED = LISTS / "changed.txt"
POR_ACCESS = LISTS / "por-access.txt"
# The kernels of guests.ini.
OFF, ON = "zero-cost", "zero-cost-on"
# A whole kernel, which other commands build as well.
SMALL = "4k"
DIRECTORIES = ("mm", "arch/arm64/mm")
WALKED = (*DIRECTORIES, "fs/proc")
# As the kernel's own linker script has them, the tables that the walk needs.
TABLES = "SECTIONS { . = 0x10000; " + " ".join(
    f"{section} : {{ {start} = .; *({section}) {stop} = .; }}" for section, start, stop in (
        ("__jump_table", "__start___jump_table", "__stop___jump_table"),
        (".altinstructions", "__alt_instructions", "__alt_instructions_end"),
        ("__ex_table", "__start___ex_table", "__stop___ex_table"),
        ("__bug_table", "__start___bug_table", "__stop___bug_table"))) + " }\n"
# No compiler objects to that in earnest.
SAME_LINES = "KCFLAGS=-Wno-builtin-macro-redefined -D__LINE__=0"


def read_list(path: Path) -> dict[str, str]:
    """The lines 'NAME reason' of @path."""
    found: dict[str, str] = {}
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", "restore it") from None
    for number, text in enumerate(lines, 1):
        line = text.strip()
        if not line or line.startswith("#"):
            continue
        name, _, reason = line.partition(" ")
        if not reason.strip():
            raise Failure(f"{path}:{number}: {name} has no reason", "write 'NAME reason'")
        if name in found:
            raise Failure(f"{path}:{number}: {name} is listed twice", "keep one of the lines")
        found[name] = reason.strip()
    return found


# Configured out

# Numbered by the compiler or by __COUNTER__, and local: the number is not what makes the object.
_NUMBERED = re.compile(r"(__UNIQUE_ID_\w*?)_?\d+$|^(__(?:initcall|exitcall)__\w+?__)\d+_\d+_|\.\d+$")


# The same numbers, where a check has its own condition in a message.
_NUMBERED_TEXT = re.compile(rb"(__UNIQUE_ID_\w*?_|__compiletime_assert_)(\d+)")


def _plain(name: str) -> str:
    return _NUMBERED.sub(lambda m: (m[1] or m[2] or "") + "#", name)


def _plain_text(text: bytes) -> bytes:
    return _NUMBERED_TEXT.sub(lambda m: m[1] + b"#" * len(m[2]), text)


@dataclass(frozen=True)
class Contents:
    """What the kernel gets from an object."""

    sections: dict[str, tuple]
    symbols: list[tuple]

    def differs(self, other: "Contents") -> str:
        """What is different in @other, in a few words; '' if nothing is."""
        names = [*self.sections, *(n for n in other.sections if n not in self.sections)]
        found = [name for name in names if self.sections.get(name) != other.sections.get(name)]
        if self.symbols != other.symbols:
            mine, its = ({s[0] for s in c.symbols} for c in (self, other))
            found += [f"-{name}" for name in sorted(mine - its)] + [f"+{name}" for name in sorted(its - mine)] or ["symbols"]
        return " ".join(found)


def contents(path: Path) -> Contents:
    """What the kernel gets from the object file @path."""
    file = elf.Elf(path)
    # The linker drops what is to be discarded.
    kept = [s for s in file.sections if s.flags & elf.SHF_ALLOC and not s.name.startswith(".discard")]
    unique: dict[int, str] = {}
    for section in kept:
        copies = sum(name.split("\0")[0] == section.name for name in unique.values())
        unique[section.index] = f"{section.name}\0{copies}" if copies else section.name

    def place(symbol: elf.Symbol, addend: int) -> tuple:
        # A local symbol is a place, whatever its name is.
        if symbol.section in unique and symbol.bind == elf.STB_LOCAL:
            return unique[symbol.section], symbol.value + addend
        return symbol.name, addend

    sections = {}
    for section in kept:
        content = file.content(section)
        if section.flags & elf.SHF_STRINGS:
            content = _plain_text(content)
        relocations = sorted((r.offset, r.type, *place(r.symbol, r.addend)) for r in file.relocations(section))
        sections[unique[section.index]] = (section.type, section.flags, section.size, section.align, section.entry,
                                           content, relocations)
    symbols = sorted((_plain(s.name) if s.bind == elf.STB_LOCAL else s.name, s.value, s.size, s.bind, s.type, s.visibility,
                      unique.get(s.section, str(s.section)))
                     for s in file.symbols if s.type not in (elf.STT_SECTION, elf.STT_FILE) and s.name
                     and not s.name.startswith("$") and (s.section in unique or s.section in (elf.SHN_UNDEF, *range(elf.SHN_LORESERVE, 1 << 16))))
    return Contents(sections, symbols)


def objects(build: Path) -> dict[str, Path]:
    """The objects that DIRECTORIES of @build bring to the kernel; what an earlier configuration left there is none."""
    tools = toolroot.get()
    found = {}
    for directory in DIRECTORIES:
        archive = build / directory / "built-in.a"
        for name in tools.run([_llvm("llvm-ar"), "t", archive], cwd=build, capture=True).stdout.split():
            path = build / name
            found[str(path.relative_to(build))] = path
    return found


def _llvm(name: str) -> str:
    """The program @name of LLVM, as TOOLS= has it."""
    choice = settings.llvm()[0]
    return name + (choice.removeprefix("LLVM=") if toolroot.get().host and choice.startswith("LLVM=-") else "")


def compare(old: dict[str, Path], new: dict[str, Path]) -> tuple[int, dict[str, str]]:
    """How many objects of @old and @new were compared, and what differs in which."""
    changed = {}
    for name in sorted({*old, *new}):
        if name not in old or name not in new:
            changed[name] = "only with the series" if name not in old else "only in the base"
        elif old[name].read_bytes() != new[name].read_bytes():
            difference = contents(old[name]).differs(contents(new[name]))
            if difference:
                changed[name] = difference
    return len({*old, *new}), changed


def judge_objects(count: int, changed: dict[str, str], listed: dict[str, str]) -> list[str]:
    """What is wrong with @count objects of which @changed differ, if @listed may."""
    problems = [] if count else ["no object was compared"]
    problems += [f"{name} is not what the base makes of it ({what}), and is not in {CHANGED.name}"
                 for name, what in changed.items() if name not in listed]
    problems += [f"{name} is in {CHANGED.name}, and is what the base makes of it" for name in listed if name not in changed]
    return problems


# Both

@dataclass
class Result:
    """What was looked at, and what is wrong with it."""

    base: str = ""
    series: str = ""
    objects: int = 0
    changed: dict[str, str] = field(default_factory=dict)
    reports: dict[str, keyoff.Report] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> int:
        """Objects, branches of the key and guards that are as they must be."""
        return max(0, self.objects + sum(r.sites + r.guards for r in self.reports.values()) - len(self.problems))


def _base_tree(what: verify.Subject) -> tuple[Path, str]:
    """The tree that @what is compared with, and its name: the base of the stored series, or KERNEL= at BASE=."""
    stored = dataclasses.replace(trees.linux_series(), patches=[])
    _, commit, name = trees.base_of(stored)
    if settings.tree() and proc.run(["git", "-C", what.tree, "merge-base", "--is-ancestor", commit, "HEAD"],
                                    capture=True, check=False).returncode:
        raise Failure(f"TREE={what.tree} is not based on {name}", "name what it is based on with KERNEL= and BASE=")
    tree = settings.out() / "zero-cost" / "src-base"
    if trees.checkout(stored, tree)[1]:
        raise Failure(f"{tree} has changes of yours, and is to be the base", f"drop them with 'git -C {tree} checkout -f'")
    return tree, name


def _build(name: str, tree: Path, directory: str, targets: tuple[str, ...], about: str) -> Path:
    """Build @targets of the kernel @name from @tree, in @directory; the path of that."""
    path = settings.out() / "zero-cost" / directory
    kernel.build(tree, path, dataclasses.replace(guests.kernel(name), name=f"{name} ({about})"), targets)
    return path


def _link(build: Path) -> Path:
    """The objects of WALKED in @build as an image, at addresses of their own."""
    script, image = build / "zero-cost.lds", build / "zero-cost.elf"
    script.write_text(TABLES)
    log = build / "zero-cost.log"
    toolroot.get().run([_llvm("ld.lld"), "-e", "0", "-T", script, "--unresolved-symbols=ignore-all", "-o", image, "--whole-archive",
                        *(f"{d}/built-in.a" for d in WALKED)], cwd=build, log=log,
                       failure=Failure("the objects could not be linked", f"the whole log is {log}", ui.BUILD_FAILED))
    return image


def _walk(image: Path, what: str) -> keyoff.Report:
    """What is executed in @image with the key off."""
    with ui.step(f"zero-cost: walking {what} with the key off") as line:
        said = toolroot.get().run([_llvm("llvm-objdump"), "-d", "--no-show-raw-insn", image], capture=True).stdout
        report = keyoff.check(keyoff.Image.of(image, said))
        line.detail = f"{report.guards} guards, {report.sites} branches of the key, {report.accesses} accesses to POR_EL1, {report.functions} functions"
    return report


def results() -> Result:
    """Build what is needed, and look at it."""
    changed, access = read_list(CHANGED), read_list(POR_ACCESS)
    with settings.lock(settings.out(), "the output directory"):
        toolroot.get()
        what = verify.subject()
        base, name = _base_tree(what)
        result = Result(name, what.series)
        targets = (*(f"{d}/" for d in DIRECTORIES), SAME_LINES)
        before = _build(OFF, base, "build-base", targets, "objects of the base")
        after = _build(OFF, what.tree, "build-off", targets, "objects with the series")
        with ui.step("zero-cost: comparing objects") as line:
            result.objects, result.changed = compare(objects(before), objects(after))
            line.detail = f"{result.objects} objects, {len(result.changed)} differ"
        result.problems += judge_objects(result.objects, result.changed, changed)
        wide = _build(ON, what.tree, "build-on", tuple(f"{d}/" for d in WALKED), "objects with hardened page tables")
        result.reports["wide"] = _walk(_link(wide), "the wide objects")
        small = kernel.build_directory(SMALL)
        kernel.build(what.tree, small, guests.kernel(SMALL))
        result.reports["small"] = _walk(small / "vmlinux", "the small kernel")
        result.problems += keyoff.judge(list(result.reports.values()), access, POR_ACCESS.name)
        result.problems += [f"{name}: there is no guard whose alternative {keyoff.GUARD}() patches, so nothing was shown"
                            for name, report in result.reports.items() if not report.guards]
    return result


def check() -> int:
    """The command: 0, or 1 if something costs that must not."""
    start = time.monotonic()
    result = results()
    listed = read_list(CHANGED)
    print()
    rows = [["object that differs", "why"]] + [[n, listed.get(n, result.changed[n])] for n in result.changed]
    print(ui.table(rows) if len(rows) > 1 else "no object differs")
    rows = [["accesses POR_EL1 with the key off", "why"]] + [[n, r] for n, r in read_list(POR_ACCESS).items()]
    print("\n" + ui.table(rows))
    print()
    for problem in result.problems[:50]:
        print(f"{ui.bad('problem:')} {problem}")
    if len(result.problems) > 50:
        print(f"         and {len(result.problems) - 50} more")
    for key, value in (("series", result.series), ("base", result.base),
                       ("objects", f"{result.objects} compared, {len(result.changed)} differ"),
                       *((name, f"{r.guards} guards, {r.sites} branches of the key and {r.accesses} accesses in {r.functions} functions, "
                                f"{r.barriers_off} of {r.barriers} ISBs reached") for name, r in result.reports.items()),
                       ("time", ui.seconds(time.monotonic() - start))):
        print(f"{key + ':':9}{value}")
    print(f"verdict: {ui.bad('fail') if result.problems else ui.good('pass')}")
    return ui.TEST_FAILED if result.problems else ui.PASS
