// SPDX-License-Identifier: GPL-2.0-only
/// \file
/// Facts of a unit that is parsed already, by analyseUnit() or by a program
/// that has reasons of its own to parse it.
#ifndef KPKEYS_LINT_ANALYSIS_COLLECT_H
#define KPKEYS_LINT_ANALYSIS_COLLECT_H

#include "Config.h"
#include "Facts.h"

#include "clang/Basic/SourceLocation.h"
#include "clang/Lex/PPCallbacks.h"

#include "llvm/ADT/StringMap.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace clang {
class ASTContext;
class Preprocessor;
class SourceManager;
} // namespace clang

namespace kpkeys::lint {

/// Lines that conditional inclusion left out, by file. To be given to the
/// preprocessor before it begins.
class SkippedRanges : public clang::PPCallbacks {
public:
  explicit SkippedRanges(const clang::SourceManager &SM) : SM(SM) {}

  void SourceRangeSkipped(clang::SourceRange Range,
                          clang::SourceLocation) override;

  const clang::SourceManager &SM;
  std::map<clang::FileID, std::vector<clang::SourceRange>> Ranges;
};

/// A unit at the end of its parse.
struct ParsedUnit {
  clang::ASTContext &Context;
  clang::Preprocessor &PP;
  /// Without it, facts do not say what was left out.
  const SkippedRanges *Skipped = nullptr;
  /// Where its command runs.
  std::string Directory;
  /// Locations below it are given relative to it.
  std::string SourceRoot;
};

/// The files of a unit, by their names in locations.
using FilesByName = llvm::StringMap<clang::FileID>;

/// Collect the facts of a unit.
///
/// \param Files receives all files that were read, if it is there.
/// \returns nothing if the unit has errors: facts of half a unit would look
///   like those of a clean one.
std::optional<Facts> collectFacts(const ParsedUnit &Parsed, const Config &Cfg,
                                  FilesByName *Files = nullptr);

} // namespace kpkeys::lint

#endif
