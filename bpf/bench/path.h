/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Around a whole program: nothing at all, and a step before it that makes every run's packet the first
 * of a flow of its own.
 */

int path_none(struct __sk_buff *skb)
{
	return VERDICT_PASS;
}

/* ``address``: where the last two bytes of the source address are; ``port``: where the source port is. */
static __always_inline int renew(struct __sk_buff *skb, const int address, const int port)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	__u32 zero = 0;
	__u64 *state = (__u64 *)path_state.lookup(&zero);

	if (!state || data + port + 2 > end)
		return VERDICT_DROP;
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	*(__u16 *)(data + address) = *state >> 48;
	*(__u16 *)(data + port) = *state >> 32;
	path_next.call(skb, 0);
	return VERDICT_DROP;
}

int path_renew4(struct __sk_buff *skb)
{
	return renew(skb, ETH_HEADER + 14, ETH_HEADER + 20);
}

int path_renew6(struct __sk_buff *skb)
{
	return renew(skb, ETH_HEADER + 22, ETH_HEADER + 40);
}
