/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Row, peer class and L4 class to a cell. */

static __always_inline __u32 peer_class(const struct packet *packet, const struct slot_header *facts)
{
	if (packet->key.family == 4)
		return peer_class4(packet->key.remote[0]);
	return peer_class6(packet->key.remote, facts);
}

/*
 * The cell for the packet's peer when the flow is opened in the given direction. CELL_BROKEN: the
 * tables contradict themselves, which is no permission. A row that is not there allows, with
 * decision 0.
 */
static __always_inline __u32 decide(const struct packet *packet, __u32 peer, const struct rows *rows, bool ingress,
				    const struct slot_header *facts)
{
	__u32 row = ingress ? rows->ingress : rows->egress;

	if (row == UNRESTRICTED)
		return CELL_ALLOW;
	return cell_at(row, peer, l4_class(packet, ingress, facts), facts);
}

static __always_inline bool is_allowed(__u32 cell)
{
	return cell != CELL_BROKEN && cell & CELL_ALLOW;
}

static __always_inline int denied_by(__u32 cell)
{
	return cell == CELL_BROKEN ? REASON_TABLE_ERROR : REASON_DENIED;
}
