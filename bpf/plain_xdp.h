/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The short way for the packets that floods are made of: TCP and UDP, whole, without tags, IPv4 options and IPv6
 * extension headers, read in place and judged without notes. It says what the long way would, or nothing.
 */

/* The long way has to be taken. */
#define NOT_PLAIN 0xff

struct plain {
	const __be32 *local; /* in the frame */
	const __be32 *remote;
	__u8 family;
	__u8 protocol;
	__be16 local_port;
	__be16 remote_port;
};

static __always_inline bool is_plain_protocol(__u8 protocol)
{
	return protocol == PROTOCOL_UDP || protocol == PROTOCOL_TCP;
}

/*
 * l4: where the L4 header begins in the frame. reach: where the IP packet ends, as its header says. What the long way
 * calls malformed is not plain.
 */
static __always_inline bool read_ports(struct plain *plain, void *data, void *end, const __u32 l4, __u32 reach)
{
	const struct l4_start *start = data + l4;
	__u32 least = plain->protocol == PROTOCOL_TCP ? TCP_LEAST : sizeof(*start);

	if (reach < l4 + least || reach > end - data)
		return false;
	plain->remote_port = start->source_port;
	plain->local_port = start->destination_port;
	return true;
}

static __always_inline bool read_plain4(struct plain *plain, void *data, void *end)
{
	const struct ipv4_header *ip = data + ETH_HEADER;

	if (data + ETH_HEADER + sizeof(*ip) + sizeof(struct l4_start) > end)
		return false;
	if (ip->version_length != 0x45 || ip->fragment & bpf_htons(IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET) ||
	    !is_plain_protocol(ip->protocol))
		return false;
	plain->family = 4;
	plain->protocol = ip->protocol;
	plain->remote = &ip->source;
	plain->local = &ip->destination;
	return read_ports(plain, data, end, ETH_HEADER + sizeof(*ip), ETH_HEADER + bpf_ntohs(ip->total_length));
}

static __always_inline bool read_plain6(struct plain *plain, void *data, void *end)
{
	const struct ipv6_header *ip = data + ETH_HEADER;

	if (data + ETH_HEADER + sizeof(*ip) + sizeof(struct l4_start) > end)
		return false;
	if ((bpf_ntohl(ip->version) >> 28) != 6 || !is_plain_protocol(ip->next_header))
		return false;
	plain->family = 6;
	plain->protocol = ip->next_header;
	plain->remote = ip->source;
	plain->local = ip->destination;
	return read_ports(plain, data, end, ETH_HEADER + sizeof(*ip),
			  ETH_HEADER + sizeof(*ip) + bpf_ntohs(ip->payload_length));
}

static __always_inline bool read_plain(struct plain *plain, struct xdp_md *context)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;

	switch (frame_ethertype(context)) {
	case ETHERTYPE_IPV4:
		return read_plain4(plain, data, end);
	case ETHERTYPE_IPV6:
		return read_plain6(plain, data, end);
	default:
		return false;
	}
}
