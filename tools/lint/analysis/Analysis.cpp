// SPDX-License-Identifier: GPL-2.0-only
#include "Analysis.h"
#include "Collect.h"

#include "clang/AST/ASTConsumer.h"
#include "clang/Basic/DiagnosticOptions.h"
#include "clang/Basic/FileManager.h"
#include "clang/Frontend/CompilerInstance.h"
#include "clang/Frontend/FrontendAction.h"
#include "clang/Frontend/TextDiagnosticPrinter.h"
#include "clang/Lex/Preprocessor.h"
#include "clang/Tooling/Tooling.h"

#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/VirtualFileSystem.h"

#include <map>
#include <optional>

using namespace clang;

namespace kpkeys::lint {

namespace {

struct Request {
  const UnitCommand &Command;
  const Config &Cfg;
  std::optional<Facts> Result;
};

class Consumer : public ASTConsumer {
public:
  Consumer(CompilerInstance &Compiler, Request &R) : Compiler(Compiler), R(R) {
    auto Callbacks =
        std::make_unique<SkippedRanges>(Compiler.getSourceManager());
    Skipped = Callbacks.get();
    Compiler.getPreprocessor().addPPCallbacks(std::move(Callbacks));
  }

  void HandleTranslationUnit(ASTContext &Context) override {
    R.Result = collectFacts({Context, Compiler.getPreprocessor(), Skipped,
                             R.Command.Directory, R.Command.SourceRoot},
                            R.Cfg);
  }

private:
  CompilerInstance &Compiler;
  Request &R;
  const SkippedRanges *Skipped;
};

class Action : public ASTFrontendAction {
public:
  explicit Action(Request &R) : R(R) {}

  std::unique_ptr<ASTConsumer> CreateASTConsumer(CompilerInstance &Compiler,
                                                 llvm::StringRef) override {
    // "1 error generated" is no diagnostic, and would go to standard error.
    Compiler.setVerboseOutputStream(llvm::nulls());
    return std::make_unique<Consumer>(Compiler, R);
  }

private:
  Request &R;
};

} // namespace

/// What the compiler would leave behind or stop at is not wanted here.
static std::vector<std::string> argumentsFor(const UnitCommand &Command) {
  std::vector<std::string> Arguments;
  for (size_t I = 0; I < Command.Arguments.size(); ++I) {
    llvm::StringRef A = Command.Arguments[I];
    if (A == "-o" || A == "-MF" || A == "-MT" || A == "-MQ") {
      ++I;
      continue;
    }
    if (A == "-c" || A.starts_with("-Wp,-M") || A == "-MD" || A == "-MMD" ||
        A == "-MP")
      continue;
    Arguments.push_back(A.str());
  }
  // -Werror=unknown-warning-option and the like stop at the driver otherwise.
  for (llvm::StringRef Extra : {"-w", "-Wno-error", "-fsyntax-only"})
    Arguments.push_back(Extra.str());
#ifdef KPKEYS_CLANG_RESOURCE_DIR
  if (llvm::none_of(Arguments, [](llvm::StringRef A) {
        return A.starts_with("-resource-dir");
      }))
    Arguments.push_back("-resource-dir=" KPKEYS_CLANG_RESOURCE_DIR);
#endif
  return Arguments;
}

llvm::Expected<Facts>
analyseUnit(const UnitCommand &Command, const Config &Cfg,
            std::string &Diagnostics,
            const std::map<std::string, std::string> &InMemory) {
  FileSystemOptions Options;
  Options.WorkingDir = Command.Directory;
  auto Memory = llvm::makeIntrusiveRefCnt<llvm::vfs::InMemoryFileSystem>();
  for (const auto &[Path, Text] : InMemory)
    Memory->addFile(Path, 0, llvm::MemoryBuffer::getMemBufferCopy(Text, Path));
  auto Overlay = llvm::makeIntrusiveRefCnt<llvm::vfs::OverlayFileSystem>(
      llvm::vfs::getRealFileSystem());
  Overlay->pushOverlay(Memory);
  llvm::IntrusiveRefCntPtr<FileManager> Files(
      InMemory.empty() ? new FileManager(Options)
                       : new FileManager(Options, Overlay));

  Request R{Command, Cfg, {}};
  llvm::raw_string_ostream Stream(Diagnostics);
#if LLVM_VERSION_MAJOR >= 21
  DiagnosticOptions DiagnosticOpts;
  TextDiagnosticPrinter Printer(Stream, DiagnosticOpts);
#else
  auto DiagnosticOpts = llvm::makeIntrusiveRefCnt<DiagnosticOptions>();
  TextDiagnosticPrinter Printer(Stream, DiagnosticOpts.get());
#endif
  tooling::ToolInvocation Invocation(argumentsFor(Command),
                                     std::make_unique<Action>(R), Files.get());
  Invocation.setDiagnosticConsumer(&Printer);
  bool Good = Invocation.run();
  Stream.flush();
  if (Good && R.Result)
    return std::move(*R.Result);

  llvm::StringRef First = Diagnostics;
  for (llvm::StringRef Rest = Diagnostics; !Rest.empty();) {
    llvm::StringRef Line;
    std::tie(Line, Rest) = Rest.split('\n');
    if (Line.contains("error:")) {
      First = Line;
      break;
    }
  }
  First = First.split('\n').first;
  return llvm::createStringError(
      Command.File + ": does not parse: " +
      (First.empty() ? llvm::StringRef("clang gives no reason") : First));
}

} // namespace kpkeys::lint
