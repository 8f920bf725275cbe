// SPDX-License-Identifier: GPL-2.0-only
// The link step on facts made by hand, spread over units.
#include "lint/analysis/Link.h"

#include <gmock/gmock.h>

using namespace kpkeys;
using namespace kpkeys::lint;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

static FunctionFacts function(llvm::StringRef Id, llvm::StringRef File, unsigned Line = 1) {
  FunctionFacts F;
  F.Id = Id.str();
  F.Name = Id.split('@').first.str();
  F.File = File.str();
  F.Line = Line;
  F.EndLine = Line + 9;
  F.Internal = Id.contains('@');
  F.TypedParameters = {0};
  return F;
}

static WriteSite write(llvm::StringRef File, Roots From, bool Guarded = false, bool Typed = true) {
  return {{File.str(), 5, 2}, "store", "*p", From, Typed, Guarded, false, {}};
}

static CallSite call(llvm::StringRef Callee, llvm::StringRef File, Roots From, bool Guarded = false) {
  CallSite C;
  C.Callee = Callee.str();
  C.Loc = {File.str(), 8, 3};
  C.Guarded = C.InScope = Guarded;
  C.Arguments.push_back({0, From, true, true, "p"});
  return C;
}

static Facts unit(llvm::StringRef Name, std::vector<FunctionFacts> Functions) {
  Facts F;
  F.Unit = Name.str();
  F.Functions = std::move(Functions);
  return F;
}

/// A callee in one unit that writes to its parameter, a caller in another one.
static std::vector<Facts> twoUnits(const CallSite &C) {
  FunctionFacts Callee = function("set", "a.c"), Caller = function("user", "b.c");
  Callee.Sites.push_back(write("a.c", {0}));
  Caller.Calls.push_back(C);
  return {unit("a.c", {Callee}), unit("b.c", {Caller})};
}

TEST(Link, CallerInAnotherUnitHoldsTheGuard) {
  auto R = link(twoUnits(call("set", "b.c", {RootMemory}, true)), Config());
  EXPECT_THAT(R.Findings, IsEmpty());
  ASSERT_THAT(R.WriteSites, SizeIs(1));
  EXPECT_THAT(R.WriteSites[0].Message, HasSubstr("every caller is under a guard"));
}

TEST(Link, CallerInAnotherUnitDoesNot) {
  auto R = link(twoUnits(call("set", "b.c", {RootMemory})), Config());
  ASSERT_THAT(R.Findings, SizeIs(1));
  EXPECT_EQ(R.Findings[0].Check, "pgtable-guard");
  EXPECT_EQ(R.Findings[0].Loc, (Location{"a.c", 5, 2}));
  ASSERT_THAT(R.Findings[0].Notes, SizeIs(2));
  EXPECT_EQ(R.Findings[0].Notes[0].Loc, (Location{"b.c", 8, 3}));
}

TEST(Link, CallerPassesACopy) {
  EXPECT_THAT(link(twoUnits(call("set", "b.c", {RootCopy})), Config()).Findings, IsEmpty());
  EXPECT_THAT(link(twoUnits(call("set", "b.c", {RootCopy, RootMemory})), Config()).Findings, SizeIs(1));
}

TEST(Link, PartOfAProgramCannotKnowAllCallers) {
  auto Units = twoUnits(call("set", "b.c", {RootCopy}));
  EXPECT_THAT(link(Units, Config(), {false}).Findings, SizeIs(1));
}

TEST(Link, SameHeaderInManyUnitsIsOneFinding) {
  FunctionFacts F = function("f@a.h", "a.h");
  F.Sites.push_back(write("a.h", {RootMemory}));
  std::vector<Facts> Units(5, unit("x.c", {F}));
  EXPECT_THAT(link(Units, Config()).Findings, SizeIs(1));
}

TEST(Link, WrongInOneOfTwoConfigurationsOfAHeaderIsWrong) {
  FunctionFacts Good = function("f@a.h", "a.h"), Bad = Good;
  Good.Sites.push_back(write("a.h", {RootMemory}, true));
  Bad.Sites.push_back(write("a.h", {RootMemory}, false));
  EXPECT_THAT(link({unit("x.c", {Good}), unit("y.c", {Bad})}, Config()).Findings, SizeIs(1));
}

