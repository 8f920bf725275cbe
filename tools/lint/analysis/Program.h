// SPDX-License-Identifier: GPL-2.0-only
/// \file
/// The facts of all units as one program. Internal to the link step.
#ifndef KPKEYS_LINT_ANALYSIS_PROGRAM_H
#define KPKEYS_LINT_ANALYSIS_PROGRAM_H

#include "Link.h"

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

namespace kpkeys::lint {

/// A call as its callee sees it. Without a site, nothing of it matters but that
/// it happens, under no guard.
struct Caller {
  const FunctionFacts *In;
  const CallSite *Site;
};

class Program {
public:
  Program(llvm::ArrayRef<Facts> Units, const Config &Cfg);

  /// Definitions of a function. Several, where units are built differently.
  llvm::ArrayRef<const FunctionFacts *> definitions(llvm::StringRef Id) const;
  const llvm::StringMap<llvm::SmallVector<const FunctionFacts *, 1>> &
  functions() const {
    return Functions;
  }

  /// All calls that may reach a function. \p Complete tells whether these are
  /// all there can be, as far as the program shows.
  llvm::SmallVector<Caller, 8> callers(llvm::StringRef Id, bool &Complete) const;

  /// The exemption for a function, if there is one. Marks it used.
  const Exemption *exemption(llvm::StringRef Check, const FunctionFacts &F);
  const Exemption *exemption(llvm::StringRef Check, llvm::StringRef File,
                             llvm::StringRef Function);
  /// Exemptions that no call of exemption() has found.
  std::vector<Finding> unusedExemptions() const;

  const Config &Cfg;

private:
  void addCalls(const FunctionFacts &F);
  /// The id under which a function is defined, for one that may be an alias.
  llvm::StringRef resolve(llvm::StringRef Id) const;

  llvm::StringMap<llvm::StringRef> Aliases;
  llvm::StringSet<> Moved;
  llvm::StringMap<llvm::SmallVector<const FunctionFacts *, 1>> Functions;
  llvm::StringMap<std::vector<Caller>> Direct;
  /// Indirect calls by the type of what is called.
  llvm::StringMap<std::vector<Caller>> Indirect;
  llvm::StringMap<std::vector<const AddressTaken *>> Addresses;
  llvm::StringMap<bool> Files;
  std::vector<bool> Used;
};

/// The name in the id of a function.
inline llvm::StringRef nameOfId(llvm::StringRef Id) {
  return Id.split('@').first;
}

/// pgtable-guard.
void linkWrites(Program &P, const LinkOptions &Options, LinkResult &Result);
/// guard-scope, and the scope report.
void linkScope(Program &P, LinkResult &Result);

} // namespace kpkeys::lint

#endif
