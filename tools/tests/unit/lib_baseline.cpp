// SPDX-License-Identifier: GPL-2.0-only
#include "lib/Baseline.h"
#include "lib/Render.h"

#include "llvm/Support/FormatVariadic.h"

#include <gmock/gmock.h>

using namespace kpkeys;
using testing::HasSubstr;

static std::vector<Finding> findings(unsigned Line) {
  std::vector<Finding> F{{"c1", {"a.c", Line, 1}, "one", {}, "f", "k", "", false},
                         {"c1", {"a.c", Line + 5, 1}, "one", {}, "f", "k", "", false}};
  sortAndDedupe(F);
  return F;
}

static std::string report(llvm::ArrayRef<Finding> F) {
  return llvm::formatv("{0}", toJSON({"t", "1", {}}, {}, F)).str();
}

TEST(Baseline, ReportOfAnEarlierRunMarksWhatItHolds) {
  auto Old = findings(10), New = findings(40);
  auto B = Baseline::parse(report(llvm::ArrayRef(Old).take_front(1)), "b.json");
  ASSERT_TRUE(bool(B)) << llvm::toString(B.takeError());
  EXPECT_EQ(B->mark(New), 1u);
  EXPECT_TRUE(New[0].Known);
  EXPECT_FALSE(New[1].Known);
}

static std::string errorOf(llvm::StringRef Text) {
  auto B = Baseline::parse(Text, "b.json");
  return B ? "" : llvm::toString(B.takeError());
}

TEST(Baseline, BadInputNamesFileAndRemedy) {
  for (const char *Text : {"", "[]", "{}", "{\"findings\": [{}]}", "{\"findings\": [{\"fingerprint\": \"\"}]}", "{\"findings\": 1}"}) {
    EXPECT_THAT(errorOf(Text), HasSubstr("baseline b.json: ")) << Text;
    EXPECT_THAT(errorOf(Text), HasSubstr("JSON report")) << Text;
  }
  EXPECT_EQ(errorOf("{\"findings\": []}"), "");
}

TEST(Baseline, MissingFileIsAnError) {
  auto B = Baseline::load("/nonexistent/b.json");
  ASSERT_FALSE(bool(B));
  EXPECT_THAT(llvm::toString(B.takeError()), HasSubstr("/nonexistent/b.json: No such file"));
}
