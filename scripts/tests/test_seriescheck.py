# SPDX-License-Identifier: GPL-2.0-only
"""series-check on a toy kernel: sparse, spatch and clang are real, kbuild and kpkeys-lint are toys."""

from __future__ import annotations

import json
import sys
import tempfile
import types
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

from kpkeyslib import kernel, seriescheck, ui  # noqa: E402
from support import PROJECT, Project, git, tool_root, write  # noqa: E402

# As kbuild: compiles what is not newer than its source or a header, has C=2 CHECK=program.
TOY_MAKEFILE = """\
VERSION = 7
PATCHLEVEL = 3
SUBLEVEL = 4
.PHONY: Image mm/ arch/arm64/mm/
Image mm/ arch/arm64/mm/:
\t@set -e; for f in arch/arm64/mm/toy.c mm/k.c mm/hardened.c; do \\
\t\t[ -f $$f ] || continue; o=$(O)/$${f%.c}.o; \\
\t\tif [ ! -f $$o ] || [ -n "$$(find $$f include -newer $$o)" ]; then \\
\t\t\techo "  CC      $${f%.c}.o"; mkdir -p $${o%/*}; \\
\t\t\t$(lastword $(CC)) -Iinclude -c -o $$o $$f 2>&1; \\
\t\tfi; \\
\t\tif [ "$(C)" = 2 ]; then $(CHECK) -D__KERNEL__ -I$(CURDIR)/include $(CURDIR)/$$f; fi; \\
\tdone
\t@mkdir -p $(O)/arch/arm64/boot
\t@cat arch/arm64/mm/toy.c > $(O)/arch/arm64/boot/Image
"""

# As merge_config.sh. Kconfig offers hardened page tables once there is their source, if there are kpkeys.
TOY_MERGE = """\
#!/bin/sh
shift 2
build=$1
shift
if [ -f mm/hardened.c ] && grep -q KPKEYS= "$@"; then cat "$@"; else cat "$@" | grep -v HARDENED; fi > "$build/.config"
"""

TOY_COCCICHECK = """\
#!/bin/bash
# As the kernel's, for one semantic patch.
[ "$MODE" = report ] && [ -f "$COCCI" ] || exit 1
grep -rq CRASH $srcroot && exit 3
grep -rq SLOW $srcroot && echo "An error occurred when attempting to transform some files."
grep -q OCAML $COCCI && { echo "No OCaml compiler found! Install either ocamlopt or ocamlopt.opt"; exit 255; }
exec spatch -D $MODE --no-show-diff --very-quiet --cocci-file $COCCI --dir $srcroot ${LINUXINCLUDE//-I/-I } $SPFLAGS
"""

TOY_COCCI = """\
virtual report
@r@
position p;
@@
 bad_call@p(...)

@script:python depends on report@
p << r.p;
@@
coccilib.report.print_report(p[0], "WARNING: bad_call() is bad")
"""

TOY_DATABASE = """\
import json, os, sys
src = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
found = [os.path.join(src, f) for f in ("arch/arm64/mm/toy.c", "mm/k.c", "mm/hardened.c") if os.path.exists(os.path.join(src, f))]
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert os.path.isdir(options["-d"])
json.dump([{"directory": options["-d"], "file": f, "command": "clang " + f} for f in found], open(options["-o"], "w"))
"""

# As kpkeys-lint: BADCTX is what a unit shows by itself, UNGUARDED what takes the program.
TOY_LINT = r"""#!/usr/bin/env python3
import json, os, sys
options = dict(a.lstrip("-").partition("=")[::2] for a in sys.argv[1:] if a.startswith("--"))
path = sys.argv[sys.argv.index("-p") + 1]
units = [entry["file"] for entry in json.load(open(path))]
found = []
for unit in units:
    for number, line in enumerate(open(unit), 1):
        for mark, check, message in (("BADCTX", "context-constant", "no constant"), ("UNGUARDED", "pgtable-guard", "no guard")):
            if mark in line and (check == "context-constant" or "per-unit" not in options):
                found.append({"file": unit, "line": number, "severity": "warning", "message": message, "check": check})
        if "NOPARSE" in line:
            sys.exit("error: cannot parse " + unit)
if "per-unit" not in options:
    found.append({"file": options["exemptions"], "line": 1, "severity": "error", "message": "nothing to exempt", "check": "unused-exemption"} )
    if "EXEMPT" in "".join(open(unit).read() for unit in units):
        found.pop()
    json.dump({"complete": True, "problems": [], "summary": {}, "findings": found}, open(options["json"], "w"))
for f in found:
    print("%(file)s:%(line)d:1: %(severity)s: %(message)s [%(check)s]" % f)
sys.exit(1 if found and options.get("fail-on") != "never" else 0)
"""

