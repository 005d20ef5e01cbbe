/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Every row over the classes of all rows; a row is the number of its first cell. */

/* The cell of a row for a peer class and an L4 class; CELL_BROKEN when there is none. */
static __always_inline __u32 cell_at(__u32 row, __u64 peer, __u32 l4, const struct slot_header *facts)
{
	__u32 zero = 0;
	kept_cell *table = (kept_cell *)cells.lookup(&zero);
	__u64 index = peer * facts->l4_stride + l4 + row;

	if (!table || peer == PEER_UNKNOWN || l4 == L4_UNKNOWN)
		return CELL_BROKEN;
	KEEP_WHOLE(index);
	if (index >= CELLS)
		return CELL_BROKEN;
	return (__u32)table[index] << CELL_SHIFT;
}
