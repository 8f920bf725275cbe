// SPDX-License-Identifier: GPL-2.0-only
// Functions that are right or wrong because of who calls them.
#include "kernel.h"

/* Every caller holds the guard. */
static void raw_set(pte_t *ptep, pte_t pte)
{
	WRITE_ONCE(*ptep, pte); // OK
}

void all_guarded(pte_t *ptep, pte_t pte)
{
	guard(kpkeys_hardened_pgtables)();
	raw_set(ptep, pte);
}

void all_guarded_too(pte_t *ptep, pte_t pte)
{
	scoped_guard(kpkeys_hardened_pgtables)
		raw_set(ptep, pte);
}

/* One of them does not. */
static void raw_set_mixed(pte_t *ptep, pte_t pte)
{
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
}

void mixed_with(pte_t *ptep, pte_t pte)
{
	guard(kpkeys_hardened_pgtables)();
	raw_set_mixed(ptep, pte);
}

void mixed_without(pte_t *ptep, pte_t pte)
{
	raw_set_mixed(ptep, pte);
}

/* Two levels below the guard. */
static void deep2(pte_t *ptep, pte_t pte)
{
	ptep->pte |= 1; // OK
	*ptep = pte; // OK
}

static void deep1(pte_t *ptep, pte_t pte)
{
	deep2(ptep + 1, pte);
}

void deep0(pte_t *ptep, pte_t pte)
{
	guard(kpkeys_hardened_pgtables)();
	deep1(ptep, pte);
}

/* A table that is not passed, under the guards of all callers, or of some. */
static void no_argument(pgd_t pgd)
{
	swapper_pg_dir[0] = pgd; // OK
}

void no_argument_caller(pgd_t pgd)
{
	guard(kpkeys_hardened_pgtables)();
	no_argument(pgd);
}

static void no_argument_bad(pgd_t pgd)
{
	swapper_pg_dir[0] = pgd; // CHECK: 2 pgtable-guard
}

void no_argument_bad_caller(pgd_t pgd)
{
	no_argument_bad(pgd);
}

/* Out-parameters: every caller passes the address of its own variable. */
static bool get(pmd_t *pmd, pte_t *out)
{
	*out = READ_ONCE(*pte_offset(pmd, 0)); // OK
	out->pte &= ~1ULL; // OK
	return true;
}

void get_local(pmd_t *pmd)
{
	pte_t pte;

	if (get(pmd, &pte))
		use(pte_val(pte));
}

void get_member(struct vm_fault *vmf)
{
	get(vmf->pmd, &vmf->orig_pte);
}

static void forward(pmd_t *pmd, pte_t *out)
{
	get(pmd, out);
}

void forward_local(pmd_t *pmd)
{
	pte_t ptes[2];

	forward(pmd, &ptes[1]);
	forward(pmd, ptes);
	forward(pmd, NULL);
	use(ptes[1].pte);
}

/* The same, but one caller passes an entry. */
static bool get_bad(pmd_t *pmd, pte_t *out)
{
	*out = READ_ONCE(*pte_offset(pmd, 0)); // CHECK: 2 pgtable-guard
	return true;
}

void get_bad_local(pmd_t *pmd)
{
	pte_t pte;

	get_bad(pmd, &pte);
	use(pte.pte);
}

void get_bad_table(pmd_t *pmd, pte_t *table)
{
	get_bad(pmd, table);
}

/* A variable that may hold either. */
static void maybe(pte_t *p, u64 value)
{
	p->pte = value; // CHECK: 2 pgtable-guard
}

void maybe_caller(pte_t *table, u64 value)
{
	pte_t local, *p = &local;

	if (value)
		p = table;
	maybe(p, value);
}

/* By the member of an operations structure. */
struct ops {
	void (*install)(unsigned long addr, pte_t *ptep);
	void (*visit)(unsigned long addr, pte_t *ptep);
};

static void install(unsigned long addr, pte_t *ptep)
{
	*ptep = __pte(addr); // OK
}

static void visit(unsigned long addr, pte_t *ptep)
{
	*ptep = __pte(addr); // CHECK: 2 pgtable-guard
}

static const struct ops walk_ops = { .install = install, .visit = visit };

void walk(const struct ops *ops, pte_t *table)
{
	pte_t fresh;

	ops->install(0, &fresh);
	__set_pte(table, fresh);
	ops->visit(0, table);
}

void walk_all(pte_t *table)
{
	walk(&walk_ops, table);
}

/* Through a pointer that is a variable. */
static void callback(pte_t *ptep, int x)
{
	ptep->pte = x; // CHECK: 2 pgtable-guard
}

static void guarded_callback(pte_t *ptep, long x)
{
	ptep->pte = x; // OK
}

void apply(pte_t *ptep, void (*fn)(pte_t *, int))
{
	fn(ptep, 1);
}

void apply_guarded(pte_t *ptep, void (*fn)(pte_t *, long))
{
	guard(kpkeys_hardened_pgtables)();
	(*fn)(ptep, 1); // CHECK: 2 guard-scope
}

void apply_all(pte_t *ptep)
{
	apply(ptep, callback);
	apply_guarded(ptep, &guarded_callback);
}

/* Nobody knows who calls this. */
static void unknown_caller(pte_t *ptep, char c)
{
	ptep->pte = c; // CHECK: 2 pgtable-guard
}

void *leaked(void)
{
	return (void *)unknown_caller;
}

