// SPDX-License-Identifier: GPL-2.0-only
// Calls that do not look like one, or not like one of this function.
#include "kernel.h"

#define SET(p) WRITE_ONCE(*(p), __pte(1))

/* A cleanup function that is called under a guard elsewhere. */
static void clear_at_end(pte_t **pp) { SET(*pp); } // CHECK: 40 pgtable-guard
void clear_by_hand(pte_t *p)
{
	guard(kpkeys_hardened_pgtables)();
	clear_at_end(&p);
}
void clear_by_scope(pte_t *p)
{
	pte_t *q __cleanup(clear_at_end) = p;

	use(q->pte);
}

/* One that only ever runs under the guard, which ends after it. */
static void clear_under_guard(pte_t **pp) { SET(*pp); } // OK
void scope_in_guard(pte_t *p)
{
	guard(kpkeys_hardened_pgtables)();
	pte_t *q __cleanup(clear_under_guard) = p;

	if (condition())
		return;
	use(q->pte);
}

/* One that runs after the guard has ended. */
static void clear_after_guard(pte_t **pp) { SET(*pp); } // CHECK: 45 pgtable-guard
void guard_in_scope(pte_t *p)
{
	pte_t *q __cleanup(clear_after_guard) = p;
	guard(kpkeys_hardened_pgtables)();

	use(q->pte);
}

/* The destructor of another class. */
static pte_t *entry(void);
DEFINE_LOCK_GUARD_0(clears, _T->p = entry(), WRITE_ONCE(*_T->p, __pte(0)), pte_t *p) // CHECK: 46 pgtable-guard
void clears_at_end(void)
{
	guard(clears)();
	use(1);
}
void clears_by_hand(void)
{
	class_clears_t t = class_clears_constructor();
	guard(kpkeys_hardened_pgtables)();

	class_clears_destructor(&t);
}

/* What one member holds is put into another one. */
struct from { void (*set)(pte_t *, short); void (*copied)(pte_t *, short *); };
struct to { void (*cb)(pte_t *, short); void (*copied)(pte_t *, short *); };
static void moved_set(pte_t *p, short v) { SET(p); } // CHECK: 44 pgtable-guard
static void kept_set(pte_t *p, short *v) { SET(p); } // OK
static const struct from from = { .set = moved_set, .copied = kept_set };
void move(const struct from *o, struct to *b, struct from *same, pte_t *p)
{
	b->cb = o->set;
	b->cb(p, 1);
	/* Copied along with the structure, asked for, or called, it stays. */
	same->copied = o->copied;
	*same = (struct from){ .copied = o->copied };
	if (!o->copied || b->copied == same->copied)
		return;
	if (o->copied && condition())
		b->copied(p, NULL);
	guard(kpkeys_hardened_pgtables)();
	o->set(p, 1); // CHECK: 2 guard-scope
	o->copied(p, NULL);
}

/* Cast to another type. */
static void cast_set(pte_t *p, signed char v) { SET(p); } // CHECK: 49 pgtable-guard
void cast_guarded(void (*fn)(pte_t *, signed char), pte_t *p)
{
	guard(kpkeys_hardened_pgtables)();
	fn(p, 1); // CHECK: 2 guard-scope
}
void cast_called(void *data)
{
	void (*fn)(void *, int) = (void *)cast_set;

	fn(data, 1);
}

/* Cast to its own type, which is no cast. */
typedef void (*own_t)(pte_t *, unsigned short *);
static void own_set(pte_t *p, unsigned short *v) { SET(p); } // OK
void own_guarded(own_t fn, pte_t *p)
{
	guard(kpkeys_hardened_pgtables)();
	fn(p, NULL); // CHECK: 2 guard-scope
}
void own_called(pte_t *p) { own_guarded((own_t)own_set, p); }

