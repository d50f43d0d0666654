"""A study: blinded, drawn evenly, answered in a real browser by keyboard, and nothing that was acknowledged is lost."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import httpx2 as httpx
import pytest
from axe_playwright_python.sync_playwright import Axe

from clsgen.errors import ArtifactError, ConfigError, DataError, RestrictedError
from clsgen.pipeline.review import StudySettings, create_study
from clsgen.serve.review.app import is_turned, order_of
from clsgen.serve.review.draw import draw_items, strata_of
from clsgen.serve.review.store import AnswerStore
from clsgen.serve.review.study import read_keys, read_study
from results import BINARY, HOSTILE, rows_of
from served import Server
from studies import write_run

NAMES = ("ana", "ben")


class Made(NamedTuple):
    folder: Path
    tokens: dict[str, str]


def make(folder: Path, **changes: Any) -> Made:
    runs = [write_run(folder / "model-a"), write_run(folder / "model-b", reason="Nothing speaks against it at all.")]
    asked: dict[str, Any] = {"num_rows": 8, "num_checks": 2, "seed": 3, "title": "Toys", "reviewers": NAMES}
    return Made(folder / "study", create_study(runs, folder / "study", StudySettings(**(asked | changes))))


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path)


@pytest.fixture
def server(made: Made, tmp_path: Path) -> Iterator[Server]:
    started = Server.start(made.folder, tmp_path, command=("review", "serve"))
    yield started
    started.stop()


def client_of(server: Server, token: str) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {token}"}, timeout=30)


# ---- the draw ----


def test_every_stratum_is_drawn_as_often_as_its_rows_allow() -> None:
    predictions, examples = rows_of(BINARY, 240)
    drawn = draw_items({"m": predictions}, examples, num_rows=60, num_checks=0, seed=0)
    there = Counter(strata_of(predictions).values())
    taken = Counter(key.stratum for key in drawn.keys.values())
    assert sum(taken.values()) == 60
    spare = [taken[stratum] for stratum in there if taken[stratum] < there[stratum]]
    assert max(spare) - min(spare) <= 1  # those that were not used up
    assert all(taken[stratum] <= max(spare) for stratum in there)
    for key in drawn.keys.values():
        assert key.share == taken[key.stratum] / there[key.stratum]
    again = draw_items({"m": predictions}, examples, num_rows=60, num_checks=0, seed=0)
    assert again == drawn
    assert draw_items({"m": predictions}, examples, num_rows=60, num_checks=0, seed=1) != drawn


def test_what_reviewers_are_served_names_no_model_label_or_stratum(made: Made, server: Server) -> None:
    keys, models = read_keys(made.folder)
    assert set(models) == {"model-a", "model-b"}
    kinds = Counter(item.kind for item in read_study(made.folder).items)
    assert kinds == {"rating": 16, "pair": 8, "check": 2}
    assert {len(key.models) for key in keys.values()} == {1, 2}
    with client_of(server, made.tokens["ana"]) as client:
        answers = [client.get("/api/study").text]
        answers += [client.get(f"/api/items/{each}").text for each in keys]
    for hidden in ("model-a", "model-b", "right", "wrong", "row0", "rating", "stratum", 'label"', "group"):
        assert not any(hidden in each for each in answers), hidden
    for file in made.folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not any(token in (made.folder / "study.json").read_text() for token in made.tokens.values())


def test_orders_and_sides_are_each_reviewers_own(made: Made) -> None:
    study = read_study(made.folder)
    documents = {item.id: item.document for item in study.items}
    orders = {name: order_of(study, name) for name in NAMES}
    assert orders["ana"] != orders["ben"]
    for order in orders.values():
        assert sorted(order) == sorted(documents)
        assert all(documents[a] != documents[b] for a, b in pairwise(order))
    sides = {name: [is_turned(study, name, item) for item in study.items if item.kind == "pair"] for name in NAMES}
    assert sides["ana"] != sides["ben"]
    assert not any(is_turned(study, "ana", item) for item in study.items if item.kind != "pair")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"num_rows": 121}, DataError, "121 rows must have a reason of every model; 120 have one"),
        ({"num_checks": 9}, DataError, "at most as many as rows"),
        ({"reviewers": ("ana", "ana")}, ConfigError, "reviewers must be distinct names"),
        ({"reviewers": ()}, ConfigError, "got none"),
    ],
)
def test_what_can_not_be_made_says_why(tmp_path: Path, changes: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(tmp_path, **changes)
    assert not (tmp_path / "study").exists()


def test_a_study_is_never_overwritten(tmp_path: Path) -> None:
    made = make(tmp_path)
    with pytest.raises(ArtifactError, match="may hold answers"):
        create_study([tmp_path / "model-a"], made.folder, StudySettings(("c",), num_rows=2, num_checks=0))


def test_restricted_texts_need_a_word(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", spec=replace(BINARY, is_restricted=True))
    settings = StudySettings(("a",), num_rows=2, num_checks=0)
    with pytest.raises(RestrictedError, match="--show-text"):
        create_study([run], tmp_path / "s", settings)
    create_study([run], tmp_path / "s", replace(settings, shows_text=True))


# ---- the server ----


def test_nobody_else_gets_in_and_no_other_answer_is_taken(made: Made, server: Server) -> None:
    study = read_study(made.folder)
    rating = next(item for item in study.items if item.kind == "rating")
    for token in ("none", "wrong", made.tokens["ana"][:-1]):
        with client_of(server, token) as client:
            assert client.get("/api/study").status_code == 401
    with client_of(server, made.tokens["ana"]) as client:
        assert client.get("/api/items/none").status_code == 404
        for body in (
            {"answer": {"agrees": "perhaps"}},
            {"answer": {"preferred": "first"}},
            {"answer": {"agrees": "yes"}, "seconds": -1},
            {"answer": {"agrees": "yes"}, "comment": "a" * 10_001},
            {"answer": {"agrees": "yes"}, "model": "b"},
            {},
        ):
            response = client.put(f"/api/answers/{rating.id}", json=body)
            assert response.status_code == 422, body
            assert response.json()["error"]["message"]
    assert AnswerStore(made.folder / "answers.sqlite").latest() == []


def test_a_pair_is_kept_in_its_own_order_whoever_saw_it_turned(made: Made, server: Server) -> None:
    study = read_study(made.folder)
    pairs = [item for item in study.items if item.kind == "pair"]
    for name in NAMES:
        with client_of(server, made.tokens[name]) as client:
            for item in pairs:
                view = client.get(f"/api/items/{item.id}").json()
                reasons = [each["reason"] for each in view["shown"]]
                choice = ("first", "second")[reasons.index("Nothing speaks against it at all.")]
                client.put(f"/api/answers/{item.id}", json={"answer": {"preferred": choice}}).raise_for_status()
                assert client.get(f"/api/items/{item.id}").json()["answer"] == {"preferred": choice}
    keys, _ = read_keys(made.folder)
    given = AnswerStore(made.folder / "answers.sqlite").latest()
    assert len(given) == 16
    for each in given:
        chosen = keys[each.item].models[("first", "second").index(each.answer["preferred"])]
        assert chosen == "model-b"


def test_nothing_that_was_acknowledged_is_lost_by_a_kill(made: Made, tmp_path: Path) -> None:
    server = Server.start(made.folder, tmp_path, command=("review", "serve"))
    item = next(item for item in read_study(made.folder).items if item.kind == "rating")
    code = f"""
