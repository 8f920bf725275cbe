// SPDX-License-Identifier: GPL-2.0-only
/*
 * What 'make bench' measures: operations that create, change and remove page
 * tables, and two that must not change at all
 *
 *   bench [size=MB] [rounds=N] [loops=N] [module=FILE] [programs=FILE]
 *
 * As PID 1 it mounts what it needs and powers off in the end. It prints, for
 * each operation,
 *
 *   bench op ID NAME TIMES NS
 *
 * after TIMES repetitions in a region that is marked for kunit/bench/count.c by
 * instructions that do nothing; NS is the time all of them took. Preparations
 * are outside of the region, and so is one repetition to begin with.
 *
 * With programs=, the lines "ID NAME COMMAND..." of that file are run instead,
 * each in a region of its own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE	4096ul
#define HUGE	(2ul << 20)
/* FEAT_MOPS, as the kernel tells of it */
#define MOPS	(1ul << 43)
/* Where mappings are moved to: not where whole tables could be moved instead */
#define OFF_TABLE (1ul << 20)
/* Round trips before those that count */
#define WARM_UP	64
/*
 * System calls, and round trips, that count: so many that an interrupt of the
 * clock more or less, some 10000 instructions, is no quarter of 0.1 %, which is
 * what they may differ by.
 */
#define SYSCALLS 400000ul
#define ROUND_TRIPS 10000ul
/* Microseconds, of which an idle guest skips most */
#define SETTLE	100000

enum {
	NULL_SYSCALL = 1, PING_PONG, EXEC, FAULT,
	FORK, EXIT = FORK + 2, MUNMAP = EXIT + 2, MPROTECT = MUNMAP + 2,
	MREMAP = MPROTECT + 2, DONTNEED = MREMAP + 2,
	/* Known to module.c */
	VMALLOC = 32, VM_MAP_RAM = VMALLOC + 5,
};

/*
 * The marks, as functions of two instructions each: "movz xzr, #ID" begins a
 * region and "movn xzr, #ID" ends it.
 */
asm(".text\n.balign 8\n.globl begin_marks, end_marks\n"
    "begin_marks:\n.set id, 0\n.rept 256\n\tmovz xzr, #id\n\tret\n.set id, id + 1\n.endr\n"
    "end_marks:\n.set id, 0\n.rept 256\n\tmovn xzr, #id\n\tret\n.set id, id + 1\n.endr\n");
extern const char begin_marks[], end_marks[];

static uint64_t started, spent;
static bool is_init;

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/*
 * What was put off until a grace period of RCU or a worker runs gets done now,
 * rather than as part of what comes next. Where times are taken, caches matter
 * more.
 */
static void settle(void)
{
	if (is_init)
		usleep(SETTLE);
}

static void begin(int id)
{
	started = now();
	((void (*)(void))(begin_marks + 8 * id))();
}

static void end(int id)
{
	((void (*)(void))(end_marks + 8 * id))();
	spent += now() - started;
}

static void result(int id, const char *name, unsigned long times)
{
	printf("bench op %d %s %lu %lu\n", id, name, times, (unsigned long)spent);
	spent = 0;
}

static void finish(int status)
{
	fflush(stdout);
	if (!is_init)
		exit(status);
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static void __attribute__((format(printf, 1, 2))) die(const char *format, ...)
{
	int error = errno;
	va_list args;

	printf("bench failed: ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf(error ? ": %s\n" : "\n", strerror(error));
	finish(1);
	_exit(1);
}

/* The sum of the lines "NAME: N kB" of /proc/self/smaps */
static unsigned long smaps(const char *name)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	unsigned long sum = 0;
	char line[256];

	if (!file)
		die("/proc/self/smaps");
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':')
			sum += strtoul(line + strlen(name) + 1, NULL, 10);
	fclose(file);
	return sum;
}

