# SPDX-License-Identifier: GPL-2.0-only
"""Check the stored files of a series for what `save` would have written.

Needs no tree, no tools and no network, and takes a second: it is the check for every change.
That the patches apply, build and run is what series-check proves.

Form that drifts from `git format-patch` is mended by load and save; a message or a file that
breaks a rule is mended on the branch. Each finding names the command.
"""

from __future__ import annotations

import email.header
import email.utils
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from . import bases, settings, sources, trees, ui
from .trees import COVER, TRACKING
from .ui import Failure

AUTHOR = "kpkeys <kpkeys@localhost>"
# Columns of a subject and its prefix (Documentation/process/submitting-patches.rst).
SUBJECT = 75
# The file name's, suffix included (FORMAT_PATCH_NAME_MAX in git's log-tree.h).
NAME = 64
ZERO = "0" * 40
# A trailer is the statement of the person it names, and comes with sending and review.
# Those of review are kept once a version was sent.
REVIEW = re.compile(r"(reviewed-by|acked-by|tested-by)\s*:", re.I)
TRAILERS = re.compile(r"(signed-off-by|co-developed-by|reviewed-by|acked-by|tested-by|change-id)\s*:", re.I)
SPDX = re.compile(r"\.(c|h|S|s|rs|rst|py|sh|pl|dts|dtsi|yaml|ld|lds)$|(^|/)(Makefile|Kconfig|Kbuild)(\.\w+)?$")


@dataclass(frozen=True)
class Finding:
    path: Path
    line: int
    what: str
    repair: str

    def __str__(self) -> str:
        return f"{_shown(self.path)}:{self.line}: {self.what}\n    repair: {self.repair}"


def _shown(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(settings.PROJECT))
    except ValueError:
        return str(path)


def file_name(number: int, subject: str) -> str:
    """The name git format-patch gives patch @number (format_sanitized_subject() in git's pretty.c)."""
    out = []
    space = 2
    for i, char in enumerate(subject):
        if char.isascii() and (char.isalnum() or char in "._"):
            if space == 1 and out:
                out.append("-")
            space = 0
            if char == "." and i and subject[i - 1] == ".":
                continue
            out.append(char)
        else:
            space |= 1
    title = "".join(out).rstrip(".-")
    return f"{number:04d}-{title}"[:NAME - len(".patch") - 1] + ".patch"


