/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* From the outcome to the answer that the kernel gets. */

/* place: where the endpoint's packets are counted, or NO_PLACE. */
static __always_inline int verdict_of(int reason, __u32 place)
{
	count_at(place, reason);
	switch (reason) {
	case REASON_ALLOWED:
	case REASON_UNTRACKED:
	case REASON_UNKNOWN_ENDPOINT:
	case REASON_NOT_IP:
		return VERDICT_PASS;
	default:
		return VERDICT_DROP;
	}
}
