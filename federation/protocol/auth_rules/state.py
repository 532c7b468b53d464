"""The room state as the authorisation rules see it."""

from collections.abc import Mapping

from federation.protocol.auth_events import CREATE, JOIN_RULES, POWER_LEVELS, member_place
from federation.protocol.errors import AuthRuleFailed
from federation.protocol.pdu import Pdu, StateKey
from federation.protocol.power_levels import PowerLevels


class AuthState:
    """A typed view of a state: the current event of each place that the rules may ask for.

    The mapping needs to hold no more than the places named by `auth_event_places`. Where it does
    not hold the create event (room version 12 does not list it among the auth events), `create`
    is given. `power` may be given by a caller that keeps the levels of the room at hand, and must
    then agree with the power levels event; otherwise it is built on first use. The mapping must
    not change while the view is in use.
    """

    __slots__ = ("_create", "_events", "_power")

    def __init__(
        self,
        events: Mapping[StateKey, Pdu],
        *,
        create: Pdu | None = None,
        power: PowerLevels | None = None,
    ) -> None:
        self._events = events
        self._create = create if create is not None else events.get(CREATE)
        self._power = power

    @property
    def create(self) -> Pdu:
        """The create event; raises `AuthRuleFailed` if the state has none."""
        if self._create is None:
            raise AuthRuleFailed("create.missing", "The room has no create event")
        return self._create

    @property
    def power(self) -> PowerLevels:
        """The power levels in force."""
        if self._power is None:
            event = self._events.get(POWER_LEVELS)
            self._power = PowerLevels(None if event is None else event.content, self.create)
        return self._power

    @property
    def join_rule(self) -> str:
        """The join rule; a room without one is `invite`."""
        event = self._events.get(JOIN_RULES)
        rule = "invite" if event is None else event.content.get("join_rule")
        return rule if isinstance(rule, str) else "invite"

    def membership(self, user_id: str) -> str:
        """The membership of a user; somebody who never was in the room has `leave`."""
        event = self._events.get(member_place(user_id))
        membership = "leave" if event is None else event.content.get("membership")
        return membership if isinstance(membership, str) else "leave"

    def find(self, event_type: str, state_key: str = "") -> Pdu | None:
        """The event at a place, if any."""
        return self._events.get((event_type, state_key))