TEST(Link, RecursionAloneIsNoCaller) {
  FunctionFacts F = function("f@a.c", "a.c");
  F.Sites.push_back(write("a.c", {0}));
  F.Calls.push_back(call("f@a.c", "a.c", {0}));
  EXPECT_THAT(link({unit("a.c", {F})}, Config()).Findings, SizeIs(1));
}

TEST(Link, MutualRecursionFindsTheUnguardedWayIn) {
  FunctionFacts A = function("a@a.c", "a.c"), B = function("b@a.c", "a.c"), Good = function("good", "a.c"),
                Bad = function("bad", "a.c");
  A.Sites.push_back(write("a.c", {0}));
  A.Calls.push_back(call("b@a.c", "a.c", {0}));
  B.Calls.push_back(call("a@a.c", "a.c", {0}));
  Good.Calls.push_back(call("a@a.c", "a.c", {RootMemory}, true));
  EXPECT_THAT(link({unit("a.c", {A, B, Good})}, Config()).Findings, IsEmpty());
  Bad.Calls.push_back(call("b@a.c", "a.c", {RootMemory}));
  EXPECT_THAT(link({unit("a.c", {A, B, Good, Bad})}, Config()).Findings, SizeIs(1));
}

TEST(Link, UntypedCalleeWritesOverThreeUnits) {
  FunctionFacts Clear = function("clear", "a.c"), Pass = function("pass", "b.c"), User = function("user", "c.c");
  Clear.Sites.push_back(write("a.c", {0}, false, /*Typed=*/false));
  CallSite ToClear = call("clear", "b.c", {0}), ToPass = call("pass", "c.c", {RootMemory});
  ToClear.Arguments[0].Typed = ToClear.Arguments[0].TypedParameter = false;
  ToPass.Arguments[0].TypedParameter = false;
  Pass.Calls.push_back(ToClear);
  User.Calls.push_back(ToPass);
  auto R = link({unit("a.c", {Clear}), unit("b.c", {Pass}), unit("c.c", {User})}, Config());
  ASSERT_THAT(R.Findings, SizeIs(1));
  EXPECT_EQ(R.Findings[0].Loc.File, "c.c");
  EXPECT_THAT(R.Findings[0].Message, HasSubstr("'pass'"));
  EXPECT_EQ(R.Findings[0].Notes[0].Loc.File, "a.c");

  Clear.Sites[0].Guarded = true;
  EXPECT_THAT(link({unit("a.c", {Clear}), unit("b.c", {Pass}), unit("c.c", {User})}, Config()).Findings, IsEmpty());
}

TEST(Link, UnknownCodeIsTakenToWriteUnlessItIsHarmless) {
  FunctionFacts User = function("user", "c.c");
  CallSite C = call("assembly", "c.c", {RootMemory});
  C.Arguments[0].TypedParameter = false;
  User.Calls.push_back(C);
  EXPECT_THAT(link({unit("c.c", {User})}, Config()).Findings, SizeIs(1));
  Config Cfg;
  Cfg.Harmless.push_back("assembly");
  EXPECT_THAT(link({unit("c.c", {User})}, Cfg).Findings, IsEmpty());
}

TEST(Link, MembersKeepIndirectCallsApart) {
  FunctionFacts Set = function("set@a.c", "a.c"), Walk = function("walk", "a.c");
  Set.Sites.push_back(write("a.c", {0}));
  CallSite Install = call("", "a.c", {RootCopy}), Visit = call("", "a.c", {RootMemory});
  Install.Type = Visit.Type = "T";
  Install.Field = "ops.install";
  Visit.Field = "ops.visit";
  Walk.Calls = {Install, Visit};
  Facts U = unit("a.c", {Set, Walk});
  U.AddressesTaken.push_back({"set@a.c", "ops.install", "T"});
  EXPECT_THAT(link({U}, Config()).Findings, IsEmpty());
  U.AddressesTaken[0].Field = "ops.visit";
  EXPECT_THAT(link({U}, Config()).Findings, SizeIs(1));
  // Put elsewhere, it may be called by either.
  U.AddressesTaken[0].Field = "";
  EXPECT_THAT(link({U}, Config()).Findings, SizeIs(1));
  // Put where nothing that is seen calls it from.
  U.AddressesTaken[0].Field = "ops.other";
  EXPECT_THAT(link({U}, Config()).Findings, SizeIs(1));
}

