/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Destination port to L4 class; which: 0 TCP, 1 UDP, 2 SCTP. */

static __always_inline __u32 port_class(__u64 which, __be16 source, __be16 destination, const struct slot_header *facts)
{
	__u32 zero = 0;
	__u64 place = port_place(which, destination);
	__u16 *table = (__u16 *)ports.lookup(&zero);

	if (!table || place >= PORT_PLACES)
		return L4_UNKNOWN;
	return table[place];
}
