// Following simplified sliding sync instead of /sync.

import { SlidingSync, SlidingSyncEvent, SlidingSyncState } from "matrix-js-sdk/lib/sliding-sync.js";

import { AS_ELEMENT_DOES, openSession } from "./accounts.js";
import { here, until } from "./here.js";

const shown = new Set();
let slidingSync;

/** Open a session that follows sliding sync, with a window on the first rooms. */
export async function startSliding(url, session, last) {
    await openSession(url, session);
    const list = {
        ranges: [[0, last]],
        timeline_limit: 5,
        required_state: [["m.room.name", ""], ["m.room.create", ""], ["m.room.encryption", ""],
            ["m.room.member", "$LAZY"], ["m.room.member", "$ME"]],
    };
    const lists = new Map([["rooms", list]]);
    slidingSync = new SlidingSync(url, lists, { timeline_limit: 20 }, here.client, 20_000);
    slidingSync.on(SlidingSyncEvent.RoomData, (roomId) => shown.add(roomId));
    let isComplete = false;
    slidingSync.on(SlidingSyncEvent.Lifecycle, (state) => {
        isComplete ||= state === SlidingSyncState.Complete;
    });
    await here.client.startClient({ ...AS_ELEMENT_DOES, slidingSync });
    await until("the first sliding sync", () => isComplete);
    return slidingSync.getListData("rooms").joinedCount;
}

export async function slidingNames(count) {
    return until(`${count} rooms`, () => {
        const names = [...shown].map((roomId) => here.client.getRoom(roomId)?.name);
        return names.length >= count && names.sort();
    });
}

export async function widen(last) {
    slidingSync.setListRanges("rooms", [[0, last]]);
}