class Lint:
    """The findings in one stored series, or in what differs on its further base @tag."""

    def __init__(self, directory: Path, tag: str = ""):
        self.directory, self.tag = directory, tag
        self.findings: list[Finding] = []
        name = directory.name
        verb = f"{f'BASE={tag} ' if tag else ''}scripts/kpkeys {{}}{'' if name == 'linux' else ' ' + name}"
        self.rewrite = f"{verb.format('load')} && {verb.format('save')}"
        # The kernel has it in line 1, or 2 of a script; QEMU in the comment at the top.
        self.spdx = 20 if name == "qemu" else 2
        self.load, self.save = verb.format("load"), verb.format("save")
        # What each file of the tree holds after the patches so far: its blob, and its text if a patch made it.
        self.blobs: dict[str, str] = {}
        self.texts: dict[str, list[bytes]] = {}
        self.subjects: list[str] = []
        cover = directory / COVER
        self.sent = bool(trees.tracking(cover.read_text(errors="replace")).get("history")) if cover.is_file() else False
        self.totals = {"files": set(), "+": 0, "-": 0}

    def restore(self, path: Path) -> str:
        return f"git checkout -- {_shown(path)}"

    def reword(self, number: int) -> str:
        """The command that changes the message of patch @number on the branch."""
        tree = f"work/{self.directory.name}"
        below = max(len(self.names) - number + 1, 1)
        return f"{self.load} && git -C {tree} rebase -i HEAD~{below} ('reword' the first) && {self.save}"

    def amend(self, number: int, how: str = "") -> str:
        """The command that changes the content of patch @number on the branch."""
        return self.reword(number).replace("'reword' the first", f"'edit' the first{how}")

    def add(self, path: Path, line: int, what: str, repair: str) -> None:
        self.findings.append(Finding(path, line, what, repair))

    def run(self) -> list[Finding]:
        self.names = self.list()
        patches = []
        for number, name in enumerate(self.names, 1):
            path = self.directory / name
            if path.is_file():
                patches.append((number, path))
                Patch(self, number, path).check()
        self.cover()
        self.base()
        for own in sorted(self.directory.glob(f"{bases.PREFIX}*")):
            self.findings += Lint(self.directory, own.name.removeprefix(bases.PREFIX)).differing(own, self.names)
        return self.findings

    def differing(self, own: Path, names: list[str]) -> list[Finding]:
        """What is wrong with the patches in @own, among those of the primary base that hold there as they are."""
        self.names = names
        for number, name in enumerate(names, 1):
            path = own / name if (own / name).is_file() else self.directory / name
            if path.is_file():
                Patch(self, number, path).check()
        return [finding for finding in self.findings if finding.path.parent == own]

    def leaves(self, patch: Path, name: str, blob: str) -> None:
        """Note that after @patch the file @name is @blob; a patch for another base does not know that."""
        if self.tag and patch.parent == self.directory:
            self.blobs.pop(name, None)
        else:
            self.blobs[name] = blob

    # The list and the names

    def list(self) -> list[str]:
        path = self.directory / "series"
        there = {p.name for p in self.directory.iterdir()}
        if not path.is_file():
            self.add(path, 1, "there is no list of the patches", self.restore(path))
            return []
        names: list[str] = []
        text = path.read_text(errors="replace")
        for number, line in enumerate(text.split("\n")[:-1] if text.endswith("\n") else text.split("\n"), 1):
            if not re.fullmatch(r"\d{4}-\S+\.patch", line):
                self.add(path, number, f"'{line}' is not the name of a patch", self.rewrite)
                continue
            if line in names:
                self.add(path, number, f"{line} is listed twice", f"sed -i {number}d {_shown(path)}")
                continue
            names.append(line)
            if line not in there:
                self.add(path, number, f"{line} is not there",
                         f"git checkout -- {_shown(self.directory / line)}, or: sed -i {number}d {_shown(path)} && {self.rewrite}")
            elif int(line[:4]) != len(names):
                self.add(path, number, f"{line} comes {len(names)} in order and should be numbered {len(names):04d}", self.rewrite)
        if not names:
            self.add(path, 1, "no patch is listed", self.restore(path))
        elif not text.endswith("\n"):
            self.add(path, len(names), "no newline at the end", self.rewrite)
        for file, what, repair in bases.lint(self.directory, names):
            self.add(file, 1, what, repair)
        others = {name for name in there if name.startswith(bases.PREFIX) and (self.directory / name).is_dir()}
        for extra in sorted(there - set(names) - others - {COVER, "series", "base", "README.md"}):
            what = "is not listed in series" if extra.endswith(".patch") else "does not belong here"
            self.add(self.directory / extra, 1, f"{extra} {what}", f"git rm -r --cached --ignore-unmatch {_shown(self.directory / extra)}; "
                     f"rm -r {_shown(self.directory / extra)}")
        return names

    # The cover letter

    def cover(self) -> None:
        path = self.directory / COVER
        if not path.is_file():
            self.add(path, 1, "there is no cover letter", self.restore(path))
            return
        text = path.read_text(errors="replace")
        lines = text.split("\n")
        edit = f"${{EDITOR:-vi}} {_shown(path)}"

        if not lines[0].strip():
            self.add(path, 1, "the first line is to be the subject", edit)
        elif len(lines[0]) > SUBJECT:
            self.add(path, 1, f"the subject has {len(lines[0])} columns, {SUBJECT} are the most", edit)
        elif lines[0].endswith("."):
            self.add(path, 1, "the subject ends with a full stop", edit)
        if len(lines) < 3 or lines[1] or not lines[2].strip():
            self.add(path, 2, "after the subject comes an empty line, then the text", edit)
        for number, line in enumerate(lines, 1):
            if "EDITME" in line:
                self.add(path, number, "EDITME is still there", edit)
            if TRAILERS.match(line):
                self.add(path, number, f"a stored cover letter carries no trailer '{line.partition(':')[0]}:'", edit)
            if line != line.rstrip() or line == "" and number > 1 and lines[number - 2] == "" and number < len(lines):
                self.add(path, number, "white space that git stripspace removes", self.rewrite)
        if not text.endswith("\n") or text.endswith("\n\n"):
            self.add(path, len(lines), "does not end with one newline", self.rewrite)
        self.tracking(path, lines)
        self.stale(path, lines, edit)

    def tracking(self, path: Path, lines: list[str]) -> None:
        marks = [n for n, line in enumerate(lines, 1) if line.strip() == TRACKING]
        if len(marks) != 1:
            self.add(path, marks[1] if marks else len(lines),
                     f"'{TRACKING}' is there {len(marks)} times, b4 wants it once", self.restore(path))
            return
        rest = "\n".join(lines[marks[0]:])
        start = rest.find("{")
        try:
            if start < 0:
                raise ValueError("no {")
            series = json.loads(rest[start:])["series"]
            revision, change, prefixes = series.get("revision"), series.get("change-id"), series.get("prefixes", [])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.add(path, marks[0], f"b4's tracking data is not readable ({error})", self.restore(path))
            return
        if type(revision) is not int or revision < 1:
            self.add(path, marks[0], f"the tracking data has revision {json.dumps(revision)}, not a number above 0",
                     f"${{EDITOR:-vi}} {_shown(path)}")
        if not isinstance(change, str) or not re.fullmatch(r"\d{8}-[a-z0-9_-]+-[0-9a-f]{12}", change):
            self.add(path, marks[0], f"the tracking data has change-id {json.dumps(change)}, not DATE-NAME-12 hex digits",
                     self.restore(path))
        if not isinstance(prefixes, list) or not all(isinstance(p, str) for p in prefixes):
            self.add(path, marks[0], "the prefixes in the tracking data are not a list of words", self.restore(path))

    def stale(self, path: Path, lines: list[str], edit: str) -> None:
        """A diffstat or shortlog in the text must be the series' own; b4 adds both when it sends."""
        edit = f"{edit}, and take it out: b4 adds it when it sends"
        author = AUTHOR.partition(" ")[0]
        listing = False
        for number, line in enumerate(lines, 1):
            stat = re.fullmatch(r" (\d+) files? changed(?:, (\d+) insertions?\(\+\))?(?:, (\d+) deletions?\(-\))?", line)
            now = (len(self.totals["files"]), self.totals["+"], self.totals["-"])
            if stat and tuple(int(n or 0) for n in stat.groups()) != now:
                self.add(path, number, f"the diffstat is stale: now {now[0]} files, {now[1]} insertions, {now[2]} deletions", edit)
            log = re.fullmatch(rf"{author} \((\d+)\):", line)
            if log:
                listing = True
                if int(log[1]) != len(self.names):
                    self.add(path, number, f"the shortlog is stale: it counts {log[1]} patches, there are {len(self.names)}", edit)
            elif listing and re.match(r"\s+\S", line):
                if line.strip() not in self.subjects:
                    self.add(path, number, f"the shortlog is stale: no patch has the subject '{line.strip()}'", edit)
            else:
                listing = False

    def base(self) -> None:
        path = self.directory / "base"
        try:
            base = sources.read_base(self.directory)
        except Failure as failure:
            found = re.match(r".*?:(\d+): (.*)", failure.message)
            self.add(path, int(found[1]) if found else 1, found[2] if found else failure.message.split(": ", 1)[-1], self.restore(path))
            return
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line.startswith("tag:") and not re.fullmatch(r"v\d+\.\d+(\.\d+)?(-rc\d+)?", base.tag):
                self.add(path, number, f"'{base.tag}' is not the tag of a release", self.restore(path))
            if line.startswith("commit:") and base.commit and not re.fullmatch(r"[0-9a-f]{40}", base.commit):
                self.add(path, number, f"'{base.commit}' is not a whole commit id; empty means not known yet",
                         f"sed -i 's/^commit:.*/commit:/' {_shown(path)}")


