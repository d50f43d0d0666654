import { admitted, ask, put, useKey } from "./client.js";
import { element, marked } from "./text.js";

const at = (id) => document.getElementById(id);
const NAMES = ["First", "Second"];

let items = []; // {id, is_complete} in this reviewer's order
let place = 0;
let current = null;
let startedAt = 0;
let sending = Promise.resolve();
let timer = null;

const fail = (error) => {
  at("failed").textContent = error.status === 0 || error.status >= 500
    ? `Not kept: ${error.message} Your last choice will be sent again with the next one.`
    : error.message;
  at("failed").hidden = false;
};

// ---- who, and where they stopped ----

const begin = async (token) => {
  useKey(token);
  const study = await admitted("/api/study", fail);
  if (study === null) return;
  history.replaceState(null, "", `#${encodeURIComponent(token)}`); // a reload goes on; a fragment is sent to nobody
  document.title = study.title;
  at("title").textContent = study.title;
  at("who").textContent = study.reviewer;
  at("instruction").textContent = `Asked: ${study.instruction}`;
  at("study").hidden = false;
  items = study.items;
  const open = items.findIndex((each) => !each.is_complete);
  await show(open === -1 ? items.length : open);
};

at("keys").addEventListener("submit", (event) => { event.preventDefault(); begin(at("key").value.trim()); });

// ---- an item ----

const show = async (wanted) => {
  await keep();
  place = Math.max(0, Math.min(wanted, items.length));
  showProgress();
  at("item").hidden = place === items.length;
  at("end").hidden = place !== items.length;
  if (place === items.length) {
    current = null;
    const left = items.filter((each) => !each.is_complete).length;
    at("end-title").textContent = left === 0 ? "Thank you" : `${left} still open`;
    at("end").querySelector("p").textContent = left === 0
      ? "Every item is answered. You may close this page, or go back and change an answer."
      : "You passed over some items. Go back to answer them.";
    at("end-title").focus();
    return;
  }
  try {
    current = await ask(`/api/items/${items[place].id}`);
  } catch (error) {
    fail(error);
    return;
  }
  startedAt = performance.now();
  at("item-title").textContent = `Item ${place + 1} of ${items.length}`;
  at("asked").hidden = current.question === "";
  at("asked").textContent = `Of this text: ${current.question}`;
  at("document").replaceChildren(...marked(current.document, current.shown.flatMap((each) => each.quotes)));
  at("document").scrollTop = 0;
  const isPair = current.shown.length > 1;
  at("shown").replaceChildren(...current.shown.map((each, number) => {
    const card = element("div", "shown");
    if (isPair) card.append(element("h3", "", NAMES[number]));
    card.append(element("p", "decision small", each.decision), element("p", "reason", each.reason));
    return card;
  }));
  at("questions").replaceChildren(...current.questions.map(questionOf));
  at("comment").value = current.comment;
  at("saved").textContent = "";
  at("back").disabled = place === 0;
  at("item-title").focus();
  window.scrollTo(0, 0);
};

const questionOf = (question) => {
  const set = element("fieldset", "question");
  set.append(element("legend", "", question.text));
  question.choices.forEach((choice, number) => {
    const label = element("label", "choice");
    const input = element("input", "");
    Object.assign(input, { type: "radio", name: question.name, value: choice });
    input.checked = current.answer[question.name] === choice;
    input.addEventListener("change", () => {
      current.answer[question.name] = choice;
      keepSoon(0);
    });
    label.append(input, ` ${choice} `, element("kbd", "by-keys", String(number + 1)));
    set.append(label);
  });
  return set;
};

const showProgress = () => {
  const done = items.filter((each) => each.is_complete).length;
  Object.assign(at("progress"), { max: items.length, value: done });
  at("done").textContent = `${done} of ${items.length} answered`;
};

// ---- keeping: one request after another, the newest state last ----

const keepSoon = (wait) => {
  clearTimeout(timer);
  timer = setTimeout(keep, wait);
};

let kept = "";
const keep = () => {
  clearTimeout(timer);
  sending = sending.then(async () => {
    if (current === null) return;
    const item = current;
    const body = { answer: { ...item.answer }, comment: item.comment };
    const state = JSON.stringify([item.id, body]);
    if (state === kept || (item.comment === "" && Object.keys(body.answer).length === 0)) return;
    const seconds = item.seconds + (performance.now() - startedAt) / 1000;
    try {
      const found = await put(`/api/answers/${item.id}`, { ...body, seconds });
      kept = state;
      items.find((each) => each.id === item.id).is_complete = found.is_complete;
      at("failed").hidden = true;
      at("saved").textContent = "Kept.";
      showProgress();
    } catch (error) {
      fail(error);
    }
  });
  return sending;
};

at("comment").addEventListener("input", () => {
  current.comment = at("comment").value;
  keepSoon(300);
});
at("comment").addEventListener("blur", keep);
document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") keep(); });

at("next").addEventListener("click", () => show(place + 1));
at("back").addEventListener("click", () => show(place - 1));
at("again").addEventListener("click", () => {
  const open = items.findIndex((each) => !each.is_complete);
  show(open === -1 ? items.length - 1 : open);
});

// ---- by keyboard ----

document.addEventListener("keydown", (event) => {
  if (current === null || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("textarea, button, a, input[type=password]") !== null) return;
  if (event.key === "Enter") {
    event.preventDefault();
    show(place + 1);
  } else if (event.key === "Backspace") {
    event.preventDefault();
    show(place - 1);
  } else if (/^[1-9]$/.test(event.key)) {
    answer(Number(event.key) - 1);
  }
});

// A digit answers the question that has the focus, else the first one that is open, and goes on to the next.
const answer = (number) => {
  const sets = [...at("questions").querySelectorAll("fieldset")];
  const focused = sets.findIndex((set) => set.contains(document.activeElement));
  const open = sets.findIndex((set) => set.querySelector("input:checked") === null);
  const chosen = focused !== -1 ? focused : open;
  const input = sets[chosen]?.querySelectorAll("input")[number];
  if (input === undefined) return;
  if (!input.checked) input.click();
  const next = sets[chosen + 1]?.querySelector("input:checked, input");
  if (next) next.focus();
  else at("item-title").focus();
};

begin(decodeURIComponent(location.hash.slice(1)));
