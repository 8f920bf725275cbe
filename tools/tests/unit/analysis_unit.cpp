// SPDX-License-Identifier: GPL-2.0-only
// analyseUnit() on code in memory. The corpus has the many cases; here is what
// the facts themselves must say.
#include "lint/analysis/Analysis.h"
#include "lint/analysis/Link.h"

#include <gmock/gmock.h>

using namespace kpkeys;
using namespace kpkeys::lint;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

static constexpr const char *Header = R"(
typedef unsigned long long u64;
typedef u64 pteval_t;
typedef struct { pteval_t pte; } pte_t;
#define KPKEYS_CTX_PGTABLES 0x5
#define KPKEYS_CTX_MAX 6
u64 kpkeys_set_context(const int ctx);
void kpkeys_restore_pkey_reg(u64 reg);
typedef struct { void *lock; u64 pkey_reg; } class_kpkeys_hardened_pgtables_t;
static inline __attribute__((__always_inline__))
void class_kpkeys_hardened_pgtables_destructor(class_kpkeys_hardened_pgtables_t *t)
{ kpkeys_restore_pkey_reg(t->pkey_reg); }
static inline __attribute__((__always_inline__))
class_kpkeys_hardened_pgtables_t class_kpkeys_hardened_pgtables_constructor(void)
{ class_kpkeys_hardened_pgtables_t t = { 0 }, *p = &t;
  p->pkey_reg = kpkeys_set_context(KPKEYS_CTX_PGTABLES); return t; }
#define GUARD class_kpkeys_hardened_pgtables_t g \
  __attribute__((__cleanup__(class_kpkeys_hardened_pgtables_destructor))) = \
  class_kpkeys_hardened_pgtables_constructor()
static inline void unused(void) { }
)";

static llvm::Expected<Facts> analyse(llvm::StringRef Code, std::string &Diagnostics,
                                     std::vector<std::string> Extra = {}) {
  UnitCommand Command;
  Command.Directory = "/t/build";
  Command.File = "/t/src/mm/a.c";
  Command.SourceRoot = "/t/src";
  Command.Arguments = {"clang", "--target=aarch64-linux-gnu", "-std=gnu11", "-I/t/src/include"};
  Command.Arguments.insert(Command.Arguments.end(), Extra.begin(), Extra.end());
  Command.Arguments.insert(Command.Arguments.end(), {"-c", "-o", "a.o", "/t/src/mm/a.c"});
  return analyseUnit(Command, Config(), Diagnostics,
                     {{"/t/src/mm/a.c", ("#include \"k.h\"\n" + Code).str()}, {"/t/src/include/k.h", Header}});
}

static Facts factsOf(llvm::StringRef Code) {
  std::string Diagnostics;
  auto F = analyse(Code, Diagnostics);
  if (F)
    return std::move(*F);
  ADD_FAILURE() << llvm::toString(F.takeError());
  return {};
}

static const FunctionFacts &named(const Facts &F, llvm::StringRef Name) {
  static const FunctionFacts None;
  for (const FunctionFacts &Each : F.Functions)
    if (Each.Name == Name)
      return Each;
  ADD_FAILURE() << "no function " << Name.str();
  return None;
}

TEST(Unit, PathsAreRelativeToTheSourceTree) {
  Facts F = factsOf("void f(void) { }\n");
  EXPECT_EQ(F.Unit, "mm/a.c");
  EXPECT_EQ(named(F, "f").File, "mm/a.c");
  EXPECT_EQ(named(F, "f").Id, "f");
  EXPECT_EQ(named(F, "class_kpkeys_hardened_pgtables_destructor").Id,
            "class_kpkeys_hardened_pgtables_destructor@include/k.h");
  EXPECT_THAT(F.Dependencies, ElementsAre("/t/src/include/k.h", "/t/src/mm/a.c"));
}

TEST(Unit, WhatNothingUsesIsLeftOut) {
  Facts F = factsOf("void f(void) { }\n");
  for (const FunctionFacts &Each : F.Functions)
    EXPECT_NE(Each.Name, "unused");
  EXPECT_EQ(named(factsOf("void f(void) { unused(); }\n"), "unused").Line, 20u);
}

TEST(Unit, SitesSayWhereThePointerComesFrom) {
  Facts F = factsOf("void f(int x, pte_t *p) { pte_t l, *q = x ? p : &l; *q = l; }\n");
  auto &Sites = named(F, "f").Sites;
  ASSERT_THAT(Sites, SizeIs(1));
  EXPECT_THAT(Sites[0].From, ElementsAre(1, RootCopy));
  EXPECT_TRUE(Sites[0].Typed);
  EXPECT_FALSE(Sites[0].Guarded);
  EXPECT_EQ(Sites[0].Text, "*q");
  EXPECT_EQ(Sites[0].Shape, "store");
  EXPECT_EQ(Sites[0].Loc, (Location{"mm/a.c", 2, 53}));
}

TEST(Unit, GuardsAreSeen) {
  Facts F = factsOf("void f(pte_t *p) { { GUARD; p->pte = 1; } p->pte = 2; }\n");
  auto &Sites = named(F, "f").Sites;
  ASSERT_THAT(Sites, SizeIs(2));
  EXPECT_TRUE(Sites[0].Guarded);
  EXPECT_FALSE(Sites[1].Guarded);
  ASSERT_THAT(Sites[1].Notes, SizeIs(2));
  EXPECT_EQ(Sites[1].Notes[1].Message, "guard released here");
}

