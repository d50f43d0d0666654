"""The wording: an independent reader recovers every finding from the note, and the lengths are as asked."""

from __future__ import annotations

import re

import numpy as np
import pytest

from clsgen.tasks.synthetic import generate_notes
from clsgen.tasks.synthetic_filler import NUMBER_SLOTS, SHORT_FILLER, WORD_SLOTS
from clsgen.tasks.synthetic_findings import FINDINGS
from clsgen.tasks.synthetic_long import CORE, LONG_FILLER
from clsgen.tasks.synthetic_phrases import DECOYS, SECTION_OF, WORDING
from clsgen.tasks.synthetic_reason import LIMITS_WORDS
from clsgen.tasks.synthetic_risk import contributions_of, risk_model_for

PRONOUNS = {"he": "s?he", "his": "his|her", "him": "him|her", "man": "(?:wo)?man"}


def _pattern(template: str) -> re.Pattern[str]:
    """A template as a pattern: the number is captured, other slots match their words."""
    text = re.escape(template.replace("[", "").replace("]", ""))

    def slot(match: re.Match[str]) -> str:
        name = match.group(1).lower()
        if name == "v":
            return r"(\d+(?:\.\d+)?)"
        words = PRONOUNS.get(name) or ("|".join(WORD_SLOTS[name]) if name in WORD_SLOTS else r"\d+")
        return f"(?:{words})"

    return re.compile(r"(?:^|(?<=\s))" + re.sub(r"\\\{(\w+)\\\}", slot, text) + r"(?=\s|$)", re.IGNORECASE)


READERS = {
    (finding.name, level.name): [_pattern(template) for template in WORDING[finding.name][level.name]]
    for finding in FINDINGS
    for level in finding.levels
}


def _read_level(finding, document: str) -> set[str]:
    """Names of the states that the document states."""
    found = set()
    for level in finding.levels:
        for pattern in READERS[finding.name, level.name]:
            for match in pattern.finditer(document):
                low, high = level.bounds or (-np.inf, np.inf)
                if not match.groups() or low <= float(match.group(1)) <= high:
                    found.add(level.name)
    return found


@pytest.mark.parametrize(("length", "num_rows"), [("short", 150), ("lcd", 15)])
def test_the_note_alone_gives_the_true_risk(length, num_rows):
    model = risk_model_for(0.3)
    for example in generate_notes(num_rows, length=length, prevalence=0.3, seed=11):
        levels = []
        for finding in FINDINGS:
            stated = _read_level(finding, example.document)
            assert len(stated) <= 1, (finding.name, stated)
            names = [level.name for level in finding.levels]
            weightless = [index for index, level in enumerate(finding.levels) if level.weight == 0]
            levels.append(names.index(stated.pop()) if stated else weightless[0])
        logit = model.intercept + model.scale * contributions_of(np.array(levels)).sum()
        assert 1 / (1 + np.exp(-logit)) == pytest.approx(example.metadata["risk"], abs=1e-9)


def test_every_state_has_three_to_eight_wordings_and_every_slot_is_known():
    assert set(SECTION_OF) == {finding.name for finding in FINDINGS} == set(WORDING)
    texts = [block for _, block in (*SHORT_FILLER, *CORE, *LONG_FILLER)]
    texts += [text for group in DECOYS.values() for text in group]
    for finding in FINDINGS:
        assert set(WORDING[finding.name]) == {level.name for level in finding.levels}
        for level in finding.levels:
            sentences = WORDING[finding.name][level.name]
            assert 3 <= len(sentences) <= 8
            assert all(("[" in sentence) or level.weight == 0 for sentence in sentences)
            assert all(("{v}" in sentence) == (level.bounds is not None) for sentence in sentences)
            texts += sentences
    slots = {name.lower() for text in texts for name in re.findall(r"\{(\w+)\}", text)}
    assert slots - {"v"} <= set(WORD_SLOTS) | set(NUMBER_SLOTS) | set(PRONOUNS)


