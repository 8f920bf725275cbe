// SPDX-License-Identifier: GPL-2.0-only
#include "lib/Render.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

#include <gmock/gmock.h>

using namespace kpkeys;
using testing::HasSubstr;
using testing::Not;

static const CheckInfo Checks[] = {{"bad-call", "Calls are good.", Severity::Error, 0},
                                   {"odd-call", "Calls are even.", Severity::Note, 2}};
static const ToolInfo Tool{"kpkeys-test", "1.2", Checks};

static Finding sample() {
  std::vector<Finding> F{{"bad-call", {"a b.c", 2, 3}, "call of 'f'", {{{"a.h", 1, 1}, "declared here"}, {{}, "somewhere"}}, "g", "k", "", false}};
  sortAndDedupe(F);
  return F[0];
}

static std::string print(Format Form, llvm::ArrayRef<Finding> F, RunInfo Run = {}, bool Colour = false) {
  std::string Out;
  llvm::raw_string_ostream OS(Out);
  render(Form, OS, Tool, Run, F, Colour);
  return Out;
}

TEST(RenderText, WithoutTheSource) {
  EXPECT_EQ(print(Format::Text, sample()), "a b.c:2:3: error: call of 'f' [bad-call]\n"
                                           "a.h:1:1: note: declared here\n"
                                           "kpkeys-test: note: somewhere\n");
}

TEST(RenderText, SourceAndCaretStandBelowEachOther) {
  llvm::SmallString<64> Dir;
  ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("render", Dir));
  std::string Path = (Dir + "/a b.c").str();
  std::error_code EC;
  llvm::raw_fd_ostream(Path, EC) << "x\n\t y = f();\r\n";
  RunInfo Run;
  Run.SourceRoot = std::string(Dir);
  EXPECT_THAT(print(Format::Text, sample(), Run), HasSubstr("[bad-call]\n    2 | \t y = f();\n      | \t ^\na.h"));
  llvm::sys::fs::remove(Path);
  llvm::sys::fs::remove(Dir);
}

TEST(RenderText, ColourOnlyOnRequest) {
  EXPECT_THAT(print(Format::Text, sample()), Not(HasSubstr("\033")));
  EXPECT_THAT(print(Format::Text, sample(), {}, true), HasSubstr("\033["));
}

TEST(RenderText, KnownIsSaid) {
  Finding F = sample();
  F.Known = true;
  EXPECT_THAT(print(Format::Text, F), HasSubstr("[bad-call] (in the baseline)\n"));
}

TEST(RenderGitHub, EscapesPropertiesAndMessage) {
  Finding F = sample();
  F.Loc.File = "a,b:c%.c";
  F.Message = "100%: one, two";
  EXPECT_EQ(print(Format::GitHub, F), "::error file=a%2Cb%3Ac%25.c,line=2,col=3,title=kpkeys-test bad-call::100%25: one, two"
                                      "%0Aa.h:1: declared here%0Asomewhere\n");
}

TEST(RenderGitHub, NotesAreNotices) {
  Finding F = sample();
  F.Check = "odd-call";
  EXPECT_THAT(print(Format::GitHub, F), testing::StartsWith("::notice "));
}

TEST(RenderJSON, HoldsEveryField) {
  RunInfo Run;
  Run.Complete = false;
  Run.Problems = {"x.c does not parse"};
  auto Value = llvm::json::parse(print(Format::JSON, sample(), Run));
  ASSERT_TRUE(bool(Value)) << llvm::toString(Value.takeError());
  const auto &Report = *Value->getAsObject();
  EXPECT_EQ(Report.getBoolean("complete"), false);
  EXPECT_EQ((*Report.getArray("problems"))[0].getAsString(), "x.c does not parse");
  const auto &F = *(*Report.getArray("findings"))[0].getAsObject();
  EXPECT_EQ(F.getString("check"), "bad-call");
  EXPECT_EQ(F.getString("severity"), "error");
  EXPECT_EQ(F.getString("file"), "a b.c");
  EXPECT_EQ(F.getInteger("line"), 2);
  EXPECT_EQ(F.getInteger("column"), 3);
  EXPECT_EQ(F.getString("function"), "g");
  EXPECT_EQ(F.getString("fingerprint"), sample().Fingerprint);
  EXPECT_EQ(F.getArray("notes")->size(), 2u);
}

TEST(RenderJSON, BytesThatAreNoUTF8Survive) {
  Finding F = sample();
  F.Message = "caf\xe9";
  F.Loc.File = "\xff.c";
  for (Format Form : {Format::JSON, Format::SARIF}) {
    auto Value = llvm::json::parse(print(Form, F));
    EXPECT_TRUE(bool(Value)) << llvm::toString(Value.takeError());
  }
}

TEST(RenderSARIF, PathsAreURIs) {
  RunInfo Run;
  Run.SourceRoot = "/src/li nux";
  std::string Out = print(Format::SARIF, sample(), Run);
  EXPECT_THAT(Out, HasSubstr("\"uri\": \"a%20b.c\""));
  EXPECT_THAT(Out, HasSubstr("\"uri\": \"file:///src/li%20nux/\""));
  EXPECT_THAT(Out, HasSubstr("\"ruleIndex\": 0"));
  EXPECT_THAT(Out, HasSubstr(sample().Fingerprint));
}

TEST(RenderSARIF, FailureOfTheRunIsTold) {
  RunInfo Run;
  Run.Complete = false;
  Run.Problems = {"x.c does not parse"};
  EXPECT_THAT(print(Format::SARIF, {}, Run), HasSubstr("\"executionSuccessful\": false"));
  EXPECT_THAT(print(Format::SARIF, {}, Run), HasSubstr("x.c does not parse"));
  EXPECT_THAT(print(Format::SARIF, {}), HasSubstr("\"executionSuccessful\": true"));
}
