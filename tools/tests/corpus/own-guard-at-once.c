// SPDX-License-Identifier: GPL-2.0-only
// A guard that has the right name and does not do the right thing.
#define OWN_GUARD
#include "kernel.h"

DEFINE_LOCK_GUARD_0(kpkeys_hardened_pgtables, _T->pkey_reg = kpkeys_set_context(KPKEYS_CTX_PGTABLES); kpkeys_restore_pkey_reg(_T->pkey_reg), // CHECK: 1 pgtable-guard
		    kpkeys_restore_pkey_reg(_T->pkey_reg), u64 pkey_reg)

void set(pte_t *ptep)
{
	guard(kpkeys_hardened_pgtables)();
	WRITE_ONCE(*ptep, __pte(0)); // CHECK: 2 pgtable-guard
}
