// SPDX-License-Identifier: GPL-2.0-only
#include "lib/Suppress.h"

#include <gmock/gmock.h>

using namespace kpkeys;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

static Finding at(unsigned Line, std::string Check = "pgtable-guard", std::string File = "mm/a.c") {
  return {std::move(Check), {std::move(File), Line, 5}, "m", {}, "init_map", "", "", false};
}

static bool always(llvm::StringRef) { return true; }

/// Whether the source @p Text suppresses a finding on @p Line.
static bool allows(llvm::StringRef Text, unsigned Line, std::string Check = "pgtable-guard") {
  Suppressions S;
  S.scanSource(Text, "mm/a.c");
  std::vector<Finding> F{at(Line, std::move(Check))};
  return S.apply(F) == 1;
}

TEST(SuppressComment, SpeaksForItsOwnLine) {
  const char *Text = "int x;\n*p = v; /* kpkeys-lint: allow(pgtable-guard) the MMU is off */\n*p = v;\n";
  EXPECT_FALSE(allows(Text, 1));
  EXPECT_TRUE(allows(Text, 2));
  EXPECT_FALSE(allows(Text, 3));
}

TEST(SuppressComment, StandingAloneItSpeaksForTheNextLine) {
  EXPECT_TRUE(allows("\t// kpkeys-lint: allow(pgtable-guard) the MMU is off\n\t*p = v;\n", 2));
  EXPECT_FALSE(allows("\t// kpkeys-lint: allow(pgtable-guard) the MMU is off\n\t*p = v;\n", 1));
  const char *Long = "/*\n * kpkeys-lint: allow(pgtable-guard) the MMU\n * is off\n */\n\n*p = v;\n";
  EXPECT_TRUE(allows(Long, 6));
  EXPECT_FALSE(allows(Long, 2));
}

TEST(SuppressComment, OnlyForTheChecksNamed) {
  const char *Text = "*p = v; // kpkeys-lint: allow(pgtable-guard, guard-scope) reviewed\n";
  EXPECT_TRUE(allows(Text, 1));
  EXPECT_TRUE(allows(Text, 1, "guard-scope"));
  EXPECT_FALSE(allows(Text, 1, "context-restore"));
}

TEST(SuppressComment, StringsAreNoComments) {
  EXPECT_FALSE(allows("f(\"// kpkeys-lint: allow(pgtable-guard) no\");\n", 1));
  EXPECT_FALSE(allows("f(\"\\\"// kpkeys-lint: allow(pgtable-guard) no\");\n", 1));
  // An apostrophe in a line that is no C must not hide what follows.
  EXPECT_TRUE(allows("#error don't\n*p = v; // kpkeys-lint: allow(pgtable-guard) yes\n", 2));
  EXPECT_TRUE(allows("c = '\"'; *p = v; // kpkeys-lint: allow(pgtable-guard) yes\n", 1));
}

TEST(SuppressComment, WithoutAReasonItIsAFindingAndSuppressesNothing) {
  for (const char *Text : {"*p = v; // kpkeys-lint: allow(pgtable-guard)\n", "*p = v; /* kpkeys-lint: allow(pgtable-guard) */\n",
                           "*p = v; /* kpkeys-lint: allow(pgtable-guard) --\n */\n", "*p = v; // kpkeys-lint: allow() why\n",
                           "*p = v; // kpkeys-lint: pgtable-guard why\n", "*p = v; // kpkeys-lint: allow(pgtable-guard why\n"}) {
    Suppressions S;
    S.scanSource(Text, "mm/a.c");
    std::vector<Finding> F{at(1)};
    EXPECT_EQ(S.apply(F), 0u) << Text;
    ASSERT_THAT(S.malformed(), SizeIs(1)) << Text;
    EXPECT_EQ(S.malformed()[0].Check, "suppression");
    EXPECT_EQ(S.malformed()[0].Loc.Line, 1u);
    EXPECT_EQ(S.malformed()[0].Loc.Column, 12u) << Text;
  }
}

TEST(SuppressComment, UnusedIsAFinding) {
  Suppressions S;
  S.scanSource("*p = v; // kpkeys-lint: allow(pgtable-guard, guard-scope) reviewed\n", "mm/a.c");
  std::vector<Finding> F{at(1)};
  EXPECT_EQ(S.apply(F), 1u);
  auto Unused = S.unused(always, always);
  ASSERT_THAT(Unused, SizeIs(1));
  EXPECT_THAT(Unused[0].Message, HasSubstr("'guard-scope' is not needed"));
  EXPECT_THAT(S.unused([](llvm::StringRef C) { return C != "guard-scope"; }, always), IsEmpty());
  EXPECT_THAT(S.unused(always, [](llvm::StringRef) { return false; }), IsEmpty());
}

TEST(SuppressFile, MatchesCheckFileAndFunction) {
  auto Matches = [](llvm::StringRef Line) {
    Suppressions S;
    EXPECT_FALSE(llvm::errorToBool(S.parse(Line, "list")));
    std::vector<Finding> F{at(1)};
    return S.apply(F) == 1;
  };
  EXPECT_TRUE(Matches("pgtable-guard mm/a.c reason"));
  EXPECT_TRUE(Matches("# comment\n\n  pgtable-guard   mm/a.c::init_map  a reason of words\n"));
  EXPECT_TRUE(Matches("pgtable-* mm/*::init_* reason"));
  EXPECT_FALSE(Matches("pgtable-guard a.c reason"));
  EXPECT_FALSE(Matches("pgtable-guard mm/a.c::init reason"));
  EXPECT_FALSE(Matches("guard-scope mm/a.c reason"));
  EXPECT_FALSE(Matches("# pgtable-guard mm/a.c reason"));
}

TEST(SuppressFile, ReasonIsMandatory) {
  for (const char *Line : {"pgtable-guard mm/a.c", "pgtable-guard mm/a.c::f   ", "pgtable-guard", "pgtable-guard mm/[a reason"}) {
    Suppressions S;
    llvm::Error E = S.parse(("# list\n" + llvm::Twine(Line)).str(), "list");
    ASSERT_TRUE(bool(E)) << Line;
    EXPECT_THAT(llvm::toString(std::move(E)), HasSubstr("list:2: ")) << Line;
  }
}

TEST(SuppressFile, UnusedIsAFindingOfTheList) {
  Suppressions S;
  ASSERT_FALSE(llvm::errorToBool(S.parse("\npgtable-guard mm/a.c used\npgtable-guard mm/gone.c why\n", "list")));
  std::vector<Finding> F{at(1), at(2), at(3, "guard-scope")};
  EXPECT_EQ(S.apply(F), 2u);
  EXPECT_THAT(F, SizeIs(1));
  auto Unused = S.unused(always, always);
  ASSERT_THAT(Unused, SizeIs(1));
  EXPECT_EQ(Unused[0].Loc, (Location{"list", 3, 1}));
}

TEST(SuppressFile, MissingFileIsAnError) {
  Suppressions S;
  EXPECT_THAT(llvm::toString(S.load("/nonexistent/list")), HasSubstr("/nonexistent/list: No such file"));
}
