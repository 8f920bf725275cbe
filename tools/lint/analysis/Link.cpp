// SPDX-License-Identifier: GPL-2.0-only
#include "Link.h"
#include "Program.h"

#include "llvm/ADT/STLExtras.h"

using namespace llvm;

namespace kpkeys::lint {

Program::Program(ArrayRef<Facts> Units, const Config &Cfg)
    : Cfg(Cfg), Used(Cfg.Exemptions.size()) {
  for (const Facts &Unit : Units) {
    Files[Unit.Unit] = true;
    for (const auto &[Alias, Id] : Unit.Aliases)
      Aliases.try_emplace(Alias, Id);
    for (const std::string &Member : Unit.Moved)
      Moved.insert(Member);
    for (const FunctionFacts &F : Unit.Functions) {
      auto &Variants = Functions[F.Id];
      // Most functions of headers are the same in each unit.
      if (any_of(Variants, [&](const FunctionFacts *V) { return *V == F; }))
        continue;
      Variants.push_back(&F);
      Files[F.File] = true;
    }
  }
  for (const auto &Entry : Functions)
    for (const FunctionFacts *F : Entry.second)
      addCalls(*F);

  for (const Facts &Unit : Units)
    for (const AddressTaken &A : Unit.AddressesTaken) {
      auto &Known = Addresses[resolve(A.Function)];
      if (none_of(Known, [&](const AddressTaken *K) { return *K == A; }))
        Known.push_back(&A);
    }
}

void Program::addCalls(const FunctionFacts &F) {
  for (const std::string &Callee : F.Callees)
    Direct[resolve(Callee)].push_back({&F, nullptr});
  for (const CallSite &C : F.Calls)
    if (C.Callee.empty())
      Indirect[C.Type].push_back({&F, &C});
    else
      Direct[resolve(C.Callee)].push_back({&F, &C});
}

StringRef Program::resolve(StringRef Id) const {
  auto It = Aliases.find(Id);
  // Where there is code of that name as well, an alias is its stand-in.
  return It == Aliases.end() || Functions.contains(Id) ? Id : It->second;
}

ArrayRef<const FunctionFacts *> Program::definitions(StringRef Id) const {
  auto It = Functions.find(resolve(Id));
  if (It == Functions.end())
    return {};
  return It->second;
}

SmallVector<Caller, 8> Program::callers(StringRef Id, bool &Complete) const {
  SmallVector<Caller, 8> Result;
  Complete = true;
  if (auto It = Direct.find(Id); It != Direct.end())
    Result.append(It->second.begin(), It->second.end());
  auto Taken = Addresses.find(Id);
  if (Taken == Addresses.end())
    return Result;
  for (const AddressTaken *A : Taken->second) {
    // As another type, or by code that is not analysed.
    if (A->Type.empty()) {
      Complete = false;
      continue;
    }
    bool Any = false;
    auto It = Indirect.find(A->Type);
    if (It != Indirect.end())
      for (const Caller &C : It->second) {
        // What is put into one member does not come out of another one, as
        // long as it stays there.
        if (!A->Field.empty() && !C.Site->Field.empty() &&
            A->Field != C.Site->Field && !Moved.contains(A->Field))
          continue;
        Any = true;
        Result.push_back(C);
      }
    Complete &= Any;
  }
  return Result;
}

const Exemption *Program::exemption(StringRef Check, StringRef File,
                                    StringRef Function) {
  for (size_t I = 0; I < Cfg.Exemptions.size(); ++I) {
    const Exemption &E = Cfg.Exemptions[I];
    if (E.Check != Check || E.File != File ||
        (!E.Function.empty() && E.Function != Function))
      continue;
    Used[I] = true;
    return &E;
  }
  return nullptr;
}

const Exemption *Program::exemption(StringRef Check, const FunctionFacts &F) {
  return exemption(Check, F.File, F.Name);
}

std::vector<Finding> Program::unusedExemptions() const {
  std::vector<Finding> Result;
  for (size_t I = 0; I < Cfg.Exemptions.size(); ++I) {
    const Exemption &E = Cfg.Exemptions[I];
    // A file that this configuration does not build says nothing.
    if (Used[I] || !Files.contains(E.File))
      continue;
    std::string Place = E.File;
    if (!E.Function.empty())
      Place += "::" + E.Function;
    Finding F;
    F.Check = "unused-exemption";
    F.Loc = {E.Origin, E.Line, 1};
    F.Message = "nothing in '" + Place + "' needs an exemption from " + E.Check +
                ": remove the line";
    F.Key = E.Check + " " + Place;
    Result.push_back(std::move(F));
  }
  return Result;
}

LinkResult link(ArrayRef<Facts> Units, const Config &Cfg,
                const LinkOptions &Options) {
  LinkResult Result;
  Program P(Units, Cfg);
  for (const Facts &Unit : Units) {
    for (const Finding &F : Unit.Findings)
      if (!P.exemption(F.Check, F.Loc.File, F.Function))
        Result.Findings.push_back(F);
    append_range(Result.ContextConstants, Unit.Contexts);
  }
  sort(Result.ContextConstants);
  Result.ContextConstants.erase(
      std::unique(Result.ContextConstants.begin(), Result.ContextConstants.end()),
      Result.ContextConstants.end());

  linkWrites(P, Options, Result);
  linkScope(P, Result);
  if (Options.WholeProgram)
    append_range(Result.Findings, P.unusedExemptions());
  sortAndDedupe(Result.Findings);
  sortAndDedupe(Result.WriteSites);
  return Result;
}

} // namespace kpkeys::lint
