# SPDX-License-Identifier: GPL-2.0-only
"""`make bench`: what hardened page tables cost, counted rather than timed.

Each kernel of kunit/bench/bench.ini boots in QEMU with one CPU and runs kunit/bench/guest/bench.c: operations that make,
change and remove page tables, then programs of Debian. The plugin kunit/bench/count.c counts what is executed at EL1,
function by function. With -icount, time in the guest is a matter of instructions, so that a second run gives the same
counts; the first kernel runs twice to show it.

benchmodel.py turns counts into estimates of time, benchreport.py shows them.
"""

from __future__ import annotations

import configparser
import dataclasses
import datetime
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from . import benchmodel, benchreport, guests, kernel, proc, qemu, selftests, settings, sources, toolroot, trees, ui, userland, verify
from .ui import Failure

SOURCES = guests.KUNIT / "bench"
PACKAGES = SOURCES / "programs.packages"
# Counts of two runs may differ by so much.
REPEATABLE = benchreport.NOTABLE
# MB mapped, repetitions of the large operations, loops of the small ones.
FULL, QUICK = (1024, 2, 20000), (64, 1, 5000)
GIGABYTE = 1024
# MB that QEMU needs besides the guest's: translated code, counters.
QEMU_ITSELF = 512
# Functions that are entered once for each page table that comes into use, where nothing races: tables of user PTEs are made ahead in
# several places, and pass one function when they are installed or kept for a huge page. (No fifth level: VAs have 48 bits.)
TABLES = ("pmd_install", "pgtable_trans_huge_deposit", "__pte_alloc_kernel", "__pmd_alloc", "__pud_alloc", "pgd_alloc")
# What hardening enters for each table that is made and freed.
KEYED, UNKEYED = ("__kpkeys_protect_pgtable",), ("__kpkeys_unprotect_pgtable",)
# How far apart counts may be that should be the same: a table that is made ahead may be left over, what frees one may run later.
NEARLY = 0.05
# What writes the entry of the linear map when a table is freed. RCU does that in interrupts, where there is no lazy MMU section to
# write it in: it takes a pair of switches, or none if the interrupt has hit a section. That is not the same in two kernels.
BY_CHANCE = ("pageattr_pte_entry",)
SET_MEMORY = ("set_memory_pkey",)
SWITCHES = ("__switch_to",)
# A linear map of pages takes a table for each of so many pages of memory, one of blocks does not.
PAGES_OF_TABLE = 512
# System calls and context switches have to stay as they are.
UNCHANGED = ("null-syscall", "ping-pong")
# Writes of the register in one of these, on average: a page fault may fall among them.
SELDOM = 0.05
# More instructions where page tables could be hardened and are not: another compilation of the same. bench.ini lists what needs more.
OFF = 0.005
# Instructions that a context switch may take for the register: read, keep, compare.
SWITCH = 12


@dataclass(frozen=True)
class Kernel:
    """A section of bench.ini."""

    name: str
    about: str
    fragments: tuple[str, ...]
    args: tuple[str, ...]
    feature: str
    linear: str = "pages"
    por: str = ""
    more: Mapping[str, float] = field(default_factory=dict)

    @property
    def build(self) -> str:
        """A name for the configuration."""
        return "-".join(f for f in self.fragments if f not in ("arm64", "va-48")) or "-".join(self.fragments)


def _more(text: str) -> dict[str, float]:
    """Shares by operation, from "OPERATION PERCENT, ..."."""
    found = {}
    for item in filter(None, (i.strip() for i in text.split(","))):
        name, _, percent = item.partition(" ")
        if not re.fullmatch(r"\d+(\.\d+)?", percent.strip()):
            raise ValueError(f"more is '{item}', not OPERATION PERCENT")
        found[name] = float(percent) / 100
    return found


