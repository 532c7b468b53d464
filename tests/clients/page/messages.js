// Messages: what is said, what becomes of it, and how it is found again.

import { here, joinedRoom, until } from "./here.js";

function eventsOf(room) {
    return room.getLiveTimeline().getEvents();
}

/** An event of a room as the user sees it. */
function shown(event) {
    return {
        id: event.getId(),
        sender: event.getSender(),
        body: event.getContent().body ?? null,
        encrypted: event.isEncrypted(),
        failed: event.isDecryptionFailure(),
        edited: Boolean(event.replacingEvent()),
    };
}

async function decrypted(event) {
    await here.client.decryptEventIfNeeded(event);
    if (event.isBeingDecrypted()) await event.getDecryptionPromise();
    return event;
}

/** Wait until a message with this text is there. */
export async function findMessage(roomId, body) {
    const room = await joinedRoom(roomId);
    return until(`the message "${body}"`, () => {
        const threads = room.getThreads().flatMap((thread) => thread.events);
        return [...eventsOf(room), ...threads].find((event) => event.getContent().body === body);
    });
}

export async function say(roomId, text) {
    return (await here.client.sendTextMessage(roomId, text)).event_id;
}

export async function sayInThread(roomId, rootId, text) {
    return (await here.client.sendTextMessage(roomId, rootId, text)).event_id;
}

/** Say many things, one after the other. */
export async function sayAll(roomId, texts) {
    for (const text of texts) await here.client.sendTextMessage(roomId, text);
}

export async function reply(roomId, eventId, text) {
    const content = {
        msgtype: "m.text",
        body: text,
        "m.relates_to": { "m.in_reply_to": { event_id: eventId } },
    };
    return (await here.client.sendMessage(roomId, content)).event_id;
}

export async function edit(roomId, eventId, text) {
    const content = {
        msgtype: "m.text",
        body: `* ${text}`,
        "m.new_content": { msgtype: "m.text", body: text },
        "m.relates_to": { rel_type: "m.replace", event_id: eventId },
    };
    return (await here.client.sendMessage(roomId, content)).event_id;
}

export async function react(roomId, eventId, key) {
    const content = { "m.relates_to": { rel_type: "m.annotation", event_id: eventId, key } };
    return (await here.client.sendEvent(roomId, "m.reaction", content)).event_id;
}

export async function redact(roomId, eventId) {
    return (await here.client.redactEvent(roomId, eventId)).event_id;
}

/** Wait until a message with this text can be read. */
export async function read(roomId, text) {
    return shown(await findMessage(roomId, text));
}

export async function conversation(roomId) {
    const room = await joinedRoom(roomId);
    await Promise.all(eventsOf(room).map(decrypted));
    const isMessage = (event) => event.getType() === "m.room.message" && !event.isRelation("m.replace");
    return eventsOf(room).filter(isMessage).map(shown);
}

export async function scrollBack(roomId, count) {
    const room = await joinedRoom(roomId);
    await until(`${count} messages`, async () => {
        const found = (await conversation(roomId)).length;
        if (found < count) await here.client.scrollback(room, 30);
        return found >= count;
    });
    return (await conversation(roomId)).map(({ body }) => body);
}

export async function reactions(roomId, eventId, count) {
    const room = await joinedRoom(roomId);
    return until(`${count} reactions`, () => {
        const related = room.relations.getChildEventsForEvent(eventId, "m.annotation", "m.reaction");
        const keys = (related?.getSortedAnnotationsByKey() ?? []).flatMap(([key, events]) =>
            [...events].map(() => key),
        );
        return keys.length === count && keys;
    });
}

export async function threadReplies(roomId, rootId, count) {
    const room = await joinedRoom(roomId);
    return until(`${count} replies in the thread`, async () => {
        const thread = room.getThread(rootId);
        await Promise.all((thread?.events ?? []).map(decrypted));
        const bodies = (thread?.events ?? []).map((event) => event.getContent().body);
        return bodies.length > count && bodies;
    });
}

/** The roots of the room's threads, as the server lists them. */
export async function listThreads(roomId) {
    const answer = await here.client.createThreadListMessagesRequest(roomId, null, 50, "b", "all");
    return answer.chunk.map((event) => event.event_id);
}

export async function search(term) {
    const answer = await here.client.searchRoomEvents({ term });
    return answer.results.map((result) => result.context.getEvent().getContent().body);
}
