"""What application services are asked: for users, aliases, networks, whether they are there."""

from pathlib import Path
from urllib.parse import quote

from tests.homeserver.appservices.bridge import Bridge, BridgedHomes, bridged, path_of, register


async def test_a_service_pings_itself(homes: BridgedHomes, bridge: Bridge) -> None:
    service = homes.as_service(bridge)
    answer = (await service.post("v1/appservice/irc/ping", {"transaction_id": "t"})).ok()
    assert answer["duration_ms"] > 0
    (await service.post("v1/appservice/other/ping")).refused(403, "M_FORBIDDEN")
    alice = await homes.user("alice")
    (await alice.post("v1/appservice/irc/ping")).refused(403, "M_FORBIDDEN")


async def test_a_ping_tells_what_is_wrong(homes: BridgedHomes, bridge: Bridge) -> None:
    service = homes.as_service(bridge)
    bridge.hs_token = "another"
    error = (await service.post("v1/appservice/irc/ping")).refused(502, "M_BAD_STATUS")
    assert error["status"] == 403
    assert "M_FORBIDDEN" in error["body"]
    await bridge.stop()
    (await service.post("v1/appservice/irc/ping")).refused(502, "M_CONNECTION_FAILED")


async def test_an_alias_is_made_when_somebody_wants_it(homes: BridgedHomes, bridge: Bridge) -> None:
    alice, service, alias = await homes.user("alice"), homes.as_service(bridge), "#irc_den:test"

    async def make() -> None:
        await service.create_room(preset="public_chat", room_alias_name="irc_den")

    bridge.knows[alias] = make
    room_id = await alice.join(alias)
    assert room_id.startswith("!")
    (await alice.get(f"v3/directory/room/{quote('#irc_nowhere:test')}")).refused(404, "M_NOT_FOUND")
    asked = [path for _, path in bridge.requests if "/rooms/" in path]
    assert asked[0] == "/_matrix/app/v1/rooms/%23irc_den%3Atest"


async def test_a_bridge_that_is_away_times_out_for_who_wants_an_alias(
    homes: BridgedHomes, bridge: Bridge
) -> None:
    alice = await homes.user("alice")
    await bridge.stop()
    answer = await alice.get(f"v3/directory/room/{quote('#irc_den:test')}")
    assert answer.status == 408


async def test_a_user_is_made_when_invited(homes: BridgedHomes, bridge: Bridge) -> None:
    alice, service = await homes.user("alice"), homes.as_service(bridge)

    async def make() -> None:
        await register(service, "irc_bob")
        ghost = homes.acting(bridge, "@irc_bob:test")
        (await ghost.put(f"v3/profile/{ghost.user_id}/displayname", {"displayname": "Bob"})).ok()

    bridge.knows["@irc_bob:test"] = make
    room_id = await alice.create_room()
    await alice.invite(room_id, "@irc_bob:test")
    member = quote("@irc_bob:test")
    content = (await alice.get(path_of(room_id, f"state/m.room.member/{member}"))).ok()
    assert content["displayname"] == "Bob"
    await alice.invite(room_id, "@irc_eve:test")
    await alice.create_room(invite=["@irc_bob:test"])
    asked = [path for _, path in bridge.requests if "/users/" in path]
    assert asked == [
        "/_matrix/app/v1/users/%40irc_bob%3Atest",
        "/_matrix/app/v1/users/%40irc_eve%3Atest",
        "/users/%40irc_eve%3Atest",
    ]


async def test_a_profile_is_asked_for(homes: BridgedHomes, bridge: Bridge) -> None:
    service, nobody = homes.as_service(bridge), homes.nobody()

    async def make() -> None:
        await register(service, "irc_bob")

    bridge.knows["@irc_bob:test"] = make
    assert (await nobody.get("v3/profile/@irc_bob:test")).ok() == {}
    for _ in range(3):
        (await nobody.get("v3/profile/@irc_eve:test")).refused(404, "M_NOT_FOUND")
    asked = [path for _, path in bridge.requests if "irc_eve" in path]
    assert len(asked) == 2, "once on the path of old and once on the new one"


PROTOCOL = {
    "user_fields": ["nick"],
    "location_fields": ["channel"],
    "icon": "mxc://test/icon",
    "field_types": {"nick": {"regexp": ".*", "placeholder": "x"}},
    "instances": [{"desc": "Libera", "fields": {}, "network_id": "libera"}],
}


