import { ask } from "./client.js";

const PIECE = 16; // texts a request
const at = (id) => document.getElementById(id);

// Rows of a CSV file: quoted fields may hold commas, quotes ("") and line breaks; a semicolon or tab may part fields.
export const parsed = (text) => {
  const plain = text.replace(/^\uFEFF/, "");
  const head = plain.slice(0, Math.max(0, plain.search(/\r?\n|$/)));
  const mark = [",", ";", "\t"].sort((a, b) => head.split(b).length - head.split(a).length)[0];
  const rows = [];
  let row = [];
  let field = "";
  let isQuoted = false;
  const endField = () => { row.push(field); field = ""; };
  const endRow = () => { endField(); if (row.length > 1 || row[0] !== "") rows.push(row); row = []; };
  for (let i = 0; i < plain.length; i += 1) {
    const letter = plain[i];
    if (isQuoted) {
      if (letter !== '"') field += letter;
      else if (plain[i + 1] === '"') { field += '"'; i += 1; }
      else isQuoted = false;
    } else if (letter === '"' && field === "") isQuoted = true;
    else if (letter === mark) endField();
    else if (letter === "\n") endRow();
    else if (letter !== "\r" || plain[i + 1] !== "\n") field += letter;
  }
  if (isQuoted) throw new Error("A quotation mark of the file is never closed. Repair the file.");
  if (field !== "" || row.length > 0) endRow();
  return rows;
};

// A spreadsheet must not take a text for a formula.
const cell = (value) => {
  const text = value === null || value === undefined ? "" : String(value);
  const safe = /^[=+@\t\r]|^-(?!\d)/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};

export const written = (rows) => rows.map((row) => row.map(cell).join(",") + "\r\n").join("");

const pause = (seconds, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, 1000 * seconds);
  signal.addEventListener("abort", () => { clearTimeout(timer); reject(new DOMException("", "AbortError")); });
});

// A full queue is waited for; everything else is told.
const asked = async (path, body, signal) => {
  for (;;) {
    try {
      return (await ask(path, body, signal)).results;
    } catch (error) {
      if (error.status !== 429) throw error;
      await pause(error.retryAfter, signal);
    }
  }
};

export const prepareBatch = ({ model }) => {
  let rows = [];
  let running = null;
  let address = null;

  const fail = (error) => {
    at("batch-failed").textContent = error.message;
    at("batch-failed").hidden = false;
  };

  at("table").addEventListener("change", async () => {
    const file = at("table").files[0];
    if (file === undefined) return;
    running?.abort();
    at("batch-failed").hidden = true;
    at("download").hidden = true;
    at("batch-progress").hidden = true;
    at("table-name").textContent = file.name;
    try {
      rows = parsed(await file.text());
      if (rows.length < 2) throw new Error("The file must hold a line of names and a row or more.");
    } catch (error) {
      at("batch-options").hidden = true;
      fail(error);
      return;
    }
    const names = rows[0];
    at("column").replaceChildren(...names.map((name, number) => new Option(name, number)));
    const lengths = names.map((_, column) => rows.slice(1, 50).reduce((sum, row) => sum + (row[column] ?? "").length, 0));
    at("column").value = lengths.indexOf(Math.max(...lengths));
    at("batch-options").hidden = false;
    at("batch-status").textContent = `${rows.length - 1} rows.`;
  });

  const run = async () => {
    const mine = running = new AbortController();
    const column = Number(at("column").value);
    const hasReasons = at("batch-reasons").checked;
    const path = hasReasons ? "/v1/explain" : "/v1/classify";
    const body = rows.slice(1).map((row, number) => ({ number, text: row[column] ?? "" }));
    const full = body.filter(({ text }) => text.trim() !== "");
    const found = new Map();
    const [bar, status] = [at("batch-progress"), at("batch-status")];
    Object.assign(bar, { max: full.length, value: 0, hidden: false });
    Object.assign(at("run"), { disabled: true });
    Object.assign(at("halt"), { disabled: false });
    at("batch-failed").hidden = true;
    at("download").hidden = true;
    let end = "";
    try {
      for (let start = 0; start < full.length; start += PIECE) {
        const piece = full.slice(start, start + PIECE);
        const results = await asked(path, { texts: piece.map(({ text }) => text) }, mine.signal);
        results.forEach((result, place) => found.set(piece[place].number, result));
        bar.value = found.size;
        status.textContent = `${found.size} of ${full.length} texts answered.`;
      }
    } catch (error) {
      if (error.name === "AbortError") end = " Stopped.";
      else fail(error);
    }
    Object.assign(at("run"), { disabled: false });
    Object.assign(at("halt"), { disabled: true });
    const numBlank = body.length - full.length;
    status.textContent = `${found.size} of ${full.length} texts answered.${end}`
      + (numBlank === 0 ? "" : ` ${numBlank} blank ones were left out.`);
    if (found.size > 0) offer(found, hasReasons);
  };

  const offer = (found, hasReasons) => {
    const { labels } = model();
    const names = ["decision", ...labels.map((label) => `p_${label}`), "threshold", "undecided"];
    const more = hasReasons ? ["reason", "stated_label", "agreement"] : [];
    const lines = rows.slice(1).map((row, number) => {
      const result = found.get(number);
      const padded = rows[0].map((_, column) => row[column] ?? "");
      if (result === undefined) return [...padded, ...[...names, ...more].map(() => "")];
      const reasons = hasReasons ? [result.explanation, result.stated_label, result.agreement] : [];
      const probabilities = labels.map((label) => result.probabilities[label]);
      return [...padded, result.decision, ...probabilities, result.threshold, result.abstained, ...reasons];
    });
    if (address !== null) URL.revokeObjectURL(address);
    address = URL.createObjectURL(new Blob([written([[...rows[0], ...names, ...more], ...lines])], { type: "text/csv" }));
    const link = at("download");
    link.href = address;
    link.download = at("table-name").textContent.replace(/(\.csv)?$/i, ".answers.csv");
    link.hidden = false;
  };

  at("batch").addEventListener("submit", (event) => { event.preventDefault(); run(); });
  at("halt").addEventListener("click", () => running?.abort());
};
