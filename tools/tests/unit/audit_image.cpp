// SPDX-License-Identifier: GPL-2.0-only
//
// What is not a kernel is refused with one clear line; what is damaged never crashes.

#include "audit_support.h"

#include "llvm/BinaryFormat/ELF.h"
#include "llvm/Support/Endian.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include <random>

using namespace kpkeys::audit;
using namespace llvm;
using testing::HasSubstr;

namespace {

constexpr char Sample[] = R"(
fn f
  set
1: ldr x1, [x0]
  restore
2: nop
  brk #0x800
  bl g
  ret
endfn f
3: msr_por x0
  .section .text.other, "ax"
  .type h, %function
h: cbz x0, f
  b g
  .size h, . - h
  fixup 1b, 2b
  jump_entry 2b, 1b
  altinstr 2b, 3b, 4
  bug_entry 2b, 0
)";

TEST(AuditImage, IsRefusedWithAReason) {
  EXPECT_THAT(refusal(""), HasSubstr("is not an ELF file"));
  EXPECT_THAT(refusal("MZ\x1f\x20"), HasSubstr("give vmlinux or a .ko, not a boot image"));
  EXPECT_THAT(refusal("\x7f"
                      "ELF"),
              HasSubstr("ends within its header"));
  std::string Good = assemble(Sample);
  EXPECT_EQ(refusal(Good), "");
  auto with = [&](size_t At, char Byte) {
    std::string Bad = Good;
    Bad[At] = Byte;
    return refusal(Bad);
  };
  EXPECT_THAT(with(ELF::EI_CLASS, ELF::ELFCLASS32), HasSubstr("not a 64-bit little-endian ELF file"));
  EXPECT_THAT(with(ELF::EI_DATA, ELF::ELFDATA2MSB), HasSubstr("not a 64-bit little-endian ELF file"));
  EXPECT_THAT(with(18, ELF::EM_X86_64), HasSubstr("is for another architecture (ELF machine 62)"));
  EXPECT_THAT(with(16, ELF::ET_CORE), HasSubstr("is no kernel and no module"));
}

TEST(AuditImage, WithoutSymbolsIsRefused) {
  std::string Bytes = assemble(Sample);
  // Turn the table of symbols into something else, as strip would drop it.
  uint64_t Table = support::endian::read64le(Bytes.data() + 40);
  unsigned Count = support::endian::read16le(Bytes.data() + 60);
  for (unsigned N = 0; N < Count; ++N) {
    char *Type = Bytes.data() + Table + N * 64 + 4;
    if (support::endian::read32le(Type) == ELF::SHT_SYMTAB)
      support::endian::write32le(Type, ELF::SHT_PROGBITS);
  }
  EXPECT_THAT(refusal(Bytes), HasSubstr("has no symbols"));
}

TEST(AuditImage, WithoutFunctionsIsRefused) {
  EXPECT_THAT(refusal(assemble(".text\n nop\n")), HasSubstr("has no symbols of functions"));
  EXPECT_THAT(refusal(assemble(".data\n .word 1\n")), HasSubstr("has no code in it"));
}

TEST(AuditImage, ModulesAreRelocated) {
  Image I = load(assemble(Sample));
  EXPECT_TRUE(I.isModule());
  const Function *H = nullptr, *F = nullptr;
  for (const Function &Each : I.functions())
    (Each.Name == "h" ? H : F) = &Each;
  ASSERT_TRUE(H && F);
  Instruction Branch = decoder().decode(*I.code(H->Start), H->Start);
  EXPECT_EQ(Branch.Target, F->Start);
  Instruction Call = decoder().decode(*I.code(H->Start + 4), H->Start + 4);
  EXPECT_EQ(I.nameOf(Call.Target), "g");
}

TEST(AuditImage, RelocationsOfImmediates) {
  EXPECT_THAT(findings("fn f\n movz x0, #:abs_g0_nc:g\n msr_por x0\n isb\n ret\nendfn f\n"),
              testing::ElementsAre("por-computed f"));
  const std::string Text = " .globl perm\n .set perm, ";
  auto with = [&](const char *Value, const char *Move) {
    return sites(Text + Value + "\nfn f\n " + Move + "\n msr_por x0\n isb\n ret\nendfn f\n");
  };
  EXPECT_THAT(with("0x50", "movz x0, #:abs_g0:perm"), testing::ElementsAre("f set immediate"));
  EXPECT_THAT(with("0x10", "movz x0, #:abs_g0:perm"), testing::ElementsAre("f unset immediate"));
  EXPECT_THAT(with("0x400000000", "movz x0, #:abs_g2:perm"), testing::ElementsAre("f set immediate"));
  EXPECT_THAT(with("0x10", "movz x0, #:abs_g0_s:perm"), testing::ElementsAre("f unset immediate"));
  EXPECT_THAT(with("-0x11", "movz x0, #:abs_g0_s:perm"), testing::ElementsAre("f set immediate"));
}

