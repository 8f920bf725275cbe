# SPDX-License-Identifier: GPL-2.0-only
"""Base sources: fetched once, verified, and kept as one-commit git repositories in the cache.

The import is deterministic: the same tarball gives the same commit id on every machine.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from . import proc, settings, toolroot, ui
from .ui import Failure

# The import's only date: what matters is that it never changes.
EPOCH = 1700000000


@dataclass(frozen=True)
class Base:
    """What a series applies to, as its `base` file says."""

    name: str  # linux or qemu
    tag: str  # v7.3.4
    commit: str  # upstream's id of the tag, '' until a tree that has it was seen
    package: str  # Debian package that carries the source
    version: str  # Debian version of that package

    @property
    def release(self) -> str:
        return self.tag.removeprefix("v")


def read_base(directory: Path, name: str = "") -> Base:
    """The `base` file in @directory, of the series @name (default: as the directory): 'key: value' lines."""
    path = directory / "base"
    values: dict[str, str] = {}
    try:
        lines = path.read_text(errors="backslashreplace").splitlines()
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", f"restore it: git checkout -- {path}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        key, colon, value = line.partition(":")
        if not colon or key not in ("tag", "commit", "package", "version"):
            raise Failure(f"{path}:{number}: not a 'tag:', 'commit:', 'package:' or 'version:' line", f"restore it: git checkout -- {path}")
        values[key] = value.strip()
    for key in ("tag", "package", "version"):
        if not values.get(key):
            raise Failure(f"{path}: no '{key}:' line", f"restore it: git checkout -- {path}")
    return Base(name or directory.name, values["tag"], values.get("commit", ""), values["package"], values["version"])


def repository(base: Base) -> Path:
    """The git repository that holds @base's source at its tag, fetched if it is not there yet."""
    variable, tarball = tarball_of(base.name), users_tarball(base)
    version = settings.text(f"{base.name.upper()}_VERSION") or base.version
    origin = "tarball-" + _checked_tarball(Path(tarball), base, variable)[:12] if tarball else version
    path = settings.cache() / f"{base.name}-{re.sub(r'[^A-Za-z0-9.+~-]', '_', origin)}.git"
    if path.is_dir():
        return path
    tools = toolroot.get()
    with settings.lock(settings.cache(), "the cache"):
        if path.is_dir():
            return path
        settings.need_space(settings.cache(), 2, f"the {base.name} source")
        work = settings.cache() / f"tmp-{base.name}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            if tarball:
                archive = Path(tarball).resolve()
            else:
                archive = _from_debian(base, version, work, tools)
            with ui.step(f"{base.name} {base.release}: importing the source") as line:
                count = _import(archive, work / "repo.git", base, origin)
                line.detail = f"{count} files"
            os.rename(work / "repo.git", path)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return path


def tarball_of(name: str) -> str:
    """The variable that gives the tarball of the source @name."""
    return f"{name.upper()}_TARBALL"


def users_tarball(base: Base) -> str:
    """The user's own tarball of @base's source, '' if none is given."""
    variable = tarball_of(base.name)
    tarball = settings.text(variable)
    if tarball and not Path(tarball).is_file():
        raise Failure(f"{variable}={tarball}: no such file", f"give the path of {base.name}-{base.release}.tar.xz")
    return tarball


