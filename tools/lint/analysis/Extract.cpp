// SPDX-License-Identifier: GPL-2.0-only
//
// The writes and calls of one function: what may be a page table write, and
// what is handed on to functions that may write.
#include "Unit.h"

#include "clang/Basic/Builtins.h"

#include "llvm/Support/Regex.h"

#include <set>

using namespace clang;

namespace kpkeys::lint {

namespace {

/// How a parameter takes a pointer that may lead to a table.
enum class Passing {
  None,
  /// A pointer to entries: the callee is checked for itself.
  Typed,
  /// void *, pointers to integers and to other structures, unsigned long.
  Untyped,
};

class Extractor {
public:
  Extractor(Unit &U, const Body &B, FunctionFacts &F)
      : U(U), B(B), F(F), P(U, B) {}

  void run();

private:
  void store(const Expr *E);
  void assembly(const GCCAsmStmt *A);
  void atomic(const AtomicExpr *A);
  void call(const CallExpr *C);
  void cleanup(const VarDecl *V);
  bool builtin(const CallExpr *C, llvm::StringRef Name);
  void indirect(const CallExpr *C);
  bool arguments(const CallExpr *C, const FunctionDecl *Callee, CallSite &Site);

  void write(const Stmt *At, SourceLocation Loc, llvm::StringRef Shape,
             const Expr *Shown, const Origin &O);
  bool matters(const Origin &O) const;
  bool isUntypedParameter(int Root) const;
  Passing passing(QualType Parameter, const Expr *Argument);

