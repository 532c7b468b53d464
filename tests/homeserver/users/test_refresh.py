"""Refreshing access tokens, and tokens that expire."""

import asyncio

from homeserver.config.sections.accounts import Auth
from homeserver.users.token_issuer import MOST_PAIRS
from tests.homeserver.users.server import (
    PASSWORD,
    V3,
    Answer,
    UserServer,
    running_user_server,
)


async def refresh(server: UserServer, token: str | None) -> Answer:
    return await server.call("POST", f"{V3}/refresh", {"refresh_token": token})


async def test_a_client_that_knows_refresh_tokens_gets_one(server: UserServer) -> None:
    session = await server.register("ada", refresh_token=True)
    assert session.refresh_token is not None
    assert (await server.log_in("ada")).refresh_token is None
    answer = await server.try_login("ada", refresh_token=True)
    assert answer.body["expires_in_ms"] == 300_000


async def test_an_expired_token_is_a_soft_logout_and_can_be_refreshed(server: UserServer) -> None:
    session = await server.register("berta", refresh_token=True)
    assert (await server.whoami(session.token)).status == 200
    server.time.advance(300)
    expired = await server.whoami(session.token)
    assert expired.error == (401, "M_UNKNOWN_TOKEN")
    assert expired.body["soft_logout"] is True
    fresh = (await refresh(server, session.refresh_token)).body
    assert set(fresh) == {"access_token", "refresh_token", "expires_in_ms"}
    owner = (await server.whoami(fresh["access_token"])).body
    assert (owner["user_id"], owner["device_id"]) == ("@berta:hs1", session.device_id)
    still_soft = await server.whoami(session.token)
    assert still_soft.body["soft_logout"] is True


async def test_a_refresh_token_can_be_used_again_until_the_new_pair_is(server: UserServer) -> None:
    session = await server.register("cora", refresh_token=True)
    lost = (await refresh(server, session.refresh_token)).body
    kept = (await refresh(server, session.refresh_token)).body
    assert lost["access_token"] != kept["access_token"]
    assert (await server.whoami(kept["access_token"])).status == 200
    assert (await refresh(server, session.refresh_token)).error == (401, "M_UNKNOWN_TOKEN")


async def test_using_the_new_refresh_token_revokes_the_old_one(server: UserServer) -> None:
    session = await server.register("dana", refresh_token=True)
    second = (await refresh(server, session.refresh_token)).body
    third = (await refresh(server, second["refresh_token"])).body
    assert (await refresh(server, session.refresh_token)).error == (401, "M_UNKNOWN_TOKEN")
    assert (await server.whoami(third["access_token"])).status == 200
    assert (await refresh(server, second["refresh_token"])).error == (401, "M_UNKNOWN_TOKEN")


async def test_the_former_access_token_serves_out_its_time(server: UserServer) -> None:
    session = await server.register("edda", refresh_token=True)
    fresh = (await refresh(server, session.refresh_token)).body
    assert (await server.whoami(fresh["access_token"])).status == 200
    assert (await server.whoami(session.token)).status == 200


async def test_a_former_access_token_without_end_ends(database_url: str) -> None:
    auth = Auth(bcrypt_rounds=4, access_token_lifetime_s=0)
    async with running_user_server(database_url, auth=auth) as server:
        session = await server.register("fiona", refresh_token=True)
        assert (await server.whoami(session.token)).status == 200
        fresh = (await refresh(server, session.refresh_token)).body
        assert "expires_in_ms" not in fresh
        assert (await server.whoami(session.token)).status == 200
        assert (await server.whoami(fresh["access_token"])).status == 200
        ended = await server.whoami(session.token)
        assert ended.error == (401, "M_UNKNOWN_TOKEN")
        assert ended.body["soft_logout"] is True


async def test_many_refreshes_leave_little_behind(server: UserServer) -> None:
    session = await server.register("gudrun", refresh_token=True)
    token = session.refresh_token
    for _ in range(5):
        answer = (await refresh(server, token)).body
        token = answer["refresh_token"]
        server.time.advance(2 * 24 * 3600)
    for table in ("access_tokens", "refresh_tokens"):
        count = await server.db.fetchval(
            f"SELECT count(*) FROM {table} JOIN users USING (user_nid) "
            "WHERE user_id = '@gudrun:hs1'"
        )
        assert count <= 3


async def test_asking_again_and_again_with_one_token_leaves_little_behind(
    server: UserServer,
) -> None:
    session = await server.register("hanna", refresh_token=True)
    for _ in range(2 * MOST_PAIRS):
        server.time.advance(1)
        answer = await refresh(server, session.refresh_token)
    for table in ("access_tokens", "refresh_tokens"):
        count = await server.db.fetchval(
            f"SELECT count(*) FROM {table} JOIN users USING (user_nid) WHERE user_id = '@hanna:hs1'"
        )
        assert count <= MOST_PAIRS + 2
    assert (await refresh(server, session.refresh_token)).status == 200
    assert (await server.whoami(answer.body["access_token"])).status == 200
    assert (await refresh(server, answer.body["refresh_token"])).status == 200


async def test_two_refreshes_at_once_both_succeed(server: UserServer) -> None:
    session = await server.register("hedi", refresh_token=True)
    answers = await asyncio.gather(*(refresh(server, session.refresh_token) for _ in range(4)))
    for answer in answers:
        assert (await server.whoami(answer.body["access_token"])).status == 200


async def test_an_unused_refresh_token_expires_where_the_settings_say_so(database_url: str) -> None:
    auth = Auth(bcrypt_rounds=4, refresh_token_lifetime_s=3600)
    async with running_user_server(database_url, auth=auth) as server:
        session = await server.register("inge", refresh_token=True)
        server.time.advance(3600)
        late = await refresh(server, session.refresh_token)
        assert late.error == (401, "M_UNKNOWN_TOKEN")
        assert late.body["soft_logout"] is True


async def test_a_session_without_refresh_token_expires_where_the_settings_say_so(
    database_url: str,
) -> None:
    auth = Auth(bcrypt_rounds=4, session_lifetime_s=60)
    async with running_user_server(database_url, auth=auth) as server:
        session = await server.register("jutta")
        assert (await server.whoami(session.token)).status == 200
        server.time.advance(60)
        assert (await server.whoami(session.token)).body["soft_logout"] is True
        again = await server.log_in("jutta", device_id=session.device_id)
        assert (await server.whoami(again.token)).status == 200


async def test_what_is_no_refresh_token_is_refused(server: UserServer) -> None:
    session = await server.register("katja")
    for token in ("guessed", session.token, ""):
        answer = await refresh(server, token)
        assert answer.error == (401, "M_UNKNOWN_TOKEN")
        assert answer.body["soft_logout"] is False
    assert (await refresh(server, None)).error == (400, "M_MISSING_PARAM")


async def test_locked_users_cannot_refresh(server: UserServer) -> None:
    session = await server.register("lisa", refresh_token=True)
    account = await server.users.accounts.find_by_name("lisa")
    assert account is not None
    await server.users.accounts.set_locked(account.user_id, locked=True)
    assert (await refresh(server, session.refresh_token)).error == (401, "M_USER_LOCKED")
    assert (await server.try_login("lisa")).error == (401, "M_USER_LOCKED")
    assert (await server.try_login("lisa", password=PASSWORD + "!")).error[0] == 403
