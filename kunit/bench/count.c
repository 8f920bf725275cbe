// SPDX-License-Identifier: GPL-2.0-only
/*
 * QEMU plugin: what a guest executes, function by function, in marked regions
 *
 *   -plugin count.so,out=FILE,map=FILE[,por=HEX]
 *
 * map:	lines "ADDRESS NAME", sorted, of the kernel's functions
 * por:	encoding of "msr <the pkey register>, x0" (POR_EL1)
 *
 * The guest marks a region with two instructions that do nothing and that no
 * compiler emits: "movz xzr, #ID" begins the region ID, "movn xzr, #ID" ends
 * it, and neither is counted. Regions may be entered again, which adds up, but
 * not nested.
 *
 * An instruction counts as EL1's if it is at a kernel address (bit 55). That is
 * exact for a kernel that runs at EL1: EL0 cannot execute there, and the kernel
 * executes nothing else but its identity map, while it boots or suspends.
 *
 * One vCPU. Counters are added to inline, by the translated code, so they are
 * exact at each instruction.
 */
#include <glib.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <qemu-plugin.h>

#include "kinds.h"

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

/* Before the functions of the map: user space, and kernel addresses outside of it */
enum { USER, OTHER, FIRST };

#define REGIONS 256

struct row {
	uint64_t count[KINDS];
};

struct region {
	uint64_t entered;
	struct row *rows;
};

static struct qemu_plugin_scoreboard *board;
static uint64_t *addresses;
static char **names;
static size_t nr_rows;
static struct region regions[REGIONS];
static struct row *before;
static int open_region = -1;
static char *out_path;

static void die(const char *what)
{
	fprintf(stderr, "count: %s\n", what);
	exit(1);
}

static void add(struct qemu_plugin_insn *insn, size_t row, int kind)
{
	qemu_plugin_u64 counter = {
		.score = board,
		.offset = row * sizeof(struct row) + kind * sizeof(uint64_t),
	};

	qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, QEMU_PLUGIN_INLINE_ADD_U64,
							    counter, 1);
}

static struct row *rows_now(unsigned int vcpu)
{
	return qemu_plugin_scoreboard_find(board, vcpu);
}

static void region_begins(unsigned int vcpu, void *data)
{
	int id = GPOINTER_TO_INT(data);

	if (open_region >= 0)
		die("a region begins within another");
	open_region = id;
	memcpy(before, rows_now(vcpu), nr_rows * sizeof(struct row));
}

static void region_ends(unsigned int vcpu, void *data)
{
	struct region *region = &regions[GPOINTER_TO_INT(data)];
	struct row *now = rows_now(vcpu);

	if (open_region != GPOINTER_TO_INT(data))
		die("a region ends that has not begun");
	open_region = -1;
	if (!region->rows)
		region->rows = g_new0(struct row, nr_rows);
	region->entered++;
	for (size_t i = 0; i < nr_rows; i++)
		for (int kind = 0; kind < KINDS; kind++)
			region->rows[i].count[kind] += now[i].count[kind] - before[i].count[kind];
}

/* The row of the function that @address is in */
static size_t row_of(uint64_t address)
{
	size_t low = FIRST, high = nr_rows;

	if (!(address >> 55 & 1))
		return USER;
	if (low == high || address < addresses[low])
		return OTHER;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (addresses[middle] <= address)
			low = middle;
		else
			high = middle;
	}
	/* Modules, and what is behind the end of the text */
	return low == nr_rows - 1 ? OTHER : low;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t count = qemu_plugin_tb_n_insns(tb);

	for (size_t i = 0; i < count; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t address = qemu_plugin_insn_vaddr(insn);
		size_t row = row_of(address);
		uint32_t code = 0;
		int kind;

		if (qemu_plugin_insn_data(insn, &code, sizeof(code)) != sizeof(code))
			die("an instruction is shorter than 32 bits");
		if (begins_region(code) || ends_region(code)) {
			unsigned int mark = code >> 5 & 0xffff;

			if (mark >= REGIONS)
				die("the mark of a region is out of range");
			qemu_plugin_register_vcpu_insn_exec_cb(insn,
				begins_region(code) ? region_begins : region_ends,
				QEMU_PLUGIN_CB_NO_REGS, GINT_TO_POINTER(mark));
			continue;
		}
		add(insn, row, INSN);
		if (row == USER)
			continue;
		if (row >= FIRST && address == addresses[row])
			add(insn, row, CALL);
		kind = kind_of(code);
		if (kind >= 0)
			add(insn, row, kind);
	}
}

static void print_row(FILE *out, const char *what, const char *name, const struct row *row)
{
	fprintf(out, "%s %s", what, name);
	for (int kind = 0; kind < KINDS; kind++)
		fprintf(out, " %" PRIu64, row->count[kind]);
	fputc('\n', out);
}

static void finished(qemu_plugin_id_t id, void *data)
{
	FILE *out = fopen(out_path, "w");

	if (!out)
		die("the output file cannot be written");
	fputs("columns", out);
	for (int kind = 0; kind < KINDS; kind++)
		fprintf(out, " %s", kinds[kind]);
	fputc('\n', out);
	for (int r = 0; r < REGIONS; r++) {
		struct region *region = &regions[r];

		if (!region->entered)
			continue;
		fprintf(out, "region %d %" PRIu64 "\n", r, region->entered);
		print_row(out, "user", "-", &region->rows[USER]);
		print_row(out, "other", "-", &region->rows[OTHER]);
		for (size_t i = FIRST; i < nr_rows; i++)
			if (region->rows[i].count[INSN])
				print_row(out, "function", names[i], &region->rows[i]);
	}
	if (open_region >= 0)
		fprintf(out, "open %d\n", open_region);
	fputs("end\n", out);
	fclose(out);
}

static void read_map(const char *path)
{
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;
	size_t count;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		die("the map cannot be read");
	lines = g_strsplit(text, "\n", -1);
	count = g_strv_length(lines);
	addresses = g_new0(uint64_t, count + FIRST);
	names = g_new0(char *, count + FIRST);
	nr_rows = FIRST;
	for (size_t i = 0; i < count; i++) {
		char *end;
		uint64_t address = g_ascii_strtoull(lines[i], &end, 16);

		if (!*lines[i])
			continue;
		if (end == lines[i] || *end != ' ' || (nr_rows > FIRST && address <= addresses[nr_rows - 1]))
			die("the map is not one of 'ADDRESS NAME' lines in order");
		addresses[nr_rows] = address;
		names[nr_rows++] = g_strdup(end + 1);
	}
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	const char *map = NULL;

	for (int i = 0; i < argc; i++) {
		if (g_str_has_prefix(argv[i], "out="))
			out_path = g_strdup(argv[i] + 4);
		else if (g_str_has_prefix(argv[i], "map="))
			map = argv[i] + 4;
		else if (g_str_has_prefix(argv[i], "por="))
			por_msr = strtoul(argv[i] + 4, NULL, 16);
		else
			die("options: out=FILE,map=FILE[,por=HEX]");
	}
	if (!out_path || !map)
		die("options: out=FILE,map=FILE[,por=HEX]");
	if (!info->system_emulation || info->system.max_vcpus != 1)
		die("needs a machine with one CPU");
	read_map(map);
	board = qemu_plugin_scoreboard_new(nr_rows * sizeof(struct row));
	before = g_new0(struct row, nr_rows);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, finished, NULL);
	return 0;
}
