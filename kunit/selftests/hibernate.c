// SPDX-License-Identifier: GPL-2.0-only
/*
 * Suspend to disk and come back while por_stress is at work.
 *
 *   hibernate DEVICE MODE TIMES
 *
 * DEVICE becomes swap space; MODE is a word of /sys/power/disk.  "test_resume"
 * writes the image and resumes from it at once.  With "shutdown" the machine
 * goes off; the host starts it again with resume=DEVICE on the kernel's command
 * line, and the run goes on where it was.  Either way the kernel comes back
 * through cpu_resume(), and CPUs other than the first through a cold start.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define __noreturn	__attribute__((noreturn))

#define KSFT_FAIL	1
#define KSFT_SKIP	4
#define STRESS		"/tests/por_stress"
#define STRESS_LOG	"/tmp/por_stress.log"

/* the part of union swap_header (linux/swap.h) that the kernel reads */
struct swap_header {
	char bootbits[1024];
	uint32_t version;
	uint32_t last_page;
	uint32_t nr_badpages;
};

static void __noreturn give_up(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(KSFT_FAIL);
}

static bool put(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);
	bool done;

	if (fd < 0)
		return false;
	done = write(fd, value, strlen(value)) == (ssize_t)strlen(value);
	close(fd);
	return done;
}

/* Make @device swap space and tell the kernel to keep its image there. */
static void use_device(const char *device)
{
	long page = sysconf(_SC_PAGESIZE);
	struct swap_header *header;
	char number[32];
	struct stat st;
	char *first;
	off_t size;
	int fd;

	fd = open(device, O_RDWR);
	if (fd < 0 || fstat(fd, &st))
		give_up(device);
	size = lseek(fd, 0, SEEK_END);

	first = calloc(1, page);
	header = (struct swap_header *)first;
	header->version = 1;
	header->last_page = size / page - 1;
	memcpy(first + page - 10, "SWAPSPACE2", 10);
	if (pwrite(fd, first, page, 0) != page || fsync(fd))
		give_up("writing the swap header");
	close(fd);
	free(first);

	if (swapon(device, 0))
		give_up("swapon");
	snprintf(number, sizeof(number), "%u:%u", major(st.st_rdev),
		 minor(st.st_rdev));
	if (!put("/sys/power/resume", number))
		give_up("/sys/power/resume");
}

static pid_t start_stress(void)
{
	pid_t pid = fork();
	int log;

	if (pid)
		return pid;
	log = open(STRESS_LOG, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	dup2(log, STDOUT_FILENO);
	execl(STRESS, STRESS, NULL);
	_exit(127);
}

/* The output of por_stress as comments: its results are not ours. */
static void show_stress(void)
{
	FILE *log = fopen(STRESS_LOG, "r");
	char line[256];

	while (log && fgets(line, sizeof(line), log))
		printf("# por_stress: %s", line);
	if (log)
		fclose(log);
}

int main(int argc, char *argv[])
{
	int i, status, times, failed = 0;
	pid_t stress;

	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("TAP version 13");
	if (argc != 4) {
		puts("Bail out! usage: hibernate DEVICE MODE TIMES");
		return KSFT_FAIL;
	}
	if (access("/sys/power/disk", W_OK)) {
		puts("1..0 # SKIP the kernel has no hibernation");
		return KSFT_SKIP;
	}
	times = atoi(argv[3]);
	printf("1..%d\n", times + 1);
	use_device(argv[1]);
	if (!put("/sys/power/disk", argv[2]))
		give_up(argv[2]);

	stress = start_stress();
	for (i = 1; i <= times; i++) {
		bool done;

		sleep(2);
		printf("# hibernate %d: %s\n", i, argv[2]);
		done = put("/sys/power/state", "disk");
		failed += !done;
		printf("%sok %d suspend_to_disk_and_resume_%d%s%s\n",
		       done ? "" : "not ", i, i, done ? "" : " ",
		       done ? "" : strerror(errno));
	}

	if (waitpid(stress, &status, 0) != stress)
		give_up("waitpid");
	show_stress();
	if (WIFEXITED(status) && WEXITSTATUS(status) == KSFT_SKIP) {
		printf("ok %d # SKIP por_stress_goes_on\n", times + 1);
	} else {
		failed += !!status;
		printf("%sok %d por_stress_goes_on\n", status ? "not " : "",
		       times + 1);
	}
	return failed ? KSFT_FAIL : 0;
}
