# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own tests of user-space protection keys, run in a guest and judged against a list.

The pieces, each usable alone:

- build() cross-builds the programs of kunit/selftests/tests.list from a kernel tree, which it only reads;
- make_initramfs() packs them with PID 1 into a cpio archive, reproducibly and without root;
- run() starts the guest and collects its console until it ends, panics or hangs;
- run_with_saves() does the same, but moves the running guest from one QEMU process to the next on its way;
- parse() reads the console into a Report, gate() compares it with an expectation file.

A run ends in exactly one Outcome. What went wrong first in the guest is what the user is told: a panic is not
reported as a missing test, and a guest that printed nothing is not reported as hung.
"""

from __future__ import annotations

import argparse
import enum
import json
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from . import proc, ui
from .ui import Failure

T = TypeVar("T")
U = TypeVar("U")

HERE = Path(__file__).resolve()
GUEST_SOURCES = HERE.parents[2] / "kunit" / "selftests"
CROSS = "aarch64-linux-gnu-"

# Directories of the kernel tree that its selftests need to build. They are copied, because arm64/signal writes
# into its own source directory.
SELFTEST_SOURCES = ("tools/include", "tools/arch/arm64/include", "tools/testing/selftests/kselftest",
                    "tools/testing/selftests/mm", "tools/testing/selftests/arm64")
# lib.mk, kselftest.h and their like, headers of other selftests, and a prerequisite of every program in mm.
SELFTEST_FILES = ("tools/testing/selftests/*.*", "tools/testing/selftests/*/*.h", "mm/gup_test.h",
                  "lib/test_hmm_uapi.h", "include/vdso/time64.h")


# ---------------------------------------------------------------------------------------------------------------
# What runs


@dataclass(frozen=True)
class Test:
    """A line of tests.list."""

    name: str
    manual: bool
    timeout: int
    program: str


def read_list(path: Path) -> dict[str, Test]:
    """The tests that @path lists, by name and in order. The guest's init reads the same file."""
    tests: dict[str, Test] = {}
    for where, line in _lines(path):
        words = line.split("#")[0].split()
        if not words:
            continue
        program = next((w for w in words[3:] if "=" not in w), None)
        if program is None or words[1] not in ("default", "manual") or not words[2].isdigit():
            raise Failure(f"{where}: '{line.strip()}' is not a test",
                          "want NAME default|manual TIMEOUT [VARIABLE=VALUE]... PROGRAM [ARGUMENT]...")
        if words[0] in tests:
            raise Failure(f"{where}: test {words[0]} is listed twice", "remove one of the lines")
        tests[words[0]] = Test(words[0], words[1] == "manual", int(words[2]), program)
    return tests


def _lines(path: Path) -> Iterable[tuple[str, str]]:
    """The lines of @path, each with the 'file:number' a message needs."""
    try:
        text = path.read_text()
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}", "give the path of an existing file") from None
    return ((f"{path}:{n}", line) for n, line in enumerate(text.splitlines(), 1))


class Tools:
    """Where commands run: here, or behind a wrapper such as the tool root's.

    Has the interface of toolroot.ToolRoot that this module uses, so that either will do.
    """

    def __init__(self, prefix: Sequence[str] = ()):
        self.prefix = list(prefix)

    def argv(self, command: Sequence[str | Path], *, cwd: Path | None = None,
             env: Mapping[str, str] | None = None, writable: Sequence[Path] = (),
             readable: Sequence[Path] = ()) -> list[str]:
        """The command line that runs @command in @cwd with @env added to the environment."""
        setup = ["env", "-C", str(cwd or Path.cwd()), *(f"{k}={v}" for k, v in (env or {}).items())]
        return [*self.prefix, *setup, *map(str, command)]


# ---------------------------------------------------------------------------------------------------------------
# Building


def _copy_tree(source: Path, target: Path) -> None:
    """Bring @target up to date with @source; files keep their times, so that make sees what is new."""
    for directory, _, names in os.walk(source):
        there = target / os.path.relpath(directory, source)
        there.mkdir(parents=True, exist_ok=True)
        for name in names:
            _copy_file(Path(directory, name), there / name)


def _copy_file(source: Path, target: Path) -> None:
    if not source.is_file():  # a dangling link in the tree
        return
    try:
        have, want = target.stat(), source.stat()
        if (have.st_mtime_ns, have.st_size) == (want.st_mtime_ns, want.st_size):
            return
        target.unlink()
    except FileNotFoundError:
        pass
    shutil.copy2(source, target)


