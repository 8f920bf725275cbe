// SPDX-License-Identifier: GPL-2.0-only
#include "lint/driver/Command.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Path.h"

using namespace llvm;

namespace kpkeys::lint {

/// Programs that run the compiler which follows them.
static bool isLauncher(StringRef Program) {
  StringRef Name = sys::path::filename(Program);
  return Name == "ccache" || Name == "sccache" || Name == "distcc" || Name == "icecc";
}

static StringRef compilerOf(ArrayRef<std::string> Arguments) {
  for (StringRef Argument : Arguments)
    if (!isLauncher(Argument))
      return Argument;
  return "";
}

static bool isGCC(ArrayRef<std::string> Arguments) {
  return !sys::path::filename(compilerOf(Arguments)).contains("clang");
}

/// Options that have their value in the next argument and must go with it.
static bool dropsWithValue(StringRef A) { return A == "-o" || A == "-MF" || A == "-MT" || A == "-MQ" || A == "--param"; }

/// What writes files, or warns.
static bool isOutputOrWarning(StringRef A) {
  // The preprocessor's -MMD names a file of the build, which would be overwritten.
  if (A.starts_with("-Wp,-M") || A.starts_with("-Wa,") || A.starts_with("-Wl,"))
    return true;
  if (A.starts_with("-W") && !A.starts_with("-Wp,"))
    return true;
  static constexpr StringLiteral Whole[] = {"-c",   "-S",    "-E",          "-MD",       "-MMD",          "-MP",         "-M", "-MM",
                                            "-MG",  "-w",    "-save-temps", "-pedantic", "-fsyntax-only", "-gsplit-dwarf", "-pipe"};
  return is_contained(Whole, A);
}

/// What GCC knows and Clang refuses. None of it changes what the source means.
static bool isGCCOnly(StringRef A) {
  static constexpr StringLiteral Whole[] = {
      "-fconserve-stack",       "-fno-conserve-stack",         "-fno-allow-store-data-races",
      "-fallow-store-data-races", "-fno-var-tracking-assignments", "-fvar-tracking-assignments",
      "-fno-var-tracking",      "-fvar-tracking",              "-mabi=lp64",
      "-femit-struct-debug-baseonly", "-fno-partial-inlining", "-fno-reorder-blocks-and-partition",
      "-fno-semantic-interposition-calls", "-fno-toplevel-reorder", "-ftoplevel-reorder",
  };
  static constexpr StringLiteral Prefixes[] = {
      "-fmin-function-alignment", "-fplugin", "-fdump-", "-fno-ipa-", "-fipa-", "-fno-tree-", "-ftree-", "--param=",
      "-flive-patching", "-fcf-check-attribute", "-fzero-init-padding-bits", "-fasan-shadow-offset",
      "-fno-isolate-", "-fprofile-update", "-fdiagnostics-show-context", "-fsanitize-undefined-trap",
      "-fno-code-hoisting", "-finline-stringops", "-fno-gcse", "-fgcse", "-mno-fix-cortex", "-mtls-dialect",
  };
  return is_contained(Whole, A) || any_of(Prefixes, [&](StringRef P) { return A.starts_with(P); });
}

/// GCC's own headers, which hold its own built-in functions.
static bool isGCCHeaderDirectory(StringRef Directory) {
  return Directory.contains("/gcc/") || Directory.contains("/gcc-cross/");
}

std::vector<std::string> adjustArguments(ArrayRef<std::string> Arguments, StringRef ResourceDir) {
  bool GCC = isGCC(Arguments);
  bool HasTarget = false;
  std::vector<std::string> Out{"clang"};
  ArrayRef<std::string> Rest = Arguments.drop_while([](StringRef A) { return isLauncher(A); });
  Rest = Rest.drop_front(Rest.empty() ? 0 : 1);
  for (; !Rest.empty(); Rest = Rest.drop_front()) {
    StringRef A = Rest[0];
    if (dropsWithValue(A)) {
      Rest = Rest.drop_front(Rest.size() > 1 ? 1 : 0);
      continue;
    }
    if (isOutputOrWarning(A) || (GCC && isGCCOnly(A)))
      continue;
    if (GCC && A == "-isystem" && Rest.size() > 1 && isGCCHeaderDirectory(Rest[1])) {
      if (!ResourceDir.empty())
        Out.insert(Out.end(), {"-isystem", (ResourceDir + "/include").str()});
      Rest = Rest.drop_front();
      continue;
    }
    HasTarget |= A.starts_with("--target=") || A == "-target";
    Out.push_back(A.str());
  }
  // What follows a "--" are files.
  auto Added = find(Out, "--");
  std::vector<std::string> Extra{"-w", "-fsyntax-only", "-Qunused-arguments"};
  if (!HasTarget)
    Extra.push_back("--target=aarch64-linux-gnu");
  if (!ResourceDir.empty() && none_of(Out, [](StringRef A) { return A.starts_with("-resource-dir"); }))
    Extra.push_back(("-resource-dir=" + ResourceDir).str());
  Out.insert(Added, Extra.begin(), Extra.end());
  return Out;
}

bool isKernelCommand(ArrayRef<std::string> Arguments) {
  return any_of(Arguments, [](StringRef A) { return A == "-D__KERNEL__" || A.starts_with("-D__KERNEL__="); });
}

/// The first include directory "ROOT/arch/NAME/include": ROOT and NAME.
static std::optional<std::pair<StringRef, StringRef>> architectureInclude(ArrayRef<std::string> Arguments) {
  for (size_t I = 0; I < Arguments.size(); ++I) {
    StringRef A = Arguments[I];
    if (A == "-I" && I + 1 < Arguments.size())
      A = Arguments[++I];
    else if (!A.consume_front("-I"))
      continue;
    StringRef Path = A.rtrim('/');
    if (!Path.consume_back("/include"))
      continue;
    auto [Before, Name] = Path.rsplit('/');
    if (Name.empty() || !Before.consume_back("arch"))
      continue;
    if (Before.empty())
      return std::pair(StringRef("."), Name);
    if (Before.consume_back("/"))
      return std::pair(Before.empty() ? StringRef("/") : Before, Name);
  }
  return std::nullopt;
}

std::optional<std::string> kernelArchitecture(ArrayRef<std::string> Arguments) {
  auto Found = architectureInclude(Arguments);
  return Found ? std::optional(Found->second.str()) : std::nullopt;
}

std::optional<std::string> sourceRoot(ArrayRef<std::string> Arguments) {
  auto Found = architectureInclude(Arguments);
  return Found ? std::optional(Found->first.str()) : std::nullopt;
}

bool isAArch64(ArrayRef<std::string> Arguments) {
  StringRef Triple;
  for (size_t I = 0; I < Arguments.size(); ++I) {
    StringRef A = Arguments[I];
    if (A == "-target" && I + 1 < Arguments.size())
      Triple = Arguments[I + 1];
    else if (A.consume_front("--target="))
      Triple = A;
  }
  // GCC has the target in its name; without a prefix it is that of the machine.
  if (Triple.empty())
    Triple = sys::path::filename(compilerOf(Arguments));
  return !(Triple.starts_with("arm-") || Triple.starts_with("arm-linux") || Triple.starts_with("armv") ||
           Triple.starts_with("thumb") || Triple.starts_with("i386") || Triple.starts_with("x86_64") ||
           Triple.starts_with("riscv"));
}

} // namespace kpkeys::lint
