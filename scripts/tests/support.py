# SPDX-License-Identifier: GPL-2.0-only
"""A throw-away copy of the project for tests of bad input.

The scripts in it are the real ones. What they work on is small: a toy kernel that "builds" in
no time, a toy QEMU that prints a console log, toy series, and a package mirror in a directory.
The tool root is entered as always; its /usr is that of the real tool root, or of this machine.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest
from dataclasses import dataclass
from pathlib import Path

# A shell that starts a job in the background, and nohup, make it ignore these. The commands
# under test inherit that, and some are to be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGTERM, signal.SIG_DFL)

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "scripts"))

LINUX_VERSION = "7.3.4-1~bpo13+1"
QEMU_VERSION = "1:10.2.2+ds-1"
# What may be left behind by something that was cut short.
UNFINISHED = ("tmp-*", ".new-*", ".old-*", "apply-index*", "checkout-incomplete", "index.lock", "tmp_pack_*")

TOY_MAKEFILE = """\
VERSION = 7
PATCHLEVEL = 3
SUBLEVEL = 4
EXTRAVERSION =

.PHONY: Image
Image:
\t@if [ -f slow ]; then touch $(O)/building; sleep 1000; fi
\t@! grep -n 'syntax error' arch/arm64/mm/toy.c
\t@echo "  CC      arch/arm64/mm/toy.o"
\t@mkdir -p $(O)/arch/arm64/boot
\t@cat arch/arm64/mm/toy.c > $(O)/arch/arm64/boot/Image
"""

# As merge_config.sh: -n -O build fragments...; symbols with LOST in their name do not take.
TOY_MERGE = """\
#!/bin/sh
shift 2
build=$1
shift
cat "$@" | grep -v LOST > "$build/.config"
"""

# As kunit.py exec: boots the first qemu-system-aarch64 in PATH, writes test.log and the JSON.
TOY_KUNIT = '''\
import json, os, re, subprocess, sys
options = dict(a[2:].split("=", 1) for a in sys.argv[2:])
build = options["build_dir"]
cpu = options["qemu_args"].split()
with open(os.path.join(build, "test.log"), "w") as log:
    guest = subprocess.Popen(["qemu-system-aarch64", *cpu], stdout=log, stderr=log)
    try:
        guest.wait(int(options["timeout"]))
    except subprocess.TimeoutExpired as error:
        print(error)
        guest.terminate()
        guest.wait()
groups, suite = [], None
for line in open(os.path.join(build, "test.log")):
    found = re.match(r"\\s+# Subtest: (\\S+)", line)
    if found:
        suite = {"name": found[1], "test_cases": [], "sub_groups": []}
        groups.append(suite)
    found = re.match(r"\\s+(not )?ok \\d+ (\\S+)( # SKIP)?", line)
    if found:
        suite["test_cases"].append({"name": found[2], "status": "FAIL" if found[1] else "SKIP" if found[3] else "PASS"})
json.dump({"name": "KUnit Test Group", "test_cases": [], "sub_groups": groups}, open(options["json"], "w"))
open(options["junit"], "w").write("<testsuites/>")
'''

# QEMU: TOY_GUEST= (or the file of that name beside it) chooses what the guest does.
TOY_QEMU = """\
#!/bin/sh
case "$*" in *--version*) echo "QEMU emulator version 10.2.2"; exit 0;; esac
doing=${TOY_GUEST:-pass}
echo "[    0.000000] Booting Linux on physical CPU 0x0"
echo "[    0.000000] CPU features: detected: Stage-1 Permission Overlay Extension (S1POE)"
[ $doing = silent ] && exit 0
[ $doing = sleep ] && { touch "$TOY_STARTED"; exec sleep 1000; }
# Goes on once another guest runs too, and hangs if none comes.
[ $doing = meet ] && {
	echo "guest: $*"
	touch "$TOY_STARTED.$$"
	until set -- "$TOY_STARTED".* && [ $# -gt 1 ]; do sleep 0.1; done
}
[ $doing = panic ] && { echo "[    0.1] Kernel panic - not syncing: VFS: Unable to mount root fs"; exit 0; }
one="ok 1 one"
[ $doing = fail ] && one="not ok 1 one"
echo "KTAP version 1"
echo "1..1"
echo "    KTAP version 1"
echo "    # Subtest: toy"
echo "    1..2"
echo "    $one"
[ $doing = hang ] && exec sleep 1000
echo "    ok 2 two"
echo "ok 1 toy"
"""

TOY_GUESTS = """\
[kernel 4k]
fragments = toy
[guest el1]
about = a toy
kernel = 4k
[guest second]
about = another toy
kernel = 4k
"""

# As mmdebstrap: writes the tar named in its arguments. TOY_STARTED is touched half-way; with
# TOY_SLOW it then sleeps.
TOY_MMDEBSTRAP = """\
#!/bin/sh
for a; do case "$a" in *.tar) out=$a;; esac; done
echo "half of it" > "$out"
[ -n "$TOY_STARTED" ] && touch "$TOY_STARTED"
[ -n "$TOY_SLOW" ] && exec sleep 1000
exec tar -C "$TOY_ROOT" -cf "$out" .
"""


@dataclass
class Done:
    """A command that ended."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return f"exit status {self.status}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def git(directory: Path, *args: str) -> str:
    """What git prints, with nothing of this machine's configuration."""
    env = {**clean_environment(), "GIT_AUTHOR_NAME": "A Tester", "GIT_AUTHOR_EMAIL": "t@example.org",
           "GIT_COMMITTER_NAME": "A Tester", "GIT_COMMITTER_EMAIL": "t@example.org"}
    return subprocess.run(["git", "--no-optional-locks", "-C", directory, *args], env=env, check=True, text=True,
                          capture_output=True).stdout.rstrip("\n")


