/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The verdict for a packet of an endpoint that some row restricts. */

/* Whether an ICMP error quotes a packet of a remembered flow, sent the other way, that the generation still allows. */
static __always_inline bool is_related(struct __sk_buff *skb, struct scratch *scratch, const struct slot_header *facts,
				       const bool ingress)
{
	const struct packet *packet = &scratch->packet;
	struct packet *quoted = &scratch->quoted;
	struct connection *entry;

	if (packet->fragment != WHOLE)
		return false;
	__builtin_memset(quoted, 0, sizeof(*quoted));
	quoted->key.ifindex = packet->key.ifindex;
	if (parse_ip(skb, packet->l4 + 8, packet->key.family == 4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6, quoted, ingress, true) != PARSED)
		return false;
	if (quoted->fragment == LATER_FRAGMENT || quoted->key.local[0] != packet->key.local[0] ||
	    quoted->key.local[1] != packet->key.local[1] || quoted->key.local[2] != packet->key.local[2] ||
	    quoted->key.local[3] != packet->key.local[3])
		return false;
	track(quoted, !ingress);
	if (quoted->tracking != OPENS && quoted->tracking != FOLLOWS)
		return false;
	entry = find_connection(&quoted->key);
	if (!entry || entry->flags & CONNECTION_DENIED)
		return false;
	if (entry->generation == facts->generation)
		return true;
	ask_as_request(quoted);
	return decide(quoted, peer_class(quoted, facts), &scratch->rows, entry->flags & CONNECTION_INGRESS, facts) & CELL_ALLOW;
}

static __always_inline int remember(struct __sk_buff *skb, struct scratch *scratch, __u32 cell, const struct slot_header *facts,
				    const bool ingress)
{
	struct packet *packet = &scratch->packet;
	struct question *question = &scratch->question;
	struct connection fresh = {
		.last_seen = bpf_jiffies64(),
		.packets = 1,
		.bytes = skb->len,
		.generation = facts->generation,
		.decision = cell,
	};

	if (question->ingress)
		fresh.flags |= CONNECTION_INGRESS;
	if (question->ingress != ingress)
		fresh.flags |= CONNECTION_REPLIED;
	if (question->either) {
		fresh.flags |= CONNECTION_GUESSED;
		fresh.state = TCP_ESTABLISHED;
	}
	fresh.state = next_state(fresh.state, packet->tcp_flags, question->ingress == ingress, false);
	return connections.update(&packet->key, &fresh) ? REASON_CT_FAILURE : REASON_ALLOWED;
}

/* A flow that another generation decided is allowed by this one too. */
static __always_inline void stamp(struct connection *entry, __u32 cell, bool opened_ingress, __u64 generation)
{
	__u8 flags = entry->flags & ~(CONNECTION_INGRESS | CONNECTION_DENIED);

	entry->generation = generation;
	entry->decision = cell;
	entry->flags = opened_ingress ? flags | CONNECTION_INGRESS : flags;
}

/*
 * A SYN where it can't belong to the connection that is there: after its end, or from the side that answered. It is decided for itself.
 */
static __always_inline bool is_restart(const struct connection *entry, const struct packet *packet, const bool ingress)
{
	return is_syn(packet) && (is_closing(entry) || entry->flags & CONNECTION_DENIED || !is_initiator(entry, ingress));
}

/*
 * A live entry of this generation answers at once; one of another generation is asked again in the direction in which it was opened.
 * Without one the packet's own direction is asked, and for TCP in the middle of a connection the other one too: the table may be younger
 * than the connection.
 */
static __always_inline int judge_flow(struct __sk_buff *skb, struct scratch *scratch, const bool ingress)
{
	struct packet *packet = &scratch->packet;
	struct question *question = &scratch->question;
	struct connection *entry = NULL;
	__u32 zero = 0, cell = 0, peer;
	struct slot_header *facts = (struct slot_header *)header.lookup(&zero);
	int i;

	if (!facts)
		return REASON_TABLE_ERROR;
	track(packet, ingress);
	if (packet->tracking == QUOTES && is_related(skb, scratch, facts, ingress))
		return REASON_ALLOWED;
	question->ingress = ingress;
	question->known = false;
	question->either = false;
	if (packet->tracking == OPENS || packet->tracking == FOLLOWS) {
		entry = find_connection(&packet->key);
		if (!entry) {
			question->either = packet->key.protocol == PROTOCOL_TCP && !is_syn(packet);
		} else if (!is_restart(entry, packet, ingress)) {
			if (entry->generation == facts->generation) {
				if (entry->flags & CONNECTION_DENIED)
					return REASON_DENIED;
				touch(skb, entry, packet, ingress);
				return REASON_ALLOWED;
			}
			question->known = true;
			question->ingress = !!(entry->flags & CONNECTION_INGRESS);
			question->either = !!(entry->flags & CONNECTION_GUESSED);
			ask_as_request(packet);
		}
	}

	peer = peer_class(packet, facts);
#pragma clang loop unroll(disable)
	for (i = 0; i < 2; i++) {
		cell = decide(packet, peer, &scratch->rows, question->ingress, facts);
		if (cell & CELL_ALLOW || !question->either || i)
			break;
		question->ingress = !question->ingress;
	}
	if (!(cell & CELL_ALLOW)) {
		if (entry && question->known)
			cut(entry, &packet->key, facts->generation);
		return denied_by(cell);
	}
	if (entry && question->known)
		stamp(entry, cell, question->ingress, facts->generation);
	else if (packet->tracking != OPENS)
		return REASON_ALLOWED;
	else if (!entry || entry->generation != facts->generation || is_closing(entry) || entry->flags & CONNECTION_DENIED)
		return remember(skb, scratch, cell, facts, ingress);
	/* Else a SYN from the side that answered, which may open too: the connection that is there stays as it was. */
	touch(skb, entry, packet, ingress);
	return REASON_ALLOWED;
}
