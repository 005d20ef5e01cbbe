/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Around a whole program: nothing at all, and steps before it that make every run's packet the first of
 * a flow of its own, or one of many flows.
 */

int path_none(struct __sk_buff *skb)
{
	return VERDICT_PASS;
}

static __always_inline void draw(__u64 *state)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
}

/*
 * ``address``: where the last two bytes of the source address are; ``port``: where the source port is. ``flows``: of so
 * many, told apart by bits of the source port, one; 0: a new one.
 */
static __always_inline int vary(struct __sk_buff *skb, const int address, const int port, const __u32 flows)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	__u32 zero = 0;
	__u64 *state = (__u64 *)path_state.lookup(&zero);

	if (!state || data + port + 2 > end)
		return VERDICT_DROP;
	draw(state);
	if (flows) {
		*(__u16 *)(data + port) = bpf_htons(0x8000 | (*state >> 40 & (flows - 1)));
	} else {
		*(__u16 *)(data + address) = *state >> 48;
		*(__u16 *)(data + port) = *state >> 32;
	}
	path_next.call(skb, 0);
	return VERDICT_DROP;
}

int path_renew4(struct __sk_buff *skb)
{
	return vary(skb, ETH_HEADER + 14, ETH_HEADER + 20, 0);
}

int path_renew6(struct __sk_buff *skb)
{
	return vary(skb, ETH_HEADER + 22, ETH_HEADER + 40, 0);
}

int path_choose4(struct __sk_buff *skb)
{
	return vary(skb, ETH_HEADER + 14, ETH_HEADER + 20, PATH_FLOWS);
}

int path_choose6(struct __sk_buff *skb)
{
	return vary(skb, ETH_HEADER + 22, ETH_HEADER + 40, PATH_FLOWS);
}
