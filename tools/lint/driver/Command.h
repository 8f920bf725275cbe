// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_LINT_DRIVER_COMMAND_H
#define KPKEYS_LINT_DRIVER_COMMAND_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <optional>
#include <string>
#include <vector>

namespace kpkeys::lint {

/// The compile command @p Arguments as Clang's parser takes it, whether Clang or
/// GCC was to run it: nothing is written, nothing is warned of, what only GCC
/// knows is left out. @p ResourceDir holds Clang's own headers; empty is its default.
std::vector<std::string> adjustArguments(llvm::ArrayRef<std::string> Arguments, llvm::StringRef ResourceDir);

/// Whether @p Arguments compile for the kernel, not for the machine that builds it.
bool isKernelCommand(llvm::ArrayRef<std::string> Arguments);

/// The kernel's name of the architecture, from the include path (".../arch/arm64/include").
std::optional<std::string> kernelArchitecture(llvm::ArrayRef<std::string> Arguments);

/// The root of the source tree, likewise; relative as in the command.
std::optional<std::string> sourceRoot(llvm::ArrayRef<std::string> Arguments);

/// Whether the code is of 64-bit Arm: the compat vDSO is built beside it for 32 bits.
bool isAArch64(llvm::ArrayRef<std::string> Arguments);

} // namespace kpkeys::lint

#endif
