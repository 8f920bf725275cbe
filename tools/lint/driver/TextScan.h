// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_LINT_DRIVER_TEXTSCAN_H
#define KPKEYS_LINT_DRIVER_TEXTSCAN_H

#include "lib/Finding.h"

#include "llvm/ADT/StringSet.h"

#include <climits>

namespace kpkeys::lint {

class FileIndex;
struct Facts;

/// A line of a source that looks like a page table write or a context switch.
struct Candidate {
  unsigned Line = 0, Column = 0;
  llvm::StringRef Text; ///< The line, trimmed; into the text that was scanned.
  bool Directive = false; ///< Of the preprocessor: what it defines is analysed where it is used.
};

/// The candidates in @p Text, at most @p Most. By the look of each line alone:
/// what is meant are the shapes that page table writes have in the kernel.
std::vector<Candidate> candidateLines(llvm::StringRef Text, unsigned Most = UINT_MAX);

/// The candidates in the source tree @p Root that no function of @p Units holds.
/// @p Read are the files, relative to the tree, that the units were made from.
/// Other architectures, user space and documentation are left out.
std::vector<Finding> scanUnanalysed(llvm::StringRef Root, llvm::ArrayRef<Facts> Units, const llvm::StringSet<> &Read,
                                    FileIndex &Files);

} // namespace kpkeys::lint

#endif
