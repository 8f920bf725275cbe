// SPDX-License-Identifier: GPL-2.0-only
#include "Unit.h"

#include "clang/Basic/Builtins.h"

#include "llvm/Support/Path.h"
#include "llvm/Support/SaveAndRestore.h"

using namespace clang;

namespace kpkeys::lint {

Unit::Unit(ASTContext &Context, const Config &Cfg, std::string Directory,
           std::string SourceRoot)
    : Context(Context), SM(Context.getSourceManager()), Cfg(Cfg),
      TableContext(Cfg.TableContextValue), MaxContext(Cfg.MaxContextValue),
      Directory(std::move(Directory)), SourceRoot(std::move(SourceRoot)) {
  for (const std::string &Name : Cfg.EntryTypes)
    EntryNames.insert(Name);
  for (const std::string &Name : Cfg.ValueTypes)
    ValueNames.insert(Name);
}

int64_t Unit::contextValue(llvm::StringRef Macro) const {
  if (Macro == Cfg.TableContext)
    return TableContext;
  auto It = Macros.find(Macro);
  return It == Macros.end() ? 0 : It->second;
}

//===----------------------------------------------------------------------===//
// Places in the source
//===----------------------------------------------------------------------===//

std::string Unit::path(SourceLocation Loc) {
  FileID File = SM.getFileID(SM.getFileLoc(Loc));
  auto [It, New] = Paths.try_emplace(File);
  if (!New)
    return It->second;
  OptionalFileEntryRef Entry = SM.getFileEntryRefForID(File);
  if (!Entry)
    return It->second = "<built-in>";
  llvm::SmallString<256> Path(Entry->getName());
  if (!llvm::sys::path::is_absolute(Path)) {
    llvm::SmallString<256> Absolute(Directory);
    llvm::sys::path::append(Absolute, Path);
    Path = Absolute;
  }
  llvm::sys::path::remove_dots(Path, /*remove_dot_dot=*/true);
  llvm::StringRef Shown = Path;
  for (llvm::StringRef Base : {llvm::StringRef(SourceRoot), llvm::StringRef(Directory)}) {
    llvm::StringRef Rest = Shown;
    Base = Base.rtrim('/');
    if (!Base.empty() && Rest.consume_front(Base) && Rest.consume_front("/")) {
      Shown = Rest;
      break;
    }
  }
  return It->second = Shown.str();
}

Location Unit::locate(SourceLocation Loc) {
  Location L;
  if (Loc.isInvalid())
    return L;
  Loc = SM.getFileLoc(Loc);
  L.File = path(Loc);
  L.Line = SM.getSpellingLineNumber(Loc);
  L.Column = SM.getSpellingColumnNumber(Loc);
  return L;
}

std::string Unit::text(SourceRange Range) {
  // Of a macro, its use; of an argument of a macro, the argument.
  CharSourceRange Chars = Lexer::makeFileCharRange(
      CharSourceRange::getTokenRange(Range), SM, Context.getLangOpts());
  if (Chars.isInvalid()) {
    // A part of what a macro expands to: its outermost use that is no argument.
    SourceLocation Loc = Range.getBegin();
    Chars = CharSourceRange::getTokenRange(Loc, Loc);
    while (Loc.isMacroID()) {
      if (SM.isMacroArgExpansion(Loc)) {
        Loc = SM.getImmediateSpellingLoc(Loc);
        Chars = CharSourceRange::getTokenRange(Loc, Loc);
      } else {
        Chars = SM.getImmediateExpansionRange(Loc);
        Loc = Chars.getBegin();
      }
    }
    Chars = Lexer::makeFileCharRange(Chars, SM, Context.getLangOpts());
  }
  llvm::StringRef Source =
      Lexer::getSourceText(Chars, SM, Context.getLangOpts());
  std::string Line;
  for (char C : Source) {
    if (isspace(static_cast<unsigned char>(C))) {
      if (!Line.empty() && Line.back() != ' ')
        Line += ' ';
      continue;
    }
    Line += C;
    if (Line.size() > 72)
      return Line + "...";
  }
  return Line;
}

std::string Unit::idOf(const FunctionDecl *F) {
  if (const auto *Alias = F->getAttr<AliasAttr>()) {
    const FunctionDecl *To = functionNamed(Alias->getAliasee());
    return To && !To->hasAttr<AliasAttr>() ? idOf(To)
                                           : Alias->getAliasee().str();
  }
  std::string Name = nameOf(F).str();
  if (F->getFormalLinkage() == Linkage::External) {
    // Linking goes by symbols.
    const auto *Label = F->getAttr<AsmLabelAttr>();
    return Label ? Label->getLabel().ltrim('\01').str() : Name;
  }
  const FunctionDecl *Definition = F->getDefinition();
  return Name + "@" + path((Definition ? Definition : F)->getLocation());
}

const FunctionDecl *Unit::functionNamed(llvm::StringRef Name) {
  auto It = Context.Idents.find(Name);
  if (It == Context.Idents.end())
    return nullptr;
  for (const NamedDecl *D :
       Context.getTranslationUnitDecl()->lookup(It->second))
    if (const auto *F = dyn_cast<FunctionDecl>(D))
      return F;
  return nullptr;
}

std::string Unit::memberName(const FieldDecl *Field) {
  // What is put into one member of a union comes out of another one.
  if (!Field || Field->getParent()->isUnion())
    return {};
  return (nameOf(Field->getParent()) + "." + nameOf(Field)).str();
}

Finding &Unit::report(llvm::StringRef Check, SourceLocation Loc,
                      const FunctionDecl *In, const llvm::Twine &Message,
                      const llvm::Twine &Key) {
  Finding F;
  F.Check = Check.str();
  F.Loc = locate(Loc);
  F.Message = Message.str();
  F.Function = nameOf(In).str();
  F.Key = Key.str();
  Result.Findings.push_back(std::move(F));
  return Result.Findings.back();
}

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

bool Unit::isEntry(QualType T) {
  if (T.isNull())
    return false;
  const Type *Canonical = T.getCanonicalType().getTypePtr();
  if (const auto *Record = dyn_cast<RecordType>(Canonical)) {
    auto [It, New] = Entries.try_emplace(Canonical, false);
    if (!New)
      return It->second;
    const RecordDecl *D = Record->getDecl();
    llvm::StringRef Name = nameOf(D);
    if (const TypedefNameDecl *Typedef = D->getTypedefNameForAnonDecl())
      Name = nameOf(Typedef);
    return It->second = EntryNames.contains(Name);
  }
  if (!Canonical->isIntegerType())
    return false;
  // Integers tell what they are by the names that lead to them only.
  while (const auto *Typedef = T->getAs<TypedefType>()) {
    llvm::StringRef Name = nameOf(Typedef->getDecl());
    if (ValueNames.contains(Name) || EntryNames.contains(Name))
      return true;
    T = Typedef->desugar();
  }
  return false;
}

bool Unit::holdsTable(QualType T) {
  const Type *Canonical = T.getCanonicalType().getTypePtr();
  const auto *Record = dyn_cast<RecordType>(Canonical);
  if (!Record)
    return false;
  auto [It, New] = Holders.try_emplace(Canonical, false);
  if (!New)
    return It->second;
  const RecordDecl *D = Record->getDecl()->getDefinition();
  bool Holds = D && llvm::any_of(D->fields(), [&](const FieldDecl *F) {
    QualType Element = F->getType();
    bool Array = Element->isArrayType();
    while (const ArrayType *A = Context.getAsArrayType(Element))
      Element = A->getElementType();
    return (Array && isEntry(Element)) || holdsTable(Element);
  });
  return Holders[Canonical] = Holds;
}

bool Unit::isTable(QualType T) {
  if (T.isNull())
    return false;
  if (const auto *P = T->getAs<PointerType>())
    T = P->getPointeeType();
  else if (!T->isArrayType())
    return false;
  while (const ArrayType *A = Context.getAsArrayType(T))
    T = A->getElementType();
  return isEntry(T) || holdsTable(T);
}

//===----------------------------------------------------------------------===//
// Functions and values
//===----------------------------------------------------------------------===//

static std::optional<llvm::StringRef> classOf(const FunctionDecl *F,
                                              llvm::StringRef Suffix) {
  llvm::StringRef Name = nameOf(F);
  if (!Name.consume_front("class_") || !Name.consume_back(Suffix))
    return std::nullopt;
  return Name;
}

std::optional<llvm::StringRef> constructedClass(const FunctionDecl *F) {
  return classOf(F, "_constructor");
}

std::optional<llvm::StringRef> destroyedClass(const FunctionDecl *F) {
  return classOf(F, "_destructor");
}

const Expr *strip(const Expr *E) {
  while (E) {
    const Expr *Before = E;
    E = E->IgnoreParenCasts();
    if (const auto *U = dyn_cast<UnaryOperator>(E);
        U && U->getOpcode() == UO_Extension)
      E = U->getSubExpr();
    else if (const auto *C = dyn_cast<ChooseExpr>(E);
             C && !C->isConditionDependent())
      E = C->getChosenSubExpr();
    else if (const auto *C = dyn_cast<CallExpr>(E);
             C && nameOf(C->getDirectCallee()).starts_with("__builtin_expect") &&
             C->getNumArgs() >= 1)
      E = C->getArg(0);
    if (E == Before)
      return E;
  }
  return E;
}

bool Unit::isSetter(const FunctionDecl *F) const {
  return F && (llvm::is_contained(Cfg.SetFunctions, nameOf(F)) ||
               Setters.contains(F->getCanonicalDecl()));
}

Entry Unit::entered(const CallExpr *C) const {
  const FunctionDecl *F = C->getDirectCallee();
  Entry E;
  if (llvm::is_contained(Cfg.SetFunctions, nameOf(F))) {
    auto It = ContextParameters.find(F->getCanonicalDecl());
    if (It == ContextParameters.end() || It->second.empty())
      return E;
    E.Parameter = It->second.front();
    E.Always = true;
  } else {
    E = Setters.lookup(F->getCanonicalDecl());
  }
  if (!E.Parameter)
    return E;
  const Expr *Given =
      *E.Parameter < C->getNumArgs() ? C->getArg(*E.Parameter) : nullptr;
  E.Parameter.reset();
  E.Context = constant(Given);
  if (E.Context || !Given)
    return E;
  if (const auto *D = dyn_cast<DeclRefExpr>(strip(Given)))
    if (const auto *P = dyn_cast<ParmVarDecl>(D->getDecl()))
      E.Parameter = P->getFunctionScopeIndex();
  return E;
}

bool Unit::isRestorer(const FunctionDecl *F) const {
  return F && (llvm::is_contained(Cfg.RestoreFunctions, nameOf(F)) ||
               Restorers.contains(F->getCanonicalDecl()));
}

llvm::SmallVector<const Expr *, 1> Unit::restored(const CallExpr *C) const {
  const FunctionDecl *F = C->getDirectCallee();
  llvm::SmallVector<unsigned, 1> Parameters;
  if (F && llvm::is_contained(Cfg.RestoreFunctions, nameOf(F)))
    Parameters = {0};
  else if (F)
    Parameters = Restorers.lookup(F->getCanonicalDecl());
  llvm::SmallVector<const Expr *, 1> Values;
  for (unsigned Index : Parameters)
    if (Index < C->getNumArgs())
      Values.push_back(C->getArg(Index));
  return Values;
}

bool Unit::isSplitSwitch(const FunctionDecl *F) const {
  return F && llvm::any_of(Cfg.Splits, [&](const SplitPair &P) {
           return P.Switch == nameOf(F);
         });
}

bool Unit::hasToLeave(const FunctionDecl *F) const {
  return llvm::any_of(Cfg.Splits, [&](const SplitPair &P) {
    return P.Leave == nameOf(F) && Entering.contains(P.Enter);
  });
}

bool Unit::isNote(const Expr *E, const FunctionDecl *F) const {
  const auto *M = dyn_cast<MemberExpr>(strip(E));
  return M && llvm::any_of(Cfg.Splits, [&](const SplitPair &P) {
           return !P.Noted.empty() && P.Noted == nameOf(M->getMemberDecl()) &&
                  (P.Enter == nameOf(F) || P.Leave == nameOf(F));
         });
}

std::optional<int64_t> Unit::constant(const Expr *E) const {
  if (!E || E->isValueDependent())
    return std::nullopt;
  std::optional<llvm::APSInt> Value = E->getIntegerConstantExpr(Context);
  if (!Value || Value->getSignificantBits() > 64)
    return std::nullopt;
  return Value->getExtValue();
}

bool Unit::isSentinel(const Expr *E) const {
  std::optional<llvm::APSInt> Value =
      E->isValueDependent() ? std::nullopt : E->getIntegerConstantExpr(Context);
  return Value && Value->extOrTrunc(64).getZExtValue() == Cfg.SentinelValue;
}

bool Unit::onlyEnabled(const Expr *Condition) const {
  if (std::optional<int64_t> Value = constant(Condition))
    return *Value != 0;
  const Expr *E = strip(Condition);
  if (const auto *U = dyn_cast<UnaryOperator>(E);
      U && U->getOpcode() == UO_LNot) {
    // !! as in likely().
    const auto *Inner = dyn_cast<UnaryOperator>(strip(U->getSubExpr()));
    return Inner && Inner->getOpcode() == UO_LNot &&
           onlyEnabled(Inner->getSubExpr());
  }
  const auto *C = dyn_cast<CallExpr>(E);
  return C && llvm::is_contained(Cfg.EnabledFunctions,
                                 nameOf(C->getDirectCallee()));
}

//===----------------------------------------------------------------------===//
// Bodies
//===----------------------------------------------------------------------===//

namespace {

class Walker {
public:
  explicit Walker(Body &B) : B(B) {}

