# SPDX-License-Identifier: GPL-2.0-only
"""The command line: one verb a job."""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import sys
from pathlib import Path

from . import bench, benchmock, benchqemu, cxxtools, guests, letter, lintwrites, mail, mutants, mutantslint, package, proc, qemu, rebase, refresh, release, series, seriescheck, serieslint, settings, testing, toolroot, trees, ui, userland, verbhelp, verify, versions, zerocost


def _tools(args: argparse.Namespace) -> int:
    tools = toolroot.get()
    if args.command:
        return tools.run(args.command, check=False, stdin=None).returncode
    print(tools.path)
    return ui.PASS


def _tools_build(args: argparse.Namespace) -> int:
    print(cxxtools.build() / "bin")
    return ui.PASS


def _lint(args: argparse.Namespace) -> int:
    return cxxtools.lint(args.argument, args.guest, args.kernel)


def _audit(args: argparse.Namespace) -> int:
    return cxxtools.audit(args.argument, args.guest)


def _bench_lint(args: argparse.Namespace) -> int:
    return cxxtools.bench(args.units)


def _verify(args: argparse.Namespace) -> int:
    return verify.verify(args.guest)


def _guests(args: argparse.Namespace) -> int:
    if args.list:
        rows = [["guest", "kernel", "CI", "about"]] + [[g.name, g.kernel, "yes" if g.ci else "no", g.about] for g in guests.guests().values()]
        print(ui.table(rows))
        return ui.PASS
    return verify.verify_guests(args.guest or (list(guests.guests()) if args.matrix else []))


def _qemu(args: argparse.Namespace) -> int:
    machine = qemu.get()
    print(f"{machine.program}\nQEMU {machine.version}")
    return ui.PASS


def _load(args: argparse.Namespace) -> int:
    return series.load(args.series)


def _save(args: argparse.Namespace) -> int:
    return series.save(args.series, args.overwrite)


def _refresh(args: argparse.Namespace) -> int:
    return refresh.refresh(args.series)


def _rebase(args: argparse.Namespace) -> int:
    return rebase.rebase("linux", args.abort)


def _cover(args: argparse.Namespace) -> int:
    return letter.cover(args.series)


def _send_dry_run(args: argparse.Namespace) -> int:
    return mail.dry_run()


def _reroll(args: argparse.Namespace) -> int:
    return versions.reroll("linux")


def _trailers(args: argparse.Namespace) -> int:
    return versions.trailers("linux", args.mbox or settings.text("MBOX"))


def _diff_versions(args: argparse.Namespace) -> int:
    return versions.diff_versions(args.series, args.a or settings.text("A"), args.b or settings.text("B"))


def _tarball(args: argparse.Namespace) -> int:
    return release.tarball()


def _package(args: argparse.Namespace) -> int:
    return package.package(args.install)


def _lint_series(args: argparse.Namespace) -> int:
    return serieslint.lint([Path(d) for d in args.directory])


def _series_check(args: argparse.Namespace) -> int:
    return seriescheck.check()


def _mutants(args: argparse.Namespace) -> int:
    if args.list:
        return mutants.list_mutants()
    return mutants.mutants(args.mutant or settings.text("MUTANTS").split(), args.sample or settings.sample())


def _lint_writes(args: argparse.Namespace) -> int:
    return lintwrites.lint_writes()


def _mutants_lint(args: argparse.Namespace) -> int:
    if args.list:
        return mutantslint.list_mutants()
    return mutantslint.lint_mutants(args.mutant or settings.text("MUTANTS").split(), args.sample or settings.sample())


def _test(args: argparse.Namespace) -> int:
    return testing.test(args.group)


def _userland(args: argparse.Namespace) -> int:
    return userland.run(args.test)


def _bench(args: argparse.Namespace) -> int:
    if args.mock:
        return benchmock.mock()
    if args.here:
        return benchmock.here(args.here)
    return bench.bench(args.quick or settings.flag("QUICK"), args.kernel)


