// SPDX-License-Identifier: GPL-2.0-only
//
// Which functions of a unit have to do with contexts, and whether contexts are
// constants, these functions inlined, and their addresses left alone.
#include "Unit.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Regex.h"

using namespace clang;

namespace kpkeys::lint {

namespace {

class ContextChecks {
public:
  explicit ContextChecks(Unit &U) : U(U) {}
  void run();

private:
  void findRegisterWrites();
  void findWriters();
  bool isSwitch(const FunctionDecl *F) const;
  void findFunctions();
  bool findMore(const Body &B);
  llvm::SmallVector<const Expr *, 2> handedOn(const Body &B,
                                              const CallExpr *C) const;
  bool fromParameters(const Body &B, const Expr *E,
                      llvm::SmallVectorImpl<unsigned> &Parameters,
                      unsigned Depth = 0) const;
  bool carry(const Body &B, const Expr *Value, SourceLocation At);
  bool forwardsContext(const Body &B, const CallExpr *C);
  void describeSetters();
  void describeGuards();
  GuardClass describe(const Body &B);
  void checkConstants(const Body &B);
  void checkInline(const Body &B);
  void checkConstructors(const Body &B);
  void checkAddresses();

  bool isFixed(const Body &B, const Expr *E, unsigned Depth = 0) const;
  std::optional<unsigned> parameter(const Body &B, const Expr *E) const;
  bool isSensitive(const FunctionDecl *F) const;
  bool writesRegister(const GCCAsmStmt *A) const;

