// The answer to one text: the decision, its probability, the reason, what it quotes.

import { element, marked } from "./text.js";

const at = (id) => document.getElementById(id);
const percent = (value) => `${(100 * value).toFixed(1)}%`;
const whole = (value) => `${Math.round(100 * value)}%`;

export const fail = (error) => {
  at("failed").textContent = error.message;
  at("failed").hidden = false;
  if (at("found").hidden) at("none").hidden = true;
};

// Says what is waited for, or "" for nothing.
export const clear = (waiting) => {
  for (const id of ["failed", "found", "disagreement"]) at(id).hidden = true;
  for (const id of ["reason", "stated", "document"]) at(id).textContent = "";
  at("reason").classList.remove("incomplete");
  at("document-title").textContent = "The text";
  at("none").hidden = waiting === "";
  at("none").textContent = waiting;
};

// A decision in a few words, with the probability that it rests on.
export const inShort = ({ decision, abstained, probabilities }, positive) => {
  const label = positive ?? decision;
  const shown = `${label} ${percent(probabilities[label])}`;
  if (abstained) return `undecided (${shown})`;
  return label === decision ? shown : `${decision} (${shown})`;
};

export const showProbability = (result, model) => {
  const { probabilities, decision, threshold, abstained } = result;
  at("none").hidden = true;
  at("found").hidden = false;
  at("decision").textContent = abstained ? "undecided" : decision;
  at("remaining").hidden = !abstained;
  if (abstained) at("remaining").textContent = remaining(result.label_set);
  const shown = model.positive === null
    ? Object.entries(probabilities).sort((a, b) => b[1] - a[1])
    : [[model.positive, probabilities[model.positive]]];
  at("bars").replaceChildren(...shown.map(([label, value]) => {
    const isDecided = label === decision && !abstained;
    if (threshold === null) return bar(label, label, value, { isStrong: isDecided });
    return bar(isDecided ? "Its probability" : `Probability of “${label}”`, label, value, { isStrong: true, threshold });
  }));
  showSimilar(result.similar);
  const numCut = result.num_document_tokens_cut;
  at("cut").hidden = numCut === 0;
  at("cut").textContent = `The text was too long for the model: ${numCut.toLocaleString("en")} tokens were left out.`;
};

const remaining = (labels) => labels.length === 0
  ? "No label is likely enough for a text like this."
  : `Can't be excluded: ${labels.map((label) => `“${label}”`).join(", ")}.`;

const bar = (name, label, value, { isStrong, threshold = null }) => {
  const made = element("div", `bar${isStrong ? "" : " other"}`);
  const head = element("div", "head");
  head.append(element("span", "name", name), element("span", "value", percent(value)));
  const track = element("div", "track");
  const fill = element("div", "fill");
  fill.style.width = `${100 * value}%`;
  track.append(fill);
  track.setAttribute("role", "meter");
  track.setAttribute("aria-label", `Probability of ${label}`);
  for (const [kind, number] of [["min", 0], ["max", 100], ["now", Math.round(1000 * value) / 10]]) {
    track.setAttribute(`aria-value${kind}`, number);
  }
  track.setAttribute("aria-valuetext", percent(value));
  made.append(head, track);
  if (threshold !== null) {
    const tick = element("div", "tick");
    tick.style.left = `${100 * threshold}%`;
    track.append(tick);
    const scale = element("div", "scale");
    const words = element("span", "", `threshold ${percent(threshold)}`);
    if (threshold > 0.5) words.style.right = `${100 - 100 * threshold}%`;
    else words.style.left = `${100 * threshold}%`;
    scale.append(words);
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

// A reason that is being written.
export const beginReason = (text) => {
  at("reason").classList.add("writing");
  at("document").textContent = text;
};

export const addToReason = (text) => { at("reason").textContent += text; };

// A reason that nobody will end: what is there of it stays, and says so.
export const breakReason = (why) => {
  at("reason").classList.remove("writing");
  at("reason").classList.add("incomplete");
  at("stated").textContent = `${why} The reason is incomplete.`;
};

export const showReason = (result, text) => {
  at("reason").classList.remove("writing");
  at("reason").textContent = result.explanation;
  at("reason").classList.toggle("incomplete", !result.has_ended);
  const states = result.stated_label === null ? "It states no label." : `It states “${result.stated_label}”.`;
  at("stated").textContent = result.mode === "decision" ? "It was asked to argue for the decision." : states;
  if (!result.has_ended) at("stated").textContent += " It was cut off at the most it may write: it is incomplete.";
  at("disagreement").hidden = result.agreement !== false;
  if (result.agreement === false) {
    at("disagreement").textContent = `The reason speaks for “${result.stated_label}”, the probability for `
      + `“${result.decision}”. Read the text yourself.`;
  }
  const { quotes } = result;
  at("document").replaceChildren(...marked(text, quotes.map(({ start, end }) => [start, end])));
  at("document-title").textContent = quotes.length === 0 ? "The text; the reason quotes nothing of it" : "What it quotes";
  const first = at("document").querySelector("mark");
  at("document").scrollTop = first === null ? 0 : first.offsetTop - at("document").clientHeight / 3;
};
