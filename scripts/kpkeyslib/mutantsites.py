# SPDX-License-Identifier: GPL-2.0-only
"""Sites at which page tables are protected, and sources in which each of them can be left out.

All mutants are in one kernel: what a site does is made to depend on kpkeys_mutant=N on the
kernel's command line, N being the number of the site. Without it the kernel does what the
unchanged sources do. A site is known by file, function and kind, as line numbers move:

    arch/arm64/include/asm/pgtable.h:set_pmd:guard

A word that has to do with the protection, and that none of the rules below covers, is an error:
a guard that is written in a new way must not go untested.

Not covered is what has no effect at run time: the section that __ro_pgtbl and the linker script
put a table in, barrier(), and assembly code.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .ui import Failure

HEADER = "include/linux/kpkeys_mutant.h"
SOURCE = "mm/kpkeys_mutant.c"
MAKEFILE = "mm/Makefile"
# What stands in an image for each site there is code for.
MARK = "kpkeys_mutant_site="

GUARD = "kpkeys_hardened_pgtables"
GUARD_USE = re.compile(rf"\b(?:scoped_)?guard\s*\(\s*({GUARD})\s*\)")
GUARD_DEFINITION = re.compile(rf"^(KPKEYS_GUARD\w*)\(({GUARD})\b", re.M)

# Tests and the scanner: they look at the protection and are no part of it.
CHECKERS = re.compile(r"(?:^|/)tests/|kunit|kpkeys_debug\.h$|kpkeys_hardened_pgtables(?:_debug\.c|\.h)$|^(?:Documentation|tools|samples)/")
# Words that a rule has to cover wherever they stand in code.
WATCHED = re.compile(r"\b\w*(?:kpkeys_hardened_pgtables|protect_\w*pgtable|pgprot_pgtable|pgtable_set_fixmap|KPKEYS_CTX_PGTABLES)\w*")
# Those that do not protect.
HARMLESS = {"kpkeys_hardened_pgtables_key", "kpkeys_hardened_pgtables_report", "parse_kpkeys_hardened_pgtables",
            # A callback; what it does to a table is a site
            "protect_early_pgtable"}


@dataclass(frozen=True)
class Call:
    """Calls of @function do nothing in the mutant, and their value is @neutral ($1: the first argument).

    @within: regular expression for the functions whose calls count, all by default.
    """

    function: str
    neutral: str
    within: str = r"\w+"
    kind: str = ""


NOTHING = "(void)0"

CALLS = (
    # Keying
    Call("kpkeys_protect_pgtable", "0"),
    Call("__kpkeys_protect_pgtable", "0"),
    Call("kpkeys_unprotect_pgtable", NOTHING),
    Call("__kpkeys_unprotect_pgtable", NOTHING),
    Call("vmemmap_protect_pgtable", "true"),
    Call("set_memory_pkey", "0"),
    Call("pgprot_pgtable", "$1"),
    Call("pgtable_set_fixmap", "set_fixmap_offset($1, $2)", kind="fixmap"),
    Call("protect_static_pgtables", "0"),
    Call("arch_kpkeys_protect_static_pgtables", "0"),
    Call("kpkeys_hardened_pgtables_init", NOTHING),
    # The walk that finds the tables which are older than the feature
    Call("walk_kernel_page_table_range_lockless", "0", "kpkeys_hardened_pgtables_init", "walk"),
    Call("visit_pgtable", "0"),
    # Copies of the linear map are to have no key
    Call("pte_mkdefault_pkey", "$1", "copy_pte"),
    Call("pmd_mkdefault_pkey", "$1", "copy_pmd"),
    Call("pud_mkdefault_pkey", "$1", "copy_pud"),
    # What depends on the feature: lazy MMU mode, page-sized PGDs, a linear map of pages, ...
    Call("kpkeys_hardened_pgtables_enabled", "", kind="enabled"),
    Call("kpkeys_hardened_pgtables_early_enabled", "", kind="enabled"),
    # Contexts
    Call("arch_kpkeys_restore_pkey_reg", NOTHING, "kpkeys_restore_pkey_reg", "restore"),
    # Both ends of a guard of the architecture: of the suites, as guards elsewhere are replaced by copies
    Call("__kpkeys_write_por", NOTHING, "arch_kpkeys_enter_pgtables", "enter"),
    Call("arch_kpkeys_restore_pkey_reg", NOTHING, "arch_kpkeys_leave_pgtables", "restore"),
    Call("kpkeys_thread_init", NOTHING),
    Call("kpkeys_thread_switch", NOTHING),
    Call("__kpkeys_write_por", NOTHING, "kpkeys_thread_switch", "load"),
    Call("isb", "", "arch_enter_lazy_mmu_mode|arch_leave_lazy_mmu_mode|__kpkeys_write_por|cpu_enable_poe"),
)


@dataclass(frozen=True)
class Special:
    """Code that is no call: the text @old (a regular expression) in @function of @file becomes @new, where $n is the number."""

    file: str
    function: str
    kind: str
    old: str
    new: str


_KPKEYS_H = "arch/arm64/include/asm/kpkeys.h"
_CPUFEATURE = "arch/arm64/kernel/cpufeature.c"

SPECIALS = (
    # KPKEYS_CTX_DEFAULT gives write access
    Special(_KPKEYS_H, "__kpkeys_por_set_context", "permission",
            r"ctx == KPKEYS_CTX_PGTABLES \?", "(ctx == KPKEYS_CTX_PGTABLES || kpkeys_mutant_is($n)) ?"),
    # The register starts with write access
    Special(_KPKEYS_H, "POR_EL1_PGTABLES_INIT", "initial",
            r"POR_ELx_PERM_PREP\(KPKEYS_PKEY_PGTABLES, POE_R\)", "POR_ELx_PERM_PREP(KPKEYS_PKEY_PGTABLES, KPKEYS_MUTANT($n, POE_RW, POE_R))"),
    # The permissions of page tables are not part of a thread's context
    Special(_KPKEYS_H, "POR_EL1_PGTABLES_MASK", "mask",
            r"POR_ELx_PERM_PREP\(KPKEYS_PKEY_PGTABLES, POE_MASK\)",
            "POR_ELx_PERM_PREP(KPKEYS_PKEY_PGTABLES, KPKEYS_MUTANT($n, POE_NONE, POE_MASK))"),
    # Lazy MMU mode takes over what another context has set up
    Special(_KPKEYS_H, "arch_kpkeys_switch_context_nosync", "from",
            r"if \(!__kpkeys_por_has_context\(old, from\)\)",
            "if (!__kpkeys_por_has_context(old, from) && !kpkeys_mutant_is($n))"),
    Special("arch/arm64/kernel/process.c", "kpkeys_thread_switch", "save",
            r"current->thread\.por_el1 = por;", "do { if (!kpkeys_mutant_is($n)) current->thread.por_el1 = por; } while (0);"),
    Special(_CPUFEATURE, "cpu_enable_poe", "overlays",
            r"\bcpus_have_cap\(ARM64_HAS_S1PIE\)", "(cpus_have_cap(ARM64_HAS_S1PIE) && !kpkeys_mutant_is($n))"),
)

# Sites in assembly code cannot look at the command line: (site, file, function, old, new), done where C code can.
ELSEWHERE = (
    (f"{_KPKEYS_H}:POR_EL1_PGTABLES_INIT:initial", _CPUFEATURE, "cpu_enable_poe", r"sysreg_clear_set\(REG_TCR2_EL1, 0, tcr2\);",
     "do { if (kpkeys_mutant_is($n)) write_sysreg_s(POR_EL1_INIT, SYS_POR_EL1); } while (0); sysreg_clear_set(REG_TCR2_EL1, 0, tcr2);"),
)

# What a file must contain to be looked at (grep -E).
INTERESTING = "|".join(["kpkeys_", "KPKEYS_", "set_memory_pkey", "mkdefault_pkey", "protect_pgtable", "pgprot_pgtable", "pgtable_set_fixmap"])


@dataclass(frozen=True)
class Site:
    """One place that protects, or makes protection work."""

    number: int
    name: str  # file:function:kind[:n]

    @property
    def file(self) -> str:
        return self.name.split(":")[0]


@dataclass
class _Found:
    file: str
    function: str
    kind: str
    start: int
    edits: list[tuple[int, int, str]]  # start, end, new text with $n
    guard: bool = False


def blank(text: str) -> str:
    """@text with comments and strings blanked; each character keeps its place."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.S)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)


