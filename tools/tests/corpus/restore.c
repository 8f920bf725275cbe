// SPDX-License-Identifier: GPL-2.0-only
// What is entered is left, on every path, and as it was found.
#include "kernel.h"

struct saved { u64 reg; };

void straight(void)
{
	u64 reg = kpkeys_set_context(KPKEYS_CTX_TEST); // OK

	use(1);
	kpkeys_restore_pkey_reg(reg);
}

void never(void)
{
	u64 reg = kpkeys_set_context(KPKEYS_CTX_TEST); // CHECK: 12 context-restore

	use(reg);
}

void discarded(void)
{
	(void)kpkeys_set_context(KPKEYS_CTX_TEST); // CHECK: 8 context-restore
}

int early_return(void)
{
	u64 reg = kpkeys_set_context(KPKEYS_CTX_TEST); // CHECK: 12 context-restore

	if (condition())
		return -1;
	kpkeys_restore_pkey_reg(reg);
	return 0;
}

int goto_restores(void)
{
	int ret = 0;
	u64 reg = kpkeys_set_context(KPKEYS_CTX_TEST); // OK

	if (condition()) {
		ret = -1;
		goto out;
	}
	use(2);
out:
	kpkeys_restore_pkey_reg(reg);
	return ret;
}

int goto_skips(void)
{
	u64 reg = kpkeys_set_context(KPKEYS_CTX_TEST); // CHECK: 12 context-restore

	if (condition())
		goto out;
	kpkeys_restore_pkey_reg(reg);
out:
	return 0;
}

int goto_before(void)
{
	u64 reg;

	if (condition())
		goto out;
	reg = kpkeys_set_context(KPKEYS_CTX_TEST);
out:
	kpkeys_restore_pkey_reg(reg); // CHECK: 26 context-restore
	return 0;
}

int goto_before_sentinel(void)
{
	u64 reg = KPKEYS_PKEY_REG_INVAL;

	if (condition())
		goto out;
	reg = kpkeys_set_context(KPKEYS_CTX_TEST);
out:
	kpkeys_restore_pkey_reg(reg); // OK
	return 0;
}

void loops(int n)
{
	u64 reg;

	while (n--) {
		reg = kpkeys_set_context(KPKEYS_CTX_TEST); // OK
		use(n);
		kpkeys_restore_pkey_reg(reg);
	}
}

void loop_continues(int n)
{
	u64 reg;

	while (n--) {
		reg = kpkeys_set_context(KPKEYS_CTX_TEST); // CHECK: 9 context-restore context-restore
		if (n == 3)
			continue;
		kpkeys_restore_pkey_reg(reg);
	}
}

void once_round(void)
{
	do {
		u64 reg = kpkeys_set_context(KPKEYS_CTX_TEST); // OK

		kpkeys_restore_pkey_reg(reg);
	} while (0);
}

void both_arms(bool which)
{
	u64 reg;

	if (which)
		reg = kpkeys_set_context(KPKEYS_CTX_TEST); // OK
	else
		reg = kpkeys_set_context(KPKEYS_CTX_PGTABLES); // OK
	kpkeys_restore_pkey_reg(reg);
}

void in_an_expression(bool which)
{
	u64 reg = which ? kpkeys_set_context(KPKEYS_CTX_TEST) : KPKEYS_PKEY_REG_INVAL; // OK

	use(1);
	kpkeys_restore_pkey_reg(reg);
}

void nested(void)
{
	u64 outer = kpkeys_set_context(KPKEYS_CTX_TEST); // OK
	u64 inner = kpkeys_set_context(KPKEYS_CTX_DEFAULT); // OK

	kpkeys_restore_pkey_reg(inner);
	kpkeys_restore_pkey_reg(outer);
}

void wrong_order(void)
{
	u64 outer = kpkeys_set_context(KPKEYS_CTX_TEST);
	u64 inner = kpkeys_set_context(KPKEYS_CTX_DEFAULT);

	kpkeys_restore_pkey_reg(outer); // CHECK: 2 context-restore
	kpkeys_restore_pkey_reg(inner);
}

