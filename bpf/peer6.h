/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * IPv6 address to peer class: for each prefix length that occurs, longest first, one read of a perfect
 * hash table. An entry has a class, or a block with a class for each of its last 256 addresses.
 */

static __always_inline __u64 join(__be32 upper, __be32 lower)
{
	return (__u64)bpf_ntohl(upper) << 32 | bpf_ntohl(lower);
}

/* INVARIANT: the same functions as address6_hash and address6_slot of the table builder. */
static __always_inline __u64 address6_hash(__u64 upper, __u64 lower, __u64 mix)
{
	__u64 value = (lower ^ mix) * ADDRESS6_MIX1;

	value ^= value >> 32;
	value = (value ^ upper) * ADDRESS6_MIX2;
	return value ^ value >> 32;
}

static __always_inline __u64 address6_slot(__u64 hash, __u64 displacement)
{
	return ((hash ^ displacement * ADDRESS6_MIX3) * ADDRESS6_MIX4) >> ADDRESS6_SHIFT;
}

static __always_inline __u32 peer_class6(const __be32 *address, const struct slot_header *facts)
{
	__u32 zero = 0, count = facts->address6_lengths;
	struct address6_entry *entries = (struct address6_entry *)address6.lookup(&zero);
	struct address6_length *lengths = (struct address6_length *)address6_lengths.lookup(&zero);
	__u16 *displacements = (__u16 *)address6_displacements.lookup(&zero);
	__u16 *blocks = (__u16 *)address6_blocks.lookup(&zero);
	__u64 upper = join(address[0], address[1]), lower = join(address[2], address[3]);
	int i;

	if (!entries || !lengths || !displacements || !blocks)
		return PEER_UNKNOWN;
#pragma clang loop unroll(disable)
	for (i = 0; i < ADDRESS6_LENGTHS; i++) {
		struct address6_entry *entry;
		__u64 first, second, hash, block;
		__u32 length;

		if (i >= count)
			break;
		first = upper & lengths[i].upper;
		second = lower & lengths[i].lower;
		length = lengths[i].length;
		hash = address6_hash(first, second, lengths[i].mix);
		entry = &entries[address6_slot(hash, displacements[hash & (ADDRESS6_GROUPS - 1)])];
		if ((entry->upper ^ first) | (entry->lower ^ second) | (entry->length ^ (length + 1)))
			continue;
		if (!entry->block)
			return entry->peer;
		block = entry->block - 1;
		if (block >= ADDRESS6_BLOCKS)
			return PEER_UNKNOWN;
		return blocks[block * 256 + (lower & 0xff)];
	}
	return facts->peer6_default;
}