  Unit &U;
  /// Why a function is a carrier.
  llvm::DenseMap<const FunctionDecl *, SourceLocation> Reason;
};

} // namespace

static const FunctionDecl *canonical(const FunctionDecl *F) {
  return F ? F->getCanonicalDecl() : nullptr;
}

static bool isAlwaysInline(const FunctionDecl *F) {
  return llvm::any_of(F->redecls(), [](const FunctionDecl *D) {
    return D->hasAttr<AlwaysInlineAttr>();
  });
}

//===----------------------------------------------------------------------===//
// The register
//===----------------------------------------------------------------------===//

static bool isInName(char C) {
  return llvm::isAlnum(C) || C == '_' || C == '.' || C == '$';
}

/// The register operand of each msr or msr_s in assembly code.
static void msrOperands(llvm::StringRef Code,
                        llvm::SmallVectorImpl<std::string> &Operands) {
  if (!Code.contains_insensitive("msr"))
    return;
  llvm::SmallVector<llvm::StringRef, 16> Lines;
  llvm::SplitString(Code, Lines, "\n;");
  for (llvm::StringRef Line : Lines) {
    Line = Line.trim();
    // Labels.
    for (;;) {
      llvm::StringRef Rest = Line.drop_while(isInName);
      if (Rest.size() == Line.size() || !Rest.consume_front(":"))
        break;
      Line = Rest.ltrim();
    }
    if (!Line.consume_front_insensitive("msr_s") &&
        !Line.consume_front_insensitive("msr"))
      continue;
    if (Line.empty() || !llvm::isSpace(Line.front()))
      continue;
    // The register may be an expression with commas in no parentheses.
    auto [Register, Value] = Line.rsplit(',');
    Operands.push_back(Register.trim().lower());
  }
}

bool ContextChecks::writesRegister(const GCCAsmStmt *A) const {
  std::string Code = A->getAsmString();
  llvm::SmallVector<std::string, 2> Operands;
  msrOperands(Code, Operands);
  if (Operands.empty())
    return false;
  // sys_reg(op0, op1, CRn, CRm, op2), expanded: (op0) << 19 | (op1) << 16 | ...
  static constexpr unsigned Shifts[] = {19, 16, 12, 8, 5};
  std::string Pattern;
  for (unsigned I = 0; I < 5; ++I)
    Pattern += "\\(*" + std::to_string(U.Cfg.RegisterEncoding[I]) +
               "\\)* *<< *\\(*" + std::to_string(Shifts[I]) +
               (I < 4 ? "\\)*[ |()]*" : "");
  llvm::Regex Encoded(Pattern);
  return llvm::any_of(Operands, [&](llvm::StringRef Register) {
    for (llvm::StringRef Name : U.Cfg.RegisterNames)
      if (Register.equals_insensitive(Name))
        return true;
    return Encoded.match(Register);
  });
}

static bool isBarrier(const GCCAsmStmt *A) {
  for (unsigned I = 0; I < A->getNumClobbers(); ++I)
    if (llvm::StringRef(A->getClobber(I)) == "memory")
      return true;
  return false;
}

void ContextChecks::findRegisterWrites() {
  bool AllHaveBarrier = true;
  for (const auto &B : U.Bodies) {
    bool Barrier = false;
    for (const GCCAsmStmt *A : B->Asms) {
      Barrier |= isBarrier(A);
      if (!writesRegister(A))
        continue;
      U.WritesRegister = true;
      U.RegisterWrites.insert(A);
      U.Writers.insert(canonical(B->Function));
      // Tests and start-up code write it directly; what matters is what the
      // restore goes through.
      llvm::SmallVector<const Expr *, 4> Given(A->begin_inputs(),
                                               A->end_inputs());
      for (unsigned I = 0; I < A->getNumOutputs(); ++I)
        if (A->isOutputPlusConstraint(I))
          Given.push_back(A->getOutputExpr(I));
      for (const Expr *In : Given) {
        if (isFixed(*B, In))
          continue;
        carry(*B, In, A->getAsmLoc());
        if (isAlwaysInline(B->Function))
          AllHaveBarrier &= Barrier;
      }
    }
  }
  U.RestoreHasBarrier = U.WritesRegister && AllHaveBarrier;
}

//===----------------------------------------------------------------------===//
// Functions that pass contexts and register values on
//===----------------------------------------------------------------------===//

/// Whether assembly code gives a variable another value.
static bool isAsmOutput(const Body &B, const VarDecl *V) {
  return llvm::any_of(B.Asms, [&](const GCCAsmStmt *A) {
    return llvm::any_of(A->outputs(), [&](const Expr *Out) {
      const auto *D = dyn_cast<DeclRefExpr>(strip(Out));
      return D && D->getDecl() == V;
    });
  });
}

/// Whether a parameter keeps the value that the caller has given.
static bool isUnchanged(const Body &B, const ParmVarDecl *P) {
  if (B.Exposed.contains(P) || B.Values.contains(P) || isAsmOutput(B, P))
    return false;
  // Increments are stores that give no value.
  return llvm::none_of(B.Stores, [&](const Expr *S) {
    const auto *Op = dyn_cast<UnaryOperator>(S);
    const auto *R =
        Op ? dyn_cast<DeclRefExpr>(strip(Op->getSubExpr())) : nullptr;
    return R && R->getDecl() == P;
  });
}

/// The parameter that an expression is, if the function does not change it.
std::optional<unsigned> ContextChecks::parameter(const Body &B,
                                                 const Expr *E) const {
  const auto *D = dyn_cast<DeclRefExpr>(strip(E));
  const auto *P = D ? dyn_cast<ParmVarDecl>(D->getDecl()) : nullptr;
  if (!P || P->getDeclContext() != B.Function || !isUnchanged(B, P))
    return std::nullopt;
  return P->getFunctionScopeIndex();
}

/// Whether a value is decided in this function and nowhere else: a constant, or
/// what setting a context returned.
bool ContextChecks::isFixed(const Body &B, const Expr *E,
                            unsigned Depth) const {
  if (Depth > 8)
    return false;
  if (U.constant(E) || U.isSentinel(E))
    return true;
  const Expr *S = strip(E);
  if (S != E && (U.constant(S) || U.isSentinel(S)))
    return true;
  if (const auto *C = dyn_cast<CallExpr>(S))
    return U.isSetter(C->getDirectCallee());
  if (const auto *C = dyn_cast<AbstractConditionalOperator>(S))
    return isFixed(B, C->getTrueExpr(), Depth + 1) &&
           isFixed(B, C->getFalseExpr(), Depth + 1);
  const auto *D = dyn_cast<DeclRefExpr>(S);
  const auto *V = D ? dyn_cast<VarDecl>(D->getDecl()) : nullptr;
  if (!V || isa<ParmVarDecl>(V) || !V->hasLocalStorage() ||
      B.Exposed.contains(V) || isAsmOutput(B, V))
    return false;
  auto It = B.Values.find(V);
  return It != B.Values.end() && llvm::all_of(It->second, [&](const Expr *Each) {
           return isFixed(B, Each, Depth + 1);
         });
}

bool ContextChecks::forwardsContext(const Body &B, const CallExpr *C) {
  auto It = U.ContextParameters.find(canonical(C->getDirectCallee()));
  if (It == U.ContextParameters.end())
    return false;
  bool Changed = false;
  llvm::SmallVector<unsigned, 2> Indices = It->second;
  for (unsigned Index : Indices) {
    if (Index >= C->getNumArgs() || U.constant(C->getArg(Index)))
      continue;
    std::optional<unsigned> P = parameter(B, C->getArg(Index));
    if (!P || !isAlwaysInline(B.Function))
      continue;
    auto &Own = U.ContextParameters[canonical(B.Function)];
    if (!llvm::is_contained(Own, *P)) {
      Own.push_back(*P);
      Changed = true;
    }
  }
  return Changed;
}

/// The parameters that a value comes from; false if from elsewhere, too.
bool ContextChecks::fromParameters(const Body &B, const Expr *E,
                                   llvm::SmallVectorImpl<unsigned> &Parameters,
                                   unsigned Depth) const {
  if (Depth > 8)
    return false;
  if (isFixed(B, E, Depth))
    return true;
  if (std::optional<unsigned> P = parameter(B, E)) {
    Parameters.push_back(*P);
    return true;
  }
  const Expr *S = strip(E);
  if (const auto *C = dyn_cast<AbstractConditionalOperator>(S))
    return fromParameters(B, C->getTrueExpr(), Parameters, Depth + 1) &&
           fromParameters(B, C->getFalseExpr(), Parameters, Depth + 1);
  const auto *D = dyn_cast<DeclRefExpr>(S);
  const auto *V = D ? dyn_cast<VarDecl>(D->getDecl()) : nullptr;
  if (!V || isa<ParmVarDecl>(V) || !V->hasLocalStorage() ||
      B.Exposed.contains(V) || isAsmOutput(B, V))
    return false;
  auto It = B.Values.find(V);
  return It != B.Values.end() && llvm::all_of(It->second, [&](const Expr *Each) {
           return fromParameters(B, Each, Parameters, Depth + 1);
         });
}

/// The function writes \p Value, which is not decided in it, to the register.
bool ContextChecks::carry(const Body &B, const Expr *Value, SourceLocation At) {
  const FunctionDecl *F = canonical(B.Function);
  bool New = U.Carriers.insert(F).second;
  if (New) {
    Reason.try_emplace(F, At);
    U.Carried[F];
  }
  auto It = U.Carried.find(F);
  if (It == U.Carried.end())
    return New;
  llvm::SmallVector<unsigned, 4> Parameters;
  if (!fromParameters(B, Value, Parameters)) {
    U.Carried.erase(It);
    return true;
  }
  for (unsigned P : Parameters)
    if (!llvm::is_contained(It->second, P)) {
      It->second.push_back(P);
      New = true;
    }
  return New;
}

/// What a call of a carrier hands it that is not decided here.
llvm::SmallVector<const Expr *, 2>
ContextChecks::handedOn(const Body &B, const CallExpr *C) const {
  llvm::SmallVector<const Expr *, 2> Values;
  const FunctionDecl *Callee = canonical(C->getDirectCallee());
  auto Carried = U.Carried.find(Callee);
  llvm::ArrayRef<unsigned> Contexts;
  if (auto It = U.ContextParameters.find(Callee);
      It != U.ContextParameters.end())
    Contexts = It->second;
  for (unsigned I = 0; I < C->getNumArgs(); ++I) {
    const Expr *E = C->getArg(I);
    // A context that is no constant is a finding of its own.
    if (llvm::is_contained(Contexts, I) && !parameter(B, E))
      continue;
    // So is a guard that is destroyed by hand.
    if (destroyedClass(Callee))
      if (const auto *A = dyn_cast<UnaryOperator>(strip(E));
          A && A->getOpcode() == UO_AddrOf && isa<DeclRefExpr>(strip(A->getSubExpr())))
        continue;
    if (Carried != U.Carried.end() && !llvm::is_contained(Carried->second, I))
      continue;
    if (!isFixed(B, E))
      Values.push_back(E);
  }
  return Values;
}

bool ContextChecks::findMore(const Body &B) {
  const FunctionDecl *F = canonical(B.Function);
  bool Changed = false;
  for (const CallExpr *C : B.Calls) {
    const FunctionDecl *Callee = canonical(C->getDirectCallee());
    if (!Callee)
      continue;
    Changed |= forwardsContext(B, C);
    for (const Expr *Value : U.restored(C))
      if (std::optional<unsigned> P = parameter(B, Value))
        if (auto &Own = U.Restorers[F]; !llvm::is_contained(Own, *P)) {
          Own.push_back(*P);
          Changed = true;
        }
    // One that is callable is reported; its callers are as they should be.
    if ((U.Carriers.contains(Callee) || U.isRestorer(Callee)) &&
        (isAlwaysInline(Callee) || !Callee->getDefinition()))
      for (const Expr *Value : handedOn(B, C))
        Changed |= carry(B, Value, C->getBeginLoc());
  }
  if (U.isSetter(F) || B.Function->getReturnType()->isRecordType())
    return Changed;
  for (const ReturnStmt *R : B.Returns) {
    const Expr *E = R->getRetValue() ? strip(R->getRetValue()) : nullptr;
    llvm::SmallVector<const Expr *, 2> Values;
    if (!E)
      continue;
    Values.push_back(E);
    if (const auto *D = dyn_cast<DeclRefExpr>(E))
      if (const auto *V = dyn_cast<VarDecl>(D->getDecl()))
        if (auto It = B.Values.find(V); It != B.Values.end())
          Values.append(It->second.begin(), It->second.end());
    if (const auto *C = dyn_cast<AbstractConditionalOperator>(E)) {
      Values.push_back(C->getTrueExpr());
      Values.push_back(C->getFalseExpr());
    }
    for (const Expr *Value : Values)
      if (const auto *C = dyn_cast<CallExpr>(strip(Value)))
        if (U.isSetter(C->getDirectCallee()))
          Changed |= U.Setters.try_emplace(F).second;
  }
  return Changed;
}

/// \p F sets the note of its pair somewhere in \p S.
static bool setsNote(const Unit &U, const FunctionDecl *F, const Stmt *S) {
  if (!S)
    return false;
  if (const auto *Op = dyn_cast<BinaryOperator>(S);
      Op && Op->getOpcode() == BO_Assign && U.isNote(Op->getLHS(), F))
    return true;
  return llvm::any_of(S->children(), [&](const Stmt *Child) {
    return setsNote(U, F, Child);
  });
}

void ContextChecks::findFunctions() {
  auto Configured = [&](const FunctionDecl *F) {
    for (const ContextFunction &Each : U.Cfg.ContextFunctions)
      if (F && Each.Name == nameOf(F))
        U.ContextParameters.try_emplace(
            canonical(F), Each.Parameters.begin(), Each.Parameters.end());
  };
  for (const auto &B : U.Bodies) {
    Configured(B->Function);
    for (const CallExpr *C : B->Calls) {
      Configured(C->getDirectCallee());
      if (U.isSplitSwitch(C->getDirectCallee()))
        U.Entering.insert(nameOf(B->Function));
    }
    if (U.Entering.contains(nameOf(B->Function)) &&
        setsNote(U, B->Function, B->Function->getBody()))
      U.Noting.insert(nameOf(B->Function));
  }
  for (bool Changed = true; Changed;) {
    Changed = false;
    for (const auto &B : U.Bodies)
      Changed |= findMore(*B);
  }
}

//===----------------------------------------------------------------------===//
// Guard classes
//===----------------------------------------------------------------------===//

/// What wrappers of setters enter, those that others are made of first.
void ContextChecks::describeSetters() {
  for (const auto &B : U.Bodies) {
    auto It = U.Setters.find(canonical(B->Function));
    if (It == U.Setters.end() ||
        llvm::is_contained(U.Cfg.SetFunctions, nameOf(B->Function)))
      continue;
    Entry E = Flow(U, *B).entry();
    // One that is changed is not what the caller has given.
    if (E.Parameter) {
      const ParmVarDecl *P = B->Function->getParamDecl(*E.Parameter);
      if (!isUnchanged(*B, P))
        E.Parameter.reset();
    }
    It->second = E;
  }
}

/// The context that a constructor enters whenever the feature is enabled.
GuardClass ContextChecks::describe(const Body &B) {
  GuardClass G;
  for (const CallExpr *C : B.Calls) {
    const FunctionDecl *Callee = C->getDirectCallee();
    if (U.isSetter(Callee)) {
      // Else its flow is that of any function.
      U.GuardClasses[*constructedClass(B.Function)] = G;
      G.Enters = Flow(U, B).entry();
      return G;
    }
    // A class made of another one.
    if (std::optional<llvm::StringRef> Base = constructedClass(Callee))
      if (auto It = U.GuardClasses.find(*Base); It != U.GuardClasses.end())
        return It->second;
  }
  G.Noop = true;
  return G;
}

void ContextChecks::describeGuards() {
  for (const auto &B : U.Bodies) {
    std::optional<llvm::StringRef> Name = constructedClass(B->Function);
    if (!Name)
      continue;
    GuardClass G = describe(*B);
    bool Configured = llvm::is_contained(U.Cfg.Guards, *Name);
    if (G.Noop && !Configured)
      continue;
    // Where the feature is configured in, there is something to do.
    if (U.HasTableContext && U.WritesRegister)
      G.Noop = false;
    U.GuardClasses[*Name] = G;
    if (!Configured || G.Noop || G.Enters.is(U.TableContext))
      continue;
    U.report("pgtable-guard", B->Function->getLocation(), B->Function,
             "guard '" + *Name + "' does not always enter " +
                 U.Cfg.TableContext,
             "guard " + *Name);
  }
}

//===----------------------------------------------------------------------===//
// context-constant
//===----------------------------------------------------------------------===//

void ContextChecks::checkConstants(const Body &B) {
  for (const CallExpr *C : B.Calls) {
    const FunctionDecl *Callee = C->getDirectCallee();
    auto It = U.ContextParameters.find(canonical(Callee));
    if (It == U.ContextParameters.end())
      continue;
    for (unsigned Index : It->second) {
      if (Index >= C->getNumArgs())
        continue;
      const Expr *E = C->getArg(Index);
      std::string Text = U.text(E->getSourceRange());
      if (std::optional<int64_t> Value = U.constant(E)) {
        U.Result.Contexts.push_back({U.locate(C->getBeginLoc()),
                                     nameOf(B.Function).str(),
                                     nameOf(Callee).str(), Text, *Value});
        if (*Value < 0 || *Value > U.MaxContext)
          U.report("context-constant", E->getBeginLoc(), B.Function,
                   "context " + llvm::Twine(*Value) + " of '" +
                       nameOf(Callee) + "' is not in the range 0 to " +
                       llvm::Twine(U.MaxContext),
                   "range " + Text);
        continue;
      }
      std::optional<unsigned> P = parameter(B, E);
      if (P && isAlwaysInline(B.Function))
        continue; // Its callers give the constant.
      if (P)
        U.report("context-constant", E->getBeginLoc(), B.Function,
                 "context of '" + nameOf(Callee) + "' is parameter '" + Text +
                     "' of '" + nameOf(B.Function) +
                     "', which is not __always_inline: any value can be "
                     "passed",
                 "parameter " + Text);
      else
        U.report("context-constant", E->getBeginLoc(), B.Function,
                 "context '" + Text + "' of '" + nameOf(Callee) +
                     "' is not an integer constant expression",
                 "variable " + Text);
    }
  }
}

//===----------------------------------------------------------------------===//
// context-inline
//===----------------------------------------------------------------------===//

void ContextChecks::checkInline(const Body &B) {
  const FunctionDecl *F = canonical(B.Function);
  if (isAlwaysInline(B.Function))
    return;
  if (U.Carriers.contains(F)) {
    Finding &Report = U.report(
        "context-inline", B.Function->getLocation(), B.Function,
        "'" + nameOf(F) +
            "' writes the pkey register with a value it is given, and is not "
            "__always_inline",
        "writes");
    Report.Notes.push_back({U.locate(Reason.lookup(F)), "written here"});
    return;
  }
  if (U.ContextParameters.contains(F))
    U.report("context-inline", B.Function->getLocation(), B.Function,
             "'" + nameOf(F) + "' takes a context, and is not __always_inline",
             "takes");
  else if (U.Setters.contains(F))
    U.report("context-inline", B.Function->getLocation(), B.Function,
             "'" + nameOf(F) +
                 "' returns with a context entered, and is not "
                 "__always_inline",
             "enters");
}

//===----------------------------------------------------------------------===//
// context-address
//===----------------------------------------------------------------------===//

bool ContextChecks::isSensitive(const FunctionDecl *F) const {
  const FunctionDecl *C = canonical(F);
  // One that is callable anyhow is reported for that.
  if ((U.Carriers.contains(C) && isAlwaysInline(F)) ||
      U.ContextParameters.contains(C) || U.isSetter(F) || U.isRestorer(F) || U.isSplitSwitch(F))
    return true;
  if (llvm::any_of(U.Cfg.ContextFunctions, [&](const ContextFunction &Each) {
        return Each.Name == nameOf(F);
      }))
    return true;
  for (auto Class : {constructedClass(F), destroyedClass(F)})
    if (Class) {
      auto It = U.GuardClasses.find(*Class);
      return It != U.GuardClasses.end() && !It->second.Noop;
    }
  return false;
}

void ContextChecks::checkAddresses() {
  auto Check = [&](const Body::Mention &M, const FunctionDecl *In) {
    const auto *F = cast<FunctionDecl>(M.Ref->getDecl());
    if (!isSensitive(F))
      return;
    Finding &Report = U.report("context-address", M.Ref->getBeginLoc(), In,
                               "the address of '" + nameOf(F) + "' is taken" +
                                   (M.Field ? ", and put into '" +
                                                  nameOf(M.Field) + "'"
                                            : llvm::Twine("")),
                               nameOf(F));
    if (const FunctionDecl *Definition = F->getDefinition())
      Report.Notes.push_back({U.locate(Definition->getLocation()),
                              "this can write the pkey register"});
  };
  for (const auto &B : U.Bodies)
    for (const Body::Mention &M : B->Mentions)
      Check(M, B->Function);
  for (const Body::Mention &M : U.GlobalMentions)
    Check(M, nullptr);

  // Another name, an export, and a table or a call made by assembly name the
  // function in a string.
  llvm::StringSet<> Names;
  for (const auto &B : U.Bodies)
    if (isSensitive(B->Function))
      Names.insert(nameOf(B->Function));
  if (Names.empty())
    return;
  for (const FunctionDecl *F : U.Aliases) {
    llvm::StringRef Name = F->getAttr<AliasAttr>()->getAliasee();
    if (Names.contains(Name))
      U.report("context-address", F->getLocation(), nullptr,
               "'" + nameOf(F) + "' is another name of '" + Name + "'", Name);
  }
  auto CheckCode = [&](llvm::StringRef Code, SourceLocation Loc,
                       const FunctionDecl *In) {
    while (!Code.empty()) {
      Code = Code.drop_until(isInName);
      llvm::StringRef Word = Code.take_while(isInName);
      Code = Code.drop_front(Word.size());
      if (Names.contains(Word))
        U.report("context-address", Loc, In,
                 "assembly code refers to '" + Word + "'", Word);
    }
  };
  for (const FileScopeAsmDecl *A : U.FileAsms)
    CheckCode(A->getAsmString(), A->getAsmLoc(), nullptr);
  for (const auto &B : U.Bodies)
    for (const GCCAsmStmt *A : B->Asms)
      CheckCode(A->getAsmString(), A->getAsmLoc(), B->Function);
}

/// What a guard's constructor enters, its cleanup function leaves. Flow follows
/// variables that have one.
void ContextChecks::checkConstructors(const Body &B) {
  // A class made of another one hands the duty on.
  if (constructedClass(B.Function))
    return;
  llvm::SmallPtrSet<const Expr *, 4> Owned;
  for (const auto &[V, ScopeEnd] : B.Cleanups)
    if (V->getInit())
      Owned.insert(strip(V->getInit()));
  for (const CallExpr *C : B.Calls) {
    const FunctionDecl *Callee = C->getDirectCallee();
    std::optional<llvm::StringRef> Class = constructedClass(Callee);
    auto It = Class ? U.GuardClasses.find(*Class) : U.GuardClasses.end();
    if (It == U.GuardClasses.end() || It->second.Noop || Owned.contains(C))
      continue;
    U.report("context-restore", C->getBeginLoc(), B.Function,
             "the context that '" + nameOf(Callee) +
                 "' enters is left by no cleanup function",
             "constructed " + *Class);
  }
}

/// What keeps track of what it enters and leaves by itself.
bool ContextChecks::isSwitch(const FunctionDecl *F) const {
  return U.isSetter(F) || U.isRestorer(F) || U.isSplitSwitch(F) ||
         constructedClass(F) || destroyedClass(F) ||
         llvm::any_of(U.Cfg.Splits, [&](const SplitPair &P) {
           return P.Enter == nameOf(F) || P.Leave == nameOf(F);
         });
}

void ContextChecks::findWriters() {
  if (U.Writers.empty())
    return;
  for (bool Changed = true; Changed;) {
    Changed = false;
    for (const auto &B : U.Bodies) {
      const FunctionDecl *F = canonical(B->Function);
      if (U.Writers.contains(F))
        continue;
      Changed |= llvm::any_of(B->Calls, [&](const CallExpr *C) {
        const FunctionDecl *Callee = canonical(C->getDirectCallee());
        return U.Writers.contains(Callee) && !isSwitch(Callee) &&
               U.Writers.insert(F).second;
      });
    }
  }
  llvm::SmallVector<const FunctionDecl *, 8> Switches;
  llvm::copy_if(U.Writers, std::back_inserter(Switches),
                [&](const FunctionDecl *F) { return isSwitch(F); });
  for (const FunctionDecl *F : Switches)
    U.Writers.erase(F);
}

void ContextChecks::run() {
  findFunctions(); // Setters tell which values are fixed.
  findRegisterWrites();
  findFunctions();
  findWriters();
  describeSetters();
  describeGuards();
  for (const auto &B : U.Bodies) {
    checkConstants(*B);
    checkInline(*B);
    checkConstructors(*B);
  }
  checkAddresses();
}

void checkContexts(Unit &U) { ContextChecks(U).run(); }

} // namespace kpkeys::lint
