// SPDX-License-Identifier: GPL-2.0-only
//
// pgtable-guard over the whole program. A write that is not under a guard
// itself is right if each way to reach it with a table is: this asks questions
// of the form "is this function, or this parameter of it, only ever reached
// under a guard", which lead to the same questions about callers. Where another
// context is in effect, no guard of a caller helps, and the question is whether
// a table can get there at all. Everything is assumed to be right until a way is
// found that is not, so that recursion decides nothing.
#include "Program.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLExtras.h"

#include <deque>
#include <map>

using namespace llvm;

namespace kpkeys::lint {

namespace {

/// Whether a parameter, or RootMemory for all of the function, is in order.
struct Question {
  std::string Function;
  int Root;
  /// Callers' guards do not count.
  bool Anyhow;
  bool Wrong = false;
  /// Something other than the functions that lead here calls one of them.
  bool Entered = false;
  /// Where it goes wrong.
  std::optional<Note> Because;
  Question *Next = nullptr;
  /// Who asks, and the call over which.
  SmallVector<std::pair<Question *, Note>, 4> Askers;
};

/// What an untyped pointer parameter is used for.
struct Effect {
  bool Writes = false;
  /// And not in the context of the caller.
  bool Other = false;
  std::optional<Note> Where;
};

/// A parameter of a function, and whether it is about writes in another context
/// than the caller's.
using Parameter = std::pair<StringRef, unsigned>;

Parameter parameter(StringRef Function, unsigned Index, bool Other) {
  return {Function, 2 * Index + Other};
}

class Writes {
public:
  Writes(Program &P, const LinkOptions &Options, LinkResult &Result)
      : P(P), Options(Options), Result(Result) {}
  void run();

private:
  /// A write, by the function or by what it calls.
  struct Site {
    const FunctionFacts *F;
    Location Loc;
    std::string Text, Shape, Callee;
    bool Guarded;
    std::vector<Note> Notes;
    SmallVector<Question *, 2> Questions;
  };

  void collect(const FunctionFacts &F);
  void collectCall(const FunctionFacts &F, const CallSite &C);
  void questionsFor(Site &S, const Roots &From, bool Anyhow);
  Question *ask(StringRef Function, int Root, bool Anyhow);
  void investigate(Question &Q);
  void depend(Question &Q, StringRef Function, int Root, bool Anyhow,
              const Note &Via);
  void checkEntered();
  void spread();
  void report(const Site &S);
  void explain(Finding &F, const Question *Q) const;
  void findEffects();
  Effect effect(StringRef Id, unsigned Index);

