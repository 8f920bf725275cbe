// SPDX-License-Identifier: GPL-2.0-only
// Where a guard is live, and where it looks as if it were.
#include "kernel.h"

void inner_block(pte_t *ptep, pte_t pte)
{
	{
		guard(kpkeys_hardened_pgtables)();
		WRITE_ONCE(*ptep, pte); // OK
	}
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
}

void too_late(pte_t *ptep, pte_t pte)
{
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
	guard(kpkeys_hardened_pgtables)();
}

void conditional(pte_t *ptep, pte_t pte, bool safe)
{
	if (safe) {
		guard(kpkeys_hardened_pgtables)();
		use(1);
	}
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
}

void one_arm(pte_t *ptep, pte_t pte, bool safe)
{
	if (safe)
		scoped_guard(kpkeys_hardened_pgtables)
			WRITE_ONCE(*ptep, pte); // OK
	else
		WRITE_ONCE(*ptep, pte); // CHECK: 3 pgtable-guard
}

void scoped_ends(pte_t *ptep, pte_t pte)
{
	scoped_guard(kpkeys_hardened_pgtables)
		use(1);
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
	scoped_guard(kpkeys_hardened_pgtables);
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
	scoped_guard(kpkeys_hardened_pgtables) {
		WRITE_ONCE(*ptep, pte); // OK
		if (condition())
			break;
		WRITE_ONCE(*ptep, pte); // OK
	}
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
}

void loop(pte_t *ptep, pte_t pte, int nr)
{
	scoped_guard(kpkeys_hardened_pgtables) {
		for (;;) {
			WRITE_ONCE(*ptep, pte); // OK
			if (--nr == 0)
				break;
			ptep++;
		}
	}
	for (int i = 0; i < nr; i++) {
		if (i == 3)
			continue;
		guard(kpkeys_hardened_pgtables)();
		WRITE_ONCE(ptep[i], pte); // OK
		if (i == 5)
			continue;
	}
	while (nr--) {
		WRITE_ONCE(*ptep, pte); // CHECK: 3 pgtable-guard
		guard(kpkeys_hardened_pgtables)();
	}
}

void do_while(pte_t *ptep)
{
	u64 old = 0;

	guard(kpkeys_hardened_pgtables)();
	do {
		old = cmpxchg(&pte_val(*ptep), old, old & ~1ULL); // OK
	} while (old);
}

int goto_out(pte_t *ptep, pte_t pte)
{
	scoped_guard(kpkeys_hardened_pgtables) {
		WRITE_ONCE(*ptep, pte); // OK
		if (condition())
			goto out;
	}
	return 0;
out:
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
	return -1;
}

int goto_within(pte_t *ptep, pte_t pte)
{
	guard(kpkeys_hardened_pgtables)();
again:
	WRITE_ONCE(*ptep, pte); // OK
	if (condition())
		goto again;
	return 0;
}

int goto_backward(pte_t *ptep, pte_t pte)
{
again:
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
	{
		guard(kpkeys_hardened_pgtables)();
		WRITE_ONCE(*ptep, pte); // OK
		if (condition())
			goto again;
	}
	return 0;
}

void switches(pte_t *ptep, pte_t pte, int level)
{
	switch (level) {
	case 0: {
		guard(kpkeys_hardened_pgtables)();
		WRITE_ONCE(*ptep, pte); // OK
		break;
	}
	case 1:
		WRITE_ONCE(*ptep, pte); // CHECK: 3 pgtable-guard
		break;
	case 2:
		scoped_guard(kpkeys_hardened_pgtables)
			WRITE_ONCE(*ptep, pte); // OK
		/* fall through */
	default:
		WRITE_ONCE(*ptep, pte); // CHECK: 3 pgtable-guard
	}
}

void statement_expression(pte_t *ptep, pte_t pte)
{
	int x = ({ guard(kpkeys_hardened_pgtables)(); WRITE_ONCE(*ptep, pte); 1; }); // OK

	use(x);
	use(({ guard(kpkeys_hardened_pgtables)(); 1; }) +
	    ({ WRITE_ONCE(*ptep, pte); 2; })); // CHECK: 9 pgtable-guard
}

bool returns(pte_t *ptep, pte_t pte)
{
	guard(kpkeys_hardened_pgtables)();
	if (condition())
		return false;
	WRITE_ONCE(*ptep, pte); // OK
	return xchg(&pte_val(*ptep), 0); // OK
}

void nested(pte_t *ptep, pte_t pte)
{
	guard(kpkeys_hardened_pgtables)();
	{
		guard(kpkeys_hardened_pgtables)();
		WRITE_ONCE(*ptep, pte); // OK
	}
	WRITE_ONCE(*ptep, pte); // OK
}

void other_context(pte_t *ptep, pte_t pte)
{
	guard(kpkeys_hardened_pgtables)();
	scoped_guard(kpkeys_test)
		WRITE_ONCE(*ptep, pte); // CHECK: 3 pgtable-guard
	WRITE_ONCE(*ptep, pte); // OK
}

