/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The program of a slot where packets come in, before the kernel makes anything of them: drops what
 * a host endpoint denies before connection tracking. What it lets pass is asked again at tc, so
 * nothing depends on this program but the cost of a drop.
 */

/* endpoint: number of the host endpoint. */
static __always_inline int judge(struct xdp_md *context, __u32 endpoint)
{
	__u32 zero = 0, cell;
	struct slot_header *facts = (struct slot_header *)header.lookup(&zero);
	struct scratch *scratch = scratches.lookup(&zero);
	struct packet *packet;
	int reason;

	if (!scratch || !facts)
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
	__u32 endpoint = (number & ~(__u64)HOST_INTERFACE) - 1;
	int reason;

	if (number == NO_ENDPOINT || number == NO_TABLE || !(number & HOST_INTERFACE) || endpoint == NO_HOST_ENDPOINT)
		return XDP_PASS;
	reason = judge(context, endpoint);
	if (reason == REASON_ALLOWED)
		return XDP_PASS;
	count_at(host_place(endpoint), reason);
	return XDP_DROP;
}
