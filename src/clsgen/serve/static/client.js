// What asks the server: JSON, server-sent events, and the key that a server may want.

let key = "";

export const useKey = (given) => { key = given; };

export class Refused extends Error {
  constructor(status, message, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

const headers = (hasBody) => ({
  ...(hasBody ? { "content-type": "application/json" } : {}),
  ...(key === "" ? {} : { authorization: `Bearer ${key}` }),
});

const sent = async (path, body, signal, method = "POST") => {
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
  if (!response.ok) {
    const message = await response.json().then((found) => found.error.message, () => response.statusText);
    throw new Refused(response.status, message, Number(response.headers.get("retry-after") ?? 1));
  }
  return response;
};

export const ask = async (path, body, signal) => (await sent(path, body, signal)).json();

// Goes on when the page is closed meanwhile.
export const put = async (path, body) => (await sent(path, body, undefined, "PUT")).json();

// Yields {name, data} as they come in.
export async function* events(path, body, signal) {
  const reader = (await sent(path, body, signal)).body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const blocks = held.split("\n\n");
    held = blocks.pop();
    for (const block of blocks) {
      const [first, second] = block.split("\n");
      yield { name: first.slice("event: ".length), data: JSON.parse(second.slice("data: ".length)) };
    }
  }
}

// The answer of a first question; null where a key is wanted, which the page's form then asks for, or it failed.
export const admitted = async (path, fail) => {
  const keys = document.getElementById("keys");
  try {
    const found = await ask(path);
    keys.hidden = true;
    document.getElementById("failed").hidden = true;
    return found;
  } catch (error) {
    keys.hidden = error.status !== 401;
    if (error.status === 401) document.getElementById("key").focus();
    else fail(error);
    return null;
  }
};
