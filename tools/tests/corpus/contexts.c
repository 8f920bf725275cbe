// SPDX-License-Identifier: GPL-2.0-only
// Constants, addresses and inlining of what switches contexts.
#include "kernel.h"

enum { MY_CONTEXT = KPKEYS_CTX_TEST };
struct holder { int ctx; u64 reg; };
static const int constant_variable = KPKEYS_CTX_TEST;

/* context-constant */

void constants(void)
{
	u64 reg = kpkeys_set_context(KPKEYS_CTX_TEST); // OK

	kpkeys_restore_pkey_reg(reg);
	reg = kpkeys_set_context(MY_CONTEXT); // OK
	kpkeys_restore_pkey_reg(reg);
	reg = kpkeys_set_context(1 + 1); // OK
	kpkeys_restore_pkey_reg(reg);
	reg = kpkeys_set_context(sizeof(char)); // OK
	kpkeys_restore_pkey_reg(reg);
	reg = kpkeys_set_context(true ? KPKEYS_CTX_TEST : KPKEYS_CTX_DEFAULT); // OK
	kpkeys_restore_pkey_reg(reg);
	reg = kpkeys_set_context(__builtin_choose_expr(1, KPKEYS_CTX_TEST, 9)); // OK
	kpkeys_restore_pkey_reg(reg);
}

void variables(struct holder *h, int which) // CHECK: 6 context-inline
{
	const int local = KPKEYS_CTX_TEST;
	u64 reg;

	reg = kpkeys_set_context(which); // CHECK: 27 context-constant
	kpkeys_restore_pkey_reg(reg);
	reg = kpkeys_set_context(local); // CHECK: 27 context-constant
	kpkeys_restore_pkey_reg(reg);
	reg = kpkeys_set_context(constant_variable); // CHECK: 27 context-constant
	kpkeys_restore_pkey_reg(reg);
	reg = kpkeys_set_context(h->ctx); // CHECK: 27 context-constant
	kpkeys_restore_pkey_reg(reg);
	reg = kpkeys_set_context(which ? KPKEYS_CTX_TEST : KPKEYS_CTX_DEFAULT); // CHECK: 27 context-constant
	kpkeys_restore_pkey_reg(reg);
	reg = kpkeys_set_context(({ KPKEYS_CTX_TEST; })); // CHECK: 27 context-constant
	kpkeys_restore_pkey_reg(reg);
	reg = kpkeys_set_context((use(1), KPKEYS_CTX_TEST)); // CHECK: 27 context-constant
	kpkeys_restore_pkey_reg(reg);
	reg = arch_kpkeys_set_context(which); // CHECK: 32 context-constant
	kpkeys_restore_pkey_reg(reg);
}

void ranges(void)
{
	u64 reg = kpkeys_set_context(3); // CHECK: 31 context-constant

	kpkeys_restore_pkey_reg(reg);
	reg = kpkeys_set_context(-1); // CHECK: 27 context-constant
	kpkeys_restore_pkey_reg(reg);
	reg = kpkeys_set_context(KPKEYS_CTX_MAX); // OK
	kpkeys_restore_pkey_reg(reg);
}

static __always_inline u64 wrapper(const int ctx)
{
	return kpkeys_set_context(ctx); // OK
}

static __always_inline u64 wrapper_of_wrapper(int unused, int ctx)
{
	return wrapper(ctx); // OK
}

#define ENTER(x) wrapper_of_wrapper(0, x)

void through_wrappers(int which) // CHECK: 6 context-inline
{
	u64 reg = ENTER(KPKEYS_CTX_TEST); // OK

	kpkeys_restore_pkey_reg(reg);
	reg = ENTER(which); // CHECK: 14 context-constant
	kpkeys_restore_pkey_reg(reg);
	reg = wrapper(which + 1); // CHECK: 16 context-constant
	kpkeys_restore_pkey_reg(reg);
}

static __always_inline u64 changes_it(int ctx)
{
	ctx++;
	return kpkeys_set_context(ctx); // CHECK: 28 context-constant
}

static __always_inline u64 assigns_it(int ctx)
{
	ctx = ctx ? ctx : 1;
	return kpkeys_set_context(ctx); // CHECK: 28 context-constant
}

static __always_inline u64 exposes_it(int ctx)
{
	extern void look(int *);

	look(&ctx);
	return kpkeys_set_context(ctx); // CHECK: 28 context-constant
}

void use_them(void)
{
	u64 reg = changes_it(1);

	kpkeys_restore_pkey_reg(reg);
	reg = assigns_it(1);
	kpkeys_restore_pkey_reg(reg);
	reg = exposes_it(1);
	kpkeys_restore_pkey_reg(reg);
}

/* Callable with any value. */
u64 gadget(int ctx) // CHECK: 5 context-inline
{
	return kpkeys_set_context(ctx); // CHECK: 28 context-constant
}

static int chosen;

KPKEYS_GUARD(good_guard, KPKEYS_CTX_TEST) // OK
KPKEYS_GUARD_COND(conditional_guard, KPKEYS_CTX_TEST, condition()) // OK
KPKEYS_GUARD(bad_guard, chosen) // CHECK: 25 context-constant

