// SPDX-License-Identifier: GPL-2.0-only
/// \file
/// What the parts of the extraction share while one unit is analysed.
#ifndef KPKEYS_LINT_ANALYSIS_UNIT_H
#define KPKEYS_LINT_ANALYSIS_UNIT_H

#include "ClangHeaders.h"
#include "Config.h"
#include "Facts.h"

#include <memory>
#include <optional>

namespace kpkeys::lint {

/// A function body, taken apart in one walk. Nothing that is not evaluated
/// (operands of sizeof, unselected arms of _Generic) is in here.
struct Body {
  const clang::FunctionDecl *Function = nullptr;
  /// Assignments, increments and decrements.
  llvm::SmallVector<const clang::Expr *, 16> Stores;
  llvm::SmallVector<const clang::CallExpr *, 32> Calls;
  llvm::SmallVector<const clang::GCCAsmStmt *, 2> Asms;
  llvm::SmallVector<const clang::AtomicExpr *, 1> Atomics;
  llvm::SmallVector<const clang::ReturnStmt *, 4> Returns;
  /// Mentions of functions other than to call them, and what they go into.
  struct Mention {
    const clang::DeclRefExpr *Ref;
    const clang::FieldDecl *Field;
    /// Converted to another type than its own, or handed to assembly: what
    /// calls it cannot be told by the type.
    bool Lost = false;
    /// Only keeps a symbol that is exported; nothing is called through it.
    bool Export = false;
  };
  llvm::SmallVector<Mention, 2> Mentions;
  /// Members whose value, a function, is put elsewhere.
  llvm::SmallPtrSet<const clang::FieldDecl *, 2> Moved;
  /// What local variables and parameters are given, initialisers included.
  llvm::DenseMap<const clang::VarDecl *,
                 llvm::SmallVector<const clang::Expr *, 2>>
      Values;
  /// What members that are pointers or integers are given.
  llvm::DenseMap<const clang::FieldDecl *,
                 llvm::SmallVector<const clang::Expr *, 2>>
      FieldValues;
  /// Pointer and integer variables whose own address is taken, and arrays of
  /// pointers that are handed on.
  llvm::SmallPtrSet<const clang::VarDecl *, 4> Exposed;
  /// Variables with a cleanup function, and the end of their scope.
  llvm::SmallVector<std::pair<const clang::VarDecl *, clang::SourceLocation>, 2>
      Cleanups;
};

/// What a function leaves entered when it returns.
struct Entry {
  /// The context: a constant, or a parameter. Neither if it is something else, or
  /// not the same on all paths.
  std::optional<int64_t> Context;
  std::optional<unsigned> Parameter;
  /// On every path on which the feature is enabled.
  bool Always = false;

  bool is(int64_t Wanted) const { return Always && Context == Wanted; }
  bool isSameContext(const Entry &Other) const {
    return (Context || Parameter) && Context == Other.Context &&
           Parameter == Other.Parameter;
  }
};

/// A guard class that enters a context, from its constructor.
struct GuardClass {
  Entry Enters;
  bool Noop = false;
};

/// Per-unit state and the helpers that all parts need.
class Unit {
public:
  Unit(clang::ASTContext &Context, const Config &Cfg, std::string Directory,
       std::string SourceRoot);

  clang::ASTContext &Context;
  const clang::SourceManager &SM;
  const Config &Cfg;
  Facts Result;

  /// The values of TableContext and MaxContext in this unit.
  int64_t TableContext, MaxContext;
  /// The unit defines TableContext: the feature is configured in.
  bool HasTableContext = true;
  int64_t contextValue(llvm::StringRef Macro) const;
  /// Contexts that SplitPairs name, by macro.
  llvm::StringMap<int64_t> Macros;

  /// Bodies that were walked, in the order of the source.
  std::vector<std::unique_ptr<Body>> Bodies;
  /// Mentions of functions in initialisers of global variables.
  llvm::SmallVector<Body::Mention, 0> GlobalMentions;
  std::vector<const clang::FileScopeAsmDecl *> FileAsms;
  /// Declarations that are another name for a function.
  std::vector<const clang::FunctionDecl *> Aliases;

