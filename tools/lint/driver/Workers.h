// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_LINT_DRIVER_WORKERS_H
#define KPKEYS_LINT_DRIVER_WORKERS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <string>
#include <vector>

namespace kpkeys::lint {

/// What a worker makes of one unit.
struct WorkResult {
  bool Success = false;
  std::string Text;        ///< The facts, or what went wrong.
  std::string Diagnostics; ///< What clang says.
  std::vector<std::string> Dependencies;
  int64_t Began = 0; ///< When the analysis began; see now().
};

/// Do @p Work for each of @p Items in @p Jobs processes, and hand what comes of
/// it to @p Done in this one, in the order in which they end. A worker that
/// crashes costs its item only: that fails, and another worker goes on.
///
/// Must be called before this process has threads, and is best called while it
/// is small: each worker begins as a copy of it.
llvm::Error runWorkers(llvm::ArrayRef<size_t> Items, unsigned Jobs, llvm::function_ref<WorkResult(size_t)> Work,
                       llvm::function_ref<void(size_t, WorkResult)> Done);

} // namespace kpkeys::lint

#endif
