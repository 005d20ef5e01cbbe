/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Many decisions in one run: three programs that differ in nothing but what they ask of each key. Keys
 * are drawn from a table, so that all see the same ones, and noted where the product keeps what it
 * knows of a packet.
 */

/* Small, since keys are read in passing and should not drive the tables out of the cache. */
struct bench_key {
	__be32 remote; /* the last word of the address */
	__be16 port;
	__u8 protocol;
	__u8 family;
};

#define SUBJECT_NONE 0
#define SUBJECT_BPFENCE 1
#define SUBJECT_CILIUM_LAYOUT 2

static __always_inline void draw(struct packet *packet, const struct bench_key *key, const struct bench_control *control)
{
	int i;

#pragma unroll
	for (i = 0; i < BENCH_WORDS - 1; i++)
		packet->key.remote[i] = control->network[i];
	packet->key.remote[BENCH_WORDS - 1] = key->remote;
	packet->key.local_port = key->port;
	packet->key.protocol = key->protocol;
	packet->key.family = key->family;
}

/* Uses all of the key, so that no part of drawing it can be left out. */
static __always_inline __u32 fold(const struct packet *packet)
{
	__u32 value = packet->key.local_port ^ packet->key.protocol ^ packet->key.family;
	int i;

#pragma unroll
	for (i = 0; i < BENCH_WORDS; i++)
		value ^= packet->key.remote[i];
	return value & 1;
}

static __always_inline __u32 ask(const int subject, const struct packet *packet, const struct rows *rows,
				 const struct slot_header *facts)
{
	if (subject == SUBJECT_BPFENCE)
		return !!(decide(packet, peer_class(packet, facts), rows, true, facts) & CELL_ALLOW);
	if (subject == SUBJECT_CILIUM_LAYOUT)
		return allowed_by_prefixes(packet);
	return fold(packet);
}

static __always_inline int repeat(const int subject)
{
	__u32 zero = 0, allowed = 0, position, decisions, i;
	struct scratch *scratch = scratches.lookup(&zero);
	struct slot_header *facts = (struct slot_header *)header.lookup(&zero);
	struct bench_control *control = (struct bench_control *)bench_control.lookup(&zero);
	struct bench_key *keys = (struct bench_key *)bench_keys.lookup(&zero);

	if (!scratch || !facts || !control || !keys)
		return -1;
	position = control->position;
	decisions = control->decisions;
	scratch->rows.egress = UNRESTRICTED;
	scratch->rows.ingress = control->row;
#pragma clang loop unroll(disable)
	for (i = 0; i < BENCH_ROUND; i++) {
		/* Else the compiler counts down from decisions, which the verifier knows nothing of. */
		asm volatile("" : "+r"(i));
		if (i >= decisions)
			break;
		draw(&scratch->packet, &keys[(__u64)(position + i) & (BENCH_KEYS - 1)], control);
		allowed += ask(subject, &scratch->packet, &scratch->rows, facts);
	}
	control->position = position + decisions;
	control->allowed += allowed;
	return allowed;
}

int bench_none(struct __sk_buff *skb)
{
	return repeat(SUBJECT_NONE);
}

int bench_bpfence(struct __sk_buff *skb)
{
	return repeat(SUBJECT_BPFENCE);
}

int bench_cilium_layout(struct __sk_buff *skb)
{
	return repeat(SUBJECT_CILIUM_LAYOUT);
}
