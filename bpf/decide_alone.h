/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Nobody but the workload has a say: its row decides. */

#define HOSTS_DECIDE 0

/*
 * Noted for a generation in which the hosts have a say: what the node itself sends was never
 * received. Of what it receives, that generation can tell by the address.
 */
static __always_inline bool host_is_party(struct __sk_buff *skb, const struct packet *packet, const bool ingress)
{
	return ingress && !skb->ingress_ifindex;
}

static __always_inline bool host_was_party(const struct connection *entry, const struct packet *packet)
{
	return entry->flags & CONNECTION_HOST;
}

static __always_inline __u32 decide_flow(const struct packet *packet, __u32 peer, const struct scratch *scratch,
					 bool ingress, bool host, const struct slot_header *facts)
{
	return decide(packet, peer, &scratch->rows, ingress, facts);
}
