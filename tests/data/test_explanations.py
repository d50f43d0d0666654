from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsgen.data.explanations import (
    Grounding,
    distinct_share,
    grounding,
    is_readable,
    known_share,
    quotes,
    repetition,
    vocabulary_of,
    without_true_quotes,
    words,
)

PLAIN = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
KNOWN = vocabulary_of([PLAIN + " eighteen nineteen twenty"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("...  --- '' _", []),
        ("Don't stop", ["don't", "stop"]),
        ("COVID-19 is well-known -not- 'quoted'", ["covid-19", "is", "well-known", "not", "quoted"]),
        ("naïve Ärzte, 1,700 mg", ["naïve", "ärzte", "1", "700", "mg"]),
        ("snake_case", ["snake", "case"]),
        ("line\nbreak\ttab", ["line", "break", "tab"]),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


@given(st.text(max_size=80))
def test_words_do_not_depend_on_case_or_on_space_around(text):
    assert words(f"  {text}\n") == words(text)
    assert all(word and not word.isspace() for word in words(text))


def test_a_readable_explanation_and_each_way_to_fail():
    eight = "one two three four five six seven eight"
    assert is_readable(eight, has_ended=True, vocabulary=KNOWN)
    assert not is_readable(eight, has_ended=False, vocabulary=KNOWN)
    assert not is_readable("one two three four five six seven", has_ended=True, vocabulary=KNOWN)
    assert not is_readable("", has_ended=True, vocabulary=KNOWN)


def test_a_four_gram_may_come_three_times_but_not_four():
    # Different words between, so that only this 4-gram repeats.
    run = "one two three four"
    three = f"{run} five {run} six {run} seven"
    assert is_readable(three, has_ended=True, vocabulary=KNOWN)
    assert not is_readable(f"{three} {run}", has_ended=True, vocabulary=KNOWN)


def test_one_unknown_word_in_twenty_is_readable_and_two_are_not():
    nineteen = " ".join([*PLAIN.split(), "eighteen", "nineteen"])
    assert is_readable(f"{nineteen} blorp", has_ended=True, vocabulary=KNOWN)
    assert not is_readable(f"{PLAIN} eighteen blorp blorp", has_ended=True, vocabulary=KNOWN)


def test_numbers_count_as_known_words():
    assert known_share("17 2.5 30-40 blorp", frozenset()) == pytest.approx(4 / 5)
    assert known_share("30-day", frozenset()) == 0.0
    assert math.isnan(known_share("...", KNOWN))


def test_repetition_counts_four_grams_seen_before():
    assert repetition("a b c") == (0, 0)
    assert repetition("a a a a a a") == (3, 2)
    assert repetition("A b c d. a B c d") == (5, 1)


def test_distinct_share_is_over_all_texts_together():
    assert distinct_share(["a b", "a b"], 2) == 0.5
    assert distinct_share(["a b", "b a"], 2) == 1.0
    assert distinct_share(["a a b", ""], 1) == pytest.approx(2 / 3)
    assert math.isnan(distinct_share(["a"], 2))
    assert math.isnan(distinct_share([], 1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('The note says "no chest pain at rest".', ["no chest pain at rest"]),
        ("The note says “no chest pain at rest”.", ["no chest pain at rest"]),
        ('The note says "chest pain" only.', []),
        ('Not closed: "no chest pain at rest', []),
        ("'no chest pain at rest' is one, the patient's own word's sake is none", ["no chest pain at rest"]),
        (
            "«no chest pain at rest» and „none seen since last week“",
            ["no chest pain at rest", "none seen since last week"],
        ),
        (
            "`no chest pain at rest` and ‘none seen since last week’",
            ["no chest pain at rest", "none seen since last week"],
        ),
        ('A wound of 5" to the left and a scar of 6" to the right', []),
        ('"one two three four" and "five six seven eight"', ["one two three four", "five six seven eight"]),
        ("", []),
    ],
)
def test_quotes(text, expected):
    assert quotes(text) == expected


def test_grounding_ignores_case_and_white_space_only():
    document = "The patient has\n  NO chest pain, at rest. Discharged home."
    assert grounding('He has "no Chest  pain, at rest".', document) == (1, 1)
    assert grounding('He has "no chest pain at rest".', document) == (1, 0)
    assert grounding('"no chest pain, at rest" and "no chest pain, at work"', document) == (2, 1)
    assert grounding("no quote here", document) == (0, 0)


def test_vocabulary_is_of_all_documents():
    assert vocabulary_of(["A b", "b C."]) == {"a", "b", "c"}
    assert vocabulary_of([]) == frozenset()


@pytest.mark.parametrize(
    ("quote", "is_held"),
    [
        ("The wound didn't heal at all", True),  # the document's apostrophe is curly
        ("didn’t heal at all.", True),
        ("The wound didn't ... sent to hospice care,", True),
        ("The wound didn't heal […] hospice care today", True),
        ("The wound didn't ... sent to another clinic", False),
        ("he said 'leave me alone' and left", True),
        ("a wound that didn't heal at all", False),
        ("hospice care today ... The wound didn't", False),  # the other way round
        ("T ... w ... d ... h", False),  # letters, not words
    ],
)
def test_a_true_quote_is_found_whatever_its_typography(quote, is_held):
    document = "The wound didn’t heal at all, so she was sent to hospice care today. He said “leave me alone” and left."
    assert grounding(f'It says "{quote}"' if '"' not in quote else quote, document) == Grounding(1, int(is_held))


def test_what_is_quoted_truly_can_be_set_aside():
    document = "The patient said: I was given aspirin at noon."
    text = 'She said "I was given aspirin" and then "I was given a placebo drug".'
    assert without_true_quotes(text, document) == 'She said   and then "I was given a placebo drug".'
    assert without_true_quotes("no quote", document) == "no quote"


def test_scripts_without_blanks_are_counted_by_the_letter():
    assert words("病人很好。") == ["病", "人", "很", "好"]
    assert words("CT显示 no change") == ["ct", "显", "示", "no", "change"]
    assert words("환자는 좋다") == ["환자는", "좋다"]  # Korean has blanks
