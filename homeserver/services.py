"""What the server can do, by name: handed to every endpoint, filled in by `building`."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from federation.inbound.key_server import KeyServer
from federation.inbound.reading_ports import Answering
from federation.inbound.transactions import Transactions
from homeserver.appservices.appservices import AppServices
from homeserver.calls.delayed_events import DelayedEvents
from homeserver.calls.timer import Timer
from homeserver.clock import Clock
from homeserver.config.settings import Settings
from homeserver.encryption.encryption import Encryption
from homeserver.jobs.runner import Runner
from homeserver.media.repository import MediaRepository
from homeserver.observe.health import Health
from homeserver.other_servers.sending import Sending
from homeserver.push.notifications import Notifications
from homeserver.push.pushing import Pushing
from homeserver.push.rules import PushRules
from homeserver.push.unsubscribing import Unsubscribing
from homeserver.rooms.address_invites import AddressInvites
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.elsewhere import Elsewhere
from homeserver.rooms.held_sticky import HeldStickyEvents
from homeserver.rooms.intake import Intake
from homeserver.rooms.reading import RoomReading
from homeserver.rooms.receipts import Receipts
from homeserver.rooms.resident import Resident
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.send import Send
from homeserver.rooms.third_party_invites import ThirdPartyInvites
from homeserver.rooms.thread_subscriptions import ThreadSubscriptions
from homeserver.rooms.typing import Typing
from homeserver.server_notices.notices import Notices
from homeserver.sync.service import Sync
from homeserver.sync.sliding.service import SlidingSync
from homeserver.users.personal import Personal
from homeserver.users.users import Users
from homeserver.version import hearth_version
from storage.committer import Committer
from storage.database import Pool
from storage.names import Names

if TYPE_CHECKING:
    from homeserver.calls.calls import Calls


@dataclass(frozen=True, slots=True)
class Services:
    """The services that endpoints call, one attribute each."""

    settings: Settings
    clock: Clock
    db: Pool
    names: Names
    committer: Committer
    health: Health
    send: Send
    rooms: Rooms
    users: Users
    personal: Personal
    receipts: Receipts
    typing: Typing
    server_notices: Notices
    encryption: Encryption
    push_rules: PushRules
    clients: ClientEvents
    reading: RoomReading
    thread_subscriptions: ThreadSubscriptions
    key_server: KeyServer
    intake: Intake
    resident: Resident
    elsewhere: Elsewhere
    third_party_invites: ThirdPartyInvites
    transactions: Transactions
    sending: Sending
    sync: Sync
    sliding_sync: SlidingSync
    answering: Answering
    notifications: Notifications
    media: MediaRepository
    pushing: Pushing
    unsubscribing: Unsubscribing
    address_invites: AddressInvites
    appservices: AppServices
    delayed_events: DelayedEvents
    delayed_event_timer: Timer
    held_sticky_events: HeldStickyEvents
    runner: Runner
    calls: "Calls | None"
    """None where there is no LiveKit server; its code is not loaded then."""

    @property
    def version(self) -> str:
        """Which hearth this is."""
        return hearth_version()

    def jobs(self) -> list[Coroutine[Any, Any, None]]:
        """What runs beside the requests for as long as the server does."""
        jobs = [
            self.users.last_seen.run(),
            self.personal.presence.run(),
            self.runner.run(),
            self.media.access_times.run(),
            self.pushing.run(),
            self.delayed_event_timer.run(),
            self.held_sticky_events.run(),
        ]
        if self.appservices.services:
            jobs.append(self.appservices.run())
        if self.calls is not None:
            jobs += self.calls.jobs()
        if self.settings.federation.enabled:
            jobs += [self.sending.run(), self.encryption.remote_devices.run()]
        return jobs
