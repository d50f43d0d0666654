"""A model directory: everything but the base weights, in safetensors and JSON, written whole or not at all.

clsgen.json            format, task, tuning, dtype, base model (id, revision, weight hash)
head.safetensors       the class head
adapter_*              PEFT's adapter (lora, qlora), or config.json + model.safetensors (full, scratch, merged)
tokenizer files        with the chat template
template.json          the frozen rendering and its golden hash
calibrator.json        what turns logits into probabilities
decision.json          threshold and how it was chosen
similar.json           what became of calibration rows of like probability
README.md              the card
manifest.json          SHA-256 of every file above
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from clsgen.artifacts import (
    check_manifest,
    make_folder,
    read_record,
    recover_folder,
    require_model,
    swap_folder,
    write_json_atomic,
    write_manifest,
)
from clsgen.data.template import Renderer, Template
from clsgen.errors import ArtifactError, ConfigError, HardwareError
from clsgen.model import adapter, backbone
from clsgen.model.calibrator import Calibrator
from clsgen.model.card import model_card
from clsgen.model.decision import DecisionRule
from clsgen.model.dual import DualModel
from clsgen.model.head import ClassHead
from clsgen.model.placement import on_large_pages
from clsgen.model.similar import SimilarRows
from clsgen.types import EMBEDDED, TaskSpec

FORMAT = 1
HEAD_FILE = "head.safetensors"
ADAPTER_FILE = "adapter_model.safetensors"


@dataclass(frozen=True, slots=True)
class BaseRecord:
    """Where the base weights are, without a path of this machine.

    Attributes:
        name: Hub id, folder name, "embedded", or "scratch".
        revision: Hub revision; None: default branch, or not from the hub.
        weights_sha256: Hash of the base's weight files; None where the model directory holds the weights itself.
        relative_path: From the model directory to a local base; None for the hub and for whole models.
    """

    name: str
    revision: str | None = None
    weights_sha256: str | None = None
    relative_path: str | None = None


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model with all that prediction needs.

    Attributes:
        model: Both heads.
        renderer: The one rendering (template and tokenizer).
        tokenizer: The tokenizer itself, for saving.
        spec: The task.
        calibrator: Logits to probabilities.
        rule: Probabilities to a decision.
        base: Where the base weights are.
        dtype: Type of the backbone's weights.
        pad_id: Padding.
        has_explanations: Whether the language head was trained to explain.
        no_repeat_ngram: Explanations write no run of so many tokens twice; None: plain greedy decoding.
        similar: What became of calibration rows of like probability; None: not known.
    """

    model: DualModel
    renderer: Renderer
    tokenizer: Any
    spec: TaskSpec
    calibrator: Calibrator
    rule: DecisionRule
    base: BaseRecord
    dtype: str
    pad_id: int
    has_explanations: bool
    no_repeat_ngram: int | None = None
    similar: SimilarRows | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the directory holds the backbone's weights itself."""
        return self.base.weights_sha256 is None


def save_bundle(bundle: Bundle, folder: Path) -> None:
    """Write a model directory; an existing one stays whole until the new one is.

    Raises:
        ArtifactError: It can't be written (disk full, no rights), or a weight is not finite.
    """

    def write(temp: Path) -> None:
        _write_weights(bundle, temp)
        bundle.tokenizer.save_pretrained(str(temp))
        strip_paths(temp / "tokenizer_config.json")
        write_json_atomic(temp / "clsgen.json", _record(bundle))
        write_json_atomic(temp / "template.json", bundle.renderer.template.to_json())
        _write_decision(temp, bundle)

    write_folder(folder, write)


def save_calibration(bundle: Bundle, folder: Path) -> None:
    """Replace calibrator, threshold and card of a saved model; its weights are linked, not copied."""

    def write(temp: Path) -> None:
        shutil.copytree(folder, temp, copy_function=_link, dirs_exist_ok=True)
        _write_decision(temp, bundle)

    write_folder(folder, write)


