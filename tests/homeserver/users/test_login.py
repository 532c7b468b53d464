"""Logging in and out."""

import pytest

from homeserver.config.sections.accounts import Auth
from homeserver.config.sections.limits import Allowance, Limits
from homeserver.config.sections.server import Server
from tests.homeserver.users.server import (
    PASSWORD,
    SETTINGS,
    V1,
    V3,
    UserServer,
    password_login,
    running_user_server,
)


async def test_the_flows_have_password_and_token(server: UserServer) -> None:
    flows = (await server.call("GET", f"{V3}/login")).body["flows"]
    assert flows == [
        {"type": "m.login.password"},
        {"type": "m.login.token", "get_login_token": True},
    ]


@pytest.mark.parametrize("name", ["flo", "@flo:hs1", "FLO", "@FLO:hs1"])
async def test_a_user_may_log_in_by_localpart_or_user_id_in_any_case(
    server: UserServer, name: str
) -> None:
    if await server.users.accounts.find_by_name("flo") is None:
        await server.users.accounts.create_user("flo", PASSWORD)
    session = await server.log_in(name)
    assert session.user_id == "@flo:hs1"
    assert session.token not in {"", session.device_id}
    owner = (await server.whoami(session.token)).body
    assert owner == {"user_id": "@flo:hs1", "device_id": session.device_id, "is_guest": False}


async def test_the_deprecated_user_parameter_is_understood(server: UserServer) -> None:
    await server.users.accounts.create_user("old", PASSWORD)
    body = {"type": "m.login.password", "user": "old", "password": PASSWORD}
    assert (await server.call("POST", f"{V3}/login", body)).status == 200


@pytest.mark.parametrize(
    "body",
    [
        password_login("nobody-here"),
        password_login("@someone:elsewhere.org"),
        password_login("fiona", "wrong password"),
        password_login("fiona", PASSWORD.upper()),
        password_login("fiona", ""),
    ],
)
async def test_an_unknown_user_and_a_wrong_password_are_told_alike(
    server: UserServer, body: dict[str, object]
) -> None:
    if await server.users.accounts.find_by_name("fiona") is None:
        await server.users.accounts.create_user("fiona", PASSWORD)
    answer = await server.call("POST", f"{V3}/login", body)
    assert answer.error == (403, "M_FORBIDDEN")
    assert answer.body["error"] == "Invalid user name or password"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, (400, "M_MISSING_PARAM")),
        ({"type": 3}, (400, "M_BAD_JSON")),
        ({"type": "m.login.sso"}, (400, "M_UNKNOWN")),
        ({"type": "m.login.password", "password": "x"}, (400, "M_MISSING_PARAM")),
        ({"type": "m.login.password", "user": "x"}, (400, "M_MISSING_PARAM")),
        ({"type": "m.login.password", "identifier": "x"}, (400, "M_BAD_JSON")),
        ({"type": "m.login.password", "identifier": {"type": "?"}}, (400, "M_UNKNOWN")),
        ({"type": "m.login.token"}, (400, "M_MISSING_PARAM")),
        ({"type": "m.login.token", "token": "guessed"}, (403, "M_FORBIDDEN")),
        ({"type": "m.login.application_service"}, (401, "M_MISSING_TOKEN")),
        ({"type": "m.login.password", "device_id": "", "user": "x"}, (400, "M_INVALID_PARAM")),
        (
            {
                "type": "m.login.password",
                "identifier": {"type": "m.id.thirdparty", "medium": "email", "address": "a@b"},
                "password": "x",
            },
            (403, "M_FORBIDDEN"),
        ),
    ],
)
async def test_what_is_no_login_is_refused(
    server: UserServer, body: dict[str, object], error: tuple[int, str]
) -> None:
    assert (await server.call("POST", f"{V3}/login", body)).error == error


async def test_logging_a_device_in_again_replaces_its_tokens(server: UserServer) -> None:
    await server.users.accounts.create_user("gina", PASSWORD)
    first = await server.log_in("gina", device_id="PHONE", initial_device_display_name="Phone")
    assert (await server.whoami(first.token)).status == 200
    second = await server.log_in("gina", device_id="PHONE", initial_device_display_name="Other")
    assert second.device_id == "PHONE"
    assert (await server.whoami(first.token)).error == (401, "M_UNKNOWN_TOKEN")
    shown = await server.call("GET", f"{V3}/devices", token=second.token)
    assert shown.body == {"devices": [{"device_id": "PHONE", "display_name": "Phone"}]}


