"""Hashes of passwords."""

import unicodedata

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.protocol.errors import InvalidParam, WeakPassword
from homeserver.config.sections.accounts import Auth
from homeserver.users.passwords import Passwords

ROUNDS = 4


def passwords(pepper: str = "") -> Passwords:
    return Passwords(Auth(bcrypt_rounds=ROUNDS, pepper=pepper), min_length=8)


def synapse_hash(password: str, pepper: str) -> str:
    """As Synapse makes them; its bcrypt cuts at 72 bytes."""
    prepared = unicodedata.normalize("NFKC", password).encode() + pepper.encode()
    return bcrypt.hashpw(prepared[:72], bcrypt.gensalt(ROUNDS)).decode()


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)


@settings(max_examples=20)
@given(password=texts, pepper=texts)
async def test_hashes_of_synapse_are_recognised(password: str, pepper: str) -> None:
    kept = synapse_hash(password, pepper)
    assert await passwords(pepper).verify(password, kept)


async def test_a_hash_fits_its_password_and_pepper_only() -> None:
    kept = await passwords("salt and").hash("übers3kr1t")
    assert await passwords("salt and").verify("übers3kr1t", kept)
    assert await passwords("salt and").verify("u\u0308bers3kr1t", kept)
    assert not await passwords("salt and").verify("ubers3kr1t", kept)
    assert not await passwords("").verify("übers3kr1t", kept)


async def test_a_password_may_be_longer_than_bcrypt_reads() -> None:
    kept = await passwords().hash("x" * 100)
    assert await passwords().verify("x" * 100, kept)
    assert await passwords().verify("x" * 100, synapse_hash("x" * 100, ""))


@pytest.mark.parametrize("kept", [None, "", "plain text", "$2b$04$short"])
async def test_without_a_real_hash_no_password_fits(kept: str | None) -> None:
    for password in ("", "plain text", "password"):
        assert not await passwords().verify(password, kept)


def test_short_and_endless_passwords_are_refused() -> None:
    passwords().check_acceptable("12345678")
    with pytest.raises(WeakPassword):
        passwords().check_acceptable("1234567")
    with pytest.raises(InvalidParam):
        passwords().check_acceptable("x" * 513)