  Unit &U;
  const Body &B;
  FunctionFacts &F;
  Places P;
  // Found first, and completed when it is known where guards are live.
  std::vector<std::pair<const Stmt *, WriteSite>> Sites;
  std::vector<std::pair<const Stmt *, CallSite>> Calls;
  std::vector<std::pair<const VarDecl *, CallSite>> Cleanups;
  std::vector<std::pair<const Stmt *, const Expr *>> PlainStores;
};

} // namespace

/// Any integer that has room for an address.
static bool isAddressSized(const ASTContext &C, QualType T) {
  return T->isIntegerType() && !T->isEnumeralType() && !T->isBooleanType() &&
         C.getTypeSize(T) == 64;
}

/// Whether code can write to tables through such a parameter without naming
/// their type. What it points to by its type is no protection: a table can be
/// cast to anything.
static bool isUntyped(Unit &U, QualType T) {
  if (const auto *Pointer = T->getAs<PointerType>()) {
    QualType To = Pointer->getPointeeType();
    return !To.isConstQualified() && !To->isFunctionType() && !U.isTable(T);
  }
  return isAddressSized(U.Context, T);
}

bool Extractor::isUntypedParameter(int Root) const {
  return Root >= 0 && unsigned(Root) < B.Function->getNumParams() &&
         isUntyped(U, B.Function->getParamDecl(Root)->getType());
}

/// A pointer that can lead to a table: it is known to, or callers decide.
bool Extractor::matters(const Origin &O) const {
  if (O.isCopy())
    return false;
  return O.Typed ||
         llvm::any_of(O.From, [&](int R) { return isUntypedParameter(R); });
}

void Extractor::write(const Stmt *At, SourceLocation Loc, llvm::StringRef Shape,
                      const Expr *Shown, const Origin &O) {
  if (!matters(O))
    return;
  WriteSite S;
  S.Loc = U.locate(Loc);
  S.Shape = Shape.str();
  S.From = O.From;
  S.Typed = O.Typed;
  // Text is for people, who are shown writes to tables only.
  if (O.Typed)
    S.Text = U.text(Shown->getSourceRange());
  Sites.emplace_back(At, std::move(S));
}

void Extractor::store(const Expr *E) {
  const Expr *Left;
  if (const auto *Op = dyn_cast<BinaryOperator>(E))
    Left = Op->getLHS();
  else
    Left = cast<UnaryOperator>(E)->getSubExpr();
  const Expr *L = Left->IgnoreParens();
  if (isa<DeclRefExpr>(L) && !L->getType()->isRecordType())
    return;
  // Most stores are to members of structures that have nothing to do with it.
  Origin O = P.place(L);
  if (!matters(O))
    return;
  bool Volatile = L->getType().isVolatileQualified();
  write(E, E->getBeginLoc(), Volatile ? "write-once" : "store", Left, O);
  if (!Volatile && O.Typed)
    PlainStores.emplace_back(E, Left);
}

/// Whether assembly code has an instruction that writes to memory.
static bool hasStore(llvm::StringRef Code) {
  static const llvm::Regex Store(
      "(^|[^a-z0-9_.])(st[a-z]+[0-9]?|cas[a-z]*|swp[a-z]*|dc)[[:space:]]",
      llvm::Regex::IgnoreCase);
  return Store.match(Code);
}

void Extractor::assembly(const GCCAsmStmt *A) {
  std::string Code = A->getAsmString();
  bool Empty = llvm::StringRef(Code).trim().empty();
  bool ClobbersMemory = false;
  for (unsigned C = 0; C < A->getNumClobbers(); ++C)
    ClobbersMemory |= llvm::StringRef(A->getClobber(C)) == "memory";
  // An address in a register, as a pointer or as a number. A number can be
  // written to if the code says that it changes memory.
  auto Address = [&](const Expr *E, const Origin &O) {
    QualType T = E->getType();
    if (Empty)
      return; // It only hides a value from the compiler.
    if (T->isPointerType() ? !T->getPointeeType().isConstQualified()
                           : T->isIntegerType() && ClobbersMemory && O.Typed)
      write(A, A->getAsmLoc(), "asm", E, O);
  };

  for (unsigned I = 0; I < A->getNumOutputs(); ++I) {
    const Expr *Out = A->getOutputExpr(I);
    std::string Constraint(A->getOutputConstraint(I));
    bool Memory = Constraint.find_first_of("Qm") != std::string::npos;
    if (!isa<DeclRefExpr>(Out->IgnoreParens()))
      write(A, A->getAsmLoc(), "asm", Out, P.place(Out));
    // "+r" of a pointer, which the code advances.
    if (!Memory && A->isOutputPlusConstraint(I))
      Address(Out, P.load(Out));
  }
  for (unsigned I = 0; I < A->getNumInputs(); ++I) {
    const Expr *In = A->getInputExpr(I);
    std::string Constraint(A->getInputConstraint(I));
    if (Constraint.find_first_of("Qm") != std::string::npos &&
        Constraint.find('r') == std::string::npos) {
      // Memory that is only read, if the code keeps to what it declares.
      if (ClobbersMemory && !In->getType().isConstQualified() && hasStore(Code))
        write(A, A->getAsmLoc(), "asm", In, P.place(In));
    } else if (!isa<IntegerLiteral>(strip(In)) &&
               (In->getType()->isPointerType() || ClobbersMemory)) {
      Address(In, P.pointer(In));
    }
  }
}

void Extractor::atomic(const AtomicExpr *A) {
  auto Write = [&](const Expr *E) {
    write(A, A->getBeginLoc(), "atomic", E, P.pointer(E));
  };
  switch (A->getOp()) {
  case AtomicExpr::AO__atomic_load:
  case AtomicExpr::AO__atomic_load_n:
  case AtomicExpr::AO__c11_atomic_load:
  case AtomicExpr::AO__scoped_atomic_load:
  case AtomicExpr::AO__scoped_atomic_load_n:
    break;
  default:
    Write(A->getPtr());
  }
  // What was there before is written to where the caller says.
  switch (A->getOp()) {
  case AtomicExpr::AO__atomic_load:
  case AtomicExpr::AO__scoped_atomic_load:
    Write(A->getVal1());
    break;
  case AtomicExpr::AO__atomic_exchange:
  case AtomicExpr::AO__scoped_atomic_exchange:
    Write(A->getVal2());
    break;
  default:
    if (A->isCmpXChg())
      Write(A->getVal1());
  }
}

Passing Extractor::passing(QualType T, const Expr *Argument) {
  if (T->isPointerType()) {
    // To const as well: it can be cast away.
    if (U.isTable(T))
      return Passing::Typed;
    return isUntyped(U, T) ? Passing::Untyped : Passing::None;
  }
  // As a number: where it is made from a pointer to a table in this function.
  if (!isAddressSized(U.Context, T))
    return Passing::None;
  const Expr *E = Argument->IgnoreParenImpCasts();
  if (isa<IntegerLiteral, CallExpr>(E))
    return Passing::None;
  const auto *C = dyn_cast<CastExpr>(E);
  if (C && C->getCastKind() == CK_PointerToIntegral)
    return Passing::Untyped;
  return P.pointer(Argument).Typed ? Passing::Untyped : Passing::None;
}

bool Extractor::arguments(const CallExpr *C, const FunctionDecl *Callee,
                          CallSite &Site) {
  const FunctionProtoType *Prototype = nullptr;
  if (Callee)
    Prototype = Callee->getType()->getAs<FunctionProtoType>();
  else if (const auto *Pointer =
               C->getCallee()->getType()->getAs<PointerType>())
    Prototype = Pointer->getPointeeType()->getAs<FunctionProtoType>();
  // A K&R definition has parameters all the same.
  const FunctionDecl *Definition = Callee ? Callee->getDefinition() : nullptr;

  for (unsigned I = 0; I < C->getNumArgs(); ++I) {
    const Expr *E = C->getArg(I);
    QualType T = E->getType();
    if (!T->isPointerType() && !T->isIntegerType())
      continue;
    if (Prototype) {
      if (I >= Prototype->getNumParams())
        break; // Printed, most likely.
      T = Prototype->getParamType(I);
      // typedef names of parameters say more than the function type does.
      if (Callee && I < Callee->getNumParams())
        T = Callee->getParamDecl(I)->getType();
    } else if (Definition && I < Definition->getNumParams()) {
      T = Definition->getParamDecl(I)->getType();
    }
    Passing How = passing(T, E);
    if (How == Passing::None)
      continue;
    // Without a prototype, nobody knows what the callee makes of it.
    if (!Prototype && !Definition)
      How = Passing::Untyped;
    Origin O = P.pointer(E);
    if (O.From.empty() && !O.Typed)
      continue; // NULL.
    // A copy of an entry is of interest to callees that take it for one.
    if (How == Passing::Untyped && !matters(O) && !O.Typed)
      continue;
    Argument A;
    A.Index = I;
    A.From = O.From;
    A.Typed = O.Typed && !O.isCopy();
    A.TypedParameter = How == Passing::Typed;
    if (A.Typed)
      A.Text = U.text(E->getSourceRange());
    Site.Arguments.push_back(std::move(A));
  }
  return !Site.Arguments.empty();
}

void Extractor::indirect(const CallExpr *C) {
  F.HasIndirectCall = true;
  CallSite Site;
  const Expr *Callee = C->getCallee()->IgnoreParenImpCasts();
  if (const auto *D = dyn_cast<UnaryOperator>(Callee);
      D && D->getOpcode() == UO_Deref)
    Callee = D->getSubExpr()->IgnoreParenImpCasts();
  if (const auto *M = dyn_cast<MemberExpr>(Callee))
    Site.Field = Unit::memberName(dyn_cast<FieldDecl>(M->getMemberDecl()));
  QualType T = C->getCallee()->getType();
  if (const auto *Pointer = T->getAs<PointerType>())
    T = Pointer->getPointeeType();
  Site.Type = T.getCanonicalType().getUnqualifiedType().getAsString();
  Site.Loc = U.locate(C->getBeginLoc());
  arguments(C, nullptr, Site);
  Calls.emplace_back(C, std::move(Site));
}

/// Functions of the compiler that have no parameter types of their own.
bool Extractor::builtin(const CallExpr *C, llvm::StringRef Name) {
  std::optional<unsigned> Target;
  if (Name.starts_with("__sync_"))
    Target = 0;
  else if (Name.ends_with("_overflow"))
    Target = 2;
  else if (Name == "__builtin_nontemporal_store" ||
           Name.starts_with("__builtin_arm_st"))
    Target = 1;
  if (!Target || *Target >= C->getNumArgs())
    return false;
  const Expr *E = C->getArg(*Target);
  write(C, C->getBeginLoc(), *Target ? "builtin" : "atomic", E, P.pointer(E));
  return true;
}

void Extractor::call(const CallExpr *C) {
  const FunctionDecl *Callee = C->getDirectCallee();
  if (!Callee) {
    indirect(C);
    return;
  }
  CallSite Site;
  Site.Callee = Callee->getBuiltinID() ? nameOf(Callee).str() : U.idOf(Callee);
  if (Callee->getBuiltinID() && builtin(C, nameOf(Callee)))
    return;
  arguments(C, Callee, Site);
  // The compiler may turn these into stores of its own.
  if (Callee->getBuiltinID())
    for (const Argument &A : Site.Arguments)
      if (A.Typed)
        PlainStores.emplace_back(C, C);
  Calls.emplace_back(C, std::move(Site));
}

/// The end of a scope calls functions as well.
void Extractor::cleanup(const VarDecl *V) {
  const FunctionDecl *Callee = V->getAttr<CleanupAttr>()->getFunctionDecl();
  if (!Callee || !Callee->getNumParams())
    return;
  CallSite Site;
  Site.Callee = U.idOf(Callee);
  QualType T = Callee->getParamDecl(0)->getType();
  if (T->isPointerType() && U.isTable(T))
    Site.Arguments.push_back({0, {RootCopy}, false, true, {}});
  Cleanups.emplace_back(V, std::move(Site));
}

/// Of what matters only if a caller passes a table, one of a kind is enough.
static bool isRepeated(llvm::StringSet<> &Seen, const CallSite &C) {
  std::string Key;
  llvm::raw_string_ostream OS(Key);
  OS << C.Callee << '|' << C.Field << '|' << C.Type << '|' << C.Guarded;
  for (const Argument &A : C.Arguments) {
    if (A.Typed || A.TypedParameter)
      return false;
    OS << '|' << A.Index;
    for (int Root : A.From)
      OS << ',' << Root;
  }
  return !Seen.insert(Key).second;
}

void Extractor::run() {
  for (const ParmVarDecl *Each : B.Function->parameters())
    if (U.isTable(Each->getType()))
      F.TypedParameters.push_back(Each->getFunctionScopeIndex());
  for (const Expr *E : B.Stores)
    store(E);
  for (const GCCAsmStmt *A : B.Asms)
    assembly(A);
  for (const AtomicExpr *A : B.Atomics)
    atomic(A);
  for (const CallExpr *C : B.Calls)
    call(C);
  for (const auto &[V, ScopeEnd] : B.Cleanups)
    cleanup(V);

  std::optional<Flow> Paths;
  if (Flow::concerns(U, B)) {
    Paths.emplace(U, B);
    for (const auto &[S, Site] : Sites)
      Paths->watch(S);
    for (const auto &[S, Site] : Calls)
      Paths->watch(S);
    for (const auto &[V, Site] : Cleanups)
      Paths->watchCleanup(V);
    for (auto [S, Shown] : PlainStores)
      Paths->watchPlainStore(S, Shown);
    Paths->run();
  }

  std::set<Roots> Written;
  for (auto &[S, Site] : Sites) {
    if (Paths) {
      StatementState State = Paths->at(S);
      Site.Guarded = State.Guarded;
      Site.Other = State.Other;
      if (!State.Guarded && Site.Typed)
        Site.Notes = std::move(State.Notes);
    }
    // Where a write happens is known by its first place.
    if (!Site.Typed && (Site.Guarded || !Written.insert(Site.From).second))
      continue;
    if (!llvm::is_contained(F.Sites, Site))
      F.Sites.push_back(std::move(Site));
  }
  llvm::StringSet<> Seen, SeenCalls;
  auto Add = [&](CallSite &Site, SourceLocation Loc, StatementState State) {
    Site.Guarded = State.Guarded;
    Site.Other = State.Other;
    Site.InScope = State.InScope;
    Site.InSection = State.InSection;
    bool Shown = llvm::any_of(Site.Arguments,
                              [](const Argument &A) { return A.Typed; });
    if (!State.Guarded && Shown)
      Site.Notes = std::move(State.Notes);
    bool Plain = Site.Arguments.empty() && !Site.Other && !Site.InScope &&
                 !Site.InSection;
    if (Plain) {
      if (!Site.Callee.empty() && Seen.insert(Site.Callee).second)
        F.Callees.push_back(std::move(Site.Callee));
      return;
    }
    if (!Site.InScope && !Site.InSection && isRepeated(SeenCalls, Site))
      return;
    if (Site.Loc.File.empty())
      Site.Loc = U.locate(Loc);
    if (!llvm::is_contained(F.Calls, Site))
      F.Calls.push_back(std::move(Site));
  };
  for (auto &[S, Site] : Calls)
    Add(Site, S->getBeginLoc(), Paths ? Paths->at(S) : StatementState());
  for (auto &[V, Site] : Cleanups)
    Add(Site, V->getLocation(),
        Paths ? Paths->atCleanup(V) : StatementState());
}

void extractFunction(Unit &U, const Body &B, FunctionFacts &F) {
  Extractor(U, B, F).run();
}

} // namespace kpkeys::lint
