/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Whose packet it is: the interface's endpoint, its addresses, and the rows that hold for one of
 * them.
 */

#define NO_ENDPOINT 0xffffffff
#define NO_TABLE 0xfffffffe

/* The number of the interface's endpoint, or HOST_INTERFACE and 1 + its host endpoint. */
static __always_inline __u64 endpoint_number(__u32 ifindex)
{
	__u32 zero = 0, slot = ifindex * INTERFACE_HASH >> 16;
	struct interface_entry *table = (struct interface_entry *)interfaces.lookup(&zero);
	int i;

	if (!table)
		return NO_TABLE;
#pragma clang loop unroll(disable)
	for (i = 0; i < INTERFACE_PROBES; i++) {
		struct interface_entry *entry = &table[(slot + i) & (INTERFACES - 1)];

		if (entry->ifindex == ifindex)
			return entry->endpoint;
	}
	return NO_ENDPOINT;
}

static __always_inline bool find_own4(const struct endpoint *endpoint, __be32 address, struct rows *rows)
{
	int i;

#pragma clang loop unroll(disable)
	for (i = 0; i < OWN4_ADDRESSES; i++) {
		const struct own4 *own = &endpoint->own4[i];

		if (i < endpoint->own4_count && own->address == address) {
			rows->egress = own->egress_row;
			rows->ingress = own->ingress_row;
			return true;
		}
	}
	return false;
}

static __always_inline bool find_own6(const struct endpoint *endpoint, const __be32 *address, struct rows *rows)
{
	int i;

#pragma clang loop unroll(disable)
	for (i = 0; i < OWN6_ADDRESSES; i++) {
		const struct own6 *own = &endpoint->own6[i];

		if (i < endpoint->own6_count && own->address[0] == address[0] && own->address[1] == address[1] &&
		    own->address[2] == address[2] && own->address[3] == address[3]) {
			rows->egress = own->egress_row;
			rows->ingress = own->ingress_row;
			return true;
		}
	}
	return false;
}

static __always_inline bool find_own(const struct endpoint *endpoint, const struct connection_key *key,
				     struct rows *rows)
{
	if (key->family == 4)
		return find_own4(endpoint, key->local[0], rows);
	return find_own6(endpoint, key->local, rows);
}

/*
 * Rows of packets to an address that is none of the endpoint's, multicast above all: those of its
 * first address of that family, else of the other family. False: the endpoint has no address at
 * all.
 */
static __always_inline bool first_rows(const struct endpoint *endpoint, __u8 family, struct rows *rows)
{
	if (endpoint->own4_count && (family == 4 || !endpoint->own6_count)) {
		rows->egress = endpoint->own4[0].egress_row;
		rows->ingress = endpoint->own4[0].ingress_row;
		return true;
	}
	if (endpoint->own6_count) {
		rows->egress = endpoint->own6[0].egress_row;
		rows->ingress = endpoint->own6[0].ingress_row;
		return true;
	}
	return false;
}
