// SPDX-License-Identifier: GPL-2.0-only
#include "lint/driver/Run.h"

#include "lib/Baseline.h"
#include "lib/ExitStatus.h"
#include "lib/LineFilter.h"
#include "lib/Progress.h"
#include "lib/Suppress.h"
#include "lint/analysis/Link.h"
#include "lint/driver/Cache.h"
#include "lint/driver/Checks.h"
#include "lint/driver/ConfigFiles.h"
#include "lint/driver/Database.h"
#include "lint/driver/NinjaFile.h"
#include "lint/driver/TextScan.h"
#include "lint/driver/Workers.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Threading.h"
#include "llvm/Support/raw_ostream.h"

#include <map>
#include <set>

using namespace llvm;

namespace kpkeys::lint {

/// Units that fail alike, as after a forgotten "make prepare", are not all worth a line.
static constexpr unsigned MostProblemsShown = 10;

/// One line on standard error: what is wrong, and its remedy.
static void complain(const Twine &Message) {
  outs().flush();
  bool Colour = wantsColour(2);
  if (Colour)
    errs().changeColor(raw_ostream::RED, /*Bold=*/true);
  errs() << "error: ";
  if (Colour)
    errs().resetColor();
  errs() << Message << "\n";
}

static int usage(Error E) {
  complain(toString(std::move(E)));
  return ExitUsage;
}

namespace {

/// Files that are read with another text than they have on disk, by absolute path.
using Replacements = std::map<std::string, std::string>;

/// Everything that a verdict is made of.
struct Analysis {
  std::string SourceRoot;
  std::vector<Facts> Units;
  std::vector<std::string> Problems; ///< Units without facts: one line each.
  StringSet<> Read;                  ///< Files of the source tree, relative.
  /// Files of the units that were asked for; if none were, all are shown.
  std::optional<StringSet<>> Shown;
  unsigned Cached = 0;               ///< How many of the units came from the cache.
  Replacements Replaced;
  bool WholeProgram = true;
};

/// What the options ask to be done with findings, read before the long part begins.
struct Policy {
  Selection Checks;
  Suppressions Suppress;
  LineFilter Filter;
  std::optional<Baseline> Known;
};

/// What a verdict needs besides facts.
struct Rules {
  lint::Config Config;
  Policy Wanted;
};

} // namespace

static Expected<Policy> makePolicy(const Options &Opts) {
  Policy P;
  auto Checks = Selection::parse(Opts.Checks);
  if (!Checks)
    return Checks.takeError();
  P.Checks = std::move(*Checks);
  if (Opts.PerUnit && !P.Checks.keepPerUnit())
    return createStringError(inconvertibleErrorCode(), "--per-unit: --checks=" + Opts.Checks + " leaves none that need only one unit; leave out one of them");
  for (const std::string &Path : Opts.Suppressions)
    if (Error E = P.Suppress.load(Path))
      return std::move(E);
  if (!Opts.LineFilter.empty()) {
    std::string Text = Opts.LineFilter;
    if (!StringRef(Text).ltrim().starts_with("[")) {
      auto Contents = readFile(Text, "--line-filter");
      if (!Contents)
        return Contents.takeError();
      Text = *Contents;
    }
    auto Filter = LineFilter::parse(Text);
    if (!Filter)
      return Filter.takeError();
    P.Filter = std::move(*Filter);
  }
  if (!Opts.Baseline.empty()) {
    auto Known = Baseline::load(Opts.Baseline);
    if (!Known)
      return Known.takeError();
    P.Known = std::move(*Known);
  } else if (Opts.NewOnly) {
    return createStringError(inconvertibleErrorCode(), "--new-only: new since what? give the report of an earlier run with --baseline=FILE");
  }
  if (!Opts.List.empty() && Opts.List != "context-constant" && Opts.List != "pgtable-guard")
    return createStringError(inconvertibleErrorCode(), "--list: there is no list '" + Opts.List + "'; there are context-constant and pgtable-guard");
  if (!Opts.Report.empty() && Opts.Report != "scope")
    return createStringError(inconvertibleErrorCode(), "--report: there is no report '" + Opts.Report + "'; there is scope");
  return P;
}

static Expected<Rules> readRules(const Options &Opts) {
  auto Config = readConfig(Opts.ConfigFile, Opts.Exemptions);
  if (!Config)
    return Config.takeError();
  auto Wanted = makePolicy(Opts);
  if (!Wanted)
    return Wanted.takeError();
  return Rules{std::move(*Config), std::move(*Wanted)};
}

/// @p Path relative to the source tree, if it is in it.
static StringRef relative(StringRef Path, StringRef Root) {
  StringRef Rest = Path;
  return Rest.consume_front(Root) && Rest.consume_front("/") ? Rest : Path;
}

/// The suppression comments of all files that were read.
static void scanComments(Suppressions &Suppress, const Analysis &A, FileIndex &Files) {
  for (const auto &Entry : A.Read) {
    std::string Path = sys::path::is_absolute(Entry.first()) ? Entry.first().str() : A.SourceRoot + "/" + Entry.first().str();
    if (auto It = A.Replaced.find(Path); It != A.Replaced.end()) {
      Suppress.scanSource(It->second, Entry.first());
      continue;
    }
    if (!Files.get(Path).HasMarker)
      continue;
    if (auto Buffer = MemoryBuffer::getFile(Path))
      Suppress.scanSource((*Buffer)->getBuffer(), Entry.first());
  }
}

static void listConstants(ArrayRef<ContextUse> Uses) {
  for (const ContextUse &U : Uses)
    outs() << formatv("{0}:{1}:{2}: {3} = {4} to {5}() in {6}()\n", U.Loc.File, U.Loc.Line, U.Loc.Column, U.Text, U.Value,
                      U.Callee, U.Function);
}

static void reportScope(const ScopeReport &Scope) {
  outs() << "  lines  depth  function\n";
  for (const ScopeFunction &F : Scope.Functions)
    outs() << formatv("{0,7}  {1,5}  {2} ({3}:{4}){5}\n", F.Lines, F.Depth, F.Function, F.Loc.File, F.Loc.Line,
                      F.SectionOnly ? ", within sections only" : "");
  for (const std::string &Name : Scope.Unknown)
    outs() << "      ?         " << Name << " (in no analysed unit)\n";
  outs() << formatv("{0} functions, {1} lines can run with page tables writable, and {2} functions that were not analysed\n",
                    Scope.Functions.size(), Scope.Lines, Scope.Unknown.size());
}

static json::Value scopeJSON(const ScopeReport &Scope) {
  json::Array Functions, Unknown;
  for (const ScopeFunction &F : Scope.Functions)
    Functions.push_back(json::Object{{"function", F.Function}, {"file", F.Loc.File}, {"line", F.Loc.Line}, {"lines", F.Lines},
                                     {"depth", F.Depth}, {"path", json::Array(F.Path)}, {"section_only", F.SectionOnly}});
  for (const std::string &Name : Scope.Unknown)
    Unknown.push_back(Name);
  return json::Object{{"functions", std::move(Functions)}, {"unknown", std::move(Unknown)}, {"lines", Scope.Lines}};
}

static json::Value constantsJSON(ArrayRef<ContextUse> Uses) {
  json::Array Out;
  for (const ContextUse &U : Uses)
    Out.push_back(json::Object{{"file", U.Loc.File}, {"line", U.Loc.Line}, {"column", U.Loc.Column}, {"function", U.Function},
                               {"callee", U.Callee}, {"text", U.Text}, {"value", U.Value}});
  return Out;
}

static json::Value writesJSON(ArrayRef<Finding> Sites) {
  json::Array Out;
  for (const Finding &F : Sites) {
    auto [Shape, Text] = StringRef(F.Key).split(' ');
    // The message goes on after "SHAPE 'TEXT': ".
    Out.push_back(json::Object{{"file", F.Loc.File}, {"line", F.Loc.Line}, {"column", F.Loc.Column}, {"function", F.Function},
                               {"shape", Shape}, {"text", Text}, {"message", StringRef(F.Message).drop_front(F.Key.size() + 4)}});
  }
  return Out;
}

/// Lists and reports take the place of findings on standard output; true if one was asked for.
static bool printLists(const Options &Opts, const LinkResult &Linked) {
  bool JSON = Opts.Format == kpkeys::Format::JSON;
  if (Opts.List == "context-constant") {
    if (JSON)
      outs() << formatv("{0:2}\n", constantsJSON(Linked.ContextConstants));
    else
      listConstants(Linked.ContextConstants);
  }
  if (Opts.List == "pgtable-guard") {
    if (JSON)
      outs() << formatv("{0:2}\n", writesJSON(Linked.WriteSites));
    else
      for (const Finding &F : Linked.WriteSites)
        outs() << formatv("{0}:{1}:{2}: {3}\n", F.Loc.File, F.Loc.Line, F.Loc.Column, F.Message);
  }
  if (Opts.Report == "scope") {
    if (JSON)
      outs() << formatv("{0:2}\n", scopeJSON(Linked.Scope));
    else
      reportScope(Linked.Scope);
  }
  return !Opts.List.empty() || !Opts.Report.empty();
}

/// From facts to the exit status.
static int conclude(const Options &Opts, Policy &P, const Config &Config, Analysis &A, FileIndex &Files) {
  LinkOptions LinkOpts;
  // With units missing, callers may be.
  LinkOpts.WholeProgram = A.WholeProgram && A.Problems.empty();
  LinkResult Linked = link(A.Units, Config, LinkOpts);
  std::vector<Finding> All = std::move(Linked.Findings);
  if (P.Checks.contains(UnanalysedCheck)) {
    std::vector<Finding> Found = scanUnanalysed(A.SourceRoot, A.Units, A.Read, Files);
    All.insert(All.end(), std::make_move_iterator(Found.begin()), std::make_move_iterator(Found.end()));
  }
  scanComments(P.Suppress, A, Files);
  for (Finding &F : P.Suppress.malformed())
    All.push_back(std::move(F));
  sortAndDedupe(All);
  llvm::erase_if(All, [&](const Finding &F) { return !P.Checks.contains(F.Check); });

  RunInfo Run;
  Run.SourceRoot = A.SourceRoot;
  Run.Complete = A.Problems.empty();
  Run.Problems = A.Problems;
  Run.Analysed = A.Units.size();
  Run.Suppressed = P.Suppress.apply(All);
  if (LinkOpts.WholeProgram) {
    std::vector<Finding> Unused = P.Suppress.unused([&](StringRef Check) { return P.Checks.contains(Check); },
                                                    [](StringRef) { return true; });
    sortAndDedupe(Unused);
    All.insert(All.end(), std::make_move_iterator(Unused.begin()), std::make_move_iterator(Unused.end()));
    llvm::stable_sort(All, [](const Finding &X, const Finding &Y) { return X.Loc < Y.Loc; });
  }
  auto Hidden = [&](const Location &Loc) { return A.Shown && !A.Shown->contains(Loc.File); };
  llvm::erase_if(All, [&](const Finding &F) { return Hidden(F.Loc) || !P.Filter.passes(F); });
  llvm::erase_if(Linked.ContextConstants, [&](const ContextUse &U) { return Hidden(U.Loc); });
  llvm::erase_if(Linked.WriteSites, [&](const Finding &F) { return Hidden(F.Loc); });
  if (P.Known)
    Run.Baselined = P.Known->mark(All);
  auto Counts = [&](const Finding &F) {
    const CheckInfo *Check = findCheck(allChecks(), F.Check);
    return Opts.FailOn && !F.Known && (Check ? Check->Level : Severity::Warning) >= *Opts.FailOn;
  };
  size_t Counted = llvm::count_if(All, Counts);
  if (Opts.NewOnly)
    llvm::erase_if(All, [](const Finding &F) { return F.Known; });

  ToolInfo Tool{"kpkeys-lint", KPKEYS_VERSION, allChecks()};
  for (auto [Path, Value] : {std::pair(Opts.JSONFile, kpkeys::Format::JSON), std::pair(Opts.SARIFFile, kpkeys::Format::SARIF)}) {
    if (Path.empty())
      continue;
    std::string Text;
    raw_string_ostream OS(Text);
    render(Value, OS, Tool, Run, All);
    if (Error E = writeAtomically(Path, OS.str()))
      return usage(createStringError(inconvertibleErrorCode(), toString(std::move(E)) + "; choose another file"));
  }
  if (!printLists(Opts, Linked))
    render(Opts.Format, outs(), Tool, Run, All, wantsColour(1));
  outs().flush();
  if (outs().has_error()) {
    // A verdict that nobody could read is none.
    outs().clear_error();
    complain("cannot write to standard output; is the disk full?");
    return ExitUsage;
  }

  for (size_t I = 0; I < A.Problems.size() && I < MostProblemsShown; ++I)
    complain(A.Problems[I]);
  if (A.Problems.size() > MostProblemsShown)
    complain(Twine(A.Problems.size() - MostProblemsShown) + " more units like these; --format=json lists all");
  if (!Opts.Quiet) {
    errs() << formatv("kpkeys-lint: {0} units analysed", Run.Analysed);
    if (A.Cached)
      errs() << " (" << A.Cached << " of them before)";
    errs() << ", " << All.size() << " findings";
    if (Run.Suppressed)
      errs() << ", " << Run.Suppressed << " suppressed";
    if (Run.Baselined)
      errs() << ", " << Run.Baselined << " in the baseline";
    if (!Run.Complete)
      errs() << "; " << A.Problems.size() << " units could not be analysed: this is no verdict";
    errs() << "\n";
  }
  if (!Run.Complete)
    return ExitUnparsed;
  return Counted ? ExitFindings : ExitClean;
}

/// The units that the command line names, or all.
static Expected<std::vector<size_t>> chooseUnits(const Database &DB, ArrayRef<std::string> Names) {
  std::vector<size_t> Chosen;
  if (Names.empty())
    for (size_t I = 0; I < DB.Units.size(); ++I)
      Chosen.push_back(I);
  for (const std::string &Name : Names) {
    std::vector<size_t> Found = DB.find(Name);
    if (Found.empty())
      return createStringError(inconvertibleErrorCode(),
                               Name + " is no kernel unit of " + DB.Path +
                                   (StringRef(Name).ends_with(".h") ? "; name a .c file that includes it"
                                                                    : "; check its name, and that this configuration builds it"));
    Chosen.insert(Chosen.end(), Found.begin(), Found.end());
  }
  llvm::sort(Chosen);
  Chosen.erase(std::unique(Chosen.begin(), Chosen.end()), Chosen.end());
  return Chosen;
}

/// A line that says which unit failed, and why.
static std::string problemLine(StringRef Unit, StringRef Why) {
  Why = Why.trim();
  std::string Line = (Unit + ": not analysed: " + Why.split('\n').first).str();
  if (Why.contains("file not found") && (Why.contains("generated/") || Why.contains("asm/") || Why.contains("asm-offsets")))
    Line += "; a generated header is missing: run 'make ARCH=arm64 prepare', or build the kernel";
  else if (Why.contains("file not found") || Why.contains("no such file"))
    Line += "; if the tree has changed, make the database again";
  return Line;
}

/// Analyse one unit, here and now.
static WorkResult analyseOne(const UnitCommand &Unit, const Config &Config, const Replacements &Replaced = {}) {
  WorkResult Result;
  Result.Began = now();
  Expected<Facts> Found = analyseUnit(Unit, Config, Result.Diagnostics, Replaced);
  if (!Found) {
    Result.Text = toString(Found.takeError());
    return Result;
  }
  Result.Success = true;
  // They are needed for the cache, and make up most of the text.
  Result.Dependencies = std::move(Found->Dependencies);
  Found->Dependencies.clear();
  Result.Text = formatv("{0}", Found->toJSON()).str();
  return Result;
}

static Expected<Facts> parseFacts(StringRef Text) {
  Expected<json::Value> Value = json::parse(Text);
  if (!Value)
    return Value.takeError();
  return Facts::fromJSON(*Value);
}

namespace {

/// Gets the facts of units: from the cache where that holds, else from workers.
class Collector {
public:
  Collector(const Database &DB, const Config &Config, FactCache &Cache, Analysis &Into)
      : DB(DB), Config(Config), Cache(Cache), Into(Into) {}

