# SPDX-License-Identifier: GPL-2.0-only
"""What `VERB --help` says beside its arguments: what the verb does, and the variables it honours."""

from __future__ import annotations

import argparse

# Variables as 'make' lists them too, in fewer words.
VARIABLES = {
    "A= B=": "the versions, where they are not arguments",
    "BASE=rev": "another base: a recorded one, or a commit of KERNEL=",
    "BASE=tag": "another base that the series is kept for",
    "CONFIG=file": "one more configuration fragment",
    "DEBIAN_MIRROR=uri": "where Debian packages come from (default: as this machine's apt)",
    "FROM=n TO=m": "only these patches, counted from 1 (default: all)",
    "GUEST=name": "the guest, or the one whose kernel is looked at (default: el1)",
    "KERNEL=dir": "your own kernel git tree, at BASE= (default: HEAD)",
    "LINUX_VERSION=v": "Debian version of the kernel's source; LINUX_TARBALL=file for upstream's",
    "LLVM=-22": "compiler, as in kbuild; empty for gcc",
    "MAIL_LIMIT=bytes": "size of a mail that the lists take (default: 100000)",
    "MBOX=file": "the mails, where they are not an argument",
    "MSGID=id": "Message-Id of the cover letter that was sent, where b4 has not sent it",
    "MUTANTS=...": "names, patterns or numbers, where they are no arguments",
    "QEMU=program": "your own qemu-system-aarch64",
    "QEMU_VERSION=v": "Debian version of QEMU's source; QEMU_TARBALL=file for upstream's",
    "QUICK=1": "as --quick",
    "SAMPLE=n": "only so many mutants",
    "SANITIZE=1": "a build of its own, with ASan and UBSan",
    "TIMEOUT=s": "a guest that runs longer has hung (default: 120)",
    "TREE=dir": "this kernel work tree just as it stands, instead of the stored series",
    "WORKTREE=dir": "the work tree of the branch (default: work/linux, work/qemu)",
}
GENERAL = "Also, as for all that builds: O=, J=, V=1, TOOLS=host, CACHE= ('make' explains them)."

_SOURCE = ("KERNEL=dir", "BASE=rev", "TREE=dir", "LINUX_VERSION=v")
_BUILD = (*_SOURCE, "CONFIG=file", "LLVM=-22")
_RUN = (*_BUILD, "QEMU=program", "TIMEOUT=s")
_LINT = ("GUEST=name", *_BUILD)

