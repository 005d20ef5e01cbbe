/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * From a frame to the facts that a decision needs. Nothing is taken from bytes beyond the IP
 * length.
 *
 * INVARIANT: the l4 of a parsed fragment is a place in its datagram, counted from where the
 * fragmented part begins: in a first fragment the end of the headers that the verdict rests on, in
 * a later one its offset.
 */

#define PARSED 0
#define NOT_IP 1
#define MALFORMED 2

#define MAX_VLAN_TAGS 2
#define MAX_EXTENSIONS 8
/* Bytes, and so most options of one byte. */
#define MAX_OPTIONS 40

#define OPTION_END 0
#define OPTION_NOTHING 1
#define OPTION_LOOSE_ROUTE 131
#define OPTION_STRICT_ROUTE 137

#define WHOLE 0
#define FIRST_FRAGMENT 1
#define LATER_FRAGMENT 2


/*
 * Copy from the packet: straight from its linear part where that reaches, else by the helper, which
 * also reads the paged part.
 */
static __always_inline int read_bytes(frame *skb, __u32 offset, void *to, const __u32 size)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	__u64 place = offset;
	void *from;

	/*
	 * Each check and the use of what it checks must be of one register: the verifier knows the
	 * range of that one only.
	 */
	asm volatile("" : "+r"(place));
	if (place > 0x7fff)
		return MALFORMED;
	from = data + place;
	asm volatile("" : "+r"(from));
	if (from + size > end)
		return load_bytes(skb, offset, to, size) ? MALFORMED : PARSED;
	__builtin_memcpy(to, __builtin_assume_aligned(from, 4), size);
	return PARSED;
}

static __always_inline void set_ports(struct connection_key *key, __be16 source, __be16 destination,
				      const bool outbound)
{
	key->local_port = outbound ? source : destination;
	key->remote_port = outbound ? destination : source;
}

static __always_inline int read_tcp(frame *skb, struct packet *packet, const bool outbound)
{
	struct tcp_start start;

	if (read_bytes(skb, packet->l4, &start, sizeof(start)))
		return MALFORMED;
	set_ports(&packet->key, start.source_port, start.destination_port, outbound);
	packet->tcp_flags = start.flags;
	return PARSED;
}

static __always_inline bool is_icmp(const struct connection_key *key)
{
	return key->protocol == (key->family == 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6);
}

/* Bytes of the L4 header that have to be there, more than are read of it; 0: none is read. */
static __always_inline __u32 least_header(const struct connection_key *key)
{
	if (key->protocol == PROTOCOL_TCP)
		return TCP_LEAST;
	if (key->protocol == PROTOCOL_SCTP)
		return SCTP_LEAST;
	return key->protocol == PROTOCOL_UDP || is_icmp(key) ? sizeof(struct l4_start) : 0;
}

/*
 * quoted: inside an ICMP error, which carries 8 bytes of the L4 header at least and often no more.
 */
