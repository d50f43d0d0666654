"""The measures of the explanations: which are taken of which rows, and what each means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from clsgen.data import explanations
from clsgen.errors import DataError
from clsgen.evaluation.alignment import auroc_alignment, r_lkappa, rli, rli_bounds
from clsgen.evaluation.arrays import IntArray, ratio, weighted_mean
from clsgen.evaluation.intervals import Statistic
from clsgen.evaluation.measures import Measure
from clsgen.evaluation.similarity import chrf, has_sacrebleu, rouge_l
from clsgen.evaluation.table import ABSENT, Table

if TYPE_CHECKING:  # which loads pyarrow
    from clsgen.data.prediction_columns import Written

_ALIGNMENT = {
    "auroc_alignment": "AUROC of the calibrated probability against the label that the explanation states (free mode, "
    "parsed explanations; no threshold in it; with more than two classes the mean over the stated ones, each against "
    "the rest). Higher is better.",
    "rli": "Reason-label inconsistency: share of parsed free-mode explanations whose stated label differs from the "
    "decision at the stored threshold. `bounds` has all explanations, the unparsed ones taken to agree or to disagree. "
    "Lower is better.",
    "rli_argmax": "RLI against the most probable label instead of the decision at the stored threshold.",
    "r_lkappa": "Cohen's kappa of the stated label and the decision at the stored threshold (free mode, parsed). "
    "1 - RLI / (1 - p_e): low at low prevalence even where RLI is small. Higher is better.",
    "r_lkappa_argmax": "Cohen's kappa of the stated label and the most probable label.",
    "unparsed_rate": "Share of free-mode explanations that state none of the labels. Never counted as a label.",
}
_TEXT = {
    "readability": "Share of explanations that ended by themselves, have 8 words or more, hold no 4-gram more than 3 "
    "times, and have at least 95% known words (of the training rows, of the row's own document, or numbers).",
    "ended_share": "Share of explanations that ended by themselves, not at the length limit.",
    "grounding": "Share of quotes (4 words or more between quotation marks) found in the document, letter case "
    "and white space aside; quotes of all explanations together.",
    "quote_share": "Share of explanations that quote 4 words or more at all.",
    "boilerplate_share": "Share of explanations that a row with another document has word for word. High where one "
    "phrase is given as the reason of many texts; templated reference explanations have it too.",
    "repetition": "Share of 4-grams that repeat an earlier one of the same explanation; all explanations together.",
    "length_words": "Mean number of words of an explanation.",
    "distinct_1": "Distinct words over all words of all explanations together. Falls with their number.",
    "distinct_2": "Distinct pairs of adjacent words over all pairs of all explanations together. Falls likewise.",
}


_REFERENCE = {
    "rouge_l": "ROUGE-L of an explanation against the reference one: F1 of the longest common subsequence of words, "
    "mean over rows that have both, 0 to 1. Higher is better; a good reason may be worded otherwise.",
    "readability_reference": "Readability of the same rows' reference explanations: what a model that wrote like "
    "their authors would reach.",
    "chrf": "chrF of an explanation against the reference one (sacrebleu's defaults), mean over rows that have both, "
    "0 to 100. Higher is better.",
}
_BLIND = {
    "blind_agreement": "Share of explanations, in either mode, from which a reader that sees the reason alone, its "
    "answer cut, recovers the decided label. The reader is a bag of words fitted on the train rows' reasons. Higher is "
    "better.",
    "blind_kappa": "Cohen's kappa of the label so recovered and the decision. Higher is better.",
}
_NO_VOCABULARY = "needs the vocabulary of the training documents"
_ALL = _ALIGNMENT | _TEXT | _REFERENCE | _BLIND


def explanation_measures(
    table: Table,
    *,
    documents: Mapping[str, str] | None = None,
    vocabulary: frozenset[str] | None = None,
    references: Mapping[str, str] | None = None,
    recovered: Mapping[str, str] | None = None,
) -> dict[str, Measure]:
    """Gives the measures of the rows that have an explanation; "not applicable" each where no row has one.

    Args:
        table: The predictions.
        documents: Document of each row by id; None leaves grounding null.
        vocabulary: Words of the training documents; None leaves readability null.
        references: Reference explanation by id, where there is one; None leaves the likeness to it null.
        recovered: Label that a blind reader gives each explanation, by id; None leaves its figures null.

    Raises:
        DataError: A row with an explanation has no document, though documents are given.
    """
    if table.written is not None:
        return _of_columns(table, table.written)
    rows = np.array([i for i, row in enumerate(table.predictions) if row.explanation is not None], dtype=np.int64)
    if not len(rows):
        return {name: Measure(text, reason="not applicable") for name, text in _ALL.items()}
    free = np.array([i for i in rows if table.predictions[i].mode == "free"], dtype=np.int64)
    measures = (
        _alignment_measures(table, free)
        | _wording(table, rows, vocabulary, documents)
        | _beside_documents(table, rows, documents)
    )
    measures |= _likeness(table, rows, references or {}, vocabulary, documents) | _blind(table, rows, recovered)
    return {name: measures[name] for name in _ALL}


def _of_columns(table: Table, written: Written) -> dict[str, Measure]:
    """The measures of rows whose reasons were counted in, and not kept."""
    rows = np.flatnonzero(written.mode_N != ABSENT)
    if not len(rows):
        return {name: Measure(text, reason="not applicable") for name, text in _ALL.items()}
    measures = _alignment_measures(table, np.flatnonzero(written.mode_N == 0))
    measures |= _counted(written, rows)
    reason = "needs all texts at once, which columns of files do not give"
    return {name: measures.get(name, Measure(text, reason=reason)) for name, text in _ALL.items()}


def _counted(written: Written, rows: IntArray) -> dict[str, Measure]:
    return {
        "ended_share": Measure(_TEXT["ended_share"], _mean(written.has_ended_N[rows], rows)),
        "repetition": Measure(
            _TEXT["repetition"],
            _share(written.num_repeated_N[rows], written.num_ngrams_N[rows], rows),
            reason="no explanation has four words",
        ),
        "length_words": Measure(_TEXT["length_words"], _mean(written.num_words_N[rows], rows)),
        "quote_share": Measure(_TEXT["quote_share"], _mean(written.num_quotes_N[rows] > 0, rows)),
    }


def _likeness(
    table: Table,
    rows: IntArray,
    references: Mapping[str, str],
    vocabulary: frozenset[str] | None,
    documents: Mapping[str, str] | None,
) -> dict[str, Measure]:
    both = np.array([i for i in rows if references.get(table.predictions[i].id)], dtype=np.int64)
    if not len(both):
        return {name: Measure(text, reason="no row has a reference explanation") for name, text in _REFERENCE.items()}
    written = [table.predictions[i].explanation or "" for i in both]
    wanted = [references[table.predictions[i].id] for i in both]
    overlap = [rouge_l(text, reference) for text, reference in zip(written, wanted, strict=True)]
    characters = Measure(_REFERENCE["chrf"], reason="needs sacrebleu: pip install 'clsgen[text]'")
    if has_sacrebleu():
        characters = Measure(_REFERENCE["chrf"], _mean(chrf(written, wanted), both))
    readability = Measure(_REFERENCE["readability_reference"], reason=_NO_VOCABULARY)
    if vocabulary is not None:
        ids = [table.predictions[i].id for i in both]
        readable = _readable(wanted, [True] * len(both), ids, vocabulary, documents)
        readability = Measure(_REFERENCE["readability_reference"], _mean(readable, both))
    return {
        "rouge_l": Measure(_REFERENCE["rouge_l"], _mean(overlap, both)),
        "chrf": characters,
        "readability_reference": readability,
    }


def _readable(
    texts: Sequence[str],
    has_ended: Sequence[bool],
    ids: Sequence[str],
    vocabulary: frozenset[str],
    documents: Mapping[str, str] | None,
) -> list[bool]:
    """Which texts are readable, by the tests of `explanations.is_readable`."""
    own = [explanations.vocabulary_of([(documents or {}).get(each, "")]) for each in ids]
    return [
        explanations.is_readable(text, has_ended=ended, vocabulary=vocabulary, own=known)
        for text, ended, known in zip(texts, has_ended, own, strict=True)
    ]


def _blind(table: Table, rows: IntArray, recovered: Mapping[str, str] | None) -> dict[str, Measure]:
    if recovered is None:
        return {
            name: Measure(text, reason="needs reasons of train rows to fit a reader") for name, text in _BLIND.items()
        }
    read = np.array([i for i in rows if table.predictions[i].id in recovered], dtype=np.int64)
    found = np.array([table.spec.labels.index(recovered[table.predictions[i].id]) for i in read], dtype=np.int64)
    decided, num_labels = table.decided_N[read], table.spec.num_labels
    return {
        "blind_agreement": Measure(_BLIND["blind_agreement"], _mean(found == decided, read)),
        "blind_kappa": Measure(
            _BLIND["blind_kappa"],
            Statistic(lambda weight: r_lkappa(decided, found, num_classes=num_labels, weight=weight), read),
            reason="head and reader all say one and the same label",
        ),
    }


def _alignment_measures(table: Table, free: IntArray) -> dict[str, Measure]:
    if not len(free):
        return {name: Measure(text, reason="defined in free mode only") for name, text in _ALIGNMENT.items()}
    is_parsed = table.stated_N[free] != ABSENT
    num_unparsed = int((~is_parsed).sum())
    unparsed_rate = Measure(
        _ALIGNMENT["unparsed_rate"],
        _mean(~is_parsed, free),
        extra={"num_unparsed": num_unparsed},
    )
    rows = free[is_parsed]
    return (
        {"auroc_alignment": _auroc_alignment(table, rows), "unparsed_rate": unparsed_rate}
        | _agreement(table, rows, table.decided_N, suffix="", num_unparsed=num_unparsed)
        | _agreement(table, rows, table.argmax_N, suffix="_argmax", num_unparsed=num_unparsed)
    )


def _auroc_alignment(table: Table, rows: IntArray) -> Measure:
    prob, stated = table.prob[rows], table.stated_N[rows]
    target = table.target(stated)
    num_stated = {label: int((stated == c).sum()) for c, label in enumerate(table.spec.labels)}
    only = [label for label, count in num_stated.items() if count]
    return Measure(
        _ALIGNMENT["auroc_alignment"],
        Statistic(lambda weight: auroc_alignment(prob, target, weight=weight), rows),
        reason=f"only one label was stated: {only[0]!r}" if only else "no explanation states a label",
        extra={"num_stated": num_stated},
    )


def _agreement(
    table: Table, rows: IntArray, decided_N: IntArray, *, suffix: str, num_unparsed: int
) -> dict[str, Measure]:
    decided, stated, num_labels = decided_N[rows], table.stated_N[rows], table.spec.num_labels
    nothing = "no explanation states a label"
    bounds = rli_bounds(int((decided != stated).sum()), len(rows), num_unparsed)
    return {
        f"rli{suffix}": Measure(
            _ALIGNMENT[f"rli{suffix}"],
            Statistic(lambda weight: rli(decided, stated, num_classes=num_labels, weight=weight), rows),
            reason=nothing,
            extra={"bounds": bounds._asdict()},
        ),
        f"r_lkappa{suffix}": Measure(
            _ALIGNMENT[f"r_lkappa{suffix}"],
            Statistic(lambda weight: r_lkappa(decided, stated, num_classes=num_labels, weight=weight), rows),
            reason="head and explanations all say one and the same label" if len(rows) else nothing,
        ),
    }


def _wording(
    table: Table, rows: IntArray, vocabulary: frozenset[str] | None, documents: Mapping[str, str] | None
) -> dict[str, Measure]:
    texts = [table.predictions[i].explanation or "" for i in rows]
    has_ended = [table.predictions[i].has_ended is True for i in rows]
    repetitions = [explanations.repetition(text) for text in texts]
    if vocabulary is None:
        readability = Measure(_TEXT["readability"], reason=_NO_VOCABULARY)
    else:
        ids = [table.predictions[i].id for i in rows]
        readable = _readable(texts, has_ended, ids, vocabulary, documents)
        readability = Measure(_TEXT["readability"], _mean(readable, rows))
    return {
        "readability": readability,
        "ended_share": Measure(_TEXT["ended_share"], _mean(has_ended, rows)),
        "repetition": Measure(
            _TEXT["repetition"],
            _share([each.num_repeated for each in repetitions], [each.num_ngrams for each in repetitions], rows),
            reason="no explanation has four words",
        ),
        "length_words": Measure(_TEXT["length_words"], _mean([len(explanations.words(text)) for text in texts], rows)),
        "distinct_1": _distinct(texts, 1),
        "distinct_2": _distinct(texts, 2),
    }


def _distinct(texts: Sequence[str], size: int) -> Measure:
    return Measure(
        _TEXT[f"distinct_{size}"],
        reason=f"no explanation has {size} words" if size > 1 else "no explanation has a word",
        point=explanations.distinct_share(texts, size),
        no_interval="no interval: it depends on the number of explanations, which draws do not keep",
        num_rows=len(texts),
    )


def _beside_documents(table: Table, rows: IntArray, documents: Mapping[str, str] | None) -> dict[str, Measure]:
    """What an explanation takes from its document, and what it shares with those of other documents."""
    chosen = [table.predictions[i] for i in rows]
    texts = [row.explanation or "" for row in chosen]
    num_quotes = [len(explanations.quotes(text)) for text in texts]
    quote_share = Measure(_TEXT["quote_share"], _mean([count > 0 for count in num_quotes], rows))
    if documents is None:
        needing = ("grounding", "boilerplate_share")
        return {name: Measure(_TEXT[name], reason="needs the documents") for name in needing} | {
            "quote_share": quote_share
        }
    missing = [row.id for row in chosen if row.id not in documents]
    if missing:
        raise DataError(
            f"evaluate: documents must hold every explained row; got none for {missing[0]!r} ({len(missing)} rows). "
            "Pass the documents that were predicted on."
        )
    own = [documents[row.id] for row in chosen]
    found = [explanations.grounding(text, each).num_found for text, each in zip(texts, own, strict=True)]
    grounding = Measure(
        _TEXT["grounding"],
        _share(found, num_quotes, rows),
        reason="no explanation quotes four words or more",
        extra={"num_quotes": sum(num_quotes)},
    )
    boilerplate = Measure(_TEXT["boilerplate_share"], _mean(explanations.is_boilerplate(texts, own), rows))
    return {"grounding": grounding, "quote_share": quote_share, "boilerplate_share": boilerplate}


def _mean(value: ArrayLike, rows: IntArray) -> Statistic:
    value_N = np.asarray(value, dtype=np.float64)
    return Statistic(lambda weight: weighted_mean(value_N, weight), rows)


def _share(part: ArrayLike, whole: ArrayLike, rows: IntArray) -> Statistic:
    part_N, whole_N = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return Statistic(lambda weight: ratio(weight @ part_N, weight @ whole_N), rows)
