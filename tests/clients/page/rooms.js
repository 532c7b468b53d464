// Rooms, and noticing what others do there.

import { here, joinedRoom, until } from "./here.js";

export async function createRoom({ name, invite = [], encrypted = false, ...more }) {
    const encryption = {
        type: "m.room.encryption",
        state_key: "",
        content: { algorithm: "m.megolm.v1.aes-sha2" },
    };
    const { room_id } = await here.client.createRoom({
        name,
        invite,
        preset: "private_chat",
        initial_state: encrypted ? [encryption] : [],
        ...more,
    });
    await joinedRoom(room_id);
    return room_id;
}

export async function acceptInvitation(roomId) {
    await until("the invitation", () => here.client.getRoom(roomId)?.getMyMembership() === "invite");
    await here.client.joinRoom(roomId);
    return (await joinedRoom(roomId)).name;
}

export async function members(roomId, count) {
    const room = await joinedRoom(roomId);
    await room.loadMembersIfNeeded();
    return until(`${count} members`, () => {
        const ids = room.getJoinedMembers().map((member) => member.userId);
        return ids.length === count && ids.sort();
    });
}

export async function roomNames() {
    return here.client.getRooms().map((room) => room.name).sort();
}

export async function type(roomId, isTyping) {
    await here.client.sendTyping(roomId, isTyping, 20_000);
}

export async function seeTyping(roomId, userId, isTyping) {
    const room = await joinedRoom(roomId);
    await until(`${userId} typing: ${isTyping}`, async () => {
        return Boolean(room.getMember(userId)?.typing) === isTyping;
    });
}

export async function markRead(roomId, eventId) {
    const room = await joinedRoom(roomId);
    await here.client.sendReadReceipt(await until(`event ${eventId}`, () => room.findEventById(eventId)));
}

export async function seeRead(roomId, userId, eventId) {
    const room = await joinedRoom(roomId);
    await until(`the receipt of ${userId}`, () => room.getEventReadUpTo(userId) === eventId);
}

export async function unread(roomId, count) {
    const room = await joinedRoom(roomId);
    return until(`${count} unread`, () => room.getUnreadNotificationCount("total") === count);
}
