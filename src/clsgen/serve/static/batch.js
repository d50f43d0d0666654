// A file of many texts: asked piece by piece, given back with the answers in new columns.

import { parsed, written } from "./csv.js";
import { textOf } from "./files.js";
import { askAll } from "./pieces.js";

const SHOWN_PROBLEMS = 5;
const at = (id) => document.getElementById(id);
const counted = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

const PROBABILITY = [
  ["decision", (result) => result.decision],
  ["threshold", (result) => result.threshold],
  ["undecided", (result) => result.abstained],
  ["tokens_cut", (result) => result.num_document_tokens_cut],
];
const REASON = [
  ["reason", (result) => result.explanation],
  ["reason_ended", (result) => result.has_ended],
  ["stated_label", (result) => result.stated_label],
  ["agreement", (result) => result.agreement],
];

// Gives what opens a file.
export const prepareBatch = ({ meet }) => {
  let rows = []; // {line, fields}, the names first
  let running = null;
  let address = null;

  const fail = (message) => {
    at("batch-failed").textContent = message;
    at("batch-failed").hidden = message === "";
  };

  const open = async (file) => {
    running?.abort();
    running = null;
    Object.assign(at("run"), { disabled: false });
    Object.assign(at("halt"), { disabled: true });
    for (const id of ["batch-options", "batch-given", "batch-contract", "batch-progress"]) at(id).hidden = true;
    at("batch-status").textContent = "";
    at("table-name").textContent = file.name;
    fail("");
    try {
      rows = parsed(await textOf(file));
    } catch (error) {
      fail(error.message);
      return;
    }
    const names = rows[0].fields;
    at("column").replaceChildren(...names.map((name, number) => new Option(name, number)));
    const lengths = names.map((_, column) => rows.slice(1, 50).reduce((sum, row) => sum + textIn(row, column).length, 0));
    at("column").value = lengths.indexOf(Math.max(...lengths));
    at("batch-options").hidden = false;
    at("batch-status").textContent = `${counted(rows.length - 1, "row", "rows")}.`;
  };

  const textIn = ({ fields }, column) => fields[column] ?? "";

  const run = async () => {
    const mine = running = new AbortController();
    const column = Number(at("column").value);
    const hasReasons = at("batch-reasons").checked;
    const [found, problems] = [new Map(), new Map()]; // by line
    const all = rows.slice(1).map((row) => ({ line: row.line, text: textIn(row, column) }));
    const full = all.filter(({ text }) => text.trim() !== "");
    const say = (more = "") => {
      at("batch-progress").value = found.size + problems.size;
      at("batch-status").textContent = `${found.size} of ${counted(full.length, "text", "texts")} answered.${more}`;
    };
    begin(full.length, hasReasons);
    let [end, why, model] = ["", "", null];
    try {
      model = await meet();
      await askAll(hasReasons ? "/v1/explain" : "/v1/classify", full, {
        limits: model.limits,
        signal: mine.signal,
        tell: {
          found: ({ line }, result) => { found.set(line, result); say(); },
          problem: ({ line }, reason) => { problems.set(line, reason); say(); },
          waiting: (seconds) => say(` The server is busy; asking again in ${counted(seconds, "second", "seconds")}.`),
        },
      });
    } catch (error) {
      if (error.name === "AbortError") end = " Stopped.";
      else why = error.message;
    }
    if (running !== mine) return; // another file was opened meanwhile
    Object.assign(at("run"), { disabled: false });
    Object.assign(at("halt"), { disabled: true });
    say(end + inSum(found, all.length - full.length));
    fail([...problemLines(problems), why].filter(Boolean).join("\n"));
    const isTold = found.size + problems.size > 0;
    for (const { line, text } of all) {
      if (text.trim() === "") problems.set(line, "blank");
      else if (!found.has(line) && !problems.has(line)) problems.set(line, "not asked");
    }
    if (isTold) offer(found, problems, { labels: model.labels, hasReasons });
  };

  const begin = (numTexts, hasReasons) => {
    Object.assign(at("batch-progress"), { max: numTexts, value: 0, hidden: false });
    Object.assign(at("run"), { disabled: true });
    Object.assign(at("halt"), { disabled: false });
    at("batch-status").textContent = `${counted(numTexts, "text", "texts")} to answer.`;
    at("batch-contract").hidden = !hasReasons;
    at("batch-given").hidden = true;
    fail("");
  };

  const offer = (found, problems, { labels, hasReasons }) => {
    const [decision, ...rest] = PROBABILITY;
    const columns = [
      decision,
      ...labels.map((label) => [`p_${label}`, (result) => result.probabilities[label]]),
      ...rest,
      ...(hasReasons ? REASON : []),
    ];
    const lines = rows.slice(1).map((row) => {
      const result = found.get(row.line);
      const given = columns.map(([, value]) => result === undefined ? "" : value(result));
      return [...rows[0].fields.map((_, column) => textIn(row, column)), ...given, problems.get(row.line)];
    });
    const names = [...rows[0].fields, ...columns.map(([name]) => name), "problem"];
    if (address !== null) URL.revokeObjectURL(address);
    address = URL.createObjectURL(new Blob([written([names, ...lines])], { type: "text/csv" }));
    at("download").href = address;
    at("download").download = at("table-name").textContent.replace(/(\.csv)?$/i, ".answers.csv");
    at("batch-given").hidden = false;
  };

  at("table").addEventListener("change", () => {
    const [file] = at("table").files;
    if (file !== undefined) open(file);
    at("table").value = ""; // so that the same file, repaired, can be opened again
  });
  at("batch").addEventListener("submit", (event) => { event.preventDefault(); run(); });
  at("halt").addEventListener("click", () => running?.abort());
  return open;
};

// What a reader of the answers must know of all of them.
const inSum = (found, numBlank) => {
  const results = [...found.values()];
  const numCut = results.filter((each) => each.num_document_tokens_cut > 0).length;
  const numOpen = results.filter((each) => each.has_ended === false).length;
  return (numBlank === 0 ? "" : ` ${counted(numBlank, "blank one was", "blank ones were")} left out.`)
    + (numCut === 0 ? "" : ` ${counted(numCut, "text was", "texts were")} too long for the model and cut.`)
    + (numOpen === 0 ? "" : ` ${counted(numOpen, "reason was", "reasons were")} cut off.`);
};

const problemLines = (problems) => {
  const lines = [...problems].map(([line, reason]) => `Line ${line}: ${reason}`);
  const numMore = lines.length - SHOWN_PROBLEMS;
  return numMore <= 0
    ? lines
    : [...lines.slice(0, SHOWN_PROBLEMS), `${numMore.toLocaleString("en")} more are named in the answers' last column.`];
};
