import { admitted, ask, events, useKey } from "./client.js";
import { prepareBatch } from "./batch.js";
import { element, marked } from "./text.js";

const at = (id) => document.getElementById(id);
const percent = (value) => `${(100 * value).toFixed(1)}%`;
const whole = (value) => `${Math.round(100 * value)}%`;

let model = null;
let running = null;

// ---- the model, and the key that the server may want ----

const meet = async () => {
  const models = await admitted("/v1/models", fail);
  if (models === null) return;
  [model] = models.data;
  document.title = `${model.id} · clsgen`;
  at("model").textContent = model.id;
  at("about").textContent = model.labels.join(", ");
  at("restricted").hidden = !model.restricted;
  at("modes").hidden = !model.explains;
  at("batch-reasons").parentElement.hidden = !model.explains;
};

at("keys").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(at("key").value);
  at("key").value = "";
  meet();
});

const fail = (error) => {
  at("failed").textContent = error.message;
  at("failed").hidden = false;
};

// ---- one text ----

const showProbability = (result) => {
  const { probabilities, decision, threshold } = result;
  const positive = model.positive;
  at("none").hidden = true;
  at("found").hidden = false;
  at("decision").textContent = result.abstained ? `Left undecided: ${decision}?` : decision;
  at("by").textContent = threshold === null
    ? `The largest probability: ${percent(probabilities[decision])}.`
    : `Probability of “${positive}”: ${percent(probabilities[positive])}; decided from ${percent(threshold)} upwards.`;
  const shown = positive === null
    ? Object.entries(probabilities).sort((a, b) => b[1] - a[1])
    : [[positive, probabilities[positive]]];
  at("bars").replaceChildren(...shown.map(([label, value]) => bar(label, value, label === decision, threshold)));
  showSimilar(result.similar);
  const numCut = result.num_document_tokens_cut;
  at("cut").hidden = numCut === 0;
  at("cut").textContent = `The text was too long for the model: ${numCut.toLocaleString("en")} tokens were left out.`;
};

const bar = (label, value, isDecided, threshold) => {
  const made = element("div", `bar${isDecided || threshold !== null ? "" : " other"}`);
  const head = element("div", "head");
  head.append(element("span", "name", label), element("span", "value", percent(value)));
  const track = element("div", "track");
  const fill = element("div", "fill");
  fill.style.width = `${100 * value}%`;
  track.append(fill);
  track.setAttribute("role", "meter");
  track.setAttribute("aria-label", `Probability of ${label}`);
  for (const [name, number] of [["min", 0], ["max", 100], ["now", Math.round(1000 * value) / 10]]) {
    track.setAttribute(`aria-value${name}`, number);
  }
  track.setAttribute("aria-valuetext", percent(value));
  made.append(head, track);
  if (threshold !== null) {
    const tick = element("div", "tick");
    tick.style.left = `${100 * threshold}%`;
    track.append(tick);
    const scale = element("div", "scale");
    const name = element("span", "", `threshold ${percent(threshold)}`);
    if (threshold > 0.6) name.style.right = `${100 - 100 * threshold}%`;
    else name.style.left = `${100 * threshold}%`;
    scale.append(name);
    made.append(scale);
  }
  return made;
};

const showSimilar = (similar) => {
  at("similar").hidden = similar === null;
  if (similar === null) return;
  const window = `${whole(similar.from_probability)} to ${whole(similar.to_probability)}`;
  at("similar").textContent = similar.num_rows === 0
    ? `No calibration row had a similar probability (${window}): nothing backs this one.`
    : `Of ${similar.num_rows.toLocaleString("en")} calibration rows with a similar probability (${window}), `
      + `${similar.num_with_label.toLocaleString("en")} were “${similar.label}” `
      + `(95% interval ${whole(similar.low)} to ${whole(similar.high)}).`;
};

const showReason = (result, text) => {
  at("reason").classList.remove("writing");
  at("reason").textContent = result.explanation;
  const states = result.stated_label === null ? "It states no label." : `It states “${result.stated_label}”.`;
  at("stated").textContent = result.mode === "decision" ? "It was asked to argue for the decision." : states;
  if (!result.has_ended) at("stated").textContent += " It was cut off at the most it may write.";
  at("disagreement").hidden = result.agreement !== false;
  if (result.agreement === false) {
    at("disagreement").textContent = `The reason speaks for “${result.stated_label}”, the probability for `
      + `“${result.decision}”. Read the text yourself.`;
  }
  const { quotes } = result;
  at("document").replaceChildren(...marked(text, quotes.map(({ start, end }) => [start, end])));
  at("document-title").textContent = quotes.length === 0 ? "The text; the reason quotes nothing of it" : "What it quotes";
  document.querySelector("#document mark")?.scrollIntoView({ block: "nearest" });
};

const clear = () => {
  for (const id of ["failed", "found", "disagreement"]) at(id).hidden = true;
  for (const id of ["reason", "stated", "document"]) at(id).textContent = "";
  at("document-title").textContent = "The text";
};

const start = async () => {
  running?.abort();
  const mine = running = new AbortController();
  const mode = document.querySelector("input[name=mode]:checked").value;
  const text = at("text").value;
  const question = at("question").value;
  const texts = [{ text, question }];
  const isExplained = model !== null && model.explains && mode !== "none";
  clear();
  at("explained").hidden = !isExplained;
  at("stop").disabled = false;
  try {
    if (!isExplained) {
      const [result] = (await ask("/v1/classify", { texts }, mine.signal)).results;
      showProbability(result);
      remember(text, question, result);
      return;
    }
    for await (const { name, data } of events("/v1/explain/stream", { texts, mode }, mine.signal)) {
      if (name === "probability") {
        showProbability(data);
        at("reason").classList.add("writing");
        at("document").textContent = text;
      } else if (name === "text") {
        at("reason").textContent += data.text;
      } else if (name === "done") {
        showReason(data, text);
        remember(text, question, data);
      } else {
        fail(data);
      }
    }
  } catch (error) {
    if (error.name !== "AbortError") fail(error);
    if (error.status === 401) meet();
  } finally {
    if (running === mine) {
      at("stop").disabled = true;
      at("reason").classList.remove("writing");
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

const open = async (file) => { if (file !== undefined) at("text").value = await file.text(); };
at("file").addEventListener("change", () => open(at("file").files[0]));
at("text").addEventListener("dragover", (event) => { event.preventDefault(); at("text").classList.add("over"); });
at("text").addEventListener("dragleave", () => at("text").classList.remove("over"));
at("text").addEventListener("drop", (event) => {
  at("text").classList.remove("over");
  if (event.dataTransfer.files.length === 0) return; // a dropped selection of text goes in as ever
  event.preventDefault();
  open(event.dataTransfer.files[0]);
});

// ---- what was asked earlier: in this tab's memory alone ----

const remember = (text, question, result) => {
  const choice = element("button", "");
  choice.type = "button";
  const label = model.positive ?? result.decision;
  choice.append(
    element("span", "cut", text.slice(0, 200)),
    element("span", "value", `${result.decision} · ${label} ${percent(result.probabilities[label])}`),
  );
  choice.addEventListener("click", () => {
    running?.abort();
    clear();
    at("text").value = text;
    at("question").value = question;
    showProbability(result);
    at("explained").hidden = result.explanation === undefined;
    if (result.explanation !== undefined) showReason(result, text);
    at("answer").focus();
  });
  const item = element("li", "");
  item.append(choice);
  at("history").prepend(item);
  at("earlier").hidden = false;
};

prepareBatch({ model: () => model });
meet();
