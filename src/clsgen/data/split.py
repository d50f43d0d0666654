"""Deals rows into the four roles, by connected component and stratified by label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clsgen.config.data import SplitSettings
from clsgen.data.stratify import components_by_bin, deal
from clsgen.data.ties import Ties, text_digest
from clsgen.errors import DataError, LeakError
from clsgen.types import ROLES, Example, Role, TaskData


@dataclass(frozen=True, slots=True)
class Split:
    """Rows by role.

    Attributes:
        roles: Every role -> its rows, in an order that does not depend on the order of the source.
        groups: Example id -> connected component ("g12"), over the rows of all roles.
        dropped: Reason -> number of rows that fit no role.
    """

    roles: Mapping[Role, tuple[Example, ...]]
    groups: Mapping[str, str]
    dropped: Mapping[str, int]


class RoleOverlap(NamedTuple):
    """What two roles share: components, and the rows of each role that lie in those."""

    first: Role
    second: Role
    num_groups: int
    num_first_rows: int
    num_second_rows: int


def components(examples: Sequence[Example]) -> list[int]:
    """The connected component of each row, numbered from 0 by first appearance.

    Two rows are connected if they share a group key, or if their normalised documents are equal: one text in two
    roles is a leak whatever is asked about it.

    >>> rows = [Example("a", "x", groups=("trial:1", "pmid:7")), Example("b", "y", groups=("pmid:7",)),
    ...         Example("c", "z"), Example("d", " Z ", groups=("trial:2",))]
    >>> components(rows)
    [0, 0, 1, 1]
    """
    ties = Ties()
    for example in examples:
        ties.add(example)
    found: list[int] = ties.components().tolist()
    return found


def split_roles(task_data: TaskData, settings: SplitSettings) -> Split:
    """The rows in their four roles: whole components, stratified by label, the same for any order of the rows.

    Published test rows stay the test role and validation and calibration are carved from train; a source without
    them has its test role carved first, or none where its share is 0. With `num_folds` all rows are dealt into folds,
    and fold `fold` is test. Shares of validation and calibration are of the rows that are not test.

    Where published test rows share components with train rows, those train rows stay in train: validation and
    calibration then share nothing with any other role, so that model choice, calibrator and threshold see no test
    group. What is left is the leak that the publisher made, between train and test: see `check_disjoint`.

    A row without a label stays in train if it has an explanation to learn from; otherwise, and wherever its
    component is not train, it is dropped and counted.

    Args:
        task_data: The task with its rows.
        settings: Shares, seed and folds.

    Raises:
        DataError: Repeated ids, a label that the task does not have, or a class with too few components for
            every role that is carved to have one.
    """
    labels = task_data.spec.labels
    published = {row.id for row in task_data.test} if settings.num_folds is None else set()
    rows = sorted([*task_data.train, *task_data.test], key=_content_key)
    _check_rows(rows, labels)
    component_N = np.array(components(rows), dtype=np.int64)
    is_published_N = np.array([row.id in published for row in rows], dtype=np.bool_)
    counts_GK = _class_counts(rows, component_N, labels, is_counted_N=~is_published_N)
    if published:
        is_first_G = np.zeros(len(counts_GK), dtype=np.bool_)
        is_first_G[component_N[is_published_N]] = True
        is_test_N = is_published_N
    elif settings.num_folds is None and settings.test == 0:
        is_first_G = np.zeros(len(counts_GK), dtype=np.bool_)
        is_test_N = is_published_N
    else:
        is_first_G = _choose_test(counts_GK, labels, settings)
        is_test_N = is_first_G[component_N]
        counts_GK = np.where(is_first_G[:, None], 0, counts_GK)
    shares = {
        "train": 1 - settings.validation - settings.calibration,
        "validation": settings.validation,
        "calibration": settings.calibration,
    }
    bin_G = _carve(counts_GK, shares, labels=labels, seed=settings.seed, is_first_G=is_first_G)
    role_N = np.where(is_test_N, ROLES.index("test"), bin_G[component_N])
    return _collect(rows, [ROLES[each] for each in role_N], component_N)


def _content_key(example: Example) -> tuple[str, str, str]:
    """Sorts rows by what they say, so that neither their order nor ids made from it move the split."""
    return text_digest(example), example.label or "", example.id


def _check_rows(rows: Sequence[Example], labels: Sequence[str]) -> None:
    repeated = [identifier for identifier, count in Counter(row.id for row in rows).items() if count > 1]
    if repeated:
        raise DataError(
            f"split: id must be unique over train and test rows; got {len(repeated)} repeated, such as "
            f"{repeated[0]!r}. Make the ids distinct, or map no id column."
        )
    unknown = [row for row in rows if row.label is not None and row.label not in labels]
    if unknown:
        raise DataError(
            f"split: label must be one of {tuple(labels)!r}; got {len(unknown)} rows with another, such as "
            f"{unknown[0].id!r}. Correct the rows or the task's labels."
        )


def _class_counts(
    rows: Sequence[Example],
    component_N: NDArray[np.int64],
    labels: Sequence[str],
    *,
    is_counted_N: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Counted rows of each class in each component, (G, K)."""
    num_components = int(component_N.max(initial=-1)) + 1
    counts_GK = np.zeros((num_components, len(labels)), dtype=np.int64)
    for row, component, is_counted in zip(rows, component_N, is_counted_N, strict=True):
        if is_counted and row.label is not None:
            counts_GK[component, labels.index(row.label)] += 1
    return counts_GK


