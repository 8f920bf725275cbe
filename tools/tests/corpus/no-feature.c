// SPDX-License-Identifier: GPL-2.0-only
// The feature is configured out: its guard does nothing, and its places are
// right or wrong all the same.
#define OWN_GUARD
#include "kernel.h"

/* As in the kernel, where the macro is not defined then. */
#undef KPKEYS_CTX_PGTABLES

DEFINE_LOCK_GUARD_0(kpkeys_hardened_pgtables, (void)_T, (void)_T) // OK

void set(pte_t *ptep, pte_t pte)
{
	scoped_guard(kpkeys_hardened_pgtables)
		WRITE_ONCE(*ptep, pte); // OK
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
}

void arch_enter_lazy_mmu_mode(void) // OK
{
}

void arch_leave_lazy_mmu_mode(void) // OK
{
}
