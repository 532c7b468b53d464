// Group calls: Element Call as a widget in the page, as Element Web has it, and what it may ask of us.

import * as sdk from "matrix-js-sdk";
import { ClientWidgetApi, OpenIDRequestState, Widget, WidgetDriver } from "matrix-widget-api";

import { here, joinedRoom, until } from "./here.js";

const MEMBER = "org.matrix.msc3401.call.member";
const TOLD_BY_THE_WIDGET = ["io.element.join", "im.vector.hangup", "io.element.close",
    "set_always_on_screen", "io.element.device_mute"];

/** Does for the widget what it asks of the Matrix client around it. */
class Host extends WidgetDriver {
    constructor(roomId) {
        super();
        this.roomId = roomId;
    }

    async validateCapabilities(wanted) {
        return wanted;
    }

    async sendEvent(type, content, stateKey = null) {
        const { event_id: eventId } = stateKey === null
            ? await here.client.sendEvent(this.roomId, type, content)
            : await here.client.sendStateEvent(this.roomId, type, content, stateKey);
        return { roomId: this.roomId, eventId };
    }

    async sendStickyEvent(durationMs, type, content) {
        const { event_id: eventId } = await here.client._unstable_sendStickyEvent(
            this.roomId, durationMs, null, type, content);
        return { roomId: this.roomId, eventId };
    }

    async sendDelayedEvent(delay, type, content, stateKey = null) {
        const { delay_id: delayId } = stateKey === null
            ? await here.client._unstable_sendDelayedEvent(this.roomId, { delay }, null, type, content)
            : await here.client._unstable_sendDelayedStateEvent(this.roomId, { delay }, type, content, stateKey);
        return { roomId: this.roomId, delayId };
    }

    async sendDelayedStickyEvent(delay, durationMs, type, content) {
        const { delay_id: delayId } = await here.client._unstable_sendStickyDelayedEvent(
            this.roomId, durationMs, { delay }, null, type, content);
        return { roomId: this.roomId, delayId };
    }

    async cancelScheduledDelayedEvent(delayId) {
        await here.client._unstable_cancelScheduledDelayedEvent(delayId);
    }

    async restartScheduledDelayedEvent(delayId) {
        await here.client._unstable_restartScheduledDelayedEvent(delayId);
    }

    async sendScheduledDelayedEvent(delayId) {
        await here.client._unstable_sendScheduledDelayedEvent(delayId);
    }

    async sendToDevice(type, encrypted, contents) {
        if (!encrypted) throw new Error(`${type} is not for everybody to read`);
        for (const [userId, devices] of Object.entries(contents)) {
            for (const [deviceId, content] of Object.entries(devices)) {
                const batch = await here.client.getCrypto()
                    .encryptToDeviceMessages(type, [{ userId, deviceId }], content);
                await here.client.queueToDevice(batch);
            }
        }
    }

    async readRoomTimeline(roomId, type, msgtype, stateKey, limit) {
        const events = here.client.getRoom(roomId).getLiveTimeline().getEvents();
        return events
            .filter((event) => event.getType() === type)
            .filter((event) => stateKey === undefined || event.getStateKey() === stateKey)
            .slice(limit ? -limit : 0)
            .map((event) => event.getEffectiveEvent());
    }

    async readRoomState(roomId, type, stateKey) {
        const events = state(roomId).getStateEvents(type);
        return events
            .filter((event) => stateKey === undefined || event.getStateKey() === stateKey)
            .map((event) => event.getEffectiveEvent());
    }

    async readStickyEvents(roomId) {
        const events = here.client.getRoom(roomId)._unstable_getStickyEvents();
        return Array.from(events, (event) => event.getEffectiveEvent());
    }

    askOpenID(observer) {
        here.client.getOpenIdToken().then(
            (token) => observer.update({ state: OpenIDRequestState.Allowed, token }));
    }

    async getRtcTransports() {
        return { rtc_transports: await here.client._unstable_getRTCTransports() };
    }

    async getRtcLivekitToken(request) {
        return here.client._unstable_getLivekitToken(request);
    }

