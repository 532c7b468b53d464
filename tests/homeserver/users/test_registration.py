"""Making accounts: through a client, as a guest, with a registration token, from a script."""

import asyncio
import hashlib
import hmac

import pytest

from federation.protocol.endpoint import Rate
from federation.protocol.errors import InvalidParam, NotFound
from homeserver.config.sections.accounts import Auth, Registration, TermsDocument
from homeserver.config.sections.limits import Allowance
from homeserver.http.settings import HttpSettings
from tests.homeserver.users.server import (
    PASSWORD,
    V1,
    V3,
    Answer,
    UserServer,
    password_login,
    running_user_server,
)

DUMMY = {"type": "m.login.dummy"}


def applying(name: str, **more: object) -> dict[str, object]:
    return {"username": name, "password": PASSWORD, **more}


async def register(server: UserServer, body: dict[str, object], kind: str = "user") -> Answer:
    return await server.call("POST", f"{V3}/register?kind={kind}", body)


async def test_registering_begins_with_a_set_of_flows(server: UserServer) -> None:
    answer = await register(server, {})
    assert answer.status == 401
    assert answer.body["flows"] == [{"stages": ["m.login.dummy"]}]
    assert answer.body["params"] == {}
    assert answer.body["session"]
    assert "errcode" not in answer.body


async def test_a_user_who_has_registered_is_logged_in(server: UserServer) -> None:
    body = applying(
        "Anna", auth=DUMMY, device_id="my_device_id", initial_device_display_name="My device"
    )
    answer = await register(server, body)
    assert answer.body["user_id"] == "@anna:hs1"
    assert answer.body["device_id"] == "my_device_id"
    token = answer.body["access_token"]
    devices = (await server.call("GET", f"{V3}/devices", token=token)).body["devices"]
    assert devices == [{"device_id": "my_device_id", "display_name": "My device"}]
    assert "@anna:hs1" in server.around.joined
    assert (await server.log_in("anna")).user_id == "@anna:hs1"


async def test_a_session_leads_from_the_question_to_the_account(server: UserServer) -> None:
    body = applying("übung".replace("ü", "ue"), password="übers3kr1t")
    session = (await register(server, body)).body["session"]
    answer = await register(server, {**body, "auth": {**DUMMY, "session": session}})
    assert answer.status == 200
    again = await register(server, applying("second", auth={**DUMMY, "session": session}))
    assert again.status == 401
    assert again.body["session"] != session


async def test_a_client_may_ask_for_the_flows_before_it_knows_the_name(server: UserServer) -> None:
    session = (await register(server, {})).body["session"]
    answer = await register(server, applying("beate", auth={**DUMMY, "session": session}))
    assert answer.body["user_id"] == "@beate:hs1"


async def test_asking_for_the_flows_is_no_attempt_to_register(database_url: str) -> None:
    limited = HttpSettings(allowances={Rate.REGISTRATION: Allowance(per_second=0, burst=3)})
    async with running_user_server(database_url, http_settings=limited) as server:
        for name in ("mother", "father"):
            session = ""
            for _ in range(5):
                session = (await register(server, applying(name))).body["session"]
            answer = await register(server, applying(name, auth={**DUMMY, "session": session}))
            assert answer.status == 200
        wrong = {"type": "m.login.registration_token", "token": "wrong"}
        assert (await register(server, applying("guesser", auth=wrong))).status == 401
        assert (await register(server, applying("guesser", auth=wrong))).status == 429
        assert (await register(server, applying("child", auth=DUMMY))).status == 429


async def test_login_may_be_inhibited(server: UserServer) -> None:
    answer = await register(server, applying("carl", auth=DUMMY, inhibit_login=True))
    assert answer.body == {"user_id": "@carl:hs1", "home_server": "hs1"}


async def test_who_gives_no_name_gets_one(server: UserServer) -> None:
    answers = [await register(server, {"password": PASSWORD, "auth": DUMMY}) for _ in range(2)]
    names = {answer.body["user_id"] for answer in answers}
    assert len(names) == 2
    assert all(name.endswith(":hs1") for name in names)


