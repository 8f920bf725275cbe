// SPDX-License-Identifier: GPL-2.0-only

#include "audit/Places.h"

#include "lib/Lines.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"

using namespace llvm;

namespace kpkeys::audit {

ArrayRef<std::pair<StringRef, Rule>> ruleNames() {
  static const std::pair<StringRef, Rule> Names[] = {
      {"memory", Rule::Memory}, {"argument", Rule::Argument}, {"register", Rule::Register},
      {"computed", Rule::Computed}, {"return", Rule::Return}, {"call", Rule::Call},
      {"instrument", Rule::Instrument}, {"batch", Rule::Batch}, {"no-isb", Rule::NoIsb},
      {"jump", Rule::Jump}, {"noreturn", Rule::NoReturn}};
  return Names;
}

Expected<Places> Places::parse(StringRef Text, StringRef Name) {
  Places P;
  Error E = forEachLine(Text, Name, [&](StringRef Rest, unsigned Number) -> Error {
    auto word = [&] {
      size_t End = Rest.find_first_of(" \t");
      StringRef Word = Rest.substr(0, End);
      Rest = Rest.substr(Word.size()).ltrim();
      return Word;
    };
    StringRef RuleName = word();
    StringRef Pattern = word();
    const auto *Found = llvm::find_if(ruleNames(), [&](const auto &R) { return R.first == RuleName; });
    if (Found == ruleNames().end())
      return badLine("there is no rule '" + RuleName + "': use one of " +
                     join(map_range(ruleNames(), [](const auto &R) { return R.first.str(); }), ", "));
    if (Pattern.empty() || Rest.empty())
      return badLine("give the rule, a function and the reason: " + RuleName + " FUNCTION REASON");
    P.Lines.push_back(std::make_unique<Line>(Line{Found->second, Pattern.str(), Rest.str(), Name.str(), Number, false}));
    Expected<GlobPattern> Glob = GlobPattern::create(P.Lines.back()->Pattern);
    if (!Glob)
      return badLine("'" + Pattern + "' is not a pattern: " + toString(Glob.takeError()));
    P.Globs.push_back(std::move(*Glob));
    return Error::success();
  });
  if (E)
    return std::move(E);
  return P;
}

void Places::append(Places Other) {
  std::move(Other.Lines.begin(), Other.Lines.end(), std::back_inserter(Lines));
  std::move(Other.Globs.begin(), Other.Globs.end(), std::back_inserter(Globs));
}

bool Places::allows(Rule R, ArrayRef<StringRef> Names) const {
  bool Allowed = false;
  for (const auto &[Line, Glob] : zip(Lines, Globs)) {
    if (Line->R != R || !llvm::any_of(Names, [&](StringRef Name) { return Glob.match(Name); }))
      continue;
    Line->Used = true;
    Allowed = true;
  }
  return Allowed;
}

bool Places::allows(Rule R, const Function &F) const {
  std::string Qualified = F.qualifiedName();
  SmallVector<StringRef, 4> Names{F.Name, Qualified};
  llvm::append_range(Names, F.Aliases);
  return allows(R, Names);
}

bool Places::allowsCall(const Function &Caller, StringRef Callee) const {
  std::string Plain = Caller.Name + "->" + Callee.str(), Qualified = Caller.qualifiedName() + "->" + Callee.str();
  std::string Whole = Caller.qualifiedName();
  return allows(Rule::Call, {Caller.Name, Whole, Plain, Qualified});
}

bool Places::allows(Rule R, StringRef Name) const { return allows(R, ArrayRef<StringRef>(Name)); }

std::vector<const Places::Line *> Places::unused() const {
  std::vector<const Line *> Found;
  for (const auto &L : Lines)
    if (!L->Used)
      Found.push_back(L.get());
  return Found;
}

} // namespace kpkeys::audit
