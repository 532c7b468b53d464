"""One's own account: devices, password, deactivation; and what administrators do."""

from dataclasses import replace
from typing import Any

import pytest

from federation.protocol.errors import NotFound
from federation.protocol.identifiers import UserId
from homeserver.config.sections.calls import Turn
from tests.homeserver.users.server import (
    PASSWORD,
    V1,
    V3,
    Session,
    UserServer,
    password_login,
    running_user_server,
)

NEW_PASSWORD = "another horse"


async def devices_of(server: UserServer, session: Session) -> list[str]:
    answer = await server.call("GET", f"{V3}/devices", token=session.token)
    return [device["device_id"] for device in answer.body["devices"]]


async def test_a_device_can_be_shown_and_renamed(server: UserServer) -> None:
    session = await server.register("adam", initial_device_display_name="Phone")
    path = f"{V3}/devices/{session.device_id}"
    shown = await server.call("GET", path, token=session.token)
    assert shown.body == {"device_id": session.device_id, "display_name": "Phone"}
    renamed = await server.call("PUT", path, {"display_name": "Fridge"}, token=session.token)
    assert (renamed.status, renamed.body) == (200, {})
    assert ("@adam:hs1", (session.device_id,)) in server.around.changed
    assert (await server.call("PUT", path, {}, token=session.token)).status == 200
    shown = await server.call("GET", path, token=session.token)
    assert shown.body["display_name"] == "Fridge"
    long = await server.call("PUT", path, {"display_name": "x" * 101}, token=session.token)
    assert long.error == (400, "M_INVALID_PARAM")


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_unknown_devices_are_not_found(server: UserServer, method: str) -> None:
    session = await server.register(f"bea-{method.lower()}")
    await server.register(f"bert-{method.lower()}", device_id="THEIRS")
    for device_id in ("THEIRS", "unknown"):
        body = {"display_name": "x"} if method == "PUT" else None
        answer = await server.call(method, f"{V3}/devices/{device_id}", body, token=session.token)
        assert answer.error == (404, "M_NOT_FOUND")


async def test_a_device_is_deleted_by_who_knows_the_password(server: UserServer) -> None:
    stays = await server.register("cecil")
    goes = await server.log_in("cecil", refresh_token=True)
    await server.register("mallory")
    path = f"{V3}/devices/{goes.device_id}"

    asked = await server.call("DELETE", path, token=stays.token)
    assert asked.status == 401
    assert asked.body["flows"] == [{"stages": ["m.login.password"]}]
    assert {"params", "session"} < asked.body.keys()

    wrong = {"auth": password_login("cecil", "wrong password")}
    refused = await server.call("DELETE", path, wrong, token=stays.token)
    assert refused.error == (401, "M_FORBIDDEN")
    assert {"flows", "params", "session", "error"} < refused.body.keys()

    other = {"auth": password_login("mallory")}
    assert (await server.call("DELETE", path, other, token=stays.token)).error == (
        403,
        "M_FORBIDDEN",
    )
    assert await devices_of(server, stays) == [stays.device_id, goes.device_id]

    assert (await server.whoami(goes.token)).status == 200
    right = {"auth": {**password_login("cecil"), "session": asked.body["session"]}}
    assert (await server.call("DELETE", path, right, token=stays.token)).status == 200
    assert await devices_of(server, stays) == [stays.device_id]
    assert (await server.whoami(goes.token)).error == (401, "M_UNKNOWN_TOKEN")


async def test_deleting_a_device_that_is_gone_succeeds(server: UserServer) -> None:
    session = await server.register("diana")
    body = {"auth": password_login("diana")}
    answer = await server.call("DELETE", f"{V3}/devices/GONE", body, token=session.token)
    assert (answer.status, answer.body) == (200, {})


