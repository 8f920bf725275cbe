// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_LINT_DRIVER_DATABASE_H
#define KPKEYS_LINT_DRIVER_DATABASE_H

#include "lint/analysis/Analysis.h"

#include "llvm/Support/Error.h"

#include <string>
#include <vector>

namespace kpkeys::lint {

/// The kernel's units of a compilation database, ready for the analysis.
struct Database {
  std::string Path;       ///< Of compile_commands.json.
  std::string SourceRoot; ///< Absolute.
  std::vector<UnitCommand> Units;
  unsigned HostUnits = 0;  ///< Left out: they run on the machine that builds.
  unsigned OtherUnits = 0; ///< Left out: assembly, other languages, 32-bit code.

  /// What people call @p Unit: its file, relative to the source tree.
  std::string nameOf(const UnitCommand &Unit) const;
  /// Indices of the units whose file is @p Name: as in the database, relative
  /// to the source tree, or absolute.
  std::vector<size_t> find(llvm::StringRef Name) const;
};

/// Load @p BuildDir/compile_commands.json, or that file itself. Whatever would
/// make a run without anything to analyse is an error with its remedy.
llvm::Expected<Database> loadDatabase(llvm::StringRef BuildDir);

/// The same from the text of a database; @p Path is what errors call it.
llvm::Expected<Database> parseDatabase(llvm::StringRef Text, llvm::StringRef Path);

/// Where Clang's own headers are.
llvm::StringRef resourceDirectory();

} // namespace kpkeys::lint

#endif
