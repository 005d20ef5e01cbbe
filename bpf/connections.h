/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Connection tracking: what is remembered of a flow, for how long, and what a packet does to it. */

/* Decided for itself, never remembered. */
#define STATELESS 0
/* May open a flow, and is remembered when allowed. */
#define OPENS 1
/* An echo reply: belongs to a remembered request, else is decided for itself. */
#define FOLLOWS 2
/* An ICMP error: belongs to the flow that it quotes, else is decided for itself. */
#define QUOTES 3

static __always_inline void track_echo(struct packet *packet, bool ingress, __u8 request, __u8 reply)
{
	if (packet->code || (packet->type != request && packet->type != reply)) {
		packet->tracking = STATELESS;
		return;
	}
	packet->tracking = packet->type == request ? OPENS : FOLLOWS;
	packet->key.role = ingress == (packet->type == request);
}

/*
 * How the packet relates to flows. An echo is remembered under the side that asks, so that both
 * sides may ask with one identifier.
 */
static __always_inline void track(struct packet *packet, bool ingress)
{
	__u8 type = packet->type;

	if (packet->key.protocol == PROTOCOL_ICMP && packet->key.family == 4) {
		if (type == ICMP_UNREACHABLE || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETER_PROBLEM)
			packet->tracking = QUOTES;
		else
			track_echo(packet, ingress, ICMP_ECHO_REQUEST, ICMP_ECHO_REPLY);
	} else if (packet->key.protocol == PROTOCOL_ICMPV6 && packet->key.family == 6) {
		if (type >= ICMPV6_UNREACHABLE && type <= ICMPV6_PARAMETER_PROBLEM)
			packet->tracking = QUOTES;
		else
			track_echo(packet, ingress, ICMPV6_ECHO_REQUEST, ICMPV6_ECHO_REPLY);
	} else {
		packet->tracking = OPENS;
	}
}

/* An echo reply is judged as the request it answers. */
static __always_inline void ask_as_request(struct packet *packet)
{
	if (packet->key.family == 4 && packet->key.protocol == PROTOCOL_ICMP)
		packet->type = ICMP_ECHO_REQUEST;
	else if (packet->key.family == 6 && packet->key.protocol == PROTOCOL_ICMPV6)
		packet->type = ICMPV6_ECHO_REQUEST;
}

static __always_inline bool is_syn(const struct packet *packet)
{
	return packet->key.protocol == PROTOCOL_TCP && (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

static __always_inline bool is_closing(const struct connection *entry)
{
	return entry->state & TCP_RESET ||
	       (entry->state & (TCP_FIN_INITIATOR | TCP_FIN_RESPONDER)) == (TCP_FIN_INITIATOR | TCP_FIN_RESPONDER);
}

static __always_inline bool is_initiator(const struct connection *entry, bool ingress)
{
	return !!(entry->flags & CONNECTION_INGRESS) == ingress;
}

static __always_inline __u64 timeout_of(const struct connection *entry, __u8 protocol)
{
	switch (protocol) {
	case PROTOCOL_TCP:
		if (entry->flags & CONNECTION_DENIED)
			return TIMEOUT_TCP_ESTABLISHED;
		if (is_closing(entry))
			return TIMEOUT_TCP_CLOSING;
		return entry->state & TCP_ESTABLISHED ? TIMEOUT_TCP_ESTABLISHED : TIMEOUT_TCP_OPENING;
	case PROTOCOL_UDP:
		return entry->flags & CONNECTION_REPLIED ? TIMEOUT_UDP : TIMEOUT_UDP_UNREPLIED;
	case PROTOCOL_ICMP:
	case PROTOCOL_ICMPV6:
		return TIMEOUT_ICMP;
	default:
		return TIMEOUT_OTHER;
	}
}

/* The flow's entry unless its time is over. */
static __always_inline struct connection *find_connection(struct connection_key *key)
{
	struct connection *entry = connections.lookup(key);

	if (!entry || bpf_jiffies64() - entry->last_seen > timeout_of(entry, key->protocol))
		return NULL;
	return entry;
}

static __always_inline __u8 next_state(__u8 state, __u8 tcp_flags, bool initiator, bool replied)
{
	if (tcp_flags & TCP_RST)
		state |= TCP_RESET;
	if (tcp_flags & TCP_FIN)
		state |= initiator ? TCP_FIN_INITIATOR : TCP_FIN_RESPONDER;
	if (initiator && replied && (tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_ACK)
		state |= TCP_ESTABLISHED;
	return state;
}

/*
 * Another packet of a live flow. Counts are plain stores: two CPUs at once may lose one, and no
 * verdict depends on them.
 */
static __always_inline void touch(struct __sk_buff *skb, struct connection *entry, const struct packet *packet,
				  bool ingress)
{
	bool initiator = is_initiator(entry, ingress);
	__u64 now = bpf_jiffies64();
	__u8 state;

	if (entry->last_seen != now)
		entry->last_seen = now;
	entry->packets += 1;
	entry->bytes += skb->len;
	if (!initiator && !(entry->flags & CONNECTION_REPLIED))
		entry->flags |= CONNECTION_REPLIED;
	if (packet->key.protocol != PROTOCOL_TCP)
		return;
	state = next_state(entry->state, packet->tcp_flags, initiator, entry->flags & CONNECTION_REPLIED);
	if (state != entry->state)
		entry->state = state;
}

/*
 * The generation no longer allows the flow. A TCP entry stays, marked: without it the next packet
 * would count as one of a connection older than the table, and pass if the endpoint may open
 * connections the other way.
 */
static __always_inline void cut(struct connection *entry, struct connection_key *key, __u64 generation)
{
	if (key->protocol != PROTOCOL_TCP) {
		connections.delete(key);
		return;
	}
	entry->flags |= CONNECTION_DENIED;
	entry->generation = generation;
	entry->last_seen = bpf_jiffies64();
}
