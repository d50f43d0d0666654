// Many texts in requests that keep to a server's limits: none is lost for another one's sake.

import { ask } from "./client.js";

const MOST_TEXTS = 16; // a request, so that progress is seen
const HEADROOM_BYTES = 64; // of a body besides its texts
const MOST_FAILURES = 10; // of the server in a row: then it is not the texts' fault

const sentOf = ({ line, text }) => ({ id: `line ${line}`, text });
const numBytes = (each) => new TextEncoder().encode(JSON.stringify(sentOf(each))).length + 1;

const pause = (seconds, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, 1000 * seconds);
  signal.addEventListener("abort", () => { clearTimeout(timer); reject(new DOMException("", "AbortError")); });
});

// Pieces of {line, text}, and what no request can hold.
const pieces = (texts, limits, tell) => {
  const most = Math.min(MOST_TEXTS, limits.texts, limits.queued);
  const room = limits.body_bytes - HEADROOM_BYTES;
  const made = [];
  let left = 0;
  for (const each of texts) {
    const bytes = numBytes(each);
    if (bytes > room) {
      tell.problem(each, `the text has ${bytes.toLocaleString("en")} bytes; this server takes at most `
        + `${room.toLocaleString("en")}.`);
      continue;
    }
    if (made.length === 0 || bytes > left || made.at(-1).length === most) {
      made.push([]);
      left = room;
    }
    made.at(-1).push(each);
    left -= bytes;
  }
  return made;
};

// A full queue is waited for; everything else is told.
const asked = async (path, piece, { signal, tell }) => {
  const texts = piece.map(sentOf);
  for (;;) {
    try {
      return (await ask(path, { texts }, signal)).results;
    } catch (error) {
      if (error.status !== 429) throw error;
      tell.waiting(error.retryAfter);
      await pause(error.retryAfter, signal);
    }
  }
};

// Answers every text or says why not: tell.found(text, result), tell.problem(text, reason), tell.waiting(seconds).
// Throws what no other text would change: an unreachable server, a key, Stop.
export const askAll = async (path, texts, { limits, signal, tell }) => {
  const waiting = pieces(texts, limits, tell);
  let numFailures = 0;
  while (waiting.length > 0) {
    const piece = waiting.shift();
    try {
      const results = await asked(path, piece, { signal, tell });
      results.forEach((result, place) => tell.found(piece[place], result));
      numFailures = 0;
    } catch (error) {
      if (![400, 413, 422, 500, 504].includes(error.status)) throw error;
      if (piece.length > 1) {
        const half = Math.ceil(piece.length / 2);
        waiting.unshift(piece.slice(0, half), piece.slice(half)); // one text may spoil it for the others
        continue;
      }
      tell.problem(piece[0], error.message);
      numFailures += error.status >= 500;
      if (numFailures === MOST_FAILURES) throw error;
    }
  }
};
