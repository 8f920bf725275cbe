/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * As much of a kernel as the corpus needs, in the shapes that the real one has.
 */
#ifndef CORPUS_KERNEL_H
#define CORPUS_KERNEL_H

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned long size_t;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

#define __always_inline inline __attribute__((__always_inline__))
#define __cleanup(f) __attribute__((__cleanup__(f)))
#define __maybe_unused __attribute__((__unused__))
#define __noreturn __attribute__((__noreturn__))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define barrier() asm volatile("" : : : "memory")
#define isb() asm volatile("isb" : : : "memory")
#define offsetof(t, m) __builtin_offsetof(t, m)
#define container_of(ptr, type, member) ({				\
	void *__mptr = (void *)(ptr);					\
	(type *)(__mptr - offsetof(type, member)); })

#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, val)						\
do {									\
	*(volatile typeof(x) *)&(x) = (val);				\
} while (0)

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define UNIQUE(name) PASTE(PASTE(__unique_, name), __COUNTER__)

/* Page tables */
typedef u64 pteval_t;
typedef u64 pmdval_t;
typedef u64 pgdval_t;
typedef struct { pteval_t pte; } pte_t;
typedef struct { pmdval_t pmd; } pmd_t;
typedef struct { pgdval_t pgd; } pgd_t;
typedef struct { pgd_t pgd; } p4d_t;
typedef struct { p4d_t p4d; } pud_t;
#define pte_val(x) ((x).pte)
#define pmd_val(x) ((x).pmd)
#define pgd_val(x) ((x).pgd)
#define __pte(x) ((pte_t) { (x) })
#define __pmd(x) ((pmd_t) { (x) })
#define PAGE_SIZE 4096UL
#define PTRS_PER_PTE 512

struct vm_fault {
	pte_t orig_pte;
	pte_t *pte;
	pmd_t *pmd;
	unsigned long address;
};

pte_t *pte_offset(pmd_t *pmd, unsigned long addr);
extern pgd_t swapper_pg_dir[PTRS_PER_PTE];
extern pte_t fixmap_pte[2][PTRS_PER_PTE];

void *memset(void *s, int c, size_t n);
void *memcpy(void *d, const void *s, size_t n);
void clear_page(void *page);
void use(u64 value);
bool condition(void);
void *alloc(size_t n);

/* Atomics end in assembly that does not know of page tables */
static __always_inline u64 __xchg_64(u64 x, volatile void *ptr)
{
	u64 ret;
	unsigned int tmp;

	asm volatile("1: ldxr %0, %2; stxr %w1, %3, %2; cbnz %w1, 1b"
		     : "=&r" (ret), "=&r" (tmp), "+Q" (*(u64 *)ptr)
		     : "r" (x));
	return ret;
}

#define xchg(ptr, x) ({							\
	typeof(ptr) __p = (ptr);					\
	(typeof(*(ptr)))__xchg_64((u64)(x), __p); })

static __always_inline u64 __cmpxchg_64(volatile void *ptr, u64 old, u64 new)
{
	u64 ret;

	asm volatile("cas %0, %2, %1"
		     : "=&r" (ret), "+Q" (*(u64 *)ptr)
		     : "r" (new), "0" (old));
	return ret;
}

#define cmpxchg(ptr, old, new) ({					\
	typeof(ptr) __p = (ptr);					\
	(typeof(*(ptr)))__cmpxchg_64(__p, (u64)(old), (u64)(new)); })

#define try_cmpxchg(ptr, oldp, new) ({					\
	typeof(*(ptr)) *___op = (oldp), ___o = *___op, ___r;		\
	___r = cmpxchg((ptr), ___o, (new));				\
	if (___r != ___o)						\
		*___op = ___r;						\
	___r == ___o; })

/* Classes and guards */
#define DEFINE_LOCK_GUARD_0(name, enter, leave, ...)			\
typedef struct { void *lock; __VA_ARGS__; } class_##name##_t;		\
static __always_inline void class_##name##_destructor(class_##name##_t *_T) \
{ leave; }								\
static __always_inline void *class_##name##_lock_ptr(class_##name##_t *_T) \
{ return _T->lock; }							\
static __always_inline class_##name##_t class_##name##_constructor(void) \
{ class_##name##_t _t = { .lock = (void *)1 }, *_T __maybe_unused = &_t; \
  enter; return _t; }							\
static __maybe_unused const bool class_##name##_is_conditional = false;

#define CLASS(name, var)						\
	class_##name##_t var __cleanup(class_##name##_destructor) =	\
		class_##name##_constructor
