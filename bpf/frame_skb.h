/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A frame as programs of tc get it: a socket buffer, whose later parts may lie in other pages. */

typedef struct __sk_buff frame;

static __always_inline int load_bytes(frame *skb, __u32 offset, void *to, const __u32 size)
{
	return bpf_skb_load_bytes(skb, offset, to, size);
}

static __always_inline __u32 frame_length(const frame *skb)
{
	return skb->len;
}

/* Whether it stands for several packets; its IP length may be left at zero then. */
static __always_inline bool is_segmented(const frame *skb)
{
	return skb->gso_size;
}

static __always_inline __u32 frame_ethertype(frame *skb)
{
	return bpf_ntohs(skb->protocol);
}

static __always_inline __u32 frame_interface(const frame *skb)
{
	return skb->ifindex;
}
