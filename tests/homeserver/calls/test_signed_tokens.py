"""Tokens that LiveKit and this server sign for each other."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.calls.signed_tokens import LEEWAY_S, ApiKey, BadToken
from tests.homeserver.calls.played_livekit import KEY_NAME as NAME
from tests.homeserver.calls.played_livekit import SECRET, encoded, opened, signed

KEY = ApiKey(NAME, SECRET)
NOW_S = 1_800_000_000
GOOD = {"iss": NAME, "nbf": NOW_S, "exp": NOW_S + 60}

texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(subject=texts, lifetime_s=st.integers(1, 86_400))
def test_what_is_signed_is_verified(subject: str, lifetime_s: int) -> None:
    token = KEY.sign({"sub": subject}, now_s=NOW_S, lifetime_s=lifetime_s)
    times = {"iat": NOW_S, "nbf": NOW_S, "exp": NOW_S + lifetime_s}
    expected = {"sub": subject, "iss": NAME, **times}
    assert KEY.verify(token, NOW_S) == expected
    assert opened(token) == expected


def test_what_others_sign_with_the_key_is_verified() -> None:
    assert KEY.verify(signed(GOOD), NOW_S) == GOOD


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "a.b.c",
        "ü.ü.ü",
        signed(GOOD, secret="another"),
        signed(GOOD, alg="none"),
        signed(GOOD, alg="RS256"),
        signed(GOOD).rpartition(".")[0] + ".",
        signed(GOOD | {"iss": "another"}),
        signed({name: value for name, value in GOOD.items() if name != "iss"}),
        signed(GOOD | {"exp": NOW_S - LEEWAY_S - 1}),
        signed({name: value for name, value in GOOD.items() if name != "exp"}),
        signed(GOOD | {"exp": "later"}),
        signed(GOOD | {"exp": True}),
        signed(GOOD | {"nbf": NOW_S + LEEWAY_S + 1}),
        signed([GOOD]),  # type: ignore[arg-type]
    ],
)
def test_what_is_not_signed_so_or_not_for_now_is_refused(token: str) -> None:
    with pytest.raises(BadToken):
        KEY.verify(token, NOW_S)


@given(position=st.integers(0), replacement=st.sampled_from("AZaz09-_"))
def test_no_character_of_a_token_can_be_changed(position: int, replacement: str) -> None:
    token = signed(GOOD)
    # The last character has bits that mean nothing.
    position %= len(token) - 1
    changed = token[:position] + replacement + token[position + 1 :]
    if changed != token:
        with pytest.raises(BadToken):
            KEY.verify(changed, NOW_S)


@given(part=st.binary())
def test_no_token_is_an_error_of_another_kind(part: bytes) -> None:
    mac_of: Any = encoded(part)
    with pytest.raises(BadToken):
        KEY.verify(f"{mac_of}.{mac_of}.{mac_of}", NOW_S)


def test_the_secret_is_not_shown() -> None:
    assert SECRET not in repr(KEY)
