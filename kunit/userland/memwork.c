// SPDX-License-Identifier: GPL-2.0-only
/*
 * Work on memory for kunit/userland/traffic.sh.
 *
 *   memwork fill MEGABYTES ROUNDS	write and compare, page by page
 *   memwork migrate			move pages, small and huge, between nodes
 *   memwork fragment			free every other page, then wait for a signal
 *   memwork ksm			merge equal pages, write to them, unmerge
 *   memwork map SECONDS		map, protect, move and unmap, on all CPUs
 *   memwork file PATH			write to a shared mapping, and back again
 *   memwork processes NUMBER		fork, exec and exit, on all CPUs
 *   memwork kexec IMAGE COMMAND_LINE	have the kernel start another one
 *
 * Whatever is done, the content of memory must be what was written.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kexec.h>
#include <linux/reboot.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define __noreturn	__attribute__((noreturn))

#define MB		(1UL << 20)
#define HUGE_SIZE	(2 * MB)
#define MPOL_MF_MOVE	(1 << 1)

static size_t page;

static void __noreturn give_up(const char *what)
{
	printf("# %s: %s\n", what, strerror(errno));
	exit(1);
}

static void __noreturn wrong(const char *what)
{
	printf("# %s\n", what);
	exit(1);
}

static char *map(size_t size, int flags)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_ANONYMOUS | flags, -1, 0);

	if (p == MAP_FAILED)
		give_up("mmap");
	return p;
}

/* Anonymous memory at a multiple of a huge page's size; what is around stays. */
static char *map_huge(size_t size)
{
	char *p = map(size + HUGE_SIZE, MAP_PRIVATE);

	p = (char *)(((uintptr_t)p + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1));
	if (madvise(p, size, MADV_HUGEPAGE))
		give_up("MADV_HUGEPAGE");
	return p;
}

static uint64_t *word(char *p, size_t offset)
{
	return (uint64_t *)(p + offset);
}

static void fill(char *p, size_t size, uint64_t seed)
{
	size_t i;

	for (i = 0; i < size; i += page)
		*word(p, i) = seed + i;
}

static void check(char *p, size_t size, uint64_t seed, const char *when)
{
	size_t i;

	for (i = 0; i < size; i += page) {
		if (*word(p, i) == seed + i)
			continue;
		printf("# %s: offset %#zx has %#llx instead of %#llx\n", when, i,
		       (unsigned long long)*word(p, i),
		       (unsigned long long)(seed + i));
		exit(1);
	}
}

static void do_fill(size_t size, int rounds)
{
	char *p = map(size, MAP_PRIVATE);
	int i;

	for (i = 0; i < rounds; i++) {
		fill(p, size, i);
		check(p, size, i, "after it was filled");
	}
}

/* Every page of @p to @node; false if the kernel could not move one. */
static bool move_to(char *p, size_t size, int node)
{
	size_t i, nr = size / page;
	void **pages = calloc(nr, sizeof(*pages));
	int *nodes = calloc(nr, sizeof(*nodes));
	int *status = calloc(nr, sizeof(*status));
	bool moved = true;

	for (i = 0; i < nr; i++) {
		pages[i] = p + i * page;
		nodes[i] = node;
	}
	if (syscall(SYS_move_pages, 0, nr, pages, nodes, status,
		    MPOL_MF_MOVE) < 0)
		give_up("move_pages");
	/* of a huge page, all parts but the first are said to be busy moving */
	if (syscall(SYS_move_pages, 0, nr, pages, NULL, status, 0) < 0)
		give_up("move_pages, where the pages are");
	for (i = 0; i < nr; i++) {
		if (status[i] == node)
			continue;
		if (moved)
			printf("# page %zu of %zu is not on node %d: %d\n",
			       i, nr, node, status[i]);
		moved = false;
	}
	free(pages);
	free(nodes);
	free(status);
	return moved;
}

static void do_migrate(void)
{
	size_t size = 8 * MB;
	char *small = map(size, MAP_PRIVATE), *huge = map_huge(size);
	int i, failed = 0;

	madvise(small, size, MADV_NOHUGEPAGE);
	fill(small, size, 1);
	fill(huge, size, 2);
	for (i = 0; i < 10; i++) {
		failed += !move_to(small, size, i % 2);
		failed += !move_to(huge, size, i % 2);
		check(small, size, 1, "after a move");
		check(huge, size, 2, "after a move of huge pages");
	}
	printf("# %d of 20 moves incomplete\n", failed);
	/* somebody else may hold a page for a moment, but not all the time */
	if (failed > 10)
		wrong("pages do not move");
}

