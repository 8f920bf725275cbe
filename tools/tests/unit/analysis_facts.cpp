// SPDX-License-Identifier: GPL-2.0-only
#include "lint/analysis/Facts.h"

#include "llvm/Support/FormatVariadic.h"

#include <gmock/gmock.h>

using namespace kpkeys;
using namespace kpkeys::lint;
using testing::HasSubstr;

static Facts sample() {
  Facts F;
  F.Unit = "mm/a.c";
  FunctionFacts Function;
  Function.Id = "f@mm/a.h";
  Function.Name = "f";
  Function.File = "mm/a.h";
  Function.Line = 3;
  Function.EndLine = 9;
  Function.Internal = Function.HasIndirectCall = true;
  Function.TypedParameters = {0, 2};
  Function.Sites.push_back({{"mm/a.h", 4, 2}, "store", "*p", {0, RootMemory}, true, false, true, {{{"mm/a.h", 3, 1}, "n"}}});
  CallSite Call;
  Call.Callee = "g";
  Call.Loc = {"mm/a.h", 5, 2};
  Call.Guarded = Call.Other = Call.InSection = true;
  Call.Arguments.push_back({1, {RootCopy}, false, true, "q"});
  Function.Calls.push_back(Call);
  Call.Callee.clear();
  Call.Field = "ops.fn";
  Call.Type = "void (int)";
  Function.Calls.push_back(Call);
  Function.Callees = {"h@mm/a.h", "k"};
  Function.Skipped = {{5, 6}};
  F.Functions.push_back(Function);
  F.AddressesTaken.push_back({"f@mm/a.h", "ops.fn", "void (int)"});
  F.Moved = {"ops.fn", "ops.gn"};
  F.Aliases = {{"f2", "f@mm/a.h"}, {"g2", "g"}};
  F.Contexts.push_back({{"mm/a.c", 1, 2}, "f", "set", "X", -3});
  F.Findings.push_back({"c", {"mm/a.c", 8, 1}, "m", {{{"x", 1, 1}, "n"}}, "f", "k", "", false});
  F.Dependencies = {"/src/mm/a.c", "/src/mm/a.h"};
  return F;
}

TEST(Facts, SurviveWritingAndReading) {
  Facts F = sample();
  auto Text = llvm::formatv("{0}", F.toJSON()).str();
  auto Value = llvm::json::parse(Text);
  ASSERT_TRUE(bool(Value));
  auto Again = Facts::fromJSON(*Value);
  ASSERT_TRUE(bool(Again)) << llvm::toString(Again.takeError());
  EXPECT_EQ(Again->Unit, F.Unit);
  EXPECT_EQ(Again->Functions, F.Functions);
  EXPECT_EQ(Again->AddressesTaken, F.AddressesTaken);
  EXPECT_EQ(Again->Moved, F.Moved);
  EXPECT_EQ(Again->Aliases, F.Aliases);
  EXPECT_EQ(Again->Contexts, F.Contexts);
  EXPECT_EQ(Again->Dependencies, F.Dependencies);
  ASSERT_EQ(Again->Findings.size(), 1u);
  EXPECT_EQ(Again->Findings[0].Message, "m");
  EXPECT_EQ(Again->Findings[0].Notes, F.Findings[0].Notes);
}

/// Each value in turn replaced by something else: an error or other facts, and
/// never a crash.
static void damage(llvm::json::Value &Root, llvm::json::Value &Here, unsigned &Errors) {
  llvm::json::Value Kept = Here;
  for (llvm::json::Value Bad : {llvm::json::Value(nullptr), llvm::json::Value(1000000), llvm::json::Value(-9),
                                llvm::json::Value("text"), llvm::json::Value(llvm::json::Array{})}) {
    Here = Bad;
    if (auto F = Facts::fromJSON(Root); !F) {
      EXPECT_THAT(llvm::toString(F.takeError()), HasSubstr("fact file"));
      ++Errors;
    }
  }
  Here = Kept;
  if (auto *A = Here.getAsArray())
    for (llvm::json::Value &Each : *A)
      damage(Root, Each, Errors);
  else if (auto *O = Here.getAsObject())
    for (auto &Each : *O)
      damage(Root, Each.second, Errors);
}

TEST(Facts, DamageIsAnError) {
  llvm::json::Value Value = sample().toJSON();
  unsigned Errors = 0;
  damage(Value, Value, Errors);
  EXPECT_GT(Errors, 100u);
}

TEST(Facts, OtherVersionsAreRefused) {
  llvm::json::Value Value = sample().toJSON();
  (*Value.getAsObject())["version"] = 99;
  auto F = Facts::fromJSON(Value);
  ASSERT_FALSE(bool(F));
  EXPECT_THAT(llvm::toString(F.takeError()), HasSubstr("not a fact file of this version"));
}