_NO_NAMES = re.compile(r"__(?:aligned|section|printf|must_hold|acquires|releases|attribute__|scanf|counted_by|nonnull)$|^asmlinkage$")


def _heading_name(heading: str) -> str:
    """The function that @heading, the text before its '{', defines."""
    depth = 0
    name = ""
    for found in re.finditer(r"(\w+)\s*\(|[()]", heading):
        if found[1] and not depth and not _NO_NAMES.search(found[1]):
            name = found[1]
        depth += 1 if found[0].endswith("(") else -1
    return name


@dataclass(frozen=True)
class Region:
    name: str
    start: int
    end: int
    macro: bool


def regions(code: str) -> list[Region]:
    """Functions, as the kernel's style has them ('{' and '}' in the first column), and macros of @code."""
    found = []
    heading: list[str] = []
    offset = 0
    name, start = "", -1
    lines = code.splitlines(keepends=True)
    number = 0
    while number < len(lines):
        line = lines[number]
        begin = offset
        offset += len(line)
        number += 1
        if re.match(r"\s*#", line):
            while line.rstrip("\n").endswith("\\") and number < len(lines):
                line = lines[number]
                offset += len(line)
                number += 1
            macro = re.match(r"\s*#\s*define\s+(\w+)", code[begin:offset])
            if macro:
                found.append(Region(macro[1], begin, offset, True))
        elif start >= 0:
            if line.startswith("}"):
                found.append(Region(name, start, offset, False))
                name, start, heading = "", -1, []
        elif line.startswith("{"):
            name, start = _heading_name("".join(heading)), begin
        elif not line.strip() or line.rstrip().endswith((";", "}")):
            heading = []
        else:
            heading.append(line)
    return found


