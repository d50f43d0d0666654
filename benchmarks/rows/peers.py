"""Reading and writing as people do it with transformers; imports nothing of clsgen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, pipeline


def ids_of(num_tokens: int) -> torch.Tensor:
    """Ids that both sides read."""
    return torch.tensor([[(7 * index) % 2900 + 50 for index in range(num_tokens)]])


def forward(model: str, num_tokens: int) -> Callable[[], Any]:
    """The bare backbone, and the head's product at the last token."""
    backbone = AutoModelForCausalLM.from_pretrained(model).eval().model
    weight_CD = torch.empty(2, backbone.config.hidden_size)
    torch.nn.init.normal_(weight_CD, generator=torch.Generator().manual_seed(0))
    ids = ids_of(num_tokens)

    @torch.inference_mode()
    def run() -> list[float]:
        hidden = backbone(input_ids=ids, use_cache=False).last_hidden_state
        return (weight_CD @ hidden[0, -1]).tolist()

    return run


def classify_documents(model: str, documents: str, batch_size: int) -> Callable[[], Any]:
    """Transformers' pipeline."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForSequenceClassification.from_pretrained(model, num_labels=2).eval()
    network.config.pad_token_id = tokenizer.pad_token_id
    classify = pipeline("text-classification", model=network, tokenizer=tokenizer, batch_size=batch_size)
    texts = json.loads(Path(documents).read_text(encoding="utf-8"))

    @torch.inference_mode()
    def run() -> None:
        for _ in classify((text for text in texts), truncation=True, max_length=4352):
            pass

    return run


def classify_and_generate(model: str, documents: str, lengths: list[int]) -> Callable[[], Any]:
    """Two models as people write it: the pipeline, then generate in batches of 8, padded on the left."""
    classify = classify_documents(model, documents, 8)
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    network = AutoModelForCausalLM.from_pretrained(model).eval()
    texts = json.loads(Path(documents).read_text(encoding="utf-8"))

    @torch.inference_mode()
    def run() -> None:
        classify()
        for start in range(0, len(texts), 8):
            batch = tokenizer(
                texts[start : start + 8], return_tensors="pt", padding=True, truncation=True, max_length=4352
            )
            ends = _Ends(lengths[start : start + 8], batch["input_ids"].shape[1], tokenizer.eos_token_id)
            network.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_new_tokens=256,
                do_sample=False,
                logits_processor=[ends],
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )

    return run


class _Ends:
    """Ends each row at its length, and not before."""

    def __init__(self, lengths: list[int], num_prompt: int, end_id: int) -> None:
        self._lengths, self._num_prompt, self._end_id = torch.tensor(lengths), num_prompt, end_id

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        is_last = input_ids.shape[1] - self._num_prompt + 1 >= self._lengths
        scores[:, self._end_id] = torch.where(is_last, torch.inf, -torch.inf)
        return scores


def generate_ids(model: str, num_tokens: int, num_new: int) -> Callable[[], Any]:
    """Stock generate of the text alone."""
    network = AutoModelForCausalLM.from_pretrained(model).eval()
    ids = ids_of(num_tokens)

    @torch.inference_mode()
    def run() -> list[str]:
        written = network.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=num_new,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        return [" ".join(map(str, written[0, num_tokens:].tolist()))]

    return run
