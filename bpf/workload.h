/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The two programs of a slot, at the host's end of a workload's interface. */

/* number: that of the endpoint. */
static __always_inline int judge(struct __sk_buff *skb, __u64 number, const bool ingress)
{
	__u32 zero = 0;
	struct endpoint *endpoint = (struct endpoint *)endpoints.lookup(&zero);
	struct scratch *scratch = scratches.lookup(&zero);
	struct packet *packet;
	struct rows *rows;
	int reason;

	if (number >= ENDPOINTS || !endpoint || !scratch)
		return REASON_TABLE_ERROR;
	endpoint += number;
	packet = &scratch->packet;
	rows = &scratch->rows;
	__builtin_memset(packet, 0, sizeof(*packet));
	reason = parse_frame(skb, packet, !ingress);
	if (reason != PARSED)
		return reason == NOT_IP ? REASON_NOT_IP : REASON_MALFORMED;
	/* Noted of packets alone that came through all of what follows, in this generation and direction. */
	if (is_hot(skb, packet, ingress))
		return REASON_ALLOWED;
	if (!find_own(endpoint, &packet->key, rows)) {
		if (ingress) {
			if (!first_rows(endpoint, packet->key.family, rows))
				return REASON_TABLE_ERROR;
		} else {
			if (is_address_request(packet))
				return REASON_UNTRACKED;
			if (is_link_control(packet) && is_link_source(packet->key.local))
				return REASON_UNTRACKED;
			return REASON_SOURCE_CHECK;
		}
	}
	if (is_link_control(packet))
		return REASON_UNTRACKED;
	if (is_too_big(packet)) {
		if (!HOSTS_DECIDE)
			return REASON_UNTRACKED;
		/* The workload's own policies let it pass; the hosts are asked. */
		rows->egress = rows->ingress = UNRESTRICTED;
	}
	/*
	 * An endpoint that nothing restricts is tracked all the same, unless flows without state are
	 * left out: a policy that comes later must know who opened the connections that are there.
	 */
	if (packet->fragment == LATER_FRAGMENT) {
		if (!HOSTS_DECIDE && (ingress ? rows->ingress : rows->egress) == UNRESTRICTED)
			return REASON_UNTRACKED;
		return follow_first(packet, ingress);
	}
	if (is_hopeless(packet, rows, ingress))
		return REASON_DENIED;
	reason = judge_flow(skb, scratch, ingress);
	if (packet->fragment == FIRST_FRAGMENT && (reason == REASON_ALLOWED || reason == REASON_UNTRACKED))
		return remember_fragment(packet, ingress);
	return reason;
}

static __always_inline int judge_and_count(struct __sk_buff *skb, const bool ingress)
{
	__u64 number = endpoint_number(skb->ifindex);

	/* An interface of the node itself is for the hosts' programs. */
	if (number == NO_ENDPOINT || (number & HOST_INTERFACE && number != NO_TABLE))
		return verdict_of(REASON_UNKNOWN_ENDPOINT, NO_PLACE);
	return verdict_of(judge(skb, number, ingress), number);
}

/* tc ingress of the interface: packets that the workload sends. */
int workload_egress(struct __sk_buff *skb)
{
	return judge_and_count(skb, false);
}

/* tc egress of the interface: packets that the workload receives. */
int workload_ingress(struct __sk_buff *skb)
{
	return judge_and_count(skb, true);
}
