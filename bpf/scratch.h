/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What a program notes about one packet. It lies in a per-CPU map rather than on the stack: the
 * verifier follows every value that a stack slot may have down every path, and the paths multiply;
 * what comes out of a map it takes as unknown, so the paths meet again. Programs of tc do not
 * interrupt each other on one CPU.
 */

struct packet {
	struct connection_key key;
	__be32 fragment_id;
	__u32 l4; /* where the L4 header begins */
	__u32 end; /* of the IP packet */
	__u8 fragment;
	__u8 hop_limit;
	__u8 tcp_flags;
	__u8 type; /* ICMP */
	__u8 code;
	__u8 tracking; /* STATELESS, OPENS, FOLLOWS or QUOTES */
	__u8 reserved[2];
};

struct rows {
	__u32 egress;
	__u32 ingress;
};

/* What is asked of the tables. */
struct question {
	__u8 ingress; /* in this direction */
	__u8 either; /* and then in the other direction */
	__u8 host; /* the node itself is a party */
	__u8 reserved;
};

struct scratch {
	struct packet packet;
	struct packet quoted;
	struct rows rows;
	struct question question;
	__u32 endpoint; /* of a host's interface */
	__u32 class6; /* of the last IPv6 address that was looked up */
};

BPF_PERCPU_ARRAY(scratches, struct scratch, 1);
