"""A participant of a call, as a program: it plays a tone, and says what it hears.

It needs the package `livekit` and nothing of this repository. The first line that it reads is an
object with `url` and `jwt`; every further line is sent to all others. What it hears it writes as
objects, one a line.
"""

import array
import asyncio
import json
import math
import statistics
import sys
from typing import Any

from livekit import rtc

RATE = 48_000
FRAME = RATE // 100
TONE_HZ = 440
HEARD_WAVES = 200


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


async def play(source: rtc.AudioSource) -> None:
    """A tone, until cancelled."""
    at = 0
    while True:
        samples = array.array(
            "h",
            (int(8_000 * math.sin(math.tau * TONE_HZ * (at + i) / RATE)) for i in range(FRAME)),
        )
        at += FRAME
        await source.capture_frame(rtc.AudioFrame(samples.tobytes(), RATE, 1, FRAME))


async def listen(track: rtc.Track, whose: str) -> None:
    """Say what tone comes, once so many waves have; the middle one, as some get lost on the way."""
    at, began, was_below, lengths = 0, 0, False, []
    async for event in rtc.AudioStream(track, sample_rate=RATE, num_channels=1):
        for sample in event.frame.data:
            at += 1
            if sample < -500:
                was_below = True
            elif sample > 500 and was_below:
                lengths.append(at - began)
                began, was_below = at, False
        if len(lengths) > HEARD_WAVES:
            say(heard=whose, tone_hz=round(RATE / statistics.median(lengths)))
            return


async def take_part(invitation: dict[str, str], lines: asyncio.StreamReader) -> None:
    room, tasks = rtc.Room(), set()

    def begin(work: Any) -> None:
        tasks.add(asyncio.create_task(work))

    room.on(
        "data_received", lambda data: say(told=data.data.decode(), by=data.participant.identity)
    )
    room.on("disconnected", lambda reason: say(removed=str(reason)))
    room.on("participant_disconnected", lambda participant: say(gone=participant.identity))
    room.on("track_subscribed", lambda track, _, whose: begin(listen(track, whose.identity)))
    try:
        await room.connect(invitation["url"], invitation["jwt"])
    except rtc.ConnectError as error:
        say(refused=str(error))
        return
    say(connected=room.local_participant.identity, room=room.name)
    source = rtc.AudioSource(RATE, 1)
    track = rtc.LocalAudioTrack.create_audio_track("tone", source)
    try:
        await room.local_participant.publish_track(track)
        begin(play(source))
        say(playing=True)
    except rtc.participant.PublishTrackError as error:
        say(silent=str(error))
    while line := await lines.readline():
        await room.local_participant.publish_data(line.strip(), reliable=True)
    await room.disconnect()


async def main() -> None:
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    await take_part(json.loads(await lines.readline()), lines)


if __name__ == "__main__":
    asyncio.run(main())