def read_kernels(path: Path) -> dict[str, Kernel]:
    parser = configparser.ConfigParser(interpolation=None)
    found = {}
    try:
        with open(path) as handle:
            parser.read_file(handle)
        for section in parser.sections():
            kind, _, name = section.partition(" ")
            if kind != "kernel" or not re.fullmatch(r"[\w-]+", name):
                raise ValueError(f"[{section}] is not a [kernel NAME]")
            row = parser[section]
            found[name] = Kernel(name, row["about"], tuple(row["build"].split()), tuple(row.get("args", "").split()), row.get("feature", ""),
                                 row.get("linear", "pages"), row.get("por", ""), _more(row.get("more", "")))
            if found[name].linear not in ("pages", "blocks"):
                raise ValueError(f"[{section}]: linear is '{found[name].linear}', not pages or blocks")
    except (OSError, KeyError, ValueError, configparser.Error) as error:
        raise Failure(f"{path}: {' '.join(str(error).split())}", "each section is [kernel NAME] with about and build") from None
    if len(found) < 2:
        raise Failure(f"{path} has nothing to compare", "list two kernels")
    return found


# ---------------------------------------------------------------------------------------------------------------
# What a run says


@dataclass
class Region:
    """Counts of one operation, all repetitions together."""

    user: int = 0
    total: dict[str, int] = field(default_factory=dict)  # kind -> count at EL1
    functions: dict[str, dict[str, int]] = field(default_factory=dict)  # name -> kind -> count


def parse_counts(text: str) -> dict[int, Region]:
    """What count.c wrote, by the number of the region."""
    lines = text.splitlines()
    if not lines or not lines[0].startswith("columns ") or lines[-1] != "end":
        raise Failure("the plugin's output is not whole", "see the guest's console log; did QEMU end early?", ui.NO_RESULTS)
    kinds = lines[0].split()[1:]
    regions: dict[int, Region] = {}
    region = Region()
    for line in lines[1:-1]:
        what, *words = line.split()
        if what == "region":
            region = regions[int(words[0])] = Region(total=dict.fromkeys(kinds, 0))
        elif what == "open":
            raise Failure(f"the guest did not end the region {words[0]}", "see its console log", ui.NO_RESULTS)
        else:
            counts = dict(zip(kinds, map(int, words[1:])))
            if what == "user":
                region.user = counts["insn"]
                continue
            name = "(modules)" if what == "other" else words[0]
            for kind, count in counts.items():
                region.total[kind] += count
            # Local functions may share a name.
            known = region.functions.setdefault(name, dict.fromkeys(kinds, 0))
            for kind, count in counts.items():
                known[kind] += count
    return regions


@dataclass
class Operation:
    """One operation on one kernel, per repetition."""

    name: str
    times: int
    counts: dict[str, float]
    functions: dict[str, dict[str, float]]
    nanoseconds: float = 0

    def to_json(self) -> dict:
        return dataclasses.asdict(self)


def operations(console: str, counts: str) -> dict[str, Operation]:
    """What a guest said on its @console, with the @counts of the plugin."""
    if "bench end" not in console:
        failed = re.search(r"bench failed: .*|Kernel panic - .*", console)
        raise Failure(f"the guest did not end its work{': ' + failed[0].strip() if failed else ''}", "see its console log",
                      ui.GUEST_PANIC if failed and "panic" in failed[0] else ui.NO_RESULTS)
    regions = parse_counts(counts)
    found = {}
    for number, name, times, took in re.findall(r"^bench op (\d+) (\S+) (\d+) (\d+)\r?$", console, re.M):
        region = regions.get(int(number))
        if not region or not region.total["insn"]:
            raise Failure(f"nothing was counted for {name}", "are its marks where they should be (kunit/bench/guest/bench.c)?", ui.NO_RESULTS)
        n = int(times)
        totals = {kind: count / n for kind, count in region.total.items() if kind != "call"}
        for kind, names in (("tables", TABLES), ("keyed", KEYED), ("unkeyed", UNKEYED), ("set_memory", SET_MEMORY),
                            ("switches", SWITCHES)):
            totals[kind] = sum(region.functions.get(f, {}).get("call", 0) for f in names) / n
        totals["user"] = region.user / n
        functions = {f: {k: c / n for k, c in row.items()} for f, row in region.functions.items()}
        found[name] = Operation(name, n, totals, functions, int(took) / n)
    if not found:
        raise Failure("the guest measured nothing", "see its console log", ui.NO_RESULTS)
    return found


def memory(console: str) -> tuple[int, int]:
    """kB that the kernel had available when it booted, and of how many."""
    found = re.search(r"Memory: (\d+)K/(\d+)K available", console)
    if not found:
        raise Failure("the kernel does not say what memory it has", "see its console log", ui.NO_RESULTS)
    return int(found[1]), int(found[2])


