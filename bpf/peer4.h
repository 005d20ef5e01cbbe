/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* IPv4 address to peer class: three dependent reads, 16 + 8 + 8 bits. */

#define PEER_UNKNOWN 0xffffffff

static __always_inline __u32 peer_class4(__be32 address)
{
	__u32 zero = 0;
	__u64 host = bpf_ntohl(address), block;
	__u16 *first = (__u16 *)address4_l1.lookup(&zero);
	address4_l2_block *second = (address4_l2_block *)address4_l2.lookup(&zero);
	__u16 *third = (__u16 *)address4_l3.lookup(&zero);

	if (!first || !second || !third)
		return PEER_UNKNOWN;
	block = first[host >> 16];
	if (block >= L2_BLOCKS)
		return PEER_UNKNOWN;
	block = second[block * 256 + (host >> 8 & 0xff)];
	if (block >= L3_BLOCKS)
		return PEER_UNKNOWN;
	return third[block * 256 + (host & 0xff)];
}
