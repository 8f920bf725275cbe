// SPDX-License-Identifier: GPL-2.0-only
// The functions that delimit a lazy MMU section, done wrong.
#include "kernel.h"

void arch_enter_lazy_mmu_mode(void)
{
	if (kpkeys_hardened_pgtables_enabled() &&
	    arch_kpkeys_switch_context_nosync(KPKEYS_CTX_PGTABLES, KPKEYS_CTX_DEFAULT)) // CHECK: 6 context-restore
		isb();
}

void arch_leave_lazy_mmu_mode(void) // CHECK: 6 context-restore
{
	if (condition())
		return;
	if (kpkeys_hardened_pgtables_enabled() &&
	    arch_kpkeys_switch_context_nosync(KPKEYS_CTX_PGTABLES, KPKEYS_CTX_DEFAULT)) // OK
		isb();
}