@pytest.mark.parametrize("length", ["short", "lcd"])
def test_decoys_and_filler_state_no_finding(length):
    texts = [text for group in DECOYS.values() for text in group]
    texts += [block for _, block in (SHORT_FILLER if length == "short" else (*CORE, *LONG_FILLER))]
    assert texts
    for text in texts:
        plain = re.sub(r"\{(\w+)\}", lambda match: {"he": "he", "his": "his"}.get(match.group(1).lower(), "7"), text)
        for finding in FINDINGS:
            assert not _read_level(finding, plain), (finding.name, text)


@pytest.mark.parametrize(("length", "num_rows", "median"), [("short", 300, 120), ("lcd", 200, 1700)])
def test_median_length_is_within_15_percent(length, num_rows, median):
    examples = generate_notes(num_rows, length=length, prevalence=0.3, seed=2)
    words = [len(example.document.split()) for example in examples]
    assert np.median(words) == pytest.approx(median, rel=0.15)
    assert max(words) > 1.2 * min(words)


def test_section_order_and_headers_vary():
    documents = [example.document for example in generate_notes(60, length="short", prevalence=0.3, seed=3)]
    headers = [tuple(re.findall(r"^[A-Z][\w ]+:$", document, re.MULTILINE)) for document in documents]
    assert len(set(headers)) > 30
    assert () in headers
    assert all("{" not in document and "[" not in document for document in documents)


def test_reasons_quote_the_causes_and_no_other_finding():
    examples = generate_notes(300, length="short", prevalence=0.3, seed=4)
    for example in examples:
        causes = example.metadata["causes"]
        reason, document = example.explanation.lower(), example.document.lower()
        assert LIMITS_WORDS[0] <= len(example.explanation.split()) <= LIMITS_WORDS[1]
        assert 1 <= len(causes) <= 4
        for cause in causes:
            assert cause["fact"].lower() in reason
            assert cause["fact"].lower() in document
        named = {cause["finding"] for cause in causes}
        for finding in FINDINGS:
            if finding.name not in named:
                assert not _facts(finding, example.document) & _pieces(reason)
        for quoted in re.findall(r'"(.+)\."$', example.explanation):
            assert quoted in example.document


def _facts(finding, document: str) -> set[str]:
    """The bracketed words of the finding's sentences that stand in the document."""
    facts = set()
    for level in finding.levels:
        for template in WORDING[finding.name][level.name]:
            match = _pattern(template).search(document)
            if match and "[" in template:
                fact = template[template.index("[") + 1 : template.index("]")].lower()
                facts.add(fact.format_map(_Stated(match)) if "{" in fact else fact)
    return facts


class _Stated(dict):
    def __init__(self, match: re.Match[str]) -> None:
        super().__init__({"v": match.group(1)} if match.groups() else {})

    def __missing__(self, key: str) -> str:
        return "?"


def _pieces(reason: str) -> set[str]:
    """All runs of one to eight words of the reason, without punctuation at their ends."""
    words = [word.strip('.,"') for word in reason.split()]
    return {" ".join(words[i : i + n]) for n in range(1, 9) for i in range(len(words) - n + 1)}


def test_causes_are_the_largest_absolute_contributions_whatever_the_label():
    model = risk_model_for(0.3)
    for example in generate_notes(40, length="short", prevalence=0.3, seed=6):
        levels = []
        for finding in FINDINGS:
            stated = _read_level(finding, example.document)
            names = [level.name for level in finding.levels]
            weightless = [index for index, level in enumerate(finding.levels) if level.weight == 0]
            levels.append(names.index(stated.pop()) if stated else weightless[0])
        sizes = np.sort(np.abs(model.scale * contributions_of(np.array(levels))))[::-1][:4]
        stated_sizes = [abs(cause["contribution"]) for cause in example.metadata["causes"]]
        np.testing.assert_allclose(stated_sizes, sizes[sizes > 0], atol=1e-9)


def test_both_classes_have_reasons_of_one_style():
    examples = generate_notes(400, length="short", prevalence=0.3, seed=7)
    lengths = {
        label: [len(example.explanation.split()) for example in examples if example.label == label]
        for label in ("died", "survived")
    }
    assert np.median(lengths["died"]) == pytest.approx(np.median(lengths["survived"]), abs=6)
    assert len({example.explanation for example in examples}) > 390