def build(tree: Path, out: Path, tools=None, *, tests: Mapping[str, Test] | None = None, jobs: int = 0,
          cross: str = CROSS, sources: Path = GUEST_SOURCES, more: Sequence[str] = (), sysroot: Path | None = None) -> Path:
    """Cross-build the programs of @tests, and @more, from the kernel @tree; return the directory that is the guest's root.

    Everything is linked statically, as the guest has no libraries, unless it has those of @sysroot. PID 1 always is.
    Nothing is written to @tree.
    """
    if not (tree / "tools/testing/selftests/lib.mk").is_file():
        raise Failure(f"{tree} is not a kernel tree", "give the directory of a Linux source tree")
    tools = tools or Tools()
    tests = tests if tests is not None else read_list(sources / "tests.list")
    jobs = jobs or len(os.sched_getaffinity(0))
    for name in ("log", "headers", "bin"):
        (out / name).mkdir(parents=True, exist_ok=True)
    root = out / "root"
    programs = sorted({test.program for test in tests.values()} | set(more))
    # -s: symbols would only make the archive bigger.
    link = ["-s", f"--sysroot={sysroot}" if sysroot else "-static"]

    def make(what: str, cwd: Path, *args: str, env: Mapping[str, str] | None = None) -> None:
        command = tools.argv(["make", f"-j{jobs}", "ARCH=arm64", f"CROSS_COMPILE={cross}", *args], cwd=cwd, env=env,
                             writable=[out], readable=[tree])
        proc.run(command, log=out / "log" / f"{what}.log",
                 failure=Failure(f"building the selftests failed at: {what}", status=ui.BUILD_FAILED))

    make("headers", tree, f"O={out / 'headers'}", "headers")
    copy = out / "src"
    for name in SELFTEST_SOURCES:
        _copy_tree(tree / name, copy / name)
    for path in (path for pattern in SELFTEST_FILES for path in tree.glob(pattern)):
        target = copy / path.relative_to(tree)
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy_file(path, target)

    selftests = copy / "tools/testing/selftests"
    headers = f"-isystem {out / 'headers/usr/include'}"
    common = [f"KHDR_INCLUDES={headers}", f"USERCFLAGS={' '.join(link)}"]
    built: dict[str, Path] = {}

    wanted = _under(programs, "/tests/mm/")
    for name in wanted:
        built[f"/tests/mm/{name}"] = out / "bin" / name
    if wanted:
        make("mm", selftests / "mm", f"OUTPUT={out / 'bin'}", *common, *(str(out / "bin" / n) for n in wanted))

    # What tools/testing/selftests/arm64/Makefile hands down to its subdirectories.
    cflags = f"-Wall -O2 -I{selftests} {headers} -I{copy / 'tools/include'}"
    for group, target in (("abi", "{out}/bin/{name}"), ("signal", "testcases/{name}")):
        wanted = _under(programs, f"/tests/arm64/{group}/")
        directory = selftests / "arm64" / group
        targets = [target.format(out=out, name=name) for name in wanted]
        for name, path in zip(wanted, targets):
            built[f"/tests/arm64/{group}/{name}"] = directory / path
        if wanted:
            make(f"arm64-{group}", directory, f"OUTPUT={out / 'bin'}", *common, *targets,
                 env={"CFLAGS": cflags, "top_srcdir": str(copy)})

    own = [name for name in _under(programs, "/tests/") if "/" not in name]
    for name in ["init", *own]:
        path = f"/tests/{name}" if name != "init" else "/init"
        script = sources / f"{name}.sh"
        if script.is_file():
            built[path] = out / "bin" / name
            shutil.copyfile(script, built[path])
            built[path].chmod(0o755)
            continue
        # PID 1 is the same wherever the tests come from, and so is what only the guest has.
        source = next((d / f"{name}.c" for d in (sources, GUEST_SOURCES) if (d / f"{name}.c").is_file()), sources / f"{name}.c")
        built[path] = out / "bin" / name
        command = [f"{cross}gcc", "-O2", "-Wall", *(link if name != "init" else ["-s", "-static"]), "-pthread", source,
                   "-o", built[path]]
        proc.run(tools.argv(command, cwd=out, writable=[out], readable=[source.parent]), log=out / "log" / f"{name}.log",
                 failure=Failure(f"building {source} failed", status=ui.BUILD_FAILED))

    unknown = [program for program in programs if program not in built]
    if unknown:
        raise Failure(f"nothing builds {unknown[0]}",
                      "programs live in /tests/mm, /tests/arm64/abi, /tests/arm64/signal, or /tests for those of "
                      f"{sources}")
    shutil.rmtree(root, ignore_errors=True)
    for path, binary in built.items():
        if not binary.is_file():  # make says "nothing to be done" for a program whose prerequisites are missing
            raise Failure(f"make did not build {binary.name}, and did not say why",
                          f"see {out / 'log'}; does the tree have a source for it?", status=ui.BUILD_FAILED)
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(binary, target)
    shutil.copy2(sources / "tests.list", root / "tests.list")
    # protection_keys reads this file, one byte at least.
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    return root


def _under(programs: Iterable[str], directory: str) -> list[str]:
    return [p[len(directory):] for p in programs if p.startswith(directory)]


# ---------------------------------------------------------------------------------------------------------------
# The archive


