/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Later fragments carry no ports: they follow the first one of their datagram. One that begins
 * inside the headers which that one was judged by is dropped, for the receiver might take its bytes
 * for theirs: what to do about an overlap is left open with IPv4, and not everybody discards the
 * whole datagram with IPv6 (RFC 5722). Of two first fragments each is judged for itself, and the
 * longer headers count.
 *
 * What is remembered: the jiffies of that moment in the lower bits, above them the bytes of headers.
 */

#define TIMEOUT_FRAGMENTS (60ULL * HZ)
#define FRAGMENT_HEADERS_SHIFT 48
#define FRAGMENT_TIME ((1ULL << FRAGMENT_HEADERS_SHIFT) - 1)

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

/* Bytes of headers of the first fragment; -1: none was allowed of late. */
static __always_inline __s64 headers_of_first(const struct fragment_key *key)
{
	__u64 *known = fragments.lookup(key), value;

	if (!known)
		return -1;
	value = *known;
	if (bpf_jiffies64() - (value & FRAGMENT_TIME) > TIMEOUT_FRAGMENTS)
		return -1;
	return value >> FRAGMENT_HEADERS_SHIFT;
}

static __always_inline int remember_fragment(const struct packet *packet, const bool ingress)
{
	struct fragment_key key = {};
	__s64 headers = packet->l4, known;
	__u64 value;

	fragment_key_of(&key, packet, ingress);
	known = headers_of_first(&key);
	if (known > headers)
		headers = known;
	value = (__u64)headers << FRAGMENT_HEADERS_SHIFT | bpf_jiffies64();
	return fragments.update(&key, &value) ? REASON_FRAGMENT : REASON_ALLOWED;
}

static __always_inline int follow_first(const struct packet *packet, const bool ingress)
{
	struct fragment_key key = {};
	__s64 headers;

	fragment_key_of(&key, packet, ingress);
	headers = headers_of_first(&key);
	return headers < 0 || packet->l4 < headers ? REASON_FRAGMENT : REASON_ALLOWED;
}
