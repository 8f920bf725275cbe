// SPDX-License-Identifier: GPL-2.0-only
#include "lint/driver/Database.h"
#include "lint/driver/NinjaFile.h"

#include <gmock/gmock.h>

using namespace kpkeys::lint;
using testing::HasSubstr;

static std::string entry(llvm::StringRef File, llvm::StringRef More = "") {
  return ("{\"directory\": \"/k/out\", \"file\": \"" + File + "\", \"command\": \"clang -D__KERNEL__ -I../arch/arm64/include " +
          More + " -c " + File + "\"}")
      .str();
}

static Database load(const std::string &Entries) {
  auto DB = parseDatabase("[" + Entries + "]", "/k/out/compile_commands.json");
  EXPECT_TRUE(bool(DB)) << llvm::toString(DB.takeError());
  return std::move(*DB);
}

TEST(Database, NamesAreRelativeToTheSourceTree) {
  Database DB = load(entry("../mm/a.c") + "," + entry("/elsewhere/b.c") + "," + entry("gen.c"));
  EXPECT_EQ(DB.SourceRoot, "/k");
  EXPECT_EQ(DB.nameOf(DB.Units[0]), "mm/a.c");
  EXPECT_EQ(DB.nameOf(DB.Units[1]), "/elsewhere/b.c");
  EXPECT_EQ(DB.nameOf(DB.Units[2]), "out/gen.c");
  for (const char *Name : {"mm/a.c", "/k/mm/a.c", "../mm/a.c"})
    EXPECT_EQ(DB.find(Name), std::vector<size_t>{0}) << Name;
  EXPECT_TRUE(DB.find("a.c").empty());
}

TEST(Database, WhatIsNoCOfTheKernelIsLeftOut) {
  Database DB = load(entry("../a.c") + "," + entry("../a.S") + "," + entry("../a.rs") +
                     R"(,{"directory": "/", "file": "h.c", "command": "gcc h.c"})");
  EXPECT_EQ(DB.Units.size(), 1u);
  EXPECT_EQ(DB.OtherUnits, 2u);
  EXPECT_EQ(DB.HostUnits, 1u);
}

TEST(Database, CommandsAreQuotedAsTheShellHasIt) {
  Database DB = load(entry("../a.c", "-DKBUILD_MODNAME='\\\"a b\\\"'"));
  EXPECT_THAT(DB.Units[0].Arguments, testing::Contains("-DKBUILD_MODNAME=\"a b\""));
}

TEST(Database, ErrorsNameTheEntry) {
  auto DB = parseDatabase("[" + entry("a.c") + R"(,{"directory": "/", "file": "a.c"}])", "db");
  ASSERT_FALSE(bool(DB));
  EXPECT_THAT(llvm::toString(DB.takeError()), HasSubstr("db: entry 2 has no \"command\""));
}

TEST(Ninja, NamesAreEscaped) {
  Database DB = load(entry("../mm/a$b c:d.c") + "," + entry("../it's.c"));
  std::string Text = ninjaFile(DB, {"/bin/lint x", "facts", {"--config=/a b"}, {}});
  EXPECT_THAT(Text, HasSubstr("build facts/mm/a$$b$ c$:d.c.facts: facts /k/mm/a$$b$ c$:d.c | /bin/lint$ x\n"));
  EXPECT_THAT(Text, HasSubstr("command = '/bin/lint x' facts -p /k/out/compile_commands.json '--config=/a b'"));
  EXPECT_THAT(Text, HasSubstr("unit = '/k/mm/a$$b c:d.c'\n"));
  EXPECT_THAT(Text, HasSubstr("unit = '/k/it'\\''s.c'\n"));
}

TEST(Ninja, CommandsOfOneFileAreToldApart) {
  std::string Text = ninjaFile(load(entry("../a.c", "-DA") + "," + entry("../a.c", "-DB")), {"lint", "facts", {}, {}});
  EXPECT_THAT(Text, HasSubstr("build facts/a.c.facts: facts"));
  EXPECT_THAT(Text, HasSubstr("build facts/a.c.2.facts: facts"));
  EXPECT_THAT(Text, HasSubstr("index = 2\n"));
  EXPECT_THAT(Text, HasSubstr("build verdict: link facts/a.c.facts facts/a.c.2.facts\n  count = 2\n"));
}