def end_of_call(code: str, opening: int, where: str) -> tuple[int, list[tuple[int, int]]]:
    """Where the call whose '(' is at @opening ends, and where its arguments are."""
    depth = 0
    arguments = []
    begin = opening + 1
    for at in range(opening, len(code)):
        char = code[at]
        if char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        if not depth:
            arguments.append((begin, at))
            return at + 1, arguments
        if char == "," and depth == 1:
            arguments.append((begin, at))
            begin = at + 1
    raise Failure(f"{where}: a call without an end", "mend the source")


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _wrapped(call: Call, text: str, start: int, end: int, arguments: list[tuple[int, int]]) -> list[tuple[int, int, str]]:
    if call.function == "isb":
        # A statement
        return [(start, start, "do { if (!kpkeys_mutant_is($n)) "), (end, end, "; } while (0)")]
    if call.kind == "enabled":
        return [(start, start, "("), (end, end, " && !kpkeys_mutant_is($n))")]
    neutral = re.sub(r"\$(\d)", lambda m: f"({text[slice(*arguments[int(m[1]) - 1])].strip()})", call.neutral)
    return [(start, start, f"(kpkeys_mutant_is($n) ? {neutral} : "), (end, end, ")")]


class _File:
    """The sites of one file."""

    def __init__(self, name: str, text: str):
        self.name = name
        self.text = text
        self.code = blank(text)
        self.regions = regions(self.code)
        self.found: list[_Found] = []
        self.covered: set[int] = set()

    def _refuse(self, at: int, what: str) -> Failure:
        return Failure(f"{self.name}:{_line(self.text, at)}: {what}",
                       "teach the rules in scripts/kpkeyslib/mutantsites.py about it")

    def _region(self, at: int) -> Region | None:
        return next((r for r in self.regions if r.start <= at < r.end), None)

    def _inside(self, at: int, what: str) -> Region | None:
        """The function or macro that the code at @at is in; None for a declaration."""
        region = self._region(at)
        if region:
            if not region.name:
                raise self._refuse(at, f"{what} in a function whose name cannot be told")
            return region
        line = self.code[self.code.rfind("\n", 0, at) + 1:at]
        if "{" in line or "=" in line or "return" in line:
            raise self._refuse(at, f"{what} outside of what looks like a function")
        return None

    def look(self) -> None:
        self._guards()
        for call in CALLS:
            self._calls(call)
        for special in SPECIALS:
            if special.file == self.name:
                self._special(special)
        self.found.sort(key=lambda f: f.start)
        self._check_watched()

    def _add(self, region: Region, kind: str, start: int, end: int, edits: list[tuple[int, int, str]], guard: bool = False) -> None:
        self.found.append(_Found(self.name, region.name, kind, start, edits, guard))
        self.covered.update(range(start, end))

    def _guards(self) -> None:
        for use in GUARD_USE.finditer(self.code):
            region = self._inside(use.start(), "a guard")
            if not region:
                raise self._refuse(use.start(), "a guard outside of what looks like a function")
            self._add(region, "guard", use.start(), use.end(), [(*use.span(1), "kpkeys_mutant_$n")], True)

    def _calls(self, call: Call) -> None:
        for use in re.finditer(rf"\b{call.function}\s*\(", self.code):
            region = self._inside(use.start(), f"{call.function}()")
            if not region or not re.fullmatch(call.within, region.name):
                continue
            if region.macro and re.match(rf"\s*#\s*define\s+{call.function}\(", self.code[region.start:use.end()]):
                # Its own definition
                continue
            end, arguments = end_of_call(self.code, use.end() - 1, f"{self.name}:{_line(self.text, use.start())}")
            if "\n#" in self.code[use.start():end]:
                raise self._refuse(use.start(), f"{call.function}() with a preprocessor line among its arguments")
            self._add(region, call.kind or call.function, use.start(), end, _wrapped(call, self.text, use.start(), end, arguments))

    def _once(self, function: str, old: str, what: str) -> tuple[Region, re.Match]:
        hits = [(region, match) for region in self.regions if region.name == function
                for match in re.compile(old).finditer(self.code, region.start, region.end)]
        if len(hits) != 1:
            raise Failure(f"{self.name}: {function}: {len(hits)} places match the rule for {what}, there should be 1: {old}",
                          "mend the rule in scripts/kpkeyslib/mutantsites.py")
        return hits[0]

    def _special(self, special: Special) -> None:
        region, match = self._once(special.function, special.old, special.kind)
        self._add(region, special.kind, match.start(), match.end(), [(match.start(), match.end(), special.new)])

    def _check_watched(self) -> None:
        sites = {f.function for f in self.found}
        for word in WATCHED.finditer(self.code):
            at = word.start()
            if at in self.covered or word[0] in HARMLESS:
                continue
            region = self._region(at)
            if not region:
                self._inside(at, word[0])
                continue
            if region.macro and re.match(rf"\s*#\s*(?:define\s+{word[0]}\b|if|elif|ifdef)", self.code[region.start:region.end]):
                continue
            if word[0].startswith("KPKEYS_CTX_") and (region.name in sites or re.fullmatch(r"\s*#\s*define\s+KPKEYS_CTX_\w+\s.*",
                                                                                            self.code[region.start:region.end], re.S)):
                # The function can be left out by a site of its own
                continue
            raise self._refuse(at, f"{word[0]} in {region.name}() is not a site that can be left out")


