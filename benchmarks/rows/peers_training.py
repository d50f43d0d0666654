"""Training steps as people write them with transformers, PEFT and TRL; imports nothing of clsgen."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def ids_of(num_rows: int, num_prompt: int, num_target: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompt and target ids, the same as clsgen's side."""
    prompt = [[(7 * at + row) % 2900 + 50 for at in range(num_prompt)] for row in range(num_rows)]
    target = [[(11 * at + row) % 2900 + 50 for at in range(num_target)] for row in range(num_rows)]
    return torch.tensor(prompt), torch.tensor(target)


def lora(task_type: str) -> LoraConfig:
    """The adapter of clsgen's side."""
    return LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules=TARGETS, task_type=task_type, bias="none")


def two_fine_tunes(model: str, num_rows: int, num_prompt: int, num_target: int) -> Callable[[], Any]:
    """A step of a classifier and a step of a causal model with the prompt's labels masked, one after the other."""
    classifier = AutoModelForSequenceClassification.from_pretrained(model, num_labels=2)
    classifier.config.pad_token_id = 0
    classifier = get_peft_model(classifier, lora("SEQ_CLS")).train()
    writer = get_peft_model(AutoModelForCausalLM.from_pretrained(model), lora("CAUSAL_LM")).train()
    optimizers = [
        torch.optim.AdamW([each for each in network.parameters() if each.requires_grad], lr=1e-4)
        for network in (classifier, writer)
    ]
    prompt, target = ids_of(num_rows, num_prompt, num_target)
    whole = torch.cat([prompt, target], dim=1)
    labels = torch.cat([torch.full_like(prompt, -100), target], dim=1)
    classes = torch.tensor([row % 2 for row in range(num_rows)])

    def step() -> None:
        classifier(input_ids=prompt, attention_mask=torch.ones_like(prompt), labels=classes).loss.backward()
        optimizers[0].step()
        optimizers[0].zero_grad()
        writer(input_ids=whole, attention_mask=torch.ones_like(whole), labels=labels).loss.backward()
        optimizers[1].step()
        optimizers[1].zero_grad()

    return step


def trainer_epoch(model: str, lengths: str, batch_size: int, num_target: int) -> Callable[[], Any]:
    """The stock Trainer over rows of mixed length, in random order and padded to each batch's longest: text alone."""
    from torch.nn.utils.rnn import pad_sequence  # noqa: PLC0415
    from transformers import Trainer, TrainingArguments  # noqa: PLC0415

    writer = get_peft_model(AutoModelForCausalLM.from_pretrained(model), lora("CAUSAL_LM"))
    rows = []
    for row, length in enumerate(json.loads(Path(lengths).read_text(encoding="utf-8"))):
        prompt = [(7 * at + row) % 2900 + 50 for at in range(length)]
        target = [(11 * at + row) % 2900 + 50 for at in range(num_target)]
        rows.append({"input_ids": prompt + target, "labels": [-100] * length + target})

    def padded(batch: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        ids = [torch.tensor(row["input_ids"]) for row in batch]
        labels = [torch.tensor(row["labels"]) for row in batch]
        return {
            "input_ids": pad_sequence(ids, batch_first=True),
            "labels": pad_sequence(labels, batch_first=True, padding_value=-100),
            "attention_mask": pad_sequence([torch.ones_like(each) for each in ids], batch_first=True),
        }

    def run() -> None:
        arguments = TrainingArguments(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=batch_size,
            num_train_epochs=1,
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_steps=1000,
        )
        Trainer(model=writer, args=arguments, train_dataset=rows, data_collator=padded).train()

    return run


def trl_step(
    model: str, num_rows: int, num_prompt: int, num_target: int, is_compact: bool = False
) -> Callable[[], Any]:
    """A step of TRL's SFTTrainer on prompt and completion: text alone, no class head.

    TRL computes vocabulary scores at every position unless Triton works on the device; is_compact asks for what it does
    there: scores at the supervised positions alone.
    """
    from datasets import Dataset  # noqa: PLC0415
    from transformers import AutoTokenizer  # noqa: PLC0415
    from trl import SFTConfig, SFTTrainer  # noqa: PLC0415
    from trl.trainer import utils  # noqa: PLC0415

    prompt, target = ids_of(num_rows, num_prompt, num_target)
    whole = torch.cat([prompt, target], dim=1)
    mask = torch.cat([torch.zeros_like(prompt), torch.ones_like(target)], dim=1)
    data = Dataset.from_dict({"input_ids": whole.tolist(), "completion_mask": mask.tolist()})
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model),
        args=SFTConfig(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=num_rows,
            max_length=None,
            completion_only_loss=True,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(model),
        peft_config=lora("CAUSAL_LM"),
    )
    if is_compact:
        utils._use_triton = lambda device: True  # asked for this alone; the kernels ask elsewhere
    trainer.create_optimizer()
    trainer.model.train()
    (batch,) = trainer.get_train_dataloader()

    def step() -> None:
        trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=batch["labels"].ne(-100).sum()).backward()
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()

    return step
