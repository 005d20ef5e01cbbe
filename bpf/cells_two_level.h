/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Every row over classes of its own, found from the classes of all rows; a row is a place in policy_rows. */

/* The cell of a row for a peer class and an L4 class; CELL_BROKEN when there is none. */
static __always_inline __u32 cell_at(__u32 row, __u64 peer, __u32 l4, const struct slot_header *facts)
{
	__u32 zero = 0;
	struct policy_row *rows = (struct policy_row *)policy_rows.lookup(&zero);
	row_peer *own_peers = (row_peer *)row_peers.lookup(&zero);
	__u16 *own_l4 = (__u16 *)row_l4.lookup(&zero);
	kept_cell *table = (kept_cell *)cells.lookup(&zero);
	__u64 number = row, line, column, index;

	if (!rows || !own_peers || !own_l4 || !table || peer == PEER_UNKNOWN || l4 == L4_UNKNOWN)
		return CELL_BROKEN;
	KEEP_WHOLE(number);
	if (number >= POLICY_ROWS)
		return CELL_BROKEN;
	line = rows[number].peers + peer;
	column = (__u64)rows[number].l4 + l4;
	KEEP_WHOLE(line);
	KEEP_WHOLE(column);
	if (line >= ROW_PEERS || column >= ROW_L4)
		return CELL_BROKEN;
	index = (__u64)own_peers[line] * rows[number].width + own_l4[column] + rows[number].cells;
	KEEP_WHOLE(index);
	if (index >= CELLS)
		return CELL_BROKEN;
	return (__u32)table[index] << CELL_SHIFT;
}