def load_bundle(
    folder: Path,
    *,
    base: str | None = None,
    device: str | torch.device | None = None,
    language_model: torch.nn.Module | None = None,
) -> Bundle:
    """Load a model directory and check all of it.

    Args:
        folder: What `save_bundle` wrote.
        base: Path or hub id of the base weights, where they moved; their hash must still match.
        device: Where to put the model; None: CUDA where there is one.
        language_model: The same one, loaded already (see `shared.load_bundles`); None: it is loaded.

    Raises:
        ArtifactError: A file is missing, altered or misshapen, or the base's weights are others.
        TemplateError: The golden prompt renders otherwise.
    """
    folder = folder.absolute()
    recover_folder(folder)
    require_model(folder)
    check_manifest(folder)
    record = read_record(folder / "clsgen.json")
    if record.get("format") != FORMAT:
        raise ArtifactError(f"clsgen.json: format must be {FORMAT}; got {record.get('format')!r}. Update clsgen.")
    spec = TaskSpec.from_record(record["spec"])
    base_record = BaseRecord(**record["base"])
    tokenizer = backbone.load_tokenizer(str(folder))
    renderer = Renderer(Template.from_json(read_record(folder / "template.json")), tokenizer)
    renderer.check_golden()
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if language_model is None:
        language_model = _load_language(folder, record, base_record, base, device)
    head = _load_head(folder, backbone.hidden_size(language_model), spec.num_labels)
    model = DualModel(language_model, head, tuning=record["tuning"], starts_at=record.get("starts_at"))
    return Bundle(
        model=model.to(device).eval(),
        renderer=renderer,
        tokenizer=tokenizer,
        spec=spec,
        calibrator=Calibrator.from_json(read_record(folder / "calibrator.json")),
        rule=DecisionRule.from_json(read_record(folder / "decision.json")),
        base=base_record,
        dtype=record["dtype"],
        pad_id=record["pad_id"],
        has_explanations=record["has_explanations"],
        no_repeat_ngram=record.get("no_repeat_ngram"),
        similar=SimilarRows.from_json(read_record(similar)) if (similar := folder / "similar.json").is_file() else None,
    )


def merged(bundle: Bundle) -> Bundle:
    """The same model with its adapter added into the weights, so that the directory is whole.

    Raises:
        ConfigError: An activated adapter, which does not act on every token.
    """
    if bundle.model.tuning == "activated":
        raise ConfigError(
            "merge: an activated adapter can't be added into the weights; it does not act on every token."
        )
    language_model = adapter.merge_adapter(bundle.model.language_model)
    model = DualModel(language_model, bundle.model.head, tuning="full").eval()
    return replace(bundle, model=model, base=BaseRecord(bundle.base.name, bundle.base.revision))


def base_record(name: str, revision: str | None, *, is_whole: bool, folder: Path) -> BaseRecord:
    """Describe the base of a model that will stand in `folder`."""
    is_local = name != EMBEDDED and Path(name).is_dir()
    short = Path(name).resolve().name if is_local else name
    if is_whole:
        return BaseRecord(short, revision)
    source = Path(name) if is_local else backbone.preflight(name, revision)
    relative = os.path.relpath(Path(name).resolve(), folder.resolve()) if is_local else None
    return BaseRecord(short, revision, backbone.weights_hash(source), relative)


