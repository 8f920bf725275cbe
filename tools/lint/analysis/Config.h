// SPDX-License-Identifier: GPL-2.0-only
/// \file
/// Names that the analysis depends on. The defaults are those of the series; a
/// later posting that renames something needs a configuration, not a new tool.
#ifndef KPKEYS_LINT_ANALYSIS_CONFIG_H
#define KPKEYS_LINT_ANALYSIS_CONFIG_H

#include "lib/Finding.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/JSON.h"

#include <cstdint>
#include <string>
#include <vector>

namespace kpkeys::lint {

/// All checks of the analysis, in the order of their documentation.
llvm::ArrayRef<CheckInfo> checks();

/// A function that takes contexts: which of its parameters, from 0.
struct ContextFunction {
  std::string Name;
  std::vector<unsigned> Parameters;
};

/// A context that one function enters and another one leaves.
struct SplitPair {
  std::string Enter, Leave;
  /// Switches from its first to its second argument if the first is in effect.
  std::string Switch;
  /// A member that \c Enter sets if it has entered the context, for \c Leave to
  /// look at; empty if there is none.
  std::string Noted;
  /// Contexts inside and outside of the section.
  std::string Inside, Outside;
  /// What callers use to begin and to end a section, for the scope report.
  std::vector<std::string> SectionBegin, SectionEnd;
};

/// A place where a check does not apply, and why.
struct Exemption {
  std::string Check;
  /// Relative to the source tree.
  std::string File;
  /// Empty for the whole file.
  std::string Function;
  std::string Reason;
  /// Where the exemption itself stands, for messages about it.
  std::string Origin;
  unsigned Line = 0;
};

struct Config {
  /// Types of page table entries; a pointer to one is a pointer into a table.
  std::vector<std::string> EntryTypes;
  /// Integer types of the value of an entry; pointers to them count as well.
  std::vector<std::string> ValueTypes;

  /// Functions whose arguments are contexts.
  std::vector<ContextFunction> ContextFunctions;
  /// Those of them that return what is to be restored.
  std::vector<std::string> SetFunctions;
  std::vector<std::string> RestoreFunctions;
  /// Functions (VALUE, CONTEXT) that tell whether a context is in effect where
  /// the register has a value.
  std::vector<std::string> TestFunctions;
  /// Macro that means "nothing to restore", and its value.
  std::string Sentinel;
  uint64_t SentinelValue;
  /// Macros for the context of page tables and for the highest context. The
  /// values are used if a unit does not define them.
  std::string TableContext, MaxContext;
  int64_t TableContextValue, MaxContextValue;
  std::vector<SplitPair> Splits;

  /// Guards, as in guard(NAME), under which page tables can be written to.
  std::vector<std::string> Guards;
  /// A guard or a switch that depends on nothing but these is unconditional.
  std::vector<std::string> EnabledFunctions;

  /// The pkey register as assembly names it, and op0, op1, CRn, CRm, op2.
  std::vector<std::string> RegisterNames;
  std::vector<unsigned> RegisterEncoding;

  /// Functions that take an untyped pointer to a table and do not write to it,
  /// although their code cannot show it.
  std::vector<std::string> Harmless;

  /// guard-scope: functions, `*` at the end for any ending.
  std::vector<std::string> Sleeping, Allocating, Locking;
  /// Not followed: what they lead to runs only when the kernel is broken.
  std::vector<std::string> ScopeStops;
  /// Most lines of code that may be reached from one guard.
  unsigned ScopeLines;

  std::vector<Exemption> Exemptions;

  /// The names of the series.
  Config();

  /// Everything that changes facts or findings, for cache keys.
  llvm::json::Value toJSON() const;
};

/// Read a configuration: a JSON object whose members replace the defaults. An
/// unknown member is an error.
llvm::Expected<Config> loadConfig(llvm::StringRef JSON);

/// Read an exemption list: `CHECK FILE[::FUNCTION] REASON` a line, `#` begins a
/// comment line. \p Origin is its name in messages.
llvm::Expected<std::vector<Exemption>> parseExemptions(llvm::StringRef Text,
                                                       llvm::StringRef Origin);

/// Whether \p Name is one of \p Patterns.
bool matchesAny(llvm::StringRef Name, llvm::ArrayRef<std::string> Patterns);

} // namespace kpkeys::lint

#endif
