# SPDX-License-Identifier: GPL-2.0-only
"""The tool root: where compilers and every other tool come from.

It is a Debian tree in the cache, made by mmdebstrap from the machine's own mirror and entered
with bubblewrap, so that neither the host's version nor its configuration matters. Both work
for root and for an ordinary user. Nothing in it reaches the network except an explicit fetch.
TOOLS=host does without it.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import proc, settings, ui
from .ui import Failure

SUITE = "trixie"
PACKAGES = settings.PROJECT / "scripts" / "toolroot.packages"
LLVM_BIN = "/usr/lib/llvm-22/bin"
# Programs of the host that make and enter the tool root, with their Debian packages.
HOST_NEEDS = {"mmdebstrap": "mmdebstrap", "bwrap": "bubblewrap", "newuidmap": "uidmap", "tar": "tar", "git": "git"}
# Raised when the recipe below changes what a tool root holds.
RECIPE = "1"

# What TOOLS=host must offer: command, how its version is asked, least version, Debian package.
HOST_TOOLS = [
    ("clang{llvm}", "--version", (19, 0), "clang-22"),
    ("ld.lld{llvm}", "--version", (19, 0), "lld-22"),
    ("llvm-objcopy{llvm}", "--version", (19, 0), "llvm-22"),
    ("aarch64-linux-gnu-gcc", "--version", (12, 0), "gcc-aarch64-linux-gnu"),
    ("make", "--version", (4, 0), "make"),
    ("flex", "--version", (2, 5), "flex"),
    ("bison", "--version", (2, 0), "bison"),
    ("bc", "--version", (1, 0), "bc"),
    ("perl", "--version", (5, 14), "perl"),
    ("git", "--version", (2, 34), "git"),
    ("b4", "--version", (0, 14), "b4"),
    ("ninja", "--version", (1, 8), "ninja-build"),
    ("meson", "--version", (1, 5), "meson"),
    ("pkg-config", "--version", (0, 29), "pkg-config"),
    ("gcc", "--version", (12, 0), "gcc"),
]
# What only some commands need of the host's: program, Debian package.
HOST_EXTRAS = {"ccache": "ccache", "cmake": "cmake", "ctest": "cmake", "depmod": "kmod", "dpkg-source": "dpkg-dev", "sparse": "sparse", "spatch": "coccinelle"}
# Debian's has no pkg-config file. The function is the newest that QEMU asks for.
LIBFDT = ("t=$(mktemp) || exit; echo 'int fdt_find_max_phandle(const void *, void *); int main(void) { return fdt_find_max_phandle(0, 0); }' | "
          "gcc -x c - -o $t -lfdt; s=$?; rm -f $t; exit $s")


def packages(path: Path = PACKAGES) -> list[str]:
    """The packages of the list @path, the tool root's by default, in its order."""
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def apt_mirrors() -> list[str]:
    """The Debian mirrors of this machine's apt configuration, the security archive left out."""
    try:
        listing = proc.output(["apt-get", "indextargets", "--format", "$(REPO_URI) $(LABEL) $(COMPONENT)",
                               "Created-By: Packages"], check=False)
    except Failure:
        return []
    found = [line.split()[0] for line in listing.splitlines() if line.endswith(" Debian main")]
    return list(dict.fromkeys(found))


def mirror() -> str:
    """Where Debian packages come from; '' leaves the choice to mmdebstrap."""
    chosen = settings.text("DEBIAN_MIRROR")
    if chosen:
        if not re.match(r"[a-z+]+://?\S+$|/\S+$", chosen):
            raise Failure(f"DEBIAN_MIRROR={chosen} is not a URI", "give one such as file:///srv/debian")
        return chosen
    return next(iter(apt_mirrors()), "")


def _proxies() -> list[str]:
    """The proxies apt uses on this machine, as options for apt in the tool root."""
    try:
        dump = proc.output(["apt-config", "dump", "Acquire"], check=False)
    except Failure:
        return []
    return re.findall(r'^(Acquire::https?::Proxy "[^"]+");', dump, re.M)