/* Pages of 4K, or folios of 2M whose pages are mapped one by one */
static char *map(unsigned long size, bool huge)
{
	char *area = mmap(NULL, size + 2 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *p = (char *)(((uintptr_t)area + HUGE) & ~(HUGE - 1));

	if (area == MAP_FAILED)
		die("mmap");
	if (munmap(area, p - area) || munmap(p + size, area + 2 * HUGE - p))
		die("munmap");
	if (mprotect(p, size, PROT_READ | PROT_WRITE) || madvise(p, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE))
		die("mprotect, madvise");
	return p;
}

static void populate(char *p, unsigned long size, bool huge)
{
	if (madvise(p, size, MADV_POPULATE_WRITE))
		die("MADV_POPULATE_WRITE");
	if (!huge)
		return;
	if (smaps("AnonHugePages") != size >> 10)
		die("got %lu kB of huge pages, not %lu", smaps("AnonHugePages"), size >> 10);
	/* A mapping that ends within a huge page has it mapped by pages; then it is one mapping again */
	for (unsigned long at = 0; at < size; at += HUGE)
		if (madvise(p + at + PAGE, PAGE, MADV_DONTFORK) || madvise(p + at + PAGE, PAGE, MADV_DOFORK))
			die("MADV_DONTFORK");
	if (smaps("AnonHugePages"))
		die("%lu kB are still mapped by huge pages", smaps("AnonHugePages"));
}

static char *map_populated(unsigned long size, bool huge)
{
	char *p = map(size, huge);

	populate(p, size, huge);
	return p;
}

static void wait_for(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status))
		die("a child did not exit as it should");
}

/* The call alone, and the end of the child with all it has mapped */
static void forks(unsigned long size, bool huge, int rounds)
{
	uint64_t exits = 0;
	int gate[2];
	char byte = 0;

	if (pipe(gate))
		die("pipe");
	for (int i = 0; i <= rounds; i++) {
		/* Anew, since fork() leaves it read-only: that is part of it */
		char *p = map_populated(size, huge);
		pid_t pid;

		settle();
		if (i)
			begin(FORK + huge);
		pid = fork();
		if (!pid)
			_exit(read(gate[0], &byte, 1) != 1);
		if (i)
			end(FORK + huge);
		if (pid < 0)
			die("fork");
		/* Up to where it waits */
		sched_yield();
		if (i) {
			uint64_t forked = spent;

			settle();
			begin(EXIT + huge);
			if (write(gate[1], &byte, 1) != 1)
				die("write");
			wait_for(pid);
			end(EXIT + huge);
			exits += spent - forked;
			spent = forked;
		} else {
			if (write(gate[1], &byte, 1) != 1)
				die("write");
			wait_for(pid);
		}
		munmap(p, size);
	}
	result(FORK + huge, huge ? "fork-huge" : "fork-small", rounds);
	spent = exits;
	result(EXIT + huge, huge ? "exit-huge" : "exit-small", rounds);
	close(gate[0]);
	close(gate[1]);
}

static void munmaps(unsigned long size, bool huge, int rounds)
{
	for (int i = 0; i <= rounds; i++) {
		char *p = map_populated(size, huge);
		int error;

		settle();
		if (i)
			begin(MUNMAP + huge);
		error = munmap(p, size);
		if (i)
			end(MUNMAP + huge);
		if (error)
			die("munmap");
	}
	result(MUNMAP + huge, huge ? "munmap-huge" : "munmap-small", rounds);
}

static void mprotects(unsigned long size, bool huge, int rounds)
{
	char *p = map_populated(size, huge);

	for (int i = 0; i <= rounds; i++) {
		int error;

		settle();
		if (i)
			begin(MPROTECT + huge);
		error = mprotect(p, size, PROT_READ) || mprotect(p, size, PROT_READ | PROT_WRITE);
		if (i)
			end(MPROTECT + huge);
		if (error)
			die("mprotect");
	}
	result(MPROTECT + huge, huge ? "mprotect-huge" : "mprotect-small", rounds);
	munmap(p, size);
}

