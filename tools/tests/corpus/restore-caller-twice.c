// SPDX-License-Identifier: GPL-2.0-only
// What a caller set is restored for it, once or more often.
#include "kernel.h"

static __always_inline void once(u64 reg)
{
	if (reg == KPKEYS_PKEY_REG_INVAL)
		return;
	arch_kpkeys_restore_pkey_reg(reg); // OK
}

static __always_inline void in_either_arm(u64 reg)
{
	if (condition())
		arch_kpkeys_restore_pkey_reg(reg); // OK
	else
		arch_kpkeys_restore_pkey_reg(reg); // OK
}

static __always_inline void twice(u64 reg)
{
	if (reg == KPKEYS_PKEY_REG_INVAL)
		return;
	arch_kpkeys_restore_pkey_reg(reg); // OK
	arch_kpkeys_restore_pkey_reg(reg); // CHECK: 2 context-restore
}

void all_of_them(void)
{
	u64 reg = kpkeys_set_context(KPKEYS_CTX_PGTABLES);

	once(reg); // OK
	reg = kpkeys_set_context(KPKEYS_CTX_PGTABLES);
	in_either_arm(reg); // OK
	reg = kpkeys_set_context(KPKEYS_CTX_PGTABLES);
	twice(reg);
}
