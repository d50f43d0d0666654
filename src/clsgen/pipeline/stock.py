"""A folded model on a stock server, asked as one asks a `Classifier`."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np

from clsgen.clients import Completion, Endpoint, FoldedEndpoint
from clsgen.data.template import Prompt, Renderer
from clsgen.errors import ConfigError
from clsgen.export.record import FoldedRecord
from clsgen.inference.asked import UNCERTAIN_MARGIN, Text, as_examples, explained, wants_reason
from clsgen.inference.partial import Wanted, check_wanted
from clsgen.llm.hosts import check_host
from clsgen.model import backbone
from clsgen.model.decision import judge
from clsgen.types import Example, Explain, ExplanationMode, Prediction, TaskSpec

NUM_LOGPROBS = 20
"""Alternatives asked for at a step: what servers give unless told otherwise. The classes come before all else."""


class StockClassifier:
    """Texts in, calibrated probabilities and reasons out; the model runs in somebody else's server.

    The prompts are rendered here, and probabilities, threshold and abstention are made here, of what the folded
    directory holds; the server reads and writes ids. The reason is written after the probability and does not cause it.

    Attributes:
        record: What the folded directory says.
        renderer: The one rendering.
        uncertain_margin: How near the threshold a row is that `explain="uncertain"` explains.
    """

    uncertain_margin = UNCERTAIN_MARGIN

    def __init__(
        self,
        folder: str | Path,
        endpoint: str | Endpoint,
        *,
        model: str | None = None,
        api_key: str | None = None,
        concurrency: int = 16,
    ) -> None:
        """Read a folded directory; nothing is asked yet.

        Args:
            folder: What `clsgen export --format folded` wrote; its weights are not read.
            endpoint: Address of the server, such as http://localhost:8000/v1; or what answers in its place.
            model: What the server calls the model; None: the folder's name. Of an address only, as is the key.
            api_key: The server's key.
            concurrency: Requests at a time.

        Raises:
            ArtifactError: The folder is no folded model.
            ConfigError: The endpoint is no address.
            RestrictedError: A restricted task and a server that is not this machine.
            TemplateError: The tokenizer renders otherwise than when the model was exported.
        """
        if concurrency < 1:
            raise ConfigError(f"StockClassifier: concurrency must be 1 or more; got {concurrency}.")
        folder = Path(folder)
        self.record = FoldedRecord.load(folder)
        self.renderer = Renderer(self.record.template, backbone.load_tokenizer(str(folder)))
        self.renderer.check_golden()
        self._concurrency = concurrency
        self._tells_classes_while_writing = True
        address = endpoint.endpoint if isinstance(endpoint, FoldedEndpoint) else endpoint
        if isinstance(address, str):
            check_host(address, is_restricted=self.record.spec.is_restricted)
        if isinstance(endpoint, str):
            endpoint = FoldedEndpoint(
                endpoint,
                model or folder.resolve().name,
                self.record.class_ids,
                self.record.class_tokens,
                num_logprobs=max(NUM_LOGPROBS, self.record.spec.num_labels),
                api_key=api_key,
            )
        self._endpoint = endpoint

    def __enter__(self) -> StockClassifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the server."""
        self._endpoint.close()

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the order of the probabilities."""
        return self.spec.labels

    @property
    def spec(self) -> TaskSpec:
        """The task: labels in the order of the probabilities, instruction, positive label."""
        return self.record.spec

    def check_options(
        self, *, explain: Explain = "none", mode: ExplanationMode = "free", prior: Sequence[float] | None = None
    ) -> None:
        """Refuse what doesn't suit the model, before anything is asked.

        Raises:
            ConfigError: An unknown value, or an explanation of a model that was trained without.
            CalibrationError: A prior for a model that saw no calibration row.
        """
        check_wanted(
            Wanted.of(explain, mode, prior),
            spec=self.spec,
            has_explanations=self.record.has_explanations,
            calibrator=self.record.calibrator,
        )
        if explain != "none":
            self.renderer.check_room(mode)

    def predict(
        self,
        texts: Sequence[Text],
        *,
        explain: Explain = "none",
        mode: ExplanationMode = "free",
        prior: Sequence[float] | None = None,
    ) -> list[Prediction]:
        """Probabilities, decisions and reasons, in the order of the texts.

        Args:
            texts: Texts or examples.
            explain: For which rows a reason is written: "none", "all", "uncertain" (within 0.1 of the threshold) or
                "positive".
            mode: "free" takes one request a row where all are explained, unless the server does not tell the
                log-probabilities of what is banned; else there is a second one for rows with a reason.
            prior: Prevalence of each label where the texts come from; None: that of the calibration rows.

        Raises:
            ConfigError, CalibrationError: As for `check_options`.
            DataError: An empty text, or a question that leaves no room for it.
            ClientError: The server can't be reached, refuses, or tells too little.
        """
        self.check_options(explain=explain, mode=mode, prior=prior)
        examples = as_examples(texts)
        wanted = Wanted.of(explain, mode, prior)

        def one(example: Example) -> Prediction:
            return self._one(example, wanted)

        pool = ThreadPoolExecutor(self._concurrency)
        try:
            return list(pool.map(one, examples))
        finally:
            pool.shutdown(cancel_futures=True)

    def check_rows(self, rows: Sequence[Example]) -> None:
        """Refuse rows that can't be read, all of them, before any is.

        Raises:
            DataError: Questions that leave no room for a document.
        """
        self.renderer.check_questions(rows)

    def _one(self, example: Example, wanted: Wanted) -> Prediction:
        prompt = self.renderer.prompt(example.document, example.question)
        mode, template = wanted.mode, self.record.template
        if wanted.explain == "all" and mode == "free" and self._tells_classes_while_writing:
            banned = self.record.free_banned_ids
            found = self._endpoint.read_and_write(
                prompt.ids, max_tokens=template.max_explanation_tokens, banned_ids=banned
            )
            if found.class_logprobs:
                words = self.renderer.decode(self.renderer.forced("free"))
                text = found.text.lstrip().removeprefix(words)
                prediction = self._judged(example, prompt, found.class_logprobs, wanted.prior)
                return self._explained(prediction, found._replace(text=text), mode)
            self._tells_classes_while_writing = False
        prediction = self._judged(example, prompt, self._endpoint.read(prompt.ids), wanted.prior)
        if not wants_reason(prediction, wanted.explain, positive=self.spec.positive, margin=self.uncertain_margin):
            return prediction
        forced = self.renderer.forced(mode, prediction.decision)
        room = template.max_explanation_tokens - len(forced)
        return self._explained(prediction, self._endpoint.go_on([*prompt.ids, *forced], max_tokens=room), mode)

    def _explained(self, prediction: Prediction, found: Completion, mode: ExplanationMode) -> Prediction:
        parsed = self.renderer.parse_text(found.text, mode)
        return explained(prediction, parsed, mode, has_ended=found.has_ended)

    def _judged(
        self, example: Example, prompt: Prompt, class_logprobs: Sequence[float], prior: Sequence[float] | None
    ) -> Prediction:
        """Probability and decision of class log-probabilities, which are class logits but for a constant."""
        logits_1C = np.array([class_logprobs], dtype=np.float64)
        (prediction,) = judge(
            [example], logits_1C - logits_1C.mean(), self.record.calibrator, self.record.rule, prior=prior
        )
        return replace(prediction, num_document_tokens_cut=prompt.num_cut_tokens)
