// SPDX-License-Identifier: GPL-2.0-only
#include "lint/tidy/UnitVerdict.h"

#include "lib/Suppress.h"
#include "lint/analysis/Link.h"
#include "lint/driver/Checks.h"
#include "lint/driver/Command.h"
#include "lint/driver/ConfigFiles.h"

#include "clang/AST/ASTContext.h"
#include "clang/Basic/FileManager.h"
#include "clang/Basic/SourceManager.h"
#include "clang/Basic/TargetInfo.h"
#include "clang/Lex/HeaderSearch.h"
#include "clang/Lex/HeaderSearchOptions.h"
#include "clang/Lex/Preprocessor.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Path.h"
#include "llvm/TargetParser/Triple.h"

using namespace llvm;

namespace kpkeys::lint {

static std::string absolute(StringRef Path, StringRef Directory) {
  SmallString<256> Out(sys::path::is_absolute(Path) ? "" : Directory);
  sys::path::append(Out, Path);
  sys::path::remove_dots(Out, /*remove_dot_dot=*/true);
  return std::string(Out);
}

/// The include path, as a command line has it.
static std::vector<std::string> includeArguments(const clang::Preprocessor &PP) {
  std::vector<std::string> Arguments;
  const clang::HeaderSearchOptions &Options =
      PP.getHeaderSearchInfo().getHeaderSearchOpts();
  for (const auto &Entry : Options.UserEntries)
    Arguments.push_back("-I" + Entry.Path);
  return Arguments;
}

static std::vector<std::string> splitNames(StringRef List, StringRef Root) {
  SmallVector<StringRef, 4> Names;
  List.split(Names, ';', -1, /*KeepEmpty=*/false);
  std::vector<std::string> Paths;
  for (StringRef Name : Names)
    if (Name = Name.trim(); !Name.empty())
      Paths.push_back(absolute(Name, Root));
  return Paths;
}

/// Kernel code is what kpkeys-lint takes from a database.
static bool isOfInterest(const clang::ASTContext &Context,
                         clang::Preprocessor &PP) {
  if (!PP.isMacroDefined("__KERNEL__"))
    return false;
  // The compat vDSO, which is not the kernel's code.
  const Triple &T = Context.getTargetInfo().getTriple();
  return !T.isARM() && !T.isThumb();
}

/// What judgeUnit() does, unless something is in its way.
static Error judge(clang::ASTContext &Context, clang::Preprocessor &PP,
                   const UnitOptions &Options, UnitVerdict &Verdict) {
  const clang::SourceManager &SM = Context.getSourceManager();
  auto Here = SM.getFileManager().getVirtualFileSystem().getCurrentWorkingDirectory();
  std::string Directory = Here ? *Here : std::string();
  std::vector<std::string> Includes = includeArguments(PP);
  std::string Root = absolute(sourceRoot(Includes).value_or("."), Directory);

  // A wrong list is wrong for each unit, whatever is in that.
  std::string ConfigFile;
  if (!Options.Config.empty())
    ConfigFile = absolute(Options.Config, Root);
  auto Cfg = readConfig(ConfigFile, splitNames(Options.Exemptions, Root));
  if (!Cfg)
    return Cfg.takeError();
  Suppressions Suppress;
  for (const std::string &Path : splitNames(Options.Suppressions, Root))
    if (Error E = Suppress.load(Path))
      return E;

  if (!isOfInterest(Context, PP))
    return Error::success();
  // GCC has its target in its name, where clang does not see it. What follows
  // from that are errors which do not say so.
  const Triple &T = Context.getTargetInfo().getTriple();
  if (!T.isAArch64())
    return createStringError("the unit was parsed for " + T.getArchName() +
                             ", not for arm64: add --target=aarch64-linux-gnu to its command");
  auto Found = collectFacts({Context, PP, nullptr, Directory, Root}, *Cfg,
                            &Verdict.Files);
  if (!Found)
    return createStringError("the unit does not parse");

  LinkOptions LinkOpts;
  LinkOpts.WholeProgram = false;
  std::vector<Finding> All = link(*Found, *Cfg, LinkOpts).Findings;
  for (const auto &[Name, File] : Verdict.Files)
    if (auto Text = SM.getBufferDataOrNone(File))
      Suppress.scanSource(*Text, Name);
  for (Finding &F : Suppress.malformed())
    All.push_back(std::move(F));
  sortAndDedupe(All);
  llvm::erase_if(All, [](const Finding &F) { return needsProgram(F.Check); });
  Suppress.apply(All);
  Verdict.Findings = std::move(All);
  return Error::success();
}

UnitVerdict judgeUnit(clang::ASTContext &Context, clang::Preprocessor &PP,
                      const UnitOptions &Options) {
  UnitVerdict Verdict;
  if (Error E = judge(Context, PP, Options, Verdict))
    Verdict.Problem = toString(std::move(E));
  return Verdict;
}

} // namespace kpkeys::lint