def _cpio_entry(number: int, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    """One member of a 'newc' archive, owned by root and dated 1970: the same input gives the same bytes."""
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
    entry = b"070701" + b"".join(b"%08X" % value for value in fields) + encoded
    entry += b"\0" * (-len(entry) % 4) + data
    return entry + b"\0" * (-len(entry) % 4)


def make_initramfs(root: Path, archive: Path, *, without: Sequence[str] = (), below: Path | None = None) -> Path:
    """Pack @root into @archive, together with a /dev/console for PID 1.

    @root goes on top of what is in @below. The paths in @without are left out, with all that is in them.
    """
    if not (root / "init").is_file():
        raise Failure(f"{root} has no init", "build the guest's root first")
    entries = {"dev": (stat.S_IFDIR | 0o755, b"", (0, 0)), "dev/console": (stat.S_IFCHR | 0o600, b"", (5, 1))}
    entries.update((name, (stat.S_IFDIR | 0o755, b"", (0, 0))) for name in ("proc", "sys", "tmp"))
    unwanted = set(without)
    for tree in [below, root] if below else [root]:
        for directory, names, files in os.walk(tree):
            names.sort()
            place = Path(directory).relative_to(tree)
            names[:] = [name for name in names if f"/{(place / name).as_posix()}" not in unwanted]
            for name in sorted(names + files):
                path, inside = Path(directory, name), (place / name).as_posix()
                if "/" + inside in unwanted:
                    continue
                if path.is_symlink():
                    entries[inside] = (stat.S_IFLNK | 0o777, os.readlink(path).encode(), (0, 0))
                elif path.is_dir():
                    entries.setdefault(inside, (stat.S_IFDIR | 0o755, b"", (0, 0)))
                else:
                    mode = 0o755 if os.access(path, os.X_OK) else 0o644
                    entries[inside] = (stat.S_IFREG | mode, path.read_bytes(), (0, 0))
    archive.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with open(archive, "wb") as file:
        for number, (name, (mode, data, device)) in enumerate(entries.items(), 1):
            size += file.write(_cpio_entry(number, name, mode, data, device))
        size += file.write(_cpio_entry(0, "TRAILER!!!", 0))
        file.write(b"\0" * (-size % 512))
    return archive


# ---------------------------------------------------------------------------------------------------------------
# The guest


class Ending(enum.Enum):
    """How a guest's life ended, seen from outside."""

    EXIT = "QEMU exited"
    TIMEOUT = "the time was up"


@dataclass
class Guest:
    """Everything needed to start a guest; @directory receives its console and its saved states."""

    qemu: Path
    image: Path
    initramfs: Path
    directory: Path
    cpu: str = "max,pauth-impdef=on"
    machine: str = "virt,gic-version=3"
    cpus: int = 2
    memory: str = "1G"
    tests: Sequence[str] = ()
    append: Sequence[str] = ()  # for the kernel's command line; NAME=VALUE ends up in the tests' environment
    extra: Sequence[str] = ()  # for QEMU's
    disk: int = 0  # megabytes of an empty disk, /dev/vda; it stays as it is from one QEMU process to the next
    timeout: float = 600
    tools: object = field(default_factory=Tools)

    def command_line(self) -> str:
        """The kernel's. Any panic and any oops ends the guest, and init may print as fast as it likes.

        protection_keys sets aside ten huge pages and restores the earlier number when a process of it exits, be it
        a child in the middle of the test: the next huge page then cannot be had. So there are enough from the start.
        """
        words = ["console=ttyAMA0", "earlycon", "panic=-1", "oops=panic", "printk.devkmsg=on", "hugepages=16",
                 *self.append]
        return " ".join(words + (["--", *self.tests] if self.tests else []))

    def argv(self) -> list[str]:
        """QEMU's command line, without the wrapper. Paths of its own files are relative to @directory."""
        disk = ["-drive", "file=disk,if=none,id=disk,format=raw", "-device", "virtio-blk-device,drive=disk"]
        disk = disk if self.disk else []
        return [str(self.qemu), "-nodefaults", "-display", "none", "-no-reboot", "-machine", self.machine,
                "-accel", "tcg", "-cpu", self.cpu, "-smp", str(self.cpus), "-m", self.memory,
                "-kernel", str(self.image), "-initrd", str(self.initramfs), "-append", self.command_line(),
                "-serial", "stdio", "-qmp", "unix:qmp.sock,server=on,wait=off", *disk, *self.extra]

    def prepare(self) -> None:
        """Make what QEMU needs, and fail on a missing file here instead of through a message of QEMU's."""
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "qemu.log").unlink(missing_ok=True)
        if self.disk:
            with open(self.directory / "disk", "wb") as disk:
                disk.truncate(self.disk << 20)
        for what, path in (("QEMU", self.qemu), ("kernel image", self.image), ("initramfs", self.initramfs)):
            if not Path(path).is_file():
                raise Failure(f"there is no {what} at {path}", "build it first, or give its path")


class Machine:
    """One QEMU process. Use it in a with statement: its process group does not survive the block."""

    living: "set[Machine]" = set()

    def __init__(self, guest: Guest, console: "Console", incoming: str | None = None):
        self.guest = guest
        self.console = console
        (guest.directory / "qmp.sock").unlink(missing_ok=True)
        argv = guest.argv() + (["-incoming", incoming] if incoming else [])
        self.argv = guest.tools.argv(argv, cwd=guest.directory, writable=[guest.directory],
                                     readable=[Path(p).parent for p in (guest.qemu, guest.image, guest.initramfs)])
        with open(guest.directory / "qemu.log", "a") as log:
            print("+", shlex.join(self.argv), file=log, flush=True)
            try:
                self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                                stderr=log, cwd=guest.directory, start_new_session=True)
            except OSError as error:
                raise Failure(f"cannot run {self.argv[0]}: {error.strerror}", "check the path") from None
        Machine.living.add(self)
        self.reader = threading.Thread(target=console.feed_from, args=(self.process.stdout,), daemon=True)
        self.reader.start()
        self._qmp: Qmp | None = None

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """End QEMU if it still runs, and take in the rest of its output."""
        self.kill()
        Machine.living.discard(self)
        self.reader.join(10)
        if self._qmp:
            self._qmp.close()
            self._qmp = None

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """End the whole process group: the wrapper may have put processes between itself and QEMU."""
        for signum, patience in ((signal.SIGTERM, 3), (signal.SIGKILL, 10)):
            try:
                os.killpg(self.process.pid, signum)
            except ProcessLookupError:
                break
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
        self.process.wait()

    def qmp(self, command: str, **arguments):
        """Have QEMU carry out a monitor @command; return what it answers."""
        if not self._qmp:
            self._qmp = Qmp(self.guest.directory / "qmp.sock", alive=lambda: self.running)
        return self._qmp.execute(command, **arguments)

    def save(self, name: str, timeout: float = 120) -> None:
        """Stop the guest, write its whole state to the file @name, and quit."""
        self.qmp("stop")
        self.qmp("migrate", uri=f"file:{name}")
        self._await_migration("saving the guest's state", timeout)
        try:
            self.qmp("quit")
        except QemuGone:  # it need not answer to this one
            pass
        self.close()

    def resume(self, timeout: float = 120) -> None:
        """Let a guest that was started from a saved state go on."""
        self._await_migration("restoring the guest's state", timeout)
        self.qmp("cont")

    def _await_migration(self, what: str, timeout: float) -> None:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            status = self.qmp("query-migrate").get("status")
            if status == "completed":
                return
            if status in ("failed", "cancelled"):
                raise Failure(f"{what}: QEMU reports '{status}'", f"see {self.guest.directory / 'qemu.log'}",
                              status=ui.TEST_FAILED)
            time.sleep(0.05)
        raise Failure(f"{what} took more than {timeout:g} seconds", f"see {self.guest.directory / 'qemu.log'}",
                      status=ui.GUEST_HANG)


class QemuGone(Failure):
    """QEMU exited while it was being talked to."""