void only_other(pte_t *ptep, pte_t pte)
{
	guard(kpkeys_test)();
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
	guard(kpkeys_hardened_pgtables)();
	WRITE_ONCE(*ptep, pte); // OK
}

void by_hand(pte_t *ptep, pte_t pte)
{
	u64 reg = kpkeys_set_context(KPKEYS_CTX_PGTABLES);

	WRITE_ONCE(*ptep, pte); // OK
	kpkeys_restore_pkey_reg(reg);
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
}

void wrong_by_hand(pte_t *ptep, pte_t pte)
{
	u64 reg = kpkeys_set_context(KPKEYS_CTX_TEST);

	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
	kpkeys_restore_pkey_reg(reg);
}

void default_within(pte_t *ptep, pte_t pte)
{
	u64 reg;

	guard(kpkeys_hardened_pgtables)();
	reg = kpkeys_set_context(KPKEYS_CTX_DEFAULT);
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
	kpkeys_restore_pkey_reg(reg);
	WRITE_ONCE(*ptep, pte); // OK
}

void uninitialised(pte_t *ptep, pte_t pte)
{
	class_kpkeys_hardened_pgtables_t g __cleanup(class_kpkeys_hardened_pgtables_destructor); // CHECK: 35 context-restore

	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
}

void zeroed(pte_t *ptep, pte_t pte)
{
	class_kpkeys_hardened_pgtables_t g __cleanup(class_kpkeys_hardened_pgtables_destructor) = { 0 }; // CHECK: 35 context-restore

	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
}

void no_cleanup(pte_t *ptep, pte_t pte)
{
	class_kpkeys_hardened_pgtables_t g = class_kpkeys_hardened_pgtables_constructor(); // CHECK: 39 context-restore

	use(g.pkey_reg);
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
}

void destroyed_early(pte_t *ptep, pte_t pte)
{
	CLASS(kpkeys_hardened_pgtables, g)();

	WRITE_ONCE(*ptep, pte); // OK
	class_kpkeys_hardened_pgtables_destructor(&g); // CHECK: 2 context-restore
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
}

void changed(pte_t *ptep, pte_t pte)
{
	CLASS(kpkeys_hardened_pgtables, g)();

	g.pkey_reg = 3; // CHECK: 2 context-restore
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
}

void handed_out(pte_t *ptep, pte_t pte)
{
	extern void look(void *);
	CLASS(kpkeys_hardened_pgtables, g)();

	look(&g);
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
}

void computed_goto(pte_t *ptep, pte_t pte, int i)
{
	void *labels[] = { &&one, &&two };

	goto *labels[i];
one:
	{
		guard(kpkeys_hardened_pgtables)();
		WRITE_ONCE(*ptep, pte); // OK
	}
two:
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
}

void short_circuit(pte_t *ptep, pte_t pte)
{
	bool ok = condition() && ({ guard(kpkeys_hardened_pgtables)(); WRITE_ONCE(*ptep, pte); 1; }); // OK

	if (ok || ({ WRITE_ONCE(*ptep, pte); 0; })) // CHECK: 15 pgtable-guard
		use(1);
}

void compiled_out(pte_t *ptep, pte_t pte)
{
	if (0)
		WRITE_ONCE(*ptep, pte); // CHECK: 3 pgtable-guard
	if (0) {
		guard(kpkeys_hardened_pgtables)();
		WRITE_ONCE(*ptep, pte); // OK
	}
}

void asm_goto(pte_t *ptep, pte_t pte)
{
	asm goto("b %l0" : : : : out);
	scoped_guard(kpkeys_hardened_pgtables)
		WRITE_ONCE(*ptep, pte); // OK
out:
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
}

void other_on_one_path(pte_t *ptep, pte_t pte)
{
	u64 inner = KPKEYS_PKEY_REG_INVAL;

	guard(kpkeys_hardened_pgtables)();
	if (condition())
		inner = kpkeys_set_context(KPKEYS_CTX_DEFAULT);
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
	kpkeys_restore_pkey_reg(inner);
	WRITE_ONCE(*ptep, pte); // OK
}

void other_on_one_path_by_hand(pte_t *ptep, pte_t pte)
{
	u64 reg = kpkeys_set_context(KPKEYS_CTX_PGTABLES);
	u64 inner = condition() ? kpkeys_set_context(KPKEYS_CTX_TEST) : KPKEYS_PKEY_REG_INVAL;

	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
	{
		guard(kpkeys_hardened_pgtables)();
		WRITE_ONCE(*ptep, pte); // OK
	}
	kpkeys_restore_pkey_reg(inner);
	WRITE_ONCE(*ptep, pte); // OK
	kpkeys_restore_pkey_reg(reg);
}

void same_on_one_path(pte_t *ptep, pte_t pte)
{
	u64 inner = KPKEYS_PKEY_REG_INVAL;

	guard(kpkeys_hardened_pgtables)();
	if (condition())
		inner = kpkeys_set_context(KPKEYS_CTX_PGTABLES);
	WRITE_ONCE(*ptep, pte); // OK
	kpkeys_restore_pkey_reg(inner);
	WRITE_ONCE(*ptep, pte); // OK
}