def _bench_qemu(args: argparse.Namespace) -> int:
    return benchqemu.bench(args.rounds)


def _zero_cost(args: argparse.Namespace) -> int:
    return zerocost.check()


def _clean(args: argparse.Namespace) -> int:
    for directory in [settings.out()] + ([settings.cache()] if args.cache else []):
        if not directory.is_dir():
            continue
        settings.refuse_strangers(directory)
        with settings.lock(directory, "the directory"):
            trees.refuse_to_lose_work()
            with ui.step(f"removing {directory}"):
                shutil.rmtree(directory)
    return ui.PASS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/kpkeys", description="Build, run and check the kpkeys series.",
        epilog="Variables (environment or make's command line): run 'make' for the list. Exit status: 0 pass, "
               "1 a test failed, 2 usage or set-up, 3 build failed, 4 guest panic, 5 guest hang, 6 guest gave no results.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    tools = verbs.add_parser("tools", help="make the tool root; print its path, or run a command in it")
    tools.add_argument("command", nargs=argparse.REMAINDER, help="command to run with the project's tools")
    tools.set_defaults(run=_tools)

    cxx = verbs.add_parser("tools-build", help="build kpkeys-lint and kpkeys-audit; print where they are")
    cxx.set_defaults(run=_tools_build)

    source = verbs.add_parser("lint", help="run kpkeys-lint on the patched kernel; reports are left in out/lint")
    source.add_argument("--guest", default="", help="guest of kunit/guests.ini whose kernel is linted (default: GUEST=, or el1)")
    source.add_argument("--kernel", default="", help="kernel of kunit/guests.ini, such as wide, of which just the commands are made, not the objects")
    source.add_argument("argument", nargs="*", help="units (default: all), and after '--' options of kpkeys-lint")
    source.set_defaults(run=_lint)

    binary = verbs.add_parser("audit", help="run kpkeys-audit on the patched kernel; reports are left in out/audit")
    binary.add_argument("--guest", default="", help="guest of kunit/guests.ini whose kernel is audited (default: GUEST=, or el1)")
    binary.add_argument("argument", nargs="*", help="modules, and after '--' options of kpkeys-audit")
    binary.set_defaults(run=_audit)

    price = verbs.add_parser("bench-lint", help="what kpkeys-lint costs, as ratios, against the bars")
    price.add_argument("--units", type=int, default=40, help="units that are measured, spread over the kernel (default: 40; 0 for all)")
    price.set_defaults(run=_bench_lint)

    one = verbs.add_parser("verify", help="build the kernel with the series, run KUnit in QEMU, give the verdict")
    one.add_argument("--guest", default=settings.text("GUEST") or guests.DEFAULT, help=f"guest of kunit/guests.ini (default: GUEST=, or {guests.DEFAULT})")
    one.set_defaults(run=_verify)

    many = verbs.add_parser("guests", help="the same in each guest of kunit/guests.ini, or in those named")
    many.add_argument("guest", nargs="*", help="guests to run (default: those that CI runs)")
    many.add_argument("--matrix", action="store_true", help="run all guests, also those that CI leaves out")
    many.add_argument("--list", action="store_true", help="list the guests and end")
    many.set_defaults(run=_guests)

    machine = verbs.add_parser("qemu", help="build QEMU with FEAT_S1POE, and print its path")
    machine.set_defaults(run=_qemu)

    branch = verbs.add_parser("load", help="make the branch that b4 manages, in work/ or WORKTREE=, of a stored series")
    branch.add_argument("series", nargs="?", choices=series.BRANCHES, default="linux", help="(default: linux)")
    branch.set_defaults(run=_load)

    back = verbs.add_parser("save", help="write the branch back to patches/")
    back.add_argument("series", nargs="?", choices=series.BRANCHES, default="linux", help="(default: linux)")
    back.add_argument("--overwrite", action="store_true", help="even where patches/ has changed since it was loaded")
    back.set_defaults(run=_save)

    again = verbs.add_parser("refresh", help="apply the stored series again and write it back: what drifted shows as a diff")
    again.add_argument("series", nargs="?", choices=series.BRANCHES, default="linux", help="(default: linux)")
    again.set_defaults(run=_refresh)

    move = verbs.add_parser("rebase", help="move the branch to BASE=; after a conflict, the same command goes on",
                            epilog="BASE= is a recorded base (patches/linux/base, on-TAG), a commit of your KERNEL=, or with LINUX_VERSION= a "
                            "release of Debian's. Example: rebase BASE=v7.2.12; resolve, git add, rebase; save.")
    move.add_argument("--abort", action="store_true", help="give up a rebase that stopped: the branch as it was before")
    move.set_defaults(run=_rebase)

    generated = verbs.add_parser("cover", help="make the generated parts of the cover letter anew, from the results that are there",
                                 epilog=f"Parts: {', '.join(letter.PARTS)}; each stands between the lines '# begin <part>' and '# end <part>'.")
    generated.add_argument("series", nargs="?", choices=series.BRANCHES, default="linux", help="(default: linux)")
    generated.set_defaults(run=_cover)

    mails = verbs.add_parser("send-dry-run", help="the mails as they would be sent, under out/send; refuses where something is missing")
    mails.set_defaults(run=_send_dry_run)

    following = verbs.add_parser("reroll", help="the next version, once this one was sent by b4, or as MSGID=")
    following.set_defaults(run=_reroll)

    reviews = verbs.add_parser("trailers", help="put Reviewed-by and the like from a mailbox into the patches",
                               epilog="Example: trailers ~/thread.mbox; git diff patches/linux")
    reviews.add_argument("mbox", nargs="?", default="", help="mbox file or maildir (default: MBOX=)")
    reviews.set_defaults(run=_trailers)

    compare = verbs.add_parser("diff-versions", help="what differs between two versions, patch by patch",
                               epilog="Example: diff-versions v1 v2. A version is what patches/ held last while the cover letter said so; "
                               "a commit of the project can stand for one.")
    compare.add_argument("a", nargs="?", default="", help="(default: A=)")
    compare.add_argument("b", nargs="?", default="", help="(default: B=)")
    compare.add_argument("--series", choices=series.BRANCHES, default="linux", help="(default: linux)")
    compare.set_defaults(run=_diff_versions)

    archive = verbs.add_parser("tarball", help="a release of the kernel series in out/release: mbox, quilt series, diff, checksums, SBOM; each applied")
    archive.set_defaults(run=_tarball)

    lint = verbs.add_parser("lint-series", help="check the stored files of each series; needs no tree and no tools")
    lint.add_argument("directory", nargs="*", help="series to check (default: all of patches/)")
    lint.set_defaults(run=_lint_series)

    steps = verbs.add_parser("series-check", help="build, boot and check each patch of the kernel series: compilers, KUnit, sparse, coccicheck, kpkeys-lint (FROM= and TO= limit it)")
    steps.set_defaults(run=_series_check)

    writes = verbs.add_parser("lint-writes", help="hold the writes that kpkeys-lint finds against tools/tests/writes/linux.txt, made by hand")
    writes.set_defaults(run=_lint_writes)

    noticed = verbs.add_parser("mutants-lint", help="change one guard, context or restore of the kernel series at a time: does kpkeys-lint notice?",
                               epilog="Example: mutants-lint '*:set_pmd:*'; what is found is in out/lint/mutants/summary.json.")
    noticed.add_argument("mutant", nargs="*", help="names, patterns or numbers (default: MUTANTS=, or all)")
    noticed.add_argument("--sample", type=int, default=0, help="only so many, always the same (default: SAMPLE=, or all)")
    noticed.add_argument("--list", action="store_true", help="list the mutants and end")
    noticed.set_defaults(run=_mutants_lint)

    missing = verbs.add_parser("mutants", help="leave out one guard or keying call of the kernel series at a time: do the tests notice?")
    missing.add_argument("mutant", nargs="*", help="names, patterns or numbers (default: MUTANTS=, or all)")
    missing.add_argument("--sample", type=int, default=0, help="only so many, always the same (default: SAMPLE=, or all)")
    missing.add_argument("--list", action="store_true", help="list the mutants and end")
    missing.set_defaults(run=_mutants)

    deb = verbs.add_parser("package", help="the C++ tools as a Debian package, in out/package")
    deb.add_argument("--install", action="store_true", help="install it into a clean Debian, and run its programs there; fetches")
    deb.set_defaults(run=_package)

    tests = verbs.add_parser("test", help=f"run the project's tests, or some groups of them: {' '.join(testing.GROUPS)}")
    tests.add_argument("group", nargs="*", metavar="GROUP", help="groups to run (default: those of CI)")
    tests.set_defaults(run=_test)

    debian = verbs.add_parser("userland", help="Debian's user land and selftests/mm on hardened page tables, and on others")
    debian.add_argument("test", nargs="*", metavar="TEST", help="tests of kunit/userland/tests.list (default: all, in all guests)")
    debian.set_defaults(run=_userland)

    price = verbs.add_parser("bench", help="what hardened page tables cost: counts of several kernels, and what they come to",
                             epilog="Reports are left in out/bench: bench.html, bench.txt, bench.md, bench.json, plots; a line for each run in .cache/bench/history.jsonl. "
                             "Exit status 1 if a bar is missed.")
    price.add_argument("kernel", nargs="*", help="kernels of kunit/bench/bench.ini besides the first (default: all)")
    price.add_argument("--quick", action="store_true", help="64 MB instead of 1 GB, no programs (as QUICK=1)")
    price.add_argument("--mock", action="store_true", help="test the mock of patches/mock in QEMU instead")
    price.add_argument("--here", metavar="NAME", help="time the operations on this arm64 machine instead, and keep them as NAME; "
                       "NAME unhardened is what the others are compared with")
    price.set_defaults(run=_bench)

    cost = verbs.add_parser("bench-qemu", help="what FEAT_S1POE costs in QEMU, as ratios, against the bars")
    cost.add_argument("--rounds", type=int, default=5, help="runs of each kind (default: 5)")
    cost.set_defaults(run=_bench_qemu)

    free = verbs.add_parser("zero-cost", help="prove that hardened page tables cost nothing where they are off")
    free.set_defaults(run=_zero_cost)

    clean = verbs.add_parser("clean", help="remove the output directory; work/ stays")
    clean.add_argument("--cache", action="store_true", help="remove the cache as well")
    clean.set_defaults(run=_clean)
    verbhelp.explain(verbs.choices)
    return parser


def main() -> int:
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"):
        # Called from make: its jobs and variables are not those of the builds made here.
        os.environ.pop(name, None)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
                 "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX"):
        # Called from a git hook: its repository is none of those used here.
        os.environ.pop(name, None)
    # Looking at the user's tree must not write its index.
    os.environ["GIT_OPTIONAL_LOCKS"] = "0"
    args = _parser().parse_args()
    proc.install_signal_handlers()
    try:
        status = args.run(args)
        sys.stdout.flush()
        return status
    except ui.Failure as failure:
        ui.report(failure)
        return failure.status
    except KeyboardInterrupt:
        ui.report(ui.Failure("interrupted"))
        return ui.INTERRUPTED
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            ui.report(ui.Failure(f"no space left on the disk ({error.filename or settings.out()})",
                                 "free some, or choose another disk with CACHE= and O=; what was finished is kept"))
            return ui.USAGE
        if isinstance(error, BrokenPipeError):
            # The reader of our output went away ('| head'); there is nobody to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ui.TEST_FAILED
        if error.filename and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENOENT):
            ui.report(ui.Failure(f"{error.filename}: {error.strerror}", "check that path, O= and CACHE="))
            return ui.USAGE
        raise
