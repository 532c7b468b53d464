// Browsers that the tests drive: one Chromium, and a context of its own for each user's browser.
// Commands come as lines of JSON on standard input; each is answered by a line on standard output.
//
//   {"id": 1, "open": "alice"}                            a new browser with the client's page
//   {"id": 2, "in": "alice", "call": "say", "with": [...]} `window.client.say(...)` there
//   {"id": 3, "reload": "alice"}                          load the page anew; what is stored stays
//   {"id": 4, "traffic": "alice"}                         gives requests and bytes received since asked last
//   {"id": 5, "close": "alice"}                           gives the requests that failed there

import { readFile } from "node:fs/promises";
import http from "node:http";
import path from "node:path";
import readline from "node:readline";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";
import { chromium } from "playwright-core";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const WASM = "node_modules/@matrix-org/matrix-sdk-crypto-wasm/pkg/matrix_sdk_crypto_wasm_bg.wasm";
const CALL = path.join(HERE, "node_modules/@element-hq/element-call-embedded/dist");
const ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
    "--allow-loopback-in-peer-connection", "--autoplay-policy=no-user-gesture-required"];

const bundle = await build({
    entryPoints: [path.join(HERE, "page/client.js")],
    bundle: true,
    format: "esm",
    write: false,
    define: { global: "globalThis" },
    logLevel: "error",
});
const FILES = {
    "/": ["text/html", await readFile(path.join(HERE, "page/index.html"))],
    "/client.js": ["text/javascript", bundle.outputFiles[0].contents],
    "/pkg/matrix_sdk_crypto_wasm_bg.wasm": ["application/wasm", await readFile(path.join(HERE, WASM))],
    "/favicon.ico": ["image/x-icon", ""],
};

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm" };

/** A file of Element Call, below a folder named after the mode that its configuration tells. */
async function readCall(pathname) {
    const [, mode, file] = pathname.match(/^\/call\/(\w+)\/([\w./-]+)$/) ?? [];
    if (!file) return undefined;
    if (file === "config.json") return ["application/json", JSON.stringify({ matrix_rtc_mode: mode })];
    const content = await readFile(path.join(CALL, file)).catch(() => undefined);
    return content && [TYPES[path.extname(file)] ?? "application/octet-stream", content];
}

const site = http.createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://site");
    const [type, content] = FILES[pathname] ?? (await readCall(pathname)) ?? [];
    response.writeHead(type ? 200 : 404, { "Content-Type": type ?? "text/plain" });
    response.end(content);
});
await new Promise((resolve) => site.listen(0, "127.0.0.1", resolve));
const address = `http://127.0.0.1:${site.address().port}/`;

const browser = await chromium.launch({ executablePath: process.argv[2], args: ARGUMENTS });
const pages = new Map();

async function open(name) {
    const context = await browser.newContext({ permissions: ["camera", "microphone"] });
    const page = await context.newPage();
    const failed = [];
    context.on("response", (response) => {
        if (response.status() < 400) return;
        const { pathname } = new URL(response.url());
        failed.push(`${response.status()} ${response.request().method()} ${pathname}`);
    });
    page.on("pageerror", (error) => failed.push(`error in the page: ${error.message}`));
    pages.set(name, { context, page, failed, traffic: await watchTraffic(context, page) });
    await load(name);
}

/** Counts what comes from the server, in bytes as they are on the wire. */
async function watchTraffic(context, page) {
    const traffic = { requests: 0, bytes: 0 };
    const session = await context.newCDPSession(page);
    const fromServer = new Set();
    session.on("Network.responseReceived", ({ requestId, response }) => {
        if (!response.url.startsWith(address)) fromServer.add(requestId);
    });
    session.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
        if (!fromServer.delete(requestId)) return;
        traffic.requests += 1;
        traffic.bytes += encodedDataLength;
    });
    await session.send("Network.enable");
    return traffic;
}

function takeTraffic(name) {
    const { traffic } = pages.get(name);
    const taken = { ...traffic };
    Object.assign(traffic, { requests: 0, bytes: 0 });
    return taken;
}

async function load(name) {
    const { page } = pages.get(name);
    await page.goto(address);
    await page.waitForFunction(() => window.client);
}

async function call(name, action, parameters) {
    const { page } = pages.get(name);
    return page.evaluate(([name, values]) => window.client[name](...values), [action, parameters]);
}

async function close(name) {
    const { context, failed } = pages.get(name);
    pages.delete(name);
    await context.close();
    return failed;
}

async function obey(command) {
    if (command.open) return open(command.open);
    if (command.reload) return load(command.reload);
    if (command.traffic) return takeTraffic(command.traffic);
    if (command.close) return close(command.close);
    return call(command.in, command.call, command.with);
}

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
    const command = JSON.parse(line);
    const answer = { id: command.id };
    try {
        answer.result = (await obey(command)) ?? null;
    } catch (error) {
        answer.error = error.message;
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
}).on("close", async () => {
    await browser.close();
    site.close();
});
process.stdout.write(JSON.stringify({ id: 0, result: "ready" }) + "\n");
