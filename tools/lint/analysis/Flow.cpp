// SPDX-License-Identifier: GPL-2.0-only
//
// Contexts along the paths of one function: which are entered on every path to
// a statement, and which on some.
//
// Contexts do not add up: the one entered last is in effect. So what holds on
// every path is a stack, and where paths meet, what they have in common of it
// from the bottom. That a page table can be written to is said of its top, unless
// another context may have been entered after it.
#include "Unit.h"

#include "clang/Analysis/Analyses/PostOrderCFGView.h"

#include "llvm/ADT/BitVector.h"
#include "llvm/ADT/SetVector.h"

#include <set>

using namespace clang;

namespace kpkeys::lint {

namespace {

/// What a variable that is restored from may hold; others are openings.
enum Definition : int {
  /// KPKEYS_PKEY_REG_INVAL.
  DefSentinel = -1,
  DefNothing = -2,
  DefOther = -3,
  /// What the caller set, in a function that restores for it.
  DefCaller = -4,
};
using Definitions = std::set<int>;

/// A place where a context is entered.
struct Opening {
  const CallExpr *Set = nullptr;
  const VarDecl *Guard = nullptr;
  Entry What;
  SourceLocation Loc, ScopeEnd;
  std::string Name;
  /// What the cleanup function restores is not its own.
  bool Copied = false;
};

/// A context that is in effect on every path.
struct Entered {
  /// Where; several, if paths that enter the same context have met.
  llvm::SmallVector<unsigned, 2> By;
  /// Openings that may have been entered since.
  llvm::BitVector Over;

  bool operator==(const Entered &) const = default;
};

struct State {
  bool Reached = false;
  /// What is in effect on every path, the last one at the end.
  llvm::SmallVector<Entered, 4> Must;
  /// Openings that may be in effect.
  llvm::BitVector May;
  std::vector<Definitions> Held;
  /// Openings whose value nothing may hold any more.
  llvm::BitVector Lost;
  /// Plain stores that nothing keeps before the end of the guard yet.
  llvm::BitVector Pending;
  bool Section = false;
  /// What this function has to do on every path is done.
  bool Acted = false;
  /// The switch of a pair has said that it has switched.
  bool Switched = false;
  /// Holders of what the caller set that may have been restored.
  llvm::BitVector GivenBack;
  int Released = -1;
  /// Where what the caller had entered may have ended.
  SourceLocation Ended;

  bool operator==(const State &) const = default;
};

} // namespace

class Flow::Impl {
public:
  Impl(Unit &U, const Body &B) : U(U), B(B) {}

  void prepare();
  void run();
  Entry entry();

  Unit &U;
  const Body &B;
  llvm::DenseMap<const Stmt *, StatementState> Watched;
  llvm::DenseMap<const VarDecl *, std::optional<StatementState>> Cleanups;
  llvm::DenseMap<const Stmt *, std::pair<unsigned, const Expr *>> PlainStores;

private:
  using Blocks = llvm::DenseMap<const CFGBlock *, State>;

  void addGuard(const VarDecl *V, SourceLocation ScopeEnd);
  bool isOwn(const Expr *E, unsigned Depth = 0) const;
  const ValueDecl *heldBy(const Expr *E) const;
  void addHolder(const ValueDecl *D);
  void findHolders();
  State start() const;

  void element(const CFGElement &E, State &S);
  void statement(const Stmt *T, State &S);
  void declaration(const VarDecl *V, State &S);
  void call(const CallExpr *C, State &S);
  void restore(const CallExpr *C, const Expr *E, State &S);
  void splitSwitch(const CallExpr *C, const FunctionDecl *Callee, State &S);
  void assignment(const BinaryOperator *Op, State &S);
  bool changesGuard(const Expr *Changed, State &S);
  void hold(int Holder, Definitions New, State &S) const;
  void spoil(const Expr *E, State &S);
  void enter(unsigned Index, State &S, bool Everywhere) const;
  void close(unsigned Index, State &S, bool Everywhere);
  void forget(unsigned Index, State &S) const;
  void end(SourceLocation At, State &S);
  void destroyed(const CallExpr *C, const Expr *E, State &S);
  void flushPending(State &S);
  void record(const Stmt *T, const State &S);
  void recordCleanup(const VarDecl *V, const State &S);
  StatementState describe(const State &S) const;

  State transfer(const CFGBlock *Block, State S);
  /// \p Condition tells that the register had the context of page tables in the
  /// value that is given to this function: nothing was entered.
  bool wasInEffect(const Expr *Condition, bool Holds, const State &S) const;
  State along(const CFGBlock *From, unsigned Successor, State S) const;
  bool join(State &Into, const State &From) const;
  void atExit(const CFG &Graph);
  void atReturn(const CFGBlock *Block, const State &S);
  void sum(const ReturnStmt *R, const State &S);

  bool isNarrowed(const Expr *E) const;
  Definitions classify(const Expr *E, const State &S) const;
  int holder(const Expr *E) const;
  const Opening *openingOf(const VarDecl *V) const;
  int otherContext(const State &S) const;
  const Entered *certain(const State &S) const;
  bool inEffect(const State &S) const;
  int hiding(const llvm::BitVector &Since, const State &S) const;
  bool sameContext(const Entered &A, const Entered &B) const;
  void joinMust(State &Into, const State &From) const;
  void complain(SourceLocation Loc, const llvm::Twine &Message,
                const llvm::Twine &Key, int Opened = -1);

  std::vector<Opening> Openings;
  llvm::DenseMap<const Stmt *, unsigned> Sets;
  llvm::DenseMap<const VarDecl *, unsigned> Guards;
  llvm::SetVector<const ValueDecl *> Holders;
  /// &scope in arguments of helpers that only look at it.
  llvm::SmallPtrSet<const Stmt *, 4> Looks;