class Qmp:
    """QEMU's monitor over a Unix socket."""

    def __init__(self, path: Path, alive: Callable[[], bool], patience: float = 30):
        self.socket = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + patience
        directory = os.open(path.parent, os.O_PATH)
        try:
            # A socket's address holds 107 bytes; through the directory's descriptor any path fits.
            while self.socket.connect_ex(f"/proc/self/fd/{directory}/{path.name}"):
                if not alive():
                    raise QemuGone("QEMU ended", f"see {path.parent / 'qemu.log'}", status=ui.NO_RESULTS)
                if time.monotonic() > end:
                    raise Failure("QEMU does not answer on its monitor", f"see {path.parent / 'qemu.log'}",
                                  status=ui.NO_RESULTS)
                time.sleep(0.05)
        finally:
            os.close(directory)
        self.socket.settimeout(patience)
        self.file = self.socket.makefile()
        self.file.readline()  # the greeting
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments):
        """Send @command, skip the events that come in between, and return the answer."""
        try:
            self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
            for line in self.file:
                answer = json.loads(line)
                if "error" in answer:
                    raise Failure(f"QEMU refuses '{command}': {answer['error'].get('desc')}",
                                  "see qemu.log next to the console's log", status=ui.TEST_FAILED)
                if "return" in answer:
                    return answer["return"]
        except socket.timeout:
            raise Failure(f"QEMU does not answer to '{command}'", "see qemu.log next to the console's log",
                          status=ui.GUEST_HANG) from None
        except OSError:
            pass
        raise QemuGone(f"QEMU ended during '{command}'", "see qemu.log next to the console's log",
                       status=ui.NO_RESULTS)

    def close(self) -> None:
        self.file.close()
        self.socket.close()


class Console:
    """What the guest prints, over all the QEMU processes it lives in; kept in memory and in @path."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(path, "wb")
        self.data = bytearray()
        self.grown = threading.Condition()

    def __enter__(self) -> "Console":
        return self

    def __exit__(self, *_) -> None:
        with self.grown:
            self.file.close()

    def feed_from(self, stream) -> None:
        """Take in @stream until it ends."""
        with stream:
            while chunk := stream.read1(65536):
                with self.grown:
                    self.data += chunk
                    if not self.file.closed:
                        self.file.write(chunk)
                        self.file.flush()
                    self.grown.notify_all()

    @property
    def text(self) -> str:
        with self.grown:
            return self.data.decode(errors="replace").replace("\r\n", "\n")

    def wait_for(self, pattern: str, start: int, end: float, alive: Callable[[], bool]) -> int | None:
        """The offset after the first match of @pattern from @start on; None once @alive is false or at @end."""
        compiled = re.compile(pattern.encode())
        while True:
            living = alive()
            with self.grown:
                match = compiled.search(self.data, start)
                if match:
                    return match.end()
                if not living or time.monotonic() > end:
                    return None
                self.grown.wait(0.1)


# The end of a guest that speaks: init's end marker, or the kernel's last words; and what it gets to power off then.
_LAST_WORDS = r"selftests: # end|Kernel panic - not syncing"
_GRACE = 15.0


def _await_end(machine: Machine, console: Console, start: int, end: float) -> Ending:
    """Wait until QEMU exits, to @end at most, but little longer than the guest's last words."""
    ending = console.wait_for(_LAST_WORDS, start, end, lambda: machine.running)
    try:
        machine.process.wait(_GRACE if ending is not None else 0.1)
    except subprocess.TimeoutExpired:
        return Ending.TIMEOUT
    machine.reader.join(10)
    return Ending.EXIT


def run(guest: Guest, answers: Mapping[str, Callable[[Machine, int], None]] | None = None,
        read: Callable[[str, Ending, int | None], "Report"] | None = None) -> "Report":
    """Run @guest to its end, at most @guest.timeout seconds.

    A test in it may ask for what only the host can do, with a line "# ask: WORD NUMBER": the function @answers[WORD]
    is called with the machine and the number. @read makes the report of the console, parse() by default.
    """
    guest.prepare()
    end = time.monotonic() + guest.timeout
    place = 0
    with Console(guest.directory / "console.log") as console, Machine(guest, console) as machine:
        while answers:
            asked = console.wait_for(rf"# ask: (?:{'|'.join(answers)}) \d+\r?\n|{_LAST_WORDS}", place, end, lambda: machine.running)
            found = re.search(rb"# ask: (\w+) (\d+)\r?\n$", console.data[place:asked]) if asked is not None else None
            if not found:
                break
            place = asked
            try:
                answers[found[1].decode()](machine, int(found[2]))
            except QemuGone:  # the guest ended meanwhile, well or badly: the console tells
                break
        ending = _await_end(machine, console, place, end)
    return (read or parse)(console.text, ending, machine.process.poll())


def run_with_power_off(guest: Guest, resume: str = "/dev/vda") -> "Report":
    """Run @guest, and start it again from the image on its disk @resume whenever it has switched itself off."""
    guest.prepare()
    end = time.monotonic() + guest.timeout
    place = 0
    with Console(guest.directory / "console.log") as console:
        while True:
            with Machine(guest, console) as machine:
                ending = _await_end(machine, console, place, end)
            off = console.wait_for(r"# hibernate \d+: shutdown", place, 0, lambda: False)
            if ending is not Ending.EXIT or off is None or "selftests: # end" in console.text:
                return parse(console.text, ending, machine.process.poll())
            place = len(console.data)
            guest = replace(guest, append=[f"resume={resume}", *guest.append])


