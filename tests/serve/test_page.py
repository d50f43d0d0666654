"""The page in a real browser against a real server."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

import tiny
from clsgen.inference.predictor import Classifier
from clsgen.model.checkpoint import save_bundle
from clsgen.pipeline.calibrate import identity_calibrator, identity_rule
from pages import Opened
from served import REASON, TEXT, Server

TEXTS = [row.document for row in tiny.examples(12)]
WIDTHS = {"wide": (1280, 900), "tablet": (800, 1000), "phone": (390, 800)}


@pytest.fixture
def shown(browser: Any, talking: Server) -> Iterator[Opened]:
    opened = Opened.at(browser, talking.url)
    yield opened
    assert opened.messages == []
    opened.page.context.close()


@pytest.fixture(scope="module")
def wanted(insistent: Path) -> Classifier:
    return Classifier.from_pretrained(insistent)


def test_the_probability_is_there_before_the_reason_which_grows(shown: Opened, wanted: Classifier) -> None:
    shown.page.evaluate(
        """() => {
          window.seen = [];
          new MutationObserver(() => window.seen.push([
            document.querySelector('.bar .value')?.textContent ?? '', document.getElementById('reason').textContent,
          ])).observe(document.getElementById('answer'), {subtree: true, childList: true, characterData: true});
        }"""
    )
    shown.ask(TEXT)
    (prediction,) = wanted.predict([TEXT], explain="all")
    assert prediction.explanation == REASON
    seen = [(value, reason) for value, reason in shown.page.evaluate("window.seen") if value]
    assert seen[0] == (f"{100 * prediction.probs['sun']:.1f}%", "")
    lengths = [len(reason) for _, reason in seen if reason != REASON]  # in the end without the answer's words
    assert lengths == sorted(lengths)
    assert len({*lengths}) > 5  # it came in pieces
    assert shown.page.inner_text("#reason") == REASON
    assert shown.page.inner_text("#decision") == prediction.decision
    assert "The reason is written after the probability and does not cause it." in shown.page.inner_text("#answer")


def test_what_became_of_rows_of_like_probability(shown: Opened, wanted: Classifier) -> None:
    shown.ask(TEXT)
    (prediction,) = wanted.predict([TEXT])
    similar = wanted.bundle.similar
    assert similar is not None
    found = similar.around("sun", prediction.probs["sun"])
    assert found.low is not None
    assert found.high is not None
    said = shown.page.inner_text("#similar")
    assert said.startswith(f"Of {found.num_rows} calibration rows with a similar probability (")
    assert f"{found.num_with_label} were “sun” (95% interval {100 * found.low:.0f}% to {100 * found.high:.0f}%)" in said


def test_quotes_light_up_where_they_stand(shown: Opened) -> None:
    shown.ask(TEXT)
    assert shown.page.locator("#document mark").all_text_contents() == ["we saw wet\nstreets on that day"]
    assert shown.page.locator("#document").text_content() == TEXT
    shown.ask("🌧" * 30 + TEXT)
    assert shown.page.locator("#document mark").all_text_contents() == ["we saw wet\nstreets on that day"]
    shown.ask("Nothing of it.")
    assert shown.page.locator("#document mark").count() == 0


def test_a_reason_against_the_decision_is_a_warning(shown: Opened, wanted: Classifier) -> None:
    found = {row.decision: text for text, row in zip(TEXTS, wanted.predict(TEXTS), strict=True)}
    shown.ask(found["sun"])
    warning = shown.page.locator("#disagreement")
    assert warning.inner_text().startswith("The reason speaks for “rain”, the probability for “sun”.")
    assert warning.get_attribute("role") == "alert"
    shown.ask(found["rain"])
    assert warning.is_hidden()


def test_texts_stay_texts(shown: Opened) -> None:
    shown.ask("<img src=x onerror=\"document.title='ran'\"><script>document.title='ran'</script> we saw wet")
    assert shown.page.title() == "weather · clsgen"
    assert "<img src=x" in shown.page.inner_text("#document")
    assert "<img src=x" in shown.page.inner_text("#history")


def test_earlier_answers_are_kept_in_this_tab_alone(shown: Opened, browser: Any, talking: Server) -> None:
    for text in (TEXT, TEXTS[1]):
        shown.ask(text)
    assert shown.page.locator("#history li").count() == 2
    shown.page.locator("#history button").last.click()
    assert shown.page.input_value("#text") == TEXT
    assert shown.page.locator("#document mark").count() == 1
    assert shown.page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    assert Opened.at(browser, talking.url).page.locator("#history li").count() == 0


def test_a_table_is_answered_with_progress_and_given_back(shown: Opened, wanted: Classifier, tmp_path: Path) -> None:
    texts = [*TEXTS, 'He said "rain",\nthen left; done', "  ", *TEXTS]
    out = io.StringIO()
    csv.writer(out).writerows([["id", "note"], *([f"={number}", text] for number, text in enumerate(texts))])
    file = tmp_path / "days.csv"
    file.write_text("\ufeff" + out.getvalue(), encoding="utf-8", newline="")
    shown.page.set_input_files("#table", file)
    shown.page.locator("#batch-options").wait_for()
    assert shown.page.input_value("#column") == "1"  # the longest texts
    shown.page.check("#batch-reasons")
    shown.page.click("#run")
    with shown.page.expect_download() as download:
        shown.page.click("#download")
    assert download.value.suggested_filename == "days.answers.csv"
    rows = list(csv.reader(io.StringIO(Path(download.value.path()).read_bytes().decode("utf-8"))))
    assert rows[0] == [
        "id", "note", "decision", "p_rain", "p_sun", "threshold", "undecided", "tokens_cut", "reason", "reason_ended",
        "stated_label", "agreement", "problem",
    ]  # fmt: skip
    assert "25 of 25 texts answered. 1 blank one was left out." in shown.page.inner_text("#batch-status")
    assert shown.page.evaluate("document.getElementById('batch-progress').value") == 25
    answered = dict(zip(texts, rows[1:], strict=True))
    assert answered["  "][2:] == [""] * 10 + ["blank"]
    given = [text for text in texts if text.strip()]
    for prediction, text in zip(wanted.predict(given, explain="all"), given, strict=True):
        row = answered[text]
        assert row[0].startswith("'=")  # no spreadsheet takes it for a formula
        assert float(row[4]) == pytest.approx(prediction.probs["sun"], abs=1e-5)
        assert (row[2], row[8]) == (prediction.decision, prediction.explanation)


def test_everything_by_keyboard(shown: Opened) -> None:
    page = shown.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the answer"
    page.focus("#text")
    page.keyboard.insert_text(TEXT)
    page.keyboard.press("Control+Enter")
    page.locator("#stated").filter(has_text="states").wait_for()
    reached = []
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.parentElement.id"))
    wanted = ["send", "file", "document", "table"]
    assert list(dict.fromkeys(each for each in reached if each in wanted)) == wanted


def test_a_refusal_is_said_and_nothing_is_lost(shown: Opened) -> None:
    shown.page.fill("#text", "   ")
    shown.page.click("#send")
    shown.page.locator("#failed").wait_for()
    assert "must not be blank" in shown.page.inner_text("#failed")
    shown.messages.clear()  # the browser itself logs the 422
    shown.ask(TEXT)
    assert shown.page.locator("#failed").is_hidden()


def test_no_other_host_is_asked(browser: Any, talking: Server) -> None:
    opened = Opened.at(browser, talking.url)
    opened.ask(TEXT)
    opened.page.goto(f"{talking.url}/docs")
    opened.page.locator(".opblock").first.wait_for()
    assert opened.page.locator(".opblock").count() >= 8
    assert {url.split("/")[2] for url in opened.requests if not url.startswith("data:")} == {talking.url.split("/")[2]}
    assert opened.messages == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_and_everybody_can_use_it(
    browser: Any, talking: Server, width: str, scheme: str, wanted: Classifier, tmp_path: Path
) -> None:
    size = dict(zip(("width", "height"), WIDTHS[width], strict=True))
    opened = Opened.at(browser, talking.url, viewport=size, color_scheme=scheme)
    text = next(text for text, row in zip(TEXTS, wanted.predict(TEXTS), strict=True) if row.decision == "sun")
    opened.ask(f"{text} {TEXT} " + "A longer text follows. " * 60)
    opened.page.screenshot(path=_screenshots(tmp_path) / f"page-{width}-{scheme}.png", full_page=True)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    found = Axe().run(opened.page).response["violations"]
    assert [(each["id"], each["nodes"][0]["target"]) for each in found] == []


def _screenshots(otherwise: Path) -> Path:
    """Where CI keeps pictures; elsewhere a folder that goes away."""
    folder = Path(os.environ.get("CLSGEN_SCREENSHOTS", otherwise))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_more_than_two_labels_have_a_bar_each_the_likeliest_first(browser: Any, tmp_path: Path) -> None:
    spec = replace(tiny.SPEC, labels=("rain", "sun", "snow"), positive=None, name="three")
    built = tiny.dual(tiny.save("llama", tmp_path / "llama"), spec=spec)
    bundle = replace(tiny.bundle_of(built), spec=spec, calibrator=identity_calibrator(spec), rule=identity_rule(spec))
    save_bundle(bundle, tmp_path / "m")
    (wanted,) = Classifier(bundle).predict([TEXT])
    server = Server.start(tmp_path / "m", tmp_path)
    try:
        page = Opened.at(browser, server.url).page
        page.click("#more summary")
        page.check("input[value=none]")
        page.fill("#text", TEXT)
        page.click("#send")
        page.locator(".bar").first.wait_for()
        names, values = (page.locator(f".bar .{part}").all_text_contents() for part in ("name", "value"))
        shown = dict(zip(names, values, strict=True))
        order = sorted(wanted.probs, key=lambda label: -wanted.probs[label])
        assert shown == {label: f"{100 * wanted.probs[label]:.1f}%" for label in order}
        assert list(shown) == order
        assert page.inner_text("#decision") == wanted.decision == order[0]
        assert page.locator(".tick").count() == 0
        assert page.locator("#explained").is_hidden()
        page.context.close()
    finally:
        server.stop()
