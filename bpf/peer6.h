/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* IPv6 address to peer class: one hash probe per prefix length that occurs, longest first. */

/*
 * value, or 0 when it is negative. Without a branch, since the verifier would walk both ways of it
 * for every prefix length; the assembler statement keeps the compiler from making one.
 */
static __always_inline __s64 at_least_zero(__s64 value)
{
	__s64 sign = value >> 63;

	asm volatile("" : "+r"(sign));
	return value & ~sign;
}

/*
 * The upper `bits` bits of one word of an address, in network order; bits may lie outside 0 to 32.
 */
static __always_inline __u32 prefix_mask(__s64 bits)
{
	__s64 inside = at_least_zero(bits);

	return bpf_htonl(0xffffffff00000000ULL >> (inside - at_least_zero(inside - 32)));
}

/* INVARIANT: the same function as address6_hash of the table builder. */
static __always_inline __u32 address6_hash(const __be32 *words, __u32 length, __u32 seed)
{
	__u32 value = seed;
	int i;

#pragma unroll
	for (i = 0; i < 4; i++) {
		value = (value ^ words[i]) * 0x9E3779B1;
		value ^= value >> 15;
	}
	value = (value ^ length) * 0x85EBCA6B;
	return value ^ value >> 13;
}

static __always_inline __u32 peer_class6(const __be32 *address, const struct slot_header *facts)
{
	__u32 zero = 0, count = facts->address6_lengths;
	struct address6_entry *table = (struct address6_entry *)address6.lookup(&zero);
	__be32 masked[4];
	int i, j, w;

	if (!table)
		return PEER_UNKNOWN;
#pragma clang loop unroll(disable)
	for (i = 0; i < ADDRESS6_LENGTHS; i++) {
		__u32 length;
		__u64 bucket;

		if (i >= count)
			break;
		length = facts->lengths[i];
#pragma unroll
		for (w = 0; w < 4; w++)
			masked[w] = address[w] & prefix_mask((__s64)length - 32 * w);
		bucket = address6_hash(masked, length, facts->address6_seed) & (ADDRESS6_BUCKETS - 1);
#pragma clang loop unroll(disable)
		for (j = 0; j < ADDRESS6_BUCKET; j++) {
			struct address6_entry *entry = &table[bucket * ADDRESS6_BUCKET + j];

			/* One comparison for all, again to spare the verifier paths. */
			if (!((entry->length ^ (length + 1)) | (entry->prefix[0] ^ masked[0]) |
			      (entry->prefix[1] ^ masked[1]) | (entry->prefix[2] ^ masked[2]) |
			      (entry->prefix[3] ^ masked[3])))
				return entry->peer;
		}
	}
	return facts->peer6_default;
}
