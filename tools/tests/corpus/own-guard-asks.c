// SPDX-License-Identifier: GPL-2.0-only
// A guard that leaves if what was in effect before it did not grant what it writes.
#define OWN_GUARD
#include "kernel.h"

static __always_inline void arch_kpkeys_leave_pgtables(u64 por)
{
	if (unlikely(!__kpkeys_por_has_context(por, KPKEYS_CTX_PGTABLES)))
		arch_kpkeys_restore_pkey_reg(por); // OK
}

DEFINE_LOCK_GUARD_0(kpkeys_hardened_pgtables,
		    _T->pkey_reg = arch_kpkeys_enter_pgtables(KPKEYS_CTX_PGTABLES),
		    arch_kpkeys_leave_pgtables(_T->pkey_reg), u64 pkey_reg)

void set(pte_t *ptep)
{
	guard(kpkeys_hardened_pgtables)();
	WRITE_ONCE(*ptep, __pte(0)); // OK
}
