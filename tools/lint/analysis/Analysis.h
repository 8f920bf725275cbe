// SPDX-License-Identifier: GPL-2.0-only
/// \file
/// The per-unit step: a compile command to facts.
#ifndef KPKEYS_LINT_ANALYSIS_ANALYSIS_H
#define KPKEYS_LINT_ANALYSIS_ANALYSIS_H

#include "Config.h"
#include "Facts.h"

#include "llvm/Support/Error.h"

#include <map>
#include <string>
#include <vector>

namespace kpkeys::lint {

/// One command of a compilation database. Arguments begin with the compiler.
struct UnitCommand {
  std::string Directory;
  std::string File;
  std::vector<std::string> Arguments;
  /// Locations below it are given relative to it.
  std::string SourceRoot;
};

/// Parse one unit and collect its facts.
///
/// \param Diagnostics receives what clang says, errors included.
/// \param InMemory files that are there besides, by path, with their text.
/// \returns an error, with the first of clang's messages, if the unit does not
///   parse: facts of half a unit would look like a clean one.
llvm::Expected<Facts>
analyseUnit(const UnitCommand &Command, const Config &Config,
            std::string &Diagnostics,
            const std::map<std::string, std::string> &InMemory = {});

} // namespace kpkeys::lint

#endif
