/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Destination port to L4 class where no row that is asked here tells source ports apart, though others do: any class of
 * source ports will do, and every protocol has the first one. which: 0 TCP, 1 UDP, 2 SCTP.
 */

static __always_inline __u32 port_class(__u64 which, __be16 source, __be16 destination, const struct slot_header *facts)
{
	__u32 zero = 0;
	__u16 *to = (__u16 *)ports.lookup(&zero);
	__u16 *pairs = (__u16 *)port_pairs.lookup(&zero);
	__u64 here = port_place(which, destination), pair;

	if (!to || !pairs || here >= PORT_PLACES)
		return L4_UNKNOWN;
	pair = (__u64)to[here] * facts->source_stride;
	if (pair >= PORT_PAIRS)
		return L4_UNKNOWN;
	return pairs[pair];
}