def _checked_tarball(path: Path, base: Base, variable: str) -> str:
    """The SHA-256 of the user's tarball, once a checksum file beside it agrees."""
    with open(path, "rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest() if hasattr(hashlib, "file_digest") \
            else hashlib.sha256(handle.read()).hexdigest()
    sums = [path.with_name(path.name + ".sha256"),
            *(path.parent / name for name in ("sha256sums.asc", "sha256sums.txt", "SHA256SUMS"))]
    for file in sums:
        if not file.is_file():
            continue
        for line in file.read_text(errors="replace").splitlines():
            found = re.match(r"([0-9a-f]{64})(?:\s+\*?(\S+))?\s*$", line)
            if found and (found[2] is None or Path(found[2]).name == path.name):
                if found[1] == digest:
                    return digest
                raise Failure(f"{path.name} does not match its checksum in {file}",
                              f"fetch it again; expected {found[1]}, found {digest}")
    raise Failure(f"no checksum for {path}",
                  f"put the publisher's sha256sums.asc beside it, or a file {path.name}.sha256")


def _from_debian(base: Base, version: str, work: Path, tools: toolroot.ToolRoot) -> Path:
    """Fetch @version of @base's Debian package with apt, which checks the archive's signatures."""
    log = settings.out() / "log" / f"{base.name}-source.log"
    state = work / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True)
    options = ["-o", "APT::Sandbox::User=root", "-o", f"Dir::State::Lists={state / 'lists'}", "-o",
               f"Dir::Cache={state / 'cache'}", *(a for p in toolroot._proxies() for a in ("-o", p.replace(' "', "=").rstrip('"')))]
    inside = dict(cwd=work, network=True, as_root=True)
    offline = Failure(f"no package lists: cannot fetch {base.package}",
                      f"check the network, or give {base.name.upper()}_TARBALL=<file>; log: {log}")
    if tools.host and not shutil.which("apt-get"):
        raise Failure("TOOLS=host without apt-get cannot fetch sources", f"give {base.name.upper()}_TARBALL=<file>")
    if base.name == "qemu":
        tools.need("Debian's source of QEMU", "dpkg-source")
    with ui.step(f"{base.name} {base.release}: fetching {base.package} {version}"):
        if tools.host:
            options = ["-o", f"Dir::Cache={state / 'cache'}"]
        else:
            tools.run(["apt-get", *options, "-o", "APT::Update::Error-Mode=any", "update"], log=log,
                      failure=offline, **inside)
        source_package = base.name == "qemu"
        wanted = f"{base.package}={version}"
        command = ["source", "--download-only", "--only-source", wanted] if source_package else ["download", wanted]
        done = tools.run(["apt-get", *options, *command], log=log, append=True, check=False, **inside)
        if done.returncode:
            kind = "showsrc" if source_package else "madison"
            listing = tools.run(["apt-cache", *options, kind, base.package], capture=True, check=False, **inside).stdout
            there = sorted(set(re.findall(r"^Version: (\S+)", listing, re.M) if source_package
                               else re.findall(r"\| +(\S+) +\|", listing)))
            if version in there:
                raise Failure(f"{wanted} could not be fetched", f"check the network; log: {log}", detail=proc.tail(log))
            raise Failure(f"the mirror does not have {base.package} {version} (any more); "
                          f"it has: {', '.join(there) or 'none'}",
                          f"choose one with {base.name.upper()}_VERSION=, or give {base.name.upper()}_TARBALL=<file>")
        if source_package:
            # Unpacked as Debian builds it: the archive's source lacks blobs that its patches do without.
            description = next(work.glob("*.dsc"))
            tools.run(["dpkg-source", "--no-check", "-x", description, work / base.name], log=log, append=True, cwd=work,
                      failure=Failure(f"{description.name} could not be unpacked", f"the whole log is {log}"))
            proc.run(["tar", "-C", work, "--sort=name", "--exclude=./*/debian", "--exclude=./*/.pc", "-cf", work / "source.tar", f"./{base.name}"],
                     capture=True)
            shutil.rmtree(work / base.name)
            return work / "source.tar"
        package = next(work.glob("*.deb"))
        with open(work / "package.tar", "wb") as handle:
            if subprocess.run(["dpkg-deb", "--fsys-tarfile", package] if shutil.which("dpkg-deb") else
                              tools.argv(["dpkg-deb", "--fsys-tarfile", package]), stdout=handle).returncode:
                raise Failure(f"{package.name} could not be unpacked", "is the disk full?")
        with tarfile.open(work / "package.tar") as tar:
            member = next((m for m in tar if re.search(r"/linux-source-[0-9.]+\.tar\.xz$", m.name)), None)
            if member is None:
                raise Failure(f"{base.package} {version} holds no linux-source-*.tar.xz", f"give {base.name.upper()}_TARBALL=<file>")
            with open(work / "linux.tar.xz", "wb") as handle:
                shutil.copyfileobj(tar.extractfile(member), handle)
        (work / "package.tar").unlink()
        package.unlink()
        return work / "linux.tar.xz"


