"""What a run would do, without doing it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from clsgen.config.run import RunConfig
from clsgen.data.batch import EncodedExample
from clsgen.model import backbone
from clsgen.model.dual import DualModel
from clsgen.pipeline.prepare import Prepared, prepare, prepare_questions
from clsgen.pipeline.questions import is_joint
from clsgen.training.objective import check_trackers
from clsgen.types import ROLES

NUM_SHOWN = 3


@dataclass(frozen=True, slots=True)
class RenderedRow:
    """One training row as text: what is read, the token that the class head reads, what is supervised."""

    id: str
    label: str
    mode: str
    prompt: str
    decision_token: str
    target: str


@dataclass(frozen=True, slots=True)
class DryRun:
    """Figures of a run that was not started.

    Attributes:
        num_parameters: All, tied ones once.
        num_trained: Of these, trained.
        memory_bytes: Part -> estimated bytes at the longest batch.
        num_tokens: Tokens of each train row, (n,).
        histogram: Upper edge in tokens -> train rows.
        share_cut: Share of train documents that are cut.
        num_rows: Role -> rows.
        dropped: Reason -> count of what is left out.
        sources: Where explanations came from -> rows.
        rows: Three rendered rows.
        is_restricted: Whether rows may be shown only on request.
    """

    num_parameters: int
    num_trained: int
    memory_bytes: dict[str, int]
    num_tokens: list[int]
    histogram: dict[int, int]
    share_cut: float
    num_rows: dict[str, int]
    dropped: dict[str, int]
    sources: dict[str, int]
    rows: list[RenderedRow]
    is_restricted: bool


def dry_run(config: RunConfig) -> DryRun:
    """Prepare a run as training would, and describe it.

    Raises:
        ClsgenError: Whatever training would refuse.
    """
    parts = list((prepare_questions(config) if is_joint(config) else {"": prepare(config)}).values())
    check_trackers(config.train.report_to)
    rows = [row for part in parts for row in part.train.rows]
    model, reference_bytes = parts[0].built.model, parts[0].reference_bytes
    lengths = [row.num_tokens for row in rows]
    counts, edges = np.histogram(lengths, bins=min(12, len(set(lengths))))
    return DryRun(
        num_parameters=model.num_parameters(),
        num_trained=model.num_parameters(trained_only=True),
        memory_bytes=memory_estimate(config, model, rows, reference_bytes=reference_bytes),
        num_tokens=lengths,
        histogram={int(np.ceil(edge)): int(count) for edge, count in zip(edges[1:], counts, strict=True)},
        share_cut=sum(row.num_cut_tokens > 0 for row in rows) / len(rows),
        num_rows={role: sum(len(part.split.roles[role]) for part in parts) for role in ROLES},
        dropped=dict(sum((Counter(part.dropped) for part in parts), Counter())),
        sources=dict(sum((Counter(part.sources) for part in parts), Counter())),
        rows=[_rendered(part, row) for part in parts for row in part.train.rows[: max(1, NUM_SHOWN // len(parts))]],
        is_restricted=any(part.spec.is_restricted for part in parts),
    )


def _rendered(part: Prepared, row: EncodedExample) -> RenderedRow:
    decode = part.built.renderer.decode_all
    return RenderedRow(
        id=row.id,
        label=part.spec.labels[row.label] if row.label >= 0 else "(none)",
        mode=row.mode,
        prompt=decode(row.prompt_ids[:-1]),
        decision_token=decode(row.prompt_ids[-1:]),
        target=decode(row.target_ids),
    )


def memory_estimate(
    config: RunConfig, model: DualModel, rows: list[EncodedExample], *, reference_bytes: int = 0
) -> dict[str, int]:
    """Bytes of training by part, at the batch of the longest rows.

    Activations follow Korthikanti et al. 2022 (arXiv 2205.05198) without the attention matrix, which fused attention
    does not keep: 34 bytes a token, layer and unit of width in 16 bit, twice that in float32; with gradient
    checkpointing 2 (4) bytes. Logits: float32 at the supervised positions, and their gradient.
    """
    train = config.train
    longest = sorted(rows, key=lambda row: -row.num_tokens)[: train.batch_size]
    tokens = len(longest) * longest[0].num_tokens
    text = backbone.base_of(model.language_model).config.get_text_config()
    scale = 1 if config.model.dtype == "bfloat16" or train.precision == "bfloat16" else 2
    per_unit = (2 if train.gradient_checkpointing else 34) * scale
    trained = model.num_parameters(trained_only=True)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return {
        "weights": weights,
        "gradients": 4 * trained,
        "optimizer (AdamW)": 8 * trained,
        "activations": per_unit * tokens * text.hidden_size * text.num_hidden_layers,
        "logits at explanation tokens": 8 * sum(len(row.target_ids) for row in longest) * text.vocab_size,
        "frozen copy for KL": reference_bytes,
    }
