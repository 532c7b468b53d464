"""Notifications, put together."""

import random
from dataclasses import dataclass

from federation.protocol.push_rules import (
    PREDEFINED_RULES,
    PREDEFINED_WITH_LEGACY_MENTIONS,
    with_thread_rules,
)
from homeserver.building.core import Core
from homeserver.mail.mailer import Mailer
from homeserver.push.counts import UnreadCounts
from homeserver.push.decisions import Decisions
from homeserver.push.delivery import Delivery
from homeserver.push.descriptions import Descriptions
from homeserver.push.digests import MailDigests
from homeserver.push.gateway import Gateways
from homeserver.push.missed import Missed
from homeserver.push.ports import InvitesTaken, NoDigests
from homeserver.push.pushers import PUSHERS
from homeserver.push.pushing import Pushing
from homeserver.push.reach import Reach
from homeserver.push.room_contexts import RoomContexts
from homeserver.push.rules import PushRules
from homeserver.push.threads import ThreadSubscribers
from homeserver.push.unread import UnreadOfUsers
from homeserver.push.unsubscribing import Unsubscribing
from homeserver.rooms.ignored_users import IgnoredUsers
from storage.duties import PUSHING


@dataclass(frozen=True, slots=True)
class PushParts:
    """What deciding whom an event notifies takes."""

    rules: PushRules
    contexts: RoomContexts
    subscribers: ThreadSubscribers
    counts: UnreadCounts
    ignored: IgnoredUsers


def build_push_rules(core: Core) -> PushRules:
    """The rules by which users are notified, with the predefined ones as configured."""
    has_legacy = core.settings.push.legacy_mentions
    predefined = PREDEFINED_WITH_LEGACY_MENTIONS if has_legacy else PREDEFINED_RULES
    if core.settings.push.thread_subscriptions:
        predefined = with_thread_rules(predefined)
    return PushRules(core.db, core.committer, core.cache_part, predefined)


def build_push_parts(core: Core, rules: PushRules, ignored: IgnoredUsers) -> PushParts:
    """The counts of what is unread, kept up to date by the stream."""
    contexts = RoomContexts(core.db, core.names, core.cache_part)
    subscribers = ThreadSubscribers(core.db, core.cache_part // 4)
    counts = UnreadCounts(
        core.db, core.stream, rules, contexts, subscribers, ignored, core.cache_part
    )
    core.tell(subscribers.heard)
    core.stream.listen(contexts.heard)
    core.stream.listen(counts.heard)
    return PushParts(rules, contexts, subscribers, counts, ignored)


def build_unsubscribing(core: Core) -> Unsubscribing:
    """What ends notifications by mail."""
    return Unsubscribing(core.db, core.names, core.key, core.settings.server.public_baseurl)


def build_delivery(
    core: Core,
    unread: UnreadOfUsers,
    decisions: Decisions,
    mailer: Mailer,
    unsubscribing: Unsubscribing,
) -> Delivery:
    """What hands notifications over, to gateways and by mail."""
    db, names, clock, settings = core.db, core.names, core.clock, core.settings
    missed = Missed(db, unread, decisions, clock)
    descriptions = Descriptions(db, names)
    digests = MailDigests(
        db,
        names,
        clock,
        missed,
        descriptions,
        mailer,
        unsubscribing,
        settings.mail,
        random.random,
    )
    return Delivery(
        db,
        names,
        clock,
        unread,
        missed,
        descriptions,
        Gateways(core.links.connections, settings.push.gateway_timeout_s),
        digests if mailer.is_configured else NoDigests(),
        random.random,
        with_content=settings.push.include_content,
        counts_rooms=settings.push.badge_counts == "rooms",
    )


def build_pushing(
    core: Core,
    parts: PushParts,
    invites: InvitesTaken,
    mailer: Mailer,
    unsubscribing: Unsubscribing,
) -> Pushing:
    """What sends notifications; `Pushing.run` is for the caller to run."""
    decisions = Decisions(
        core.db,
        core.names,
        parts.rules,
        parts.contexts,
        parts.subscribers,
        parts.ignored,
        invites,
    )
    unread = UnreadOfUsers(core.db, core.stream, parts.counts, core.cache_part)
    delivery = build_delivery(core, unread, decisions, mailer, unsubscribing)
    pushing = Pushing(
        core.db,
        core.names,
        core.stream,
        Reach(core.db, core.cache_part // 4),
        decisions,
        unread,
        delivery,
        core.server_name,
        core.duty(PUSHING),
    )
    core.stream.listen(pushing.heard)
    core.hear(PUSHERS, pushing.hear, pushing.missed_messages)
    return pushing
