/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Attached once and never replaced: hands every packet to the programs of the slot that is in
 * force.
 */

/*
 * The word is read once. A packet that met a dispatcher before carries the number of that one's
 * generation in its mark, and stays with it: with the one in force, or with the one before it while
 * the other slot still holds that whole. Where it is gone, nobody can say any more what it would
 * have said. The index of each tail call is a constant, which makes it a direct jump; the assembler
 * statements keep the compiler from folding the two calls into one.
 */
static __always_inline int dispatch(struct __sk_buff *skb, const int hook)
{
	__u32 zero = 0, mark = skb->mark, choice = mark & MARK_MASK;
	volatile __u64 *word = active.lookup(&zero);
	__u64 now = word ? *word : 0;
	__u32 number = now & MARK_MASK, slot = now & 1;

	if (!word)
		goto failed;
	if (!now)
		return VERDICT_PASS;
	if (choice != number) {
		if (!choice) {
			skb->mark = mark | number;
		} else if (choice == (now << ACTIVE_STANDBY & MARK_MASK)) {
			slot = !slot;
		} else {
			count(REASON_STALE);
			return VERDICT_DROP;
		}
	}
	if (!slot) {
		asm volatile("" ::"i"(0) : "memory");
		programs.call(skb, hook);
		asm volatile("" ::"i"(1) : "memory");
	} else {
		asm volatile("" ::"i"(2) : "memory");
		programs.call(skb, HOOKS_PER_SLOT + hook);
		asm volatile("" ::"i"(3) : "memory");
	}
failed:
	/* No program there: nothing passes unjudged. */
	count(REASON_TAIL_CALL);
	return VERDICT_DROP;
}

int dispatch_egress(struct __sk_buff *skb)
{
	return dispatch(skb, HOOK_EGRESS);
}

int dispatch_ingress(struct __sk_buff *skb)
{
	return dispatch(skb, HOOK_INGRESS);
}

/*
 * Stands at the host hooks of a slot whose policy has nothing to say about hosts, so that these
 * hooks may stay where they are.
 */
int no_hosts(struct __sk_buff *skb)
{
	count(REASON_UNKNOWN_ENDPOINT);
	return VERDICT_PASS;
}

int dispatch_host_ingress(struct __sk_buff *skb)
{
	return dispatch(skb, HOOK_HOST_INGRESS);
}

int dispatch_host_egress(struct __sk_buff *skb)
{
	return dispatch(skb, HOOK_HOST_EGRESS);
}

/* Where the slot in force has no program, tc decides alone. */
int dispatch_xdp(struct xdp_md *context)
{
	__u32 zero = 0;
	volatile __u64 *word = active.lookup(&zero);
	__u64 now = word ? *word : 0;

	if (!now)
		return XDP_PASS;
	if (now & 1) {
		asm volatile("" ::"i"(4) : "memory");
		xdp_programs.call(context, 1);
		asm volatile("" ::"i"(5) : "memory");
	} else {
		asm volatile("" ::"i"(6) : "memory");
		xdp_programs.call(context, 0);
		asm volatile("" ::"i"(7) : "memory");
	}
	return XDP_PASS;
}
