// SPDX-License-Identifier: GPL-2.0-only
#include "audit_support.h"

#include "llvm/Support/raw_ostream.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

using namespace kpkeys;
using namespace kpkeys::audit;
using namespace llvm;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

namespace {

constexpr char Guarded[] = "fn f\n set\n str x1, [x0]\n restore\n ret\nendfn f\n";

std::string listOf(ArrayRef<Site> Sites) {
  std::string Text;
  raw_string_ostream OS(Text);
  writeInventory(OS, inventory(Sites));
  return Text;
}

std::vector<std::string> differences(StringRef Pinned, StringRef Now) {
  AuditResult R = run(Now);
  Inventory Expected = cantFail(parseInventory(Pinned, "sites.txt"));
  AuditResult D;
  D.Findings = compare(Expected, inventory(R.Sites), R.Sites, "sites.txt");
  return findings(D);
}

TEST(AuditInventory, RoundTrip) {
  AuditResult R = run(Guarded);
  R.Sites[0].Image = R.Sites[1].Image = "";
  EXPECT_EQ(listOf(R.Sites), "f POR_EL1 restore mrs 1\nf POR_EL1 set immediate 1\n");
  EXPECT_EQ(cantFail(parseInventory(listOf(R.Sites), "sites.txt")), inventory(R.Sites));
}

TEST(AuditInventory, NamesTheModule) {
  EXPECT_THAT(listOf(run(Guarded).Sites), HasSubstr("test.ko/f POR_EL1 set immediate 1"));
}

TEST(AuditInventory, HoldsNoAddress) {
  EXPECT_EQ(listOf(run(Guarded).Sites), listOf(run(std::string("fn a\n nop\n ret\nendfn a\n") + Guarded).Sites));
}

TEST(AuditInventory, ShowsWhatIsNewAndGone) {
  std::string Pinned = listOf(run(Guarded).Sites);
  EXPECT_THAT(differences(Pinned, Guarded), IsEmpty());
  EXPECT_THAT(differences(Pinned, std::string(Guarded) + "fn g\n msr_por xzr\n isb\n ret\nendfn g\n"),
              ElementsAre("por-new-site test.ko/g"));
  EXPECT_THAT(differences(Pinned, "fn f\n set\n str x1, [x0]\n restore\n set\n restore\n ret\nendfn f\n"),
              ElementsAre("por-new-site test.ko/f"));
  EXPECT_THAT(differences(Pinned + "test.ko/h POR_EL1 set immediate 1\n", Guarded),
              ElementsAre("por-gone-site test.ko/h"));
  // Other registers count as well.
  EXPECT_THAT(differences(Pinned, std::string(Guarded) + "fn g\n msr S3_4_C10_C2_4, x0\n ret\nendfn g\n"),
              ElementsAre("por-new-site test.ko/g"));
}

TEST(AuditInventory, ShowsAnotherOrigin) {
  EXPECT_THAT(differences("test.ko/f POR_EL1 unset immediate 1\n", "fn f\n msr_por x0\n isb\n ret\nendfn f\n"),
              ElementsAre("por-gone-site test.ko/f", "por-new-site test.ko/f"));
}

TEST(AuditInventory, RefusesWhatItDoesNotUnderstand) {
  auto refused = [](StringRef Text) {
    Expected<Inventory> I = parseInventory(Text, "sites.txt");
    return I ? "" : toString(I.takeError());
  };
  EXPECT_EQ(refused("# comment\n\nf POR_EL1 set immediate 2\n"), "");
  EXPECT_THAT(refused("f POR_EL1 set immediate\n"), HasSubstr("sites.txt:1: this is not"));
  EXPECT_THAT(refused("f POR_EL1 set immediate x\n"), HasSubstr("sites.txt:1: this is not"));
  EXPECT_THAT(refused("\nf POR_EL1 set immediate 0\n"), HasSubstr("sites.txt:2: this is not"));
  EXPECT_THAT(refused("f POR_EL1 set immediate 1\nf POR_EL1 set immediate 2\n"), HasSubstr("stands there twice"));
}

TEST(AuditPlaces, WantAReason) {
  auto refused = [](StringRef Text) {
    Expected<Places> P = Places::parse(Text, "places.txt");
    return P ? "" : toString(P.takeError());
  };
  EXPECT_EQ(refused("# comment\nmemory f because\n"), "");
  EXPECT_THAT(refused("memory f\n"), HasSubstr("places.txt:1: give the rule, a function and the reason"));
  EXPECT_THAT(refused("\nmemroy f because\n"), HasSubstr("places.txt:2: there is no rule 'memroy': use one of memory, "));
  EXPECT_THAT(refused("memory [ because\n"), HasSubstr("'[' is not a pattern"));
}

TEST(AuditPlaces, PatternsAndFiles) {
  const char Text[] = ".file \"mmu.c\"\n.text\n.type f, %function\nf: msr_por x0\n isb\n ret\n.size f, . - f\n";
  EXPECT_THAT(findings(Text), ElementsAre("por-argument mmu.c:f"));
  EXPECT_THAT(findings(Text, "argument mmu.c:f why\n"), IsEmpty());
  EXPECT_THAT(findings(Text, "argument mmu.c:* why\n"), IsEmpty());
  EXPECT_THAT(findings(Text, "argument f why\n"), IsEmpty());
  EXPECT_THAT(findings(Text, "argument mm.c:f why\n"), ElementsAre("por-argument mmu.c:f"));
  EXPECT_THAT(findings(Text, "memory f why\n"), ElementsAre("por-argument mmu.c:f"));
}

TEST(AuditPlaces, KnowsWhatWasNeeded) {
  Image I = load(assemble("fn f\n msr_por x0\n isb\n ret\nendfn f\n"));
  Places P = cantFail(Places::parse("argument f why\nargument g why\nmemory f why\n", "places.txt"));
  EXPECT_THAT(audit::audit(I, decoder(), P).Findings, IsEmpty());
  std::vector<const Places::Line *> Unused = P.unused();
  ASSERT_EQ(Unused.size(), 2u);
  EXPECT_EQ(Unused[0]->Number, 2u);
  EXPECT_EQ(Unused[1]->Number, 3u);
}

TEST(AuditFindings, SayWhereAndWhy) {
  AuditResult R = run("fn f\n nop\n ldr x1, [x0]\n msr_por x1\n isb\n ret\nendfn f\n");
  ASSERT_EQ(R.Findings.size(), 1u);
  EXPECT_EQ(R.Findings[0].Message,
            "f() writes a value from memory to POR_EL1: memory, bits 0xffffffffffffffff (at f+0x8)");
  ASSERT_EQ(R.Findings[0].Notes.size(), 1u);
  EXPECT_EQ(R.Findings[0].Notes[0].Message, "loaded here (at f+0x4)");
}

} // namespace
