/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The verdict for a packet of an endpoint that some row restricts. */

/* Whether an ICMP error quotes a packet of a remembered flow, sent the other way, that the generation still allows. */
static __always_inline bool is_related(struct __sk_buff *skb, const struct packet *packet, const struct rows *rows,
				       const struct slot_header *facts, const bool ingress)
{
	__u32 ethertype = packet->key.family == 4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6;
	struct packet quoted = {};
	struct connection *entry;
	int i, tracking;

	if (packet->fragment != WHOLE)
		return false;
	quoted.key.ifindex = packet->key.ifindex;
	if (parse_ip(skb, packet->l4 + 8, ethertype, &quoted, ingress, true) != PARSED || quoted.fragment == LATER_FRAGMENT)
		return false;
#pragma unroll
	for (i = 0; i < 4; i++)
		if (quoted.key.local[i] != packet->key.local[i])
			return false;
	tracking = tracking_of(&quoted, !ingress);
	if (tracking != OPENS && tracking != FOLLOWS)
		return false;
	entry = find_connection(&quoted.key);
	if (!entry || entry->flags & CONNECTION_DENIED)
		return false;
	if (entry->generation == facts->generation)
		return true;
	ask_as_request(&quoted);
	return decide(&quoted, peer_class(&quoted, facts), rows, entry->flags & CONNECTION_INGRESS, facts) & CELL_ALLOW;
}

static __always_inline int remember(struct __sk_buff *skb, struct packet *packet, __u32 cell, bool opened_ingress, bool guessed,
				    const struct slot_header *facts, const bool ingress)
{
	struct connection fresh = {
		.last_seen = bpf_jiffies64(),
		.packets = 1,
		.bytes = skb->len,
		.generation = facts->generation,
		.decision = cell,
		.flags = opened_ingress ? CONNECTION_INGRESS : 0,
	};

	if (guessed)
		fresh.flags |= CONNECTION_GUESSED;
	if (opened_ingress != ingress)
		fresh.flags |= CONNECTION_REPLIED;
	fresh.state = next_state(guessed ? TCP_ESTABLISHED : 0, packet->tcp_flags, opened_ingress == ingress, false);
	return connections.update(&packet->key, &fresh) ? REASON_CT_FAILURE : REASON_ALLOWED;
}

/*
 * A live entry of this generation answers at once; one of another generation is asked again in the direction in which it was opened.
 * Without one the packet's own direction is asked, and for TCP in the middle of a connection the other one too: the table may be younger
 * than the connection.
 */
static __always_inline int judge_flow(struct __sk_buff *skb, struct packet *packet, const struct rows *rows, const bool ingress)
{
	__u32 zero = 0, cell = 0, peer;
	struct slot_header *facts = (struct slot_header *)header.lookup(&zero);
	struct connection *entry = NULL;
	bool asked = ingress, known = false, guess = false;
	int tracking = tracking_of(packet, ingress), i;

	if (!facts)
		return REASON_TABLE_ERROR;
	if (tracking == QUOTES) {
		if (is_related(skb, packet, rows, facts, ingress))
			return REASON_ALLOWED;
		tracking = STATELESS;
	}
	if (tracking != STATELESS)
		entry = find_connection(&packet->key);
	if (entry && is_syn(packet) &&
	    (is_closing(entry) || entry->flags & CONNECTION_DENIED || !is_initiator(entry, ingress))) {
		/* A new connection over the same ports, or a SYN from the side that answered: decided for itself. */
	} else if (entry && entry->generation == facts->generation) {
		if (entry->flags & CONNECTION_DENIED)
			return REASON_DENIED;
		touch(skb, entry, packet, ingress);
		return REASON_ALLOWED;
	} else if (entry) {
		known = true;
		asked = entry->flags & CONNECTION_INGRESS;
		guess = entry->flags & CONNECTION_GUESSED;
		ask_as_request(packet);
	} else {
		guess = packet->key.protocol == PROTOCOL_TCP && !is_syn(packet);
	}

	peer = peer_class(packet, facts);
#pragma clang loop unroll(disable)
	for (i = 0; i < 2; i++) {
		cell = decide(packet, peer, rows, asked, facts);
		if (cell & CELL_ALLOW || !guess || i)
			break;
		asked = !asked;
	}
	if (!(cell & CELL_ALLOW)) {
		if (known)
			cut(entry, &packet->key, facts->generation);
		return denied_by(cell);
	}
	if (known) {
		entry->generation = facts->generation;
		entry->decision = cell;
		entry->flags = (entry->flags & ~(CONNECTION_INGRESS | CONNECTION_DENIED)) | (asked ? CONNECTION_INGRESS : 0);
		touch(skb, entry, packet, ingress);
		return REASON_ALLOWED;
	}
	if (tracking != OPENS)
		return REASON_ALLOWED;
	if (entry && entry->generation == facts->generation && !is_closing(entry) && !(entry->flags & CONNECTION_DENIED)) {
		/* Both sides may open: the connection that is there stays as it was. */
		touch(skb, entry, packet, ingress);
		return REASON_ALLOWED;
	}
	return remember(skb, packet, cell, asked, guess, facts, ingress);
}
