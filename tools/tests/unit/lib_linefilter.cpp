// SPDX-License-Identifier: GPL-2.0-only
#include "lib/LineFilter.h"

#include <gmock/gmock.h>

using namespace kpkeys;
using testing::HasSubstr;

static bool passes(llvm::StringRef Filter, std::string File, unsigned Line) {
  auto F = LineFilter::parse(Filter);
  EXPECT_TRUE(bool(F)) << llvm::toString(F.takeError());
  return F && F->passes({"c", {std::move(File), Line, 1}, "m", {}, "", "", "", false});
}

TEST(LineFilter, WithoutOneEverythingPasses) {
  EXPECT_TRUE(LineFilter().passes({"c", {"a.c", 1, 1}, "m", {}, "", "", "", false}));
}

TEST(LineFilter, AnEmptyListLetsNothingPass) { EXPECT_FALSE(passes("[]", "a.c", 1)); }

TEST(LineFilter, RangesIncludeBothEnds) {
  const char *Filter = R"([{"name": "a.c", "lines": [[3, 5], [9, 9]]}])";
  for (unsigned Line : {3, 4, 5, 9})
    EXPECT_TRUE(passes(Filter, "a.c", Line)) << Line;
  for (unsigned Line : {0, 2, 6, 8, 10})
    EXPECT_FALSE(passes(Filter, "a.c", Line)) << Line;
}

TEST(LineFilter, NoLinesKeyIsTheWholeFileAndAnEmptyListNone) {
  EXPECT_TRUE(passes(R"([{"name": "a.c"}])", "a.c", 77));
  EXPECT_FALSE(passes(R"([{"name": "a.c", "lines": []}])", "a.c", 77));
}

TEST(LineFilter, NamesMatchWholeDirectories) {
  EXPECT_TRUE(passes(R"([{"name": "mmu.c"}])", "arch/arm64/mm/mmu.c", 1));
  EXPECT_TRUE(passes(R"([{"name": "/src/mm/mmu.c"}])", "mm/mmu.c", 1));
  EXPECT_FALSE(passes(R"([{"name": "mu.c"}])", "mm/mmu.c", 1));
  EXPECT_FALSE(passes(R"([{"name": "xmm/mmu.c"}])", "mm/mmu.c", 1));
}

TEST(LineFilter, ANoteOnALineCounts) {
  auto F = LineFilter::parse(R"([{"name": "b.c", "lines": [[2, 2]]}])");
  ASSERT_TRUE(bool(F));
  EXPECT_TRUE(F->passes({"c", {"a.c", 1, 1}, "m", {{{"b.c", 2, 1}, "called here"}}, "", "", "", false}));
  EXPECT_FALSE(F->passes({"c", {"a.c", 1, 1}, "m", {{{"b.c", 3, 1}, "called here"}}, "", "", "", false}));
}

TEST(LineFilter, BadInputIsNamed) {
  for (const char *Text : {"", "{}", "[1]", "[{}]", R"([{"name": ""}])", R"([{"name": "a", "lines": 1}])",
                           R"([{"name": "a", "lines": [1]}])", R"([{"name": "a", "lines": [[1]]}])",
                           R"([{"name": "a", "lines": [[5, 3]]}])", R"([{"name": "a", "lines": [[0, 3]]}])"}) {
    auto F = LineFilter::parse(Text);
    ASSERT_FALSE(bool(F)) << Text;
    EXPECT_THAT(llvm::toString(F.takeError()), HasSubstr("--line-filter: ")) << Text;
  }
}
