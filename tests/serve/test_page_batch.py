"""Many texts on the page: no text is lost, altered or passed over without a word, whatever the server's limits."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

import tiny
from clsgen.inference.predictor import Classifier
from pages import Opened
from served import TEXT, Server

TEXTS = [row.document for row in tiny.examples(12)]
CONTRACT = "The reason is written after the probability and does not cause it."


@pytest.fixture
def shown(browser: Any, talking: Server) -> Iterator[Opened]:
    opened = Opened.at(browser, talking.url)
    yield opened
    assert opened.messages == []
    opened.page.context.close()


@pytest.fixture(scope="module")
def narrow(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with low limits."""
    options = ("--max-texts", "8", "--max-queued", "6", "--max-body-bytes", "6000")
    started = Server.start(model, tmp_path_factory.mktemp("narrow"), *options)
    yield started
    started.stop()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text\nShe came, and left, walking well\nHe died, sadly", "Line 2 has 3 fields, but the first line names 1"),
        ('id,text\n1,"fine, so far"\n2, "quoted after space, with comma"', "Line 3 has 3 fields, but the first line"),
        ('id,text\n1,"two\nlines"\n2,"a"b,c"', "In line 4 a letter follows a closing quotation mark"),
        ('id,text\n1,"a\nb"\n2,"never closed\n', "A quotation mark of line 4 is never closed"),
        ("text\n", "must hold a line of names and a row or more"),
        ("", "must hold a line of names and a row or more"),
        ("id,text\n1,Grüße\n".encode("latin-1"), "is not in UTF-8, so letters would be lost. Save it as UTF-8"),
        ("id,text\n1,Grüße\n".encode("utf-16"), "is not in UTF-8"),
        (b"%PDF-1.7\n1 0 obj", "is no plain text"),
        (b"PK\x03\x04\x14", "is no plain text"),
        (b"text\nab\x00c\n", "is no plain text"),
    ],
)
def test_a_file_that_would_lose_text_is_refused(shown: Opened, content: str | bytes, message: str) -> None:
    shown.open_table("text\nOne.\nTwo.\n")
    shown.answer_all()
    expect(shown.page.locator("#batch-status")).to_have_text("2 of 2 texts answered.")
    shown.open_table(content)
    expect(shown.page.locator("#batch-failed")).to_contain_text(message)
    for gone in ("#batch-options", "#batch-given", "#batch-status", "#batch-progress"):
        expect(shown.page.locator(gone)).to_be_hidden()  # nothing of the file before


def test_quoted_texts_and_other_marks_are_read(shown: Opened) -> None:
    texts = ['He said "rain", then left', "two\r\nlines", "", " spaced ", "ends;here"]
    quoted = [f'''"{text.replace('"', '""')}"''' for text in texts]
    shown.open_table("note;number\r\n" + "".join(f"{text};{n}\r\n\r\n" for n, text in enumerate(quoted)))
    shown.answer_all()
    rows = shown.download()
    assert [row["note"] for row in rows] == texts
    assert [row["number"] for row in rows] == list("01234")
    assert [row["problem"] for row in rows] == ["", "", "blank", "", ""]


def test_requests_keep_to_the_servers_limits(browser: Any, narrow: Server) -> None:
    opened = Opened.at(browser, narrow.url)
    bodies: list[str] = []
    opened.page.on("request", lambda request: bodies.append(request.post_data or "") if request.post_data else None)
    long = [f"Number {n}: " + "«ü» " * 150 for n in range(20)]  # 1,100 bytes each
    texts = [*long[:10], "much too long " * 500, *long[10:], *TEXTS]
    opened.open_table("id,text\n" + "".join(f'{n},"{text}"\n' for n, text in enumerate(texts)))
    opened.answer_all()
    expect(opened.page.locator("#batch-status")).to_contain_text("32 of 33 texts answered.")
    expect(opened.page.locator("#batch-failed")).to_contain_text("Line 12: the text has 7,027 bytes; this server takes")
    for body in bodies:
        assert len(body.encode()) <= 6000
        assert len(json.loads(body)["texts"]) <= 6
    assert len(bodies) < 15  # and are not sent one by one
    rows = opened.download()
    assert [row["id"] for row in rows if not row["decision"]] == ["10"]
    assert [row["problem"][:20] for row in rows if row["problem"]] == ["the text has 7,027 b"]
    assert opened.messages == []
    opened.page.context.close()


def test_texts_that_are_all_refused_are_all_named(browser: Any, tmp_path: Path, model: Path) -> None:
    server = Server.start(model, tmp_path, "--max-tokens", "60")
    try:
        opened = Opened.at(browser, server.url)
        texts = ["wet streets " * (80 if number < 13 else 1) for number in range(14)]
        opened.open_table("text\n" + "".join(f'"{text}"\n' for text in texts))
        opened.answer_all()
        expect(opened.page.locator("#batch-status")).to_have_text("1 of 14 texts answered.")
        expect(opened.page.locator("#batch-failed")).to_contain_text("8 more are named in the answers' last column.")
        problems = [row["problem"] for row in opened.download()]
        assert all(f"line {number + 2} has" in problem for number, problem in enumerate(problems[:13]))
        assert problems[13] == ""
        opened.page.context.close()
    finally:
        server.stop()