void same_in_both_arms(pte_t *ptep, pte_t pte, bool which)
{
	u64 reg;

	if (which)
		reg = kpkeys_set_context(KPKEYS_CTX_PGTABLES);
	else
		reg = kpkeys_set_context(KPKEYS_CTX_PGTABLES);
	WRITE_ONCE(*ptep, pte); // OK
	kpkeys_restore_pkey_reg(reg);
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
}

void different_arms(pte_t *ptep, pte_t pte, bool which)
{
	u64 reg;

	if (which)
		reg = kpkeys_set_context(KPKEYS_CTX_PGTABLES);
	else
		reg = kpkeys_set_context(KPKEYS_CTX_TEST);
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
	kpkeys_restore_pkey_reg(reg);
}

/* Wrappers that enter what they say, always or sometimes. */
static __always_inline u64 enter_maybe(const int ctx, bool really)
{
	if (!really)
		return KPKEYS_PKEY_REG_INVAL;
	return kpkeys_set_context(ctx);
}

static __always_inline u64 enter_either(const int ctx)
{
	return condition() ? kpkeys_set_context(ctx) : kpkeys_set_context(KPKEYS_CTX_DEFAULT);
}

static __always_inline u64 enter_second(const int from, const int to)
{
	kpkeys_restore_pkey_reg(kpkeys_set_context(from));
	return kpkeys_set_context(to);
}

static __always_inline u64 enter_pgtables(void)
{
	if (!kpkeys_hardened_pgtables_enabled())
		return KPKEYS_PKEY_REG_INVAL;
	return kpkeys_set_context(KPKEYS_CTX_PGTABLES);
}

static __always_inline u64 enter_far(int unused, const int ctx)
{
	return enter_second(KPKEYS_CTX_TEST, ctx);
}

void enters_maybe(pte_t *ptep, pte_t pte)
{
	u64 reg = enter_maybe(KPKEYS_CTX_PGTABLES, condition());

	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
	kpkeys_restore_pkey_reg(reg);
	guard(kpkeys_hardened_pgtables)();
	reg = enter_maybe(KPKEYS_CTX_PGTABLES, condition());
	WRITE_ONCE(*ptep, pte); // OK
	kpkeys_restore_pkey_reg(reg);
	reg = enter_maybe(KPKEYS_CTX_TEST, condition());
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
	kpkeys_restore_pkey_reg(reg);
}

void enters_either(pte_t *ptep, pte_t pte)
{
	u64 reg = enter_either(KPKEYS_CTX_PGTABLES);

	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
	kpkeys_restore_pkey_reg(reg);
}

void enters_second(pte_t *ptep, pte_t pte)
{
	u64 reg = enter_second(KPKEYS_CTX_PGTABLES, KPKEYS_CTX_DEFAULT);

	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
	kpkeys_restore_pkey_reg(reg);
	reg = enter_far(KPKEYS_CTX_DEFAULT, KPKEYS_CTX_PGTABLES);
	WRITE_ONCE(*ptep, pte); // OK
	kpkeys_restore_pkey_reg(reg);
}

void enters_pgtables(pte_t *ptep, pte_t pte)
{
	u64 reg = enter_pgtables();

	WRITE_ONCE(*ptep, pte); // OK
	kpkeys_restore_pkey_reg(reg);
}

/* A copy of a guard ends it as well. */
void copy_destroyed(pte_t *ptep, pte_t pte)
{
	CLASS(kpkeys_hardened_pgtables, g)();
	class_kpkeys_hardened_pgtables_t copy = g;

	WRITE_ONCE(*ptep, pte); // OK
	class_kpkeys_hardened_pgtables_destructor(&copy); // CHECK: 2 context-restore
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
}

void copy_cleaned_up(pte_t *ptep, pte_t pte)
{
	CLASS(kpkeys_hardened_pgtables, g)();
	{
		class_kpkeys_hardened_pgtables_t copy __cleanup(class_kpkeys_hardened_pgtables_destructor) = g; // CHECK: 36 context-restore

		use(copy.pkey_reg);
	}
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
}

/* Whatever value is written to the register, the guard's is gone. */
static void resets_register(void)
{
	write_por(0);
}

static void resets_it_far_away(void)
{
	use(1);
	resets_register();
}

void register_written(pte_t *ptep, pte_t pte)
{
	guard(kpkeys_hardened_pgtables)();
	WRITE_ONCE(*ptep, pte); // OK
	write_por(0);
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
	guard(kpkeys_hardened_pgtables)();
	WRITE_ONCE(*ptep, pte); // OK
	resets_it_far_away();
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
}

void never_entered(pte_t *ptep, pte_t pte)
{
	guard(kpkeys_hardened_pgtables)();
	while (0)
		WRITE_ONCE(*ptep, pte); // OK
	for (; 0;)
		WRITE_ONCE(*ptep, pte); // OK
}
