import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from homeserver.jobs.device_inboxes import trim_inboxes
from homeserver.jobs.expired_tokens import KEEP_ENDED_MS, purge_expired_tokens
from homeserver.jobs.job import Job, JobContext
from homeserver.jobs.runner import JOBS, LEASE_S, Runner, first_wait_s
from homeserver.jobs.stranded_guests import SPARE_MS, close_stranded_guests
from homeserver.jobs.transaction_ids import KEEP_MS, purge_transaction_ids
from homeserver.jobs.unfinished_deactivations import finish_deactivations
from homeserver.jobs.unused_devices import remove_unused_devices
from storage.jobs import State, get_due_ts
from tests.homeserver.conftest import Client, Homes
from tests.homeserver.encryption.dehydrated import dehydrated_of, waiting
from tests.patience import PATIENCE_S

HOUR_MS = 3_600_000


class Time:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


class Work:
    """A job that counts its runs."""

    def __init__(self, name: str = "count") -> None:
        self.job = Job(name, 3600, self.run)
        self.runs = 0

    async def run(self, context: JobContext, now_ms: int, state: State) -> State:
        self.runs += 1
        return {"runs": state.get("runs", 0) + 1}


def context_of(homes: Homes) -> JobContext:
    services = homes.services
    users = services.users
    return JobContext(
        services.db, services.settings, users.deactivation, users.devices, services.media.upkeep
    )


def runner_of(homes: Homes, clock: Time, *jobs: Job) -> Runner:
    return Runner(context_of(homes), clock, jobs, lambda job: 0)


async def state_of(homes: Homes, job: Job) -> bytes:
    state: bytes = await homes.services.db.fetchval(
        "SELECT state FROM jobs WHERE name = $1", job.name
    )
    return state


async def test_a_job_runs_when_it_is_due_and_keeps_its_state(homes: Homes) -> None:
    clock, work = Time(), Work()
    runner = runner_of(homes, clock, work.job)
    due_ts = await runner.attempt(work.job)
    assert due_ts == clock.now + HOUR_MS
    assert await runner.attempt(work.job) == due_ts
    assert work.runs == 1
    clock.now = due_ts
    await runner.attempt(work.job)
    assert await state_of(homes, work.job) == b'{"runs":2}'


def test_the_first_minute_of_a_server_is_for_its_clients_and_the_second_for_all_jobs() -> None:
    for job in JOBS:
        assert (first_wait_s(job, 0.0), first_wait_s(job, 1.0)) == (60, 120)


async def test_one_of_several_processes_runs_a_job(homes: Homes) -> None:
    clock, work = Time(), Work()
    runners = [runner_of(homes, clock, work.job) for _ in range(5)]
    await asyncio.gather(*(runner.attempt(work.job) for runner in runners))
    assert work.runs == 1


async def test_a_job_that_fails_keeps_its_state_and_is_tried_again(homes: Homes) -> None:
    clock, work = Time(), Work()
    runner = runner_of(homes, clock, work.job)
    clock.now = await runner.attempt(work.job)

    async def fail(context: JobContext, now_ms: int, state: State) -> State:
        raise ValueError("broken")

    due_ts = await runner.attempt(Job(work.job.name, 3600, fail))
    assert due_ts == clock.now + HOUR_MS == await get_due_ts(homes.services.db, work.job.name)
    clock.now = due_ts
    await runner.attempt(work.job)
    assert await state_of(homes, work.job) == b'{"runs":2}'


async def test_a_job_that_is_cut_off_is_due_when_its_lease_ends(homes: Homes) -> None:
    clock, work = Time(), Work()
    begun = asyncio.Event()

    async def hang(context: JobContext, now_ms: int, state: State) -> State:
        begun.set()
        await asyncio.Event().wait()
        return state

    hanging = Job(work.job.name, 3600, hang)
    killed = asyncio.create_task(runner_of(homes, clock, hanging).attempt(hanging))
    await begun.wait()
    killed.cancel()
    await asyncio.wait((killed,))
    assert killed.cancelled()
    other = runner_of(homes, clock, work.job)
    clock.now = await other.attempt(work.job)
    assert (clock.now, work.runs) == (1_000_000 + LEASE_S * 1000, 0)
    await other.attempt(work.job)
    assert work.runs == 1