def _need_subordinate_ids() -> None:
    """Without ids to map, mmdebstrap cannot work for an ordinary user."""
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    for kind in ("uid", "gid"):
        path = Path(f"/etc/sub{kind}")
        lines = path.read_text().splitlines() if path.exists() else []
        if not any(line.split(":")[0] in (name, str(uid)) for line in lines):
            raise Failure(f"the user {name} has no subordinate {kind}s in {path}",
                          f"usermod --add-sub{kind}s 100000-165535 {name}   (as root), or use TOOLS=host")


def install_host_needs() -> None:
    """Make sure the few programs that make the tool root are on the host."""
    # Root does not need uidmap, but can install it for the ordinary users, and for their test.
    missing = {package for program, package in HOST_NEEDS.items() if not shutil.which(program)}
    if not missing:
        if os.geteuid() != 0:
            _need_subordinate_ids()
        return
    names = " ".join(sorted(missing))
    remedy = f"apt-get install {names}   (as root), or use TOOLS=host"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Failure(f"missing on this machine: {names}", remedy)
    log = settings.out() / "log" / "host-packages.log"
    install = ["apt-get", "install", "-y", "--no-install-recommends", *sorted(missing)]
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    with ui.step(f"this machine: installing {names}"):
        if proc.run(install, log=log, env=env, check=False).returncode:
            # A new machine has no package lists yet.
            proc.run(["apt-get", "update"], log=log, append=True, env=env, check=False)
            proc.run(install, log=log, append=True, env=env,
                     failure=Failure(f"apt-get could not install {names}", remedy))


def bootstrap(root: Path, include: Sequence[str], options: Sequence[str], log: Path, what: str) -> None:
    """Have mmdebstrap put the packages @include of SUITE into the new directory @root.

    Its files get the user's own ids, so that it can be removed like any directory. Of dev, nothing is kept.
    """
    source = mirror()
    tar = root.with_suffix(".tar")
    argv = ["mmdebstrap", f"--mode={'root' if os.geteuid() == 0 else 'unshare'}", "--format=tar", "--components=main",
            # What a loss of power leaves of a new directory is no use anyway.
            "--dpkgopt=force-unsafe-io",
            '--aptopt=APT::Install-Recommends "false"', *(f"--aptopt={p}" for p in _proxies()), *options,
            f"--include={','.join(include)}", SUITE, str(tar), *([source] if source else [])]
    # apt inside needs a directory that its own unprivileged user may enter.
    env = dict(os.environ, TMPDIR="/tmp", LC_ALL="C.UTF-8")
    env.pop("CACHE", None)
    proc.run(argv, log=log, env=env, failure=Failure(
        f"{what} could not be made" + (f" from {source}" if source else ""),
        f"check the network and the mirror (DEBIAN_MIRROR=), or use TOOLS=host; log: {log}"))
    root.mkdir()
    proc.run(["tar", "-xf", tar, "-C", root, "--no-same-owner", "--exclude=./dev/*"],
             log=log, append=True, failure=Failure(f"{what} could not be unpacked"))


def more_suites(*lines: str) -> str:
    """An option for bootstrap() that adds @lines to apt's sources; $uri in them is whatever mirror mmdebstrap was given."""
    return (f'--setup-hook=f="$1/etc/apt/sources.list"; uri=$(sed -n "s/^deb \\(\\[.*\\] \\)\\?\\([^ ]*\\) {SUITE} .*/\\2/p" "$f" | head -n 1); '
            '[ -n "$uri" ] || exit 1; ' + "; ".join(f'echo "{line}" >> "$f"' for line in lines))


def size_of(directory: Path) -> int:
    """Megabytes on disk."""
    return int(proc.output(["du", "-sm", directory]).split()[0])


