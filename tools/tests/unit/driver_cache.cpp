// SPDX-License-Identifier: GPL-2.0-only
#include "lint/driver/Cache.h"

#include "lint/analysis/Analysis.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"

#include <chrono>
#include <gmock/gmock.h>
#include <thread>

using namespace kpkeys::lint;

namespace {

class FactCacheTest : public testing::Test {
protected:
  void SetUp() override {
    ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("cache", Directory));
    Unit = {"/build", "a.c", {"clang", "-c", "a.c"}, "/src"};
    write("one");
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  void TearDown() override { llvm::sys::fs::remove_directories(Directory); }

  std::string source() const { return (Directory + "/a.c").str(); }

  void write(llvm::StringRef Text) {
    std::error_code EC;
    llvm::raw_fd_ostream(source(), EC) << Text;
    ASSERT_FALSE(EC);
  }

  FactCache open(const Config &Names = {}) {
    auto Cache = FactCache::open((Directory + "/cache").str(), Names);
    EXPECT_TRUE(bool(Cache)) << llvm::toString(Cache.takeError());
    return std::move(*Cache);
  }

  void store(int64_t Began) {
    FactCache Cache = open();
    ASSERT_FALSE(llvm::errorToBool(Cache.store(Unit, "{facts}", {source()}, Began)));
    ASSERT_FALSE(llvm::errorToBool(Cache.finish()));
  }

  llvm::SmallString<128> Directory;
  UnitCommand Unit;
};

} // namespace

TEST_F(FactCacheTest, HoldsAsLongAsTheContent) {
  store(now());
  auto Entry = open().find(Unit);
  ASSERT_TRUE(Entry.has_value());
  EXPECT_EQ(Entry->Text, "{facts}");
  EXPECT_THAT(Entry->Dependencies, testing::ElementsAre(source()));
  write("two");
  EXPECT_FALSE(open().find(Unit).has_value());
  write("one");
  EXPECT_TRUE(open().find(Unit).has_value());
  llvm::sys::fs::remove(source());
  EXPECT_FALSE(open().find(Unit).has_value());
}

TEST_F(FactCacheTest, WhatChangesDuringTheAnalysisIsNotKept) {
  int64_t Began = now();
  write("changed while it was read");
  store(Began);
  EXPECT_FALSE(open().find(Unit).has_value());
}

TEST_F(FactCacheTest, MissingFilesAreNotKept) {
  FactCache Cache = open();
  ASSERT_FALSE(llvm::errorToBool(Cache.store(Unit, "{}", {"/nonexistent"}, now())));
  EXPECT_FALSE(Cache.find(Unit).has_value());
}

TEST_F(FactCacheTest, EntriesAreOfOneCommandAndOneConfiguration) {
  store(now());
  for (auto Change : {+[](UnitCommand &U) { U.Arguments.push_back("-DX"); }, +[](UnitCommand &U) { U.Directory = "/other"; },
                      +[](UnitCommand &U) { U.File = "b.c"; }, +[](UnitCommand &U) { U.SourceRoot = "/other"; }}) {
    UnitCommand Other = Unit;
    Change(Other);
    EXPECT_FALSE(open().find(Other).has_value());
  }
  Config Names;
  Names.Guards.push_back("another");
  EXPECT_FALSE(open(Names).find(Unit).has_value());
  // Linking alone uses exemptions.
  Config Exempt;
  Exempt.Exemptions.emplace_back();
  EXPECT_TRUE(open(Exempt).find(Unit).has_value());
}

TEST_F(FactCacheTest, WithoutADirectoryItKeepsNothing) {
  FactCache Cache;
  ASSERT_FALSE(llvm::errorToBool(Cache.store(Unit, "{}", {source()}, now())));
  EXPECT_FALSE(Cache.find(Unit).has_value());
  EXPECT_FALSE(llvm::errorToBool(Cache.finish()));
}
