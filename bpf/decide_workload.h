/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A workload's flow on a node whose hosts have a say too: the host endpoint of every interface in
 * what the node passes on, policies that select nodes in what the node exchanges with its
 * workloads. What the workload sends comes in at the host, so the host's own side is the remote
 * address.
 */

#define HOSTS_DECIDE 1

/* A packet from the node itself was never received, so it carries no interface that received it. */
static __always_inline bool host_is_party(struct __sk_buff *skb, const struct packet *packet, const bool ingress)
{
	if (ingress)
		return !skb->ingress_ifindex;
	return is_local(packet->key.family, packet->key.remote);
}

/* Of a flow that may be older than what the hosts say about workloads. */
static __always_inline bool host_was_party(const struct connection *entry, const struct packet *packet)
{
	if (entry->flags & CONNECTION_INGRESS)
		return entry->flags & CONNECTION_HOST;
	return is_local(packet->key.family, packet->key.remote);
}

static __always_inline __u32 decide_sent(const struct packet *packet, const struct sides *sides, bool host,
					 const struct slot_header *facts)
{
	/* A service that answers at the node's address may be anywhere. */
	bool passed_on = !host || is_node_port(packet->key.protocol, packet->key.remote_port);
	__u32 cell = CELL_NEXT;

	if (facts->every_host) {
		cell = early_cell(facts->every_host - 1, sides, host, facts);
		if (lets_pass(cell) && passed_on && !(cell & CELL_ALLOW))
			cell = host_cell(facts->every_host - 1, POINT_FORWARD_IN, sides, facts);
		if (!lets_pass(cell))
			return cell;
	}
	if (!host)
		return CELL_NEXT;
	if (facts->host_flags & HOST_DROPS_WORKLOADS && !passed_on)
		return 0;
	return node_cell(packet, sides, true, facts);
}

static __always_inline __u32 decide_received(const struct packet *packet, const struct sides *sides, bool host,
					     const struct slot_header *facts)
{
	if (host)
		return node_cell(packet, sides, false, facts);
	if (facts->every_host)
		return host_cell(facts->every_host - 1, POINT_FORWARD_OUT, sides, facts);
	return CELL_NEXT;
}

/* peer: class of the remote address. host: the node itself is the other party. */
static __always_inline __u32 decide_flow(const struct packet *packet, __u32 peer, const struct scratch *scratch,
					 bool ingress, bool host, const struct slot_header *facts)
{
	__u32 cell = decide(packet, peer, &scratch->rows, ingress, facts), other;
	struct sides sides = {
		.own = peer,
		.peer = address_class(packet->key.family, packet->key.local, facts),
		.l4 = l4_class(packet, ingress, facts),
	};

	if (cell == CELL_BROKEN || !(cell & CELL_ALLOW))
		return cell;
	other = ingress ? decide_received(packet, &sides, host, facts) : decide_sent(packet, &sides, host, facts);
	return lets_pass(other) ? cell : other;
}
