// SPDX-License-Identifier: GPL-2.0-only
//
// Everything that is parsed here and not by LLVM's JSON: suppression files and
// comments, and what is made of baselines and line filters. The first byte chooses.

#include "lib/Baseline.h"
#include "lib/LineFilter.h"
#include "lib/Render.h"
#include "lib/Suppress.h"

#include "llvm/Support/raw_ostream.h"

using namespace kpkeys;

/// Findings with @p Text wherever there may be any text.
static std::vector<Finding> findings(llvm::StringRef Text) {
  std::vector<Finding> F{{"pgtable-guard", {Text.str(), 1, 1}, Text.str(), {{{Text.str(), 2, 3}, Text.str()}}, Text.str(), Text.str(), "", false},
                         {"pgtable-guard", {"a.c", 1, 1}, "m", {}, "f", "", "", false}};
  sortAndDedupe(F);
  return F;
}

static void suppress(llvm::StringRef Text) {
  Suppressions S;
  S.scanSource(Text, "a.c");
  llvm::consumeError(S.parse(Text, "list"));
  auto F = findings("x");
  S.apply(F);
  S.malformed();
  S.unused([](llvm::StringRef) { return true; }, [](llvm::StringRef) { return true; });
}

static void output(llvm::StringRef Text) {
  static const CheckInfo Checks[] = {{"pgtable-guard", "Summary.", Severity::Error, 0}};
  auto F = findings(Text);
  RunInfo Run;
  Run.SourceRoot = "/nonexistent";
  for (Format Form : {Format::Text, Format::JSON, Format::SARIF, Format::GitHub}) {
    std::string Out;
    llvm::raw_string_ostream OS(Out);
    render(Form, OS, {"fuzz", "1", Checks}, Run, F);
    // What is JSON must parse again.
    if (Form == Format::JSON || Form == Format::SARIF)
      llvm::cantFail(llvm::json::parse(OS.str()).takeError());
  }
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *Data, size_t Size) {
  if (!Size)
    return 0;
  llvm::StringRef Text(reinterpret_cast<const char *>(Data) + 1, Size - 1);
  switch (Data[0] % 4) {
  case 0:
    suppress(Text);
    break;
  case 1:
    output(Text);
    break;
  case 2:
    if (auto B = Baseline::parse(Text, "b")) {
      auto F = findings("x");
      B->mark(F);
    } else {
      llvm::consumeError(B.takeError());
    }
    break;
  case 3:
    if (auto Filter = LineFilter::parse(Text))
      Filter->passes(findings("x")[0]);
    else
      llvm::consumeError(Filter.takeError());
    break;
  }
  return 0;
}
