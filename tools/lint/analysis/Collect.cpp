// SPDX-License-Identifier: GPL-2.0-only
#include "Collect.h"
#include "Unit.h"

#include "clang/Lex/Preprocessor.h"

#include "llvm/Support/Path.h"

using namespace clang;

namespace kpkeys::lint {

namespace {

class Collector {
public:
  Collector(const ParsedUnit &Parsed, const Config &Cfg);

  Facts run();
  void listFiles(FilesByName &Files);

private:
  void collect();
  void describe(const FunctionDecl *F, FunctionFacts &Facts);
  void addresses();
  void dependencies();

  const ParsedUnit &Parsed;
  Unit U;
};

} // namespace

void SkippedRanges::SourceRangeSkipped(SourceRange Range, SourceLocation) {
  Ranges[SM.getFileID(Range.getBegin())].push_back(Range);
}

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

void Collector::collect() {
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
      if (F->hasAttr<AliasAttr>()) {
        U.Aliases.push_back(F);
        if (F->getFormalLinkage() == Linkage::External)
          U.Result.Aliases.emplace_back(nameOf(F).str(), U.idOf(F));
      }
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

void Collector::describe(const FunctionDecl *F, FunctionFacts &Facts) {
  Facts.Id = U.idOf(F);
  Facts.Name = nameOf(F).str();
  Location Begin = U.locate(F->getBeginLoc());
  Facts.File = Begin.File;
  Facts.Line = Begin.Line;
  Facts.EndLine = U.SM.getExpansionLineNumber(F->getEndLoc());
  Facts.Internal = F->getFormalLinkage() != Linkage::External;

  if (!Parsed.Skipped)
    return;
  const auto &Ranges = Parsed.Skipped->Ranges;
  auto It = Ranges.find(U.SM.getFileID(U.SM.getFileLoc(F->getBeginLoc())));
  if (It == Ranges.end())
    return;
  for (SourceRange Range : It->second) {
    unsigned First = U.SM.getSpellingLineNumber(Range.getBegin());
    unsigned Last = U.SM.getSpellingLineNumber(Range.getEnd());
    if (First >= Facts.Line && Last <= Facts.EndLine)
      Facts.Skipped.emplace_back(First, Last);
  }
}

/// Functions that assembly code refers to by their names. Who then calls them,
/// and how, nobody knows.
static void namedBy(Unit &U, llvm::StringRef Code) {
  // An export calls nothing.
  if (Code.contains(".export_symbol"))
    return;
  auto IsWord = [](char C) {
    return llvm::isAlnum(C) || C == '_' || C == '.' || C == '$';
  };
  bool First = true;
  while (!Code.empty()) {
    char C = Code.front();
    if (!IsWord(C)) {
      First |= C == '\n' || C == ';';
      // %[operand]
      Code = Code.substr(Code.starts_with("%[") ? Code.find(']') : 1);
      continue;
    }
    llvm::StringRef Word = Code.take_while(IsWord);
    Code = Code.drop_front(Word.size());
    // What a statement begins with is an instruction, a directive or a label.
    if (First) {
      First = Code.starts_with(":");
      continue;
    }
    const FunctionDecl *F = U.functionNamed(Word);
    if (F && !F->getBuiltinID())
      U.Result.AddressesTaken.push_back({U.idOf(F), "", ""});
  }
}

void Collector::addresses() {
  auto Add = [&](const Body::Mention &M) {
    const auto *F = cast<FunctionDecl>(M.Ref->getDecl());
    if (F->getBuiltinID() || M.Export)
      return;
    AddressTaken A;
    A.Function = U.idOf(F);
    A.Field = Unit::memberName(M.Field);
    if (!M.Lost)
      A.Type =
          F->getType().getCanonicalType().getUnqualifiedType().getAsString();
    U.Result.AddressesTaken.push_back(std::move(A));
  };
  llvm::for_each(U.GlobalMentions, Add);
  for (const auto &B : U.Bodies) {
    llvm::for_each(B->Mentions, Add);
    for (const FieldDecl *Field : B->Moved)
      if (std::string Name = Unit::memberName(Field); !Name.empty())
        U.Result.Moved.push_back(std::move(Name));
    for (const GCCAsmStmt *A : B->Asms)
      namedBy(U, A->getAsmString());
  }
  for (const FileScopeAsmDecl *A : U.FileAsms)
    namedBy(U, A->getAsmString());
  llvm::sort(U.Result.Moved);
  U.Result.Moved.erase(llvm::unique(U.Result.Moved), U.Result.Moved.end());
  llvm::sort(U.Result.AddressesTaken);
  U.Result.AddressesTaken.erase(llvm::unique(U.Result.AddressesTaken),
                                U.Result.AddressesTaken.end());
}

void Collector::dependencies() {
  llvm::StringSet<> Seen;
  for (auto It = U.SM.fileinfo_begin(); It != U.SM.fileinfo_end(); ++It) {
    llvm::SmallString<256> Path(It->first.getName());
    if (!llvm::sys::path::is_absolute(Path)) {
      llvm::SmallString<256> Absolute(Parsed.Directory);
      llvm::sys::path::append(Absolute, Path);
      Path = Absolute;
    }
    llvm::sys::path::remove_dots(Path, /*remove_dot_dot=*/true);
    if (Seen.insert(Path).second)
      U.Result.Dependencies.push_back(Path.str().str());
  }
  llvm::sort(U.Result.Dependencies);
}

void Collector::listFiles(FilesByName &Files) {
  for (unsigned I = 0; I < U.SM.local_sloc_entry_size(); ++I) {
    const SrcMgr::SLocEntry &Entry = U.SM.getLocalSLocEntry(I);
    if (!Entry.isFile() || !Entry.getFile().getContentCache().OrigEntry)
      continue;
    SourceLocation Begin = SourceLocation::getFromRawEncoding(Entry.getOffset());
    // A file that is read several times has the same lines each time.
    Files.try_emplace(U.path(Begin), U.SM.getFileID(Begin));
  }
}

Collector::Collector(const ParsedUnit &Parsed, const Config &Cfg)
    : Parsed(Parsed),
      U(Parsed.Context, Cfg, Parsed.Directory, Parsed.SourceRoot) {
  std::optional<int64_t> TableContext = macroValue(Parsed.PP, Cfg.TableContext);
  U.HasTableContext = TableContext.has_value();
  U.TableContext = TableContext.value_or(Cfg.TableContextValue);
  U.MaxContext =
      macroValue(Parsed.PP, Cfg.MaxContext).value_or(Cfg.MaxContextValue);
  for (const SplitPair &P : Cfg.Splits)
    for (const std::string &Name : {P.Inside, P.Outside})
      if (std::optional<int64_t> Value = macroValue(Parsed.PP, Name))
        U.Macros[Name] = *Value;
}

Facts Collector::run() {
  U.Result.Unit = U.path(U.SM.getLocForStartOfFile(U.SM.getMainFileID()));
  collect();
  checkContexts(U);
  for (const auto &B : U.Bodies) {
    FunctionFacts Facts;
    describe(B->Function, Facts);
    extractFunction(U, *B, Facts);
    U.Result.Functions.push_back(std::move(Facts));
  }
  addresses();
  dependencies();
  return std::move(U.Result);
}

std::optional<Facts> collectFacts(const ParsedUnit &Parsed, const Config &Cfg,
                                  FilesByName *Files) {
  // Not those that -Werror makes of warnings.
  if (Parsed.Context.getDiagnostics().hasUncompilableErrorOccurred())
    return std::nullopt;
  Collector C(Parsed, Cfg);
  Facts Result = C.run();
  if (Files)
    C.listFiles(*Files);
  return Result;
}

} // namespace kpkeys::lint
