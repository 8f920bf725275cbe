// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_AUDIT_PLACES_H
#define KPKEYS_AUDIT_PLACES_H

#include "audit/Image.h"

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/GlobPattern.h"

#include <memory>
#include <string>
#include <vector>

namespace kpkeys::audit {

/// What a named place may do, and others may not.
enum class Rule : uint8_t {
  Memory,   ///< Write a value that comes from memory.
  Argument, ///< Write a value that comes from the caller.
  Register, ///< Write what another system register holds.
  Computed, ///< Write a value whose origin is not known.
  Return,   ///< Return with a permissive value.
  Call,     ///< Call anything, or CALLER->CALLEE, with a permissive value.
  Instrument, ///< Be called wherever a sanitizer wants it.
  Batch,    ///< Return and call with the permissive value of a batch that it, or what it calls, ends.
  NoIsb,    ///< Leave the ISB to something else.
  Jump,     ///< Jump to a computed address.
  NoReturn, ///< Not come back.
};

/// The names of the rules, as they stand in the file.
llvm::ArrayRef<std::pair<llvm::StringRef, Rule>> ruleNames();

/// The list of named places: lines "RULE PATTERN REASON". A pattern is the name
/// of a function, or FILE:FUNCTION for a static one, with * and ?; for 'call' it
/// may be two of them, CALLER->CALLEE.
class Places {
public:
  /// Parse @p Text; @p Name is what errors call it.
  static llvm::Expected<Places> parse(llvm::StringRef Text, llvm::StringRef Name);

  /// Add those of @p Other.
  void append(Places Other);

  /// Whether @p F may do what @p R is about. The lines that say so count as used.
  bool allows(Rule R, const Function &F) const;
  /// The same for a function that is known by its name only.
  bool allows(Rule R, llvm::StringRef Name) const;
  /// Whether @p Caller may call @p Callee with a permissive value.
  bool allowsCall(const Function &Caller, llvm::StringRef Callee) const;

  struct Line {
    Rule R;
    std::string Pattern, Reason, File;
    unsigned Number;
    mutable bool Used;
  };
  /// Lines that no call of allows() has needed.
  std::vector<const Line *> unused() const;
  size_t size() const { return Lines.size(); }

private:
  bool allows(Rule R, llvm::ArrayRef<llvm::StringRef> Names) const;

  std::vector<std::unique_ptr<Line>> Lines; ///< Their patterns must not move: Globs refer to them.
  std::vector<llvm::GlobPattern> Globs;      ///< In the order of the lines.
};

} // namespace kpkeys::audit

#endif
