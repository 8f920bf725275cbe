// SPDX-License-Identifier: GPL-2.0-only
// Helpers that take an entry as something else.
#include "kernel.h"

typedef long long s64;
typedef struct { s64 counter; } atomic64_t;
struct view { u64 valid : 1, rest : 63; };
struct list_head { struct list_head *next, *prev; };
struct slot { pte_t hw; };
union words { u64 raw; u32 half[2]; };

static __always_inline void atomic64_set(atomic64_t *v, s64 i)
{
	WRITE_ONCE(v->counter, i);
}

static __always_inline s64 atomic64_read(const atomic64_t *v)
{
	return READ_ONCE(v->counter);
}

static __always_inline void atomic64_or(s64 i, atomic64_t *v)
{
	asm volatile("stset %[i], %[v]" : [v] "+Q" (v->counter) : [i] "r" (i));
}

static __always_inline void set_bit(unsigned int nr, volatile unsigned long *p)
{
	p += nr / 64;
	atomic64_or(1UL << (nr % 64), (atomic64_t *)p);
}

static inline void list_init(struct list_head *l)
{
	WRITE_ONCE(l->next, l);
	l->prev = l;
}

static void view_set(struct view *v) { v->valid = 1; }
static void slot_set(struct slot *s, u64 v) { s->hw.pte = v; }
static void row_clear(u64 (*row)[512], int i) { (*row)[i] = 0; }
static void half_clear(union words *w) { w->half[1] = 0; }
static void link_to(void **slot, void *next) { *slot = next; }
static u64 *look(u64 **where) { return *where; }

void structures(pte_t *ptep)
{
	struct list_head *l = (struct list_head *)ptep;

	atomic64_set((atomic64_t *)ptep, 0); // CHECK: 2 pgtable-guard
	atomic64_or(1, (atomic64_t *)&pte_val(*ptep)); // CHECK: 2 pgtable-guard
	set_bit(3, (unsigned long *)ptep); // CHECK: 2 pgtable-guard
	list_init(l); // CHECK: 2 pgtable-guard
	view_set((struct view *)ptep); // CHECK: 2 pgtable-guard
	row_clear((void *)ptep, 3); // CHECK: 2 pgtable-guard
	half_clear((union words *)ptep); // CHECK: 2 pgtable-guard
	link_to((void **)ptep, NULL); // CHECK: 2 pgtable-guard
	use(atomic64_read((atomic64_t *)ptep)); // OK
	look((u64 **)ptep); // OK
}

void structures_guarded(pte_t *ptep)
{
	guard(kpkeys_hardened_pgtables)();
	atomic64_set((atomic64_t *)ptep, 0); // OK
	set_bit(3, (unsigned long *)ptep); // OK
	list_init((struct list_head *)ptep); // OK
	link_to((void **)ptep, NULL); // OK
}

void structures_that_are_copies(void)
{
	pte_t pte = { 0 };

	atomic64_set((atomic64_t *)&pte, 0); // OK
	view_set((struct view *)&pte); // OK
	slot_set((struct slot *)&pte, 1); // OK
	list_init((struct list_head *)(pte_t[2]){}); // OK
}

/* What has nothing to do with tables. */
struct other { atomic64_t count; struct list_head list; void *next; pte_t *ptep; };
void other(struct other *o, pte_t *ptep)
{
	atomic64_set(&o->count, 1); // OK
	list_init(&o->list); // OK
	link_to(&o->next, ptep); // OK
	link_to((void **)&o->ptep, ptep); // OK
	o->ptep = ptep; // OK
}

/* Numbers of any type that has room for an address. */
static void clear_long(long a) { *(u64 *)a = 0; }
static void clear_s64(s64 a) { *(u64 *)a = 0; }
static void clear_ulong(unsigned long a) { *(u64 *)a = 0; }
static void count_long(long a) { use(a); }
struct range { unsigned long start, end; };
void numbers(pte_t *ptep)
{
	struct range r = { (unsigned long)ptep };

	clear_long((long)ptep); // CHECK: 2 pgtable-guard
	clear_s64((s64)ptep); // CHECK: 2 pgtable-guard
	clear_ulong(r.start); // CHECK: 2 pgtable-guard
	clear_ulong((unsigned long)ptep & ~7UL); // CHECK: 2 pgtable-guard
	clear_ulong(r.end - 8); // OK
	count_long((long)ptep); // OK
}

/* Helpers that call each other: what is asked about first decides nothing. */
static void ring_b(void *p, int n);
static void wipe(void *p) { memset(p, 0, 8); }
static void ring_a(void *p, int n)
{
	if (n)
		ring_b(p, n - 1);
	wipe(p);
}
static void ring_b(void *p, int n) { ring_a(p, n); }
void ring_entered_at_a(pte_t *ptep) { ring_a(ptep, 1); } // CHECK: 39 pgtable-guard
void ring_entered_at_b(pte_t *ptep) { ring_b(ptep, 1); } // CHECK: 39 pgtable-guard

static void harmless_b(const void *p, int n);
static void harmless_a(void *p, int n) { if (n) harmless_b(p, n - 1); }
static void harmless_b(const void *p, int n) { harmless_a((void *)p, n); }
void harmless_ring(pte_t *ptep) { harmless_a(ptep, 1); } // OK
