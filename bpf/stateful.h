/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Every flow is remembered. */

static __always_inline bool is_left_out(const struct packet *packet, const struct rows *rows, bool ingress,
					const struct slot_header *facts)
{
	return false;
}
