// SPDX-License-Identifier: GPL-2.0-only
//
// Whatever parses as C must neither crash the analysis nor the linking, and its
// facts must survive being written and read.

#include "lint/analysis/Analysis.h"
#include "lint/analysis/Link.h"

#include "llvm/Support/FormatVariadic.h"

#include <cstdlib>

using namespace kpkeys::lint;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *Data, size_t Size) {
  // Clang's parser is not what is tested: no pragmas that crash it on purpose, no includes of the machine's files.
  llvm::StringRef Text(reinterpret_cast<const char *>(Data), Size);
  if (Size > 65536 || Text.contains("#pragma") || Text.contains("_Pragma"))
    return -1;
  UnitCommand Unit{"/src", "/src/a.c", {"clang", "-w", "-fsyntax-only", "--target=aarch64-linux-gnu", "-nostdinc", "-std=gnu11", "/src/a.c"}, "/src"};
  static const Config Names;
  std::string Diagnostics;
  auto Found = analyseUnit(Unit, Names, Diagnostics, {{"/src/a.c", Text.str()}});
  if (!Found) {
    llvm::consumeError(Found.takeError());
    return -1;
  }
  auto Again = Facts::fromJSON(Found->toJSON());
  if (!Again)
    std::abort();
  std::string Before = llvm::formatv("{0}", Found->toJSON()), After = llvm::formatv("{0}", Again->toJSON());
  if (Before != After)
    std::abort();
  link(*Found, Names);
  return 0;
}
