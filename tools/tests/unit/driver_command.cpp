// SPDX-License-Identifier: GPL-2.0-only
#include "lint/driver/Command.h"

#include "llvm/ADT/SmallVector.h"

#include <gmock/gmock.h>

using namespace kpkeys::lint;
using testing::Contains;
using testing::ElementsAre;
using testing::Not;

static std::vector<std::string> words(llvm::StringRef Text) {
  llvm::SmallVector<llvm::StringRef, 16> Parts;
  Text.split(Parts, ' ', -1, false);
  return {Parts.begin(), Parts.end()};
}

/// What is left of a command, without what is always added.
static std::string adjusted(llvm::StringRef Command) {
  std::string Out;
  for (const std::string &Word : adjustArguments(words(Command), ""))
    if (Word != "-w" && Word != "-fsyntax-only" && Word != "-Qunused-arguments" && Word != "--target=aarch64-linux-gnu")
      Out += (Out.empty() ? "" : " ") + Word;
  return Out;
}

TEST(AdjustArguments, NothingIsWritten) {
  EXPECT_EQ(adjusted("clang-22 -Wp,-MMD,mm/.a.o.d -MD -MF a.d -MT a.o -MQ a.o -save-temps -c -o a.o -DX a.c"), "clang -DX a.c");
}

TEST(AdjustArguments, NothingIsWarnedOf) {
  EXPECT_EQ(adjusted("clang -Wall -Werror -Wno-error=foo -pedantic a.c"), "clang a.c");
  EXPECT_THAT(adjustArguments(words("clang a.c"), ""), Contains("-w"));
}

TEST(AdjustArguments, WhatThePreprocessorIsTold) { EXPECT_EQ(adjusted("clang -Wp,-DX -Wa,--noexecstack a.c"), "clang -Wp,-DX a.c"); }

TEST(AdjustArguments, ClangsOwnOptionsStay) {
  const char *Command = "clang -fconserve-stack-usage -ftrivial-auto-var-init=zero -mstack-protector-guard=sysreg -fplugin-like a.c";
  EXPECT_EQ(adjusted(Command), Command);
}

TEST(AdjustArguments, WhatOnlyGCCKnowsGoes) {
  EXPECT_EQ(adjusted("aarch64-linux-gnu-gcc -fconserve-stack -fno-allow-store-data-races -fno-var-tracking-assignments "
                     "-fmin-function-alignment=8 -mabi=lp64 --param foo=1 --param=bar=2 -fplugin=x.so -fplugin-arg-x-y "
                     "-fno-ipa-sra -fzero-init-padding-bits=all -finline-stringops=memset -mbranch-protection=none -DX a.c"),
            "clang -mbranch-protection=none -DX a.c");
}

TEST(AdjustArguments, TargetIsThatOfTheCommandOrArm64) {
  EXPECT_THAT(adjustArguments(words("gcc a.c"), ""), Contains("--target=aarch64-linux-gnu"));
  auto Own = adjustArguments(words("clang --target=aarch64-none-elf a.c"), "");
  EXPECT_THAT(Own, Contains("--target=aarch64-none-elf"));
  EXPECT_THAT(Own, Not(Contains("--target=aarch64-linux-gnu")));
}

TEST(AdjustArguments, LaunchersAreSkipped) {
  EXPECT_EQ(adjusted("/usr/bin/ccache /opt/bin/aarch64-gcc -fconserve-stack a.c"), "clang a.c");
}

TEST(AdjustArguments, HeadersOfClangInsteadOfThoseOfGCC) {
  auto Out = adjustArguments(words("gcc -isystem /usr/lib/gcc/aarch64/14/include -isystem /other a.c"), "/res");
  EXPECT_THAT(Out, Contains("/res/include"));
  EXPECT_THAT(Out, Contains("/other"));
  EXPECT_THAT(Out, Not(Contains("/usr/lib/gcc/aarch64/14/include")));
  EXPECT_THAT(Out, Contains("-resource-dir=/res"));
}

TEST(AdjustArguments, AddedBeforeTheFilesThatFollowDashes) {
  EXPECT_THAT(adjustArguments(words("clang -- a.c"), ""),
              ElementsAre("clang", "-w", "-fsyntax-only", "-Qunused-arguments", "--target=aarch64-linux-gnu", "--", "a.c"));
}

TEST(AdjustArguments, OptionsWithoutTheirValueDoNotReadBeyond) {
  EXPECT_EQ(adjusted("clang -o"), "clang");
  EXPECT_EQ(adjusted("gcc -isystem"), "clang -isystem");
  EXPECT_EQ(adjusted(""), "clang");
  EXPECT_EQ(adjusted("ccache"), "clang");
}

TEST(Command, ArchitectureAndRootFromTheIncludePath) {
  for (const char *Command : {"clang -I/k/arch/arm64/include a.c", "clang -I /k/arch/arm64/include/ a.c"}) {
    EXPECT_EQ(kernelArchitecture(words(Command)), "arm64");
    EXPECT_EQ(sourceRoot(words(Command)), "/k");
  }
  EXPECT_EQ(sourceRoot(words("clang -I./include -I./arch/arm64/include a.c")), ".");
  EXPECT_EQ(sourceRoot(words("clang -I../arch/arm64/include a.c")), "..");
  EXPECT_EQ(sourceRoot(words("clang -Iarch/x86/include a.c")), ".");
  EXPECT_EQ(kernelArchitecture(words("clang -Iarch/x86/include a.c")), "x86");
  for (const char *Command : {"clang -I/k/arch/arm64/include/generated a.c", "clang -I/k/march/arm64/include", "clang -I", "clang"})
    EXPECT_EQ(kernelArchitecture(words(Command)), std::nullopt) << Command;
}

TEST(Command, KernelUnits) {
  EXPECT_TRUE(isKernelCommand(words("clang -D__KERNEL__ a.c")));
  EXPECT_FALSE(isKernelCommand(words("clang -D__KERNEL_PRINTK__ a.c")));
}

TEST(Command, CodeOf32Bits) {
  EXPECT_FALSE(isAArch64(words("clang --target=arm-linux-gnueabi a.c")));
  EXPECT_FALSE(isAArch64(words("clang -target armv7a-linux a.c")));
  EXPECT_FALSE(isAArch64(words("arm-linux-gnueabihf-gcc a.c")));
  EXPECT_TRUE(isAArch64(words("clang --target=aarch64-linux-gnu a.c")));
  EXPECT_TRUE(isAArch64(words("aarch64-linux-gnu-gcc a.c")));
  EXPECT_TRUE(isAArch64(words("gcc a.c")));
}