def _choose_test(counts_GK: NDArray[np.int64], labels: Sequence[str], settings: SplitSettings) -> NDArray[np.bool_]:
    """Which components are the test role, (G,): the fold that is asked for, or the share."""
    if settings.num_folds is None:
        shares = {"the other roles": 1 - settings.test, "test": settings.test}
        chosen = 1
    else:
        shares = {f"fold {fold}": 1 / settings.num_folds for fold in range(settings.num_folds)}
        chosen = settings.fold
    bin_G = _carve(counts_GK, shares, labels=labels, seed=settings.seed)
    is_test_G: NDArray[np.bool_] = (counts_GK.sum(axis=1) > 0) & (bin_G == chosen)
    return is_test_G


def _carve(
    counts_GK: NDArray[np.int64],
    shares: Mapping[str, float],
    *,
    labels: Sequence[str],
    seed: int,
    is_first_G: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """The bin of each component, (G,), every bin holding every class."""
    bin_G = deal(counts_GK, list(shares.values()), seed=seed, is_first_G=is_first_G)
    lacking = np.argwhere(components_by_bin(counts_GK, bin_G, len(shares)) == 0)
    if lacking.size:
        bin_index, class_index = lacking[0]
        num_components = int((counts_GK[:, class_index] > 0).sum())
        tied = 0 if is_first_G is None else int((counts_GK[is_first_G, class_index] > 0).sum())
        tied_note = f", {tied} of them tied to test rows" if tied else ""
        raise DataError(
            f"split: label {labels[class_index]!r} must be in {', '.join(shares)}, each with components of its own; "
            f"got {num_components} components that have it{tied_note}, and none left for "
            f"{list(shares)[bin_index]}. Add rows, merge rare classes, use fewer folds, or check the group columns."
        )
    return bin_G


def _collect(rows: Sequence[Example], row_roles: Sequence[Role], component_N: NDArray[np.int64]) -> Split:
    roles: dict[Role, list[Example]] = {role: [] for role in ROLES}
    groups: dict[str, str] = {}
    dropped: Counter[str] = Counter()
    for row, role, component in zip(rows, row_roles, component_N, strict=True):
        if row.label is None and role != "train":
            dropped["unlabelled_held_out"] += 1
        elif row.label is None and row.explanation is None:
            dropped["no_label_or_explanation"] += 1
        else:
            roles[role].append(row)
            groups[row.id] = f"g{component}"
    return Split({role: tuple(kept) for role, kept in roles.items()}, groups, dict(dropped))


def overlaps(split: Split) -> tuple[RoleOverlap, ...]:
    """What each pair of roles shares, for the pairs that share anything."""
    found = []
    for first, second in combinations(ROLES, 2):
        first_groups = [split.groups[row.id] for row in split.roles[first]]
        second_groups = [split.groups[row.id] for row in split.roles[second]]
        shared = set(first_groups) & set(second_groups)
        if shared:
            num_first_rows = sum(group in shared for group in first_groups)
            num_second_rows = sum(group in shared for group in second_groups)
            found.append(RoleOverlap(first, second, len(shared), num_first_rows, num_second_rows))
    return tuple(found)


def check_disjoint(split: Split, *, allow_leaks: bool) -> tuple[RoleOverlap, ...]:
    """What roles share although they should share nothing: empty, or the leak of a published split.

    Args:
        split: The split.
        allow_leaks: Whether the overlap between train and test is returned for the caller to show. Any other
            overlap is an error either way.

    Raises:
        LeakError: Two roles share a component, and that is not allowed.
    """
    found = overlaps(split)
    for overlap in found:
        if allow_leaks and (overlap.first, overlap.second) == ("train", "test"):
            continue
        num_rows = len(split.roles[overlap.second])
        raise LeakError(
            f"split: {overlap.second} must share no group or document with {overlap.first}; got "
            f"{overlap.num_second_rows} of {num_rows} {overlap.second} rows in {overlap.num_groups} shared components. "
            "Set data.split.num_folds for a grouped split, or data.allow_leaks: true to go on and have it shown."
        )
    return found