def refused(console: str, args: Sequence[str]) -> str:
    """Which of @args the kernel refused, '' if none."""
    for line in re.findall(r"Invalid option string.*|Unknown kernel command line parameters.*", console):
        for arg in args:
            if arg in line or f"'{arg.partition('=')[2]}'" in line:
                return arg
    return ""


@dataclass
class Measured:
    """What all guests of a run said and counted."""

    found: dict[str, dict[str, Operation]]  # kernel -> operation
    repeat: tuple[float, str]  # how far a second run is from the first one, and where
    memory: dict[str, tuple[int, int]] = field(default_factory=dict)


def miscounted_tables(operations_: Mapping[str, Operation]) -> tuple[float, str]:
    """How far the counts of page tables on a hardened kernel are apart, as a part of them, and for which operation.

    Those that came into use are those that were given a pkey, and set_memory_pkey() ran for each that was given or lost one. Less than
    one in an operation is one in many repetitions.
    """
    worst = (0.0, "")
    for name, operation in operations_.items():
        c = operation.counts
        for one, other in ((c["tables"], c["keyed"]), (c["set_memory"], c["keyed"] + c["unkeyed"])):
            worst = max(worst, (abs(one - other) / max(one, other, 1.0), name if one != other else ""))
    return worst


def unlike_mock(one: Mapping[str, Operation], other: Mapping[str, Operation]) -> tuple[float, str]:
    """How far the mock is from the real register in what is written and synchronised, as a part of it, and where."""
    worst = (0.0, "")
    for name in one.keys() & other.keys():
        for kind in ("por_write", "isb"):
            a, b = (o.counts[kind] - sum(o.functions.get(f, {}).get(kind, 0.0) for f in BY_CHANCE) for o in (one[name], other[name]))
            worst = max(worst, (abs(a - b) / max(a, b, 1.0), f"{name}: {kind}" if a != b else ""))
    return worst


def wrong_linear_maps(run: Measured, kernels: Mapping[str, Kernel]) -> list[str]:
    """The kernels whose linear map is not what bench.ini says, by what it takes of their memory; the first one's is of pages."""
    base = next(iter(run.found))
    wrong = []
    for name, (free, total) in run.memory.items():
        saved = free - run.memory[base][0]
        if (saved > total / PAGES_OF_TABLE / 2) != (kernels[name].linear == "blocks"):
            wrong.append(f"{name}: {saved:+d} kB")
    return wrong


def deviation(one: Mapping[str, Operation], other: Mapping[str, Operation]) -> tuple[float, str]:
    """The largest difference in what two runs counted, as a part of it, and where it is."""
    if set(one) != set(other):
        return 1.0, f"operations that only one run has: {', '.join(sorted(set(one) ^ set(other)))}"
    worst = (0.0, "")
    for name, operation in one.items():
        for kind in operation.counts:
            apart = benchreport.apart(operation.counts, other[name].counts, kind)
            worst = max(worst, (apart, f"{name}: {kind}" if apart else ""))
    return worst


# ---------------------------------------------------------------------------------------------------------------
# What runs


def history() -> Path:
    """One line for each run: not in the output directory, which 'make clean' removes."""
    return settings.cache() / "bench" / "history.jsonl"


def on_top() -> list[Path]:
    """The patches that benchmarks need on top of the series."""
    return [patch for name in trees.OUT_OF_SERIES for patch in sorted((settings.PROJECT / "patches" / name).glob("*.patch"))]


def patched_series() -> trees.Series:
    """The kernel series with what benchmarks need on top."""
    series = trees.linux_series()
    return dataclasses.replace(series, patches=[*series.patches, *on_top()])


