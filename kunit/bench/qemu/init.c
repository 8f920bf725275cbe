/*
 * PID 1 of the benchmark guest: work that consists of page table changes
 *
 * The load is "fork" and "map" (mmap, touch, mprotect, munmap). "pte" is next
 * to nothing but writes of PTEs, by mprotect: the worst case, for information.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Freestanding, no C library:
 *   aarch64-linux-gnu-gcc -O2 -static -nostdlib -ffreestanding \
 *       -fno-stack-protector -mgeneral-regs-only init.c -o init
 * Prints "bench NAME NS" lines (host time by the clock, and with "cpu-" the CPU
 * time of the emulator, which needs -semihosting-config userspace=on), ends with "bench end", and powers off.
 */

typedef unsigned long u64;

#define NR_write	64
#define NR_exit		93
#define NR_reboot	142
#define NR_munmap	215
#define NR_clone	220
#define NR_mmap		222
#define NR_mprotect	226
#define NR_wait4	260

#define PAGE		4096ul
#define MAP_SIZE	(8ul << 20)
#define FORK_SIZE	(256ul << 10)

static long sc(long n, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	register u64 x8 asm("x8") = n;
	register u64 x0 asm("x0") = a;
	register u64 x1 asm("x1") = b;
	register u64 x2 asm("x2") = c;
	register u64 x3 asm("x3") = d;
	register u64 x4 asm("x4") = e;
	register u64 x5 asm("x5") = f;

	asm volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3),
		     "r"(x4), "r"(x5) : "memory");
	return x0;
}

static u64 now(void)
{
	u64 v, f;

	asm volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(v) : : "memory");
	asm volatile("mrs %0, cntfrq_el0" : "=r"(f));
	return v / f * 1000000000ul + v % f * 1000000000ul / f;
}

/* CPU time of the emulator, by semihosting (SYS_CLOCK, centiseconds) */
static u64 cpu_time(void)
{
	register u64 x0 asm("x0") = 0x10;
	register u64 x1 asm("x1") = 0;

	asm volatile("hlt #0xf000" : "+r"(x0) : "r"(x1) : "memory");
	return x0 * 10000000ul;
}

static void say(const char *s)
{
	u64 n = 0;

	while (s[n])
		n++;
	sc(NR_write, 1, (u64)s, n, 0, 0, 0);
}

static void result(const char *name, u64 v)
{
	char buf[24];
	int i = sizeof(buf) - 1;

	buf[i] = 0;
	buf[--i] = '\n';
	do {
		buf[--i] = '0' + v % 10;
		v /= 10;
	} while (v);
	say("bench ");
	say(name);
	say(" ");
	say(buf + i);
}

static void die(const char *what)
{
	say("bench failed: ");
	say(what);
	say("\n");
	sc(NR_reboot, 0xfee1dead, 672274793, 0x4321fedc, 0, 0, 0);
	for (;;)
		;
}

static char *map(u64 size)
{
	long p = sc(NR_mmap, 0, size, 3, 0x22, -1, 0);

	if (p < 0 && p > -4096)
		die("mmap");
	return (char *)p;
}

static void touch(char *p, u64 size)
{
	for (u64 i = 0; i < size; i += PAGE)
		((volatile char *)p)[i] = 1;
}

static void forks(int n)
{
	for (int i = 0; i < n; i++) {
		long pid = sc(NR_clone, 17, 0, 0, 0, 0, 0);

		if (pid < 0)
			die("fork");
		if (!pid) {
			/* as much as a small program does */
			touch(map(FORK_SIZE), FORK_SIZE);
			sc(NR_exit, 0, 0, 0, 0, 0, 0);
		}
		if (sc(NR_wait4, pid, 0, 0, 0, 0, 0) != pid)
			die("wait");
	}
}

static void protects(char *p, int n)
{
	for (int i = 0; i < n; i++) {
		if (sc(NR_mprotect, (u64)p, MAP_SIZE, 1, 0, 0, 0) ||
		    sc(NR_mprotect, (u64)p, MAP_SIZE, 3, 0, 0, 0))
			die("mprotect");
	}
}

static void maps(int n)
{
	for (int i = 0; i < n; i++) {
		char *p = map(MAP_SIZE);

		touch(p, MAP_SIZE);
		protects(p, 1);
		sc(NR_munmap, (u64)p, MAP_SIZE, 0, 0, 0, 0);
	}
}

void _start(void);
void _start(void)
{
	u64 boot = now(), cpu_boot = cpu_time(), t0, t1, t2, t3;
	u64 c0, c1, c2, c3;
	char *p;

	result("boot", boot);
	result("cpu-boot", cpu_boot);
	touch(map(FORK_SIZE), FORK_SIZE);
	forks(2);
	maps(1);

	t0 = now();
	c0 = cpu_time();
	forks(400);
	t1 = now();
	c1 = cpu_time();
	maps(25);
	t2 = now();
	c2 = cpu_time();
	p = map(MAP_SIZE);
	touch(p, MAP_SIZE);
	protects(p, 60);
	t3 = now();
	c3 = cpu_time();
	result("fork", t1 - t0);
	result("map", t2 - t1);
	result("pte", t3 - t2);
	result("load", t2 - t0);
	result("cpu-fork", c1 - c0);
	result("cpu-map", c2 - c1);
	result("cpu-pte", c3 - c2);
	result("cpu-load", c2 - c0);
	say("bench end\n");
	sc(NR_reboot, 0xfee1dead, 672274793, 0x4321fedc, 0, 0, 0);
	for (;;)
		;
}