static __always_inline int read_l4(frame *skb, struct packet *packet, const bool outbound,
				   const bool quoted)
{
	struct connection_key *key = &packet->key;
	__u32 least = least_header(key);
	struct l4_start start;

	if (!least)
		return PARSED;
	if (packet->l4 + (quoted ? sizeof(start) : least) > packet->end)
		return MALFORMED;
	if (key->protocol == PROTOCOL_TCP && !quoted)
		return read_tcp(skb, packet, outbound);
	if (read_bytes(skb, packet->l4, &start, sizeof(start)))
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
 * the field. A quoted packet is cut short, so it ends where its caller says, else with the frame.
 */
static __always_inline int set_end(frame *skb, struct packet *packet, __u32 at, __u32 length,
				   const bool quoted)
{
	if (quoted && packet->end)
		return PARSED;
	packet->end = frame_length(skb);
	if (quoted || (!length && is_segmented(skb)))
		return PARSED;
	if (at + length > frame_length(skb))
		return MALFORMED;
	packet->end = at + length;
	return PARSED;
}

/*
 * The options of an IPv4 header. A source route with stops left is refused: the packet goes on to an
 * address which can't be judged here.
 */
static __always_inline int check_options(frame *skb, __u32 at, __u32 end)
{
	__u8 type, length, pointer;
	int i;

#pragma clang loop unroll(disable)
	for (i = 0; i < MAX_OPTIONS; i++) {
		if (at >= end)
			return PARSED;
		if (load_bytes(skb, at, &type, 1))
			return MALFORMED;
		if (type == OPTION_END)
			return PARSED;
		if (type == OPTION_NOTHING) {
			at++;
			continue;
		}
		if (at + 2 > end || load_bytes(skb, at + 1, &length, 1) || length < 2 || at + length > end)
			return MALFORMED;
		if (type == OPTION_LOOSE_ROUTE || type == OPTION_STRICT_ROUTE) {
			if (length < 3 || load_bytes(skb, at + 2, &pointer, 1) || pointer <= length)
				return MALFORMED;
		}
		at += length;
	}
	return PARSED;
}

static __always_inline int parse_ipv4(frame *skb, __u32 at, struct packet *packet, const bool outbound,
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
	if (!quoted && length > sizeof(header) && check_options(skb, at + sizeof(header), at + length))
		return MALFORMED;
	key->family = 4;
	key->protocol = header.protocol;
	key->local[0] = outbound ? header.source : header.destination;
	key->remote[0] = outbound ? header.destination : header.source;
	packet->hop_limit = header.hop_limit;
	packet->l4 = at + length;
	fragment = bpf_ntohs(header.fragment);
	if (!(fragment & (IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET)))
		return PARSED;
	packet->fragment = FIRST_FRAGMENT;
	packet->fragment_id = header.id;
	fragment &= IPV4_FRAGMENT_OFFSET;
	if (!fragment)
		return PARSED;
	packet->fragment = LATER_FRAGMENT;
	packet->l4 = fragment * 8;
	/* It would overwrite the TCP flags of the first one (RFC 3128), also where nobody remembers that one. */
	return key->protocol == PROTOCOL_TCP && fragment == 1 ? MALFORMED : PARSED;
}

/* Walks the extension headers to the one that is not one, and leaves packet->l4 there. */
static __always_inline int skip_extensions(frame *skb, struct packet *packet)
{
	struct ipv6_extension extension;
	__u32 next = packet->key.protocol;
	__u32 at = packet->l4, fragment;
	bool fragmented = false;
	int i;

#pragma clang loop unroll(disable)
	for (i = 0; i <= MAX_EXTENSIONS; i++) {
		if (next != PROTOCOL_HOP_BY_HOP && next != PROTOCOL_ROUTING && next != PROTOCOL_DESTINATION &&
		    next != PROTOCOL_AUTHENTICATION && next != PROTOCOL_FRAGMENT) {
			packet->key.protocol = next;
			packet->l4 = at;
			return at > packet->end ? MALFORMED : PARSED;
		}
		if (i == MAX_EXTENSIONS || at + sizeof(extension) > packet->end ||
		    load_bytes(skb, at, &extension, sizeof(extension)))
			return MALFORMED;
		if (next == PROTOCOL_FRAGMENT) {
			if (fragmented)
				return MALFORMED;
			fragmented = true;
			fragment = extension.type << 8 | extension.segments_left;
			packet->fragment_id = extension.id;
			if (fragment & IPV6_FRAGMENT_OFFSET) {
				packet->fragment = LATER_FRAGMENT;
				packet->l4 = fragment & IPV6_FRAGMENT_OFFSET;
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

static __always_inline int parse_ipv6(frame *skb, __u32 at, struct packet *packet, const bool outbound,
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
	if (length || !is_segmented(skb))
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

/*
 * How far into its datagram the headers of a first fragment reach. With IPv6 those before its
 * fragment header are counted in: too many bytes do no harm, since the next fragment of an honest
 * sender begins far behind them.
 */
static __always_inline __u32 judged_bytes(const struct packet *packet, __u32 at, __u32 ethertype)
{
	__u32 least = least_header(&packet->key);

	if (ethertype == ETHERTYPE_IPV4)
		return least;
	return packet->l4 - at - sizeof(struct ipv6_header) - sizeof(struct ipv6_extension) + least;
}

static __always_inline int parse_ip(frame *skb, __u32 at, __u32 ethertype, struct packet *packet,
				    const bool outbound, const bool quoted)
{
	int result;

	if (ethertype == ETHERTYPE_IPV4)
		result = parse_ipv4(skb, at, packet, outbound, quoted);
	else
		result = parse_ipv6(skb, at, packet, outbound, quoted);
	if (result != PARSED || packet->fragment == LATER_FRAGMENT)
		return result;
	result = read_l4(skb, packet, outbound, quoted);
	if (packet->fragment == FIRST_FRAGMENT && !quoted)
		packet->l4 = judged_bytes(packet, at, ethertype);
	return result;
}

/* outbound: the packet comes from the endpoint. */
static __always_inline int parse_frame(frame *skb, struct packet *packet, const bool outbound)
{
	__u32 ethertype = frame_ethertype(skb), at = ETH_HEADER;
	struct vlan_tag tag;
	int i;

#pragma clang loop unroll(disable)
	for (i = 0; i < MAX_VLAN_TAGS; i++) {
		if (ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ)
			break;
		if (load_bytes(skb, at, &tag, sizeof(tag)))
			return MALFORMED;
		ethertype = bpf_ntohs(tag.ethertype);
		at += sizeof(tag);
	}
	if (ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ)
		return MALFORMED;
	if (ethertype != ETHERTYPE_IPV4 && ethertype != ETHERTYPE_IPV6)
		return NOT_IP;
	packet->key.ifindex = frame_interface(skb);
	return parse_ip(skb, at, ethertype, packet, outbound, false);
}