async def test_networks_are_described(homes: BridgedHomes, bridge: Bridge) -> None:
    alice = await homes.user("alice")
    bridge.answers["/_matrix/app/v1/thirdparty/protocol/irc"] = PROTOCOL
    described = (await alice.get("v3/thirdparty/protocol/irc")).ok()
    assert described["instances"][0]["instance_id"] == "irc|libera"
    assert (await alice.get("v3/thirdparty/protocols")).ok() == {"irc": described}
    (await alice.get("v3/thirdparty/protocol/xmpp")).refused(404, "M_NOT_FOUND")
    asked = [path for _, path in bridge.requests if "/thirdparty/" in path]
    assert len(asked) == 1


async def test_networks_are_searched(homes: BridgedHomes, bridge: Bridge) -> None:
    alice, base = await homes.user("alice"), "/_matrix/app/v1/thirdparty"
    place = {"alias": "#irc_den:test", "protocol": "irc", "fields": {"channel": "#den"}}
    person = {"userid": "@irc_bob:test", "protocol": "irc", "fields": {"nick": "bob"}}
    bridge.answers[f"{base}/location/irc"] = [place, {"broken": True}, "nonsense"]
    bridge.answers[f"{base}/user/irc"] = [person]
    bridge.answers[f"{base}/location"] = [place]
    bridge.answers[f"{base}/user"] = [person]
    assert (await alice.get("v3/thirdparty/location/irc", channel="#den")).ok() == [place]
    assert bridge.requests[-1][1] == f"{base}/location/irc?channel=%23den"
    assert (await alice.get("v3/thirdparty/user/irc", nick="bob")).ok() == [person]
    assert (await alice.get("v3/thirdparty/location", alias="#irc_den:test")).ok() == [place]
    assert (await alice.get("v3/thirdparty/user", userid="@irc_bob:test")).ok() == [person]
    bridge.answers[f"{base}/user"] = []
    (await alice.get("v3/thirdparty/user", userid="@x:test")).refused(404, "M_NOT_FOUND")


async def test_the_directory_of_a_network_is_its_own(homes: BridgedHomes, bridge: Bridge) -> None:
    alice, service = await homes.user("alice"), homes.as_service(bridge)
    bridged_room = await alice.create_room(preset="public_chat", name="bridged")
    plain = await alice.create_room(preset="public_chat", visibility="public", name="plain")
    path = f"v3/directory/list/appservice/libera/{quote(bridged_room)}"
    (await alice.put(path, {"visibility": "public"})).refused(403, "M_FORBIDDEN")
    (await service.put(path, {"visibility": "secret"})).refused(400, "M_INVALID_PARAM")
    (await service.put(path, {"visibility": "public"})).ok()

    async def listed(**query: object) -> set[str]:
        page = (await alice.post("v3/publicRooms", query)).ok()
        return {room["room_id"] for room in page["chunk"]}

    assert await listed() == {plain}
    assert await listed(third_party_instance_id="irc|libera") == {bridged_room}
    assert await listed(third_party_instance_id="irc|other") == set()
    assert await listed(include_all_networks=True) == {bridged_room, plain}
    (await service.put(path, {"visibility": "private"})).ok()
    assert await listed(include_all_networks=True) == {plain}


async def test_a_bridge_is_reached_by_a_path_and_with_its_token_in_the_query(
    database_url: str, tmp_path: Path
) -> None:
    bridge = Bridge()
    async with bridge.running():
        bridge.fields = {"url": f"http://127.0.0.1:{bridge.port}/below/"}
        async with bridged(database_url, tmp_path, bridge) as homes:
            (await homes.as_service(bridge).post("v1/appservice/irc/ping")).ok()
    assert bridge.requests == [("POST", "/below/_matrix/app/v1/ping")]


async def test_a_bridge_is_reached_by_a_unix_socket(database_url: str, tmp_path: Path) -> None:
    path = tmp_path / "bridge.sock"
    bridge = Bridge(fields={"url": f"unix://{path}"})
    await bridge.start(path)
    try:
        async with bridged(database_url, tmp_path, bridge) as homes:
            (await homes.as_service(bridge).post("v1/appservice/irc/ping")).ok()
            alice = await homes.user("alice")
            await alice.create_room(invite=[bridge.sender])
            await bridge.wait_for(lambda: bridge.events)
    finally:
        await bridge.stop()
