/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Later fragments carry no ports: they follow the first one of their datagram. */

#define TIMEOUT_FRAGMENTS (60ULL * HZ)

static __always_inline void fragment_key_of(struct fragment_key *to, const struct packet *packet, const bool ingress)
{
	const struct connection_key *key = &packet->key;
	int i;

#pragma unroll
	for (i = 0; i < 4; i++) {
		to->source[i] = ingress ? key->remote[i] : key->local[i];
		to->destination[i] = ingress ? key->local[i] : key->remote[i];
	}
	to->id = packet->fragment_id;
	to->ifindex = key->ifindex;
	to->direction = ingress;
	to->protocol = key->family == 4 ? key->protocol : 0;
	to->family = key->family;
}

static __always_inline int remember_fragment(const struct packet *packet, const bool ingress)
{
	struct fragment_key key = {};
	__u64 now = bpf_jiffies64();

	fragment_key_of(&key, packet, ingress);
	return fragments.update(&key, &now) ? REASON_FRAGMENT : REASON_ALLOWED;
}

static __always_inline int follow_first(const struct packet *packet, const bool ingress)
{
	struct fragment_key key = {};
	__u64 *seen;

	fragment_key_of(&key, packet, ingress);
	seen = fragments.lookup(&key);
	if (!seen || bpf_jiffies64() - *seen > TIMEOUT_FRAGMENTS)
		return REASON_FRAGMENT;
	return REASON_ALLOWED;
}
