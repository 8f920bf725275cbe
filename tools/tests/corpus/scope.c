// SPDX-License-Identifier: GPL-2.0-only
// What may not run under a guard.
#include "kernel.h"

void mutex_lock(void *lock);
void *kmalloc_noprof(size_t n);
void _raw_spin_lock(void *lock);
struct ops { void (*fn)(void); };

static void harmless(void) { use(1); }
static void sleeps(void) { mutex_lock(NULL); }
static void sleeps_below(void) { harmless(); sleeps(); }

void called_under_guard(struct ops *ops)
{
	sleeps_below(); // OK
	guard(kpkeys_hardened_pgtables)();
	harmless(); // OK
	sleeps_below(); // CHECK: 2 guard-scope
}

void allocates(void)
{
	guard(kpkeys_hardened_pgtables)();
	kmalloc_noprof(8); // CHECK: 2 guard-scope
}

void locks(void)
{
	scoped_guard(kpkeys_hardened_pgtables)
		_raw_spin_lock(NULL); // CHECK: 3 guard-scope
	_raw_spin_lock(NULL); // OK
}

void indirect(struct ops *ops)
{
	scoped_guard(kpkeys_hardened_pgtables)
		ops->fn(); // CHECK: 3 guard-scope
	ops->fn(); // OK
}

void other_guard(void)
{
	guard(kpkeys_test)();
	mutex_lock(NULL); // OK
}