def test_a_text_that_is_refused_is_named_and_the_others_are_answered(browser: Any, server: Server) -> None:
    opened = Opened.at(browser, server.url)

    def refuse(route: Any) -> None:
        if "spoils" in route.request.post_data:
            route.fulfill(status=500, json={"error": {"message": "the model failed."}})
        else:
            route.continue_()

    opened.page.route("**/v1/classify", refuse)
    texts = [*TEXTS, "This spoils it.", *TEXTS]
    opened.open_table("text\n" + "".join(f'"{text}"\n' for text in texts))
    opened.answer_all()
    expect(opened.page.locator("#batch-status")).to_contain_text("24 of 25 texts answered.")
    expect(opened.page.locator("#batch-failed")).to_have_text("Line 14: the model failed.")
    rows = opened.download()
    assert [row["text"] for row in rows if not row["decision"]] == ["This spoils it."]
    assert rows[12]["problem"] == "the model failed."
    opened.page.context.close()


def test_a_server_that_goes_away_leaves_what_was_answered(browser: Any, server: Server) -> None:
    opened = Opened.at(browser, server.url)
    num_asked = 0

    def once(route: Any) -> None:
        nonlocal num_asked
        num_asked += 1
        route.continue_() if num_asked == 1 else route.abort()

    opened.page.route("**/v1/classify", once)
    opened.open_table("text\n" + "".join(f'"{text}"\n' for text in [*TEXTS, *TEXTS]))
    opened.answer_all()
    expect(opened.page.locator("#batch-failed")).to_have_text("The server can't be reached. Is it still running?")
    rows = opened.download()
    assert [bool(row["decision"]) for row in rows] == [True] * 16 + [False] * 8
    assert {row["problem"] for row in rows[16:]} == {"not asked"}
    opened.page.context.close()


def test_a_full_queue_is_waited_for_and_said(browser: Any, narrow: Server) -> None:
    opened = Opened.at(browser, narrow.url)
    is_over = threading.Event()

    def crowd() -> None:
        with narrow.client() as client:
            while not is_over.is_set():
                client.post("/v1/classify", json={"texts": ["wet streets " * 70] * 6})

    others = [threading.Thread(target=crowd) for _ in range(6)]
    for other in others:
        other.start()
    try:
        opened.open_table("text\n" + "".join(f'"{text}"\n' for text in TEXTS * 5))
        opened.page.locator("#batch-options").wait_for()
        opened.page.click("#run")
        expect(opened.page.locator("#batch-status")).to_contain_text(
            "The server is busy; asking again in", timeout=30_000
        )
    finally:
        is_over.set()
        for other in others:
            other.join()
    expect(opened.page.locator("#batch-status")).to_have_text("60 of 60 texts answered.", timeout=60_000)
    opened.page.context.close()


def test_no_cell_is_a_formula_and_numbers_stay_numbers(shown: Opened) -> None:
    formulas = ["-1+1", "-2+3+cmd|' /C calc'!A0", "=1", "+1-1", "@SUM(A1)", "-x", "\t=1", "＝1"]
    numbers = ["-1.5", "+3", "-1,5", "-2e-3", "12", "1-1"]
    shown.open_table("cell\ttext\n" + "".join(f'"{each}"\tIt rains.\n' for each in [*formulas, *numbers]))
    shown.answer_all()
    cells = [row["cell"] for row in shown.download()]
    assert cells == [f"'{each}" for each in formulas] + numbers
    assert "gets a ' in front" in shown.page.inner_text("#download-hint")


def test_what_was_cut_stands_in_the_answers(shown: Opened, browser: Any, server: Server, insistent: Path) -> None:
    long = f"{TEXT} " + "wet streets " * 400
    shown.open_table(f'text\n"{TEXT}"\n"{long}"\n')
    shown.page.check("#batch-reasons")
    shown.answer_all()
    rows = shown.download()
    wanted = Classifier.from_pretrained(insistent).predict([TEXT, long])
    assert [int(row["tokens_cut"]) for row in rows] == [row.num_document_tokens_cut for row in wanted]
    assert wanted[1].num_document_tokens_cut > 0
    assert {row["reason_ended"] for row in rows} == {"true"}
    assert "1 text was too long for the model and cut." in shown.page.inner_text("#batch-status")
    assert shown.page.inner_text("#batch-contract") == CONTRACT
    babbling = Opened.at(browser, server.url)
    babbling.open_table(f'text\n"{TEXT}"\n')
    babbling.page.check("#batch-reasons")
    babbling.answer_all()
    assert [row["reason_ended"] for row in babbling.download()] == ["false"]
    assert "1 reason was cut off." in babbling.page.inner_text("#batch-status")
    babbling.page.uncheck("#batch-reasons")
    babbling.answer_all()
    assert babbling.page.locator("#batch-contract").is_hidden()
    babbling.page.context.close()
