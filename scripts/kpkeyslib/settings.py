# SPDX-License-Identifier: GPL-2.0-only
"""The variables a user may set, as on a kernel build's command line, and where things live."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .ui import Failure, note

PROJECT = Path(__file__).resolve().parents[2]
_held: dict[Path, int] = {}  # directories this process has locked, with the descriptors that hold them


def _path(name: str, default: Path | None = None) -> Path | None:
    value = os.environ.get(name, "")
    # By its real name: what is behind a symbolic link must be found in the tool root as well.
    path = Path(value) if value else default
    return Path(os.path.realpath(path)) if path else None


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    if not value:
        return default
    if not (value.isascii() and value.isdigit()) or int(value) < 1:
        raise Failure(f"{name}={value} is not a whole number above 0", f"try {name}={default}")
    return int(value)


def flag(name: str) -> bool:
    """Whether the variable @name is set, to anything but 0."""
    return text(name) not in ("", "0")


def sample() -> int:
    """Mutants to run, 0 for all (SAMPLE=)."""
    return _number("SAMPLE", 8) if text("SAMPLE") else 0


def cache() -> Path:
    """What is fetched and built once: tool root, base kernel, QEMU (CACHE=)."""
    return _path("CACHE", PROJECT / ".cache")


def out() -> Path:
    """What a run makes: kernel tree, build directories, results (O=)."""
    path = _path("O", PROJECT / "out")
    if re.search(r"[\s:]", str(path)):
        raise Failure(f"{path}: kbuild does not work in a directory with spaces or colons in its name", "choose another with O=")
    return path


def jobs() -> int:
    """Parallel jobs of a build (J=)."""
    return _number("J", len(os.sched_getaffinity(0)))


def timeout() -> int:
    """Seconds a guest may run before it counts as hung (TIMEOUT=)."""
    return _number("TIMEOUT", 120)


def kernel() -> Path | None:
    """The user's own kernel repository (KERNEL=)."""
    return _path("KERNEL")


def tree() -> Path | None:
    """A kernel work tree to build just as it stands, series and all (TREE=)."""
    return _path("TREE")


def qemu() -> Path | None:
    """The user's own qemu-system-aarch64 (QEMU=)."""
    value = os.environ.get("QEMU", "")
    if value and "/" not in value:
        found = shutil.which(value)
        if not found:
            raise Failure(f"QEMU={value}: no such program in PATH", "give its path, or unset QEMU")
        return Path(found)
    return Path(os.path.abspath(value)) if value else None


def llvm() -> list[str]:
    """kbuild's arguments that choose the compiler (LLVM=; set but empty is gcc, as in kbuild)."""
    value = os.environ.get("LLVM", "-22")
    if not value:
        return ["CROSS_COMPILE=aarch64-linux-gnu-"]
    return [f"LLVM={value}"]


def text(name: str) -> str:
    """The variable @name, '' if unset."""
    return os.environ.get(name, "")


def digest(*parts: str | bytes | Path) -> str:
    """A short name for content: files by what they hold, strings as they are."""
    state = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part.encode() if isinstance(part, str) else part
        state.update(b"%d:" % len(data) + data)
    return state.hexdigest()[:12]


def locks() -> tuple[int, ...]:
    """Descriptors that hold this process's locks, for its children to inherit.

    What this process has started may outlive it for a moment if it is killed outright. With the lock in its hands the next command
    waits for its end too.
    """
    return tuple(_held.values())


@contextmanager
def lock(directory: Path, what: str) -> Iterator[None]:
    """Hold @directory for this process and its children; another command that wants it waits, and says so.

    Nested use in one process is free: building QEMU holds the cache and fetches into it.
    """
    if directory in _held:
        yield
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle = open(directory / ".lock", "a+")
    except OSError as error:
        raise Failure(f"cannot write in {directory}: {error.strerror}",
                      "make it writable, or choose another with O= and CACHE=") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note(f"another command is using {what} ({directory}): waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        # Children find it at a number where nothing takes it for something else, as make does with its jobserver's.
        _held[directory] = fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, 200)
        try:
            yield
        finally:
            os.close(_held.pop(directory))


# All that is ever made in the output directory and in the cache.
OURS = re.compile(r"linux|log|qemu|verify|guests?|mutants|send|release|package(?:-build)?|results|selftests|userland|series-check|conformance|bench\S*|zero-cost|tests?|src|ccache|lint|tools|audit|"
                  r"\.lock|\.(?:old|new)-\S+|tmp-\S+|(?:toolroot|userland|linux|qemu)-\S+")


def refuse_strangers(directory: Path) -> None:
    """Raise a Failure if @directory, which is about to be removed, holds what was not made here."""
    if directory in (PROJECT / "out", PROJECT / ".cache"):
        return
    strangers = sorted(p.name for p in directory.iterdir() if not OURS.fullmatch(p.name))
    if strangers or directory in (PROJECT, *PROJECT.parents):
        raise Failure(f"{directory} holds what was not made here: {', '.join(strangers[:5])}", "remove it by hand, or correct O= and CACHE=")


def need_space(directory: Path, gigabytes: float, what: str) -> None:
    """Refuse to start @what where the disk would fill up half-way."""
    probe = directory
    while not probe.exists():
        probe = probe.parent
    free = shutil.disk_usage(probe).free / 1e9
    if free < gigabytes:
        raise Failure(f"{what} needs {gigabytes:g} GB in {directory}, and {free:.1f} GB are free",
                      "free some space, or choose another disk with CACHE= and O=")