class Patch:
    """One stored patch under a Lint."""

    def __init__(self, lint: Lint, number: int, path: Path):
        self.lint, self.number, self.path = lint, number, path
        self.lines: list[bytes] = []

    def add(self, line: int, what: str, repair: str = "") -> None:
        """A finding; without a @repair, what load and save mend."""
        self.lint.add(self.path, line, what, repair or self.lint.rewrite)

    def check(self) -> None:
        data = self.path.read_bytes()
        restore = self.lint.restore(self.path)
        self.lines = data.split(b"\n")
        if self.lines[-1] == b"":
            self.lines.pop()
        else:
            self.add(len(self.lines), "no newline at the end", restore)
        if b"\0" in data:
            self.add(1, "binary data in the patch", restore)
            return
        start = next((n for n, line in enumerate(self.lines) if line == b"---"), None)
        first = next((n for n, line in enumerate(self.lines) if line.startswith(b"diff --git ")), None)
        if first is None:
            self.add(len(self.lines) or 1, "there is no diff", restore)
            return
        if start is None or start > first:
            self.add(first + 1, "no '---' line and diffstat before the diff")
            start = first
        self.message([line.decode(errors="replace") for line in self.lines[:start]])
        files = self.diff(first)
        self.diffstat(start, first, files)

    # Header and message

    def message(self, lines: list[str]) -> None:
        lint = self.lint
        reword = lint.reword(self.number)
        head: dict[str, tuple[int, str]] = {}
        if not lines or lines[0] != f"From {ZERO} Mon Sep 17 00:00:00 2001":
            self.add(1, "the first line is not that of 'git format-patch --zero-commit'")
        end = len(lines)
        skip = 1 if lines and lines[0].startswith("From ") else 0
        for number, line in enumerate(lines[skip:], skip + 1):
            if not line:
                end = number
                break
            field = re.match(r"([A-Za-z-]+): (.*)", line)
            if field:
                key = field[1]
                head[key] = (number, field[2])
            elif line[0] in " \t" and head:
                head[key] = (head[key][0], head[key][1] + " " + line.strip())
            else:
                self.add(number, f"not a mail header: {line}", lint.restore(self.path))
        for key in ("From", "Date", "Subject"):
            if key not in head:
                self.add(2, f"no '{key}:' header", lint.restore(self.path))
        for key, (number, _) in head.items():
            if key not in ("From", "Date", "Subject", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"):
                self.add(number, f"header '{key}:' that git format-patch does not write")
        number, author = head.get("From", (2, AUTHOR))
        if author != AUTHOR:
            self.add(number, f"the author is {author}, not {AUTHOR}",
                     lint.amend(self.number, f", git commit --amend --no-edit --author='{AUTHOR}'"))
        number, date = head.get("Date", (3, ""))
        if date and not _is_date(date):
            self.add(number, f"'{date}' is not a mail's date", lint.restore(self.path))
        number, subject = head.get("Subject", (4, ""))
        if subject:
            self.subject(number, subject, reword)
        body = [(n, line) for n, line in enumerate(lines[end:], end + 1)]
        if not any(line.strip() for _, line in body):
            self.add(number, "there is no description under the subject", reword)
        for number, line in body:
            if TRAILERS.match(line) and not (REVIEW.match(line) and self.lint.sent):
                self.add(number, f"a stored patch carries no trailer '{line.partition(':')[0]}:'", reword)
            elif line.startswith("From: ") and not any(text for n, text in body if n < number):
                self.add(number, "a second 'From:' changes the author", reword)

    def subject(self, number: int, text: str, reword: str) -> None:
        subject = "".join(part.decode(charset or "ascii", "replace") if isinstance(part, bytes) else part
                          for part, charset in email.header.decode_header(text))
        if not subject.startswith("[PATCH] "):
            self.add(number, "the subject does not begin with '[PATCH] '")
            subject = re.sub(r"^\[[^\]]*\] *", "", subject)
        subject = subject.removeprefix("[PATCH] ")
        self.lint.subjects.append(subject)
        if len(subject) > SUBJECT:
            self.add(number, f"the subject has {len(subject)} columns, {SUBJECT} are the most", reword)
        if not re.match(r"[A-Za-z0-9_.,/+*{}-]+( [A-Za-z0-9_./-]+)?: \S", subject):
            self.add(number, f"the subject '{subject}' has no prefix such as 'mm: '", reword)
        if subject.endswith("."):
            self.add(number, "the subject ends with a full stop", reword)
        if re.match(r"(fixup|squash|amend)! ", subject):
            self.add(number, f"'{subject}' is still to be folded into its patch",
                     f"{self.lint.load} && git -C work/{self.lint.directory.name} rebase -i --autosquash "
                     f"HEAD~{len(self.lint.names)} && {self.lint.save}")
        name = file_name(int(self.path.name[:4]), subject)
        if name != self.path.name:
            self.add(number, f"git format-patch names the patch with this subject {name}")

    # Diff

    def diff(self, at: int) -> dict[str, list[int]]:
        """Check the diff from line @at on; returns the insertions and deletions of each file."""
        files: dict[str, list[int]] = {}
        lines = self.lines
        while at < len(lines):
            found = re.match(rb'diff --git (?:"?)a/(.+?)(?:"?) (?:"?)b/(.+?)(?:"?)$', lines[at])
            if not found:
                self.add(at + 1, "not a line of a diff (a hunk count is wrong, or a mail signature is left)", self.lint.restore(self.path))
                return files
            at = self.file(at, found[1].decode(errors="replace"), found[2].decode(errors="replace"), files)
        return files

    def file(self, at: int, old: str, new: str, files: dict[str, list[int]]) -> int:
        lines, lint, start = self.lines, self.lint, at + 1
        counts = files.setdefault(new, [0, 0])
        lint.totals["files"].add(new)
        if re.search(r"(\.orig|\.rej|~|\.swp)$", new):
            self.add(start, f"{new} is a left-over of patching or editing", lint.amend(self.number))
        at += 1
        kind, index, index_line = "change", None, at
        while at < len(lines) and not lines[at].startswith((b"@@ ", b"diff --git ")):
            line = lines[at]
            if line.startswith(b"new file mode"):
                kind = "new"
            elif line.startswith(b"deleted file mode"):
                kind = "deleted"
            elif line.startswith((b"rename from", b"copy from")):
                kind = "copy"
            elif line.startswith(b"index "):
                index, index_line = line.decode(errors="replace"), at + 1
            elif line.startswith((b"GIT binary patch", b"Binary files ")):
                self.add(at + 1, f"{new} is a binary file", lint.amend(self.number))
                while at < len(lines) and not lines[at].startswith(b"diff --git "):
                    at += 1
                return at
            at += 1
        hunks, at = self.hunks(at, new, counts)
        self.index(kind, index, index_line, old, new, hunks)
        top = b"".join(self.lint.texts.get(new, [])[:self.lint.spdx])
        if kind == "new" and SPDX.search(new) and b"SPDX-License-Identifier:" not in top:
            self.add(start, f"new file {new} has no SPDX-License-Identifier in its first lines", lint.amend(self.number))
        return at

    def hunks(self, at: int, name: str, counts: list[int]) -> tuple[list[tuple[int, list[bytes], list[bytes]]], int]:
        """The hunks from line @at on as (old start, old lines, new lines), and the line after them."""
        lines = self.lines
        restore = self.lint.restore(self.path)
        found: list[tuple[int, list[bytes], list[bytes]]] = []
        shift = 0
        while at < len(lines) and lines[at].startswith(b"@@ "):
            head = re.match(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", lines[at])
            if not head:
                self.add(at + 1, "not the head of a hunk", restore)
                return found, len(lines)
            first, has, target, gets = (int(n) if n is not None else 1 for n in head.groups())
            title = at + 1
            # A side without lines names the line before the place, the other the first one of it.
            if target - (gets > 0) != first - (has > 0) + shift:
                self.add(title, f"{name}: the hunk's line numbers do not follow from those before it (an offset)")
            old: list[bytes] = []
            fresh: list[bytes] = []
            at += 1
            while at < len(lines) and (len(old) < has or len(fresh) < gets or lines[at].startswith(b"\\")):
                mark, text = lines[at][:1], lines[at][1:] + b"\n"
                if mark == b"\\":
                    # "No newline at end of file" is about the line before it.
                    before = lines[at - 1][:1]
                    for side in ([old] if before in b" -" else []) + ([fresh] if before in b" +" else []):
                        side[-1] = side[-1][:-1]
                elif mark in (b" ", b"-", b"+"):
                    if mark != b"+":
                        old.append(text)
                    if mark != b"-":
                        fresh.append(text)
                    self.count(mark, counts)
                    if mark == b"+" and re.search(rb"[ \t\r]\n$", text):
                        self.add(at + 1, f"{name}: white space at the end of an added line", self.lint.amend(self.number))
                else:
                    break
                at += 1
            if lines[at:at + 1] == [b"-- "]:
                self.add(at + 1, "a mail signature is left (--no-signature)")
                return found, len(lines)
            more = at < len(lines) and lines[at][:1] in (b" ", b"+", b"-")
            if (len(old), len(fresh)) != (has, gets) or more:
                self.add(title, f"{name}: the hunk says {has} lines before and {gets} after, which is not what follows", restore)
                while at < len(lines) and not lines[at].startswith((b"@@ ", b"diff --git ")):
                    at += 1
            shift += gets - has
            found.append((first, old, fresh))
        return found, at

    def count(self, mark: bytes, counts: list[int]) -> None:
        if mark == b"+":
            counts[0] += 1
            self.lint.totals["+"] += 1
        elif mark == b"-":
            counts[1] += 1
            self.lint.totals["-"] += 1

    def index(self, kind: str, index: str | None, line: int, old: str, new: str, hunks: list) -> None:
        """The index line against those of the patches before, and against the text where that is known."""
        lint = self.lint
        if index is None:
            if hunks:
                self.add(line, f"{new}: no index line")
            return
        found = re.fullmatch(r"index ([0-9a-f]{40})\.\.([0-9a-f]{40})( \d{6})?", index)
        if not found:
            self.add(line, f"{new}: the index line is not a full one (--full-index)")
            return
        was, now = found[1], found[2]
        if (kind == "new") != (was == ZERO) or (kind == "deleted") != (now == ZERO):
            self.add(line, f"{new}: the index line does not fit a {kind} file")
        known = lint.blobs.get(old)
        if kind != "new" and known not in (None, was):
            self.add(line, f"{old}: the patch is made for {was[:12]}, the patches before it leave {known[:12]}")
        text = [] if kind == "new" else lint.texts.get(old)
        lint.texts.pop(new, None)
        if text is not None and kind != "deleted":
            result = _applied(text, hunks)
            if result is None:
                self.add(line, f"{new}: the hunks do not fit what the patches before it make of the file")
            else:
                lint.texts[new] = result
                data = b"".join(result)
                # As git does: the id of what the patch says, not of what it once was.
                if hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() != now:
                    self.add(line, f"{new}: the content is not that of the index line: the patch was edited by hand")
        lint.leaves(self.path, new, now)

    def diffstat(self, start: int, first: int, files: dict[str, list[int]]) -> None:
        text = [line.decode(errors="replace") for line in self.lines[start:first]]
        last = next((n for n, line in enumerate(text) if re.match(r" \d+ files? changed", line)), None)
        if last is None:
            self.add(start + 1, "there is no diffstat")
            return
        numbers = {kind: int(n) for n, kind in re.findall(r"(\d+) (file|insertion|deletion)", text[last])}
        have = (numbers.get("file", 0), numbers.get("insertion", 0), numbers.get("deletion", 0))
        real = (len(files), sum(f[0] for f in files.values()), sum(f[1] for f in files.values()))
        if have != real:
            self.add(start + last + 1, f"the diffstat says {have[0]} files, {have[1]} insertions, {have[2]} deletions; "
                                       f"the diff has {real[0]}, {real[1]}, {real[2]}")
        for number, line in enumerate(text[last + 1:], start + last + 2):
            if re.match(r"(base-commit|prerequisite-patch-id|change-id): ", line):
                self.add(number, f"'{line.partition(':')[0]}:' is for mails")


def _applied(text: list[bytes], hunks: list[tuple[int, list[bytes], list[bytes]]]) -> list[bytes] | None:
    """The lines @text with @hunks applied exactly where they say, None if they do not fit."""
    out: list[bytes] = []
    at = 0
    for first, old, new in hunks:
        begin = first - 1 if old else first
        if begin < at or text[begin:begin + len(old)] != old:
            return None
        out += text[at:begin] + new
        at = begin + len(old)
    return out + text[at:]


def _is_date(text: str) -> bool:
    try:
        email.utils.parsedate_to_datetime(text)
        return bool(re.fullmatch(r"\w{3}, \d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", text))
    except (ValueError, TypeError):
        return False


def lint(directories: list[Path]) -> int:
    """Print the findings of each series; TEST_FAILED if there are any."""
    chosen = directories or sorted(p for p in (settings.PROJECT / "patches").iterdir()
                                   if p.is_dir() and not p.name.startswith(".") and p.name not in trees.OUT_OF_SERIES)
    total = 0
    for directory in chosen:
        if not directory.is_dir():
            raise Failure(f"{directory}: no such directory", "name one of patches/, such as patches/linux")
        lint_one = Lint(Path(os.path.abspath(directory)))
        findings = lint_one.run()
        for finding in findings:
            print(finding)
        total += len(findings)
        word = ui.good("clean") if not findings else ui.bad(f"{len(findings)} findings")
        print(f"{_shown(directory)}: {len(lint_one.names)} patches, {word}")
    return ui.TEST_FAILED if total else ui.PASS