def apply(text: str, edits: list[tuple[int, int, str]], where: str) -> str:
    """@text with @edits made; one may lie within another's two ends."""
    result = []
    last = 0
    for start, end, new in sorted(edits):
        if start < last:
            raise Failure(f"{where}: two sites overlap at line {_line(text, start)}", "mend the rules in scripts/kpkeyslib/mutantsites.py")
        result += [text[last:start], new]
        last = end
    return "".join([*result, text[last:]])


def _with_include(text: str, where: str) -> str:
    """@text with the generated header included before all others."""
    found = re.search(r"^[ \t]*#[ \t]*include\b", text, re.M)
    if not found:
        raise Failure(f"{where}: no #include to put another one before", "mend the rules in scripts/kpkeyslib/mutantsites.py")
    return f"{text[:found.start()]}#include <linux/kpkeys_mutant.h>\n{text[found.start():]}"


def _guard_copies(file: _File, numbers: list[int]) -> list[tuple[int, int, str]]:
    """Edits that define a guard of its own for each of the sites @numbers, wherever the real one is defined."""
    edits = []
    for definition in GUARD_DEFINITION.finditer(file.code):
        opening = file.code.index("(", definition.end(1))
        end, arguments = end_of_call(file.code, opening, file.name)
        words = [file.text[slice(*a)].strip() for a in arguments]
        if definition[1] == "KPKEYS_GUARD_COND" and len(words) == 3:
            copies = [f"KPKEYS_GUARD_COND(kpkeys_mutant_{n}, {words[1]}, ({words[2]}) && !kpkeys_mutant_is({n}))" for n in numbers]
        elif definition[1] == "KPKEYS_GUARD_ARCH" and len(words) == 4:
            # Whether it is worth its while is not asked: the copies do what the real one does.
            copies = [f"KPKEYS_GUARD_COND(kpkeys_mutant_{n}, {words[1]}, {GUARD}_enabled() && !kpkeys_mutant_is({n}))" for n in numbers]
        elif definition[1] == "KPKEYS_GUARD" and len(words) == 2:
            copies = [f"KPKEYS_GUARD_COND(kpkeys_mutant_{n}, {words[1]}, !kpkeys_mutant_is({n}))" for n in numbers]
        elif definition[1] == "KPKEYS_GUARD_NOOP":
            copies = [f"KPKEYS_GUARD_NOOP(kpkeys_mutant_{n})" for n in numbers]
        else:
            raise Failure(f"{file.name}:{_line(file.text, definition.start())}: the guard is defined in a new way: {definition[1]}",
                          "teach scripts/kpkeyslib/mutantsites.py about it")
        edits.append((end, end, "\n" + "\n".join(copies)))
    return edits