/* Recursion. */
static void recursive(pte_t *ptep, int n)
{
	ptep->pte = 0; // OK
	if (n)
		recursive(ptep + 1, n - 1);
}

void recursive_guarded(pte_t *ptep)
{
	guard(kpkeys_hardened_pgtables)();
	recursive(ptep, 3);
}

static void even_bad(pte_t *ptep, int n);

static void odd_bad(pte_t *ptep, int n)
{
	ptep->pte = 1; // CHECK: 2 pgtable-guard
	if (n)
		even_bad(ptep, n - 1);
}

static void even_bad(pte_t *ptep, int n)
{
	ptep->pte = 0; // CHECK: 2 pgtable-guard
	if (n)
		odd_bad(ptep, n - 1);
}

void enter_recursion(pte_t *ptep)
{
	even_bad(ptep, 8);
}

/* Untyped callees. */
static void clear_untyped(void *table)
{
	clear_page(table);
}

static void clear_untyped_guarded(void *table)
{
	guard(kpkeys_hardened_pgtables)();
	clear_page(table);
}

static void only_looks(void *table)
{
	use(*(u64 *)table);
}

static void clear_words(u64 *p, int n)
{
	while (n--)
		*p++ = 0;
}

static void clear_at(unsigned long addr)
{
	*(u64 *)addr = 0;
}

static void pass_on(void *p)
{
	clear_words(p, 1);
}

static void set_through(void *p)
{
	pte_t *ptep = p;

	ptep->pte = 1; // CHECK: 2 pgtable-guard
}

void escapes(pte_t *ptep)
{
	u64 words[2];

	clear_untyped(ptep); // CHECK: 2 pgtable-guard
	clear_untyped_guarded(ptep); // OK
	only_looks(ptep); // OK
	clear_words((u64 *)ptep, 2); // CHECK: 2 pgtable-guard
	clear_words(&ptep->pte, 1); // CHECK: 2 pgtable-guard
	clear_words(words, 2); // OK
	clear_at((unsigned long)ptep); // CHECK: 2 pgtable-guard
	clear_at((unsigned long)words); // OK
	pass_on(ptep); // CHECK: 2 pgtable-guard
	pass_on(words); // OK
	set_through(ptep); // OK
	guard(kpkeys_hardened_pgtables)();
	clear_untyped(ptep); // OK
	clear_words(&ptep->pte, 1); // OK
	pass_on(ptep); // OK
}

/* Not called by anything that is seen. */
static inline void header_helper(pte_t *ptep)
{
	ptep->pte = 0; // CHECK: 2 pgtable-guard
}

/* The pointer comes back from a function that strips a tag. */
void *strip_tag(void *p);

void through_return(pte_t *ptep)
{
	memset(strip_tag(ptep), 0, 8); // CHECK: 2 pgtable-guard; 9 pgtable-guard
	memset(alloc(8), 0, 8); // OK
}

/* Another context in between: the guard around it does not help. */
static void within_other(pte_t *ptep)
{
	guard(kpkeys_test)();
	WRITE_ONCE(*ptep, __pte(0)); // CHECK: 2 pgtable-guard
}

static void far_within_other(pte_t *ptep)
{
	WRITE_ONCE(*ptep, __pte(0)); // CHECK: 2 pgtable-guard
}

static void set_after_other(pte_t *ptep)
{
	WRITE_ONCE(*ptep, __pte(0)); // OK
}

static void calls_within_other(pte_t *ptep)
{
	u64 reg = kpkeys_set_context(KPKEYS_CTX_DEFAULT);

	far_within_other(ptep);
	kpkeys_restore_pkey_reg(reg);
	set_after_other(ptep);
}

static void wipes_within_other(void *p)
{
	guard(kpkeys_test)();
	memset(p, 0, 8);
}

static void root_within_other(void)
{
	swapper_pg_dir[1] = (pgd_t){ 0 }; // CHECK: 2 pgtable-guard
}

static void copy_within_other(pte_t *copy)
{
	guard(kpkeys_test)();
	*copy = __pte(0); // OK
}

static void maybe_within_other(pte_t *ptep)
{
	u64 reg = condition() ? kpkeys_set_context(KPKEYS_CTX_TEST) : KPKEYS_PKEY_REG_INVAL;

	WRITE_ONCE(*ptep, __pte(0)); // CHECK: 2 pgtable-guard
	kpkeys_restore_pkey_reg(reg);
	WRITE_ONCE(*ptep, __pte(0)); // OK
}

static void calls_root_within_other(void)
{
	guard(kpkeys_test)();
	root_within_other();
}

static __always_inline void leave_and_write(u64 reg)
{
	swapper_pg_dir[1] = (pgd_t){ 1 }; // OK
	kpkeys_restore_pkey_reg(reg);
	swapper_pg_dir[1] = (pgd_t){ 0 }; // CHECK: 2 pgtable-guard
	guard(kpkeys_hardened_pgtables)();
	swapper_pg_dir[1] = (pgd_t){ 0 }; // OK
}

void guard_around_other(pte_t *ptep)
{
	pte_t copy;
	u64 reg;

	scoped_guard(kpkeys_hardened_pgtables) {
		within_other(ptep);
		calls_within_other(ptep);
		wipes_within_other(ptep); // CHECK: 3 pgtable-guard
		wipes_within_other(&copy); // OK
		calls_root_within_other();
		copy_within_other(&copy);
		maybe_within_other(ptep);
	}
	reg = kpkeys_set_context(KPKEYS_CTX_PGTABLES);
	leave_and_write(reg);
}
