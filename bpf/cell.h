/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What reading a cell needs, whichever layout the cells have. */

#define CELL_BROKEN 0x10000

/*
 * The verifier knows the range of one register only: the check and the use of an index must not be
 * made of copies.
 */
#define KEEP_WHOLE(index) asm volatile("" : "+r"(index))
