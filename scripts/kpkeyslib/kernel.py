# SPDX-License-Identifier: GPL-2.0-only
"""Configure and build a kernel out of tree."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from . import guests, proc, settings, toolroot, ui
from .ui import Failure

IMAGE = Path("arch/arm64/boot/Image")


def _requested(fragments: list[Path]) -> dict[str, tuple[str, Path]]:
    """What the fragments ask for: symbol -> value ('n' for not set) and the fragment; the last one wins."""
    wanted = {}
    for fragment in fragments:
        for number, text in enumerate(fragment.read_text(errors="backslashreplace").splitlines(), 1):
            line = text.strip()
            unset = re.fullmatch(r"# (CONFIG_\w+) is not set", line)
            if unset:
                wanted[unset[1]] = ("n", fragment)
            elif line and not line.startswith("#"):
                found = re.fullmatch(r"(CONFIG_\w+)=(.*)", line)
                if not found:
                    raise Failure(f"{fragment}:{number}: not a configuration line: {line}", "write CONFIG_NAME=value")
                wanted[found[1]] = (found[2], fragment)
    return wanted


def values(config: Path) -> dict[str, str]:
    """The symbols that the .config file @config sets."""
    return dict(re.findall(r"^(CONFIG_\w+)=(.*)$", config.read_text(), re.M))


def check_config(config: Path, fragments: list[Path], left_out: str = "") -> None:
    """Raise a Failure that names each symbol of @fragments that did not take in @config.

    Symbols whose names begin with @left_out, unless that is '', are to be off, whatever the fragments say.
    """
    have = values(config)
    wanted = {symbol: ("n" if left_out and symbol.startswith(left_out) else value, fragment)
              for symbol, (value, fragment) in _requested(fragments).items()}
    lost = [f"{fragment.name}: {symbol}={value} was asked for, the configuration has {symbol}={have.get(symbol, 'n')}"
            for symbol, (value, fragment) in wanted.items() if have.get(symbol, "n") != value]
    if lost:
        names = " ".join(line.split(": ")[1].split("=")[0] for line in lost)
        raise Failure(f"{len(lost)} requested symbol{'s' if len(lost) > 1 else ''} did not take: {names}",
                      "look at its dependencies in Kconfig (make menuconfig, '/'), and add them to the fragment",
                      detail="\n".join(lost))


def _kbuild(tree: Path, build: Path) -> list[str]:
    return ["make", "-C", str(tree), f"O={build}", "ARCH=arm64", *settings.llvm()]


def configure(tree: Path, build: Path, kernel: guests.Kernel, readable: tuple[Path, ...] = ()) -> None:
    """Merge @kernel's fragments on the tiny configuration into @build/.config, unless that is done."""
    tools = toolroot.get()
    build.mkdir(parents=True, exist_ok=True)
    tiny = [tree / "kernel/configs/tiny-base.config", tree / "kernel/configs/tiny.config"]
    stamp = build / ".kpkeys-config"
    key = settings.digest(str(tree), *settings.llvm(), *(t for t in tiny if t.exists()), *kernel.fragments)
    if stamp.exists() and stamp.read_text() == key and (build / ".config").exists():
        return
    log = build / "configure.log"
    merge = tree / "scripts/kconfig/merge_config.sh"
    inputs = [*(t for t in tiny if t.exists()), *kernel.fragments]
    environment = {"ARCH": "arm64", **dict(a.split("=", 1) for a in settings.llvm())}
    failure = Failure(f"merge_config.sh could not configure the kernel '{kernel.name}'", f"the whole log is {log}", ui.BUILD_FAILED)
    outside = [f for f in kernel.fragments if settings.PROJECT not in f.parents]
    # -n: from allnoconfig, as tinyconfig is made.
    tools.run(["sh", merge, "-n", "-O", build, *inputs], cwd=tree, env=environment, log=log, failure=failure,
              **_binds(tree), readable=[*outside, *readable])
    check_config(build / ".config", kernel.fragments)
    stamp.write_text(key)


def _binds(tree: Path) -> dict:
    """The work tree may lie outside the project."""
    return {"writable": [tree]} if settings.PROJECT not in tree.parents else {}


