// SPDX-License-Identifier: GPL-2.0-only
/*
 * The part of 'make bench' that has no system call: vmalloc() and vm_map_ram()
 *
 * Does its work when it is loaded, in a region marked for kunit/bench/count.c,
 * and then refuses to stay. The loops are those of lib/test_vmalloc.c.
 */
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/vmalloc.h>

static int id;
module_param(id, int, 0);
MODULE_PARM_DESC(id, "operation: 32 to 36 vmalloc(), 37 vm_map_ram()");

static uint pages = 1;
module_param(pages, uint, 0);
MODULE_PARM_DESC(pages, "size of each allocation");

static ulong loops = 1;
module_param(loops, ulong, 0);
MODULE_PARM_DESC(loops, "number of allocations");

/* Instructions that do nothing; see kunit/bench/count.c */
#define MARKED(mark, work) do {					\
	asm volatile("movz xzr, %0" : : "i"(mark) : "memory");	\
	work;							\
	asm volatile("movn xzr, %0" : : "i"(mark) : "memory");	\
} while (0)

static bool __init allocate(ulong count)
{
	while (count--) {
		u8 *p = vmalloc(pages * PAGE_SIZE);

		if (!p)
			return false;
		*(volatile u8 *)p = 0;
		vfree(p);
	}

	return true;
}

static bool __init map(struct page **list, ulong count)
{
	while (count--) {
		u8 *p = vm_map_ram(list, pages, NUMA_NO_NODE);

		if (!p)
			return false;
		*(volatile u8 *)p = 0;
		vm_unmap_ram(p, pages);
	}

	return true;
}

static int __init kpkeys_bench_init(void)
{
	struct page *page = alloc_page(GFP_KERNEL);
	bool done = page && pages;

	/* Page tables are made before */
	if (done)
		done = id == 37 ? pages == 1 && map(&page, 16) : allocate(16);

	if (done) {
		switch (id) {
		case 32: MARKED(32, done = allocate(loops)); break;
		case 33: MARKED(33, done = allocate(loops)); break;
		case 34: MARKED(34, done = allocate(loops)); break;
		case 35: MARKED(35, done = allocate(loops)); break;
		case 36: MARKED(36, done = allocate(loops)); break;
		case 37: MARKED(37, done = map(&page, loops)); break;
		default: done = false;
		}
	}
	if (page)
		__free_page(page);

	return done ? -ECANCELED : -ENOMEM;
}
module_init(kpkeys_bench_init);

MODULE_DESCRIPTION("Benchmark of kernel mappings");
MODULE_LICENSE("GPL");
