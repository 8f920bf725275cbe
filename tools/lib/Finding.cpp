// SPDX-License-Identifier: GPL-2.0-only
#include "lib/Finding.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/SHA256.h"

#include <tuple>

using namespace llvm;

namespace kpkeys {

StringRef severityName(Severity S) {
  switch (S) {
  case Severity::Note:
    return "note";
  case Severity::Warning:
    return "warning";
  case Severity::Error:
    return "error";
  }
  return "warning";
}

const CheckInfo *findCheck(ArrayRef<CheckInfo> Checks, StringRef Name) {
  const auto *It = find_if(Checks, [&](const CheckInfo &C) { return C.Name == Name; });
  return It == Checks.end() ? nullptr : It;
}

/// What two reports of one finding have in common.
static auto identity(const Finding &F) {
  return std::tie(F.Loc.File, F.Loc.Line, F.Loc.Column, F.Check, F.Message, F.Key);
}

/// Fields with their lengths: "ab" + "c" must not hash as "a" + "bc" does.
static std::string hashFields(ArrayRef<StringRef> Fields) {
  SHA256 Hash;
  for (StringRef Field : Fields) {
    Hash.update((Twine(Field.size()) + ":").str());
    Hash.update(Field);
  }
  return toHex(ArrayRef(Hash.final()).take_front(8), /*LowerCase=*/true);
}

static void giveFingerprints(MutableArrayRef<Finding> Findings) {
  StringMap<unsigned> Seen;
  for (Finding &F : Findings) {
    StringRef Key = F.Key.empty() ? F.Message : F.Key;
    std::string Base = hashFields({F.Check, F.Loc.File, F.Function, Key});
    unsigned Ordinal = Seen[Base]++;
    F.Fingerprint = Ordinal ? hashFields({Base, utostr(Ordinal)}) : Base;
  }
}

void sortAndDedupe(std::vector<Finding> &Findings) {
  // The longer explanation first, and a total order, so that the result does
  // not depend on the order in which workers finish.
  llvm::sort(Findings, [](const Finding &A, const Finding &B) {
    if (identity(A) != identity(B))
      return identity(A) < identity(B);
    if (A.Notes.size() != B.Notes.size())
      return A.Notes.size() > B.Notes.size();
    return std::tie(A.Notes, A.Function) < std::tie(B.Notes, B.Function);
  });
  auto Same = [](const Finding &A, const Finding &B) { return identity(A) == identity(B); };
  Findings.erase(std::unique(Findings.begin(), Findings.end(), Same), Findings.end());
  giveFingerprints(Findings);
}

} // namespace kpkeys
