"""The rows: what is run beside what, and the bar."""

from __future__ import annotations

from collections.abc import Mapping

from harness import Growth, Row, Side
from models import base_folder, documents_file, lengths_file, model_folder, wanted_lengths


def rows(num_documents: int) -> list[Row]:
    """Every row; models and documents are made where they are not there.

    Args:
        num_documents: Of the row that classifies documents of mixed length.
    """
    return [*_reading(num_documents), *_writing(), *_training()]


def growths() -> list[Growth]:
    """How clsgen's own time and memory grow."""
    small = {"model": str(model_folder(3072))}
    return [
        Growth(
            "growth-documents",
            "exponent of time in documents, 50 to 400 of mixed length",
            Side("rows.growth:documents_exponent", small),
            bar=1.05,
        ),
        Growth(
            "growth-length",
            "exponent of time in tokens of one document, 256 to 4,096",
            Side("rows.growth:length_exponent", small),
            bar=None,
        ),
        Growth(
            "growth-memory",
            "resident bytes after 10,000 documents over those after 1,000",
            Side("rows.growth:memory_growth", small),
            bar=1.05,
        ),
    ]


def _reading(num_documents: int) -> list[Row]:
    small, documents = str(model_folder(3072)), str(documents_file(num_documents))
    asked = {"model": small, "num_tokens": 2000, "num_questions": 10}
    return [
        *(
            Row(
                f"classify-{num_tokens}",
                "the bare backbone's forward",
                Side("rows.inference:classify_ids", {"model": small, "num_tokens": num_tokens}),
                Side("rows.peers:forward", {"model": small, "num_tokens": num_tokens}, is_peer=True),
                bar=0.95,
                is_speedup=False,
            )
            for num_tokens in (256, 1024, 4096)
        ),
        *(
            Row(
                f"classify-mixed-{batch_size}",
                f"transformers pipeline, batch size {batch_size}",
                Side("rows.inference:classify_documents", {"model": small, "documents": documents}),
                Side(
                    "rows.peers:classify_documents",
                    {"model": small, "documents": documents, "batch_size": batch_size},
                    is_peer=True,
                ),
                bar=bar,
            )
            for batch_size, bar in ((8, 3.5), (1, 1.1))
        ),
        Row(
            "ten-questions",
            "ten separate calls",
            Side("rows.inference:questions", {**asked, "is_together": True}),
            Side("rows.inference:questions", {**asked, "is_together": False}),
            bar=5.0,
        ),
    ]


def _writing() -> list[Row]:
    small, large = str(model_folder(3072)), str(model_folder(3072, width=1024))
    both = {"model": small, "num_tokens": 1024, "num_new": 64}
    mixed = {"model": small, "documents": str(documents_file(200))}
    two = Side("rows.writing:two_models", mixed)
    return [
        Row(
            "classify-and-explain",
            "stock generate of the explanation alone",
            Side("rows.inference:explain_ids", both),
            Side("rows.peers:generate_ids", both, is_peer=True),
            bar=1.03,
            is_speedup=False,
        ),
        Row(
            "explain-mixed-people",
            "two models as people write it (pipeline and generate, batch size 8)",
            Side("rows.writing:one_model", {**mixed, "share": 1.0}),
            Side("rows.peers:classify_and_generate", {**mixed, "lengths": wanted_lengths(200)}, is_peer=True),
            bar=2.5,
        ),
        Row(
            "explain-mixed",
            "two models, each batched as clsgen",
            Side("rows.writing:one_model", {**mixed, "share": 1.0}),
            two,
            bar=0.95,
            limit=lambda seconds, parts: limit_of(parts, 1.0),
        ),
        Row(
            "explain-tenth",
            "two models explaining all, each batched as clsgen",
            Side("rows.writing:one_model", {**mixed, "share": 0.1}),
            two,
            bar=0.95,
            limit=lambda seconds, parts: limit_of(parts, 0.1),
        ),
        Row(
            "decode",
            "reading the weights once a token",
            Side("rows.writing:decode", {"model": large, "num_new": 64}),
            Side("rows.writing:read_weights", {"model": large, "num_new": 64}),
            bar=0.6,
        ),
        Row(
            "prompt-lookup",
            "the same without it",
            Side("rows.writing:quoting", {"num_rows": 30, "has_lookup": True}),
            Side("rows.writing:quoting", {"num_rows": 30, "has_lookup": False}),
            bar=1.5,
        ),
    ]


def limit_of(parts: Mapping[str, float], share: float) -> float:
    """(2P + D) / (P + share D), of P and D measured in the same run: reading, and writing after it."""
    reading = parts["classify"]
    writing = max(parts["explain"] - reading, 0.0)
    return (2 * reading + writing) / (reading + share * writing)


def _training() -> list[Row]:
    small = str(model_folder(3072))
    found = []
    for vocabulary, bar in ((32768, 2.3), (131072, 3.8)):
        batch = {"model": str(base_folder(vocabulary)), "num_rows": 2, "num_prompt": 1024, "num_target": 64}
        joint = Side("rows.training:joint_step", batch)
        fine_tunes = Side("rows.peers_training:two_fine_tunes", batch, is_peer=True)
        trl = Side("rows.peers_training:trl_step", batch, is_peer=True)
        compact = Side("rows.peers_training:trl_step", {**batch, "is_compact": True}, is_peer=True)
        found.append(Row(f"train-step-{vocabulary}", "two fine-tunes", joint, fine_tunes, bar=bar))
        found.append(Row(f"train-step-{vocabulary}-trl", "TRL SFTTrainer", joint, trl, bar=2.0))
        peer_name = "TRL SFTTrainer, its loss at supervised tokens alone, as on a GPU"
        found.append(Row(f"train-step-{vocabulary}-trl-compact", peer_name, joint, compact, bar=1.0))
    found.append(Row("train-memory", "two fine-tunes", joint, fine_tunes, bar=0.25, is_speedup=False, is_memory=True))
    epoch = {"model": small, "lengths": str(lengths_file(24)), "batch_size": 8, "num_target": 64}
    found.append(
        Row(
            "train-mixed",
            "the stock Trainer's padded batches, of the text alone",
            Side("rows.trainers:epoch", epoch),
            Side("rows.peers_training:trainer_epoch", epoch, is_peer=True),
            bar=2.0,
        )
    )
    batch = {"model": small, "num_rows": 4, "num_prompt": 1024, "num_target": 64}
    ours = Side("rows.training:joint_step", batch)
    for starts_at in ("document_end", "decision"):
        activated = Side("rows.training:joint_step", {**batch, "starts_at": starts_at})
        found.append(Row(f"activated-{starts_at}", "clsgen's own joint step", activated, ours, bar=2.0))
        found.append(
            Row(
                f"activated-{starts_at}-memory",
                "clsgen's own joint step",
                activated,
                ours,
                bar=0.45,
                is_speedup=False,
                is_memory=True,
            )
        )
    return found
