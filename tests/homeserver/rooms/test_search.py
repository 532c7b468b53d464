from typing import Any

import orjson
import pytest

from federation.protocol.errors import InvalidParam
from federation.protocol.filters import parse_room_event_filter
from homeserver.rooms.history import History
from homeserver.rooms.search import ContextWanted, Search, SearchRequest, parse_cursor
from storage import search as storage_search
from storage.search import TextKind, find_text, parse_terms
from tests.homeserver.rooms.world import ALICE, BOB, CAROL, World, open_world


def search_of(world: World) -> Search:
    history = History(world.db, world.names, world.clients, world.ignored)
    return Search(world.db, world.names, world.clients, world.ignored, history)


async def found(
    world: World, who: Any, term: str, filter_: dict[str, Any] | None = None, **options: Any
) -> Any:
    request = SearchRequest(term, wanted=parse_room_event_filter(filter_ or {}), **options)
    answer = await search_of(world).room_events(await world.viewer(who), request)
    return orjson.loads(orjson.dumps(answer))


def ids(answer: Any) -> list[str]:
    return [result["result"]["event_id"] for result in answer["results"]]


async def test_words_are_found_at_their_beginning_wherever_they_stand(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create()
        hello = await world.say(room, ALICE, "hello, world")
        german = await world.say(room, ALICE, "Schöne Grüße")
        named = await world.state(room, ALICE, "m.room.name", {"name": "Hello Kitchen"})
        assert ids(await found(world, ALICE, "WORLD")) == [hello]
        assert ids(await found(world, ALICE, "GRÜß")) == [german]
        assert set(ids(await found(world, ALICE, "hell"))) == {hello, named}
        assert ids(await found(world, ALICE, "hello", kinds=[TextKind.NAME])) == [named]
        assert ids(await found(world, ALICE, "hello -world")) == [named]
        assert ids(await found(world, ALICE, '"world hello"')) == []
        assert ids(await found(world, ALICE, '"hello world"')) == [hello]
        answer = await found(world, ALICE, "hello it's & | ! '\\ ( \0")
        assert (ids(answer), answer["count"]) == ([], 0)
        assert ids(await found(world, ALICE, "!!")) == []
        late = await world.say(room, ALICE, "hello again")
        assert late in ids(await found(world, ALICE, "hello"))


async def test_recent_results_are_paged_to_the_end(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create()
        sent = [await world.say(room, ALICE, f"Message number {n}") for n in range(20)]
        for by_rank in (False, True):
            first = await found(world, ALICE, "Message", {"limit": 10}, by_rank=by_rank)
            assert first["count"] == 20
            second = await found(
                world, ALICE, "Message", {"limit": 10}, by_rank=by_rank, start=first["next_batch"]
            )
            third = await found(
                world, ALICE, "Message", {"limit": 10}, by_rank=by_rank, start=second["next_batch"]
            )
            assert ids(first) + ids(second) == sent[::-1]
            assert (ids(third), third["count"], "next_batch" in third) == ([], 20, False)
        for token in ("", "x", "W10", "WzEsLTEsbnVsbF0"):
            with pytest.raises(InvalidParam):
                parse_cursor(token)


async def test_results_come_with_their_context_and_profiles(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create()
        await world.member(room, BOB, "join", displayname="Bob")
        sent = [await world.say(room, BOB, f"Message number {n}") for n in range(1, 8)]
        await world.member(room, BOB, "join", displayname="Robert")
        wanted = ContextWanted(2, 2, with_profiles=True)
        answer = await found(world, ALICE, "Message 4", {"limit": 1}, by_rank=False, context=wanted)
        assert (answer["count"], ids(answer)) == (1, [sent[3]])
        context = answer["results"][0]["context"]
        assert [e["event_id"] for e in context["events_before"]] == [sent[2], sent[1]]
        assert [e["event_id"] for e in context["events_after"]] == [sent[4], sent[5]]
        assert context["profile_info"] == {BOB: {"displayname": "Bob"}}
        assert answer["highlights"] == ["Message", "4"]
        assert "next_batch" in answer


@pytest.mark.parametrize("by_rank", [True, False])
async def test_redacted_events_leave_the_index(database_url: str, by_rank: bool) -> None:
    async with open_world(database_url) as world:
        room = await world.create()
        gone = await world.say(room, ALICE, "This is going to be redacted")
        kept = await world.say(room, ALICE, "This is not going to be redacted")
        later = await world.say(room, ALICE, "This will be redacted later")
        await world.redact(room, ALICE, gone)
        assert set(ids(await found(world, ALICE, "redacted", by_rank=by_rank))) == {kept, later}
        await world.redact(room, ALICE, later)
        assert await world.db.fetchval("SELECT count(*) FROM search_index") == 1
        assert ids(await found(world, ALICE, "redacted", by_rank=by_rank)) == [kept]


async def test_only_what_the_viewer_may_see_is_found(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create(visibility="joined", members=[])
        other = await world.create()
        await world.say(other, ALICE, "secret elsewhere")
        await world.say(room, ALICE, "secret before")
        await world.member(room, BOB, "join")
        shown = await world.say(room, ALICE, "secret shown")
        await world.member(room, BOB, "leave")
        await world.say(room, ALICE, "secret after")
        assert ids(await found(world, BOB, "secret")) == [shown]
        assert ids(await found(world, CAROL, "secret")) == []
        await world.member(other, BOB, "join")
        await world.ignore(BOB, ALICE)
        assert ids(await found(world, BOB, "secret")) == []


async def test_filters_and_groups_part_the_results(database_url: str) -> None:
    async with open_world(database_url) as world:
        first = await world.create(members=[BOB])
        second = await world.create(members=[BOB])
        secret = await world.create()
        await world.state(secret, ALICE, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
        await world.say(secret, ALICE, "tea in the clear")
        one = await world.say(first, ALICE, "tea")
        two = await world.say(second, BOB, "tea", url="mxc://hub.example/tea")
        three = await world.say(first, BOB, "tea")
        by_room = {"rooms": [first]}
        assert ids(await found(world, ALICE, "tea", by_room, by_rank=False)) == [three, one]
        for wanted in ({"not_rooms": [first]}, {"contains_url": True}, {"rooms": [second]}):
            assert ids(await found(world, ALICE, "tea", wanted)) == [two]
        by_sender = {"senders": [ALICE], "types": ["m.room.mess*"]}
        assert ids(await found(world, ALICE, "tea", by_sender)) == [one]
        answer = await found(
            world, ALICE, "tea", {"limit": 2}, by_rank=False, group_by=["room_id", "sender"]
        )
        assert ids(answer) == [three, two]
        groups = answer["groups"]
        assert groups["room_id"][first]["results"] == [three]
        assert [group["order"] for group in groups["room_id"].values()] == [0, 1]
        assert groups["sender"][BOB]["results"] == [three, two]
        token = groups["room_id"][first]["next_batch"]
        assert ids(await found(world, ALICE, "tea", by_rank=False, start=token)) == [one]
        token = groups["sender"][BOB]["next_batch"]
        assert ids(await found(world, ALICE, "tea", by_rank=False, start=token)) == []
        with_state = await found(world, ALICE, "tea", by_room, with_state=True)
        assert {e["type"] for e in with_state["state"][first]} >= {"m.room.create"}


async def test_an_upgraded_room_is_searched_with_its_predecessor(database_url: str) -> None:
    async with open_world(database_url) as world:
        old = await world.create()
        before = await world.say(old, ALICE, "before the upgrade")
        new = await world.create(predecessor=old)
        after = await world.say(new, ALICE, "after the upgrade")
        assert set(ids(await found(world, ALICE, "upgrade", {"rooms": [new]}))) == {before, after}
        assert ids(await found(world, ALICE, "upgrade", {"rooms": [old]})) == [before]


async def test_an_index_grows_in_batches_from_the_latest_backwards(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_world(database_url) as world:
        monkeypatch.setattr(storage_search, "BATCH", 4)
        monkeypatch.setattr(storage_search, "SMALLEST_SHARE", 2)
        monkeypatch.setattr(storage_search, "MOST_BATCHES", 1)
        rooms = [await world.create() for _ in range(3)]
        sent = [await world.say(rooms[n % 3], ALICE, f"word {n}") for n in range(12)]
        first = ids(await found(world, ALICE, "word", {"limit": 100}))
        assert 0 < len(first) < len(sent)
        sent.append(await world.say(rooms[0], ALICE, "word at last"))
        for _ in range(30):
            every = ids(await found(world, ALICE, "word", {"limit": 100}, by_rank=False))
        assert every == sent[::-1]


def test_texts_are_taken_from_where_the_specification_says() -> None:
    assert find_text("m.room.message", {"body": "hello"}) == "hello"
    assert find_text("m.room.message", {"body": 1}) is None
    assert find_text("m.room.name", {"name": "a\0b"}) == "a b"
    assert find_text("m.sticker", {"body": "hello"}) is None
    topic = {
        "topic": "plain",
        "m.topic": {
            "m.text": [
                {"body": "plain"},
                {"body": "<b>rich</b>", "mimetype": "text/html"},
                {"body": "more", "mimetype": "text/plain"},
                "malformed",
            ]
        },
    }
    assert find_text("m.room.topic", topic) == "plain\nmore"
    assert find_text("m.room.topic", {}) is None


def test_terms_become_a_query() -> None:
    assert parse_terms("it's fine").query == "'it''s':* & 'fine':*"
    assert parse_terms('-"not this" that').query == "!'not this' & 'that':*"
    assert parse_terms('"two words"').words == ["two", "words"]
    assert parse_terms(" \0 & ").query == ""