  /// Collect the facts of the units @p Chosen. The files of @p Named are those to show.
  Error collect(ArrayRef<size_t> Chosen, ArrayRef<size_t> Named, unsigned Jobs) {
    for (size_t I : Named)
      IsNamed.insert(I);
    for (const auto &[Path, Text] : Into.Replaced)
      Unread.insert(Path);
    std::vector<size_t> Missing;
    for (size_t I : Chosen)
      if (!takeFromCache(I))
        Missing.push_back(I);
    Progress Line("analysing", Missing.size());
    unsigned Count = 0;
    auto Done = [&](size_t I, WorkResult Result) {
      Line.update(++Count, DB.nameOf(DB.Units[I]));
      take(I, std::move(Result));
    };
    auto Work = [&](size_t I) { return analyseOne(DB.Units[I], Config, isReplaced(I) ? Into.Replaced : Replacements()); };
    if (Error E = runWorkers(Missing, Jobs, Work, Done))
      return E;
    Line.clear();
    finish(Chosen);
    return std::move(CacheError);
  }

private:
  /// Whether a unit is analysed with other texts than the cache goes by.
  bool isReplaced(size_t I) const { return !Into.Replaced.empty() && IsNamed.contains(I); }

  bool takeFromCache(size_t I) {
    if (isReplaced(I))
      return false;
    std::optional<FactCache::Entry> Entry = Cache.find(DB.Units[I]);
    if (!Entry)
      return false;
    Expected<Facts> Found = parseFacts(Entry->Text);
    if (!Found) {
      // Damaged: as good as none.
      consumeError(Found.takeError());
      return false;
    }
    keep(I, std::move(*Found), Entry->Dependencies);
    ++Into.Cached;
    return true;
  }

