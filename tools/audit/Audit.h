// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_AUDIT_AUDIT_H
#define KPKEYS_AUDIT_AUDIT_H

#include "audit/Decoder.h"
#include "audit/Image.h"
#include "audit/Places.h"
#include "audit/Walk.h"
#include "lib/Finding.h"

#include <map>
#include <string>
#include <vector>

namespace kpkeys::audit {

/// A write of POR_EL1, POR_EL2 or POR_EL12.
struct Site {
  std::string Image;    ///< The file, for a module; empty for the kernel.
  std::string Function; ///< With the source file, if it is static.
  uint64_t Address = 0;
  uint64_t Offset = 0; ///< From the start of the function.
  SystemRegister Reg = PorEl1;
  std::string Kind;   ///< "set", "unset", "restore", "load", "idle", or "unreached".
  std::string Origin; ///< "immediate", "mrs", "memory", ... with commas between.
  bool Alternative = false; ///< It is put there at boot.
  Location Loc;
};

/// What the sites of a function have in common. Holds no address, so that it
/// stays the same from build to build.
struct SiteClass {
  std::string Function, Register, Kind, Origin;

  auto operator<=>(const SiteClass &) const = default;
};
using Inventory = std::map<SiteClass, unsigned>;

struct AuditResult {
  std::vector<Site> Sites;
  std::vector<Finding> Findings;
  unsigned Functions = 0, Instructions = 0, States = 0;
};

/// All checks, for output formats and documentation.
llvm::ArrayRef<CheckInfo> checks();

/// Name of the register, as the architecture has it.
llvm::StringRef registerName(SystemRegister Reg);

/// Find and judge all writes in @p I. @p Only, if not null, limits the work to
/// one function, as a test of many changes of it needs.
AuditResult audit(const Image &I, Decoder &D, const Places &P, const Function *Only = nullptr);

/// Count the classes of @p Sites.
Inventory inventory(llvm::ArrayRef<Site> Sites);

/// Read what writeInventory() wrote; @p Name is what errors call it.
llvm::Expected<Inventory> parseInventory(llvm::StringRef Text, llvm::StringRef Name);

/// One line for each class, sorted.
void writeInventory(llvm::raw_ostream &OS, const Inventory &I);

/// A finding for each class that is new in @p Is, or gone, or has another count
/// than in @p Expected, which stands in the file @p Name.
std::vector<Finding> compare(const Inventory &Expected, const Inventory &Is, llvm::ArrayRef<Site> Sites,
                             llvm::StringRef Name);

} // namespace kpkeys::audit

#endif
