"""Words and word pairs of the documents that almost determine the label: an outcome that slipped in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

from clsgen.data.words import WordIds, frequent

MIN_DOCUMENTS = 10
MIN_DOCUMENT_SHARE = 0.01
MIN_SHARE = 0.97
MIN_LOWER_BOUND = 0.9
MIN_COVERAGE = 0.05
MAX_BASE_SHARE = 0.8
MAX_CHANCE = 0.01
_Z_95 = 1.959963984540054


class TellingWord(NamedTuple):
    """A word or pair whose documents nearly all have one label.

    Attributes:
        text: The word, or two words that follow each other.
        label: The label.
        num_documents: Labelled train documents that hold it.
        share: Share of those with the label.
        lower_bound: Lower end of the 95% Wilson interval of `share`.
        base_share: Share of all labelled train documents with the label.
        coverage: Share of the label's documents that hold the word.
        is_leak: Whether it counts as a leak, else as a warning; see `telling_words`.
    """

    text: str
    label: str
    num_documents: int
    share: float
    lower_bound: float
    base_share: float
    coverage: float
    is_leak: bool


def wilson_lower(successes: NDArray[np.int64], trials: NDArray[np.int64]) -> NDArray[np.float64]:
    """Lower end of the 95% Wilson score interval of a share (Wilson 1927).

    Args:
        successes: Counts, of any shape.
        trials: Counts of that shape, 1 or more.

    Returns:
        float64 of that shape, in [0, 1].

    >>> wilson_lower(np.array([10, 35]), np.array([10, 35])).round(3).tolist()
    [0.722, 0.901]
    """
    share, square = successes / trials, _Z_95**2
    spread = _Z_95 * np.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    lower: NDArray[np.float64] = (share + square / (2 * trials) - spread) / (1 + square / trials)
    return lower


def telling_words(words: WordIds, labels: Sequence[str]) -> tuple[TellingWord, ...]:
    """Words and pairs in at least max(10, 1%) of the documents, 97% or more of which have one label.

    Listed if that is beyond chance: the binomial tail under the label's base share is below 0.01 after Bonferroni
    over all words and pairs tested, and the other labels' share is at most half of their base share (where nearly
    all documents have one label, not every word determines it). A pair that holds a listed word of the same label
    is not repeated.

    A leak is a listed word whose Wilson bound is 0.9 or more, which stands in 5% or more of the label's documents,
    and whose label at most 80% of the documents have. Any other is a warning: too few documents to be sure, too
    few to matter, or a label that is the rule.

    Args:
        words: The train documents.
        labels: Their labels, one a document.

    Returns:
        Leaks first, then by number of documents.
    """
    names, class_N = np.unique(np.array(labels, dtype=np.str_), return_inverse=True)
    if len(names) < 2:
        return ()
    totals_K = np.bincount(class_N)
    tables = [_count(words, class_N, num_words=num_words) for num_words in (1, 2)]
    num_tests = sum(len(table.codes) for table in tables)
    told: dict[tuple[str, ...], TellingWord] = {}
    for table in tables:
        for row in _listed(table.counts_TK, totals_K, num_tests):
            spelt = _spell(int(table.codes[row]), words.vocabulary, table.num_words)
            word = _telling_word(" ".join(spelt), table.counts_TK[row], totals_K, names)
            if not any((part,) in told and told[(part,)].label == word.label for part in spelt):
                told[spelt] = word
    return tuple(sorted(told.values(), key=lambda word: (not word.is_leak, -word.num_documents, word.text)))


class _Table(NamedTuple):
    """Runs of `num_words` words by code (T,), and in how many documents of each class each stands (T, K)."""

    num_words: int
    codes: NDArray[np.int64]
    counts_TK: NDArray[np.int64]


def _count(words: WordIds, class_N: NDArray[np.int64], *, num_words: int) -> _Table:
    """The runs that stand in documents enough; a pair's code is first * vocabulary + second."""
    size = len(words.vocabulary)
    runs = [np.unique(ids if num_words == 1 else ids[:-1] * size + ids[1:]) for ids in words.documents]
    num_classes = int(class_N.max()) + 1
    row_class = np.repeat(class_N, [each.size for each in runs])
    kept = frequent(np.concatenate(runs), max(MIN_DOCUMENTS, int(np.ceil(MIN_DOCUMENT_SHARE * len(runs)))))
    is_kept = kept.column >= 0
    cells = np.bincount(
        kept.column[is_kept] * num_classes + row_class[is_kept], minlength=kept.codes.size * num_classes
    )
    return _Table(num_words, kept.codes.astype(np.int64), cells.reshape(-1, num_classes))


def _listed(counts_TK: NDArray[np.int64], totals_K: NDArray[np.int64], num_tests: int) -> NDArray[np.int64]:
    """Rows of the table that determine their commonest label beyond chance."""
    trials_T, hits_T = counts_TK.sum(axis=1), counts_TK.max(axis=1, initial=0)
    base_T = (totals_K / totals_K.sum())[counts_TK.argmax(axis=1)]
    share_T = hits_T / trials_T
    # P(X >= k) of a binomial is the regularised incomplete beta function I_p(k, n - k + 1).
    chance_T = betainc(hits_T, trials_T - hits_T + 1, base_T)
    is_listed_T = (share_T >= MIN_SHARE) & (chance_T * num_tests < MAX_CHANCE) & (1 - share_T <= (1 - base_T) / 2)
    return np.flatnonzero(is_listed_T)


def _spell(code: int, vocabulary: Sequence[str], num_words: int) -> tuple[str, ...]:
    if num_words == 1:
        return (vocabulary[code],)
    first, second = divmod(code, len(vocabulary))
    return (vocabulary[first], vocabulary[second])


def _telling_word(
    text: str, counts_K: NDArray[np.int64], totals_K: NDArray[np.int64], names: NDArray[np.str_]
) -> TellingWord:
    label = int(counts_K.argmax())
    hits, trials = int(counts_K[label]), int(counts_K.sum())
    lower = float(wilson_lower(np.array(hits), np.array(trials)))
    base, coverage = float(totals_K[label] / totals_K.sum()), float(hits / totals_K[label])
    return TellingWord(
        text=text,
        label=str(names[label]),
        num_documents=trials,
        share=hits / trials,
        lower_bound=lower,
        base_share=base,
        coverage=coverage,
        is_leak=lower >= MIN_LOWER_BOUND and coverage >= MIN_COVERAGE and base <= MAX_BASE_SHARE,
    )