def run_with_saves(guest: Guest, cycles: int, *, pause: float = 1.4, ready: str = r"# progress second=2 ",
                   alive: str = r"# progress second=", patience: float = 60,
                   tamper: Callable[[Path], None] | None = None) -> "Report":
    """Run @guest, and move it @cycles times to a new QEMU process while its test is at work.

    The first move comes once the console shows @ready. After each, the guest must print @alive again, within
    @patience seconds, so that a cycle counts only if the test went on. @tamper may damage the saved state: with it,
    a run shows that the test would notice what it is there to notice.
    """
    guest.prepare()
    end = time.monotonic() + guest.timeout
    state = guest.directory / "state"
    with Console(guest.directory / "console.log") as console:
        machine = Machine(guest, console)
        try:
            place = console.wait_for(ready, 0, end, lambda: machine.running)
            done = 0
            while place is not None and done < cycles:
                time.sleep(pause)
                try:
                    machine.save(state.name)
                except QemuGone:  # the test ended meanwhile, well or badly: the console tells
                    break
                if tamper:
                    tamper(state)
                place = len(console.data)
                machine = Machine(guest, console, incoming=f"file:{state.name}")
                machine.resume()
                done += 1
                ui.note(f"cycle {done}: saved and restored, {state.stat().st_size / 1e6:.0f} MB")
                life = min(end, time.monotonic() + patience)
                place = console.wait_for(alive, place, life, lambda: machine.running)
                if place is None and machine.running:
                    end = life  # it hangs: do not wait for the rest of the time
            ending = _await_end(machine, console, place or 0, end)
            exit_status = machine.process.poll()
        finally:
            machine.close()
            state.unlink(missing_ok=True)
    report = parse(console.text, ending, exit_status)
    if report.outcome is Outcome.HANG:
        report.detail = f"after {done} of {cycles} save/restore cycles, {report.detail}"
    if report.outcome is Outcome.COMPLETE and done < cycles:
        report.outcome = Outcome.FAILED
        report.detail = f"the test ended after {done} of {cycles} save/restore cycles"
    return report


def two_at_a_time(run: Callable[[T], U], items: Iterable[T]) -> list[U]:
    """What @run makes of each of @items, in their order. It starts guests, and these wait more than they work."""
    with ThreadPoolExecutor(2) as pool:
        try:
            return list(pool.map(run, items))
        except BaseException:
            # The pool waits for its threads, and these for their guests.
            pool.shutdown(wait=False, cancel_futures=True)
            for machine in list(Machine.living):
                machine.kill()
            raise


# KVM's numbers of the two registers, by which QEMU names them in a saved state.
POR_EL0 = 0x603000000013DD14
POR_EL1 = 0x603000000013C514


def saved_registers(state: bytes, register: int) -> list[int]:
    """The offsets in a saved @state at which each CPU's value of @register lies.

    QEMU writes, for each CPU, the number of its system registers (32 bits), their names in ascending order, and
    their values in the same order (64 bits each; all of it big-endian).
    """
    found = []
    name = struct.pack(">Q", register)
    place = state.find(name)
    while place >= 0:
        for index in range(4096):
            start = place - 8 * index
            if start < 4 or state[start] not in (0x40, 0x60):
                break
            count = struct.unpack_from(">i", state, start - 4)[0]
            if not index < count < 4096 or start + 16 * count > len(state):
                continue
            names = struct.unpack_from(f">{count}Q", state, start)
            if list(names) == sorted(names) and names[-1] >> 60 == 6:
                found.append(start + 8 * (count + index))
                break
        place = state.find(name, place + 8)
    return found


def forget_register(register: int, value: int = 0) -> Callable[[Path], None]:
    """A tamper function: overwrites @register in the saved state, as if QEMU did not migrate it."""

    def tamper(path: Path) -> None:
        state = bytearray(path.read_bytes())
        places = saved_registers(state, register)
        if not places:
            raise Failure(f"the saved state does not hold register {register:#x}",
                          "this QEMU does not migrate it", status=ui.TEST_FAILED)
        for place in places:
            struct.pack_into(">Q", state, place, value)
        path.write_bytes(state)

    return tamper


def unnoticed_loss(guest: Guest, value: int = 0) -> str:
    """The control experiment: why losing POR_EL0 in a save and restore went unnoticed; empty if it was noticed.

    With @value 0, the reset value, a thread cannot go on at all. With all keys open (0x77777777) it can, and only a
    test that compares notices.
    """
    # Where a CPU runs something else at that moment it has nothing to lose, hence more than one.
    report = run_with_saves(guest, 3, tamper=forget_register(POR_EL0, value))
    result = report.tests.get("por_stress")
    if report.outcome not in (Outcome.COMPLETE, Outcome.FAILED) or result is None:
        return f"the guest did not get that far: {report.outcome}: {report.detail}"
    if result.status in ("fail", "signal"):
        return ""
    return f"POR_EL0 was lost, and por_stress ended in '{result.status}'"


# ---------------------------------------------------------------------------------------------------------------
# Reading the console


class Outcome(enum.Enum):
    """What became of a run; the values are the command's exit statuses and the words for them."""

    COMPLETE = (ui.PASS, "complete")
    FAILED = (ui.TEST_FAILED, "failed")
    PANIC = (ui.GUEST_PANIC, "guest panic")
    HANG = (ui.GUEST_HANG, "guest hang")
    NO_OUTPUT = (ui.NO_RESULTS, "no output")
    CUT_SHORT = (ui.NO_RESULTS, "cut short")

    @property
    def status(self) -> int:
        return self.value[0]

    def __str__(self) -> str:
        return self.value[1]


@dataclass
class Case:
    """One result line that a test printed."""

    number: int
    status: str  # pass, fail, skip, xfail, xpass
    text: str


@dataclass
class Result:
    """What became of one test."""

    name: str
    status: str = "running"  # then: pass, skip, fail, timeout, signal, missing, orphan
    detail: str = ""
    plan: int | None = None
    cases: list[Case] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    seconds: float = 0

    def count(self, status: str) -> int:
        """How many cases ended so. A test that prints no cases is one case, decided by its exit status."""
        if not self.cases:
            return int(self.status == status)
        return sum(case.status == status for case in self.cases)

    def troubles(self) -> list[str]:
        """What makes the test's own output untrustworthy, whatever its exit status."""
        found = []
        numbers = [case.number for case in self.cases]
        if numbers != list(range(1, len(numbers) + 1)):
            found.append("its result lines are not numbered 1, 2, 3...")
        # A test that skips as a whole has often announced its plan by then.
        if self.plan is not None and self.plan != len(self.cases) and self.status != "skip":
            found.append(f"it planned {self.plan} results and printed {len(self.cases)}")
        bail = next((line for line in self.lines if line.startswith("Bail out!")), None)
        if bail:
            found.append(f"it gave up: {bail}")
        return found


