"""`Classifier`: texts in, calibrated probabilities and reasons out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clsgen.data.template import Prompt
from clsgen.errors import ConfigError
from clsgen.inference.asked import UNCERTAIN_MARGIN, Text, as_examples, explained, wants_reason
from clsgen.inference.engine import Engine, Generated, Part, Pick, likeliest
from clsgen.inference.fast_engine import make_engine
from clsgen.inference.no_repeat import NoRepeat
from clsgen.inference.partial import Wanted, check_wanted
from clsgen.inference.session import Asked, Session
from clsgen.model.checkpoint import Bundle, check_device, load_bundle
from clsgen.model.decision import judge as decide
from clsgen.model.hub import find_model
from clsgen.types import Example, Explain, ExplanationMode, Prediction, TaskSpec


class StreamEvent(NamedTuple):
    """One step of a streamed answer.

    kind: "probability" first, then "text" for each piece, then "done". prediction: at "probability" without, at
    "done" with the explanation; None at "text". text: the piece; "" elsewhere.
    """

    kind: Literal["probability", "text", "done"]
    prediction: Prediction | None = None
    text: str = ""


_BATCH_TOKENS = {"cpu": 4096}
"""By kind of device, 16,384 elsewhere: a processor's caches hold what a layer makes of 4,096 tokens, and no more."""

_WINDOW_TOKENS = 65_536
"""Of a window of a long input: rows that write together are many until its end."""


