// SPDX-License-Identifier: GPL-2.0-only
//
// Where pointers come from. This does not follow the flow of control: a
// variable may come from everything it is ever given, which can only add
// places that a pointer may point to.
#include "Unit.h"

#include "llvm/Support/SaveAndRestore.h"

using namespace clang;

namespace kpkeys::lint {

/// Of expressions in each other. Macros make deep ones; a stack is not endless.
static constexpr unsigned MaxDepth = 512;

void Origin::add(int Root) {
  if (!llvm::is_contained(From, Root))
    From.push_back(Root);
}

void Origin::add(const Origin &Other) {
  for (int Root : Other.From)
    add(Root);
  Typed |= Other.Typed;
}

bool Origin::isCopy() const {
  return !From.empty() &&
         llvm::all_of(From, [](int Root) { return Root == RootCopy; });
}

static Origin only(int Root, bool Typed = false) {
  Origin O;
  O.add(Root);
  O.Typed = Typed;
  return O;
}

/// What is given to a variable, and may be read from it.
Origin Places::evaluate(const ValueDecl *D) {
  Origin O;
  const auto *V = dyn_cast<VarDecl>(D);
  if (!V) {
    auto Look = [&](const FieldDecl *Field) {
      if (auto It = B.FieldValues.find(Field); It != B.FieldValues.end())
        for (const Expr *Value : It->second)
          O.Typed |= pointer(Value).Typed;
    };
    const RecordDecl *Parent = cast<FieldDecl>(D)->getParent();
    if (Parent->isUnion())
      llvm::for_each(Parent->fields(), Look);
    else
      Look(cast<FieldDecl>(D));
    return O;
  }
  if (const auto *P = dyn_cast<ParmVarDecl>(V))
    O.add(int(P->getFunctionScopeIndex()));
  else if (!V->hasLocalStorage())
    O.add(RootMemory);
  if (auto It = B.Values.find(V); It != B.Values.end())
    for (const Expr *Value : It->second)
      O.add(pointer(Value));
  // Someone else may have put a pointer into it.
  if (B.Exposed.contains(V))
    O.add(RootMemory);
  return O;
}

/// Variables that are given each other's values form an equation system. It is
/// solved by rounds, each of which looks at everything once: to follow the
/// cycles would take a time that is exponential in their number.
void Places::solve(const ValueDecl *First) {
  llvm::SaveAndRestore<unsigned> FromStart(Depth, 0);
  Indices[First] = 0;
  Open.push_back({First, {}, false});
  size_t Looked = 0;
  for (unsigned Round = 0;; ++Round) {
    bool Changed = false;
    auto Look = [&](size_t I) {
      Touched = false;
      Origin O = evaluate(Open[I].V);
      Open[I].Final = !Touched;
      // What is a copy at first may turn out to be none, so things can be taken
      // back, but not for ever.
      if (Round > 16) {
        Origin All = Open[I].So;
        All.add(O);
        O = std::move(All);
      }
      if (O == Open[I].So)
        return;
      Open[I].So = std::move(O);
      Changed = true;
    };
    for (; Looked < Open.size(); ++Looked)
      Look(Looked);
    // What was found last is what the others are made from.
    for (size_t I = Looked; I-- > 0;)
      if (!Open[I].Final)
        Look(I);
    if (!Changed && Looked == Open.size())
      break;
  }
  for (Unsolved &Each : Open)
    Known[Each.V] = std::move(Each.So);
  Open.clear();
  Indices.clear();
}

/// Of a member only whether it is given a pointer to a table is told.
Origin Places::variable(const ValueDecl *V) {
  if (auto It = Known.find(V); It != Known.end())
    return It->second;
  if (Open.empty()) {
    solve(V);
    return Known.lookup(V);
  }
  Touched = true;
  auto [It, New] = Indices.try_emplace(V, Open.size());
  if (New)
    Open.push_back({V, {}, false});
  return Open[It->second].So;
}

Origin Places::load(const Expr *Lvalue) {
  Lvalue = Lvalue->IgnoreParens();
  const Expr *L = Lvalue;
  // Through the volatile casts of READ_ONCE(variable) as well.
  while (true) {
    if (const auto *C = dyn_cast<CastExpr>(L); C && C->isLValue()) {
      L = C->getSubExpr()->IgnoreParens();
      continue;
    }
    const auto *U = dyn_cast<UnaryOperator>(L);
    if (!U || U->getOpcode() != UO_Deref)
      break;
    const auto *A = dyn_cast<UnaryOperator>(U->getSubExpr()->IgnoreParenCasts());
    if (!A || A->getOpcode() != UO_AddrOf)
      break;
    L = A->getSubExpr()->IgnoreParens();
  }
  // An element of a local array of pointers may be any of them.
  while (const auto *S = dyn_cast<ArraySubscriptExpr>(L))
    L = S->getBase()->IgnoreParenImpCasts();
  if (const auto *C = dyn_cast<CompoundLiteralExpr>(L);
      C && C->getType()->isArrayType())
    return pointer(C->getInitializer());
  if (const auto *D = dyn_cast<DeclRefExpr>(L))
    if (const auto *V = dyn_cast<VarDecl>(D->getDecl()))
      if (!V->getType()->isRecordType() &&
          (L == Lvalue || !V->getType()->isPointerType()))
        return variable(V);
  Origin O = only(RootMemory);
  if (const auto *M = dyn_cast<MemberExpr>(L))
    if (const auto *Field = dyn_cast<FieldDecl>(M->getMemberDecl()))
      O.Typed |= variable(Field).Typed;
  return O;
}

Origin Places::cast(const CastExpr *E) {
  const Expr *Sub = E->getSubExpr();
  switch (E->getCastKind()) {
  case CK_LValueToRValue:
    return load(Sub);
  case CK_ArrayToPointerDecay:
    return place(Sub);
  case CK_FunctionToPointerDecay:
  case CK_NullToPointer:
  case CK_ToVoid:
    return {};
  default:
    return pointer(Sub);
  }
}

/// container_of() leads out of the entry to what it is a part of, which cannot
/// be a table.
static bool leadsOut(const BinaryOperator *E) {
  return E->getOpcode() == BO_Sub && isa<OffsetOfExpr>(strip(E->getRHS()));
}

/// What an expression of the form x >> n << n, or x / n * n, rounds.
static const Expr *isRounding(const Unit &U, const BinaryOperator *E) {
  BinaryOperatorKind Inverse;
  if (E->getOpcode() == BO_Shl)
    Inverse = BO_Shr;
  else if (E->getOpcode() == BO_Mul)
    Inverse = BO_Div;
  else
    return nullptr;
  const auto *Inner = dyn_cast<BinaryOperator>(strip(E->getLHS()));
  if (!Inner || Inner->getOpcode() != Inverse)
    return nullptr;
  std::optional<int64_t> By = U.constant(E->getRHS());
  return By && By == U.constant(Inner->getRHS()) ? Inner->getLHS() : nullptr;
}

Origin Places::binary(const BinaryOperator *E) {
  if (E->getOpcode() == BO_Comma || E->getOpcode() == BO_Assign)
    return pointer(E->getRHS());
  if (E->isCompoundAssignmentOp())
    return pointer(E->getLHS());
  if (leadsOut(E)) {
    Origin O = pointer(E->getLHS());
    O.Typed = false;
    return O;
  }
  if (const Expr *Rounded = isRounding(U, E))
    return pointer(Rounded);
  if (!E->isAdditiveOp() && !E->isBitwiseOp())
    return {};
  bool Left = E->getLHS()->getType()->isPointerType();
  bool Right = E->getRHS()->getType()->isPointerType();
  if (Left && Right)
    return {}; // A distance.
  if (Left)
    return pointer(E->getLHS());
  if (Right)
    return pointer(E->getRHS());
  Origin O = pointer(E->getLHS());
  O.add(pointer(E->getRHS()));
  return O;
}

Origin Places::call(const CallExpr *E) {
  llvm::StringRef Name = nameOf(E->getDirectCallee());
  if ((Name.starts_with("__builtin_align_") ||
       Name == "__builtin_assume_aligned") &&
      E->getNumArgs())
    return pointer(E->getArg(0));
  Origin O = only(RootMemory);
  QualType T = E->getType();
  // What comes back may be the pointer that went in, as from kasan_reset_tag().
  if (!T->isPointerType() || U.isTable(T) ||
      T->getPointeeType()->isRecordType())
    return O;
  for (const Expr *Argument : E->arguments())
    if (Argument->getType()->isPointerType()) {
      Origin A = pointer(Argument);
      O.Typed |= A.Typed && !A.isCopy();
    }
  return O;
}

Origin Places::pointer(const Expr *E) {
  if (!E || Depth > MaxDepth)
    return only(RootMemory);
  llvm::SaveAndRestore<unsigned> Deeper(Depth, Depth + 1);

  E = E->IgnoreParens();
  Origin O;
  if (const auto *C = dyn_cast<CastExpr>(E)) {
    // NULL has the type of a table, and leads to none.
    if (C->getCastKind() == CK_NullToPointer)
      return O;
    O = cast(C);
  } else if (const auto *Op = dyn_cast<UnaryOperator>(E)) {
    switch (Op->getOpcode()) {
    case UO_AddrOf:
      O = place(Op->getSubExpr());
      break;
    case UO_PreInc:
    case UO_PreDec:
    case UO_PostInc:
    case UO_PostDec: {
      const auto *D = dyn_cast<DeclRefExpr>(Op->getSubExpr()->IgnoreParens());
      const auto *V = D ? dyn_cast<VarDecl>(D->getDecl()) : nullptr;
      O = V ? variable(V) : only(RootMemory);
      break;
    }
    case UO_LNot:
    case UO_Minus:
      break;
    default:
      O = pointer(Op->getSubExpr());
    }
  } else if (const auto *Op = dyn_cast<BinaryOperator>(E)) {
    O = binary(Op);
    if (Op->getOpcode() == BO_Sub && leadsOut(Op))
      return O;
  } else if (const auto *C = dyn_cast<AbstractConditionalOperator>(E)) {
    O = pointer(C->getTrueExpr());
    O.add(pointer(C->getFalseExpr()));
  } else if (const auto *S = dyn_cast<StmtExpr>(E)) {
    const Stmt *Last = S->getSubStmt()->body_empty()
                           ? nullptr
                           : S->getSubStmt()->body_back();
    while (const auto *L = dyn_cast_or_null<ValueStmt>(Last)) {
      if (isa<Expr>(L))
        break;
      Last = L->getExprStmt();
    }
    O = pointer(dyn_cast_or_null<Expr>(Last));
  } else if (const auto *C = dyn_cast<ChooseExpr>(E)) {
    O = pointer(C->getChosenSubExpr());
  } else if (const auto *G = dyn_cast<GenericSelectionExpr>(E)) {
    O = pointer(G->getResultExpr());
  } else if (const auto *V = dyn_cast<OpaqueValueExpr>(E)) {
    O = V->getSourceExpr() ? pointer(V->getSourceExpr()) : only(RootMemory);
  } else if (const auto *C = dyn_cast<CallExpr>(E)) {
    O = call(C);
  } else if (const auto *I = dyn_cast<InitListExpr>(E)) {
    // A scalar in braces; of a structure, any member that is a pointer.
    for (const Expr *Init : I->inits())
      O.add(pointer(Init));
  } else if (const auto *L = dyn_cast<CompoundLiteralExpr>(E)) {
    O = L->getType()->isRecordType() ? only(RootCopy)
                                     : pointer(L->getInitializer());
  } else if (const auto *D = dyn_cast<DeclRefExpr>(E);
             D && isa<VarDecl>(D->getDecl())) {
    // Not behind a conversion: an lvalue where a pointer is asked for.
    O = variable(llvm::cast<VarDecl>(D->getDecl()));
  } else if (!isa<IntegerLiteral, CharacterLiteral, StringLiteral,
                  FloatingLiteral, UnaryExprOrTypeTraitExpr, OffsetOfExpr,
                  DeclRefExpr, AddrLabelExpr, ImplicitValueInitExpr>(E)) {
    O.add(RootMemory);
  }
  O.Typed |= U.isTable(E->getType());
  return O;
}

static bool endsInArrayOfEntries(Unit &U, QualType T) {
  return T->isArrayType() && U.isTable(T);
}

Origin Places::member(const MemberExpr *E) {
  const auto *Field = dyn_cast<FieldDecl>(E->getMemberDecl());
  QualType Record = E->isArrow() ? E->getBase()->getType()->getPointeeType()
                                 : E->getBase()->getType();
  Origin Base = E->isArrow() ? pointer(E->getBase()) : place(E->getBase());
  if (U.isEntry(Record)) {
    Base.Typed = true;
    return Base;
  }
  if (!Field)
    return Base;
  QualType T = Field->getType();
  if (endsInArrayOfEntries(U, T)) {
    Base.Typed = true;
    if (Base.From.empty())
      Base.add(RootMemory);
    return Base;
  }
  // What stands beside a table is not in it.
  if (U.holdsTable(Record) && !Record->isUnionType() && !U.holdsTable(T) &&
      !U.isEntry(T)) {
    Base.Typed = false;
    return Base;
  }
  // An entry within another structure is a copy of one, unless the structure
  // is a view of a table.
  if (U.isEntry(T) && !Base.Typed)
    return only(RootCopy);
  return Base;
}

Origin Places::place(const Expr *E) {
  if (!E || Depth > MaxDepth)
    return only(RootMemory);
  llvm::SaveAndRestore<unsigned> Deeper(Depth, Depth + 1);

  E = E->IgnoreParens();
  Origin O;
  if (const auto *D = dyn_cast<DeclRefExpr>(E)) {
    const auto *V = dyn_cast<VarDecl>(D->getDecl());
    if (!V)
      return {};
    QualType T = V->getType();
    // An entry by itself is a copy; a table that is no local variable is one.
    bool Holds = U.holdsTable(T);
    bool IsTable = (T->isArrayType() || Holds) && !V->hasLocalStorage();
    O = only(IsTable ? RootMemory : RootCopy);
    O.Typed = IsTable && (Holds || U.isTable(T));
    return O;
  }
  if (const auto *M = dyn_cast<MemberExpr>(E))
    O = member(M);
  else if (const auto *S = dyn_cast<ArraySubscriptExpr>(E))
    O = pointer(S->getBase());
  else if (const auto *Op = dyn_cast<UnaryOperator>(E))
    O = Op->getOpcode() == UO_Deref ? pointer(Op->getSubExpr())
                                    : place(Op->getSubExpr());
  else if (const auto *C = dyn_cast<CastExpr>(E))
    O = C->isLValue() ? place(C->getSubExpr()) : pointer(C);
  else if (isa<CompoundLiteralExpr, StringLiteral, PredefinedExpr, CallExpr,
               StmtExpr>(E))
    O = only(RootCopy); // A temporary.
  else if (const auto *C = dyn_cast<ChooseExpr>(E))
    O = place(C->getChosenSubExpr());
  else if (const auto *G = dyn_cast<GenericSelectionExpr>(E))
    O = place(G->getResultExpr());
  else if (const auto *C = dyn_cast<AbstractConditionalOperator>(E)) {
    O = place(C->getTrueExpr());
    O.add(place(C->getFalseExpr()));
  } else if (const auto *Op = dyn_cast<BinaryOperator>(E))
    O = Op->getOpcode() == BO_Comma ? place(Op->getRHS()) : place(Op->getLHS());
  else
    O = only(RootMemory);
  if (!O.isCopy())
    O.Typed |= U.isEntry(E->getType()) || U.holdsTable(E->getType()) ||
               endsInArrayOfEntries(U, E->getType());
  return O;
}

} // namespace kpkeys::lint
