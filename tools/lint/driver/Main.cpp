// SPDX-License-Identifier: GPL-2.0-only
#include "lib/ExitStatus.h"
#include "lint/driver/Run.h"

#include "llvm/Config/llvm-config.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;
using namespace kpkeys::lint;

/// One screen. LLVM's own listing would have the options of all its libraries.
static constexpr StringLiteral Help =
    R"(kpkeys-lint: check that an arm64 kernel writes page tables, and switches key contexts, as kpkeys wants it

  kpkeys-lint -p DIR [FILE...]     check the kernel built in DIR; with names, show these units only
  kpkeys-lint facts -p DIR FILE    one unit's facts (--output=F --depfile=F --command=N)
  kpkeys-lint link FACTS...        findings from the facts of all units (--units=N, @LIST)

input      -p DIR              where compile_commands.json is (.)
           --config=FILE       names of functions, guards and types, if not those of the series
           --exemptions=FILE   places where a check does not apply, each with its reason
           -j N                worker processes (one for each CPU)
           --cache-dir=DIR     facts of earlier runs (~/.cache/kpkeys-lint); --no-cache
           --per-unit          analyse the named units alone; leaves out checks of the whole program
           --replace=F=OTHER   the named units as if F in the tree held what OTHER holds
           --ninja=FILE        write a Ninja file that does the same, a command a unit
           --write-commands=FILE  write the database as clang takes it, for clang-tidy on a tree built by gcc
checks     --checks=LIST       names, patterns, levelN, -NAME (level1); --list-checks
           --suppressions=FILE findings not to report, each with its reason
           --baseline=FILE     JSON report of an earlier run: what is in it does not count
           --new-only          do not show it either
           --line-filter=JSON  only findings on lines of a change: text or file, as clang-tidy's
           --fail-on=SEVERITY  error, warning (default), note, never
output     --format=FORM       text (default), json, sarif, github
           --json=FILE --sarif=FILE  a report besides
           --list=CHECK        context-constant: each call and its value; pgtable-guard: each write
           --report=scope      all code that can run with page tables writable
           --quiet             no summary line        --version  --help

In a source, "kpkeys-lint: allow(CHECK) REASON" in a comment suppresses a finding on its line.

examples   kpkeys-lint -p out/build --exemptions=exemptions.txt
           kpkeys-lint -p . mm/mprotect.c --list=pgtable-guard
           kpkeys-lint -p . --format=github --baseline=main.json --new-only
           kpkeys-lint -p . --ninja=lint.ninja && ninja -f lint.ninja

exit status: 0 clean, 1 findings, 2 usage or set-up, 3 a unit could not be analysed (no verdict)
)";

namespace {

// Options belong to the commands that obey them: one that is ignored would be a lie.
cl::SubCommand FactsCommand("facts", "facts of one unit");
cl::SubCommand LinkCommand("link", "findings from facts");
#define KPKEYS_ALL cl::sub(cl::SubCommand::getTopLevel()), cl::sub(FactsCommand), cl::sub(LinkCommand)
#define KPKEYS_VERDICT cl::sub(cl::SubCommand::getTopLevel()), cl::sub(LinkCommand)
#define KPKEYS_DATABASE cl::sub(cl::SubCommand::getTopLevel()), cl::sub(FactsCommand)

cl::opt<std::string> BuildDir("p", cl::init("."), KPKEYS_DATABASE);
cl::opt<std::string> ConfigFile("config", KPKEYS_ALL);
cl::list<std::string> Files(cl::Positional, KPKEYS_ALL);
cl::list<std::string> Exemptions("exemptions", KPKEYS_VERDICT);
cl::list<std::string> Suppressions("suppressions", KPKEYS_VERDICT);
cl::opt<std::string> Checks("checks", cl::init("level1"), KPKEYS_VERDICT);
cl::opt<std::string> BaselineFile("baseline", KPKEYS_VERDICT);
cl::opt<bool> NewOnly("new-only", KPKEYS_VERDICT);
cl::opt<std::string> LineFilterText("line-filter", KPKEYS_VERDICT);
enum class Fail { Error, Warning, Note, Never };
cl::opt<Fail> FailOn("fail-on", cl::init(Fail::Warning), KPKEYS_VERDICT,
                     cl::values(clEnumValN(Fail::Error, "error", ""), clEnumValN(Fail::Warning, "warning", ""),
                                clEnumValN(Fail::Note, "note", ""), clEnumValN(Fail::Never, "never", "")));
cl::opt<kpkeys::Format> OutputFormat("format", cl::init(kpkeys::Format::Text), KPKEYS_VERDICT,
                                     cl::values(clEnumValN(kpkeys::Format::Text, "text", ""),
                                                clEnumValN(kpkeys::Format::JSON, "json", ""),
                                                clEnumValN(kpkeys::Format::SARIF, "sarif", ""),
                                                clEnumValN(kpkeys::Format::GitHub, "github", "")));
cl::opt<std::string> JSONFile("json", KPKEYS_VERDICT);
cl::opt<std::string> SARIFFile("sarif", KPKEYS_VERDICT);
cl::opt<std::string> List("list", KPKEYS_VERDICT);
cl::opt<std::string> Report("report", KPKEYS_VERDICT);
cl::opt<bool> Quiet("quiet", KPKEYS_VERDICT);
cl::opt<bool> ListChecks("list-checks");
cl::opt<unsigned> Jobs("j", cl::Prefix);
cl::opt<std::string> CacheDir("cache-dir");
cl::opt<bool> NoCache("no-cache");
cl::opt<bool> PerUnit("per-unit");
cl::list<std::string> Replacements("replace");
cl::opt<std::string> Ninja("ninja");
cl::opt<std::string> WriteCommands("write-commands");
cl::opt<unsigned> CommandNumber("command", cl::sub(FactsCommand));
cl::opt<std::string> Output("output", cl::sub(FactsCommand));
cl::opt<std::string> DepFile("depfile", cl::sub(FactsCommand));
cl::opt<unsigned> UnitCount("units", cl::sub(LinkCommand));

} // namespace

