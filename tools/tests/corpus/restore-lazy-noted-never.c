// SPDX-License-Identifier: GPL-2.0-only
// A lazy MMU section that is left if something is noted that nobody notes.
#include "kernel.h"

static struct { int lazy_mmu_context; } thread;

void arch_enter_lazy_mmu_mode(void) // OK
{
	if (kpkeys_hardened_pgtables_enabled() &&
	    arch_kpkeys_switch_context_nosync(KPKEYS_CTX_DEFAULT, KPKEYS_CTX_PGTABLES)) // OK
		isb();
}

void arch_leave_lazy_mmu_mode(void) // CHECK: 6 context-restore
{
	if (kpkeys_hardened_pgtables_enabled() && thread.lazy_mmu_context &&
	    arch_kpkeys_switch_context_nosync(KPKEYS_CTX_PGTABLES, KPKEYS_CTX_DEFAULT)) { // OK
		thread.lazy_mmu_context = 0;
		isb();
		return;
	}
	use(1);
}
