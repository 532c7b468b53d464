"""What a destination lacks, as marks of rooms stand for it."""

from federation.outbound.destination_queue import DestinationQueue
from federation.outbound.queue_ports import OutgoingPdu, Progress
from federation.protocol.identifiers import ServerName

FAR = ServerName("far.example")


def test_a_mark_before_a_transaction_outlasts_its_delivery() -> None:
    """An older event is added while newer ones are on their way, as a sticky one may be."""
    queue, progress = DestinationQueue(FAR, has_backlog=False), Progress()
    newer = OutgoingPdu(100, 1, b"{}")
    queue.add(newer, progress)
    on_its_way = queue.take_live(50, 10_000)
    queue.failures = 1
    queue.add(OutgoingPdu(40, 1, b"{}"), progress)
    queue.settle(on_its_way, {}, 100, progress)
    assert queue.missed == {1: 40}


def test_a_mark_goes_with_the_events_that_it_stands_for() -> None:
    queue, progress = DestinationQueue(FAR, has_backlog=False), Progress()
    queue.failures = 1
    events = [OutgoingPdu(position, 1, b"{}") for position in (40, 100)]
    for pdu in events:
        queue.add(pdu, progress)
    queue.settle(events, {}, 120, progress)
    assert queue.missed == {1: 101}
    queue.settle((), {1: 120}, 120, progress)
    assert queue.missed == {}
