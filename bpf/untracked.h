/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a host endpoint says before connection tracking, of every packet for itself. */

static __always_inline bool is_in_network(const struct failsafe *entry, __u8 family, const __be32 *address)
{
	if (!entry->family)
		return true;
	return entry->family == family && !((address[0] & entry->mask[0]) ^ entry->network[0]) &&
	       !((address[1] & entry->mask[1]) ^ entry->network[1]) &&
	       !((address[2] & entry->mask[2]) ^ entry->network[2]) &&
	       !((address[3] & entry->mask[3]) ^ entry->network[3]);
}

/*
 * Whether a port is one that policies of hosts never close, for traffic in the direction with somebody. A bit of the
 * header, which is at hand, tells for most ports.
 */
static __always_inline bool may_be_failsafe(__u8 protocol, __be16 port, __u8 direction, const struct slot_header *facts)
{
	__u64 place = port_place_of(protocol), number = bpf_ntohs(port);
	__u64 bits = direction == FAILSAFE_INGRESS ? facts->failsafe_ingress : facts->failsafe_egress;
	__u32 zero = 0;
	__u8 *ports = (__u8 *)failsafe_ports.lookup(&zero);

	if (!(bits >> (number & 63) & 1) || place > 2 || !ports)
		return false;
	return ports[place * 65536 + number] & direction;
}

/*
 * The same with this party; the list has the networks. (In the direction of the packet itself the cells know; this is
 * for answers, which come from such a port.)
 */
static __always_inline bool is_failsafe_port(const struct connection_key *key, __be16 port, const __be32 *remote,
					     __u8 direction, const struct slot_header *facts)
{
	__u32 zero = 0, count = facts->failsafes;
	struct failsafe *table = (struct failsafe *)failsafes.lookup(&zero);
	__u64 number = bpf_ntohs(port);
	int i;

	if (!table || !may_be_failsafe(key->protocol, port, direction, facts))
		return false;
#pragma clang loop unroll(disable)
	for (i = 0; i < FAILSAFES; i++) {
		const struct failsafe *entry = &table[i];

		if (i >= count)
			break;
		if (entry->port == number && entry->protocol == key->protocol && entry->directions & direction &&
		    is_in_network(entry, key->family, remote))
			return true;
	}
	return false;
}

/*
 * Whether the packet answers, from a port that policies never close, a flow that the host is known
 * to have.
 */
static __always_inline bool is_known_answer(struct packet *packet, const bool ingress, const struct slot_header *facts)
{
	const struct connection_key *key = &packet->key;
	__be16 port = ingress ? key->remote_port : key->local_port;
	struct connection *entry;

	if (!is_failsafe_port(key, port, key->remote, ingress ? FAILSAFE_EGRESS : FAILSAFE_INGRESS, facts))
		return false;
	track(packet, ingress);
	entry = find_connection(&packet->key);
	return entry && !(entry->flags & CONNECTION_DENIED) && entry->flags & CONNECTION_HOST &&
	       !!(entry->flags & CONNECTION_INGRESS) != ingress;
}

/*
 * The host endpoint's word before connection tracking: a cell, CELL_NEXT when it has none. Ports
 * that are never closed are spared by the cells; so are answers from such ports.
 */
static __always_inline __u32 untracked_cell(struct scratch *scratch, const bool ingress,
					    const struct slot_header *facts)
{
	struct packet *packet = &scratch->packet;
#if OWN_UNTRACKED
	const struct connection_key *key = &packet->key;
#endif
	__u32 point = ingress ? POINT_UNTRACKED_IN : POINT_UNTRACKED_OUT, cell;
	struct sides sides = {};

	if (!(restricted_points(scratch->endpoint) & 1 << point))
		return CELL_NEXT;
	sides.peer = peer_class(packet, facts);
	sides.l4 = l4_class(packet, ingress, facts);
#if OWN_UNTRACKED
	sides.own = address_class(key->family, key->local, facts);
	cell = host_cell(scratch->endpoint, point, &sides, facts);
#else
	cell = row_cell(usual_row(scratch->endpoint, point), &sides, facts);
#endif
	if (cell != CELL_BROKEN && !(cell & CELL_NEXT) && is_known_answer(packet, ingress, facts))
		return CELL_NEXT;
	return cell;
}