def build(tree: Path, build_dir: Path, kernel: guests.Kernel, targets: tuple[str, ...] = ("Image",),
          readable: tuple[Path, ...] = ()) -> Path:
    """Build @kernel from @tree, which may have symbolic links to @readable, in @build_dir; returns the Image. Incremental."""
    tools = toolroot.get()
    log = build_dir / "build.log"
    with ui.step(f"kernel {kernel.name}: building with {' '.join(settings.llvm())}") as line:
        settings.need_space(build_dir, 1.5, "a kernel build")
        configure(tree, build_dir, kernel, readable)
        tools.run([*_kbuild(tree, build_dir), f"-j{settings.jobs()}", *targets], log=log, **_binds(tree), readable=readable,
                  failure=Failure(f"the kernel '{kernel.name}' does not build", f"the whole log is {log}",
                                  ui.BUILD_FAILED, detail=""))
        # A changed Kconfig may drop a symbol that an earlier configuration had.
        check_config(build_dir / ".config", kernel.fragments)
        compiled = len(re.findall(r"^  (?:CC|AS)  ", log.read_text(errors="replace"), re.M))
        line.detail = f"{compiled} files compiled" if compiled else "up to date"
    return build_dir / IMAGE


def build_commands(tree: Path, build_dir: Path, kernel: guests.Kernel) -> None:
    """Have kbuild do in @build_dir all but compile the C units of @kernel, and link: generated sources, and the record of each command."""
    tools = toolroot.get()
    log = build_dir / "build.log"
    compiler = next((f"clang{a.removeprefix('LLVM=')}" for a in settings.llvm() if a.startswith("LLVM=")), "aarch64-linux-gnu-gcc")
    with ui.step(f"kernel {kernel.name}: commands of {' '.join(settings.llvm())}") as line:
        settings.need_space(build_dir, 1, "the generated files of a kernel")
        configure(tree, build_dir, kernel)
        where = build_dir / "kpkeys-cc"
        where.mkdir(exist_ok=True)
        empty = where / "empty.o"
        failure = Failure(f"the commands of the kernel '{kernel.name}' cannot be recorded", f"the whole log is {log}", ui.BUILD_FAILED)
        real = Path(tools.run(["sh", "-c", 'command -v "$0"', compiler], capture=True, failure=failure).stdout.strip())
        target = ["--target=aarch64-linux-gnu"] if "clang" in compiler else []
        tools.run([real, *target, "-c", "-x", "c", "/dev/null", "-o", empty], log=log, failure=failure)
        (where / compiler).write_text(f"#!/bin/sh\nexec {settings.PROJECT / 'scripts' / 'empty-cc'} {real} {empty} \"$@\"\n")
        (where / compiler).chmod(0o755)
        # Host programs are built with the compiler of that name as well.
        path = f"{where}:{toolroot.LLVM_BIN}:/usr/bin:/usr/sbin"
        tools.run([*_kbuild(tree, build_dir), f"-j{settings.jobs()}", "compile_commands.json"], env={"PATH": path}, log=log, append=True,
                  failure=failure, **_binds(tree))
        check_config(build_dir / ".config", kernel.fragments)
        count = len(re.findall(r"^  CC  ", log.read_text(errors="replace"), re.M))
        line.detail = f"{count} commands" if count else "up to date"


def install_modules(tree: Path, build_dir: Path, root: Path) -> None:
    """Put the modules built in @build_dir into the system @root, whose /lib is in /usr."""
    log = build_dir / "modules.log"
    toolroot.get().need("a kernel with modules", "depmod")
    toolroot.get().run([*_kbuild(tree, build_dir), f"INSTALL_MOD_PATH={root / 'usr'}", "INSTALL_MOD_STRIP=1", "modules_install"],
                       log=log, failure=Failure("the modules cannot be installed", f"the whole log is {log}", ui.BUILD_FAILED),
                       **_binds(tree))
    for link in (root / "usr" / "lib" / "modules").glob("*/build"):
        link.unlink()


def copy_module(source: Path, work: Path) -> Path:
    """The sources of a module in @source as a directory @work of its own to build in."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(source, work)
    return work


def build_module(tree: Path, build_dir: Path, source: Path, work: Path) -> Path:
    """Build the module in the directory @source, one of a single file, for the kernel in @build_dir; made in @work, returned."""
    copy_module(source, work)
    log = build_dir / "module.log"
    toolroot.get().run([*_kbuild(tree, build_dir), f"M={work}", "modules"], log=log, **_binds(tree),
                       failure=Failure(f"the module in {source} does not build", f"the whole log is {log}", ui.BUILD_FAILED))
    found = list(work.glob("*.ko"))
    if len(found) != 1:
        raise Failure(f"{source} gives {len(found)} modules, not one", f"the whole log is {log}", ui.BUILD_FAILED)
    return found[0]


def build_directory(name: str) -> Path:
    """Where the kernel @name is built."""
    return settings.out() / "linux" / f"build-{name}"


def commands_directory(name: str) -> Path:
    """Where the commands of the kernel @name are recorded, with the compiler of this run."""
    return build_directory(f"{name}-commands{'' if settings.llvm()[0].startswith('LLVM=') else '-gcc'}")
