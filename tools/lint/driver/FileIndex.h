// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_LINT_DRIVER_FILEINDEX_H
#define KPKEYS_LINT_DRIVER_FILEINDEX_H

#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <string>

namespace kpkeys::lint {

/// What files hold, by hash. A file is read again only if its size, inode or a
/// time stamp differs from the record of an earlier run.
class FileIndex {
public:
  struct State {
    std::string Hash;       ///< 32 hexadecimal digits; empty if it cannot be read.
    bool HasMarker = false;    ///< It may hold a suppression comment.
    bool HasCandidate = false; ///< It may hold what the text scan looks for.
    uint64_t Size = 0, Inode = 0;
    int64_t Modified = 0, Changed = 0; ///< Nanoseconds.
  };

  /// Read the records of @p Path; without it, or if it is damaged, there are none.
  explicit FileIndex(std::string Path = "");

  /// The state of the file @p Path now. Looked at once in a run.
  const State &get(llvm::StringRef Path);

  /// Write the records if there are new ones.
  llvm::Error save();

private:
  void load();

  std::string RecordPath;
  llvm::StringMap<State> Records, Current;
  int64_t Started;
  bool Dirty = false;
};

/// 32 hexadecimal digits that stand for @p Data.
std::string hashOf(llvm::StringRef Data);

/// Nanoseconds since the epoch.
int64_t now();

/// Write @p Text as the file @p Path in one step: readers see the old one or all of the new one.
llvm::Error writeAtomically(llvm::StringRef Path, llvm::StringRef Text);

} // namespace kpkeys::lint

#endif