# The base has one finding of each kind, which is nobody's fault.
BASE_K = '#include "k.h"\nint bad_call(int x);\nint k(int x)\n{\n\treturn bad_call(x);\n}\n'
TOY_C = "".join(f"static int line{n};\n" for n in range(1, 11))
HARDENED = "static int hardened; /* EXEMPT */\n"
STEPS = [
    ("toy: First", {"arch/arm64/mm/toy.c": TOY_C + "static int eleven;\n"}),
    ("mm: Add hardened", {"mm/hardened.c": HARDENED, "include/k.h": "#define K 2\n"}),
]
NEW = ["sparse", "coccicheck", "lint"]


class Configuration(unittest.TestCase):
    """What the fragments ask for, and what came of it."""

    def test_symbols_that_are_left_out(self):
        """They have to be off, and nothing else may be."""
        with tempfile.TemporaryDirectory() as name:
            fragment = write(Path(name) / "toy.config", "CONFIG_TOY=y\nCONFIG_KPKEYS_TOY=y\n")

            def check(config: str, left_out: str) -> None:
                kernel.check_config(write(Path(name) / ".config", config), [fragment], left_out)

            check("CONFIG_TOY=y\nCONFIG_KPKEYS_TOY=y\n", "")
            check("CONFIG_TOY=y\n", "CONFIG_KPKEYS_")
            for config, left_out, lost in (("CONFIG_TOY=y\n", "", "CONFIG_KPKEYS_TOY"), ("", "CONFIG_KPKEYS_", "CONFIG_TOY"),
                                           ("CONFIG_TOY=y\nCONFIG_KPKEYS_TOY=y\n", "CONFIG_KPKEYS_", "CONFIG_KPKEYS_TOY")):
                with self.assertRaisesRegex(ui.Failure, f"^1 requested symbol did not take: {lost}$"):
                    check(config, left_out)


class Cases(unittest.TestCase):
    """What a step's tree has of the cases that are expected of the whole series."""

    def test_case_of_a_suite(self):
        """The suite of a later patch may have a case of the same name."""
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        tree = Path(holder.name)
        git(tree, "init", "-q")
        write(tree / "mm/tests/toy_kunit.c", 'KUNIT_CASE_SLOW(guard_scope),\nKUNIT_CASE(guard_scopes),\n\t.name = "toy",\n')
        write(tree / "mm/tests/other_kunit.c", 'KUNIT_CASE(other),\n\t.name = "other",\n')
        git(tree, "add", "-A")
        git(tree, "commit", "-q", "-m", "base")
        step = types.SimpleNamespace(commit="HEAD")

        def has(suite: str, case: str) -> bool:
            return seriescheck.Check.defines(types.SimpleNamespace(src=tree), step, suite, case)

        self.assertTrue(has("toy", "guard_scope"))
        self.assertTrue(has("other", "other"))
        for suite, case in (("other", "guard_scope"), ("to", "guard_scope"), ("toy", "guard"), ("later", "guard_scope")):
            self.assertFalse(has(suite, case), (suite, case))


@unittest.skipUnless((tool_root() / "usr/bin/spatch").exists() and (tool_root() / "usr/bin/sparse").exists(),
                     "there is no tool root with sparse and coccinelle; 'scripts/kpkeys tools' makes it")
