// A Matrix client without a face: what Element Web does with matrix-js-sdk, by name, for the tests.
// Each property of `window.client` is something that a user does or sees; answers are plain JSON.

import * as sdk from "matrix-js-sdk";
import { logger } from "matrix-js-sdk/lib/logger.js";
import { SlidingSync, SlidingSyncEvent, SlidingSyncState } from "matrix-js-sdk/lib/sliding-sync.js";
import { CryptoEvent, VerificationPhase } from "matrix-js-sdk/lib/crypto-api/index.js";
import attachments from "matrix-encrypt-attachment";

const DEADLINE_MS = 30_000;
const AS_ELEMENT_DOES = { threadSupport: true, pendingEventOrdering: sdk.PendingEventOrdering.Detached };

let client;
let baseUrl;
let recoveryKey;
let verificationRequest;
let sas;
let slidingSync;
let slidingRooms = {};

logger.disableAll();

/** Wait until `look` finds something, and return that. */
async function until(what, look) {
    const deadline = Date.now() + DEADLINE_MS;
    for (;;) {
        const found = await look();
        if (found) return found;
        if (Date.now() > deadline) throw new Error(`never came: ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 25));
    }
}

function joinedRoom(roomId) {
    return until(`room ${roomId}`, () => {
        const room = client.getRoom(roomId);
        return room?.getMyMembership() === "join" && room;
    });
}

function eventsOf(room) {
    return room.getLiveTimeline().getEvents();
}

/** An event of a room as the user sees it. */
function shown(event) {
    return {
        id: event.getId(),
        sender: event.getSender(),
        type: event.getType(),
        body: event.getContent().body ?? null,
        encrypted: event.isEncrypted(),
        failed: event.isDecryptionFailure(),
        edited: Boolean(event.replacingEvent()),
    };
}

async function decrypted(event) {
    await client.decryptEventIfNeeded(event);
    if (event.isBeingDecrypted()) await event.getDecryptionPromise();
    return event;
}

function findMessage(room, body) {
    const threads = room.getThreads().flatMap((thread) => thread.events);
    return [...eventsOf(room), ...threads].find((event) => event.getContent().body === body);
}

async function findEvent(roomId, eventId) {
    const room = await joinedRoom(roomId);
    return until(`event ${eventId}`, () => room.findEventById(eventId));
}

function passwordAuth(userId, password) {
    return { type: "m.login.password", identifier: { type: "m.id.user", user: userId }, password };
}

/** A client of a session; what it stores is in this browser's IndexedDB. */
async function openSession(session) {
    const store = new sdk.IndexedDBStore({
        indexedDB: window.indexedDB,
        localStorage: window.localStorage,
        dbName: `sync-${session.user_id}-${session.device_id}`,
    });
    client = sdk.createClient({
        baseUrl,
        store,
        userId: session.user_id,
        deviceId: session.device_id,
        accessToken: session.access_token,
        timelineSupport: true,
        cryptoCallbacks: {
            getSecretStorageKey: async ({ keys }) => {
                const keyId = Object.keys(keys)[0];
                return recoveryKey ? [keyId, recoveryKey] : null;
            },
        },
    });
    await store.startup();
    await client.initRustCrypto();
    client.on(CryptoEvent.VerificationRequestReceived, (request) => {
        verificationRequest = request;
    });
}

const actions = {
    // Accounts and sessions

    async register(url, name, password) {
        baseUrl = url;
        const visitor = sdk.createClient({ baseUrl });
        const asked = await visitor.registerRequest({}).catch((error) => error.data);
        const auth = { type: asked.flows[0].stages[0], session: asked.session };
        return visitor.registerRequest({ username: name, password, auth });
    },

    async logIn(url, name, password) {
        baseUrl = url;
        return sdk.createClient({ baseUrl }).loginRequest(passwordAuth(name, password));
    },

    /** Open a session that registering or logging in gave, and follow /sync. */
    async start(url, session) {
        baseUrl = url;
        await openSession(session);
        await client.startClient({ ...AS_ELEMENT_DOES, initialSyncLimit: 20, lazyLoadMembers: true });
        await until("the first sync", () => client.isInitialSyncComplete());
        return client.getSyncState();
    },

    async stop() {
        slidingSync?.stop();
        client.stopClient();
    },

    async logOut() {
        await client.logout(true);
        await client.clearStores();
    },

    async displayName(name) {
        await client.setDisplayName(name);
        return (await client.getProfileInfo(client.getUserId())).displayname;
    },

    /** Wait until the client is again in touch with a server that was away. */
    async reconnect() {
        client.retryImmediately();
        return until("being in touch again", () => client.getSyncState() === "SYNCING");
    },

    // Rooms

    async createRoom({ name, invite = [], encrypted = false, ...more }) {
        const encryption = {
            type: "m.room.encryption",
            state_key: "",
            content: { algorithm: "m.megolm.v1.aes-sha2" },
        };
        const { room_id } = await client.createRoom({
            name,
            invite,
            preset: "private_chat",
            initial_state: encrypted ? [encryption] : [],
            ...more,
        });
        await joinedRoom(room_id);
        return room_id;
    },

    async acceptInvitation(roomId) {
        await until("the invitation", () => client.getRoom(roomId)?.getMyMembership() === "invite");
        await client.joinRoom(roomId);
        return (await joinedRoom(roomId)).name;
    },

    async members(roomId, count) {
        const room = await joinedRoom(roomId);
        await room.loadMembersIfNeeded();
        return until(`${count} members`, () => {
            const ids = room.getJoinedMembers().map((member) => member.userId);
            return ids.length === count && ids.sort();
        });
    },

    async roomNames() {
        return client.getRooms().map((room) => room.name).sort();
    },

    // Messages

    async say(roomId, text) {
        return (await client.sendTextMessage(roomId, text)).event_id;
    },

    async sayInThread(roomId, rootId, text) {
        return (await client.sendTextMessage(roomId, rootId, text)).event_id;
    },

    /** Say many things, one after the other. */
    async sayAll(roomId, texts) {
        for (const text of texts) await client.sendTextMessage(roomId, text);
    },

    async reply(roomId, eventId, text) {
        const content = {
            msgtype: "m.text",
            body: text,
            "m.relates_to": { "m.in_reply_to": { event_id: eventId } },
        };
        return (await client.sendMessage(roomId, content)).event_id;
    },

    async edit(roomId, eventId, text) {
        const content = {
            msgtype: "m.text",
            body: `* ${text}`,
            "m.new_content": { msgtype: "m.text", body: text },
            "m.relates_to": { rel_type: "m.replace", event_id: eventId },
        };
        return (await client.sendMessage(roomId, content)).event_id;
    },

    async react(roomId, eventId, key) {
        const content = { "m.relates_to": { rel_type: "m.annotation", event_id: eventId, key } };
        return (await client.sendEvent(roomId, "m.reaction", content)).event_id;
    },

    async redact(roomId, eventId) {
        return (await client.redactEvent(roomId, eventId)).event_id;
    },

    /** Wait until a message with this text can be read. */
    async read(roomId, text) {
        const room = await joinedRoom(roomId);
        return shown(await until(`the message "${text}"`, () => findMessage(room, text)));
    },

    async conversation(roomId) {
        const room = await joinedRoom(roomId);
        await Promise.all(eventsOf(room).map(decrypted));
        const isMessage = (event) => event.getType() === "m.room.message" && !event.isRelation("m.replace");
        return eventsOf(room).filter(isMessage).map(shown);
    },

    async scrollBack(roomId, count) {
        const room = await joinedRoom(roomId);
        await until(`${count} messages`, async () => {
            const found = (await actions.conversation(roomId)).length;
            if (found < count) await client.scrollback(room, 30);
            return found >= count;
        });
        return (await actions.conversation(roomId)).map(({ body }) => body);
    },

    async reactions(roomId, eventId, count) {
        const room = await joinedRoom(roomId);
        return until(`${count} reactions`, () => {
            const related = room.relations.getChildEventsForEvent(eventId, "m.annotation", "m.reaction");
            const keys = (related?.getSortedAnnotationsByKey() ?? []).flatMap(([key, events]) =>
                [...events].map(() => key),
            );
            return keys.length === count && keys;
        });
    },

    async threadReplies(roomId, rootId, count) {
        const room = await joinedRoom(roomId);
        return until(`${count} replies in the thread`, async () => {
            const thread = room.getThread(rootId);
            await Promise.all((thread?.events ?? []).map(decrypted));
            const bodies = (thread?.events ?? []).map((event) => event.getContent().body);
            return bodies.length > count && bodies;
        });
    },

    /** The roots of the room's threads, as the server lists them. */
    async listThreads(roomId) {
        const answer = await client.createThreadListMessagesRequest(roomId, null, 50, "b", "all");
        return answer.chunk.map((event) => event.event_id);
    },

    async search(term) {
        const answer = await client.searchRoomEvents({ term });
        return answer.results.map((result) => result.context.getEvent().getContent().body);
    },

    // Being noticed

    async type(roomId, isTyping) {
        await client.sendTyping(roomId, isTyping, 20_000);
    },

    async seeTyping(roomId, userId, isTyping) {
        const room = await joinedRoom(roomId);
        await until(`${userId} typing: ${isTyping}`, async () => {
            return Boolean(room.getMember(userId)?.typing) === isTyping;
        });
    },

    async markRead(roomId, eventId) {
        await client.sendReadReceipt(await findEvent(roomId, eventId));
    },

    async seeRead(roomId, userId, eventId) {
        const room = await joinedRoom(roomId);
        await until(`the receipt of ${userId}`, () => room.getEventReadUpTo(userId) === eventId);
    },

    async unread(roomId, count) {
        const room = await joinedRoom(roomId);
        return until(`${count} unread`, () => room.getUnreadNotificationCount("total") === count);
    },

    // Encryption

    /** Set up cross-signing, secret storage and key backup; returns the recovery key. */
    async setUpRecovery(password) {
        const crypto = client.getCrypto();
        const auth = passwordAuth(client.getUserId(), password);
        await crypto.bootstrapCrossSigning({
            authUploadDeviceSigningKeys: async (upload) => {
                await upload(null).catch((error) => {
                    return upload({ ...auth, session: error.data.session });
                });
            },
        });
        const key = await crypto.createRecoveryKeyFromPassphrase();
        recoveryKey = key.privateKey;
        await crypto.bootstrapSecretStorage({
            createSecretStorageKey: async () => key,
            setupNewSecretStorage: true,
            setupNewKeyBackup: true,
        });
        await until("being ready", () => crypto.isCrossSigningReady());
        await until("secret storage", () => crypto.isSecretStorageReady());
        return Array.from(key.privateKey);
    },

    /** On a new device: verify it with the recovery key and fetch the keys from the backup. */
    async recover(key) {
        recoveryKey = new Uint8Array(key);
        const crypto = client.getCrypto();
        await until("the user's keys", () => crypto.userHasCrossSigningKeys(client.getUserId(), true));
        await crypto.bootstrapCrossSigning({});
        await crypto.loadSessionBackupPrivateKeyFromSecretStorage();
        await crypto.checkKeyBackupAndEnable();
        return (await crypto.restoreKeyBackup()).imported;
    },

    /** Wait until so many room keys are in the backup; matrix-js-sdk takes up to 10 seconds. */
    async backedUp(count) {
        return until(`${count} keys in the backup`, async () => {
            const backup = await client.http.authedRequest("GET", "/room_keys/version");
            return backup.count === count;
        });
    },

    async isDeviceVerified(userId, deviceId) {
        const status = await client.getCrypto().getDeviceVerificationStatus(userId, deviceId);
        return Boolean(status?.crossSigningVerified);
    },

    async seeDeviceVerified(userId, deviceId) {
        await until(`${deviceId} being verified`, () => actions.isDeviceVerified(userId, deviceId));
    },

    async seeUserVerified(userId) {
        await until(`${userId} being verified`, async () => {
            const status = await client.getCrypto().getUserVerificationStatus(userId);
            return status.isCrossSigningVerified();
        });
    },

    // Verification by emoji

    async askToVerify(userId, roomId) {
        verificationRequest = await client.getCrypto().requestVerificationDM(userId, roomId);
    },

    async askOwnDevices() {
        verificationRequest = await client.getCrypto().requestOwnUserVerification();
    },

    async acceptVerification() {
        await until("the request", () => verificationRequest);
        await verificationRequest.accept();
    },

    async startEmoji() {
        await until("readiness", () => verificationRequest.phase === VerificationPhase.Ready);
        await verificationRequest.startVerification("m.sas.v1");
    },

    async seeEmoji() {
        const verifier = await until("the start", () => verificationRequest.verifier);
        verifier.verify().catch(() => {});
        sas = await until("the emoji", () => verifier.getShowSasCallbacks());
        return sas.sas.emoji.map(([emoji]) => emoji).join(" ");
    },

    async confirmEmoji() {
        await sas.confirm();
    },

    async seeVerified() {
        await until("the end", () => verificationRequest.phase === VerificationPhase.Done);
    },

    /** Wait until all private keys of cross-signing and that of the backup are here. */
    async seeSecrets() {
        const crypto = client.getCrypto();
        await until("the secrets", async () => {
            const { privateKeysCachedLocally: cached } = await crypto.getCrossSigningStatus();
            const backupKey = await crypto.getSessionBackupPrivateKey();
            return Object.values(cached).every(Boolean) && backupKey;
        });
    },

    // Media

    async sendPicture(roomId, bytes, mimetype) {
        const blob = new Blob([new Uint8Array(bytes)], { type: mimetype });
        const { content_uri: url } = await client.uploadContent(blob, { name: "picture.png" });
        const info = { mimetype, size: blob.size };
        await client.sendMessage(roomId, { msgtype: "m.image", body: "a picture", url, info });
        return url;
    },

    async sendEncryptedPicture(roomId, bytes, mimetype) {
        const sealed = await attachments.encryptAttachment(new Uint8Array(bytes).buffer);
        const blob = new Blob([sealed.data], { type: "application/octet-stream" });
        const { content_uri: url } = await client.uploadContent(blob, { includeFilename: false });
        const file = { ...sealed.info, url };
        const info = { mimetype, size: bytes.length };
        await client.sendMessage(roomId, { msgtype: "m.image", body: "a secret picture", file, info });
        return url;
    },

    /** The bytes of the room's picture with this text, decrypted where it is encrypted. */
    async seePicture(roomId, text) {
        const room = await joinedRoom(roomId);
        const event = await until(`the picture "${text}"`, () => findMessage(room, text));
        const { file, url } = event.getContent();
        const bytes = await download(client.mxcUrlToHttp(file?.url ?? url, ...FULL_SIZE));
        return Array.from(new Uint8Array(file ? await attachments.decryptAttachment(bytes, file) : bytes));
    },

    /** Width and height of the thumbnail as the browser shows it. */
    async seeThumbnail(url, width, height, method) {
        const address = client.mxcUrlToHttp(url, width, height, method, false, true, true);
        const bitmap = await createImageBitmap(new Blob([await download(address)]));
        return [bitmap.width, bitmap.height];
    },

    async setAvatar(bytes, mimetype) {
        const blob = new Blob([new Uint8Array(bytes)], { type: mimetype });
        const { content_uri: url } = await client.uploadContent(blob);
        await client.setAvatarUrl(url);
        return url;
    },

    async seeAvatar(roomId, userId) {
        const room = await joinedRoom(roomId);
        return until(`the avatar of ${userId}`, () => room.getMember(userId)?.getMxcAvatarUrl());
    },

    async uploadLimit() {
        return (await client.getMediaConfig(true))["m.upload.size"];
    },

    // Sliding sync

    /** Open a session that follows sliding sync, with a window on the first rooms. */
    async startSliding(url, session, last) {
        baseUrl = url;
        await openSession(session);
        const list = {
            ranges: [[0, last]],
            timeline_limit: 5,
            required_state: [["m.room.name", ""], ["m.room.create", ""], ["m.room.encryption", ""],
                ["m.room.member", "$LAZY"], ["m.room.member", "$ME"]],
        };
        slidingSync = new SlidingSync(baseUrl, new Map([["rooms", list]]), { timeline_limit: 20 }, client, 20_000);
        slidingSync.on(SlidingSyncEvent.RoomData, (roomId, data) => {
            slidingRooms[roomId] = { ...slidingRooms[roomId], ...data };
        });
        let isComplete = false;
        slidingSync.on(SlidingSyncEvent.Lifecycle, (state) => {
            isComplete ||= state === SlidingSyncState.Complete;
        });
        await client.startClient({ ...AS_ELEMENT_DOES, slidingSync });
        await until("the first sliding sync", () => isComplete);
        return slidingSync.getListData("rooms").joinedCount;
    },

    async slidingNames(count) {
        return until(`${count} rooms`, () => {
            const names = Object.keys(slidingRooms).map((roomId) => client.getRoom(roomId)?.name);
            return names.length >= count && names.sort();
        });
    },

    async widen(last) {
        slidingSync.setListRanges("rooms", [[0, last]]);
    },
};

const FULL_SIZE = [undefined, undefined, undefined, false, true, true];

async function download(url) {
    const headers = { Authorization: `Bearer ${client.getAccessToken()}` };
    const answer = await fetch(url, { headers });
    if (!answer.ok) throw new Error(`${answer.status} for ${url}`);
    return answer.arrayBuffer();
}

window.client = actions;
