// SPDX-License-Identifier: GPL-2.0-only
/// \file
/// What the analysis of one unit leaves for the link step. No Clang header is
/// needed here: facts are read and written by programs that never parse C.
#ifndef KPKEYS_LINT_ANALYSIS_FACTS_H
#define KPKEYS_LINT_ANALYSIS_FACTS_H

#include "lib/Finding.h"

#include "llvm/Support/Error.h"
#include "llvm/Support/JSON.h"

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace kpkeys::lint {

/// Where a pointer comes from: parameters of the function by index, or these.
/// More than one where paths differ.
enum Root : int {
  /// A table, or memory that may be one.
  RootMemory = -1,
  /// A copy of an entry: a variable, or a member of another structure.
  RootCopy = -2,
};
using Roots = std::vector<int>;

/// A write to memory by the function itself.
struct WriteSite {
  Location Loc;
  /// store, write-once, atomic, asm, builtin.
  std::string Shape;
  /// The expression written to, as the source has it.
  std::string Text;
  Roots From;
  /// Known to be an entry by its type, or by where the pointer comes from.
  /// Otherwise the write matters only if a caller passes a table.
  bool Typed = false;
  /// A guard is live on every path that leads here.
  bool Guarded = false;
  /// Another context may be in effect: the guards of callers do not help.
  bool Other = false;
  std::vector<Note> Notes;

  bool operator==(const WriteSite &) const = default;
};

/// A pointer that a call hands on.
struct Argument {
  unsigned Index = 0;
  Roots From;
  /// Of an entry type, or made from one.
  bool Typed = false;
  /// The parameter has the type of a pointer to an entry: the callee's own
  /// writes show it as such.
  bool TypedParameter = false;
  std::string Text;

  bool operator==(const Argument &) const = default;
};

/// A call of which more is known than that it happens.
struct CallSite {
  /// Id of the function; empty for an indirect call.
  std::string Callee;
  /// Indirect calls: the member that is called through, if any, and the type.
  std::string Field, Type;
  Location Loc;
  bool Guarded = false;
  /// As in WriteSite.
  bool Other = false;
  /// Some guard or context may be open here.
  bool InScope = false;
  /// Within a section that a SplitPair opens, as far as this function shows.
  bool InSection = false;
  std::vector<Argument> Arguments;
  std::vector<Note> Notes;

  bool operator==(const CallSite &) const = default;
};

struct FunctionFacts {
  /// Name, with the file after an `@` for functions with internal linkage.
  std::string Id;
  std::string Name;
  std::string File;
  unsigned Line = 0, EndLine = 0;
  bool Internal = false;
  bool HasIndirectCall = false;
  /// Parameters whose type says that they are pointers to entries.
  std::vector<unsigned> TypedParameters;
  std::vector<WriteSite> Sites;
  std::vector<CallSite> Calls;
  /// Ids of what else is called.
  std::vector<std::string> Callees;
  /// First and last lines that the preprocessor left out.
  std::vector<std::pair<unsigned, unsigned>> Skipped;

  bool operator==(const FunctionFacts &) const = default;
};

/// The address of a function is used other than for a call.
struct AddressTaken {
  std::string Function;
  /// The member it is put into; empty for anything else.
  std::string Field;
  /// Type of the function; empty if it may be called as any other, or in a way
  /// that no unit shows.
  std::string Type;

  auto operator<=>(const AddressTaken &) const = default;
};

/// A context that is handed to a function as a constant.
struct ContextUse {
  Location Loc;
  std::string Function;
  std::string Callee;
  std::string Text;
  int64_t Value = 0;

  auto operator<=>(const ContextUse &) const = default;
};

/// Everything that linking needs to know of one unit.
struct Facts {
  /// The source file, relative to the source tree.
  std::string Unit;
  std::vector<FunctionFacts> Functions;
  std::vector<AddressTaken> AddressesTaken;
  /// Members whose value, a function, is put elsewhere.
  std::vector<std::string> Moved;
  /// Other names of functions, and their ids.
  std::vector<std::pair<std::string, std::string>> Aliases;
  std::vector<ContextUse> Contexts;
  /// What the unit by itself shows to be wrong.
  std::vector<Finding> Findings;
  /// All files that were read, absolute.
  std::vector<std::string> Dependencies;

  llvm::json::Value toJSON() const;
  static llvm::Expected<Facts> fromJSON(const llvm::json::Value &);
};

} // namespace kpkeys::lint

#endif
