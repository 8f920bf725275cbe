// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stress POR_EL0 against a model, for a given number of seconds.
 *
 * Several threads give random permissions to the protection keys and then, for
 * as long as these permissions hold, read, write and execute pages of every key
 * and let the kernel access them on their behalf.  Each outcome is compared with
 * what the overlay allows; between two accesses the register is read back.
 * A thread keeps its value across system calls, signals, preemption and moves
 * to other CPUs, so whoever saves and restores the register, be it the kernel
 * or the machine underneath, is seen to lose it at the next access.
 *
 * Settings come from the environment, hence from the kernel's command line:
 *   POR_STRESS_SECONDS	how long (default 10)
 *   POR_STRESS_THREADS	how many threads (default 4)
 *   POR_STRESS_HOTPLUG	1: take CPUs down and up meanwhile
 *
 * Permissions of key 0 are never restricted: stacks and code belong to it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define __printf(a, b)	__attribute__((format(printf, a, b)))

#define KSFT_SKIP	4
#ifndef HWCAP2_POE
#define HWCAP2_POE	(1UL << 63)
#endif
#ifndef SEGV_PKUERR
#define SEGV_PKUERR	4
#endif
#define POE_FRAME_MAGIC	0x504f4530u

#define POE_R		1UL
#define POE_X		2UL
#define POE_W		4UL
#define POE_RWX		7UL
#define POR_BITS	4
/* what the kernel gives to a signal handler: key 0 only */
#define POR_INIT	POE_RWX

#define NR_KEYS		8
#define MAX_THREADS	64
#define MAX_SHOWN	20
#define INSN_RET	0xd65f03c0u
/* where a page's routine lives; the words of the threads are below */
#define ROUTINE		2048

enum check {
	READBACK,
	READ,
	WRITE,
	EXEC,
	KERNEL_READ,
	KERNEL_WRITE,
	SIGNAL_ENTRY,
	SIGNAL_FRAME,
	HOTPLUG,
	NR_CHECKS
};

static const char * const check_names[NR_CHECKS] = {
	[READBACK]	= "register_reads_back",
	[READ]		= "read",
	[WRITE]		= "write",
	[EXEC]		= "execute",
	[KERNEL_READ]	= "read_by_kernel",
	[KERNEL_WRITE]	= "write_by_kernel",
	[SIGNAL_ENTRY]	= "signal_handler_starts_with_key_0",
	[SIGNAL_FRAME]	= "signal_frame_holds_register",
	[HOTPLUG]	= "cpu_down_and_up",
};

struct thread {
	pthread_t id;
	unsigned int nr;
	uint64_t rng;
	uint64_t por;			/* what the register must hold */
	uint64_t word[NR_KEYS];		/* what this thread's words must hold */
	int pipe[2];

	volatile bool faulted;
	volatile int fault_code;
	volatile int fault_key;

	unsigned long steps;
	unsigned long faults;
	unsigned long count[NR_CHECKS];
	unsigned long errors[NR_CHECKS];
};

static struct thread threads[MAX_THREADS];
static unsigned int nr_threads = 4;
static __thread struct thread *self;

static int keys[NR_KEYS];
static char *pages[NR_KEYS];
static unsigned int nr_keys;
static long nr_cpus;
static volatile bool stop;
static unsigned int shown;

/* Their first instructions are the ones that may fault; the handler steps over. */
uint64_t do_read(const void *addr);
void do_write(void *addr, uint64_t value);

asm(".pushsection .text\n"
    ".globl do_read, do_write\n"
    "do_read:	ldr	x0, [x0]\n"
    "	ret\n"
    "do_write:	str	x1, [x0]\n"
    "	ret\n"
    ".popsection\n");

static inline uint64_t read_por(void)
{
	uint64_t por;

	asm volatile("mrs %0, S3_3_C10_C2_4" : "=r" (por) :: "memory");
	return por;
}

static inline void write_por(uint64_t por)
{
	asm volatile("msr S3_3_C10_C2_4, %0\n\tisb" :: "r" (por) : "memory");
}

static uint64_t rnd(struct thread *t)
{
	t->rng ^= t->rng << 13;
	t->rng ^= t->rng >> 7;
	t->rng ^= t->rng << 17;
	return t->rng;
}

/* Print a line at once; usable in a signal handler in practice. */
static void __printf(1, 2) say(const char *fmt, ...)
{
	char line[256];
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(line, sizeof(line) - 1, fmt, args);
	va_end(args);
	if (len > (int)sizeof(line) - 2)
		len = sizeof(line) - 2;
	line[len++] = '\n';
	if (write(STDOUT_FILENO, line, len) != len)
		_exit(1);
}

