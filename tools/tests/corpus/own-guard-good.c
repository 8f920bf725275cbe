// SPDX-License-Identifier: GPL-2.0-only
// A guard written in another way than the kernel's, which does the same.
#define OWN_GUARD
#include "kernel.h"

static __always_inline u64 enter_pgtables(void)
{
	if (!kpkeys_hardened_pgtables_enabled())
		return KPKEYS_PKEY_REG_INVAL;
	return kpkeys_set_context(KPKEYS_CTX_PGTABLES);
}

DEFINE_LOCK_GUARD_0(inner, _T->pkey_reg = KPKEYS_PKEY_REG_INVAL; // OK
		    if (likely(kpkeys_enabled())) _T->pkey_reg = enter_pgtables(),
		    kpkeys_restore_pkey_reg(_T->pkey_reg), u64 pkey_reg)
DEFINE_LOCK_GUARD_0(kpkeys_hardened_pgtables, _T->base = class_inner_constructor(), // OK
		    class_inner_destructor(&_T->base), class_inner_t base)

void set(pte_t *ptep)
{
	guard(kpkeys_hardened_pgtables)();
	WRITE_ONCE(*ptep, __pte(0)); // OK
}
