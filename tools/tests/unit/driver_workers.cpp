// SPDX-License-Identifier: GPL-2.0-only
#include "lint/driver/Workers.h"

#include <csignal>
#include <gmock/gmock.h>
#include <map>
#include <set>
#include <sys/wait.h>
#include <unistd.h>

using namespace kpkeys::lint;
using testing::HasSubstr;

static std::vector<size_t> items(size_t N) {
  std::vector<size_t> Out(N);
  for (size_t I = 0; I < N; ++I)
    Out[I] = I;
  return Out;
}

static std::map<size_t, WorkResult> run(size_t N, unsigned Jobs, llvm::function_ref<WorkResult(size_t)> Work) {
  std::map<size_t, WorkResult> Results;
  llvm::Error E = runWorkers(items(N), Jobs, Work, [&](size_t I, WorkResult R) { EXPECT_TRUE(Results.try_emplace(I, std::move(R)).second); });
  EXPECT_FALSE(llvm::errorToBool(std::move(E)));
  EXPECT_EQ(Results.size(), N);
  // No child is left behind.
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
  return Results;
}

TEST(Workers, EveryItemOnceWithAllItsData) {
  auto Results = run(50, 3, [](size_t I) {
    WorkResult R;
    R.Success = I % 2;
    R.Text = std::string(I * 10000, 'x');
    R.Diagnostics = std::to_string(::getpid());
    R.Dependencies = {"/a b", std::to_string(I)};
    R.Began = I;
    return R;
  });
  std::set<std::string> Processes;
  for (auto &[I, R] : Results) {
    EXPECT_EQ(R.Success, I % 2 == 1);
    EXPECT_EQ(R.Text.size(), I * 10000);
    EXPECT_THAT(R.Dependencies, testing::ElementsAre("/a b", std::to_string(I)));
    EXPECT_EQ(R.Began, int64_t(I));
    Processes.insert(R.Diagnostics);
  }
  EXPECT_LE(Processes.size(), 3u);
  EXPECT_FALSE(Processes.count(std::to_string(::getpid())));
}

TEST(Workers, ACrashCostsItsItemOnly) {
  auto Results = run(20, 2, [](size_t I) {
    if (I % 5 == 0)
      ::raise(SIGSEGV);
    if (I % 5 == 1)
      ::_exit(7);
    WorkResult R;
    R.Success = true;
    return R;
  });
  for (auto &[I, R] : Results) {
    EXPECT_EQ(R.Success, I % 5 > 1) << I;
    if (I % 5 == 0)
      EXPECT_THAT(R.Text, HasSubstr("the analysis crashed: Segmentation fault"));
    if (I % 5 == 1)
      EXPECT_THAT(R.Text, HasSubstr("status 7"));
  }
}

TEST(Workers, OneThatHasGrownMakesRoom) {
  auto Results = run(4, 1, [](size_t) {
    static std::vector<char *> Kept;
    size_t Size = 200 << 20;
    Kept.push_back(new char[Size]);
    for (size_t At = 0; At < Size; At += 4096)
      Kept.back()[At] = 1;
    WorkResult R;
    R.Success = true;
    R.Text = std::to_string(::getpid());
    return R;
  });
  std::set<std::string> Processes;
  for (auto &[I, R] : Results)
    Processes.insert(R.Text);
  EXPECT_EQ(Processes.size(), 4u);
}

TEST(Workers, NothingToDo) { run(0, 4, [](size_t) { return WorkResult(); }); }
