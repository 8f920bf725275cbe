// SPDX-License-Identifier: GPL-2.0-only
#include "lint/driver/FileIndex.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"

#include <chrono>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <thread>

using namespace kpkeys::lint;

namespace {

class FileIndexTest : public testing::Test {
protected:
  void SetUp() override { ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("files", Directory)); }
  void TearDown() override { llvm::sys::fs::remove_directories(Directory); }

  std::string path(llvm::StringRef Name) const { return (Directory + "/" + Name).str(); }

  void write(llvm::StringRef Name, llvm::StringRef Text) {
    std::error_code EC;
    llvm::raw_fd_ostream(path(Name), EC) << Text;
    ASSERT_FALSE(EC);
  }

  std::string contents(llvm::StringRef Name) {
    auto Buffer = llvm::MemoryBuffer::getFile(path(Name));
    return Buffer ? (*Buffer)->getBuffer().str() : "";
  }

  /// Stamps that are too fresh are not trusted.
  static void growOld() { std::this_thread::sleep_for(std::chrono::milliseconds(80)); }

  llvm::SmallString<128> Directory;
};

} // namespace

TEST_F(FileIndexTest, HashIsOfTheContent) {
  write("a", "one");
  write("b", "one");
  write("c", "two");
  FileIndex Files;
  EXPECT_EQ(Files.get(path("a")).Hash, Files.get(path("b")).Hash);
  EXPECT_NE(Files.get(path("a")).Hash, Files.get(path("c")).Hash);
  EXPECT_EQ(Files.get(path("a")).Hash.size(), 32u);
  EXPECT_EQ(Files.get(path("gone")).Hash, "");
  EXPECT_EQ(Files.get(Directory).Hash, "");
}

TEST_F(FileIndexTest, RecordsSpareReading) {
  write("a", "one");
  growOld();
  std::string Hash;
  {
    FileIndex Files(path("index"));
    Hash = Files.get(path("a")).Hash;
    ASSERT_FALSE(llvm::errorToBool(Files.save()));
  }
  // Whether the record is used shows if it is wrong.
  std::string Text = contents("index"), Wrong(32, '0');
  size_t At = Text.find(Hash);
  ASSERT_NE(At, std::string::npos);
  write("index", Text.substr(0, At) + Wrong + Text.substr(At + 32));
  EXPECT_EQ(FileIndex(path("index")).get(path("a")).Hash, Wrong);
  // But not for a file that has changed.
  write("a", "two");
  EXPECT_EQ(FileIndex(path("index")).get(path("a")).Hash, hashOf("two"));
}

TEST_F(FileIndexTest, FreshStampsAreNotRecorded) {
  FileIndex Files(path("index"));
  write("a", "one");
  Files.get(path("a"));
  ASSERT_FALSE(llvm::errorToBool(Files.save()));
  EXPECT_THAT(contents("index"), testing::Not(testing::HasSubstr(path("a"))));
}

TEST_F(FileIndexTest, ContentAndStampsOfADifferentInode) {
  write("a", "one");
  write("b", "two");
  struct stat Before;
  ASSERT_EQ(::stat(path("a").c_str(), &Before), 0);
  growOld();
  {
    FileIndex Files(path("index"));
    Files.get(path("a"));
    ASSERT_FALSE(llvm::errorToBool(Files.save()));
  }
  timespec Times[2] = {Before.st_atim, Before.st_mtim};
  ASSERT_EQ(::utimensat(AT_FDCWD, path("b").c_str(), Times, 0), 0);
  ASSERT_EQ(::rename(path("b").c_str(), path("a").c_str()), 0);
  EXPECT_EQ(FileIndex(path("index")).get(path("a")).Hash, hashOf("two"));
}

TEST_F(FileIndexTest, DamagedRecordsAreNone) {
  write("a", "one");
  for (const char *Text : {"", "nonsense", "kpkeys-lint files 2\n1 2 3\n", "kpkeys-lint files 2\n1 2 3 4 5 short name\n"}) {
    write("index", Text);
    EXPECT_EQ(FileIndex(path("index")).get(path("a")).Hash, hashOf("one")) << Text;
  }
}

TEST_F(FileIndexTest, FlagsTellWhatIsWorthALook) {
  write("a", "/* kpkeys-lint: allow(x) y */\n");
  write("b", "\t*ptep = pte;\n");
  write("c", "int i;\n");
  growOld();
  for (int Again = 0; Again < 2; ++Again) {
    FileIndex Files(path("index"));
    EXPECT_TRUE(Files.get(path("a")).HasMarker);
    EXPECT_FALSE(Files.get(path("a")).HasCandidate);
    EXPECT_TRUE(Files.get(path("b")).HasCandidate);
    EXPECT_FALSE(Files.get(path("b")).HasMarker);
    EXPECT_FALSE(Files.get(path("c")).HasCandidate || Files.get(path("c")).HasMarker);
    ASSERT_FALSE(llvm::errorToBool(Files.save()));
  }
}

TEST_F(FileIndexTest, WritingIsAllOrNothing) {
  ASSERT_FALSE(llvm::errorToBool(writeAtomically(path("x"), "text")));
  EXPECT_EQ(contents("x"), "text");
  std::string Message = llvm::toString(writeAtomically(path("gone/x"), "text"));
  EXPECT_THAT(Message, testing::HasSubstr("gone/x"));
  std::error_code EC;
  int Count = 0;
  for (llvm::sys::fs::directory_iterator It(Directory, EC), End; It != End; It.increment(EC))
    ++Count;
  EXPECT_EQ(Count, 1);
}
