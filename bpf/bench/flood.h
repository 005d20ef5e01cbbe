/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Packets for a flood: run on live frames, each run writes other addresses and ports into a frame and
 * sends it out of an interface, so that it arrives at the other end of a veth pair. And the two barest
 * receivers.
 */

struct flood_frame {
	__u8 ethernet[ETH_HEADER];
	struct ipv4_header ip;
	__be16 source_port;
	__be16 destination_port;
} __attribute__((packed));

static __always_inline __u32 halves(__be32 address)
{
	return (address & 0xffff) + (address >> 16);
}

int flood_generate(struct xdp_md *context)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct flood_frame *frame = data;
	struct flood_control *control;
	__u32 zero = 0, sum;
	__u64 state;

	control = (struct flood_control *)flood_control.lookup(&zero);
	if (!control || data + sizeof(*frame) > end)
		return XDP_ABORTED;
	/* A linear congruential generator; its upper bits are the good ones. */
	state = control->state * 6364136223846793005ULL + 1442695040888963407ULL;
	control->state = state;
	frame->ip.source = control->source | ((__u32)(state >> 32) & control->source_mask);
	frame->ip.destination = control->destination | ((__u32)(state >> 32) & control->destination_mask);
	frame->source_port = control->source_port | ((__u16)(state >> 32) & control->source_port_mask);
	frame->destination_port = control->destination_port | ((__u16)(state >> 24) & control->destination_port_mask);
	sum = control->sum + halves(frame->ip.source) + halves(frame->ip.destination);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	frame->ip.checksum = ~sum;
	return bpf_redirect(control->ifindex, 0);
}

int flood_drop_xdp(struct xdp_md *context)
{
	return XDP_DROP;
}

int flood_drop_tc(struct __sk_buff *skb)
{
	return VERDICT_DROP;
}
