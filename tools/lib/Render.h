// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_LIB_RENDER_H
#define KPKEYS_LIB_RENDER_H

#include "lib/Finding.h"

#include "llvm/Support/JSON.h"

#include <string>
#include <vector>

namespace llvm {
class raw_ostream;
}

namespace kpkeys {

/// Who reports, for the formats that name it.
struct ToolInfo {
  llvm::StringRef Name;    ///< Such as "kpkeys-lint".
  llvm::StringRef Version;
  llvm::ArrayRef<CheckInfo> Checks;
};

/// What a run came to, besides its findings.
struct RunInfo {
  std::string SourceRoot; ///< Absolute; what relative file names start from.
  bool Complete = true;   ///< Whether all of the input was analysed.
  std::vector<std::string> Problems; ///< Why not: one line each.
  unsigned Analysed = 0;  ///< Units, or binaries.
  unsigned Suppressed = 0, Baselined = 0; ///< Findings not shown for that reason.
};

/// Forms of output.
enum class Format { Text, JSON, SARIF, GitHub };

/// Write @p Findings to @p OS as @p F. They should have gone through
/// sortAndDedupe(). Colours are used for text if @p Colour is set.
void render(Format F, llvm::raw_ostream &OS, const ToolInfo &Tool, const RunInfo &Run,
            llvm::ArrayRef<Finding> Findings, bool Colour = false);

/// As clang prints diagnostics: the line, its source with a caret where the
/// file can be read, then the notes likewise.
void renderText(llvm::raw_ostream &OS, const ToolInfo &Tool, const RunInfo &Run,
                llvm::ArrayRef<Finding> Findings, bool Colour);

/// The project's own JSON: one object with "findings", "summary", "problems".
llvm::json::Value toJSON(const ToolInfo &Tool, const RunInfo &Run, llvm::ArrayRef<Finding> Findings);

/// SARIF 2.1.0, which code review sites read.
llvm::json::Value toSARIF(const ToolInfo &Tool, const RunInfo &Run, llvm::ArrayRef<Finding> Findings);

/// Workflow commands that make GitHub show findings beside the lines of a change.
void renderGitHub(llvm::raw_ostream &OS, const ToolInfo &Tool, llvm::ArrayRef<Finding> Findings);

/// Whether to colour what goes to the file descriptor @p FD: a terminal, and
/// neither NO_COLOR nor TERM=dumb in the environment.
bool wantsColour(int FD);

} // namespace kpkeys

#endif
