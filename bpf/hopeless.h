/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Packets that open flows and that the tables deny whatever is remembered: a flood of them need not
 * touch the connection table, which costs more than all the rest.
 */

/*
 * Whether the workload's rows forbid the packet in its own direction and its flow in the other one.
 * Only packets that may be the first of a flow are worth the question: others mostly belong to one.
 */
static __always_inline bool is_hopeless(const struct packet *packet, const struct rows *rows, const bool ingress)
{
	__u8 protocol = packet->key.protocol;
	__u32 zero = 0, peer, cell;
	struct slot_header *facts = (struct slot_header *)header.lookup(&zero);

	if (!facts || rows->ingress == UNRESTRICTED || rows->egress == UNRESTRICTED)
		return false;
	if (protocol != PROTOCOL_UDP && protocol != PROTOCOL_SCTP && !is_syn(packet))
		return false;
	peer = peer_class(packet, facts);
	cell = decide(packet, peer, rows, ingress, facts);
	/* What the tables can't say is counted as such. */
	if (cell == CELL_BROKEN || cell & CELL_ALLOW)
		return false;
	return !is_allowed(decide(packet, peer, rows, !ingress, facts));
}
