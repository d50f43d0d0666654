// What asks the server: JSON, server-sent events, and the key that a server may want.

let key = "";

export const useKey = (given) => { key = given.trim(); };

export class Refused extends Error {
  constructor(status, message, retryAfter = 1) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

// Shows the page's form for a key; its words go to a person, the server's to a program.
const keyWanted = () => {
  const form = document.getElementById("keys");
  form.hidden = false;
  document.getElementById("key-failed").hidden = key === "";
  return new Refused(401, form.dataset.wanted);
};

const brokenOff = () => new Refused(0, "The connection to the server broke off. Is it still running?");

const headers = (hasBody) => ({
  ...(hasBody ? { "content-type": "application/json" } : {}),
  ...(key === "" ? {} : { authorization: `Bearer ${key}` }),
});

const sent = async (path, body, signal, method = "POST") => {
  if (/[^\x20-\x7e]/.test(key)) throw keyWanted(); // no header can hold it, so no server can know it
  let response;
  try {
    response = await fetch(path, {
      method: body === undefined ? "GET" : method,
      headers: headers(body !== undefined),
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      keepalive: method === "PUT",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server can't be reached. Is it still running?");
  }
  if (response.status === 401) throw keyWanted();
  if (!response.ok) {
    const message = await response.json().then((found) => found.error.message, () => response.statusText);
    throw new Refused(response.status, message, Number(response.headers.get("retry-after") ?? 1));
  }
  return response;
};

const received = async (reading) => {
  try {
    return await reading;
  } catch (error) {
    throw error.name === "AbortError" ? error : brokenOff();
  }
};

export const ask = async (path, body, signal) => received((await sent(path, body, signal)).json());

// Goes on when the page is closed meanwhile.
export const put = async (path, body) => received((await sent(path, body, undefined, "PUT")).json());

// Yields {name, data} as they come in, up to "done" or "error"; a stream that ends before broke off.
export async function* events(path, body, signal) {
  const reader = (await sent(path, body, signal)).body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await received(reader.read());
    if (done) throw brokenOff();
    held += value;
    const blocks = held.split("\n\n");
    held = blocks.pop();
    for (const block of blocks) {
      const [first, second] = block.split("\n");
      const event = { name: first.slice("event: ".length), data: JSON.parse(second.slice("data: ".length)) };
      yield event;
      if (event.name === "done" || event.name === "error") return;
    }
  }
}

// The answer of a first question. Where a key is wanted, the page's form asks for it and has the focus.
export const admitted = async (path) => {
  document.getElementById("key-failed").hidden = true;
  try {
    const found = await ask(path);
    document.getElementById("keys").hidden = true;
    document.getElementById("failed").hidden = true;
    return found;
  } catch (error) {
    if (error.status === 401) document.getElementById("key").focus();
    throw error;
  }
};
