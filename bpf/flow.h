/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The verdict for a packet of an endpoint that some row restricts. */

/* Whether an ICMP error goes to whoever sent the packet that it quotes. */
static __always_inline bool is_for_sender(const struct packet *packet, const struct packet *quoted, const bool ingress)
{
	const __be32 *to = ingress ? packet->key.local : packet->key.remote;
	const __be32 *sender = ingress ? quoted->key.local : quoted->key.remote;

	return to[0] == sender[0] && to[1] == sender[1] && to[2] == sender[2] && to[3] == sender[3];
}

/*
 * Whether an ICMP error quotes a packet of a remembered flow, sent the other way, that the
 * generation still allows.
 */
static __always_inline bool is_related(struct __sk_buff *skb, struct scratch *scratch, const struct slot_header *facts,
				       const bool ingress)
{
	const struct packet *packet = &scratch->packet;
	struct packet *quoted = &scratch->quoted;
	__u32 ethertype = packet->key.family == 4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6;
	struct connection *entry;
	bool opened_ingress;

	if (packet->fragment != WHOLE)
		return false;
	__builtin_memset(quoted, 0, sizeof(*quoted));
	quoted->key.ifindex = packet->key.ifindex;
	quoted->end = packet->end;
	if (parse_ip(skb, packet->l4 + 8, ethertype, quoted, ingress, true) != PARSED)
		return false;
	if (quoted->fragment == LATER_FRAGMENT || !is_for_sender(packet, quoted, ingress))
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
	opened_ingress = entry->flags & CONNECTION_INGRESS;
	return is_allowed(decide_flow(quoted, peer_class(quoted, facts), scratch, opened_ingress,
				      host_was_party(entry, quoted), facts));
}

static __always_inline int remember(struct __sk_buff *skb, struct scratch *scratch, __u32 cell,
				    const struct slot_header *facts, const bool ingress)
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
	if (question->host)
		fresh.flags |= CONNECTION_HOST;
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

static __always_inline bool is_in_force(const struct connection *entry, const struct slot_header *facts)
{
	return entry->generation == facts->generation && !is_closing(entry) && !(entry->flags & CONNECTION_DENIED);
}

/*
 * A SYN where it can't belong to the connection that is there: after its end, or from the side that
 * answered. It is decided for itself.
 */
static __always_inline bool is_restart(const struct connection *entry, const struct packet *packet,
				       const bool ingress)
{
	if (!is_syn(packet))
		return false;
	return is_closing(entry) || entry->flags & CONNECTION_DENIED || !is_initiator(entry, ingress);
}

/*
 * What is to be asked: for a flow of another generation the direction in which it was opened, else
 * the packet's own. Where nobody saw who opened a TCP connection (the table may be younger than
 * it), the other direction will do as well.
 */
static __always_inline void set_question(struct __sk_buff *skb, struct question *question, struct packet *packet,
					 const struct connection *known, const struct connection *entry,
					 const bool ingress)
{
	if (known) {
		question->ingress = !!(known->flags & CONNECTION_INGRESS);
		question->either = !!(known->flags & CONNECTION_GUESSED);
		question->host = host_was_party(known, packet);
		ask_as_request(packet);
		return;
	}
	question->ingress = ingress;
	question->host = host_is_party(skb, packet, ingress);
	question->either = !entry && packet->key.protocol == PROTOCOL_TCP && !is_syn(packet);
}

static __always_inline __u32 answer(const struct scratch *scratch, struct question *question,
				    const struct slot_header *facts)
{
	__u32 peer = peer_class(&scratch->packet, facts), cell = 0;
	int i;

#pragma clang loop unroll(disable)
	for (i = 0; i < 2; i++) {
		cell = decide_flow(&scratch->packet, peer, scratch, question->ingress, question->host, facts);
		if (is_allowed(cell) || !question->either || i)
			break;
		question->ingress = !question->ingress;
	}
	return cell;
}

/*
 * A live entry of this generation answers at once. Otherwise the tables are asked, and what they
 * allow is remembered.
 */
static __always_inline int judge_flow(struct __sk_buff *skb, struct scratch *scratch, const bool ingress)
{
	struct packet *packet = &scratch->packet;
	struct question *question = &scratch->question;
	struct connection *entry = NULL, *known = NULL;
	__u32 zero = 0, cell;
	struct slot_header *facts = (struct slot_header *)header.lookup(&zero);
	bool frequent;

	if (!facts)
		return REASON_TABLE_ERROR;
	track(packet, ingress);
	if (packet->tracking == QUOTES && is_related(skb, scratch, facts, ingress))
		return REASON_ALLOWED;
	if (packet->tracking == OPENS || packet->tracking == FOLLOWS) {
		if (is_left_out(packet, &scratch->rows, ingress, facts))
			return REASON_UNTRACKED;
		entry = find_connection(&packet->key);
	}
	if (entry && !is_restart(entry, packet, ingress)) {
		if (entry->generation == facts->generation) {
			if (entry->flags & CONNECTION_DENIED)
				return REASON_DENIED;
			frequent = is_frequent(entry);
			touch(skb, entry, packet, ingress);
			if (frequent)
				note(entry, packet, facts, ingress);
			return REASON_ALLOWED;
		}
		known = entry;
	}

	set_question(skb, question, packet, known, entry, ingress);
	cell = answer(scratch, question, facts);
	if (!is_allowed(cell)) {
		if (known)
			cut(known, &packet->key, facts->generation);
		return denied_by(cell);
	}
	if (known)
		stamp(known, cell, question->ingress, facts->generation);
	else if (packet->tracking != OPENS)
		return REASON_ALLOWED;
	else if (!entry || !is_in_force(entry, facts))
		return remember(skb, scratch, cell, facts, ingress);
	/*
	 * Else a SYN from the side that answered, which may open too: the connection that is there
	 * stays as it was.
	 */
	touch(skb, entry, packet, ingress);
	return REASON_ALLOWED;
}
