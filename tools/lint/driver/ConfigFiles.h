// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_LINT_DRIVER_CONFIGFILES_H
#define KPKEYS_LINT_DRIVER_CONFIGFILES_H

#include "lint/analysis/Config.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <string>

namespace kpkeys::lint {

/// The text of a file that somebody names; "-" is standard input. @p What it is called in errors.
llvm::Expected<std::string> readFile(llvm::StringRef Path, llvm::StringRef What);

/// The configuration of the file @p Path, or the default if that is empty, with the exemptions of the files @p Exemptions.
llvm::Expected<Config> readConfig(llvm::StringRef Path, llvm::ArrayRef<std::string> Exemptions);

} // namespace kpkeys::lint

#endif
