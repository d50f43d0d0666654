"""The page of a study when links, servers and people are not as they should be: no answer goes astray."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from clsgen.pipeline.review import StudySettings, create_study
from clsgen.serve.review.app import order_of
from clsgen.serve.review.store import AnswerStore, Given
from clsgen.serve.review.study import read_study
from served import Server
from studies import write_run


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Of one model, so that every item has the same five questions."""
    folder = tmp_path_factory.mktemp("study")
    settings = StudySettings(("ana", "ben", "cay", "dan"), num_rows=8, num_checks=2, title="Toys")
    return folder / "s", create_study([write_run(folder / "model-a")], folder / "s", settings)


@pytest.fixture(scope="module")
def server(study: tuple[Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server.start(study[0], tmp_path_factory.mktemp("server"), command=("review", "serve"))
    yield started
    started.stop()


def given(folder: Path, reviewer: str) -> list[Given]:
    return [each for each in AnswerStore(folder / "answers.sqlite").latest() if each.reviewer == reviewer]


def at_link(browser: Any, server: Server, token: str) -> Any:
    page = browser.new_context().new_page()
    page.goto(f"{server.url}/#{token}")
    page.locator("#questions fieldset").first.wait_for()
    return page


def test_another_link_in_the_same_tab_is_another_reviewer(browser: Any, study: Any, server: Server) -> None:
    folder, tokens = study
    page = at_link(browser, server, tokens["ana"])
    page.keyboard.press("1")
    page.locator("#comment").fill("from ana")  # and off at once, before it was sent
    page.evaluate("(token) => { location.hash = token; }", tokens["ben"])
    expect(page.locator("#who")).to_have_text("ben")
    page.locator("#questions fieldset").first.wait_for()
    page.keyboard.press("3")
    expect(page.locator("#saved")).to_have_text("Kept.")
    (of_ana,), (of_ben,) = given(folder, "ana"), given(folder, "ben")
    assert (of_ana.answer, of_ana.comment) == ({"agrees": "yes"}, "from ana")
    assert (of_ben.answer, of_ben.comment) == ({"agrees": "no"}, "")
    assert of_ben.item == order_of(read_study(folder), "ben")[0]
    page.context.close()


def test_another_link_waits_for_what_is_not_kept_yet(browser: Any, study: Any, server: Server) -> None:
    folder, tokens = study
    page = at_link(browser, server, tokens["cay"])
    page.context.set_offline(True)
    page.keyboard.press("1")
    page.evaluate("(token) => { location.hash = token; }", tokens["ben"])
    expect(page.locator("#failed")).to_contain_text("Not kept yet: the last answer of cay.")
    assert page.url.endswith(f"#{tokens['cay']}")
    page.context.set_offline(False)
    expect(page.locator("#saved")).to_have_text("Kept.", timeout=15_000)  # sent again by itself
    expect(page.locator("#failed")).to_be_hidden()
    assert [each.answer for each in given(folder, "cay")] == [{"agrees": "yes"}]
    page.context.close()


@pytest.mark.parametrize("fragment", ["%E0%A4", "no-token-at-all", "ключ"])
def test_a_link_that_is_broken_is_said(browser: Any, study: Any, server: Server, fragment: str) -> None:
    page = browser.new_page()
    page.goto(f"{server.url}/#{fragment}")
    expect(page.locator("#key-failed")).to_contain_text("This study does not know that token.")
    expect(page.locator("#key")).to_be_focused()
    page.fill("#key", "another")
    page.keyboard.press("Enter")
    expect(page.locator("#key-failed")).to_be_visible()
    page.fill("#key", study[1]["ana"])
    page.keyboard.press("Enter")
    expect(page.locator("#who")).to_have_text("ana")
    expect(page.locator("#keys")).to_be_hidden()
    page.close()


def test_who_has_no_link_is_asked_without_a_reproach(browser: Any, server: Server) -> None:
    page = browser.new_page()
    page.goto(server.url)
    expect(page.locator("#keys")).to_be_visible()
    expect(page.locator("#key-failed")).to_be_hidden()
    page.close()


def test_an_outage_passes_over_no_item(browser: Any, study: Any, tmp_path: Path) -> None:
    folder, tokens = study
    server = Server.start(folder, tmp_path, command=("review", "serve"))
    page = at_link(browser, server, tokens["dan"])
    title, failed, saved = (page.locator(each) for each in ("#item-title", "#failed", "#saved"))
    page.click("#next")
    expect(title).to_have_text("Item 2 of 10")
    page.keyboard.press("2")
    expect(saved).to_have_text("Kept.")
    server.process.send_signal(signal.SIGKILL)
    server.stop()
    for _ in range(2):
        page.click("#next")
        expect(failed).to_contain_text("The item can't be shown: The server can't be reached.")
        expect(title).to_have_text("Item 2 of 10")
    page.locator("#comment").fill("said meanwhile")
    page.locator("#comment").blur()
    expect(failed).to_contain_text("Not kept: The server can't be reached.")
    expect(saved).to_have_text("")  # never both
    page.click("#next")
    expect(title).to_have_text("Item 2 of 10")
    again = Server.start(folder, tmp_path, "--port", str(server.port), command=("review", "serve"))
    try:
        page.click("#next")
        expect(title).to_have_text("Item 3 of 10")
        expect(failed).to_be_hidden()
    finally:
        again.stop()
    (kept,) = given(folder, "dan")
    assert (kept.item, kept.comment) == (order_of(read_study(folder), "dan")[1], "said meanwhile")
    page.context.close()


def test_two_clicks_on_next_pass_over_no_item(browser: Any, study: Any, server: Server) -> None:
    page = at_link(browser, server, study[1]["dan"])
    before = page.inner_text("#item-title")
    page.evaluate("() => { const next = document.getElementById('next'); next.click(); next.click(); }")
    number = int(before.split()[1])
    expect(page.locator("#item-title")).to_have_text(f"Item {number + 1} of 10")
    page.context.close()


def test_landmarks_have_names_of_their_own(browser: Any, study: Any, server: Server) -> None:
    page = at_link(browser, server, study[1]["ana"])
    assert [each["id"] for each in Axe().run(page).response["violations"]] == []
    page.context.close()