static void do_fragment(void)
{
	size_t i, size = 128 * MB;
	char *p = map(size, MAP_PRIVATE);
	int fd;

	madvise(p, size, MADV_NOHUGEPAGE);
	fill(p, size, 3);
	for (i = 0; i < size; i += 2 * page)
		if (madvise(p + i, page, MADV_DONTNEED))
			give_up("MADV_DONTNEED");
	fd = open("/tmp/fragmented", O_CREAT | O_WRONLY, 0600);
	if (fd < 0)
		give_up("/tmp/fragmented");
	close(fd);
	pause();
}

static long ksm(const char *name, const char *value)
{
	char path[64], text[32] = "";
	int fd, len;

	snprintf(path, sizeof(path), "/sys/kernel/mm/ksm/%s", name);
	fd = open(path, value ? O_WRONLY : O_RDONLY);
	if (fd < 0)
		give_up(path);
	if (value)
		len = write(fd, value, strlen(value));
	else
		len = read(fd, text, sizeof(text) - 1);
	if (len < 0)
		give_up(path);
	close(fd);
	return atol(text);
}

static void do_ksm(void)
{
	size_t i, size = 16 * MB;
	char *p = map(size, MAP_PRIVATE);
	int tries;

	madvise(p, size, MADV_NOHUGEPAGE);
	for (i = 0; i < size; i += page)
		memset(p + i, 0x5a, page);
	if (madvise(p, size, MADV_MERGEABLE))
		give_up("MADV_MERGEABLE");
	ksm("pages_to_scan", "5000");
	ksm("sleep_millisecs", "0");
	ksm("run", "1");
	for (tries = 0; ksm("pages_sharing", NULL) < (long)(size / page / 2);
	     tries++) {
		if (tries == 600)
			wrong("pages were not merged");
		usleep(100000);
	}
	printf("# %ld pages share %ld\n", ksm("pages_sharing", NULL),
	       ksm("pages_shared", NULL));
	/* half of them get copies of their own, the rest when KSM gives up */
	for (i = 0; i < size; i += 2 * page)
		*word(p, i) = i;
	ksm("run", "2");
	for (i = 0; i < size; i += page) {
		bool own = i % (2 * page) == 0;

		if (*word(p, i) != (own ? i : 0x5a5a5a5a5a5a5a5aUL) ||
		    *word(p, i + 8) != 0x5a5a5a5a5a5a5a5aUL)
			wrong("a merged page has another's content");
	}
	if (ksm("pages_shared", NULL))
		wrong("pages are still merged");
	ksm("run", "0");
}

