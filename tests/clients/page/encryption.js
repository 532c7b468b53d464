// Encryption: recovery, and verifying users and devices.

import { VerificationPhase } from "matrix-js-sdk/lib/crypto-api/index.js";

import { here, passwordAuth, until } from "./here.js";

/** Set up cross-signing, secret storage and key backup; returns the recovery key. */
export async function setUpRecovery(password) {
    const crypto = here.client.getCrypto();
    const auth = passwordAuth(here.client.getUserId(), password);
    await crypto.bootstrapCrossSigning({
        authUploadDeviceSigningKeys: async (upload) => {
            await upload(null).catch((error) => {
                return upload({ ...auth, session: error.data.session });
            });
        },
    });
    const key = await crypto.createRecoveryKeyFromPassphrase();
    here.recoveryKey = key.privateKey;
    await crypto.bootstrapSecretStorage({
        createSecretStorageKey: async () => key,
        setupNewSecretStorage: true,
        setupNewKeyBackup: true,
    });
    await until("being ready", () => crypto.isCrossSigningReady());
    await until("secret storage", () => crypto.isSecretStorageReady());
    return Array.from(key.privateKey);
}

/** On a new device: verify it with the recovery key and fetch the keys from the backup. */
export async function recover(key) {
    here.recoveryKey = new Uint8Array(key);
    const crypto = here.client.getCrypto();
    await until("the user's keys", () => crypto.userHasCrossSigningKeys(here.client.getUserId(), true));
    await crypto.bootstrapCrossSigning({});
    await crypto.loadSessionBackupPrivateKeyFromSecretStorage();
    await crypto.checkKeyBackupAndEnable();
    return (await crypto.restoreKeyBackup()).imported;
}

/** Wait until so many room keys are in the backup; matrix-js-sdk takes up to 10 seconds. */
export async function backedUp(count) {
    return until(`${count} keys in the backup`, async () => {
        const backup = await here.client.http.authedRequest("GET", "/room_keys/version");
        return backup.count === count;
    });
}

export async function isDeviceVerified(userId, deviceId) {
    const status = await here.client.getCrypto().getDeviceVerificationStatus(userId, deviceId);
    return Boolean(status?.crossSigningVerified);
}

export async function seeDeviceVerified(userId, deviceId) {
    await until(`${deviceId} being verified`, () => isDeviceVerified(userId, deviceId));
}

export async function seeUserVerified(userId) {
    await until(`${userId} being verified`, async () => {
        const status = await here.client.getCrypto().getUserVerificationStatus(userId);
        return status.isCrossSigningVerified();
    });
}

export async function askToVerify(userId, roomId) {
    here.verificationRequest = await here.client.getCrypto().requestVerificationDM(userId, roomId);
}

export async function askOwnDevices() {
    here.verificationRequest = await here.client.getCrypto().requestOwnUserVerification();
}

export async function acceptVerification() {
    await until("the request", () => here.verificationRequest);
    await here.verificationRequest.accept();
}

export async function startEmoji() {
    await until("readiness", () => here.verificationRequest.phase === VerificationPhase.Ready);
    await here.verificationRequest.startVerification("m.sas.v1");
}

export async function seeEmoji() {
    const verifier = await until("the start", () => here.verificationRequest.verifier);
    verifier.verify().catch(() => {});
    here.sas = await until("the emoji", () => verifier.getShowSasCallbacks());
    return here.sas.sas.emoji.map(([emoji]) => emoji).join(" ");
}

export async function confirmEmoji() {
    await here.sas.confirm();
}

export async function seeVerified() {
    await until("the end", () => here.verificationRequest.phase === VerificationPhase.Done);
}

/** Wait until all private keys of cross-signing and that of the backup are here. */
export async function seeSecrets() {
    const crypto = here.client.getCrypto();
    await until("the secrets", async () => {
        const { privateKeysCachedLocally: cached } = await crypto.getCrossSigningStatus();
        const backupKey = await crypto.getSessionBackupPrivateKey();
        return Object.values(cached).every(Boolean) && backupKey;
    });
}
