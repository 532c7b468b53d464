"""Rules for third-party invites and the invites that redeem them."""

from typing import Any

import pytest
from nacl.signing import SigningKey
from signedjson.key import get_verify_key
from signedjson.sign import sign_json
from unpaddedbase64 import encode_base64

from federation.protocol.room_versions import ROOM_VERSIONS
from tests.room_factory import ALICE, BOB, CAROL, DAVE, Room

ALL = tuple(ROOM_VERSIONS)


def signing_key(seed: int) -> Any:
    key: Any = SigningKey(bytes([seed]) * 32)
    key.alg, key.version = "ed25519", "0"
    return key


def public(key: Any, *, urlsafe: bool = False) -> str:
    return encode_base64(get_verify_key(key).encode(), urlsafe=urlsafe)


KEY, OTHER_KEY = signing_key(1), signing_key(2)


@pytest.fixture(params=ALL)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def room_with_offer(version: str, **content: Any) -> Room:
    """A room in which Alice has invited an e-mail address with the token `t`."""
    room = Room.furnished(version, members=[BOB], join_rule="invite")
    content = content or {"public_key": public(KEY)}
    room.send("m.room.third_party_invite", ALICE, content, "t")
    return room


def signed(key: Any = KEY, **fields: Any) -> dict[str, Any]:
    return sign_json({"mxid": CAROL, "token": "t", "sender": ALICE} | fields, "id.example", key)


def redeem(room: Room, proof: object, *, by: str = ALICE, target: str = CAROL) -> str | None:
    return room.member_verdict(
        target, "invite", by=by, third_party_invite={"display_name": "c", "signed": proof}
    )


def test_the_word_of_the_identity_server_invites(version: str) -> None:
    assert redeem(room_with_offer(version), signed()) is None


def test_unsigned_parts_do_not_matter_and_changed_ones_do(version: str) -> None:
    room = room_with_offer(version)
    assert redeem(room, signed() | {"unsigned": {"age": 1}}) is None
    assert redeem(room, signed() | {"sender": BOB}) == "invite.third_party.signature"


@pytest.mark.parametrize(
    "content",
    [
        {"public_key": public(KEY, urlsafe=True)},
        {"public_key": public(OTHER_KEY), "public_keys": [{"public_key": public(KEY)}]},
        {"public_keys": [5, {}, {"public_key": "!"}, {"public_key": public(KEY)}]},
    ],
)
def test_any_listed_key_may_have_signed(version: str, content: dict[str, Any]) -> None:
    assert redeem(room_with_offer(version, **content), signed()) is None


@pytest.mark.parametrize(
    "content",
    [
        {"public_key": public(OTHER_KEY)},
        {"public_key": None},
        {"public_key": "é"},
        {"public_key": "AAAA"},
        {"public_keys": {}},
    ],
)
def test_no_other_key_will_do(version: str, content: dict[str, Any]) -> None:
    assert redeem(room_with_offer(version, **content), signed()) == "invite.third_party.signature"


@pytest.mark.parametrize(
    "signatures",
    [
        None,
        [],
        {},
        {"id.example": []},
        {"id.example": {"ed25519:0": 5}},
        {"id.example": {"ed25519:0": "AAAA"}},
        {"id.example": {"other:0": "x" * 86}},
    ],
)
def test_malformed_signatures_are_none(signatures: object) -> None:
    proof = signed() | {"signatures": signatures}
    assert redeem(room_with_offer("11"), proof) == "invite.third_party.signature"


@pytest.mark.parametrize("proof", [None, [], {}, {"mxid": CAROL}, {"token": "t"}, {"mxid": 1}])
def test_the_proof_names_user_and_token(version: str, proof: object) -> None:
    assert redeem(room_with_offer(version), proof) == "invite.third_party.signed"


def test_a_third_party_invite_is_an_object(version: str) -> None:
    room = room_with_offer(version)
    verdict = room.member_verdict(CAROL, "invite", by=ALICE, third_party_invite=None)
    assert verdict == "invite.third_party.signed"


def test_the_proof_is_for_the_target_the_token_and_the_sender(version: str) -> None:
    room = room_with_offer(version)
    assert redeem(room, signed(), target=DAVE) == "invite.third_party.mxid"
    assert redeem(room, signed(token="u")) == "invite.third_party.token"
    assert redeem(room, signed(), by=BOB) == "invite.third_party.sender"


def test_the_banned_are_not_invited(version: str) -> None:
    room = room_with_offer(version)
    room.member(CAROL, "ban", by=ALICE)
    assert redeem(room, signed()) == "invite.third_party.banned"


def test_inviting_an_address_needs_the_invite_level_only(version: str) -> None:
    room = Room.furnished(version, members=[BOB])
    offer = room.build("m.room.third_party_invite", BOB, {"public_key": public(KEY)}, "t")
    assert room.verdict(offer) is None
    stranger = room.build("m.room.third_party_invite", DAVE, {}, "t")
    assert room.verdict(stranger) == "sender.joined"
    room.power_levels({"users": {BOB: 49}, "invite": 50})
    assert room.verdict(offer) == "third_party_invite.level"
