// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_LIB_BASELINE_H
#define KPKEYS_LIB_BASELINE_H

#include "lib/Finding.h"

#include "llvm/ADT/StringSet.h"

namespace kpkeys {

/// Findings of an earlier run, which do not count against a change.
class Baseline {
public:
  /// Read the JSON report of an earlier run from the file @p Path.
  static llvm::Expected<Baseline> load(llvm::StringRef Path);
  /// The same from @p Text; @p Name is what errors call it.
  static llvm::Expected<Baseline> parse(llvm::StringRef Text, llvm::StringRef Name);

  /// Set Known on those of @p Findings that are in the baseline; how many that are.
  unsigned mark(std::vector<Finding> &Findings) const;

private:
  llvm::StringSet<> Fingerprints;
};

} // namespace kpkeys

#endif
