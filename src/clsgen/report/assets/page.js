"use strict";

// The threshold explorer: every figure is counted from the two lists that the page holds; nothing is fetched.
const holder = document.getElementById("thresholds");
if (holder !== null) {
  const data = JSON.parse(holder.textContent);
  const slider = document.getElementById("threshold");
  const show = (id, text) => { document.getElementById(id).textContent = text; };
  const share = (part, whole) => (whole === 0 ? "–" : `${(100 * part / whole).toFixed(1)}%`);
  const update = () => {
    const at = Number(slider.value);
    const isStored = at === data.stored; // the stored threshold has more digits than the slider has steps
    const threshold = isStored ? data.exact.threshold : at / 1000;
    const truePositives = isStored ? data.exact.true_positives : data.true_positives[at];
    const falsePositives = isStored ? data.exact.false_positives : data.false_positives[at];
    const negatives = data.num_rows - data.num_positive;
    const alerts = truePositives + falsePositives;
    const negativeDecisions = data.num_rows - alerts;
    const trueNegatives = negatives - falsePositives;
    show("at", threshold.toFixed(3));
    show("tp", truePositives);
    show("fp", falsePositives);
    show("fn", data.num_positive - truePositives);
    show("tn", trueNegatives);
    show("sensitivity", share(truePositives, data.num_positive));
    show("specificity", share(trueNegatives, negatives));
    show("ppv", share(truePositives, alerts));
    show("npv", share(trueNegatives, negativeDecisions));
    show("alerts", (1000 * alerts / data.num_rows).toFixed(0));
    const benefit = threshold < 1
      ? (truePositives - falsePositives * threshold / (1 - threshold)) / data.num_rows
      : Number.NaN;
    show("benefit", Number.isFinite(benefit) ? benefit.toFixed(3) : "–");
    slider.setAttribute("aria-valuetext", `threshold ${threshold.toFixed(3)}`);
  };
  slider.addEventListener("input", update);
  document.getElementById("stored").addEventListener("click", () => {
    slider.value = data.stored;
    update();
  });
  update();
}

// The rows to read: one kind at a time.
for (const choice of document.querySelectorAll("input[name=kind]")) {
  choice.addEventListener("change", () => {
    for (const row of document.querySelectorAll(".case")) {
      row.hidden = choice.value !== "all" && !row.dataset.kinds.split(" ").includes(choice.value);
    }
  });
}

// Print everything, opened.
window.addEventListener("beforeprint", () => {
  for (const row of document.querySelectorAll("details")) { row.open = true; }
});
