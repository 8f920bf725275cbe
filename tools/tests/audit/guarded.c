// SPDX-License-Identifier: GPL-2.0-only
//
// Guards and batches as the kernel series writes them, for a compiler to make
// of them what it likes. Compiled, not run.

typedef unsigned long long u64;

#define INVAL (~0ULL)
#define CTX_MASK 0xf00000f0ULL
#define CTX_DEFAULT 0x10000010ULL
#define CTX_PGTABLES 0x10000050ULL

#define barrier() asm volatile("" ::: "memory")
#define isb() asm volatile("isb" ::: "memory")
#define __always_inline inline __attribute__((always_inline))

static __always_inline u64 read_por(void)
{
	u64 por;

	asm volatile("mrs %0, S3_0_C10_C2_4" : "=r"(por));
	return por;
}

static __always_inline int write_por_nosync(u64 old, u64 new)
{
	if (old == new)
		return 0;
	barrier();
	asm volatile("msr S3_0_C10_C2_4, %0" :: "r"(new));
	return 1;
}

static __always_inline u64 set_context(u64 ctx)
{
	u64 old = read_por(), new = (old & ~CTX_MASK) | ctx;

	if (old == new)
		return INVAL;
	if (write_por_nosync(old, new))
		isb();
	return old;
}

static __always_inline void restore(const u64 *saved)
{
	u64 old;

	if (*saved == INVAL)
		return;
	old = read_por();
	if (write_por_nosync(old, (old & ~CTX_MASK) | (*saved & CTX_MASK)))
		isb();
}

static __always_inline int switch_context(u64 from, u64 to)
{
	u64 old = read_por();

	if (((old & ~CTX_MASK) | from) != old)
		return 0;
	return write_por_nosync(old, (old & ~CTX_MASK) | to);
}

#define guard(name) const u64 name __attribute__((cleanup(restore))) = set_context(CTX_PGTABLES)

extern int more(void);

void set_one(volatile u64 *p, u64 v)
{
	guard(g);
	*p = v;
}

void set_many(volatile u64 *p, u64 v, int n)
{
	guard(g);
	while (n--)
		*p++ = v++;
}

int early_return(volatile u64 *p, u64 v)
{
	guard(g);
	if (!*p)
		return -1;
	*p = v;
	return 0;
}

void each(volatile u64 *p, u64 v)
{
	while (more()) {
		guard(g);
		if (v == *p)
			continue;
		*p++ = v;
	}
}

u64 exchange(u64 *p, u64 v)
{
	guard(g);
	return __atomic_exchange_n(p, v, __ATOMIC_RELAXED);
}

void batch(volatile u64 *p, u64 v)
{
	if (switch_context(CTX_DEFAULT, CTX_PGTABLES))
		isb();
	*p = v;
	if (switch_context(CTX_PGTABLES, CTX_DEFAULT))
		isb();
}