def _files(tar: tarfile.TarFile) -> Iterator[tuple[bytes, str, bytes]]:
    """Mode, path and content of each file and link in @tar, its leading directory removed."""
    for member in tar:
        path = member.name.removeprefix("./").partition("/")[2]
        if not path:
            continue
        if member.issym():
            yield b"120000", path, member.linkname.encode()
        elif member.isfile():
            yield (b"100755" if member.mode & 0o100 else b"100644"), path, tar.extractfile(member).read()


def _release_of(name: str, path: str, content: bytes) -> str:
    """The release that file @path of the source says it is, '' if it does not say."""
    if name == "qemu" and path == "VERSION":
        return content.decode().strip()
    if name == "linux" and path == "Makefile":
        part = dict(re.findall(rb"^(VERSION|PATCHLEVEL|SUBLEVEL) = (\d+)$", content, re.M))
        return b".".join(part[k] for k in (b"VERSION", b"PATCHLEVEL", b"SUBLEVEL") if k in part).decode().removesuffix(".0")
    return ""


def _import(archive: Path, repo: Path, base: Base, origin: str) -> int:
    """Turn @archive into the bare repository @repo with one commit, tagged. Returns its number of files."""
    git = ["git", "-C", str(repo)]
    proc.run(["git", "init", "-q", "--object-format=sha1", "--template=", "--bare", "-b", "base", repo], capture=True)
    # Big, and read far more often than stored: little compression, no repacking behind our back.
    for key, value in (("core.compression", "1"), ("gc.auto", "0")):
        proc.run([*git, "config", key, value], capture=True)
    message = f"{base.name} {base.release}\n\nImported from {origin}.\n".encode()
    who = b"kpkeys <kpkeys@localhost> %d +0000\n" % EPOCH
    errors = tempfile.TemporaryFile()
    with proc.starting() as in_child:
        child = subprocess.Popen([*git, "fast-import", "--quiet", "--depth=0"], stdin=subprocess.PIPE, start_new_session=True,
                                 stderr=errors, preexec_fn=in_child, pass_fds=settings.locks())
    pipe: BinaryIO = child.stdin
    count, release = 0, ""
    try:
        pipe.write(b"commit refs/heads/base\ncommitter %sdata %d\n%s" % (who, len(message), message))
        # Not tarfile's own decompression, to which a stream that is cut off looks like its end.
        opener = {".xz": lzma.open, ".gz": gzip.open}.get(archive.suffix, open)
        with opener(archive, "rb") as stream, tarfile.open(fileobj=stream, mode="r|*") as tar:
            for mode, path, content in _files(tar):
                pipe.write(b"M %s inline %s\ndata %d\n%s\n" % (mode, path.encode(), len(content), content))
                release = release or _release_of(base.name, path, content)
                count += 1
            while stream.read(1 << 20):
                pass
        tag = f"v{release or base.release}".encode()
        pipe.write(b"\ntag %s\nfrom refs/heads/base\ntagger %sdata %d\n%s" % (tag, who, len(message), message))
        pipe.close()
        child.wait()
    except BrokenPipeError:
        # fast-import has ended early and said why; its status is looked at below.
        child.wait()
    except (tarfile.TarError, lzma.LZMAError, zlib.error, gzip.BadGzipFile, EOFError) as error:
        proc._end(child)
        raise Failure(f"{archive.name} cannot be unpacked: {error}", "fetch it again") from None
    except BaseException:
        proc._end(child)
        raise
    finally:
        with contextlib.suppress(OSError):
            pipe.close()
        status = child.returncode
        errors.seek(0)
        said = errors.read().decode(errors="replace")
        errors.close()
    if status or not count:
        raise Failure(f"git fast-import exited with {status}" if status else f"{archive.name} holds no source",
                      "is the disk full?" if status else "fetch it again", detail="\n".join(said.splitlines()[:5]))
    if release != base.release:
        wanted = f"{base.name} {base.release}"
        if release.split(".")[:2] != base.release.split(".")[:2]:
            raise Failure(f"{archive.name} holds {base.name} {release or 'of unknown release'}, not {wanted}",
                          f"give the tarball of {wanted}")
        ui.note(f"this is {base.name} {release}, the series was made on {base.release}")
    return count
