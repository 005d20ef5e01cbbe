/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What no policy forbids: IPv6 could not work without neighbour discovery, nor path MTU discovery
 * without its errors.
 */

/*
 * Neighbour discovery and listener reports of this link: their hop limit proves that no router
 * passed them on.
 */
static __always_inline bool is_link_control(const struct packet *packet)
{
	if (packet->key.family != 6 || packet->key.protocol != PROTOCOL_ICMPV6 || packet->fragment != WHOLE)
		return false;
	if (packet->type >= ICMPV6_ROUTER_SOLICITATION && packet->type <= ICMPV6_NEIGHBOUR_ADVERTISEMENT)
		return packet->hop_limit == 255;
	if ((packet->type >= ICMPV6_LISTENER_QUERY && packet->type <= ICMPV6_LISTENER_DONE) ||
	    packet->type == ICMPV6_LISTENER_REPORT_V2)
		return packet->hop_limit == 1;
	return false;
}

/* fe80::/10 or the unspecified address, which duplicate address detection sends from. */
static __always_inline bool is_link_source(const __be32 *address)
{
	if ((bpf_ntohl(address[0]) & 0xffc00000) == 0xfe800000)
		return true;
	return !(address[0] | address[1] | address[2] | address[3]);
}

/* Errors that tell the sender to make its packets smaller. */
static __always_inline bool is_too_big(const struct packet *packet)
{
	if (packet->fragment != WHOLE)
		return false;
	if (packet->key.family == 4)
		return packet->key.protocol == PROTOCOL_ICMP && packet->type == ICMP_UNREACHABLE &&
		       packet->code == ICMP_FRAGMENTATION_NEEDED;
	return packet->key.protocol == PROTOCOL_ICMPV6 && packet->type == ICMPV6_PACKET_TOO_BIG;
}

/*
 * An endpoint that has no address yet asks for one: 0.0.0.0:68 to 255.255.255.255:67, and nothing
 * else from 0.0.0.0.
 */
static __always_inline bool is_address_request(const struct packet *packet)
{
	const struct connection_key *key = &packet->key;

	return key->family == 4 && !key->local[0] && key->remote[0] == 0xffffffff && key->protocol == PROTOCOL_UDP &&
	       packet->fragment == WHOLE && key->local_port == bpf_htons(68) && key->remote_port == bpf_htons(67);
}
