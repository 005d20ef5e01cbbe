/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Packets of no endpoint by outcome, per CPU. */

static __always_inline void count(__u32 reason)
{
	__u64 *packets = counters.lookup(&reason);

	if (packets)
		*packets += 1;
}
