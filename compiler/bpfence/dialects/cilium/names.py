"""Names and patterns of ``toFQDNs`` and ``rules.dns``: checked items in, canonical patterns out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bpfence.dialects.cilium.model import EgressRule, NameSelector, PortDenyRule, PortRule, Rule
from bpfence.dialects.cilium.statements import port_rules, statements_of
from bpfence.ir.expressions import LearntName
from bpfence.ir.nodes import DnsNames
from bpfence.options import Options
from bpfence.selectors.fqdn import canonical_pattern
from bpfence.source.documents import Path


def learnt_name(items: Iterable[NameSelector], options: Options) -> LearntName:
    """The names of ``toFQDNs``."""
    return LearntName(_patterns(items, options), options.cilium_profile)


def dns_names(rule: PortRule | PortDenyRule, options: Options) -> DnsNames | None:
    """The names that a PortRule accepts in queries; None when it looks at no query."""
    if not isinstance(rule, PortRule) or rule.rules is None or not rule.rules.dns:
        return None
    return DnsNames(_patterns(rule.rules.dns, options), options.cilium_profile)


def has_dns_rules(rule: Rule) -> bool:
    """Whether some answer can pass a DNS rule here, and so teach names."""
    return any(
        isinstance(ports, PortRule) and ports.rules is not None and bool(ports.rules.dns)
        for _, statement in statements_of(rule, ())
        for _, ports in port_rules(statement, ())
    )


def name_lists(rule: Rule, path: Path) -> Iterator[Path]:
    """The place of every ``toFQDNs``."""
    for place, statement in statements_of(rule, path):
        if isinstance(statement, EgressRule) and statement.to_fqdns:
            yield (*place.path, "toFQDNs")


def _patterns(items: Iterable[NameSelector], options: Options) -> tuple[str, ...]:
    """What the items accept, sorted, each once. An item may have both members, and then accepts either."""
    texts = (text for item in items for text in (item.match_name, item.match_pattern) if text is not None)
    return tuple(sorted({canonical_pattern(text, options.cilium_profile) for text in texts}))