class SeriesCheck(unittest.TestCase):
    def setUp(self):
        self.project = Project(self)
        # As where the project is used: it is a git repository that does not know its output.
        git(self.project.path, "init", "-q", "-b", "main")
        kernel = self.project.kernel
        for name, text, mode in (("Makefile", TOY_MAKEFILE, 0o644), ("scripts/kconfig/merge_config.sh", TOY_MERGE, 0o755),
                                 ("scripts/coccicheck", TOY_COCCICHECK, 0o755), ("scripts/coccinelle/bad.cocci", TOY_COCCI, 0o644),
                                 ("scripts/checkpatch.pl", "exit 0;\n", 0o644), ("scripts/kernel-doc", "#!/bin/sh\n", 0o755),
                                 ("scripts/clang-tools/gen_compile_commands.py", TOY_DATABASE, 0o644),
                                 ("include/k.h", "#define K 1\n", 0o644), ("mm/k.c", BASE_K, 0o644), ("arch/arm64/mm/toy.c", TOY_C, 0o644)):
            write(kernel / name, text, mode)
        git(kernel, "add", "-A")
        git(kernel, "commit", "-q", "-m", "A toy of a kernel")
        git(kernel, "tag", "-f", "v7.3.4")
        tools = self.project.path / "tools"
        write(tools / "CMakeLists.txt", "cmake_minimum_required(VERSION 3.20)\nproject(toy NONE)\n"
              "configure_file(lint/toy ${CMAKE_BINARY_DIR}/bin/kpkeys-lint COPYONLY)\nadd_custom_target(kpkeys-lint)\n")
        write(tools / "lint/toy", TOY_LINT, 0o755)
        write(tools / "lint/exemptions.txt", "pgtable-guard mm/k.c::k a reason\n")
        write(tools / "lint/kpkeys-lint-check", (PROJECT / "tools/lint/kpkeys-lint-check").read_text(), 0o755)
        write(self.project.path / "configs/toy.config", "CONFIG_TOY=y\nCONFIG_KPKEYS_HARDENED_PGTABLES=y\n")
        write(self.project.path / "configs/kpkeys.config", "CONFIG_KPKEYS=y\n")
        guests = self.project.path / "kunit/guests.ini"
        guests.write_text(guests.read_text().replace("fragments = toy", "fragments = toy kpkeys"))
        self.steps = [(subject, dict(files)) for subject, files in STEPS]
        self.stored = ""

    def store(self) -> None:
        """Store self.steps as the series, unless it is that."""
        if self.stored == repr(self.steps):
            return
        self.stored = repr(self.steps)
        kernel, patches = self.project.kernel, self.project.patches
        git(kernel, "checkout", "-q", "-f", "--detach", "v7.3.4")
        for path in patches.glob("*.patch"):
            path.unlink()
        for subject, files in self.steps:
            for name, text in files.items():
                write(kernel / name, text)
            git(kernel, "add", "-A")
            git(kernel, "commit", "-q", "-m", subject)
        git(kernel, "format-patch", "-q", "-o", str(patches), "v7.3.4")
        git(kernel, "checkout", "-q", "-f", "master")
        (patches / "series").write_text("".join(f"{p.name}\n" for p in sorted(patches.glob("*.patch"))))

    def check(self, status: int = 0, **env) -> str:
        self.store()
        done = self.project.run("series-check", BASE="v7.3.4", **env)
        self.assertEqual(done.status, status, done.text)
        return done.text

    def outcomes(self) -> list[dict]:
        return list(json.loads((self.project.out / "series-check/summary.json").read_text())["patches"].values())

    def fails(self, number: int, check: str, says: str) -> None:
        """Just @check fails, for just patch @number, and @says why."""
        text = self.check(1)
        bad = [(n, c) for n, outcome in enumerate(self.outcomes(), 1) for c in outcome if not outcome[c]["ok"]]
        self.assertEqual(bad, [(number, check)], text)
        self.assertRegex("\n".join(self.outcomes()[number - 1][check]["problems"]), says)
        self.assertRegex(text, rf"problem: {number:04d} {check}: .*{says}")

    def results(self) -> list[Path]:
        return sorted((self.project.out / "series-check/results").glob("*.json"))

    def test_clean(self):
        text = self.check()
        self.assertRegex(text, r"patch +applies +clang +gcc +off +boot +checkpatch +kernel-doc +sparse +coccicheck +lint\n")
        first, second = self.outcomes()
        self.assertEqual((first["sparse"]["units"], second["sparse"]["units"]), (1, 2))
        self.assertEqual((first["lint"]["whole_program"], second["lint"]["whole_program"]), (False, True))
        self.assertEqual(first["coccicheck"]["scripts"], 1)
        self.assertEqual(self.check().count("known from an earlier run"), 2)

    def test_stubs_are_built_where_they_are_used(self):
        def built(name: str) -> str:
            return (self.project.out / f"series-check/build-{name}/build.log").read_text().splitlines()[0].split("-Otarget ")[1]

        self.check(FROM="1", TO="1")
        self.assertRegex(built("off"), r"^-j\d+ arch/arm64/mm/ mm/$")
        self.assertRegex(built("clang"), r"^-j\d+ Image$")
        self.check()
        self.assertRegex(built("off"), r"^-j\d+ Image$")

    def test_sparse(self):
        self.steps[0][1]["arch/arm64/mm/toy.c"] += "int exported;\n"
        self.fails(1, "sparse", r"toy\.c: warning: symbol 'exported' was not declared")

    def test_sparse_of_a_header(self):
        # No source that the patch touches includes it.
        self.steps[0][1]["mm/k.c"] = BASE_K + "/* touched */\n"
        self.steps[1][1]["include/k.h"] = "#define K 2\nint in_header;\n"
        self.fails(2, "sparse", "symbol 'in_header' was not declared")

    def test_sparse_that_fails(self):
        self.steps[0][1]["arch/arm64/mm/toy.c"] += "#ifdef __CHECKER__\n#error no checker\n#endif\n"
        # Without a header the next patch does not concern that unit.
        del self.steps[1][1]["include/k.h"]
        self.fails(1, "sparse", "error: no checker")

    def test_sparse_that_failed_before(self):
        # It exits with 0, and has not looked at the rest.
        self.steps[0][1]["mm/k.c"] = "#ifdef __CHECKER__\n__typeof_nonsense__(int) x;\n#endif\n" + BASE_K
        self.steps[1][1]["mm/k.c"] = "/* moved */\n" + self.steps[0][1]["mm/k.c"]
        self.check(1)
        for outcome in self.outcomes():
            self.assertRegex(" ".join(outcome["sparse"]["problems"]), r"mm/k\.c: error: ")

    def test_sparse_reads_what_compilers_do(self):
        self.steps[0][1]["arch/arm64/mm/toy.c"] += "static inline void f(volatile int *x)\n{\n\t__typeof_unqual__(*x) y = *x;\n\t(void)y;\n}\n"
        # As MODULE_LICENSE() has it.
        self.steps[0][1]["arch/arm64/mm/toy.c"] += '_Static_assert(sizeof("GPL") - 1 == __builtin_strlen("GPL"), "no NUL within");\n'
        self.check()

    def test_old_findings_do_not_count(self):
        self.steps[0][1]["mm/k.c"] = "/* moved */\n" + BASE_K
        self.check()

    def test_coccicheck(self):
        self.steps[0][1]["arch/arm64/mm/toy.c"] += "extern int bad_call(int);\nstatic inline int f(void)\n{\n\treturn bad_call(1);\n}\n"
        self.fails(1, "coccicheck", r"toy\.c: WARNING: bad_call\(\) is bad \[bad\.cocci\]")

    def test_coccicheck_a_second_one(self):
        self.steps[0][1]["mm/k.c"] = BASE_K.replace("return", "bad_call(2);\n\treturn")
        self.fails(1, "coccicheck", r"mm/k\.c: WARNING: bad_call")

    def test_coccicheck_that_fails(self):
        self.steps[0][1]["arch/arm64/mm/toy.c"] += "/* CRASH */\n"
        self.fails(1, "coccicheck", r"error: coccicheck exited with 3 \[bad\.cocci\]")

    def test_coccicheck_that_gives_up(self):
        # After its time for a file, with exit status 0.
        self.steps[0][1]["arch/arm64/mm/toy.c"] += "/* SLOW */\n"
        self.fails(1, "coccicheck", r"An error occurred .* \[bad\.cocci\]")

    def test_coccicheck_that_cannot_be_run(self):
        self.steps[0][1]["scripts/coccinelle/other.cocci"] = "virtual report\n// OCAML\n"
        self.assertIn("not run: coccicheck with other.cocci: no ocaml compiler found", self.check())
        self.assertEqual([o["coccicheck"]["scripts"] for o in self.outcomes()], [1, 1])

    def test_lint_of_a_unit(self):
        self.steps[0][1]["arch/arm64/mm/toy.c"] += "/* BADCTX */\n"
        text = self.check(1)
        first, second = self.outcomes()
        self.assertEqual(first["lint"]["problems"], ["arch/arm64/mm/toy.c: warning: no constant [context-constant]"])
        self.assertFalse(first["lint"]["whole_program"], text)
        # It is still there when the whole program is looked at.
        self.assertEqual(len(second["lint"]["problems"]), 1)

    def test_lint_of_the_program(self):
        # Without a guard as long as page tables cannot be hardened: that is how the series goes.
        self.steps[0][1]["arch/arm64/mm/toy.c"] += "/* UNGUARDED */\n"
        self.fails(2, "lint", r"toy\.c: warning: no guard \[pgtable-guard\]")
        self.steps[1][1]["arch/arm64/mm/toy.c"] = TOY_C
        self.check()

    def test_lint_exemption_that_nothing_needs(self):
        self.steps[1][1]["mm/hardened.c"] = "static int hardened;\n"
        self.steps.append(("mm: Last", {"mm/k.c": BASE_K + "/* touched, EXEMPT */\n"}))
        self.check()
        self.steps[2][1]["mm/k.c"] = BASE_K + "/* touched */\n"
        self.fails(3, "lint", r"nothing to exempt \[unused-exemption\]")

    def test_lint_that_fails(self):
        self.steps[0][1]["arch/arm64/mm/toy.c"] += "/* NOPARSE */\n"
        self.check(1)
        first, second = self.outcomes()
        self.assertRegex(" ".join(first["lint"]["problems"]), "error: lint exited with 1")
        self.assertRegex(" ".join(second["lint"]["problems"]), "kpkeys-lint exited with 1: error: cannot parse")

    def test_results_of_before_these_checks(self):
        self.check()
        old = {}
        for path in self.results():
            outcome = {k: v for k, v in json.loads(path.read_text()).items() if k not in NEW}
            outcome["gcc"]["mark"] = "not run again"
            path.write_text(json.dumps(outcome))
            old[path] = outcome
        text = self.check()
        self.assertEqual(text.count("(sparse, coccicheck, lint only)"), 2, text)
        for path, outcome in old.items():
            now = json.loads(path.read_text())
            self.assertEqual({k: now[k] for k in outcome}, outcome)
            self.assertEqual([k for k in NEW if now[k]["ok"]], NEW)
        self.assertEqual(self.results(), sorted(old))

    def test_only_what_has_another_tool_runs_again(self):
        self.check()
        (self.project.path / "tools/lint/exemptions.txt").write_text("pgtable-guard mm/k.c::k another reason\n")
        text = self.check()
        self.assertEqual(text.count("(lint only)"), 2, text)

    def test_a_build_that_fails(self):
        self.steps[0][1]["arch/arm64/mm/toy.c"] += "syntax error\n"
        self.check(3)
        first, second = self.outcomes()
        self.assertNotIn("sparse", first)
        self.assertNotIn("lint", first)
        self.assertIn("coccicheck", first)
        self.steps[1][1]["arch/arm64/mm/toy.c"] = TOY_C
        self.check(3)
        self.assertRegex(self.outcomes()[1]["sparse"]["problems"][0], "the tree before the patch does not build")
        # Nothing is missing of it that could be had.
        self.assertIn("1 of 2: 0001-toy-First: fails: clang, gcc, off, known", " ".join(self.check(3).split()))

    def test_help(self):
        done = self.project.run_command(self.project.path / "scripts/check-units", "--help")
        self.assertIn("KPKEYS_UNITS", done.out)


if __name__ == "__main__":
    unittest.main()