  void take(size_t I, WorkResult Result) {
    std::string Name = DB.nameOf(DB.Units[I]);
    if (!Result.Success) {
      Failed[I] = problemLine(Name, Result.Text);
      return;
    }
    Expected<Facts> Found = parseFacts(Result.Text);
    if (!Found) {
      Failed[I] = problemLine(Name, "its facts are damaged: " + toString(Found.takeError()));
      return;
    }
    if (!isReplaced(I) && !CacheError)
      CacheError = Cache.store(DB.Units[I], Result.Text, Result.Dependencies, Result.Began);
    keep(I, std::move(*Found), Result.Dependencies);
  }

  void keep(size_t I, Facts Found, ArrayRef<std::string> Dependencies) {
    for (const std::string &Path : Dependencies) {
      StringRef Name = relative(Path, DB.SourceRoot);
      if (isReplaced(I))
        Unread.erase(Path);
      Into.Read.insert(Name);
      if (Into.Shown && IsNamed.contains(I))
        Into.Shown->insert(Name);
    }
    Collected[I] = std::move(Found);
  }

  /// In the order of the database, whatever the order of arrival.
  void finish(ArrayRef<size_t> Chosen) {
    for (size_t I : Chosen)
      if (auto It = Collected.find(I); It != Collected.end())
        Into.Units.push_back(std::move(It->second));
      else
        Into.Problems.push_back(Failed[I]);
    // Without it, all would be judged as if nothing were replaced.
    for (const std::string &Path : Unread)
      Into.Problems.push_back("--replace: none of the named units reads " + Path + "; name one that does");
  }

