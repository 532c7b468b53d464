"""Reading rooms over HTTP: history, single events, members, children, threads, peeking."""

import asyncio
from typing import Any
from urllib.parse import quote

import orjson

from tests.homeserver.conftest import Client, Homes
from tests.patience import LONG_POLL_MS, PATIENCE_S


def room_path(room_id: str, rest: str, version: str = "v3") -> str:
    return f"{version}/rooms/{quote(room_id)}/{rest}"


async def relate(client: Client, room_id: str, rel_type: str, event_id: str) -> str:
    relation = {"rel_type": rel_type, "event_id": event_id}
    return await client.send(room_id, "child", **{"m.relates_to": relation})


async def test_messages_are_paged_from_sync_tokens_and_page_tokens(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    since = (await alice.sync())["next_batch"]
    sent = [await alice.send(room_id, str(n)) for n in range(4)]
    path = room_path(room_id, "messages")
    page = (await alice.get(path, dir="f", **{"from": since}, limit=3)).ok()
    assert [event["event_id"] for event in page["chunk"]] == sent[:3]
    assert page["start"].partition("_")[0] == since.partition("_")[0]
    rest = (await alice.get(path, dir="f", **{"from": page["end"]})).ok()
    assert [event["event_id"] for event in rest["chunk"]] == sent[3:]
    assert "end" not in rest
    wanted = orjson.dumps({"lazy_load_members": True, "types": ["m.room.message"]}).decode()
    page = (await alice.get(path, dir="b", filter=wanted, limit=1)).ok()
    assert [event["state_key"] for event in page["state"]] == [alice.user_id]
    timeline = (await alice.sync(filter='{"room":{"timeline":{"limit":2}}}'))["rooms"]["join"]
    prev_batch = timeline[room_id]["timeline"]["prev_batch"]
    page = (await alice.get(path, dir="b", **{"from": prev_batch}, limit=2)).ok()
    assert [event["event_id"] for event in page["chunk"]] == [sent[1], sent[0]]


async def test_broken_requests_for_messages_are_refused(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room()
    path = room_path(room_id, "messages")
    (await bob.get(path)).refused(403, "M_FORBIDDEN")
    (await alice.get(path, dir="x")).refused(400, "M_INVALID_PARAM")
    (await alice.get(path, dir="b", **{"from": "nonsense"})).refused(400, "M_INVALID_PARAM")
    (await alice.get(path, dir="b", filter="{")).refused(400, "M_NOT_JSON")
    (await alice.get(path, dir="b", filter='{"types":1}')).refused(400, "M_BAD_JSON")
    (await homes.nobody().get(path, dir="b")).refused(401, "M_MISSING_TOKEN")


async def test_an_event_is_shown_alone_and_in_its_context(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room()
    sent = [await alice.send(room_id, str(n)) for n in range(3)]
    event = (await alice.get(room_path(room_id, f"event/{quote(sent[1])}"))).ok()
    assert (event["content"]["body"], event["room_id"]) == ("1", room_id)
    assert (await alice.get(f"v3/events/{quote(sent[1])}")).ok() == event
    (await bob.get(room_path(room_id, f"event/{quote(sent[1])}"))).refused(404, "M_NOT_FOUND")
    context = (await alice.get(room_path(room_id, f"context/{quote(sent[1])}"), limit=2)).ok()
    assert [e["event_id"] for e in context["events_before"]] == [sent[0]]
    assert [e["event_id"] for e in context["events_after"]] == [sent[2]]
    assert context["event"]["event_id"] == sent[1]
    assert "m.room.create" in [e["type"] for e in context["state"]]
    (await bob.get(room_path(room_id, f"context/{quote(sent[1])}"))).refused(403, "M_FORBIDDEN")


async def test_members_at_the_start_of_the_timeline_do_not_include_later_ones(
    homes: Homes,
) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await alice.send(room_id, "hello")
    at = (await alice.sync())["rooms"]["join"][room_id]["timeline"]["prev_batch"]
    await bob.join(room_id)
    then = (await alice.get(room_path(room_id, "members"), at=at)).ok()["chunk"]
    assert [event["state_key"] for event in then] == [alice.user_id]
    now = (await alice.get(room_path(room_id, "members"), membership="join")).ok()["chunk"]
    assert {event["state_key"] for event in now} == {alice.user_id, bob.user_id}
    joined = (await bob.get(room_path(room_id, "joined_members"))).ok()["joined"]
    assert set(joined) == {alice.user_id, bob.user_id}
    (await alice.get(room_path(room_id, "members"), membership="x")).refused(400, "M_INVALID_PARAM")


async def test_children_and_threads_are_listed(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    root = await alice.send(room_id, "root")
    replies = [await relate(alice, room_id, "m.thread", root) for _ in range(3)]
    edit = await relate(alice, room_id, "m.replace", root)
    path = room_path(room_id, f"relations/{quote(root)}", "v1")
    first = (await alice.get(path, limit=2, recurse="true")).ok()
    assert [event["event_id"] for event in first["chunk"]] == [edit, replies[2]]
    assert first["recursion_depth"] == 3
    rest = (await alice.get(path, **{"from": first["next_batch"]})).ok()
    assert [event["event_id"] for event in rest["chunk"]] == [replies[1], replies[0]]
    assert (rest["prev_batch"], "next_batch" in rest) == (first["next_batch"], False)
    chosen = (await alice.get(f"{path}/m.thread/m.room.message", dir="f")).ok()
    assert [event["event_id"] for event in chosen["chunk"]] == replies
    threads = (await alice.get(room_path(room_id, "threads", "v1"), include="participated")).ok()
    (thread,) = threads["chunk"]
    bundle = thread["unsigned"]["m.relations"]
    assert bundle["m.thread"]["latest_event"]["event_id"] == replies[2]
    assert bundle["m.replace"]["event_id"] == edit


async def test_an_event_is_found_by_time(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    event_id = await alice.send(room_id, "hello")
    event = (await alice.get(room_path(room_id, f"event/{quote(event_id)}"))).ok()
    path = room_path(room_id, "timestamp_to_event", "v1")
    found = (await alice.get(path, ts=event["origin_server_ts"] + 1000, dir="b")).ok()
    assert found == {"event_id": event_id, "origin_server_ts": event["origin_server_ts"]}
    (await alice.get(path, ts=5, dir="b")).refused(404, "M_NOT_FOUND")
    (await alice.get(path, dir="b")).refused(400, "M_MISSING_PARAM")


async def test_shared_rooms_are_told(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    found = (await alice.get("v1/mutual_rooms", user_id=bob.user_id)).ok()
    assert found == {"joined": [room_id], "count": 1}
    (await alice.get("v1/mutual_rooms")).refused(400, "M_MISSING_PARAM")


async def test_a_peeking_user_hears_of_a_message_at_once(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    visibility = {"history_visibility": "world_readable"}
    room_id = await alice.create_room(preset="public_chat")
    (await bob.get("v3/events", room_id=room_id, timeout=0)).refused(403, "M_FORBIDDEN")
    await alice.set_state(room_id, "m.room.history_visibility", visibility)
    start = (await bob.get("v3/events", room_id=room_id, timeout=0)).ok()
    assert start["chunk"] == []
    waiting = asyncio.create_task(
        bob.get("v3/events", room_id=room_id, timeout=LONG_POLL_MS, **{"from": start["end"]})
    )
    event_id = await alice.send(room_id, "hello")
    async with asyncio.timeout(PATIENCE_S):
        news = (await waiting).ok()
    assert [event["event_id"] for event in news["chunk"]] == [event_id]
    own = (await alice.get("v3/events", timeout=0, **{"from": start["end"]})).ok()
    assert [event["event_id"] for event in own["chunk"]] == [event_id]
    (await bob.get("v3/events", **{"from": "t1_2"})).refused(400, "M_INVALID_PARAM")


async def test_a_space_and_a_summary_are_shown(homes: Homes) -> None:
    alice = await homes.user()
    space = await alice.create_room(
        preset="public_chat", creation_content={"type": "m.space"}, room_alias_name="garden"
    )
    room_id = await alice.create_room(preset="public_chat", name="Pond")
    await alice.set_state(space, "m.space.child", {"via": ["test"]}, room_id)
    page = (await alice.get(room_path(space, "hierarchy", "v1"), limit=1)).ok()
    assert [room["room_id"] for room in page["rooms"]] == [space]
    (link,) = page["rooms"][0]["children_state"]
    assert set(link) == {"type", "state_key", "content", "sender", "origin_server_ts"}
    page = (
        await alice.get(room_path(space, "hierarchy", "v1"), **{"from": page["next_batch"]})
    ).ok()
    assert [(room["room_id"], room["name"]) for room in page["rooms"]] == [(room_id, "Pond")]
    assert "next_batch" not in page
    server_name = homes.services.settings.server.name
    alias = quote(f"#garden:{server_name}", safe="")
    summary = (await homes.nobody().get(f"v1/room_summary/{alias}")).ok()
    assert (summary["room_id"], summary["room_type"]) == (space, "m.space")
    assert "membership" not in summary
    own = (await alice.get(f"v1/room_summary/{quote(room_id)}")).ok()
    assert (own["name"], own["membership"]) == ("Pond", "join")
    private = await alice.create_room()
    (await homes.nobody().get(f"v1/room_summary/{quote(private)}")).refused(404, "M_NOT_FOUND")
    (await alice.get("v1/room_summary/nonsense")).refused(400, "M_INVALID_PARAM")


async def test_rooms_are_summarised_in_the_words_of_before_at_the_paths_of_before(
    homes: Homes,
) -> None:
    alice, algorithm = await homes.user(), "m.megolm.v1.aes-sha2"
    room_id = await alice.create_room(preset="public_chat", room_version="11")
    await alice.set_state(room_id, "m.room.encryption", {"algorithm": algorithm})
    stable = (await alice.get(f"v1/room_summary/{quote(room_id)}")).ok()
    assert (stable["room_version"], stable["encryption"]) == ("11", algorithm)
    before = {"im.nheko.summary.room_version": "11", "im.nheko.summary.encryption": algorithm}
    for path in (f"summary/{quote(room_id)}", f"rooms/{quote(room_id)}/summary"):
        answer = await alice.get(f"unstable/im.nheko.summary/{path}")
        assert answer.ok() == stable | before


async def test_what_was_said_is_found_again(homes: Homes) -> None:
    alice = await homes.user()
    old = await alice.create_room(preset="private_chat")
    before = await alice.send(old, "Message before upgrade")
    upgrade = await alice.post(room_path(old, "upgrade"), {"new_version": "11"})
    new = upgrade.ok()["replacement_room"]
    after = await alice.send(new, "Message after upgrade")
    criteria = {
        "search_term": "upgrade",
        "keys": ["content.body"],
        "order_by": "recent",
        "filter": {"rooms": [new]},
        "event_context": {"before_limit": 1, "after_limit": 0, "include_profile": True},
        "groupings": {"group_by": [{"key": "sender"}]},
        "include_state": True,
    }
    body = {"search_categories": {"room_events": criteria}}
    found = (await alice.post("v3/search", body)).ok()["search_categories"]["room_events"]
    results = found["results"]
    assert [result["result"]["event_id"] for result in results] == [after, before]
    assert (found["count"], found["highlights"]) == (2, ["upgrade"])
    assert alice.user_id in results[0]["context"]["profile_info"]
    assert found["groups"]["sender"][alice.user_id]["results"] == [after, before]
    assert set(found["state"]) == {old, new}
    for broken in ({"keys": ["content.url"]}, {"order_by": "size"}, {"search_term": 5}):
        body = {"search_categories": {"room_events": criteria | broken}}
        assert (await alice.post("v3/search", body)).status == 400
    (await alice.post("v3/search", {})).refused(400, "M_MISSING_PARAM")
    body = {"search_categories": {"room_events": criteria}}
    (await alice.post("v3/search", body, next_batch="x")).refused(400, "M_INVALID_PARAM")


async def test_old_clients_get_all_their_rooms_at_once(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat", visibility="public")
    sent = [await alice.send(room_id, str(n)) for n in range(3)]
    left = await alice.create_room(name="then")
    await alice.send(left, "seen")
    (await alice.post(room_path(left, "leave"))).ok()
    invited = await bob.create_room()
    await bob.invite(invited, alice.user_id)
    tags = f"v3/user/{quote(alice.user_id)}/rooms/{quote(room_id)}/account_data/org.example.a"
    (await alice.put(tags, {"a": 1})).ok()
    everything = (await alice.get("v3/initialSync", limit=2)).ok()
    rooms = {room["room_id"]: room for room in everything["rooms"]}
    assert set(rooms) == {room_id, invited}
    room = rooms[room_id]
    assert [event["event_id"] for event in room["messages"]["chunk"]] == sent[1:]
    assert (room["membership"], room["visibility"]) == ("join", "public")
    assert "m.room.create" in {event["type"] for event in room["state"]}
    assert room["account_data"] == [{"type": "org.example.a", "content": {"a": 1}}]
    older = {"from": room["messages"]["start"]}
    page = (await alice.get(room_path(room_id, "messages"), dir="b", limit=1, **older)).ok()
    assert [event["event_id"] for event in page["chunk"]] == sent[:1]
    assert rooms[invited]["invite"]["content"]["membership"] == "invite"
    assert "m.push_rules" in {event["type"] for event in everything["account_data"]}
    assert (await alice.get("v3/events", timeout=0, **{"from": everything["end"]})).ok()[
        "chunk"
    ] == []
    ignored: dict[str, Any] = {"ignored_users": {bob.user_id: {}}}
    list_path = f"v3/user/{quote(alice.user_id)}/account_data/m.ignored_user_list"
    (await alice.put(list_path, ignored)).ok()
    archived = (await alice.get("v3/initialSync", archived="true")).ok()
    rooms = {room["room_id"]: room for room in archived["rooms"]}
    assert set(rooms) == {room_id, left}
    gone = rooms[left]
    assert gone["membership"] == "leave"
    assert gone["messages"]["chunk"][-1]["content"]["membership"] == "leave"
    assert {"name": "then"} in [event["content"] for event in gone["state"]]


async def test_a_room_is_peeked_into(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    path = room_path(room_id, "initialSync")
    (await bob.get(path)).refused(403, "M_FORBIDDEN")
    visibility = {"history_visibility": "world_readable"}
    await alice.set_state(room_id, "m.room.history_visibility", visibility)
    event_id = await alice.send(room_id, "hello")
    room = (await bob.get(path)).ok()
    assert room["messages"]["chunk"][-1]["event_id"] == event_id
    assert "membership" not in room
    assert (room["visibility"], room["presence"]) == ("private", [])
    assert (await alice.get(path, limit=1)).ok()["membership"] == "join"