void twice(void)
{
	u64 reg = kpkeys_set_context(KPKEYS_CTX_TEST);

	kpkeys_restore_pkey_reg(reg); // OK
	kpkeys_restore_pkey_reg(reg); // CHECK: 2 context-restore
}

void sentinel(void)
{
	kpkeys_restore_pkey_reg(KPKEYS_PKEY_REG_INVAL); // OK
}

void copied(void)
{
	u64 reg = kpkeys_set_context(KPKEYS_CTX_TEST); // OK
	u64 copy = reg;

	kpkeys_restore_pkey_reg(copy);
}

void changed(void)
{
	u64 reg = kpkeys_set_context(KPKEYS_CTX_TEST); // CHECK: 12 context-restore

	reg |= 1;
	kpkeys_restore_pkey_reg(reg); // CHECK: 26 context-restore
}

void made_up(void)
{
	kpkeys_restore_pkey_reg(0x1234); // CHECK: 26 context-restore
}

static __always_inline void from_memory(struct saved *s)
{
	kpkeys_restore_pkey_reg(s->reg); // CHECK: 26 context-restore
}

void use_memory(struct saved *s) // CHECK: 6 context-inline
{
	from_memory(s);
}

void into_memory(struct saved *s)
{
	s->reg = kpkeys_set_context(KPKEYS_CTX_TEST); // CHECK: 11 context-restore
}

void switches(int n)
{
	u64 reg = kpkeys_set_context(KPKEYS_CTX_TEST); // CHECK: 12 context-restore

	switch (n) {
	case 0:
		kpkeys_restore_pkey_reg(reg);
		break;
	case 1:
		break;
	default:
		kpkeys_restore_pkey_reg(reg);
	}
}

extern void die(void) __noreturn;

void no_return(void)
{
	u64 reg = kpkeys_set_context(KPKEYS_CTX_TEST); // OK

	if (condition())
		die();
	kpkeys_restore_pkey_reg(reg);
}

void with_guard(void)
{
	u64 reg;

	guard(kpkeys_test)();
	reg = kpkeys_set_context(KPKEYS_CTX_DEFAULT); // OK
	kpkeys_restore_pkey_reg(reg);
}

/* A guard that does not restore, and one that does not on every path. */
DEFINE_LOCK_GUARD_0(forgets, _T->pkey_reg = kpkeys_set_context(KPKEYS_CTX_TEST), (void)_T, u64 pkey_reg) // CHECK: 1 context-restore
DEFINE_LOCK_GUARD_0(sometimes, _T->pkey_reg = kpkeys_set_context(KPKEYS_CTX_TEST), // CHECK: 1 context-restore
		    if (condition()) kpkeys_restore_pkey_reg(_T->pkey_reg), u64 pkey_reg)
DEFINE_LOCK_GUARD_0(half, if (condition()) _T->pkey_reg = kpkeys_set_context(KPKEYS_CTX_TEST), // CHECK: 1 context-restore
		    kpkeys_restore_pkey_reg(_T->pkey_reg), u64 pkey_reg)
DEFINE_LOCK_GUARD_0(whole, _T->pkey_reg = kpkeys_set_context(KPKEYS_CTX_TEST), // OK
		    kpkeys_restore_pkey_reg(_T->pkey_reg), u64 pkey_reg)

DEFINE_LOCK_GUARD_0(nothing, _T->pkey_reg = kpkeys_set_context(KPKEYS_CTX_TEST), // CHECK: 1 context-restore
		    kpkeys_restore_pkey_reg(KPKEYS_PKEY_REG_INVAL), u64 pkey_reg)
DEFINE_LOCK_GUARD_0(copies, _T->pkey_reg = kpkeys_set_context(KPKEYS_CTX_TEST), // OK
		    u64 reg = _T->pkey_reg; kpkeys_restore_pkey_reg(reg), u64 pkey_reg)