  void walk(const Stmt *S);
  /// \p Field is what is initialised, if it is a member.
  void initialiser(const Expr *Init, const FieldDecl *Field);

private:
  void list(const InitListExpr *List, const FieldDecl *Field);
  void expression(const Expr *E);
  void declarations(const DeclStmt *D);
  void bounds(QualType T);
  void call(const CallExpr *C);
  void assembly(const GCCAsmStmt *A);
  void assign(const Expr *Left, const Expr *Right);
  void note(const FieldDecl *Field, const Expr *Value);
  bool mention(const Expr *E, const FieldDecl *Field, bool Lost = false);
  void tested(const Expr *Condition);
  void children(const Stmt *S) {
    for (const Stmt *Child : S->children())
      walk(Child);
  }

  Body &B;
  SourceLocation ScopeEnd;
  /// Members that hold a function, and are only called or compared.
  llvm::SmallPtrSet<const MemberExpr *, 8> Kept;
};

} // namespace

static const VarDecl *variableOf(const Expr *E) {
  const auto *D = dyn_cast<DeclRefExpr>(E->IgnoreParens());
  return D ? dyn_cast<VarDecl>(D->getDecl()) : nullptr;
}

void Walker::assign(const Expr *Left, const Expr *Right) {
  const Expr *L = Left->IgnoreParens();
  // Of an array, any element.
  while (const auto *S = dyn_cast<ArraySubscriptExpr>(L))
    L = S->getBase()->IgnoreParenImpCasts();
  if (const auto *M = dyn_cast<MemberExpr>(L)) {
    if (const auto *Field = dyn_cast<FieldDecl>(M->getMemberDecl()))
      note(Field, Right);
    return;
  }
  if (const VarDecl *V = variableOf(L))
    B.Values[V].push_back(Right);
}

static QualType elementType(QualType T) {
  while (const auto *A = dyn_cast<ArrayType>(T->getUnqualifiedDesugaredType()))
    T = A->getElementType();
  return T;
}

void Walker::note(const FieldDecl *Field, const Expr *Value) {
  QualType T = elementType(Field->getType());
  if (T->isPointerType() || T->isIntegerType())
    B.FieldValues[Field].push_back(Value);
}

/// How long an array is, is found out at run time.
void Walker::bounds(QualType T) {
  while (const auto *A =
             dyn_cast<ArrayType>(T->getUnqualifiedDesugaredType())) {
    if (const auto *Variable = dyn_cast<VariableArrayType>(A))
      walk(Variable->getSizeExpr());
    T = A->getElementType();
  }
}

void Walker::declarations(const DeclStmt *D) {
  for (const Decl *Each : D->decls()) {
    const auto *V = dyn_cast<VarDecl>(Each);
    if (!V)
      continue;
    if (V->hasAttr<CleanupAttr>())
      B.Cleanups.emplace_back(V, ScopeEnd);
    bounds(V->getType());
    const Expr *Init = V->getInit();
    if (!Init)
      continue;
    QualType T = elementType(V->getType());
    if (T->isPointerType() || T->isIntegerType())
      B.Values[V].push_back(Init);
    initialiser(Init, nullptr);
  }
}

/// Whether a function can be called by a pointer of type \p T as what it is.
static bool hasTypeOf(QualType T, const FunctionDecl *F) {
  const auto *P = T->getAs<PointerType>();
  const auto *To = P ? P->getPointeeType()->getAs<FunctionType>() : nullptr;
  if (!To)
    return T->isBooleanType() || T->isVoidType() || T->isFunctionType();
  // noreturn and the like make no difference.
  ASTContext &C = F->getASTContext();
  auto Plain = [&](const FunctionType *Type) {
    return C.adjustFunctionType(Type, FunctionType::ExtInfo())
        ->getCanonicalTypeUnqualified();
  };
  return C.hasSameType(Plain(To), Plain(F->getFunctionType()));
}

/// The address of a function, with or without &, and whatever it is cast to.
bool Walker::mention(const Expr *Init, const FieldDecl *Field, bool Lost) {
  const Expr *E = Init->IgnoreParenCasts();
  if (const auto *U = dyn_cast<UnaryOperator>(E);
      U && U->getOpcode() == UO_AddrOf)
    E = U->getSubExpr()->IgnoreParens();
  const auto *D = dyn_cast<DeclRefExpr>(E);
  const auto *F = D ? dyn_cast<FunctionDecl>(D->getDecl()) : nullptr;
  if (!F)
    return false;
  B.Mentions.push_back(
      {D, Field, Lost || !hasTypeOf(Init->getType(), F), false});
  return true;
}

/// The member that holds a function and is meant by \p E, if it is one.
static const MemberExpr *functionMember(const Expr *E) {
  const auto *M = dyn_cast<MemberExpr>(E->IgnoreParenImpCasts());
  const auto *Field = M ? dyn_cast<FieldDecl>(M->getMemberDecl()) : nullptr;
  return Field && Field->getType()->isFunctionPointerType() ? M : nullptr;
}

/// Whether there is a function is asked, and no more.
void Walker::tested(const Expr *Condition) {
  if (const MemberExpr *M = Condition ? functionMember(Condition) : nullptr)
    Kept.insert(M);
}

void Walker::initialiser(const Expr *Init, const FieldDecl *Field) {
  if (const auto *List = dyn_cast<InitListExpr>(Init)) {
    list(List, Field);
    return;
  }
  if (mention(Init, Field))
    return;
  // From one structure into another one of that type.
  if (const MemberExpr *M = functionMember(Init);
      M && Field == M->getMemberDecl())
    Kept.insert(M);
  walk(Init);
}

void Walker::list(const InitListExpr *List, const FieldDecl *Field) {
  // The semantic form has the members in their order.
  if (const InitListExpr *Semantic = List->getSemanticForm())
    List = Semantic;
  const RecordDecl *Record = List->getType()->getAsRecordDecl();
  if (Record)
    Record = Record->getDefinition();
  if (!Record || Record->isUnion()) {
    if (const FieldDecl *Member = List->getInitializedFieldInUnion()) {
      Field = Member;
      if (List->getNumInits())
        note(Member, List->getInit(0));
    }
    for (const Expr *Init : List->inits())
      if (Init)
        initialiser(Init, Field);
    return;
  }
  unsigned I = 0;
  for (const FieldDecl *Member : Record->fields()) {
    if (Member->isUnnamedBitField())
      continue;
    if (I == List->getNumInits())
      break;
    if (const Expr *Init = List->getInit(I++)) {
      note(Member, Init);
      initialiser(Init, Member);
    }
  }
}

void Walker::call(const CallExpr *C) {
  B.Calls.push_back(C);
  const FunctionDecl *Callee = C->getDirectCallee();
  if (!Callee) {
    const Expr *E = C->getCallee()->IgnoreParenImpCasts();
    if (const auto *D = dyn_cast<UnaryOperator>(E);
        D && D->getOpcode() == UO_Deref)
      E = D->getSubExpr();
    tested(E);
    walk(C->getCallee());
  } else if (unsigned Builtin = Callee->getBuiltinID()) {
    // Their arguments are looked at, not evaluated.
    if (Builtin == Builtin::BI__builtin_constant_p ||
        Builtin == Builtin::BI__builtin_object_size ||
        Builtin == Builtin::BI__builtin_dynamic_object_size)
      return;
  }
  for (const Expr *Argument : C->arguments())
    walk(Argument);
}

/// What assembly makes of its operands nobody knows: each output may be any
/// input.
void Walker::assembly(const GCCAsmStmt *A) {
  B.Asms.push_back(A);
  bool Empty = llvm::StringRef(A->getAsmString()).trim().empty();
  for (unsigned O = 0; O < A->getNumOutputs(); ++O) {
    const Expr *Out = A->getOutputExpr(O);
    walk(Out);
    for (unsigned I = 0; I < A->getNumInputs(); ++I) {
      const Expr *In = A->getInputExpr(I);
      QualType T = In->getType();
      // Of memory, the contents are used.
      std::string Constraint(A->getInputConstraint(I));
      bool Memory = Constraint.find_first_of("Qm") != std::string::npos;
      if ((T->isPointerType() || T->isIntegerType()) &&
          (!Memory || Constraint.find('r') != std::string::npos))
        assign(Out, In);
    }
    // ... or something else, unless there is no code at all.
    const VarDecl *V = variableOf(Out);
    if (V && !Empty && V->getType()->isPointerType())
      B.Exposed.insert(V);
  }
  for (unsigned I = 0; I < A->getNumInputs(); ++I)
    if (const Expr *In = A->getInputExpr(I);
        !mention(In, nullptr, /*Lost=*/true))
      walk(In);
}

void Walker::expression(const Expr *E) {
  switch (E->getStmtClass()) {
  case Stmt::UnaryExprOrTypeTraitExprClass:
    if (const auto *Of = cast<UnaryExprOrTypeTraitExpr>(E);
        Of->getKind() == UETT_SizeOf && Of->isArgumentType())
      bounds(Of->getArgumentType());
    return;
  case Stmt::GenericSelectionExprClass:
    walk(cast<GenericSelectionExpr>(E)->getResultExpr());
    return;
  case Stmt::ChooseExprClass:
    walk(cast<ChooseExpr>(E)->getChosenSubExpr());
    return;
  case Stmt::CallExprClass:
    call(cast<CallExpr>(E));
    return;
  case Stmt::AtomicExprClass:
    B.Atomics.push_back(cast<AtomicExpr>(E));
    break;
  case Stmt::InitListExprClass:
    list(cast<InitListExpr>(E), nullptr);
    return;
  case Stmt::DeclRefExprClass: {
    mention(E, nullptr);
    return;
  }
  case Stmt::MemberExprClass:
    // Read, or its address taken: whatever is written to it is walked around.
    if (const MemberExpr *M = functionMember(E); M && !Kept.contains(M))
      B.Moved.insert(cast<FieldDecl>(M->getMemberDecl()));
    break;
  case Stmt::ImplicitCastExprClass:
  case Stmt::CStyleCastExprClass:
    if (mention(E, nullptr))
      return;
    if (const auto *C = cast<CastExpr>(E);
        C->getCastKind() == CK_PointerToBoolean)
      tested(C->getSubExpr());
    else if (C->getCastKind() == CK_ArrayToPointerDecay)
      if (const VarDecl *V = variableOf(C->getSubExpr());
          V && V->hasLocalStorage() &&
          elementType(V->getType())->isPointerType())
        B.Exposed.insert(V);
    break;
  case Stmt::ArraySubscriptExprClass: {
    // An element of an array does not hand on the array.
    const auto *S = cast<ArraySubscriptExpr>(E);
    if (variableOf(S->getBase()->IgnoreImpCasts())) {
      walk(S->getIdx());
      return;
    }
    break;
  }
  case Stmt::ConditionalOperatorClass:
    tested(cast<ConditionalOperator>(E)->getCond());
    break;
  case Stmt::BinaryOperatorClass:
  case Stmt::CompoundAssignOperatorClass: {
    const auto *Op = cast<BinaryOperator>(E);
    if (Op->isLogicalOp() || Op->isComparisonOp()) {
      tested(Op->getLHS());
      tested(Op->getRHS());
    }
    if (!Op->isAssignmentOp())
      break;
    B.Stores.push_back(E);
    tested(Op->getLHS());
    assign(Op->getLHS(), Op->getRHS());
    if (const auto *M = dyn_cast<MemberExpr>(Op->getLHS()->IgnoreParens())) {
      initialiser(Op->getRHS(), dyn_cast<FieldDecl>(M->getMemberDecl()));
      walk(Op->getLHS());
      return;
    }
    break;
  }
  case Stmt::UnaryOperatorClass: {
    const auto *Op = cast<UnaryOperator>(E);
    if (Op->isIncrementDecrementOp())
      B.Stores.push_back(E);
    if (Op->getOpcode() == UO_LNot)
      tested(Op->getSubExpr());
    if (Op->getOpcode() == UO_AddrOf)
      if (const VarDecl *V = variableOf(Op->getSubExpr());
          V && V->hasLocalStorage() && V->getType()->isScalarType())
        B.Exposed.insert(V);
    break;
  }
  default:
    break;
  }
  children(E);
}

void Walker::walk(const Stmt *S) {
  if (!S)
    return;
  if (const auto *E = dyn_cast<Expr>(S)) {
    expression(E);
    return;
  }
  switch (S->getStmtClass()) {
  case Stmt::DeclStmtClass:
    declarations(cast<DeclStmt>(S));
    return;
  case Stmt::ReturnStmtClass:
    B.Returns.push_back(cast<ReturnStmt>(S));
    break;
  case Stmt::GCCAsmStmtClass:
    assembly(cast<GCCAsmStmt>(S));
    return;
  case Stmt::IfStmtClass:
    tested(cast<IfStmt>(S)->getCond());
    break;
  case Stmt::WhileStmtClass:
    tested(cast<WhileStmt>(S)->getCond());
    break;
  case Stmt::CompoundStmtClass:
  case Stmt::ForStmtClass: {
    llvm::SaveAndRestore Scope(ScopeEnd, S->getEndLoc());
    children(S);
    return;
  }
  default:
    break;
  }
  children(S);
}

void collectMentions(const Expr *Init,
                     llvm::SmallVectorImpl<Body::Mention> &Mentions) {
  Body B;
  Walker(B).initialiser(Init, nullptr);
  Mentions.append(B.Mentions.begin(), B.Mentions.end());
}

std::unique_ptr<Body> takeApart(const FunctionDecl *F) {
  auto B = std::make_unique<Body>();
  B->Function = F;
  Walker(*B).walk(F->getBody());
  return B;
}

} // namespace kpkeys::lint
