/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Where a port stands in the tables of three protocols; which: 0 TCP, 1 UDP, 2 SCTP. */

#define PORT_PLACES (3 * 65536)

/*
 * The compiler knows that which is at most 2 and would drop a bounds check; the verifier, which sees
 * only the bits of the sum, needs it.
 */
static __always_inline __u64 port_place(__u64 which, __be16 port)
{
	__u64 place = which * 65536 + bpf_ntohs(port);

	asm volatile("" : "+r"(place));
	return place;
}
