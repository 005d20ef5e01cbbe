/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The two programs of a slot at an interface of the node itself. */

/*
 * Whether anything could deny a packet of this kind; a later fragment must follow its first one
 * only there.
 */
static __always_inline bool is_restricted(const struct scratch *scratch, const bool ingress, bool host,
					  const struct slot_header *facts)
{
	__u32 local = ingress ? 1 << POINT_ENDPOINT_IN : 1 << POINT_ENDPOINT_OUT;
	__u32 early = ingress ? 1 << POINT_UNTRACKED_IN | 1 << POINT_PRE_DNAT_IN : host ? 1 << POINT_UNTRACKED_OUT : 0;
	__u32 forward = ingress ? 1 << POINT_FORWARD_IN : 1 << POINT_FORWARD_OUT;

	if (scratch->endpoint != NO_HOST_ENDPOINT &&
	    restricted_points(scratch->endpoint) & (early | (host ? local : forward)))
		return true;
	return host && facts->node_host && restricted_points(facts->node_host - 1) & local;
}

static __always_inline int judge_packet(struct __sk_buff *skb, struct scratch *scratch,
					const struct slot_header *facts, const bool ingress)
{
	struct packet *packet = &scratch->packet;
	__u32 cell = CELL_NEXT;

	if (packet->fragment == LATER_FRAGMENT) {
		if (!is_restricted(scratch, ingress, host_is_party(skb, packet, ingress), facts))
			return REASON_UNTRACKED;
		return follow_first(packet, ingress);
	}
	/* Policies that select nodes do not concern what the node passes on. */
	if (scratch->endpoint == NO_HOST_ENDPOINT && !host_is_party(skb, packet, ingress))
		return REASON_UNTRACKED;
	if (scratch->endpoint != NO_HOST_ENDPOINT && (ingress || host_is_party(skb, packet, ingress)))
		cell = untracked_cell(scratch, ingress, facts);
	if (!lets_pass(cell))
		return denied_by(cell);
	if (cell & CELL_ALLOW) {
		skb->mark |= MARK_UNTRACKED;
		return REASON_UNTRACKED;
	}
	if (is_hot(skb, packet, ingress))
		return REASON_ALLOWED;
	return judge_flow(skb, scratch, ingress);
}

/* endpoint: number of the host endpoint, or NO_HOST_ENDPOINT. */
static __always_inline int judge(struct __sk_buff *skb, __u32 endpoint, const bool ingress)
{
	__u32 zero = 0;
	struct slot_header *facts = (struct slot_header *)header.lookup(&zero);
	struct scratch *scratch = scratches.lookup(&zero);
	struct packet *packet;
	int reason;

	if (!scratch || !facts)
		return REASON_TABLE_ERROR;
	packet = &scratch->packet;
	__builtin_memset(packet, 0, sizeof(*packet));
	scratch->endpoint = endpoint;
	reason = parse_frame(skb, packet, !ingress);
	if (reason != PARSED)
		return reason == NOT_IP ? REASON_NOT_IP : REASON_MALFORMED;
	if (is_link_control(packet))
		return REASON_UNTRACKED;
	reason = judge_packet(skb, scratch, facts, ingress);
	if (packet->fragment == FIRST_FRAGMENT && (reason == REASON_ALLOWED || reason == REASON_UNTRACKED))
		return remember_fragment(packet, ingress);
	return reason;
}

static __always_inline int judge_and_count(struct __sk_buff *skb, const bool ingress)
{
	__u64 number = endpoint_number(skb->ifindex);
	__u32 endpoint = (number & ~(__u64)HOST_INTERFACE) - 1;

	/* A workload's interface is for the workloads' programs. */
	if (number == NO_ENDPOINT || !(number & HOST_INTERFACE))
		return verdict_of(REASON_UNKNOWN_ENDPOINT, NO_PLACE);
	if (number == NO_TABLE)
		return verdict_of(REASON_TABLE_ERROR, NO_PLACE);
	return verdict_of(judge(skb, endpoint, ingress), host_place(endpoint));
}

/* tc ingress of the interface: packets that the node receives. */
int host_ingress(struct __sk_buff *skb)
{
	return judge_and_count(skb, true);
}

/* tc egress of the interface: packets that the node sends. */
int host_egress(struct __sk_buff *skb)
{
	return judge_and_count(skb, false);
}