def content(tree: Path, patches: Sequence[Path] = ()) -> str:
    """git's id of what @tree's commit is without @patches on top, as verify's for just the series; '' if it is not that and nothing else.

    Nothing is written into @tree, which may be the user's.
    """
    git = ["git", "-C", tree]
    if proc.output([*git, "status", "--porcelain", "--untracked-files=no"], check=False):
        return ""
    head = proc.output([*git, "rev-parse", "--verify", "--quiet", "HEAD^{tree}"], check=False)
    if not head or not patches:
        return head
    objects = proc.output([*git, "rev-parse", "--path-format=absolute", "--git-path", "objects"])
    with tempfile.TemporaryDirectory() as scratch:
        env = dict(os.environ, GIT_INDEX_FILE=f"{scratch}/index", GIT_OBJECT_DIRECTORY=scratch, GIT_ALTERNATE_OBJECT_DIRECTORIES=objects)
        proc.run([*git, "read-tree", "HEAD"], env=env, capture=True)
        for patch in reversed(patches):
            if proc.run([*git, "apply", "--cached", "-R", "--whitespace=nowarn", patch], env=env, capture=True, check=False).returncode:
                return ""
        return proc.output([*git, "write-tree"], env=env)


def subject() -> tuple[verify.Subject, bool]:
    """The tree to measure, and whether it has the patches that benchmarks need: TREE= stands as it is."""
    if settings.tree():
        what = verify.subject()
        has_patches = "KPKEYS_BENCH_UNBATCHED" in (what.tree / "security" / "Kconfig.hardening").read_text()
        return dataclasses.replace(what, content=content(what.tree, on_top() if has_patches else ())), has_patches
    series = patched_series()
    tree = settings.out() / "bench" / "src"
    base, dirty = trees.checkout(series, tree)
    return verify.Subject(tree, series.name + ("-dirty" if dirty else ""), base, content(tree, on_top())), True


def _plugin(out: Path) -> Path:
    """The plugin, built with the header of the QEMU that is going to load it."""
    base = trees.qemu_series().base
    header = proc.output(["git", "-C", sources.repository(base), "show", "base:include/qemu/qemu-plugin.h"])
    include = out / "include"
    include.mkdir(parents=True, exist_ok=True)
    (include / "qemu-plugin.h").write_text(header + "\n")
    tools = toolroot.get()
    flags = tools.run(["pkg-config", "--cflags", "glib-2.0"], capture=True, failure=Failure("glib is missing", "see README.md")).stdout.split()
    tools.run(["gcc", "-O2", "-Wall", "-shared", "-fPIC", *flags, f"-I{include}", SOURCES / "count.c", "-o", out / "count.so"],
              log=settings.out() / "log" / "bench-plugin.log", failure=Failure("the plugin does not build", status=ui.BUILD_FAILED))
    return out / "count.so"


def _init(out: Path) -> Path:
    toolroot.get().run(["aarch64-linux-gnu-gcc", "-O2", "-Wall", "-s", "-static", SOURCES / "guest" / "bench.c", "-o", out / "init"],
                       log=settings.out() / "log" / "bench-init.log",
                       failure=Failure("the benchmark's PID 1 does not build", status=ui.BUILD_FAILED))
    return out / "init"


def _map(build: Path) -> str:
    """The functions of the kernel in @build, for the plugin: 'ADDRESS NAME' lines, one for each address."""
    found: dict[int, str] = {}
    for line in (build / "System.map").read_text().splitlines():
        address, kind, name = line.split(maxsplit=2)
        if kind in "tTwW" and int(address, 16) >> 55 & 1 and not name.startswith("$"):
            # Global names say more than local ones.
            if int(address, 16) not in found or kind == "T":
                found[int(address, 16)] = name
    return "".join(f"{address:x} {name}\n" for address, name in sorted(found.items()))


def _refuse_unknown(functions: str, entry: Kernel) -> None:
    """Raise a Failure if a function whose calls are counted is not in the map @functions of @entry's kernel: it would count as never called."""
    there = {line.split()[1] for line in functions.splitlines()}
    gone = [name for name in (*TABLES, *SET_MEMORY, *SWITCHES, *((*KEYED, *UNKEYED) if entry.feature else ())) if name not in there]
    if gone:
        raise Failure(f"kernel '{entry.name}' has no function {', '.join(gone)} whose calls could be counted",
                      "renamed, or inlined: see TABLES in scripts/kpkeyslib/bench.py", ui.NO_RESULTS)


@dataclass(frozen=True)
class Built:
    image: Path
    map: Path
    module: Path


