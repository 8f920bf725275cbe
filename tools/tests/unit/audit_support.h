// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_TESTS_AUDIT_SUPPORT_H
#define KPKEYS_TESTS_AUDIT_SUPPORT_H

#include "audit/Audit.h"

#include "llvm/ADT/StringRef.h"

#include <string>
#include <vector>

namespace kpkeys::audit {

/// Assemble @p Text, after the macros below, into an object: the bytes of a module.
///
///   fn NAME ... endfn       a global function
///   set [SAVED]             what kpkeys_set_context() is; SAVED (x9) is what it returns
///   restore [SAVED]         what kpkeys_restore_pkey_reg() is
///   enter, leave            a batch is begun and ended, as lazy MMU sections are
///   altinstr AT REPL LEN    entry of .altinstructions
///   jump_entry AT TO        entry of __jump_table
///   fixup AT TO             entry of __ex_table
///   bug_entry AT FLAGS      entry of __bug_table
///
/// POR, POR2 and POR12 are the registers.
std::string assemble(llvm::StringRef Text);

/// Load @p Bytes, which must be good.
Image load(llvm::StringRef Bytes, llvm::StringRef Name = "test.ko");

/// The message with which @p Bytes are refused; empty if they are not.
std::string refusal(llvm::StringRef Bytes);

Decoder &decoder();

/// Audit the object that @p Text is assembled to, with the list of @p Places.
AuditResult run(llvm::StringRef Text, llvm::StringRef Places = "");

/// "CHECK FUNCTION" of each finding, sorted and once each.
std::vector<std::string> findings(const AuditResult &R);
std::vector<std::string> findings(llvm::StringRef Text, llvm::StringRef Places = "");

/// "FUNCTION KIND ORIGIN" of each site of POR_EL1, in order.
std::vector<std::string> sites(llvm::StringRef Text);

} // namespace kpkeys::audit

#endif
