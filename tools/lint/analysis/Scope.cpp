// SPDX-License-Identifier: GPL-2.0-only
//
// What can run while page tables are writable: everything that is called under
// a guard, and what that calls.
#include "Program.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"

#include <deque>
#include <map>
#include <set>

using namespace llvm;

namespace kpkeys::lint {

namespace {

struct Reached {
  std::string Id;
  unsigned Depth;
  const Reached *From;
};

class Scope {
public:
  Scope(Program &P, LinkResult &Result) : P(P), Result(Result) {}
  void run();

private:
  void fromGuard(const FunctionFacts &F);
  void follow(const FunctionFacts &Root, ArrayRef<const CallSite *> Calls,
              bool Report);
  void sinks(const FunctionFacts &Root, const CallSite &C, const Reached &R);
  void complain(const FunctionFacts &Root, const CallSite &C, const Reached *R,
                StringRef Does);
  void add(const FunctionFacts &Root, const Reached &R, bool SectionOnly);
  bool isContextFunction(StringRef Name) const;

  Program &P;
  LinkResult &Result;
  std::map<std::string, ScopeFunction> Functions;
  std::set<std::string> Unknown;
  std::set<std::pair<const FunctionFacts *, std::string>> Reported;
};

} // namespace

static constexpr StringLiteral Check = "guard-scope";

/// The functions on the way, the one that holds the guard first.
static std::vector<std::string> pathTo(const FunctionFacts &Root,
                                       const Reached *R) {
  std::vector<std::string> Path;
  for (; R; R = R->From)
    Path.push_back(nameOfId(R->Id).str());
  Path.push_back(Root.Name);
  std::reverse(Path.begin(), Path.end());
  return Path;
}

bool Scope::isContextFunction(StringRef Name) const {
  return is_contained(P.Cfg.SetFunctions, Name) ||
         is_contained(P.Cfg.RestoreFunctions, Name) ||
         (Name.starts_with("class_") && Name.ends_with("_destructor"));
}

/// Reports the first function, which is the nearest one, that does something;
/// behind it there are usually many.
void Scope::complain(const FunctionFacts &Root, const CallSite &C,
                     const Reached *R, StringRef Does) {
  if (!Reported.insert({&Root, Does.str()}).second ||
      P.exemption(Check, Root))
    return;
  Finding F;
  F.Check = Check.str();
  F.Loc = C.Loc;
  F.Function = Root.Name;
  F.Key = Does.str();
  if (R)
    F.Message = ("'" + nameOfId(R->Id) + "', which " + Does +
                 ", can be reached under a guard")
                    .str();
  else
    F.Message = "indirect call under a guard";
  if (R && R->From)
    F.Notes.push_back({C.Loc, "reached by " + join(pathTo(Root, R), " -> ")});
  Result.Findings.push_back(std::move(F));
}

void Scope::sinks(const FunctionFacts &Root, const CallSite &C,
                  const Reached &R) {
  auto Tell = [&](const std::vector<std::string> &Names, StringRef Does) {
    if (matchesAny(nameOfId(R.Id), Names))
      complain(Root, C, &R, Does);
  };
  Tell(P.Cfg.Sleeping, "may sleep");
  Tell(P.Cfg.Allocating, "allocates");
  Tell(P.Cfg.Locking, "takes a lock");
}

void Scope::add(const FunctionFacts &Root, const Reached &R,
                bool SectionOnly) {
  auto Definitions = P.definitions(R.Id);
  if (Definitions.empty()) {
    if (!StringRef(R.Id).starts_with("__builtin_"))
      Unknown.insert(nameOfId(R.Id).str());
    return;
  }
  const FunctionFacts *F = Definitions.front();
  auto [It, New] = Functions.try_emplace(R.Id);
  ScopeFunction &S = It->second;
  if (!New && (S.SectionOnly == SectionOnly ? S.Depth <= R.Depth
                                            : !S.SectionOnly))
    return;
  S.Function = F->Name;
  S.Loc = {F->File, F->Line, 1};
  S.Lines = F->EndLine - F->Line + 1;
  S.Depth = R.Depth;
  S.Path = pathTo(Root, &R);
  S.SectionOnly = SectionOnly;
}

void Scope::follow(const FunctionFacts &Root, ArrayRef<const CallSite *> Calls,
                   bool Report) {
  std::deque<Reached> All;
  StringMap<const CallSite *> Seen;
  unsigned Lines = 0;
  auto Visit = [&](StringRef Id, const Reached *From, const CallSite *C) {
    StringRef Name = nameOfId(Id);
    if (isContextFunction(Name) || !Seen.try_emplace(Id, C).second)
      return;
    All.push_back({Id.str(), From ? From->Depth + 1 : 1, From});
  };
  for (const CallSite *C : Calls)
    if (!C->Callee.empty())
      Visit(C->Callee, nullptr, C);
    else if (Report)
      complain(Root, *C, nullptr, "makes an indirect call");

  for (size_t I = 0; I < All.size(); ++I) {
    const Reached &R = All[I];
    const CallSite *C = Seen.lookup(R.Id);
    add(Root, R, !Report);
    StringRef Name = nameOfId(R.Id);
    if (Report)
      sinks(Root, *C, R);
    if (matchesAny(Name, P.Cfg.ScopeStops))
      continue;
    auto Definitions = P.definitions(R.Id);
    if (Definitions.empty())
      continue;
    Lines += Definitions.front()->EndLine - Definitions.front()->Line + 1;
    bool Indirect = false;
    for (const FunctionFacts *F : Definitions) {
      Indirect |= F->HasIndirectCall;
      for (const std::string &Callee : F->Callees)
        Visit(Callee, &R, C);
      for (const CallSite &Inner : F->Calls)
        if (!Inner.Callee.empty())
          Visit(Inner.Callee, &R, C);
    }
    if (Indirect && Report)
      complain(Root, *C, &R, "makes an indirect call");
  }
  if (!Report || Lines <= P.Cfg.ScopeLines || P.exemption(Check, Root))
    return;
  Finding F;
  F.Check = Check.str();
  F.Loc = Calls.front()->Loc;
  F.Function = Root.Name;
  F.Message = (Twine(Lines) + " lines of code can be reached under the guard of '" +
               Root.Name + "', more than " + Twine(P.Cfg.ScopeLines))
                  .str();
  F.Key = "size";
  Result.Findings.push_back(std::move(F));
}

void Scope::fromGuard(const FunctionFacts &F) {
  SmallVector<const CallSite *, 8> Guarded, Section;
  for (const CallSite &C : F.Calls) {
    if (C.InScope)
      Guarded.push_back(&C);
    else if (C.InSection)
      Section.push_back(&C);
  }
  if (!Guarded.empty())
    follow(F, Guarded, /*Report=*/true);
  if (!Section.empty())
    follow(F, Section, /*Report=*/false);
}

void Scope::run() {
  for (const auto &Entry : P.functions())
    for (const FunctionFacts *F : Entry.second)
      fromGuard(*F);
  for (auto &[Id, F] : Functions) {
    Result.Scope.Lines += F.Lines;
    Result.Scope.Functions.push_back(std::move(F));
  }
  Result.Scope.Unknown.assign(Unknown.begin(), Unknown.end());
}

void linkScope(Program &P, LinkResult &Result) { Scope(P, Result).run(); }

} // namespace kpkeys::lint
