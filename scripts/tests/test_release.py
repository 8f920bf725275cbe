# SPDX-License-Identifier: GPL-2.0-only
"""tarball: what is in it, that it is always the same, and that each way of applying it works."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent))

import test_mail  # noqa: E402
from test_series import git  # noqa: E402

from kpkeyslib import release  # noqa: E402

NAME = "kpkeys-v1-on-v7.3.4"
setUpModule = test_mail.setUpModule


class Case(test_mail.Case):
    def setUp(self):
        super().setUp()
        self.archive = self.root / "out/release" / f"{NAME}.tar.xz"

    def unpack(self) -> Path:
        where = self.root / "unpacked"
        shutil.rmtree(where, ignore_errors=True)
        with tarfile.open(self.archive) as tar:
            tar.extractall(where)
        return where / NAME


class Tarball(Case):
    def test_content(self):
        said = self.ok("tarball")
        for way in release.WAYS:
            self.assertRegex(said, rf"applied by {re.escape(way)} \.\.\. [\d.]+ s ok")
        digest = hashlib.sha256(self.archive.read_bytes()).hexdigest()
        self.assertIn(digest, said)
        subprocess.run(["sha256sum", "-c", f"{NAME}.tar.xz.sha256"], cwd=self.archive.parent, check=True, capture_output=True)
        files = self.unpack()
        subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=files, check=True, capture_output=True)
        there = sorted(str(p.relative_to(files)) for p in files.rglob("*") if p.is_file())
        self.assertEqual(there, sorted(["0000-cover-letter.txt", "README", "SBOM.spdx.json", "SHA256SUMS", f"{NAME}.diff", f"{NAME}.mbox", "quilt/series",
                                        *(f"quilt/{n}" for n in self.names())]))
        listed = [line.split("  ")[1] for line in (files / "SHA256SUMS").read_text().splitlines()]
        self.assertEqual(sorted([*listed, "SHA256SUMS"]), there)
        for name in self.names():
            self.assertEqual((files / "quilt" / name).read_bytes(), (self.stored / name).read_bytes())
        mbox = (files / f"{NAME}.mbox").read_text()
        self.assertEqual(re.findall(r"^Subject: (.*)$", mbox, re.M)[:2], ["[PATCH RFC 0/3] mm: kpkeys: Protect something", "[PATCH RFC 1/3] mm: kpkeys: Add the header"])
        self.assertNotIn("b4-submit-tracking", mbox)
        self.assertIn("change-id: 20261121-kpkeys-0123456789ab", mbox)
        self.unchanged()
        self.assertEqual(list((self.root / "out").glob("tmp-*")), [])

    def test_by_hand(self):
        """What the README says, typed by somebody who has only the archive and the base."""
        self.ok("tarball")
        files = self.unpack()
        wanted = git(self.root / "dev", "rev-parse", "topic^{tree}")
        for number, command in enumerate((f"git am -q {files}/quilt/*.patch", f"patch -s -p1 < {files}/{NAME}.diff; git add -A; git commit -q -m x",
                                          f"for p in $(cat {files}/quilt/series); do patch -s -p1 < {files}/quilt/$p; done; git add -A; git commit -q -m x")):
            tree = self.root / f"user-{number}"
            git(self.root, "clone", "-q", self.root / "cache/linux-7.3.4-1.git", tree)
            if "patch -" in command and not shutil.which("patch"):
                continue
            subprocess.run(["sh", "-ec", command], cwd=tree, check=True, env={**self.env(), "GIT_CONFIG_GLOBAL": str(self.config)})
            self.assertEqual(git(tree, "rev-parse", "HEAD^{tree}"), wanted, command)

    def test_same_bytes(self):
        self.ok("tarball")
        first = self.archive.read_bytes()
        time.sleep(1.1)
        shutil.rmtree(self.archive.parent)
        self.ok("tarball")
        self.assertEqual(self.archive.read_bytes(), first)

    def test_sbom(self):
        self.ok("tarball")
        sbom = json.loads((self.unpack() / "SBOM.spdx.json").read_text())
        packages = {p["name"]: p for p in sbom["packages"]}
        self.assertEqual(packages["linux-source-7.3"]["versionInfo"], "7.3.4-1")
        self.assertRegex(packages["clang-22"]["versionInfo"], r"^1:22\.")
        self.assertEqual(packages["clang-22"]["externalRefs"][0]["referenceLocator"].split("@")[0], "pkg:deb/debian/clang-22")
        self.assertEqual([p["name"] for p in packages.values() if p["versionInfo"] == "NOASSERTION"], [])
        identities = [p["SPDXID"] for p in sbom["packages"]]
        self.assertEqual(len(identities), len(set(identities)))
        for relation in sbom["relationships"]:
            self.assertIn(relation["relatedSpdxElement"], identities)
        self.assertRegex(sbom["creationInfo"]["created"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")

    def test_next_version(self):
        self.ok("reroll", MSGID="a@example.org")
        self.set_letter(re.sub(r"- EDITME.*\n", "- New.\n", self.letter()))
        self.assertIn("kpkeys-v2-on-v7.3.4.tar.xz", self.ok("tarball"))
        mbox = (self.root / "out/release/kpkeys-v2-on-v7.3.4/kpkeys-v2-on-v7.3.4.mbox").read_text()
        self.assertIn("Subject: [PATCH RFC v2 3/3] ", mbox)

    def test_editme(self):
        self.set_letter(self.letter().replace("Four", "EDITME"))
        self.refused("tarball", says="not fit for a release: .*EDITME is still there")
        self.assertFalse(self.archive.parent.exists())

    def test_letter_with_empty_or_old_part(self):
        self.set_letter(test_mail.LETTER)
        self.refused("tarball", says="no guest has run on exactly this series")
        self.verified()
        self.refused("tarball", says="the cover letter's part 'tests' is not up to date")
        self.ok("cover")
        self.ok("tarball")
        self.assertIn("  el1 ", (self.unpack() / "0000-cover-letter.txt").read_text())
        self.verified(passed=8)
        self.refused("tarball", says="the cover letter's part 'tests' is not up to date")
        self.verified(content="0" * 40)
        self.refused("tarball", says="no guest has run on exactly this series")

    def test_no_such_base(self):
        self.refused("tarball", BASE="v9", says="BASE=v9 is no base")

    def test_what_does_not_apply_is_not_released(self):
        """Each way is really taken: spoil its input, and it fails."""
        spoilers = {"b4 shazam": f"{NAME}.mbox", "b4 am": f"{NAME}.mbox", "git am": "quilt/" + self.names()[1], "git quiltimport": "quilt/" + self.names()[1],
                    "patch -p1": f"{NAME}.diff", "patch -p1, one by one": "quilt/" + self.names()[1]}
        self.assertEqual(list(spoilers), list(release.WAYS))
        write = release._write_files
        for way, name in spoilers.items():
            def spoiled(this, into, name=name):
                when = write(this, into)
                text = (into / name).read_text()
                (into / name).write_text(text.replace("+int line_30 = 30;", "+int line_30 = 31;").replace("-int line_50;", "-int line_50"))
                return when
            with self.subTest(way), mock.patch.object(release, "_write_files", spoiled), mock.patch.dict(release.WAYS, {way: release.WAYS[way]}, clear=True):
                self.refused("tarball", says=rf"'{re.escape(way)}' (does not apply|applies) {NAME}", status=1)
                self.assertFalse(self.archive.exists())

    def test_killed(self):
        child = self.start("tarball", KPKEYS_TEST_KILL="release-written")
        child.communicate(timeout=60)
        self.assertEqual(child.returncode, -signal.SIGKILL)
        self.assertFalse(self.archive.exists())
        self.unchanged()
        self.ok("tarball")
        self.assertEqual(list((self.root / "out").glob("tmp-*")), [])


if __name__ == "__main__":
    unittest.main()
