/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Destination and source port to L4 class, over a class of each; which: 0 TCP, 1 UDP, 2 SCTP. */

static __always_inline __u32 port_class(__u64 which, __be16 source, __be16 destination, const struct slot_header *facts)
{
	__u32 zero = 0;
	__u16 *to = (__u16 *)ports.lookup(&zero);
	__u16 *from = (__u16 *)source_ports.lookup(&zero);
	__u16 *pairs = (__u16 *)port_pairs.lookup(&zero);
	__u64 here = port_place(which, destination), there = port_place(which, source), pair;

	if (!to || !from || !pairs || here >= PORT_PLACES || there >= PORT_PLACES)
		return L4_UNKNOWN;
	pair = (__u64)to[here] * facts->source_stride + from[there];
	if (pair >= PORT_PAIRS)
		return L4_UNKNOWN;
	return pairs[pair];
}
