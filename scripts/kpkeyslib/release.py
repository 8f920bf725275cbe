# SPDX-License-Identifier: GPL-2.0-only
"""A release of the kernel series: one archive, for whichever way of applying patches a user has.

The same input gives the same bytes. Nothing is released that was not applied: each way that the
README in the archive names is taken, on the files the series touches, and must give just
what the stored series gives.
"""

from __future__ import annotations

import datetime
import email.utils
import hashlib
import io
import json
import lzma
import os
import re
import shutil
import tarfile
import uuid
from dataclasses import dataclass
from pathlib import Path

from . import aside, letter, mail, series, serieslint, settings, toolroot, trees, ui
from .plumbing import _git, _pipe, _point, _read, _write
from .trees import COVER, TRACKING
from .ui import Failure

README = """{name}: a patch series for Linux

{count} patches, on {base}. What they do, and what they do not, stands in {cover}.
They carry no Signed-off-by: that is the statement of whoever passes them on.

In a kernel git tree at {tag}, one of

    b4 shazam -m {name}.mbox
    b4 am -m {name}.mbox && git am *.mbx
    git am quilt/*.patch
    git quiltimport --patches quilt

In a tree of {tag} without git, one of

    patch -p1 < {name}.diff
    for p in $(cat quilt/series); do patch -p1 < quilt/$p; done

or give quilt the directory: QUILT_PATCHES=quilt quilt push -a.

sha256sum -c SHA256SUMS checks the files; SBOM.spdx.json lists the packages this was made and tested with.
"""


@dataclass(frozen=True)
class Release:
    """What is released: the stored series, and its commits."""

    stored: trees.Series
    commits: aside.Commits

    @property
    def name(self) -> str:
        return self.stored.name

    def tree(self) -> str:
        """git's name for all that the series makes."""
        return _git(self.commits.tree, "rev-parse", f"{self.commits.tip}^{{tree}}")


# The files

def _message_id(tracked: dict, number: int) -> str:
    """Always the same for the same version: a release is no sending, which has an id of its own."""
    date, _, rest = tracked["change-id"].partition("-")
    stem, _, unique = rest.rpartition("-")
    return f"<{date}-{stem}-v{tracked['revision']}-{number}-{unique}@kpkeys>"


def _letter(text: str) -> str:
    """The cover letter @text as a reader gets it: without tracking data and marks."""
    text = re.sub(r"^#.*\n", "", text.partition(TRACKING)[0], flags=re.M)
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def _mbox(release: Release) -> str:
    """The series as a thread of mails, cover letter first."""
    c, patches = release.commits, release.stored.patches
    tracked = trees.tracking(c.cover.message)
    version = f" v{tracked['revision']}" if tracked["revision"] > 1 else ""
    prefix = " ".join(["PATCH", *tracked.get("prefixes", [])]) + version
    width = len(str(len(patches)))
    subject, _, body = _letter(c.cover.message).partition("\n")
    texts = [_read(patch) for patch in patches]
    newest = max((date for text in texts for date in re.findall(r"^Date: (.*)$", text, re.M)[:1]), key=email.utils.parsedate_to_datetime)
    known = (("base-commit", release.stored.base.commit), ("change-id", tracked["change-id"]))
    about = "".join(f"{key}: {value}\n" for key, value in known if value)
    shortlog = _git(c.tree, "shortlog", "-w75,2,4", f"{c.cover.id}..{c.tip}")
    diffstat = _git(c.tree, "diff", "--stat=72", "--summary", c.base, c.tip)
    author = re.search(r"^From: (.*)$", texts[0], re.M)[1]
    first = _message_id(tracked, 0)
    mails = [f"From: {author}\nDate: {newest}\nSubject: [{prefix} {0:0{width}}/{len(patches)}] {subject}\nMessage-Id: {first}\nMIME-Version: 1.0\n"
             f"Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\n{body.lstrip()}\n---\n{shortlog}\n\n{diffstat}\n---\n{about}"]
    for number, text in enumerate(texts, 1):
        header, _, rest = text.partition("\n\n")
        header = re.sub(r"^From [0-9a-f]{40} .*\n", "", header)
        header = re.sub(r"^Subject: \[PATCH\]", f"Subject: [{prefix} {number:0{width}}/{len(patches)}]", header, flags=re.M)
        mails.append(f"{header}\nMessage-Id: {_message_id(tracked, number)}\nIn-Reply-To: {first}\nReferences: {first}\n\n{rest}")
    return "".join(f"From {'0' * 40} Mon Sep 17 00:00:00 2001\n{text.rstrip()}\n\n" for text in mails)


def _packages(tools: toolroot.ToolRoot) -> list[tuple[str, str, str]]:
    """Name, version and architecture of the Debian packages the project asks for."""
    wanted = toolroot.packages()
    said = tools.run(["dpkg-query", "-W", "-f", "${Package} ${Version} ${Architecture}\\n", *wanted], capture=True, check=False).stdout
    found = {line.split()[0]: tuple(line.split()) for line in said.splitlines() if len(line.split()) == 3}
    return [found.get(name, (name, "", "")) for name in sorted(wanted)]


