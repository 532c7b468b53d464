"""What pushing needs of services that it does not know."""

from typing import Protocol

from storage.pushers import ActivePusher, PusherProgress


class InvitesTaken(Protocol):
    """Whose invites users take."""

    async def shows_invite(self, inviter: str, invitee_nid: int) -> bool:
        """Whether a user of ours wants to see invites from somebody."""


class Digests(Protocol):
    """Tells by mail what has gathered."""

    delay_ms: int
    """How long after the first message the mail is sent."""

    async def send(self, pusher: ActivePusher) -> PusherProgress:
        """Send a mail if it is time for one; how far the pusher has got, and when to go on."""


class NoDigests:
    """For a server that sends no mail: there are no pushers by mail."""

    delay_ms = 24 * 3600 * 1000

    async def send(self, pusher: ActivePusher) -> PusherProgress:
        """Nothing is sent; what there is to say waits until mail is set up again."""
        progress = pusher.progress
        return PusherProgress(progress.sent_upto, 0, 0, None)
