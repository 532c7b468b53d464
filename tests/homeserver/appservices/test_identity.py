"""Application services as callers: as whom they act, and what is theirs alone."""

from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from federation.protocol.identifiers import UserId
from homeserver.config.sections.limits import Allowance, Limits
from tests.homeserver.appservices.bridge import Bridge, BridgedHomes, bridged, path_of, register

SERVICE = "m.login.application_service"


async def test_the_sender_is_there_from_the_start(homes: BridgedHomes, bridge: Bridge) -> None:
    service = homes.as_service(bridge)
    owner = (await service.get("v3/account/whoami")).ok()
    assert owner == {"user_id": bridge.sender, "is_guest": False}
    (await service.create_room())
    body = {"type": SERVICE, "username": "ircbot", "inhibit_login": True}
    (await service.post("v3/register", body)).refused(400, "M_USER_IN_USE")


async def test_a_service_acts_as_its_users(homes: BridgedHomes, bridge: Bridge) -> None:
    alice, ghost = await homes.user("alice"), await homes.ghost(bridge, "bob")
    assert (await ghost.get("v3/account/whoami")).ok()["user_id"] == "@irc_bob:test"
    (await ghost.put(f"v3/profile/{ghost.user_id}/displayname", {"displayname": "Bob"})).ok()
    room_id = await alice.create_room(preset="public_chat")
    await ghost.join(room_id)
    event_id = await ghost.send(room_id, "as Bob")
    event = (await alice.get(path_of(room_id, f"event/{quote(event_id)}"))).ok()
    assert event["sender"] == ghost.user_id


async def test_only_registered_users_of_its_own_are_acted_as(
    homes: BridgedHomes, bridge: Bridge
) -> None:
    alice = await homes.user("alice")
    homes.acting(bridge, alice.user_id)
    for user_id in (alice.user_id, "@irc_nobody:test", "@irc_bob:elsewhere", "nonsense"):
        (await homes.acting(bridge, user_id).get("v3/account/whoami")).refused(403, "M_FORBIDDEN")


