/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A frame as programs of XDP get it: straight from the driver. */

typedef struct xdp_md frame;

static __always_inline int load_bytes(frame *context, __u32 offset, void *to, const __u32 size)
{
	return bpf_xdp_load_bytes(context, offset, to, size);
}

static __always_inline __u32 frame_length(const frame *context)
{
	return context->data_end - context->data;
}

/* It may, where the frame is a socket buffer already, and nothing tells; tc looks again. */
static __always_inline bool is_segmented(const frame *context)
{
	return true;
}

/* Zero: not even an Ethernet header. */
static __always_inline __u32 frame_ethertype(frame *context)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;

	if (data + ETH_HEADER > end)
		return 0;
	return bpf_ntohs(*(__be16 *)(data + ETH_HEADER - 2));
}

static __always_inline __u32 frame_interface(const frame *context)
{
	return context->ingress_ifindex;
}
