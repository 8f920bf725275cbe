// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_LIB_FINDING_H
#define KPKEYS_LIB_FINDING_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <compare>
#include <string>
#include <vector>

namespace kpkeys {

/// A place in a source file. An empty file means there is none, which happens
/// to binaries without debug information.
struct Location {
  std::string File; ///< Relative to the source tree where it is inside.
  unsigned Line = 0, Column = 0; ///< From 1; 0 is unknown.

  bool operator==(const Location &) const = default;
  auto operator<=>(const Location &) const = default;
};

/// What explains a finding: a cause, or a step on the path to it.
struct Note {
  Location Loc;
  std::string Message;

  bool operator==(const Note &) const = default;
  auto operator<=>(const Note &) const = default;
};

/// One thing found.
struct Finding {
  std::string Check;
  Location Loc;
  std::string Message; ///< Lower case, names the thing, no full stop.
  std::vector<Note> Notes;
  std::string Function; ///< The enclosing function, if any.
  /// What makes it the same finding when lines move, such as shape and text of
  /// the expression. Goes into the fingerprint; the message does if it is empty.
  std::string Key;
  /// What this finding is called in baselines and by code review sites;
  /// sortAndDedupe() gives it.
  std::string Fingerprint;
  bool Known = false; ///< In the baseline.
};

/// How bad a finding is.
enum class Severity { Note, Warning, Error };

/// "note", "warning" or "error".
llvm::StringRef severityName(Severity S);

/// What a tool has to say about one of its checks.
struct CheckInfo {
  llvm::StringRef Name;
  llvm::StringRef Summary; ///< One sentence.
  Severity Level = Severity::Warning;
  /// A promise about false reports: 0 has practically none and is what CI
  /// runs, 1 has few, 2 asks for a reviewer's eye.
  unsigned Noise = 0;
};

/// The entry of @p Checks with the name @p Name, or null.
const CheckInfo *findCheck(llvm::ArrayRef<CheckInfo> Checks, llvm::StringRef Name);

/// Sort by place, then by check; merge findings that are the same, as those in
/// a header are that many units include; give each its fingerprint. Of two that
/// differ in their notes only, the one with more notes stays: it explains more.
///
/// The fingerprint is 16 hexadecimal digits of check, file, function, key and,
/// where these are not unique, the ordinal in source order: no line numbers. So
/// this must see all findings, before any is filtered out.
void sortAndDedupe(std::vector<Finding> &Findings);

} // namespace kpkeys

#endif
