"""E-mail addresses of accounts, proved by real mail: registration, login, password reset."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
import pytest
import pytest_asyncio

from tests.homeserver.conftest import Answer, Client, Homes
from tests.homeserver.mail.mail_server import (
    MailServer,
    mail_server,
    mailing_homes,
    settings_with_mail,
)

BOB = "bob@example.org"
PASSWORD = "a password that is long"
IDENTITY = "m.login.email.identity"
Open = Callable[..., AbstractAsyncContextManager[Homes]]


@pytest_asyncio.fixture
async def mails() -> AsyncIterator[MailServer]:
    async with mail_server() as server:
        yield server


@pytest.fixture
def open_homes(database_url: str, tmp_path: Path, mails: MailServer) -> Open:
    def open_with(**third_party: Any) -> AbstractAsyncContextManager[Homes]:
        return mailing_homes(settings_with_mail(database_url, tmp_path, mails.port, **third_party))

    return open_with


@pytest_asyncio.fixture
async def homes(open_homes: Open) -> AsyncIterator[Homes]:
    async with open_homes() as one:
        yield one


async def ask_for_mail(client: Client, what: str, email: str = BOB, **more: Any) -> Answer:
    body = {"client_secret": "secret", "email": email, "send_attempt": 1, **more}
    return await client.post(f"v3/{what}/email/requestToken", body)


async def press_button(homes: Homes, link: str, **changes: str) -> tuple[int, str, str | None]:
    """Open the link as a browser does and press the button; status, page, where it leads."""
    parts = urlsplit(link)
    fields = {key: values[0] for key, values in parse_qs(parts.query).items()} | changes
    url = homes.base_url + parts.path
    async with aiohttp.ClientSession() as browser:
        async with browser.get(url, params=fields) as shown:
            assert "<form" in await shown.text()
        async with browser.post(url, data=urlencode(fields), allow_redirects=False) as answer:
            return answer.status, await answer.text(), answer.headers.get("Location")


async def prove(
    homes: Homes, mails: MailServer, client: Client, what: str, email: str, **more: Any
) -> str:
    """Have an address verified; the session's ID."""
    sid = str((await ask_for_mail(client, what, email, **more)).ok()["sid"])
    status, text, _ = await press_button(homes, (await mails.next()).link)
    assert (status, "is verified" in text) == (200, True)
    return sid


def creds(sid: str) -> dict[str, Any]:
    return {"sid": sid, "client_secret": "secret"}


def by_mail(sid: str) -> dict[str, Any]:
    return {"type": IDENTITY, "threepid_creds": creds(sid)}


def by_password(client: Client) -> dict[str, Any]:
    identifier = {"type": "m.id.user", "user": client.user_id}
    return {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}


async def user_with_address(
    homes: Homes, mails: MailServer, name: str = "bob", email: str = BOB
) -> Client:
    """A user who has added an address."""
    client = await homes.user(name)
    sid = await prove(homes, mails, client, "account/3pid", email)
    body = {**creds(sid), "auth": by_password(client)}
    (await client.post("v3/account/3pid/add", body)).ok()
    return client


async def addresses(client: Client) -> list[str]:
    listed = (await client.get("v3/account/3pid")).ok()["threepids"]
    return [one["address"] for one in listed]


async def test_an_address_is_added_once_its_mail_was_read(homes: Homes, mails: MailServer) -> None:
    bob = await homes.user("bob")
    sid = (await ask_for_mail(bob, "account/3pid", "Bob@Example.org")).ok()["sid"]
    body = {**creds(sid), "auth": by_password(bob)}
    (await bob.post("v3/account/3pid/add", body)).refused(400, "M_THREEPID_AUTH_FAILED")
    mail = await mails.next()
    assert mail.recipients == [BOB]
    await press_button(homes, mail.link)
    asked = await bob.post("v3/account/3pid/add", creds(sid))
    assert asked.status == 401
    assert asked.body["flows"] == [{"stages": ["m.login.password"]}]
    (await bob.post("v3/account/3pid/add", body)).ok()
    (listed,) = (await bob.get("v3/account/3pid")).ok()["threepids"]
    assert (listed["medium"], listed["address"]) == ("email", BOB)
    assert listed["validated_at"] <= listed["added_at"]
    (await bob.post("v3/account/3pid/add", body)).refused(400, "M_THREEPID_AUTH_FAILED")


