# SPDX-License-Identifier: GPL-2.0-only
"""Forms of output, and what is shown and counted."""

import json
import os
import pty
import re
import subprocess
import unittest
from pathlib import Path

from support import BAD, BAD_PLACE, CLEAN, PROGRAM, LintTest

try:
    import jsonschema
except ImportError:
    jsonschema = None

SCHEMA = Path(__file__).resolve().parents[1] / "schema" / "sarif-2.1.0-subset.json"
SOURCES = Path(__file__).resolve().parents[2] / "lint" / "driver"


class FormTest(LintTest):
    def setUp(self):
        super().setUp()
        self.tree.add("mm/a b.c", BAD)
        self.tree.add("mm/clean.c", CLEAN)

    def test_text(self):
        done = self.lint(expect=1)
        line, column = BAD_PLACE
        first, source, caret = done.stdout.splitlines()[:3]
        self.assertRegex(first, rf"^mm/a b\.c:{line}:{column}: (error|warning): .* \[context-constant\]$")
        self.assertEqual(source, f"{line:5} | \tu64 por = kpkeys_set_context(x);")
        self.assertEqual(caret.index("^") - caret.index("|") - 2, column - 1)
        self.assertEqual(done.stderr, "kpkeys-lint: 2 units analysed, 1 findings\n")
        self.assertEqual(self.lint("--quiet", expect=1).stderr, "")

    def test_json(self):
        report = json.loads(self.lint("--format=json", expect=1).stdout)
        self.assertTrue(report["complete"])
        self.assertEqual(report["summary"]["analysed"], 2)
        finding = report["findings"][0]
        self.assertEqual((finding["check"], finding["file"], finding["line"], finding["column"]), ("context-constant", "mm/a b.c", *BAD_PLACE))
        self.assertRegex(finding["fingerprint"], "^[0-9a-f]{16}$")
        self.assertEqual(report["source_root"], str(self.tree.src))

    def test_github(self):
        line, column = BAD_PLACE
        self.assertRegex(self.lint("--format=github", expect=1).stdout,
                         rf"^::(error|warning) file=mm/a b\.c,line={line},col={column},title=kpkeys-lint context-constant::.*\n$")

    def test_reports_besides(self):
        done = self.lint(f"--json={self.tree.root}/r.json", f"--sarif={self.tree.root}/r.sarif", expect=1)
        self.assertIn("[context-constant]", done.stdout)
        self.assertEqual(len(json.loads((self.tree.root / "r.json").read_text())["findings"]), 1)
        self.assertEqual(json.loads((self.tree.root / "r.sarif").read_text())["version"], "2.1.0")

    def test_units_by_name(self):
        for name in ("mm/a b.c", str(self.tree.src / "mm/a b.c"), "../src/mm/a b.c"):
            self.assertEqual(self.places(name), [("context-constant", "mm/a b.c", *BAD_PLACE)])
        # All are analysed, what concerns the one is shown.
        self.assertIn("2 units analysed", self.lint("mm/clean.c").stderr)
        self.assertIn("1 units analysed", self.lint("--per-unit", "mm/clean.c").stderr)
        self.lint("--per-unit", "mm/a b.c", expect=1)

    def test_header_is_shown_with_each_unit_that_includes_it(self):
        self.tree.write("include/h.h", BAD.replace("void bad", "static inline void header"))
        self.tree.add("u.c", "#include <h.h>\nvoid f(void) { header(); }\n")
        self.assertEqual([p[1] for p in self.places("u.c")], ["include/h.h"])

    def test_checks_of_the_whole_program_need_it(self):
        self.assertIn("--per-unit", self.lint("--per-unit", "--checks=pgtable-guard,guard-scope", expect=2).stderr)
        self.lint("--per-unit", "--checks=level1", "mm/clean.c")

    def test_colour_and_progress_need_a_terminal(self):
        done = self.lint(expect=1)
        self.assertNotIn("\033", done.stdout + done.stderr)
        for env, colour in (({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
            with self.subTest(env=env):
                self.assertEqual("\033[0;1;" in self.on_terminal(env) or "\033[1m" in self.on_terminal(env), colour)
        self.assertIn("analysing 1/2", self.on_terminal({"TERM": "xterm"}))
        self.assertNotIn("analysing", self.on_terminal({"TERM": "dumb"}))

    def on_terminal(self, env: dict) -> str:
        master, slave = pty.openpty()
        environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
        with subprocess.Popen([PROGRAM, "-p", self.tree.build, "--no-cache", "-j1"], stdout=slave, stderr=slave,
                              env={**environment, **env}) as child:
            os.close(slave)
            text = b""
            while True:
                try:
                    more = os.read(master, 65536)
                except OSError:
                    break
                if not more:
                    break
                text += more
        os.close(master)
        self.assertEqual(child.returncode, 1)
        return text.decode()


class SarifTest(LintTest):
    @unittest.skipIf(jsonschema is None, "python3-jsonschema is not installed")
    def test_valid(self):
        schema = json.loads(SCHEMA.read_text())
        jsonschema.Draft7Validator.check_schema(schema)
        validator = jsonschema.Draft7Validator(schema)
        self.tree.add("mm/a b%.c", BAD)
        documents = [json.loads(self.lint("--format=sarif", expect=1).stdout)]
        self.tree.add("broken.c", "syntax error\n")
        documents.append(json.loads(self.lint("--format=sarif", expect=3).stdout))
        for document in documents:
            self.assertEqual([e.message for e in validator.iter_errors(document)], [])
        result = documents[0]["runs"][0]["results"][0]
        rules = documents[0]["runs"][0]["tool"]["driver"]["rules"]
        self.assertEqual(rules[result["ruleIndex"]]["id"], result["ruleId"])
        where = result["locations"][0]["physicalLocation"]
        self.assertEqual(where["artifactLocation"], {"uri": "mm/a%20b%25.c", "uriBaseId": "SRCROOT"})
        self.assertEqual((where["region"]["startLine"], where["region"]["startColumn"]), BAD_PLACE)
        self.assertEqual(documents[0]["runs"][0]["originalUriBaseIds"]["SRCROOT"]["uri"], f"file://{self.tree.src}/")
        self.assertFalse(documents[1]["runs"][0]["invocations"][0]["executionSuccessful"])
        # A schema that accepts anything would show nothing.
        for damage in (lambda d: d.pop("version"), lambda d: d["runs"][0]["results"][0].pop("message"),
                       lambda d: d["runs"][0]["results"][0].update(level="fatal"), lambda d: d["runs"][0].update(extra=1),
                       lambda d: d["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"].update(startLine=0),
                       lambda d: d["runs"][0]["tool"]["driver"].pop("name")):
            bad = json.loads(json.dumps(documents[0]))
            damage(bad)
            self.assertFalse(validator.is_valid(bad))


class CountingTest(LintTest):
    def setUp(self):
        super().setUp()
        self.tree.add("a.c", BAD)

    def baseline(self) -> Path:
        path = self.tree.root / "baseline.json"
        self.lint(f"--json={path}", expect=1)
        return path

    def test_baseline(self):
        path = self.baseline()
        done = self.lint(f"--baseline={path}")
        self.assertIn("(in the baseline)", done.stdout)
        self.assertIn("1 in the baseline", done.stderr)
        self.assertEqual(self.lint(f"--baseline={path}", "--new-only").stdout, "")

    def test_baseline_survives_lines_that_move(self):
        path = self.baseline()
        self.tree.write("a.c", "/* more\n * lines\n */\n" + BAD)
        self.lint(f"--baseline={path}")

    def test_baseline_does_not_hide_what_is_new(self):
        path = self.baseline()
        self.tree.write("a.c", BAD + BAD.replace("bad", "worse"))
        found = self.findings(f"--baseline={path}", "--new-only")
        self.assertEqual([f["function"] for f in found], ["worse"])

    def test_line_filter(self):
        line = BAD_PLACE[0]
        self.lint(f'--line-filter=[{{"name": "a.c", "lines": [[{line}, {line}]]}}]', expect=1)
        self.lint(f'--line-filter=[{{"name": "a.c", "lines": [[{line + 1}, 99]]}}]')
        path = self.tree.root / "filter"
        path.write_text('[{"name": "b.c"}]')
        self.lint(f"--line-filter={path}")

    def test_fail_on(self):
        self.lint("--fail-on=never")
        self.lint("--fail-on=note", expect=1)
        self.lint("--fail-on=warning", expect=1)

    def test_checks(self):
        self.lint("--checks=-context-*")
        self.lint("--checks=pgtable-guard,guard-scope")
        self.lint("--checks=level0", expect=1)
        self.lint("--checks=pgtable-guard,context-constant", expect=1)
        self.lint("--checks=level2,-context-constant", "--fail-on=error")

    def test_header_finding_is_told_once(self):
        self.tree.write("include/h.h", BAD.replace("void bad", "static inline void bad"))
        for n in range(5):
            self.tree.add(f"u{n}.c", f"#include <h.h>\nvoid f{n}(void) {{ bad(); }}\n")
        self.assertEqual(self.places(), [("context-constant", "a.c", *BAD_PLACE), ("context-constant", "include/h.h", *BAD_PLACE)])

    def test_list_of_constants(self):
        self.tree.add("clean.c", CLEAN)
        out = self.lint("--list=context-constant", "clean.c").stdout
        self.assertRegex(out, r"^clean\.c:4:\d+: 1 = 1 to kpkeys_set_context\(\) in clean\(\)\n$")
        self.assertEqual(json.loads(self.lint("--list=context-constant", "--format=json", "clean.c").stdout)[0]["value"], 1)

    def test_list_of_writes(self):
        self.tree.add("set.c", "typedef struct { unsigned long long pte; } pte_t;\nvoid set(pte_t *ptep)\n{\n\tptep->pte = 0;\n}\n")
        expected = {"file": "set.c", "line": 4, "column": 2, "function": "set", "shape": "store", "text": "ptep->pte",
                    "message": "not under a guard"}
        self.assertEqual(json.loads(self.lint("--list=pgtable-guard", "--format=json", expect=1).stdout), [expected])
        self.assertEqual(self.lint("--list=pgtable-guard", expect=1).stdout, "set.c:4:2: store 'ptep->pte': not under a guard\n")

    def test_unanalysed(self):
        self.tree.add("half.c", "#ifdef OFF\nvoid f(pte_t *ptep, pte_t pte)\n{\n\tWRITE_ONCE(*ptep, pte);\n}\n#endif\n")
        self.tree.write("arch/arm64/mm/never_built.c", "void g(pmd_t *pmdp)\n{\n\t*pmdp = __pmd(0);\n}\n")
        self.tree.write("arch/x86/mm/other.c", "void g(pmd_t *pmdp)\n{\n\t*pmdp = __pmd(0);\n}\n")
        found = self.places("--checks=unanalysed", expect=0)
        self.assertEqual(found, [("unanalysed", "arch/arm64/mm/never_built.c", 3, 2), ("unanalysed", "half.c", 4, 2)])
        self.assertEqual(self.places("--checks=unanalysed", expect=0), found)
        self.lint("--checks=unanalysed", "--fail-on=note", expect=1)


class HelpTest(LintTest):
    def test_one_screen_with_each_option(self):
        text = self.lint("--help").stdout
        self.assertLessEqual(len(text.splitlines()), 40)
        self.assertLessEqual(max(map(len, text.splitlines())), 110)
        options = re.findall(r'cl::(?:opt|list)<[\w:]+> \w+\("([\w-]+)"', (SOURCES / "Main.cpp").read_text())
        self.assertGreater(len(options), 20)
        for option in options:
            self.assertRegex(text, rf"(?<![\w-]){'-' if len(option) == 1 else '--'}{option}\b")
        for words in (["facts", "--help"], ["link", "-h"]):
            self.assertEqual(subprocess.run([PROGRAM, *words], capture_output=True, text=True, check=True).stdout, text)

    def test_each_check_has_a_page(self):
        for line in self.lint("--list-checks").stdout.splitlines():
            name, level = line.split()[0], line.split()[2]
            page = (SOURCES.parents[1] / "docs" / f"{name}.md").read_text()
            self.assertTrue(page.startswith(f"# {name}\n"), name)
            self.assertRegex(page, rf"(?i)level {level}\b", name)

    def test_version_and_checks(self):
        self.assertRegex(self.lint("--version").stdout, r"^kpkeys-lint \S+ \(LLVM \d+")
        listed = self.lint("--list-checks").stdout
        for name in ("context-constant", "context-address", "context-inline", "context-restore", "pgtable-guard",
                     "pgtable-plain-store", "guard-scope", "unanalysed", "suppression", "unused-exemption"):
            self.assertRegex(listed, rf"(?m)^{name} +level [012]  ")
