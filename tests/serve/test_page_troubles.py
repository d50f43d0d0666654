"""What the page says and keeps when something is in the way: a key, a server that is gone, a draft, a small screen."""

from __future__ import annotations

import io
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

import tiny
from clsgen.inference.predictor import Classifier
from clsgen.model.checkpoint import save_bundle
from clsgen.model.decision import Abstention, DecisionRule
from pages import Opened
from served import TEXT, Server

LABELS = ("survivedsofarwell", "diedbeforethirty1")


@pytest.fixture
def shown(browser: Any, talking: Server) -> Iterator[Opened]:
    opened = Opened.at(browser, talking.url)
    yield opened
    assert opened.messages == []
    opened.page.context.close()


@pytest.fixture(scope="module")
def locked(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server.start(model, tmp_path_factory.mktemp("locked"), CLSGEN_API_KEY="a-secret")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def unsure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with long labels that leaves every text undecided."""
    folder = tmp_path_factory.mktemp("unsure")
    spec = replace(tiny.SPEC, labels=LABELS, positive=LABELS[1], instruction=f"Answer {LABELS[0]} or {LABELS[1]}.")
    bundle = tiny.bundle_of(tiny.dual(tiny.save("llama", folder / "llama"), spec=spec))
    rule = DecisionRule(LABELS, 1, 0.6, "max_f1", abstention=Abstention("band=1", margin=1.0))
    save_bundle(replace(bundle, spec=spec, rule=rule), folder / "m")
    return folder / "m"


@pytest.fixture(scope="module")
def babbling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that writes to the end of its room, which is large."""
    folder = tmp_path_factory.mktemp("babbling")
    bundle = tiny.bundle_of(tiny.dual(tiny.save("llama", folder / "llama")))
    renderer = bundle.renderer
    renderer.template = replace(renderer.template, max_explanation_tokens=400)
    save_bundle(bundle, folder / "m")
    return folder / "m"


@pytest.fixture(scope="module")
def slow(babbling: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that writes for a while."""
    started = Server.start(babbling, tmp_path_factory.mktemp("slow"))
    yield started
    started.stop()


@pytest.fixture(scope="module")
def undecided(unsure: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server.start(unsure, tmp_path_factory.mktemp("undecided"))
    yield started
    started.stop()


# ---- keys ----


def test_a_key_that_is_not_known_is_said(browser: Any, locked: Server) -> None:
    page = browser.new_page()
    page.goto(locked.url)
    page.locator("#keys").wait_for()
    expect(page.locator("#key-failed")).to_be_hidden()  # nobody gave one yet
    for key in ("another", "ключ"):
        page.fill("#key", key)
        page.keyboard.press("Enter")
        expect(page.locator("#key-failed")).to_contain_text("This server does not know that key.")
        expect(page.locator("#key")).to_be_focused()
        expect(page.locator("#failed")).to_be_hidden()
    page.fill("#key", "a-secret")
    page.keyboard.press("Enter")
    expect(page.locator("#keys")).to_be_hidden()
    expect(page.locator("#model")).to_have_text("weather")
    page.close()


def test_who_asks_without_a_key_is_told_in_words(browser: Any, locked: Server) -> None:
    page = browser.new_page()
    page.goto(locked.url)
    page.locator("#keys").wait_for()
    gap = page.locator("#ask").bounding_box()["y"]
    gap -= sum(page.locator("#keys").bounding_box()[side] for side in ("y", "height"))
    assert gap >= 16
    page.fill("#text", TEXT)
    page.click("#send")
    expect(page.locator("#failed")).to_have_text(
        "This server asks for a key. Enter it at the top of this page, then ask again."
    )
    assert page.input_value("#text") == TEXT
    page.close()


# ---- a server that is gone, or slow ----


def test_a_reason_that_breaks_off_is_marked(browser: Any, babbling: Path, tmp_path: Path) -> None:
    server = Server.start(babbling, tmp_path)
    page = Opened.at(browser, server.url).page
    page.fill("#text", TEXT)
    page.click("#send")
    page.locator("#reason:not(:empty)").wait_for()
    os.kill(server.process.pid, signal.SIGKILL)
    expect(page.locator("#stated")).to_have_text("Broken off. The reason is incomplete.")
    expect(page.locator("#failed")).to_have_text("The connection to the server broke off. Is it still running?")
    assert "incomplete" in page.locator("#reason").get_attribute("class")
    assert page.inner_text("#reason")
    page.click("#send")
    expect(page.locator("#failed")).to_have_text("The server can't be reached. Is it still running?")
    page.context.close()
    server.stop()


def test_a_reason_that_was_stopped_is_marked(browser: Any, slow: Server) -> None:
    page = Opened.at(browser, slow.url).page
    page.fill("#text", TEXT)
    page.click("#send")
    page.locator("#reason:not(:empty)").wait_for()
    page.evaluate("document.getElementById('stop').click()")
    expect(page.locator("#stated")).to_have_text("Stopped. The reason is incomplete.")
    expect(page.locator("#failed")).to_be_hidden()
    assert page.locator("#decision").is_visible()  # the probability was whole before it
    page.context.close()


def test_the_answer_says_what_is_waited_for(browser: Any, slow: Server) -> None:
    page = Opened.at(browser, slow.url).page
    page.fill("#text", TEXT)
    page.click("#send")
    page.locator("#stated:not(:empty)").wait_for()
    slow.process.send_signal(signal.SIGSTOP)
    try:
        page.click("#send")
        expect(page.locator("#none")).to_have_text("Waiting for the probability …")
        expect(page.locator("#found")).to_be_hidden()
        page.click("#stop")
        expect(page.locator("#none")).to_have_text("Stopped before the probability was there.")
    finally:
        slow.process.send_signal(signal.SIGCONT)
    page.context.close()


# ---- files and drafts ----


def test_a_file_may_be_dropped_anywhere(shown: Opened) -> None:
    for number, where in enumerate(("#text", "header", "#answer", "footer")):
        assert shown.drop(where, "note.txt", f"Number {number}".encode())
        expect(shown.page.locator("#text")).to_have_value(f"Number {number}")
    assert shown.drop("#answer", "days.csv", b"text\nIt rains.\n")
    expect(shown.page.locator("#batch-status")).to_have_text("1 row.")


def test_a_file_that_is_no_text_is_refused(shown: Opened) -> None:
    shown.page.fill("#text", "A draft.")
    for data, message in (
        (b"%PDF-1.7 \xe2\xe3", "“note.txt” is no plain text. Copy its text"),
        ("Grüße".encode("latin-1"), "“note.txt” is not in UTF-8"),
    ):
        assert shown.drop("#answer", "note.txt", data)
        expect(shown.page.locator("#file-failed")).to_contain_text(message)
        shown.page.set_input_files("#file", {"name": "b.txt", "mimeType": "text/plain", "buffer": data})
        expect(shown.page.locator("#file-failed")).to_contain_text("“b.txt” is no")
        assert shown.page.input_value("#text") == "A draft."
    shown.page.set_input_files("#file", {"name": "b.txt", "mimeType": "text/plain", "buffer": "Grüße".encode()})
    expect(shown.page.locator("#text")).to_have_value("Grüße")
    expect(shown.page.locator("#file-failed")).to_be_hidden()


def test_a_draft_that_was_never_asked_is_not_lost(shown: Opened) -> None:
    shown.ask(TEXT)
    shown.page.fill("#text", "A draft.")
    shown.page.locator("#history button").first.click()
    assert shown.page.input_value("#text") == TEXT
    draft = shown.page.locator("#history button").filter(has_text="not asked yet")
    assert "A draft." in draft.inner_text()
    draft.click()
    assert shown.page.input_value("#text") == "A draft."
    assert draft.count() == 0
    shown.drop("#answer", "note.txt", b"Another text.")
    expect(shown.page.locator("#text")).to_have_value("Another text.")
    assert draft.count() == 1
    assert shown.page.locator("#history li").count() == 2  # what was asked is there once


# ---- what is said, and how often ----


def test_the_page_says_what_the_model_is_asked(shown: Opened) -> None:
    assert shown.page.inner_text("#instruction") == f"Asked of every text: “{tiny.SPEC.instruction}”"


def test_decision_and_figure_are_said_once(shown: Opened, insistent: Path) -> None:
    texts = [row.document for row in tiny.examples(12)]
    found = {row.decision: (text, row) for text, row in zip(texts, Classifier.from_pretrained(insistent).predict(texts),
                                                            strict=True)}  # fmt: skip
    for decision, (text, row) in found.items():
        shown.ask(text)
        figure = f"{100 * row.probs['sun']:.1f}%"
        said = "\n".join(map(shown.page.inner_text, (".decision", "#bars")))
        assert said.count(figure) == 1
        assert (said.count("sun"), said.count("rain")) == ((1, 0) if decision == "sun" else (1, 1))
        entry = shown.page.locator("#history .value").first.inner_text()
        assert entry == (f"sun {figure}" if decision == "sun" else f"rain (sun {figure})")


def test_the_box_of_the_text_shows_that_there_is_more(shown: Opened) -> None:
    shown.ask("A longer text goes on. " * 200)
    box = shown.page.locator("#document")

    def edge() -> tuple[int, int]:
        """Brightness at the upper and the lower end of the box, left of the letters."""
        image = Image.open(io.BytesIO(box.screenshot())).convert("L")
        return image.getpixel((6, 3)), image.getpixel((6, image.height - 4))

    upper, lower = edge()
    assert upper == 255
    assert lower < 240  # a shadow: the text goes on
    box.evaluate("(box) => { box.scrollTop = box.scrollHeight; }")
    upper, lower = edge()
    assert upper < 240
    assert lower == 255


@pytest.mark.parametrize("width", [320, 360, 1280])
def test_an_undecided_text_with_long_labels(browser: Any, undecided: Server, width: int) -> None:
    opened = Opened.at(browser, undecided.url, viewport={"width": width, "height": 800})
    opened.ask(TEXT)
    assert opened.page.inner_text("#decision") == "undecided"
    assert opened.page.inner_text("#remaining") == "Can't be excluded: “survivedsofarwell”, “diedbeforethirty1”."
    entry = opened.page.locator("#history .value").inner_text()
    assert re.fullmatch(r"undecided \(diedbeforethirty1 \d+\.\d%\)", entry)
    opened.open_table(f"{'_'.join(LABELS * 3)}\nIt rains.\n", name=f"{'-'.join(LABELS * 2)}.csv")
    opened.answer_all()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    assert Axe().run(opened.page).response["violations"] == []
    opened.page.context.close()