@pytest.mark.parametrize("character", "!\":?\\@[]{|}£é\n'$, ")
async def test_names_outside_the_grammar_are_refused(server: UserServer, character: str) -> None:
    answer = await register(server, applying(f"user-{character}-no", auth=DUMMY))
    assert answer.error == (400, "M_INVALID_USERNAME")


@pytest.mark.parametrize("character", "q3._=-/+")
async def test_names_within_the_grammar_are_taken(server: UserServer, character: str) -> None:
    assert (await register(server, applying(f"chr{character}", auth=DUMMY))).status == 200


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("", (400, "M_INVALID_USERNAME")),
        ("_bot", (400, "M_INVALID_USERNAME")),
        ("a" * 256, (400, "M_INVALID_USERNAME")),
        ("bridge-x", (400, "M_EXCLUSIVE")),
        ("dora", (400, "M_USER_IN_USE")),
        ("DORA", (400, "M_USER_IN_USE")),
    ],
)
async def test_names_that_cannot_be_had_are_refused_before_any_stage(
    server: UserServer, name: str, error: tuple[int, str]
) -> None:
    if await server.users.accounts.find_by_name("dora") is None:
        await server.users.accounts.create_user("dora", PASSWORD)
    assert (await register(server, applying(name))).error == error
    if name:
        available = await server.call("GET", f"{V3}/register/available?username={name}")
        assert available.error == error


async def test_a_free_name_is_available(server: UserServer) -> None:
    answer = await server.call("GET", f"{V3}/register/available?username=free.name")
    assert (answer.status, answer.body) == (200, {"available": True})


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (applying("emil", password="short"), (400, "M_WEAK_PASSWORD")),
        (applying("emil", password="x" * 513), (400, "M_INVALID_PARAM")),
        (applying("emil", password=12345678), (400, "M_BAD_JSON")),
        ({"username": "emil", "auth": DUMMY}, (400, "M_MISSING_PARAM")),
        (applying("emil", auth="yes"), (400, "M_BAD_JSON")),
        (applying("emil", auth={"type": 1}), (400, "M_BAD_JSON")),
        (applying("emil", auth={"type": []}), (400, "M_BAD_JSON")),
        (applying("emil", device_id=""), (400, "M_INVALID_PARAM")),
    ],
)
async def test_what_is_no_application_is_refused(
    server: UserServer, body: dict[str, object], error: tuple[int, str]
) -> None:
    assert (await register(server, body)).error == error


async def test_only_one_of_many_gets_a_name(server: UserServer) -> None:
    answers = await asyncio.gather(
        *(register(server, applying("fritz", auth=DUMMY)) for _ in range(5))
    )
    assert sorted(answer.status for answer in answers) == [200, 400, 400, 400, 400]


async def test_closed_registration_is_closed(database_url: str) -> None:
    async with running_user_server(database_url, registration=Registration()) as server:
        assert (await register(server, {})).error == (403, "M_FORBIDDEN")
        assert (await register(server, {}, "guest")).error == (403, "M_FORBIDDEN")
        for path in (
            f"{V3}/register/available?username=x",
            f"{V1}/register/m.login.registration_token/validity?token=x",
        ):
            assert (await server.call("GET", path)).error == (403, "M_FORBIDDEN")
        nonce = await server.call("GET", "/_synapse/admin/v1/register")
        assert nonce.error == (400, "M_UNKNOWN")


async def test_a_registration_token_lets_in_as_often_as_it_says(database_url: str) -> None:
    registration = Registration(enabled=True, token_required=True)
    async with running_user_server(database_url, registration=registration) as server:
        await server.users.registration_tokens.create("two.people", uses_allowed=2)
        session = (await register(server, {})).body["session"]
        stage = {"type": "m.login.registration_token", "session": session}
        refused = await register(server, applying("one", auth={**stage, "token": "wrong"}))
        assert refused.error == (401, "M_FORBIDDEN")
        assert refused.body["session"] == session
        dummy = await register(server, applying("one", auth={**DUMMY, "session": session}))
        assert dummy.error == (401, "M_FORBIDDEN")
        token = {"type": "m.login.registration_token", "token": "two.people"}
        for name, status in (("one", 200), ("two", 200), ("three", 401)):
            assert (await register(server, applying(name, auth=token))).status == status
        validity = f"{V1}/register/m.login.registration_token/validity?token=two.people"
        assert (await server.call("GET", validity)).body == {"valid": False}


