"""The keys of all servers: remembered, looked up, fetched.

A key is looked for in memory, in the database, at its server and at the trusted notaries. What is
missing is not asked for over and over: each key that was not to be had waits longer each time, and
no server is asked more often than every ten seconds, whatever strangers make us look for in its
name. Source: server-server API, "Retrieving server keys".
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from federation.outbound.errors import FederationError
from federation.outbound.expiring import Expiring
from federation.outbound.key_fetch import KeyFetch
from federation.outbound.ports import Clock, KeyCache, ServerKeyStore, StoredKey, Wanted
from federation.outbound.single_flight import SingleFlight
from federation.protocol import canonical_json
from federation.protocol.errors import MatrixError
from federation.protocol.identifiers import KeyId, ServerName, is_valid_key_id, is_valid_server_name
from federation.protocol.retry_schedule import RetrySchedule
from federation.protocol.server_keys import KeyQuery, OwnKeys, ServerKeys, VerifyKey
from federation.protocol.signatures import signatures_of

log = logging.getLogger("hearth.federation.keys")

Keys = dict[ServerName, dict[KeyId, VerifyKey]]

ASK_AGAIN_MS = 10_000
MISSING = RetrySchedule(first_ms=10_000, longest_ms=3_600_000)
"""How long a key is taken for missing that was asked for in vain."""
FORGOTTEN_MS = 24 * 3_600_000
REMEMBERED = 20_000
FUTURE_MS = 3_600_000
"""Nobody is asked for keys that are valid further in the future than this: a fresh key is good
for a week at most, and an event's time is whatever its server says."""
AT_ONCE = 20
"""How many servers are asked at the same time."""
STRANGERS_AT_ONCE = 10
"""How many of them are servers that were never heard of, and now claim to make requests."""
MOST_STRANGERS = 100
"""How many such requests wait; more are not believed until some have been looked into."""
NOTARIES_FIRST = 8
"""If the keys of more servers are missing, as when a large room is joined, notaries are asked
first: many of the servers may be long gone."""
NOTARY_BATCH = 100
NOTARY_PATIENCE_S = 15.0
"""How long those who ask us as a notary wait for servers that we have to ask."""
MAX_KEYS_OF_A_SERVER = 100
MAX_BIGINT = 2**63 - 1
KEY_COST = 320


@dataclass(frozen=True, slots=True)
class Missing:
    """A key that was asked for in vain so many times, and when it may be again."""

    times: int
    retry_at_ts: int


