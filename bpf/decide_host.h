/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A flow at an interface of the node: its host endpoint decides, and for the node's own traffic
 * policies that select nodes as well.
 */

/*
 * What the node sends itself was never received; what it receives for an address of its own ends
 * there.
 */
static __always_inline bool host_is_party(struct __sk_buff *skb, const struct packet *packet, const bool ingress)
{
	if (ingress)
		return is_local(packet->key.family, packet->key.local);
	return !skb->ingress_ifindex;
}

static __always_inline bool host_was_party(const struct connection *entry, const struct packet *packet)
{
	return entry->flags & CONNECTION_HOST;
}

/* Coming in: before translation, then what is for the node or what it passes on. */
static __always_inline __u32 endpoint_cell(const struct sides *sides, __u32 endpoint, bool ingress, bool host,
					   const struct slot_header *facts)
{
	__u64 point = host ? POINT_ENDPOINT_OUT : POINT_FORWARD_OUT;
	__u32 cell;

	if (ingress) {
		cell = early_cell(endpoint, sides, host, facts);
		if (cell == CELL_BROKEN || !(cell & CELL_NEXT))
			return cell;
		point = host ? POINT_ENDPOINT_IN : POINT_FORWARD_IN;
	}
	return host_cell(endpoint, point, sides, facts);
}

/* peer: class of the remote address. host: the node itself is a party, else it passes the packet on. */
static __always_inline __u32 decide_flow(const struct packet *packet, __u32 peer, const struct scratch *scratch,
					 bool ingress, bool host, const struct slot_header *facts)
{
	const struct connection_key *key = &packet->key;
	__u32 cell = CELL_NEXT, other;
	struct sides sides = {
#if OWN_ROWS
		.own = address_class(key->family, key->local, facts),
#endif
		.peer = peer,
		.l4 = l4_class(packet, ingress, facts),
	};

	if (scratch->endpoint != NO_HOST_ENDPOINT)
		cell = endpoint_cell(&sides, scratch->endpoint, ingress, host, facts);
	if (!lets_pass(cell))
		return cell;
	if (host) {
		other = node_cell(packet, &sides, ingress, facts);
		if (!lets_pass(other))
			return other;
	}
	return (cell & ~CELL_NEXT) | CELL_ALLOW;
}