static void mremaps(unsigned long size, bool huge, int rounds)
{
	char *p = map_populated(size, huge);
	char *there = map(size + HUGE, huge);

	if (munmap(there, size + HUGE))
		die("munmap");
	there += OFF_TABLE;
	for (int i = 0; i <= rounds; i++) {
		void *moved, *back;

		settle();
		if (i)
			begin(MREMAP + huge);
		moved = mremap(p, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, there);
		back = mremap(there, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, p);
		if (i)
			end(MREMAP + huge);
		if (moved != there || back != p)
			die("mremap");
	}
	result(MREMAP + huge, huge ? "mremap-huge" : "mremap-small", rounds);
	munmap(p, size);
}

static void dontneeds(unsigned long size, bool huge, int rounds)
{
	char *p = map(size, huge);

	for (int i = 0; i <= rounds; i++) {
		int error;

		populate(p, size, huge);
		settle();
		if (i)
			begin(DONTNEED + huge);
		error = madvise(p, size, MADV_DONTNEED);
		if (i)
			end(DONTNEED + huge);
		if (error)
			die("MADV_DONTNEED");
	}
	result(DONTNEED + huge, huge ? "dontneed-huge" : "dontneed-small", rounds);
	munmap(p, size);
}

static void faults(unsigned long pages, int rounds)
{
	for (int i = 0; i <= rounds; i++) {
		char *p = map(pages * PAGE, false);

		settle();
		if (i)
			begin(FAULT);
		for (unsigned long at = 0; at < pages; at++)
			((volatile char *)p)[at * PAGE] = 1;
		if (i)
			end(FAULT);
		munmap(p, pages * PAGE);
	}
	result(FAULT, "fault", pages * rounds);
}

static void null_syscalls(unsigned long loops)
{
	settle();
	begin(NULL_SYSCALL);
	for (unsigned long i = 0; i < loops; i++)
		syscall(SYS_getppid);
	end(NULL_SYSCALL);
	result(NULL_SYSCALL, "null-syscall", loops);
}

static void ping_pongs(unsigned long loops)
{
	int there[2], back[2];
	char byte = 0;
	pid_t pid;

	if (pipe(there) || pipe(back))
		die("pipe");
	pid = fork();
	if (!pid) {
		for (unsigned long i = 0; i < loops + WARM_UP; i++)
			if (read(there[0], &byte, 1) != 1 || write(back[1], &byte, 1) != 1)
				_exit(1);
		_exit(0);
	}
	/* What fork() has left read-only is written to before */
	started = spent = 0;
	settle();
	for (unsigned long i = 0; i < loops + WARM_UP; i++) {
		if (i == WARM_UP)
			begin(PING_PONG);
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			die("ping-pong");
	}
	end(PING_PONG);
	wait_for(pid);
	for (int i = 0; i < 2; i++) {
		close(there[i]);
		close(back[i]);
	}
	result(PING_PONG, "ping-pong", loops);
}

static void run(char *const argv[])
{
	pid_t pid = vfork();

	if (!pid) {
		execv(argv[0], argv);
		_exit(127);
	}
	if (pid < 0)
		die("vfork");
	wait_for(pid);
}

static void execs(unsigned long loops)
{
	char *const argv[] = { "/proc/self/exe", "nothing", NULL };

	run(argv);
	settle();
	begin(EXEC);
	for (unsigned long i = 0; i < loops; i++)
		run(argv);
	end(EXEC);
	result(EXEC, "exec", loops);
}

/* One operation of the module, which refuses to stay */
static void in_module(const char *path, int id, const char *name, unsigned int pages, unsigned long loops)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char options[64];

	if (fd < 0)
		die("%s", path);
	snprintf(options, sizeof(options), "id=%d pages=%u loops=%lu", id, pages, loops);
	settle();
	spent = now();
	if (!syscall(SYS_finit_module, fd, options, 0) || errno != ECANCELED)
		die("%s %s", path, options);
	spent = now() - spent;
	close(fd);
	result(id, name, loops);
}