def clean_environment() -> dict[str, str]:
    """This process's environment without the project's variables and the user's git configuration."""
    kept = {k: os.environ[k] for k in ("PATH", "HOME", "TMPDIR", "USER", "PYENV_ROOT") if k in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}


def tool_root() -> Path:
    """The tree whose /usr, /etc and /var the tests' tool root has: the real one where it is made."""
    cache = Path(os.environ.get("CACHE") or PROJECT / ".cache").absolute()
    return next((p for p in sorted(cache.glob("toolroot-*")) if (p / "usr").is_dir()), Path("/"))


def write(path: Path, text: str, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def snapshot(directory: Path) -> dict[str, tuple]:
    """Everything below @directory: kind, mode, content, and time of change.

    Of git's objects not the time: git marks those in use, in repositories it borrows from as well.
    """
    found = {}
    for path in [directory, *sorted(directory.rglob("*"))]:
        info = path.lstat()
        content = os.readlink(path) if path.is_symlink() else \
            hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(info.st_mode) else ""
        name = str(path.relative_to(directory))
        found[name] = (info.st_mode, 0 if "objects" in path.parts else info.st_mtime_ns, content)
    return found


def processes(mark: str) -> list[str]:
    """The live processes that have @mark in their environment or command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            text = (entry / "cmdline").read_bytes() + b"\0" + (entry / "environ").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if mark.encode() in text and state != "Z":
            found.append(f"{entry.name}: {text[:200]!r}")
    return found


def wait_for(condition, what: str, seconds: float = 60) -> None:
    """Return once @condition() is true."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s for {what}")
        time.sleep(0.02)


