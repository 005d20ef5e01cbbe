/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* IPv4 address to peer class: three dependent reads. Level 1 has the upper bits, levels 2 and 3 those below. */

#define PEER_UNKNOWN 0xffffffff

static __always_inline __u32 peer_class4(__be32 address)
{
	__u32 zero = 0;
	__u64 host = bpf_ntohl(address), block;
	address4_l1_block *first = (address4_l1_block *)address4_l1.lookup(&zero);
	address4_l2_block *second = (address4_l2_block *)address4_l2.lookup(&zero);
	__u16 *third = (__u16 *)address4_l3.lookup(&zero);

	if (!first || !second || !third)
		return PEER_UNKNOWN;
	block = first[host >> (L2_BITS + L3_BITS)];
	if (block >= L2_BLOCKS)
		return PEER_UNKNOWN;
	block = second[(block << L2_BITS) + (host >> L3_BITS & ((1 << L2_BITS) - 1))];
	if (block >= L3_BLOCKS)
		return PEER_UNKNOWN;
	return third[(block << L3_BITS) + (host & ((1 << L3_BITS) - 1))];
}