class Keyring:
    """Knows the keys of servers, or finds them out."""

    __slots__ = (
        "_asked",
        "_cache",
        "_clock",
        "_fetch",
        "_fetching",
        "_missing",
        "_notaries",
        "_own",
        "_random",
        "_slots_free",
        "_store",
        "_stranger_slots",
        "_strangers",
    )

    def __init__(
        self,
        own: OwnKeys,
        store: ServerKeyStore,
        cache: KeyCache,
        fetch: KeyFetch,
        clock: Clock,
        random: Callable[[], float],
        notaries: Sequence[ServerName] = (),
    ) -> None:
        self._own = own
        self._store = store
        self._cache = cache
        self._fetch = fetch
        self._clock = clock
        self._random = random
        self._notaries = tuple(name for name in notaries if name != own.server_name)
        self._asked: Expiring[ServerName, bool] = Expiring(REMEMBERED, clock)
        self._missing: Expiring[tuple[ServerName, KeyId], Missing] = Expiring(REMEMBERED, clock)
        self._fetching: SingleFlight[ServerName, ServerKeys | None] = SingleFlight()
        self._slots_free = asyncio.Semaphore(AT_ONCE)
        self._stranger_slots = asyncio.Semaphore(STRANGERS_AT_ONCE)
        self._strangers = 0

    async def verify_keys(
        self, wanted: Wanted, *, backoff: bool = True
    ) -> Mapping[ServerName, Mapping[KeyId, VerifyKey]]:
        """The best that is known of the wanted keys; what cannot be had is left out.

        `wanted` says for each key up to which time (in ms) it should be valid: an event's
        `origin_server_ts` in room versions that enforce it (5 and later), 0 in others, now for a
        request. A key is returned too if nothing better than one that falls short was to be had,
        so callers ask `is_key_valid_at` or `is_key_valid_for_request`. Without `backoff` servers
        that are left alone after failures are asked nevertheless.
        """
        latest_ts = self._clock() + FUTURE_MS
        capped = {
            server_name: {
                key_id: min(ts, latest_ts) for key_id, ts in keys.items() if is_valid_key_id(key_id)
            }
            for server_name, keys in wanted.items()
            if is_valid_server_name(server_name)
        }
        found = self._from_memory(capped)
        if lacking := lacking_of(capped, found):
            merge(found, await self._from_store(lacking))
        if lacking := lacking_of(capped, found):
            wanting = self._not_given_up(lacking)
            if backoff:
                await self._ask_for(wanting, found, backoff=True)
            else:
                await self._ask_for_requester(wanting, found)
        return {
            server_name: {key_id: keys[key_id] for key_id in wanted[server_name] if key_id in keys}
            for server_name, keys in found.items()
            if server_name in wanted
        }

    async def stored_objects(self, queries: Sequence[KeyQuery]) -> list[bytes]:
        """The signed key objects that answer the queries of a notary's clients, each once.

        Servers whose keys are not known or not fresh are asked; what is known of those that do
        not answer is given nevertheless. Our own keys are not among them.
        """
        others = [query for query in queries if query.server_name != self._own.server_name]
        asked_for = {query.server_name: query.key_ids for query in others}
        stored = await self._stored_by_server(asked_for)
        now_ts = self._clock()
        stale = [
            query.server_name
            for query in others
            if not is_answered(query, stored.get(query.server_name, ()), now_ts)
        ]
        if stale:
            # Those that answer in time are kept, whatever becomes of the others.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(NOTARY_PATIENCE_S):
                    await self._fetch_directly(stale, backoff=True)
            stored |= await self._stored_by_server({name: asked_for[name] for name in stale})
        objects = (key.signed_json for keys in stored.values() for key in keys)
        return list(dict.fromkeys(objects))

    def _from_memory(self, wanted: Wanted) -> Keys:
        found: Keys = {}
        for server_name, keys in wanted.items():
            if server_name == self._own.server_name:
                found[server_name] = self._own.verify_keys(self._clock())
                continue
            cached = ((key_id, self._cache.get((server_name, key_id))) for key_id in keys)
            found[server_name] = {key_id: key for key_id, key in cached if key is not None}
        return found

    async def _from_store(self, wanted: Wanted) -> Keys:
        lists = {name: list(keys) for name, keys in wanted.items() if keys}
        found: Keys = {}
        for stored in await self._store.stored_keys(lists):
            self._remember(stored.key)
            found.setdefault(stored.key.server_name, {})[stored.key.key_id] = stored.key
        return found

    async def _stored_by_server(
        self, wanted: Mapping[ServerName, Sequence[KeyId]]
    ) -> dict[ServerName, list[StoredKey]]:
        by_server: dict[ServerName, list[StoredKey]] = {}
        for stored in await self._store.stored_keys(wanted):
            by_server.setdefault(stored.key.server_name, []).append(stored)
        return by_server

    async def _ask_for(self, lacking: Wanted, found: Keys, *, backoff: bool) -> None:
        """Ask servers and notaries for what is lacking, and add it to what was found."""
        sources = [self._ask_servers, self._ask_notaries]
        if len(lacking) > NOTARIES_FIRST and self._notaries:
            sources.reverse()
        for ask in sources:
            if lacking:
                merge(found, await ask(lacking, backoff))
                lacking = lacking_of(lacking, found)
        for server_name, keys in lacking.items():
            for key_id in keys:
                self._give_up(server_name, key_id)

    async def _ask_for_requester(self, lacking: Wanted, found: Keys) -> None:
        """Ask for the keys of who claims to make a request.

        Anybody can claim to be any server, also one that never answers; servers whose keys we have
        seen do not wait for those that we hear of for the first time.
        """
        known = await self._stored_by_server(dict.fromkeys(lacking, ()))
        if lacking.keys() <= known.keys():
            await self._ask_for(lacking, found, backoff=False)
            return
        if self._strangers >= MOST_STRANGERS:
            log.info("too many unknown servers at once; not asking %s for keys", ", ".join(lacking))
            return
        self._strangers += 1
        try:
            async with self._stranger_slots:
                await self._ask_for(lacking, found, backoff=False)
        finally:
            self._strangers -= 1

    async def _ask_servers(self, lacking: Wanted, backoff: bool) -> Keys:
        found = keys_in(await self._fetch_directly(list(lacking), backoff=backoff))
        # Others may have asked since these keys were looked up, and have had the answer.
        merge(found, self._from_memory(lacking))
        return found

    async def _ask_notaries(self, lacking: Wanted, backoff: bool) -> Keys:
        del backoff
        found: Keys = {}
        for notary in self._notaries:
            names = iter(lacking)
            while batch := list(islice(names, NOTARY_BATCH)):
                query = {name: lacking[name] for name in batch}
                merge(found, keys_in(await self._ask_notary(notary, query)))
            if not (lacking := lacking_of(lacking, found)):
                break
        return found

    async def _fetch_directly(
        self, server_names: Iterable[ServerName], *, backoff: bool
    ) -> list[ServerKeys]:
        fetched = await asyncio.gather(
            *(
                self._fetching.run(name, lambda name=name: self._fetch_one(name, backoff=backoff))  # type: ignore[misc]
                for name in server_names
                if not self._asked.get(name)
            )
        )
        return [keys for keys in fetched if keys is not None]

    async def _fetch_one(self, server_name: ServerName, *, backoff: bool) -> ServerKeys | None:
        async with self._slots_free:
            try:
                fetched = await self._fetch.from_server(server_name, backoff=backoff)
            except FederationError as error:
                log.info("no keys from %s", error.message)
                return None
            except MatrixError as error:
                log.warning("the keys of %s cannot be used: %s", server_name, error.message)
                return None
            finally:
                self._asked.put(server_name, True, self._clock() + ASK_AGAIN_MS)
        await self._keep([fetched])
        return fetched

    async def _ask_notary(self, notary: ServerName, wanted: Wanted) -> list[ServerKeys]:
        try:
            objects = await self._fetch.from_notary(notary, wanted)
        except FederationError as error:
            log.warning("no keys from the notary %s", error.message)
            return []
        signed_by = {key_id for one in objects for key_id in signatures_of(one, notary)}
        notary_keys = await self._keys_of_notary(notary, signed_by)
        checked = await self._fetch.check_notarised(objects, notary, notary_keys, wanted)
        if len(checked) < len(objects):
            log.warning("%d keys from %s are not rightly signed", len(objects), notary)
        await self._keep(checked)
        return checked

    async def _keys_of_notary(
        self, notary: ServerName, key_ids: Iterable[KeyId]
    ) -> Mapping[KeyId, VerifyKey]:
        """The notary's own keys, which no notary is asked for."""
        now_ts = self._clock()
        wanted = {notary: dict.fromkeys(key_ids, now_ts)}
        found = self._from_memory(wanted)
        if lacking := lacking_of(wanted, found):
            merge(found, await self._from_store(lacking))
        if lacking_of(wanted, found):
            merge(found, keys_in(await self._fetch_directly([notary], backoff=True)))
        return {i: key for i, key in found.get(notary, {}).items() if reaches(key, now_ts)}

    async def _keep(self, fetched: Iterable[ServerKeys]) -> None:
        now_ts = self._clock()
        kept: list[StoredKey] = []
        for server_keys in fetched:
            signed_json = canonical_json.encode_lax(server_keys.fields)
            keys = [key for key in server_keys.keys.values() if is_valid_key_id(key.key_id)]
            for key in keys[:MAX_KEYS_OF_A_SERVER]:
                self._remember(key)
                self._missing.discard((key.server_name, key.key_id))
                kept.append(StoredKey(storable(key), now_ts, signed_json))
        if kept:
            await self._store.keep_keys(kept)

    def _remember(self, key: VerifyKey) -> None:
        place = (key.server_name, key.key_id)
        known = self._cache.get(place)
        if known is None or known.valid_until_ts <= key.valid_until_ts:
            self._cache.put(place, key, KEY_COST)

    def _not_given_up(self, lacking: Wanted) -> Wanted:
        """What is lacking, without what was asked for in vain a short while ago."""
        open_ones = {
            server_name: {
                key_id: ts
                for key_id, ts in keys.items()
                if not self._is_given_up(server_name, key_id)
            }
            for server_name, keys in lacking.items()
        }
        return {server_name: keys for server_name, keys in open_ones.items() if keys}

    def _is_given_up(self, server_name: ServerName, key_id: KeyId) -> bool:
        missing = self._missing.get((server_name, key_id))
        return missing is not None and self._clock() < missing.retry_at_ts

    def _give_up(self, server_name: ServerName, key_id: KeyId) -> None:
        place, now_ts = (server_name, key_id), self._clock()
        known = self._missing.get(place)
        times = 1 if known is None else known.times + 1
        retry_at_ts = now_ts + MISSING.delay_ms(times, self._random())
        self._missing.put(place, Missing(times, retry_at_ts), now_ts + FORGOTTEN_MS)


