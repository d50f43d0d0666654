"""The leakage audit: what held-out roles share with others, and what in the documents gives the label away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clsgen.data.explanations import is_readable, vocabulary_of, vocabulary_of_rows
from clsgen.data.near_duplicates import ShingleIndex
from clsgen.data.split import RoleOverlap, Split, overlaps
from clsgen.data.telling_words import TellingWord, telling_words
from clsgen.data.ties import normalized
from clsgen.data.words import WordIds, shingles, word_ids
from clsgen.types import ROLES, Role

SHINGLE_WORDS = 5
NEAR_DUPLICATE_JACCARD = 0.8
MAX_NEAR_DUPLICATE_SHARE = 0.01
_NUM_PAIRS_KEPT = 5


@dataclass(frozen=True, slots=True)
class RoleSummary:
    """One role in numbers.

    Attributes:
        role: The role.
        num_rows: Its rows.
        num_groups: Connected components among them.
        label_counts: Label -> rows; rows without a label are in none.
        num_explanations: Rows that have an explanation.
        num_readable: Of these, explanations that pass the tests of readability, as a model's own would have to.
        median_words: Median length of the documents; 0 without rows.
        p95_words: 95th percentile of it.
        max_words: Longest document.
    """

    role: Role
    num_rows: int
    num_groups: int
    label_counts: Mapping[str, int]
    num_explanations: int
    num_readable: int
    median_words: float
    p95_words: float
    max_words: int


class DocumentOverlap(NamedTuple):
    """Documents that two roles share.

    Attributes:
        first: A role.
        second: A later role.
        num_exact: Rows of `second` whose document, but for case and white space, is one of `first`.
        num_near: Further rows of `second` with a document of `first` at Jaccard 0.8 or more over 5-word runs.
        num_second_rows: Rows of `second`.
        near_pairs: Up to 5 near duplicates: id in `first`, id in `second`, Jaccard similarity.
    """

    first: Role
    second: Role
    num_exact: int
    num_near: int
    num_second_rows: int
    near_pairs: tuple[tuple[str, str, float], ...]

    @property
    def is_leak(self) -> bool:
        """An exact duplicate is a leak; near duplicates are one from 1% of the rows, a warning below."""
        return self.num_exact > 0 or self.num_near >= max(1, MAX_NEAR_DUPLICATE_SHARE * self.num_second_rows)


@dataclass(frozen=True, slots=True)
class LeakageReport:
    """What the audit found.

    Attributes:
        summaries: The roles, all four.
        shared_groups: Role pairs that share components.
        shared_documents: Role pairs that share exact or near duplicates.
        telling_words: Words of the train documents that almost determine the label.
    """

    summaries: tuple[RoleSummary, ...]
    shared_groups: tuple[RoleOverlap, ...]
    shared_documents: tuple[DocumentOverlap, ...]
    telling_words: tuple[TellingWord, ...]

    @property
    def leaks(self) -> tuple[str, ...]:
        """One sentence a leak, none with text of the documents."""
        return tuple(
            [
                f"{each.num_second_rows} {each.second} rows lie in {each.num_groups} components that "
                f"{each.first} has rows of."
                for each in self.shared_groups
            ]
            + [
                f"{each.num_exact} {each.second} documents are also in {each.first}, and {each.num_near} nearly so."
                for each in self.shared_documents
                if each.is_leak
            ]
            + [
                f"a word that {word.coverage:.0%} of the {word.label!r} documents hold gives that label away."
                for word in self.telling_words
                if word.is_leak
            ]
        )

    @property
    def has_leaks(self) -> bool:
        """Whether a figure on the held-out roles would be too good to be true."""
        return bool(self.leaks)


def audit(split: Split) -> LeakageReport:
    """The audit of a split: shared groups, duplicates, label balance, lengths, telling words.

    Documents alone are looked at, never questions. Documents of one component are not independent, so telling words
    are counted over one train document for each component and label.

    Args:
        split: Rows in their roles.
    """
    rows = [(role, row) for role in ROLES for row in split.roles[role]]
    words = word_ids(row.document for _, row in rows)
    indices: dict[Role, list[int]] = {role: [] for role in ROLES}
    for index, (role, _) in enumerate(rows):
        indices[role].append(index)
    known = vocabulary_of_rows(split.roles["train"])
    return LeakageReport(
        summaries=tuple(
            _summarize(split, role, [words.documents[index].size for index in indices[role]], known) for role in ROLES
        ),
        shared_groups=overlaps(split),
        shared_documents=_shared_documents(split, indices, words),
        telling_words=_telling_words(split, [words.documents[index] for index in indices["train"]], words.vocabulary),
    )


def _summarize(split: Split, role: Role, lengths: Sequence[int], known: frozenset[str]) -> RoleSummary:
    rows = split.roles[role]
    explained = [row for row in rows if row.explanation]
    median, p95, longest = np.percentile(lengths, [50, 95, 100]) if lengths else (0.0, 0.0, 0.0)
    return RoleSummary(
        role=role,
        num_rows=len(rows),
        num_groups=len({split.groups[row.id] for row in rows}),
        label_counts=Counter(row.label for row in rows if row.label is not None),
        num_explanations=len(explained),
        num_readable=sum(
            is_readable(row.explanation or "", has_ended=True, vocabulary=known, own=vocabulary_of([row.document]))
            for row in explained
        ),
        median_words=float(median),
        p95_words=float(p95),
        max_words=int(longest),
    )


def _shared_documents(
    split: Split, indices: Mapping[Role, Sequence[int]], words: WordIds
) -> tuple[DocumentOverlap, ...]:
    rows = [row for role in ROLES for row in split.roles[role]]
    texts = [normalized(row.document) for row in rows]
    index = ShingleIndex([shingles(each, SHINGLE_WORDS) for each in words.documents], threshold=NEAR_DUPLICATE_JACCARD)
    found = []
    for first, second in combinations(ROLES, 2):
        first_texts = {texts[each] for each in indices[first]}
        others = [each for each in indices[second] if texts[each] not in first_texts]
        matches = index.matches(others, indices[first])
        num_second_rows = len(indices[second])
        overlap = DocumentOverlap(
            first=first,
            second=second,
            num_exact=num_second_rows - len(others),
            num_near=len(matches),
            num_second_rows=num_second_rows,
            near_pairs=tuple(
                (rows[match.other].id, rows[match.document].id, match.jaccard) for match in matches[:_NUM_PAIRS_KEPT]
            ),
        )
        if overlap.num_exact or overlap.num_near:
            found.append(overlap)
    return tuple(found)


def _telling_words(
    split: Split, documents: Sequence[NDArray[np.int64]], vocabulary: list[str]
) -> tuple[TellingWord, ...]:
    chosen: dict[tuple[str, str], int] = {}
    for index, row in enumerate(split.roles["train"]):
        if row.label is not None:
            chosen.setdefault((split.groups[row.id], row.label), index)
    return telling_words(
        WordIds([documents[index] for index in chosen.values()], vocabulary), [label for _, label in chosen]
    )
