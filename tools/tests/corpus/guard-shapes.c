// SPDX-License-Identifier: GPL-2.0-only
// Every way to write to a page table, without a guard and with one.
#include "kernel.h"

struct view { u64 valid : 1; u64 rest : 63; };
union either { pte_t pte; u64 raw; u8 bytes[8]; };
struct table { pte_t entry[PTRS_PER_PTE]; };
struct nested { int lock; struct { pte_t copy; } inner; };

void write_once(pte_t *ptep, pte_t pte)
{
	WRITE_ONCE(*ptep, pte); // CHECK: 2 pgtable-guard
	guard(kpkeys_hardened_pgtables)();
	WRITE_ONCE(*ptep, pte); // OK
}

void plain(pte_t *ptep, pte_t pte)
{
	*ptep = pte; // CHECK: 2 pgtable-guard
	guard(kpkeys_hardened_pgtables)();
	*ptep = pte; // OK
}

void member(pte_t *ptep, u64 value)
{
	ptep->pte = value; // CHECK: 2 pgtable-guard
	pte_val(*ptep) = value; // CHECK: 2 pgtable-guard
	(*ptep).pte |= 1; // CHECK: 2 pgtable-guard
	ptep->pte++; // CHECK: 2 pgtable-guard
	--pte_val(ptep[3]); // CHECK: 2 pgtable-guard
	scoped_guard(kpkeys_hardened_pgtables) {
		ptep->pte = value; // OK
		ptep->pte++; // OK
	}
}

void folded_levels(pud_t *pudp, p4d_t *p4dp, u64 value)
{
	pudp->p4d.pgd.pgd = value; // CHECK: 2 pgtable-guard
	WRITE_ONCE(p4dp->pgd, (pgd_t) { value }); // CHECK: 2 pgtable-guard
	guard(kpkeys_hardened_pgtables)();
	pudp->p4d.pgd.pgd = value; // OK
}

void subscript(pte_t *table, pte_t pte, int i)
{
	table[i] = pte; // CHECK: 2 pgtable-guard
	i[table] = pte; // CHECK: 2 pgtable-guard
	*(table + i) = pte; // CHECK: 2 pgtable-guard
	*table++ = pte; // CHECK: 2 pgtable-guard
	guard(kpkeys_hardened_pgtables)();
	table[i] = pte; // OK
	*table++ = pte; // OK
}

void globals(pgd_t pgd, pte_t pte, int i)
{
	swapper_pg_dir[i] = pgd; // CHECK: 2 pgtable-guard
	fixmap_pte[1][i] = pte; // CHECK: 2 pgtable-guard
	*(fixmap_pte[0] + i) = pte; // CHECK: 2 pgtable-guard
	guard(kpkeys_hardened_pgtables)();
	swapper_pg_dir[i] = pgd; // OK
	fixmap_pte[1][i] = pte; // OK
}

u64 atomic_xchg(pte_t *ptep)
{
	u64 old = xchg(&pte_val(*ptep), 0); // CHECK: 12 pgtable-guard

	guard(kpkeys_hardened_pgtables)();
	return old | xchg(&pte_val(*ptep), 0); // OK
}

void atomic_cmpxchg(pte_t *ptep, u64 value)
{
	u64 old = pte_val(READ_ONCE(*ptep));

	cmpxchg(&pte_val(*ptep), old, value); // CHECK: 2 pgtable-guard
	scoped_guard(kpkeys_hardened_pgtables)
		cmpxchg(&ptep->pte, old, value); // OK
}

bool atomic_try(pte_t *ptep, u64 value)
{
	u64 old = 0;

	if (try_cmpxchg(&pte_val(*ptep), &old, value)) // CHECK: 6 pgtable-guard
		return true;
	guard(kpkeys_hardened_pgtables)();
	return try_cmpxchg(&pte_val(*ptep), &old, value); // OK
}

void atomic_builtin(pte_t *ptep, u64 value)
{
	__atomic_store_n(&ptep->pte, value, __ATOMIC_RELAXED); // CHECK: 2 pgtable-guard
	__sync_fetch_and_or(&ptep->pte, value); // CHECK: 2 pgtable-guard
	use(__atomic_load_n(&ptep->pte, __ATOMIC_RELAXED)); // OK
	guard(kpkeys_hardened_pgtables)();
	__atomic_store_n(&ptep->pte, value, __ATOMIC_RELAXED); // OK
}

void whole_table(pte_t *table, pmd_t *other)
{
	memset(table, 0, PAGE_SIZE); // CHECK: 2 pgtable-guard
	memcpy(table, other, PAGE_SIZE); // CHECK: 2 pgtable-guard
	clear_page(swapper_pg_dir); // CHECK: 2 pgtable-guard
	memset((char *)table + 8, 0, 8); // CHECK: 2 pgtable-guard
	guard(kpkeys_hardened_pgtables)();
	memset(table, 0, PAGE_SIZE); // OK
	clear_page(swapper_pg_dir); // OK
}

