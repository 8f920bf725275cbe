// SPDX-License-Identifier: GPL-2.0-only
#include "Analysis.h"
#include "Unit.h"

#include "clang/AST/ASTConsumer.h"
#include "clang/Basic/DiagnosticOptions.h"
#include "clang/Basic/FileManager.h"
#include "clang/Frontend/CompilerInstance.h"
#include "clang/Frontend/FrontendAction.h"
#include "clang/Frontend/TextDiagnosticPrinter.h"
#include "clang/Lex/PPCallbacks.h"
#include "clang/Lex/Preprocessor.h"
#include "clang/Tooling/Tooling.h"

#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/VirtualFileSystem.h"

#include <map>

using namespace clang;

namespace kpkeys::lint {

namespace {

/// Lines that conditional inclusion left out, by file.
class SkippedRanges : public PPCallbacks {
public:
  explicit SkippedRanges(const SourceManager &SM) : SM(SM) {}

  void SourceRangeSkipped(SourceRange Range, SourceLocation) override {
    Ranges[SM.getFileID(Range.getBegin())].push_back(Range);
  }

  const SourceManager &SM;
  std::map<FileID, std::vector<SourceRange>> Ranges;
};

struct Request {
  const UnitCommand &Command;
  const Config &Cfg;
  Facts Result;
  bool Done = false;
};

class Consumer : public ASTConsumer {
public:
  Consumer(CompilerInstance &Compiler, Request &R) : Compiler(Compiler), R(R) {
    auto Callbacks =
        std::make_unique<SkippedRanges>(Compiler.getSourceManager());
    Skipped = Callbacks.get();
    Compiler.getPreprocessor().addPPCallbacks(std::move(Callbacks));
  }

  void HandleTranslationUnit(ASTContext &Context) override;

private:
  void collect(Unit &U);
  void describe(Unit &U, const FunctionDecl *F, FunctionFacts &Facts);
  void addresses(Unit &U);

  CompilerInstance &Compiler;
  Request &R;
  SkippedRanges *Skipped;
};

class Action : public ASTFrontendAction {
public:
  explicit Action(Request &R) : R(R) {}

