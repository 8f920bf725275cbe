// SPDX-License-Identifier: GPL-2.0-only
/*
 * Run a built-in KUnit suite once more and print its results.
 *
 *   kunit_again SUITE
 *
 * For states that the kernel's boot does not come by: after a resume, with CPUs
 * that have been down.  Needs CONFIG_KUNIT_DEBUGFS.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#define KSFT_FAIL	1
#define KSFT_SKIP	4
#define DEBUGFS		"/sys/kernel/debug"
#define INDENT		"    "

static bool run_suite(const char *suite)
{
	char path[256];
	bool done;
	int fd;

	snprintf(path, sizeof(path), DEBUGFS "/kunit/%s/run", suite);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return false;
	done = write(fd, "1", 1) == 1;
	close(fd);
	return done;
}

/*
 * The cases are one level down in what KUnit prints, below a heading and above
 * the suite's own result.  Print just them, and return the exit status.
 */
static int print_results(FILE *results)
{
	int failed = 0, passed = 0;
	char line[1024];

	while (fgets(line, sizeof(line), results)) {
		const char *text = line + strlen(INDENT);

		if (strncmp(line, INDENT, strlen(INDENT)))
			continue;
		/* parameters of a case are another level down */
		if (*text == ' ' || !strncmp(text, "# Subtest", 9))
			printf("# ");
		fputs(text, stdout);
		failed += !strncmp(text, "not ok", 6);
		passed += !strncmp(text, "ok", 2) && !strstr(text, "# SKIP");
	}
	if (failed)
		return KSFT_FAIL;
	return passed ? 0 : KSFT_SKIP;
}

int main(int argc, char *argv[])
{
	char path[256];
	FILE *results;
	int status;

	if (argc != 2) {
		puts("Bail out! usage: kunit_again SUITE");
		return KSFT_FAIL;
	}
	if (mount("debugfs", DEBUGFS, "debugfs", 0, NULL) && errno != EBUSY) {
		puts("1..0 # SKIP the kernel has no debugfs");
		return KSFT_SKIP;
	}
	if (!run_suite(argv[1])) {
		printf("Bail out! cannot run suite %s: %s\n", argv[1],
		       strerror(errno));
		return KSFT_FAIL;
	}

	snprintf(path, sizeof(path), DEBUGFS "/kunit/%s/results", argv[1]);
	results = fopen(path, "r");
	if (!results) {
		printf("Bail out! %s: %s\n", path, strerror(errno));
		return KSFT_FAIL;
	}
	status = print_results(results);
	fclose(results);
	return status;
}