def _record(bundle: Bundle) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "spec": bundle.spec.to_record(),
        "tuning": bundle.model.tuning,
        "starts_at": bundle.model.starts_at,
        "dtype": bundle.dtype,
        "base": asdict(bundle.base),
        "pad_id": bundle.pad_id,
        "has_explanations": bundle.has_explanations,
        "no_repeat_ngram": bundle.no_repeat_ngram,
    }


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Fill a temporary sibling, seal it with a manifest, then swap it in.

    Raises:
        ArtifactError: It can't be written; what stood there is untouched.
    """
    make_folder(folder.parent)
    temp = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        temp.chmod(0o755)
        write(temp)
        write_manifest(temp)
        for file in temp.iterdir():
            file.chmod(0o644)  # safetensors writes 0600; what shuts others out is the run directory
        swap_folder(temp, folder)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ArtifactError(
            f"{folder}: the model must be written whole; {error}. What stood there before is untouched: free some "
            "space or mend the folder's rights, and run again."
        ) from error
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def _write_weights(bundle: Bundle, temp: Path) -> None:
    state = {"weight": bundle.model.head.weight.detach().cpu().contiguous()}
    _check_finite(HEAD_FILE, state)
    save_file(state, temp / HEAD_FILE, metadata={"format": "pt"})
    if bundle.is_whole:
        base = backbone.base_of(bundle.model.language_model)
        _check_finite("model.safetensors", base.state_dict())
        base.save_pretrained(str(temp))
        strip_paths(temp / "config.json")
    elif bundle.model.tuning in adapter.ADAPTED:
        _check_finite(ADAPTER_FILE, bundle.model.trained_state())
        adapter.save_adapter(bundle.model.language_model, temp, base_name=bundle.base.name)


def _check_finite(where: str, state: Mapping[str, Tensor]) -> None:
    broken = [name for name, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise ArtifactError(f"{where}: weights must be finite; {broken[0]} is not ({len(broken)} in all). Not saved.")


def _write_decision(temp: Path, bundle: Bundle) -> None:
    write_json_atomic(temp / "calibrator.json", bundle.calibrator.to_json())
    write_json_atomic(temp / "decision.json", bundle.rule.to_json())
    if bundle.similar is not None:
        write_json_atomic(temp / "similar.json", bundle.similar.to_json())
    card = model_card(
        bundle.spec, bundle.calibrator, bundle.rule, base_name=bundle.base.name, tuning=bundle.model.tuning
    )
    (temp / "README.md").unlink(missing_ok=True)
    (temp / "README.md").write_text(card, encoding="utf-8")


def strip_paths(file: Path) -> None:
    """Drop the remembered origin from a config: it may be a path of this machine."""
    record = json.loads(file.read_text(encoding="utf-8"))
    kept = {key: value for key, value in record.items() if key not in ("_name_or_path", "name_or_path")}
    file.unlink()
    file.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
    return target


def check_device(device: str | torch.device | None) -> None:
    """Refuse what is no device, or is not here.

    Raises:
        ConfigError: Another kind than cpu, cuda or mps.
        HardwareError: It is not on this machine.
    """
    if device is None:
        return
    try:
        found = torch.device(device)
    except RuntimeError:
        found = torch.device("meta")
    if found.type not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"device must be cpu, cuda or mps; got {str(device)!r}. Leave it out to choose by itself.")
    num_here = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}.get(found.type, 1)
    if (found.index or 0) >= num_here:
        raise HardwareError(
            f"device must be one that is here; got {str(device)!r}, and there are {num_here} of that kind. Use cpu."
        )


def _load_language(
    folder: Path, record: Mapping[str, Any], base: BaseRecord, base_path: str | None, device: torch.device
) -> torch.nn.Module:
    tuning = record["tuning"]
    if base.weights_sha256 is None:
        _check_readable(folder / "model.safetensors")
        language_model: torch.nn.Module = backbone.load_backbone(str(folder), dtype=record["dtype"])
        _place(language_model, device)
    else:
        source = find_base(folder, base, base_path)
        language_model = backbone.load_backbone(
            source, revision=base.revision, dtype=record["dtype"], is_quantized=tuning == "qlora"
        )
        _place(language_model, device)
        if tuning in adapter.ADAPTED:
            state = _read_tensors(folder / ADAPTER_FILE)
            language_model = adapter.load_adapter(backbone.base_of(language_model), folder, state)
    return language_model


def _place(language_model: torch.nn.Module, device: torch.device) -> None:
    """Before an adapter comes: models that share a base keep theirs, and drop the rest."""
    if device.type == "cpu":
        on_large_pages(language_model)


def _load_head(folder: Path, width: int, num_labels: int) -> ClassHead:
    head = ClassHead(width, num_labels)
    state = _read_tensors(folder / HEAD_FILE)
    backbone.check_tensors(HEAD_FILE, state, dict(head.state_dict()))
    head.load_state_dict(state)
    return head


def find_base(folder: Path, base: BaseRecord, given: str | None) -> str:
    """Where the base weights are now.

    Raises:
        ArtifactError: They are not there, or do not hash to what the adapter was trained on.
    """
    if given is not None:
        source = given
    elif base.relative_path is not None:
        source = str((folder / base.relative_path).resolve())
        if not Path(source).is_dir():
            raise ArtifactError(
                f"{folder}: the base model {base.name!r} must be given; it is not at {base.relative_path}, seen from "
                "the model directory. Pass base= (--base) with its path."
            )
    else:
        source = base.name
    found = backbone.weights_hash(backbone.preflight(source, base.revision))
    if found != base.weights_sha256:
        raise ArtifactError(
            f"{folder}: base weights must hash to {str(base.weights_sha256)[:12]}...; those of {source!r} hash to "
            f"{found[:12]}.... This adapter was trained on others: give the base it was trained on."
        )
    return source


def _check_readable(file: Path) -> None:
    if not file.is_file() and not list(file.parent.glob("model-*.safetensors")):
        raise ArtifactError(f"{file.name} of {file.parent} must be there; it is missing. Restore it.")


def _read_tensors(file: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(file)
        return tensors
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{file.name} of {file.parent} must be whole safetensors; {error}. Restore it.") from error
