"""Notifications by mail, as a mail server gets them from a whole server."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from homeserver.config.settings import Settings
from homeserver.push.digests import HOUR_MS, LONGEST_THROTTLE_MS, next_throttle
from storage.mail_throttles import Throttle
from storage.third_party_ids import EMAIL, ThirdPartyId, add_third_party_id
from tests.homeserver.conftest import Client, Homes
from tests.homeserver.mail.mail_server import (
    MailServer,
    Received,
    mail_server,
    mailing_homes,
    settings_with_mail,
)
from tests.homeserver.push.test_http_pushers import call_oneself, read, room_of_two
from tests.patience import PATIENCE_S

BOB = "bob@example.org"
CLAIM_THE_LAST_TIME = r"""
    UPDATE events
       SET origin_server_ts = 9007199254740991,
           json = convert_to(regexp_replace(convert_from(json, 'UTF8'), '"origin_server_ts":\d+',
                                            '"origin_server_ts":9007199254740991'), 'UTF8')
"""


@pytest_asyncio.fixture
async def mails() -> AsyncIterator[MailServer]:
    async with mail_server() as server:
        yield server


@pytest.fixture
def settings(database_url: str, tmp_path: Path, mails: MailServer) -> Settings:
    return settings_with_mail(database_url, tmp_path, mails.port)


@pytest_asyncio.fixture
async def homes(settings: Settings) -> AsyncIterator[Homes]:
    async with mailing_homes(settings) as one:
        yield one


def pusher(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "email",
        "app_id": "m.email",
        "pushkey": BOB,
        "app_display_name": "Mail",
        "device_display_name": BOB,
        "lang": "en",
        "data": {},
        **changes,
    }


async def user_with_mail(homes: Homes, name: str = "bob") -> Client:
    """A user with an address, to which notifications go."""
    client = await homes.user(name)
    services = homes.services
    user_nid = await services.names.users.get_nid(client.user_id)
    await add_third_party_id(services.db, user_nid, ThirdPartyId(EMAIL, BOB, 1, 1))
    (await client.post("v3/pushers/set", pusher())).ok()
    return client


@asynccontextmanager
async def later(settings: Settings) -> AsyncIterator[Homes]:
    """The server after a restart, when mails are due that were put off or begun before it.

    The database is changed while no server runs that has it in memory how far it has got.
    """
    connection = await asyncpg.connect(settings.database.url)
    await connection.execute("UPDATE pushers SET due_ts = 1 WHERE due_ts IS NOT NULL")
    await connection.close()
    async with mailing_homes(settings) as homes:
        yield homes


@pytest.fixture
def slow(settings: Settings) -> Settings:
    """Settings with which no mail is sent for an hour."""
    return replace(settings, mail=replace(settings.mail, notification_delay_s=3600))


async def until_gathering(homes: Homes) -> None:
    """Until the database has it that somebody is to get a mail."""
    async with asyncio.timeout(PATIENCE_S):
        while await homes.services.db.fetchval("SELECT min(due_ts) FROM pushers") is None:
            await asyncio.sleep(0.02)


def unsubscribe_link(mail: Received) -> str:
    return str(mail.message["List-Unsubscribe"]).strip("<>")


async def test_what_is_not_read_is_mailed(
    settings: Settings, slow: Settings, mails: MailServer
) -> None:
    async with mailing_homes(slow) as homes:
        alice, bob = await homes.user("alice"), await user_with_mail(homes)
        await call_oneself(alice, "Alice & Co")
        room_id = await room_of_two(alice, bob, name="Tea <party>")
        await alice.send(room_id, "first & foremost")
        await alice.send(room_id, "second")
    async with later(settings):
        mail = await mails.next()
    assert mail.recipients == [BOB]
    assert mail.subject == "2 unread messages in Tea <party>"
    assert "Alice & Co: first & foremost" in mail.text
    assert "second" in mail.text
    assert f"https://matrix.to/#/{room_id}" in mail.text
    assert "Tea &lt;party&gt;" in mail.html
    assert "first &amp; foremost" in mail.html


async def test_a_message_may_claim_a_time_that_no_calendar_has(
    settings: Settings, slow: Settings, mails: MailServer
) -> None:
    async with mailing_homes(slow) as homes:
        alice, bob = await homes.user("alice"), await user_with_mail(homes)
        await alice.send(await room_of_two(alice, bob), "from afar")
    connection = await asyncpg.connect(settings.database.url)
    await connection.execute(CLAIM_THE_LAST_TIME)
    await connection.close()
    async with later(settings):
        assert "from afar" in (await mails.next()).text


async def test_what_was_read_in_time_is_not_mailed(
    settings: Settings, slow: Settings, mails: MailServer
) -> None:
    async with mailing_homes(slow) as homes:
        alice, bob = await homes.user("alice"), await user_with_mail(homes)
        room_id = await room_of_two(alice, bob)
        other_id = await room_of_two(alice, bob, name="Other")
        await read(bob, room_id, await alice.send(room_id, "seen"))
        await alice.send(other_id, "unseen")
    async with later(settings):
        mail = await mails.next()
    assert mail.subject == "1 unread message in Other"
    assert "seen" not in mail.text.replace("unseen", "")


async def test_the_text_of_encrypted_messages_is_not_there(homes: Homes, mails: MailServer) -> None:
    alice, bob = await homes.user("alice"), await user_with_mail(homes)
    room_id = await room_of_two(alice, bob)
    path = f"v3/rooms/{room_id}/send/m.room.encrypted/1"
    content = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AAAA", "body": "leaked"}
    (await alice.put(path, content)).ok()
    mail = await mails.next()
    assert "an encrypted message" in mail.text
    for hidden in ("AAAA", "leaked"):
        assert hidden not in mail.text + mail.html


async def test_the_operator_may_leave_all_text_out(settings: Settings, mails: MailServer) -> None:
    quiet = replace(settings, mail=replace(settings.mail, notification_content=False))
    async with mailing_homes(quiet) as homes:
        alice, bob = await homes.user("alice"), await user_with_mail(homes)
        room_id = await room_of_two(alice, bob, name="Tea")
        await alice.send(room_id, "secret")
        mail = await mails.next()
    assert "a message" in mail.text
    assert "secret" not in mail.text + mail.html + mail.subject


async def test_an_invite_is_mailed(homes: Homes, mails: MailServer) -> None:
    alice, bob = await homes.user("alice"), await user_with_mail(homes)
    await alice.create_room(name="Party", invite=[bob.user_id])
    mail = await mails.next()
    assert mail.subject == "1 unread message in Party"
    assert "invites you" in mail.text


@pytest.mark.parametrize("one_click", [True, False])
async def test_the_link_in_a_mail_ends_them_without_a_login(
    homes: Homes, mails: MailServer, one_click: bool
) -> None:
    alice, bob = await homes.user("alice"), await user_with_mail(homes)
    room_id = await room_of_two(alice, bob)
    await alice.send(room_id, "hello")
    mail = await mails.next()
    assert mail.message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    link = unsubscribe_link(mail)
    assert link in mail.text
    parts = urlsplit(link)
    url = homes.base_url + parts.path
    query = {key: values[0] for key, values in parse_qs(parts.query).items()}
    async with aiohttp.ClientSession() as browser:
        async with browser.post(url, params=query | {"address": "eve@example.org"}) as answer:
            assert answer.status == 403
        if not one_click:
            async with browser.get(url, params=query) as shown:
                assert re.search("<form.*<button>", await shown.text(), re.DOTALL)
        assert (await bob.get("v3/pushers")).ok()["pushers"]
        body = {"List-Unsubscribe": "One-Click"} if one_click else {}
        async with browser.post(url, params=query, data=body) as answer:
            assert answer.status == 200
    assert (await bob.get("v3/pushers")).ok()["pushers"] == []


async def test_a_mail_survives_a_restart(slow: Settings, mails: MailServer) -> None:
    async with mailing_homes(slow) as homes:
        alice, bob = await homes.user("alice"), await user_with_mail(homes)
        room_id = await room_of_two(alice, bob, name="Tea")
        await alice.send(room_id, "hello")
    async with mailing_homes(slow) as homes:
        await until_gathering(homes)
        assert mails.arrived.empty()
    async with later(slow):
        assert (await mails.next()).subject == "1 unread message in Tea"


async def test_a_mail_server_that_is_away_is_tried_again(
    settings: Settings, mails: MailServer
) -> None:
    mails.refusal = "451 not now"
    async with mailing_homes(settings) as homes:
        alice, bob = await homes.user("alice"), await user_with_mail(homes)
        await alice.send(await room_of_two(alice, bob, name="Tea"), "hello")
        query = "SELECT count(*) FROM pushers WHERE failures > 0"
        while not await homes.services.db.fetchval(query):
            await bob.sync()
    mails.refusal = None
    async with later(settings):
        assert (await mails.next()).subject == "1 unread message in Tea"


async def test_mails_go_to_own_addresses_only(homes: Homes) -> None:
    bob = await user_with_mail(homes)
    for change in ({"pushkey": "eve@example.org"}, {"app_id": "other"}):
        (await bob.post("v3/pushers/set", pusher(**change))).refused(400, "M_INVALID_PARAM")
    other = await homes.user("eve")
    (await other.post("v3/pushers/set", pusher())).refused(400, "M_INVALID_PARAM")
    removal = {"medium": "email", "address": BOB}
    (await bob.post("v3/account/3pid/delete", removal)).ok()
    assert (await bob.get("v3/pushers")).ok()["pushers"] == []


async def test_mails_about_a_room_come_ever_more_rarely() -> None:
    first_ms = 600_000
    throttle = next_throttle(None, 0, first_ms)
    assert throttle == Throttle(0, first_ms)
    pauses = []
    now = 0
    for _ in range(3):
        now = throttle.sent_ts + throttle.throttle_ms
        throttle = next_throttle(throttle, now, first_ms)
        pauses.append(throttle.throttle_ms)
    assert pauses == [first_ms * 12, LONGEST_THROTTLE_MS, LONGEST_THROTTLE_MS]
    quiet = now + LONGEST_THROTTLE_MS + 13 * HOUR_MS
    assert next_throttle(throttle, quiet, first_ms).throttle_ms == first_ms


async def test_after_a_mail_about_a_room_the_next_one_waits(
    settings: Settings, mails: MailServer
) -> None:
    async with mailing_homes(settings) as homes:
        alice, bob = await homes.user("alice"), await user_with_mail(homes)
        room_id = await room_of_two(alice, bob, name="Tea")
        other_id = await room_of_two(alice, bob, name="Coffee")
        await alice.send(room_id, "one")
        await mails.next()
        longer = "UPDATE mail_throttles SET throttle_ms = 3600000"
        while await homes.services.db.execute(longer) != "UPDATE 1":
            await bob.sync()
        await alice.send(room_id, "two")
        put_off = "SELECT FROM pushers WHERE due_ts > (extract(epoch FROM now()) + 600) * 1000"
        while await homes.services.db.fetchrow(put_off) is None:
            await bob.sync()
        assert mails.arrived.empty()
        await alice.send(other_id, "three")
    async with later(settings):
        assert (await mails.next()).subject == "2 unread messages in 2 rooms"