static void verdict(struct thread *t, enum check check, bool ok, int key,
		    const char *what)
{
	t->count[check]++;
	if (ok)
		return;
	t->errors[check]++;
	if (__atomic_fetch_add(&shown, 1, __ATOMIC_RELAXED) < MAX_SHOWN)
		say("# error: %s: thread %u key %d model 0x%lx register 0x%lx: %s",
		    check_names[check], t->nr, key, (unsigned long)t->por,
		    (unsigned long)read_por(), what);
}

static bool allows(uint64_t por, int key, unsigned long perm)
{
	return (por >> (key * POR_BITS)) & perm;
}

/* The register in the frame of a signal, or NULL. */
static uint64_t *frame_por(ucontext_t *uc)
{
	char *pos = (char *)uc->uc_mcontext.__reserved;
	char *end = pos + sizeof(uc->uc_mcontext.__reserved);
	struct { uint32_t magic, size; } head;

	for (; pos + sizeof(head) <= end; pos += head.size) {
		memcpy(&head, pos, sizeof(head));
		if (head.magic == POE_FRAME_MAGIC)
			return (uint64_t *)(pos + sizeof(head));
		if (!head.magic || !head.size)
			break;
	}
	return NULL;
}

static void check_signal(struct thread *t, ucontext_t *uc)
{
	uint64_t *por = frame_por(uc);

	verdict(t, SIGNAL_ENTRY, read_por() == POR_INIT, 0, "at handler entry");
	verdict(t, SIGNAL_FRAME, por && *por == t->por, 0,
		por ? "frame differs" : "no POE record in the frame");
}

static void on_segv(int sig, siginfo_t *si, void *ctx)
{
	ucontext_t *uc = ctx;
	uint64_t pc = uc->uc_mcontext.pc;
	uint64_t *por = frame_por(uc);
	struct thread *t = self;
	unsigned int i;

	if (pc == (uint64_t)do_read || pc == (uint64_t)do_write) {
		uc->uc_mcontext.pc = pc + 4;
		goto expected;
	}
	for (i = 0; i < nr_keys; i++) {
		if (pc == (uint64_t)pages[i] + ROUTINE) {
			uc->uc_mcontext.pc = uc->uc_mcontext.regs[30];
			goto expected;
		}
	}
	say("Bail out! SIGSEGV elsewhere: pc 0x%lx address %p code %d model 0x%lx frame 0x%lx",
	    (unsigned long)pc, si->si_addr, si->si_code,
	    t ? (unsigned long)t->por : 0, por ? (unsigned long)*por : 0);
	_exit(1);

expected:
	t->faulted = true;
	t->fault_code = si->si_code;
	t->fault_key = si->si_pkey;
	t->faults++;
	check_signal(t, uc);
}

static void on_usr1(int sig, siginfo_t *si, void *ctx)
{
	check_signal(self, ctx);
}

/* Judge an access by user space to a page of @key. */
static void judge(struct thread *t, enum check check, int key,
		  unsigned long perm)
{
	if (allows(t->por, key, perm)) {
		verdict(t, check, !t->faulted, key, "denied, must be allowed");
		return;
	}
	if (!t->faulted) {
		verdict(t, check, false, key, "allowed, must be denied");
		return;
	}
	verdict(t, check,
		t->fault_code == SEGV_PKUERR && t->fault_key == key, key,
		"denied, but not as a protection-key fault on this key");
}

static void op_read(struct thread *t, unsigned int i)
{
	uint64_t value;

	t->faulted = false;
	value = do_read(pages[i] + t->nr * sizeof(value));
	judge(t, READ, keys[i], POE_R);
	if (!t->faulted)
		verdict(t, READ, value == t->word[i], keys[i], "wrong value");
}

static void op_write(struct thread *t, unsigned int i)
{
	uint64_t value = rnd(t);

	t->faulted = false;
	do_write(pages[i] + t->nr * sizeof(value), value);
	judge(t, WRITE, keys[i], POE_W);
	if (!t->faulted)
		t->word[i] = value;
}

static void op_exec(struct thread *t, unsigned int i)
{
	void (*routine)(void) = (void (*)(void))(pages[i] + ROUTINE);

	t->faulted = false;
	routine();
	judge(t, EXEC, keys[i], POE_X);
}

static void op_kernel_read(struct thread *t, unsigned int i)
{
	bool allowed = allows(t->por, keys[i], POE_R);
	uint64_t value;
	ssize_t len;

	len = write(t->pipe[1], pages[i] + t->nr * sizeof(value),
		    sizeof(value));
	if (len < 0) {
		verdict(t, KERNEL_READ, !allowed && errno == EFAULT, keys[i],
			"denied to the kernel");
		return;
	}
	verdict(t, KERNEL_READ, allowed, keys[i], "allowed to the kernel");
	len = read(t->pipe[0], &value, sizeof(value));
	verdict(t, KERNEL_READ, len == sizeof(value) && value == t->word[i],
		keys[i], "the kernel read a wrong value");
}

