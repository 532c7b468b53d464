// Two people talk through a server with matrix-js-sdk, as Element does: cross-signing, secret
// storage, key backup, and a dehydrated device that hears what is said while Alice has no session.
//
// usage: node talk.mjs BASE_URL. Prints one line for each thing that holds; ends with 1 otherwise.

import assert from "node:assert/strict";
import * as sdk from "matrix-js-sdk";

for (const level of ["debug", "error", "info", "log", "trace", "warn"]) console[level] = () => {};
// Node has it from version 22 on.
Promise.withResolvers ??= function () {
    const made = {};
    made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
    return made;
};

const baseUrl = process.argv[2];
const PASSWORD = "a password that is long";
const MEGOLM = "m.megolm.v1.aes-sha2";
const WITHIN_MS = 30_000;
const started = [];

function holds(what) {
    process.stdout.write(`${what}\n`);
}

async function session(name, register) {
    const open = sdk.createClient({ baseUrl });
    const auth = { type: "m.login.dummy" };
    const known = register
        ? await open.registerRequest({ username: name, password: PASSWORD, auth })
        : await open.loginRequest({
              type: "m.login.password",
              identifier: { type: "m.id.user", user: name },
              password: PASSWORD,
          });
    const keys = {};
    const client = sdk.createClient({
        baseUrl,
        userId: known.user_id,
        deviceId: known.device_id,
        accessToken: known.access_token,
        cryptoCallbacks: {
            getSecretStorageKey: async ({ keys: wanted }) => {
                const keyId = Object.keys(wanted)[0];
                return [keyId, keys.recovery];
            },
            cacheSecretStorageKey: () => {},
        },
    });
    client.recovery = keys;
    await client.initRustCrypto({ useIndexedDB: false });
    await client.startClient({ initialSyncLimit: 50 });
    started.push(client);
    await until(client, () => client.isInitialSyncComplete());
    return client;
}

async function until(client, isSo, what = "it") {
    const end = Date.now() + WITHIN_MS;
    for (;;) {
        const found = await isSo();
        if (found) return found;
        assert(Date.now() < end, `${client.getUserId()} waited too long for ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
}

async function setUp(client) {
    const crypto = client.getCrypto();
    const recovery = await crypto.createRecoveryKeyFromPassphrase();
    client.recovery.recovery = recovery.privateKey;
    await crypto.bootstrapCrossSigning({
        authUploadDeviceSigningKeys: async (makeRequest) => makeRequest(null),
    });
    await crypto.bootstrapSecretStorage({
        createSecretStorageKey: async () => recovery,
        setupNewSecretStorage: true,
        setupNewKeyBackup: true,
    });
    assert(await crypto.isCrossSigningReady());
    assert(await crypto.getActiveSessionBackupVersion());
    return recovery.privateKey;
}

async function heard(client, roomId, text) {
    await until(
        client,
        async () => {
            const events = client.getRoom(roomId)?.getLiveTimeline().getEvents() ?? [];
            for (const event of events) {
                await client.decryptEventIfNeeded(event);
                if (event.getContent().body === text) return !event.isDecryptionFailure();
            }
            return false;
        },
        text,
    );
}

async function say(client, roomId, text) {
    await client.sendTextMessage(roomId, text);
}

async function backup(client) {
    return client.http.authedRequest("GET", "/room_keys/version", undefined, undefined, {
        prefix: "/_matrix/client/v3",
    });
}

async function dehydratedDevice(client) {
    return client.http.authedRequest("GET", "/dehydrated_device", undefined, undefined, {
        prefix: "/_matrix/client/unstable/org.matrix.msc3814.v1",
    });
}

async function verifiedBy(client, userId, deviceId) {
    const status = await client.getCrypto().getDeviceVerificationStatus(userId, deviceId);
    return status?.crossSigningVerified ?? false;
}

const alice = await session("alice", true);
const bob = await session("bob", true);
const secret = await setUp(alice);
await setUp(bob);
holds("both have cross-signing, secret storage and a key backup");

const { room_id: roomId } = await alice.createRoom({
    preset: "private_chat",
    invite: [bob.getUserId()],
    initial_state: [{ type: "m.room.encryption", state_key: "", content: { algorithm: MEGOLM } }],
});
await until(bob, () => bob.getRoom(roomId)?.getMyMembership() === "invite", "the invite");
await bob.joinRoom(roomId);
await until(alice, () => alice.getRoom(roomId)?.getJoinedMembers().length === 2, "Bob");
await say(alice, roomId, "hello");
await heard(bob, roomId, "hello");
await say(bob, roomId, "hello yourself");
await heard(alice, roomId, "hello yourself");
holds("encrypted messages go both ways");

assert(await alice.getCrypto().isDehydrationSupported());
await alice.getCrypto().startDehydration({ createNewKey: true });
const dehydrated = await until(bob, async () => {
    const users = await bob.getCrypto().getUserDeviceInfo([alice.getUserId()], true);
    const devices = [...(users.get(alice.getUserId())?.values() ?? [])];
    return devices.find((device) => device.dehydrated);
}, "the dehydrated device");
assert.equal((await dehydratedDevice(alice)).device_id, dehydrated.deviceId);
holds("the dehydrated device is seen by others");

const version = await alice.getCrypto().getActiveSessionBackupVersion();
await until(alice, async () => (await backup(alice)).count === 2, "the backup");
await alice.logout(true);
await bob.getCrypto().forceDiscardSession(roomId);
await say(bob, roomId, "while you were away");
holds("Alice has no session left");

const phone = await session("alice", false);
phone.recovery.recovery = secret;
assert(!(await verifiedBy(phone, phone.getUserId(), phone.getDeviceId())));
assert(await phone.getCrypto().userHasCrossSigningKeys(phone.getUserId(), true));
await phone.getCrypto().bootstrapCrossSigning({});
await until(
    phone,
    () => verifiedBy(phone, phone.getUserId(), phone.getDeviceId()),
    "the signature of its device",
);
holds("a new session is verified by cross-signing");

await phone.getCrypto().loadSessionBackupPrivateKeyFromSecretStorage();
const restored = await phone.getCrypto().restoreKeyBackup();
assert(restored.imported >= 2, JSON.stringify(restored));
assert.equal((await backup(phone)).version, version);
await heard(phone, roomId, "hello");
await heard(phone, roomId, "hello yourself");
holds("it reads the past from the key backup");

await phone.getCrypto().startDehydration();
await heard(phone, roomId, "while you were away");
holds("it reads what only the dehydrated device was told");
assert.notEqual((await dehydratedDevice(phone)).device_id, dehydrated.deviceId);
holds("a new dehydrated device has taken the place of the old one");

for (const client of started) client.stopClient();
process.exit(0);