async def test_a_registration_token_never_lets_in_more_than_it_says(database_url: str) -> None:
    registration = Registration(enabled=True, token_required=True)
    async with running_user_server(database_url, registration=registration) as server:
        await server.users.registration_tokens.create("one", uses_allowed=1)
        token = {"type": "m.login.registration_token", "token": "one"}
        answers = await asyncio.gather(
            *(register(server, applying(f"user{n}", auth=token)) for n in range(5))
        )
        assert [answer.status for answer in answers].count(200) == 1


async def test_administrators_manage_registration_tokens(server: UserServer) -> None:
    tokens = server.users.registration_tokens
    made = await tokens.create()
    limited = await tokens.create("limited", expires_ts=server.time() + 1000)
    assert await tokens.is_valid(made.token)
    assert await tokens.is_valid("limited")
    server.time.advance(1)
    assert not await tokens.is_valid("limited")
    assert limited in await tokens.list_all()
    for text in ("limited", "", "a" * 65, "with space"):
        with pytest.raises(InvalidParam):
            await tokens.create(text)
    await tokens.delete("limited")
    with pytest.raises(NotFound):
        await tokens.delete("limited")


async def test_terms_are_accepted_and_remembered(database_url: str) -> None:
    terms = (
        TermsDocument("tos", "1.2", "Terms", "https://hs1/tos-en"),
        TermsDocument("tos", "1.2", "Conditions", "https://hs1/tos-fr", "fr"),
    )
    registration = Registration(enabled=True, token_required=True, terms=terms)
    async with running_user_server(database_url, registration=registration) as server:
        await server.users.registration_tokens.create("welcome")
        asked = await register(server, applying("gerd"))
        stages = ["m.login.registration_token", "m.login.terms"]
        assert asked.body["flows"] == [{"stages": stages}]
        assert asked.body["params"]["m.login.terms"]["policies"] == {
            "tos": {
                "version": "1.2",
                "en": {"name": "Terms", "url": "https://hs1/tos-en"},
                "fr": {"name": "Conditions", "url": "https://hs1/tos-fr"},
            }
        }
        session = asked.body["session"]
        early = await register(
            server, applying("gerd", auth={"type": "m.login.terms", "session": session})
        )
        assert early.status == 401
        token = {"type": "m.login.registration_token", "token": "welcome", "session": session}
        half = await register(server, applying("gerd", auth=token))
        assert half.status == 401
        assert half.body["completed"] == ["m.login.registration_token"]
        assert "errcode" not in half.body
        retried = await register(server, applying("gerd", auth=token))
        assert (retried.status, retried.body) == (401, half.body)
        done = await register(
            server, applying("gerd", auth={"type": "m.login.terms", "session": session})
        )
        assert done.body["user_id"] == "@gerd:hs1"
        rows = await server.db.fetch("SELECT document, version FROM accepted_terms")
        assert [tuple(row) for row in rows] == [("tos", "1.2")]


async def test_a_session_of_registration_expires(database_url: str) -> None:
    auth = Auth(bcrypt_rounds=4, interactive_auth_lifetime_s=60)
    async with running_user_server(database_url, auth=auth) as server:
        session = (await register(server, applying("hugo"))).body["session"]
        server.time.advance(60)
        late = await register(server, applying("hugo", auth={**DUMMY, "session": session}))
        assert late.error == (401, "M_FORBIDDEN")
        assert late.body["session"] != session
        assert await server.db.fetchval("SELECT count(*) FROM interactive_auth_sessions") == 1


