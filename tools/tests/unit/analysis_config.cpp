// SPDX-License-Identifier: GPL-2.0-only
#include "lint/analysis/Config.h"

#include "llvm/Support/FormatVariadic.h"

#include <gmock/gmock.h>

#include <limits>

using namespace kpkeys;
using namespace kpkeys::lint;
using testing::ElementsAre;
using testing::HasSubstr;

static std::string errorOf(llvm::StringRef JSON) {
  auto C = loadConfig(JSON);
  if (C)
    return "no error";
  return llvm::toString(C.takeError());
}

TEST(Config, DefaultsAreThoseOfTheSeries) {
  Config C;
  EXPECT_THAT(C.Guards, ElementsAre("kpkeys_hardened_pgtables"));
  EXPECT_EQ(C.TableContextValue, 2);
  EXPECT_EQ(C.SentinelValue, std::numeric_limits<uint64_t>::max());
}

TEST(Config, MembersReplaceDefaults) {
  auto C = loadConfig(R"({"guards": ["a", "b"], "max-context-value": 7,
    "context-functions": [{"name": "f", "parameters": [2]}],
    "splits": [{"enter": "e", "leave": "l", "switch": "s", "inside": "I", "outside": "O"}]})");
  ASSERT_TRUE(bool(C)) << llvm::toString(C.takeError());
  EXPECT_THAT(C->Guards, ElementsAre("a", "b"));
  EXPECT_EQ(C->MaxContextValue, 7);
  ASSERT_EQ(C->ContextFunctions.size(), 1u);
  EXPECT_THAT(C->ContextFunctions[0].Parameters, ElementsAre(2u));
  EXPECT_EQ(C->Splits[0].Switch, "s");
  EXPECT_FALSE(C->EntryTypes.empty());
}

TEST(Config, WritesWhatItReads) {
  Config C;
  C.Guards = {"mine"};
  auto Text = llvm::formatv("{0}", C.toJSON()).str();
  // Exemptions come from a file of their own.
  auto Value = llvm::json::parse(Text);
  ASSERT_TRUE(bool(Value));
  Value->getAsObject()->erase("exemptions");
  auto Again = loadConfig(llvm::formatv("{0}", *Value).str());
  ASSERT_TRUE(bool(Again)) << llvm::toString(Again.takeError());
  EXPECT_EQ(Again->toJSON(), C.toJSON());
}

TEST(Config, BadInputIsNamed) {
  EXPECT_THAT(errorOf("["), HasSubstr("Unexpected EOF"));
  EXPECT_THAT(errorOf("[]"), HasSubstr("a configuration is a JSON object"));
  EXPECT_THAT(errorOf(R"({"guard": []})"), HasSubstr("'guard'"));
  EXPECT_THAT(errorOf(R"({"guards": 3})"), HasSubstr("guards"));
  EXPECT_THAT(errorOf(R"({"guards": [3]})"), HasSubstr("guards"));
  EXPECT_THAT(errorOf(R"({"splits": [{"enter": "x"}]})"), HasSubstr("splits"));
  EXPECT_THAT(errorOf(R"({"register-encoding": [3, 0]})"), HasSubstr("five numbers"));
}

TEST(Exemptions, LinesAreRead) {
  auto E = parseExemptions("# why\n\npgtable-guard mm/a.c::f runs early\n  context-inline b.c all of it\n", "list");
  ASSERT_TRUE(bool(E)) << llvm::toString(E.takeError());
  ASSERT_EQ(E->size(), 2u);
  EXPECT_EQ((*E)[0].Function, "f");
  EXPECT_EQ((*E)[0].Reason, "runs early");
  EXPECT_EQ((*E)[0].Line, 3u);
  EXPECT_EQ((*E)[1].File, "b.c");
  EXPECT_EQ((*E)[1].Function, "");
}

TEST(Exemptions, NeedAReason) {
  auto Fails = [](llvm::StringRef Text) {
    auto E = parseExemptions(Text, "list");
    return E ? std::string("no error") : llvm::toString(E.takeError());
  };
  EXPECT_THAT(Fails("pgtable-guard a.c::f\n"), HasSubstr("list:1: an exemption needs a reason"));
  EXPECT_THAT(Fails("\npgtable-guard\n"), HasSubstr("list:2: expected CHECK FILE"));
  EXPECT_THAT(Fails("pgtable-gaurd a.c reason"), HasSubstr("no check is called 'pgtable-gaurd'"));
}

TEST(Patterns, StarStandsForAnything) {
  std::vector<std::string> P{"kasan_*", "_raw_*lock*", "exact"};
  EXPECT_TRUE(matchesAny("kasan_check", P));
  EXPECT_TRUE(matchesAny("kasan_", P));
  EXPECT_TRUE(matchesAny("_raw_spin_lock_irq", P));
  EXPECT_TRUE(matchesAny("exact", P));
  EXPECT_FALSE(matchesAny("exactly", P));
  EXPECT_FALSE(matchesAny("_raw_spin", P));
  EXPECT_FALSE(matchesAny("my_kasan_check", P));
}