  const Database &DB;
  const lint::Config &Config;
  FactCache &Cache;
  Analysis &Into;
  std::set<size_t> IsNamed;
  std::set<std::string> Unread; ///< Files to be replaced that no unit has read yet.
  std::map<size_t, Facts> Collected;
  std::map<size_t, std::string> Failed;
  Error CacheError = Error::success();
};

} // namespace

static unsigned jobs(const Options &Opts) {
  return Opts.Jobs ? Opts.Jobs : hardware_concurrency().compute_thread_count();
}

/// What --replace=FILE=OTHER asks for. FILE is in the source tree, or absolute.
static Expected<Replacements> readReplacements(const Options &Opts, StringRef SourceRoot) {
  Replacements Result;
  if (!Opts.Replacements.empty() && Opts.Files.empty())
    return createStringError(inconvertibleErrorCode(), "--replace: name the units that are analysed with the other text");
  for (StringRef Pair : Opts.Replacements) {
    auto [Name, Other] = Pair.split('=');
    if (Name.empty() || Other.empty())
      return createStringError(inconvertibleErrorCode(), "--replace=" + Pair + ": give FILE=OTHER");
    SmallString<256> Path(sys::path::is_absolute(Name) ? "" : SourceRoot);
    sys::path::append(Path, Name);
    sys::path::remove_dots(Path, /*remove_dot_dot=*/true);
    if (!sys::fs::exists(Path))
      return createStringError(inconvertibleErrorCode(), "--replace=" + Pair + ": there is no " + Path + "; name a file of the source tree");
    Expected<std::string> Text = readFile(Other, "--replace");
    if (!Text)
      return Text.takeError();
    Result[std::string(Path)] = std::move(*Text);
  }
  return Result;
}

int runLint(const Options &Opts) {
  auto R = readRules(Opts);
  if (!R)
    return usage(R.takeError());
  auto DB = loadDatabase(Opts.BuildDir);
  if (!DB)
    return usage(DB.takeError());
  auto Named = chooseUnits(*DB, Opts.Files);
  if (!Named)
    return usage(Named.takeError());
  // Who calls the code of a unit may be anywhere, so all are analysed all the same.
  Expected<std::vector<size_t>> Chosen = Opts.PerUnit ? *Named : chooseUnits(*DB, {});
  if (!Chosen)
    return usage(Chosen.takeError());
  FactCache Cache;
  if (!Opts.NoCache) {
    auto Opened = FactCache::open(Opts.CacheDir.empty() ? defaultCacheDirectory() : Opts.CacheDir, R->Config);
    if (!Opened)
      return usage(Opened.takeError());
    Cache = std::move(*Opened);
  }
  Analysis A;
  A.SourceRoot = DB->SourceRoot;
  A.WholeProgram = !Opts.PerUnit;
  if (!Opts.Files.empty() && !Opts.PerUnit)
    A.Shown.emplace();
  auto Replaced = readReplacements(Opts, DB->SourceRoot);
  if (!Replaced)
    return usage(Replaced.takeError());
  A.Replaced = std::move(*Replaced);
  if (Error E = Collector(*DB, R->Config, Cache, A).collect(*Chosen, *Named, jobs(Opts)))
    return usage(std::move(E));
  int Status = conclude(Opts, R->Wanted, R->Config, A, Cache.files());
  if (Error E = Cache.finish())
    return usage(std::move(E));
  return Status;
}

/// What makes facts of two runs fit together.
static std::string stampOf(const Config &Config) {
  FileIndex Files;
  return factsKey(Config, Files);
}

/// What a fact file of "facts" holds besides the facts.
static std::string wrapFacts(const UnitCommand &Unit, const Config &Config, const WorkResult &Result) {
  json::Array Read;
  for (const std::string &Path : Result.Dependencies)
    Read.push_back(relative(Path, Unit.SourceRoot));
  return formatv("{{\"format\":1,\"stamp\":\"{0}\",\"source_root\":{1},\"read\":{2},\"facts\":{3}}\n", stampOf(Config),
                 json::Value(Unit.SourceRoot), json::Value(std::move(Read)), Result.Text)
      .str();
}

/// A rule for make and Ninja; what means something to them is escaped.
static std::string depFile(StringRef Target, ArrayRef<std::string> Dependencies) {
  auto Escape = [](StringRef Path) {
    std::string Out;
    for (char C : Path) {
      if (C == ' ' || C == '#')
        Out += '\\';
      Out += C == '$' ? std::string("$$") : std::string(1, C);
    }
    return Out;
  };
  std::string Out = Escape(Target) + ":";
  for (const std::string &Path : Dependencies)
    Out += " \\\n  " + Escape(Path);
  return Out + "\n";
}

int runFacts(const Options &Opts) {
  auto Config = readConfig(Opts.ConfigFile, Opts.Exemptions);
  if (!Config)
    return usage(Config.takeError());
  auto DB = loadDatabase(Opts.BuildDir);
  if (!DB)
    return usage(DB.takeError());
  auto Chosen = chooseUnits(*DB, Opts.Files);
  if (!Chosen)
    return usage(Chosen.takeError());
  if (Chosen->size() > 1 && !Opts.Command)
    return usage(createStringError(inconvertibleErrorCode(), Opts.Files[0] + " is compiled by " + Twine(Chosen->size()) +
                                                                 " commands; choose one with --command=1 and so on"));
  if (Opts.Command > Chosen->size())
    return usage(createStringError(inconvertibleErrorCode(), "--command=" + Twine(Opts.Command) + ": " + Opts.Files[0] +
                                                                 " has " + Twine(Chosen->size()) + " commands"));
  const UnitCommand &Unit = DB->Units[(*Chosen)[Opts.Command ? Opts.Command - 1 : 0]];
  // In a process of its own, so that a crash of the analysis is told like any other failure.
  WorkResult Result;
  if (Error E = runWorkers({0}, 1, [&](size_t) { return analyseOne(Unit, *Config); },
                           [&](size_t, WorkResult R) { Result = std::move(R); }))
    return usage(std::move(E));
  if (!Result.Success) {
    complain(problemLine(DB->nameOf(Unit), Result.Text));
    return ExitUnparsed;
  }
  std::string Text = wrapFacts(Unit, *Config, Result);
  if (Opts.Output.empty() || Opts.Output == "-") {
    outs() << Text;
    return ExitClean;
  }
  // The dependencies first: Ninja takes facts without them for facts that nothing changes.
  for (auto [Path, Contents] : {std::pair(Opts.DepFile, depFile(Opts.Output, Result.Dependencies)), std::pair(Opts.Output, Text)}) {
    if (Path.empty())
      continue;
    if (std::error_code EC = sys::fs::create_directories(sys::path::parent_path(Path)); EC && !sys::path::parent_path(Path).empty())
      return usage(createStringError(EC, "cannot write " + Path + ": " + EC.message()));
    if (Error E = writeAtomically(Path, Contents))
      return usage(std::move(E));
  }
  return ExitClean;
}

/// Add what the fact file @p Path holds to @p A.
static Error addFactFile(StringRef Path, StringRef Stamp, Analysis &A) {
  auto Bad = [&](const Twine &Why) {
    return createStringError(inconvertibleErrorCode(), Path + ": " + Why + "; make it with 'kpkeys-lint facts UNIT --output=FILE'");
  };
  Expected<std::string> Text = readFile(Path, "facts");
  if (!Text)
    return Text.takeError();
  Expected<json::Value> Value = json::parse(*Text);
  if (!Value)
    return Bad("not a file of facts: " + toString(Value.takeError()));
  json::Object *Wrapper = Value->getAsObject();
  const json::Value *Inner = Wrapper ? Wrapper->get("facts") : nullptr;
  const json::Array *Read = Wrapper ? Wrapper->getArray("read") : nullptr;
  std::optional<StringRef> Root = Wrapper ? Wrapper->getString("source_root") : std::nullopt;
  if (!Inner || !Read || !Root || Wrapper->getInteger("format") != 1)
    return Bad("not a file of facts of this version");
  if (Wrapper->getString("stamp") != Stamp)
    return Bad("made by another build of kpkeys-lint, or with another --config");
  if (!A.SourceRoot.empty() && A.SourceRoot != *Root)
    return Bad("of another source tree, " + *Root);
  A.SourceRoot = Root->str();
  Expected<Facts> Found = Facts::fromJSON(*Inner);
  if (!Found)
    return Bad(toString(Found.takeError()));
  for (const json::Value &File : *Read)
    A.Read.insert(File.getAsString().value_or(""));
  A.Units.push_back(std::move(*Found));
  return Error::success();
}

/// The names in Opts.Files; "@FILE" stands for the lines of FILE.
static Expected<std::vector<std::string>> expandNames(ArrayRef<std::string> Names) {
  std::vector<std::string> Out;
  for (StringRef Name : Names) {
    if (!Name.consume_front("@")) {
      Out.push_back(Name.str());
      continue;
    }
    auto Text = readFile(Name, "list of facts");
    if (!Text)
      return Text.takeError();
    SmallVector<StringRef, 0> Lines;
    StringRef(*Text).split(Lines, '\n', -1, /*KeepEmpty=*/false);
    for (StringRef Line : Lines)
      Out.push_back(Line.trim().str());
  }
  return Out;
}

int runLink(const Options &Opts) {
  auto R = readRules(Opts);
  if (!R)
    return usage(R.takeError());
  auto Names = expandNames(Opts.Files);
  if (!Names)
    return usage(Names.takeError());
  if (Names->empty())
    return usage(createStringError(inconvertibleErrorCode(), "link: no facts to link; name the files that 'kpkeys-lint facts' wrote"));
  // Facts that are missing are callers that are missing.
  if (Opts.Units && Names->size() != Opts.Units)
    return usage(createStringError(inconvertibleErrorCode(), "--units=" + Twine(Opts.Units) + ": there are facts of " + Twine(Names->size())));
  std::string Stamp = stampOf(R->Config);
  Analysis A;
  for (const std::string &Name : *Names)
    if (Error E = addFactFile(Name, Stamp, A))
      return usage(std::move(E));
  FileIndex Files;
  return conclude(Opts, R->Wanted, R->Config, A, Files);
}

int runNinja(const Options &Opts) {
  // Found out now, not by each of 600 commands.
  auto R = readRules(Opts);
  if (!R)
    return usage(R.takeError());
  auto DB = loadDatabase(Opts.BuildDir);
  if (!DB)
    return usage(DB.takeError());
  auto Absolute = [](StringRef Path) {
    SmallString<256> Out(Path);
    sys::fs::make_absolute(Out);
    return std::string(Out);
  };
  NinjaOptions N;
  N.Program = Opts.Program;
  N.OutputDirectory = "facts";
  if (!Opts.ConfigFile.empty())
    N.FactsArguments.push_back("--config=" + Absolute(Opts.ConfigFile));
  N.LinkArguments = N.FactsArguments;
  for (const std::string &Path : Opts.Exemptions)
    N.LinkArguments.push_back("--exemptions=" + Absolute(Path));
  for (const std::string &Path : Opts.Suppressions)
    N.LinkArguments.push_back("--suppressions=" + Absolute(Path));
  if (!Opts.Baseline.empty())
    N.LinkArguments.push_back("--baseline=" + Absolute(Opts.Baseline));
  if (Opts.NewOnly)
    N.LinkArguments.push_back("--new-only");
  if (!Opts.Checks.empty())
    N.LinkArguments.push_back("--checks=" + Opts.Checks);
  if (!Opts.JSONFile.empty())
    N.LinkArguments.push_back("--json=" + Absolute(Opts.JSONFile));
  if (!Opts.SARIFFile.empty())
    N.LinkArguments.push_back("--sarif=" + Absolute(Opts.SARIFFile));
  if (Error E = writeAtomically(Opts.NinjaFile, ninjaFile(*DB, N)))
    return usage(std::move(E));
  return ExitClean;
}

int runCommands(const Options &Opts) {
  auto DB = loadDatabase(Opts.BuildDir);
  if (!DB)
    return usage(DB.takeError());
  json::Array Entries;
  for (const UnitCommand &Unit : DB->Units)
    Entries.push_back(json::Object{{"directory", Unit.Directory}, {"file", Unit.File}, {"arguments", json::Array(Unit.Arguments)}});
  std::string Text = formatv("{0:2}\n", json::Value(std::move(Entries))).str();
  if (Error E = writeAtomically(Opts.CommandsFile, Text))
    return usage(createStringError(inconvertibleErrorCode(), toString(std::move(E)) + "; choose another file"));
  return ExitClean;
}

int listChecks() {
  for (const CheckInfo &C : allChecks())
    outs() << formatv("{0,-22} level {1}  {2,-7}  {3}\n", C.Name, C.Noise, severityName(C.Level), C.Summary);
  return ExitClean;
}

} // namespace kpkeys::lint