def find(sources: Mapping[str, str]) -> list[Site]:
    """The sites in @sources (file name: text), in order."""
    return _number([f for file in _look(sources) for f in file.found])


def _look(sources: Mapping[str, str]) -> list[_File]:
    files = []
    for name in sorted(sources):
        if name.endswith((".c", ".h")) and not CHECKERS.search(name) and name not in (HEADER, SOURCE):
            file = _File(name, sources[name])
            file.look()
            files.append(file)
    return files


def _number(found: list[_Found]) -> list[Site]:
    seen: Counter[str] = Counter()
    sites = []
    for number, site in enumerate(found, 1):
        name = f"{site.file}:{site.function}:{site.kind}"
        seen[name] += 1
        sites.append(Site(number, name if seen[name] == 1 else f"{name}:{seen[name]}"))
    return sites


def _check_rules(files: list[_File], found: list[_Found]) -> None:
    """Raise a Failure if a rule finds nothing: what it was made for has got another name."""
    there = {(f.file, f.function, f.kind) for f in found}
    kinds = {f.kind for f in found}
    idle = sorted({c.kind or c.function for c in CALLS} - kinds)
    names = {f.name for f in files}
    idle += [f"{s.file}:{s.function}:{s.kind}" for s in SPECIALS if s.file not in names or (s.file, s.function, s.kind) not in there]
    if "guard" not in kinds:
        idle.insert(0, "guard")
    if idle:
        raise Failure(f"no site for: {', '.join(idle)}",
                      "is the series with page table hardening applied? If these have new names, mend scripts/kpkeyslib/mutantsites.py")


