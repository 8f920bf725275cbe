# SPDX-License-Identifier: GPL-2.0-only
"""The kernels and guests of kunit/guests.ini, and the lists of cases they are held against."""

from __future__ import annotations

import configparser
import re
from dataclasses import dataclass
from pathlib import Path

from . import settings
from .ui import Failure

KUNIT = settings.PROJECT / "kunit"
CONFIGS = settings.PROJECT / "configs"
# The guest of verify unless GUEST= names another, and the one that has to pass before anything is sent.
DEFAULT = "el1"


@dataclass(frozen=True)
class Kernel:
    name: str
    fragments: list[Path]


@dataclass(frozen=True)
class Guest:
    name: str
    about: str
    kernel: str
    machine: str
    cpu: str
    smp: int
    args: str
    poe: bool
    expect: str
    ci: bool = True
    firmware: bool = False


def _parse() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    path = KUNIT / "guests.ini"
    try:
        with open(path) as handle:
            parser.read_file(handle)
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise Failure(f"{path}: " + " ".join(str(getattr(error, "strerror", None) or error).split()), "mend the file") from None
    return parser


def kernel(name: str) -> Kernel:
    """The kernel @name of guests.ini."""
    parser = _parse()
    if not parser.has_section(f"kernel {name}"):
        names = ", ".join(s.split(" ", 1)[1] for s in parser.sections() if s.startswith("kernel "))
        raise Failure(f"there is no kernel '{name}'", f"kunit/guests.ini has: {names}")
    fragments = [CONFIGS / f"{f}.config" for f in parser[f"kernel {name}"]["fragments"].split()]
    for extra in settings.text("CONFIG").split():
        # A developer's own fragment, for one run.
        fragments.append(Path(extra).absolute())
    for fragment in fragments:
        if not fragment.is_file():
            raise Failure(f"{fragment}: no such configuration fragment", "see configs/ and CONFIG=")
    return Kernel(name, fragments)


def guests() -> dict[str, Guest]:
    """All guests, in the order of guests.ini."""
    found = {}
    parser = _parse()
    for section in parser.sections():
        kind, _, name = section.partition(" ")
        if kind != "guest":
            continue
        values = parser[section]
        try:
            found[name] = Guest(name, values.get("about", ""), values["kernel"], values.get("machine", "virt"),
                                values.get("cpu", "max"), values.getint("smp", 4), values.get("args", ""),
                                values.getboolean("poe", True), values.get("expect", "poe"),
                                values.getboolean("ci", True), values.getboolean("firmware", False))
        except (KeyError, ValueError) as error:
            raise Failure(f"{KUNIT / 'guests.ini'}: [{section}]: {error}", "mend the entry; 'kernel' is needed") from None
    return found


def of_ci() -> list[str]:
    """The names of the guests that cover enough for every run; the others are for 'make matrix'."""
    return [name for name, guest in guests().items() if guest.ci]


def guest(name: str) -> Guest:
    """The guest @name of guests.ini."""
    found = guests()
    if name not in found:
        raise Failure(f"there is no guest '{name}'", f"kunit/guests.ini has: {', '.join(found)}")
    return found[name]


@dataclass(frozen=True)
class Expected:
    """One line of a list in kunit/expect/: a case, and why it skips where that is all it can do."""

    suite: str
    case: str
    skip: str


def expected(name: str, within: tuple[str, ...] = ()) -> list[Expected]:
    """The list kunit/expect/@name.txt. Lines: 'suite.case', with ' SKIP reason' where a skip is the
    right result; 'include NAME' takes another list first, later lines replace its cases.
    """
    path = KUNIT / "expect" / f"{name}.txt"
    if name in within:
        raise Failure(f"{path} includes itself", "mend the 'include' lines")
    found: dict[str, Expected] = {}
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", "see kunit/expect/") from None
    for number, text in enumerate(lines, 1):
        line = text.split("#")[0].strip()
        if not line:
            continue
        include = re.fullmatch(r"include ([\w-]+)", line)
        if include:
            found.update({f"{e.suite}.{e.case}": e for e in expected(include[1], (*within, name))})
            continue
        match = re.fullmatch(r"([\w-]+)\.(\w+)(?: +SKIP (.+))?", line)
        if not match:
            raise Failure(f"{path}:{number}: not 'suite.case' or 'suite.case SKIP reason'", "mend the line")
        found[f"{match[1]}.{match[2]}"] = Expected(match[1], match[2], match[3] or "")
    if not found:
        raise Failure(f"{path} expects nothing, so it could not fail", "list the cases that must run")
    return list(found.values())
