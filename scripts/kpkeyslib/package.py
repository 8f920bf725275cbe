# SPDX-License-Identifier: GPL-2.0-only
"""The C++ tools as a Debian package, and proof that it runs where nothing else of ours is."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from . import cxxtools, proc, settings, toolroot, ui
from .ui import Failure

SOURCE = "tools"
RECIPE = "packaging/Debian.cmake"
# What dpkg calls a package that is all there.
INSTALLED = "install ok installed"


def _build(tools: toolroot.ToolRoot, source: Path, build: Path) -> Path:
    """Build the tools and make the package; its path."""
    log = settings.out() / "log" / "package.log"
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    log.unlink(missing_ok=True)

    def run(what: str, *argv) -> None:
        # cpack leaves its work where it is run.
        failure = Failure(f"the tools could not be {what}", f"the whole log is {log}", ui.BUILD_FAILED)
        tools.run(argv, cwd=build, log=log, append=True, failure=failure)

    with ui.step("tools: building the package") as line:
        run("configured", "cmake", "-S", source, "-B", build, *cxxtools.cmake_options(tools), "-DBUILD_TESTING=OFF")
        run("built", "ninja", f"-j{settings.jobs()}")
        run("installed", "cmake", "--install", build, "--prefix", build / "staged")
        run("packed", "cpack", "-G", "DEB", "-B", build / "package", "-D", "CPACK_DEBIAN_PACKAGE_SHLIBDEPS=OFF",
            "-D", f"CPACK_DEBIAN_PACKAGE_DEPENDS={_depends(tools, build)}")
        found = sorted((build / "package").glob("*.deb"))
        if len(found) != 1:
            raise Failure(f"cpack made {len(found)} packages", f"the whole log is {log}", ui.BUILD_FAILED)
        line.detail = found[0].name
    return found[0]


def _depends(tools: toolroot.ToolRoot, build: Path) -> str:
    """The packages that what is in @build/staged needs: of scripts the interpreter, of programs and modules what dpkg-shlibdeps says.

    cpack can ask it by itself, but takes another program to find out what to ask about.
    """
    installed = sorted((build / "staged" / "bin").glob("*"))
    scripts = ["python3"] if any(p.read_bytes().startswith(b"#!/usr/bin/env python3\n") for p in installed) else []
    binaries = [p for p in installed if p.read_bytes()[:4] == b"\x7fELF"] + sorted((build / "staged" / "lib").glob("kpkeys/*.so"))
    if not binaries:
        return ", ".join(scripts)
    work = build / "shlibs"
    (work / "debian").mkdir(parents=True)
    (work / "debian" / "control").write_text("Source: kpkeys-tools\n\nPackage: kpkeys-tools\nArchitecture: any\n")
    failure = Failure("dpkg-shlibdeps does not know what the tools link to", "link to libraries of Debian's packages", ui.BUILD_FAILED)
    said = tools.run(["dpkg-shlibdeps", "-O", *(f"-e{p}" for p in binaries)], cwd=work, capture=True, failure=failure).stdout
    return ", ".join([said.strip().partition("=")[2], *scripts])


def _programs(tools: toolroot.ToolRoot, package: Path) -> list[str]:
    """The programs in @package. Raises a Failure if it holds none."""
    listing = tools.run(["dpkg-deb", "--contents", package], capture=True).stdout
    found = re.findall(r"^-\S*x\S* .* \./(usr/bin/\S+)$", listing, re.M)
    if not found:
        raise Failure(f"{package.name} holds no program in /usr/bin", f"add install() rules to {SOURCE}/CMakeLists.txt", ui.BUILD_FAILED)
    return found


def _modules(tools: toolroot.ToolRoot, package: Path) -> list[str]:
    """What in @package other programs load."""
    return re.findall(r" \./(usr/lib/kpkeys/\S+\.so)$", tools.run(["dpkg-deb", "--contents", package], capture=True).stdout, re.M)


def _try(tools: toolroot.ToolRoot, package: Path, programs: list[str]) -> None:
    """Install @package into a Debian of its own, which gets no more than the package asks for, and run what is in it."""
    log = settings.out() / "log" / "package-install.log"
    work = settings.out() / "tmp-package"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    root = work / "root"
    depends = tools.run(["dpkg-deb", "-f", package, "Depends"], capture=True).stdout
    names = [re.split(r"[ (:|]", part.strip())[0] for part in depends.split(",") if part.strip()]
    try:
        with ui.step(f"{package.name}: installing into a clean Debian {toolroot.SUITE}"):
            # LLVM is in backports, as for the tool root.
            options = ["--variant=apt", toolroot.more_suites(f"deb $uri {toolroot.SUITE}-backports main"),
                       f"--customize-hook=copy-in {package} /tmp", f"--customize-hook=chroot \"$1\" dpkg -i /tmp/{package.name}"]
            toolroot.bootstrap(root, sorted(set(names)), options, log, "a clean Debian")
            status = (root / "var/lib/dpkg/status").read_text()
            if not re.search(rf"^Package: kpkeys-tools\nStatus: {INSTALLED}$", status, re.M):
                raise Failure(f"{package.name} is not installed", f"the whole log is {log}", ui.TEST_FAILED)
        inside = ["bwrap", "--die-with-parent", "--unshare-all", "--ro-bind", root, "/", "--dev", "/dev", "--proc", "/proc", "--clearenv",
                  "--setenv", "PATH", "/usr/bin", "--"]
        for module in _modules(tools, package):
            with ui.step(f"{package.name}: {module}: libraries"):
                failure = Failure(f"{module} does not find its libraries in a clean Debian {toolroot.SUITE}", "see what it links to", ui.TEST_FAILED)
                if "not found" in proc.run([*inside, "ldd", f"/{module}"], capture=True, failure=failure).stdout:
                    raise failure
        for program in programs:
            with ui.step(f"{package.name}: {program} --help"):
                argv = [*inside, f"/{program}", "--help"]
                failure = Failure(f"{program} does not run in a clean Debian {toolroot.SUITE}", f"the whole log is {log}", ui.TEST_FAILED)
                proc.run(argv, log=log, append=True, failure=failure)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def package(install: bool) -> int:
    """Make out/package/*.deb; with @install, install it into a clean Debian and run it there."""
    source = settings.PROJECT / SOURCE
    if not (source / "CMakeLists.txt").is_file():
        raise Failure(f"{SOURCE}/CMakeLists.txt is not there: this tree has no C++ tools", "check out a version that has them")
    if "Debian.cmake" not in (source / "CMakeLists.txt").read_text():
        raise Failure(f"{SOURCE}/CMakeLists.txt does not include {RECIPE}", f"add at its end: include(../{RECIPE})")
    tools = toolroot.get()
    with settings.lock(settings.out(), "the output directory"):
        made = _build(tools, source, settings.out() / "package-build")
        programs = _programs(tools, made)
        final = settings.out() / "package"
        final.mkdir(exist_ok=True)
        for old in final.glob("*.deb"):
            old.unlink()
        path = Path(shutil.copy2(made, final))
        if install:
            _try(tools, path, programs)
    print(f"{path}: {', '.join(os.path.basename(p) for p in programs)}")
    return ui.PASS
