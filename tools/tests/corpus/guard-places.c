// SPDX-License-Identifier: GPL-2.0-only
// Where pointers come from.
#include "kernel.h"

/* Pointers that are given each other's values: to try every path through these takes for ever. */
#define GIVE(n, p)							\
	case n + 0: p = p0; break; case n + 1: p = p1; break;		\
	case n + 2: p = p2; break; case n + 3: p = p3; break;		\
	case n + 4: p = p4; break; case n + 5: p = p5; break;		\
	case n + 6: p = p6; break; case n + 7: p = p7; break;		\
	case n + 8: p = p8; break; case n + 9: p = p9; break;		\
	case n + 10: p = p10; break; case n + 11: p = p11; break;	\
	case n + 12: p = p12; break; case n + 13: p = p13; break;
void given_each_other(pte_t *ptep, u64 *other, int n)
{
	u64 *p0 = other, *p1 = other, *p2 = other, *p3 = other, *p4 = other;
	u64 *p5 = other, *p6 = other, *p7 = other, *p8 = other, *p9 = other;
	u64 *p10 = other, *p11 = other, *p12 = other, *p13 = (u64 *)ptep;
	u64 *apart = other;

	while (n--) {
		switch (n) {
		GIVE(0, p0) GIVE(14, p1) GIVE(28, p2) GIVE(42, p3) GIVE(56, p4)
		GIVE(70, p5) GIVE(84, p6) GIVE(98, p7) GIVE(112, p8) GIVE(126, p9)
		GIVE(140, p10) GIVE(154, p11) GIVE(168, p12) GIVE(182, p13)
		}
	}
	*p0 = 0; // CHECK: 2 pgtable-guard
	*p7 = 0; // CHECK: 2 pgtable-guard
	*p13 = 0; // CHECK: 2 pgtable-guard
	*apart = 0; // OK
}

/* The same where all lead to copies. */
void copies_given_each_other(int n)
{
	pte_t a, b, *p = &a, *q = &b, *r = p;

	while (n--) {
		p = q;
		q = r;
		r = p;
	}
	p->pte = 1; // OK
	q->pte = 1; // OK
	r->pte = 1; // OK
}

/* Long chains of copies. */
#define CHAIN(p) u64 *p##1 = p, *p##2 = p##1, *p##3 = p##2, *p##4 = p##3, *p##5 = p##4, *p##6 = p##5, *p##7 = p##6;
void chain(pte_t *ptep)
{
	u64 *a = (u64 *)ptep;
	CHAIN(a) CHAIN(a7) CHAIN(a77) CHAIN(a777) CHAIN(a7777) CHAIN(a77777) CHAIN(a777777) CHAIN(a7777777)
	CHAIN(a77777777) CHAIN(a777777777) CHAIN(a7777777777) CHAIN(a77777777777)

	*a777777777777 = 0; // CHECK: 2 pgtable-guard
}

/* A table within a variable that is not local. */
struct table { int count; pte_t entry[8]; };
static struct table early;
static union { pte_t e[512]; u64 raw[512]; } early_union;
static struct { struct table t[2]; } early_nested;
void global_tables(pte_t pte, struct table *from)
{
	static struct table t;

	early.entry[3] = pte; // CHECK: 2 pgtable-guard
	WRITE_ONCE(early_union.e[1], pte); // CHECK: 2 pgtable-guard
	early_union.raw[1] = 0; // CHECK: 2 pgtable-guard
	early_nested.t[1].entry[0] = pte; // CHECK: 2 pgtable-guard
	early = *from; // CHECK: 2 pgtable-guard
	memset(&early, 0, sizeof(early)); // CHECK: 2 pgtable-guard
	memset(early.entry, 0, sizeof(early.entry)); // CHECK: 2 pgtable-guard
	t.entry[1] = pte; // CHECK: 2 pgtable-guard
	early.count = 1; // OK
	from->count = 1; // OK
	WRITE_ONCE(from->count, 2); // OK
	guard(kpkeys_hardened_pgtables)();
	early.entry[3] = pte; // OK
}

void local_table(pte_t pte)
{
	struct table t, u;

	t.entry[1] = pte; // OK
	u = t; // OK
	memset(&u, 0, sizeof(u)); // OK
	use(u.entry[0].pte);
}

/* Assembly that hides where a pointer comes from, and assembly that finds one. */
#define RELOC_HIDE(ptr, off) ({						\
	unsigned long __ptr;						\
	asm("" : "=r" (__ptr) : "0" (ptr));				\
	(typeof(ptr))(__ptr + (off)); })
