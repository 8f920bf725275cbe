// SPDX-License-Identifier: GPL-2.0-only
// Ways for a pointer to a table to get lost.
#include "kernel.h"

struct table { int count; pte_t entry[8]; };
struct holder { u64 *raw; unsigned long address; };

void whole_structure(struct table *t, struct table *from)
{
	struct table local;

	*t = *from; // CHECK: 2 pgtable-guard
	local = *from; // OK
	memset(t, 0, sizeof(*t)); // CHECK: 2 pgtable-guard
	memset(&local, 0, sizeof(local)); // OK
	guard(kpkeys_hardened_pgtables)();
	*t = local; // OK
}

void in_a_member(pte_t *ptep)
{
	struct holder h = { .raw = (u64 *)ptep };
	struct holder other = { .raw = NULL };

	*h.raw = 0; // CHECK: 2 pgtable-guard
	h.address = (unsigned long)ptep;
	*(u64 *)h.address = 0; // CHECK: 2 pgtable-guard
	use(*other.raw);
	guard(kpkeys_hardened_pgtables)();
	*h.raw = 0; // OK
}

void in_an_array(pte_t *a, pte_t *b)
{
	u64 *both[2] = { (u64 *)a };
	u64 words[2] = { 1, 2 };

	both[1] = (u64 *)b;
	*both[1] = 0; // CHECK: 2 pgtable-guard
	words[0] = 3; // OK
	guard(kpkeys_hardened_pgtables)();
	*both[0] = 0; // OK
}

static u64 *kept;

void in_a_global(pte_t *ptep)
{
	kept = (u64 *)ptep;
	*kept = 0; // CHECK: 2 pgtable-guard
	guard(kpkeys_hardened_pgtables)();
	*kept = 0; // OK
}

u64 *raw_of(pte_t *ptep);

void returned(pte_t *ptep)
{
	*raw_of(ptep) = 0; // CHECK: 2 pgtable-guard
	guard(kpkeys_hardened_pgtables)();
	*raw_of(ptep) = 0; // OK
}

void advanced_by_assembly(pte_t *ptep, u64 value)
{
	u64 *p = (u64 *)ptep, *q = &value;

	asm volatile("str %1, [%0], #8" : "+r" (p) : "r" (value) : "memory"); // CHECK: 2 pgtable-guard
	asm volatile("str %1, [%0], #8" : "+r" (q) : "r" (value) : "memory"); // OK
	guard(kpkeys_hardened_pgtables)();
	asm volatile("str %1, [%0], #8" : "+r" (p) : "r" (value) : "memory"); // OK
}

void by_builtins(pte_t *ptep, u64 value)
{
	u64 local;

	__builtin_add_overflow(value, 1, &ptep->pte); // CHECK: 2 pgtable-guard
	__builtin_add_overflow(value, 1, &local); // OK
	__builtin_nontemporal_store(value, &ptep->pte); // CHECK: 2 pgtable-guard
	__builtin_memset(ptep, 0, 8); // CHECK: 2 pgtable-guard
	__builtin_prefetch(ptep); // OK
	guard(kpkeys_hardened_pgtables)();
	__builtin_add_overflow(value, 1, &ptep->pte); // OK
}

static void not_so_const(const pte_t *ptep)
{
	*(pte_t *)ptep = __pte(0); // CHECK: 2 pgtable-guard
}

void calls_const(pte_t *ptep)
{
	not_so_const(ptep);
}

static void const_out(const pte_t *out)
{
	*(pte_t *)out = __pte(0); // OK
}

void calls_const_out(void)
{
	pte_t pte;

	const_out(&pte);
	use(pte.pte);
}

static void clears_number(u64 address)
{
	*(volatile u64 *)address = 0;
}

void as_a_number(pte_t *ptep)
{
	unsigned long address = (unsigned long)ptep;
	u64 local;

	clears_number(address); // CHECK: 2 pgtable-guard
	clears_number((u64)&local); // OK
	guard(kpkeys_hardened_pgtables)();
	clears_number(address); // OK
}

/* What the callee takes for a table is one, whatever it is passed as. */
static void from_nowhere(void *data)
{
	pte_t *ptep = data;

	ptep->pte = 0; // CHECK: 2 pgtable-guard
}

void calls_from_nowhere(struct holder *h)
{
	from_nowhere((void *)h->address);
}

static void from_local(void *data)
{
	pte_t *out = data;

	out->pte = 0; // OK
}

void calls_from_local(void)
{
	pte_t pte;

	from_local(&pte);
	use(pte.pte);
}

static void aliased(pte_t *ptep)
{
	ptep->pte = 0; // CHECK: 2 pgtable-guard
}

static void other_name(pte_t *ptep) __attribute__((__alias__("aliased_global")));
void aliased_global(pte_t *ptep)
{
	ptep->pte = 1; // CHECK: 2 pgtable-guard
}

void calls_alias(pte_t *ptep)
{
	other_name(ptep);
	aliased(ptep);
}

void no_prototype();

void calls_no_prototype(pte_t *ptep)
{
	no_prototype(ptep); // CHECK: 2 pgtable-guard
	guard(kpkeys_hardened_pgtables)();
	no_prototype(ptep); // OK
}
