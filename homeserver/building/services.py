"""Every service, put together over the core; everything through constructors.

Each module of this package puts one area together. A service that has to hear of commits is made
a listener of the stream where it is built.
"""

import random
import time
from collections.abc import Sequence

from homeserver.appservices.invitations import AskedInvitations
from homeserver.appservices.registrations import Registration
from homeserver.building.answering import build_answering
from homeserver.building.appservices import build_appservices, build_bridges
from homeserver.building.calls import build_calls
from homeserver.building.core import Core
from homeserver.building.delayed_events import build_delayed_events
from homeserver.building.encryption import build_encryption
from homeserver.building.identity_servers import build_address_invites, build_identity_servers
from homeserver.building.media import build_media
from homeserver.building.push import (
    build_push_parts,
    build_push_rules,
    build_pushing,
    build_unsubscribing,
)
from homeserver.building.rooms import build_held_sticky_events, build_reading, build_rooms
from homeserver.building.server_notices import build_server_notices
from homeserver.building.shared_rooms import build_shared_rooms
from homeserver.building.sync import SyncParts, build_syncs
from homeserver.building.traffic import TrafficParts, build_traffic
from homeserver.building.users import build_accounts, build_personal
from homeserver.encryption.device_lists import DeviceLists
from homeserver.jobs.job import JobContext
from homeserver.jobs.runner import JOBS, Runner, first_wait_s
from homeserver.mail.mailer import build_mailer
from homeserver.observe.health import Health
from homeserver.other_servers.room_servers import RoomServers
from homeserver.push.notifications import Notifications
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.ignored_users import IgnoredUsers
from homeserver.rooms.receipts import Receipts
from homeserver.rooms.relations import Bundles
from homeserver.rooms.thread_subscriptions import ThreadSubscriptions
from homeserver.rooms.typing import Typing
from homeserver.services import Services
from homeserver.users.invite_permission import InvitePermissions


def build_services(core: Core, registrations: Sequence[Registration] = ()) -> Services:
    """All services over a core; `registrations` are the application services."""
    part = core.cache_part
    rules = build_push_rules(core)
    invites = InvitePermissions(core.db, core.names, part)
    bridges = build_bridges(core, registrations)
    asked = AskedInvitations(invites, bridges.queries)
    shared = build_shared_rooms(core, asked)
    rooms = build_rooms(core, asked, rules, shared, bridges.queries)
    delayed = build_delayed_events(core, rooms.events)
    servers = RoomServers(core.db, core.names, core.server_name, part)
    device_lists = DeviceLists(
        core.db, core.committer, core.clock, core.settings.federation, servers
    )
    mailer, identity_servers = build_mailer(core.settings), build_identity_servers(core)
    unsubscribing = build_unsubscribing(core)
    users = build_accounts(
        core,
        rooms,
        device_lists,
        bridges.namespaces,
        mailer,
        identity_servers,
    )
    ignored = IgnoredUsers(core.db, core.names, part)
    clients = ClientEvents(core.db, core.names, Bundles(core.db, core.names, ignored), core.clock)
    push = build_push_parts(core, rules, ignored)
    pushing = build_pushing(core, push, invites, mailer, unsubscribing)
    typing = Typing(core.clock(), enabled=core.settings.rooms.typing)
    media = build_media(core)
    personal = build_personal(core, rooms, pushing.pusher_set, bridges.queries)
    receipts = Receipts(core.db, core.names, core.committer, core.clock)
    encryption = build_encryption(core, device_lists)
    parts = TrafficParts(
        shared.intake,
        typing,
        receipts,
        personal.presence,
        encryption.to_device,
        encryption.remote_devices,
        device_lists,
    )
    traffic = build_traffic(core, servers, parts)
    reading = build_reading(core, clients, ignored, shared)
    threads = ThreadSubscriptions(core.db, core.names, core.committer, reading.history)
    syncs = build_syncs(
        core, SyncParts(clients, rules, push.counts, typing, ignored, invites, threads), encryption
    )
    for heard in (invites.heard, ignored.heard, rules.heard, typing.heard):
        core.tell(heard)
    calls = build_calls(core, users, delayed.delayed_events)
    return Services(
        settings=core.settings,
        clock=core.clock,
        db=core.db,
        names=core.names,
        committer=core.committer,
        health=Health(core.db, core.committer, time.monotonic),
        send=core.send,
        rooms=rooms,
        users=users,
        personal=personal,
        receipts=receipts,
        typing=typing,
        server_notices=build_server_notices(core, rooms, users, personal),
        encryption=encryption,
        push_rules=rules,
        clients=clients,
        reading=reading,
        thread_subscriptions=threads,
        key_server=core.links.key_server,
        intake=shared.intake,
        resident=shared.resident,
        elsewhere=shared.elsewhere,
        third_party_invites=rooms.third_party_invites,
        transactions=traffic.transactions,
        sending=traffic.sending,
        sync=syncs.sync,
        sliding_sync=syncs.sliding,
        answering=build_answering(core, rooms, users, personal, encryption, media, calls),
        notifications=Notifications(
            core.db, core.names, rules, push.contexts, push.subscribers, clients, ignored
        ),
        media=media,
        pushing=pushing,
        unsubscribing=unsubscribing,
        address_invites=build_address_invites(core, rooms, identity_servers),
        appservices=build_appservices(core, bridges, users.sessions, clients, typing),
        delayed_events=delayed.delayed_events,
        delayed_event_timer=delayed.timer,
        held_sticky_events=build_held_sticky_events(core),
        runner=Runner(
            JobContext(core.db, core.settings, users.deactivation, users.devices, media.upkeep),
            core.clock,
            JOBS,
            lambda job: first_wait_s(job, random.random()),  # noqa: S311 - no secret
        ),
        calls=calls,
    )
