/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Attached once and never replaced: hands every packet to the programs of the slot that is in
 * force.
 */

/*
 * The word is read once. A packet that met a dispatcher before carries that one's choice in its
 * mark, and stays with it. The index of each tail call is a constant, which makes it a direct jump;
 * the assembler statements keep the compiler from folding the two calls into one.
 */
static __always_inline int dispatch(struct __sk_buff *skb, const int hook)
{
	__u32 zero = 0, mark = skb->mark, choice = mark & MARK_MASK;
	volatile __u64 *word = active.lookup(&zero);
	__u64 now = word ? *word : 0;

	if (!word)
		goto failed;
	if (!now)
		return VERDICT_PASS;
	if (choice != MARK_SLOT0 && choice != MARK_SLOT1) {
		choice = now & 1 ? MARK_SLOT1 : MARK_SLOT0;
		skb->mark = (mark & ~MARK_MASK) | choice;
	}
	if (choice == MARK_SLOT0) {
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
