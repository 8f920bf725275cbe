# SPDX-License-Identifier: GPL-2.0-only
"""QEMU with FEAT_S1POE: built once per state of patches/qemu, kept in the cache."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import proc, settings, toolroot, trees, ui
from .ui import Failure

CONFIGURE = ["--target-list=aarch64-softmmu", "--without-default-features", "--enable-tcg", "--enable-fdt=system",
             "--enable-plugins", "--disable-install-blobs", "--disable-docs", "--disable-tools",
             "--disable-guest-agent"]
PROGRAM = "qemu-system-aarch64"
# User emulation, which nothing here runs: it is to compile as well.
USER_CONFIGURE = ["--target-list=aarch64-linux-user", "--without-default-features", "--enable-tcg", "--disable-install-blobs",
                  "--disable-docs", "--disable-tools", "--disable-guest-agent"]
USER_PROGRAM = "qemu-aarch64"


@dataclass(frozen=True)
class Qemu:
    """A QEMU to run guests with."""

    program: Path
    version: str
    ours: bool  # built here, so it runs in the tool root; the user's runs on the host

    def run(self, argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None,
            readable: Sequence[Path] = (), **options):
        """Run @argv where this QEMU is at home, and first in PATH."""
        if self.ours and not toolroot.get().host:
            path = f"{self.program.parent}:{toolroot.LLVM_BIN}:/usr/bin:/usr/sbin"
            return toolroot.get().run(argv, env={"PATH": path, **(env or {})}, cwd=cwd, readable=readable, **options)
        full = dict(os.environ, PATH=f"{self.program.parent}:{os.environ['PATH']}", **(env or {}))
        return proc.run(argv, env=full, cwd=cwd, **options)


def source() -> Path:
    return settings.out() / "qemu" / "src"


def build_directory() -> Path:
    return settings.out() / "qemu" / "build"


def user_directory() -> Path:
    return settings.out() / "qemu" / "build-user"


def _version(program: Path, ours: bool) -> str:
    remedy = "give a qemu-system-aarch64 with QEMU=, or unset it"
    try:
        said = Qemu(program, "", ours).run([program, "--version"], capture=True, check=False)
    except Failure as failure:
        raise Failure(failure.message, remedy) from None
    found = re.search(r"version (\S+)", said.stdout)
    if said.returncode or not found:
        lines = (said.stderr or said.stdout).strip().splitlines() or ["it prints nothing"]
        raise Failure(f"{program} does not run as QEMU does: {lines[0]}",
                      remedy)
    return found[1]


def users() -> Qemu | None:
    """The user's QEMU=, once it is known to run."""
    user = settings.qemu()
    if user:
        if not user.is_file() or not os.access(user, os.X_OK):
            raise Failure(f"QEMU={user}: no such program", "give the path of a qemu-system-aarch64, or unset QEMU")
        if user.name != PROGRAM:
            raise Failure(f"QEMU={user} is not a {PROGRAM}", f"kunit.py finds it by that name: link it as {PROGRAM}")
        return Qemu(user, f"{_version(user, False)} ({user})", False)
    return None


def get() -> Qemu:
    """The QEMU of this run: the user's QEMU=, else ours, built now if need be."""
    theirs = users()
    if theirs:
        return theirs
    series = trees.qemu_series()
    tools = toolroot.get()
    name = settings.digest(series.digest(), " ".join(CONFIGURE), tools.name)
    program = settings.cache() / f"qemu-{name}" / PROGRAM
    if not program.exists():
        with settings.lock(settings.cache(), "the cache"):
            if not program.exists():
                build(program)
    return Qemu(program, f"{_version(program, True)} with {series.name}", True)


def _configure(directory: Path, options: Sequence[str], what: str) -> None:
    """Configure the checked out source in @directory, unless that was done with the same @options and tools."""
    tools = toolroot.get()
    log = settings.out() / "log" / f"{what.lower()}-configure.log"
    stamp = directory / ".kpkeys-configured"
    key = settings.digest(" ".join(options), tools.name)
    if not stamp.exists() or stamp.read_text() != key:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        with ui.step(f"{what}: configuring"):
            tools.run([source() / "configure", *options, "--cross-prefix-aarch64=aarch64-linux-gnu-"], cwd=directory, log=log,
                      failure=Failure("QEMU's configure failed", f"the whole log is {log}", ui.BUILD_FAILED))
        stamp.write_text(key)


def prepare() -> tuple[Path, Path]:
    """The QEMU source with the series applied, and a configured build directory for it."""
    trees.checkout(trees.qemu_series(), source())
    _configure(build_directory(), CONFIGURE, "QEMU")
    return source(), build_directory()


def prepare_user() -> Path:
    """A build directory of the same source, as prepare() leaves it, that is configured for user emulation."""
    _configure(user_directory(), USER_CONFIGURE, "QEMU-user")
    return user_directory()


def build(program: Path) -> None:
    """Build our QEMU and put it at @program, which appears only when it is whole."""
    settings.need_space(settings.out(), 2, "QEMU's build")
    _, directory = prepare()
    log = settings.out() / "log" / "qemu-build.log"
    with ui.step("QEMU: building aarch64-softmmu") as line:
        toolroot.get().run(["ninja", "-C", directory, f"-j{settings.jobs()}", PROGRAM], log=log,
                           failure=Failure("QEMU does not build", f"the whole log is {log}", ui.BUILD_FAILED))
        new = program.parent.with_name("tmp-qemu")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        shutil.copy2(directory / PROGRAM, new / PROGRAM)
        shutil.rmtree(program.parent, ignore_errors=True)
        os.rename(new, program.parent)
        line.detail = program.parent.name
    for old in settings.cache().glob("qemu-*"):
        if old != program.parent and not old.name.endswith(".git"):
            shutil.rmtree(old, ignore_errors=True)
