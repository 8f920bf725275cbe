// SPDX-License-Identifier: GPL-2.0-only
/*
 * PID 1 of the guest that runs the kernel's selftests.
 *
 * Runs the programs listed in /tests.list one after the other, reports in
 * KTAP, then powers the machine off.  Three properties matter:
 *
 *  - Everything goes out through /dev/kmsg, one record per line, so that a
 *    kernel message cannot land in the middle of a result.
 *
 *  - A test has ended when it has no descendants left, not when the process
 *    that was started exits: protection_keys carries on in a child and lets its
 *    parent exit, several times over.  Orphans end up here, and the exit status
 *    of each counts.
 *
 *  - The last line is an end marker.  Its absence tells the host that the run
 *    was cut short, whatever the results so far.
 *
 * /tests.list holds one test per line:
 *   NAME CLASS TIMEOUT [VARIABLE=VALUE]... PROGRAM [ARGUMENT]...
 * Those of class "default" run, unless names are given as arguments (on the
 * kernel's command line, after "--"): then just these, of any class.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define __noreturn	__attribute__((noreturn))
#define __printf(a, b)	__attribute__((format(printf, a, b)))
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

#define TESTS_LIST	"/tests.list"
#define MAX_TESTS	128
#define MAX_ARGS	16
/* a /dev/kmsg record holds a little less than 1024 bytes */
#define MAX_TEXT	900
/* a test that prints without end must not fill the host's disk */
#define MAX_LINES	20000

/* exit statuses of the kernel's selftests */
#define KSFT_PASS	0
#define KSFT_SKIP	4

#ifndef HWCAP2_POE
#define HWCAP2_POE	(1UL << 63)
#endif

struct test {
	char *name;
	char *class;
	unsigned int timeout;
	char *words[MAX_ARGS + 1];
	char **argv;		/* the words after those that set a variable */
};

struct result {
	bool timed_out;
	int status;		/* of the program itself, as from waitpid() */
	int orphan_status;	/* the first bad one */
	unsigned int orphans;
	double seconds;
};

/* output of the running test, collected up to the end of a line */
struct line {
	char text[MAX_TEXT];
	size_t len;
	unsigned int count;
};

static struct test tests[MAX_TESTS];
static int nr_tests;
static int kmsg = -1;

static void __printf(1, 2) say(const char *fmt, ...)
{
	char record[MAX_TEXT + 64];
	va_list args;
	int len;

	len = snprintf(record, sizeof(record), "<5>selftests: ");
	va_start(args, fmt);
	len += vsnprintf(record + len, sizeof(record) - len, fmt, args);
	va_end(args);
	if (len >= (int)sizeof(record))
		len = sizeof(record) - 1;

	/* one write() is one record */
	if (kmsg < 0 || write(kmsg, record, len) != len)
		dprintf(STDERR_FILENO, "%s\n", record + 3);
}

static void __noreturn power_off(void)
{
	say("# end");
	sync();
	reboot(RB_POWER_OFF);
	/* without PSCI the machine stays on; exiting makes the kernel panic */
	_exit(1);
}

