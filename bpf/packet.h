/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * From a frame to the facts that a decision needs. Nothing is taken from bytes beyond the IP
 * length.
 */

#define PARSED 0
#define NOT_IP 1
#define MALFORMED 2

#define MAX_VLAN_TAGS 2
#define MAX_EXTENSIONS 8

#define WHOLE 0
#define FIRST_FRAGMENT 1
#define LATER_FRAGMENT 2


/*
 * Copy from the packet: straight from its linear part where that reaches, else by the helper, which
 * also reads the paged part.
 */
static __always_inline int read_bytes(struct __sk_buff *skb, __u32 offset, void *to, const __u32 size)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	void *from;

	if (offset > 0x7fff)
		return MALFORMED;
	from = data + offset;
	/*
	 * The check and the copy must use one register: the verifier knows the range of that one
	 * only.
	 */
	asm volatile("" : "+r"(from));
	if (from + size > end)
		return bpf_skb_load_bytes(skb, offset, to, size) ? MALFORMED : PARSED;
	__builtin_memcpy(to, __builtin_assume_aligned(from, 4), size);
	return PARSED;
}

static __always_inline void set_ports(struct connection_key *key, __be16 source, __be16 destination,
				      const bool outbound)
{
	key->local_port = outbound ? source : destination;
	key->remote_port = outbound ? destination : source;
}

/* A whole TCP header has to be there, not only what is read of it. */
static __always_inline int read_tcp(struct __sk_buff *skb, struct packet *packet, const bool outbound)
{
	struct tcp_start start;

	if (packet->l4 + TCP_LEAST > packet->end || read_bytes(skb, packet->l4, &start, sizeof(start)))
		return MALFORMED;
	set_ports(&packet->key, start.source_port, start.destination_port, outbound);
	packet->tcp_flags = start.flags;
	return PARSED;
}

static __always_inline bool is_icmp(const struct connection_key *key)
{
	return key->protocol == (key->family == 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6);
}

/*
 * quoted: inside an ICMP error, which carries 8 bytes of the L4 header at least and often no more.
 */
static __always_inline int read_l4(struct __sk_buff *skb, struct packet *packet, const bool outbound,
				   const bool quoted)
{
	struct connection_key *key = &packet->key;
	__u32 least = sizeof(struct l4_start);
	struct l4_start start;

	if (key->protocol == PROTOCOL_TCP && !quoted)
		return read_tcp(skb, packet, outbound);
	if (key->protocol == PROTOCOL_SCTP && !quoted)
		least = SCTP_LEAST;
	else if (key->protocol != PROTOCOL_TCP && key->protocol != PROTOCOL_UDP && key->protocol != PROTOCOL_SCTP &&
		 !is_icmp(key))
		return PARSED;
	if (packet->l4 + least > packet->end || read_bytes(skb, packet->l4, &start, sizeof(start)))
		return MALFORMED;
	if (!is_icmp(key)) {
		set_ports(key, start.source_port, start.destination_port, outbound);
		return PARSED;
	}
	packet->type = start.source_port & 0xff;
	packet->code = start.source_port >> 8;
	set_ports(key, start.rest & 0xffff, start.rest & 0xffff, outbound);
	return PARSED;
}

/*
 * length: of the IP packet from its header on, as the header says; 0 in a GSO packet too large for
 * the field.
 */
static __always_inline int set_end(struct __sk_buff *skb, struct packet *packet, __u32 at, __u32 length,
				   const bool quoted)
{
	packet->end = skb->len;
	if (quoted || (!length && skb->gso_size))
		return PARSED;
	if (at + length > skb->len)
		return MALFORMED;
	packet->end = at + length;
	return PARSED;
}

static __always_inline int parse_ipv4(struct __sk_buff *skb, __u32 at, struct packet *packet, const bool outbound,
				      const bool quoted)
{
	struct connection_key *key = &packet->key;
	struct ipv4_header header;
	__u32 length, fragment;

	if (read_bytes(skb, at, &header, sizeof(header)))
		return MALFORMED;
	length = (header.version_length & 0x0f) * 4;
	if (header.version_length >> 4 != 4 || length < sizeof(header))
		return MALFORMED;
	if (set_end(skb, packet, at, bpf_ntohs(header.total_length), quoted) || at + length > packet->end)
		return MALFORMED;
	key->family = 4;
	key->protocol = header.protocol;
	key->local[0] = outbound ? header.source : header.destination;
	key->remote[0] = outbound ? header.destination : header.source;
	packet->hop_limit = header.hop_limit;
	packet->l4 = at + length;
	fragment = bpf_ntohs(header.fragment);
	if (fragment & (IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET)) {
		packet->fragment = fragment & IPV4_FRAGMENT_OFFSET ? LATER_FRAGMENT : FIRST_FRAGMENT;
		packet->fragment_id = header.id;
		/* A fragment that would overwrite the TCP flags of the first one (RFC 3128). */
		if (key->protocol == PROTOCOL_TCP && (fragment & IPV4_FRAGMENT_OFFSET) == 1)
			return MALFORMED;
	}
	return PARSED;
}