#define lm_alias(x) ((void *)(RELOC_HIDE((unsigned long)(x), 0) - 0x2000))
#define OPTIMIZER_HIDE_VAR(v) asm("" : "=r" (v) : "0" (v))
void hidden(pte_t *ptep, pte_t *other)
{
	u64 *p = (u64 *)ptep;
	pte_t copy, *q = &copy, *r = &copy;

	memset(lm_alias(swapper_pg_dir), 0, 8); // CHECK: 2 pgtable-guard
	*RELOC_HIDE(p, 8) = 0; // CHECK: 2 pgtable-guard
	use(READ_ONCE(*RELOC_HIDE(ptep, 8)).pte); // OK
	OPTIMIZER_HIDE_VAR(p); // OK
	*p = 0; // CHECK: 2 pgtable-guard
	OPTIMIZER_HIDE_VAR(q); // OK
	q->pte = 1; // OK
	asm volatile("ldr %0, [x1]" : "=r" (r));
	r->pte = 1; // CHECK: 2 pgtable-guard
}

/* Assembly that writes through what it is given, in whatever way. */
void assembly(pte_t *ptep, u64 v)
{
	unsigned long a = (unsigned long)ptep;
	struct { u64 *p; } h = { (u64 *)ptep };
	u64 old;

	asm volatile("str xzr, [%0], #8" : "+r" (a) : : "memory"); // CHECK: 2 pgtable-guard
	asm volatile("str xzr, [%0], #8" : "+r" (h.p) : : "memory"); // CHECK: 2 pgtable-guard
	asm volatile("str %1, %0" : : "Q" (*ptep), "r" (v) : "memory"); // CHECK: 2 pgtable-guard
	asm volatile("ldar %0, %1" : "=r" (old) : "Q" (*ptep) : "memory"); // OK
	asm volatile("at s1e1r, %0" : : "r" (a)); // OK
}

/* Rounded in steps; counted in entries is no address. */
#define roundup(x, y) ((((x) + ((y) - 1)) / (y)) * (y))
void rounded(pte_t *ptep, u64 *bitmap)
{
	unsigned long a = (unsigned long)ptep;

	*(u64 *)((a >> 3) << 3) = 0; // CHECK: 2 pgtable-guard
	*(u64 *)roundup(a, 8) = 0; // CHECK: 2 pgtable-guard
	*(u64 *)__builtin_align_down(a, 8) = 0; // CHECK: 2 pgtable-guard
	*(u64 *)((a >> 12) << 3) = 0; // OK
	bitmap[a >> 3] = 1; // OK
}

/* Members that share their memory, members that are arrays, arrays that are handed on. */
void fill(pte_t *pp[2]);
void members(pte_t *ptep, int i)
{
	union { pte_t *pte; u64 *raw; unsigned long a; } u = { .pte = ptep };
	struct { u64 *raw[2]; } l = { .raw = { (u64 *)ptep } }, k, none = {};
	pte_t copy, *filled[2] = { &copy, &copy }, *kept[2] = { &copy, &copy };

	*u.raw = 0; // CHECK: 2 pgtable-guard
	*(u64 *)u.a = 0; // CHECK: 2 pgtable-guard
	*l.raw[0] = 0; // CHECK: 2 pgtable-guard
	k.raw[1] = (u64 *)ptep;
	*k.raw[i] = 0; // CHECK: 2 pgtable-guard
	*(u64 *[]){ (u64 *)ptep, l.raw[1] }[i] = 0; // CHECK: 2 pgtable-guard
	fill(filled);
	filled[0]->pte = 1; // CHECK: 2 pgtable-guard
	kept[i]->pte = 1; // OK
}

/* Atomics write to where they put the old value as well, and some only read. */
void atomics(pte_t *ptep, u64 *shared, u64 v)
{
	__atomic_load(shared, &ptep->pte, __ATOMIC_RELAXED); // CHECK: 2 pgtable-guard
	__atomic_exchange(shared, &v, &ptep->pte, __ATOMIC_RELAXED); // CHECK: 2 pgtable-guard
	__atomic_compare_exchange_n(shared, &ptep->pte, v, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED); // CHECK: 2 pgtable-guard
	__atomic_load(&ptep->pte, &v, __ATOMIC_RELAXED); // OK
	use(__scoped_atomic_load_n(&ptep->pte, __ATOMIC_RELAXED, __MEMORY_SCOPE_DEVICE)); // OK
}

/* Evaluated where nobody looks for it. */
void array_bound(pte_t *ptep)
{
	int a[({ ptep->pte = 0; 4; })]; // CHECK: 11 pgtable-guard

	use(sizeof(a)); // OK
	use(sizeof(int[({ ptep->pte = 1; 4; })])); // CHECK: 20 pgtable-guard
	use(offsetof(struct table, entry[(ptep->pte = 1)])); // CHECK: 36 pgtable-guard
	use(sizeof(ptep->pte = 1)); // OK
}
