/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The program of a slot where packets come in, before the kernel makes anything of them: drops what
 * a host endpoint denies before connection tracking. What it lets pass is asked again at tc, so
 * nothing depends on this program but the cost of a drop.
 */

/*
 * The short way: a REASON_*, or NOT_PLAIN. A source port that policies may never close is left to the long way, which
 * knows whose answers to look for.
 */
static __always_inline int judge_plain(struct xdp_md *context, __u32 endpoint, const struct slot_header *facts)
{
	struct sides sides = {};
	struct plain plain;
	__u32 row, cell;

	if (!read_plain(&plain, context))
		return NOT_PLAIN;
	sides.peer = address_class(plain.family, plain.remote, facts);
	sides.l4 = port_class(plain.protocol == PROTOCOL_UDP, plain.remote_port, plain.local_port, facts);
#if OWN_UNTRACKED
	sides.own = address_class(plain.family, plain.local, facts);
	row = host_row(endpoint, POINT_UNTRACKED_IN, sides.own, facts);
#else
	row = usual_row(endpoint, POINT_UNTRACKED_IN);
#endif
	cell = row_cell(row, &sides, facts);
	if (lets_pass(cell))
		return REASON_ALLOWED;
	if (may_be_failsafe(plain.protocol, plain.remote_port, FAILSAFE_EGRESS, facts))
		return NOT_PLAIN;
	return denied_by(cell);
}

/* endpoint: number of the host endpoint. */
static __always_inline int judge(struct xdp_md *context, __u32 endpoint, const struct slot_header *facts)
{
	__u32 zero = 0, cell;
	struct scratch *scratch = scratches.lookup(&zero);
	struct packet *packet;
	int reason;

	if (!scratch)
		return REASON_ALLOWED;
	packet = &scratch->packet;
	__builtin_memset(packet, 0, sizeof(*packet));
	scratch->endpoint = endpoint;
	reason = parse_frame(context, packet, false);
	if (reason != PARSED)
		return reason == NOT_IP ? REASON_ALLOWED : REASON_MALFORMED;
	/* Later fragments are followed at tc. */
	if (packet->fragment == LATER_FRAGMENT || is_link_control(packet))
		return REASON_ALLOWED;
	cell = untracked_cell(scratch, true, facts);
	return lets_pass(cell) ? REASON_ALLOWED : denied_by(cell);
}

int host_xdp(struct xdp_md *context)
{
	__u64 number = endpoint_number(context->ingress_ifindex);
	__u32 endpoint = (number & ~(__u64)HOST_INTERFACE) - 1, zero = 0;
	struct slot_header *facts = (struct slot_header *)header.lookup(&zero);
	int reason;

	if (number == NO_ENDPOINT || number == NO_TABLE || !(number & HOST_INTERFACE) || endpoint == NO_HOST_ENDPOINT)
		return XDP_PASS;
	if (!facts)
		return XDP_PASS;
	reason = judge_plain(context, endpoint, facts);
	if (reason == NOT_PLAIN)
		reason = judge(context, endpoint, facts);
	if (reason == REASON_ALLOWED)
		return XDP_PASS;
	count_at(host_place(endpoint), reason);
	return XDP_DROP;
}
