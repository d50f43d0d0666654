"""Roles are disjoint by component, stratified, near their shares, and the same for any order of the rows."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from clsgen.config.data import ColumnSettings, SplitSettings
from clsgen.data.source import read_examples
from clsgen.data.split import Split, check_disjoint, components, overlaps, split_roles
from clsgen.errors import DataError, LeakError
from clsgen.types import ROLES, Example, Role, TaskData, TaskSpec

SPEC = TaskSpec("t", ("no", "yes"), "Say which.", "yes")


def _grouped(num_rows: int = 400, num_groups: int = 150, seed: int = 0) -> tuple[Example, ...]:
    draw = random.Random(seed)
    return tuple(
        Example(
            f"r{number}",
            f"document {number}",
            label="yes" if draw.random() < 0.25 else "no",
            groups=(f"patient:{int(num_groups * draw.random() ** 1.5)}",),
        )
        for number in range(num_rows)
    )


def _roles_of(split: Split) -> dict[str, Role]:
    return {row.id: role for role in ROLES for row in split.roles[role]}


def test_a_share_of_zero_makes_no_test_role_and_loses_no_row() -> None:
    rows = _grouped()
    split = split_roles(TaskData(SPEC, rows), SplitSettings(test=0))
    assert split.roles["test"] == ()
    assert len(_roles_of(split)) == len(rows)
    assert len(split.roles["calibration"]) == pytest.approx(0.15 * len(rows), rel=0.1)
    assert not overlaps(split)
    published = split_roles(TaskData(SPEC, rows[:300], rows[300:]), SplitSettings(test=0))
    assert {row.id for row in published.roles["test"]} == {row.id for row in rows[300:]}


def test_components_join_through_a_chain_of_keys() -> None:
    rows = [
        Example("a", "1", groups=("trial:1", "pmid:1")),
        Example("b", "2", groups=("trial:2", "pmid:2")),
        Example("c", "3", groups=("trial:3",)),
        Example("d", "4", groups=("trial:2", "pmid:1")),
        Example("e", "5"),
    ]
    assert components(rows) == [0, 0, 1, 0, 2]


def test_equal_documents_are_one_component_whatever_is_asked() -> None:
    rows = [Example("a", "The  Text", "one?"), Example("b", "the text\n", "two?"), Example("c", "text", "one?")]
    assert components(rows) == [0, 0, 1]


def test_a_document_is_not_taken_for_a_group_key() -> None:
    assert components([Example("a", "trial:1"), Example("b", "x", groups=("trial:1",))]) == [0, 1]


def test_no_rows_no_components() -> None:
    assert components([]) == []


def test_carved_roles_are_disjoint_complete_and_near_their_shares() -> None:
    rows = _grouped()
    split = split_roles(TaskData(SPEC, rows), SplitSettings())
    assert check_disjoint(split, allow_leaks=False) == ()
    assert sorted(_roles_of(split)) == sorted(row.id for row in rows)
    num_yes = sum(row.label == "yes" for row in rows)
    # test is 15% of all, validation and calibration 10% and 15% of the rest.
    for role, share in {"test": 0.15, "validation": 0.085, "calibration": 0.1275, "train": 0.6375}.items():
        held = split.roles[role]  # type: ignore[index]
        assert len(held) / len(rows) == pytest.approx(share, abs=0.02)
        assert sum(row.label == "yes" for row in held) / num_yes == pytest.approx(share, abs=0.03)


def test_groups_stay_whole_and_are_named() -> None:
    split = split_roles(TaskData(SPEC, _grouped()), SplitSettings())
    role_of = _roles_of(split)
    for row in _grouped():
        mates = [each.id for each in _grouped() if each.groups == row.groups]
        assert len({role_of[mate] for mate in mates}) == 1
        assert len({split.groups[mate] for mate in mates}) == 1
    assert all(name[0] == "g" and name[1:].isdigit() for name in split.groups.values())


@pytest.mark.parametrize("settings", [SplitSettings(), SplitSettings(num_folds=4, fold=1)])
@pytest.mark.parametrize("has_test", [False, True])
def test_shuffled_rows_give_the_same_split(settings: SplitSettings, has_test: bool) -> None:
    rows = _grouped()
    train, test = (rows[:300], _ungrouped(60)) if has_test else (rows, ())
    expected = split_roles(TaskData(SPEC, train, test), settings)
    shuffled = random.Random(1).sample(train, len(train))
    assert split_roles(TaskData(SPEC, tuple(shuffled), test[::-1]), settings) == expected


def _ungrouped(num_rows: int) -> tuple[Example, ...]:
    return tuple(Example(f"t{n}", f"other {n}", label=("no", "yes")[n % 2]) for n in range(num_rows))


def test_the_deal_depends_on_content_and_not_on_row_numbers() -> None:
    rows = _grouped()
    renamed = [Example(f"x{999 - n}", row.document, label=row.label, groups=row.groups) for n, row in enumerate(rows)]
    first, second = (split_roles(TaskData(SPEC, tuple(each)), SplitSettings()) for each in (rows, renamed))
    for role in ROLES:
        assert {row.document for row in first.roles[role]} == {row.document for row in second.roles[role]}


def test_the_seed_moves_rows() -> None:
    splits = [split_roles(TaskData(SPEC, _grouped()), SplitSettings(seed=seed)) for seed in (0, 1)]
    assert _roles_of(splits[0]) != _roles_of(splits[1])


def test_published_test_rows_stay_test() -> None:
    rows, test = _grouped(), _ungrouped(50)
    split = split_roles(TaskData(SPEC, rows, test), SplitSettings())
    assert {row.id for row in split.roles["test"]} == {row.id for row in test}
    assert check_disjoint(split, allow_leaks=False) == ()
    assert len(split.roles["validation"]) / len(rows) == pytest.approx(0.1, abs=0.02)
    assert len(split.roles["calibration"]) / len(rows) == pytest.approx(0.15, abs=0.02)


def _leaking() -> TaskData:
    rows = _grouped()
    groups = sorted({row.groups for row in rows})[:20]
    test = tuple(Example(f"t{n}", f"other {n}", label="yes", groups=group) for n, group in enumerate(groups))
    return TaskData(SPEC, rows, (*test, *_ungrouped_named(10)))


def _ungrouped_named(num_rows: int) -> tuple[Example, ...]:
    return tuple(Example(f"clean{n}", f"clean {n}", label="no") for n in range(num_rows))


def test_a_published_leak_touches_train_and_test_only_and_is_an_error_unless_allowed() -> None:
    data = _leaking()
    split = split_roles(data, SplitSettings())
    tied = {row.groups for row in data.test if row.groups}
    num_tied = sum(row.groups in tied for row in data.train)
    (overlap,) = check_disjoint(split, allow_leaks=True)
    assert overlap == ("train", "test", 20, num_tied, 20)
    with pytest.raises(
        LeakError, match="test must share no group or document with train; got 20 of 30 test rows in 20"
    ):
        check_disjoint(split, allow_leaks=False)
    assert len(split.roles["validation"]) / len(data.train) == pytest.approx(0.1, abs=0.02)


def test_an_overlap_of_our_own_roles_is_never_allowed() -> None:
    row = Example("a", "x", label="no", groups=("k:1",))
    other = Example("b", "y", label="no", groups=("k:1",))
    roles: dict[Role, tuple[Example, ...]] = {"train": (row,), "validation": (other,), "calibration": (), "test": ()}
    split = Split(roles, {"a": "g0", "b": "g0"}, {})
    assert overlaps(split) == (("train", "validation", 1, 1, 1),)
    with pytest.raises(LeakError, match="validation must share no group or document with train"):
        check_disjoint(split, allow_leaks=True)


def test_folds_partition_all_rows_by_component() -> None:
    rows, test = _grouped(300), _ungrouped(40)
    seen: Counter[str] = Counter()
    for fold in range(5):
        split = split_roles(TaskData(SPEC, rows, test), SplitSettings(num_folds=5, fold=fold))
        assert check_disjoint(split, allow_leaks=False) == ()
        assert len(split.roles["test"]) == pytest.approx(340 / 5, abs=4)
        assert all({row.label for row in held} == {"no", "yes"} for held in split.roles.values())
        assert sum(map(len, split.roles.values())) == 340
        seen.update(row.id for row in split.roles["test"])
    assert set(seen) == {row.id for row in (*rows, *test)}
    assert set(seen.values()) == {1}


def test_rows_without_labels_train_or_are_counted() -> None:
    unlabelled = (
        Example("lonely", "only a reason", explanation="Because."),
        Example("nothing", "no target at all"),
    )
    held_out = Example("blank", "published, unlabelled", explanation="Because.")
    for settings in (SplitSettings(), SplitSettings(num_folds=2)):
        split = split_roles(TaskData(SPEC, (*_grouped(), *unlabelled), _ungrouped(20)), settings)
        assert _roles_of(split)["lonely"] == "train"
        assert split.dropped == {"no_label_or_explanation": 1}
        assert "nothing" not in split.groups
    split = split_roles(TaskData(SPEC, _grouped(), (*_ungrouped(20), held_out)), SplitSettings())
    assert split.dropped == {"unlabelled_held_out": 1}


def test_a_class_in_too_few_components() -> None:
    rows = tuple(Example(f"r{n}", f"d {n}", label="no") for n in range(50))
    rare = tuple(Example(f"y{n}", f"y {n}", label="yes", groups=(f"patient:{n % 3}",)) for n in range(9))
    with pytest.raises(
        DataError,
        match=r"label 'yes' must be in train, validation, calibration, .* got 2 components that have it, and none",
    ):
        split_roles(TaskData(SPEC, rows + rare), SplitSettings())
    with pytest.raises(DataError, match=r"must be in fold 0, fold 1, .*; got 3 components"):
        split_roles(TaskData(SPEC, rows + rare), SplitSettings(num_folds=4))
    four = (*rare, Example("y9", "y 9", label="yes"))
    split = split_roles(TaskData(SPEC, (*rows, *four)), SplitSettings())
    assert all("yes" in {row.label for row in held} for held in split.roles.values())


def test_components_tied_to_test_are_named_where_too_few_are_free() -> None:
    test = tuple(Example(f"t{n}", f"t {n}", label="yes", groups=(f"patient:{n}",)) for n in range(9))
    train = tuple(Example(f"y{n}", f"y {n}", label="yes", groups=(f"patient:{n}",)) for n in range(9))
    rows = tuple(Example(f"r{n}", f"d {n}", label="no") for n in range(50))
    with pytest.raises(DataError, match=r"got 9 components that have it, 9 of them tied to test rows, and none left"):
        split_roles(TaskData(SPEC, rows + train, test), SplitSettings())


def test_repeated_ids_and_unknown_labels() -> None:
    row = Example("a", "x", label="no")
    with pytest.raises(DataError, match="id must be unique over train and test rows; got 1 repeated, such as 'a'"):
        split_roles(TaskData(SPEC, (row,), (row,)), SplitSettings())
    with pytest.raises(DataError, match=r"label must be one of \('no', 'yes'\); got 1 rows with another, such as 'b'"):
        split_roles(TaskData(SPEC, (row, Example("b", "y", label="maybe"))), SplitSettings())


def _clinifact(shared_data: Path) -> TaskData:
    columns = ColumnSettings(text=("abstract",), question="claim", group=("nct_id", "pmid"), id="id")
    train, test = (
        read_examples(str(shared_data / "clinifact" / f"{name}.jsonl.gz"), columns) for name in ("train", "validation")
    )
    spec = TaskSpec("clinifact", ("TRUE", "FALSE", "NONE"), "Say which.")
    return TaskData(spec, train.examples, test.examples)


def test_the_published_clinifact_split_leaks_as_measured(shared_data: Path) -> None:
    data = _clinifact(shared_data)
    split = split_roles(data, SplitSettings())
    (overlap,) = check_disjoint(split, allow_leaks=True)
    # 61% of the rows share a trial or an abstract with train; 122 are clean.
    assert (overlap.first, overlap.second) == ("train", "test")
    assert len(data.test) - overlap.num_second_rows == 122
    assert overlap.num_second_rows / len(data.test) == pytest.approx(0.61, abs=0.005)
    folds = [split_roles(data, SplitSettings(num_folds=5, fold=fold)) for fold in range(5)]
    assert all(check_disjoint(each, allow_leaks=False) == () for each in folds)
    assert sum(len(each.roles["test"]) for each in folds) == len(data.train) + len(data.test)
