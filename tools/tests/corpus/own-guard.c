// SPDX-License-Identifier: GPL-2.0-only
// A guard that has the right name and does not do the right thing.
#define OWN_GUARD
#include "kernel.h"

KPKEYS_GUARD_COND(kpkeys_hardened_pgtables, KPKEYS_CTX_PGTABLES, condition()) // CHECK: 1 pgtable-guard

static inline void set(pte_t *ptep, pte_t pte)
{
	guard(kpkeys_hardened_pgtables)();
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
}

void caller(pte_t *ptep, pte_t pte)
{
	set(ptep, pte);
}
