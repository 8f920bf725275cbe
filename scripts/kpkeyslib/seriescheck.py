# SPDX-License-Identifier: GPL-2.0-only
"""Prove of each patch of the kernel series that it stands on its own.

For each patch: it applies; it builds with W=1 with clang and with gcc, and with clang where
kpkeys are off (the stubs); no object of those builds has a warning that it had not before the
patch; the kernel boots and its KUnit suites pass, as far as they exist yet; checkpatch.pl
--strict and kernel-doc have nothing to say; sparse, coccicheck and kpkeys-lint find nothing in
what the patch touches (stepchecks.py).

What makes that affordable: one build directory per compiler walks forward through the
patches, so that each step compiles only what the patch reaches. All of these builds run with
W=1, the one of the base too: changing W would rebuild everything at each step. make groups
the output of a target (-Otarget), so a warning belongs to the object in the line above it;
the warnings of every object are kept with the build directory, and a step is compared object
by object, line numbers left out. A kernel that is never built without W=1 costs nothing more.
Where kpkeys are off, the directories that the series touches are built, and the whole kernel
after the last patch.

Results are kept by content: the trees before and after, configuration, tools. A second run
does only what is missing, also after an interruption: a check that is new, or whose tool is, is
run alone. It takes long at first (three builds of the base) and is no part of 'make test'.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from . import guests, kernel, kunit, qemu, series, settings, stepchecks, toolroot, trees, ui
from .trees import COVER
from .ui import Failure

# Raised when what a step is checked for changes.
RECIPE = "2"
# Columns of the table, in the order of the work.
CHECKS = ["applies", "clang", "gcc", "off", "boot", "checkpatch", "kernel-doc", *stepchecks.NAMES]
# What is looked at as clang has built it.
AFTER_CLANG = {"boot", "sparse", "lint"}


@dataclass(frozen=True)
class Build:
    """One way of building every step."""

    name: str
    arguments: list[str]  # kbuild's
    fragments: list[Path]
    left_out: str = ""  # how symbols begin that are off here, as what they depend on is

    @property
    def directory(self) -> Path:
        return _out() / f"build-{self.name}"


def _out() -> Path:
    return settings.out() / "series-check"


def _builds(which: guests.Kernel) -> list[Build]:
    llvm = settings.text("LLVM") or "-22"
    llvm = "-22" if llvm == "0" else llvm
    version = llvm if llvm.startswith("-") else ""
    clang = [f"LLVM={llvm}", f"CC=ccache clang{version}"]
    gcc = ["CROSS_COMPILE=aarch64-linux-gnu-", "CC=ccache aarch64-linux-gnu-gcc"]
    # The same kernel without kpkeys: what the rest of the kernel sees are the stubs.
    off = [f for f in which.fragments if f.name != "kpkeys.config"]
    return [Build("clang", clang, which.fragments), Build("gcc", gcc, which.fragments), Build("off", clang, off, "CONFIG_KPKEYS_")]


# Warnings

_OBJECT = re.compile(r"^  (?:CC|AS|LD|AR|CPP|LDS|VDSO\w*|NM|HOSTCC|OBJCOPY)(?: \[M\])? +(\S+)$")
_WARNING = re.compile(r"(?i)(?:^|[ :])(?:warning|error): ")


def warnings_of(log: str) -> dict[str, Counter]:
    """The warnings of each object that make -Otarget reports in @log, line numbers left out."""
    found: dict[str, Counter] = {}
    current = "(kbuild)"
    for line in log.splitlines():
        step = _OBJECT.match(line)
        if step:
            current = step[1]
            found[current] = Counter()
        elif _WARNING.search(line) and not line.startswith("+ "):
            text = re.sub(r"(:\d+)+(?=:)", "", line.strip())
            found.setdefault(current, Counter())[text] += 1
    return found


class Warnings:
    """The warnings of every object of a build directory as it is now."""

    def __init__(self, build: Build):
        self.path = build.directory / "kpkeys-warnings.json"
        self.log = build.directory / "build.log"
        self.open = build.directory / "kpkeys-building"
        self.known: dict[str, Counter] = {}
        if self.path.exists():
            self.known = {name: Counter(texts) for name, texts in json.loads(self.path.read_text()).items()}
        if self.open.exists() and self.log.exists():
            # The last build was cut short: what it compiled will not be compiled again.
            self.absorb()

    def start(self) -> None:
        self.open.touch()

    def absorb(self) -> list[str]:
        """Take in the log of the build that ended; returns the warnings that are new."""
        new = []
        for name, texts in warnings_of(self.log.read_text(errors="replace")).items():
            more = texts - self.known.get(name, Counter())
            new += [f"{text}" for text in more]
            self.known[name] = texts
        scratch = self.path.with_suffix(".new")
        scratch.write_text(json.dumps({name: dict(texts) for name, texts in self.known.items() if texts}))
        os.replace(scratch, self.path)
        self.open.unlink(missing_ok=True)
        return sorted(set(new))


# The steps

@dataclass(frozen=True)
class Step:
    """The state after patch @number; 0 is the base."""

    number: int
    patch: Path
    commit: str
    before: str


class Check:
    def __init__(self) -> None:
        self.stored = trees.linux_series()
        self.first, self.last = _limits(len(self.stored.patches))
        self.tools = toolroot.get()
        self.guest = guests.guest(settings.text("GUEST") or guests.DEFAULT)
        self.builds = _builds(guests.kernel(self.guest.kernel))
        self.src = _out() / "src"
        self.at = ""
        # The commit that each build directory has been built from, as far as this run knows.
        self.built: dict[str, str] = {}
        self.machine = qemu.get()
        self.versions = self.compilers()
        self.static_keys = stepchecks.keys()
        # The sources that the series touches.
        self.sources: list[str] = []

    def git(self, *args) -> str:
        return series._git(self.src, *args)

    def steps(self) -> tuple[list[Step], str]:
        """The steps that apply, and what git apply says about the first that does not."""
        repo, base, self.base = trees.base_of(self.stored)
        self.src.mkdir(parents=True, exist_ok=True)
        settings.need_space(self.src, 6, "series-check")
        trees._prepare(self.src, repo)
        with ui.step(f"{self.stored.name}: applying {len(self.stored.patches)} patches to {self.base}") as line:
            tip, count, complaint = series.make_commits(self.src, self.stored, base, series.NOBODY)
            line.detail = f"{count} apply as they are"
        commits = self.git("rev-list", "--reverse", f"{base}..{tip}").splitlines()
        self.sources = self.git("diff", "--name-only", "--diff-filter=d", base, tip, "--", "*.c").splitlines()
        found = [Step(0, self.stored.directory / COVER, commits[0], base)]
        for number, patch in enumerate(self.stored.patches[:count], 1):
            found.append(Step(number, patch, commits[number], commits[number - 1]))
        return found, complaint

    def key(self, step: Step) -> str:
        """Names all that the result of @step depends on."""
        content = self.git("rev-parse", f"{step.before}^{{tree}}", f"{step.commit}^{{tree}}")
        return settings.digest(RECIPE, content, step.patch, self.versions, str(self.guest), self.machine.version,
                               str(step.number == len(self.stored.patches)),
                               *(p for b in self.builds for p in (" ".join(b.arguments), *b.fragments)))

    def missing(self, outcome: dict) -> set[str]:
        """The checks that @outcome, which may be of an older version of this program, says nothing about."""
        found = {check for check in CHECKS if check not in outcome or outcome[check].get("key", "") != self.static_keys.get(check, "")}
        return found if outcome.get("clang", {"built": True}).get("built") else found - AFTER_CLANG

    def checkout(self, commit: str) -> None:
        if self.at != commit:
            self.git("checkout", "-q", "-f", "--detach", commit)
            self.at = commit

    def compilers(self) -> str:
        """The versions of what compiles: other packages of the tool root do not matter to a result."""
        programs = dict.fromkeys(a.removeprefix("CC=ccache ") for b in self.builds for a in b.arguments if a.startswith("CC="))
        script = "for program in \"$@\"; do \"$program\" --version || exit; done"
        return self.tools.run(["sh", "-c", script, "sh", *programs], capture=True).stdout

    # One build

    def configure(self, build: Build, strict: bool) -> str:
        """Make @build's .config of the tree as it is; returns what is wrong with it."""
        tiny = [p for p in (self.src / "kernel/configs/tiny-base.config", self.src / "kernel/configs/tiny.config") if p.exists()]
        log = build.directory / "configure.log"
        build.directory.mkdir(parents=True, exist_ok=True)
        new = build.directory / "next"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        environment = {"ARCH": "arm64", **dict(a.split("=", 1) for a in build.arguments), **self.ccache()}
        outside = [f.parent for f in build.fragments if settings.PROJECT not in f.parents]
        done = self.tools.run(["sh", self.src / "scripts/kconfig/merge_config.sh", "-n", "-O", new, *tiny, *build.fragments],
                              cwd=self.src, env=environment, log=log, check=False, readable=outside)
        said = log.read_text(errors="replace")
        if done.returncode:
            return f"merge_config.sh failed, see {log}"
        # An unchanged configuration keeps its time, or everything would be looked at again.
        config, fresh = build.directory / ".config", (new / ".config").read_bytes()
        if not config.exists() or config.read_bytes() != fresh:
            config.write_bytes(fresh)
        shutil.rmtree(new, ignore_errors=True)
        unmet = re.search(r"WARNING: unmet direct dependencies detected for (\w+)", said)
        if unmet:
            return f"Kconfig: unmet direct dependencies for {unmet[1]}"
        if strict:
            # Only after the last patch must all symbols of the fragments be there.
            try:
                kernel.check_config(config, build.fragments, build.left_out)
            except Failure as failure:
                return failure.message
        return ""

    def ccache(self) -> dict[str, str]:
        # Nearly everything is compiled once: do not preprocess it to ask whether it was compiled before.
        return {"CCACHE_DIR": str(settings.cache() / "ccache"), "CCACHE_MAXSIZE": "3G", "CCACHE_DEPEND": "1"}

    def targets(self, build: Build, whole: bool) -> list[str]:
        """What to make of the tree as it is: where only the stubs are at stake, where they are used is enough, unless it is to be the @whole."""
        directories = sorted({f"{Path(f).parent}/" for f in self.sources}) if build.name == "off" and not whole else []
        return [d for d in directories if (self.src / d).is_dir()] or ["Image"]

    def make(self, build: Build) -> list[str]:
        # kernel-doc has a check of its own; LOCALVERSION keeps the commit out of the version.
        return ["make", "-C", str(self.src), f"O={build.directory}", "ARCH=arm64", *build.arguments, "W=1", "LOCALVERSION=",
                "cmd_checkdoc=", "-Otarget"]

    def build(self, build: Build, strict: bool = False) -> dict:
        """Build the tree as it is; the outcome, with the warnings that are new."""
        start = time.monotonic()
        problem = self.configure(build, strict)
        if problem:
            return {"ok": False, "problems": [problem]}
        warnings = Warnings(build)
        log = build.directory / "build.log"
        warnings.start()
        done = self.tools.run([*self.make(build), f"-j{settings.jobs()}", *self.targets(build, strict)], env=self.ccache(), log=log, check=False)
        new = warnings.absorb()
        said = log.read_text(errors="replace")
        compiled = len(re.findall(r"^  (?:CC|AS)  ", said, re.M))
        outcome = {"ok": done.returncode == 0 and not new, "built": done.returncode == 0, "compiled": compiled,
                   "seconds": round(time.monotonic() - start, 1), "problems": new}
        if done.returncode:
            errors = [line for line in said.splitlines() if re.search(r"\berror: |\*\*\* |undefined symbol", line)]
            outcome["problems"] = errors[:10] or [f"make exited with {done.returncode}, see {log}"]
            shutil.copyfile(log, _out() / f"failed-{build.name}.log")
        return outcome

    # The other checks

    def boot(self, step: Step) -> dict:
        """Boot what clang built. A case that the tree does not have yet may be missing, nothing else."""
        result = kunit.run(self.guest, self.src, self.builds[0].directory, self.machine, _out() / "guest" / f"{step.number:04d}")
        cases = [(suite, case) for suite, found in result.suites.items() for case in found]
        problems = [f"{suite}.{case.name}: {case.status}{f' ({case.reason})' if case.reason else ''}" for suite, case in cases
                    if case.status in ("failed", "crashed") or case.status == "missing" and self.defines(step, suite, case.name)]
        if result.verdict in ("panic", "hang", "no-results"):
            problems.insert(0, result.problems[0])
        verdict = result.verdict if result.verdict in ("panic", "hang", "no-results") else "fail" if problems else "pass"
        return {"ok": verdict == "pass", "verdict": verdict, "passed": result.passed, "skipped": result.skipped,
                "seconds": round(result.seconds, 1), "problems": problems}

    def defines(self, step: Step, suite: str, case: str) -> bool:
        """Whether the tree at @step has the KUnit case @case of @suite; other suites may have one of that name."""
        return series._holds(self.src, "grep", "-q", "-w", "--all-match", "-e", f"KUNIT_CASE[A-Z_]*({case}", "-e", f'\\.name = "{suite}"',
                             step.commit, "--", "*kunit*.c", "*test*.c")

    def checkpatch(self, step: Step) -> dict:
        done = self.tools.run(["perl", "scripts/checkpatch.pl", "--strict", "--no-tree", "--no-signoff", "--no-summary", "--terse",
                               "--show-types", step.patch], cwd=self.src, capture=True, check=False)
        lines = [line.partition(".patch:")[2] or line for line in done.stdout.splitlines() if line.strip()]
        # A name that the tree has already is not the patch's choice; without --no-tree checkpatch
        # would know some of them itself.
        kept = [line for line in lines if not ((name := re.search(r"CHECK:CAMELCASE: .*<(\w+)>", line)) and
                                               series._holds(self.src, "grep", "-q", "-w", "-e", name[1], step.before))]
        return {"ok": not kept and (done.returncode == 0 or bool(lines)), "problems": kept}

    def kernel_doc(self, commit: str, files: list[str]) -> Counter:
        """kernel-doc's complaints about @files of the tree at @commit, line numbers left out."""
        there = [f for f in files if (self.src / f).is_file()]
        if not there:
            return Counter()
        self.checkout(commit)
        done = self.tools.run([self.src / "scripts/kernel-doc", "-none", "-Wall", *there], cwd=self.src, capture=True, check=False,
                              env={"PYTHONDONTWRITEBYTECODE": "1"})
        return Counter(re.sub(r":\d+:?", ":", line) for line in dict.fromkeys((done.stdout + done.stderr).splitlines())
                       if re.match(r"(?i)warning|error", line))

    # The walk

    def run_step(self, step: Step, known: dict, missing: set[str]) -> dict:
        """The outcome of @step: what is @known of it, and the checks @missing."""
        outcome = {**known, "applies": {"ok": True, "problems": []}}
        changed = self.git("diff", "--name-only", step.before, step.commit).splitlines()
        touched = [f for f in changed if f.endswith((".c", ".h"))]
        there = [f for f in touched if series._holds(self.src, "cat-file", "-e", f"{step.commit}:{f}")]
        units = stepchecks.units(touched, self.sources)
        builds = self.needed(missing)
        self.checkout(step.before)
        for build in builds:
            # Usually the directory is where the step before left it.
            if self.built.get(build.name) != step.before:
                self.built[build.name] = step.before if self.build(build).get("built") else ""
        before = self.kernel_doc(step.before, there) if "kernel-doc" in missing else Counter()
        comparable = self.built.get("clang") == step.before
        before_sparse = self.examine(units, {"sparse"} & missing).get("sparse") if comparable else None
        old = stepchecks.copy(self.src, touched, _out() / "cocci-before")
        self.checkout(step.commit)
        last = step.number == len(self.stored.patches)
        for build in builds:
            done = self.build(build, strict=last)
            self.built[build.name] = step.commit if done.get("built") else ""
            if build.name in missing:
                outcome[build.name] = done
        if "boot" in missing and outcome["clang"].get("built"):
            outcome["boot"] = self.boot(step)
        if "checkpatch" in missing:
            outcome["checkpatch"] = self.checkpatch(step)
        if "kernel-doc" in missing:
            new = self.kernel_doc(step.commit, there) - before
            outcome["kernel-doc"] = {"ok": not new, "problems": sorted(new)}
        if "coccicheck" in missing:
            new = stepchecks.copy(self.src, touched, _out() / "cocci-after")
            outcome["coccicheck"] = stepchecks.coccicheck(self.src, old, new, _out() / "coccicheck")
        if outcome["clang"].get("built"):
            found = self.examine(units, {"sparse", "lint"} & missing)
            if "sparse" in found:
                outcome["sparse"] = stepchecks.sparse(before_sparse, found["sparse"])
            if "lint" in found:
                outcome["lint"] = stepchecks.lint(self.tree(), found["lint"], last, _out() / "lint")
        for check in missing.intersection(outcome, self.static_keys):
            outcome[check]["key"] = self.static_keys[check]
        return outcome

    def needed(self, missing: set[str]) -> list[Build]:
        return [b for b in self.builds if b.name in missing or b.name == "clang" and missing & AFTER_CLANG]

    def tree(self) -> stepchecks.Tree:
        """What clang has built."""
        return stepchecks.Tree(self.src, self.builds[0].directory, self.make(self.builds[0]), self.ccache())

    def examine(self, units: list[str], checkers: set[str]) -> dict[str, dict[str, Counter]]:
        there = [unit for unit in units if (self.src / unit).is_file()]
        return stepchecks.examine(self.tree(), there, sorted(checkers), _out() / "examine") if checkers else {}

    def base_ready(self, step: Step, builds: list[Build]) -> None:
        """Build the base, whose warnings are nobody's fault here."""
        self.checkout(step.commit)
        for build in builds:
            with ui.step(f"base {self.base}: building with {build.name}, W=1") as line:
                done = self.build(build)
                if not done.get("built"):
                    raise Failure(f"the base does not build with {build.name}: {(done['problems'] or ['?'])[0]}",
                                  f"the whole log is {build.directory / 'build.log'}", ui.BUILD_FAILED)
                line.detail = f"{done['compiled']} files compiled"
            self.built[build.name] = step.commit

    def run(self) -> int:
        start = time.monotonic()
        steps, complaint = self.steps()
        results = _out() / "results"
        results.mkdir(parents=True, exist_ok=True)
        chosen = [s for s in steps if s.number and self.first <= s.number <= self.last]
        outcomes: dict[int, dict] = {}
        for step in chosen:
            path = results / f"{self.key(step)}.json"
            title = f"{step.number:>3} of {len(self.stored.patches)}: {step.patch.stem}"
            known = json.loads(path.read_text()) if path.exists() else {}
            missing = self.missing(known)
            if not missing:
                outcomes[step.number] = known
                ui.note(f"{title}: {_word(known)}, known from an earlier run")
                continue
            lacking = [b for b in self.needed(missing) if not (b.directory / "kpkeys-warnings.json").exists()]
            if lacking:
                self.base_ready(steps[0], lacking)
            if "lint" in missing:
                stepchecks.program()
            with ui.step(f"{title}{f' ({_list(missing)} only)' if known else ''}") as line:
                outcomes[step.number] = outcome = self.run_step(step, known, missing)
                line.detail = _word(outcome)
            path.with_suffix(".new").write_text(json.dumps(outcome, indent=2) + "\n")
            os.replace(path.with_suffix(".new"), path)
            for problem in _problems(outcome)[:10]:
                ui.note(problem)
        failed = len(steps) if complaint and self.first <= len(steps) <= self.last else 0
        if failed:
            patch = self.stored.patches[failed - 1]
            outcomes[failed] = {"applies": {"ok": False, "problems": [f"{patch.name}: {trees._hunk(patch, complaint)}"]}}
        return self.report(outcomes, time.monotonic() - start)

    def report(self, outcomes: dict[int, dict], seconds: float) -> int:
        rows = [["patch", *CHECKS]]
        for number, outcome in sorted(outcomes.items()):
            cells = ["-" if check not in outcome else "ok" if outcome[check]["ok"] else
                     outcome[check].get("verdict") or str(len(outcome[check]["problems"])) + " new" if outcome[check].get("built", True)
                     else "fails" for check in CHECKS]
            rows.append([self.stored.patches[number - 1].stem, *cells])
        print("\n" + ui.table(rows))
        for number, outcome in sorted(outcomes.items()):
            for problem in _problems(outcome)[:10]:
                print(f"{ui.bad('problem:')} {number:04d} {problem}")
        for reason in sorted({r for outcome in outcomes.values() for r in outcome.get("coccicheck", {}).get("skipped", [])}):
            print(f"not run: coccicheck with {reason}")
        bad = [n for n, outcome in outcomes.items() if not _ok(outcome)]
        missing = [n for n in range(self.first, self.last + 1) if n not in outcomes]
        status = _status(outcomes) if bad else ui.TEST_FAILED if missing else ui.PASS
        if missing:
            print(f"not checked: {len(missing)} patches from {min(missing):04d} on, after one that does not apply")
        summary = {"series": self.stored.name, "base": self.base, "tools": self.tools.name, "qemu": self.machine.version,
                   "guest": self.guest.name, "verdict": "pass" if status == ui.PASS else "fail", "exit_status": status,
                   "seconds": round(seconds, 1),
                   "patches": {self.stored.patches[n - 1].name: outcome for n, outcome in sorted(outcomes.items())}}
        path = _out() / "summary.json"
        path.with_suffix(".new").write_text(json.dumps(summary, indent=2) + "\n")
        os.replace(path.with_suffix(".new"), path)
        word = ui.good("pass") if status == ui.PASS else ui.bad(f"{len(bad)} of {len(outcomes)} patches fail")
        print(f"\n{self.stored.name} on {self.base}, {ui.seconds(seconds)}: {word}; {path}")
        return status