  // Filled in by ContextChecks.
  /// Which parameters of which functions are contexts.
  llvm::DenseMap<const clang::FunctionDecl *, llvm::SmallVector<unsigned, 2>>
      ContextParameters;
  /// Functions that write the pkey register, with a value that is not theirs.
  llvm::SmallPtrSet<const clang::FunctionDecl *, 16> Carriers;
  /// The parameters that the value may come from. No entry for a carrier whose
  /// value may have come from anywhere.
  llvm::DenseMap<const clang::FunctionDecl *, llvm::SmallVector<unsigned, 2>>
      Carried;
  /// Functions that return what a set returned, with the context still open.
  llvm::DenseMap<const clang::FunctionDecl *, Entry> Setters;
  /// Functions that restore parameters, and which.
  llvm::DenseMap<const clang::FunctionDecl *, llvm::SmallVector<unsigned, 1>>
      Restorers;
  /// Assembly code that writes the register, and functions that end up in some
  /// other than by what enters or leaves a context.
  llvm::SmallPtrSet<const clang::GCCAsmStmt *, 8> RegisterWrites;
  llvm::SmallPtrSet<const clang::FunctionDecl *, 8> Writers;
  /// Guard classes that switch contexts, by name.
  llvm::StringMap<GuardClass> GuardClasses;
  /// Functions that enter a context for a section; without the feature, they are
  /// empty.
  llvm::StringSet<> Entering;
  /// Those that note it, see SplitPair::Noted.
  llvm::StringSet<> Noting;
  /// \p E is the note of the pair that \p F belongs to.
  bool isNote(const clang::Expr *E, const clang::FunctionDecl *F) const;

  /// The register is written in this unit, and a compiler barrier is before.
  bool WritesRegister = false, RestoreHasBarrier = false;

  Location locate(clang::SourceLocation Loc);
  /// The source of an expression on one line, shortened.
  std::string text(clang::SourceRange Range);
  std::string idOf(const clang::FunctionDecl *F);
  /// The function of that name, if this unit declares one.
  const clang::FunctionDecl *functionNamed(llvm::StringRef Name);
  /// What tells a member that holds functions apart; empty if nothing does.
  static std::string memberName(const clang::FieldDecl *Field);
  std::string path(clang::SourceLocation Loc);

  /// pte_t and so on, or a value type of one of these.
  bool isEntry(clang::QualType T);
  /// A structure with an array of entries in it.
  bool holdsTable(clang::QualType T);
  /// A pointer to, or an array of, entries or structures that hold some.
  bool isTable(clang::QualType T);

  bool isSetter(const clang::FunctionDecl *F) const;
  /// What a call of a setter enters.
  Entry entered(const clang::CallExpr *C) const;
  bool isRestorer(const clang::FunctionDecl *F) const;
  /// What a call of a restorer restores.
  llvm::SmallVector<const clang::Expr *, 1>
  restored(const clang::CallExpr *C) const;
  bool isSplitSwitch(const clang::FunctionDecl *F) const;
  /// The second half of a pair whose first half enters a context in this unit.
  bool hasToLeave(const clang::FunctionDecl *F) const;

  /// The context this expression is, if it is an integer constant expression.
  std::optional<int64_t> constant(const clang::Expr *E) const;
  bool isSentinel(const clang::Expr *E) const;
  /// Whether code under \p Condition runs whenever the feature is enabled.
  bool onlyEnabled(const clang::Expr *Condition) const;