@dataclass
class Report:
    """A console, understood."""

    outcome: Outcome
    detail: str = ""
    guest: dict[str, str] = field(default_factory=dict)
    plan: int | None = None
    tests: dict[str, Result] = field(default_factory=dict)
    splats: list[str] = field(default_factory=list)  # the kernel's warnings


_PRINTK = re.compile(r"^(?:\x1b\[[0-9;]*m)*\[ *\d+\.\d+\](?:\[ *[CT]\d+\])? ?")
_OURS = "selftests: "
_CASE = re.compile(r"^(not )?ok (\d+)(?: (.*))?$")
_SKIPPED = re.compile(r"#\s*(SKIP|XFAIL|XPASS|error)\b", re.IGNORECASE)
_VERDICT = re.compile(r"^(not )?ok \d+ (\S+) # ([A-Z]+)?(.*)$")
_SPLAT = re.compile(r"^(WARNING: |BUG: |Internal error: |Unable to handle kernel |watchdog: |INFO: task .* blocked"
                    r"|rcu: INFO: .* (stall|detected))")
_PANIC = "Kernel panic - not syncing"
_BOOT = re.compile(r"^CPU: All CPU\(s\) started at (EL\d)")


def _case(line: str) -> Case | None:
    match = _CASE.match(line)
    if not match:
        return None
    text = match[3] or ""
    directive = _SKIPPED.search(text)
    status = "fail" if match[1] else "pass"
    if directive and directive[1].lower() == "skip":
        status = "skip"
    elif directive and status == "pass":
        status = "fail" if directive[1] == "error" else directive[1].lower()
    return Case(int(match[2]), status, text)


def _verdict(result: Result, line: str) -> None:
    """Take over init's result line for a test."""
    match = _VERDICT.match(line)
    if not match:
        result.status, result.detail = "fail", f"unreadable verdict: {line}"
        return
    word = match[3]
    if word == "SKIP":
        result.status = "skip"
    elif not match[1]:
        result.status = "pass"
    else:
        result.status = {"TIMEOUT": "timeout", "SIGNAL": "signal", "MISSING": "missing",
                         "ORPHAN": "orphan"}.get(word, "fail")
    result.detail = f"{word or ''}{match[4]}".strip()
    took = re.search(r"time=([\d.]+)", line)
    result.seconds = float(took[1]) if took else 0


def parse(text: str, ending: Ending = Ending.EXIT, exit_status: int | None = 0) -> Report:
    """Make a Report of the console @text of a guest that ended in @ending."""
    report = Report(Outcome.COMPLETE)
    started = ended = False
    bail = panic = ""
    current: Result | None = None

    for raw in text.replace("\r\n", "\n").split("\n"):
        line = _PRINTK.sub("", raw).rstrip()
        if not line.startswith(_OURS):
            if line.startswith(_PANIC):
                panic = panic or line
            elif _SPLAT.match(line):
                report.splats.append(line)
            elif boot := _BOOT.match(line):
                report.guest["boot"] = boot[1]
            continue
        line = line[len(_OURS):]
        if line == "KTAP version 1":
            if started:
                bail = bail or "the guest started twice"
            started = True
        elif line.startswith("  # Subtest: "):
            current = report.tests.setdefault(line.split(": ", 1)[1], Result(line.split(": ", 1)[1]))
        elif line.startswith("  "):
            _test_line(current, line[2:])
        elif line.startswith("1.."):
            report.plan = int(line[3:].split()[0])
        elif line.startswith("# guest "):
            report.guest.update(word.split("=", 1) for word in line.split()[2:])
        elif line.startswith("Bail out!"):
            bail = bail or line
        elif _CASE.match(line):
            name = line.split("ok ", 1)[1].split()[1]
            _verdict(report.tests.setdefault(name, Result(name)), line)
            current = None
        elif line == "# end":
            ended = True

    _decide(report, text, ending, exit_status, panic, bail, started, ended)
    return report


def _test_line(result: Result | None, line: str) -> None:
    if result is None:
        return
    result.lines.append(line)
    case = _case(line)
    if case:
        result.cases.append(case)
    elif re.match(r"1\.\.\d+", line) and result.plan is None:
        result.plan = int(re.match(r"1\.\.(\d+)", line)[1])


def _decide(report: Report, text: str, ending: Ending, exit_status: int | None, panic: str, bail: str, started: bool,
            ended: bool) -> None:
    """Name the run's outcome: the earliest cause wins."""
    running = next((test.name for test in report.tests.values() if test.status == "running"), None)
    where = f"in {running}" if running else "after the last test" if report.tests else \
        "before the first test" if started else "before init started"
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    if panic:
        report.outcome, report.detail = Outcome.PANIC, f"{where}: {panic}"
    elif not text.strip():
        how = "until " + ending.value if ending is Ending.TIMEOUT else f"and QEMU exited with {exit_status}"
        report.outcome, report.detail = Outcome.NO_OUTPUT, f"nothing on the console {how}"
    elif ending is Ending.TIMEOUT:
        where = "it said it had ended but did not power off" if ended else where
        report.outcome, report.detail = Outcome.HANG, f"{where}; the last line is: {last.strip()}"
    elif not ended:
        report.outcome = Outcome.CUT_SHORT
        report.detail = f"QEMU exited with {exit_status} {where}; the last line is: {last.strip()}"
    elif bail:
        report.outcome, report.detail = Outcome.FAILED, bail


# ---------------------------------------------------------------------------------------------------------------
# Judging


@dataclass
class Expected:
    """A line of an expectation file."""

    status: str
    counts: dict[str, int]
    reason: str
    shows: list[str] = field(default_factory=list)
    hides: list[str] = field(default_factory=list)


@dataclass
class Expectations:
    guest: dict[str, str]
    tests: dict[str, Expected]
    path: Path


