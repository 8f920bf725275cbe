# SPDX-License-Identifier: GPL-2.0-only
"""The C++ tools: build them, test them, run them on the patched kernel."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import guests, kernel, proc, settings, toolroot, ui, verify
from .ui import Failure

SOURCES = settings.PROJECT / "tools"
EXEMPTIONS = SOURCES / "lint" / "exemptions.txt"
AUDIT = SOURCES / "audit"
BENCH = SOURCES / "bench" / "lint.py"


@dataclass
class TestResults:
    """What CTest said."""

    passed: int = 0
    failures: list[str] = field(default_factory=list)
    skips: list[str] = field(default_factory=list)


def _sanitize() -> bool:
    choice = settings.text("SANITIZE")
    if choice not in ("", "0", "1"):
        raise Failure(f"SANITIZE={choice} is neither 0 nor 1", "SANITIZE=1 builds the tools with ASan and UBSan")
    return choice == "1"


def cmake_options(tools: toolroot.ToolRoot) -> list[str]:
    """How CMake configures any build with @tools."""
    options = ["-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"]
    if not tools.host:
        # The compiler that the libraries are of. It is found anew if the cache of CMake is.
        options += ["-DCMAKE_C_COMPILER=clang", "-DCMAKE_CXX_COMPILER=clang++", f"-DLLVM_DIR={Path(toolroot.LLVM_BIN).parent}/lib/cmake/llvm"]
    return options


def build(*targets: str) -> Path:
    """Build the C++ tools, or just @targets of theirs; returns the build directory. Incremental."""
    tools = toolroot.get()
    tools.need("a build of kpkeys-lint and kpkeys-audit", "cmake")
    directory = settings.out() / "tools" / ("build-sanitize" if _sanitize() else "build")
    log = settings.out() / "log" / "tools.log"
    # Not every command that needs them holds the output directory.
    what = " ".join(targets) or "kpkeys-lint and kpkeys-audit"
    with settings.lock(settings.out() / "tools", "the build of the tools"), ui.step(f"tools: building {what}") as line:
        settings.need_space(settings.out(), 1, "a build of the tools")
        directory.mkdir(parents=True, exist_ok=True)
        options = [*cmake_options(tools), "-DCMAKE_COLOR_DIAGNOSTICS=OFF", f"-DKPKEYS_SANITIZE={'ON' if _sanitize() else 'OFF'}"]
        _forget_another_project(directory)
        failed = Failure("the C++ tools cannot be configured", f"the whole log is {log}", ui.BUILD_FAILED)
        tools.run(["cmake", "-S", SOURCES, "-B", directory, *options], log=log, failure=failed)
        tools.run(["ninja", "-C", directory, f"-j{settings.jobs()}", *targets], log=log, append=True,
                  failure=Failure("the C++ tools do not build", f"the whole log is {log}", ui.BUILD_FAILED))
        steps = len(re.findall(r"^\[\d+/\d+\] Building", log.read_text(errors="replace"), re.M))
        line.detail = f"{steps} files compiled" if steps else "up to date"
    return directory


def _forget_another_project(directory: Path) -> None:
    """CMake refuses a build directory that was made elsewhere, as after the project was moved."""
    cache = directory / "CMakeCache.txt"
    home = re.search(r"^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$", cache.read_text(errors="replace"), re.M) if cache.exists() else None
    if home and Path(home[1]) != SOURCES:
        shutil.rmtree(directory)
        directory.mkdir()


def test() -> TestResults:
    """Build all of the tools and run their tests."""
    with settings.lock(settings.out(), "the output directory"):
        directory = build()
        report = directory / "junit.xml"
        report.unlink(missing_ok=True)
        log = settings.out() / "log" / "tests-tools.log"
        with ui.step("tests-tools: unit tests, and tests of the programs") as line:
            toolroot.get().run(["ctest", "--test-dir", directory, f"-j{settings.jobs()}", "--output-on-failure", "--no-tests=error",
                                "--output-junit", report, "--test-output-size-passed", "1000000"], log=log, check=False)
            if not report.exists():
                raise Failure("ctest ran no test", f"the whole log is {log}", detail=proc.tail(log))
            results = judge(report.read_text())
            line.detail = f"{results.passed} passed, {len(results.failures)} failed, {len(results.skips)} skipped"
    if results.failures:
        results.failures.append(f"the whole log is {log}")
    return results


def judge(junit: str) -> TestResults:
    """Read the JUnit file that CTest writes. The modules of Python tests are taken apart."""
    results = TestResults()
    for case in ElementTree.fromstring(junit).iter("testcase"):
        name, status = case.get("name", "?"), case.get("status", "?")
        text = case.findtext("system-out") or ""
        inner = re.search(r"^Ran (\d+) tests? in", text, re.M)
        skips = [f"{name}: {test}: {reason}" for test, reason in re.findall(r"""^(.*?) \.\.\. skipped ['"](.*)['"]$""", text, re.M)]
        if status == "run" and inner and not int(inner[1]):
            results.failures.append(f"{name}: no test ran")
        elif status == "run":
            results.skips += skips
            results.passed += int(inner[1]) - len(skips) if inner else 1
        elif status in ("notrun", "disabled") and case.find("skipped") is not None and "Not Run" not in str(case.find("skipped").attrib):
            results.skips.append(f"{name}: {case.find('skipped').get('message') or 'skipped'}")
        else:
            bad = [f"{name}: {kind.lower()}: {test}" for kind, test in re.findall(r"^(FAIL|ERROR): (.*)$", text, re.M)]
            results.failures += bad or [f"{name}: {status}"]
    if not results.passed and not results.failures:
        results.failures.append("no test ran")
    return results