# Verb: what it does, the variables it honours beside the general ones, None where it builds nothing.
VERBS: dict[str, tuple[str, tuple[str, ...] | None]] = {
    "tools": ("Make the tool root, a Debian tree with every tool of the project, in the cache; nothing if it is there. "
              "Without arguments its path is printed, with some they are a command that is run in it.", ("DEBIAN_MIRROR=uri",)),
    "tools-build": ("Build the C++ tools under out/tools and print the directory of the programs. Only what changed is built.", ("SANITIZE=1",)),
    "lint": ("Build the patched kernel of a guest and run kpkeys-lint on all of it: is each page table write under a guard, each context a constant? "
             "findings.json and findings.sarif are left in out/lint; exit status 1 if there are findings.", (*_LINT, "SANITIZE=1")),
    "audit": ("Build the patched kernel of a guest and run kpkeys-audit on the binary: each write of POR_EL1, where its value comes from, and its ISB. "
              "Of el1's kernel the writes are pinned. audit.json is left in out/audit; exit status 1 if there are findings.", (*_LINT, "SANITIZE=1")),
    "bench-lint": ("Measure what kpkeys-lint costs for some units, as ratios to clang -fsyntax-only. Exit status 1 if a bar is missed.", _LINT),
    "verify": ("The main job. Sets up what is missing, applies the series, builds the kernel of a guest, boots it in QEMU with FEAT_S1POE, runs KUnit and "
               "prints the verdict. Console log, KTAP, JSON, JUnit and summary.json are left in out/verify. Exit status: 0 pass, 1 a test failed, "
               "2 usage or set-up, 3 build failed, 4 guest panic, 5 guest hang, 6 no results.", ("GUEST=name", *_RUN, "QEMU_VERSION=v")),
    "guests": ("What verify does, in one guest after the other; the results of each are left in out/guests/NAME. Ends with the worst exit status of all.",
               (*_RUN, "QEMU_VERSION=v")),
    "qemu": ("Build QEMU with the series of patches/qemu, once for each state of it, and print where it is and its version.", ("QEMU=program", "QEMU_VERSION=v")),
    "load": ("Make the branch of a stored series, b4/kpkeys or b4/qemu-s1poe, as b4 manages it: the cover letter, then a commit for each patch. It is checked out "
             "in a work tree, with KERNEL= in one that is linked to your repository. What is not saved there is never lost: it is refused.",
             ("WORKTREE=dir", "KERNEL=dir", "BASE=rev", "LINUX_VERSION=v")),
    "save": ("Write the branch back to patches/, in the one form that load gives back unchanged. Signed-off-by lines are left out; on a further base only what "
             "differs there is written. The stored series is replaced as a whole or not at all.", ("WORKTREE=dir",)),
    "refresh": ("Apply the stored series again, aside, and write it back: what drifted shows as a diff. No branch and no work tree is touched.",
                ("BASE=tag", "LINUX_VERSION=v")),
    "rebase": ("Move the branch to BASE=. It stops at a conflict as git does: resolve it, git add, and run the same command. The stored series stays as it is "
               "until save.", ("BASE=rev", "WORKTREE=dir", "KERNEL=dir", "LINUX_VERSION=v")),
    "cover": ("Make the generated parts of the cover letter anew, from results that are there: test table, benchmarks, tool versions. Results count for exactly "
              "the content they were made with.", ("WORKTREE=dir", "BASE=tag")),
    "send-dry-run": ("Make the mails of the series as b4 would send them, in out/send, with To and Cc from get_maintainer.pl; or say all that is missing: sign-off, "
                     "a verify that passed on just this, an up-to-date letter. Nothing is sent: the last line is the command that does.",
                     ("WORKTREE=dir", "MAIL_LIMIT=bytes", "BASE=tag")),
    "reroll": ("Make the cover letter that of the next version, with a link to the one that was sent. The version that was sent has to be committed.",
               ("MSGID=id", "WORKTREE=dir")),
    "trailers": ("Put Reviewed-by, Acked-by and the like from the answers in a mailbox into the patches they are about, on the branch and in patches/. What "
                 "somebody says for somebody else is left out, and told.", ("MBOX=file", "WORKTREE=dir")),
    "diff-versions": ("Show the range-diff of two versions of a series, and how many patches changed.", ("A= B=", "LINUX_VERSION=v")),
    "tarball": ("Make a release of the stored kernel series under out/release: mbox, quilt series, diff, checksums, SBOM. It is published once b4, git am, "
                "git quiltimport and patch have each applied it.", ("BASE=tag", "LINUX_VERSION=v")),
    "package": ("Build the C++ tools as a Debian package in out/package.", ("DEBIAN_MIRROR=uri",)),
    "lint-series": ("Check the stored files for what save would have written: names, order, messages, hunks that fit one another, on each base. Needs no tree, no tools "
                    "and no network. Each finding has its repair; exit status 1 if there is one.", None),
    "series-check": ("For each patch of the kernel series: build with clang and gcc (W=1), boot to the KUnit verdict, checkpatch --strict, kernel-doc, sparse, coccicheck, "
                     "kpkeys-lint. Only what changed since the last run is run again; a table is printed, and results are left in out/series-check.",
                     ("FROM=n TO=m", "KERNEL=dir", "BASE=rev", "LLVM=-22", "QEMU=program", "TIMEOUT=s")),
    "lint-writes": ("Hold the page table writes that kpkeys-lint finds in the kernel against those that reading found. Exit status 1 if they differ.", _LINT),
    "mutants-lint": ("Make one change of the kernel series at a time - a guard left out, moved, made conditional - and see whether kpkeys-lint notices. One that "
                     "survives needs a reason in tools/tests/mutants/survivors.txt.", ("MUTANTS=...", "SAMPLE=n", *_LINT)),
    "mutants": ("Build the kernel once with a switch at each guard and keying call, and boot it once for each: do the tests notice? One that survives needs a "
                "reason in kunit/mutants/survivors.txt. Consoles and summary.json are left in out/mutants.", ("MUTANTS=...", "SAMPLE=n", *_RUN)),
    "test": ("Run the project's tests, by default all groups that CI runs, and print what passed, failed and was skipped, with the reason of each skip. "
             "'make test-GROUP' runs one.", ("SAMPLE=n", *_RUN)),
    "userland": ("Boot Debian's user land with and without hardened page tables, run selftests/mm and traffic for page tables in both, and compare. "
                 "Everything is left in out/userland.", (*_BUILD, "QEMU=program", "DEBIAN_MIRROR=uri")),
    "bench": ("Count instructions, register writes, ISBs and TLBIs of operations on page tables, in kernels with and without protection, and estimate their cost. "
              "TIMEOUT= is for each guest.", ("QUICK=1", *_RUN)),
    "bench-qemu": ("Measure in one run what FEAT_S1POE costs in QEMU: a write window, a guest that changes page tables, and boot. Exit status 1 if a bar is missed.",
                   ("KERNEL=dir", "BASE=rev", "LLVM=-22", "TIMEOUT=s", "QEMU_VERSION=v")),
    "zero-cost": ("Build the kernel with page table hardening configured out, and without the series, and compare the objects; and walk the disassembly of the kernel "
                  "that has it, with the static key off. Exit status 1 if something costs.", (*_SOURCE, "LLVM=-22")),
    "clean": ("Remove the output directory (O=), with --cache also CACHE=. Refused where they hold changes of yours, or what was not made here; work/ stays.", None),
}


class _Formatter(argparse.HelpFormatter):
    """Wraps as argparse does, but keeps the lines of variables."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(line if line.startswith("  ") else super(_Formatter, self)._fill_text(line, width, indent) for line in text.splitlines())


def explain(verbs: dict[str, argparse.ArgumentParser]) -> None:
    """Give each of the parsers @verbs its description, and an epilog with its variables."""
    for name, parser in verbs.items():
        about, variables = VERBS[name]
        parser.description, parser.formatter_class = about, _Formatter
        lines = [parser.epilog, ""] if parser.epilog and variables else [parser.epilog or ""]
        if variables:
            wide = max(len(v) for v in variables)
            lines += ["variables, in the environment or on make's command line:", *(f"  {v:{wide}}  {VARIABLES[v]}" for v in variables)]
        if variables is not None:
            lines.append(GENERAL)
        parser.epilog = "\n".join(lines).strip("\n")
