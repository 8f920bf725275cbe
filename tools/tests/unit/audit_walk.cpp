// SPDX-License-Identifier: GPL-2.0-only
//
// Control flow and data flow as compilers and people write it, with and
// without the mistakes that kpkeys-audit is there to find.

#include "audit_support.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

using namespace kpkeys::audit;
using testing::AnyOf;
using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;

namespace {

/// @p Text with @p Line in the place of HOLE.
std::string filled(llvm::StringRef Text, llvm::StringRef Line) {
  auto [Before, After] = Text.split("HOLE");
  return (Before + Line + After).str();
}

// Guards

TEST(AuditGuard, IsClean) {
  EXPECT_THAT(findings("fn f\n set\n str x1, [x0]\n restore\n ret\nendfn f\n"), IsEmpty());
  EXPECT_THAT(sites("fn f\n set\n str x1, [x0]\n restore\n ret\nendfn f\n"),
              ElementsAre("f set immediate", "f restore mrs"));
}

TEST(AuditGuard, WithoutRestore) {
  EXPECT_THAT(findings("fn f\n set\n str x1, [x0]\n ret\nendfn f\n"), ElementsAre("por-return f"));
}

TEST(AuditGuard, EarlyReturn) {
  EXPECT_THAT(findings(R"(
fn f
  set
  cbz x1, 1f
  str x1, [x0]
  restore
1: ret
endfn f
)"),
              ElementsAre("por-return f"));
}

TEST(AuditGuard, RestoreOnEachWay) {
  EXPECT_THAT(findings(R"(
fn f
  set
  cbz x1, 1f
  str x1, [x0]
  restore
  ret
1: restore
  ret
endfn f
)"),
              IsEmpty());
}

TEST(AuditGuard, Loop) {
  EXPECT_THAT(findings(R"(
fn f
1: set
  str x1, [x0], #8
  restore
  subs x2, x2, #1
  b.ne 1b
  ret
endfn f
)"),
              IsEmpty());
}

TEST(AuditGuard, LoopThatContinuesPermissive) {
  EXPECT_THAT(findings(R"(
fn f
1: set
  str x1, [x0], #8
  subs x2, x2, #1
  b.ne 1b
  restore
  ret
endfn f
)"),
              ElementsAre("por-return f"));
}

TEST(AuditGuard, Nested) {
  // The inner one finds nothing to do, and says so.
  EXPECT_THAT(findings(R"(
fn f
  set x9
  set x12
  str x1, [x0]
  restore x12
  restore x9
  ret
endfn f
)"),
              IsEmpty());
}

TEST(AuditGuard, ThatIsNeverEnteredIsNoFinding) {
  EXPECT_THAT(sites("fn f\n set x9\n set x12\n restore x12\n restore x9\n ret\nendfn f\n"),
              ElementsAre("f set immediate", "f idle none", "f idle none", "f restore mrs"));
}

TEST(AuditGuard, InnerRestoreOnly) {
  EXPECT_THAT(findings(R"(
fn f
  set x9
  set x12
  str x1, [x0]
  restore x12
  ret
endfn f
)"),
              ElementsAre("por-return f"));
}

TEST(AuditGuard, SavedAfterTheSet) {
  // Both are restored, and the last one from what was read in between.
  EXPECT_THAT(findings(R"(
fn f
  mrs_por x9
  orr x10, x9, #0x40
  msr_por x10
  isb
  mrs_por x12
  str x1, [x0]
  msr_por x9
  isb
  msr_por x12
  isb
  ret
endfn f
)"),
              ElementsAre("por-return f"));
}

TEST(AuditGuard, SavedInCalleeSavedRegister) {
  EXPECT_THAT(findings(R"(
fn f
  stp x29, x30, [sp, #-32]!
  str x19, [sp, #16]
  set x19
  bl memset
  restore x19
  ldr x19, [sp, #16]
  ldp x29, x30, [sp], #32
  ret
endfn f
)",
                       "call f->memset it clears a table\n"),
              IsEmpty());
}

TEST(AuditGuard, SavedWhereACallDestroysIt) {
  EXPECT_THAT(findings(R"(
fn f
  stp x29, x30, [sp, #-16]!
  set x9
  bl memset
  restore x9
  ldp x29, x30, [sp], #16
  ret
endfn f
)",
                       "call f->memset it clears a table\n"),
              ElementsAre("por-computed f", "por-return f"));
}

TEST(AuditGuard, SavedOnTheStack) {
  EXPECT_THAT(findings(R"(
fn f
  sub sp, sp, #48
  stp x29, x30, [sp, #32]
  add x29, sp, #32
  set x9
  stur x9, [x29, #-16]
  bl memset
  ldr x9, [sp, #16]
  restore x9
  ldp x29, x30, [sp, #32]
  add sp, sp, #48
  ret
endfn f
)",
                       "call f->memset it clears a table\n"),
              IsEmpty());
}

TEST(AuditGuard, HalfOfWhatWasSaved) {
  // The contexts differ in bits of the lower half only, and a compiler knows.
  const std::string Text = R"(
fn f
  sub sp, sp, #16
  mrs_por x9
  and x10, x9, #0xffffffffffffff0f
  orr x10, x10, #0x40
  HOLE
  msr_por x10
  isb
  str x1, [x0]
  and x11, x9, #0xf0
  mrs_por x10
  and x10, x10, #0xffffffffffffff0f
  orr x10, x10, x11
  msr_por x10
  isb
  add sp, sp, #16
  ret
endfn f
)";
  auto with = [&](const char *Lines) { return findings(filled(Text, Lines)); };
  EXPECT_THAT(with("str x9, [sp, #8]\n ldr w9, [sp, #8]"), IsEmpty());
  EXPECT_THAT(with("str w9, [sp, #12]\n ldr w9, [sp, #12]"), IsEmpty());
  EXPECT_THAT(with("stp w9, w8, [sp]\n ldp w9, w8, [sp]"), IsEmpty());
  EXPECT_THAT(with("str x9, [sp, #8]\n ldr w9, [sp, #12]"), ElementsAre("por-computed f"));
  EXPECT_THAT(with("str w9, [sp, #8]\n ldr x9, [sp, #8]"), ElementsAre("por-memory f"));
  EXPECT_THAT(with("str x9, [sp, #8]\n str w1, [sp, #8]\n ldr w9, [sp, #8]"), ElementsAre("por-argument f"));
}

TEST(AuditGuard, SavedSlotIsOverwritten) {
  for (const char *Store : {"str x1, [sp, #16]", "str w1, [sp, #20]", "stp x1, x2, [sp, #8]", "stp q0, q1, [sp]",
                            "strb w1, [sp, #23]", "str x1, [sp, x2]", "stxr w3, x1, [sp]",
                            "add x3, sp, x2, lsl #3\n str x1, [x3]", "mov x3, sp\n madd x3, x2, x4, x3\n str x1, [x3]",
                            "mov x3, sp\n1: str x1, [x3], #8\n subs x2, x2, #1\n b.ne 1b",
                            "mov x3, sp\n cmp x4, x5\n csel x3, x3, x6, hi\n stp x1, x1, [x3]",
                            "add x3, sp, #16\n mov x4, x3\n str x1, [x4]", "mov x3, sp\n dc zva, x3"})
    EXPECT_THAT(findings(std::string(R"(
fn f
  sub sp, sp, #48
  set x9
  str x9, [sp, #16]
)") + Store + R"(
  ldr x9, [sp, #16]
  restore x9
  add sp, sp, #48
  ret
endfn f
)"),
                ElementsAre(AnyOf("por-memory f", "por-argument f"), "por-return f"))
        << Store;
}

TEST(AuditGuard, SavedBelowTheStackPointer) {
  EXPECT_THAT(findings(R"(
fn f
  set x9
  stur x9, [sp, #-16]
  ldur x9, [sp, #-16]
  restore x9
  ret
endfn f
)"),
              ElementsAre("por-memory f", "por-return f"));
  EXPECT_THAT(findings(R"(
fn f
  set x9
  str x9, [sp, #-16]!
  add sp, sp, #16
  sub sp, sp, #16
  ldr x9, [sp], #16
  restore x9
  ret
endfn f
)"),
              ElementsAre("por-memory f", "por-return f"));
  EXPECT_THAT(findings(R"(
fn f
  set x9
  str x9, [sp, #-16]!
  ldr x9, [sp], #16
  restore x9
  ret
endfn f
)"),
              IsEmpty());
}

TEST(AuditGuard, SavedSlotIsGivenAway) {
  const std::string Text = R"(
fn f
  stp x29, x30, [sp, #-48]!
  mov x29, sp
  set x9
  str x9, [sp, #32]
  add x20, sp, #HOLE
  mov x0, x20
  bl memset
  ldr x9, [sp, #32]
  restore x9
  ldp x29, x30, [sp], #48
  ret
endfn f
)";
  auto with = [&](const char *Offset) { return findings(filled(Text, Offset), "call f->memset it clears a table\n"); };
  EXPECT_THAT(with("32"), ElementsAre("por-memory f", "por-return f"));
  EXPECT_THAT(with("16"), ElementsAre("por-memory f", "por-return f"));
  EXPECT_THAT(with("40"), IsEmpty());
}

TEST(AuditGuard, ConditionalInstructions) {
  // What was saved, or nothing to restore, is chosen by the comparison that skips the write.
  const char Text[] = R"(
fn f
  mrs_por x9
  mov x11, #0x50
  and x10, x9, #0xffffffffffffff0f
  orr x10, x10, x11
  cmp x9, x10
  csinv x12, x9, xzr, HOLE
  b.eq 1f
  msr_por x10
  isb
1: str x1, [x0]
  restore x12
  ret
endfn f
)";
  EXPECT_THAT(findings(filled(Text, "ne")), IsEmpty());
  EXPECT_THAT(findings(filled(Text, "eq")), ElementsAre("por-return f"));
}

TEST(AuditGuard, MergesWithBitfieldInstructions) {
  EXPECT_THAT(findings(R"(
fn f
  mrs_por x9
  mov x10, x9
  mov x11, #5
  bfi x10, x11, #4, #4
  msr_por x10
  isb
  str x1, [x0]
  mrs_por x10
  lsr x12, x9, #4
  bfi x10, x9, #0, #8
  msr_por x10
  isb
  ret
endfn f
)"),
              IsEmpty());
}

TEST(AuditGuard, AddsInsteadOfOr) {
  EXPECT_THAT(sites(R"(
fn f
  mrs_por x9
  and x10, x9, #0xffffffffffffff0f
  add x10, x10, #0x10
  add x10, x10, #0x40
  msr_por x10
  isb
  str x1, [x0]
  msr_por x9
  isb
  ret
endfn f
)"),
              ElementsAre("f set immediate", "f restore mrs"));
}

TEST(AuditGuard, AddsWithACarry) {
  // Two unknown bits are added: what is above them is nobody's.
  EXPECT_THAT(findings(R"(
fn f
  mrs_por x9
  add x10, x9, #0x10
  msr_por x10
  isb
  msr_por x9
  isb
  ret
endfn f
)"),
              ElementsAre("por-computed f"));
}

TEST(AuditGuard, FullConstant) {
  const char Text[] = R"(
fn f
  mov x0, #0x17
  movk x0, #0x10, lsl #16
  msr_por x0
  isb
  ret
endfn f
)";
  EXPECT_THAT(findings(Text), IsEmpty());
  EXPECT_THAT(sites(Text), ElementsAre("f unset immediate"));
}

TEST(AuditGuard, OneOfTwoConstants) {
  EXPECT_THAT(findings(R"(
fn f
  mov x1, #0x10
  mov x2, #0x50
  cmp x0, #3
  csel x1, x1, x2, hi
  mrs_por x9
  and x9, x9, #0xffffffffffffff0f
  orr x9, x9, x1
  msr_por x9
  isb
  ret
endfn f
)"),
              ElementsAre("por-return f"));
}

// Batches

TEST(AuditBatch, EndsHereOrIsNamed) {
  // As after inlining: whether there is a batch to end is asked again.
  const char Text[] = R"(
fn f
  stp x29, x30, [sp, #-32]!
  str x19, [sp, #16]
  ldr w19, [x0]
  cbz w19, 1f
  enter
1: bl set_pte
  ldr w19, [x0]
  cbz w19, 2f
  leave
2: ldr x19, [sp, #16]
  ldp x29, x30, [sp], #32
  ret
endfn f
)";
  EXPECT_THAT(findings(Text), ElementsAre("por-call f", "por-return f"));
  EXPECT_THAT(findings(Text, "batch f a lazy MMU section\n"), IsEmpty());
  EXPECT_THAT(findings(Text, "batch g a lazy MMU section\n"), ElementsAre("por-call f", "por-return f"));
}

TEST(AuditBatch, IsNoneIfNothingEndsIt) {
  EXPECT_THAT(findings("fn f\n enter\n ret\nendfn f\n", "batch f a lazy MMU section\n"), ElementsAre("por-return f"));
}

TEST(AuditBatch, EndsInWhatIsCalled) {
  EXPECT_THAT(findings(R"(
fn f
  stp x29, x30, [sp, #-16]!
  enter
  bl finish
  ldp x29, x30, [sp], #16
  ret
endfn f
fn finish
  leave
  ret
endfn finish
)",
                       "batch f a lazy MMU section\n"),
              IsEmpty());
}

TEST(AuditBatch, StraightThroughNeedsNoName) {
  EXPECT_THAT(findings("fn f\n enter\n str x1, [x2]\n leave\n ret\nendfn f\n"), IsEmpty());
}

TEST(AuditBatch, DoesNotCoverGuards) {
  const std::string Text = R"(
fn f
  cbz x0, 1f
  enter
1: HOLE
  cbz x3, 2f
  leave
2: ret
endfn f
)";
  auto with = [&](const char *Line) { return findings(filled(Text, Line), "batch f a lazy MMU section\n"); };
  EXPECT_THAT(with("str x1, [x2]"), IsEmpty());
  EXPECT_THAT(with("set x12\n str x1, [x2]\n restore x12"), IsEmpty());
  EXPECT_THAT(with("set x12\n str x1, [x2]"), ElementsAre("por-return f"));
}

// Barriers

TEST(AuditIsb, AfterSet) {
  EXPECT_THAT(findings(R"(
fn f
  mrs_por x9
  orr x10, x9, #0x40
  msr_por x10
  str x1, [x0]
  isb
  msr_por x9
  isb
  ret
endfn f
)"),
              ElementsAre("por-isb f"));
}

TEST(AuditIsb, AtomicsAreStores) {
  for (const char *Store : {"stlr x1, [x0]", "stxr w3, x1, [x0]", "swp x1, x2, [x0]", "cas x1, x2, [x0]", "stset x1, [x0]",
                            "stp x1, x2, [x0], #16", "str q0, [x0]", "strb w1, [x0, x2]", "dc zva, x0",
                            "dc gzva, x0"})
    EXPECT_THAT(findings(std::string("fn f\n mrs_por x9\n orr x10, x9, #0x40\n msr_por x10\n ") + Store +
                         "\n isb\n msr_por x9\n isb\n ret\nendfn f\n"),
                ElementsAre("por-isb f"))
        << Store;
}

TEST(AuditIsb, SpillsMayComeBefore) {
  EXPECT_THAT(findings(R"(
fn f
  sub sp, sp, #16
  mrs_por x9
  orr x10, x9, #0x40
  msr_por x10
  str x9, [sp, #8]
  isb
  str x1, [x0]
  ldr x9, [sp, #8]
  msr_por x9
  isb
  add sp, sp, #16
  ret
endfn f
)"),
              IsEmpty());
}

TEST(AuditIsb, AfterRestore) {
  const char Text[] = R"(
fn f
  mrs_por x9
  orr x10, x9, #0x40
  msr_por x10
  isb
  str x1, [x0]
  msr_por x9
  HOLE
1: ret
endfn f
)";
  EXPECT_THAT(findings(filled(Text, "isb")), IsEmpty());
  EXPECT_THAT(findings(filled(Text, "nop")), ElementsAre("por-isb f"));
  EXPECT_THAT(findings(filled(Text, "cbz x2, 1f\n isb")), ElementsAre("por-isb f"));
}

TEST(AuditIsb, DsbIsNone) {
  EXPECT_THAT(findings("fn f\n mov x0, #0x17\n msr_por x0\n dsb sy\n ret\nendfn f\n"), ElementsAre("por-isb f"));
}

TEST(AuditIsb, ExceptionReturnIsOne) {
  EXPECT_THAT(findings("fn f\n mov x0, #0x17\n msr_por x0\n eret\nendfn f\n"), IsEmpty());
}

TEST(AuditIsb, NamedPlace) {
  EXPECT_THAT(findings("fn f\n mov x0, #0x17\n msr_por x0\n ret\nendfn f\n", "no-isb f overlays are off\n"), IsEmpty());
}

TEST(AuditIsb, BeginningOfABatchMayNot) {
  EXPECT_THAT(findings(R"(
fn f
  mrs_por x9
  and x10, x9, #0xffffffffffffff0f
  orr x11, x10, #0x10
  cmp x11, x9
  b.ne 1f
  orr x10, x10, #0x40
  orr x10, x10, #0x10
  msr_por x10
  str x1, [x0]
  isb
1: leave
  ret
endfn f
)"),
              ElementsAre("por-isb f"));
}

TEST(AuditIsb, EndOfABatchMayWait) {
  const char Leave[] = R"(
fn f
  mrs_por x9
  mov x11, #0x50
  and x10, x9, #0xffffffffffffff0f
  orr x11, x10, x11
  cmp x11, x9
  b.ne 1f
  orr x10, x10, #0x10
  msr_por x10
  stclr x1, [x0]
  isb
1: ret
endfn f
)";
  EXPECT_THAT(findings(Leave), IsEmpty());
  std::string Without = Leave;
  Without.replace(Without.find("  isb\n"), 6, "");
  EXPECT_THAT(findings(Without), ElementsAre("por-isb f"));
}

// Origins

TEST(AuditOrigin, Memory) {
  EXPECT_THAT(findings("fn f\n ldr x1, [x0]\n msr_por x1\n isb\n ret\nendfn f\n"), ElementsAre("por-memory f"));
  EXPECT_THAT(findings("fn f\n ldr x1, [x0]\n msr_por x1\n isb\n ret\nendfn f\n", "memory f resumes\n"), IsEmpty());
  EXPECT_THAT(findings("fn f\n ldp x2, x1, [x0], #16\n msr_por x1\n isb\n ret\nendfn f\n"), ElementsAre("por-memory f"));
  EXPECT_THAT(findings("fn f\n ldr x1, =g\n msr_por x1\n isb\n ret\nendfn f\n"), ElementsAre("por-memory f"));
  EXPECT_THAT(findings("fn f\n swp x1, x2, [x0]\n msr_por x2\n isb\n ret\nendfn f\n"), ElementsAre("por-memory f"));
}

TEST(AuditOrigin, PartOfItFromMemory) {
  EXPECT_THAT(findings(R"(
fn f
  mrs_por x9
  ldr x1, [x0]
  and x1, x1, #0xf0
  and x9, x9, #0xffffffffffffff0f
  orr x9, x9, x1
  msr_por x9
  isb
  ret
endfn f
)"),
              ElementsAre("por-memory f"));
}

TEST(AuditOrigin, NothingOfItFromMemory) {
  // The bits that memory had are cleared before they arrive.
  EXPECT_THAT(findings(R"(
fn f
  mrs_por x9
  ldr x1, [x0]
  and x1, x1, #0xf0
  orr x10, x9, x1
  and x10, x10, #0xffffffffffffff0f
  orr x10, x10, #0x10
  msr_por x10
  isb
  ret
endfn f
)"),
              IsEmpty());
}

TEST(AuditOrigin, Argument) {
  EXPECT_THAT(findings("fn f\n msr_por x0\n isb\n ret\nendfn f\n"), ElementsAre("por-argument f"));
  EXPECT_THAT(sites("fn f\n msr_por x3\n isb\n ret\nendfn f\n"), ElementsAre("f load argument-x3"));
}

TEST(AuditOrigin, ArgumentOfARestore) {
  EXPECT_THAT(findings("fn f\n restore x0\n ret\nendfn f\n"), ElementsAre("por-argument f"));
}

TEST(AuditOrigin, ArgumentOverBranchesAndStack) {
  EXPECT_THAT(findings(R"(
fn f
  sub sp, sp, #32
  str x1, [sp, #8]
  mov x1, xzr
  cbz x0, 1f
  ldr x2, [sp, #8]
  b 2f
1: mov x2, #0x10
2: msr_por x2
  isb
  add sp, sp, #32
  ret
endfn f
)"),
              Contains("por-argument f"));
}

TEST(AuditOrigin, ComputedFromAnArgument) {
  EXPECT_THAT(sites("fn f\n mul x0, x0, x1\n msr_por x0\n isb\n ret\nendfn f\n"),
              ElementsAre("f load argument-x0,argument-x1,computed"));
}

TEST(AuditOrigin, ChosenByAnArgument) {
  EXPECT_THAT(findings("fn f\n mrs_por x9\n cmp w1, #2\n csel x9, x0, x9, hi\n msr_por x9\n isb\n ret\nendfn f\n"),
              ElementsAre("por-argument f"));
}

TEST(AuditOrigin, ResultOfACall) {
  EXPECT_THAT(findings(R"(
fn f
  stp x29, x30, [sp, #-16]!
  bl g
  msr_por x0
  isb
  ldp x29, x30, [sp], #16
  ret
endfn f
)"),
              ElementsAre("por-computed f"));
}

TEST(AuditOrigin, OtherRegisters) {
  EXPECT_THAT(findings("fn f\n mrs x0, S3_5_C10_C2_4\n msr_por x0\n isb\n ret\nendfn f\n"), ElementsAre("por-register f"));
  EXPECT_THAT(sites("fn f\n mrs x0, S3_5_C10_C2_4\n msr_por x0\n isb\n ret\nendfn f\n"), ElementsAre("f load POR_EL12"));
  EXPECT_THAT(findings("fn f\n mrs x0, TPIDR_EL1\n msr_por x0\n isb\n ret\nendfn f\n"), ElementsAre("por-register f"));
  EXPECT_THAT(findings("fn f\n msr_por x20\n isb\n ret\nendfn f\n"), ElementsAre("por-register f"));
}

TEST(AuditOrigin, PorAtAnotherPlace) {
  // Bits of the register, but not those that they become.
  EXPECT_THAT(findings("fn f\n mrs_por x9\n lsl x9, x9, #4\n msr_por x9\n isb\n ret\nendfn f\n"),
              ElementsAre("por-computed f"));
}

TEST(AuditOrigin, ZeroRegister) {
  EXPECT_THAT(sites("fn f\n msr_por xzr\n isb\n ret\nendfn f\n"), ElementsAre("f unset immediate"));
}

TEST(AuditOrigin, OtherExceptionLevels) {
  const char Text[] = R"(
fn f
  msr S3_4_C10_C2_4, x0
  ldr x1, [x0]
  msr S3_5_C10_C2_4, x1
  msr S3_3_C10_C2_4, x1
  ret
endfn f
)";
  AuditResult R = run(Text);
  EXPECT_THAT(findings(R), IsEmpty());
  ASSERT_EQ(R.Sites.size(), 2u);
  EXPECT_EQ(R.Sites[0].Reg, PorEl2);
  EXPECT_EQ(R.Sites[0].Origin, "argument-x0");
  EXPECT_EQ(R.Sites[1].Reg, PorEl12);
  EXPECT_EQ(R.Sites[1].Origin, "memory");
}

// Calls

TEST(AuditCall, WithPermissiveValue) {
  const char Text[] = R"(
fn f
  stp x29, x30, [sp, #-32]!
  str x19, [sp, #16]
  set x19
  bl g
  restore x19
  ldr x19, [sp, #16]
  ldp x29, x30, [sp], #32
  ret
endfn f
)";
  EXPECT_THAT(findings(Text), ElementsAre("por-call f"));
  EXPECT_THAT(findings(Text, "call f->h clears\n"), ElementsAre("por-call f"));
  EXPECT_THAT(findings(Text, "call g->g clears\n"), ElementsAre("por-call f"));
  EXPECT_THAT(findings(Text, "call f the test of all this\n"), IsEmpty());
  EXPECT_THAT(findings(Text, "instrument g the compiler wants it\n"), IsEmpty());
}

TEST(AuditCall, ByPointer) {
  const char Text[] = R"(
fn f
  stp x29, x30, [sp, #-32]!
  str x19, [sp, #16]
  mov x8, x0
  set x19
  blr x8
  restore x19
  ldr x19, [sp, #16]
  ldp x29, x30, [sp], #32
  ret
endfn f
)";
  EXPECT_THAT(findings(Text), ElementsAre("por-call f"));
  EXPECT_THAT(findings(Text, "call f->g clears\n"), ElementsAre("por-call f"));
}

TEST(AuditCall, OnTheWayToPanic) {
  const char Text[] = R"(
fn f
  stp x29, x30, [sp, #-16]!
  set x9
  cbz x0, 1f
  str x1, [x0]
  restore x9
  ldp x29, x30, [sp], #16
  ret
1: bl panic
  ret
endfn f
)";
  EXPECT_THAT(findings(Text), ElementsAre("por-call f", "por-return f"));
  EXPECT_THAT(findings(Text, "noreturn panic it does not\n"), IsEmpty());
}

TEST(AuditCall, TailCall) {
  EXPECT_THAT(findings("fn f\n set\n b g\nendfn f\n"), ElementsAre("por-return f"));
  EXPECT_THAT(findings("fn f\n set\n restore\n b g\nendfn f\n"), IsEmpty());
  EXPECT_THAT(findings("fn f\n set\n b g\nendfn f\nfn g\n ret\nendfn g\n"), ElementsAre("por-return f"));
  EXPECT_THAT(findings("fn f\n set\n br x1\nendfn f\n"), ElementsAre("por-return f"));
}

TEST(AuditCall, TailCallToItself) {
  EXPECT_THAT(findings("fn f\n set\n cbz x0, f\n restore\n ret\nendfn f\n"), ElementsAre("por-return f"));
}

TEST(AuditCall, FallsIntoTheNextFunction) {
  EXPECT_THAT(findings("fn f\n set\nendfn f\nfn g\n ret\nendfn g\n"), ElementsAre("por-return f"));
}

TEST(AuditCall, FallsIntoTheNextFunctionBehindAnything) {
  const std::string Text = R"(
fn f
  mrs_por x9
  orr x10, x9, #0x40
1: msr_por x10
  isb
  HOLE
endfn f
fn g
  ret
endfn g
)";
  auto with = [&](const char *Line) { return findings(filled(Text, Line)); };
  for (const char *Last : {"nop", "csel x1, x2, x3, hi", "mrs x1, TPIDR_EL1", "cbz x1, 1b", "tbnz x1, #3, 1b",
                           "cmp x1, #3\n b.hi 1b"})
    EXPECT_THAT(with(Last), ElementsAre("por-return f")) << Last;
  EXPECT_THAT(with("msr_por x10"), ElementsAre("por-isb f", "por-return f"));
}

TEST(AuditCall, LastCallDoesNotComeBack) {
  EXPECT_THAT(findings("fn f\n msr_por xzr\n isb\n bl g\nendfn f\nfn h\n ret\nendfn h\n"), IsEmpty());
}

TEST(AuditCall, IntoTheMiddle) {
  const std::string Text = R"(
fn f
  mov x0, #0x17
1: msr_por x0
  isb
  ret
endfn f
fn g
  HOLE
  ret
endfn g
)";
  auto with = [&](const char *Line) { return findings(filled(Text, Line)); };
  EXPECT_THAT(with("bl f"), IsEmpty());
  EXPECT_THAT(with("bl 1b"), ElementsAre("por-argument f"));
  EXPECT_THAT(with("adr x8, 1b\n br x8"), ElementsAre("por-argument f"));
  EXPECT_THAT(with("adrp x8, 1b\n add x8, x8, :lo12:1b\n str x8, [x1]"), ElementsAre("por-argument f"));
  // Of a jump, more is known than of a call.
  EXPECT_THAT(with("b 1b"), ElementsAre("por-argument g"));
  EXPECT_THAT(with("cbz x1, 1b"), ElementsAre("por-argument g"));
  EXPECT_THAT(with("mov x0, #0x27\n tbz x1, #4, 1b"), IsEmpty());
  EXPECT_THAT(with("ldr x0, [x1]\n bl h\nendfn g\nfn h\n b 1b"), ElementsAre("por-argument h"));
  // Over a function that does not write itself.
  EXPECT_THAT(with("mov x0, #0x27\n2: b 1b\nendfn g\nfn h\n b 2b"), ElementsAre("por-argument h"));
}

TEST(AuditCall, IntoTheMiddleByATable) {
  const std::string Text = R"(
fn f
  mov x0, #0x17
1: msr_por x0
  isb
  ret
endfn f
fn g
2: nop
  ret
endfn g
)";
  EXPECT_THAT(findings(Text + " jump_entry 2b, 1b\n"), ElementsAre("por-argument g"));
  EXPECT_THAT(findings(Text + " fixup 2b, 1b\n"), ElementsAre("por-argument g"));
  EXPECT_THAT(findings(Text + " .section .altinstr_replacement, \"ax\"\n3: b 1b\n altinstr 2b, 3b, 4\n"),
              ElementsAre("por-argument g"));
  EXPECT_THAT(findings(Text + " .section .altinstr_replacement, \"a\"\n3: b 1b\n altinstr 2b, 3b, 4\n"),
              ElementsAre("por-argument g"));
}

TEST(AuditCall, IntoTheMiddleFromInside) {
  EXPECT_THAT(findings(R"(
fn f
  stp x29, x30, [sp, #-16]!
  bl 1f
  mov x0, #0x17
1: msr_por x0
  isb
  ldp x29, x30, [sp], #16
  ret
endfn f
)"),
              ElementsAre("por-argument f"));
}

TEST(AuditCall, LabelInTheMiddle) {
  const char Text[] = "fn f\n mov x0, #0x17\n HOLE\ninner: msr_por x0\n isb\n ret\nendfn f\n";
  EXPECT_THAT(findings(filled(Text, ".globl inner")), ElementsAre("por-argument f"));
  EXPECT_THAT(findings(filled(Text, "")), IsEmpty());
}

TEST(AuditCall, ProloguesOfAllKinds) {
  EXPECT_THAT(findings(R"(
fn f
  bti c
  paciasp
  stp x29, x30, [sp, #-32]!
  str x30, [x18], #8
  stp x19, x20, [sp, #16]
  mov x29, sp
  set x19
  str x1, [x0]
  restore x19
  ldp x19, x20, [sp, #16]
  ldp x29, x30, [sp], #32
  ldr x30, [x18, #-8]!
  autiasp
  ret
endfn f
)"),
              IsEmpty());
  EXPECT_THAT(findings("fn f\n pacibsp\n set\n retab\nendfn f\n"), ElementsAre("por-return f"));
}

// Tables

TEST(AuditAlternative, HoldsAWrite) {
  const char Text[] = R"(
fn f
1: nop
  nop
2: ret
endfn f
  .subsection 1
3: msr_por x0
  isb
4: .previous
  altinstr 1b, 3b, 8
)";
  EXPECT_THAT(findings(Text), ElementsAre("por-argument f"));
  AuditResult R = run(Text);
  ASSERT_EQ(R.Sites.size(), 1u);
  EXPECT_TRUE(R.Sites[0].Alternative);
  EXPECT_EQ(R.Sites[0].Function, "f");
}

TEST(AuditAlternative, TakesAnIsbAway) {
  const char Text[] = R"(
fn f
  msr_por xzr
1: isb
  ret
endfn f
  .subsection 1
3: nop
  .previous
  altinstr 1b, 3b, 4
)";
  EXPECT_THAT(findings(Text), ElementsAre("por-isb f"));
}

TEST(AuditAlternative, DoesNotFallIntoItsNeighbour) {
  // Replacements stand one after the other; each goes back to its own place.
  EXPECT_THAT(findings(R"(
fn f
1: nop
  isb
2: nop
  ret
endfn f
  .subsection 1
3: msr_por xzr
4: ldr x0, [x0]
  .previous
  altinstr 1b, 3b, 4
  altinstr 2b, 4b, 4
)"),
              IsEmpty());
}

TEST(AuditAlternative, IsEnteredByAJump) {
  EXPECT_THAT(findings(R"(
fn f
  mov x1, #0x10
  cbz x0, 1f
  ret
1: nop
  isb
  ret
endfn f
  .subsection 1
3: msr_por x2
  .previous
  altinstr 1b, 3b, 4
)"),
              ElementsAre("por-argument f"));
}

TEST(AuditAlternative, InASectionWithoutCode) {
  const char Text[] = R"(
fn f
1: nop
  isb
  ret
endfn f
  .section .altinstr_replacement, "a"
2: msr_por x0
  altinstr 1b, 2b, 4
)";
  EXPECT_THAT(findings(Text), ElementsAre("por-argument f"));
  AuditResult R = run(Text);
  ASSERT_EQ(R.Sites.size(), 1u);
  EXPECT_TRUE(R.Sites[0].Alternative);
}

TEST(AuditAlternative, OfACallback) {
  // The kernel writes the instruction anew, with an immediate that is not known.
  EXPECT_THAT(findings(R"(
fn f
  mov x0, #0x27
1: mov x0, #0x17
  msr_por x0
  isb
  ret
endfn f
  .section .altinstructions, "a"
  .word 1b - ., 0
  .hword 0x8007
  .byte 4, 0
)"),
              Contains("por-computed f"));
}

/// A guard that looks at what a callback puts in, twice, before and behind a store.
std::string guardOf(const std::string &Callback, const std::string &Restore = "msr_por x10") {
  return R"(
fn kpkeys_patch_pgtable_guard
  ret
endfn kpkeys_patch_pgtable_guard
fn another_callback
  ret
endfn another_callback
fn f
1: mov x9, #0x40
  .section .altinstructions, "a"
  .word 1b - ., )" +
         Callback + R"( - .
  .hword 0x8000
  .byte 4, 0
  .text
  tbz w9, #6, 3f
2: str x1, [x0]
  tbz w9, #6, 4f
  ret
3: mov x10, x9
  mov x11, #5
  bfi x10, x11, #4, #4
  msr_por x10
  isb
  b 2b
4: mrs_por x10
  and x10, x10, #0xffffffffffffff0f
  and x11, x9, #0xf0
  orr x10, x10, x11
  )" + Restore +
         R"(
  isb
  ret
endfn f
)";
}

TEST(AuditAlternative, ReadsTheRegister) {
  EXPECT_THAT(findings(guardOf("kpkeys_patch_pgtable_guard")), IsEmpty());
  AuditResult R = run(guardOf("kpkeys_patch_pgtable_guard"));
  ASSERT_EQ(R.Sites.size(), 2u);
  EXPECT_FALSE(R.Sites[0].Alternative);
  EXPECT_THAT(findings(guardOf("kpkeys_patch_pgtable_guard", "nop")), ElementsAre("por-return f"));
  EXPECT_THAT(findings(guardOf("another_callback")), Contains("por-computed f"));
}

TEST(AuditStaticKey, BothWays) {
  const std::string Text = R"(
fn f
1: nop
  ret
2: msr_por x0
  isb
  ret
endfn f
)";
  EXPECT_THAT(findings(Text + "  jump_entry 1b, 2b\n"), ElementsAre("por-argument f"));
  // Without the entry, nothing leads there, and that is said as well.
  EXPECT_THAT(findings(Text), ElementsAre("por-unreached f"));
}

TEST(AuditStaticKey, BranchThatMayBecomeNothing) {
  EXPECT_THAT(findings(R"(
fn f
1: b 2f
  msr_por x0
  isb
2: ret
endfn f
  jump_entry 1b, 2b
)"),
              ElementsAre("por-argument f"));
}

TEST(AuditStaticKey, DoesNotHideAnInstruction) {
  EXPECT_THAT(findings("fn f\n1: msr_por x0\n isb\n ret\n2: ret\nendfn f\n jump_entry 1b, 2b\n"),
              ElementsAre("por-argument f"));
}

TEST(AuditFixup, IsAWay) {
  EXPECT_THAT(findings(R"(
fn f
  set
1: ldr x1, [x0]
  restore
  ret
2: ret
endfn f
  fixup 1b, 2b
)"),
              ElementsAre("por-return f"));
}

TEST(AuditFixup, ComesBeforeAndAfterTheInstruction) {
  EXPECT_THAT(findings(R"(
fn f
1: ldr x2, [x0]
  ret
2: msr_por x2
  isb
  ret
endfn f
  fixup 1b, 2b
)"),
              ElementsAre("por-argument f", "por-memory f"));
}

TEST(AuditFixup, LeavesAnError) {
  // As get_user() in a guard: the error is 0 unless the fixup says otherwise.
  const std::string Text = R"(
fn f
  set
  mov w8, wzr
1: ldr x2, [x0]
2: cbnz w8, 3f
  restore
  ret
3: HOLE
endfn f
  .section __ex_table, "a"
  .word 1b - ., 2b - .
)";
  auto with = [&](const char *Line, const char *Data) { return findings(filled(Text, Line) + Data); };
  const char Data[] = "  .hword 3, 8 | 2 << 5\n";
  EXPECT_THAT(with("ret", Data), ElementsAre("por-return f"));
  EXPECT_THAT(with("restore\n ret", Data), IsEmpty());
  EXPECT_THAT(with("ret", "  .hword 0, 0\n"), IsEmpty());
}

TEST(AuditBranch, ThatCannotBeTaken) {
  EXPECT_THAT(sites("fn f\n mov x1, xzr\n cbz x1, 1f\n msr_por x0\n isb\n1: ret\nendfn f\n"), ElementsAre("f idle none"));
  EXPECT_THAT(sites("fn f\n mov x1, #4\n tbnz x1, #2, 1f\n msr_por x0\n isb\n1: ret\nendfn f\n"), ElementsAre("f idle none"));
}

TEST(AuditBranch, OnFlagsThatWereWritten) {
  EXPECT_THAT(findings("fn f\n mov x3, xzr\n cmp x3, #0\n msr nzcv, x0\n b.eq 1f\n msr_por x1\n isb\n1: ret\nendfn f\n"),
              ElementsAre("por-argument f"));
}

TEST(AuditBug, EndsAWay) {
  const std::string Text = R"(
fn f
  set
  cbz x0, 1f
  restore
  ret
1: brk #0x800
  ret
endfn f
)";
  EXPECT_THAT(findings(Text + " bug_entry 1b, 0\n"), IsEmpty());
  // A WARN() comes back.
  EXPECT_THAT(findings(Text + " bug_entry 1b, 1\n"), ElementsAre("por-return f"));
}

TEST(AuditJumpTable, IsFollowed) {
  const std::string Text = R"(
fn f
  adrp x8, table
  add x8, x8, :lo12:table
  adr x9, 1f
  ldrb w10, [x8, x0]
  add x9, x9, x10, lsl #2
  br x9
1: ret
2: msr_por x1
  isb
  ret
endfn f
  .section .rodata, "a"
table:
  .byte 0
  .byte (2b - 1b) / 4
)";
  EXPECT_THAT(findings(Text), ElementsAre("por-argument f"));
}

TEST(AuditJumpTable, OfWords) {
  EXPECT_THAT(findings(R"(
fn f
  adrp x8, table
  add x8, x8, :lo12:table
  ldrsw x10, [x8, x0, lsl #2]
  add x9, x8, x10
  br x9
1: ret
2: msr_por x1
  isb
  ret
endfn f
  .section .rodata, "a"
  .p2align 2
table:
  .word 1b - table
  .word 2b - table
)"),
              ElementsAre("por-argument f"));
}

TEST(AuditJumpTable, UnknownJumpIsSaid) {
  EXPECT_THAT(findings(R"(
fn f
  sub sp, sp, #16
  msr_por xzr
  isb
  br x1
endfn f
)"),
              ElementsAre("por-jump f"));
  EXPECT_THAT(findings("fn f\n msr_por xzr\n isb\n br x1\nendfn f\n"), IsEmpty());
}

TEST(AuditJumpTable, OfSomethingElse) {
  // The jump goes where memory says, not where a table says that is used as well.
  const std::string Text = R"(
fn f
  sub sp, sp, #16
  adrp x8, table
  add x8, x8, :lo12:table
  adr x9, 1f
  ldrb w10, [x8, x0]
  ldr x5, [x6]
  br HOLE
1: msr_por xzr
  isb
  add sp, sp, #16
  ret
endfn f
  .section .rodata, "a"
table:
  .byte 0
)";
  EXPECT_THAT(findings(filled(Text, "x5")), ElementsAre("por-jump f", "por-unreached f"));
  EXPECT_THAT(findings(filled(Text, "x9")), IsEmpty());
}

TEST(AuditJump, ToAnAddressInARegister) {
  const std::string Text = R"(
fn f
  sub sp, sp, #16
  adr x8, HOLE
  mov x1, #0x17
  br x8
  mov x1, #0x50
1: msr_por x1
  isb
  add sp, sp, #16
  ret
endfn f
fn g
  ret
endfn g
)";
  EXPECT_THAT(findings(filled(Text, "1f")), IsEmpty());
  EXPECT_THAT(findings(filled(Text, "g")), ElementsAre("por-unreached f"));
  EXPECT_THAT(findings("fn f\n adr x8, 1f\n ret x8\n1: msr_por x0\n isb\n ret\nendfn f\n"), ElementsAre("por-argument f"));
}

TEST(AuditMappingSymbols, DataIsNoCode) {
  EXPECT_THAT(sites("fn f\n ret\n .word 0xd518a280\nendfn f\n"), IsEmpty());
  EXPECT_THAT(findings("fn f\n ret\n .inst 0xd518a280\nendfn f\n"), ElementsAre("por-unreached f"));
}

TEST(AuditMappingSymbols, DataThatIsExecutedIsCode) {
  EXPECT_THAT(findings("fn f\n nop\n .word 0xd518a280\n isb\n ret\nendfn f\n"), ElementsAre("por-argument f"));
  EXPECT_THAT(findings("fn f\n b 1f\n ret\n1: .word 0xd518a280, 0xd5033fdf, 0xd65f03c0\nendfn f\n"),
              ElementsAre("por-argument f"));
  EXPECT_THAT(sites("fn f\n bl panic\n .word 0xd518a280\nendfn f\n"), IsEmpty());
}

TEST(AuditCold, IsPartOfItsFunction) {
  const std::string Text = R"(
fn f
  set
  cbz x0, f.cold
  restore
  ret
endfn f
  .type f.cold, %function
f.cold:
  HOLE
  restore
  ret
  .size f.cold, . - f.cold
)";
  auto with = [&](const char *Line) { return findings(filled(Text, Line)); };
  EXPECT_THAT(with("nop"), IsEmpty());
  EXPECT_THAT(with("msr_por x1\n isb"), ElementsAre("por-argument f"));
}

TEST(AuditCold, IsEnteredByOthers) {
  EXPECT_THAT(findings(R"(
fn f
  mov x1, #0x17
  cbz x0, f.cold
  ret
endfn f
  .type f.cold, %function
f.cold:
  msr_por x1
  isb
  ret
  .size f.cold, . - f.cold
fn g
  b f.cold
endfn g
)"),
              ElementsAre("por-argument f"));
}

TEST(AuditCold, IsNamedAfterAnAlias) {
  EXPECT_THAT(findings(R"(
fn f
  .globl a
  .set a, f
  .type a, %function
  set
  cbz x0, f.cold
  restore
  ret
endfn f
  .size a, . - a
  .type f.cold, %function
f.cold:
  restore
  ret
  .size f.cold, . - f.cold
)"),
              IsEmpty());
}

TEST(AuditUnreached, BehindTheEnd) {
  EXPECT_THAT(findings("fn f\n ret\n msr_por x0\nendfn f\n"), ElementsAre("por-unreached f"));
  EXPECT_THAT(findings("fn f\n ret\nendfn f\n msr_por x0\n ret\n"), ElementsAre("por-unreached "));
}

TEST(AuditAssembly, RoutinesWithoutAType) {
  EXPECT_THAT(findings(".text\nf: msr_por x0\n isb\n ret\n .size f, . - f\n"), ElementsAre("por-argument f"));
}

TEST(AuditLoops, ComeToAnEnd) {
  // Counters, and pointers into the frame that move.
  EXPECT_THAT(findings(R"(
fn f
  sub sp, sp, #64
  mov x1, xzr
  mov x2, sp
1: str x1, [x2], #8
  add x1, x1, #3
  eor x3, x3, x1, lsl #5
  mrs_por x4
  eor x5, x5, x4
  ror x5, x5, #7
  cmp x1, #24
  b.lo 1b
  set
  restore
  add sp, sp, #64
  ret
endfn f
)"),
              IsEmpty());
}

TEST(AuditLoops, TooManyWaysAreSaid) {
  // Each bit of POR_EL1 doubles the ways within one block.
  std::string Text = "fn f\n mrs_por x9\n";
  for (unsigned Bit = 4; Bit < 36; ++Bit)
    Text += " tst x9, #" + std::to_string(uint64_t(1) << Bit) + "\n csel x1, x2, x3, eq\n";
  EXPECT_THAT(findings(Text + " msr_por xzr\n isb\n ret\nendfn f\n"), Contains("por-limit f"));
  // Places that may all be jumped over.
  Text = "fn f\n";
  for (unsigned N = 0; N < 1000; ++N)
    Text += "1: nop\n .pushsection .altinstructions, \"a\"\n .word 1b - ., 0\n .hword 0x8007\n .byte 4, 0\n .popsection\n";
  EXPECT_THAT(findings(Text + " msr_por xzr\n isb\n ret\nendfn f\n"), Contains("por-limit f"));
}

TEST(AuditLoops, ValueOfManyOrigins) {
  std::string Text = "fn f\n";
  for (unsigned N = 0; N < 3000; ++N)
    Text += " ldr x2, [x0]\n eor x1, x1, x2\n";
  EXPECT_THAT(findings(Text + " msr_por x1\n isb\n ret\nendfn f\n"), Contains("por-computed f"));
}

} // namespace
