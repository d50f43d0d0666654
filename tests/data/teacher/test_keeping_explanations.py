"""Filters, the choice among answers, and what each row and class is left with."""

from __future__ import annotations

import json

import pytest

from clsgen.data.teacher.answers import Answer
from clsgen.data.teacher.asks import ROUNDS, Asking, Round
from clsgen.data.teacher.filters import Filters, check_selection
from clsgen.data.teacher.outcomes import Judge, Outcome, by_hand, record_of
from clsgen.data.teacher.prompts import load_prompts
from clsgen.data.teacher.selection import Judged, choose, choose_side, quoted_share
from clsgen.data.teacher.store import Store, Stored
from clsgen.data.teacher.tally import tally
from clsgen.errors import ConfigError
from clsgen.llm.chat import ChatReply
from clsgen.llm.limits import Prices
from clsgen.types import Example, TaskSpec

DOCUMENT = (
    "Admitted with sepsis. The lactate was 8.2 on arrival and she needed two vasopressors. She went home on day 9."
)
GOOD = 'She was very ill on arrival: "the lactate was 8.2 on arrival" and she needed two vasopressors.'
SPEC = TaskSpec("n", ("survived", "died"), "Died or survived?", "died")


@pytest.mark.parametrize(
    ("reason", "label", "dropped"),
    [
        (GOOD, "died", None),
        (GOOD, "survived", "label_disagreement"),
        (GOOD, None, "conclusion_missing"),
        ("", "died", "conclusion_missing"),
        ("As the label says, she was very ill on arrival and needed two vasopressors.", "died", "leakage"),
        ("Given that the answer is died, she must have been very ill on arrival.", "died", "leakage"),
        ("I was told that she would not live, and she was very ill on arrival.", "died", "leakage"),
        ("As the hint says, she was very ill on arrival and needed two vasopressors.", "died", "leakage"),
        ('It says "she was moribund on arrival" and that she needed two vasopressors.', "died", "quote_not_found"),
        ("She was very ill on arrival and the autopsy found an abscess in the liver.", "died", "outcome_words"),
        ("She was very ill.", "died", "degenerate"),
        ("she was very ill " * 5, "died", "degenerate"),
        (" ".join(f"word{n}" for n in range(40)), "died", "too_long"),
        ("Die Patientin war bei der Aufnahme schwer krank und brauchte zwei Vasopressoren.", "died", "wrong_language"),
    ],
)
def test_each_filter_has_its_reason(reason: str, label: str | None, dropped: str | None) -> None:
    filters = Filters(max_words=30, outcome_words=("autopsy",))
    assert filters.check_answer(Answer(reason, label), wanted="died", document=DOCUMENT) == dropped


def test_outcome_words_of_the_document_and_own_leak_phrases() -> None:
    filters = Filters(outcome_words=("went home",), leak_phrases=("the sheet",))
    assert filters.check_text("She went home on day 9 and needed two vasopressors.", DOCUMENT) is None
    assert filters.check_text("By the  Sheet she was ill and needed two vasopressors.", DOCUMENT) == "leakage"


@pytest.mark.parametrize(
    "start",
    [
        "As the labels say,",
        "Based on the label provided,",
        "Based on the answer provided,",
        "Given the label of died,",
        "Consistent with the provided label,",
        "This case was annotated as died:",
        "The ground-truth label is died:",
        "The gold standard says died:",
        "Knowing the answer is died,",
        "The prompt states that the answer is died:",
        "You told me that she died:",
        "As you indicated,",
        "Per the instructions,",
        "The hint suggests death:",
        "As “the label” says,",
        "As the *label* says,",
        "As the la\u00adbel says,",
        "All of it fits the labelled outcome:",
    ],
)
def test_whoever_was_told_the_label_and_says_so_is_found_out(start: str) -> None:
    reason = f"{start} she was ill with a lactate of 8.2 and needed two vasopressors."
    assert Filters().check_text(reason, DOCUMENT) == "leakage"


def test_what_a_true_quote_says_is_no_leak() -> None:
    document = f"{DOCUMENT} The label says: as you indicated, I was told that it is so."
    quote = "as you indicated, I was told that it is so"
    assert Filters().check_text(f'She needed two vasopressors, and says "{quote}" of it.', document) is None
    assert Filters().check_text(f"She needed two vasopressors, and {quote} in her case.", document) == "leakage"


@pytest.mark.parametrize("told", ["autopsies", "AUTOPSY-proven", "post-autopsy", "autopsy"])
def test_outcome_words_are_found_in_the_plural_and_within_others(told: str) -> None:
    reason = f"The {told} state was very poor, and she needed two vasopressors then."
    assert Filters(outcome_words=("autopsy",)).check_text(reason, DOCUMENT) == "outcome_words"


