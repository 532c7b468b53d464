// Pictures, in the clear and encrypted.

import attachments from "matrix-encrypt-attachment";

import { here, joinedRoom, until } from "./here.js";
import { findMessage } from "./messages.js";

const FULL_SIZE = [undefined, undefined, undefined, false, true, true];

async function download(url) {
    const headers = { Authorization: `Bearer ${here.client.getAccessToken()}` };
    const answer = await fetch(url, { headers });
    if (!answer.ok) throw new Error(`${answer.status} for ${url}`);
    return answer.arrayBuffer();
}

export async function sendPicture(roomId, bytes, mimetype) {
    const blob = new Blob([new Uint8Array(bytes)], { type: mimetype });
    const { content_uri: url } = await here.client.uploadContent(blob, { name: "picture.png" });
    const info = { mimetype, size: blob.size };
    await here.client.sendMessage(roomId, { msgtype: "m.image", body: "a picture", url, info });
    return url;
}

export async function sendEncryptedPicture(roomId, bytes, mimetype) {
    const sealed = await attachments.encryptAttachment(new Uint8Array(bytes).buffer);
    const blob = new Blob([sealed.data], { type: "application/octet-stream" });
    const { content_uri: url } = await here.client.uploadContent(blob, { includeFilename: false });
    const file = { ...sealed.info, url };
    const info = { mimetype, size: bytes.length };
    await here.client.sendMessage(roomId, { msgtype: "m.image", body: "a secret picture", file, info });
    return url;
}

/** The bytes of the room's picture with this text, decrypted where it is encrypted. */
export async function seePicture(roomId, text) {
    const { file, url } = (await findMessage(roomId, text)).getContent();
    const bytes = await download(here.client.mxcUrlToHttp(file?.url ?? url, ...FULL_SIZE));
    return Array.from(new Uint8Array(file ? await attachments.decryptAttachment(bytes, file) : bytes));
}

/** Width and height of the thumbnail as the browser shows it. */
export async function seeThumbnail(url, width, height, method) {
    const address = here.client.mxcUrlToHttp(url, width, height, method, false, true, true);
    const bitmap = await createImageBitmap(new Blob([await download(address)]));
    return [bitmap.width, bitmap.height];
}

export async function setAvatar(bytes, mimetype) {
    const blob = new Blob([new Uint8Array(bytes)], { type: mimetype });
    const { content_uri: url } = await here.client.uploadContent(blob);
    await here.client.setAvatarUrl(url);
    return url;
}

export async function seeAvatar(roomId, userId) {
    const room = await joinedRoom(roomId);
    return until(`the avatar of ${userId}`, () => room.getMember(userId)?.getMxcAvatarUrl());
}

export async function uploadLimit() {
    return (await here.client.getMediaConfig(true))["m.upload.size"];
}