  std::unique_ptr<ASTConsumer> CreateASTConsumer(CompilerInstance &Compiler,
                                                 llvm::StringRef) override {
    // "1 error generated" is no diagnostic, and would go to standard error.
    Compiler.setVerboseOutputStream(llvm::nulls());
    return std::make_unique<Consumer>(Compiler, R);
  }

private:
  Request &R;
};

} // namespace

/// The value of an object-like macro that is one number.
static std::optional<int64_t> macroValue(Preprocessor &PP, llvm::StringRef Name) {
  const MacroInfo *Info = PP.getMacroInfo(PP.getIdentifierInfo(Name));
  if (!Info || !Info->isObjectLike() || Info->getNumTokens() != 1)
    return std::nullopt;
  const Token &T = Info->getReplacementToken(0);
  if (!T.is(tok::numeric_constant))
    return std::nullopt;
  llvm::SmallString<32> Buffer;
  int64_t Value;
  llvm::StringRef Text = PP.getSpelling(T, Buffer).rtrim("uUlL");
  if (Text.getAsInteger(0, Value))
    return std::nullopt;
  return Value;
}

/// Whether a function can be reached from outside of the functions that are
/// known to run. Most of what headers define is used by nothing in the unit.
static bool isRoot(const Unit &U, const FunctionDecl *F) {
  return F->getFormalLinkage() == Linkage::External ||
         F->hasAttr<UsedAttr>() || F->hasAttr<ConstructorAttr>() ||
         U.SM.isInMainFile(U.SM.getFileLoc(F->getLocation()));
}

/// What nothing uses is of interest all the same if it might write to a table,
/// or switch contexts: a configuration that uses it is sure to come.
static bool isOfInterest(Unit &U, const FunctionDecl *F) {
  if (llvm::any_of(F->parameters(), [&](const ParmVarDecl *P) {
        return U.isTable(P->getType());
      }))
    return true;
  for (auto Class : {constructedClass(F), destroyedClass(F)})
    if (Class && llvm::is_contained(U.Cfg.Guards, *Class))
      return true;
  return llvm::is_contained(U.Cfg.SetFunctions, nameOf(F)) ||
         llvm::is_contained(U.Cfg.RestoreFunctions, nameOf(F)) ||
         llvm::any_of(U.Cfg.Splits, [&](const SplitPair &P) {
           return nameOf(F) == P.Enter || nameOf(F) == P.Leave;
         });
}

void Consumer::collect(Unit &U) {
  llvm::SmallVector<const FunctionDecl *, 0> Definitions;
  llvm::DenseMap<const FunctionDecl *, std::unique_ptr<Body>> Bodies;
  llvm::SmallVector<const FunctionDecl *, 0> Pending;
  auto Need = [&](const FunctionDecl *F) {
    // A cleanup function may be declared only.
    F = F ? F->getDefinition() : nullptr;
    if (F && !F->isInvalidDecl() && Bodies.try_emplace(F).second)
      Pending.push_back(F);
  };

  for (const Decl *D : U.Context.getTranslationUnitDecl()->decls()) {
    if (const auto *F = dyn_cast<FunctionDecl>(D)) {
      if (!F->doesThisDeclarationHaveABody() || F->isInvalidDecl())
        continue;
      Definitions.push_back(F);
      if (isRoot(U, F) || isOfInterest(U, F))
        Need(F);
    } else if (const auto *V = dyn_cast<VarDecl>(D)) {
      if (!V->hasInit())
        continue;
      size_t Before = U.GlobalMentions.size();
      collectMentions(V->getInit(), U.GlobalMentions);
      const auto *Section = V->getAttr<SectionAttr>();
      if (Section && Section->getName() == ".discard.addressable")
        for (size_t I = Before; I < U.GlobalMentions.size(); ++I)
          U.GlobalMentions[I].Export = true;
    } else if (const auto *A = dyn_cast<FileScopeAsmDecl>(D)) {
      U.FileAsms.push_back(A);
    }
  }
  for (const Body::Mention &M : U.GlobalMentions)
    Need(cast<FunctionDecl>(M.Ref->getDecl()));
  while (!Pending.empty()) {
    const FunctionDecl *F = Pending.pop_back_val();
    std::unique_ptr<Body> B = takeApart(F);
    for (const CallExpr *C : B->Calls)
      Need(C->getDirectCallee());
    for (const Body::Mention &M : B->Mentions)
      Need(cast<FunctionDecl>(M.Ref->getDecl()));
    for (const auto &[V, ScopeEnd] : B->Cleanups)
      Need(V->getAttr<CleanupAttr>()->getFunctionDecl());
    Bodies[F] = std::move(B);
  }
  // In the order of the source: what is defined first is described first.
  for (const FunctionDecl *F : Definitions)
    if (auto It = Bodies.find(F); It != Bodies.end())
      U.Bodies.push_back(std::move(It->second));
}

void Consumer::describe(Unit &U, const FunctionDecl *F, FunctionFacts &Facts) {
  Facts.Id = U.idOf(F);
  Facts.Name = nameOf(F).str();
  Location Begin = U.locate(F->getBeginLoc());
  Facts.File = Begin.File;
  Facts.Line = Begin.Line;
  Facts.EndLine = U.SM.getExpansionLineNumber(F->getEndLoc());
  Facts.Internal = F->getFormalLinkage() != Linkage::External;

  auto It = Skipped->Ranges.find(U.SM.getFileID(U.SM.getFileLoc(F->getBeginLoc())));
  if (It == Skipped->Ranges.end())
    return;
  for (SourceRange Range : It->second) {
    unsigned First = U.SM.getSpellingLineNumber(Range.getBegin());
    unsigned Last = U.SM.getSpellingLineNumber(Range.getEnd());
    if (First >= Facts.Line && Last <= Facts.EndLine)
      Facts.Skipped.emplace_back(First, Last);
  }
}

void Consumer::addresses(Unit &U) {
  auto Add = [&](const Body::Mention &M) {
    const auto *F = cast<FunctionDecl>(M.Ref->getDecl());
    if (F->getBuiltinID() || M.Export)
      return;
    AddressTaken A;
    A.Function = U.idOf(F);
    if (M.Field)
      A.Field = (nameOf(M.Field->getParent()) + "." + nameOf(M.Field)).str();
    A.Type = F->getType().getCanonicalType().getUnqualifiedType().getAsString();
    U.Result.AddressesTaken.push_back(std::move(A));
  };
  llvm::for_each(U.GlobalMentions, Add);
  for (const auto &B : U.Bodies)
    llvm::for_each(B->Mentions, Add);
  llvm::sort(U.Result.AddressesTaken);
  U.Result.AddressesTaken.erase(llvm::unique(U.Result.AddressesTaken),
                                U.Result.AddressesTaken.end());
}

void Consumer::HandleTranslationUnit(ASTContext &Context) {
  if (Context.getDiagnostics().hasErrorOccurred())
    return;
  Unit U(Context, R.Cfg, R.Command.Directory, R.Command.SourceRoot);
  Preprocessor &PP = Compiler.getPreprocessor();
  U.TableContext =
      macroValue(PP, R.Cfg.TableContext).value_or(R.Cfg.TableContextValue);
  U.MaxContext =
      macroValue(PP, R.Cfg.MaxContext).value_or(R.Cfg.MaxContextValue);
  for (const SplitPair &P : R.Cfg.Splits)
    for (const std::string &Name : {P.Inside, P.Outside})
      if (std::optional<int64_t> Value = macroValue(PP, Name))
        U.Macros[Name] = *Value;

  U.Result.Unit =
      U.path(U.SM.getLocForStartOfFile(U.SM.getMainFileID()));
  collect(U);
  checkContexts(U);
  for (const auto &B : U.Bodies) {
    FunctionFacts Facts;
    describe(U, B->Function, Facts);
    extractFunction(U, *B, Facts);
    U.Result.Functions.push_back(std::move(Facts));
  }
  addresses(U);

  llvm::StringSet<> Seen;
  for (auto It = U.SM.fileinfo_begin(); It != U.SM.fileinfo_end(); ++It) {
    llvm::SmallString<256> Path(It->first.getName());
    if (!llvm::sys::path::is_absolute(Path)) {
      llvm::SmallString<256> Absolute(R.Command.Directory);
      llvm::sys::path::append(Absolute, Path);
      Path = Absolute;
    }
    llvm::sys::path::remove_dots(Path, /*remove_dot_dot=*/true);
    if (Seen.insert(Path).second)
      U.Result.Dependencies.push_back(Path.str().str());
  }
  llvm::sort(U.Result.Dependencies);
  R.Result = std::move(U.Result);
  R.Done = true;
}

/// What the compiler would leave behind or stop at is not wanted here.
static std::vector<std::string> argumentsFor(const UnitCommand &Command) {
  std::vector<std::string> Arguments;
  for (size_t I = 0; I < Command.Arguments.size(); ++I) {
    llvm::StringRef A = Command.Arguments[I];
    if (A == "-o" || A == "-MF" || A == "-MT" || A == "-MQ") {
      ++I;
      continue;
    }
    if (A == "-c" || A.starts_with("-Wp,-M") || A == "-MD" || A == "-MMD" ||
        A == "-MP")
      continue;
    Arguments.push_back(A.str());
  }
  // -Werror=unknown-warning-option and the like stop at the driver otherwise.
  for (llvm::StringRef Extra : {"-w", "-Wno-error", "-fsyntax-only"})
    Arguments.push_back(Extra.str());
#ifdef KPKEYS_CLANG_RESOURCE_DIR
  if (llvm::none_of(Arguments, [](llvm::StringRef A) {
        return A.starts_with("-resource-dir");
      }))
    Arguments.push_back("-resource-dir=" KPKEYS_CLANG_RESOURCE_DIR);
#endif
  return Arguments;
}

llvm::Expected<Facts>
analyseUnit(const UnitCommand &Command, const Config &Cfg,
            std::string &Diagnostics,
            const std::map<std::string, std::string> &InMemory) {
  FileSystemOptions Options;
  Options.WorkingDir = Command.Directory;
  auto Memory = llvm::makeIntrusiveRefCnt<llvm::vfs::InMemoryFileSystem>();
  for (const auto &[Path, Text] : InMemory)
    Memory->addFile(Path, 0, llvm::MemoryBuffer::getMemBufferCopy(Text, Path));
  auto Overlay = llvm::makeIntrusiveRefCnt<llvm::vfs::OverlayFileSystem>(
      llvm::vfs::getRealFileSystem());
  Overlay->pushOverlay(Memory);
  llvm::IntrusiveRefCntPtr<FileManager> Files(
      InMemory.empty() ? new FileManager(Options)
                       : new FileManager(Options, Overlay));

  Request R{Command, Cfg, {}, false};
  llvm::raw_string_ostream Stream(Diagnostics);
#if LLVM_VERSION_MAJOR >= 21
  DiagnosticOptions DiagnosticOpts;
  TextDiagnosticPrinter Printer(Stream, DiagnosticOpts);
#else
  auto DiagnosticOpts = llvm::makeIntrusiveRefCnt<DiagnosticOptions>();
  TextDiagnosticPrinter Printer(Stream, DiagnosticOpts.get());
#endif
  tooling::ToolInvocation Invocation(argumentsFor(Command),
                                     std::make_unique<Action>(R), Files.get());
  Invocation.setDiagnosticConsumer(&Printer);
  bool Good = Invocation.run();
  Stream.flush();
  if (Good && R.Done)
    return std::move(R.Result);

  llvm::StringRef First = Diagnostics;
  for (llvm::StringRef Rest = Diagnostics; !Rest.empty();) {
    llvm::StringRef Line;
    std::tie(Line, Rest) = Rest.split('\n');
    if (Line.contains("error:")) {
      First = Line;
      break;
    }
  }
  First = First.split('\n').first;
  return llvm::createStringError(
      Command.File + ": does not parse: " +
      (First.empty() ? llvm::StringRef("clang gives no reason") : First));
}

} // namespace kpkeys::lint