def read_expectations(path: Path) -> Expectations:
    """Read an expectation file; kunit/selftests/expect-poe.txt explains the format."""
    guest: dict[str, str] = {}
    tests: dict[str, Expected] = {}
    for where, line in _lines(path):
        content, _, reason = line.partition("#")
        words = content.split()
        if not words:
            continue
        if words[0] == "guest":
            guest.update(word.split("=", 1) for word in words[1:])
            continue
        if words[0] in ("shows", "hides"):
            if len(words) < 3 or words[1] not in tests:
                raise Failure(f"{where}: '{words[0]}' wants the name of a test above and a text", "correct the line")
            getattr(tests[words[1]], words[0]).append(" ".join(words[2:]))
            continue
        counts = dict(word.split("=", 1) for word in words[2:] if "=" in word)
        if len(words) < 2 or words[1] not in ("pass", "skip") or not {"pass", "skip"} <= set(counts) \
                or not all(value.isdigit() for value in counts.values()) or words[0] in tests:
            raise Failure(f"{where}: '{line.strip()}' is not an expectation",
                          "want, once a test: NAME pass|skip pass=N skip=N [xfail=N] [# REASON]")
        numbers = {name: int(value) for name, value in counts.items()}
        if (words[1] == "skip" or numbers["skip"] or numbers.get("xfail")) and not reason.strip():
            raise Failure(f"{where}: {words[0]} skips without a reason", "say why, after a '#' on the line")
        if words[1] == "pass" and not numbers["pass"]:
            raise Failure(f"{where}: {words[0]} would pass without a passing case",
                          "expect 'skip', or at least pass=1")
        tests[words[0]] = Expected(words[1], numbers, reason.strip())
    if not tests:
        raise Failure(f"{path} expects no test", "list the tests and their counts")
    return Expectations(guest, tests, path)


def gate(report: Report, expected: Expectations, names: Sequence[str]) -> list[str]:
    """What keeps @report from being what @expected says of the tests @names; empty if nothing does."""
    problems = [] if report.outcome is Outcome.COMPLETE else [f"{report.outcome}: {report.detail}"]
    if report.outcome not in (Outcome.COMPLETE, Outcome.FAILED):
        return problems  # what else is missing follows from this
    for key, value in expected.guest.items():
        if report.guest.get(key) != value:
            problems.append(f"the guest has {key}={report.guest.get(key)}, {expected.path.name} is for {key}={value}")
    if report.plan != len(names):
        problems.append(f"the guest planned {report.plan} tests, {len(names)} are wanted")
    problems += [f"{name}: did not run" for name in names if name not in report.tests]
    for name, result in report.tests.items():
        if name not in expected.tests or name not in names:
            problems.append(f"{name}: ran, but {expected.path.name} does not expect it")
            continue
        problems += [f"{name}: {problem}" for problem in _compare(result, expected.tests[name])]
    problems += [f"the kernel warned: {splat}" for splat in report.splats]
    return problems


def _compare(result: Result, expected: Expected) -> list[str]:
    if result.status not in ("pass", "skip"):
        failed = [f"{case.number} {case.text}" for case in result.cases if case.status == "fail"]
        more = "; failed: " + ", ".join(failed[:5]) if failed else ""
        return [f"{result.status} ({result.detail}){more}"] + result.troubles()
    problems = result.troubles()
    if result.status != expected.status:
        problems.append(f"ended in '{result.status}', expected '{expected.status}'")
    statuses = ("pass", "skip", "xfail", "fail", "xpass")
    wrong = [f"{status} {result.count(status)} instead of {expected.counts.get(status, 0)}" for status in statuses
             if result.count(status) != expected.counts.get(status, 0)]
    if wrong:
        problems.append("counts differ: " + ", ".join(wrong))
    output = "\n".join(result.lines)
    problems += [f"its output lacks '{text}'" for text in expected.shows if text not in output]
    problems += [f"its output has '{text}'" for text in expected.hides if text in output]
    return problems


def wanted(tests: Mapping[str, Test], expected: Expectations, names: Sequence[str]) -> list[str]:
    """The tests a run must show: @names, or all that are expected but for those that run by name only.

    The expectation file decides, not the list in the guest, so that a test cannot vanish from both unseen.
    """
    for name in names:
        if name not in tests:
            raise Failure(f"there is no test named {name}", "tests: " + " ".join(tests))
    return list(names) or [name for name in expected.tests if name not in tests or not tests[name].manual]


def judge(report: Report, expected: Expectations, names: Sequence[str]) -> tuple[int, list[str]]:
    """The exit status of the run, and what to tell the user."""
    problems = gate(report, expected, names)
    status = report.outcome.status or (ui.TEST_FAILED if problems else ui.PASS)
    return status, problems


def summary(report: Report, expected: Expectations | None = None) -> str:
    """The results as a table."""
    rows = [["test", "result", "pass", "skip", "fail", "seconds", "remark"]]
    for name, result in report.tests.items():
        reason = expected.tests[name].reason if expected and name in expected.tests else ""
        rows.append([name, result.status, *(str(result.count(s)) for s in ("pass", "skip", "fail")),
                     f"{result.seconds:.1f}", reason])
    return ui.table(rows, right={2, 3, 4, 5})


# ---------------------------------------------------------------------------------------------------------------
# The command line


def _guest(args: argparse.Namespace, tools: Tools) -> Guest:
    return Guest(qemu=args.qemu.resolve(), image=args.image.resolve(), initramfs=args.initramfs.resolve(),
                 directory=args.directory.resolve(), cpu=args.cpu, machine=args.machine, cpus=args.cpus,
                 memory=args.memory, tests=args.tests, append=args.append, extra=shlex.split(args.qemu_args),
                 disk=args.disk or (512 if any(name.startswith("hibernate") for name in args.tests) else 0),
                 timeout=args.timeout, tools=tools)


