"""How far sending has come: what is kept in the database, and what is yet to be."""

from federation.outbound.queue_ports import Backlog, Progress
from federation.protocol.identifiers import ServerName


class Ledger:
    """Gathers progress and has it kept, one batch after the other."""

    __slots__ = ("_being_kept", "distributed", "kept_position", "progress")

    def __init__(self, position: int) -> None:
        self.distributed = self.kept_position = position
        """Up to here the stream has been handed to the queues, and what came of it was kept."""
        self.progress = Progress()
        self._being_kept = Progress()

    def delivered_edus(self, destination: ServerName) -> int:
        """Up to which position queued EDUs are delivered that may not be deleted yet."""
        batches = (self.progress, self._being_kept)
        return max(batch.edus.get(destination, 0) for batch in batches)

    async def keep(self, backlog: Backlog, position: int) -> bool:
        """Keep all progress so far; False if another process has taken over the sending.

        `position` is that up to which all is sent or marked. If this fails or is cut short, the
        progress is kept the next time; it does no harm to keep it twice.
        """
        batch, self.progress = self.progress, Progress()
        batch.position = position
        self._being_kept = batch
        try:
            is_ours = await backlog.keep(batch)
        except BaseException:
            self.progress.add_earlier(batch)
            raise
        self._being_kept = Progress()
        self.kept_position = position
        return is_ours
