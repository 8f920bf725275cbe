// SPDX-License-Identifier: GPL-2.0-only
#include "lib/Progress.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/raw_ostream.h"

#include <cstdlib>

using namespace llvm;

namespace kpkeys {

Progress::Progress(StringRef What, unsigned Total) : What(What), Total(Total) {
  const char *Term = std::getenv("TERM");
  Shown = sys::Process::StandardErrIsDisplayed() && StringRef(Term ? Term : "dumb") != "dumb";
}

Progress::~Progress() { clear(); }

void Progress::update(unsigned Done, StringRef Current) {
  if (!Shown)
    return;
  // Ten times a second is more than anybody reads.
  auto Now = std::chrono::steady_clock::now();
  if (Drawn && Now - Last < std::chrono::milliseconds(100))
    return;
  Last = Now;
  Drawn = true;
  unsigned Columns = sys::Process::StandardErrColumns();
  std::string Line = What + " " + utostr(Done) + "/" + utostr(Total) + " " + Current.str();
  if (Columns > 1 && Line.size() > Columns - 1)
    Line.resize(Columns - 1);
  errs() << "\r\033[K" << Line;
}

void Progress::clear() {
  if (Drawn)
    errs() << "\r\033[K";
  Drawn = false;
}

} // namespace kpkeys
