// SPDX-License-Identifier: GPL-2.0-only
// The second half of a lazy MMU section does nothing, or not the same.
#include "kernel.h"

void arch_enter_lazy_mmu_mode(void)
{
	if (kpkeys_hardened_pgtables_enabled() &&
	    arch_kpkeys_switch_context_nosync(KPKEYS_CTX_DEFAULT, KPKEYS_CTX_PGTABLES)) // OK
		isb();
}

void arch_leave_lazy_mmu_mode(void) // CHECK: 6 context-restore
{
	if (kpkeys_hardened_pgtables_enabled() && condition())
		use(1);
}
