// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_LINT_DRIVER_NINJAFILE_H
#define KPKEYS_LINT_DRIVER_NINJAFILE_H

#include "lint/driver/Database.h"

#include <string>
#include <vector>

namespace kpkeys::lint {

/// What the commands of a Ninja file have in common.
struct NinjaOptions {
  std::string Program;                     ///< kpkeys-lint, absolute.
  std::string OutputDirectory;             ///< Where facts go; relative to where Ninja runs, or absolute.
  std::vector<std::string> FactsArguments; ///< Passed on to each "facts" command.
  std::vector<std::string> LinkArguments;  ///< Passed on to the "link" command.
};

/// A Ninja file that makes the facts of each unit of @p DB in a command of its
/// own, and then links them: Ninja knows what has changed, and spreads the
/// commands over whatever executor it is set up with.
std::string ninjaFile(const Database &DB, const NinjaOptions &Options);

} // namespace kpkeys::lint

#endif
