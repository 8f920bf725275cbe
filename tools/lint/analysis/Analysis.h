// SPDX-License-Identifier: GPL-2.0-only
/// \file
/// The per-unit step: a compile command to facts.
#ifndef KPKEYS_LINT_ANALYSIS_ANALYSIS_H
#define KPKEYS_LINT_ANALYSIS_ANALYSIS_H

#include "Config.h"
#include "Facts.h"

#include "llvm/ADT/IntrusiveRefCntPtr.h"
#include "llvm/Support/Error.h"

#include <string>
#include <vector>

namespace llvm::vfs {
class FileSystem;
}

namespace clang {
class ASTContext;
class Preprocessor;
} // namespace clang

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
/// \param Files where sources are read from, the real file system by default.
/// \returns an error, with the first of clang's messages, if the unit does not
///   parse: facts of half a unit would look like a clean one.
llvm::Expected<Facts>
analyseUnit(const UnitCommand &Command, const Config &Config,
            std::string &Diagnostics,
            llvm::IntrusiveRefCntPtr<llvm::vfs::FileSystem> Files = nullptr);

} // namespace kpkeys::lint

#endif
