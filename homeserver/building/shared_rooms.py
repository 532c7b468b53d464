"""Rooms shared with other servers, put together: taking their events, their doors and ours."""

from dataclasses import dataclass

from federation.outbound.directory import RemoteDirectory
from federation.outbound.fetch import EventFetcher
from federation.outbound.membership import RemoteDoors
from homeserver.building.core import Core
from homeserver.other_servers.event_signatures import EventSignatures
from homeserver.rooms.backfill import Backfill
from homeserver.rooms.elsewhere import Elsewhere
from homeserver.rooms.entering import Entering
from homeserver.rooms.gap_states import GapStates
from homeserver.rooms.held import HeldEvents
from homeserver.rooms.intake import Intake
from homeserver.rooms.outliers import Outliers
from homeserver.rooms.ports import Invitations
from homeserver.rooms.remote_membership import RemoteMembership
from homeserver.rooms.resident import Resident
from homeserver.rooms.restricted_join import RestrictedJoins


@dataclass(frozen=True, slots=True)
class SharedRooms:
    """The services of rooms that more than one server is in."""

    intake: Intake
    """Takes what other servers send."""
    backfill: Backfill
    """Fills gaps in rooms' histories."""
    resident: Resident
    """Lets other servers' users into our rooms."""
    elsewhere: Elsewhere
    """Keeps invites to rooms that are not here."""
    remote: RemoteMembership
    """Lets our users into other servers' rooms."""


def build_shared_rooms(core: Core, invitations: Invitations) -> SharedRooms:
    """Put the services together."""
    db, names, nids, committer, clock = core.db, core.names, core.nids, core.committer, core.clock
    live, arrivals, links, key = core.live, core.arrivals, core.links, core.key
    name = core.server_name
    signatures = EventSignatures(links.keyring)
    outliers = Outliers(db, names, nids, committer)
    entering = Entering(db, names, nids, live, committer, core.append, signatures)
    elsewhere = Elsewhere(db, names, nids, committer, signatures, invitations, name, key)
    fetcher = EventFetcher(links.client)
    gaps = GapStates(db, names, outliers, signatures, fetcher)
    held = HeldEvents(db, committer, clock)
    return SharedRooms(
        intake=Intake(
            db, live, arrivals, core.policies, gaps, held, elsewhere, signatures, fetcher
        ),
        backfill=Backfill(
            db, names, live, committer, arrivals, signatures, fetcher, gaps, clock, name
        ),
        resident=Resident(
            db,
            names,
            live,
            arrivals,
            core.policies,
            RestrictedJoins(db, names, live, name),
            core.access,
            signatures,
            clock,
            name,
            key,
        ),
        elsewhere=elsewhere,
        remote=RemoteMembership(
            db,
            names,
            RemoteDoors(links.client),
            RemoteDirectory(links.client),
            entering,
            elsewhere,
            core.send,
            signatures,
            clock,
            name,
            key,
        ),
    )