/* Walks the extension headers to the one that is not one, and leaves packet->l4 there. */
static __always_inline int skip_extensions(struct __sk_buff *skb, struct packet *packet)
{
	struct ipv6_extension extension;
	__u32 next = packet->key.protocol;
	__u32 at = packet->l4, fragment;
	int i;

#pragma clang loop unroll(disable)
	for (i = 0; i <= MAX_EXTENSIONS; i++) {
		if (next != PROTOCOL_HOP_BY_HOP && next != PROTOCOL_ROUTING && next != PROTOCOL_DESTINATION &&
		    next != PROTOCOL_AUTHENTICATION && next != PROTOCOL_FRAGMENT) {
			packet->key.protocol = next;
			packet->l4 = at;
			return PARSED;
		}
		if (at + sizeof(extension) > packet->end || bpf_skb_load_bytes(skb, at, &extension, sizeof(extension)))
			return MALFORMED;
		if (next == PROTOCOL_FRAGMENT) {
			if (packet->fragment != WHOLE)
				return MALFORMED;
			fragment = extension.type << 8 | extension.segments_left;
			packet->fragment_id = extension.id;
			if (fragment & IPV6_FRAGMENT_OFFSET) {
				packet->fragment = LATER_FRAGMENT;
				return PARSED;
			}
			if (fragment & IPV6_MORE_FRAGMENTS)
				packet->fragment = FIRST_FRAGMENT;
			at += sizeof(extension);
		} else if (next == PROTOCOL_AUTHENTICATION) {
			at += (extension.length + 2) * 4;
		} else {
			/*
			 * Segments left: the packet goes on to an address which can't be judged
			 * here.
			 */
			if (next == PROTOCOL_ROUTING && extension.segments_left)
				return MALFORMED;
			at += (extension.length + 1) * 8;
		}
		next = extension.next_header;
	}
	return MALFORMED;
}

static __always_inline int parse_ipv6(struct __sk_buff *skb, __u32 at, struct packet *packet, const bool outbound,
				      const bool quoted)
{
	struct connection_key *key = &packet->key;
	struct ipv6_header header;
	__u32 length;
	int i;

	if (read_bytes(skb, at, &header, sizeof(header)))
		return MALFORMED;
	if ((bpf_ntohl(header.version) >> 28) != 6)
		return MALFORMED;
	length = bpf_ntohs(header.payload_length);
	if (length || !skb->gso_size)
		length += sizeof(header);
	if (set_end(skb, packet, at, length, quoted) || at + sizeof(header) > packet->end)
		return MALFORMED;
	key->family = 6;
	key->protocol = header.next_header;
#pragma unroll
	for (i = 0; i < 4; i++) {
		key->local[i] = outbound ? header.source[i] : header.destination[i];
		key->remote[i] = outbound ? header.destination[i] : header.source[i];
	}
	packet->hop_limit = header.hop_limit;
	packet->l4 = at + sizeof(header);
	return skip_extensions(skb, packet);
}

static __always_inline int parse_ip(struct __sk_buff *skb, __u32 at, __u32 ethertype, struct packet *packet,
				    const bool outbound, const bool quoted)
{
	int result;

	if (ethertype == ETHERTYPE_IPV4)
		result = parse_ipv4(skb, at, packet, outbound, quoted);
	else
		result = parse_ipv6(skb, at, packet, outbound, quoted);
	if (result != PARSED || packet->fragment == LATER_FRAGMENT)
		return result;
	return read_l4(skb, packet, outbound, quoted);
}

/* outbound: the packet comes from the endpoint. */
static __always_inline int parse_frame(struct __sk_buff *skb, struct packet *packet, const bool outbound)
{
	__u32 ethertype = bpf_ntohs(skb->protocol), at = ETH_HEADER;
	struct vlan_tag tag;
	int i;

#pragma clang loop unroll(disable)
	for (i = 0; i < MAX_VLAN_TAGS; i++) {
		if (ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ)
			break;
		if (bpf_skb_load_bytes(skb, at, &tag, sizeof(tag)))
			return MALFORMED;
		ethertype = bpf_ntohs(tag.ethertype);
		at += sizeof(tag);
	}
	if (ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ)
		return MALFORMED;
	if (ethertype != ETHERTYPE_IPV4 && ethertype != ETHERTYPE_IPV6)
		return NOT_IP;
	packet->key.ifindex = skb->ifindex;
	return parse_ip(skb, at, ethertype, packet, outbound, false);
}
