"""The shipped folder: stock weights and tokenizer, card, licence."""

from __future__ import annotations

import hashlib
import math
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from clsgen.artifacts import swap_folder

FIXED_TEXT = (
    "Background: It is not known whether reminders by telephone improve the control of blood pressure. Methods: We "
    "assigned 240 adults with hypertension to a weekly call or to usual care for 6 months. Results: Systolic pressure "
    "fell by 8.1 mmHg with calls and by 3.4 mmHg with usual care (p = 0.012). Conclusions: Weekly calls lowered blood "
    "pressure more than usual care did."
)
MOST_BYTES = 40_000_000

LICENCE = """\
The weights and the tokenizer in this folder are licensed under the Creative Commons Attribution-ShareAlike 4.0
International licence (CC BY-SA 4.0): https://creativecommons.org/licenses/by-sa/4.0/legalcode

They are not under the licence of the source code of clsgen. ShareAlike because some of the texts that they were trained
on are (SNLI, ComVE). README.md in this folder names every source with its licence.
"""


def export(stage_folder: Path, target: Path, *, end_token: str, facts: dict[str, Any]) -> None:
    """Write the asset.

    Args:
        stage_folder: Weights and tokenizer of the last stage.
        target: The folder in the package; replaced whole.
        end_token: What stands before a text that is measured.
        facts: Figures of the build for the card: `bits_per_byte` on lm_validation, `card` for its braces.
    """
    temp = target.with_name(target.name + ".new")
    shutil.rmtree(temp, ignore_errors=True)
    model = AutoModelForCausalLM.from_pretrained(stage_folder, dtype=torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(stage_folder)
    model.config._name_or_path = ""
    model.save_pretrained(temp)
    tokenizer.save_pretrained(temp)
    weights = temp / "model.safetensors"
    weights.chmod(0o644)
    size = sum(file.stat().st_size for file in temp.iterdir())
    if size > MOST_BYTES:
        raise ValueError(f"the asset must be at most {MOST_BYTES} bytes; it has {size}")
    measured = fixed_bits_per_byte(model.float(), tokenizer, end_token=end_token)
    head = {
        "license": "cc-by-sa-4.0",
        "language": "en",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "bits_per_byte_lm_validation": facts["bits_per_byte"],
        "bits_per_byte_fixed_text": round(measured, 4),
        "fixed_text": FIXED_TEXT,
    }
    card = (Path(__file__).parent / "card.md").read_text(encoding="utf-8")
    for name, value in facts["card"].items():
        card = card.replace("{" + name + "}", str(value))
    card = card.replace("{parameters}", f"{head['parameters'] / 1e6:.1f} million")
    card = card.replace("{bits_per_byte}", f"{facts['bits_per_byte']:.3f}")
    front = yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=110)
    (temp / "README.md").write_text(f"---\n{front}---\n\n{card}", encoding="utf-8")
    (temp / "LICENSE").write_text(LICENCE, encoding="utf-8")
    target.parent.mkdir(parents=True, exist_ok=True)
    swap_folder(temp, target)


@torch.no_grad()
def fixed_bits_per_byte(model: Any, tokenizer: Any, *, end_token: str) -> float:
    """Bits a byte of FIXED_TEXT in float32, after one end token."""
    ids = torch.tensor([tokenizer(end_token + FIXED_TEXT, add_special_tokens=False)["input_ids"]])
    nats = float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
    return nats / math.log(2) / len(FIXED_TEXT.encode())
