// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_LIB_LINES_H
#define KPKEYS_LIB_LINES_H

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace kpkeys {

/// Read a list: call @p Use with each line of @p Text, trimmed, and its number. Blank lines and
/// lines that begin with '#' are left out. The first error ends it; "NAME:LINE: " is put before it.
llvm::Error forEachLine(llvm::StringRef Text, llvm::StringRef Name,
                        llvm::function_ref<llvm::Error(llvm::StringRef Line, unsigned Number)> Use);

/// An error of one of these lines.
llvm::Error badLine(const llvm::Twine &Why);

} // namespace kpkeys

#endif