static Options readOptions(const char *Argv0) {
  Options O;
  O.BuildDir = BuildDir;
  O.Files.assign(Files.begin(), Files.end());
  O.Jobs = Jobs;
  O.ConfigFile = ConfigFile;
  O.CacheDir = CacheDir;
  O.Exemptions.assign(Exemptions.begin(), Exemptions.end());
  O.Suppressions.assign(Suppressions.begin(), Suppressions.end());
  O.NoCache = NoCache;
  O.PerUnit = PerUnit;
  O.Replacements.assign(Replacements.begin(), Replacements.end());
  O.Checks = Checks;
  O.Format = OutputFormat;
  O.JSONFile = JSONFile;
  O.SARIFFile = SARIFFile;
  O.Baseline = BaselineFile;
  O.LineFilter = LineFilterText;
  O.NewOnly = NewOnly;
  O.FailOn = FailOn == Fail::Error     ? std::optional(kpkeys::Severity::Error)
             : FailOn == Fail::Warning ? std::optional(kpkeys::Severity::Warning)
             : FailOn == Fail::Note    ? std::optional(kpkeys::Severity::Note)
                                       : std::nullopt;
  O.List = List;
  O.Report = Report;
  O.Quiet = Quiet;
  O.Command = CommandNumber;
  O.Output = Output;
  O.DepFile = DepFile;
  O.Units = UnitCount;
  O.NinjaFile = Ninja;
  O.CommandsFile = WriteCommands;
  O.Program = sys::fs::getMainExecutable(Argv0, reinterpret_cast<void *>(&readOptions));
  return O;
}

static int usage(StringRef Message) {
  errs() << "error: " << Message << "\n";
  return kpkeys::ExitUsage;
}

int main(int Argc, char **Argv) {
  InitLLVM Setup(Argc, Argv);
  for (int I = 1; I < Argc && StringRef(Argv[I]) != "--"; ++I)
    if (StringRef A = Argv[I]; A == "--help" || A == "-help" || A == "-h") {
      outs() << Help;
      return kpkeys::ExitClean;
    }
  cl::SetVersionPrinter([](raw_ostream &OS) {
    OS << "kpkeys-lint " KPKEYS_VERSION " (LLVM " LLVM_VERSION_STRING ")\n";
  });
  std::string Complaint;
  raw_string_ostream OS(Complaint);
  if (!cl::ParseCommandLineOptions(Argc, Argv, "", &OS))
    return usage(StringRef(OS.str()).trim());
  Options O = readOptions(Argv[0]);
  if (FactsCommand) {
    if (O.Files.size() != 1)
      return usage("facts: name one unit, such as mm/memory.c");
    return runFacts(O);
  }
  if (LinkCommand)
    return runLink(O);
  if (ListChecks)
    return listChecks();
  if (!O.NinjaFile.empty())
    return O.Files.empty() ? runNinja(O) : usage("--ninja: the file is for all units; leave out their names");
  if (!O.CommandsFile.empty())
    return O.Files.empty() ? runCommands(O) : usage("--write-commands: the file is for all units; leave out their names");
  return runLint(O);
}
