// What this page knows: who is logged in, and how to wait for what is to come.

const DEADLINE_MS = 30_000;

export const here = { client: null, recoveryKey: null, verificationRequest: null, sas: null };

/** Wait until `look` finds something, and return that. */
export async function until(what, look) {
    const deadline = Date.now() + DEADLINE_MS;
    for (;;) {
        const found = await look();
        if (found) return found;
        if (Date.now() > deadline) throw new Error(`never came: ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 25));
    }
}

export function joinedRoom(roomId) {
    return until(`room ${roomId}`, () => {
        const room = here.client.getRoom(roomId);
        return room?.getMyMembership() === "join" && room;
    });
}

export function passwordAuth(userId, password) {
    return { type: "m.login.password", identifier: { type: "m.id.user", user: userId }, password };
}
