// SPDX-License-Identifier: GPL-2.0-only
#include "lib/Lines.h"

#include "llvm/ADT/Twine.h"

using namespace llvm;

namespace kpkeys {

Error forEachLine(StringRef Text, StringRef Name, function_ref<Error(StringRef, unsigned)> Use) {
  for (unsigned Number = 1; !Text.empty(); ++Number) {
    auto [Line, Rest] = Text.split('\n');
    Text = Rest;
    Line = Line.trim();
    if (Line.empty() || Line.starts_with("#"))
      continue;
    if (Error E = Use(Line, Number))
      return badLine(Name + ":" + Twine(Number) + ": " + toString(std::move(E)));
  }
  return Error::success();
}

Error badLine(const Twine &Why) { return createStringError(inconvertibleErrorCode(), Why); }

} // namespace kpkeys
