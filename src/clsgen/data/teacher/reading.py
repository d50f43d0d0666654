"""What a linear teacher reads in a sentence: words, numbers by size and by what they measure, negated words."""

from __future__ import annotations

import re

_P_VALUE = re.compile(r"\bp(?:[ -]?values?)?\s*(?:of\s*)?([<>=≤≥]+)\s*(\d*[.·]?\d+)")
_NUMBER = re.compile(r"(\d[\d,]*)(?:[.·]\d+)*")
_MEASURED = re.compile(r"num\d_\d+|num0")
_TOKEN = re.compile(r"[^\W_][\w-]*")
_PLAIN_WORDS = {"a", "an", "and", "at", "by", "for", "from", "in", "is", "of", "on", "or", "than", "the", "to"} | {
    "versus",
    "vs",
    "was",
    "were",
    "with",
}
_WORDS_BEFORE_NUMBER = 4

_NEGATION = re.compile(
    r"\b(?:no|not|without|denie[sd]|never|neither|nor|none of|negative for|free of|absence of|unable)\b"
)
_SCOPE_END = re.compile(r"[.,;:!?()]|\b(?:but|however|although|though|except|while|whereas)\b")
_NEGATED_WORDS = 6
"""A negation reaches so many words, or to the end of its clause (after Chapman et al. 2001, NegEx)."""


def features(text: str) -> str:
    """The text with numbers replaced, and after it what each number measures and which words are negated.

    >>> features("Lactate was 8.2, no fever")
    'lactate was num8_1, no fever . lactate_is_num8_1 . not_fever'
    """
    plain = replace_numbers(text)
    return " . ".join([plain, *_measured(plain), *_negated(plain)])


def _measured(text: str) -> list[str]:
    """Each number with the last word before it that says something."""
    tokens = _TOKEN.findall(text)
    found = []
    for index, token in enumerate(tokens):
        if _MEASURED.fullmatch(token):
            before = [each for each in tokens[max(0, index - _WORDS_BEFORE_NUMBER) : index] if each not in _PLAIN_WORDS]
            found += [f"{before[-1]}_is_{token}"] if before and not _MEASURED.fullmatch(before[-1]) else []
    return found


def _negated(text: str) -> list[str]:
    found = []
    for match in _NEGATION.finditer(text):
        end = _SCOPE_END.search(text, match.end())
        scope = text[match.end() : end.start() if end else len(text)]
        found += [f"not_{word}" for word in re.findall(r"[^\W\d][\w-]+", scope)[:_NEGATED_WORDS]]
    return found


def replace_numbers(text: str) -> str:
    """The text in lower case, a p-value as its side of 0.05, any other number as its first digit and its length.

    >>> replace_numbers("Fell by 3.4 mg in 120 of 1,200 men (P = .03; NS: p > 0.05)")
    'fell by num3_1 mg in num1_3 of num1_4 men (p_small; ns: p_large)'
    """
    return _NUMBER.sub(_number_word, _P_VALUE.sub(_p_value_word, text.lower()))


def _p_value_word(match: re.Match[str]) -> str:
    is_above = ">" in match[1] or "≥" in match[1]
    return "p_small" if not is_above and float(match[2].replace("·", ".")) <= 0.05 else "p_large"


def _number_word(match: re.Match[str]) -> str:
    digits = match[1].replace(",", "").lstrip("0")
    return f"num{digits[0]}_{len(digits)}" if digits else "num0"