/* Handed to assembly. */
static void asm_set(pte_t *p, unsigned char v) { SET(p); } // CHECK: 50 pgtable-guard
void asm_guarded(void (*fn)(pte_t *, unsigned char), pte_t *p)
{
	guard(kpkeys_hardened_pgtables)();
	fn(p, 1); // CHECK: 2 guard-scope
}
void asm_called(pte_t *p)
{
	asm volatile("mov x0, %1; blr %0" : : "r" (asm_set), "r" ((const pte_t *)p) : "x0", "x30", "memory");
}

/* The other members of a union. */
union both { void (*a)(pte_t *, double, double); void (*b)(pte_t *, double, double); };
static void union_set(pte_t *p, double d, double i) { SET(p); } // CHECK: 55 pgtable-guard
void union_guarded(union both *u, pte_t *p)
{
	guard(kpkeys_hardened_pgtables)();
	u->a(p, 1, 1); // CHECK: 2 guard-scope
}
void union_called(pte_t *p)
{
	union both u = { .a = union_set };

	u.b(p, 1, 1);
}

/* Named by assembly: in a table of functions, or called. */
static int __attribute__((__used__)) initcall(void) { swapper_pg_dir[0] = (pgd_t){ 1 }; return 0; } // CHECK: 55 pgtable-guard
asm(".section .initcall6.init, \"a\"; .long initcall - .; .previous");
int initcall_guarded(void)
{
	guard(kpkeys_hardened_pgtables)();
	return initcall();
}

void called_by_name(pte_t *p) { SET(p); } // CHECK: 33 pgtable-guard
void called_by_name_guarded(pte_t *p) { guard(kpkeys_hardened_pgtables)(); called_by_name(p); }
void call_by_name(void) { asm volatile("bl called_by_name" : : : "x30", "memory"); }

/* Exported: nothing calls it that way. Operands, instructions and labels are no names of functions. */
void exported(pte_t *p) { SET(p); } // OK
asm(".section \".export_symbol\",\"a\"; __export_symbol_exported: .asciz \"GPL\"; .balign 8; .quad exported; .previous");
void operand(pte_t *p) { SET(p); } // OK
void call_exported(pte_t *p)
{
	guard(kpkeys_hardened_pgtables)();
	exported(p);
	operand(p);
	asm volatile("operand: mov x0, %[operand]\n operand x0" : : [operand] "r" (1) : "x0");
}

/* Two that only call each other: whatever enters here is not seen. */
void odd(pte_t *p, int n);
void even(pte_t *p, int n)
{
	SET(p); // CHECK: 2 pgtable-guard
	if (n)
		odd(p, n - 1);
}
void odd(pte_t *p, int n)
{
	SET(p); // CHECK: 2 pgtable-guard
	if (n)
		even(p, n - 1);
}

/* A ring that is entered under a guard. */
static void ring_b(pte_t *p, int n);
static void ring_c(pte_t *p, int n);
static void ring_a(pte_t *p, int n)
{
	SET(p); // OK
	ring_b(p, n);
}
static void ring_b(pte_t *p, int n)
{
	SET(p); // OK
	ring_c(p, n);
}
static void ring_c(pte_t *p, int n) { if (n) ring_a(p, n - 1); }
void ring(pte_t *p) { guard(kpkeys_hardened_pgtables)(); ring_b(p, 4); }

/* A symbol under another name. */
void labelled(pte_t *p) { SET(p); } // CHECK: 27 pgtable-guard
void other_name(pte_t *p) __asm__("labelled");
void labelled_guarded(pte_t *p) { guard(kpkeys_hardened_pgtables)(); labelled(p); }
void labelled_called(pte_t *p) { other_name(p); }

static void __attribute__((__used__)) internal(pte_t *p) { SET(p); } // CHECK: 60 pgtable-guard
void internal_alias(pte_t *p) __attribute__((alias("internal")));
void internal_guarded(pte_t *p) { guard(kpkeys_hardened_pgtables)(); internal(p); }
void internal_called(pte_t *p) { internal_alias(p); }