  Program &P;
  const LinkOptions &Options;
  LinkResult &Result;
  std::map<std::tuple<std::string, int, bool>, std::unique_ptr<Question>>
      Questions;
  std::deque<Question *> Open;
  /// Parameters that are written through.
  DenseMap<Parameter, Note> Effects;
  std::vector<Site> Sites;
};

} // namespace

static constexpr StringLiteral Check = "pgtable-guard";

//===----------------------------------------------------------------------===//
// Untyped parameters
//===----------------------------------------------------------------------===//

/// From the functions that write to those that hand them their own parameters.
/// The other way round, what is found out within a cycle of calls would depend
/// on where it is entered.
void Writes::findEffects() {
  DenseMap<Parameter, SmallVector<Parameter, 2>> HandedBy;
  std::deque<Parameter> Found, ByOthers;
  auto Write = [&](std::deque<Parameter> &To, const Parameter &Key,
                   const Location &Loc, const Twine &What) {
    if (matchesAny(nameOfId(Key.first), P.Cfg.Harmless))
      return;
    if (Effects.try_emplace(Key, Note{Loc, What.str()}).second)
      To.push_back(Key);
  };
  auto EachFunction = [&](auto Do) {
    for (const auto &Entry : P.functions())
      for (const FunctionFacts *F : Entry.second)
        Do(*F, Entry.first());
  };

  // A write through a typed pointer is a site by itself.
  EachFunction([&](const FunctionFacts &F, StringRef Id) {
    for (const WriteSite &S : F.Sites)
      if (!S.Typed && !S.Guarded)
        for (int Root : S.From)
          if (Root >= 0)
            Write(Found, parameter(Id, Root, S.Other), S.Loc, "written to here");
  });
  EachFunction([&](const FunctionFacts &F, StringRef Id) {
    for (const CallSite &C : F.Calls)
      for (const Argument &A : C.Arguments)
        for (int Root : A.From) {
          if (Root < 0)
            continue;
          Parameter Own = parameter(Id, Root, C.Other);
          if (C.Callee.empty()) {
            if (!C.Guarded)
              Write(ByOthers, Own, C.Loc, "handed to an indirect call here");
            continue;
          }
          // The callee's own writes are judged by the type of its parameter.
          if (A.TypedParameter)
            continue;
          auto Definitions = P.definitions(C.Callee);
          if (!Definitions.empty()) {
            StringRef Callee = Definitions.front()->Id;
            if (!C.Guarded)
              HandedBy[parameter(Callee, A.Index, false)].push_back(Own);
            // No guard of a caller helps against another context.
            HandedBy[parameter(Callee, A.Index, true)].push_back(
                parameter(Id, Root, true));
          } else if (!C.Guarded && !matchesAny(nameOfId(C.Callee), P.Cfg.Harmless)) {
            Write(ByOthers, Own, C.Loc,
                  "written to by '" + nameOfId(C.Callee) + "' here");
          }
        }
  });
  for (Found.insert(Found.end(), ByOthers.begin(), ByOthers.end());
       !Found.empty(); Found.pop_front()) {
    auto It = HandedBy.find(Found.front());
    if (It == HandedBy.end())
      continue;
    Note Where = Effects.lookup(Found.front());
    for (const Parameter &Each : It->second)
      Write(Found, Each, Where.Loc, Where.Message);
  }
}

Effect Writes::effect(StringRef Id, unsigned Index) {
  auto Definitions = P.definitions(Id);
  if (Definitions.empty())
    return {!matchesAny(nameOfId(Id), P.Cfg.Harmless), false, {}};
  for (bool Other : {true, false})
    if (auto It = Effects.find(parameter(Definitions.front()->Id, Index, Other));
        It != Effects.end())
      return {true, Other, It->second};
  return {};
}

//===----------------------------------------------------------------------===//
// Sites
//===----------------------------------------------------------------------===//

void Writes::questionsFor(Site &S, const Roots &From, bool Anyhow) {
  if (From.empty())
    S.Questions.push_back(ask(S.F->Id, RootMemory, Anyhow));
  for (int Root : From)
    if (Root != RootCopy)
      S.Questions.push_back(ask(S.F->Id, Root, Anyhow));
}

void Writes::collectCall(const FunctionFacts &F, const CallSite &C) {
  for (const Argument &A : C.Arguments) {
    if (!A.Typed)
      continue;
    Effect E;
    if (C.Callee.empty()) {
      // With the type, whatever may be called has this among its callers.
      E.Writes = !A.TypedParameter;
    } else if (!A.TypedParameter) {
      E = effect(C.Callee, A.Index);
    }
    // A function with a typed parameter and no code is in another unit, or of a
    // feature that is configured out, and its call never happens.
    if (!E.Writes)
      continue;
    bool Guarded = C.Guarded && !E.Other;
    Site S{&F,      C.Loc,   A.Text, "escape", nameOfId(C.Callee).str(),
           Guarded, C.Notes, {}};
    if (S.Callee.empty())
      S.Callee = "an indirect call";
    else
      S.Callee = "'" + S.Callee + "'";
    if (E.Where)
      S.Notes.push_back(*E.Where);
    if (!Guarded)
      questionsFor(S, A.From, C.Other || E.Other);
    Sites.push_back(std::move(S));
  }
}

void Writes::collect(const FunctionFacts &F) {
  for (const WriteSite &W : F.Sites) {
    if (!W.Typed)
      continue;
    Site S{&F, W.Loc, W.Text, W.Shape, "", W.Guarded, W.Notes, {}};
    if (!W.Guarded)
      questionsFor(S, W.From, W.Other);
    Sites.push_back(std::move(S));
  }
  for (const CallSite &C : F.Calls)
    collectCall(F, C);
}

//===----------------------------------------------------------------------===//
// Questions
//===----------------------------------------------------------------------===//

Question *Writes::ask(StringRef Function, int Root, bool Anyhow) {
  auto &Slot = Questions[{Function.str(), Root, Anyhow}];
  if (!Slot) {
    Slot = std::make_unique<Question>();
    Slot->Function = Function.str();
    Slot->Root = Root;
    Slot->Anyhow = Anyhow;
    // A table that comes from memory needs no caller to hand it on.
    Slot->Wrong = Anyhow && Root == RootMemory;
    if (!Slot->Wrong)
      Open.push_back(Slot.get());
  }
  return Slot.get();
}

void Writes::depend(Question &Q, StringRef Function, int Root, bool Anyhow,
                    const Note &Via) {
  ask(Function, Root, Anyhow)->Askers.emplace_back(&Q, Via);
}

void Writes::investigate(Question &Q) {
  // That a caller is exempt says nothing of what it calls: tests, which do on
  // purpose what is wrong, would excuse all of it.
  const FunctionFacts *F = P.definitions(Q.Function).front();
  auto Fail = [&](const Twine &Why) {
    Q.Wrong = true;
    Q.Because = Note{{F->File, F->Line, 1}, Why.str()};
  };

  bool Complete;
  auto Callers = P.callers(Q.Function, Complete);
  if (!Complete)
    return Fail("the address of '" + F->Name +
                "' is taken, and nothing shows who calls it");
  if (!Options.WholeProgram && !F->Internal)
    return Fail("'" + F->Name + "' may be called from other units");
  if (all_of(Callers, [&](const Caller &C) { return C.In->Id == F->Id; }))
    return Fail("nothing that is analysed calls '" + F->Name + "'");

  for (const Caller &C : Callers) {
    if (C.Site && C.Site->Guarded && !Q.Anyhow) {
      Q.Entered = true;
      continue;
    }
    bool Other = C.Site && C.Site->Other, Anyhow = Q.Anyhow || Other;
    Location Loc{C.In->File, C.In->Line, 1};
    if (C.Site)
      Loc = C.Site->Loc;
    Note Via{Loc, "reached from '" + C.In->Name + "'"};
    if (Other)
      Via.Message += " in another context";
    else if (!Anyhow)
      Via.Message += " without a guard";
    if (Q.Root == RootMemory) {
      depend(Q, C.In->Id, RootMemory, Anyhow, Via);
      continue;
    }
    bool Shown = is_contained(F->TypedParameters, unsigned(Q.Root));
    ArrayRef<Argument> Arguments;
    if (C.Site)
      Arguments = C.Site->Arguments;
    for (const Argument &A : Arguments) {
      if (int(A.Index) != Q.Root)
        continue;
      Shown = true;
      Q.Entered |= is_contained(A.From, int(RootCopy));
      if (A.From.empty())
        depend(Q, C.In->Id, RootMemory, Anyhow, Via);
      for (int Root : A.From)
        if (Root != RootCopy)
          depend(Q, C.In->Id, Root, Anyhow, Via);
    }
    // Of a parameter whose type tells, what is not shown is NULL. Any other
    // one is passed something that the callee takes for a table.
    if (!Shown)
      depend(Q, C.In->Id, RootMemory, Anyhow, Via);
    else if (none_of(Arguments, [&](const Argument &A) {
               return int(A.Index) == Q.Root;
             }))
      Q.Entered = true;
  }
}

/// Functions that only call each other are called by nothing that is seen.
void Writes::checkEntered() {
  std::deque<Question *> Entered;
  for (auto &[Key, Q] : Questions)
    if (Q->Wrong || Q->Entered)
      Entered.push_back(Q.get());
  for (; !Entered.empty(); Entered.pop_front())
    for (auto &[Asker, Via] : Entered.front()->Askers)
      if (!Asker->Wrong && !Asker->Entered) {
        Asker->Entered = true;
        Entered.push_back(Asker);
      }
  for (auto &[Key, Q] : Questions) {
    if (Q->Wrong || Q->Entered)
      continue;
    const FunctionFacts *F = P.definitions(Q->Function).front();
    Q->Wrong = true;
    Q->Because = Note{{F->File, F->Line, 1},
                      "nothing that is analysed calls '" + F->Name +
                          "' but what it leads to"};
  }
}

/// What is wrong makes all wrong that depend on it.
void Writes::spread() {
  std::deque<Question *> Wrong;
  for (auto &[Key, Q] : Questions)
    if (Q->Wrong)
      Wrong.push_back(Q.get());
  while (!Wrong.empty()) {
    Question *Q = Wrong.front();
    Wrong.pop_front();
    for (auto &[Asker, Via] : Q->Askers) {
      if (Asker->Wrong)
        continue;
      Asker->Wrong = true;
      Asker->Because = Via;
      Asker->Next = Q;
      Wrong.push_back(Asker);
    }
  }
}

void Writes::explain(Finding &F, const Question *Q) const {
  for (unsigned Depth = 0; Q && Depth < 4; Q = Q->Next, ++Depth)
    if (Q->Because)
      F.Notes.push_back(*Q->Because);
}

void Writes::report(const Site &S) {
  auto It = find_if(S.Questions, [](const Question *Q) { return Q->Wrong; });
  const Question *Wrong = It == S.Questions.end() ? nullptr : *It;

  Finding F;
  F.Check = Check.str();
  F.Loc = S.Loc;
  F.Function = S.F->Name;
  F.Key = S.Shape + " " + S.Text;
  F.Notes = S.Notes;

  Finding Listed = F;
  const Exemption *Exempt = nullptr;
  if (S.Guarded)
    Listed.Message = "under a guard";
  else if (!Wrong)
    Listed.Message = "every caller is under a guard, or passes a copy";
  else if ((Exempt = P.exemption(Check, *S.F)))
    Listed.Message = "exempt: " + Exempt->Reason;
  else
    Listed.Message = "not under a guard";
  Listed.Message = S.Shape + " '" + S.Text + "': " + Listed.Message;
  Result.WriteSites.push_back(std::move(Listed));
  if (!Wrong || Exempt)
    return;

  if (S.Callee.empty())
    F.Message = "page table write to '" + S.Text + "' is not under a guard";
  else
    F.Message = "page table '" + S.Text + "' is written to by " + S.Callee +
                ", not under a guard";
  explain(F, Wrong);
  Result.Findings.push_back(std::move(F));
}

void Writes::run() {
  findEffects();
  for (const auto &Entry : P.functions())
    for (const FunctionFacts *F : Entry.second)
      collect(*F);
  while (!Open.empty()) {
    Question *Q = Open.front();
    Open.pop_front();
    investigate(*Q);
  }
  checkEntered();
  spread();
  for (const Site &S : Sites)
    report(S);
}

void linkWrites(Program &P, const LinkOptions &Options, LinkResult &Result) {
  Writes(P, Options, Result).run();
}

} // namespace kpkeys::lint
