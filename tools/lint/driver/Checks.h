// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_LINT_DRIVER_CHECKS_H
#define KPKEYS_LINT_DRIVER_CHECKS_H

#include "lib/Finding.h"

#include "llvm/ADT/StringSet.h"

namespace kpkeys::lint {

/// The check that is made here, of the text of sources.
inline constexpr llvm::StringLiteral UnanalysedCheck = "unanalysed";

/// Every check that findings can have, those about suppressions included.
llvm::ArrayRef<CheckInfo> allChecks();

/// Whether @p Name is about the lists of suppressions and exemptions: these
/// cannot be switched off.
bool isListCheck(llvm::StringRef Name);

/// Whether the check @p Name can be wrong about a unit whose callers, and other sources, are not at hand.
bool needsProgram(llvm::StringRef Name);

/// The checks that --checks asks for.
class Selection {
public:
  /// A list such as "level0,guard-scope,-context-*"; later words win. "levelN"
  /// is all checks of level N and below, a first word with '-' begins with the
  /// default. An unknown word is an error.
  static llvm::Expected<Selection> parse(llvm::StringRef List);

  bool contains(llvm::StringRef Check) const { return isListCheck(Check) || Names.contains(Check); }

  /// Take out the checks that need the whole program; whether any is left.
  bool keepPerUnit();

private:
  llvm::StringSet<> Names;
};

} // namespace kpkeys::lint

#endif