async def test_a_session_is_for_one_request_of_one_user_only(server: UserServer) -> None:
    first = await server.register("eric")
    second = await server.log_in("eric")
    other = await server.register("felix")
    path = f"{V3}/delete_devices"
    body: dict[str, Any] = {"devices": [second.device_id]}
    session = (await server.call("POST", path, body, token=first.token)).body["session"]
    auth = {**password_login("eric"), "session": session}
    changed = {"devices": [first.device_id], "auth": auth}
    assert (await server.call("POST", path, changed, token=first.token)).error == (
        403,
        "M_FORBIDDEN",
    )
    elsewhere = f"{V3}/devices/{second.device_id}"
    refused = await server.call("DELETE", elsewhere, {"auth": auth}, token=first.token)
    assert refused.error == (403, "M_FORBIDDEN")
    theirs = {**body, "auth": {**password_login("felix"), "session": session}}
    assert (await server.call("POST", path, theirs, token=other.token)).error == (
        403,
        "M_FORBIDDEN",
    )
    right = {**body, "auth": auth}
    assert (await server.call("POST", path, right, token=first.token)).status == 200
    assert await devices_of(server, first) == [first.device_id]


async def test_a_session_without_a_stage_only_asks_again(server: UserServer) -> None:
    session = await server.register("gabi")
    path = f"{V3}/devices/{session.device_id}"
    asked = await server.call("DELETE", path, token=session.token)
    auth = {"session": asked.body["session"]}
    again = await server.call("DELETE", path, {"auth": auth}, token=session.token)
    assert (again.status, again.body) == (401, asked.body)


async def add_pusher(server: UserServer, session: Session) -> None:
    requester = await server.users.sessions.find(session.token)
    assert requester is not None
    await server.db.execute(
        "INSERT INTO pushers (user_nid, device_nid, app_id, pushkey, json, created_ts) "
        "VALUES ($1, $2, 'app', $3, '', 0)",
        requester.user_nid,
        requester.device_nid,
        session.device_id,
    )


async def test_a_new_password_ends_the_other_sessions(server: UserServer) -> None:
    mine = await server.register("hanna")
    theirs = await server.log_in("hanna")
    await add_pusher(server, mine)
    await add_pusher(server, theirs)
    path = f"{V3}/account/password"
    body = {"new_password": NEW_PASSWORD, "auth": password_login("hanna")}
    assert (await server.call("POST", path, body, token=mine.token)).status == 200
    assert (await server.try_login("hanna")).error == (403, "M_FORBIDDEN")
    assert (await server.try_login("hanna", password=NEW_PASSWORD)).status == 200
    assert (await server.whoami(mine.token)).status == 200
    assert (await server.whoami(theirs.token)).status == 401
    keys = await server.db.fetch("SELECT pushkey FROM pushers")
    assert [row[0] for row in keys] == [mine.device_id]


async def test_other_sessions_can_be_kept(server: UserServer) -> None:
    mine, theirs = await server.register("ilse"), await server.log_in("ilse")
    body = {
        "new_password": NEW_PASSWORD,
        "logout_devices": False,
        "auth": password_login("ilse"),
    }
    path = f"{V3}/account/password"
    assert (await server.call("POST", path, body, token=mine.token)).status == 200
    assert (await server.whoami(theirs.token)).status == 200


async def test_a_password_can_be_changed_without_a_session(server: UserServer) -> None:
    session = await server.register("jule")
    body = {"new_password": NEW_PASSWORD, "auth": password_login("@jule:hs1")}
    assert (await server.call("POST", f"{V3}/account/password", body)).status == 200
    assert (await server.whoami(session.token)).status == 401
    assert (await server.log_in("jule", password=NEW_PASSWORD)).user_id == "@jule:hs1"


async def test_a_weak_password_is_refused_before_any_stage(server: UserServer) -> None:
    session = await server.register("karla")
    body = {"new_password": "short", "auth": password_login("karla")}
    answer = await server.call("POST", f"{V3}/account/password", body, token=session.token)
    assert answer.error == (400, "M_WEAK_PASSWORD")


