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