class ToolRoot:
    """Runs commands with the project's tools. Use toolroot.get()."""

    host = False

    def __init__(self) -> None:
        self.name = settings.digest(RECIPE, SUITE, " ".join(packages()))
        self.path = settings.cache() / f"toolroot-{self.name}"

    def ready(self) -> bool:
        return self.path.is_dir()

    def ensure(self) -> None:
        """Make the tool root unless it is there. Interrupted or failed, it leaves nothing."""
        if not shutil.which("bwrap") or not self.ready():
            install_host_needs()
        if self.ready():
            return
        with settings.lock(settings.cache(), "the cache"):
            if self.ready():
                return
            settings.need_space(settings.cache(), 5, "the tool root")
            self._make()
            for old in settings.cache().glob("toolroot-*"):
                if old != self.path:
                    shutil.rmtree(old, ignore_errors=True)

    def _make(self) -> None:
        work = settings.cache() / "tmp-toolroot"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        log = settings.out() / "log" / "toolroot.log"
        # Backports hold the compiler and the base kernel, sid QEMU's source. The source index of
        # sid may be old on a frozen mirror; its signature is checked all the same.
        lists = more_suites(f"deb $uri {SUITE}-backports main", "deb-src [check-valid-until=no] $uri sid main")
        # AAVMF: six images of firmware as large as the flash; guests take the small one.
        keep_out = [f"--dpkgopt=path-exclude=/usr/share/{d}/*" for d in ("doc", "man", "locale", "info", "AAVMF")]
        try:
            with ui.step(f"tool root: installing {len(packages())} packages of Debian {SUITE}") as line:
                root = work / "root"
                bootstrap(root, packages(), ["--variant=apt", *keep_out, lists], log, "the tool root")
                for name in ("resolv.conf", "hosts"):
                    # Mount points: bubblewrap cannot make them in a read-only tree.
                    (root / "etc" / name).unlink(missing_ok=True)
                    (root / "etc" / name).touch()
                os.rename(root, self.path)
                line.detail = f"{size_of(self.path)} MB in {self.path.name}"
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def need(self, what: str, *programs: str) -> None:
        """Refuse @what where one of @programs, of HOST_EXTRAS, is not there. The tool root has them all."""

    def argv(self, command: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None,
             network: bool = False, as_root: bool = False, writable: Sequence[Path] = (),
             readable: Sequence[Path] = ()) -> list[str]:
        """The host command that runs @command in the tool root.

        The project, the cache and the output directory are at their own paths inside,
        @writable and @readable likewise. @as_root maps the user to root, for apt.
        """
        root = self.path
        out = ["bwrap", "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--tmpfs", "/",
               "--ro-bind", root / "usr", "/usr", "--ro-bind", root / "etc", "/etc", "--ro-bind", root / "var", "/var"]
        for name in ("bin", "lib", "lib64", "sbin"):
            out += ["--symlink", f"usr/{name}", f"/{name}"]
        out += ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]
        if not network:
            out.append("--unshare-net")
        else:
            for name in ("resolv.conf", "hosts"):
                host = Path("/etc") / name
                if host.exists():
                    out += ["--ro-bind", host.resolve(), f"/etc/{name}"]
        if as_root and os.geteuid() != 0:
            out += ["--unshare-user", "--uid", "0", "--gid", "0"]
        settings.out().mkdir(parents=True, exist_ok=True)
        # Later binds cover earlier ones: what must be writable comes last.
        for path in readable:
            out += ["--ro-bind", path, path]
        for path in (settings.PROJECT, settings.cache(), settings.out(), *writable):
            out += ["--bind", path, path]
        out += ["--chdir", cwd or settings.PROJECT, "--clearenv"]
        inside = {"PATH": f"{LLVM_BIN}:/usr/bin:/usr/sbin", "HOME": "/tmp", "LC_ALL": "C.UTF-8", "TMPDIR": "/tmp",
                  "KBUILD_BUILD_USER": "kpkeys", "KBUILD_BUILD_HOST": "localhost", **(env or {})}
        for name, value in inside.items():
            out += ["--setenv", name, value]
        return [str(a) for a in out + ["--"] + list(command)]

    def run(self, command: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None,
            network: bool = False, as_root: bool = False, writable: Sequence[Path] = (),
            readable: Sequence[Path] = (), **options) -> subprocess.CompletedProcess:
        """Run @command with the project's tools; the other options are those of proc.run()."""
        return proc.run(self.argv(command, cwd=cwd, env=env, network=network, as_root=as_root,
                                  writable=writable, readable=readable), **options)