async def test_a_deactivated_account_is_gone_but_its_name_is_taken(server: UserServer) -> None:
    session = await server.register("lara", refresh_token=True)
    path = f"{V3}/account/deactivate"
    asked = await server.call("POST", path, {}, token=session.token)
    assert {"stages": ["m.login.password"]} in asked.body["flows"]
    wrong = {"auth": password_login("lara", "wrong_password")}
    refused = await server.call("POST", path, wrong, token=session.token)
    assert refused.error == (401, "M_FORBIDDEN")
    right = {"auth": password_login("lara")}
    done = await server.call("POST", path, right, token=session.token)
    assert done.body == {"id_server_unbind_result": "success"}
    assert (await server.whoami(session.token)).error == (401, "M_UNKNOWN_TOKEN")
    assert (await server.try_login("lara")).error == (403, "M_FORBIDDEN")
    assert server.around.left.count(UserId("@lara:hs1")) == 1
    taken = await server.call("GET", f"{V3}/register/available?username=lara")
    assert taken.error == (400, "M_USER_IN_USE")
    account = await server.users.accounts.find(UserId("@lara:hs1"))
    assert account is not None
    assert (account.is_deactivated, account.is_erased, account.password_hash) == (
        True,
        False,
        None,
    )
    with pytest.raises(NotFound):
        await server.users.accounts.set_password(account.user_id, PASSWORD)


async def test_erasing_deletes_what_the_account_kept(server: UserServer) -> None:
    session = await server.register("marta")
    requester = await server.users.sessions.find(session.token)
    assert requester is not None
    nid = requester.user_nid
    await server.db.execute("INSERT INTO profile_fields VALUES ($1, 'displayname', '\"M\"')", nid)
    await server.db.execute("INSERT INTO account_data VALUES ($1, 0, 1, 'm.direct', '{}')", nid)
    await server.users.deactivation.deactivate(UserId("@marta:hs1"), erase=True)
    for table in ("profile_fields", "account_data", "devices", "access_tokens"):
        count = await server.db.fetchval(f"SELECT count(*) FROM {table} WHERE user_nid = $1", nid)
        assert count == 0
    account = await server.users.accounts.find(UserId("@marta:hs1"))
    assert account is not None
    assert account.is_erased


async def test_an_interrupted_deactivation_is_taken_up_again(server: UserServer) -> None:
    session = await server.register("nora")
    await server.db.execute(
        "UPDATE accounts SET is_deactivated = true, is_leaving = true "
        "FROM users WHERE users.user_nid = accounts.user_nid AND user_id = '@nora:hs1'"
    )
    await server.users.deactivation.resume()
    assert "@nora:hs1" in server.around.left
    assert (await server.whoami(session.token)).error == (401, "M_UNKNOWN_TOKEN")
    server.around.left.clear()
    await server.users.deactivation.resume()
    assert server.around.left == []


async def admin_and_user(server: UserServer, name: str) -> tuple[Session, Session]:
    await server.users.accounts.create_user(f"admin-{name}", PASSWORD, admin=True)
    return await server.log_in(f"admin-{name}"), await server.register(name)


async def test_a_locked_user_can_only_log_out(server: UserServer) -> None:
    admin, user = await admin_and_user(server, "olaf")
    path = f"{V1}/admin/lock/{user.user_id}"
    assert (await server.call("GET", path, token=admin.token)).body == {"locked": False}
    assert (await server.whoami(user.token)).status == 200
    locked = await server.call("PUT", path, {"locked": True}, token=admin.token)
    assert (locked.status, locked.body) == (200, {"locked": True})
    assert (await server.call("GET", path, token=admin.token)).body == {"locked": True}
    refused = await server.whoami(user.token)
    assert refused.error == (401, "M_USER_LOCKED")
    assert refused.body["soft_logout"] is True
    await server.call("PUT", path, {"locked": False}, token=admin.token)
    assert (await server.whoami(user.token)).status == 200
    await server.call("PUT", path, {"locked": True}, token=admin.token)
    assert (await server.call("POST", f"{V3}/logout", token=user.token)).status == 200


