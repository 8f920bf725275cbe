// SPDX-License-Identifier: GPL-2.0-only
// The guard of a feature that is configured out, where it is configured in.
#define OWN_GUARD
#include "kernel.h"

DEFINE_LOCK_GUARD_0(kpkeys_hardened_pgtables, (void)_T, (void)_T) // CHECK: 1 pgtable-guard context-restore

void set(pte_t *ptep)
{
	guard(kpkeys_hardened_pgtables)();
	WRITE_ONCE(*ptep, __pte(0)); // CHECK: 2 pgtable-guard
}
