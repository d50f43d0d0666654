import { addToReason, beginReason, breakReason, clear, fail, inShort, showProbability, showReason } from "./answer.js";
import { prepareBatch } from "./batch.js";
import { admitted, ask, events, useKey } from "./client.js";
import { textOf } from "./files.js";
import { element } from "./text.js";

const at = (id) => document.getElementById(id);

let model = null;
let running = null;
let asked = ""; // the last text that was asked, which the box may lose

// ---- the model, and the key that the server may want ----

const meet = async () => {
  if (model !== null) return model;
  const models = await admitted("/v1/models");
  [model] = models.data;
  document.title = `${model.id} · clsgen`;
  at("model").textContent = model.id;
  at("about").textContent = `Labels: ${model.labels.join(", ")}`;
  at("instruction").hidden = model.instruction === "";
  at("instruction").textContent = `Asked of every text: “${model.instruction}”`;
  at("restricted").hidden = !model.restricted;
  at("modes").hidden = !model.explains;
  at("batch-reasons").parentElement.hidden = !model.explains;
  return model;
};

const begin = () => meet().catch((error) => { if (error.status !== 401) fail(error); });

at("keys").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(at("key").value);
  at("key").value = "";
  model = null;
  begin();
});

// ---- one text ----

const start = async () => {
  running?.abort();
  const mine = running = new AbortController();
  const mode = document.querySelector("input[name=mode]:checked").value;
  const [text, question] = [at("text").value, at("question").value];
  asked = text;
  clear("Waiting for the probability …");
  at("stop").disabled = false;
  try {
    await meet();
    const isExplained = model.explains && mode !== "none";
    at("explained").hidden = !isExplained;
    await (isExplained ? explain : classify)({ text, question, mode, signal: mine.signal });
  } catch (error) {
    if (running !== mine) return;
    const isStopped = error.name === "AbortError";
    if (!isStopped) fail(error);
    if (at("found").hidden) at("none").textContent = "Stopped before the probability was there.";
    else if (at("reason").classList.contains("writing")) breakReason(isStopped ? "Stopped." : "Broken off.");
  } finally {
    if (running === mine) at("stop").disabled = true;
  }
};

const classify = async ({ text, question, signal }) => {
  const [result] = (await ask("/v1/classify", { texts: [{ text, question }] }, signal)).results;
  showProbability(result, model);
  remember(text, question, result);
};

const explain = async ({ text, question, mode, signal }) => {
  for await (const { name, data } of events("/v1/explain/stream", { texts: [{ text, question }], mode }, signal)) {
    if (name === "probability") {
      showProbability(data, model);
      beginReason(text);
    } else if (name === "text") {
      addToReason(data.text);
    } else if (name === "done") {
      showReason(data, text);
      remember(text, question, data);
    } else {
      throw new Error(data.message);
    }
  }
};

at("ask").addEventListener("submit", (event) => { event.preventDefault(); start(); });
at("stop").addEventListener("click", () => running?.abort());
at("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    at("ask").requestSubmit();
  }
});

// ---- files, opened or dropped anywhere on the page ----

const openText = async (file) => {
  at("file-failed").hidden = true;
  try {
    put(await textOf(file), "");
  } catch (error) {
    at("file-failed").textContent = error.message;
    at("file-failed").hidden = false;
  }
};

at("file").addEventListener("change", () => {
  const [file] = at("file").files;
  if (file !== undefined) openText(file);
  at("file").value = ""; // so that the same file, repaired, can be opened again
});

const openTable = prepareBatch({ meet });
const hasFiles = (event) => event.dataTransfer.types.includes("Files"); // a dropped selection goes in as ever

document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) document.body.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  document.body.classList.remove("over");
  if (!hasFiles(event)) return;
  event.preventDefault();
  const [file] = event.dataTransfer.files;
  if (file === undefined) return;
  if (/\.csv$/i.test(file.name)) openTable(file);
  else openText(file);
});

// ---- what was asked earlier: in this tab's memory alone ----

// Puts a text into the box; one that was never asked goes into the list first.
const put = (text, question) => {
  const draft = at("text").value;
  if (draft.trim() !== "" && draft !== asked && draft !== text) keepDraft(draft, at("question").value);
  at("text").value = text;
  at("question").value = question;
};

const remember = (text, question, result) => list(text, inShort(result, model.positive), () => {
  running?.abort();
  running = null;
  clear("");
  put(text, question);
  asked = text;
  at("stop").disabled = true;
  showProbability(result, model);
  at("explained").hidden = result.explanation === undefined;
  if (result.explanation !== undefined) showReason(result, text);
  at("answer").focus();
});

const keepDraft = (text, question) => {
  const item = list(text, "not asked yet", () => {
    item.remove();
    put(text, question);
    at("text").focus();
  });
};

const list = (text, short, choose) => {
  const choice = element("button", "");
  choice.type = "button";
  choice.append(element("span", "cut", text.slice(0, 300)), element("span", "value", short));
  choice.addEventListener("click", choose);
  const item = element("li", "");
  item.append(choice);
  at("history").prepend(item);
  at("earlier").hidden = false;
  return item;
};

begin();
