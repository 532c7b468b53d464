"""Rules for `m.room.member`, in the order of the specification's list.

That an event with `join_authorised_via_users_server` is signed by that user's server belongs to
the signature check of an event, which comes before; it is not repeated here.
"""

from collections.abc import Callable, Mapping

from federation.protocol.auth_rules.require import require
from federation.protocol.auth_rules.state import AuthState
from federation.protocol.auth_rules.third_party_invite import check_redeemed_invite
from federation.protocol.errors import AuthRuleFailed
from federation.protocol.pdu import Pdu
from federation.protocol.room_versions import RoomVersion


def check_member(event: Pdu, state: AuthState) -> None:
    """Authorise a change of a user's membership.

    Source: room version 12, authorisation rule 5.
    Raises `AuthRuleFailed`.
    """
    target, membership = event.state_key, event.content.get("membership")
    if target is None or "membership" not in event.content:
        raise AuthRuleFailed("member.format", "A member event needs a state key and a membership")
    check = CHECKS.get(membership) if isinstance(membership, str) else None
    if check is None or (membership == "knock" and not event.room_version.knocking):
        raise AuthRuleFailed("member.membership", f"{membership!r} is not a membership")
    check(event, target, state)


def check_join(event: Pdu, target: str, state: AuthState) -> None:
    """Authorise joining, and changing one's profile in the room.

    Source: room version 12, authorisation rule 5.3.
    Raises `AuthRuleFailed`.
    """
    create, sender, version = state.create, event.sender, event.room_version
    creator = create.content.get("creator") if version.creator_in_content else create.sender
    if event.prev_events == (create.event_id,) and target == creator:
        return
    require(sender == target, "join.own", f"{sender} may not join on behalf of {target}")
    membership, join_rule = state.membership(target), state.join_rule
    require(membership != "ban", "join.banned", f"{sender} is banned")
    if join_rule == "public":
        return
    asked_in = membership in ("invite", "join")
    if join_rule == "invite" or (join_rule == "knock" and version.knocking):
        require(asked_in, "join.invited", f"{sender} is not invited")
        return
    restricted = is_restricted(join_rule, version)
    require(restricted, "join.rule", f"The join rule {join_rule!r} lets nobody join")
    if not asked_in:
        check_voucher(event, state)


def check_voucher(event: Pdu, state: AuthState) -> None:
    """Authorise a restricted join by the user who is named as having let the sender in.

    Source: room version 12, authorisation rule 5.3.5.2.
    Raises `AuthRuleFailed`.
    """
    voucher = event.content.get("join_authorised_via_users_server")
    if not isinstance(voucher, str):
        raise AuthRuleFailed("join.restricted", f"Nobody has let {event.sender} in")
    joined = state.membership(voucher) == "join"
    require(joined, "join.restricted.joined", f"{voucher} is not joined")
    may_invite = state.power.of(voucher) >= state.power.invite
    require(may_invite, "join.restricted.level", f"{voucher} may not invite")


def check_invite(event: Pdu, target: str, state: AuthState) -> None:
    """Authorise inviting.

    Source: room version 12, authorisation rule 5.4.
    Raises `AuthRuleFailed`.
    """
    if "third_party_invite" in event.content:
        check_redeemed_invite(event, target, state)
        return
    sender, power = event.sender, state.power
    require(state.membership(sender) == "join", "invite.joined", f"{sender} is not joined")
    membership = state.membership(target)
    # No errcode says so, and bridges tell by these words that they need not invite.
    require(membership != "join", "invite.target", f"{target} is already in the room")
    require(membership != "ban", "invite.target", f"{target} is banned")
    require(power.of(sender) >= power.invite, "invite.level", f"{sender} may not invite")


def check_leave(event: Pdu, target: str, state: AuthState) -> None:
    """Authorise leaving, turning down an invite, withdrawing a knock, unbanning and kicking.

    Source: room version 12, authorisation rule 5.5.
    Raises `AuthRuleFailed`.
    """
    sender, power = event.sender, state.power
    if sender == target:
        present = state.membership(target) in ("invite", "join", "knock")
        require(present, "leave.own", f"{sender} is not in the room")
        return
    require(state.membership(sender) == "join", "leave.joined", f"{sender} is not joined")
    if state.membership(target) == "ban":
        require(power.of(sender) >= power.ban, "leave.unban", f"{sender} may not unban")
    require(power.of(sender) >= power.kick, "leave.kick", f"{sender} may not kick")
    require(power.of(target) < power.of(sender), "leave.rank", f"{target} ranks as high")


def check_ban(event: Pdu, target: str, state: AuthState) -> None:
    """Authorise banning.

    Source: room version 12, authorisation rule 5.6.
    Raises `AuthRuleFailed`.
    """
    sender, power = event.sender, state.power
    require(state.membership(sender) == "join", "ban.joined", f"{sender} is not joined")
    require(power.of(sender) >= power.ban, "ban.level", f"{sender} may not ban")
    require(power.of(target) < power.of(sender), "ban.rank", f"{target} ranks as high")


def check_knock(event: Pdu, target: str, state: AuthState) -> None:
    """Authorise asking for an invite.

    Source: room version 12, authorisation rule 5.7.
    Raises `AuthRuleFailed`.
    """
    sender, join_rule = event.sender, state.join_rule
    combined = join_rule == "knock_restricted" and event.room_version.knock_restricted_joins
    require(join_rule == "knock" or combined, "knock.rule", "The room takes no knocks")
    require(sender == target, "knock.own", f"{sender} may not knock on behalf of {target}")
    outside = state.membership(sender) not in ("ban", "invite", "join")
    require(outside, "knock.membership", f"{sender} is invited, joined or banned")


def is_restricted(join_rule: str, version: RoomVersion) -> bool:
    """Whether the join rule lets members of other rooms in."""
    if join_rule == "knock_restricted":
        return version.knock_restricted_joins
    return join_rule == "restricted" and version.restricted_joins


CHECKS: Mapping[str, Callable[[Pdu, str, AuthState], None]] = {
    "join": check_join,
    "invite": check_invite,
    "leave": check_leave,
    "ban": check_ban,
    "knock": check_knock,
}
