/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Notes about flows that the connection table was just asked about: the lookup there costs more
 * than all else that a packet of an established flow needs. Each CPU has its own, a place per flow
 * and direction, found by a hash; flows that share a place take turns.
 *
 * INVARIANT: within a generation a flow that was allowed is not denied any more; what ends it is
 * time, or room. So a note gives the answer that its entry gave a few milliseconds ago. It stands for
 * packets that would change nothing in the entry but the time and the counts, and for so short a time
 * that an entry in use never looks idle, neither to its timeout nor to the table when it needs room.
 * What the note has counted reaches the entry with the next packet that asks for it there.
 */

#define HOT_JIFFIES (HZ < 100 ? 1 : HZ / 100)
#define HOT_BYTES 65536

struct hot_table {
	char bytes[sizeof(struct hot_flow) << HOT_FLOWS_BITS];
};

BPF_PERCPU_ARRAY(hot_flows, struct hot_table, 1);

static __always_inline struct hot_flow *hot_place(const struct connection_key *key, const bool ingress)
{
	const __u64 *words = __builtin_assume_aligned(key, 8);
	__u32 zero = 0;
	struct hot_flow *flows = (struct hot_flow *)hot_flows.lookup(&zero);
	__u64 sum = words[0] ^ words[1] ^ words[2] ^ words[3] ^ words[4];

	if (!flows)
		return NULL;
	return flows + ((sum + ingress) * 0x9E3779B97F4A7C15ULL >> (64 - HOT_FLOWS_BITS));
}

static __always_inline __u32 hot_stamp(const struct slot_header *facts, const bool ingress)
{
	return facts->generation << 1 | ingress;
}

/* Whether the place is of this flow and direction, in whichever generation. */
static __always_inline bool is_place_of(const struct hot_flow *hot, const struct connection_key *key,
					const bool ingress)
{
	const __u64 *noted = __builtin_assume_aligned(&hot->key, 8);
	const __u64 *asked = __builtin_assume_aligned(key, 8);
	__u64 differ = noted[4] ^ asked[4];

	_Static_assert(sizeof(*key) == 44, "five words of 64 bits, and one of 32");
	differ |= (noted[0] ^ asked[0]) | (noted[1] ^ asked[1]) | (noted[2] ^ asked[2]) | (noted[3] ^ asked[3]);
	return !differ && *(__u32 *)&noted[5] == *(__u32 *)&asked[5] && (hot->stamp & 1) == ingress;
}

static __always_inline bool is_fresh(const struct hot_flow *hot)
{
	return bpf_jiffies64() - hot->since < HOT_JIFFIES;
}

/* Packets that a note can stand for: those that neither open nor end anything. */
static __always_inline bool is_ordinary(const struct packet *packet)
{
	if (packet->fragment != WHOLE)
		return false;
	if (packet->key.protocol == PROTOCOL_TCP)
		return !(packet->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST));
	return packet->key.protocol == PROTOCOL_UDP || packet->key.protocol == PROTOCOL_SCTP;
}

/* Whether the packet is of a flow that was allowed just now. It is counted if so. */
static __always_inline bool is_hot(struct __sk_buff *skb, const struct packet *packet, const bool ingress)
{
	__u32 zero = 0;
	struct slot_header *facts = (struct slot_header *)header.lookup(&zero);
	struct hot_flow *hot;

	if (!facts || !is_ordinary(packet))
		return false;
	hot = hot_place(&packet->key, ingress);
	if (!hot || hot->stamp != hot_stamp(facts, ingress) || !is_place_of(hot, &packet->key, ingress))
		return false;
	if (!is_fresh(hot) || hot->bytes >= HOT_BYTES)
		return false;
	hot->packets += 1;
	hot->bytes += skb->len;
	return true;
}

/*
 * What the note has counted goes to the entry. Counts are approximate: those that another CPU has noted
 * follow later, and may meet the next flow of the same tuple.
 */
static __always_inline void settle(struct connection *entry, struct hot_flow *hot)
{
	if (entry) {
		entry->packets += hot->packets;
		entry->bytes += hot->bytes;
	}
	hot->packets = 0;
	hot->bytes = 0;
}

/* Whether an ordinary packet would change the time and the counts alone. */
static __always_inline bool is_settled(const struct connection *entry, const struct packet *packet)
{
	if (packet->key.protocol == PROTOCOL_TCP)
		return entry->state & TCP_ESTABLISHED && !is_closing(entry);
	return true;
}

/* Whether the flow's last packet was so recent that a note would have stood for this one. */
static __always_inline bool is_frequent(const struct connection *entry)
{
	return bpf_jiffies64() - entry->last_seen <= 2 * HOT_JIFFIES;
}

/* After a packet of a frequent flow of this generation, which its entry allowed and has counted. */
static __always_inline void note(struct connection *entry, const struct packet *packet,
				 const struct slot_header *facts, const bool ingress)
{
	struct hot_flow *hot = hot_place(&packet->key, ingress);

	if (!hot)
		return;
	if (is_place_of(hot, &packet->key, ingress)) {
		settle(entry, hot);
		hot->since = 0;
	} else if (is_fresh(hot)) {
		return;
	} else if (hot->packets) {
		settle(connections.lookup(&hot->key), hot);
	}
	if (!is_ordinary(packet) || !is_settled(entry, packet))
		return;
	hot->key = packet->key;
	hot->stamp = hot_stamp(facts, ingress);
	hot->since = bpf_jiffies64();
}