/* One round of everything a process does to its address space. */
static void map_round(unsigned int round)
{
	size_t size = 8 * MB, i;
	char *small = map(size, round % 2 ? MAP_PRIVATE : MAP_SHARED);
	char *huge = map_huge(size), *moved;
	char *tlb = mmap(NULL, HUGE_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	fill(small, size, round);
	fill(huge, size, ~round);
	for (i = 0; i < size; i += 64 * page)
		if (mprotect(small + i, 32 * page, PROT_READ) ||
		    mprotect(huge + i, 32 * page, PROT_NONE))
			give_up("mprotect");
	check(small, size, round, "after mprotect");
	if (mprotect(small, size, PROT_READ | PROT_WRITE) ||
	    mprotect(huge, size, PROT_READ | PROT_WRITE))
		give_up("mprotect");
	check(huge, size, ~round, "after mprotect of huge pages");
	moved = mremap(huge, size, 2 * size, MREMAP_MAYMOVE);
	if (moved == MAP_FAILED)
		give_up("mremap");
	check(moved, size, ~round, "after mremap");
	madvise(moved, size, MADV_DONTNEED);
	check(small, size, round, "at the end");
	if (munmap(small, size) || munmap(moved, 2 * size))
		give_up("munmap");
	/* there may be none left */
	if (tlb != MAP_FAILED) {
		fill(tlb, HUGE_SIZE, round);
		mprotect(tlb, HUGE_SIZE, PROT_READ);
		check(tlb, HUGE_SIZE, round, "in a huge page of hugetlb");
		munmap(tlb, HUGE_SIZE);
	}
}

static time_t map_end;

static void *map_thread(void *arg)
{
	unsigned int round = (uintptr_t)arg;

	do
		map_round(round++);
	while (time(NULL) < map_end);
	return (void *)(uintptr_t)(round - (uintptr_t)arg);
}

/* Two threads a CPU share an address space, as many processes have their own. */
static void do_map(int seconds)
{
	long i, nr = 2 * sysconf(_SC_NPROCESSORS_CONF);
	unsigned long rounds = 0;
	pthread_t threads[64];
	int status, bad = 0;
	void *done;
	pid_t pid;

	if (nr > 64)
		nr = 64;
	map_end = time(NULL) + seconds;
	pid = fork();
	if (pid < 0)
		give_up("fork");
	for (i = 0; i < nr; i++)
		if (pthread_create(&threads[i], NULL, map_thread, (void *)i))
			give_up("pthread_create");
	for (i = 0; i < nr; i++) {
		pthread_join(threads[i], &done);
		rounds += (uintptr_t)done;
	}
	if (!pid)
		exit(0);
	if (waitpid(pid, &status, 0) != pid || status)
		bad = 1;
	printf("# %lu rounds\n", rounds);
	if (bad)
		wrong("the other process failed");
}

static void do_file(const char *path)
{
	int fd = open(path, O_RDWR), round;
	struct stat st;
	size_t i;
	char *p;

	if (fd < 0 || fstat(fd, &st))
		give_up(path);
	p = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		give_up("mmap");
	for (round = 0; round < 2; round++) {
		for (i = 0; i < (size_t)st.st_size; i++)
			p[i] = ~p[i];
		/* clean and write-protected, so that the next write faults */
		if (msync(p, st.st_size, MS_SYNC))
			give_up("msync");
	}
}

static void do_processes(int number)
{
	char *argv[] = { "/usr/bin/true", NULL };
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	int i, running = 0, status;
	size_t size = 4 * MB;
	char *p = map(size, MAP_PRIVATE);

	fill(p, size, 7);
	for (i = 0; i < number || running; i++) {
		pid_t pid;

		if (i >= number || running >= 4 * cpus) {
			if (wait(&status) < 0)
				give_up("wait");
			if (status)
				wrong("a process failed");
			running--;
		}
		if (i >= number)
			continue;
		pid = fork();
		if (pid < 0)
			give_up("fork");
		running++;
		if (pid)
			continue;
		if (i % 2) {
			execv(argv[0], argv);
			_exit(127);
		}
		fill(p, size, i);
		check(p, size, i, "in the child");
		_exit(0);
	}
	check(p, size, 7, "in the parent");
}

static void do_kexec(const char *path, const char *command_line)
{
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		give_up(path);
	if (syscall(SYS_kexec_file_load, fd, -1, strlen(command_line) + 1,
		    command_line, KEXEC_FILE_NO_INITRAMFS))
		give_up("kexec_file_load");
	printf("# kexec: leaving\n");
	fflush(stdout);
	/* let it reach the console */
	sleep(1);
	sync();
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		LINUX_REBOOT_CMD_KEXEC, NULL);
	give_up("reboot");
}

int main(int argc, char *argv[])
{
	const char *what = argc > 1 ? argv[1] : "";

	page = sysconf(_SC_PAGESIZE);
	setbuf(stdout, NULL);
	if (!strcmp(what, "fill") && argc == 4)
		do_fill(atol(argv[2]) * MB, atoi(argv[3]));
	else if (!strcmp(what, "migrate"))
		do_migrate();
	else if (!strcmp(what, "fragment"))
		do_fragment();
	else if (!strcmp(what, "ksm"))
		do_ksm();
	else if (!strcmp(what, "map") && argc == 3)
		do_map(atoi(argv[2]));
	else if (!strcmp(what, "file") && argc == 3)
		do_file(argv[2]);
	else if (!strcmp(what, "processes") && argc == 3)
		do_processes(atoi(argv[2]));
	else if (!strcmp(what, "kexec") && argc == 4)
		do_kexec(argv[2], argv[3]);
	else
		wrong("there is no such work");
	return 0;
}