def rewrite(sources: Mapping[str, str], *, check: bool = True) -> tuple[dict[str, str], list[Site]]:
    """@sources (file name: text) with a switch at each site: the files that change or are new, and the sites.

    @check: each rule must have found something, and the guard must be defined.
    """
    files = _look(sources)
    found = [f for file in files for f in file.found]
    if check:
        _check_rules(files, found)
    sites = _number(found)
    changed: dict[str, str] = {}
    edits: dict[str, list[tuple[int, int, str]]] = {}
    guards = []
    for site, place in zip(sites, found):
        edits.setdefault(place.file, []).extend((s, e, n.replace("$n", str(site.number))) for s, e, n in place.edits)
        if place.guard:
            guards.append(site.number)
    numbers = {site.name: site.number for site in sites}
    defined = False
    for file in files:
        copies = _guard_copies(file, guards)
        if copies:
            defined = True
            edits.setdefault(file.name, []).extend(copies)
        for name, where, function, old, new in ELSEWHERE:
            if where == file.name and name in numbers:
                _, match = file._once(function, old, name)
                edits.setdefault(file.name, []).append((match.start(), match.end(), new.replace("$n", str(numbers[name]))))
        if edits.get(file.name):
            changed[file.name] = _with_include(apply(file.text, edits[file.name], file.name), file.name)
    if guards and not defined:
        raise Failure(f"the guard {GUARD} is used, and defined nowhere", "teach scripts/kpkeyslib/mutantsites.py how it is defined now")
    changed[HEADER] = HEADER_TEXT
    changed[SOURCE] = SOURCE_TEXT
    if MAKEFILE in sources:
        changed[MAKEFILE] = sources[MAKEFILE] + "obj-y += kpkeys_mutant.o\n"
    return changed, sites


def built(image: bytes) -> set[int]:
    """Numbers of the sites that @image (vmlinux) has code for."""
    return {int(n) for n in re.findall(rb"\b" + MARK.encode() + rb"(\d+)\0", image)}


HEADER_TEXT = """\
/* SPDX-License-Identifier: GPL-2.0-only */
/* Generated: kpkeys_mutant=N on the command line leaves out the N-th site. */
#ifndef _LINUX_KPKEYS_MUTANT_H
#define _LINUX_KPKEYS_MUTANT_H

#ifndef __ASSEMBLER__

#include <linux/compiler.h>
#include <linux/types.h>

extern int kpkeys_mutant;
extern unsigned long kpkeys_mutant_hits;

static __always_inline bool kpkeys_mutant_is(const int n)
{
	/* Tells which sites there is code for */
	asm volatile(".pushsection .comment, \\"MS\\", %%progbits, 1\\n"
		     "	.asciz \\"kpkeys_mutant_site=%c0\\"\\n"
		     "	.popsection" : : "i" (n));

	if (likely(kpkeys_mutant != n))
		return false;

	kpkeys_mutant_hits++;
	return true;
}

#define KPKEYS_MUTANT(n, mutated, original)	(kpkeys_mutant_is(n) ? (mutated) : (original))

#else

#define KPKEYS_MUTANT(n, mutated, original)	original

#endif

#endif /* _LINUX_KPKEYS_MUTANT_H */
"""

SOURCE_TEXT = """\
// SPDX-License-Identifier: GPL-2.0-only
/* Generated: see <linux/kpkeys_mutant.h>. */
#include <linux/cache.h>
#include <linux/export.h>
#include <linux/init.h>
#include <linux/kpkeys_mutant.h>
#include <linux/kstrtox.h>
#include <linux/notifier.h>
#include <linux/printk.h>
#include <linux/reboot.h>

int kpkeys_mutant __ro_after_init;
EXPORT_SYMBOL(kpkeys_mutant);
unsigned long kpkeys_mutant_hits;
EXPORT_SYMBOL(kpkeys_mutant_hits);

static int __init parse_kpkeys_mutant(char *arg)
{
	return kstrtoint(arg, 10, &kpkeys_mutant);
}
early_param("kpkeys_mutant", parse_kpkeys_mutant);

static int report_hits(struct notifier_block *nb, unsigned long action, void *data)
{
	pr_info("kpkeys_mutant %d: hits=%lu\\n", kpkeys_mutant, kpkeys_mutant_hits);

	return NOTIFY_DONE;
}

static struct notifier_block reboot_notifier = {
	.notifier_call	= report_hits,
};

static int __init kpkeys_mutant_init(void)
{
	return register_reboot_notifier(&reboot_notifier);
}
core_initcall(kpkeys_mutant_init);
"""