#define guard(name) CLASS(name, UNIQUE(guard))
#define __scoped_guard(name, label)					\
	for (CLASS(name, scope)();					\
	     class_##name##_lock_ptr(&scope) || !class_##name##_is_conditional; \
	     ({ goto label; }))						\
		if (0) {						\
label:									\
			break;						\
		} else
#define scoped_guard(name) __scoped_guard(name, UNIQUE(label))

/* kpkeys */
#define KPKEYS_CTX_DEFAULT 0
#define KPKEYS_CTX_TEST 1
#define KPKEYS_CTX_PGTABLES 2
#define KPKEYS_CTX_MAX 2
#define KPKEYS_PKEY_REG_INVAL (~0ULL)

#define POR_EL1 (((3) << 19) | ((0) << 16) | ((10) << 12) | ((2) << 8) | ((4) << 5))
#define STRINGIFY_(x) #x
#define STRINGIFY(x) STRINGIFY_(x)

#define read_por() ({							\
	u64 __val;							\
	asm volatile("mrs_s %0, " STRINGIFY(POR_EL1) : "=r" (__val));	\
	__val; })
#define write_por(v) do {						\
	u64 __val = (u64)(v);						\
	asm volatile("msr_s " STRINGIFY(POR_EL1) ", %x0" : : "r" (__val)); \
} while (0)

bool kpkeys_enabled(void);
bool kpkeys_hardened_pgtables_enabled(void);

static __always_inline bool __kpkeys_write_por_nosync(u64 old, u64 new)
{
	if (old == new)
		return false;
#ifndef NO_BARRIER
	barrier();
#endif
	write_por(new);
	return true;
}

static __always_inline u64 __kpkeys_por_set_context(u64 por, const int ctx)
{
	return (por & ~0xf0ULL) | (ctx == KPKEYS_CTX_PGTABLES ? 0x30 : 0x10);
}

static __always_inline u64 arch_kpkeys_set_context(const int ctx)
{
	u64 old = read_por();
	u64 new = __kpkeys_por_set_context(old, ctx);

	if (old == new)
		return KPKEYS_PKEY_REG_INVAL;
	__kpkeys_write_por_nosync(old, new);
	isb();
	return old;
}

static __always_inline bool arch_kpkeys_switch_context_nosync(const int from,
							      const int to)
{
	u64 old = read_por();

	if (__kpkeys_por_set_context(old, from) != old)
		return false;
	return __kpkeys_write_por_nosync(old, __kpkeys_por_set_context(old, to));
}

static __always_inline void arch_kpkeys_restore_pkey_reg(u64 pkey_reg)
{
	__kpkeys_write_por_nosync(read_por(), pkey_reg);
	isb();
}

static __always_inline bool __kpkeys_por_has_context(u64 por, const int ctx)
{
	return por == __kpkeys_por_set_context(por, ctx);
}

static __always_inline u64 arch_kpkeys_enter_pgtables(const int ctx)
{
	u64 por = read_por();

	if (unlikely(!__kpkeys_por_has_context(por, ctx))) {
		__kpkeys_write_por_nosync(por, __kpkeys_por_set_context(por, ctx));
		isb();
	}
	return por;
}

static __always_inline u64 __kpkeys_set_context(const int ctx)
{
	return arch_kpkeys_set_context(ctx);
}

static __always_inline u64 kpkeys_set_context(const int ctx)
{
	if (!kpkeys_enabled())
		return KPKEYS_PKEY_REG_INVAL;
	return __kpkeys_set_context(ctx);
}

static __always_inline void kpkeys_restore_pkey_reg(u64 pkey_reg)
{
	if (pkey_reg == KPKEYS_PKEY_REG_INVAL)
		return;
	arch_kpkeys_restore_pkey_reg(pkey_reg);
}

#define KPKEYS_GUARD_COND(name, ctx, cond)				\
	DEFINE_LOCK_GUARD_0(name,					\
			    _T->pkey_reg = (cond) ?			\
				__kpkeys_set_context(ctx) :		\
				KPKEYS_PKEY_REG_INVAL,			\
			    kpkeys_restore_pkey_reg(_T->pkey_reg),	\
			    u64 pkey_reg)
#define KPKEYS_GUARD(name, ctx) KPKEYS_GUARD_COND(name, ctx, kpkeys_enabled())

#ifndef OWN_GUARD
KPKEYS_GUARD_COND(kpkeys_hardened_pgtables, KPKEYS_CTX_PGTABLES,
		  kpkeys_hardened_pgtables_enabled())

static inline void __set_pte(pte_t *ptep, pte_t pte)
{
	guard(kpkeys_hardened_pgtables)();
	WRITE_ONCE(*ptep, pte);
}
#endif
KPKEYS_GUARD(kpkeys_test, KPKEYS_CTX_TEST)


#endif
