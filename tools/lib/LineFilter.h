// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_LIB_LINEFILTER_H
#define KPKEYS_LIB_LINEFILTER_H

#include "lib/Finding.h"

namespace kpkeys {

/// Which lines a change touches, in clang-tidy's form, so that clang-tidy-diff's
/// like can make it: [{"name": "mm/mmu.c", "lines": [[10, 20]]}]. Without
/// "lines" all of the file is meant.
class LineFilter {
public:
  /// An empty filter lets everything pass.
  LineFilter() = default;
  static llvm::Expected<LineFilter> parse(llvm::StringRef Text);

  /// Whether @p F, or a note of it, is on a line of the filter. A change to a
  /// caller can break what is reported in its callee, so notes count.
  bool passes(const Finding &F) const;

private:
  struct Entry {
    std::string Name;
    std::vector<std::pair<unsigned, unsigned>> Lines;
  };

  bool holds(const Location &Loc) const;

  std::vector<Entry> Entries;
  bool Active = false;
};

} // namespace kpkeys

#endif