async def test_a_device_may_not_be_called_like_a_cross_signing_key(server: UserServer) -> None:
    await server.users.accounts.create_user("greta", PASSWORD)
    answer = await server.try_login("greta", device_id="CROSSSIGNINGKEY")
    assert answer.error == (403, "M_FORBIDDEN")


async def test_logging_out_removes_the_device(server: UserServer) -> None:
    await server.users.accounts.create_user("hans", PASSWORD)
    stays, goes = await server.log_in("hans"), await server.log_in("hans")
    assert (await server.call("POST", f"{V3}/logout", {}, token=goes.token)).body == {}
    assert (await server.whoami(goes.token)).error == (401, "M_UNKNOWN_TOKEN")
    devices = (await server.call("GET", f"{V3}/devices", token=stays.token)).body["devices"]
    assert [device["device_id"] for device in devices] == [stays.device_id]
    assert ("@hans:hs1", (goes.device_id,)) in server.around.changed


async def test_logging_out_everywhere_ends_all_sessions(server: UserServer) -> None:
    await server.users.accounts.create_user("ida", PASSWORD)
    sessions = [await server.log_in("ida", refresh_token=True) for _ in range(3)]
    await server.call("POST", f"{V3}/logout/all", token=sessions[0].token)
    for session in sessions:
        assert (await server.whoami(session.token)).error == (401, "M_UNKNOWN_TOKEN")
        refreshed = await server.call(
            "POST", f"{V3}/refresh", {"refresh_token": session.refresh_token}
        )
        assert refreshed.error == (401, "M_UNKNOWN_TOKEN")


async def test_a_login_token_logs_in_once(server: UserServer) -> None:
    await server.users.accounts.create_user("jana", PASSWORD)
    session = await server.log_in("jana")
    path = f"{V1}/login/get_token"
    assert (await server.call("POST", path, {}, token=session.token)).status == 401
    answer = await server.call("POST", path, {"auth": password_login("jana")}, token=session.token)
    assert answer.body["expires_in_ms"] == 120_000
    body = {"type": "m.login.token", "token": answer.body["login_token"]}
    assert (await server.call("POST", f"{V3}/login", body)).body["user_id"] == "@jana:hs1"
    assert (await server.call("POST", f"{V3}/login", body)).error == (403, "M_FORBIDDEN")


async def test_a_login_token_expires(server: UserServer) -> None:
    user = await server.users.accounts.create_user("jonas", PASSWORD)
    token, lifetime_ms = await server.users.short_lived_tokens.issue_login_token(user.user_nid)
    server.time.advance(lifetime_ms / 1000)
    body = {"type": "m.login.token", "token": token}
    assert (await server.call("POST", f"{V3}/login", body)).error == (403, "M_FORBIDDEN")


async def test_single_sign_on_is_not_there(server: UserServer) -> None:
    for path in ("redirect", "redirect/google"):
        answer = await server.call("GET", f"{V3}/login/sso/{path}?redirectUrl=x")
        assert answer.error == (404, "M_NOT_FOUND")


async def test_too_many_wrong_passwords_lock_out_for_a_while(database_url: str) -> None:
    limits = Limits(login=Allowance(per_second=0.001, burst=10))
    async with running_user_server(database_url, limits=limits) as server:
        await server.users.accounts.create_user("kai", PASSWORD)
        await server.users.accounts.create_user("other", PASSWORD)
        for _ in range(15):
            assert (await server.try_login("kai")).status == 200
        for name in ("kai", "ghost"):
            answers = [await server.try_login(name, password="wrong") for _ in range(11)]
            assert [answer.status for answer in answers] == [403] * 10 + [429]
            assert 0 < answers[-1].body["retry_after_ms"] <= 1_000_001
        assert (await server.try_login("@KAI:hs1")).error == (429, "M_LIMIT_EXCEEDED")
        assert (await server.try_login("other")).status == 200


async def test_what_the_settings_say_of_the_way_here_is_told(database_url: str) -> None:
    named = Server(name="hs1", public_baseurl="https://matrix.hs1")
    async with running_user_server(database_url, server=named) as server:
        await server.users.accounts.create_user("lea", PASSWORD)
        answer = await server.try_login("lea")
        assert answer.body["well_known"] == {"m.homeserver": {"base_url": "https://matrix.hs1"}}


async def test_without_password_login_there_is_none(database_url: str) -> None:
    auth = Auth(bcrypt_rounds=4, password_login=False)
    async with running_user_server(database_url, SETTINGS, auth=auth) as server:
        await server.users.accounts.create_user("mia", PASSWORD)
        assert (await server.try_login("mia")).error == (400, "M_UNKNOWN")
        flows = (await server.call("GET", f"{V3}/login")).body["flows"]
        assert flows == [{"type": "m.login.token"}]