import httpx2 as httpx, sys
with httpx.Client(base_url={server.url!r}, headers={{"authorization": "Bearer {made.tokens["ana"]}"}}) as client:
    for number in range(100000):
        body = {{"answer": {{"agrees": "yes"}}, "comment": str(number)}}
        client.put("/api/answers/{item.id}", json=body).raise_for_status()
        print(number, flush=True)
"""
    writer = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert writer.stdout is not None
    seen = -1
    for line in writer.stdout:
        seen = int(line)
        if seen == 60:
            server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    assert server.process.stdout is not None
    server.process.stdout.close()
    writer.wait()
    writer.stdout.close()
    assert seen >= 60
    (kept,) = AnswerStore(made.folder / "answers.sqlite").latest()
    assert int(kept.comment) in (seen, seen + 1)  # the last one may have been kept and not acknowledged


# ---- the page ----


class Opened(NamedTuple):
    page: Any
    messages: list[str]
    requests: list[str]


def opened(browser: Any, server: Server, token: str, **context: Any) -> Opened:
    page = browser.new_context(**context).new_page()
    found = Opened(page, [], [])
    page.on("console", lambda message: found.messages.append(message.text))
    page.on("pageerror", lambda error: found.messages.append(str(error)))
    page.on("request", lambda request: found.requests.append(request.url))
    page.goto(f"{server.url}/#{token}")
    page.locator("#questions fieldset").first.wait_for()
    return found


def test_a_whole_review_by_keyboard_with_a_reload_in_the_middle(browser: Any, made: Made, server: Server) -> None:
    shown = opened(browser, server, made.tokens["ana"])
    page, study = shown.page, read_study(made.folder)
    order = order_of(study, "ana")
    items = {item.id: item for item in study.items}
    for place, number in enumerate(order):
        page.locator("#item-title").filter(has_text=f"Item {place + 1} of {len(order)}").wait_for()
        num_questions = 1 if items[number].kind == "pair" else 5
        assert page.locator("#questions fieldset").count() == num_questions
        for asked in range(num_questions):
            if place == 4 and asked == 3 - 3 * (num_questions == 1):
                page.locator("#comment").focus()
                page.keyboard.insert_text("3 = unsure, <b>so</b>")
                page.keyboard.press("Tab")
                page.locator("#saved").filter(has_text="Kept").wait_for()
                page.reload()
                page.locator("#item-title").filter(has_text=f"Item {place + 1} of").wait_for()
                assert page.input_value("#comment") == "3 = unsure, <b>so</b>"
                assert page.locator("#questions input:checked").count() == asked
            page.keyboard.press(str(1 + (place + asked) % 3))
        assert page.locator("#questions input:checked").count() == num_questions
        page.keyboard.press("Enter")
    page.locator("#end-title").filter(has_text="Thank you").wait_for()
    assert page.inner_text("#done") == f"{len(order)} of {len(order)} answered"
    assert shown.messages == []
    assert {url.split("/")[2] for url in shown.requests} == {server.url.split("/")[2]}
    given = {each.item: each for each in AnswerStore(made.folder / "answers.sqlite").latest()}
    assert set(given) == set(order)
    for place, number in enumerate(order):
        item = items[number]
        if item.kind != "pair":
            choices = (("yes", "unsure", "no"), *[("yes", "partly", "no")] * 3, ("no", "possibly", "yes"))
            wanted = [each[(place + asked) % 3] for asked, each in enumerate(choices)]
            assert list(given[number].answer.values()) == wanted
    assert given[order[4]].comment == "3 = unsure, <b>so</b>"
    page.context.close()


def test_texts_stay_texts_and_quotes_light_up(browser: Any, made: Made, server: Server) -> None:
    shown = opened(browser, server, made.tokens["ben"])
    study = read_study(made.folder)
    order = order_of(study, "ben")
    quoting = next(
        place
        for place, number in enumerate(order)
        for item in study.items
        if item.id == number and item.kind == "rating" and item.shown[0].quotes
    )
    for _ in range(quoting):
        shown.page.click("#next")
    shown.page.locator("#item-title").filter(has_text=f"Item {quoting + 1} of").wait_for()
    assert shown.page.locator("#document mark").all_text_contents() == ["was well\nand went home today"]
    assert HOSTILE in shown.page.inner_text("#document")
    assert shown.page.title() == "Toys"
    shown.page.context.close()


def test_a_server_that_is_away_is_told_and_the_answer_comes_later(browser: Any, made: Made, server: Server) -> None:
    shown = opened(browser, server, made.tokens["ben"])
    page = shown.page
    page.context.set_offline(True)
    page.keyboard.press("1")
    page.locator("#failed").filter(has_text="Not kept").wait_for()
    page.context.set_offline(False)
    page.keyboard.press("2") if page.locator("#questions fieldset").count() > 1 else page.keyboard.press("1")
    with page.expect_response(lambda response: "again" in (response.request.post_data or "")):
        page.locator("#comment").fill("again")
    page.locator("#saved").filter(has_text="Kept").wait_for()
    assert page.locator("#failed").is_hidden()
    (given,) = AnswerStore(made.folder / "answers.sqlite").latest()
    assert given.comment == "again"
    assert given.answer
    page.context.close()


def test_somebody_without_a_link_is_asked_for_their_token(browser: Any, made: Made, server: Server) -> None:
    page = browser.new_page()
    page.goto(server.url)
    page.fill("#key", made.tokens["ana"])
    page.keyboard.press("Enter")
    page.locator("#questions fieldset").first.wait_for()
    page.close()


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (800, 1000), (390, 800)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_everybody_can_use_it(
    browser: Any, made: Made, server: Server, width: int, height: int, scheme: str, tmp_path: Path
) -> None:
    shown = opened(
        browser, server, made.tokens["ana"], viewport={"width": width, "height": height}, color_scheme=scheme
    )
    folder = Path(os.environ.get("CLSGEN_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    shown.page.screenshot(path=folder / f"review-{width}-{scheme}.png", full_page=True)
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(shown.page).response["violations"]
    assert [
        (each["id"], each["nodes"][0]["target"]) for each in found if each["impact"] in ("serious", "critical")
    ] == []
    shown.page.context.close()


def test_a_broken_study_is_refused_by_name(made: Made) -> None:
    (made.folder / "study.json").write_text(json.dumps({"format": 1, "title": "x"}))
    with pytest.raises(ArtifactError, match=r"study\.json.* must be a study"):
        read_study(made.folder)
    with pytest.raises(ArtifactError, match="clsgen review create"):
        read_study(made.folder / "none")