def test_scripts_without_blanks_are_neither_short_nor_endless() -> None:
    document = "患者因发热入院，射血分数很低，没有看到任何益处，因此他去了临终关怀。"
    assert Filters().check_text("病人的射血分数很低，没有看到任何益处，预后很差。", document) is None
    long = "甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉戌亥天地玄黄宇宙洪荒日月盈昃辰宿列张"
    assert Filters(max_words=30).check_text(long, document) == "too_long"


@pytest.mark.parametrize(
    "fair",
    [
        "The labels of the bottles were read, and the given dose was 5 mg as stated in the text.",
        "The answer to treatment was good and the lactate fell from 8.2 within two days.",
        "There was a hint of infection, and she needed two vasopressors on arrival.",
        "In the open-label phase of the trial the lactate fell, and two vasopressors were needed.",
        "The relatives say that we were informed late, and she needed two vasopressors.",
        "The outcome given vasopressors was poor, and the lactate of 8.2 fell only later on.",
        "The annotation is consistent with what nurses wrote of the two vasopressors then.",
        "Cells labelled with the drug's label colour were counted on arrival, and the lactate fell.",
    ],
)
def test_plain_words_that_look_like_leaks_are_kept(fair: str) -> None:
    assert Filters().check_text(fair, DOCUMENT) is None


def test_a_language_is_only_judged_where_it_is_sure() -> None:
    assert Filters().check_text("Lactate 8.2, EF 23%, DNR, two vasopressors, day 9.", DOCUMENT) is None
    german = "Die Patientin war bei der Aufnahme schwer krank und brauchte zwei Vasopressoren."
    assert Filters(is_language_checked=False).check_text(german, DOCUMENT) is None


def stored(reason: str, label: str = "died", told: str | None = None, **fields: object) -> Stored:
    content = json.dumps({"reason": reason, "answer": label})
    values = {"key": reason, "kind": "blind", "label": told, "sample": 0, "failure": None, "content": content}
    return Stored(
        **{**values, "finish_reason": "stop", "prompt_tokens": 3, "completion_tokens": 2, "model": "m"} | fields
    )


def judged(reason: str, dropped: str | None = None, told: str | None = None) -> Judged:
    return Judged(stored(reason, told=told), reason, dropped)


def test_the_best_answer_is_chosen_in_the_order_given() -> None:
    quoting = judged('She needed two pressors: "the lactate was 8.2 on arrival", so she was ill indeed.')
    short = judged("The patient was ill and needed much help.")
    alike = judged("The patient was ill and needed much help from drugs.")
    assert choose([short, alike, quoting], DOCUMENT, ["grounding"]) == quoting
    assert choose([quoting, alike, short], DOCUMENT, ["length"]) == short
    assert choose([quoting, short, alike], DOCUMENT, ["agreement", "length"]) == short
    assert choose([short, short], DOCUMENT, ["length"]) == short
    assert choose([judged("x", "leakage")], DOCUMENT, ["length"]) is None
    with pytest.raises(ConfigError, match=r"names must be among grounding, agreement, length; got 'size'"):
        check_selection(["size"])


def test_the_better_supported_side_stands_and_ties_go_to_the_rows_label() -> None:
    row = Example("a", DOCUMENT, label="died")
    strong = judged("The lactate was 8.2 on arrival and she needed two vasopressors.", told="died")
    weak = judged("There is some hope as she went on day nine to somewhere.", told="survived")
    assert [each.dropped for each in choose_side([weak, strong], row, ["grounding"])] == [None]
    stronger = judged("The lactate was 8.2 on arrival and she needed two vasopressors.", told="survived")
    feeble = judged("There is no hope as she was ill in many ways at once.", told="died")
    assert [each.dropped for each in choose_side([stronger, feeble], row, ["grounding"])] == ["other_side"]
    assert [each.dropped for each in choose_side([stronger, strong], row, ["grounding"])] == [None]


def test_quoted_share_by_hand() -> None:
    assert quoted_share("the lactate was 8.2 then", DOCUMENT) == pytest.approx(5 / 6)  # 8.2 is two words
    assert quoted_share("lactate was high", DOCUMENT) == 0.0
    assert quoted_share("", DOCUMENT) == 0.0


@pytest.fixture
def judge(tmp_path):
    asking = Asking(SPEC, load_prompts(None), "m", num_samples=2, temperature=1, top_p=1, max_tokens=64, seed=0)
    store = Store(tmp_path / "s.sqlite")
    yield Judge(asking, store, Filters(is_language_checked=False), ("grounding", "agreement", "length"))
    store.close()


