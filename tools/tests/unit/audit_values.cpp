// SPDX-License-Identifier: GPL-2.0-only
#include "audit/Decoder.h"
#include "audit/Value.h"

#include "gtest/gtest.h"

using namespace kpkeys::audit;

namespace {

class AuditValues : public testing::Test {
protected:
  ValueTable T;
  ValueId Entry = T.from(Source::Entry, 0);
  ValueId Memory = T.from(Source::Memory, 0x1000);
  EntryFacts None;

  ValueId c(uint64_t C) { return T.constant(C); }
  const Bits &bits(ValueId Id) { return T.get(Id)[0]; }
};

TEST_F(AuditValues, ConstantsAreComputed) {
  EXPECT_EQ(T.constantOf(T.bitAnd(c(0xff), c(0x3c))), 0x3cu);
  EXPECT_EQ(T.constantOf(T.bitOr(c(0xf0), c(0xf))), 0xffu);
  EXPECT_EQ(T.constantOf(T.bitXor(c(0xff), c(0xf))), 0xf0u);
  EXPECT_EQ(T.constantOf(T.add(c(~0ull), c(2))), 1u);
  EXPECT_EQ(T.constantOf(T.subtract(c(1), c(2))), ~0ull);
  EXPECT_EQ(T.constantOf(T.invert(c(0))), ~0ull);
  EXPECT_EQ(T.constantOf(T.shiftLeft(c(3), 62)), 0xc000000000000000u);
  EXPECT_EQ(T.constantOf(T.shiftRight(c(~0ull), 60)), 0xfu);
  EXPECT_EQ(T.constantOf(T.truncate(c(0x123456789abcdef0))), 0x9abcdef0u);
}

TEST_F(AuditValues, BitfieldsAreAsTheArchitectureHasThem) {
  EXPECT_EQ(T.constantOf(T.extract(c(0xabcd), 4, 11, false, false)), 0xbcu);   // ubfx #4, #8
  EXPECT_EQ(T.constantOf(T.extract(c(0xabcd), 60, 7, false, false)), 0xcd0u);  // ubfiz #4, #8
  EXPECT_EQ(T.constantOf(T.extract(c(0x80), 0, 7, true, false)), ~0x7full);    // sxtb
  EXPECT_EQ(T.constantOf(T.extract(c(0x80), 0, 7, true, true)), 0xffffff80u);
  EXPECT_EQ(T.constantOf(T.insert(c(0xffff), c(0), 0, 7, false)), 0xff00u);    // bfxil #0, #8
  EXPECT_EQ(T.constantOf(T.insert(c(0), c(0xff), 60, 3, false)), 0xf0u);       // bfi #4, #4
  EXPECT_EQ(T.constantOf(T.insert(c(~0ull), c(0), 28, 3, true)), 0xffffff0fu); // of w
}

TEST_F(AuditValues, LogicalImmediates) {
  EXPECT_EQ(decodeLogicalImmediate(0x1000, false), 1u);
  EXPECT_EQ(decodeLogicalImmediate(0x1e3b, false), 0xffffffffffffff0fu << 0);
  EXPECT_EQ(decodeLogicalImmediate(0x03c, false), 0x5555555555555555u);
  EXPECT_EQ(decodeLogicalImmediate(0x000, true), 1u);
}

TEST_F(AuditValues, MasksKeepOrigins) {
  ValueId Masked = T.bitAnd(Entry, c(0xf0));
  EXPECT_EQ(T.entryBits(bits(Masked)), 0xf0u);
  EXPECT_EQ(bits(Masked).Zeros, ~0xf0ull);
  ValueId Merged = T.bitOr(T.bitAnd(Entry, c(~0xf0ull)), T.bitAnd(Memory, c(0xf0)));
  EXPECT_EQ(T.entryBits(bits(Merged)), ~0xf0ull);
  EXPECT_EQ(T.bitsFrom(bits(Merged), Source::Memory), 0xf0u);
}

TEST_F(AuditValues, SumOfDisjointBitsIsTheirUnion) {
  ValueId Low = T.bitAnd(Entry, c(0xff0f));
  EXPECT_EQ(T.add(Low, c(0x50)), T.bitOr(Low, c(0x50)));
  // 0xf0 + 0x10 carries into bits that are not known.
  EXPECT_NE(T.entryBits(bits(T.add(T.bitOr(Low, c(0xf0)), c(0x10)))) & 0xff00, 0xff00u);
}

TEST_F(AuditValues, MovedBitsAreNotTheirOwn) {
  EXPECT_EQ(T.entryBits(bits(T.shiftLeft(Entry, 4))), 0u);
  EXPECT_EQ(T.entryBits(bits(T.bitXor(Entry, Memory))), 0u);
  EXPECT_EQ(T.entryBits(bits(T.mix({Entry}, 4))), 0u);
}

TEST_F(AuditValues, AlternativesAreKeptAndRefined) {
  ValueId Either = T.join(Entry, c(~0ull));
  ASSERT_EQ(T.get(Either).size(), 2u);
  EntryFacts Facts;
  Facts.Zeros = 8;
  EXPECT_EQ(T.refine(Either, c(~0ull), true, Facts), c(~0ull));
  EXPECT_EQ(T.refine(Either, c(~0ull), false, Facts), Entry);
  EXPECT_EQ(T.equal(Entry, c(~0ull), Facts), Truth::No);
  EXPECT_EQ(T.equal(Entry, Entry, Facts), Truth::Yes);
  EXPECT_EQ(T.equal(Memory, Memory, Facts), Truth::Maybe) << "memory may change";
}

TEST_F(AuditValues, WideningComesToAnEnd) {
  ValueId V = Entry;
  unsigned Changes = 0;
  for (uint64_t N = 0; N < 4096; ++N) {
    ValueId Next = T.join(V, N % 3 ? c(N) : T.bitOr(T.bitAnd(Entry, c(~N)), c(N & 0xff)));
    Changes += Next != V;
    V = Next;
  }
  EXPECT_LT(Changes, 200u);
  for (uint64_t N = 0; N < 4096; ++N)
    V = T.joinRoughly(V, T.from(Source::Memory, 4 * N));
  EXPECT_EQ(T.joinRoughly(V, T.from(Source::Argument, 1)), V);
}

TEST_F(AuditValues, LearnsAboutTheEntry) {
  EntryFacts Facts;
  ASSERT_TRUE(T.learn(T.bitAnd(Entry, c(0xf0)), c(0x50), Facts));
  EXPECT_EQ(Facts.Ones, 0x50u);
  EXPECT_EQ(Facts.Zeros, 0xa0u);
  EXPECT_EQ(T.equal(T.bitAnd(Entry, c(0xf0)), c(0x10), Facts), Truth::No);
  EXPECT_FALSE(T.learn(T.bitAnd(Entry, c(0x10)), c(0), Facts));
}

TEST_F(AuditValues, FrameAddresses) {
  EXPECT_EQ(T.frameOffset(T.add(T.frame(-16), c(8))), -8);
  EXPECT_EQ(T.frameOffset(T.subtract(T.frame(0), c(32))), -32);
  EXPECT_EQ(T.equal(T.frame(8), T.frame(8), None), Truth::Yes);
  EXPECT_EQ(T.equal(T.frame(8), T.frame(16), None), Truth::No);
  EXPECT_FALSE(T.frameOffset(T.bitAnd(T.frame(8), c(~15ull))));
  EXPECT_EQ(T.bitsFrom(bits(T.bitAnd(T.frame(8), c(~15ull))), Source::Frame), ~15ull);
  EXPECT_EQ(T.frameOffset(T.bitOr(c(0), T.frame(8))), 8);
  ValueId Unknown = T.from(Source::Argument, 0);
  for (ValueId Made : {T.add(T.frame(8), Unknown), T.bitXor(T.frame(8), c(3)), T.shiftLeft(T.frame(8), 4),
                       T.mix({T.frame(8), Unknown}, 64), T.join(T.frame(8), T.frame(24)), T.join(c(0), T.frame(8)),
                       T.joinRoughly(Unknown, T.frame(8))}) {
    EXPECT_FALSE(T.frameOffset(Made));
    EXPECT_EQ(T.frameBase(Made), 8);
  }
  EXPECT_FALSE(T.frameOffset(T.add(T.frame(8), c(1ull << 62))));
  EXPECT_FALSE(T.frameBase(Unknown));
}

} // namespace
