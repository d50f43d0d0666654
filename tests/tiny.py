"""Tiny real models and rows that tests make: five architectures, with the tokenizer habits of each family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, processors
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from clsgen.config.model import ModelSettings
from clsgen.data.tokenizer import train_tokenizer
from clsgen.model.calibration import fit_calibrator
from clsgen.model.checkpoint import Bundle
from clsgen.model.decision import DecisionRule
from clsgen.pipeline.build import Built, build
from clsgen.types import Example, TaskSpec

FAMILIES = ("llama", "qwen", "mistral", "gemma", "gpt2")
SPEC = TaskSpec("weather", ("rain", "sun"), "Which weather is meant? Answer rain or sun.", "sun")

SCRATCH: Mapping[str, Any] = {
    "model": {
        "init": "scratch",
        "tuning": "full",
        "max_length_tokens": 128,
        "max_explanation_tokens": 64,
        "scratch": {"vocabulary": 400, "width": 32, "num_layers": 1, "num_heads": 2},
    },
    "train": {
        "max_steps": 30,
        "batch_size": 8,
        "learning_rate": 1e-2,
        "head_learning_rate": 5e-2,
        "precision": "float32",
        "num_monitor_explanations": 0,
        "patience": None,
    },
}
"""Settings of a run that tells the rows of `examples` apart in seconds."""

_WORDS = {
    "rain": ("wet streets", "dark clouds", "an umbrella at the door", "puddles on the path"),
    "sun": ("dry streets", "a clear sky", "sunglasses at the door", "long shadows on the path"),
}


def examples(count: int = 24) -> list[Example]:
    """Rows with unequal lengths, alternating labels, an explanation each."""
    rows = []
    for index in range(count):
        label = SPEC.labels[index % 2]
        words = _WORDS[label]
        seen = [words[(index // 2 + step) % 4] for step in range(1 + index % 3)]
        rows.append(
            Example(
                id=f"row-{index}",
                document=f"On day {index} we saw {' and '.join(seen)}.",
                label=label,
                explanation=f"We saw {seen[0]} on that day, which is what {label} brings.",
                groups=(f"day:{index}",),
            )
        )
    return rows


def tokenizer(family: str) -> PreTrainedTokenizerFast:
    """A small byte-level BPE with the special tokens, template and begin token of its family."""
    texts = [row.document + " " + str(row.explanation) for row in examples(40)] + [SPEC.instruction]
    made = train_tokenizer(texts, vocabulary=420)
    made.chat_template = None
    backend = made.backend_tokenizer
    if family == "llama":
        backend.add_special_tokens([AddedToken("<|begin|>", special=True), AddedToken("<|eot|>", special=True)])
        begin = backend.token_to_id("<|begin|>")
        backend.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A", special_tokens=[("<|begin|>", begin)]
        )
        made = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<|begin|>", eos_token="<|end|>")
        made.chat_template = (
            "{{ bos_token }}Today is {{ strftime_now('%d %b %Y') }}.\n"
            "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] | trim }}<|eot|>{% endfor %}"
            "{% if add_generation_prompt %}<|assistant|>{% endif %}"
        )
    elif family == "qwen":
        backend.add_special_tokens([AddedToken("<|im_start|>", special=True), AddedToken("<|im_end|>", special=True)])
        backend.add_tokens([AddedToken("<think>", special=False), AddedToken("</think>", special=False)])
        made = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|end|>")
        made.chat_template = (
            "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n"
            "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
            "{% endif %}"
        )
    elif family == "mistral":
        made = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<|user|>", eos_token="<|end|>")
        made.pad_token = "<|end|>"  # the habit that hides the end token
    elif family == "gemma":
        made = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>", pad_token="<|pad|>")
        made.chat_template = (
            "{% for m in messages %}<|user|>{{ m['content'] }}<|end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
        )
    else:
        made = gpt2_tokenizer(texts)
    return made


def gpt2_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """One special token for begin, end and nothing else; no pad, no reserved ids."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=380, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|endoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>"
    )


