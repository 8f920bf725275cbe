// SPDX-License-Identifier: GPL-2.0-only
//
// The checks of kpkeys-lint that need one unit only, as checks of clang-tidy.
#include "lint/driver/Checks.h"
#include "lint/tidy/UnitVerdict.h"

#include "clang-tidy/ClangTidyCheck.h"
#include "clang-tidy/ClangTidyModule.h"
#include "llvm/Config/llvm-config.h"
#if LLVM_VERSION_MAJOR < 22
#include "clang-tidy/ClangTidyModuleRegistry.h"
#endif
#include "clang/AST/ASTContext.h"
#include "clang/ASTMatchers/ASTMatchFinder.h"
#include "clang/ASTMatchers/ASTMatchers.h"
#include "clang/Basic/SourceManager.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

using namespace clang;
using namespace clang::tidy;

namespace kpkeys::lint {

namespace {

/// The verdict on one unit, which all checks of that unit share unless their
/// settings differ.
class Session {
public:
  struct Entry {
    UnitVerdict Verdict;
    /// Whether somebody has said why there is no verdict: once is enough.
    bool Told = false;
  };

  Entry &judge(ASTContext &Context, Preprocessor &PP, const UnitOptions &Wanted) {
    auto [It, New] = Known.try_emplace(Wanted);
    if (New)
      It->second.Verdict = judgeUnit(Context, PP, Wanted);
    return It->second;
  }

  bool hasVerdict() const { return !Known.empty(); }

private:
  std::map<UnitOptions, Entry> Known;
};

class PerUnitCheck : public ClangTidyCheck {
public:
  PerUnitCheck(llvm::StringRef Name, ClangTidyContext *Context,
               const CheckInfo &Info, std::shared_ptr<Session> Shared)
      : ClangTidyCheck(Name, Context), Info(Info), Shared(std::move(Shared)) {
    Wanted.Config = Options.getLocalOrGlobal("KpkeysConfig", "").str();
    Wanted.Exemptions = Options.getLocalOrGlobal("KpkeysExemptions", "").str();
    Wanted.Suppressions =
        Options.getLocalOrGlobal("KpkeysSuppressions", "").str();
  }

  bool isLanguageVersionSupported(const LangOptions &Options) const override {
    return !Options.CPlusPlus;
  }

  void storeOptions(ClangTidyOptions::OptionMap &Set) override {
    Options.store(Set, "KpkeysConfig", Wanted.Config);
    Options.store(Set, "KpkeysExemptions", Wanted.Exemptions);
    Options.store(Set, "KpkeysSuppressions", Wanted.Suppressions);
  }

  void registerPPCallbacks(const SourceManager &, Preprocessor *PP,
                           Preprocessor *) override {
    // Not to be called back: for the macros, when all is read.
    Macros = PP;
  }

  void registerMatchers(ast_matchers::MatchFinder *Finder) override {
    Finder->addMatcher(ast_matchers::translationUnitDecl(), this);
  }

  void check(const ast_matchers::MatchFinder::MatchResult &Result) override;

private:
  void report(const Finding &F, const FilesByName &Files,
              const SourceManager &SM);

  const CheckInfo &Info;
  std::shared_ptr<Session> Shared;
  UnitOptions Wanted;
  Preprocessor *Macros = nullptr;
};

class Module : public ClangTidyModule {
public:
  void addCheckFactories(ClangTidyCheckFactories &Factories) override;
};

} // namespace

/// The place of \p Loc in the AST; that of \p Otherwise if there is none.
static SourceLocation placeOf(const Location &Loc, const FilesByName &Files,
                              const SourceManager &SM,
                              SourceLocation Otherwise) {
  auto It = Files.find(Loc.File);
  if (It == Files.end() || !Loc.Line)
    return Otherwise;
  SourceLocation Place =
      SM.translateLineCol(It->second, Loc.Line, std::max(Loc.Column, 1U));
  return Place.isValid() ? Place : Otherwise;
}

static DiagnosticIDs::Level levelOf(Severity S) {
  switch (S) {
  case Severity::Note:
    return DiagnosticIDs::Remark;
  case Severity::Warning:
    return DiagnosticIDs::Warning;
  case Severity::Error:
    return DiagnosticIDs::Error;
  }
  llvm_unreachable("no such severity");
}

void PerUnitCheck::report(const Finding &F, const FilesByName &Files,
                          const SourceManager &SM) {
  SourceLocation Main = SM.getLocForStartOfFile(SM.getMainFileID());
  SourceLocation At = placeOf(F.Loc, Files, SM, Main);
  // The text of a finding is no format.
  diag(At, "%0", levelOf(Info.Level)) << F.Message;
  for (const Note &N : F.Notes)
    diag(placeOf(N.Loc, Files, SM, At), "%0", DiagnosticIDs::Note) << N.Message;
}

void PerUnitCheck::check(const ast_matchers::MatchFinder::MatchResult &Result) {
  const SourceManager &SM = *Result.SourceManager;
  Session::Entry &Entry = Shared->judge(*Result.Context, *Macros, Wanted);
  const UnitVerdict &Verdict = Entry.Verdict;
  if (!Verdict.Problem.empty()) {
    // An error: nothing in a source or on a command line suppresses it.
    if (!std::exchange(Entry.Told, true))
      diag(SM.getLocForStartOfFile(SM.getMainFileID()),
           "no verdict of kpkeys checks: %0", DiagnosticIDs::Error)
          << Verdict.Problem;
    return;
  }
  for (const Finding &F : Verdict.Findings)
    if (F.Check == Info.Name)
      report(F, Verdict.Files, SM);
}

void Module::addCheckFactories(ClangTidyCheckFactories &Factories) {
  auto Current = std::make_shared<std::shared_ptr<Session>>();
  for (const CheckInfo &Info : allChecks()) {
    if (needsProgram(Info.Name))
      continue;
    // All checks of a unit are made before it is parsed: the first one that
    // is made after a verdict is of the next unit.
    auto Make = [Current, &Info](llvm::StringRef Name, ClangTidyContext *Context) {
      if (!*Current || (*Current)->hasVerdict())
        *Current = std::make_shared<Session>();
      return std::make_unique<PerUnitCheck>(Name, Context, Info, *Current);
    };
    Factories.registerCheckFactory(("kpkeys-" + Info.Name).str(), Make);
  }
}

} // namespace kpkeys::lint

static ClangTidyModuleRegistry::Add<kpkeys::lint::Module>
    X("kpkeys-module", "Checks of kernel code that uses protection keys.");
