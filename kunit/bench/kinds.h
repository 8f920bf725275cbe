/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What an instruction is to count.c, by its encoding (Arm ARM, C4.1). Apart
 * from the plugin, so that a test can ask it without QEMU.
 */
#ifndef KINDS_H
#define KINDS_H

#include <stdint.h>

/* What is counted for each function. The names are those in the output. */
enum { INSN, CALL, POR_READ, POR_WRITE, ISB, DSB, TLBI, ATOMIC, KINDS };
static const char *const kinds[KINDS] = {
	"insn", "call", "por_read", "por_write", "isb", "dsb", "tlbi",
	"atomic",
};

/* msr POR_EL1, x0 */
static uint32_t por_msr = 0xd518a280;
#define MSR_TO_MRS	0x00200000

/* movz xzr, #ID */
static inline int begins_region(uint32_t insn)
{
	return (insn & 0xffe0001f) == 0xd280001f;
}

/* movn xzr, #ID */
static inline int ends_region(uint32_t insn)
{
	return (insn & 0xffe0001f) == 0x9280001f;
}

/* What changes memory in one access: LSE's, and the stores of exclusive pairs */
static inline int is_atomic(uint32_t insn)
{
	/* LDADD and the like, SWP; not LDAPR, which is encoded among them */
	if ((insn & 0x3f200c00) == 0x38200000)
		return !(insn & 0x8000) || !(insn & 0x7000);
	/* CAS, CASP, STXR, STXP */
	return (insn & 0x3fa07c00) == 0x08a07c00 || (insn & 0xbfa07c00) == 0x08207c00 ||
	       (insn & 0x3fe00000) == 0x08000000 || (insn & 0xbfe00000) == 0x88200000;
}

/* Which of the kinds @insn is, besides INSN; -1 for none */
static inline int kind_of(uint32_t insn)
{
	if ((insn & 0xffffffe0) == por_msr)
		return POR_WRITE;
	if ((insn & 0xffffffe0) == (por_msr | MSR_TO_MRS))
		return POR_READ;
	if ((insn & 0xfffff0ff) == 0xd50330df)
		return ISB;
	if ((insn & 0xfffff0ff) == 0xd503309f || (insn & 0xfffff3ff) == 0xd503323f)
		return DSB;
	/* SYS with CRn 8 or, for those with nXS, 9 */
	if ((insn & 0xfff8e000) == 0xd5088000)
		return TLBI;
	if (is_atomic(insn))
		return ATOMIC;
	return -1;
}

#endif
