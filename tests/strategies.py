"""Generators of Matrix values for property tests."""

import string
from typing import Any

from hypothesis import strategies as st

from federation.protocol.identifiers import EventId, RoomId, ServerName, UserId
from federation.protocol.room_versions import ROOM_VERSIONS, EventFormat, RoomVersion
from federation.protocol.signatures import signing_key_from_seed

MAX_INTEGER = 2**53 - 1
URLSAFE = string.ascii_letters + string.digits + "-_"

# Text leans towards what encoders get wrong: controls, quotes, DEL, line separators, astral planes.
json_text = st.text(
    st.one_of(
        st.sampled_from('"\\/\b\f\n\r\t\x00\x1f\x7f\u2028\u2029\ue000\uffff\U00010000\U0010ffff'),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=12,
)
json_integers = st.integers(-MAX_INTEGER, MAX_INTEGER)
json_scalars = st.one_of(st.none(), st.booleans(), json_integers, json_text)


def _containers(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(children, max_size=4), st.dictionaries(json_text, children, max_size=4)
    )


json_values = st.recursive(json_scalars, _containers, max_leaves=15)
"""What the specification allows in canonical JSON."""
json_objects = st.dictionaries(json_text, json_values, max_size=5)

lax_json_values = st.recursive(
    st.one_of(
        json_scalars,
        st.integers(-(2**100), 2**100),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    _containers,
    max_leaves=15,
)
"""What events of room versions 1 to 5 may hold: floats and integers of any size, too."""
lax_json_objects = st.dictionaries(json_text, lax_json_values, max_size=5)

dns_names = st.lists(
    st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=6), min_size=1, max_size=3
).map(lambda labels: ".".join([*labels, "org"]))
ipv4_literals = st.ip_addresses(v=4).map(str)
ipv6_literals = st.ip_addresses(v=6).map(lambda address: f"[{address}]")
ports = st.integers(1, 65535)
server_names = st.builds(
    lambda host, port: ServerName(host if port is None else f"{host}:{port}"),
    st.one_of(dns_names, ipv4_literals, ipv6_literals),
    st.none() | ports,
)

localparts = st.text(string.ascii_lowercase + string.digits + "._=-/+", min_size=1, max_size=12)
historical_localparts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=":\0"), max_size=12
)
user_ids = st.builds(lambda name, server: UserId(f"@{name}:{server}"), localparts, server_names)
historical_user_ids = st.builds(
    lambda name, server: UserId(f"@{name}:{server}"), historical_localparts, server_names
)
opaque_ids = st.text(string.ascii_letters + string.digits, min_size=1, max_size=18)
hashes = st.text(URLSAFE, min_size=43, max_size=43)
domain_room_ids = st.builds(lambda i, s: RoomId(f"!{i}:{s}"), opaque_ids, server_names)
hash_room_ids = hashes.map(lambda text: RoomId("!" + text))
domain_event_ids = st.builds(lambda i, s: EventId(f"${i}:{s}"), opaque_ids, server_names)
hash_event_ids = hashes.map(lambda text: EventId("$" + text))
event_ids = st.one_of(domain_event_ids, hash_event_ids)
room_ids = st.one_of(domain_room_ids, hash_room_ids)
room_aliases = st.builds(
    lambda name, server: f"#{name}:{server}", historical_localparts.filter(bool), server_names
)

room_versions = st.sampled_from(list(ROOM_VERSIONS.values()))
strict_room_versions = st.sampled_from(
    [version for version in ROOM_VERSIONS.values() if version.strict_canonical_json]
)
signing_keys = st.builds(
    signing_key_from_seed,
    st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=6),
    st.binary(min_size=32, max_size=32),
)

redactable_types = (
    "m.room.member",
    "m.room.create",
    "m.room.join_rules",
    "m.room.power_levels",
    "m.room.aliases",
    "m.room.history_visibility",
    "m.room.redaction",
    "m.room.message",
)
event_types = st.one_of(st.sampled_from(redactable_types), json_text)
content_keys = st.sampled_from(
    (
        "membership",
        "join_authorised_via_users_server",
        "third_party_invite",
        "creator",
        "join_rule",
        "allow",
        "ban",
        "users",
        "invite",
        "events",
        "aliases",
        "history_visibility",
        "redacts",
        "body",
    )
)


def event_contents(values: st.SearchStrategy[Any] = json_values) -> st.SearchStrategy[Any]:
    """Event contents in which keys that redaction knows are as likely as others."""
    return st.dictionaries(st.one_of(content_keys, json_text), values, max_size=5)


redactable_events = st.tuples(st.sampled_from(redactable_types), event_contents())
"""An event type that redaction knows, and content for it."""


@st.composite
def event_fields(draw: st.DrawFn, room_version: RoomVersion) -> dict[str, Any]:
    """The fields of a well-formed event, its hashes and signatures being made up."""
    in_pairs = room_version.event_format is EventFormat.V1
    ids = domain_event_ids if in_pairs else hash_event_ids
    values = json_values if room_version.strict_canonical_json else lax_json_values
    references = ids.map(lambda i: [i, {"sha256": "x"}]) if in_pairs else ids
    fields: dict[str, Any] = {
        "type": draw(event_types),
        "sender": draw(user_ids),
        "content": draw(event_contents(values)),
        "depth": draw(st.integers(0, MAX_INTEGER)),
        "origin_server_ts": draw(st.integers(0, MAX_INTEGER)),
        "prev_events": draw(st.lists(references, max_size=3)),
        "auth_events": draw(st.lists(references, max_size=3)),
        "hashes": {"sha256": draw(hashes)},
        "signatures": {},
    }
    if not (room_version.create_event_is_room_id and fields["type"] == "m.room.create"):
        by_hash = room_version.create_event_is_room_id
        fields["room_id"] = draw(hash_room_ids if by_hash else domain_room_ids)
    if in_pairs:
        fields["event_id"] = draw(ids)
    if draw(st.booleans()):
        fields["state_key"] = draw(json_text)
    return fields | draw(_extra_fields(values))


def _extra_fields(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.sampled_from(("unsigned", "origin", "membership", "prev_state", "redacts", "extra"))
    return st.dictionaries(names, values, max_size=3)


versions_and_events = room_versions.flatmap(
    lambda version: st.tuples(st.just(version), event_fields(version))
)
"""A room version and the fields of an event of it."""