@dataclass(frozen=True)
class Target:
    """The kernel @name of guests.ini, and where it is built."""

    name: str
    tree: Path
    build: Path


def kernel_of(guest: str = "", kernel_name: str = "") -> guests.Kernel:
    """The kernel @kernel_name, or that of @guest, or of the one that GUEST= names. Asked for before anything is built: a wrong name shows at once."""
    return guests.kernel(kernel_name or guests.guest(guest or settings.text("GUEST") or guests.DEFAULT).kernel)


def target(guest: str = "") -> Target:
    """Build the kernel of @guest, or of the one that GUEST= names."""
    chosen = kernel_of(guest)
    what = verify.subject()
    where = kernel.build_directory(chosen.name)
    kernel.build(what.tree, where, chosen)
    return Target(chosen.name, what.tree, where)


def commands_target(name: str) -> Target:
    """The kernel @name without its objects: that is enough for whoever reads the sources."""
    what = verify.subject()
    where = kernel.commands_directory(name)
    kernel.build_commands(what.tree, where, guests.kernel(name))
    return Target(name, what.tree, where)


def database(what: Target) -> Path:
    """The compilation database of @what, made anew."""
    return make_database(what.tree, what.build, report_directory(what))


def make_database(tree: Path, build: Path, directory: Path) -> Path:
    """The compilation database of the kernel @build made from @tree, anew in @directory."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "compile_commands.json"
    # Not in the build directory: kbuild would find it changed.
    program = tree / "scripts" / "clang-tools" / "gen_compile_commands.py"
    new = directory / ".new-compile_commands.json"
    toolroot.get().run(["python3", program, "-d", build, "-o", new], cwd=build, log=settings.out() / "log" / "lint-database.log",
                       failure=Failure("the compilation database could not be made", "is the kernel built?", ui.BUILD_FAILED), **binds(tree))
    new.rename(path)
    return path


def report_directory(what: Target) -> Path:
    """Where reports on @what are left: those on a built kernel, which is the usual case, in out/lint itself."""
    own = settings.out() / "lint"
    return own if what.build == kernel.build_directory(what.name) else own / what.build.name.removeprefix("build-")


def lint_cache() -> Path:
    """Where kpkeys-lint keeps the facts of units."""
    return settings.out() / "lint" / "cache"


def binds(tree: Path) -> dict:
    """The work tree may lie outside the project."""
    return {"readable": [tree]} if settings.PROJECT not in tree.parents else {}


def lint(arguments: Sequence[str] = (), guest: str = "", kernel_name: str = "") -> int:
    """Run kpkeys-lint on the patched kernel; its exit status, which has the meanings of ours.

    The kernel is that of @guest, which is built, or @kernel_name, of which no more is made than its commands need.
    """
    kernel_of(guest, kernel_name)
    with settings.lock(settings.out(), "the output directory"):
        program = build("kpkeys-lint") / "bin" / "kpkeys-lint"
        what = commands_target(kernel_name) if kernel_name else target(guest)
        commands = database(what)
        directory = commands.parent
        reports = [directory / "findings.json", directory / "findings.sarif"]
        for report in reports:
            # Let no reader take those of an earlier run for those of this one.
            report.unlink(missing_ok=True)
        options = [f"--cache-dir={lint_cache()}", f"-j{settings.jobs()}", f"--json={reports[0]}", f"--sarif={reports[1]}",
                   f"--exemptions={EXEMPTIONS}"]
        status = toolroot.get().run([program, "-p", commands, *options, *arguments], check=False, **binds(what.tree)).returncode
        if status not in (ui.PASS, ui.TEST_FAILED, ui.USAGE, ui.BUILD_FAILED):
            raise Failure(f"kpkeys-lint ended with status {status}", "that is a defect of the tool; run it with V=1 and report what it says")
        if reports[0].exists():
            summary = json.loads(reports[0].read_text())["summary"]
            print(f"\n{summary['analysed']} units, {summary['findings']} findings: {reports[0]} and {reports[1].name}")
        return status


def audit(arguments: Sequence[str] = (), guest: str = "") -> int:
    """Run kpkeys-audit on the patched kernel; its exit status, which has the meanings of ours.

    The writes of the kernel of el1 as the tool root's clang builds it are pinned.
    """
    kernel_of(guest)
    with settings.lock(settings.out(), "the output directory"):
        program = build("kpkeys-audit") / "bin" / "kpkeys-audit"
        what = target(guest)
        report = settings.out() / "audit" / "audit.json"
        report.parent.mkdir(parents=True, exist_ok=True)
        # Let no reader take that of an earlier run for that of this one.
        report.unlink(missing_ok=True)
        options: list[str | Path] = [f"--json={report}"]
        if _is_pinned(what.name):
            options += ["--places", AUDIT / "places.txt", "--unused-places", "--expect", AUDIT / "expect-el1-4k.txt"]
        status = toolroot.get().run([program, *options, *arguments, what.build / "vmlinux"], check=False).returncode
        if status not in (ui.PASS, ui.TEST_FAILED, ui.USAGE):
            raise Failure(f"kpkeys-audit ended with status {status}", "that is a defect of the tool; run it with V=1 and report what it says")
        if report.exists():
            print(f"each write: {report}")
        return status


def _is_pinned(name: str) -> bool:
    """Whether the list of sites is about the kernel @name: inlining depends on compiler and configuration."""
    return name == "4k" and not toolroot.get().host and settings.llvm() == ["LLVM=-22"] and not settings.text("CONFIG")


def bench(units: int) -> int:
    """What kpkeys-lint costs, against the bars of tools/bench/lint.py."""
    kernel_of()
    with settings.lock(settings.out(), "the output directory"):
        program = build("kpkeys-lint") / "bin" / "kpkeys-lint"
        what = target("")
        commands = database(what)
        scratch = settings.out() / "lint" / "bench"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        return toolroot.get().run(["python3", BENCH, f"--units={units}", f"--scratch={scratch}", f"--jobs={settings.jobs()}", program, commands],
                                  check=False, **binds(what.tree)).returncode
