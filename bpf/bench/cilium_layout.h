/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The same policy as Cilium lays it out, for comparison: the address's identity by longest prefix, then
 * the endpoint's policy by longest prefix of protocol and port, for this identity and for any.
 */

#define IDENTITY_WORLD 2
#define POLICY_PREFIX 64

static __always_inline __u32 identity_of(const struct packet *packet)
{
	struct identity_key key = {};
	struct identity_entry *entry;

	key.prefix_length = packet->key.family == 4 ? 64 : 160;
	key.family = packet->key.family;
	key.address[0] = packet->key.remote[0];
#if BENCH_WORDS == 4
	key.address[1] = packet->key.remote[1];
	key.address[2] = packet->key.remote[2];
	key.address[3] = packet->key.remote[3];
#endif
	entry = bench_identities.lookup(&key);
	return entry ? entry->identity : IDENTITY_WORLD;
}

/* A deny is final; an allow of the identity's own may still meet a deny for everybody. */
static __always_inline __u32 allowed_by_prefixes(const struct packet *packet)
{
	struct policy_key key = {
		.prefix_length = POLICY_PREFIX,
		.identity = identity_of(packet),
		.protocol = packet->key.protocol,
		.port = packet->key.local_port,
	};
	struct policy_entry *entry = bench_policy.lookup(&key);
	__u32 allowed = 0;

	if (entry) {
		if (entry->deny)
			return 0;
		allowed = 1;
	}
	/* Else the compiler joins the two pointers with an or, which the verifier refuses. */
	asm volatile("" : "+r"(allowed));
	key.identity = 0;
	entry = bench_policy.lookup(&key);
	if (!entry)
		return allowed;
	return !entry->deny;
}
