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
let numBegun = 0;
let numShown = 0;
let ownHash = "";

const tell = (message) => {
  at("failed").textContent = message;
  at("failed").hidden = false;
};

// ---- who, and where they stopped ----

const begin = async (token) => {
  const mine = numBegun += 1;
  useKey(token);
  let study;
  try {
    study = await admitted("/api/study");
  } catch (error) {
    if (error.status !== 401) tell(`${error.message} Load this page again later.`);
    return;
  }
  if (mine !== numBegun) return; // another token was given meanwhile
  ownHash = `#${encodeURIComponent(token)}`; // a reload goes on; a fragment is sent to nobody
  history.replaceState(null, "", ownHash);
  document.title = study.title;
  at("title").textContent = study.title;
  at("who").textContent = study.reviewer;
  at("instruction").textContent = `Asked: ${study.instruction}`;
  at("study").hidden = false;
  items = study.items;
  current = null;
  const open = items.findIndex((each) => !each.is_complete);
  await show(open === -1 ? items.length : open);
};

at("keys").addEventListener("submit", (event) => {
  event.preventDefault();
  begin(at("key").value.trim());
  at("key").value = "";
});

// Somebody else's link in the same tab: a fresh page, or their answers would be kept as the first one's.
window.addEventListener("hashchange", async () => {
  if (await keep()) {
    location.reload();
    return;
  }
  history.replaceState(null, "", ownHash);
  tell(`Not kept yet: the last answer of ${at("who").textContent}. Open the other link once it is.`);
});

const tokenOf = (fragment) => {
  try {
    return decodeURIComponent(fragment);
  } catch {
    return fragment; // of a link that was cut or altered: the study doesn't know it, and the page says so
  }
};

// ---- an item ----

// Goes to an item once the one that is left is kept and the new one is there; else everything stays as it is.
const show = async (wanted) => {
  const mine = numShown += 1;
  if (!(await keep())) return;
  const target = Math.max(0, Math.min(wanted, items.length));
  let found = null;
  if (target < items.length) {
    try {
      found = await ask(`/api/items/${items[target].id}`);
    } catch (error) {
      tell(`The item can't be shown: ${error.message}`);
      return;
    }
  }
  if (!(await keep()) || mine !== numShown) return; // what was answered while it came
  [place, current] = [target, found];
  at("failed").hidden = true;
  at("saved").textContent = "";
  showProgress();
  at("item").hidden = current === null;
  at("end").hidden = current !== null;
  if (current === null) showEnd();
  else showItem();
};

const showEnd = () => {
  const left = items.filter((each) => !each.is_complete).length;
  at("end-title").textContent = left === 0 ? "Thank you" : `${left} still open`;
  at("end").querySelector("p").textContent = left === 0
    ? "Every item is answered. You may close this page, or go back and change an answer."
    : "You passed over some items. Go back to answer them.";
  at("end-title").focus();
};

const showItem = () => {
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
    const decision = element("p", "decision small");
    decision.append(element("span", "", "Decision"), " ", element("strong", "", each.decision));
    card.append(decision, element("p", "reason", each.reason));
    return card;
  }));
  at("questions").replaceChildren(...current.questions.map(questionOf));
  at("comment").value = current.comment;
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
      at("saved").textContent = "";
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

const RETRY_MS = 5000;

const keepSoon = (wait) => {
  clearTimeout(timer);
  timer = setTimeout(keep, wait);
};

let kept = "";
const stateOf = ({ id, answer, comment }) => JSON.stringify([id, answer, comment]);
const isKept = () => current === null || stateOf(current) === kept
  || (current.comment === "" && Object.keys(current.answer).length === 0);

// Whether everything is kept in the end.
const keep = () => {
  clearTimeout(timer);
  sending = sending.then(async () => {
    if (isKept()) return true;
    const item = current;
    const state = stateOf(item);
    const seconds = item.seconds + (performance.now() - startedAt) / 1000;
    try {
      const found = await put(`/api/answers/${item.id}`, { answer: item.answer, comment: item.comment, seconds });
      kept = state;
      items.find((each) => each.id === item.id).is_complete = found.is_complete;
    } catch (error) {
      at("saved").textContent = "";
      tell(`Not kept: ${error.message} Your last choice stays here and is sent again.`);
      if (error.status === 0 || error.status >= 500) keepSoon(RETRY_MS);
      return false;
    }
    at("failed").hidden = true;
    at("saved").textContent = "Kept.";
    showProgress();
    return true;
  });
  return sending;
};

window.addEventListener("beforeunload", (event) => { if (!isKept()) event.preventDefault(); });
at("comment").addEventListener("input", () => {
  at("saved").textContent = "";
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

begin(tokenOf(location.hash.slice(1)));
