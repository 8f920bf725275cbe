// SPDX-License-Identifier: GPL-2.0-only
/// \file
/// The whole-program step: facts of units to findings.
#ifndef KPKEYS_LINT_ANALYSIS_LINK_H
#define KPKEYS_LINT_ANALYSIS_LINK_H

#include "Config.h"
#include "Facts.h"

#include "llvm/ADT/ArrayRef.h"

#include <string>
#include <vector>

namespace kpkeys::lint {

/// A function that can run while page tables are writable.
struct ScopeFunction {
  std::string Function;
  Location Loc;
  unsigned Lines = 0;
  /// Calls between the guard and the function.
  unsigned Depth = 0;
  /// How it is reached: the function with the guard first.
  std::vector<std::string> Path;
  /// Only within a section that two functions delimit, not under a guard.
  bool SectionOnly = false;
};

struct ScopeReport {
  std::vector<ScopeFunction> Functions;
  /// Called, but in no unit that was analysed.
  std::vector<std::string> Unknown;
  unsigned Lines = 0;
};

struct LinkResult {
  /// Sorted, each once. Exempted ones are left out; an exemption that exempts
  /// nothing is a finding itself (`unused-exemption`).
  std::vector<Finding> Findings;
  /// For `--list context-constant`, sorted, each once.
  std::vector<ContextUse> ContextConstants;
  /// For `--report scope`.
  ScopeReport Scope;
  /// Page table writes that were found, guarded or not, for `--list
  /// pgtable-guard`: sites with Message telling why each is right or wrong.
  std::vector<Finding> WriteSites;
};

struct LinkOptions {
  /// The facts are those of the whole program: a function without callers is
  /// not called, and an exemption that exempts nothing is unused.
  bool WholeProgram = true;
};

/// Link the facts of all units.
LinkResult link(llvm::ArrayRef<Facts> Units, const Config &Config,
                const LinkOptions &Options = {});

} // namespace kpkeys::lint

#endif
