// SPDX-License-Identifier: GPL-2.0-only
#include "lib/Finding.h"

#include <gmock/gmock.h>

using namespace kpkeys;
using testing::SizeIs;

static Finding at(std::string File, unsigned Line, std::string Key = "store *p") {
  return {"pgtable-guard", {std::move(File), Line, 3}, "write without a guard", {}, "f", std::move(Key), "", false};
}

TEST(Finding, HeaderFindingOfManyUnitsIsOne) {
  std::vector<Finding> F(400, at("include/x.h", 7));
  sortAndDedupe(F);
  EXPECT_THAT(F, SizeIs(1));
}

TEST(Finding, TheLongerExplanationStays) {
  Finding Short = at("a.c", 1), Long = at("a.c", 1);
  Long.Notes.push_back({{"a.c", 9, 1}, "guard released here"});
  std::vector<Finding> F{Short, Long, Short};
  sortAndDedupe(F);
  ASSERT_THAT(F, SizeIs(1));
  EXPECT_THAT(F[0].Notes, SizeIs(1));
}

TEST(Finding, DifferentInMessageKeyOrPlaceAreNotMerged) {
  Finding Message = at("a.c", 1);
  Message.Message = "another";
  Finding Column = at("a.c", 1);
  Column.Loc.Column = 4;
  std::vector<Finding> F{at("a.c", 1), at("a.c", 1, "memset p"), Message, Column, at("a.c", 2), at("b.c", 1)};
  sortAndDedupe(F);
  EXPECT_THAT(F, SizeIs(6));
}

TEST(Finding, SortedByPlaceWhateverTheOrder) {
  std::vector<Finding> F{at("b.c", 1), at("a.c", 10), at("a.c", 9)};
  sortAndDedupe(F);
  EXPECT_EQ(F[0].Loc.Line, 9u);
  EXPECT_EQ(F[1].Loc.Line, 10u);
  EXPECT_EQ(F[2].Loc.File, "b.c");
}

TEST(Finding, FingerprintStaysWhenLinesMove) {
  std::vector<Finding> Before{at("a.c", 10), at("a.c", 20)}, After{at("a.c", 110), at("a.c", 123)};
  sortAndDedupe(Before);
  sortAndDedupe(After);
  EXPECT_EQ(Before[0].Fingerprint, After[0].Fingerprint);
  EXPECT_EQ(Before[1].Fingerprint, After[1].Fingerprint);
  EXPECT_NE(Before[0].Fingerprint, Before[1].Fingerprint);
  EXPECT_THAT(Before[0].Fingerprint, testing::MatchesRegex("[0-9a-f]{16}"));
}

TEST(Finding, FingerprintTellsFieldsApart) {
  Finding A = at("a.c", 1), B = at("a.c", 1);
  A.Function = "ab", A.Key = "c";
  B.Function = "a", B.Key = "bc";
  std::vector<Finding> F{A}, G{B};
  sortAndDedupe(F);
  sortAndDedupe(G);
  EXPECT_NE(F[0].Fingerprint, G[0].Fingerprint);
}

TEST(Finding, FingerprintWithoutKeyIsOfTheMessage) {
  Finding A = at("a.c", 1, ""), B = at("a.c", 1, "");
  B.Message = "another";
  std::vector<Finding> F{A}, G{B};
  sortAndDedupe(F);
  sortAndDedupe(G);
  EXPECT_NE(F[0].Fingerprint, G[0].Fingerprint);
}
