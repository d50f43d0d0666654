"""The page in a real browser: it asks for nothing, it counts right, and everybody can use it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from clsgen.evaluation.evaluate import evaluate
from clsgen.report.results import Results
from clsgen.report.write import write_report
from results import BINARY, HOSTILE, SETTINGS, THREE, results_of


class Opened(NamedTuple):
    """A page, what it logged and what it asked for."""

    page: Any
    messages: list[str]
    requests: list[str]


def opened(browser: Any, folder: Path, results: Results, **context: Any) -> Opened:
    file = write_report(folder, results, settings=SETTINGS, num_each=5)[0]
    page = browser.new_context(**context).new_page()
    messages: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    return Opened(page, messages, requests)


@pytest.fixture(scope="module")
def shown(browser, tmp_path_factory) -> Opened:
    return opened(browser, tmp_path_factory.mktemp("page"), results_of(BINARY))


def test_nothing_is_logged_and_nothing_is_asked_for(shown):
    assert shown.messages == []
    assert [url for url in shown.requests if not url.startswith("data:")] == [shown.page.url]
    assert shown.page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")


def test_texts_of_rows_stay_texts(shown):
    assert shown.page.title() == "a run: clsgen report"
    case = shown.page.locator(".case").first
    case.locator("summary").click()
    assert HOSTILE in case.inner_text()
    assert case.locator("mark").inner_text() == "was well\nand went home today"


def test_the_policy_lets_no_other_script_run(shown):
    shown.page.evaluate(
        "() => { const extra = document.createElement('script'); extra.textContent = \"document.title = 'ran'\";"
        " document.body.append(extra); }"
    )
    assert shown.page.title() == "a run: clsgen report"
    assert "Content Security Policy" in shown.messages.pop()


@pytest.mark.parametrize("at", [0, 150, 400, 1000])
def test_the_slider_counts_as_by_hand(shown, at):
    shown.page.locator("#threshold").fill(str(at))
    rows = results_of(BINARY).predictions
    decided = [row.probs["yes"] >= at / 1000 for row in rows]
    is_yes = [row.label == "yes" for row in rows]
    true = sum(d and y for d, y in zip(decided, is_yes, strict=True))
    false = sum(d and not y for d, y in zip(decided, is_yes, strict=True))
    read = {
        name: shown.page.locator(f"#{name}").inner_text() for name in ("at", "tp", "fp", "fn", "tn", "ppv", "alerts")
    }
    assert read["at"] == f"{at / 1000:.3f}"
    assert (int(read["tp"]), int(read["fp"])) == (true, false)
    assert (int(read["fn"]), int(read["tn"])) == (sum(is_yes) - true, len(rows) - sum(is_yes) - false)
    assert read["ppv"] == (f"{100 * true / (true + false):.1f}%" if true + false else "–")
    assert int(read["alerts"]) == round(1000 * (true + false) / len(rows))


def test_the_slider_works_from_the_keyboard_and_goes_back(shown):
    slider = shown.page.locator("#threshold")
    slider.focus()
    before = slider.input_value()
    shown.page.keyboard.press("ArrowLeft")
    assert slider.input_value() != before
    shown.page.locator("#stored").click()
    assert shown.page.locator("#at").inner_text() == "0.400"


def test_the_stored_thresholds_counts_are_those_of_the_matrix(shown):
    shown.page.locator("#stored").click()
    (_, false_positives), (_, true_positives) = results_of(BINARY).metrics["classes"]["matrix"]
    assert shown.page.locator("#tp").inner_text() == str(true_positives)
    assert shown.page.locator("#fp").inner_text() == str(false_positives)
    row = shown.page.locator("#metrics tr", has=shown.page.get_by_role("rowheader", name="ppv", exact=True))
    counts = f"{true_positives} of {true_positives + false_positives}. "
    assert row.locator("td.definition").inner_text().startswith(counts)


def test_rows_to_read_are_shown_a_kind_at_a_time(shown):
    cases = shown.page.locator(".case")
    assert cases.count() > 5
    shown.page.get_by_label("false negatives").check()
    seen = [case for case in cases.all() if case.is_visible()]
    assert len(seen) == 5
    assert all("false-negative" in case.get_attribute("data-kinds") for case in seen)
    shown.page.get_by_label("all", exact=True).check()
    assert all(case.is_visible() for case in cases.all())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("spec", [BINARY, THREE], ids=["two classes", "three classes"])
def test_axe_finds_no_serious_fault(browser, tmp_path, spec, scheme):
    found = opened(browser, tmp_path, results_of(spec), color_scheme=scheme, bypass_csp=True)
    for case in found.page.locator("details").all()[:3]:
        case.locator("summary").click()
    violations = Axe().run(found.page).response["violations"]
    assert [
        (each["id"], each["nodes"][0]["html"]) for each in violations if each["impact"] in ("serious", "critical")
    ] == []


def test_a_phone_needs_no_sideways_scrolling(browser, tmp_path):
    results = results_of(BINARY)
    spec = replace(BINARY, labels=("no", "yes, within 30 days"), positive="yes, within 30 days")

    def renamed(label: str) -> str:
        return spec.labels[BINARY.labels.index(label)]

    rows = [
        replace(
            row,
            probs={renamed(label): prob for label, prob in row.probs.items()},
            **{name: renamed(getattr(row, name)) for name in ("decision", "label", "stated_label")},
        )
        for row in results.predictions
    ]
    results = replace(results, spec=spec, predictions=rows, metrics=evaluate(rows, spec, settings=SETTINGS))
    page = opened(browser, tmp_path, results, viewport={"width": 360, "height": 740}).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for number, table in enumerate(page.locator("table.meant").all()):
        assert table.evaluate("table => table.scrollWidth <= table.parentElement.clientWidth"), number
        box = table.locator("td.definition").first.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360


def test_restricted_texts_are_left_out_unless_asked_for(tmp_path):
    restricted = replace(BINARY, is_restricted=True)
    html, numbers = write_report(tmp_path, results_of(restricted, shows_text=False), settings=SETTINGS, num_each=5)[:2]
    for file in (html, numbers):
        assert file.stat().st_mode & 0o777 == 0o600
        assert "went home" not in file.read_text()
        assert "img src=x" not in file.read_text()
    assert "Restricted" in html.read_text()
    (shown, numbers, *_) = write_report(tmp_path, results_of(restricted), settings=SETTINGS, num_each=5)
    assert "went home" in shown.read_text()
    assert "went home" not in numbers.read_text()


def test_report_json_holds_the_pages_numbers(tmp_path):
    results = results_of(BINARY)
    files = write_report(tmp_path, results, settings=SETTINGS, num_each=5)
    report = json.loads(files[1].read_text())
    assert report["metrics"] == results.metrics["metrics"]
    wrong = [row for row in results.predictions if row.label != row.decision]
    assert report["kinds"]["false-positive"] == sum(row.decision == "yes" for row in wrong)
    assert report["kinds"]["disagreement"] == sum(row.agreement is False for row in results.predictions)
    chosen = [case for case in report["cases"] if "false-positive" in case["kinds"]]
    assert [case["probs"]["yes"] for case in chosen][:1] == [
        max(row.probs["yes"] for row in wrong if row.decision == "yes")
    ]
    assert [file.name for file in files[2:]] == [
        f"{name}.{kind}" for name in ("roc", "pr", "reliability", "net_benefit", "coverage") for kind in ("svg", "png")
    ]
    assert all(file.stat().st_size > 5000 for file in files[2:])
    leak = next(each for each in report["summary"] if each["heading"] == "Leak")
    assert "3 with train" in leak["text"]
    answered = [item for item in report["checklist"] if item["answer"]]
    assert len(report["checklist"]) > 60
    assert len(answered) > 25


def test_one_class_alone_still_makes_a_page(browser, tmp_path):
    results = results_of(BINARY)
    rows = [replace(row, label="no") for row in results.predictions]
    found = opened(
        browser, tmp_path, replace(results, predictions=rows, metrics=evaluate(rows, BINARY, settings=SETTINGS))
    )
    assert found.messages == []
    assert found.page.locator("#threshold").count() == 0
    assert "AUROC is undefined" in found.page.locator("#summary").inner_text()


def test_the_stored_threshold_is_counted_exactly_between_two_steps(browser, tmp_path):
    results = results_of(BINARY)
    prob = sorted(row.probs["yes"] for row in results.predictions)
    threshold = prob[100] - 1e-9
    rows = [
        replace(row, threshold=threshold, decision="yes" if row.probs["yes"] >= threshold else "no")
        for row in results.predictions
    ]
    model = {**results.model, "decision": {**results.model["decision"], "threshold": threshold}}
    judged = replace(results, predictions=rows, model=model, metrics=evaluate(rows, BINARY, settings=SETTINGS))
    page = opened(browser, tmp_path, judged).page
    alerts = int(page.locator("#tp").inner_text()) + int(page.locator("#fp").inner_text())
    assert alerts == len(prob) - 100


def test_what_reviewers_say_stands_in_the_report(browser, tmp_path):
    from clsgen.config.prediction import EvaluateSettings
    from clsgen.evaluation.measure_review import Answered, review_figures

    answers = [
        Answered(
            reviewer=name, item=f"{row}", kind="rating", answer={"agrees": "yes" if row else "no"}, is_complete=True,
            seconds=3.0, row_id=f"{row}", group=f"{row}", models=("toy",), decisions=("yes",), label="yes",
            stratum="s", share=0.5,
        )
        for name in ("ana <b>", "ben")
        for row in range(4)
    ]  # fmt: skip
    found = review_figures(
        answers,
        models=["toy"],
        questions={"agrees": ("yes", "unsure", "no")},
        min_checks=0.0,
        settings=EvaluateSettings(num_bootstrap=100),
    )
    results = replace(results_of(BINARY), review={"title": "Toys", "num_items": 4, "model": "toy", **found})
    shown = opened(browser, tmp_path, results)
    text = shown.page.inner_text("#review")
    assert "ana <b> (4 answered, 0 of 0 checks passed)" in text
    assert "0.750" in text
    assert shown.messages == []
    assert [each for each in Axe().run(shown.page).response["violations"] if each["impact"] == "serious"] == []


def test_reviewers_tables_are_not_clipped(browser, tmp_path):
    from clsgen.config.prediction import EvaluateSettings
    from clsgen.evaluation.measure_review import Answered, review_figures
    from clsgen.serve.review.study import QUESTIONS

    rng = np.random.default_rng(0)
    models = ["llama-3.1-8b-instruct-lora", "qwen-2.5-7b-distilled-teacher"]
    answers = [
        Answered(
            reviewer=name, item=f"{model} {row}", kind="rating", is_complete=True, seconds=3.0, row_id=f"{row}",
            answer={each.name: str(rng.choice(each.choices)) for each in QUESTIONS}, group=f"{row}", models=(model,),
            decisions=("yes",), label="yes" if row % 2 else "no", stratum="s", share=0.5,
        )
        for name in ("anastasia", "benjamin", "catherine", "dorothea")
        for model in models
        for row in range(8)
    ]  # fmt: skip
    found = review_figures(
        answers,
        models=models,
        questions={each.name: each.choices for each in QUESTIONS},
        min_checks=0.0,
        settings=EvaluateSettings(num_bootstrap=100),
    )
    results = replace(results_of(BINARY), review={"title": "Toys", "num_items": 16, "model": models[0], **found})
    shown = opened(browser, tmp_path, results, viewport={"width": 1280, "height": 900})
    tables = shown.page.evaluate(
        "[...document.querySelectorAll('#review .wide')].map((each) => [each.scrollWidth, each.clientWidth])"
    )
    assert len(tables) == 3
    assert all(width <= room for width, room in tables)
    assert "cohen: anastasia, benjamin" in shown.page.inner_text("#review")