async def test_an_address_belongs_to_one_account(homes: Homes, mails: MailServer) -> None:
    carol = await homes.user("carol")
    sid = await prove(homes, mails, carol, "account/3pid", BOB, client_secret="carols")
    await user_with_address(homes, mails)
    (await ask_for_mail(carol, "account/3pid")).refused(400, "M_THREEPID_IN_USE")
    (await ask_for_mail(homes.nobody(), "register")).refused(400, "M_THREEPID_IN_USE")
    body = {"sid": sid, "client_secret": "carols", "auth": by_password(carol)}
    (await carol.post("v3/account/3pid/add", body)).refused(400, "M_THREEPID_IN_USE")
    assert await addresses(carol) == []


async def test_a_removed_address_can_be_had_again(homes: Homes, mails: MailServer) -> None:
    bob = await user_with_address(homes, mails)
    removal = {"medium": "email", "address": "BOB@example.org"}
    gone = (await bob.post("v3/account/3pid/delete", removal)).ok()
    assert gone == {"id_server_unbind_result": "no-support"}
    assert await addresses(bob) == []
    (await ask_for_mail(homes.nobody(), "register")).ok()


async def test_a_deactivated_account_has_no_address(homes: Homes, mails: MailServer) -> None:
    bob = await user_with_address(homes, mails)
    (await bob.post("v3/account/deactivate", {"auth": by_password(bob)})).ok()
    (await ask_for_mail(homes.nobody(), "account/password")).refused(400, "M_THREEPID_NOT_FOUND")


async def test_one_logs_in_by_an_address(homes: Homes, mails: MailServer) -> None:
    bob = await user_with_address(homes, mails)
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.thirdparty", "medium": "email", "address": "Bob@example.org"},
        "password": PASSWORD,
    }
    assert (await homes.nobody().post("v3/login", body)).ok()["user_id"] == bob.user_id
    old = {"type": "m.login.password", "medium": "email", "address": BOB, "password": PASSWORD}
    assert (await homes.nobody().post("v3/login", old)).ok()["user_id"] == bob.user_id
    wrong = {**old, "address": "eve@example.org"}
    (await homes.nobody().post("v3/login", wrong)).refused(403, "M_FORBIDDEN")


