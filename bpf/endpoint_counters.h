/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Packets of each endpoint by outcome, per CPU. They belong to the slot, for so do the numbers of
 * endpoints; those of hosts follow those of workloads.
 */

/* A packet of no endpoint that has a place: counted with those of nobody. */
#define NO_PLACE 0xffffffff

static __always_inline void count_at(__u32 place, __u32 reason)
{
	struct endpoint_counts *counts = endpoint_counters.lookup(&place);

	if (counts)
		counts->packets[reason & (COUNTED_REASONS - 1)] += 1;
	else
		count(reason);
}