void reads(pte_t *ptep, pte_t *copy_of)
{
	pte_t pte = READ_ONCE(*ptep); // OK
	pte_t many[4];

	memcpy(many, ptep, sizeof(many)); // OK
	pte = *ptep; // OK
	many[1] = pte; // OK
	pte.pte |= 1; // OK
	use(pte_val(pte) + sizeof(*ptep = pte)); // OK
	memset(many, 0, sizeof(many)); // OK
	memset(&pte, 0, sizeof(pte)); // OK
}

void assembly(pte_t *ptep, u64 value)
{
	asm volatile("str %1, %0" : "=m" (*ptep) : "r" (value)); // CHECK: 2 pgtable-guard
	asm volatile("str %1, [%0]" : : "r" (ptep), "r" (value) : "memory"); // CHECK: 2 pgtable-guard
	asm volatile("stp %1, %1, [%0]" : : "r" ((u64)ptep), "r" (value) : "memory"); // CHECK: 2 pgtable-guard
	asm volatile("dc civac, %0" : : "r" ((const pte_t *)ptep)); // OK
	asm volatile("ldr %0, %1" : "=r" (value) : "m" (*ptep)); // OK
	guard(kpkeys_hardened_pgtables)();
	asm volatile("str %1, %0" : "=m" (*ptep) : "r" (value)); // OK
}

void other_types(pte_t *ptep, u64 value)
{
	u64 *raw = (u64 *)ptep;
	struct view *bits = (void *)ptep;
	union either *u = (union either *)ptep;
	unsigned long address = (unsigned long)ptep + 8;

	*raw = value; // CHECK: 2 pgtable-guard
	raw[1] = value; // CHECK: 2 pgtable-guard
	bits->valid = 1; // CHECK: 2 pgtable-guard
	u->raw = value; // CHECK: 2 pgtable-guard
	u->bytes[2] = 0; // CHECK: 2 pgtable-guard
	*(volatile u64 *)address = value; // CHECK: 2 pgtable-guard
	((u32 *)ptep)[1] = 0; // CHECK: 2 pgtable-guard
	guard(kpkeys_hardened_pgtables)();
	*raw = value; // OK
	bits->valid = 0; // OK
	u->bytes[2] = 0; // OK
	*(volatile u64 *)address = value; // OK
}

void copies(struct vm_fault *vmf, struct nested *n, pte_t pte)
{
	union either e;
	pte_t local, *p = &local;

	vmf->orig_pte = pte; // OK
	vmf->orig_pte.pte |= 1; // OK
	n->inner.copy = pte; // OK
	e.raw = 0; // OK
	e.pte = pte; // OK
	*p = pte; // OK
	p->pte = 3; // OK
	*vmf->pte = pte; // CHECK: 2 pgtable-guard
	vmf->pmd[1].pmd = 0; // CHECK: 2 pgtable-guard
	vmf->pte = p; // OK
}

void array_in_structure(struct table *t, pte_t pte)
{
	struct table local;

	t->entry[3] = pte; // CHECK: 2 pgtable-guard
	local.entry[3] = pte; // OK
	use(local.entry[3].pte);
	guard(kpkeys_hardened_pgtables)();
	t->entry[3] = pte; // OK
}

struct owner { int count; pte_t first; };

void leads_out(pte_t *ptep)
{
	container_of(ptep, struct owner, first)->count = 1; // OK
}

void expressions(pte_t *a, pte_t *b, pte_t pte, bool which)
{
	*(which ? a : b) = pte; // CHECK: 2 pgtable-guard
	*({ use(1); a; }) = pte; // CHECK: 2 pgtable-guard
	*(use(1), b) = pte; // CHECK: 2 pgtable-guard
	*(which ?: 1, pte_offset(NULL, 0)) = pte; // CHECK: 2 pgtable-guard
	*__builtin_choose_expr(1, a, b) = pte; // CHECK: 2 pgtable-guard
	*_Generic(0, int: a, default: 0) = pte; // CHECK: 2 pgtable-guard
	guard(kpkeys_hardened_pgtables)();
	*(which ? a : b) = pte; // OK
	*({ use(1); a; }) = pte; // OK
}

#define SET_ENTRY(p, v) do { *(p) = (v); } while (0)
#define GUARDED(stmt) do { guard(kpkeys_hardened_pgtables)(); stmt; } while (0)

void macros(pte_t *ptep, pte_t pte)
{
	SET_ENTRY(ptep, pte); // CHECK: 2 pgtable-guard
	GUARDED(SET_ENTRY(ptep, pte)); // OK
	GUARDED(use(1)); SET_ENTRY(ptep, pte); // CHECK: 19 pgtable-guard
}

void old_style(ptep, pte)
	pte_t *ptep;
	pte_t pte;
{
	*ptep = pte; // CHECK: 2 pgtable-guard
	guard(kpkeys_hardened_pgtables)();
	*ptep = pte; // OK
}

void indirect_pointers(pte_t **ptepp, pte_t *ptep, pte_t pte)
{
	pte_t **pp = &ptep;

	**ptepp = pte; // CHECK: 2 pgtable-guard
	**pp = pte; // CHECK: 2 pgtable-guard
	*ptepp = ptep; // OK
	guard(kpkeys_hardened_pgtables)();
	**ptepp = pte; // OK
}

void variable_arguments(pte_t *ptep)
{
	extern void print(const char *, ...);

	print("%p", ptep); // OK
}