static void op_kernel_write(struct thread *t, unsigned int i)
{
	bool allowed = allows(t->por, keys[i], POE_W);
	uint64_t *word = (uint64_t *)(pages[i] + t->nr * sizeof(*word));
	uint64_t value = rnd(t);
	ssize_t len;

	if (write(t->pipe[1], &value, sizeof(value)) != sizeof(value))
		_exit(1);
	len = read(t->pipe[0], word, sizeof(*word));
	if (len == sizeof(*word)) {
		t->word[i] = value;
		verdict(t, KERNEL_WRITE, allowed, keys[i],
			"allowed to the kernel");
		return;
	}
	verdict(t, KERNEL_WRITE, len < 0 && errno == EFAULT && !allowed,
		keys[i], "denied to the kernel");
	/* a failed copy leaves the bytes in the pipe */
	if (read(t->pipe[0], &value, sizeof(value)) != sizeof(value))
		_exit(1);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/*
 * Stay in user space for a while.  This is where the threads spend most of their
 * time: whatever stops the machine is to find the register in use.
 */
static void op_hold(struct thread *t)
{
	double end = now() + 1e-6 * (rnd(t) % 2000);
	unsigned int i = rnd(t) % nr_keys;

	do {
		unsigned int spins = 100;

		while (spins-- && read_por() == t->por)
			;
		verdict(t, READBACK, read_por() == t->por, 0, "changed");
		if (allows(t->por, keys[i], POE_R))
			op_read(t, i);
		if (allows(t->por, keys[i], POE_W))
			op_write(t, i);
		if (allows(t->por, keys[i], POE_X))
			op_exec(t, i);
	} while (now() < end);
}

/* Keep the register while the CPU is given away, in one way or another. */
static void op_yield(struct thread *t)
{
	struct timespec nap = { .tv_nsec = rnd(t) % 200000 };
	cpu_set_t cpus;

	switch (rnd(t) % 16) {
	case 0:
		CPU_ZERO(&cpus);
		CPU_SET(rnd(t) % nr_cpus, &cpus);
		/* fails on a CPU that is down */
		sched_setaffinity(0, sizeof(cpus), &cpus);
		break;
	case 1:
	case 2:
	case 3:
		nanosleep(&nap, NULL);
		break;
	case 4:
	case 5:
	case 6:
	case 7:
		syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1);
		break;
	default:
		sched_yield();
	}
}

/*
 * New permissions: for all keys, or just for one.  A single change is the harder
 * test, as nothing else makes the machine forget what it remembers of the rest.
 */
static uint64_t random_por(struct thread *t)
{
	bool all = rnd(t) % 4 == 0;
	unsigned int i, one = rnd(t) % nr_keys;
	uint64_t por = t->por;

	for (i = 0; i < nr_keys; i++) {
		unsigned int shift = keys[i] * POR_BITS;

		if (!all && i != one)
			continue;
		por &= ~(POE_RWX << shift);
		por |= (rnd(t) % (POE_RWX + 1)) << shift;
	}
	return por;
}

static void step(struct thread *t)
{
	unsigned int ops = 1 + rnd(t) % 8;

	t->por = random_por(t);
	write_por(t->por);
	while (ops--) {
		unsigned int i = rnd(t) % nr_keys;

		switch (rnd(t) % 16) {
		case 0 ... 3:
			op_read(t, i);
			break;
		case 4 ... 7:
			op_write(t, i);
			break;
		case 8 ... 9:
			op_exec(t, i);
			break;
		case 10:
			op_kernel_read(t, i);
			break;
		case 11:
			op_kernel_write(t, i);
			break;
		case 12:
			op_yield(t);
			break;
		default:
			op_hold(t);
		}
		verdict(t, READBACK, read_por() == t->por, 0, "changed");
	}
	t->steps++;
}

static void *run_thread(void *arg)
{
	struct thread *t = arg;

	self = t;
	t->por = POR_INIT;
	if (pipe(t->pipe)) {
		say("Bail out! pipe: %s", strerror(errno));
		_exit(1);
	}
	while (!stop)
		step(t);
	write_por(POR_INIT);
	return NULL;
}

static bool switch_cpu(long cpu, bool up)
{
	char path[64];
	bool done;
	int fd;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%ld/online",
		 cpu);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return false;
	done = write(fd, up ? "1" : "0", 1) == 1;
	close(fd);
	return done;
}