/* A guard without its cleanup function. */
void nobody_leaves(void)
{
	class_whole_t g = class_whole_constructor(); // CHECK: 20 context-restore
	use(g.pkey_reg);
}

void nobody_keeps(void)
{
	class_whole_constructor(); // CHECK: 2 context-restore
}

void leaves_by_itself(void)
{
	class_whole_t g __cleanup(class_whole_destructor) = class_whole_constructor(); // OK
	use(g.pkey_reg);
}

void use_guards(void)
{
	guard(nothing)();
	guard(copies)();
	guard(forgets)();
	guard(sometimes)();
	guard(half)();
	guard(whole)();
}

/* Sections that two functions delimit. */
void arch_enter_lazy_mmu_mode(void)
{
	if (kpkeys_hardened_pgtables_enabled() &&
	    arch_kpkeys_switch_context_nosync(KPKEYS_CTX_DEFAULT, KPKEYS_CTX_PGTABLES)) // OK
		isb();
}

void arch_leave_lazy_mmu_mode(void)
{
	if (kpkeys_hardened_pgtables_enabled() &&
	    arch_kpkeys_switch_context_nosync(KPKEYS_CTX_PGTABLES, KPKEYS_CTX_DEFAULT)) { // OK
		isb();
		return;
	}
	use(1);
}

void someone_else(void)
{
	if (arch_kpkeys_switch_context_nosync(KPKEYS_CTX_DEFAULT, KPKEYS_CTX_PGTABLES)) // CHECK: 6 context-restore
		isb();
}

/* The value is not the only parameter, or not the first one. */
static __always_inline void leave_second(u64 unused, u64 reg)
{
	kpkeys_restore_pkey_reg(reg); // OK
}

static __always_inline void leave_both(u64 inner, u64 outer)
{
	kpkeys_restore_pkey_reg(inner); // OK
	kpkeys_restore_pkey_reg(outer); // OK
}

void leaves_second(u64 other) // OK
{
	u64 reg = kpkeys_set_context(KPKEYS_CTX_TEST); // OK

	leave_second(other, reg);
}

void leaves_wrong_one(void)
{
	u64 reg = kpkeys_set_context(KPKEYS_CTX_TEST); // CHECK: 12 context-restore

	leave_second(reg, 0x1234); // CHECK: 20 context-restore
}

void leaves_both(void)
{
	u64 outer = kpkeys_set_context(KPKEYS_CTX_TEST); // OK
	u64 inner = kpkeys_set_context(KPKEYS_CTX_DEFAULT); // OK

	leave_both(inner, outer);
}

void leaves_from_caller(u64 reg) // CHECK: 6 context-inline
{
	leave_second(0, reg);
}

/* A part of the register is lost. */
void narrow_variable(void)
{
	int reg = kpkeys_set_context(KPKEYS_CTX_TEST); // CHECK: 12 context-restore

	kpkeys_restore_pkey_reg(reg); // CHECK: 26 context-restore
}

void narrow_value(void)
{
	u64 reg = kpkeys_set_context(KPKEYS_CTX_TEST); // CHECK: 12 context-restore

	kpkeys_restore_pkey_reg((u32)reg); // CHECK: 26 context-restore
}

void narrow_truth(void)
{
	bool reg = kpkeys_set_context(KPKEYS_CTX_TEST); // CHECK: 13 context-restore

	kpkeys_restore_pkey_reg(reg); // CHECK: 26 context-restore
}

void narrow_sentinel(void)
{
	kpkeys_restore_pkey_reg((u32)KPKEYS_PKEY_REG_INVAL); // CHECK: 26 context-restore
	kpkeys_restore_pkey_reg((u32)-1); // CHECK: 26 context-restore
	kpkeys_restore_pkey_reg(-1); // OK
}

void wide_enough(void)
{
	unsigned long a = kpkeys_set_context(KPKEYS_CTX_TEST); // OK
	long long b = kpkeys_set_context(KPKEYS_CTX_DEFAULT); // OK

	kpkeys_restore_pkey_reg(b);
	kpkeys_restore_pkey_reg((u64)a);
}

