// SPDX-License-Identifier: GPL-2.0-only
/// \file
/// What `kpkeys-lint --per-unit` says of a unit that another program has
/// parsed. Nothing here knows clang-tidy.
#ifndef KPKEYS_LINT_TIDY_UNITVERDICT_H
#define KPKEYS_LINT_TIDY_UNITVERDICT_H

#include "lint/analysis/Collect.h"

#include <compare>
#include <string>
#include <vector>

namespace kpkeys::lint {

/// Names of files; several are separated by ';'. What is not absolute is in the
/// source tree.
struct UnitOptions {
  std::string Config, Exemptions, Suppressions;

  auto operator<=>(const UnitOptions &) const = default;
};

struct UnitVerdict {
  /// Of checks that need no other unit, sorted, each once.
  std::vector<Finding> Findings;
  /// Where their locations are.
  FilesByName Files;
  /// Why there is no verdict; empty if there is one.
  std::string Problem;
};

UnitVerdict judgeUnit(clang::ASTContext &Context, clang::Preprocessor &PP,
                      const UnitOptions &Options);

} // namespace kpkeys::lint

#endif