def _build(what: verify.Subject, entry: Kernel, out: Path) -> Built:
    """@entry's kernel, the benchmark's module for it, and its list of functions."""
    build = out / f"build-{entry.build}"
    fragments = [guests.CONFIGS / f"{f}.config" for f in entry.fragments]
    for fragment in fragments:
        if not fragment.is_file():
            raise Failure(f"kunit/bench/bench.ini: [kernel {entry.name}]: there is no fragment {fragment}", "see configs/")
    image = kernel.build(what.tree, build, guests.Kernel(entry.build, fragments), ("Image", "modules"))
    module = kernel.build_module(what.tree, build, SOURCES / "module", out / f"module-{entry.build}")
    functions = out / f"functions-{entry.build}"
    functions.write_text(_map(build))
    _refuse_unknown(functions.read_text(), entry)
    return Built(image, functions, module)


def _debian(out: Path) -> Path:
    """The tree of the programs that are measured."""
    include = toolroot.packages(PACKAGES)
    return userland.unpacked(include, out, "bench-debian", "the benchmark's user land")


@dataclass(frozen=True)
class Machine:
    """What all guests have in common."""

    qemu: qemu.Qemu
    plugin: Path

    def argv(self, built: Built, entry: Kernel, archive: Path, memory: int, words: Sequence[str], counts: Path) -> list[str | Path]:
        """QEMU's command line. Nothing in it depends on the host's time or on chance."""
        # Without instructions that copy or clear a page at once: the CPU of the published figures has none.
        line = ["console=ttyAMA0", "panic=-1", "oops=panic", "norandmaps", "arm64.nomops", *entry.args, "--", *words]
        options = f"{self.plugin},out={counts},map={built.map}" + (f",por={entry.por}" if entry.por else "")
        return [self.qemu.program, "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
                "-machine", "virt,gic-version=3,its=off,dtb-randomness=off", "-accel", "tcg", "-icount", "shift=0,sleep=off",
                "-seed", "1", "-rtc", "base=2026-01-01,clock=vm", "-cpu", "max,pauth-impdef=on", "-smp", "1", "-m", f"{memory}M",
                "-kernel", built.image, "-initrd", archive, "-append", " ".join(line), "-plugin", options]

    def run(self, built: Built, entry: Kernel, archive: Path, memory: int, words: Sequence[str], directory: Path,
            name: str) -> dict[str, Operation]:
        """Boot, and return what was measured. The console and the counts stay in @directory."""
        directory.mkdir(parents=True, exist_ok=True)
        counts, console = directory / f"{name}.counts", directory / f"{name}.console"
        counts.unlink(missing_ok=True)
        remedy = f"its console is {console}"
        try:
            done = self.qemu.run(self.argv(built, entry, archive, memory, words, counts), capture=True, check=False,
                                 timeout=settings.timeout() * 15)
        except subprocess.TimeoutExpired as error:
            console.write_bytes(error.stdout or b"")
            raise Failure(f"the guest of kernel '{entry.name}' ran for more than {error.timeout:g} seconds", "TIMEOUT= allows more; " + remedy,
                          ui.GUEST_HANG) from None
        text = (done.stdout + done.stderr).replace("\r", "")
        console.write_text(text)
        try:
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
                raise Failure(f"QEMU exited with {done.returncode}: {last}", "", ui.NO_RESULTS)
            found = operations(text, counts.read_text() if counts.exists() else "")
            if refused(text, entry.args):
                raise Failure(f"the kernel does not take the argument {refused(text, entry.args)}", status=ui.TEST_FAILED)
            feature = re.search(r"kpkeys_hardened_pgtables: (enabled|disabled)", text)
            if (feature[1] if feature else "") != entry.feature:
                raise Failure(f"of hardened page tables the kernel says '{feature[1] if feature else 'nothing'}', not '{entry.feature or 'nothing'}'",
                              status=ui.TEST_FAILED)
        except Failure as failure:
            raise Failure(f"kernel '{entry.name}': {failure.message}", remedy, failure.status) from None
        return found


@dataclass(frozen=True)
class Job:
    """A guest to run: what is measured of a kernel, or measured again to see that it is the same."""

    kernel: str
    kind: str
    again: bool = False


def plan(kernels: Mapping[str, Kernel], quick: bool) -> list[Job]:
    """All guests of a run. The first kernel repeats its operations, and the one that matters most all it does if there is time for that."""
    jobs = [Job(name, "operations") for name in kernels] + [Job(next(iter(kernels)), "operations", True)]
    if not quick:
        jobs += [Job(name, "programs") for name in kernels]
        if "batched" in kernels:
            jobs += [Job("batched", "operations", True), Job("batched", "programs", True)]
    return jobs