async def test_a_forgotten_password_is_reset_by_mail(homes: Homes, mails: MailServer) -> None:
    bob = await user_with_address(homes, mails)
    somebody = homes.nobody()
    sid = (await ask_for_mail(somebody, "account/password")).ok()["sid"]
    body = {"new_password": "a new password!", "auth": by_mail(sid)}
    early = await somebody.post("v3/account/password", body)
    early.refused(401, "M_UNAUTHORIZED")
    assert {"stages": [IDENTITY]} in early.body["flows"]
    mail = await mails.next()
    assert mail.subject == "A new password for test"
    await press_button(homes, mail.link)
    (await somebody.post("v3/account/password", body)).ok()
    (await bob.get("v3/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    login = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "bob"}}
    (await somebody.post("v3/login", {**login, "password": PASSWORD})).refused(403, "M_FORBIDDEN")
    (await somebody.post("v3/login", {**login, "password": "a new password!"})).ok()
    again = {"new_password": "yet another one", "auth": by_mail(sid)}
    (await somebody.post("v3/account/password", again)).refused(401, "M_UNAUTHORIZED")


async def test_a_reset_may_leave_other_devices_logged_in(homes: Homes, mails: MailServer) -> None:
    bob = await user_with_address(homes, mails)
    sid = await prove(homes, mails, homes.nobody(), "account/password", BOB)
    body = {"new_password": "a new password!", "auth": by_mail(sid), "logout_devices": False}
    (await homes.nobody().post("v3/account/password", body)).ok()
    (await bob.get("v3/account/whoami")).ok()


async def test_a_proof_is_for_one_purpose(homes: Homes, mails: MailServer) -> None:
    await user_with_address(homes, mails)
    carol = await homes.user("carol")
    sid = await prove(homes, mails, carol, "account/3pid", "carol@example.org")
    body = {"new_password": "a new password!", "auth": by_mail(sid)}
    (await homes.nobody().post("v3/account/password", body)).refused(401, "M_UNAUTHORIZED")


async def test_one_registers_with_an_address(homes: Homes, mails: MailServer) -> None:
    somebody = homes.nobody()
    asked = await somebody.post("v3/register", {"username": "dora", "password": PASSWORD})
    assert asked.body["flows"] == [{"stages": [IDENTITY]}, {"stages": ["m.login.dummy"]}]
    sid = (await ask_for_mail(somebody, "register")).ok()["sid"]
    auth = {**by_mail(sid), "session": asked.body["session"]}
    body = {"username": "dora", "password": PASSWORD, "auth": auth}
    (await somebody.post("v3/register", body)).refused(401, "M_UNAUTHORIZED")
    await press_button(homes, (await mails.next()).link)
    homes.log_in(somebody, (await somebody.post("v3/register", body)).ok())
    assert await addresses(somebody) == [BOB]


async def test_an_address_may_be_required(open_homes: Open, mails: MailServer) -> None:
    async with open_homes(registration_requires_email=True) as homes:
        body = {"username": "dora", "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
        refused = await homes.nobody().post("v3/register", body)
        assert refused.status == 401
        assert refused.body["flows"] == [{"stages": [IDENTITY]}]
        sid = await prove(homes, mails, homes.nobody(), "register", BOB)
        (await homes.nobody().post("v3/register", body | {"auth": by_mail(sid)})).ok()


async def test_only_allowed_addresses_are_mailed_to(open_homes: Open, mails: MailServer) -> None:
    async with open_homes(allowed_emails=("*@Example.org",)) as homes:
        client = homes.nobody()
        (await ask_for_mail(client, "register", "a@b.org")).refused(403, "M_THREEPID_DENIED")
        for broken in ("bob", "a@b@c", "a b@example.org", "x\r\n@example.org"):
            (await ask_for_mail(client, "register", broken)).refused(400, "M_INVALID_PARAM")
        (await ask_for_mail(client, "register")).ok()
        assert (await mails.next()).recipients == [BOB]


async def test_whether_an_address_is_in_use_can_be_hidden(
    open_homes: Open, mails: MailServer
) -> None:
    async with open_homes(hide_existence=True) as homes:
        bob = await user_with_address(homes, mails)
        (await ask_for_mail(homes.nobody(), "register")).ok()
        assert "belongs to an account there already" in (await mails.next()).text
        sid = (await ask_for_mail(homes.nobody(), "account/password", "x@example.org")).ok()["sid"]
        mail = await mails.next()
        assert mail.subject == "No account at test"
        body = {"new_password": "a new password!", "auth": by_mail(sid)}
        (await homes.nobody().post("v3/account/password", body)).refused(401, "M_UNAUTHORIZED")
        assert await addresses(bob) == [BOB]


async def test_a_repeated_request_sends_no_second_mail(homes: Homes, mails: MailServer) -> None:
    client = homes.nobody()
    first = (await ask_for_mail(client, "register")).ok()
    assert (await ask_for_mail(client, "register")).ok() == first
    old = await mails.next()
    assert mails.arrived.empty()
    assert (await ask_for_mail(client, "register", send_attempt=2)).ok() == first
    new = await mails.next()
    status, text, _ = await press_button(homes, old.link)
    assert (status, "newer mail" in text) == (400, True)
    assert (await press_button(homes, new.link))[0] == 200


async def test_a_wrong_token_proves_nothing(homes: Homes, mails: MailServer) -> None:
    (await ask_for_mail(homes.nobody(), "register")).ok()
    link = (await mails.next()).link
    assert (await press_button(homes, link, token="x"))[0] == 400
    assert (await press_button(homes, link, client_secret="x"))[0] == 400
    assert (await press_button(homes, link, sid='"><script>'))[0] == 400
    parts = urlsplit(link)
    fields = {key: values[0] for key, values in parse_qs(parts.query).items()}
    wrong = await homes.nobody().post(parts.path + "/json", fields | {"token": "x"})
    wrong.refused(400, "M_TOKEN_INCORRECT")
    assert (await homes.nobody().post(parts.path + "/json", fields)).ok() == {"success": True}


async def test_a_browser_is_sent_on_to_allowed_sites_only(
    open_homes: Open, mails: MailServer
) -> None:
    async with open_homes(next_link_hosts=("app.example.org",)) as homes:
        client = homes.nobody()
        for number, link in enumerate(
            (
                "https://evil.org/",
                "javascript:alert(1)",
                "https://app.example.org@evil.org/",
                f"https://app.example.org/{'x' * 3_000}",
            )
        ):
            secret = f"secret{number}"
            (await ask_for_mail(client, "register", next_link=link, client_secret=secret)).ok()
            status, _, location = await press_button(homes, (await mails.next()).link)
            assert (status, location) == (200, None)
        link = "https://app.example.org/#/welcome?x=1"
        (await ask_for_mail(client, "register", next_link=link)).ok()
        status, _, location = await press_button(homes, (await mails.next()).link)
        assert (status, location) == (303, link)


async def test_an_address_that_a_header_would_change_is_none(
    homes: Homes, mails: MailServer
) -> None:
    for email in (
        "=?utf-8?q?a=0ABcc=3Ax=40y.z?=@example.org",
        "=?utf-8?q?a=40b.c=2C?=@example.org",
    ):
        answer = await ask_for_mail(homes.nobody(), "register", email=email)
        answer.refused(400, "M_INVALID_PARAM")
    assert mails.arrived.empty()


async def test_a_mail_that_cannot_be_sent_is_told_and_tried_again(
    homes: Homes, mails: MailServer
) -> None:
    mails.refusal = "451 not now"
    (await ask_for_mail(homes.nobody(), "register")).refused(500, "M_UNKNOWN")
    mails.refusal = None
    (await ask_for_mail(homes.nobody(), "register")).ok()
    assert (await mails.next()).recipients == [BOB]


async def test_one_address_is_not_flooded(database_url: str, tmp_path: Path) -> None:
    from dataclasses import replace

    from homeserver.config.sections.limits import Allowance, Limits

    async with mail_server() as server:
        settings = settings_with_mail(database_url, tmp_path, server.port)
        plenty = Allowance(per_second=1000, burst=1000)
        limits = replace(Limits(), registration=plenty, mail=Allowance(per_second=0, burst=2))
        async with mailing_homes(replace(settings, limits=limits)) as homes:
            for secret in ("a", "b"):
                (await ask_for_mail(homes.nobody(), "register", client_secret=secret)).ok()
            more = await ask_for_mail(homes.nobody(), "register", client_secret="c")
            more.refused(429, "M_LIMIT_EXCEEDED")
            (await ask_for_mail(homes.nobody(), "register", "else@example.org")).ok()


async def test_changes_may_be_forbidden(open_homes: Open) -> None:
    async with open_homes(changes_allowed=False) as homes:
        bob = await homes.user("bob")
        capabilities = (await bob.get("v3/capabilities")).ok()["capabilities"]
        assert capabilities["m.3pid_changes"] == {"enabled": False}
        (await bob.post("v3/account/3pid/add", creds("x"))).refused(403, "M_FORBIDDEN")
        answer = await ask_for_mail(bob, "account/3pid")
        answer.refused(400, "M_THREEPID_MEDIUM_NOT_SUPPORTED")
        removal = {"medium": "email", "address": BOB}
        (await bob.post("v3/account/3pid/delete", removal)).refused(403, "M_FORBIDDEN")


async def test_clients_are_told_that_addresses_can_be_changed(homes: Homes) -> None:
    bob = await homes.user("bob")
    capabilities = (await bob.get("v3/capabilities")).ok()["capabilities"]
    assert capabilities["m.3pid_changes"] == {"enabled": True}
