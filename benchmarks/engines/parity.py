"""The plain engine and stock ones beside the native one: probabilities of a run's test rows, and reasons.

    python benchmarks/engines/parity.py runs/results/clinifact-binary/published/lora/seed0

Needs the packages of requirements.txt beside this file, and llama.cpp's server: `make engines` sees to both. Writes
docs/benchmarks/engines.json and engines.md.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from transformers import AutoModelForCausalLM

from clsgen import Classifier, Example, Prediction, StockClassifier
from clsgen.artifacts import write_json_atomic, write_text_atomic
from clsgen.clients import Completion
from clsgen.export.record import FoldedRecord
from clsgen.pipeline.export import export_run
from clsgen.pipeline.folder import RunFolder

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from pages import measured_on, page, table  # noqa: E402
from run import machine  # noqa: E402

FIGURES, PAGE = Path("docs/benchmarks/engines.json"), Path("docs/benchmarks/engines.md")
SERVER = HERE / ".build" / "build" / "bin" / "llama-server"
NUM_EXPLAINED = 40
GGUF = ("f16", "q8_0")

Ask = Callable[[Sequence[Example], str], list[Prediction]]


class Generate:
    """A folded model in this process, by `transformers` alone: what `FoldedEndpoint` is for a server."""

    def __init__(self, folder: Path, class_ids: Sequence[int], tokenizer: Any) -> None:
        self._model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self._class_ids, self._tokenizer = list(class_ids), tokenizer

    @torch.inference_mode()
    def read_and_write(
        self, prompt_ids: Sequence[int], *, max_tokens: int, banned_ids: Sequence[int] = ()
    ) -> Completion:
        """What that of `FoldedEndpoint` gives."""
        ids = torch.tensor([list(prompt_ids)])
        done = self._model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max_tokens,
            do_sample=False,
            suppress_tokens=[*self._class_ids, *banned_ids],
            output_logits=True,
            return_dict_in_generate=True,
        )
        logprobs = torch.log_softmax(done.logits[0][0].double(), dim=-1)[self._class_ids]
        written = done.sequences[0, ids.shape[1] :]
        ends = self._model.generation_config.eos_token_id
        has_ended = int(written[-1]) in ([ends] if isinstance(ends, int) else ends)
        return Completion(
            tuple(logprobs.tolist()), self._tokenizer.decode(written, skip_special_tokens=True), has_ended
        )

    def read(self, prompt_ids: Sequence[int]) -> tuple[float, ...]:
        """What that of `FoldedEndpoint` gives."""
        return self.read_and_write(prompt_ids, max_tokens=1).class_logprobs

    def go_on(self, prompt_ids: Sequence[int], *, max_tokens: int) -> Completion:
        """What that of `FoldedEndpoint` gives."""
        return self.read_and_write(prompt_ids, max_tokens=max_tokens)._replace(class_logprobs=())

    def close(self) -> None:
        """Nothing is open."""


@contextmanager
def llama_server(file: Path, num_tokens: int) -> Iterator[str]:
    """Address of llama.cpp's server of a GGUF file, two requests at a time."""
    command = [str(SERVER), "-m", str(file), "--port", "0", "-np", "2", "-t", "2", "-c", str(2 * num_tokens)]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield _address(process, log)
        finally:
            process.terminate()
            process.wait()


def _address(process: subprocess.Popen[bytes], log: Any) -> str:
    while process.poll() is None:
        time.sleep(0.2)
        log.seek(0)
        if found := re.search(r"listening on (http://\S+)", log.read()):
            return found[1] + "/v1"
    log.seek(0)
    raise SystemExit(f"llama-server ended:\n{log.read()[-2000:]}")