async def test_a_failing_job_does_not_hinder_the_others(homes: Homes) -> None:
    ran = asyncio.Event()

    async def fail(context: JobContext, now_ms: int, state: State) -> State:
        raise ValueError("broken")

    async def notice(context: JobContext, now_ms: int, state: State) -> State:
        ran.set()
        return state

    runner = runner_of(homes, Time(), Job("fails", 3600, fail), Job("works", 3600, notice))
    running = asyncio.create_task(runner.run())
    await asyncio.wait_for(ran.wait(), PATIENCE_S)
    assert not running.done()
    running.cancel()
    await asyncio.wait((running,))


async def transactions(homes: Homes) -> int:
    count: int = await homes.services.db.fetchval("SELECT count(*) FROM event_transactions")
    return count


async def send_again(client: Client, room_id: str, txn_id: str) -> str:
    path = f"v3/rooms/{room_id}/send/m.room.message/{txn_id}"
    answer = await client.put(path, {"msgtype": "m.text", "body": "hello"})
    return str(answer.ok()["event_id"])


async def test_transaction_ids_of_events_are_forgotten_after_a_day(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    context = context_of(homes)
    await send_again(alice, room_id, "old")
    state = await purge_transaction_ids(context, HOUR_MS, {})
    young = await send_again(alice, room_id, "young")
    state = await purge_transaction_ids(context, 2 * HOUR_MS, state)
    state = await purge_transaction_ids(context, HOUR_MS + KEEP_MS - 1, state)
    assert await transactions(homes) == 2
    state = await purge_transaction_ids(context, HOUR_MS + KEEP_MS, state)
    assert await transactions(homes) == 1
    assert await send_again(alice, room_id, "young") == young
    state = await purge_transaction_ids(context, 2 * HOUR_MS + KEEP_MS, state)
    assert await transactions(homes) == 0


async def test_marks_of_transaction_ids_do_not_pile_up(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    state: Mapping[str, Any] = {}
    for hour in range(100):
        await send_again(alice, room_id, f"t{hour}")
        state = await purge_transaction_ids(context_of(homes), hour * HOUR_MS, state)
    assert len(state["marks"]) <= 25


async def test_transactions_of_other_requests_are_forgotten_after_a_day(homes: Homes) -> None:
    await homes.user()
    db = homes.services.db
    await db.execute(
        "INSERT INTO request_transactions "
        "SELECT device_nid, ts, ts FROM devices, generate_series(1, 1200) AS ts"
    )
    await purge_transaction_ids(context_of(homes), 1_101 + KEEP_MS, {})
    assert await db.fetchval("SELECT min(created_ts) FROM request_transactions") == 1_101


async def add_access_token(
    homes: Homes, client: Client, expires_ts: int, refresh_hash: bytes | None
) -> bytes:
    token_hash = secrets.token_bytes(32)
    await homes.services.db.execute(
        """
        INSERT INTO access_tokens
               (token_hash, user_nid, device_nid, refresh_hash, expires_ts, created_ts)
        SELECT $1, user_nid, device_nid, $2, $3, 0
          FROM users JOIN devices USING (user_nid)
         WHERE user_id = $4
        """,
        token_hash,
        refresh_hash,
        expires_ts,
        client.user_id,
    )
    return token_hash


async def add_refresh_token(homes: Homes, client: Client, expires_ts: int | None) -> bytes:
    token_hash = secrets.token_bytes(32)
    await homes.services.db.execute(
        """
        INSERT INTO refresh_tokens (token_hash, user_nid, device_nid, expires_ts, created_ts)
        SELECT $1, user_nid, device_nid, $2, 0
          FROM users JOIN devices USING (user_nid)
         WHERE user_id = $3
        """,
        token_hash,
        expires_ts,
        client.user_id,
    )
    return token_hash


async def test_tokens_go_once_nobody_can_do_anything_with_them(homes: Homes) -> None:
    alice = await homes.user()
    db = homes.services.db
    good = await add_refresh_token(homes, alice, None)
    ended = await add_refresh_token(homes, alice, 1_000)
    kept = {
        await add_access_token(homes, alice, 1_000, good),
        await add_access_token(homes, alice, 1_001, None),
    }
    gone = {
        await add_access_token(homes, alice, 1_000, None),
        await add_access_token(homes, alice, 1_000, ended),
    }
    await purge_expired_tokens(context_of(homes), 1_001 + KEEP_ENDED_MS, {})
    left = {row[0] for row in await db.fetch("SELECT token_hash FROM access_tokens")}
    assert kept < left
    assert not gone & left
    assert await db.fetchval("SELECT array_agg(token_hash) FROM refresh_tokens") == [good]
    await alice.sync()


async def test_short_lived_secrets_go_when_they_have_expired(homes: Homes) -> None:
    alice = await homes.user()
    services = homes.services
    await alice.post(f"v3/user/{alice.user_id}/openid/request_token")
    await homes.nobody().post("v3/register", {"username": "somebody"})
    now = services.clock()
    counts = """
        SELECT (SELECT count(*) FROM short_lived_tokens),
               (SELECT count(*) FROM interactive_auth_sessions)
    """
    await purge_expired_tokens(context_of(homes), now, {})
    assert tuple(await services.db.fetchrow(counts)) == (1, 1)
    await purge_expired_tokens(context_of(homes), now + 2 * HOUR_MS, {})
    assert tuple(await services.db.fetchrow(counts)) == (0, 0)


async def test_an_interrupted_deactivation_is_finished(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    await homes.services.db.execute(
        """
        UPDATE accounts SET is_deactivated = true, is_leaving = true
          FROM users
         WHERE users.user_nid = accounts.user_nid AND user_id = $1
        """,
        bob.user_id,
    )
    await finish_deactivations(context_of(homes), 0, {})
    members = (await alice.get(f"v3/rooms/{room_id}/joined_members")).ok()["joined"]
    assert list(members) == [alice.user_id]
    (await bob.get("v3/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")


async def test_only_guests_without_a_token_are_closed(homes: Homes) -> None:
    await homes.user()
    stranded, present = homes.nobody(), homes.nobody()
    for guest in (stranded, present):
        homes.log_in(guest, (await guest.post("v3/register", kind="guest")).ok())
    (await stranded.post("v3/logout")).ok()
    now = homes.services.clock()
    await close_stranded_guests(context_of(homes), now, {})
    assert await closed(homes) == []
    await close_stranded_guests(context_of(homes), now + SPARE_MS + 1, {})
    assert await closed(homes) == [stranded.user_id]
    (await present.get("v3/account/whoami")).ok()


async def closed(homes: Homes) -> list[str]:
    rows = await homes.services.db.fetch(
        "SELECT user_id FROM accounts JOIN users USING (user_nid) WHERE is_deactivated"
    )
    return [row[0] for row in rows]


async def fill_inbox(sender: Client, device_id: str, count: int, size: int) -> None:
    for n in range(count):
        content = {"n": n, "filler": "x" * size}
        body = {"messages": {sender.user_id: {device_id: content}}}
        (await sender.put(f"v3/sendToDevice/m.test/{device_id}{n}", body)).ok()


async def test_an_inbox_that_is_too_full_loses_its_oldest_messages(homes: Homes) -> None:
    alice = await homes.user()
    phone = await homes.second_device(alice)
    await dehydrated_of(alice)
    settings = homes.services.settings
    tight = replace(settings, limits=replace(settings.limits, device_inbox_mb=1))
    context = replace(context_of(homes), settings=tight)
    await fill_inbox(alice, phone.device_id, 30, 50_000)
    await fill_inbox(alice, "DRY", 25, 50_000)
    await fill_inbox(alice, alice.device_id, 5, 50_000)
    await trim_inboxes(context, 0, {})
    assert await numbers_for(phone) == list(range(10, 30))
    assert await numbers_for(alice) == list(range(5))
    waiting_for_dry = (await waiting(alice, "DRY"))["events"]
    assert [event["content"]["n"] for event in waiting_for_dry] == list(range(5, 25))


async def numbers_for(client: Client) -> list[int]:
    return [event["content"]["n"] for event in (await client.sync())["to_device"]["events"]]


async def test_devices_that_nobody_uses_are_logged_out_if_that_is_wanted(homes: Homes) -> None:
    alice = await homes.user()
    phone = await homes.second_device(alice)
    await dehydrated_of(alice)
    await homes.services.db.execute("UPDATE devices SET last_seen_ts = NULL, created_ts = 1000")
    await homes.services.db.execute(
        "UPDATE devices SET last_seen_ts = 9000 WHERE device_id = $1", alice.device_id
    )
    settings = homes.services.settings
    for lifetime_s, left in ((0, {phone.device_id}), (5, set[str]())):
        auth = replace(settings.auth, unused_device_lifetime_s=lifetime_s)
        context = replace(context_of(homes), settings=replace(settings, auth=auth))
        await remove_unused_devices(context, 9_500, {})
        devices = (await alice.get("v3/devices")).ok()["devices"]
        assert {one["device_id"] for one in devices} == {alice.device_id, "DRY"} | left
    (await phone.get("v3/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