def backbone(family: str, vocabulary: int, *, is_tied: bool | None = None) -> Any:
    """A two-layer random model of the family."""
    shape: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    torch.manual_seed(7)
    if family == "llama":
        return LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=bool(is_tied)))
    if family == "qwen":
        return Qwen2ForCausalLM(Qwen2Config(**shape, tie_word_embeddings=is_tied is not False))
    if family == "mistral":
        return MistralForCausalLM(MistralConfig(**shape, sliding_window=24, tie_word_embeddings=bool(is_tied)))
    if family == "gemma":
        soft = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 24, "final_logit_softcapping": 5.0}
        return Gemma2ForCausalLM(Gemma2Config(**shape, **soft))
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocabulary, n_embd=32, n_layer=2, n_head=4, n_positions=512, bos_token_id=0, eos_token_id=0
        )
    )


def save(family: str, folder: Path, *, is_tied: bool | None = None) -> Path:
    """A model directory of the family, as one would download it."""
    made = tokenizer(family)
    model = backbone(family, len(made), is_tied=is_tied)
    model.config.eos_token_id = made.eos_token_id
    model.generation_config.eos_token_id = made.eos_token_id
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


def settings(**changes: Any) -> ModelSettings:
    """Model settings for tiny models."""
    values: dict[str, Any] = {
        "max_length_tokens": 256,
        "max_explanation_tokens": 96,
        "lora": {"rank": 4, "dropout": 0.0},
    }
    return ModelSettings(**(values | changes))


def dual(
    folder: Path, *, tuning: str = "lora", spec: TaskSpec = SPEC, is_random_head: bool = True, room: int = 96,
    **lora: Any,
) -> Built:  # fmt: skip
    """A dual-head model on a saved backbone, its head and adapter moved off zero; `room` tokens for an explanation."""
    rows = examples()
    torch.manual_seed(11)
    lora = {"rank": 4, "dropout": 0.0, **lora}
    model = settings(backbone=str(folder), tuning=tuning, max_explanation_tokens=room, lora=lora)
    made = build(model, spec, rows, seed=0, folder=folder.parent / "m")
    if is_random_head:
        generator = torch.Generator().manual_seed(3)
        for name, parameter in made.model.named_parameters():
            if name.startswith("head.") or "lora_B" in name:
                with torch.no_grad():
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    made.model.eval()
    return made


def bundle_of(built: Built, *, threshold: float = 0.5, has_explanations: bool = True) -> Bundle:
    """The model with a calibrator fitted on drawn logits and a threshold."""
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(200, 2))
    labels = (rng.random(200) < 1 / (1 + np.exp(-(logits[:, 1] - logits[:, 0])))).astype(int)
    return Bundle(
        model=built.model,
        renderer=built.renderer,
        tokenizer=built.tokenizer,
        spec=SPEC,
        calibrator=fit_calibrator(logits, labels),
        rule=DecisionRule(SPEC.labels, 1, threshold, "max_f1"),
        base=built.base,
        dtype="float32",
        pad_id=built.pad_id,
        has_explanations=has_explanations,
    )


def learn(built: Built, reason: str, *, also: Sequence[str] = ()) -> None:
    """Let a model that is tuned in full learn one reason by heart, and "rain" as its answer, whatever it is asked."""
    targets = [built.renderer.target(reason, "rain", mode) for mode in ("free", "decision")]
    optimizer = torch.optim.AdamW(built.model.language_model.parameters(), lr=5e-3)
    documents = [row.document for row in examples(12)]
    documents += [f"{' '.join(documents[:n])} Other words: wet, more." for n in range(6)] + list(also)
    prompts = [built.renderer.prompt(document).ids for document in documents]
    built.model.train()
    for step in range(300):
        shift = step // len(prompts)  # each prompt meets both modes
        prompt, target = prompts[step % len(prompts)], targets[(step + shift) % 3 == 2]
        assert target is not None
        ids = torch.tensor([[*prompt, *target]])
        labels = torch.tensor([[-100] * len(prompt) + target])
        loss = built.model.language_model(ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    built.model.eval()
