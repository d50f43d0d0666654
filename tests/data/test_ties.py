"""Connected components, against a union of sets made by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clsgen.data.ties import Ties
from clsgen.types import Example


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.lists(st.sampled_from("uvwxyz"), max_size=3)), max_size=12))
def test_components_are_those_of_merged_sets(rows: list[tuple[str, list[str]]]) -> None:
    ties = Ties()
    merged: list[tuple[set[str], list[int]]] = []
    for number, (document, groups) in enumerate(rows):
        ties.add(Example(str(number), document, groups=tuple(groups)))
        keys, members = {f"document {document}", *(f"group {group}" for group in groups)}, [number]
        for other in [each for each in merged if each[0] & keys]:
            merged.remove(other)
            keys |= other[0]
            members += other[1]
        merged.append((keys, members))
    expected = [0] * len(rows)
    for number, (_, members) in enumerate(sorted(merged, key=lambda each: min(each[1]))):
        for row in members:
            expected[row] = number
    assert ties.components().tolist() == expected


def test_a_group_that_is_called_like_a_document_ties_nothing() -> None:
    ties = Ties()
    ties.add(Example("1", "fall", groups=("x",)))
    ties.add(Example("2", "x", groups=("y",)))
    assert ties.components().tolist() == [0, 1]
