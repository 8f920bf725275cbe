// SPDX-License-Identifier: GPL-2.0-only
#include "lint/driver/Checks.h"

#include <gmock/gmock.h>

using namespace kpkeys;
using namespace kpkeys::lint;

static std::string chosen(llvm::StringRef List) {
  auto S = Selection::parse(List);
  if (!S)
    return llvm::toString(S.takeError());
  std::string Out;
  for (const CheckInfo &C : allChecks())
    if (S->contains(C.Name) && !isListCheck(C.Name))
      Out += (Out.empty() ? "" : " ") + C.Name.str();
  return Out;
}

TEST(Selection, NamesAndPatterns) {
  EXPECT_EQ(chosen("guard-scope"), "guard-scope");
  EXPECT_EQ(chosen("pgtable-*"), "pgtable-guard pgtable-plain-store");
  EXPECT_EQ(chosen("pgtable-*, -pgtable-guard"), "pgtable-plain-store");
}

TEST(Selection, LevelsIncludeLowerOnes) {
  EXPECT_THAT(chosen("level0"), testing::Not(testing::HasSubstr("guard-scope")));
  EXPECT_THAT(chosen("level1"), testing::AllOf(testing::HasSubstr("pgtable-guard"), testing::HasSubstr("guard-scope"),
                                               testing::Not(testing::HasSubstr("unanalysed"))));
  EXPECT_THAT(chosen("level2"), testing::HasSubstr("unanalysed"));
}

TEST(Selection, RemovingBeginsWithTheDefault) {
  EXPECT_EQ(chosen(""), chosen("level1"));
  EXPECT_EQ(chosen("-guard-scope"), chosen("level1,-guard-scope"));
  EXPECT_THAT(chosen("-guard-scope"), testing::HasSubstr("pgtable-guard"));
}

TEST(Selection, UnknownWordsAreErrors) {
  for (const char *List : {"nonsense", "-nonsense", "level0,nonsense-*", "levelx", "[a"})
    EXPECT_THAT(chosen(List), testing::HasSubstr("--checks: no check is called")) << List;
}

TEST(Selection, ChecksOfListsCannotBeSwitchedOff) {
  auto S = Selection::parse("level2,-*");
  ASSERT_TRUE(bool(S));
  EXPECT_TRUE(S->contains("suppression"));
  EXPECT_TRUE(S->contains("unused-exemption"));
  EXPECT_FALSE(S->contains("pgtable-guard"));
}

TEST(NeedsProgram, OneUnitIsEnoughForTheOthers) {
  std::string Alone;
  for (const CheckInfo &C : allChecks())
    if (!needsProgram(C.Name))
      Alone += (C.Name + " ").str();
  EXPECT_EQ(Alone, "context-constant context-address context-inline context-restore pgtable-plain-store suppression ");
  auto S = Selection::parse("level2");
  ASSERT_TRUE(bool(S));
  EXPECT_TRUE(S->keepPerUnit());
  EXPECT_FALSE(S->contains("pgtable-guard"));
  EXPECT_FALSE(S->contains("guard-scope"));
  EXPECT_TRUE(S->contains("context-restore"));
}