void guards(void)
{
	guard(good_guard)();
	guard(conditional_guard)();
	guard(bad_guard)();
}

/* context-inline */

static inline void restores(u64 reg) // CHECK: 20 context-inline
{
	kpkeys_restore_pkey_reg(reg);
}

static __always_inline void restores_inlined(u64 reg) // OK
{
	kpkeys_restore_pkey_reg(reg);
}

static void writes(u64 value) // CHECK: 13 context-inline
{
	write_por(value);
}

static void writes_constant(void) // OK
{
	write_por(0x1234);
	write_por(0);
}

static __always_inline void writes_inlined(u64 value) // OK
{
	write_por(value);
}

static void calls_inlined(struct holder *h) // CHECK: 13 context-inline
{
	writes_inlined(h->reg);
}

static void calls_constant(void) // OK
{
	writes_inlined(7);
}

static u64 enters(void) // CHECK: 12 context-inline
{
	return kpkeys_set_context(KPKEYS_CTX_TEST);
}

static __always_inline u64 enters_inlined(void) // OK
{
	return kpkeys_set_context(KPKEYS_CTX_TEST);
}

static void named_register(u64 v) // CHECK: 13 context-inline
{
	asm volatile("msr POR_EL1, %0" : : "r" (v));
}

static void encoded_register(u64 v) // CHECK: 13 context-inline
{
	asm volatile("isb; msr S3_0_C10_C2_4, %0; isb" : : "r" (v));
}

static void upper_case(u64 v) // CHECK: 13 context-inline
{
	asm volatile("MSR POR_EL1, %0" : : "r" (v));
}

static void in_and_out(u64 v) // CHECK: 13 context-inline
{
	asm volatile("msr POR_EL1, %0" : "+r" (v));
}

static void after_labels(u64 v) // CHECK: 13 context-inline
{
	asm volatile("661: nop\n662:\n663: .Lhere: msr POR_EL1, %0\n664:" : : "r" (v));
}

static void other_register(u64 v) // OK
{
	asm volatile("msr S3_3_C10_C2_4, %0" : : "r" (v));
	asm volatile("msr_s (((3) << 19) | ((3) << 16) | ((10) << 12) | ((2) << 8) | ((4) << 5)), %0" : : "r" (v));
	asm volatile("mrs %0, POR_EL1" : "=r" (v));
}

void call_them(struct holder *h, u64 v)
{
	u64 reg = enters_inlined();

	restores_inlined(reg);
	reg = enters();
	restores(reg);
	writes(v);
	writes_constant();
	calls_inlined(h);
	calls_constant();
	named_register(v);
	encoded_register(v);
	upper_case(v);
	in_and_out(v);
	after_labels(v);
	other_register(v);
}

/* context-address */

void *address_in_variable(void)
{
	void (*restore)(u64) = kpkeys_restore_pkey_reg; // CHECK: 25 context-address

	return restore;
}

struct switch_ops { u64 (*set)(const int); void (*restore)(u64); void (*other)(void); };

static const struct switch_ops table = {
	.set = kpkeys_set_context, // CHECK: 9 context-address
	.restore = &arch_kpkeys_restore_pkey_reg, // CHECK: 14 context-address
	.other = calls_constant, // OK
};

extern void take(void *);

void address_as_argument(const struct switch_ops *ops)
{
	take(restores_inlined); // CHECK: 7 context-address
	take((void *)writes_inlined); // CHECK: 15 context-address
	take(class_kpkeys_test_destructor); // CHECK: 7 context-address
	take(ops ? (void *)wrapper : NULL); // CHECK: 21 context-address
	take((void *)writes_constant); // OK
	take((void *)&table);
}

void address_assigned(struct switch_ops *ops)
{
	ops->set = wrapper; // CHECK: 13 context-address
	ops->other = calls_constant; // OK
}

static void * __attribute__((__used__)) exported = (void *)&kpkeys_set_context; // CHECK: 61 context-address
asm(".section export; .quad kpkeys_restore_pkey_reg; .previous"); // CHECK: 1 context-address
asm(".quad kpkeys_restore_pkey_reg_other"); // OK

typeof(kpkeys_set_context) *declared_only; // OK
int size_only = sizeof(&kpkeys_set_context); // OK

static __always_inline u64 changes_it_in_assembly(int ctx)
{
	asm("" : "+r" (ctx));
	return kpkeys_set_context(ctx); // CHECK: 28 context-constant
}

void use_assembly(void)
{
	u64 reg = changes_it_in_assembly(1);

	kpkeys_restore_pkey_reg(reg);
}

/* Other names, and names in assembly code. */
extern typeof(kpkeys_set_context) other_name __attribute__((alias("kpkeys_set_context"))); // CHECK: 35 context-address
extern typeof(writes_constant) harmless_name __attribute__((alias("writes_constant"))); // OK

void call_in_assembly(void)
{
	asm volatile("bl kpkeys_restore_pkey_reg"); // CHECK: 2 context-address
	asm volatile("bl kpkeys_restore_pkey_reg_other"); // OK
	asm volatile("bl writes_constant"); // OK
}