  Finding &report(llvm::StringRef Check, clang::SourceLocation Loc,
                  const clang::FunctionDecl *In, const llvm::Twine &Message,
                  const llvm::Twine &Key);

private:
  std::string Directory, SourceRoot;
  llvm::DenseMap<clang::FileID, std::string> Paths;
  llvm::DenseMap<const clang::Type *, bool> Entries, Holders;
  llvm::StringSet<> EntryNames, ValueNames;
};

/// NAME of a function class_NAME_constructor or class_NAME_destructor.
std::optional<llvm::StringRef> constructedClass(const clang::FunctionDecl *F);
std::optional<llvm::StringRef> destroyedClass(const clang::FunctionDecl *F);

/// Name of a declaration that has a plain identifier.
inline llvm::StringRef nameOf(const clang::NamedDecl *D) {
  const clang::IdentifierInfo *I = D ? D->getIdentifier() : nullptr;
  return I ? I->getName() : llvm::StringRef();
}

/// Casts, parentheses, __extension__ and __builtin_expect removed.
const clang::Expr *strip(const clang::Expr *E);

/// Walk a function body.
std::unique_ptr<Body> takeApart(const clang::FunctionDecl *F);
/// Mentions of functions in an initialiser.
void collectMentions(const clang::Expr *Init,
                     llvm::SmallVectorImpl<Body::Mention> &Mentions);

/// Where pointers of one function come from.
struct Origin {
  Roots From;
  bool Typed = false;

  void add(int Root);
  void add(const Origin &Other);
  bool isCopy() const;
  bool operator==(const Origin &) const = default;
};

class Places {
public:
  Places(Unit &U, const Body &B) : U(U), B(B) {}

  /// The memory that a pointer, or an integer made from one, points to.
  Origin pointer(const clang::Expr *E);
  /// The memory that an lvalue is.
  Origin place(const clang::Expr *E);

  /// What an lvalue of pointer or integer type leads to when it is read.
  Origin load(const clang::Expr *L);

private:
  Origin variable(const clang::ValueDecl *V);
  Origin evaluate(const clang::ValueDecl *V);
  void solve(const clang::ValueDecl *V);
  Origin cast(const clang::CastExpr *E);
  Origin binary(const clang::BinaryOperator *E);
  Origin member(const clang::MemberExpr *E);
  Origin call(const clang::CallExpr *E);

  Unit &U;
  const Body &B;
  /// Variables and members that are done with.
  llvm::DenseMap<const clang::ValueDecl *, Origin> Known;
  /// Those that are being solved for, and what they are as far as is known.
  struct Unsolved {
    const clang::ValueDecl *V;
    Origin So;
    /// Depends on none of the others.
    bool Final = false;
  };
  std::vector<Unsolved> Open;
  llvm::DenseMap<const clang::ValueDecl *, unsigned> Indices;
  /// A variable that is being solved for was asked for.
  bool Touched = false;
  unsigned Depth = 0;
};

/// What holds at a statement.
struct StatementState {
  bool Guarded = false;
  /// Another context may be in effect, whatever the callers have entered.
  bool Other = false;
  bool InScope = false;
  bool InSection = false;
  std::vector<Note> Notes;
};

/// Contexts and guards on the paths through one function. Reports
/// context-restore and pgtable-plain-store on its way.
class Flow {
public:
  Flow(Unit &U, const Body &B);
  ~Flow();

  /// Statements whose state is asked for later.
  void watch(const clang::Stmt *S);
  /// A plain store to a page table.
  void watchPlainStore(const clang::Stmt *S, const clang::Expr *Shown);
  /// A variable whose cleanup function's runs are asked for.
  void watchCleanup(const clang::VarDecl *V);
  void run();
  StatementState at(const clang::Stmt *S) const;
  /// What a constructor or a setter leaves entered. Reports nothing.
  Entry entry();
  /// What holds wherever the cleanup function runs.
  StatementState atCleanup(const clang::VarDecl *V) const;

  /// Whether a function needs it: the others are never under a guard.
  static bool concerns(Unit &U, const Body &B);

private:
  class Impl;
  std::unique_ptr<Impl> I;
};

/// Fill in what the unit says about contexts, and report context-constant,
/// context-address and context-inline.
void checkContexts(Unit &U);

/// Page table writes and calls of one function.
void extractFunction(Unit &U, const Body &B, FunctionFacts &F);

} // namespace kpkeys::lint

#endif
