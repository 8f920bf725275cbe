// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_LIB_SUPPRESS_H
#define KPKEYS_LIB_SUPPRESS_H

#include "lib/Finding.h"

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/GlobPattern.h"

#include <memory>

namespace kpkeys {

/// The check under which suppressions that are unused, or lack a reason, are reported.
inline constexpr llvm::StringLiteral SuppressionCheck = "suppression";

/// What keeps a reviewed finding from being reported, always with the reason.
///
/// A line of a suppression file is "CHECK FILE[::FUNCTION] REASON", where the
/// names are glob patterns; '#' begins a comment line. In a source, the
/// comment "kpkeys-lint: allow(CHECK[, CHECK]) REASON" speaks for its own line,
/// or for the line after it if it stands alone.
class Suppressions {
public:
  /// Add what the file @p Path holds.
  llvm::Error load(llvm::StringRef Path);
  /// The same from @p Text; @p Name is what errors and findings call it.
  llvm::Error parse(llvm::StringRef Text, llvm::StringRef Name);
  /// Add what the source @p Text allows; @p File as it is in findings.
  void scanSource(llvm::StringRef Text, llvm::StringRef File);

  /// Take out of @p Findings what is suppressed; how many that are.
  unsigned apply(std::vector<Finding> &Findings);

  /// Comments that lack a reason or do not parse.
  std::vector<Finding> malformed() const { return Malformed; }
  /// Suppressions that no finding needed. Only those of checks that ran, which
  /// @p Ran tells, and in files that were analysed, which @p Analysed tells, can be judged.
  std::vector<Finding> unused(llvm::function_ref<bool(llvm::StringRef Check)> Ran,
                              llvm::function_ref<bool(llvm::StringRef File)> Analysed) const;

private:
  struct Rule {
    llvm::GlobPattern Check, File, Function;
    std::string CheckText, FileText, Place;
    Location Loc;
    bool Used = false;
  };
  struct Comment {
    std::string Check;
    Location Loc;       ///< Where it stands.
    unsigned Line = 0;  ///< What it speaks for.
    bool Used = false;
  };

  llvm::Error parseLine(llvm::StringRef Line, Location Loc);
  void addComment(llvm::StringRef Body, Location Loc, unsigned Line);
  bool suppressed(const Finding &F);

  std::vector<Rule> Rules;
  llvm::StringMap<std::vector<Comment>> Comments; // by file
  std::vector<Finding> Malformed;
  // Glob patterns point into their text, which must not move.
  std::vector<std::unique_ptr<std::string>> Texts;
};

} // namespace kpkeys

#endif
