# SPDX-License-Identifier: GPL-2.0-only
"""The main job: series, kernel, guest, verdict."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import guests, kernel, kunit, proc, qemu, settings, toolroot, trees, ui
from .ui import Failure


@dataclass(frozen=True)
class Subject:
    """What is verified: a work tree, and names for its series and base."""

    tree: Path
    series: str
    base: str
    content: str = ""  # git's id of all that is in the tree, '' if it holds uncommitted changes


def _content(tree: Path) -> str:
    """git's id of the content of @tree's commit, by which a result is told to be of just this series."""
    return proc.output(["git", "-C", tree, "rev-parse", "--verify", "--quiet", "HEAD^{tree}"], check=False)


def _users_tree() -> Path | None:
    """The user's TREE=, once it is known to be one that can be built."""
    user = settings.tree()
    if user and not (user / "arch/arm64/Kconfig").is_file():
        raise Failure(f"TREE={user} is not a Linux kernel work tree", "give the directory that 'make load' printed")
    if user and (user / ".config").exists():
        raise Failure(f"TREE={user} was built in place, which kbuild does not mix with O=", f"run 'make mrproper' in {user}")
    return user


def subject() -> Subject:
    """The kernel tree of this run: TREE= as it stands, else the stored series on its base."""
    series = trees.linux_series()
    user = _users_tree()
    if user:
        # Not 'describe --dirty', which writes the index.
        said = proc.run(["git", "-C", user, "describe", "--always", "--tags"], capture=True, check=False).stdout.strip()
        if said and proc.output(["git", "-C", user, "status", "--porcelain", "--untracked-files=no"], check=False):
            said += "-dirty"
        clean = bool(said) and not said.endswith("-dirty")
        return Subject(user, f"work tree {said or user.name}", said or "unknown", _content(user) if clean else "")
    tree = settings.out() / "linux" / "src"
    base, dirty = trees.checkout(series, tree)
    return Subject(tree, series.name + ("-dirty" if dirty else ""), base, "" if dirty else _content(tree))


def _publish(new: Path, final: Path) -> None:
    """Put the finished results where a reader looks: all or nothing."""
    old = final.with_name(f".old-{final.name}")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        os.rename(final, old)
    os.rename(new, final)
    shutil.rmtree(old, ignore_errors=True)


def _retract(final: Path) -> None:
    """Take away the results of an earlier run: whatever may end this one, they are not its own."""
    old = final.with_name(f".old-{final.name}")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        os.rename(final, old)
    shutil.rmtree(old, ignore_errors=True)


def _write_json(path: Path, data: dict) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n")


