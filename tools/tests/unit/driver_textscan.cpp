// SPDX-License-Identifier: GPL-2.0-only
#include "lint/driver/TextScan.h"

#include <gmock/gmock.h>

using namespace kpkeys::lint;

static bool isCandidate(llvm::StringRef Line) { return !candidateLines(Line).empty(); }

TEST(TextScan, ShapesOfWrites) {
  for (const char *Line : {
           "\t*ptep = pte;", "\t*pmdp = __pmd(0);", "\t*(ptep + i) = pte;", "\t\t*pgdp++ = pgd;", "if (x) *ptep |= 1;",
           "\tfor (;;) { *pudp = pud; }", "\tWRITE_ONCE(*ptep, pte);", "\tWRITE_ONCE( *pmdp, pmd);", "\t*swapper_pg_dir = x;",
           "\told = xchg_relaxed(&pte_val(*ptep), 0);", "\tcmpxchg(&pmd_val(*pmdp), a, b);", "\tset_bit(0, (void *)&pgd_val(*pgdp));",
           "\tmemset(pgd, 0, PGD_SIZE);", "\tmemcpy(swapper_pg_dir, p, n);", "\tclear_page(pte);", "\tcopy_page(new_pmd, pmd);",
           "\tu64 por = kpkeys_set_context(x);", "\tkpkeys_restore_pkey_reg(por);", "\twrite_sysreg_s(x, SYS_POR_EL1);",
           "#define set_pte(p, v) WRITE_ONCE(*(ptep), v)", "\tmsr\tPOR_EL1, x0",
       })
    EXPECT_TRUE(isCandidate(Line)) << Line;
}

TEST(TextScan, WhatOnlyLooksALittleLikeOne) {
  for (const char *Line : {
           "", "\tpte_t *ptep = pte_offset(x);", "\tif (*ptep == pte)", "\twhile (*ptep != pte)", "\tx = *ptep;", "\tx = a * pte;",
           " * *ptep = pte", "/* *ptep = pte", "// *ptep = pte", "\tpte = READ_ONCE(*ptep);", "\tptep = NULL;", "\tadopted = 1;",
           "\tmemset(&pte, 0, sizeof(pte));", "\tmemset(buffer, 0, n);", "\tx = READ_ONCE(pte_val(*ptep));", "\t*accepted = 1;",
           "\tWRITE_ONCE(mm->pgd_flags, 1);", "u64 kpkeys_set_context(int ctx);", "\tx = read_sysreg_s(SYS_POR_EL1);", "\tpr_info(\"x *pte = %d\", x);",
       })
    EXPECT_FALSE(isCandidate(Line)) << Line;
}

TEST(TextScan, PlacesAndLimit) {
  auto Found = candidateLines("int x;\n#define A \\\n\tWRITE_ONCE(*ptep, x)\n\n\t *pmdp = y;\n*pudp = z;");
  ASSERT_EQ(Found.size(), 3u);
  EXPECT_TRUE(Found[0].Directive);
  EXPECT_EQ(Found[0].Line, 3u);
  EXPECT_FALSE(Found[1].Directive);
  EXPECT_EQ(Found[1].Line, 5u);
  EXPECT_EQ(Found[1].Column, 3u);
  EXPECT_EQ(Found[1].Text, "*pmdp = y;");
  EXPECT_EQ(candidateLines("*ptep = a;\n*ptep = b;\n", 1).size(), 1u);
}