def measured(
    name: str, ask: Ask, rows: Sequence[Example], own: Sequence[Prediction], said: Sequence[Prediction]
) -> Any:
    """One line of the table."""
    started = time.monotonic()
    found = ask(rows, "none")
    seconds = time.monotonic() - started
    texts = ask(rows[:NUM_EXPLAINED], "all")
    moved = np.abs(_probs(found) - _probs(own))
    line = {
        "row": name,
        "num_rows": len(rows),
        "largest": float(moved.max()),
        "mean": float(moved.mean()),
        "num_decided_otherwise": sum(a.decision != b.decision for a, b in zip(found, own, strict=True)),
        "auroc_difference": _auroc(rows, found) - _auroc(rows, own),
        "num_explained": len(texts),
        "num_same_reason": sum(a.explanation == b.explanation for a, b in zip(texts, said, strict=True)),
        "num_same_stated": sum(a.stated_label == b.stated_label for a, b in zip(texts, said, strict=True)),
        "seconds": seconds,
    }
    print(line, flush=True)
    return line


def _probs(rows: Sequence[Prediction]) -> np.ndarray[Any, Any]:
    return np.array([list(row.probs.values()) for row in rows])


def _auroc(rows: Sequence[Example], found: Sequence[Prediction]) -> float:
    """Of the second label, or one against the rest in the mean."""
    names = list(found[0].probs)
    labels, probs = [names.index(str(row.label)) for row in rows], _probs(found)
    return float(roc_auc_score(labels, probs[:, 1] if len(names) == 2 else probs, multi_class="ovr"))


_ABOUT = """\
Every engine reads the same prompt ids and writes greedily; the native engine, in float32, is what each is held
against: the readable reference (`engine: plain`) by the same model, stock engines by its folded export. The rule
against repeated phrases is off here, since stock engines have none like it. vLLM and SGLang were not run here: see
[export](../how-to/export.md) for how they are asked."""
_COLUMNS = (
    "engine",
    "test rows",
    "largest difference of p",
    "mean",
    "decisions changed",
    "AUROC difference",
    "reasons the same",
    "stated label the same",
)


def written(figures: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    about = f"{measured_on(figures['machine'])}. `{figures['command']}`\n\n{_ABOUT}"
    return page("One model on several engines", about, table(_COLUMNS, map(_cells, figures["rows"])))


def _cells(row: Mapping[str, Any]) -> list[object]:
    texts = row["num_explained"]
    return [
        row["row"],
        row["num_rows"],
        f"{row['largest']:.1e}",
        f"{row['mean']:.1e}",
        row["num_decided_otherwise"],
        f"{row['auroc_difference']:+.1e}",
        f"{row['num_same_reason']} of {texts}",
        f"{row['num_same_stated']} of {texts}",
    ]


def main() -> None:
    """Measure, keep, show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    run: Path = parser.parse_args().run
    rows = RunFolder(run).rows("test")
    loaded = Classifier.from_pretrained(run)
    native = Classifier(replace(loaded.bundle, no_repeat_ngram=None))
    own, said = native.predict(rows), native.predict(rows[:NUM_EXPLAINED], explain="all")
    template = native.bundle.renderer.template
    room = template.max_prompt_tokens + template.max_explanation_tokens
    plain = Classifier(native.bundle, engine="plain")
    lines = [measured("clsgen, plain engine, float32", _asking(plain), rows, own, said)]
    with tempfile.TemporaryDirectory() as temp:
        folder = export_run(run, "folded", Path(temp) / "folded").folder
        generate = Generate(folder, FoldedRecord.load(folder).class_ids, native.bundle.tokenizer)
        with StockClassifier(folder, generate, concurrency=1) as stock:
            lines.append(measured("transformers generate, float32", _asking(stock), rows, own, said))
        for kind in GGUF:
            file = Path(temp) / f"{kind}.gguf"
            command = [sys.executable, str(HERE / "gguf_file.py"), str(folder), str(file), "--type", kind]
            subprocess.run(command, check=True)
            with llama_server(file, room + 8) as url, StockClassifier(folder, url, concurrency=2) as stock:
                lines.append(measured(f"llama.cpp server, {kind}", _asking(stock), rows, own, said))
    command = "make engines"
    figures = {"machine": machine(), "command": command, "rows": [line | {"command": command} for line in lines]}
    write_json_atomic(FIGURES, figures)
    write_text_atomic(PAGE, written(figures))


def _asking(asked: Classifier | StockClassifier) -> Ask:
    return lambda rows, explain: asked.predict(rows, explain=explain)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