TEST(AuditImage, WhatTheLoaderDoesNotKnowIsRefused) {
  EXPECT_THAT(refusal(assemble("fn f\n adrp x0, :got:g\n ret\nendfn f\n")), HasSubstr("cannot be loaded: relocation 0"));
  std::string Bytes = assemble("fn f\n bl g\n ret\nendfn f\n");
  uint64_t Table = support::endian::read64le(Bytes.data() + 40);
  for (unsigned N = 0; N < support::endian::read16le(Bytes.data() + 60); ++N) {
    char *Type = Bytes.data() + Table + N * 64 + 4;
    if (support::endian::read32le(Type) == ELF::SHT_RELA)
      support::endian::write32le(Type, ELF::SHT_REL);
  }
  EXPECT_THAT(refusal(Bytes), HasSubstr("relocations of another kind than RELA"));
}

TEST(AuditImage, TablesAreRead) {
  Image I = load(assemble(Sample));
  ASSERT_EQ(I.find(writeOf(PorEl1), WriteMask).size(), 3u);
  uint64_t Replacement = I.find(writeOf(PorEl1), WriteMask)[2];
  ASSERT_EQ(I.homes(Replacement).size(), 1u);
  uint64_t Home = I.homes(Replacement)[0];
  EXPECT_EQ(I.alternativesAt(Home).size(), 1u);
  EXPECT_EQ(I.afterReplacement(Replacement + 4).size(), 1u);
  EXPECT_EQ(I.staticBranches(Home).size(), 1u);
  EXPECT_TRUE(I.homes(Home).empty());
}

TEST(AuditImage, SizesOfTablesMustFit) {
  EXPECT_THAT(refusal(assemble("fn f\n ret\nendfn f\n .section .altinstructions, \"a\"\n .word 1\n")),
              HasSubstr("the size of .altinstructions is not a multiple of 12"));
}

TEST(AuditImage, EntriesOfTablesMustBeAboutCode) {
  const std::string Text = "fn f\n1: nop\n ret\nendfn f\n .subsection 1\n2: nop\n .previous\n .data\n3: .word 0\n";
  EXPECT_EQ(refusal(assemble(Text + " altinstr 1b, 2b, 4\n jump_entry 1b, 2b\n fixup 1b, 2b\n")), "");
  for (const char *Entry : {"altinstr 3b, 2b, 4", "altinstr 1b, 2b, 6", "altinstr 1b, 2b, 252", "altinstr 1b + 2, 2b, 4",
                            "altinstr 1b, 2b + 2, 4", "altinstr 1b, 3b + 0x100000, 4"})
    EXPECT_THAT(refusal(assemble(Text + Entry + "\n")), HasSubstr("entry 0 of .altinstructions is not about any code")) << Entry;
  EXPECT_THAT(refusal(assemble(Text + " jump_entry 1b, 2b\n jump_entry 3b, 2b\n")), HasSubstr("entry 1 of __jump_table"));
  EXPECT_THAT(refusal(assemble(Text + " fixup 1b, 3b\n")), HasSubstr("entry 0 of __ex_table"));
}

TEST(AuditImage, LinesComeFromDebugInformation) {
  AuditResult R = run(R"(
  .file 1 "arch/arm64/mm/fault.c"
fn f
  .loc 1 42 3
  msr_por x0
  isb
  ret
endfn f
  .section .debug_abbrev, "", @progbits
  .byte 1, 17, 0, 16, 23, 17, 1, 18, 6, 0, 0, 0
  .section .debug_info, "", @progbits
  .word 3f - 2f
2: .hword 4
  .word .debug_abbrev
  .byte 8, 1
  .word .debug_line
  .xword f
  .word 12
3:
  .section .debug_line, "", @progbits
)");
  ASSERT_EQ(R.Findings.size(), 1u);
  EXPECT_EQ(R.Findings[0].Loc.File, "arch/arm64/mm/fault.c");
  EXPECT_EQ(R.Findings[0].Loc.Line, 42u);
}

TEST(AuditImage, DamageNeverCrashes) {
  const std::string Good = assemble(Sample);
  std::mt19937 Random(20260505);
  auto any = [&](size_t Limit) { return std::uniform_int_distribution<size_t>(0, Limit - 1)(Random); };
  Places P = cantFail(Places::parse("batch * any\n", "places"));
  auto attempt = [&](std::string Bytes) {
    Expected<Image> I = Image::load(MemoryBuffer::getMemBufferCopy(Bytes, "damaged.ko"));
    if (!I) {
      EXPECT_THAT(toString(I.takeError()), HasSubstr("'damaged.ko' "));
      return;
    }
    AuditResult R = audit(*I, decoder(), P);
    for (const Site &S : R.Sites)
      EXPECT_FALSE(S.Kind.empty());
  };
  for (size_t Size = 0; Size < Good.size(); Size += 7)
    attempt(Good.substr(0, Size));
  for (unsigned Round = 0; Round < 4000; ++Round) {
    std::string Bad = Good;
    for (size_t N = 1 + any(4); N; --N)
      Bad[any(Bad.size())] = static_cast<char>(any(256));
    attempt(std::move(Bad));
  }
  // Headers and tables, where most of what can go wrong is.
  uint64_t Table = support::endian::read64le(Good.data() + 40);
  for (unsigned Round = 0; Round < 4000; ++Round) {
    std::string Bad = Good;
    size_t At = any(2) ? any(64) : Table + any(Good.size() - Table);
    static constexpr unsigned char Values[] = {0, 1, 0x7f, 0x80, 0xff, 0xfe, 0x40};
    Bad[At] = static_cast<char>(Values[any(sizeof(Values))]);
    attempt(std::move(Bad));
  }
}

} // namespace