async def test_a_wrong_token_is_nobodys(homes: BridgedHomes, bridge: Bridge) -> None:
    client = homes.nobody()
    body = {"type": SERVICE, "username": "irc_x"}
    (await client.post("v3/register", body)).refused(401, "M_MISSING_TOKEN")
    (await client.post("v3/login", body)).refused(401, "M_MISSING_TOKEN")
    client.token = bridge.as_token + "x"
    (await client.get("v3/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    (await client.post("v3/register", body)).refused(401, "M_UNKNOWN_TOKEN")
    (await client.post("v3/login", body)).refused(401, "M_UNKNOWN_TOKEN")


async def test_a_deactivated_user_is_not_acted_as(homes: BridgedHomes, bridge: Bridge) -> None:
    ghost = await homes.ghost(bridge, "bob")
    (await ghost.get("v3/account/whoami")).ok()
    await homes.services.users.deactivation.deactivate(UserId(ghost.user_id), erase=False)
    (await ghost.get("v3/account/whoami")).refused(403, "M_FORBIDDEN")


async def test_users_outside_of_the_namespace_are_not_made(
    homes: BridgedHomes, bridge: Bridge
) -> None:
    service = homes.as_service(bridge)
    for username in ("alice", "irc"):
        body = {"type": SERVICE, "username": username, "inhibit_login": True}
        (await service.post("v3/register", body)).refused(400, "M_EXCLUSIVE")
    for username in ("irc_a b", "irc_a:b", "irc_ä", "irc_" + "b" * 250):
        body = {"type": SERVICE, "username": username, "inhibit_login": True}
        (await service.post("v3/register", body)).refused(400, "M_INVALID_USERNAME")


async def test_users_are_named_as_their_networks_name_them(
    homes: BridgedHomes, bridge: Bridge
) -> None:
    ghost = await homes.ghost(bridge, "Half-Shot|away")
    assert (await ghost.get("v3/account/whoami")).ok()["user_id"] == "@irc_Half-Shot|away:test"
    alice = await homes.user("alice")
    room_id = await alice.create_room(invite=[ghost.user_id])
    await ghost.join(room_id)
    event = await bridge.wait_for_event(await ghost.send(room_id, "hello"))
    assert event["sender"] == ghost.user_id
    body = {
        "type": SERVICE,
        "identifier": {"type": "m.id.user", "user": "irc_Half-Shot|away"},
    }
    session = (await homes.as_service(bridge).post("v3/login", body)).ok()
    assert session["user_id"] == ghost.user_id


async def test_reserved_names_are_not_for_others(homes: BridgedHomes, bridge: Bridge) -> None:
    nobody = homes.nobody()
    for name in ("irc_bob", "ircbot"):
        (await nobody.get("v3/register/available", username=name)).refused(400, "M_EXCLUSIVE")
        auth = {"type": "m.login.dummy"}
        body = {"username": name, "password": "a long password", "auth": auth}
        (await nobody.post("v3/register", body)).refused(400, "M_EXCLUSIVE")


async def test_names_of_two_services_are_kept_apart(database_url: str, tmp_path: Path) -> None:
    irc, all_users = Bridge("irc", "a1", "h1"), Bridge("watcher", "a2", "h2")
    users = [{"regex": "@.*", "exclusive": False}]
    all_users.fields = {"url": None, "namespaces": {"users": users}}
    async with bridged(database_url, tmp_path, irc, all_users) as homes:
        alice = await homes.user("alice")
        assert (await homes.acting(all_users, alice.user_id).get("v3/account/whoami")).ok()
        watcher = homes.as_service(all_users)
        body = {"type": SERVICE, "username": "irc_bob", "inhibit_login": True}
        (await watcher.post("v3/register", body)).refused(400, "M_EXCLUSIVE")
        await register(watcher, "somebody")
        (await watcher.post("v1/appservice/watcher/ping")).refused(400, "M_URL_NOT_SET")


async def test_users_can_be_logged_in(homes: BridgedHomes, bridge: Bridge) -> None:
    service = homes.as_service(bridge)
    made = (await service.post("v3/register", {"type": SERVICE, "username": "irc_bob"})).ok()
    assert made["user_id"] == "@irc_bob:test"
    flows = (await homes.nobody().get("v3/login")).ok()["flows"]
    assert {"type": SERVICE} in flows
    identifier = {"type": "m.id.user", "user": "irc_bob"}
    body = {"type": SERVICE, "identifier": identifier, "device_id": "D"}
    ghost = homes.nobody()
    homes.log_in(ghost, (await service.post("v3/login", body)).ok())
    owner = (await ghost.get("v3/account/whoami")).ok()
    assert (owner["user_id"], owner["device_id"]) == ("@irc_bob:test", "D")
    await homes.user("alice")
    for user, status, errcode in (
        ("alice", 400, "M_EXCLUSIVE"),
        ("irc_unknown", 403, "M_FORBIDDEN"),
    ):
        wrong = {"type": SERVICE, "identifier": {"type": "m.id.user", "user": user}}
        (await service.post("v3/login", wrong)).refused(status, errcode)


async def test_a_service_that_manages_devices_does_not_log_in(
    database_url: str, tmp_path: Path
) -> None:
    bridge = Bridge(fields={"io.element.msc4190": True})
    async with bridged(database_url, tmp_path, bridge) as homes:
        service = homes.as_service(bridge)
        body = {"type": SERVICE, "username": "irc_bob"}
        unsupported = (400, "M_APPSERVICE_LOGIN_UNSUPPORTED")
        (await service.post("v3/register", body)).refused(*unsupported)
        login = {"type": SERVICE, "identifier": {"type": "m.id.user", "user": "ircbot"}}
        (await service.post("v3/login", login)).refused(*unsupported)


async def test_devices_are_made_and_removed_without_a_password(
    homes: BridgedHomes, bridge: Bridge
) -> None:
    ghost = await homes.ghost(bridge, "bob")
    ghost_at = homes.acting(bridge, ghost.user_id, "PHONE")
    (await ghost_at.get("v3/account/whoami")).refused(400, "M_UNKNOWN_DEVICE")
    assert (await ghost.put("v3/devices/PHONE", {"display_name": "Phone"})).status == 201
    assert (await ghost.put("v3/devices/PHONE", {"display_name": "New"})).status == 200
    assert (await ghost_at.get("v3/account/whoami")).ok()["device_id"] == "PHONE"
    unstable = {"org.matrix.msc3202.device_id": "PHONE"}
    assert (await ghost.get("v3/account/whoami", **unstable)).ok()["device_id"] == "PHONE"
    (device,) = (await ghost.get("v3/devices")).ok()["devices"]
    assert device["display_name"] == "New"
    (await ghost.delete("v3/devices/PHONE")).ok()
    (await ghost_at.get("v3/account/whoami")).refused(400, "M_UNKNOWN_DEVICE")
    (await ghost.put("v3/devices/A", {})), (await ghost.put("v3/devices/B", {}))
    (await ghost.post("v3/delete_devices", {"devices": ["A", "B"]})).ok()
    assert (await ghost.get("v3/devices")).ok()["devices"] == []


@pytest.mark.parametrize("name", ["ts", "org.matrix.msc3316.ts"])
async def test_a_service_chooses_the_time_of_an_event(
    homes: BridgedHomes, bridge: Bridge, name: str
) -> None:
    alice, ghost = await homes.user("alice"), await homes.ghost(bridge, "bob")
    room_id = await alice.create_room(
        preset="public_chat", power_level_content_override={"state_default": 0}
    )
    join = {"membership": "join"}
    member = path_of(room_id, f"state/m.room.member/{quote(ghost.user_id)}")
    topic, message = path_of(room_id, "state/m.room.topic"), path_of(room_id, "send/m.x/1")
    for path, content in ((member, join), (topic, {"topic": "old"}), (message, {})):
        event_id = (await ghost.put(path, content, **{name: 12345})).ok()["event_id"]
        event = (await alice.get(path_of(room_id, f"event/{quote(event_id)}"))).ok()
        assert event["origin_server_ts"] == 12345
    ignored = (await alice.put(path_of(room_id, "send/m.x/2"), {}, **{name: 1})).ok()["event_id"]
    event = (await alice.get(path_of(room_id, f"event/{quote(ignored)}"))).ok()
    assert event["origin_server_ts"] > 12345
    for wrong in ("-1", "soon", str(2**53)):
        (await ghost.put(path_of(room_id, "send/m.x/3"), {}, **{name: wrong})).refused(
            400, "M_INVALID_PARAM"
        )


async def test_aliases_of_a_namespace_are_the_services(homes: BridgedHomes, bridge: Bridge) -> None:
    alice, service = await homes.user("alice"), homes.as_service(bridge)
    room_id = await alice.create_room()
    own, other = (f"v3/directory/room/{quote(a)}" for a in ("#irc_den:test", "#den:test"))
    body = {"room_id": room_id}
    (await alice.put(own, body)).refused(400, "M_EXCLUSIVE")
    (await service.put(other, body)).refused(400, "M_EXCLUSIVE")
    (await service.put(own, body)).ok()
    (await alice.delete(own)).refused(400, "M_EXCLUSIVE")
    (await service.delete(own)).ok()
    (await alice.post("v3/createRoom", {"room_alias_name": "irc_x"})).refused(400, "M_EXCLUSIVE")
    made = await service.create_room(room_alias_name="irc_x")
    target = (await alice.get(f"v3/directory/room/{quote('#irc_x:test')}")).ok()
    assert target["room_id"] == made


async def test_a_service_is_not_limited_unless_it_is_to_be(
    database_url: str, tmp_path: Path
) -> None:
    free, bound = Bridge("irc", "a1", "h1"), Bridge("xmpp", "a2", "h2")
    bound.fields = {"rate_limited": True}
    once = Allowance(per_second=0.001, burst=1)
    limits = replace(Limits(), message=once, registration=once)
    async with bridged(database_url, tmp_path, free, bound, limits=limits) as homes:
        room_id = await homes.as_service(free).create_room(preset="public_chat")
        for bridge in (free, bound):
            ghost = await homes.ghost(bridge, "bob")
            await ghost.join(room_id)
            await homes.as_service(bridge).join(room_id)
            statuses = [
                (await ghost.put(path_of(room_id, f"send/m.x/{n}"), {})).status for n in range(3)
            ]
            assert statuses == ([200] * 3 if bridge is free else [200, 429, 429])
            sender = homes.as_service(bridge)
            for number in range(3):
                (await sender.put(path_of(room_id, f"send/m.x/{number}"), {})).ok()


async def test_messages_of_two_users_with_one_transaction_id_are_two(
    homes: BridgedHomes, bridge: Bridge
) -> None:
    alice = await homes.user("alice")
    room_id = await alice.create_room(preset="public_chat")
    sent = []
    for name in ("bob", "eve"):
        ghost = await homes.ghost(bridge, name)
        await ghost.join(room_id)
        sent.append((await ghost.put(path_of(room_id, "send/m.x/same"), {})).ok()["event_id"])
        again = (await ghost.put(path_of(room_id, "send/m.x/same"), {})).ok()["event_id"]
        assert again == sent[-1]
    assert sent[0] != sent[1]


async def test_a_user_of_a_service_can_sync(homes: BridgedHomes, bridge: Bridge) -> None:
    alice, ghost = await homes.user("alice"), await homes.ghost(bridge, "bob")
    room_id = await alice.create_room(invite=[ghost.user_id])
    assert room_id in (await ghost.sync())["rooms"]["invite"]
    await ghost.join(room_id)
    assert room_id in (await ghost.sync())["rooms"]["join"]


async def test_a_users_presence_is_set_by_its_service(homes: BridgedHomes, bridge: Bridge) -> None:
    alice, ghost = await homes.user("alice"), await homes.ghost(bridge, "bob")
    room_id = await alice.create_room(preset="public_chat")
    await ghost.join(room_id)
    body = {"presence": "unavailable", "status_msg": "elsewhere"}
    (await ghost.put(f"v3/presence/{ghost.user_id}/status", body)).ok()
    shown = (await alice.get(f"v3/presence/{ghost.user_id}/status")).ok()
    assert (shown["presence"], shown["status_msg"]) == ("unavailable", "elsewhere")


async def test_a_bridge_is_told_that_somebody_is_in_the_room_whom_it_invites(
    homes: BridgedHomes, bridge: Bridge
) -> None:
    alice, ghost = await homes.user("alice"), await homes.ghost(bridge, "bob")
    room_id = await ghost.create_room(preset="public_chat")
    await alice.join(room_id)
    invited = await ghost.post(path_of(room_id, "invite"), {"user_id": alice.user_id})
    assert "is already in the room" in invited.refused(403, "M_FORBIDDEN")["error"]
    path = path_of(room_id, f"state/m.room.member/{quote(alice.user_id)}")
    set_by_state = await ghost.put(path, {"membership": "invite"})
    assert "is already in the room" in set_by_state.refused(403, "M_FORBIDDEN")["error"]