static void __noreturn __printf(1, 2) bail_out(const char *fmt, ...)
{
	char why[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, sizeof(why), fmt, args);
	va_end(args);
	say("Bail out! %s", why);
	power_off();
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void mount_all(void)
{
	static const struct {
		const char *fs, *dir;
	} mounts[] = {
		{ "devtmpfs", "/dev" },
		{ "proc", "/proc" },
		{ "sysfs", "/sys" },
		{ "tmpfs", "/tmp" },
		/* shm_open() */
		{ "tmpfs", "/dev/shm" },
		/* not in every kernel */
		{ "debugfs", "/sys/kernel/debug" },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(mounts); i++) {
		mkdir(mounts[i].dir, 0755);
		if (mount(mounts[i].fs, mounts[i].dir, mounts[i].fs, 0, NULL) &&
		    errno != EBUSY && errno != ENODEV)
			dprintf(STDERR_FILENO, "mount %s: %s\n", mounts[i].dir,
				strerror(errno));
	}
}

static void parse_test(char *line)
{
	struct test *test = &tests[nr_tests];
	char *timeout, *word, *save;
	int nr_args = 0;

	test->name = strtok_r(line, " \t", &save);
	if (!test->name || test->name[0] == '#')
		return;
	if (nr_tests == MAX_TESTS)
		bail_out("%s: more than %d tests", TESTS_LIST, MAX_TESTS);

	test->class = strtok_r(NULL, " \t", &save);
	timeout = strtok_r(NULL, " \t", &save);
	while ((word = strtok_r(NULL, " \t", &save)) && nr_args < MAX_ARGS)
		test->words[nr_args++] = word;
	test->argv = test->words;
	while (*test->argv && strchr(*test->argv, '='))
		test->argv++;
	if (!*test->argv || word)
		bail_out("%s: %s: want NAME CLASS TIMEOUT PROGRAM [ARGUMENT]...",
			 TESTS_LIST, test->name);
	test->timeout = strtoul(timeout, NULL, 10);
	if (!test->timeout)
		bail_out("%s: %s: bad time-out '%s'", TESTS_LIST, test->name,
			 timeout);
	nr_tests++;
}

static void read_list(void)
{
	char *line = NULL;
	size_t size = 0;
	FILE *list;

	list = fopen(TESTS_LIST, "r");
	if (!list)
		bail_out("%s: %s", TESTS_LIST, strerror(errno));
	while (getline(&line, &size, list) >= 0) {
		line[strcspn(line, "\n")] = '\0';
		parse_test(line);
		/* the test keeps pointers into the line */
		line = NULL;
		size = 0;
	}
	fclose(list);
}

static struct test *find_test(const char *name)
{
	int i;

	for (i = 0; i < nr_tests; i++)
		if (!strcmp(tests[i].name, name))
			return &tests[i];
	return NULL;
}

static int select_tests(struct test *selected[], int nr_names, char *names[])
{
	int i, nr = 0;

	for (i = 0; i < nr_names; i++) {
		selected[nr] = find_test(names[i]);
		if (!selected[nr])
			bail_out("%s: no test named '%s'", TESTS_LIST,
				 names[i]);
		if (++nr == MAX_TESTS)
			break;
	}
	if (nr_names)
		return nr;

	for (i = 0; i < nr_tests; i++)
		if (!strcmp(tests[i].class, "default"))
			selected[nr++] = &tests[i];
	return nr;
}

static void flush_line(struct line *line)
{
	if (line->count < MAX_LINES)
		say("  %.*s", (int)line->len, line->text);
	else if (line->count == MAX_LINES)
		say("  # more than %d lines, the rest is dropped", MAX_LINES);
	line->count++;
	line->len = 0;
}

static void add_output(struct line *line, const char *buf, ssize_t len)
{
	ssize_t i;

	for (i = 0; i < len; i++) {
		char c = buf[i];

		if (c == '\n') {
			flush_line(line);
			continue;
		}
		if (line->len == sizeof(line->text))
			flush_line(line);
		line->text[line->len++] = c == '\t' || isprint(c) ? c : '?';
	}
}

/* Pass on what the test has written; false at the end of the file. */
static bool read_output(int fd, struct line *line)
{
	char buf[4096];
	ssize_t len;

	while ((len = read(fd, buf, sizeof(buf))) > 0)
		add_output(line, buf, len);
	return len < 0 && errno == EAGAIN;
}

/* Collect the dead; false when no descendant is left. */
static bool reap(pid_t pid, struct result *result)
{
	int status;
	pid_t dead;

	while ((dead = waitpid(-1, &status, WNOHANG)) > 0) {
		if (dead == pid) {
			result->status = status;
			continue;
		}
		result->orphans++;
		if (status && !result->orphan_status)
			result->orphan_status = status;
	}
	return !(dead < 0 && errno == ECHILD);
}

static void kill_all(void)
{
	/* from PID 1 this means every process but PID 1 */
	kill(-1, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0)
		;
}

static void enter_directory_of(const char *program)
{
	char *path = strdup(program);

	*strrchr(path, '/') = '\0';
	if (chdir(path))
		dprintf(STDERR_FILENO, "# chdir %s: %s\n", path,
			strerror(errno));
	free(path);
}

static void __noreturn exec_test(struct test *test, int out)
{
	int null = open("/dev/null", O_RDONLY);
	sigset_t none;
	char **word;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	dup2(null, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	/* some run themselves once more, as ./NAME */
	enter_directory_of(test->argv[0]);
	for (word = test->words; word < test->argv; word++)
		putenv(*word);
	execv(test->argv[0], test->argv);
	dprintf(STDERR_FILENO, "# %s: %s\n", test->argv[0], strerror(errno));
	_exit(127);
}

static struct result run_test(struct test *test)
{
	double start = now(), end = start + test->timeout;
	struct result result = { .status = -1 };
	struct line line = { .len = 0 };
	bool open_end = true;
	int pipefd[2];
	pid_t pid;

	if (pipe2(pipefd, O_CLOEXEC))
		bail_out("pipe: %s", strerror(errno));
	fcntl(pipefd[0], F_SETFL, O_NONBLOCK);

	pid = fork();
	if (pid < 0)
		bail_out("fork: %s", strerror(errno));
	if (!pid)
		exec_test(test, pipefd[1]);
	close(pipefd[1]);

	while (reap(pid, &result)) {
		struct pollfd pfd = { .fd = pipefd[0], .events = POLLIN };

		if (now() > end) {
			result.timed_out = true;
			kill_all();
			break;
		}
		if (!open_end) {
			/* closed its output, but still lives */
			poll(NULL, 0, 20);
			continue;
		}
		if (poll(&pfd, 1, 20) > 0)
			open_end = read_output(pipefd[0], &line);
	}
	read_output(pipefd[0], &line);
	if (line.len)
		flush_line(&line);
	close(pipefd[0]);

	result.seconds = now() - start;
	return result;
}

/* The test's verdict as a KTAP result line; true unless it failed. */
static bool report(int nr, struct test *test, struct result *result)
{
	int status = result->status;
	char took[64];

	snprintf(took, sizeof(took), "time=%.1f orphans=%u", result->seconds,
		 result->orphans);

	if (result->timed_out) {
		say("not ok %d %s # TIMEOUT limit=%u %s", nr, test->name,
		    test->timeout, took);
		return false;
	}
	if (WIFSIGNALED(status)) {
		say("not ok %d %s # SIGNAL %d %s", nr, test->name,
		    WTERMSIG(status), took);
		return false;
	}
	if (WEXITSTATUS(status) == KSFT_SKIP && !result->orphan_status) {
		say("ok %d %s # SKIP exit=%d %s", nr, test->name, KSFT_SKIP,
		    took);
		return true;
	}
	if (WEXITSTATUS(status) != KSFT_PASS) {
		say("not ok %d %s # EXIT %d %s", nr, test->name,
		    WEXITSTATUS(status), took);
		return false;
	}
	if (result->orphan_status) {
		say("not ok %d %s # ORPHAN status=0x%x %s", nr, test->name,
		    result->orphan_status, took);
		return false;
	}
	say("ok %d %s # exit=0 %s", nr, test->name, took);
	return true;
}

static bool run_one(int nr, struct test *test)
{
	struct result result;

	if (access(test->argv[0], X_OK)) {
		say("not ok %d %s # MISSING %s: %s", nr, test->name,
		    test->argv[0], strerror(errno));
		return false;
	}
	say("  # Subtest: %s", test->name);
	result = run_test(test);
	return report(nr, test, &result);
}

static void describe_guest(void)
{
	bool poe = getauxval(AT_HWCAP2) & HWCAP2_POE;
	struct utsname uts;

	uname(&uts);
	say("# guest release=%s cpus=%ld poe=%d", uts.release,
	    sysconf(_SC_NPROCESSORS_ONLN), poe);
}

int main(int argc, char *argv[])
{
	struct test *selected[MAX_TESTS];
	int i, nr, failed = 0;

	mount_all();
	kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	setenv("PATH", "/tests:/bin", 1);

	say("KTAP version 1");
	read_list();
	nr = select_tests(selected, argc - 1, argv + 1);
	say("1..%d", nr);
	describe_guest();
	for (i = 0; i < nr; i++)
		failed += !run_one(i + 1, selected[i]);
	say("# Totals: run=%d failed=%d", nr, failed);
	power_off();
}