def _sbom(release: Release, when: str) -> str:
    """The packages that went into the release, or that made and tested it, as SPDX 2.3."""
    base = release.stored.base

    def package(identity: str, name: str, version: str, purpose: str, **more) -> dict:
        return {"SPDXID": f"SPDXRef-{re.sub(r'[^A-Za-z0-9.-]', '-', identity)}", "name": name, "versionInfo": version or "NOASSERTION",
                "downloadLocation": "NOASSERTION", "filesAnalyzed": False, "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION",
                "copyrightText": "NOASSERTION", "primaryPackagePurpose": purpose, **more}

    main = package("series", release.name, f"v{release.stored.revision}", "SOURCE", licenseDeclared="GPL-2.0-only")
    under = package("base", base.package, base.version, "SOURCE", licenseDeclared="GPL-2.0-only",
                    externalRefs=[_purl(base.package, base.version)])
    packages, relations = [main, under], [("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-series"), ("SPDXRef-series", "PATCH_FOR", "SPDXRef-base")]
    for name, version, architecture in _packages(toolroot.get()):
        refs = {"externalRefs": [_purl(name, version, architecture)]} if version else {}
        packages.append(package(f"tool-{name}", name, version, "APPLICATION", **refs))
        relations.append((packages[-1]["SPDXID"], "BUILD_TOOL_OF", "SPDXRef-series"))
    digest = hashlib.sha256(json.dumps([packages, release.tree()]).encode()).hexdigest()
    return json.dumps({
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": release.name,
        "documentNamespace": uuid.uuid5(uuid.NAMESPACE_OID, f"{release.name}-{digest}").urn,
        "creationInfo": {"created": when, "creators": ["Tool: kpkeys-tarball"]}, "packages": packages,
        "relationships": [{"spdxElementId": a, "relationshipType": kind, "relatedSpdxElement": b} for a, kind, b in relations]}, indent=2) + "\n"