DEFINE_LOCK_GUARD_0(narrow, _T->pkey_reg = kpkeys_set_context(KPKEYS_CTX_TEST), // CHECK: 1 context-restore context-restore; 44 context-restore
		    kpkeys_restore_pkey_reg(_T->pkey_reg), u32 pkey_reg) // CHECK: 31 context-restore

void use_narrow(void)
{
	guard(narrow)();
}

/* Changed in between, by other means than an assignment. */
void incremented(void)
{
	u64 reg = kpkeys_set_context(KPKEYS_CTX_TEST); // CHECK: 12 context-restore

	reg++;
	kpkeys_restore_pkey_reg(reg); // CHECK: 26 context-restore
}

void changed_by_assembly(void) // CHECK: 6 context-inline
{
	u64 reg = kpkeys_set_context(KPKEYS_CTX_TEST); // CHECK: 12 context-restore

	asm volatile("orr %0, %0, #1" : "+r" (reg));
	kpkeys_restore_pkey_reg(reg); // CHECK: 26 context-restore
}

void guard_incremented(void)
{
	CLASS(whole, g)();

	g.pkey_reg++; // CHECK: 2 context-restore
}

/* The value of the outer context is lost. */
void lost(void)
{
	u64 reg = kpkeys_set_context(KPKEYS_CTX_TEST); // CHECK: 12 context-restore

	if (condition())
		reg = kpkeys_set_context(KPKEYS_CTX_DEFAULT);
	kpkeys_restore_pkey_reg(reg);
}

void not_lost(void)
{
	u64 reg = kpkeys_set_context(KPKEYS_CTX_TEST), outer = reg; // OK

	reg = KPKEYS_PKEY_REG_INVAL;
	if (condition())
		reg = kpkeys_set_context(KPKEYS_CTX_DEFAULT); // OK
	kpkeys_restore_pkey_reg(reg);
	kpkeys_restore_pkey_reg(outer);
	reg = kpkeys_set_context(KPKEYS_CTX_TEST); // OK
	kpkeys_restore_pkey_reg(reg);
}

/* A destructor that restores what another object holds. */
static struct saved elsewhere;
DEFINE_LOCK_GUARD_0(restores_next, _T->pkey_reg = kpkeys_set_context(KPKEYS_CTX_TEST), // CHECK: 1 context-restore
		    kpkeys_restore_pkey_reg((_T + 1)->pkey_reg), u64 pkey_reg) // CHECK: 31 context-restore
DEFINE_LOCK_GUARD_0(restores_other, _T->pkey_reg = kpkeys_set_context(KPKEYS_CTX_TEST), // CHECK: 1 context-restore
		    class_restores_other_t *o = _T + 1; kpkeys_restore_pkey_reg(o->pkey_reg), u64 pkey_reg) // CHECK: 67 context-restore
DEFINE_LOCK_GUARD_0(restores_global, _T->pkey_reg = kpkeys_set_context(KPKEYS_CTX_TEST), // CHECK: 1 context-restore
		    kpkeys_restore_pkey_reg(elsewhere.reg), u64 pkey_reg) // CHECK: 31 context-restore
DEFINE_LOCK_GUARD_0(restores_changed, _T->pkey_reg = kpkeys_set_context(KPKEYS_CTX_TEST), // CHECK: 1 context-restore
		    _T->pkey_reg++; kpkeys_restore_pkey_reg(_T->pkey_reg), u64 pkey_reg) // CHECK: 47 context-restore
DEFINE_LOCK_GUARD_0(restores_own, _t.pkey_reg = kpkeys_set_context(KPKEYS_CTX_TEST), // OK
		    class_restores_own_t *o = _T; class_restores_own_t c = *o; kpkeys_restore_pkey_reg(c.pkey_reg), u64 pkey_reg) // OK

void use_destructors(void)
{
	guard(restores_next)();
	guard(restores_other)();
	guard(restores_global)();
	guard(restores_changed)();
	guard(restores_own)();
}
