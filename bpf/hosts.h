/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What hosts say: host endpoints, and the node itself where policies select nodes. Their rows
 * depend on the point at which they are asked, and on the own address.
 */

/* An interface of the node that has no host endpoint. */
#define NO_HOST_ENDPOINT 0xffffffff

/* Where a host endpoint's packets are counted. */
static __always_inline __u32 host_place(__u32 endpoint)
{
	return endpoint == NO_HOST_ENDPOINT ? NO_PLACE : ENDPOINTS + endpoint;
}

/* No row was found where the tables promise one. */
#define ROW_BROKEN 0xfffffffe

/* The row for own addresses that nothing tells apart. */
static __always_inline __u32 usual_row(__u64 host, __u64 point)
{
	__u32 zero = 0;
	struct host *table = (struct host *)hosts.lookup(&zero);

	KEEP_WHOLE(host);
	if (!table || host >= HOSTS || point >= HOST_ROWS)
		return ROW_BROKEN;
	return table[host].rows[point];
}

#if OWN_ROWS
static __always_inline __u32 host_row(__u64 host, __u64 point, __u64 own, const struct slot_header *facts)
{
	__u64 index = (host * HOST_ROWS + point) * facts->own_stride + own;
	__u32 zero = 0;
	__u32 *table = (__u32 *)own_rows.lookup(&zero);

	KEEP_WHOLE(index);
	if (!table || own == PEER_UNKNOWN || index >= OWN_ROWS)
		return ROW_BROKEN;
	return table[index];
}
#else
static __always_inline __u32 host_row(__u64 host, __u64 point, __u64 own, const struct slot_header *facts)
{
	return usual_row(host, point);
}
#endif

/* Which points some row of the host restricts. */
static __always_inline __u32 restricted_points(__u64 host)
{
	__u32 zero = 0;
	struct host *table = (struct host *)hosts.lookup(&zero);

	KEEP_WHOLE(host);
	if (!table || host >= HOSTS)
		return 0xffffffff;
	return table[host].restricted;
}

static __always_inline __u32 address_class(__u8 family, const __be32 *address, const struct slot_header *facts)
{
	if (family == 4)
		return peer_class4(address[0]);
	return peer_class6(address, facts);
}

/* The two sides of a packet at a host, as classes, and its L4 class. */
struct sides {
	__u64 own;
	__u32 peer;
	__u32 l4;
};

/* The cell of a host's row. CELL_NEXT: it leaves the packet to the next point. */
static __always_inline __u32 row_cell(__u32 row, const struct sides *sides, const struct slot_header *facts)
{
	if (row == UNRESTRICTED)
		return CELL_NEXT;
	if (row == ROW_BROKEN)
		return CELL_BROKEN;
	return cell_at(row, sides->peer, sides->l4, facts);
}

static __always_inline __u32 host_cell(__u64 host, __u64 point, const struct sides *sides,
				       const struct slot_header *facts)
{
	return row_cell(host_row(host, point, sides->own, facts), sides, facts);
}

static __always_inline bool lets_pass(__u32 cell)
{
	return cell != CELL_BROKEN && cell & (CELL_ALLOW | CELL_NEXT);
}

/* 0, 1, 2 for TCP, UDP, SCTP. */
static __always_inline __u64 port_place_of(__u8 protocol)
{
	if (protocol == PROTOCOL_TCP)
		return 0;
	if (protocol == PROTOCOL_UDP)
		return 1;
	return protocol == PROTOCOL_SCTP ? 2 : 3;
}

/* host: the packet ends in the node itself. CELL_NEXT: the host leaves it to the next point. */
static __always_inline __u32 early_cell(__u64 number, const struct sides *sides, bool host,
					const struct slot_header *facts)
{
	__u32 cell = host_cell(number, POINT_PRE_DNAT_IN, sides, facts);

	return host && cell & CELL_SPARES_HOST ? CELL_NEXT : cell;
}

/* Whether a service answers at the port, at every address of the node. */
static __always_inline bool is_node_port(__u8 protocol, __be16 port)
{
	__u64 place = port_place_of(protocol), number = bpf_ntohs(port);
	__u32 zero = 0;
	__u8 *bits = (__u8 *)node_ports.lookup(&zero);

	if (place > 2 || !bits)
		return false;
	return bits[place * 8192 + (number >> 3)] >> (number & 7) & 1;
}

/*
 * Addresses at which packets end in the node: its own, and those of groups and of everybody, for
 * which Linux takes 0.0.0.0, too.
 */
static __always_inline bool is_local(__u8 family, const __be32 *address)
{
	__u32 zero = 0, hash, i;
	struct local_address *table = (struct local_address *)local_addresses.lookup(&zero);

	if (family == 4 && (bpf_ntohl(address[0]) >> 28 == 14 || address[0] == 0xffffffff || !address[0]))
		return true;
	if (family == 6 && bpf_ntohl(address[0]) >> 24 == 0xff)
		return true;
	if (!table)
		return true;
	hash = address[0] * LOCAL_MIX1 + address[1] * LOCAL_MIX2 + address[2] * LOCAL_MIX3 + address[3] * LOCAL_MIX4;
	hash = (hash ^ hash >> 15) * LOCAL_MIX1 >> 16;
#pragma clang loop unroll(disable)
	for (i = 0; i < LOCAL_PROBES; i++) {
		const struct local_address *entry = &table[(__u64)(hash + i) & (LOCAL_ADDRESSES - 1)];

		if (entry->family == family && entry->address[0] == address[0] && entry->address[1] == address[1] &&
		    entry->address[2] == address[2] && entry->address[3] == address[3])
			return true;
	}
	return false;
}

/* ICMPv6 errors, which no policy that selects nodes forbids; nor path MTU discovery. */
static __always_inline bool is_node_error(const struct packet *packet)
{
	if (packet->key.family == 6 && packet->key.protocol == PROTOCOL_ICMPV6 && packet->fragment == WHOLE &&
	    packet->type >= ICMPV6_UNREACHABLE && packet->type <= ICMPV6_PARAMETER_PROBLEM)
		return true;
	return is_too_big(packet);
}

/* What policies that select nodes say about the node's own traffic. */
static __always_inline __u32 node_cell(const struct packet *packet, const struct sides *sides, bool ingress,
				       const struct slot_header *facts)
{
	if (!facts->node_host || is_node_error(packet))
		return CELL_NEXT;
	return host_cell(facts->node_host - 1, ingress ? POINT_ENDPOINT_IN : POINT_ENDPOINT_OUT, sides, facts);
}