def private_mounts(*commands: str) -> list[str]:
    """A command prefix: its own mount namespace, in which each of the shell @commands was run."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--mount", "sh", "-ec", "; ".join([*commands, 'exec "$@"']), "sh"]


def no_network() -> list[str]:
    """A command prefix: no network interface at all."""
    return ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--net"]


@functools.lru_cache(maxsize=None)
def _template() -> Path:
    """The toy project, made once for all tests."""
    top = Path(tempfile.mkdtemp(prefix="kpkeys-template-"))
    top.chmod(0o755)
    # Not when the first module ends that uses it: there are others.
    atexit.register(shutil.rmtree, top, ignore_errors=True)
    project = top / "project"
    for name in ("scripts", "kunit", "configs", "Makefile"):
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, project / name, ignore=shutil.ignore_patterns("__pycache__", "tests"))
        else:
            shutil.copy2(PROJECT / name, project / name)
    shutil.rmtree(project / "kunit" / "expect")
    write(project / "kunit/expect/poe.txt", "toy.one\ntoy.two\n")
    write(project / "kunit/guests.ini", TOY_GUESTS)
    write(project / "configs/toy.config", "CONFIG_TOY=y\n# CONFIG_TOY_OFF is not set\n")
    kernel = top / "kernel"
    write(kernel / "Makefile", TOY_MAKEFILE)
    write(kernel / "arch/arm64/Kconfig", "config ARM64\n\tdef_bool y\n")
    write(kernel / "arch/arm64/mm/toy.c", "".join(f"int line{n};\n" for n in range(1, 61)))
    write(kernel / "kernel/configs/tiny.config", "CONFIG_TINY=y\n")
    write(kernel / "scripts/kconfig/merge_config.sh", TOY_MERGE, 0o755)
    write(kernel / "tools/testing/kunit/kunit.py", TOY_KUNIT, 0o755)
    _series(kernel, project / "patches/linux", "v7.3.4", "linux-source-7.3", LINUX_VERSION,
            [("arch/arm64/mm/toy.c", {5: "int five;", 30: "int thirty;", 55: "int fiftyfive;"}),
             ("arch/arm64/mm/toy.c", {20: "int twenty;"})])
    qemu = top / "qemu"
    write(qemu / "VERSION", "10.2.2\n")
    write(qemu / "toy-qemu", TOY_QEMU, 0o755)
    write(qemu / "notes", "".join(f"line {n}\n" for n in range(1, 21)))
    write(qemu / "configure", "#!/bin/sh\ns=$(dirname $0)\n"
          "printf 'rule copy\\n  command = cp $in $out\\nbuild qemu-system-aarch64: copy '$s'/toy-qemu\\n' > build.ninja\n", 0o755)
    _series(qemu, project / "patches/qemu", "v10.2.2", "qemu", QEMU_VERSION, [("notes", {7: "seven"})])
    write(top / "bin/qemu-system-aarch64", TOY_QEMU, 0o755)
    write(top / "bin/mmdebstrap", TOY_MMDEBSTRAP, 0o755)
    return top


def _series(tree: Path, patches: Path, tag: str, package: str, version: str, changes: list) -> None:
    """Make @tree a git repository, and @patches the series of @changes on it."""
    git(tree.parent, "init", "-q", "-b", "master", str(tree))
    git(tree, "config", "gc.auto", "0")
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", f"Base {tag}")
    git(tree, "tag", tag)
    git(tree, "checkout", "-q", "--detach")
    for number, (name, lines) in enumerate(changes, 1):
        text = (tree / name).read_text().splitlines()
        for line, content in lines.items():
            text[line - 1] = content
        write(tree / name, "\n".join(text) + "\n")
        git(tree, "commit", "-q", "-a", "-m", f"Change {number}")
    git(tree, "format-patch", "-q", "-o", str(patches), tag)
    names = sorted(p.name for p in patches.glob("*.patch"))
    git(tree, "checkout", "-q", "master")
    write(patches / "series", "\n".join(names) + "\n")
    write(patches / "base", f"tag: {tag}\ncommit:\npackage: {package}\nversion: {version}\n")
    write(patches / "0000-cover-letter.txt", 'A toy\n\n--- b4-submit-tracking ---\n# x\n{\n  "series": {\n    "revision": 3\n  }\n}\n')


class Project:
    """One copy of the project with its own cache and output directory."""

    def __init__(self, test: unittest.TestCase, cached: bool = True):
        self.top = Path(tempfile.mkdtemp(prefix="kpkeys-test-"))
        self.top.chmod(0o755)
        self.mark = self.top.name
        test.addCleanup(self._remove)
        shutil.copytree(_template(), self.top, dirs_exist_ok=True, symlinks=True)
        self.path = self.top / "project"
        self.cache = self.path / ".cache"
        self.out = self.path / "out"
        self.kernel = self.top / "kernel"
        self.patches = self.path / "patches/linux"
        self.source = self.out / "linux/src"
        self.qemu = self.top / "bin/qemu-system-aarch64"
        if cached:
            self.make_tool_root(self.cache / self.tool_root_name())

    def _remove(self) -> None:
        for line in processes(self.mark):
            try:
                os.kill(int(line.partition(":")[0]), signal.SIGKILL)
            except ProcessLookupError:
                pass
        shutil.rmtree(self.top, ignore_errors=True)

    @staticmethod
    def tool_root_name() -> str:
        from kpkeyslib import toolroot
        return toolroot.ToolRoot().path.name

    @staticmethod
    def make_tool_root(path: Path) -> Path:
        """A tool root that borrows another's /usr and has an /etc of its own."""
        real = tool_root()
        path.mkdir(parents=True)
        for name in ("usr", "var"):
            (path / name).symlink_to(real / name)
        (path / "etc").mkdir()
        for name in ("passwd", "group", "ld.so.cache"):
            if (real / "etc" / name).exists():
                shutil.copy2(real / "etc" / name, path / "etc" / name)
        for name in ("alternatives", "dpkg", "apt", "perl"):
            if (real / "etc" / name).is_dir():
                shutil.copytree(real / "etc" / name, path / "etc" / name, symlinks=True,
                                ignore=shutil.ignore_patterns("sources.list*", "auth.conf*"))
        for name in ("resolv.conf", "hosts"):
            write(path / "etc" / name, "")
        return path

    def environment(self, **env) -> dict[str, str]:
        """The environment of a command: the toy kernel and QEMU unless @env has KERNEL=None, QEMU=None."""
        given = {"KERNEL": self.kernel, "QEMU": self.qemu, "TOY_STARTED": self.top / "started", "J": "2", **env}
        return {**clean_environment(), "KPKEYS_TEST": self.mark,
                **{k: str(v) for k, v in given.items() if v is not None}}

    def command(self, *args) -> list[str]:
        return [str(a) for a in (sys.executable, self.path / "scripts/kpkeys", *args)]

    def run(self, *args, wrap=(), cwd: Path | None = None, timeout: float = 120, **env) -> Done:
        """Run scripts/kpkeys @args to its end, in the command prefix @wrap."""
        return self.run_command(*wrap, *self.command(*args), cwd=cwd, timeout=timeout, **env)

    def run_command(self, *argv, cwd: Path | None = None, timeout: float = 120, **env) -> Done:
        done = subprocess.run([str(a) for a in argv], cwd=cwd or self.path, env=self.environment(**env), timeout=timeout,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL)
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *args, **env) -> subprocess.Popen:
        """Start scripts/kpkeys @args and do not wait for it."""
        return subprocess.Popen(self.command(*args), cwd=self.path, env=self.environment(**env), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL, start_new_session=True)

    def unfinished(self) -> list[str]:
        """What a command that was cut short has left in the cache and the output directory."""
        return [str(p) for d in (self.cache, self.out) for pattern in UNFINISHED for p in d.rglob(pattern)]

    def make_mirror(self) -> Path:
        """A package mirror in a directory, with the toy kernel and QEMU as Debian has them."""
        mirror = self.path / "mirror"
        work = self.path / "mirror-work"
        source = work / "deb/usr/src/linux-source-7.3.tar.xz"
        source.parent.mkdir(parents=True)
        pack(self.kernel, source, "linux-source-7.3")
        write(work / "deb/DEBIAN/control", f"Package: linux-source-7.3\nVersion: {LINUX_VERSION}\nArchitecture: all\n"
              "Maintainer: A Tester <t@example.org>\nDescription: toy\n")
        mirror.mkdir()
        package = mirror / "linux-source.deb"
        done = self.run("tools", "dpkg-deb", "--root-owner-group", "-b", work / "deb", package)
        assert done.status == 0, done.text
        write(mirror / "Packages", f"Package: linux-source-7.3\nVersion: {LINUX_VERSION}\nArchitecture: all\n"
              f"Filename: ./{package.name}\nSize: {package.stat().st_size}\nSHA256: {sha256(package)}\nDescription: toy\n\n")
        upstream = mirror / "qemu_10.2.2+ds.orig.tar.xz"
        pack(self.top / "qemu", upstream, "qemu-10.2.2")
        write(work / "debian/debian/changelog", f"qemu ({QEMU_VERSION}) sid; urgency=low\n\n  * Toy.\n\n"
              " -- A Tester <t@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n")
        write(work / "debian/debian/source/format", "3.0 (quilt)\n")
        with tarfile.open(mirror / "qemu_10.2.2+ds-1.debian.tar.xz", "w:xz") as tar:
            tar.add(work / "debian/debian", "debian")
        parts = [upstream, mirror / "qemu_10.2.2+ds-1.debian.tar.xz"]
        head = f"Binary: qemu\nVersion: {QEMU_VERSION}\nMaintainer: A Tester <t@example.org>\nArchitecture: any\nFormat: 3.0 (quilt)\n"
        write(mirror / "qemu_10.2.2+ds-1.dsc", "Source: qemu\n" + head + _sums(parts))
        write(mirror / "Sources", "Package: qemu\n" + head + "Directory: .\n" + _sums([*parts, mirror / "qemu_10.2.2+ds-1.dsc"]) + "\n")
        shutil.rmtree(work)
        write(self.cache / self.tool_root_name() / "etc/apt/sources.list",
              f"deb [trusted=yes] file:{mirror} ./\ndeb-src [trusted=yes] file:{mirror} ./\n")
        return mirror


