// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_LIB_EXITSTATUS_H
#define KPKEYS_LIB_EXITSTATUS_H

namespace kpkeys {

/// How a tool ends. Where more than one applies, the highest does: what could
/// not be analysed must never look like a clean verdict.
enum ExitStatus {
  ExitClean = 0,    ///< Everything was analysed, nothing was found.
  ExitFindings = 1, ///< Findings that --fail-on counts.
  ExitUsage = 2,    ///< Bad usage, or a piece of the set-up is missing.
  ExitUnparsed = 3, ///< Part of the input could not be read or parsed.
};

} // namespace kpkeys

#endif