class Classifier:
    """A dual-head model ready to be asked.

    The reason is written after the probability and does not cause it. Several threads may ask at once.

    Attributes:
        bundle: The model with all that belongs to it.
        num_written: Tokens of reasons written so far, ends included.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        batch_tokens: int | None = None,
        uncertain_margin: float = UNCERTAIN_MARGIN,
        engine: Literal["auto", "plain"] = "auto",
    ) -> None:
        """Wrap a loaded model.

        Args:
            bundle: What `load_bundle` gives.
            batch_tokens: Prompt tokens a forward, padding included; None: 4096 on a processor, 16384 on a GPU.
            uncertain_margin: explain="uncertain" takes rows this near the threshold (two classes), or whose two
                largest probabilities are this near each other (more classes).
            engine: auto: the fast engine where it reads the architecture; plain: the readable reference.
        """
        if batch_tokens is None:
            batch_tokens = _BATCH_TOKENS.get(bundle.model.device.type, 16_384)
        if batch_tokens < 1 or not 0 < uncertain_margin <= 1:
            raise ConfigError(
                "Classifier: batch_tokens must be 1 or more and uncertain_margin within (0, 1]; "
                f"got {batch_tokens!r} and {uncertain_margin!r}."
            )
        self.bundle = bundle
        self.num_written = 0
        self._batch_tokens = batch_tokens
        self.uncertain_margin = uncertain_margin
        bundle.model.fold_adapter()
        self._engine = make_engine(
            bundle.model, pad_id=bundle.pad_id, end_id=bundle.renderer.template.end_id, kind=engine
        )

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        revision: str | None = None,
        base: str | None = None,
        device: str | None = None,
        **options: Any,
    ) -> Classifier:
        """Load a model directory.

        Args:
            path: run/model, a run directory that holds it, or the id of a model on the hub, "org/name".
            revision: Branch, tag or commit of a model on the hub; None: its main branch.
            base: Path or hub id of the base weights, where they moved.
            device: "cpu", "cuda"; None: CUDA where there is one.
            options: `batch_tokens`, `uncertain_margin` and `engine`, as for the class itself.

        Raises:
            ArtifactError: A file is missing, altered or misshapen.
            HubError: Neither a directory nor a model on the hub that can be had.
            ConfigError, HardwareError: A device that is none, or not here.
        """
        check_device(device)
        return cls(load_bundle(find_model(path, revision), base=base, device=device), **options)

    @property
    def spec(self) -> TaskSpec:
        """The task, with its labels in the order of the probabilities."""
        return self.bundle.spec

    @property
    def engine(self) -> Engine:
        """What reads and writes ids, fast or plain."""
        return self._engine

    @property
    def batch_tokens(self) -> int:
        """Prompt tokens a forward."""
        return self._batch_tokens

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the order of the columns of `predict_proba`."""
        return self.bundle.spec.labels

    def class_logits(self, texts: Sequence[Text]) -> NDArray[np.float64]:
        """Raw class logits (N, C), before calibration; nothing is generated."""
        prompts = self.prompts(as_examples(texts))
        logits_NC = np.empty((len(prompts), len(self.labels)))
        for rows in self._plan(prompts):
            logits_NC[rows] = self._engine.class_logits([prompts[row] for row in rows]).numpy()
        return logits_NC

    def predict_proba(self, texts: Sequence[Text], *, prior: Sequence[float] | None = None) -> NDArray[np.float64]:
        """Calibrated probabilities (N, C), columns in the order of `labels`.

        Args:
            texts: Documents, or examples with a question.
            prior: Prevalence of each label where the texts come from; None: that of the calibration rows.

        Raises:
            DataError: An empty text.
        """
        return np.asarray(self.bundle.calibrator.probs(self.class_logits(texts), prior=prior))

    def predict(
        self,
        texts: Sequence[Text],
        *,
        explain: Explain = "none",
        mode: ExplanationMode = "free",
        prior: Sequence[float] | None = None,
    ) -> list[Prediction]:
        """Probability, decision and, where asked for, the reason: one reading of each text.

        Args:
            texts: Documents, or examples with a question.
            explain: For which rows a reason is written: none; all; uncertain (near the threshold); positive (two
                classes: those decided positive).
            mode: free: the text states its own answer, compared with the decision in `agreement`; decision: the text
                argues for the decision.
            prior: Prevalence of each label where the texts come from.

        Returns:
            One prediction a text, in their order.

        Raises:
            ConfigError: An explanation of a model that was trained without, or "positive" with more than two classes.
            DataError: An empty text.
        """
        self.check_options(explain=explain, mode=mode, prior=prior)
        examples = as_examples(texts)
        predictions: dict[int, Prediction] = {}
        read = self._read(examples, predictions, explain=explain, mode=mode, prior=prior)
        for row, generated in self._engine.write(read, pick=self.pick()):
            predictions[row] = self.with_reason(predictions[row], generated, mode)
        return [predictions[row] for row in range(len(examples))]

    def predict_questions(
        self, document: str, questions: Sequence[str], *, explain: Explain = "none", mode: ExplanationMode = "free"
    ) -> list[Prediction]:
        """What `predict` gives for each question about one document, which the fast engine reads once.

        Args:
            document: The text.
            questions: What is asked about it.
            explain: As for `predict`.
            mode: As for `predict`.

        Returns:
            One prediction a question, in their order; their ids are "0", "1", and so on.

        Raises:
            ConfigError: Questions that are no list.
        """
        if isinstance(questions, str):
            raise ConfigError("predict_questions: questions must be a list of texts; got one string. Put it in a list.")
        examples = [Example(str(number), document, question) for number, question in enumerate(questions)]
        return self.predict(examples, explain=explain, mode=mode)

    def windows(self, texts: Sequence[Text]) -> Iterator[list[Example]]:
        """Texts in their order, in pieces of 65,536 tokens; one piece at least."""
        window: list[Example] = []
        num_tokens = 0
        for example in as_examples(texts):
            length = len(self.prompts([example])[0].ids)
            if window and num_tokens + length > _WINDOW_TOKENS:
                yield window
                window, num_tokens = [], 0
            window.append(example)
            num_tokens += length
        yield window

    def stream(
        self, text: Text, *, mode: ExplanationMode = "free", prior: Sequence[float] | None = None
    ) -> Iterator[StreamEvent]:
        """The probability first, then the reason piece by piece, then the whole prediction."""
        self.check_options(explain="all", mode=mode, prior=prior)
        session = Session(self)
        (example,) = as_examples([text])
        found = session.read([Asked(0, example, True, mode, None if prior is None else tuple(prior))])
        yield StreamEvent("probability", found[0])
        while session.num_reasons:
            for progress in session.step():
                if progress.text:
                    yield StreamEvent("text", text=progress.text)
                if progress.prediction is not None:
                    yield StreamEvent("done", progress.prediction)

    def check_options(
        self, *, explain: Explain = "none", mode: ExplanationMode = "free", prior: Sequence[float] | None = None
    ) -> None:
        """Refuse options of `predict` that don't suit the model, before any text is read.

        Raises:
            ConfigError: As for `predict`, or a prior that is none.
            CalibrationError: A prior for a model that saw no calibration row.
        """
        check_wanted(
            Wanted.of(explain, mode, prior),
            spec=self.spec,
            has_explanations=self.bundle.has_explanations,
            calibrator=self.bundle.calibrator,
        )
        if explain != "none":
            self.bundle.renderer.check_room(mode)

    def check_rows(self, rows: Sequence[Example]) -> None:
        """Refuse rows that can't be read, all of them, before any is.

        Raises:
            DataError: Questions that leave no room for a document.
        """
        self.bundle.renderer.check_questions(rows)

    # ---- steps, for those who put them together otherwise ----

    def prompts(self, examples: Sequence[Example]) -> list[Prompt]:
        """Examples as ids.

        Raises:
            DataError: A question that leaves no room for the document.
        """
        return [self.bundle.renderer.prompt(example.document, example.question) for example in examples]

    def _read(
        self,
        examples: Sequence[Example],
        predictions: dict[int, Prediction],
        *,
        explain: Explain,
        mode: ExplanationMode,
        prior: Sequence[float] | None,
    ) -> Iterator[Part]:
        """Batch by batch, probability and decision into `predictions`; then the rows of it that get a reason."""
        prompts = self.prompts(examples)
        for rows in self._plan(prompts):
            chunk = [prompts[row] for row in rows]
            prefilled = None if explain == "none" else self._engine.prefill(chunk)
            logits_BC = self._engine.class_logits(chunk) if prefilled is None else prefilled.class_logits_BC
            found = self.judge([examples[row] for row in rows], logits_BC.numpy(), prior)
            for row, prediction in zip(rows, found, strict=True):
                predictions[row] = replace(prediction, num_document_tokens_cut=prompts[row].num_cut_tokens)
            chosen = [at for at, prediction in enumerate(found) if self._wants_reason(prediction, explain)]
            if prefilled is not None and chosen:
                forced = [self.forced(mode, found[at]) for at in chosen]
                room = [self.room(ids) for ids in forced]
                yield Part([rows[at] for at in chosen], prefilled.select(chosen), forced, room)

    def _plan(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        return self._engine.plan(prompts, batch_tokens=self._batch_tokens)

    def judge(
        self, examples: Sequence[Example], logits_BC: NDArray[np.float32], prior: Sequence[float] | None
    ) -> list[Prediction]:
        """Probability and decision of examples, from their class logits (B, C)."""
        return decide(examples, logits_BC, self.bundle.calibrator, self.bundle.rule, prior=prior)

    def forced(self, mode: ExplanationMode, prediction: Prediction) -> list[int]:
        """Ids put after the decision position before a reason is written."""
        return self.bundle.renderer.forced(mode, prediction.decision)

    def pick(self) -> Pick:
        """How the next id of a reason is chosen, for rows that write together."""
        size = self.bundle.no_repeat_ngram
        return likeliest if size is None else NoRepeat(size)

    def _wants_reason(self, prediction: Prediction, explain: Explain) -> bool:
        return wants_reason(prediction, explain, positive=self.spec.positive, margin=self.uncertain_margin)

    def with_reason(self, prediction: Prediction, generated: Generated, mode: ExplanationMode) -> Prediction:
        """The prediction with the reason that was written for it."""
        self.num_written += len(generated.ids) + generated.has_ended
        parsed = self.bundle.renderer.parse(generated.ids, mode)
        return explained(prediction, parsed, mode, has_ended=generated.has_ended)

    def room(self, forced: Sequence[int]) -> int:
        """Ids that may be written after the forced ones."""
        return self.bundle.renderer.template.max_explanation_tokens - len(forced)