def reaches(key: VerifyKey, minimum_ts: int) -> bool:
    """Whether the key is good for what was signed at this time; 0 asks for nothing."""
    until_ts = key.valid_until_ts if key.expired_ts is None else key.expired_ts
    return minimum_ts <= max(until_ts, 0)


def lacking_of(wanted: Wanted, found: Keys) -> dict[ServerName, dict[KeyId, int]]:
    """What is wanted and not found, or not valid for long enough."""
    lacking = {
        server_name: {
            key_id: ts
            for key_id, ts in keys.items()
            if (key := found.get(server_name, {}).get(key_id)) is None or not reaches(key, ts)
        }
        for server_name, keys in wanted.items()
    }
    return {server_name: keys for server_name, keys in lacking.items() if keys}


def merge(found: Keys, more: Keys) -> None:
    """Add keys to what was found; of the same key the one that is valid longer counts."""
    for server_name, keys in more.items():
        known = found.setdefault(server_name, {})
        for key_id, key in keys.items():
            if key_id not in known or known[key_id].valid_until_ts <= key.valid_until_ts:
                known[key_id] = key


def keys_in(fetched: Iterable[ServerKeys]) -> Keys:
    """The keys of fetched objects by server."""
    return {one.server_name: dict(one.keys) for one in fetched}


def storable(key: VerifyKey) -> VerifyKey:
    """The key with times that fit into the database."""
    expired_ts = key.expired_ts
    if expired_ts is not None:
        expired_ts = min(max(expired_ts, 0), MAX_BIGINT)
    return replace(key, valid_until_ts=max(key.valid_until_ts, 0), expired_ts=expired_ts)


def is_answered(query: KeyQuery, stored: Sequence[StoredKey], now_ts: int) -> bool:
    """Whether stored keys answer a notary's client without asking their server again.

    They are served for half of their lifetime, as the specification advises.
    """
    current = [one for one in stored if one.key.expired_ts is None]
    known = {one.key.key_id for one in stored}
    return (
        set(query.key_ids) <= known
        and bool(stored)
        and all(query.minimum_valid_until_ts <= one.key.valid_until_ts for one in current)
        and any(now_ts < (one.fetched_ts + one.key.valid_until_ts) // 2 for one in stored)
    )