async def test_a_suspended_user_is_known_as_such(server: UserServer) -> None:
    admin, user = await admin_and_user(server, "paul")
    path = f"{V1}/admin/suspend/{user.user_id}"
    body = {"suspended": True}
    assert (await server.call("PUT", path, body, token=admin.token)).body == body
    assert (await server.call("GET", path, token=admin.token)).body == body
    requester = await server.users.sessions.find(user.token)
    assert requester is not None
    assert requester.is_suspended
    assert (await server.try_login("paul")).status == 200


@pytest.mark.parametrize("action", ["lock", "suspend"])
async def test_moderation_has_its_bounds(server: UserServer, action: str) -> None:
    admin, user = await admin_and_user(server, f"quinn-{action}")
    other, _ = await admin_and_user(server, f"rita-{action}")
    body = {f"{action}ed": True}
    path = f"{V1}/admin/{action}/"
    for session, target, error in (
        (user, user.user_id, (403, "M_FORBIDDEN")),
        (user, "@nobody:hs1", (403, "M_FORBIDDEN")),
        (admin, admin.user_id, (403, "M_FORBIDDEN")),
        (admin, other.user_id, (403, "M_FORBIDDEN")),
        (admin, "@someone:elsewhere.org", (400, "M_INVALID_PARAM")),
        (admin, "nonsense", (400, "M_INVALID_PARAM")),
        (admin, "@nobody:hs1", (404, "M_NOT_FOUND")),
    ):
        answer = await server.call("PUT", path + target, body, token=session.token)
        assert answer.error == error
    empty = await server.call("PUT", path + user.user_id, {}, token=admin.token)
    assert empty.error == (400, "M_MISSING_PARAM")


async def test_whois_tells_connections_to_oneself_and_administrators(server: UserServer) -> None:
    admin, user = await admin_and_user(server, "sven")
    await server.users.last_seen.write()
    path = f"{V3}/admin/whois/{user.user_id}"
    await server.whoami(user.token)
    await server.users.last_seen.write()
    connection = {"ip": "127.0.0.1", "last_seen": server.time()}
    for session in (user, admin):
        answer = (await server.call("GET", path, token=session.token)).body
        [found] = answer["devices"][user.device_id]["sessions"][0]["connections"]
        assert found.items() >= connection.items()
        assert "Python" in found["user_agent"]
    stranger = await server.register("tom")
    refused = await server.call("GET", path, token=stranger.token)
    assert refused.error == (403, "M_FORBIDDEN")


async def test_capabilities_are_for_users_and_say_what_they_may(server: UserServer) -> None:
    admin, user = await admin_and_user(server, "ulf")
    path = f"{V3}/capabilities"
    assert (await server.call("GET", path)).error == (401, "M_MISSING_TOKEN")
    capabilities = (await server.call("GET", path, token=user.token)).body["capabilities"]
    versions = capabilities["m.room_versions"]
    assert versions["default"] == "12"
    assert versions["available"] == {str(n): "stable" for n in range(1, 13)}
    assert capabilities["m.change_password"] == {"enabled": True}
    assert capabilities["m.3pid_changes"] == {"enabled": False}
    assert "m.account_moderation" not in capabilities
    for_admin = (await server.call("GET", path, token=admin.token)).body["capabilities"]
    assert for_admin["m.account_moderation"] == {"suspend": True, "lock": True}