def _build(args: argparse.Namespace, tools: Tools) -> int:
    with ui.step("build the selftests"):
        root = build(args.tree.resolve(), args.out.resolve(), tools, jobs=args.jobs, cross=args.cross,
                     sources=args.sources)
        make_initramfs(root, args.out.resolve() / "initramfs.cpio")
    print(args.out / "initramfs.cpio")
    return ui.PASS


def _tell(report: Report, args: argparse.Namespace) -> int:
    expected = read_expectations(args.expect)
    expected.guest.update(word.partition("=")[::2] for word in args.require)
    names = wanted(read_list(args.sources / "tests.list"), expected, args.tests)
    status, problems = judge(report, expected, names)
    print(summary(report, expected))
    for problem in problems:
        print(ui.bad("problem: ") + problem)
    print(ui.good("pass") if not status else ui.bad(str(Outcome.FAILED if report.outcome is Outcome.COMPLETE
                                                        else report.outcome)))
    return status


def _run(args: argparse.Namespace, tools: Tools) -> int:
    read_expectations(args.expect)  # a mistake in it must not cost a run
    guest = _guest(args, tools)
    with ui.step("run the selftests in a guest"):
        report = run_with_power_off(guest) if "hibernate_off" in args.tests else run(guest)
    return _tell(report, args)


def _saves(args: argparse.Namespace, tools: Tools) -> int:
    read_expectations(args.expect)
    args.tests = args.tests or ["por_stress"]
    guest = _guest(args, tools)
    guest.append = [f"POR_STRESS_SECONDS={args.seconds}", *guest.append]
    if args.lose_por is not None:
        with ui.step("lose POR_EL0 in a save and restore") as step:
            problem = unnoticed_loss(guest, args.lose_por)
            step.detail = "" if problem else "noticed, as it must be"
            if problem:
                raise Failure(problem, f"see {guest.directory}", status=ui.TEST_FAILED)
        return ui.PASS
    with ui.step("save and restore a guest at work"):
        report = run_with_saves(guest, args.cycles, pause=args.pause)
    return _tell(report, args)


def _check(args: argparse.Namespace, tools: Tools) -> int:
    text = "\n".join(line for _, line in _lines(args.console))
    return _tell(parse(text, Ending.TIMEOUT if args.hung else Ending.EXIT), args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="selftests", description="Run the kernel's selftests for user-space protection keys in a guest.",
        epilog="Exit status: 0 pass, 1 a test failed, 2 usage or set-up, 3 build failed, 4 guest panic, "
               "5 guest hang, 6 no output or cut short.")
    parser.add_argument("--enter", default="", metavar="COMMAND", help="wrapper that runs a command with the tools")
    parser.add_argument("--sources", type=Path, default=GUEST_SOURCES, help="the guest's sources (%(default)s)")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    verb = verbs.add_parser("build", help="build the programs and pack the initramfs")
    verb.add_argument("--tree", type=Path, required=True, help="kernel source tree; only read")
    verb.add_argument("--out", type=Path, required=True, help="where to build")
    verb.add_argument("--cross", default=CROSS, help="prefix of the cross compiler (%(default)s)")
    verb.add_argument("--jobs", type=int, default=0, help="parallel jobs (one a CPU)")
    verb.set_defaults(run=_build)

    judged = argparse.ArgumentParser(add_help=False)
    judged.add_argument("--expect", type=Path, default=GUEST_SOURCES / "expect-poe.txt",
                        help="what must come out (%(default)s)")
    judged.add_argument("--require", action="append", default=[], metavar="KEY=VALUE",
                        help="what the guest must be, besides: boot=EL2, cpus=2")
    judged.add_argument("tests", nargs="*", metavar="TEST", help="tests to run (all default ones)")

    started = argparse.ArgumentParser(add_help=False)
    started.add_argument("--qemu", type=Path, required=True)
    started.add_argument("--image", type=Path, required=True, help="arm64 Image")
    started.add_argument("--initramfs", type=Path, required=True)
    started.add_argument("--directory", type=Path, required=True, help="where the console's log goes")
    started.add_argument("--cpu", default=Guest.cpu, help="QEMU's -cpu (%(default)s)")
    started.add_argument("--machine", default=Guest.machine, help="QEMU's -machine (%(default)s)")
    started.add_argument("--cpus", type=int, default=Guest.cpus)
    started.add_argument("--memory", default=Guest.memory)
    started.add_argument("--append", nargs="*", default=[], help="words for the kernel's command line")
    started.add_argument("--disk", type=int, default=0, metavar="MB",
                         help="give the guest an empty disk, /dev/vda (512 for hibernate)")
    started.add_argument("--qemu-args", default="", help="more arguments for QEMU, in one string")
    started.add_argument("--timeout", type=float, default=Guest.timeout, help="seconds (%(default)s)")

    verb = verbs.add_parser("run", parents=[started, judged], help="run a guest and judge it")
    verb.set_defaults(run=_run)

    verb = verbs.add_parser("saves", parents=[started, judged],
                            help="run por_stress while its guest is saved and restored")
    verb.add_argument("--cycles", type=int, default=3)
    verb.add_argument("--seconds", type=int, default=20, help="how long por_stress works (%(default)s)")
    verb.add_argument("--pause", type=float, default=1.0, help="seconds between cycles (%(default)s)")
    verb.add_argument("--lose-por", nargs="?", const=0, type=lambda text: int(text, 0), metavar="VALUE",
                      help="the control: put VALUE (0) for POR_EL0 into the saved state; pass if por_stress notices")
    verb.set_defaults(run=_saves)

    logged = argparse.ArgumentParser(add_help=False)
    logged.add_argument("console", type=Path)
    verb = verbs.add_parser("check", parents=[logged, judged], help="judge the log of an earlier run")
    verb.add_argument("--hung", action="store_true", help="the guest of this log did not end by itself")
    verb.set_defaults(run=_check)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    proc.install_signal_handlers()
    try:
        return args.run(args, Tools(shlex.split(args.enter)))
    except Failure as failure:
        ui.report(failure)
        return failure.status
    except KeyboardInterrupt:
        ui.report(Failure("interrupted"))
        return ui.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
