// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_LIB_PROGRESS_H
#define KPKEYS_LIB_PROGRESS_H

#include "llvm/ADT/StringRef.h"

#include <chrono>

namespace kpkeys {

/// One line on standard error that counts, if that is a terminal; else nothing.
/// It is gone when the object is.
class Progress {
public:
  Progress(llvm::StringRef What, unsigned Total);
  ~Progress();
  Progress(const Progress &) = delete;
  Progress &operator=(const Progress &) = delete;

  /// @p Done of the total are done; @p Current is what is in work.
  void update(unsigned Done, llvm::StringRef Current);
  /// Take the line off the screen: something else is about to be printed.
  void clear();

private:
  std::string What;
  unsigned Total;
  bool Shown, Drawn = false;
  std::chrono::steady_clock::time_point Last;
};

} // namespace kpkeys

#endif
