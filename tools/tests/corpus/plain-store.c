// SPDX-License-Identifier: GPL-2.0-only
// Without a barrier in what restores, plain stores can leave the guard.
#define NO_BARRIER
#include "kernel.h"

void stores(pte_t *ptep, pte_t pte)
{
	scoped_guard(kpkeys_hardened_pgtables)
		*ptep = pte; // CHECK: 3 pgtable-plain-store
	scoped_guard(kpkeys_hardened_pgtables)
		WRITE_ONCE(*ptep, pte); // OK
	scoped_guard(kpkeys_hardened_pgtables) {
		*ptep = pte; // OK
		barrier();
	}
	scoped_guard(kpkeys_hardened_pgtables) {
		*ptep = pte; // OK
		use(1);
	}
	scoped_guard(kpkeys_hardened_pgtables) {
		barrier();
		ptep->pte |= 1; // CHECK: 3 pgtable-plain-store
	}
	scoped_guard(kpkeys_hardened_pgtables)
		memset(ptep, 0, 64); // CHECK: 3 pgtable-plain-store
	scoped_guard(kpkeys_hardened_pgtables) {
		ptep->pte = 1; // CHECK: 3 pgtable-plain-store
		if (pte.pte)
			barrier();
	}
}