def _ok(outcome: dict) -> bool:
    return all(check in outcome and outcome[check]["ok"] for check in CHECKS)


def _list(checks: set[str]) -> str:
    return ", ".join(check for check in CHECKS if check in checks)


def _word(outcome: dict) -> str:
    bad = [check for check in CHECKS if check in outcome and not outcome[check]["ok"]]
    return f"fails: {', '.join(bad)}" if bad else "ok"


def _problems(outcome: dict) -> list[str]:
    return [f"{check}: {text}" for check in CHECKS for text in outcome.get(check, {}).get("problems", [])]


def _status(outcomes: dict[int, dict]) -> int:
    """The exit status of the worst: a build that fails first, then what the guest did."""
    if any(not outcome.get(b, {}).get("built", True) for outcome in outcomes.values() for b in ("clang", "gcc", "off")):
        return ui.BUILD_FAILED
    verdicts = {outcome.get("boot", {}).get("verdict") for outcome in outcomes.values()}
    for verdict in ("panic", "hang", "no-results"):
        if verdict in verdicts:
            return kunit.Result.STATUS[verdict]
    return ui.TEST_FAILED


def _limits(count: int) -> tuple[int, int]:
    """FROM= and TO=, the patches to check."""
    first, last = settings._number("FROM", 1), settings._number("TO", count)
    if not first <= last <= count:
        raise Failure(f"FROM={first} TO={last}: the series has patches 1 to {count}", f"choose FROM and TO from 1 to {count}")
    return first, last


def check() -> int:
    """Check each patch of the kernel series between FROM= and TO=."""
    series._forget_inherited()
    if not trees.linux_series().patches:
        raise Failure("patches/linux/series names no patch", "restore it: git checkout -- patches/linux")
    toolroot.get().need("series-check", "ccache", "sparse", "spatch", "cmake")
    with settings.lock(_out(), "the directory of series-check"):
        return Check().run()