def run_guest(guest: guests.Guest, what: Subject, machine: qemu.Qemu, final: Path, start: float,
              stopped: threading.Event | None = None) -> kunit.Result:
    """Boot @guest's kernel, which is built, judge it, and leave its results in the directory @final.

    If that is done side by side, @stopped is set when it is over for all, and what came of it does not count.
    """
    new, build = final.with_name(f".new-{final.name}"), final.with_name(f".boot-{final.name}")
    for directory in (new, build):
        shutil.rmtree(directory, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        kunit.bootable(kernel.build_directory(guest.kernel) / kernel.IMAGE, build)
        with ui.step(f"guest {guest.name}: {guest.about}") as line:
            result = kunit.run(guest, what.tree, build, machine, new)
            if stopped and stopped.is_set():
                raise Failure(f"guest {guest.name} was interrupted")
            line.detail = f"{result.verdict}: {result.passed} passed, {result.failed} failed, {result.skipped} skipped"
        summary = {"verdict": result.verdict, "exit_status": result.exit_status, "passed": result.passed,
                   "failed": result.failed, "skipped": result.skipped, "suites": result.summary(),
                   "problems": result.problems, "guest": guest.name, "kernel": guest.kernel, "series": what.series,
                   "base": what.base, "content": what.content, "qemu": machine.version, "qemu_ours": machine.ours,
                   "config": settings.text("CONFIG").split(), "guest_seconds": round(result.seconds, 1),
                   "seconds": round(time.monotonic() - start, 1)}
        _write_json(new / "summary.json", summary)
        _publish(new, final)
    finally:
        for directory in (new, build):
            shutil.rmtree(directory, ignore_errors=True)
    return result


def _side_by_side(chosen: list[guests.Guest], run: Callable[[guests.Guest, threading.Event], kunit.Result]) -> list[kunit.Result]:
    """What @run makes of each of @chosen, two at a time: most of a guest's time is that of a single CPU of its."""
    stopped = threading.Event()

    def say(result: kunit.Result) -> None:
        ui.note(f"{result.guest}: {ui.seconds(result.seconds)} {result.verdict}: "
                f"{result.passed} passed, {result.failed} failed, {result.skipped} skipped")

    together = min(2, settings.jobs())
    with ui.step(f"{len(chosen)} guests, {together} at a time") as line:
        done = proc.side_by_side(lambda guest: run(guest, stopped), chosen, together, stopped, say)
        line.detail = f"{sum(r.passed for r in done)} passed, {sum(r.failed for r in done)} failed"
    return done


def _say(result: kunit.Result, what: Subject, machine: qemu.Qemu, guest: guests.Guest, where: Path, seconds: float) -> None:
    """The verdict table."""
    rows = [["suite", "cases", "passed", "failed", "skipped"]]
    for name, cases in result.suites.items():
        rows.append([name, str(len(cases)), str(result.count("passed", suite=name)),
                     str(result.count("failed", "crashed", "missing", suite=name)), str(result.count("skipped", suite=name))])
    print()
    print(ui.table(rows, {1, 2, 3, 4}))
    for name, cases in result.suites.items():
        for case in cases:
            if case.status == "skipped":
                print(f"skipped: {name}.{case.name}: {case.reason}")
    for problem in result.problems[:25]:
        print(f"{ui.bad('problem:')} {problem}")
    if len(result.problems) > 25:
        print(f"         and {len(result.problems) - 25} more in {where / 'summary.json'}")
    if result.remedy:
        print(f"         {result.remedy}")
    print()
    for key, value in (("series", what.series), ("base", what.base), ("qemu", machine.version),
                       ("guest", f"{guest.name} ({guest.about})"), ("results", str(where)), ("time", ui.seconds(seconds))):
        print(f"{key + ':':9}{value}")
    word = ui.good("pass") if result.verdict == "pass" else ui.bad(result.verdict)
    status = "" if result.verdict == "pass" else f" (exit status {result.exit_status})"
    print(f"verdict: {word}{status}")


def verify(name: str) -> int:
    """Run the guest @name; the exit status tells pass, test failure, panic, hang and no results apart."""
    start = time.monotonic()
    guest = _checked([guests.guest(name)])[0]
    with settings.lock(settings.out(), "the output directory"):
        final = settings.out() / "verify"
        try:
            _retract(final)
            machine, what = prepare()
            kernel.build(what.tree, kernel.build_directory(guest.kernel), guests.kernel(guest.kernel))
            result = run_guest(guest, what, machine, final, start)
        except Failure as failure:
            _publish_failure(failure, guest, final, start)
            raise
        except KeyboardInterrupt:
            _publish_failure(Failure("interrupted", status=ui.INTERRUPTED), guest, final, start)
            raise
        _say(result, what, machine, guest, final, time.monotonic() - start)
    return result.exit_status


# What results say of a run that did not get to its guest, by the exit status; 'not-run' of all others.
_VERDICTS = {ui.BUILD_FAILED: "build-failed", ui.INTERRUPTED: "interrupted"}


def _publish_failure(failure: Failure, guest: guests.Guest, final: Path, start: float) -> None:
    """Leave in @final what has ended the run."""
    new = final.with_name(f".new-{final.name}")
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        _write_json(new / "summary.json", {
            "verdict": _VERDICTS.get(failure.status, "not-run"), "exit_status": failure.status,
            "passed": 0, "failed": 0, "skipped": 0, "suites": {}, "problems": [failure.message], "guest": guest.name,
            "kernel": guest.kernel, "series": "", "base": "", "qemu": "", "seconds": round(time.monotonic() - start, 1)})
        _publish(new, final)
    except OSError:
        # A full disk, most likely: what went wrong first is what the user is told.
        pass
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _checked(chosen: list[guests.Guest]) -> list[guests.Guest]:
    """@chosen, once all that they and the variables name is known to be there.

    A mistake shows before any build, and before the results of an earlier run are gone.
    """
    for guest in chosen:
        guests.kernel(guest.kernel)
        guests.expected(guest.expect)
    settings.timeout(), settings.jobs(), toolroot.choice(), qemu.users(), trees.check_users(_users_tree() is None)
    return chosen


def prepare() -> tuple[qemu.Qemu, Subject]:
    toolroot.get()
    # The tree first: what is wrong with KERNEL=, BASE= or a patch shows before QEMU's long build.
    what = subject()
    return qemu.get(), what


def results(names: list[str]) -> list[kunit.Result]:
    """Run each of the guests @names, those of CI by default, and publish under out/guests/."""
    start = time.monotonic()
    chosen = _checked([guests.guest(n) for n in names or guests.of_ci()])
    with settings.lock(settings.out(), "the output directory"):
        for guest in chosen:
            _retract(settings.out() / "guests" / guest.name)
        machine, what = prepare()
        for name in dict.fromkeys(g.kernel for g in chosen):
            kernel.build(what.tree, kernel.build_directory(name), guests.kernel(name))

        def run(guest: guests.Guest, stopped: threading.Event | None = None) -> kunit.Result:
            return run_guest(guest, what, machine, settings.out() / "guests" / guest.name, start, stopped)

        return _side_by_side(chosen, run) if len(chosen) > 1 else [run(g) for g in chosen]


def verify_guests(names: list[str]) -> int:
    """Run each of the guests @names; the worst exit status of all."""
    start = time.monotonic()
    done = results(names)
    rows = [["guest", "verdict", "passed", "failed", "skipped", "seconds"]]
    rows += [[r.guest, r.verdict, str(r.passed), str(r.failed), str(r.skipped), f"{r.seconds:.1f}"] for r in done]
    print()
    print(ui.table(rows, {2, 3, 4, 5}))
    for result in done:
        for problem in result.problems[:10]:
            print(f"{ui.bad('problem:')} {result.guest}: {problem}")
    skips: dict[tuple[str, str], int] = {}
    for result in done:
        for case in (c for cases in result.suites.values() for c in cases if c.status == "skipped"):
            skips[result.guest, case.reason] = skips.get((result.guest, case.reason), 0) + 1
    for (guest, reason), count in skips.items():
        print(f"skipped: {guest}: {count} cases: {reason}")
    print(f"\n{ui.seconds(time.monotonic() - start)}; per guest: {settings.out() / 'guests'}")
    bad = [r for r in done if r.verdict != "pass"]
    print(f"{sum(r.passed for r in done)} passed, {sum(r.failed for r in done)} failed, "
          f"{sum(r.skipped for r in done)} skipped in {len(done)} guests")
    return max((r.exit_status for r in bad), default=ui.PASS)
