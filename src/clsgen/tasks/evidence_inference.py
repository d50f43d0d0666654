"""Evidence Inference: what does a trial's abstract say of an intervention against a comparator, for one outcome?

The publisher's `evidence_context` points at the answer, so the document is title and abstract; a row without an
abstract is left out. A doctor's rationale is the explanation where it stands in the abstract; elsewhere it quotes a
part of the article that the model never reads, and the row has none.
"""

from __future__ import annotations

from collections.abc import Mapping

from clsgen.config.data import DataSettings
from clsgen.data.source import read_rows
from clsgen.tasks.files import cell, find_layout, known_label
from clsgen.types import Example, TaskData, TaskSpec

SPEC = TaskSpec(
    name="evidence_inference",
    labels=("significantly decreased", "no significant difference", "significantly increased"),
    instruction="Decide from this abstract how the intervention changed the outcome against the comparator: "
    "significantly decreased, no significant difference, or significantly increased.",
    proxies=("evidence_context", "rationales", "label_votes"),
)
_FILES = ("train.jsonl.gz", "validation.jsonl.gz")


def load(settings: DataSettings) -> TaskData:
    """The rows of `train.jsonl.gz`, and of `validation.jsonl.gz` as test; rows left out count as `no_abstract`.

    Args:
        settings: Read is root.

    Raises:
        DataError: Missing files, or a row of another kind.
    """
    found = find_layout(SPEC.name, settings.root, layouts={"lines": _FILES}, subfolders=(SPEC.name,))
    num_dropped = 0
    roles: list[tuple[Example, ...]] = []
    for name in _FILES:
        kept = []
        for where, row in read_rows(str(found.folder / name)):
            if cell(row, "abstract", where):
                kept.append(_example(row, where))
            else:
                num_dropped += 1
        roles.append(tuple(kept))
    return TaskData(SPEC, roles[0], roles[1], {"no_abstract": num_dropped} if num_dropped else {})


def _example(row: Mapping[str, str | None], where: str) -> Example:
    texts = [cell(row, name, where) for name in ("title", "abstract")]
    is_in_abstract = cell(row, "rationale_in_abstract", where) == "true"
    groups = [f"{name}:{cell(row, name, where)}" for name in ("pmcid", "pmid") if cell(row, name, where)]
    return Example(
        id=cell(row, "id", where),
        document="\n\n".join(text for text in texts if text),
        question=cell(row, "prompt", where),
        label=known_label(cell(row, "label", where), SPEC.labels, where),
        explanation=(cell(row, "explanation", where) or None) if is_in_abstract else None,
        groups=tuple(groups),
    )