def repeated(done: Mapping[Job, Mapping[str, Operation]]) -> tuple[float, str]:
    """The largest difference of all that was run again, and where it is."""
    worst = (0.0, "")
    for job, result in done.items():
        if job.again:
            apart, where = deviation(done[Job(job.kernel, job.kind)], result)
            worst = max(worst, (apart, f"{job.kernel}: {where}" if where else ""))
    return worst


def at_once(megabytes: int, meminfo: str) -> int:
    """How many guests of @megabytes to run together: J of them, as far as the memory that is available goes."""
    available = re.search(r"^MemAvailable: +(\d+) kB$", meminfo, re.M)
    return max(1, min(settings.jobs(), int(available[1]) // 1024 // (megabytes + QEMU_ITSELF))) if available else 1


def _root(out: Path, name: str, init: Path, module: Path | None, programs: bool) -> Path:
    """The initramfs of one kernel: the benchmark, and below it Debian if @programs."""
    root = out / f"root-{name}"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    shutil.copy2(init, root / "init")
    if module:
        shutil.copy2(module, root / module.name)
    below = None
    if programs:
        below = _debian(out)
        for source in ("programs.list", "build.sh"):
            shutil.copy2(SOURCES / "guest" / source, root / source)
    archive = selftests.make_initramfs(root, out / f"initramfs-{name}.cpio", without=userland.UNUSED if programs else (), below=below)
    shutil.rmtree(root)
    return archive


def measure(kernels: Mapping[str, Kernel], what: verify.Subject, machine: qemu.Qemu, out: Path,
            quick: bool) -> Measured:
    """Build and run all @kernels, and some of them again."""
    size, rounds, loops = QUICK if quick else FULL
    with ui.step("benchmark: building plugin and programs"):
        common = Machine(machine, _plugin(out))
        init = _init(out)
    built: dict[str, Built] = {}
    for entry in kernels.values():
        if entry.build not in built:
            built[entry.build] = _build(what, entry, out)
    archives = {name: _root(out, name, init, b.module, False) for name, b in built.items()}
    large = None
    if not quick:
        with ui.step("benchmark: packing the user land") as line:
            large = _root(out, "programs", init, None, True)
            line.detail = f"{large.stat().st_size >> 20} MB"
    words = [f"size={size}", f"rounds={rounds}", f"loops={loops}", "module=/kpkeys_bench.ko"]
    jobs = plan(kernels, quick)
    needs = {"operations": 2 * size + 512, "programs": 2048}
    together = at_once(max(needs[j.kind] for j in jobs), Path("/proc/meminfo").read_text())

    def job(item: Job) -> dict[str, Operation]:
        entry = kernels[item.kernel]
        b, directory, memory_ = built[entry.build], out / "runs" / (item.kernel + "-again" * item.again), needs[item.kind]
        if item.kind == "programs":
            return common.run(b, entry, large, memory_, ["programs=/programs.list"], directory, item.kind)
        return common.run(b, entry, archives[entry.build], memory_, words, directory, item.kind)

    with ui.step(f"benchmark: {len(jobs)} guests, {together} at a time, {size} MB mapped") as line:
        begin = time.monotonic()
        with ThreadPoolExecutor(together) as pool:
            try:
                results = list(pool.map(job, jobs))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                proc.end_all()
                raise
        line.detail = f"{time.monotonic() - begin:.0f} s"
    done = dict(zip(jobs, results))
    found: dict[str, dict[str, Operation]] = {name: {} for name in kernels}
    for item, result in done.items():
        if not item.again:
            found[item.kernel].update(result)
    return Measured(found, repeated(done), {name: memory((out / "runs" / name / "operations.console").read_text()) for name in kernels})


# ---------------------------------------------------------------------------------------------------------------
# Bars


def _bar(name: str, value: str, bar: str, met: bool, note: str = "") -> dict:
    return {"name": name, "value": value, "bar": bar, "met": met, "note": note}


def bars(run: Measured, kernels: Mapping[str, Kernel], base: str, model: Mapping | None, estimates: Mapping[str, Mapping[str, float]],
         published: Mapping[str, benchmodel.Published], whole: bool) -> list[dict]:
    """What must hold, and whether it does; what cannot be told is missed if the run is a @whole one."""
    found, repeat, linear = run.found, run.repeat, wrong_linear_maps(run, kernels)
    rows = [_bar(f"two runs count the same ({repeat[1] or 'all'})", f"{repeat[0] * 100:.4f} %", f"<= {REPEATABLE * 100:g} %", repeat[0] <= REPEATABLE),
            _bar("linear maps are as bench.ini says, by free memory", ", ".join(linear) or "all", "all", not linear)]
    for kernel_name, operations_ in found.items():
        for name in UNCHANGED:
            if kernel_name == base:
                continue
            if name not in operations_ or name not in found[base]:
                rows.append(_bar(f"{kernel_name}: {name}", "not measured", "", False))
                continue
            here, there = operations_[name].counts, found[base][name].counts
            allowed = there["insn"] * REPEATABLE
            # What there is to switch is told by the first kernel, which knows no register; a system call switches nothing.
            switches = there["switches"] if name == "ping-pong" and kernels[kernel_name].feature == "enabled" else 0.0
            allowed += SWITCH * switches
            more = here["insn"] - there["insn"]
            rows.append(_bar(f"{kernel_name}: {name}: instructions over '{base}'", f"{more:+.2f}", f"<= {allowed:.2f}", more <= allowed))
            rows.append(_bar(f"{kernel_name}: {name}: writes of POR_EL1", f"{here['por_write']:.2f}", f"<= {SELDOM:g}", here["por_write"] <= SELDOM))
            if kernels[kernel_name].feature == "enabled":
                reads = there["por_read"] + switches + SELDOM
                rows.append(_bar(f"{kernel_name}: {name}: reads of POR_EL1", f"{here['por_read']:.2f}", f"<= {reads:.2f}", here["por_read"] <= reads))
    for kernel_name in (n for n in found if kernels[n].feature == "enabled"):
        apart, where = miscounted_tables(found[kernel_name])
        rows.append(_bar(f"{kernel_name}: page tables made are those that were given a pkey", f"{apart * 100:.1f} % apart", f"<= {NEARLY * 100:g} %",
                         apart <= NEARLY, where))
    if "mock" in found and "batched" in found:
        apart, where = unlike_mock(found["mock"], found["batched"])
        rows.append(_bar("mock: writes of the register and ISBs are those of 'batched'", f"{apart * 100:.1f} % apart", f"<= {NEARLY * 100:g} %",
                         apart <= NEARLY, where))
    for name, row in published.items():
        if not row.bar:
            continue
        for kernel_name in (n for n in found if kernels[n].feature == "disabled"):
            rows.append(_off(kernel_name, name, found[kernel_name].get(name), found[base].get(name), kernels[kernel_name].more.get(name, OFF)))
        value = estimates.get("batched", {}).get(name)
        if value is not None:
            told = benchmodel.told_apart(value, row.limit, model["check_error"])
            insns = (found["batched"][name].counts["insn"] / found[base][name].counts["insn"] - 1) * 100
            note = f"published {row.batched:+g} %; instructions alone {insns:+.2f} %; error of the model {model['check_error'] * 100:.1f} %"
            note += "" if told else ": the model cannot tell"
            rows.append(_bar(f"batched: {name}: estimated overhead", f"{value:.2f} %", f"< {row.limit:g} %", value < row.limit,
                             "; ".join([note, *_moved(found["batched"][name], found[base][name])])))
        elif whole:
            rows.append(_bar(f"batched: {name}: estimated overhead", "no estimate", f"< {row.limit:g} %", False))
    return rows


def _off(kernel_name: str, name: str, here: Operation | None, there: Operation | None, allowed: float) -> dict:
    """The bar of an operation where hardening is off, and what it adds even so."""
    title = f"{kernel_name}: {name}: instructions"
    if not here or not there:
        return _bar(title, "not measured", f"<= {allowed * 100:+g} %", False)
    before = there.counts["insn"]
    more = here.counts["insn"] / before - 1
    return _bar(title, f"{more * 100:+.2f} %", f"<= {allowed * 100:+g} %", more <= allowed, ", ".join(_moved(here, there)))


def _moved(here: Operation, there: Operation) -> list[str]:
    """The functions that make most of a difference, in percent of all instructions: two that have more of them, two that have less.

    What has less is not what hardening does, but what differs with the pages that were free.
    """
    before = there.counts["insn"]
    moved = sorted((here.functions.get(f, {}).get("insn", 0) - there.functions.get(f, {}).get("insn", 0), f) for f in {**here.functions, **there.functions})
    return [f"{f} {count / before * 100:+.2f} %" for count, f in [*moved[:-3:-1], *moved[:2]] if abs(count) > before * OFF]


# ---------------------------------------------------------------------------------------------------------------
# The command


def evaluate(run: Measured, kernels: Mapping[str, Kernel], published: Mapping[str, benchmodel.Published], whole: bool = True) -> dict:
    """All that follows from the counts, for bench.json."""
    found = run.found
    base = next(iter(found))
    before = found[base]

    def points(kernel_name: str, of: str, only_fit: bool) -> list[benchmodel.Point]:
        rows = found.get(kernel_name, {})
        return [benchmodel.Point(name, rows[name].counts, before[name].counts, getattr(row, of))
                for name, row in published.items() if name in rows and name in before and (row.fit or not only_fit)]

    training = points("unbatched", "unbatched", True)
    result: dict = {"base": base, "estimates": {}, "model": None}
    if len(training) >= len(benchmodel.PRICES) + 2:
        fit = benchmodel.fit(training)
        checked = points("batched", "batched", True)
        result["model"] = {"prices": dict(zip(benchmodel.PRICES, fit.prices)), "error": fit.error, "rows": list(fit.rows),
                           "spread": dict(zip(benchmodel.PRICES, fit.spread)), "left_out": fit.left_out,
                           "left_out_error": fit.left_out_error, "tried": fit.tried,
                           "check_error": benchmodel.check(checked, fit.prices), "check_rows": [p.operation for p in checked]}
        result["estimates"] = {name: {op: benchmodel.overhead(o.counts, before[op].counts, fit.prices)
                                      for op, o in rows.items() if op in before}
                               for name, rows in found.items() if name != base}
    result["bars"] = bars(run, kernels, base, result["model"], result["estimates"], published, whole)
    return result


def bench(quick: bool, names: Sequence[str] = ()) -> int:
    """Measure, and write the reports; TEST_FAILED if a bar is missed."""
    start = time.monotonic()
    kernels = read_kernels(SOURCES / "bench.ini")
    published = benchmodel.read_published(SOURCES / "published.ini")
    for name in names:
        if name not in kernels:
            raise Failure(f"there is no kernel '{name}' in kunit/bench/bench.ini", f"kernels: {', '.join(kernels)}")
    base = next(iter(kernels))
    kernels = {n: k for n, k in kernels.items() if not names or n in names or n == base}
    out = settings.out() / "bench"
    with settings.lock(settings.out(), "the output directory"):
        machine = qemu.get()
        if not machine.ours:
            raise Failure("QEMU= cannot be used for the benchmark: the plugin is built for ours", "unset QEMU=")
        what, has_patches = subject()
        if not has_patches:
            left_out = [n for n, k in kernels.items() if {"bench-unbatched", "mock"} & set(k.fragments)]
            kernels = {n: k for n, k in kernels.items() if n not in left_out}
            ui.note(f"{what.tree} lacks patches/bench and patches/mock: without {', '.join(left_out)}, and so without the model")
        run = measure(kernels, what, machine, out, quick)
        evaluated = evaluate(run, kernels, published, has_patches and not names)
        size, rounds, loops = QUICK if quick else FULL
        data = {"when": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"), "quick": quick, "series": what.series, "content": what.content,
                "base_tree": what.base, "qemu": machine.version, "compiler": " ".join(settings.llvm()), "size": size, "rounds": rounds,
                "loops": loops, "seconds": round(time.monotonic() - start, 1),
                "kernels": {n: dataclasses.asdict(k) for n, k in kernels.items()},
                "published": {n: dataclasses.asdict(p) for n, p in published.items()},
                **evaluated, "operations": {n: {o: r.to_json() for o, r in rows.items()} for n, rows in run.found.items()}}
        text = benchreport.write(data, out, history())
    print("\n" + text)
    return ui.TEST_FAILED if any(not bar["met"] for bar in evaluated["bars"]) else ui.PASS