def answer(judge: Judge, row: Example, round_: Round, *contents: str | None, finish: str = "stop") -> None:
    for ask, content in zip(judge.asking.asks(row, round_), contents, strict=True):
        if content is None:
            judge.store.put_failure(ask, "timeout")
        else:
            judge.store.put(ask, ChatReply(content, None, finish, 10, 5, "m"))


def says(reason: str, label: str) -> str:
    return json.dumps({"reason": reason, "answer": label})


def test_a_hint_is_only_used_where_every_blind_answer_failed(judge: Judge) -> None:
    rows = [Example(f"r{n}", f"{DOCUMENT} Bed {n}.", label="died") for n in range(3)]
    blind, hinted = ROUNDS["blind_then_hinted"]
    answer(judge, rows[0], blind, says(GOOD, "died"), says(GOOD, "survived"))
    answer(judge, rows[1], blind, says(GOOD, "survived"), None)
    answer(judge, rows[2], blind, says(GOOD, "survived"), "nothing of use")
    for row in rows:
        answer(judge, row, hinted, says(f"Two vasopressors were needed in bed {row.id} and more help.", "died"), "no")
    outcomes = judge.settle(judge.settle([Outcome(row) for row in rows], blind), hinted)
    assert [each.explanation for each in outcomes] == [
        GOOD,
        "Two vasopressors were needed in bed r1 and more help.",
        "Two vasopressors were needed in bed r2 and more help.",
    ]
    assert [each.is_hinted for each in outcomes] == [False, True, True]
    assert [each.answers for each in outcomes] == [2, 4, 4]
    assert outcomes[1].dropped == {"label_disagreement": 1, "failed": 1, "conclusion_missing": 1}
    record = record_of(outcomes[1], strategy="blind_then_hinted", prompts_hash="h", row_hash="r")
    assert (record["is_hinted"], record["kind"], record["prompt_tokens"]) == (True, "hinted", 30)


def test_two_rows_do_not_share_one_explanation_and_the_earlier_row_has_it(judge: Judge) -> None:
    rows = [Example(f"r{n}", DOCUMENT, label="died") for n in range(2)]
    for row in reversed(rows):
        answer(judge, row, Round("blind"), says(GOOD, "died"), says(GOOD.upper(), "died"))
    outcomes = judge.settle([Outcome(row) for row in rows], Round("blind"))
    assert [each.is_open for each in outcomes] == [False, True]
    assert outcomes[1].reason == "duplicate"


def test_a_cut_answer_is_dropped_even_where_it_can_be_read(judge: Judge) -> None:
    row = Example("r", DOCUMENT, label="died")
    answer(judge, row, Round("blind"), says(GOOD, "died"), says(GOOD, "died"), finish="length")
    (outcome,) = judge.settle([Outcome(row)], Round("blind"))
    assert outcome.dropped == {"cut_off": 2}


def test_the_tally_counts_by_class_and_shows_a_lost_share(judge: Judge) -> None:
    rows = [Example(f"r{n}", f"{DOCUMENT} Bed {n}.", label="died" if n < 2 else "survived") for n in range(8)]
    for number, row in enumerate(rows):
        told = "survived" if number == 0 else str(row.label)
        reason = f"In bed {number} she needed two vasopressors and more."
        answer(judge, row, Round("blind"), says(reason, told), says("x", told))
    found = tally(judge.settle([Outcome(row) for row in rows], Round("blind")), SPEC.labels, Prices(1.0, 2.0))
    assert list(found) == ["survived", "died", "all"]
    died = found["died"]
    assert (died.num_rows, died.num_kept, died.num_answers) == (2, 1, 4)
    assert died.dropped_answers == {"label_disagreement": 2, "degenerate": 1}
    assert died.dropped_rows == {"label_disagreement": 1}
    assert died.lost_points == pytest.approx(100 * (2 / 8 - 1 / 7))
    assert found["all"].tokens.total == 8 * 30
    assert found["all"].cost == pytest.approx((8 * 20 * 1.0 + 8 * 10 * 2.0) / 1e6)
    assert died.to_json()["hinted_share"] == 0.0


def test_human_explanations_stay_as_they_are() -> None:
    rows = [Example("a", DOCUMENT, label="died", explanation="Ill."), Example("b", DOCUMENT, label="died")]
    outcomes = by_hand(rows)
    assert [(each.explanation, each.source, each.is_hinted) for each in outcomes] == [
        ("Ill.", "human", False),
        (None, None, False),
    ]
    found = tally(outcomes, SPEC.labels, None)
    assert found["died"].dropped_rows == {"not_asked": 1}
    assert found["all"].cost is None
    assert tally([], SPEC.labels, None)["all"].lost_points is None