async def test_an_openid_token_tells_who_somebody_is(server: UserServer) -> None:
    session = await server.register("vera")
    path = f"{V3}/user/{session.user_id}/openid/request_token"
    answer = (await server.call("POST", path, {}, token=session.token)).body
    assert answer["token_type"] == "Bearer"
    assert answer["matrix_server_name"] == "hs1"
    tokens = server.users.short_lived_tokens
    assert await tokens.find_openid_user(answer["access_token"]) == session.user_id
    assert await tokens.take_login_token(answer["access_token"]) is None
    assert (await server.whoami(answer["access_token"])).status == 401
    server.time.advance(answer["expires_in"])
    assert await tokens.find_openid_user(answer["access_token"]) is None
    other = f"{V3}/user/@adam:hs1/openid/request_token"
    assert (await server.call("POST", other, {}, token=session.token)).error == (
        403,
        "M_FORBIDDEN",
    )


async def test_what_is_not_here_is_answered_all_the_same(server: UserServer) -> None:
    token = (await server.register("willi")).token
    for method, path, body, expected in (
        ("GET", f"{V3}/account/3pid", None, {"threepids": []}),
        ("GET", f"{V3}/thirdparty/protocols", None, {}),
        ("GET", f"{V3}/voip/turnServer", None, {}),
        (
            "POST",
            f"{V3}/account/3pid/delete",
            {"medium": "email", "address": "a@b"},
            {"id_server_unbind_result": "no-support"},
        ),
    ):
        answer = await server.call(method, path, body, token=token)
        assert (answer.status, answer.body) == (200, expected)
    for method, path, error in (
        ("GET", f"{V1}/auth_metadata", (404, "M_UNRECOGNIZED")),
        ("GET", f"{V3}/thirdparty/protocol/irc", (404, "M_NOT_FOUND")),
        ("GET", f"{V3}/thirdparty/location/irc?channel=x", (404, "M_NOT_FOUND")),
        ("GET", f"{V3}/thirdparty/user/irc", (404, "M_NOT_FOUND")),
        ("GET", f"{V3}/thirdparty/user?userid=x", (404, "M_NOT_FOUND")),
        ("GET", f"{V3}/thirdparty/location", (400, "M_MISSING_PARAM")),
        ("POST", f"{V3}/account/3pid", (400, "M_MISSING_PARAM")),
        ("POST", f"{V3}/account/3pid/add", (403, "M_FORBIDDEN")),
    ):
        assert (await server.call(method, path, None, token=token)).error == error
    bind = dict.fromkeys(("client_secret", "id_server", "id_access_token", "sid"), "x")
    answer = await server.call("POST", f"{V3}/account/3pid/bind", bind, token=token)
    assert answer.error == (400, "M_SERVER_NOT_TRUSTED")


async def test_the_turn_server_gets_credentials_it_can_check(database_url: str) -> None:
    turn = Turn(uris=("turn:turn.hs1",), shared_secret="coturn", ttl_s=600)
    async with running_user_server(database_url, turn=turn) as server:
        session = await server.register("xaver")
        path = f"{V3}/voip/turnServer"
        answer = (await server.call("GET", path, token=session.token)).body
        assert answer == {
            "username": f"{server.time() // 1000 + 600}:@xaver:hs1",
            "password": "J4Ls5GDsptdLzoJB8ZAML5SjVlY=",
            "uris": ["turn:turn.hs1"],
            "ttl": 600,
        }
    fixed = replace(turn, shared_secret="", username="user", password="pass")
    async with running_user_server(database_url, turn=fixed) as server:
        token = (await server.log_in("xaver")).token
        answer = (await server.call("GET", path, token=token)).body
        assert (answer["username"], answer["password"]) == ("user", "pass")


async def test_accounts_are_listed_in_order(database_url: str) -> None:
    async with running_user_server(database_url) as server:
        for name in ("c", "a", "b"):
            await server.users.accounts.create_user(name, None)
        page = await server.users.accounts.list_users(limit=2)
        assert [account.user_id for account in page] == ["@a:hs1", "@b:hs1"]
        rest = await server.users.accounts.list_users(after=page[-1].user_id)
        assert [account.user_id for account in rest] == ["@c:hs1"]
        assert (await server.try_login("a", password="")).error == (403, "M_FORBIDDEN")
