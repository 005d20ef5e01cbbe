/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Flows that both rows of a workload allow whatever has gone before are not remembered. */

/*
 * Both rows have the same mark for all packets of a flow, so either tells; where nothing restricts
 * one direction the other row does, and where nothing restricts both there is nothing to remember.
 */
static __always_inline bool is_left_out(const struct packet *packet, const struct rows *rows, bool ingress,
					const struct slot_header *facts)
{
	__u32 row = rows->egress != UNRESTRICTED ? rows->egress : rows->ingress, cell;

	if (row == UNRESTRICTED)
		return true;
	cell = cell_at(row, peer_class(packet, facts), l4_class(packet, ingress, facts), facts);
	return is_allowed(cell) && cell & CELL_STATELESS;
}