static void module(const char *path, unsigned long loops)
{
	static const struct {
		const char *name;
		unsigned int pages, share;
	} sizes[] = {
		{ "vmalloc-1", 1, 1 }, { "vmalloc-4", 4, 2 }, { "vmalloc-16", 16, 5 }, { "vmalloc-64", 64, 20 },
		{ "vmalloc-256", 256, 50 },
	};

	for (int i = 0; i < 5; i++)
		in_module(path, VMALLOC + i, sizes[i].name, sizes[i].pages, loops / sizes[i].share);
	in_module(path, VM_MAP_RAM, "vm_map_ram-1", 1, loops);
}

static void programs(const char *path)
{
	FILE *file = fopen(path, "re");
	char line[1024];

	if (!file)
		die("%s", path);
	while (fgets(line, sizeof(line), file)) {
		char *words[64] = { NULL };
		int count = 0, id;

		if (*line == '#' || *line == '\n')
			continue;
		for (char *word = strtok(line, " \t\n"); word && count < 63; word = strtok(NULL, " \t\n"))
			words[count++] = word;
		id = count > 2 ? atoi(words[0]) : 0;
		if (id < 1 || id > 255 || words[2][0] != '/')
			die("%s: not ID NAME /COMMAND...", path);
		run(words + 2);
		sync();
		settle();
		begin(id);
		run(words + 2);
		end(id);
		result(id, words[1], 1);
	}
	fclose(file);
}

static void prepare_guest(void)
{
	is_init = true;
	if (mount("proc", "/proc", "proc", 0, NULL) || mount("sysfs", "/sys", "sysfs", 0, NULL) ||
	    mount("tmpfs", "/tmp", "tmpfs", 0, NULL))
		die("mount");
	if (mount("devtmpfs", "/dev", "devtmpfs", 0, NULL) && errno != EBUSY)
		die("mount /dev");
	setenv("PATH", "/usr/bin:/usr/sbin:/bin", 1);
	if (!freopen("/dev/console", "w", stdout))
		_exit(1);
	errno = 0;
	if (getauxval(AT_HWCAP2) & MOPS)
		die("arm64.nomops was not heeded");
}

static unsigned long number(const char *word, const char *name)
{
	char *stop;
	unsigned long value = strtoul(word, &stop, 10);

	if (*stop || !value)
		die("%s=%s is not a number above 0", name, word);
	return value;
}

int main(int argc, char **argv)
{
	unsigned long size = 64, rounds = 2, loops = 10000;
	const char *file = NULL, *list = NULL;
	cpu_set_t first;

	if (argc == 2 && !strcmp(argv[1], "nothing"))
		return 0;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (getpid() == 1)
		prepare_guest();
	for (int i = 1; i < argc; i++) {
		char *value = strchr(argv[i], '=');

		errno = EINVAL;
		if (!value)
			die("option %s", argv[i]);
		*value++ = '\0';
		if (!strcmp(argv[i], "size"))
			size = number(value, "size");
		else if (!strcmp(argv[i], "rounds"))
			rounds = number(value, "rounds");
		else if (!strcmp(argv[i], "loops"))
			loops = number(value, "loops");
		else if (!strcmp(argv[i], "module"))
			file = value;
		else if (!strcmp(argv[i], "programs"))
			list = value;
		else
			die("option %s", argv[i]);
	}
	/* One CPU, as in the guest: what another one does is not part of it */
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	if (sched_setaffinity(0, sizeof(first), &first))
		die("sched_setaffinity");
	size <<= 20;

	if (list) {
		programs(list);
	} else {
		null_syscalls(SYSCALLS);
		ping_pongs(ROUND_TRIPS);
		execs(loops / 50);
		faults(size / PAGE / 4, rounds);
		for (int huge = 0; huge < 2; huge++) {
			forks(size, huge, rounds);
			munmaps(size, huge, rounds);
			mprotects(size, huge, rounds);
			mremaps(size, huge, rounds);
			dontneeds(size, huge, rounds);
		}
		if (file)
			module(file, loops);
	}
	printf("bench end\n");
	finish(0);
	return 0;
}