def _purl(name: str, version: str, architecture: str = "") -> dict:
    tail = f"?arch={architecture}" if architecture else ""
    locator = f"pkg:deb/debian/{name}@{version.replace('+', '%2B').replace(':', '%3A')}{tail}"
    return {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": locator}


def _write_files(release: Release, into: Path) -> int:
    """Write the content of the archive to @into; the time all of it has."""
    name, stored = release.name, release.stored
    (into / "quilt").mkdir(parents=True)
    for patch in stored.patches:
        shutil.copyfile(patch, into / "quilt" / patch.name)
    _write(into / "quilt" / "series", "".join(f"{patch.name}\n" for patch in stored.patches))
    mbox = _mbox(release)
    _write(into / f"{name}.mbox", mbox)
    c = release.commits
    _write(into / f"{name}.diff", _pipe(c.tree, "", "diff", "--binary", "--full-index", c.base, c.tip))
    _write(into / COVER, _letter(c.cover.message))
    when = int(max(email.utils.parsedate_to_datetime(d).timestamp() for d in re.findall(r"^Date: (.*)$", mbox, re.M)[:1]))
    stamp = datetime.datetime.fromtimestamp(when, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    _write(into / "SBOM.spdx.json", _sbom(release, stamp))
    _write(into / "README", README.format(name=name, count=len(stored.patches), tag=stored.base.tag, cover=COVER,
                                          base=f"Linux {stored.base.release}" + (f" ({stored.base.commit})" if stored.base.commit else "")))
    files = sorted(p for p in into.rglob("*") if p.is_file())
    _write(into / "SHA256SUMS", "".join(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(into)}\n" for p in files))
    return when


def _archive(directory: Path, when: int, path: Path) -> None:
    """@directory as the .tar.xz @path, with nothing of this machine or of the time in it."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for file in [directory, *sorted(directory.rglob("*"))]:
            info = tar.gettarinfo(file, str(file.relative_to(directory.parent)))
            info.mtime, info.uid, info.gid, info.uname, info.gname = when, 0, 0, "root", "root"
            info.mode = 0o755 if file.is_dir() else 0o644
            if file.is_file():
                with open(file, "rb") as handle:
                    tar.addfile(info, handle)
            else:
                tar.addfile(info)
    path.write_bytes(lzma.compress(data.getvalue(), preset=6))


# The ways to apply it

def _fresh(release: Release, where: Path) -> Path:
    """A git tree at the base that has, of its files, those that the series touches."""
    c = release.commits
    where.mkdir(parents=True)
    trees._prepare(where, c.tree)
    # Not quoted: these are patterns, and kernel files have plain names.
    touched = _git(c.tree, "-c", "core.quotePath=false", "diff", "--name-only", "--no-renames", c.base, c.tip).splitlines()
    _git(where, "update-ref", "--no-deref", "HEAD", c.base)
    _git(where, "config", "core.sparseCheckout", "true")
    (where / ".git" / "info").mkdir(exist_ok=True)
    (where / ".git" / "info" / "sparse-checkout").write_text("".join(f"/{name}\n" for name in touched))
    _git(where, "read-tree", "-m", "-u", "HEAD")
    _git(where, "checkout", "-q", "-b", "apply")
    return where


WAYS: dict[str, list[str]] = {
    "b4 shazam": ["b4", "--offline-mode", "--no-interactive", "shazam", "-m", "{files}/{name}.mbox"],
    "b4 am": ["sh", "-ec", "b4 --offline-mode --no-interactive am -o {work} -m {files}/{name}.mbox; git am -q {work}/*.mbx"],
    "git am": ["sh", "-ec", "git am -q {files}/quilt/*.patch"],
    "git quiltimport": ["git", "quiltimport", "--patches", "{files}/quilt"],
    "patch -p1": ["sh", "-ec", "patch -s -p1 --no-backup-if-mismatch -F0 < {files}/{name}.diff; git add -A -f --sparse .; git commit -q -m all"],
    "patch -p1, one by one": ["sh", "-ec", "for p in $(cat {files}/quilt/series); do patch -s -p1 --no-backup-if-mismatch -F0 < {files}/quilt/$p; done; "
                              "git add -A -f --sparse .; git commit -q -m all"],
}


def apply_by(way: str, release: Release, files: Path, scratch: Path) -> None:
    """Apply the release in @files by @way; a Failure unless that gives what the stored series gives."""
    place = scratch / re.sub(r"\W+", "-", way)
    tree = _fresh(release, place / "tree")
    (place / "work").mkdir()
    tools = toolroot.get()
    readable = [p for p in map(Path, mail._alternates(tree)) if p.is_dir()]
    argv = [part.format(files=files, name=release.name, work=place / "work") for part in WAYS[way]]
    (place / "gitconfig").write_text("[user]\n\tname = kpkeys\n\temail = kpkeys@localhost\n[b4]\n\tattestation-policy = off\n")
    home = {"HOME": str(place), "GIT_CONFIG_GLOBAL": str(place / "gitconfig"), "XDG_CACHE_HOME": str(place), "XDG_DATA_HOME": str(place)}
    done = tools.run(argv, cwd=tree, capture=True, check=False, readable=readable, writable=[scratch], env=home)
    got = _git(tree, "rev-parse", "HEAD^{tree}")
    if done.returncode or got != release.tree():
        raise Failure(f"'{way}' does not apply {release.name}" if done.returncode else f"'{way}' applies {release.name} to something else",
                      "this is not released; with V=1 the command is shown", status=ui.TEST_FAILED, detail=done.stdout + done.stderr)


def tarball() -> int:
    """Make out/release/NAME.tar.xz of the stored kernel series."""
    name = "linux"
    stored = trees.linux_series()
    wanted = settings.text("BASE")
    if wanted and wanted != stored.base.tag:
        raise Failure(f"BASE={wanted} is no base this series is kept for", f"{trees.kept_for(stored.directory)}")
    if not stored.patches:
        raise Failure(f"patches/{name}/series names no patch", f"restore it: git checkout -- patches/{name}")
    final = settings.out() / "release"
    with series._alone(name), aside.repository("release") as new:
        findings = serieslint.Lint(series.stored(name)).run()
        if findings:
            raise Failure(f"the series is not fit for a release: {findings[0].path.name}:{findings[0].line}: {findings[0].what}",
                          "see and repair: make lint-series")
        with ui.step(f"{stored.name}: writing the release") as line:
            release = Release(stored, aside.commit(new / "commits", stored))
            letter.refuse_unfit(release.commits)
            files = new / stored.name
            when = _write_files(release, files)
            _archive(files, when, new / f"{stored.name}.tar.xz")
            _point("release-written")
            line.detail = f"{len(stored.patches)} patches"
        for way in WAYS:
            with ui.step(f"{stored.name}: applied by {way}"):
                apply_by(way, release, files, new / "apply")
        path = _publish(new / f"{stored.name}.tar.xz", files, final)
    print(f"\n{path}\n{path.name}.sha256: {path.with_name(path.name + '.sha256').read_text().split()[0]}")
    return ui.PASS


def _publish(archive: Path, files: Path, final: Path) -> Path:
    """Put the finished release into @final: the archive last, so that one which is there is whole."""
    final.mkdir(parents=True, exist_ok=True)
    target = final / archive.name
    for old in (target, target.with_name(target.name + ".sha256")):
        old.unlink(missing_ok=True)
    shutil.rmtree(final / files.name, ignore_errors=True)
    os.rename(files, final / files.name)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    _write(target.with_name(target.name + ".sha256"), f"{digest}  {archive.name}\n")
    os.replace(archive, target)
    return target