TEST(Link, MembersThatArePutElsewhereKeepNothingApart) {
  FunctionFacts Set = function("set@a.c", "a.c"), Walk = function("walk", "a.c");
  Set.Sites.push_back(write("a.c", {0}));
  CallSite Guarded = call("", "a.c", {RootMemory}, true), Other = call("", "a.c", {RootMemory});
  Guarded.Type = Other.Type = "T";
  Guarded.Field = "ops.set";
  Other.Field = "other.set";
  Guarded.InScope = false;
  Walk.Calls = {Guarded, Other};
  Facts A = unit("a.c", {Set, Walk}), B = unit("b.c", {});
  A.AddressesTaken.push_back({"set@a.c", "ops.set", "T"});
  EXPECT_THAT(link({A, B}, Config()).Findings, IsEmpty());
  B.Moved.push_back("ops.set");
  EXPECT_THAT(link({A, B}, Config()).Findings, SizeIs(1));
}

TEST(Link, AnAliasIsCalledFromAnotherUnit) {
  auto Units = twoUnits(call("set", "b.c", {RootMemory}, true));
  FunctionFacts Bad = function("bad", "c.c");
  Bad.Calls.push_back(call("alias", "c.c", {RootMemory}));
  Units.push_back(unit("c.c", {Bad}));
  EXPECT_THAT(link(Units, Config()).Findings, IsEmpty());
  Units[0].Aliases.emplace_back("alias", "set");
  ASSERT_THAT(link(Units, Config()).Findings, SizeIs(1));
  EXPECT_EQ(link(Units, Config()).Findings[0].Loc.File, "a.c");
  // With code of its own, the name is another function's.
  Units.push_back(unit("d.c", {function("alias", "d.c")}));
  EXPECT_THAT(link(Units, Config()).Findings, IsEmpty());
}

TEST(Link, FunctionsThatOnlyCallEachOtherAreCalledByNobody) {
  FunctionFacts A = function("a", "a.c"), B = function("b", "b.c"), Good = function("good", "a.c");
  A.Sites.push_back(write("a.c", {0}));
  A.Calls.push_back(call("b", "a.c", {0}));
  B.Calls.push_back(call("a", "b.c", {0}));
  auto R = link({unit("a.c", {A}), unit("b.c", {B})}, Config());
  ASSERT_THAT(R.Findings, SizeIs(1));
  EXPECT_THAT(R.Findings[0].Notes[0].Message, HasSubstr("nothing that is analysed calls"));
  Good.Calls.push_back(call("b", "a.c", {RootMemory}, true));
  EXPECT_THAT(link({unit("a.c", {A, Good}), unit("b.c", {B})}, Config()).Findings, IsEmpty());
}

TEST(Link, AGuardedCallerDoesNotExcuseAnAddressThatGotAway) {
  auto Units = twoUnits(call("set", "b.c", {RootMemory}, true));
  EXPECT_THAT(link(Units, Config()).Findings, IsEmpty());
  Units[1].AddressesTaken.push_back({"set", "", "T"});
  auto R = link(Units, Config());
  ASSERT_THAT(R.Findings, SizeIs(1));
  EXPECT_THAT(R.Findings[0].Notes[0].Message, HasSubstr("address of 'set' is taken"));
}

TEST(Link, AGuardedCallerDoesNotHelpWithinAnotherContext) {
  auto Units = twoUnits(call("set", "b.c", {RootMemory}, true));
  Units[0].Functions[0].Sites[0].Other = true;
  EXPECT_THAT(link(Units, Config()).Findings, SizeIs(1));
  // What is no table can be written to in any context.
  Units[1].Functions[0].Calls[0].Arguments[0].From = {RootCopy};
  EXPECT_THAT(link(Units, Config()).Findings, IsEmpty());

  // The call is in another context, and its caller under a guard.
  Units = twoUnits(call("set", "b.c", {0}));
  Units[1].Functions[0].Calls[0].Other = true;
  FunctionFacts Outer = function("outer", "c.c");
  Outer.Calls.push_back(call("user", "c.c", {RootMemory}, true));
  Units.push_back(unit("c.c", {Outer}));
  auto R = link(Units, Config());
  ASSERT_THAT(R.Findings, SizeIs(1));
  EXPECT_THAT(R.Findings[0].Notes[0].Message, HasSubstr("in another context"));
  Units[1].Functions[0].Calls[0].Other = false;
  EXPECT_THAT(link(Units, Config()).Findings, IsEmpty());
}