/* Take CPUs other than the first down and up again, in turns. */
static void *run_hotplug(void *arg)
{
	struct timespec pause = { .tv_nsec = 50000000 };
	struct thread *t = arg;
	long cpu = 1;

	self = t;
	t->por = POR_INIT;
	write_por(t->por);
	while (!stop) {
		verdict(t, HOTPLUG, switch_cpu(cpu, false), 0, "cannot go down");
		nanosleep(&pause, NULL);
		verdict(t, HOTPLUG, switch_cpu(cpu, true), 0, "cannot come up");
		nanosleep(&pause, NULL);
		cpu = cpu % (nr_cpus - 1) + 1;
	}
	return NULL;
}

static unsigned long setting(const char *name, unsigned long def)
{
	const char *value = getenv(name);

	return value ? strtoul(value, NULL, 0) : def;
}

static void catch(int sig, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction sa = { .sa_sigaction = handler,
				.sa_flags = SA_SIGINFO | SA_RESTART };

	sigaction(sig, &sa, NULL);
}

static bool make_pages(void)
{
	long size = sysconf(_SC_PAGESIZE);
	int prot = PROT_READ | PROT_WRITE | PROT_EXEC;
	int key;

	while (nr_keys < NR_KEYS && (key = pkey_alloc(0, 0)) > 0) {
		char *page = mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS,
				  -1, 0);

		if (page == MAP_FAILED)
			return false;
		*(uint32_t *)(page + ROUTINE) = INSN_RET;
		__builtin___clear_cache(page, page + size);
		if (pkey_mprotect(page, size, prot, key))
			return false;
		keys[nr_keys] = key;
		pages[nr_keys++] = page;
	}
	return nr_keys > 1;
}

static void progress(unsigned int second)
{
	unsigned long steps = 0, faults = 0;
	unsigned int i;

	for (i = 0; i < nr_threads; i++) {
		steps += threads[i].steps;
		faults += threads[i].faults;
	}
	say("# progress second=%u steps=%lu faults=%lu", second, steps, faults);
}

/* One result line per check; false if one failed or was never made. */
static bool report(bool hotplug)
{
	unsigned int i, nr_checks = hotplug ? NR_CHECKS : HOTPLUG;
	unsigned int check;
	bool all_ok = true;

	for (check = 0; check < nr_checks; check++) {
		unsigned long count = 0, errors = 0;
		bool ok;

		for (i = 0; i <= nr_threads; i++) {
			count += threads[i].count[check];
			errors += threads[i].errors[check];
		}
		ok = count && !errors;
		all_ok &= ok;
		say("%sok %u %s checks:%lu errors:%lu", ok ? "" : "not ",
		    check + 1, check_names[check], count, errors);
	}
	return all_ok;
}

int main(void)
{
	unsigned int i, second, seconds = setting("POR_STRESS_SECONDS", 10);
	bool hotplug = setting("POR_STRESS_HOTPLUG", 0);

	nr_threads = setting("POR_STRESS_THREADS", nr_threads);
	nr_cpus = sysconf(_SC_NPROCESSORS_ONLN);
	say("TAP version 13");
	if (!(getauxval(AT_HWCAP2) & HWCAP2_POE)) {
		say("1..0 # SKIP the CPU or the kernel has no POE");
		return KSFT_SKIP;
	}
	if (!nr_threads || nr_threads >= MAX_THREADS) {
		say("Bail out! POR_STRESS_THREADS: want 1 to %d",
		    MAX_THREADS - 1);
		return 1;
	}
	if (hotplug && nr_cpus < 2) {
		say("Bail out! POR_STRESS_HOTPLUG: want two CPUs");
		return 1;
	}
	say("1..%d", hotplug ? NR_CHECKS : HOTPLUG);
	if (!make_pages()) {
		say("Bail out! protection keys: %s", strerror(errno));
		return 1;
	}
	say("# seconds=%u threads=%u keys=%u cpus=%ld hotplug=%d", seconds,
	    nr_threads, nr_keys, nr_cpus, hotplug);

	catch(SIGSEGV, on_segv);
	catch(SIGUSR1, on_usr1);
	for (i = 0; i <= nr_threads; i++) {
		struct thread *t = &threads[i];

		t->nr = i;
		t->rng = 0x9e3779b97f4a7c15UL * (i + 1);
		if (i == nr_threads && !hotplug)
			break;
		if (pthread_create(&t->id, NULL,
				   i < nr_threads ? run_thread : run_hotplug,
				   t)) {
			say("Bail out! cannot start thread %u", i);
			return 1;
		}
	}

	for (second = 1; second <= seconds; second++) {
		sleep(1);
		progress(second);
	}
	stop = true;
	for (i = 0; i < nr_threads + hotplug; i++)
		pthread_join(threads[i].id, NULL);

	return report(hotplug) ? 0 : 1;
}