class HostTools(ToolRoot):
    """TOOLS=host: the machine's own tools, once their versions are checked."""

    host = True

    def __init__(self) -> None:
        self.name = "host"
        self.path = Path("/")

    def ready(self) -> bool:
        return True

    def ensure(self) -> None:
        choice = settings.llvm()[0].removeprefix("LLVM=")
        suffix = choice if choice.startswith("-") else ""
        problems = []
        for name, how, least, package in HOST_TOOLS:
            if "{llvm}" in name and choice.startswith("CROSS_COMPILE"):
                continue
            name = name.format(llvm=suffix)
            path = shutil.which(name)
            wanted = ".".join(map(str, least))
            if not path:
                problems.append(f"{name} is missing (need {wanted} or later, package {package})")
                continue
            said = proc.run([path, how], capture=True, check=False)
            found = re.search(r"(\d+)\.(\d+)", said.stdout + said.stderr)
            if not found or (int(found[1]), int(found[2])) < least:
                version = found[0] if found else "unknown"
                problems.append(f"{name} is version {version} (need {wanted} or later, package {package})")
        if shutil.which("pkg-config") and proc.run(["pkg-config", "--atleast-version=2.66", "glib-2.0"], capture=True, check=False).returncode:
            problems.append("library glib-2.0 2.66 or later is missing (package libglib2.0-dev)")
        if shutil.which("pkg-config") and proc.run(["pkg-config", "--exists", "zlib"], capture=True, check=False).returncode:
            problems.append("library zlib is missing (package zlib1g-dev)")
        if shutil.which("gcc") and proc.run(["sh", "-c", LIBFDT], capture=True, check=False).returncode:
            problems.append("library libfdt 1.5 or later is missing (package libfdt-dev)")
        if problems:
            raise Failure("TOOLS=host: this machine's tools do not suffice",
                          "install them, or leave TOOLS unset: the project then makes its own tool root",
                          detail="\n".join(problems))

    def need(self, what, *programs):
        # depmod is where an ordinary user's PATH does not lead, but kbuild looks.
        path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        missing = [p for p in programs if not shutil.which(p, path=path)]
        if missing:
            names = " ".join(dict.fromkeys(HOST_EXTRAS[p] for p in missing))
            raise Failure(f"TOOLS=host: {what} needs {', '.join(missing)}, which this machine does not have",
                          f"install the packages {names}, or leave TOOLS unset: the project then makes its own tool root")

    def argv(self, command, *, cwd=None, env=None, network=False, as_root=False, writable=(), readable=()):
        settings.out().mkdir(parents=True, exist_ok=True)
        inside = {"LC_ALL": "C.UTF-8", "KBUILD_BUILD_USER": "kpkeys", "KBUILD_BUILD_HOST": "localhost", **(env or {})}
        # LLVM reaches kbuild as an argument; unset is what gcc needs.
        return [str(a) for a in ("env", "-u", "LLVM", "-C", cwd or settings.PROJECT, *(f"{k}={v}" for k, v in inside.items()),
                                 *command)]


_tools: ToolRoot | None = None


def choice() -> str:
    """Whose tools are to be used (TOOLS=)."""
    chosen = settings.text("TOOLS") or "root"
    if chosen not in ("root", "host"):
        raise Failure(f"TOOLS={chosen}: there is 'root' (the default) and 'host'", "unset TOOLS")
    return chosen


def get() -> ToolRoot:
    """The tools of this command, ready to run."""
    global _tools
    if _tools is None:
        tools = HostTools() if choice() == "host" else ToolRoot()
        tools.ensure()
        _tools = tools
    return _tools