TEST(Link, ExemptionsExemptAndAreMissedWhenUnused) {
  auto Units = twoUnits(call("set", "b.c", {RootMemory}));
  Config Cfg;
  Cfg.Exemptions.push_back({"pgtable-guard", "a.c", "set", "early", "list", 4});
  EXPECT_THAT(link(Units, Cfg).Findings, IsEmpty());
  // A caller that is exempt does not answer for what it calls.
  Cfg.Exemptions[0] = {"pgtable-guard", "b.c", "user", "test", "list", 4};
  EXPECT_THAT(link(Units, Cfg).Findings, SizeIs(2));
  Cfg.Exemptions[0] = {"pgtable-guard", "a.c", "set", "early", "list", 4};
  Cfg.Exemptions.push_back({"pgtable-guard", "a.c", "other", "early", "list", 5});
  auto R = link(Units, Cfg);
  ASSERT_THAT(R.Findings, SizeIs(1));
  EXPECT_EQ(R.Findings[0].Check, "unused-exemption");
  EXPECT_EQ(R.Findings[0].Loc, (Location{"list", 5, 1}));
  // This program does not have that file.
  Cfg.Exemptions[1].File = "elsewhere.c";
  EXPECT_THAT(link(Units, Cfg).Findings, IsEmpty());
  // An exemption from another check is none.
  Cfg.Exemptions = {{"context-inline", "a.c", "set", "early", "list", 4}};
  EXPECT_THAT(link(Units, Cfg).Findings, SizeIs(2));
}

TEST(Scope, WhatIsCalledUnderAGuardIsFollowed) {
  FunctionFacts Root = function("root", "a.c"), Middle = function("middle", "b.c");
  Root.Calls.push_back(call("middle", "a.c", {}, true));
  Middle.Callees = {"mutex_lock"};
  auto R = link({unit("a.c", {Root}), unit("b.c", {Middle})}, Config());
  ASSERT_THAT(R.Findings, SizeIs(1));
  EXPECT_EQ(R.Findings[0].Check, "guard-scope");
  EXPECT_THAT(R.Findings[0].Notes[0].Message, HasSubstr("root -> middle -> mutex_lock"));
  ASSERT_THAT(R.Scope.Functions, SizeIs(1));
  EXPECT_EQ(R.Scope.Functions[0].Function, "middle");
  EXPECT_EQ(R.Scope.Lines, 10u);
  EXPECT_THAT(R.Scope.Unknown, Contains("mutex_lock"));
}

TEST(Scope, SizeIsLimited) {
  FunctionFacts Root = function("root", "a.c"), Large = function("large", "b.c");
  Root.Calls.push_back(call("large", "a.c", {}, true));
  Large.EndLine = 1000;
  auto R = link({unit("a.c", {Root}), unit("b.c", {Large})}, Config());
  ASSERT_THAT(R.Findings, SizeIs(1));
  EXPECT_THAT(R.Findings[0].Message, HasSubstr("1000 lines"));
}

TEST(Scope, SectionsAreReportedAndNotJudged) {
  FunctionFacts Root = function("root", "a.c"), Middle = function("middle", "b.c");
  Root.Calls.push_back(call("middle", "a.c", {}));
  Root.Calls[0].InSection = true;
  Middle.Callees = {"mutex_lock"};
  auto R = link({unit("a.c", {Root}), unit("b.c", {Middle})}, Config());
  EXPECT_THAT(R.Findings, IsEmpty());
  ASSERT_THAT(R.Scope.Functions, SizeIs(1));
  EXPECT_TRUE(R.Scope.Functions[0].SectionOnly);
}