async def test_guests_are_let_in_where_they_may(database_url: str) -> None:
    registration = Registration(enabled=True, token_required=False, guests=True)
    async with running_user_server(database_url, registration=registration) as server:
        guest = await register(
            server, {"username": "ignored", "device_id": "IGNORED"}, kind="guest"
        )
        assert guest.status == 200
        assert guest.body["user_id"] != "@ignored:hs1"
        assert guest.body["device_id"] != "IGNORED"
        token = guest.body["access_token"]
        assert (await server.whoami(token)).body["is_guest"] is True
        refused = await server.call("DELETE", f"{V3}/devices/X", token=token)
        assert refused.error == (403, "M_GUEST_ACCESS_FORBIDDEN")

        name = guest.body["user_id"][1:].partition(":")[0]
        upgrade = applying(name, guest_access_token=token, auth=DUMMY)
        other = await register(server, {**upgrade, "username": "other"})
        assert other.error == (400, "M_INVALID_USERNAME")
        answer = await register(server, upgrade)
        assert answer.body["user_id"] == guest.body["user_id"]
        assert (await server.whoami(token)).body["is_guest"] is False
        assert (await server.log_in(name)).user_id == guest.body["user_id"]
        assert (await register(server, upgrade)).error == (403, "M_FORBIDDEN")
        unknown = await register(server, {**upgrade, "guest_access_token": "none"})
        assert unknown.error == (401, "M_UNKNOWN_TOKEN")


async def test_an_unknown_kind_of_account_is_refused(server: UserServer) -> None:
    assert (await register(server, {}, kind="robot")).error == (400, "M_INVALID_PARAM")


async def shared_secret_body(
    server: UserServer, name: str, *, admin: bool = False, secret: str = "shared"
) -> dict[str, object]:
    nonce = (await server.call("GET", "/_synapse/admin/v1/register")).body["nonce"]
    parts = [nonce, name, PASSWORD, "admin" if admin else "notadmin"]
    mac = hmac.new(secret.encode(), "\0".join(parts).encode(), hashlib.sha1).hexdigest()
    return {"nonce": nonce, "username": name, "password": PASSWORD, "admin": admin, "mac": mac}


@pytest.mark.parametrize("admin", [True, False])
async def test_a_script_that_knows_the_secret_makes_accounts(
    server: UserServer, admin: bool
) -> None:
    name = f"Script-{admin}"
    body = await shared_secret_body(server, name, admin=admin)
    answer = await server.call("POST", "/_synapse/admin/v1/register", body)
    assert answer.body["user_id"] == f"@{name.lower()}:hs1"
    whoami = await server.whoami(answer.body["access_token"])
    assert whoami.body["device_id"] == answer.body["device_id"]
    account = await server.users.accounts.find(answer.body["user_id"])
    assert account is not None
    assert account.is_admin is admin
    repeated = await server.call("POST", "/_synapse/admin/v1/register", body)
    assert repeated.error == (400, "M_USER_IN_USE")


async def test_a_script_is_refused_without_secret_nonce_or_grammar(server: UserServer) -> None:
    path = "/_synapse/admin/v1/register"
    wrong = await shared_secret_body(server, "ines", secret="guessed")
    assert (await server.call("POST", path, wrong)).error == (403, "M_FORBIDDEN")
    symbols = await shared_secret_body(server, "us,er")
    assert (await server.call("POST", path, symbols)).error == (400, "M_INVALID_USERNAME")
    made_up = {**await shared_secret_body(server, "ines"), "nonce": "1.2.3"}
    assert (await server.call("POST", path, made_up)).error == (400, "M_UNKNOWN")
    late = await shared_secret_body(server, "ines")
    server.time.advance(60)
    assert (await server.call("POST", path, late)).error == (400, "M_UNKNOWN")
    unlike = {**await shared_secret_body(server, "ines"), "mac": "é"}
    assert (await server.call("POST", path, unlike)).error == (403, "M_FORBIDDEN")


async def test_nobody_has_third_party_identifiers(server: UserServer) -> None:
    for medium in ("email", "msisdn"):
        for path, error in (
            ("register", (403, "M_THREEPID_DENIED")),
            ("account/password", (400, "M_THREEPID_NOT_FOUND")),
            ("account/3pid", (400, "M_THREEPID_MEDIUM_NOT_SUPPORTED")),
        ):
            answer = await server.call("POST", f"{V3}/{path}/{medium}/requestToken", {})
            assert answer.error == error


async def test_the_password_stage_is_not_for_registering(server: UserServer) -> None:
    answer = await register(server, applying("jens", auth=password_login("anna")))
    assert answer.status == 401