TEST(Unit, ContextsOfTheUnitAreUsed) {
  Facts F = factsOf("void f(void) { GUARD; }\n");
  ASSERT_THAT(F.Contexts, SizeIs(1));
  EXPECT_EQ(F.Contexts[0].Value, 5);
  EXPECT_EQ(F.Contexts[0].Text, "KPKEYS_CTX_PGTABLES");
  EXPECT_THAT(F.Findings, IsEmpty());
  Facts G = factsOf("void f(void) { u64 r = kpkeys_set_context(7); kpkeys_restore_pkey_reg(r); }\n");
  ASSERT_THAT(G.Findings, SizeIs(1));
  EXPECT_THAT(G.Findings[0].Message, HasSubstr("range 0 to 6"));
}

TEST(Unit, CallsHandOnWhatTheyGet) {
  Facts F = factsOf("void h(pte_t *p); void f(pte_t *p) { pte_t l; h(p + 1); h(&l); GUARD; h(p); }\n");
  auto &Calls = named(F, "f").Calls;
  std::vector<Roots> From;
  std::vector<bool> Guarded;
  for (const CallSite &C : Calls)
    if (C.Callee == "h") {
      From.push_back(C.Arguments.at(0).From);
      Guarded.push_back(C.Guarded);
    }
  EXPECT_THAT(From, ElementsAre(Roots{0}, Roots{RootCopy}, Roots{0}));
  EXPECT_THAT(Guarded, ElementsAre(false, false, true));
}

TEST(Unit, AddressesNameTheirMember) {
  Facts F = factsOf("static void g(pte_t *p) { } struct ops { void (*fn)(pte_t *); };\n"
                    "struct ops o = { .fn = g }; void *x = (void *)g;\n");
  // As what it is called through x does not say.
  EXPECT_THAT(F.AddressesTaken, ElementsAre(AddressTaken{"g@mm/a.c", "", ""},
                                            AddressTaken{"g@mm/a.c", "ops.fn", "void (pte_t *)"}));
}

TEST(Unit, MembersThatArePutElsewhereAreNamed) {
  Facts F = factsOf("struct a { void (*x)(void), (*y)(void), (*z)(void); }; struct b { void (*x)(void); };\n"
                    "union u { void (*x)(void); };\n"
                    "void f(struct a *a, struct b *b, union u *u)\n"
                    "{ b->x = a->x; if (a->y) a->y(); (*a->z)(); a->z = 0; b->x = u->x; }\n");
  EXPECT_THAT(F.Moved, ElementsAre("a.x"));
}

TEST(Unit, SymbolsAreWhatLinkingGoesBy) {
  Facts F = factsOf("void f(void) __asm__(\"g\");\n"
                    "static __attribute__((used)) void h(void) { f(); }\n"
                    "void i(void) __attribute__((alias(\"h\")));\n");
  EXPECT_THAT(F.Aliases, ElementsAre(std::pair<std::string, std::string>("i", "h@mm/a.c")));
  EXPECT_THAT(named(F, "h").Callees, ElementsAre("g"));
}

TEST(Unit, LinesThatWereSkippedAreNamed) {
  Facts F = factsOf("void f(void)\n{\n#ifdef X\n  f();\n#else\n  ;\n#endif\n}\n");
  auto &Skipped = named(F, "f").Skipped;
  ASSERT_THAT(Skipped, SizeIs(1));
  EXPECT_EQ(Skipped[0].first, 4u);
}

TEST(Unit, ErrorsAreErrors) {
  std::string Diagnostics;
  auto F = analyse("void f(void) { undeclared; }\nint g(void) { return 0; }\n", Diagnostics);
  ASSERT_FALSE(bool(F));
  std::string Text = llvm::toString(F.takeError());
  EXPECT_THAT(Text, HasSubstr("/t/src/mm/a.c: does not parse"));
  EXPECT_THAT(Text, HasSubstr("undeclared"));
  EXPECT_THAT(Diagnostics, HasSubstr("undeclared"));

  Diagnostics.clear();
  auto G = analyse("#include <generated/missing.h>\n", Diagnostics);
  ASSERT_FALSE(bool(G));
  EXPECT_THAT(llvm::toString(G.takeError()), HasSubstr("generated/missing.h"));
}

TEST(Unit, WarningsOfTheBuildAreNoErrors) {
  std::string Diagnostics;
  auto F = analyse("void f(void) { int unused_variable; }\n", Diagnostics, {"-Wall", "-Werror"});
  EXPECT_TRUE(bool(F)) << llvm::toString(F.takeError());
}

TEST(Unit, DependencyFilesOfTheBuildAreLeftAlone) {
  std::string Diagnostics;
  // Would fail: there is no such directory.
  auto F = analyse("void f(void) { }\n", Diagnostics, {"-Wp,-MMD,/nowhere/at/all.d", "-MF", "/nowhere/b.d", "-MD"});
  EXPECT_TRUE(bool(F)) << llvm::toString(F.takeError());
}
