"""Small pools of names, labels, ports and prefixes, chosen so that two independent draws have a good chance to meet.

Ports and prefixes lie next to one another's borders: that is where ranges go wrong.
"""

from __future__ import annotations

from hypothesis import strategies as st

NAMESPACES = ("alpha", "beta", "gamma")
NODES = ("n1", "n2")
LABELS = {"app": ("web", "webx", "db"), "tier": ("front", "back"), "role": ("", "a")}
NAMESPACE_LABELS = {"team": ("a", "b"), "env": ("dev", "prod")}
ACCOUNTS = ("default", "robot")
ACCOUNT_LABELS = {"trust": ("low", "high")}
NODE_LABELS = {"zone": ("east", "west"), "role": ("control",)}
PORT_NAMES = ("http", "dns", "admin")
PORTS = (1, 2, 52, 53, 54, 79, 80, 81, 443, 8079, 8080, 8081, 32767, 32768, 65534, 65535)
TRANSPORTS = ("TCP", "UDP", "SCTP")
ICMP_TYPES = (0, 3, 8, 11, 127, 128, 129, 254)
PODS = 8
"""how many pod addresses there are: 10.1.0.6 ... 10.1.0.13"""

NETWORKS4 = (
    "0.0.0.0/0",
    "0.0.0.0/1",
    "128.0.0.0/1",
    "10.0.0.0/8",
    "10.0.0.0/30",
    "10.0.0.1/32",
    "10.1.0.0/16",
    "10.1.0.0/29",
    "10.1.0.8/29",
    "10.1.0.8/30",
    "10.1.0.8/31",
    "10.1.0.8/32",
    "10.1.0.9/32",
    "10.96.0.0/12",
    "203.0.113.0/24",
    "203.0.113.0/25",
    "203.0.113.128/25",
    "203.0.113.127/32",
    "203.0.113.128/32",
    "255.255.255.255/32",
)
NETWORKS6 = (
    "::/0",
    "::/1",
    "8000::/1",
    "fd00::/8",
    "fd00:10::/126",
    "fd00:10::1/128",
    "fd00:10:1::/64",
    "fd00:10:1::/125",
    "fd00:10:1::8/125",
    "fd00:10:1::8/127",
    "fd00:10:1::8/128",
    "fd00:10:1::9/128",
    "2001:db8::/32",
    "2001:db8::/33",
    "2001:db8:8000::/33",
    "2001:db8::7fff/128",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
)
EXCEPTIONS = {
    "0.0.0.0/0": ("10.0.0.0/8", "0.0.0.0/1", "255.255.255.255/32", "10.1.0.8/32"),
    "10.0.0.0/8": ("10.1.0.0/16", "10.1.0.8/29", "10.0.0.1/32"),
    "10.1.0.0/16": ("10.1.0.8/30", "10.1.0.8/32", "10.1.0.0/29"),
    "203.0.113.0/24": ("203.0.113.0/25", "203.0.113.128/25", "203.0.113.127/32"),
    "::/0": ("fd00::/8", "8000::/1", "fd00:10:1::8/128"),
    "fd00::/8": ("fd00:10:1::/64", "fd00:10:1::8/125"),
    "2001:db8::/32": ("2001:db8::/33", "2001:db8::7fff/128"),
}
"""prefixes with strict parts of theirs"""


def some(items: tuple[str, ...] | tuple[int, ...], most: int = 3) -> st.SearchStrategy[list[str]]:
    """One to ``most`` different items."""
    return st.lists(st.sampled_from(items), min_size=1, max_size=most, unique=True)


def labels_of(pool: dict[str, tuple[str, ...]]) -> st.SearchStrategy[dict[str, str]]:
    """Some of the pool's labels."""
    return st.fixed_dictionaries({}, optional={key: st.sampled_from(values) for key, values in pool.items()})


def networks(family: int | None = None) -> st.SearchStrategy[str]:
    """A prefix of the family, or of either."""
    return st.sampled_from({4: NETWORKS4, 6: NETWORKS6, None: (*NETWORKS4, *NETWORKS6)}[family])


port_pairs = st.tuples(st.sampled_from(PORTS), st.sampled_from(PORTS)).map(lambda pair: (min(pair), max(pair)))
rarely = st.integers(0, 7).map(lambda number: number == 0)
