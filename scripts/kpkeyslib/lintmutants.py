# SPDX-License-Identifier: GPL-2.0-only
"""Changes of the kernel series that kpkeys-lint has to notice.

Where mutantsites.py has a switch at run time, these are sources: a guard is left out, moved, made
to depend on something, a context becomes a variable, a restore is missing on one path. A mutant is
one file with one change, and it still parses. It is known by file, function, kind and change:

    arch/arm64/include/asm/pgtable.h:set_pmd:guard:removed
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from . import mutantsites
from .mutantsites import Region, Site
from .ui import Failure

# Which of their parameters, from 0, are contexts; as in the configuration of kpkeys-lint.
CONTEXTS = {"kpkeys_set_context": (0,), "arch_kpkeys_set_context": (0,), "arch_kpkeys_switch_context_nosync": (0, 1),
            "KPKEYS_GUARD": (1,), "KPKEYS_GUARD_COND": (1,), "KPKEYS_GUARD_ARCH": (1,)}
SWITCH = "arch_kpkeys_switch_context_nosync"
LEAVE = "arch_leave_lazy_mmu_mode"
RESTORES = ("kpkeys_restore_pkey_reg", "arch_kpkeys_restore_pkey_reg")
# What writes the register, and what takes a context.
WRITERS = ("kpkeys_set_context", "kpkeys_restore_pkey_reg", "arch_kpkeys_set_context", "arch_kpkeys_restore_pkey_reg",
           "arch_kpkeys_enter_pgtables", "arch_kpkeys_leave_pgtables", "arch_kpkeys_switch_context_nosync",
           "__kpkeys_write_por_nosync", "__kpkeys_write_por", "__kpkeys_por_set_context", "kpkeys_thread_switch")
# What asks whether there is something to restore, and how.
LEAVES, HAS_CONTEXT = "arch_kpkeys_leave_pgtables", "__kpkeys_por_has_context"
NOTHING_TO_RESTORE = "KPKEYS_PKEY_REG_INVAL"
# A barrier is missed only by a plain store, and this unit has some.
PLAIN_STORES = "arch/arm64/mm/mmu.c"
# A macro that defines guards is looked at only where it does, and this unit uses all that are not the architecture's.
DEFINES_GUARDS = "mm/tests/kpkeys_kunit.c"
# Files of another configuration, which no unit of an arm64 kernel with the feature reads.
LEFT_OUT = re.compile(r"^include/asm-generic/kpkeys\.h$")

_EXTERN = "extern int kpkeys_mutant;"
# Something that is known at run time only
CHOICE = f"({{ {_EXTERN} kpkeys_mutant; }})"
_CLASS = f"class_{mutantsites.GUARD}"

# A context $1 that is no integer constant expression, or the wrong one.
NO_CONSTANTS = {
    "global": CHOICE,
    "ternary": f"({CHOICE} ? $1 : KPKEYS_CTX_DEFAULT)",
    "variable": "({ int kpkeys_ctx = $1; kpkeys_ctx; })",
    "const": "({ const int kpkeys_ctx = $1; kpkeys_ctx; })",
    "member": "({ struct { int ctx; } kpkeys_s = { $1 }; kpkeys_s.ctx; })",
    "literal": "((struct { int ctx; }){ $1 }).ctx",
    "element": "({ static int kpkeys_a[] = { 0, 1, 2 }; kpkeys_a[$1]; })",
    "pointer": f"({{ {_EXTERN} *(&kpkeys_mutant + $1); }})",
    "range": "($1 + 100)",
    "negative": "(-1 - $1)",
}

# Uses of the address of the function $1. What is static must be used to be there.
ADDRESSES = {
    "pointer": "static typeof($1) *kpkeys_mutant_pointer __attribute__((used)) = $1;",
    "table": "static const struct { int n; void *op; } kpkeys_mutant_table[] __attribute__((used)) = { { .op = (void *)&$1 } };",
    "number": "static unsigned long kpkeys_mutant_number __attribute__((used)) = (unsigned long)$1;",
    "argument": "extern void kpkeys_mutant_take(void *p); static __attribute__((used)) void kpkeys_mutant_give(void) "
                "{ kpkeys_mutant_take((void *)$1); }",
    "local": f"static __attribute__((used)) void *kpkeys_mutant_local(void) {{ typeof($1) *p = {CHOICE} ? $1 : (void *)0; return (void *)p; }}",
    "asm": "static __attribute__((used)) void kpkeys_mutant_asm(void) { asm volatile(\"// %0\" : : \"r\" ($1)); }",
    "section": "asm(\".pushsection .data\\n .quad $1\\n .popsection\");",
}


@dataclass(frozen=True)
class Mutant(Site):
    """A file of the tree with one change."""

    line: int = 0
    text: str = ""
    # The unit to look at; '' if any that reads the file will do.
    unit: str = ""


@dataclass(frozen=True)
class _Change:
    function: str
    kind: str
    change: str
    at: int
    edits: tuple[tuple[int, int, str], ...]  # start, end, new text


def _end_of_statement(code: str, start: int) -> int:
    """Where the simple statement or block that begins at @start ends; -1 for what is neither."""
    if re.compile(r"(?:if|for|while|do|switch)\b").match(code, start):
        return -1
    depth = 0
    for at in range(start, len(code)):
        if code[at] in "({[":
            depth += 1
        elif code[at] in ")}]":
            depth -= 1
            if not depth and code[at] == "}" and code[start] == "{":
                return at + 1
        elif code[at] == ";" and not depth:
            return at + 1
    return -1


def _end_of_block(code: str, at: int) -> int:
    """Where the '}' of the block around @at is."""
    depth = 0
    for place in range(at, len(code)):
        if code[place] == "{":
            depth += 1
        elif code[place] == "}":
            depth -= 1
            if depth < 0:
                return place
    return len(code)


class _File:
    """The mutants of one file."""

    def __init__(self, name: str, text: str):
        self.name = name
        self.text = text
        self.code = mutantsites.blank(text)
        self.regions = mutantsites.regions(self.code)

    def changes(self) -> Iterator[_Change]:
        for region in self.regions:
            if not mutantsites.CHECKERS.search(self.name):
                yield from self._guards(region)
                yield from self._barriers(region)
            yield from self._contexts(region)
            yield from self._restores(region)
            yield from self._tests(region)
            # What is configured out has an empty body
            if not region.macro and region.name in WRITERS and self.code[region.start:region.end].strip("{}\n"):
                yield from self._addresses(region)
                yield from self._inline(region)
            if region.name == LEAVE:
                yield _Change(LEAVE, "leave", "return", region.start, ((region.start + 1, region.start + 1, f" if ({CHOICE}) return;"),))
        yield from self._definitions()

    def _refuse(self, at: int, what: str) -> Failure:
        return Failure(f"{self.name}:{self.code.count(chr(10), 0, at) + 1}: {what}", "teach scripts/kpkeyslib/lintmutants.py about it")

    def _head(self, region: Region) -> int:
        """Where the heading of the function @region begins: after the blank line, ';' or '}' before it."""
        at = region.start
        while at:
            line = self.code.rfind("\n", 0, at - 1) + 1
            words = self.code[line:at].strip()
            if not words or words.startswith("#") or words.endswith((";", "}")):
                return at
            at = line
        return at

    def _guards(self, region: Region) -> Iterator[_Change]:
        for use in mutantsites.GUARD_USE.finditer(self.code, region.start, region.end):
            if region.macro:
                raise self._refuse(use.start(), "a guard in a macro")
            scoped = use[0].startswith("scoped_")
            for change, edits in (self._scoped(use) if scoped else self._plain(use)).items():
                yield _Change(region.name, "guard", change, use.start(), edits)

    def _plain(self, use: re.Match) -> dict[str, tuple[tuple[int, int, str], ...]]:
        """What may become of 'guard(x)();', which holds to the end of its block."""
        found = re.compile(r"\(\)\s*;").match(self.code, use.end())
        if not found:
            raise self._refuse(use.start(), "a guard that is no statement")
        start, end = use.start(), found.end()
        close = _end_of_block(self.code, end)
        guard, rest = self.text[start:end], self.text[end:close]

        def become(new: str) -> tuple[tuple[int, int, str], ...]:
            return ((start, end, new),)

        return {
            "removed": become(""),
            "inner-block": become(f"{{ {guard} }}"),
            "conditional": become(f"if ({CHOICE}) {{ {guard} }}"),
            "loop": become(f"while ({CHOICE}) {{ {guard} }}"),
            "one-arm": ((start, close, f"if ({CHOICE}) {{ {guard}{rest}}} else {{{rest}}}\n"),),
            "after": ((start, end, ""), (close, close, f"{guard}\n")),
            "unconstructed": become(f"{_CLASS}_t kpkeys_scope __attribute__((cleanup({_CLASS}_destructor)));"),
            "undestroyed": become(f"{_CLASS}_t kpkeys_scope = {_CLASS}_constructor();"),
            "destroyed": become(f"{_CLASS}_t kpkeys_scope __attribute__((cleanup({_CLASS}_destructor))) = {_CLASS}_constructor(); "
                                f"{_CLASS}_destructor(&kpkeys_scope);"),
            "default-context": become(f"{guard} u64 kpkeys_reg = kpkeys_set_context(KPKEYS_CTX_DEFAULT); (void)kpkeys_reg;"),
        }

    def _scoped(self, use: re.Match) -> dict[str, tuple[tuple[int, int, str], ...]]:
        """What may become of 'scoped_guard(x) statement'."""
        begin = use.end() + len(self.code[use.end():]) - len(self.code[use.end():].lstrip())
        end = _end_of_statement(self.code, begin)
        if end < 0:
            raise self._refuse(use.start(), "a scoped guard with a statement that the rules do not know")
        scoped, body = self.text[use.start():use.end()], self.text[begin:end]
        guard = scoped.removeprefix("scoped_") + "();"

        def become(new: str) -> tuple[tuple[int, int, str], ...]:
            return ((use.start(), end, new),)

        return {
            "removed": become(body),
            "inner-block": become(f"{{ {{ {guard} }} {body} }}"),
            "conditional": become(f"{{ if ({CHOICE}) {{ {guard} }} {body} }}"),
            "loop": become(f"{{ while ({CHOICE}) {{ {guard} }} {body} }}"),
            "one-arm": become(f"{{ if ({CHOICE}) {{ {scoped} {body} }} else {{ {body} }} }}"),
            "before": become(f"{{ {scoped} {{ }} {body} }}"),
            "after": become(f"{{ {body} {scoped} {{ }} }}"),
            "again": become(f"{{ {scoped} {body} {body} }}"),
            "unconstructed": become(f"{{ {_CLASS}_t kpkeys_scope __attribute__((cleanup({_CLASS}_destructor))); {body} }}"),
            "undestroyed": become(f"{{ {_CLASS}_t kpkeys_scope = {_CLASS}_constructor(); {body} }}"),
            "default-context": become(f"{scoped} {{ u64 kpkeys_reg = kpkeys_set_context(KPKEYS_CTX_DEFAULT); {body} "
                                      "kpkeys_restore_pkey_reg(kpkeys_reg); }"),
        }

    def _calls(self, region: Region, function: str) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
        """Start, end and arguments of the calls of @function in @region."""
        for use in re.compile(rf"\b{function}\s*\(").finditer(self.code, region.start, region.end):
            if region.macro and re.match(rf"\s*#\s*define\s+{function}\(", self.code[region.start:use.end()]):
                continue
            end, arguments = mutantsites.end_of_call(self.code, use.end() - 1, self.name)
            yield use.start(), end, arguments

    def _contexts(self, region: Region) -> Iterator[_Change]:
        for function, parameters in CONTEXTS.items():
            for start, end, arguments in self._calls(region, function):
                yield from self._no_constants(region.name, function, start, end, arguments, self._head(region) if not region.macro else -1)
                if function == SWITCH:
                    (a, b), (c, d) = arguments
                    yield _Change(region.name, "switch", "swapped", start, ((a, b, self.text[c:d].strip()), (c, d, self.text[a:b])))

    def _no_constants(self, where: str, function: str, start: int, end: int, arguments: list[tuple[int, int]],
                      head: int) -> Iterator[_Change]:
        for parameter in CONTEXTS[function]:
            begin, stop = arguments[parameter]
            constant = self.text[begin:stop].strip()
            # In a wrapper the parameter is no constant to begin with, as far as it can be told here.
            if not re.fullmatch(r"KPKEYS_CTX_\w+", constant):
                continue
            kind = "context" if len(CONTEXTS[function]) == 1 else f"context-{parameter + 1}"
            for change, new in NO_CONSTANTS.items():
                yield _Change(where, kind, change, begin, ((begin, stop, new.replace("$1", constant)),))
            if head >= 0 and len(CONTEXTS[function]) == 1:
                call = f"kpkeys_mutant_set({CHOICE})"
                for change, how in (("wrapper", "noinline"), ("inline-wrapper", "__always_inline")):
                    wrapper = f"static {how} u64 kpkeys_mutant_set(int ctx) {{ return {function}(ctx); }}\n"
                    yield _Change(where, kind, change, start, ((head, head, wrapper), (start, end, call)))

    def _definitions(self) -> Iterator[_Change]:
        """Guards are defined outside of functions."""
        for function in ("KPKEYS_GUARD", "KPKEYS_GUARD_COND", "KPKEYS_GUARD_ARCH"):
            for use in re.compile(rf"^{function}\(", re.M).finditer(self.code):
                end, arguments = mutantsites.end_of_call(self.code, use.end() - 1, self.name)
                guard = self.text[slice(*arguments[0])].strip()
                if function != "KPKEYS_GUARD_ARCH" and re.search(rf"^KPKEYS_GUARD_ARCH\({guard}\b", self.code, re.M):
                    # For other architectures
                    continue
                yield from self._no_constants(guard, function, use.start(), end, arguments, -1)
                begin, stop = arguments[1]
                if guard == mutantsites.GUARD:
                    yield _Change(guard, "context", "default", begin, ((begin, stop, " KPKEYS_CTX_DEFAULT"),))
                    if function == "KPKEYS_GUARD_COND":
                        place = arguments[2][1]
                        yield _Change(guard, "condition", "more", place, ((place, place, f" && {CHOICE}"),))

    def _restores(self, region: Region) -> Iterator[_Change]:
        for function in (*RESTORES, *(("_leave",) if region.name == "KPKEYS_GUARD_ARCH" else ())):
            for start, end, arguments in self._calls(region, function):
                call, value = self.text[start:end], self.text[slice(*arguments[0])].strip()
                if value == NOTHING_TO_RESTORE:
                    continue
                changes = {"removed": f"(void)({value})", "conditional": f"({CHOICE} ? {call} : (void)0)",
                           "other": call[:-1] + " ^ 1)", "made-up": call.replace(f"({value})", "(0x7777)"),
                           "memory": call.replace(f"({value})", f"(({{ {_EXTERN.replace('int', 'u64').replace('mutant', 'saved')} kpkeys_saved; }}))"),
                           "twice": f"({call}, {call})"}
                for change, new in changes.items():
                    yield _Change(region.name, "restore", change, start, ((start, end, new),))
                if not region.macro and self.code[:start].rstrip().endswith((";", "{", "}")):
                    void = re.search(rf"\bvoid\s+{region.name}\b", self.code[self._head(region):region.start])
                    leave = f"if ({CHOICE}) return{'' if void else ' 0'}; "
                    yield _Change(region.name, "restore", "return", start, ((start, start, leave),))
                    yield _Change(region.name, "restore", "goto", start,
                                  ((start, end, f"if ({CHOICE}) goto kpkeys_mutant_{start}; {call}; kpkeys_mutant_{start}:"),))

    def _tests(self, region: Region) -> Iterator[_Change]:
        """What is restored only if there is a need to, asked wrongly."""
        if region.name != LEAVES or region.macro:
            return
        for start, end, arguments in self._calls(region, HAS_CONTEXT):
            call, (begin, stop), context = self.text[start:end], arguments[0], self.text[slice(*arguments[1])].strip()
            for change, new in (("inverted", f"!{call}"), ("more", f"({call} || {CHOICE})"),
                                ("context", call.replace(context, "KPKEYS_CTX_DEFAULT")),
                                ("variable", call.replace(context, CHOICE)),
                                ("value", f"{self.text[start:begin]}~{self.text[begin:stop]}{self.text[stop:end]}")):
                yield _Change(region.name, "test", change, start, ((start, end, new),))

    def _barriers(self, region: Region) -> Iterator[_Change]:
        if region.name in WRITERS and not region.macro:
            for start, end, _ in self._calls(region, "barrier"):
                yield _Change(region.name, "barrier", "removed", start, ((start, end, "(void)0"),))
            for function in ("__kpkeys_write_por", "__kpkeys_write_por_nosync", "write_sysreg_s"):
                if region.name not in RESTORES:
                    continue
                for start, end, arguments in self._calls(region, function):
                    call = self.text[start:end]
                    values = ", ".join(f"(void)({self.text[slice(*a)].strip()})" for a in arguments)
                    yield _Change(region.name, "write", "removed", start, ((start, end, f"({values})"),))
                    yield _Change(region.name, "write", "conditional", start, ((start, end, f"if ({CHOICE}) {call}"),))

    def _addresses(self, region: Region) -> Iterator[_Change]:
        for change, code in ADDRESSES.items():
            new = code.replace("$1", region.name)
            yield _Change(region.name, "address", change, region.end, ((region.end, region.end, f"\n{new}\n"),))

    def _inline(self, region: Region) -> Iterator[_Change]:
        head = self._head(region)
        found = re.compile(r"\bstatic\s+__always_inline\b").search(self.code, head, region.start)
        if not found:
            return
        for change, new in (("plain", "static"), ("inline", "static inline"), ("noinline", "static noinline")):
            yield _Change(region.name, "inline", change, head, ((*found.span(), new),))


def without_guards(sources: Mapping[str, str]) -> dict[str, str]:
    """The files of @sources that hold guards, without them. What remains keeps its place."""
    changed = {}
    for name, text in sources.items():
        if mutantsites.CHECKERS.search(name):
            continue
        code = mutantsites.blank(text)
        for use in re.compile(mutantsites.GUARD_USE.pattern + r"(?:\(\)\s*;)?").finditer(code):
            text = text[:use.start()] + re.sub(r"[^\n]", " ", use[0]) + text[use.end():]
        if text != sources[name]:
            changed[name] = text
    return changed


def find(sources: Mapping[str, str]) -> list[Mutant]:
    """All mutants of @sources (file name: text), in order."""
    mutants: list[Mutant] = []
    seen: Counter[str] = Counter()
    for name in sorted(sources):
        if not name.endswith((".c", ".h")) or LEFT_OUT.search(name):
            continue
        file = _File(name, sources[name])
        for found in sorted(file.changes(), key=lambda c: c.at):
            mutant = f"{name}:{found.function}:{found.kind}:{found.change}"
            seen[mutant] += 1
            number = f":{seen[mutant]}" if seen[mutant] > 1 else ""
            text = mutantsites.apply(file.text, list(found.edits), name)
            unit = PLAIN_STORES if found.kind == "barrier" else DEFINES_GUARDS if found.function in ("KPKEYS_GUARD", "KPKEYS_GUARD_COND") else ""
            mutants.append(Mutant(len(mutants) + 1, mutant + number, file.text.count("\n", 0, found.at) + 1, text, unit))
    check(mutants)
    return mutants


def check(mutants: list[Mutant]) -> None:
    """Raise a Failure if a rule finds nothing: what it was made for has got another name."""
    kinds = {m.name.split(":")[2] for m in mutants}
    idle = sorted({"guard", "context", "context-1", "switch", "restore", "barrier", "write", "address", "inline", "leave", "test"} - kinds)
    if idle:
        raise Failure(f"no mutant of the kind: {', '.join(idle)}",
                      "is the series with page table hardening applied? If these have new names, mend scripts/kpkeyslib/lintmutants.py")
