// A Matrix client without a face: what Element Web does with matrix-js-sdk, by name, for the tests.
// Each property of `window.client` is something that a user does or sees; answers are plain JSON.

import { logger } from "matrix-js-sdk/lib/logger.js";

import * as accounts from "./accounts.js";
import * as calls from "./calls.js";
import * as encryption from "./encryption.js";
import * as media from "./media.js";
import * as messages from "./messages.js";
import * as rooms from "./rooms.js";
import * as sliding from "./sliding.js";

logger.disableAll();

window.client = { ...accounts, ...rooms, ...messages, ...encryption, ...media, ...sliding, ...calls };
