// Accounts and sessions.

import * as sdk from "matrix-js-sdk";
import { CryptoEvent } from "matrix-js-sdk/lib/crypto-api/index.js";

import { here, passwordAuth, until } from "./here.js";

export const AS_ELEMENT_DOES = {
    threadSupport: true,
    pendingEventOrdering: sdk.PendingEventOrdering.Detached,
};

/** A client of a session; what it stores is in this browser's IndexedDB. */
export async function openSession(url, session) {
    const store = new sdk.IndexedDBStore({
        indexedDB: window.indexedDB,
        localStorage: window.localStorage,
        dbName: `sync-${session.user_id}-${session.device_id}`,
    });
    here.client = sdk.createClient({
        baseUrl: url,
        store,
        userId: session.user_id,
        deviceId: session.device_id,
        accessToken: session.access_token,
        timelineSupport: true,
        cryptoCallbacks: {
            getSecretStorageKey: async ({ keys }) =>
                here.recoveryKey && [Object.keys(keys)[0], here.recoveryKey],
        },
    });
    await store.startup();
    await here.client.initRustCrypto();
    here.client.on(CryptoEvent.VerificationRequestReceived, (request) => {
        here.verificationRequest = request;
    });
}

export async function register(url, name, password) {
    const visitor = sdk.createClient({ baseUrl: url });
    const asked = await visitor.registerRequest({}).catch((error) => error.data);
    const auth = { type: asked.flows[0].stages[0], session: asked.session };
    return visitor.registerRequest({ username: name, password, auth });
}

export async function logIn(url, name, password) {
    return sdk.createClient({ baseUrl: url }).loginRequest(passwordAuth(name, password));
}

/** Open a session that registering or logging in gave, and follow /sync. */
export async function start(url, session) {
    await openSession(url, session);
    await here.client.startClient({ ...AS_ELEMENT_DOES, initialSyncLimit: 20, lazyLoadMembers: true });
    await until("the first sync", () => here.client.isInitialSyncComplete());
    return here.client.getSyncState();
}

export async function stop() {
    here.client.stopClient();
}

export async function logOut() {
    await here.client.logout(true);
    await here.client.clearStores();
}

export async function displayName(name) {
    await here.client.setDisplayName(name);
    return (await here.client.getProfileInfo(here.client.getUserId())).displayname;
}

/** Wait until the client is again in touch with a server that was away. */
export async function reconnect() {
    here.client.retryImmediately();
    return until("being in touch again", () => here.client.getSyncState() === "SYNCING");
}