  bool IsConstructor = false, IsDestructor = false, IsLeave = false;
  /// Enters for a pair, and has to note it.
  bool IsNoting = false;
  bool MustAct = false;
  bool Reporting = false;
  /// Only what is entered at each return is of interest.
  bool Summing = false;
  std::optional<Entry> Sum;
  bool Known = false;
  Blocks In, Out;
};

//===----------------------------------------------------------------------===//
// Preparation
//===----------------------------------------------------------------------===//

/// The class of a guard variable that has to do with contexts.
static std::optional<llvm::StringRef> guardClass(const Unit &U,
                                                 const VarDecl *V) {
  const auto *Cleanup = V->getAttr<CleanupAttr>();
  std::optional<llvm::StringRef> Class =
      Cleanup ? destroyedClass(Cleanup->getFunctionDecl()) : std::nullopt;
  if (Class && (llvm::is_contained(U.Cfg.Guards, *Class) ||
                U.GuardClasses.contains(*Class)))
    return Class;
  return std::nullopt;
}

static bool isOneOf(const FunctionDecl *F,
                    llvm::ArrayRef<std::string> Names) {
  return llvm::is_contained(Names, nameOf(F));
}

static bool isContextClass(const Unit &U, std::optional<llvm::StringRef> Class) {
  if (!Class)
    return false;
  auto It = U.GuardClasses.find(*Class);
  return It != U.GuardClasses.end() && !It->second.Noop;
}

bool Flow::concerns(Unit &U, const Body &B) {
  for (const auto &[V, ScopeEnd] : B.Cleanups)
    if (guardClass(U, V))
      return true;
  for (const CallExpr *C : B.Calls) {
    const FunctionDecl *F = C->getDirectCallee();
    if (!F)
      continue;
    if (U.isSetter(F) || U.isRestorer(F) ||
        U.Writers.contains(F->getCanonicalDecl()) ||
        isContextClass(U, destroyedClass(F)))
      return true;
    for (const SplitPair &P : U.Cfg.Splits)
      if (P.Switch == nameOf(F) || isOneOf(F, P.SectionBegin) ||
          isOneOf(F, P.SectionEnd))
        return true;
  }
  if (llvm::any_of(B.Asms, [&](const GCCAsmStmt *A) {
        return U.RegisterWrites.contains(A);
      }))
    return true;
  if (U.hasToLeave(B.Function) ||
      (U.WritesRegister && U.isRestorer(B.Function)))
    return true;
  return isContextClass(U, constructedClass(B.Function)) ||
         isContextClass(U, destroyedClass(B.Function));
}

void Flow::Impl::addGuard(const VarDecl *V, SourceLocation ScopeEnd) {
  std::optional<llvm::StringRef> Class = guardClass(U, V);
  if (!Class)
    return;
  Opening O;
  O.Guard = V;
  O.Loc = V->getLocation();
  O.ScopeEnd = ScopeEnd;
  O.Name = Class->str();
  auto It = U.GuardClasses.find(*Class);
  // Where the feature is configured out, the guard does nothing, and its
  // places are right or wrong all the same.
  if (It == U.GuardClasses.end() || It->second.Noop)
    O.What = {U.TableContext, std::nullopt, true};
  else
    O.What = It->second.Enters;
  Guards[V] = Openings.size();
  Openings.push_back(std::move(O));
}

/// \p E is the object that a constructor makes or a destructor ends, or a pointer
/// to it.
bool Flow::Impl::isOwn(const Expr *E, unsigned Depth) const {
  E = strip(E);
  if (const auto *Op = dyn_cast<UnaryOperator>(E);
      Op && (Op->getOpcode() == UO_AddrOf || Op->getOpcode() == UO_Deref))
    return isOwn(Op->getSubExpr(), Depth);
  if (const auto *M = dyn_cast<MemberExpr>(E))
    return isOwn(M->getBase(), Depth);
  const auto *D = dyn_cast<DeclRefExpr>(E);
  const auto *V = D ? dyn_cast<VarDecl>(D->getDecl()) : nullptr;
  if (!V || !V->isLocalVarDeclOrParm() || V->isStaticLocal() || Depth > 4)
    return false;
  QualType T = V->getType();
  if (IsConstructor && T->isRecordType())
    return U.Context.hasSameUnqualifiedType(T, B.Function->getReturnType());
  for (const Expr *S : B.Stores)
    if (const auto *Op = dyn_cast<UnaryOperator>(S))
      if (const auto *R = dyn_cast<DeclRefExpr>(strip(Op->getSubExpr()));
          R && R->getDecl() == V)
        return false;
  auto Values = B.Values.find(V);
  if (const auto *P = dyn_cast<ParmVarDecl>(V))
    return IsDestructor && P->getFunctionScopeIndex() == 0 &&
           Values == B.Values.end();
  if (T->isRecordType())
    return V->getInit() && isOwn(V->getInit(), Depth + 1);
  return Values != B.Values.end() &&
         llvm::all_of(Values->second, [&](const Expr *Value) {
           return isOwn(Value, Depth + 1);
         });
}

/// The variable, or the member of the function's own object, that \p E is.
const ValueDecl *Flow::Impl::heldBy(const Expr *E) const {
  E = strip(E);
  if (const auto *D = dyn_cast<DeclRefExpr>(E))
    return dyn_cast<VarDecl>(D->getDecl());
  const auto *M = dyn_cast<MemberExpr>(E);
  bool Own = M && (IsConstructor || IsDestructor) && isOwn(M->getBase());
  return Own ? M->getMemberDecl() : nullptr;
}

void Flow::Impl::addHolder(const ValueDecl *D) {
  if (!Holders.insert(D))
    return;
  // Whatever is copied into it holds the same.
  if (const auto *V = dyn_cast<VarDecl>(D))
    if (auto It = B.Values.find(V); It != B.Values.end())
      for (const Expr *Value : It->second)
        if (const ValueDecl *From = heldBy(Value))
          addHolder(From);
}

void Flow::Impl::findHolders() {
  auto Consider = [&](const Expr *E) {
    if (const ValueDecl *D = heldBy(E))
      addHolder(D);
  };
  for (const CallExpr *C : B.Calls)
    for (const Expr *Value : U.restored(C))
      Consider(Value);
  for (const ReturnStmt *R : B.Returns)
    if (R->getRetValue() && R->getRetValue()->getType()->isIntegerType())
      Consider(R->getRetValue());
  if (!IsConstructor)
    return;
  for (const Expr *E : B.Stores) {
    const auto *Op = dyn_cast<BinaryOperator>(E);
    if (!Op || !isa<MemberExpr>(strip(Op->getLHS())))
      continue;
    // One that is too small for it holds it all the same.
    Definitions D = classify(strip(Op->getRHS()), State());
    if (llvm::any_of(D, [](int Index) { return Index >= 0; }))
      Consider(Op->getLHS());
  }
}

void Flow::Impl::prepare() {
  IsConstructor = isContextClass(U, constructedClass(B.Function));
  // Without its constructor, the unit does not use the class, but may take the
  // address of the destructor.
  IsDestructor = isContextClass(U, destroyedClass(B.Function)) ||
                 (destroyedClass(B.Function) &&
                  llvm::any_of(B.Calls, [&](const CallExpr *C) {
                    return U.isRestorer(C->getDirectCallee());
                  }));
  IsLeave = U.hasToLeave(B.Function);
  IsNoting = U.Noting.contains(nameOf(B.Function)) && !IsLeave;
  // The register is not written where the architecture has none.
  MustAct = IsDestructor || IsLeave || IsNoting ||
            (U.WritesRegister && U.isRestorer(B.Function));

  for (const auto &[V, ScopeEnd] : B.Cleanups)
    addGuard(V, ScopeEnd);
  for (const CallExpr *C : B.Calls) {
    const FunctionDecl *Callee = C->getDirectCallee();
    if (!Callee)
      continue;
    llvm::StringRef Name = nameOf(Callee);
    if (Name.starts_with("class_") &&
        (Name.ends_with("_lock_ptr") || Name.ends_with("_lock_err")))
      for (const Expr *Argument : C->arguments())
        Looks.insert(Argument->IgnoreParenImpCasts());
    if (!U.isSetter(Callee))
      continue;
    Opening O;
    O.Set = C;
    O.Loc = C->getBeginLoc();
    O.Name = nameOf(Callee).str();
    O.What = U.entered(C);
    Sets[C] = Openings.size();
    Openings.push_back(std::move(O));
  }
  findHolders();
}

State Flow::Impl::start() const {
  State S;
  S.Reached = true;
  S.May.resize(Openings.size());
  S.Lost.resize(Openings.size());
  S.Pending.resize(PlainStores.size());
  S.GivenBack.resize(Holders.size());
  for (const ValueDecl *D : Holders) {
    int Initial = DefNothing;
    if (isa<ParmVarDecl>(D) || (isa<FieldDecl>(D) && IsDestructor))
      Initial = DefCaller;
    else if (const auto *V = dyn_cast<VarDecl>(D); V && !V->hasLocalStorage())
      Initial = DefOther;
    S.Held.push_back({Initial});
  }
  return S;
}

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

int Flow::Impl::holder(const Expr *E) const {
  auto It = llvm::find(Holders, heldBy(E));
  return It == Holders.end() ? -1 : int(It - Holders.begin());
}

/// A part of the register is lost on the way to the value of \p E.
bool Flow::Impl::isNarrowed(const Expr *E) const {
  for (;;) {
    E = E->IgnoreParens();
    const auto *C = dyn_cast<CastExpr>(E);
    if (!C)
      return false;
    QualType T = C->getType();
    if (T->isIntegerType() && U.Context.getIntWidth(T) < 64)
      return true;
    E = C->getSubExpr();
  }
}

Definitions Flow::Impl::classify(const Expr *E, const State &S) const {
  if (U.isSentinel(E))
    return {DefSentinel};
  if (isNarrowed(E))
    return {DefOther};
  const Expr *V = strip(E);
  if (U.isSentinel(V))
    return {DefSentinel};
  if (auto It = Sets.find(V); It != Sets.end())
    return {int(It->second)};
  if (const auto *C = dyn_cast<AbstractConditionalOperator>(V)) {
    Definitions D = classify(C->getTrueExpr(), S);
    D.merge(classify(C->getFalseExpr(), S));
    return D;
  }
  if (const auto *Op = dyn_cast<BinaryOperator>(V);
      Op && (Op->getOpcode() == BO_Assign || Op->getOpcode() == BO_Comma))
    return classify(Op->getRHS(), S);
  if (const auto *X = dyn_cast<StmtExpr>(V); X && !X->getSubStmt()->body_empty())
    if (const auto *Last = dyn_cast<Expr>(X->getSubStmt()->body_back()))
      return classify(Last, S);
  int H = holder(V);
  if (H >= 0 && unsigned(H) < S.Held.size())
    return S.Held[H];
  return {DefOther};
}

//===----------------------------------------------------------------------===//
// Statements
//===----------------------------------------------------------------------===//

/// One of \p Since in which page tables cannot be written to, or -1.
int Flow::Impl::hiding(const llvm::BitVector &Since, const State &S) const {
  for (unsigned Index : Since.set_bits())
    if (S.May.test(Index) && Openings[Index].What.Context != U.TableContext)
      return int(Index);
  return -1;
}

/// The opening of what may be in effect instead of the context of page tables
/// and of whatever the caller has entered, or -1.
int Flow::Impl::otherContext(const State &S) const {
  const Entered *Certain = certain(S);
  return hiding(Certain ? Certain->Over : S.May, S);
}

/// The last one that is entered whatever its own conditions are.
const Entered *Flow::Impl::certain(const State &S) const {
  for (const Entered &Each : llvm::reverse(S.Must))
    if (Openings[Each.By.front()].What.is(U.TableContext))
      return &Each;
  return nullptr;
}

bool Flow::Impl::inEffect(const State &S) const {
  return certain(S) && otherContext(S) < 0;
}

void Flow::Impl::complain(SourceLocation Loc, const llvm::Twine &Message,
                          const llvm::Twine &Key, int Opened) {
  if (!Reporting)
    return;
  Finding &F = U.report("context-restore", Loc, B.Function, Message, Key);
  if (Opened >= 0)
    F.Notes.push_back({U.locate(Openings[Opened].Loc), "entered here"});
}

void Flow::Impl::flushPending(State &S) {
  if (S.Pending.none())
    return;
  if (Reporting && U.WritesRegister && !U.RestoreHasBarrier)
    for (const auto &[Store, Entry] : PlainStores)
      if (S.Pending.test(Entry.first))
        U.report("pgtable-plain-store", Store->getBeginLoc(), B.Function,
                 "plain store to '" + U.text(Entry.second->getSourceRange()) +
                     "' may be moved past the end of the guard: no compiler "
                     "barrier is in between",
                 U.text(Entry.second->getSourceRange()));
  S.Pending.reset();
}

/// Enter a context; \p Everywhere if that is certain.
void Flow::Impl::enter(unsigned Index, State &S, bool Everywhere) const {
  for (Entered &Each : S.Must)
    Each.Over.set(Index);
  S.May.set(Index);
  S.Lost.reset(Index);
  if (Everywhere)
    S.Must.push_back({{Index}, llvm::BitVector(Openings.size())});
}

/// A context is certainly not in effect any more.
void Flow::Impl::forget(unsigned Index, State &S) const {
  // What is restored is the value of another one on the path where it is lost.
  if (S.Lost.test(Index))
    return;
  for (Entered &Each : S.Must)
    Each.Over.reset(Index);
  S.May.reset(Index);
}

/// Leave a context; \p Everywhere if that is certain.
void Flow::Impl::close(unsigned Index, State &S, bool Everywhere) {
  flushPending(S);
  llvm::erase_if(S.Must, [&](const Entered &Each) {
    return llvm::is_contained(Each.By, Index);
  });
  if (Everywhere)
    forget(Index, S);
  S.Released = int(Index);
}

/// Nothing that was entered before is known to be in effect.
void Flow::Impl::end(SourceLocation At, State &S) {
  flushPending(S);
  S.Must.clear();
  S.Ended = At;
}

void Flow::Impl::declaration(const VarDecl *V, State &S) {
  if (auto It = Guards.find(V); It != Guards.end()) {
    const auto *Init =
        V->getInit() ? dyn_cast<CallExpr>(strip(V->getInit())) : nullptr;
    std::optional<llvm::StringRef> Class =
        Init ? constructedClass(Init->getDirectCallee()) : std::nullopt;
    bool Constructed = Class == llvm::StringRef(Openings[It->second].Name);
    enter(It->second, S, Constructed);
    if (Constructed)
      return;
    Openings[It->second].Copied = true;
    complain(V->getLocation(),
             "guard '" + nameOf(V) +
                 "' is not initialised by its constructor, but destroyed",
             "guard " + Openings[It->second].Name);
    return;
  }
  auto It = llvm::find(Holders, V);
  if (It == Holders.end())
    return;
  hold(It - Holders.begin(),
       V->getInit() ? classify(V->getInit(), S) : Definitions{DefNothing}, S);
}

/// Give a holder another value.
void Flow::Impl::hold(int Holder, Definitions New, State &S) const {
  Definitions Old = std::exchange(S.Held[Holder], std::move(New));
  for (int Index : Old)
    if (Index >= 0 && S.May.test(Index) &&
        llvm::none_of(S.Held, [&](const Definitions &D) { return D.count(Index); }))
      S.Lost.set(Index);
}

/// A guard itself is changed, or a member of it.
bool Flow::Impl::changesGuard(const Expr *Changed, State &S) {
  const Expr *Base = strip(Changed);
  while (const auto *M = dyn_cast<MemberExpr>(Base))
    Base = strip(M->getBase());
  const auto *D = dyn_cast<DeclRefExpr>(Base);
  const auto *V = D ? dyn_cast<VarDecl>(D->getDecl()) : nullptr;
  auto It = V ? Guards.find(V) : Guards.end();
  if (It == Guards.end())
    return false;
  close(It->second, S, false);
  complain(Changed->getBeginLoc(), "guard '" + nameOf(V) + "' is changed",
           "changed " + Openings[It->second].Name, It->second);
  return true;
}

void Flow::Impl::assignment(const BinaryOperator *Op, State &S) {
  if (changesGuard(Op->getLHS(), S))
    return;
  if (IsNoting && U.isNote(Op->getLHS(), B.Function)) {
    S.Acted = Op->getOpcode() == BO_Assign && S.Switched &&
              U.constant(Op->getRHS()).value_or(0) != 0;
    if (!S.Acted)
      complain(Op->getBeginLoc(),
               "'" + nameOf(B.Function) +
                   "' notes something else than that it has entered the context",
               "note");
    return;
  }
  int H = holder(Op->getLHS());
  if (H < 0)
    return;
  hold(H, Op->getOpcode() == BO_Assign ? classify(Op->getRHS(), S)
                                       : Definitions{DefOther}, S);
}

/// \p E is given a value that nothing is known of.
void Flow::Impl::spoil(const Expr *E, State &S) {
  if (changesGuard(E, S))
    return;
  if (int H = holder(E); H >= 0)
    hold(H, {DefOther}, S);
}

void Flow::Impl::restore(const CallExpr *C, const Expr *E, State &S) {
  flushPending(S);
  Definitions D = classify(E, S);
  // Whoever restores for another one has to restore that one's value.
  S.Acted |= D.count(DefCaller) != 0;
  std::string Text = U.text(E->getSourceRange());
  if (D.count(DefOther))
    complain(E->getBeginLoc(),
             "'" + Text + "' is restored, but is not what entering a context "
                          "returned",
             "other " + Text);
  if (D.count(DefNothing))
    complain(E->getBeginLoc(),
             "'" + Text + "' is restored, but a path leads here on which it "
                          "has no value",
             "nothing " + Text);

  bool AnyOpen = false, AnySet = false;
  int Known = -1;
  for (int Index : D) {
    if (Index < 0)
      continue;
    AnySet = true;
    Known = Index;
    AnyOpen |= S.May.test(Index);
  }
  if (AnySet && !AnyOpen)
    complain(C->getBeginLoc(),
             "'" + Text + "' is restored, but its context has been left before",
             "twice " + Text, Known);
  auto Restored = [&](const Entered &Each) {
    return llvm::any_of(Each.By, [&](unsigned I) { return D.count(int(I)); });
  };
  if (AnyOpen && !S.Must.empty() && !Restored(S.Must.back()) &&
      llvm::any_of(S.Must, Restored))
    complain(C->getBeginLoc(),
             "'" + Text + "' is restored while a context that was entered "
                          "later is in effect",
             "order " + Text, int(S.Must.back().By.front()));

  bool Certain = llvm::count_if(D, [](int I) { return I >= 0; }) == 1;
  for (int Index : D)
    if (Index >= 0)
      close(Index, S, Certain || D.size() == 1);
  // Several are possible where one was entered in each arm: all are over.
  if (!Certain && AnySet)
    for (int Index : D)
      if (Index >= 0)
        forget(Index, S);
  // Nobody knows what is in effect after an unknown value was restored.
  if (D.count(DefOther) || D.count(DefNothing))
    S.Must.clear();
  // What the caller had entered is over.
  if (D.count(DefCaller)) {
    int H = holder(E);
    if (H >= 0 && S.GivenBack.test(H))
      complain(C->getBeginLoc(),
               "'" + Text + "' is restored, and may have been before",
               "again " + Text);
    if (H >= 0)
      S.GivenBack.set(H);
    end(C->getBeginLoc(), S);
  }
}

void Flow::Impl::splitSwitch(const CallExpr *C, const FunctionDecl *Callee,
                             State &S) {
  for (const SplitPair &P : U.Cfg.Splits) {
    if (P.Switch != nameOf(Callee))
      continue;
    llvm::StringRef Here = nameOf(B.Function);
    bool Enters = Here == P.Enter, Leaves = Here == P.Leave;
    if (!Enters && !Leaves) {
      complain(C->getBeginLoc(),
               "'" + nameOf(Callee) + "' leaves a context open; only '" +
                   P.Enter + "' and '" + P.Leave + "' may use it",
               "switch");
      continue;
    }
    if (C->getNumArgs() < 2)
      continue;
    std::optional<int64_t> From = U.constant(C->getArg(0)),
                           To = U.constant(C->getArg(1));
    int64_t Inside = U.contextValue(P.Inside),
            Outside = U.contextValue(P.Outside);
    if (From == (Enters ? Outside : Inside) &&
        To == (Enters ? Inside : Outside)) {
      S.Acted |= Leaves;
      continue;
    }
    complain(C->getBeginLoc(),
             "'" + Here + "' has to switch from " +
                 (Enters ? P.Outside : P.Inside) + " to " +
                 (Enters ? P.Inside : P.Outside),
             "switch arguments");
  }
}

/// A destructor is called by hand for \p E.
void Flow::Impl::destroyed(const CallExpr *C, const Expr *E, State &S) {
  const auto *A = dyn_cast<UnaryOperator>(strip(E));
  const auto *D = A ? dyn_cast<DeclRefExpr>(strip(A->getSubExpr())) : nullptr;
  const auto *V = D ? dyn_cast<VarDecl>(D->getDecl()) : nullptr;
  if (auto It = V ? Guards.find(V) : Guards.end(); It != Guards.end()) {
    close(It->second, S, true);
    complain(C->getBeginLoc(), "guard '" + nameOf(V) + "' is destroyed twice",
             "destroyed " + Openings[It->second].Name, It->second);
    return;
  }
  // A class made of another one destroys it.
  std::optional<llvm::StringRef> Class = destroyedClass(C->getDirectCallee());
  if (!isContextClass(U, Class))
    return;
  if (destroyedClass(B.Function)) {
    S.Acted |= isOwn(E);
    return;
  }
  end(C->getBeginLoc(), S);
  complain(C->getBeginLoc(),
           "'" + U.text(E->getSourceRange()) +
               "' is destroyed, and is no guard that was entered here",
           "destroyed " + *Class);
}

void Flow::Impl::call(const CallExpr *C, State &S) {
  const FunctionDecl *Callee = C->getDirectCallee();
  if (!Callee) {
    S.Pending.reset(); // Code that the compiler cannot see.
    return;
  }
  if (auto It = Sets.find(C); It != Sets.end()) {
    unsigned Index = It->second;
    if (S.May.test(Index))
      complain(C->getBeginLoc(),
               "a context is entered again before it is left",
               "again " + Openings[Index].Name);
    enter(Index, S, true);
    return;
  }
  if (U.isRestorer(Callee)) {
    for (const Expr *Value : U.restored(C))
      restore(C, Value, S);
    return;
  }
  if (U.isSplitSwitch(Callee)) {
    splitSwitch(C, Callee, S);
    return;
  }
  if (U.Writers.contains(Callee->getCanonicalDecl()))
    end(C->getBeginLoc(), S);
  if (U.Carriers.contains(Callee->getCanonicalDecl()) &&
      !constructedClass(Callee))
    S.Acted |= !IsLeave && !IsDestructor;
  // A destructor that is called by hand.
  if (destroyedClass(Callee))
    for (const Expr *E : C->arguments())
      destroyed(C, E, S);
  for (const SplitPair &P : U.Cfg.Splits) {
    if (isOneOf(Callee, P.SectionBegin))
      S.Section = true;
    if (isOneOf(Callee, P.SectionEnd))
      S.Section = false;
  }
  if (!Callee->getBuiltinID() && !Callee->getDefinition())
    S.Pending.reset();
}

StatementState Flow::Impl::describe(const State &S) const {
  StatementState Result;
  Result.Guarded = S.Reached && inEffect(S);
  // Tables are not writable in the other contexts.
  for (unsigned Index : S.May.set_bits())
    Result.InScope |= !Openings[Index].What.Always ||
                      !Openings[Index].What.Context ||
                      *Openings[Index].What.Context == U.TableContext;
  Result.InSection = S.Section;
  if (Result.Guarded)
    return Result;
  if (int By = otherContext(S); By >= 0) {
    Result.Other = true;
    bool Always = llvm::any_of(S.Must, [&](const Entered &Each) {
      return llvm::is_contained(Each.By, unsigned(By));
    });
    Result.Notes.push_back({U.locate(Openings[By].Loc),
                            Always ? "another context is entered here"
                                   : "another context is entered here, on some "
                                     "of the paths"});
    return Result;
  }
  if (S.Ended.isValid()) {
    Result.Other = true;
    Result.Notes.push_back({U.locate(S.Ended), "what was entered before may "
                                               "end here"});
    return Result;
  }
  for (unsigned Index : S.May.set_bits()) {
    const Opening &O = Openings[Index];
    if (O.What.Context == U.TableContext)
      Result.Notes.push_back(
          {U.locate(O.Loc), "in effect on some of the paths only"});
  }
  if (!Result.Notes.empty() || S.Released < 0)
    return Result;
  const Opening &O = Openings[S.Released];
  Result.Notes.push_back({U.locate(O.Loc), "entered here"});
  if (O.ScopeEnd.isValid())
    Result.Notes.push_back({U.locate(O.ScopeEnd), "guard released here"});
  return Result;
}

void Flow::Impl::record(const Stmt *T, const State &S) {
  auto It = Watched.find(T);
  if (It != Watched.end() && Reporting)
    It->second = describe(S);
}

void Flow::Impl::statement(const Stmt *T, State &S) {
  record(T, S);
  if (auto It = PlainStores.find(T); It != PlainStores.end() && inEffect(S))
    S.Pending.set(It->second.first);
  switch (T->getStmtClass()) {
  case Stmt::DeclStmtClass:
    for (const Decl *D : cast<DeclStmt>(T)->decls())
      if (const auto *V = dyn_cast<VarDecl>(D))
        declaration(V, S);
    break;
  case Stmt::BinaryOperatorClass:
  case Stmt::CompoundAssignOperatorClass:
    if (cast<BinaryOperator>(T)->isAssignmentOp())
      assignment(cast<BinaryOperator>(T), S);
    break;
  case Stmt::UnaryOperatorClass: {
    const auto *Op = cast<UnaryOperator>(T);
    if (Op->isIncrementDecrementOp())
      spoil(Op->getSubExpr(), S);
    if (Op->getOpcode() != UO_AddrOf || Looks.contains(Op))
      break;
    const Expr *Base = strip(Op->getSubExpr());
    while (const auto *M = dyn_cast<MemberExpr>(Base))
      Base = strip(M->getBase());
    const auto *D = dyn_cast<DeclRefExpr>(Base);
    const auto *V = D ? dyn_cast<VarDecl>(D->getDecl()) : nullptr;
    // Whoever has its address can end it.
    if (auto It = V ? Guards.find(V) : Guards.end(); It != Guards.end())
      close(It->second, S, false);
    break;
  }
  case Stmt::CallExprClass:
    call(cast<CallExpr>(T), S);
    break;
  case Stmt::GCCAsmStmtClass: {
    const auto *A = cast<GCCAsmStmt>(T);
    for (const Expr *Out : A->outputs())
      spoil(Out, S);
    if (U.RegisterWrites.contains(A))
      end(A->getAsmLoc(), S);
    for (unsigned I = 0; I < A->getNumClobbers(); ++I)
      if (llvm::StringRef(A->getClobber(I)) == "memory")
        S.Pending.reset();
    break;
  }
  case Stmt::ReturnStmtClass: {
    const Expr *Value = cast<ReturnStmt>(T)->getRetValue();
    if (Sum)
      sum(cast<ReturnStmt>(T), S);
    if (!Value || !U.isSetter(B.Function))
      break;
    // Handed to the caller along with the duty to restore.
    for (int Index : classify(Value, S))
      if (Index >= 0)
        close(Index, S, true);
    break;
  }
  default:
    break;
  }
}

void Flow::Impl::element(const CFGElement &E, State &S) {
  if (std::optional<CFGStmt> T = E.getAs<CFGStmt>()) {
    statement(T->getStmt(), S);
    return;
  }
  std::optional<CFGCleanupFunction> C = E.getAs<CFGCleanupFunction>();
  if (!C)
    return;
  recordCleanup(C->getVarDecl(), S);
  if (auto It = Guards.find(C->getVarDecl()); It != Guards.end()) {
    close(It->second, S, true);
    if (const Opening &O = Openings[It->second]; O.Copied)
      end(O.Loc, S);
  }
}

/// A scope has several ends: what is guarded is so at all of them.
void Flow::Impl::recordCleanup(const VarDecl *V, const State &S) {
  auto It = Cleanups.find(V);
  if (It == Cleanups.end() || !Reporting)
    return;
  StatementState Here = describe(S);
  if (std::optional<StatementState> &Others = It->second) {
    Here.InScope |= Others->InScope;
    Here.InSection |= Others->InSection;
    Here.Other |= Others->Other;
    if (!Others->Guarded)
      Here.Notes = std::move(Others->Notes);
    Here.Guarded &= Others->Guarded;
  }
  It->second = std::move(Here);
}

//===----------------------------------------------------------------------===//
// Paths
//===----------------------------------------------------------------------===//

State Flow::Impl::transfer(const CFGBlock *Block, State S) {
  for (const CFGElement &E : *Block)
    element(E, S);
  return S;
}

/// do { } while (0) does not go round. Conditions of if are left open: what is
/// constant here is something else in another configuration.
static bool neverTaken(const Unit &U, const CFGBlock *From, bool Holds) {
  const Stmt *Loop = From->getTerminatorStmt();
  const Expr *Condition = nullptr;
  // One that is never entered is as code under if (0).
  if (isa_and_nonnull<WhileStmt, ForStmt>(Loop) && Holds)
    return false;
  if (const auto *D = dyn_cast_or_null<DoStmt>(Loop))
    Condition = D->getCond();
  else if (const auto *W = dyn_cast_or_null<WhileStmt>(Loop))
    Condition = W->getCond();
  else if (const auto *F = dyn_cast_or_null<ForStmt>(Loop))
    Condition = F->getCond();
  std::optional<int64_t> Value = U.constant(Condition);
  return Value && Holds != (*Value != 0);
}

/// \p Condition without negations, which \p Holds takes into account.
static const Expr *plain(const Expr *Condition, bool &Holds) {
  const Expr *E = strip(Condition);
  while (const auto *Op = dyn_cast<UnaryOperator>(E)) {
    if (Op->getOpcode() != UO_LNot)
      break;
    Holds = !Holds;
    E = strip(Op->getSubExpr());
  }
  return E;
}

/// The feature is not enabled where \p Condition is as \p Holds says, or nobody
/// gets there.
static bool disabled(const Unit &U, const Expr *Condition, bool Holds) {
  if (!Condition)
    return false;
  if (std::optional<int64_t> Value = U.constant(Condition))
    return Holds != (*Value != 0);
  const auto *C = dyn_cast<CallExpr>(plain(Condition, Holds));
  return C && !Holds && U.onlyEnabled(C);
}

/// The leaving function \p F of a pair whose entering function leaves a note.
static bool hasNote(const Unit &U, const FunctionDecl *F) {
  return llvm::any_of(U.Cfg.Splits, [&](const SplitPair &P) {
    return P.Leave == nameOf(F) && U.Noting.contains(P.Enter);
  });
}

/// Nothing has to be done on the paths where nothing was entered.
static bool excuses(const Unit &U, const FunctionDecl *F, const Expr *Condition,
                    bool Holds) {
  const Expr *E = plain(Condition, Holds);
  if (const auto *Op = dyn_cast<BinaryOperator>(E);
      Op && Op->isEqualityOp() &&
      (U.isSentinel(Op->getLHS()) || U.isSentinel(Op->getRHS())))
    return Holds == (Op->getOpcode() == BO_EQ);
  if (U.isNote(E, F))
    return !Holds && hasNote(U, F);
  const auto *C = dyn_cast<CallExpr>(E);
  return !Holds && C &&
         (U.onlyEnabled(C) ||
          (U.Noting.contains(nameOf(F)) && U.isSplitSwitch(C->getDirectCallee())));
}

bool Flow::Impl::wasInEffect(const Expr *Condition, bool Holds,
                             const State &S) const {
  const auto *C = dyn_cast<CallExpr>(plain(Condition, Holds));
  if (!C || !Holds || C->getNumArgs() != 2 || !C->getDirectCallee() ||
      !llvm::is_contained(U.Cfg.TestFunctions, nameOf(C->getDirectCallee())))
    return false;
  return U.constant(C->getArg(1)) == U.TableContext &&
         classify(C->getArg(0), S) == Definitions{DefCaller};
}

State Flow::Impl::along(const CFGBlock *From, unsigned Successor,
                        State S) const {
  if (!MustAct || From->succ_size() != 2)
    return S;
  if (const Expr *Condition = From->getLastCondition()) {
    bool Holds = Successor == 0;
    S.Acted |= excuses(U, B.Function, Condition, Holds) ||
               wasInEffect(Condition, Holds, S);
    const auto *C = dyn_cast<CallExpr>(plain(Condition, Holds));
    S.Switched |= Holds && C && U.isSplitSwitch(C->getDirectCallee());
  }
  return S;
}

bool Flow::Impl::sameContext(const Entered &A, const Entered &B) const {
  const Entry &X = Openings[A.By.front()].What, &Y = Openings[B.By.front()].What;
  return A.By == B.By || (X.Always == Y.Always && X.isSameContext(Y));
}

/// What both have in common from the bottom. Which of two places has entered a
/// context does not matter to what can be written to.
void Flow::Impl::joinMust(State &Into, const State &From) const {
  auto Common = std::mismatch(
      Into.Must.begin(), Into.Must.end(), From.Must.begin(), From.Must.end(),
      [&](const Entered &A, const Entered &B) { return sameContext(A, B); });
  Into.Must.erase(Common.first, Into.Must.end());
  for (auto [To, Other] : llvm::zip(Into.Must, From.Must)) {
    for (unsigned Index : Other.By)
      if (auto It = llvm::lower_bound(To.By, Index);
          It == To.By.end() || *It != Index)
        To.By.insert(It, Index);
    To.Over |= Other.Over;
  }
}

bool Flow::Impl::join(State &Into, const State &From) const {
  if (!Into.Reached) {
    Into = From;
    return true;
  }
  State Before = Into;
  joinMust(Into, From);
  Into.May |= From.May;
  Into.Lost |= From.Lost;
  Into.Pending |= From.Pending;
  for (unsigned I = 0; I < Into.Held.size(); ++I)
    Into.Held[I].insert(From.Held[I].begin(), From.Held[I].end());
  Into.Section |= From.Section;
  Into.Acted &= From.Acted;
  Into.Switched &= From.Switched;
  Into.GivenBack |= From.GivenBack;
  Into.Released = std::max(Into.Released, From.Released);
  if (Into.Ended.isInvalid())
    Into.Ended = From.Ended;
  return !(Into == Before);
}

/// Take one return into account in what the function leaves entered.
void Flow::Impl::sum(const ReturnStmt *R, const State &S) {
  const Entered *Top = S.Must.empty() ? nullptr : &S.Must.back();
  bool Certain = Top && Top->Over.none() &&
                 Openings[Top->By.front()].What.Always;
  // What is returned has to be what leaves it.
  if (Certain && !IsConstructor)
    for (int Index : classify(R->getRetValue(), S))
      Certain &= Index >= 0 && llvm::is_contained(Top->By, unsigned(Index));
  Sum->Always &= Certain;
  for (unsigned Index : S.May.set_bits()) {
    const Entry &What = Openings[Index].What;
    if (!Known) {
      Sum->Context = What.Context;
      Sum->Parameter = What.Parameter;
    } else if (!Sum->isSameContext(What)) {
      Sum->Context.reset();
      Sum->Parameter.reset();
    }
    Known = true;
  }
}

Entry Flow::Impl::entry() {
  Summing = true;
  run();
  // Nothing is known of one that does not return, or whose paths are not.
  return Sum && Known ? *Sum : Entry();
}

void Flow::Impl::atReturn(const CFGBlock *Block, const State &S) {
  SourceLocation Loc = B.Function->getEndLoc();
  for (const CFGElement &E : llvm::reverse(*Block))
    if (std::optional<CFGStmt> T = E.getAs<CFGStmt>())
      if (const auto *R = dyn_cast<ReturnStmt>(T->getStmt())) {
        Loc = R->getBeginLoc();
        break;
      }
  llvm::BitVector Kept(Openings.size());
  if (IsConstructor)
    for (unsigned H = 0; H < S.Held.size(); ++H) {
      for (int Index : S.Held[H])
        if (Index >= 0)
          Kept.set(Index);
      if (S.Held[H].count(DefNothing) || S.Held[H].count(DefOther))
        complain(Loc,
                 "'" + nameOf(Holders[H]) +
                     "' of the guard is not what entering a context returned "
                     "on every path",
                 "member");
    }
  for (unsigned Index : S.May.set_bits()) {
    const Opening &O = Openings[Index];
    if (O.Guard || Kept.test(Index))
      continue;
    if (!Reporting)
      continue;
    Finding &F =
        U.report("context-restore", O.Loc, B.Function,
                 "the context that '" + O.Name +
                     "' enters is not left on a path out of '" +
                     nameOf(B.Function) + "'",
                 "open " + O.Name);
    F.Notes.push_back({U.locate(Loc), "returns here"});
  }
  if (MustAct && !S.Acted && Reporting) {
    Finding &F = U.report(
        "context-restore", B.Function->getLocation(), B.Function,
        "'" + nameOf(B.Function) + "' does not " +
            (IsNoting ? "note on every path that it has entered the context"
                      : "leave the context on every path"),
        "must leave");
    F.Notes.push_back({U.locate(Loc), "returns here"});
  }
}

void Flow::Impl::atExit(const CFG &Graph) {
  llvm::SmallPtrSet<const CFGBlock *, 8> Seen;
  for (const CFGBlock *Block : Graph.getExit().preds()) {
    if (!Block || Block->hasNoReturnElement() || !Seen.insert(Block).second)
      continue;
    State S = Out.lookup(Block);
    if (!S.Reached)
      continue;
    // The edge that leads out may excuse by itself.
    for (unsigned I = 0; I < Block->succ_size(); ++I)
      if (*(Block->succ_begin() + I) == &Graph.getExit())
        atReturn(Block, along(Block, I, S));
  }
}

void Flow::Impl::run() {
  CFG::BuildOptions Options;
  // Only with destructors are there elements for cleanup functions.
  Options.AddImplicitDtors = true;
  Options.setAllAlwaysAdd();
  // Code under if (0) is built in another configuration.
  Options.PruneTriviallyFalseEdges = false;
  std::unique_ptr<CFG> Graph =
      CFG::buildCFG(B.Function, B.Function->getBody(), &U.Context, Options);
  if (!Graph)
    return; // Nothing is known to be guarded then.

  PostOrderCFGView Order(Graph.get());
  In[&Graph->getEntry()] = start();
  for (bool Changed = true; Changed;) {
    Changed = false;
    for (const CFGBlock *Block : Order) {
      State Before = In.lookup(Block);
      if (!Before.Reached)
        continue;
      State After = transfer(Block, std::move(Before));
      unsigned Number = 0;
      for (const CFGBlock::AdjacentBlock &Next : Block->succs()) {
        unsigned Index = Number++;
        if (Block->succ_size() == 2 &&
            (neverTaken(U, Block, Index == 0) ||
             (Summing && disabled(U, Block->getLastCondition(), Index == 0))))
          continue;
        if (const CFGBlock *To = Next.getReachableBlock()
                                     ? Next.getReachableBlock()
                                     : Next.getPossiblyUnreachableBlock())
          Changed |= join(In[To], along(Block, Index, After));
      }
      Out[Block] = std::move(After);
    }
  }
  if (Summing)
    Sum = Entry{std::nullopt, std::nullopt, true};
  Reporting = !Summing;
  for (const CFGBlock *Block : Order)
    if (State S = In.lookup(Block); S.Reached)
      transfer(Block, std::move(S));
  if (Reporting)
    atExit(*Graph);
}

Flow::Flow(Unit &U, const Body &B) : I(std::make_unique<Impl>(U, B)) {}
Flow::~Flow() = default;

void Flow::watch(const Stmt *S) { I->Watched.try_emplace(S); }

void Flow::watchPlainStore(const Stmt *S, const Expr *Shown) {
  I->PlainStores.try_emplace(S, I->PlainStores.size(), Shown);
}

void Flow::watchCleanup(const VarDecl *V) { I->Cleanups.try_emplace(V); }

void Flow::run() {
  I->prepare();
  I->run();
}

Entry Flow::entry() {
  I->prepare();
  return I->entry();
}

StatementState Flow::at(const Stmt *S) const { return I->Watched.lookup(S); }

StatementState Flow::atCleanup(const VarDecl *V) const {
  return I->Cleanups.lookup(V).value_or(StatementState());
}

} // namespace kpkeys::lint
