// SPDX-License-Identifier: GPL-2.0-only
#include "lint/driver/Checks.h"

#include "lib/Suppress.h"
#include "lint/analysis/Config.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/GlobPattern.h"

using namespace llvm;

namespace kpkeys::lint {

static constexpr StringLiteral UnusedExemption = "unused-exemption";
static constexpr StringLiteral Default = "level1";

bool isListCheck(StringRef Name) { return Name == SuppressionCheck || Name == UnusedExemption; }

static std::vector<CheckInfo> makeChecks() {
  std::vector<CheckInfo> All;
  for (const CheckInfo &C : checks())
    if (C.Name != UnanalysedCheck && !isListCheck(C.Name))
      All.push_back(C);
  All.push_back({UnanalysedCheck, "What looks like a page table write or a context switch was in no analysed code.",
                 Severity::Note, 2});
  All.push_back({SuppressionCheck, "A suppression has a reason, and there is something that it suppresses.",
                 Severity::Error, 0});
  All.push_back({UnusedExemption, "There is something that each exemption exempts.", Severity::Error, 0});
  return All;
}

ArrayRef<CheckInfo> allChecks() {
  static const std::vector<CheckInfo> All = makeChecks();
  return All;
}

bool needsProgram(StringRef Name) {
  // Without its callers, nearly every function in a header writes without a guard.
  return Name == "pgtable-guard" || Name == "guard-scope" || Name == UnanalysedCheck || Name == UnusedExemption;
}

bool Selection::keepPerUnit() {
  for (const CheckInfo &C : allChecks())
    if (needsProgram(C.Name))
      Names.erase(C.Name);
  return llvm::any_of(Names, [](const auto &Entry) { return !isListCheck(Entry.first()); });
}

static Expected<StringSet<>> matching(StringRef Word) {
  StringSet<> Found;
  unsigned Level;
  StringRef Number = Word;
  if (Number.consume_front("level") && !Number.getAsInteger(10, Level)) {
    for (const auto &C : allChecks())
      if (C.Noise <= Level)
        Found.insert(C.Name);
  } else if (Expected<GlobPattern> Glob = GlobPattern::create(Word)) {
    for (const auto &C : allChecks())
      if (Glob->match(C.Name))
        Found.insert(C.Name);
  } else {
    consumeError(Glob.takeError());
  }
  if (Found.empty())
    return createStringError(inconvertibleErrorCode(), "--checks: no check is called '" + Word + "'; --list-checks shows all");
  return Found;
}

Expected<Selection> Selection::parse(StringRef List) {
  SmallVector<StringRef, 8> Words;
  List.split(Words, ',', -1, /*KeepEmpty=*/false);
  if (Words.empty() || Words.front().trim().starts_with("-"))
    Words.insert(Words.begin(), Default);
  Selection S;
  for (StringRef Word : Words) {
    Word = Word.trim();
    bool Remove = Word.consume_front("-");
    Expected<StringSet<>> Found = matching(Word);
    if (!Found)
      return Found.takeError();
    for (const auto &Entry : *Found)
      if (Remove)
        S.Names.erase(Entry.first());
      else
        S.Names.insert(Entry.first());
  }
  return S;
}

} // namespace kpkeys::lint