    async delegateRtcLivekitDelayedLeave(request) {
        return here.client._unstable_delegateDelayedLeave(request);
    }

    getKnownRooms() {
        return [this.roomId];
    }

    processError(error) {
        return error instanceof sdk.MatrixError
            ? { matrix_api_error: error.asWidgetApiErrorData() }
            : undefined;
    }
}

let call;

function state(roomId) {
    return here.client.getRoom(roomId).getLiveTimeline().getState(sdk.EventTimeline.FORWARDS);
}

/** Open Element Call in the room and join the call there. `mode` is its `matrix_rtc_mode`. */
export async function joinCall(roomId, intent, mode = "compatibility") {
    await joinedRoom(roomId);
    const frame = document.createElement("iframe");
    frame.allow = "microphone; camera";
    [frame.width, frame.height] = [1200, 700]; // a smaller call leaves out one's own picture
    document.body.append(frame);
    const url = new URL(`call/${mode}/index.html`, window.location.href);
    const widget = new Widget({
        id: "call", type: "m.call", url: url.href, creatorUserId: here.client.getUserId(), data: {},
        waitForIframeLoad: false,
    });
    call = { frame, api: new ClientWidgetApi(widget, frame, new Host(roomId)) };
    call.api.setViewedRoomId(roomId);
    for (const action of TOLD_BY_THE_WIDGET) {
        call.api.on(`action:${action}`, (event) => {
            event.preventDefault();
            call.api.transport.reply(event.detail, {});
        });
    }
    feedWidget(roomId);
    url.search = new URLSearchParams({ widgetId: "call", parentUrl: window.location.href });
    url.hash = "?" + new URLSearchParams({
        roomId, intent, userId: here.client.getUserId(), deviceId: here.client.getDeviceId(),
        baseUrl: here.client.baseUrl, perParticipantE2EE: true, lang: "en", header: "none",
    });
    frame.src = url.href;
    (await until("the lobby", () => inCall("[data-testid=lobby_joinCall]:not([aria-disabled=true])")[0])).click();
}

/** Tell the widget what happens in the room and what is sent to this device. */
function feedWidget(roomId) {
    const feed = (event) => {
        const isReadable = !event.isBeingDecrypted() && !event.isDecryptionFailure();
        if (event.getRoomId() === roomId && isReadable) call.api.feedEvent(event.getEffectiveEvent());
    };
    here.client.on(sdk.ClientEvent.Event, (event) => event.isState() || feed(event));
    here.client.on(sdk.MatrixEventEvent.Decrypted, feed);
    here.client.on(sdk.RoomStateEvent.Events, (event) => {
        if (event.getRoomId() === roomId) call.api.feedStateUpdate(event.getEffectiveEvent());
    });
    here.client.on(sdk.ClientEvent.ReceivedToDeviceMessage, ({ message, encryptionInfo }) => {
        call.api.feedToDevice(message, encryptionInfo !== null);
    });
}

function inCall(selector) {
    return Array.from(call.frame.contentDocument?.querySelectorAll(selector) ?? []);
}

/** Wait until so many pictures move: one's own, and those of the others. */
export async function seeMoving(count) {
    await until(`${count} moving pictures`, async () => {
        const pictures = inCall("video").filter((video) => video.videoWidth);
        const before = pictures.map((video) => video.currentTime);
        await new Promise((resolve) => setTimeout(resolve, 250));
        return pictures.filter((video, at) => video.currentTime > before[at]).length >= count;
    });
}

/** Wait until there is nobody else in the call. */
export async function seeAlone() {
    await until("being alone", () => inCall("video").length === 1);
}

export async function hangUp() {
    await call.api.transport.send("im.vector.hangup", {});
}

/** Wait until these users, and nobody else, are in the call by what the room's state says. */
export async function seeInCall(roomId, userIds) {
    await until(`${userIds} in the call`, () => {
        const members = state(roomId).getStateEvents(MEMBER)
            .filter((event) => Object.keys(event.getContent()).length)
            .map((event) => event.getSender());
        return JSON.stringify(members.sort()) === JSON.stringify([...userIds].sort());
    });
}
