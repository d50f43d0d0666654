"""How fast a model is on this machine, and what keeps it from being faster."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from clsgen.data.template import Prompt
from clsgen.inference.engine import Engine
from clsgen.inference.fast_engine import FastEngine
from clsgen.inference.plain_engine import PlainEngine
from clsgen.inference.predictor import Classifier
from clsgen.model import backbone
from clsgen.model.products import linear

_MATRIX = 2048
_STREAM_BYTES = 256 * 2**20
_ALONE_TOKENS = 48


class Machine(NamedTuple):
    """What the machine does at best: flops a second of matrix products, bytes a second read from memory."""

    flops: float
    bandwidth: float


def bench(classifier: Classifier, texts: Sequence[str], *, num_runs: int = 3) -> dict[str, Any]:
    """Measure reading, writing and memory on these texts.

    Args:
        classifier: The model.
        texts: Documents, one or more.
        num_runs: Passes over the texts; medians are given.

    Returns:
        num_texts, num_prompt_tokens, classify and explain (seconds, texts_per_second, tokens_per_second; explain None
        for a model that doesn't), write_alone (tokens_per_second and bandwidth_share of one document's text, no
        guesses), peak_bytes, machine, engine, bounds (a sentence each for reading and writing).
    """
    renderer, model = classifier.bundle.renderer, classifier.bundle.model
    prompts = [renderer.prompt(text) for text in texts]
    num_tokens = sum(len(prompt.ids) for prompt in prompts)
    machine = probe(model.device, next(model.language_model.parameters()).dtype)
    classifier.predict_proba(texts[:1])  # what is made on first use
    seconds = _median_seconds(lambda: classifier.predict_proba(texts), num_runs)
    result: dict[str, Any] = {
        "engine": classifier.engine.name,
        "device": str(model.device),
        "num_texts": len(texts),
        "num_prompt_tokens": num_tokens,
        "machine": machine._asdict(),
        "classify": _rates(seconds, len(texts), num_tokens),
        "explain": None,
        "write_alone": None,
    }
    share = 2 * _num_multiplied(classifier) * num_tokens / seconds / machine.flops
    result["bounds"] = {"reading": f"{share:.0%} of the matrix products that this machine does a second"}
    if classifier.bundle.has_explanations:
        result |= _writing(classifier, texts, prompts, num_runs)
        alone = result["write_alone"]["bandwidth_share"] = (
            result["write_alone"]["tokens_per_second"] * _weight_bytes(classifier) / machine.bandwidth
        )
        result["bounds"]["writing one text"] = f"{alone:.0%} of the bytes that this machine reads a second"
    result["peak_bytes"] = peak_bytes(model.device)
    return result


@torch.inference_mode()
def probe(device: torch.device, dtype: torch.dtype) -> Machine:
    """Time a large matrix product, done as the engine does them, and a read of memory that no cache holds."""
    matrix = torch.ones(_MATRIX, _MATRIX, device=device, dtype=dtype)
    layer = nn.Linear(_MATRIX, _MATRIX, bias=False, device=device, dtype=dtype)
    stream = torch.ones(_STREAM_BYTES // 4, device=device)
    seconds = _median_seconds(lambda: _finished(linear(layer, matrix), device), 5)
    read = _median_seconds(lambda: _finished(stream.sum(), device), 5)
    return Machine(2 * _MATRIX**3 / seconds, _STREAM_BYTES / read)


def peak_bytes(device: torch.device) -> int:
    """Most memory that was in use: the device's, or this process's on a processor."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _writing(
    classifier: Classifier, texts: Sequence[str], prompts: Sequence[Prompt], num_runs: int
) -> dict[str, dict[str, Any]]:
    """Reasons of all texts together, and of one text as long as it can be, each token by itself."""
    bundle = classifier.bundle
    before = classifier.num_written
    seconds = _median_seconds(lambda: classifier.predict(texts, explain="all"), num_runs)
    num_written = (classifier.num_written - before) // num_runs
    arguments: dict[str, Any] = {"pad_id": bundle.pad_id, "end_id": -1}  # it never ends by itself
    engine: Engine = PlainEngine(bundle.model, **arguments)
    if classifier.engine.name == "fast":
        engine = FastEngine(bundle.model, has_lookup=False, **arguments)
    forced = [bundle.renderer.forced("free")]

    def write() -> None:
        engine.generate(engine.prefill(prompts[:1]), forced, max_new_tokens=_ALONE_TOKENS)

    read = _median_seconds(lambda: engine.prefill(prompts[:1]), num_runs)
    alone = max(_median_seconds(write, num_runs) - read, 1e-9)
    return {
        "explain": _rates(seconds, len(texts), num_written),
        "write_alone": {"tokens_per_second": _ALONE_TOKENS / alone},
    }


def _rates(seconds: float, num_texts: int, num_tokens: int) -> dict[str, float]:
    return {
        "seconds": seconds,
        "texts_per_second": num_texts / seconds,
        "tokens": num_tokens,
        "tokens_per_second": num_tokens / seconds,
    }


def _median_seconds(run: Callable[[], Any], num_runs: int) -> float:
    found = []
    for _ in range(num_runs):
        started = time.perf_counter()
        run()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def _finished(result: torch.Tensor, device: torch.device) -> torch.Tensor:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result


def _num_multiplied(classifier: Classifier) -> int:
    """Weights that a prompt token is multiplied with: all but the embeddings, which are looked up."""
    base = backbone.base_of(classifier.bundle.model.language_model)
    tables = {id(module.weight) for module in (base.get_input_embeddings(), base.get_output_embeddings())}
    return sum(parameter.numel() for parameter in base.parameters() if id(parameter) not in tables)


def _weight_bytes(classifier: Classifier) -> int:
    """Bytes read to write one token: every weight but the input embeddings, of which one row is read."""
    base = backbone.base_of(classifier.bundle.model.language_model)
    output = base.get_output_embeddings().weight
    size = output.element_size()
    return int(_num_multiplied(classifier) * size + output.numel() * size)
