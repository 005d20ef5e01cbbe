/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Protocol, ports, ICMP type and code to L4 class, for a packet in the given direction. */

static __always_inline __u32 icmp_class(__u64 version6, __u8 type, __u8 code)
{
	__u32 zero = 0;
	__u16 *table = (__u16 *)icmp.lookup(&zero);

	if (!table)
		return L4_UNKNOWN;
	return table[version6 * ICMP_TYPES + ICMP_INDEX(type, code)];
}

static __always_inline __u32 l4_class(const struct packet *packet, bool ingress, const struct slot_header *facts)
{
	const struct connection_key *key = &packet->key;
	__be16 destination = ingress ? key->local_port : key->remote_port;
	__be16 source = ingress ? key->remote_port : key->local_port;
	__u32 zero = 0;
	__u16 *table;
	__u64 which;

	switch (key->protocol) {
	case PROTOCOL_TCP:
		which = 0;
		break;
	case PROTOCOL_UDP:
		which = 1;
		break;
	case PROTOCOL_SCTP:
		which = 2;
		break;
	default:
		if (key->family == 4 && key->protocol == PROTOCOL_ICMP)
			return icmp_class(0, packet->type, packet->code);
		if (key->family == 6 && key->protocol == PROTOCOL_ICMPV6)
			return icmp_class(1, packet->type, packet->code);
		table = (__u16 *)protocols.lookup(&zero);
		return table ? table[key->protocol] : L4_UNKNOWN;
	}
	return port_class(which, source, destination, facts);
}