def _sums(files: list[Path]) -> str:
    text = ""
    for field, algorithm in (("Checksums-Sha256", "sha256"), ("Files", "md5")):
        text += f"{field}:\n" + "".join(
            f" {hashlib.new(algorithm, f.read_bytes()).hexdigest()} {f.stat().st_size} {f.name}\n" for f in files)
    return text


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pack(tree: Path, archive: Path, prefix: str) -> Path:
    """The committed files of @tree as @archive, below the directory @prefix."""
    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if "/.git" in info.name else info

    with tarfile.open(archive, "w:xz", preset=0) as tar:
        tar.add(tree, prefix, filter=plain)
    return archive


class ProjectTest(unittest.TestCase):
    """A test with a project of its own, and the words such tests have in common."""

    cached = True

    def setUp(self) -> None:
        self.project = Project(self, self.cached)

    def assertPasses(self, done: Done) -> Done:
        self.assertEqual(done.status, 0, done.text)
        return done

    def assertFails(self, done: Done, status: int, *patterns: str) -> Done:
        """@done ended with @status and one error line; each of @patterns is found in it or its remedy."""
        self.assertEqual(done.status, status, done.text)
        self.assertNotRegex(done.err, "(?m)^(Traceback|Exception ignored)")
        lines = done.err.splitlines()
        errors = [n for n, line in enumerate(lines) if line.startswith("error: ")]
        self.assertEqual(len(errors), 1, done.text)
        for pattern in patterns:
            self.assertRegex("\n".join(lines[errors[0]:]), pattern, done.text)
        return done

    def assertNothingLeft(self) -> None:
        """No unfinished file, no process."""
        self.assertEqual(self.project.unfinished(), [])
        wait_for(lambda: not processes(self.project.mark), f"the end of {processes(self.project.mark)}", 5)

    def edit(self, path: Path, old: str, new: str) -> None:
        text = path.read_text()
        self.assertIn(old, text)
        path.write_text(text.replace(old, new, 1))
