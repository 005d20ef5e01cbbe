/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * IPv6 address to peer class: the prefix lengths that occur are asked one after the other, each with one
 * read of a perfect hash table. The lengths form a tree: a hit leads on to longer ones, a miss to shorter
 * ones, and the last hit counts. An entry has a class, or a block with a class for each of its last 256
 * addresses.
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

static __always_inline __u32 find_class6(const __be32 *address, const struct slot_header *facts)
{
	__u32 zero = 0, peer = facts->peer6_default;
	struct address6_entry *entries = (struct address6_entry *)address6.lookup(&zero);
	struct address6_length *lengths = (struct address6_length *)address6_lengths.lookup(&zero);
	__u16 *displacements = (__u16 *)address6_displacements.lookup(&zero);
	__u16 *blocks = (__u16 *)address6_blocks.lookup(&zero);
	__u64 upper = join(address[0], address[1]), lower = join(address[2], address[3]), at = 0, block = 0;
	int i;

	if (!entries || !lengths || !displacements || !blocks)
		return PEER_UNKNOWN;
#pragma clang loop unroll(disable)
	for (i = 0; i < ADDRESS6_STEPS; i++) {
		const struct address6_length *length;
		const struct address6_entry *entry;
		__u64 first, second, hash;

		asm volatile("" : "+r"(at));
		if (at >= ADDRESS6_LENGTHS)
			return PEER_UNKNOWN;
		length = &lengths[at];
		first = upper & length->upper;
		second = lower & length->lower;
		hash = address6_hash(first, second, length->mix);
		entry = &entries[address6_slot(hash, displacements[hash & (ADDRESS6_GROUPS - 1)])];
		if ((entry->upper ^ first) | (entry->lower ^ second) | (entry->length ^ (length->length + 1))) {
			at = length->shorter;
		} else {
			peer = entry->peer;
			block = entry->block;
			at = length->longer;
		}
		if (!at)
			goto found;
	}
	/* Deeper than the builder makes it. */
	return PEER_UNKNOWN;
found:
	if (!block)
		return peer;
	block--;
	asm volatile("" : "+r"(block));
	if (block >= ADDRESS6_BLOCKS)
		return PEER_UNKNOWN;
	return blocks[block * 256 + (lower & 0xff)];
}

/*
 * The class goes through the scratch memory: the verifier then takes it as unknown, whichever way it was
 * found, so all ways meet again behind the search and what follows is looked at once.
 */
static __always_inline __u32 peer_class6(const __be32 *address, const struct slot_header *facts)
{
	__u32 zero = 0;
	struct scratch *scratch = scratches.lookup(&zero);

	if (!scratch)
		return PEER_UNKNOWN;
	scratch->class6 = find_class6(address, facts);
	asm volatile("" ::: "memory");
	return scratch->class6;
}
