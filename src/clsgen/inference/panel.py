"""`Panel`: several questions asked of the same texts, each text read once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clsgen.errors import ArtifactError, ConfigError
from clsgen.inference.asked import Text
from clsgen.inference.fast_engine import FastEngine
from clsgen.inference.predictor import Classifier
from clsgen.model.checkpoint import check_device
from clsgen.model.decoder import Kept
from clsgen.model.hub import find_model
from clsgen.model.shared import identity_of, load_bundles
from clsgen.types import Explain, ExplanationMode, Prediction

FOLDER = "questions"


class Panel:
    """Classifiers by name, asked of the same texts.

    A text is read once for all questions whose models read documents by the same weights: questions of one run
    (`data.questions`), and models with `tuning: activated` on one base, whatever runs they are from. The others read it
    themselves; the answers are those of each classifier alone either way.

    Attributes:
        classifiers: Name -> classifier, in the order asked.
        folders: Name -> the model directory it was loaded from; {} where it was not.
    """

    folders: Mapping[str, Path]

    def __init__(self, classifiers: Mapping[str, Classifier], readings: Mapping[str, object] | None = None) -> None:
        """Wrap classifiers.

        Args:
            classifiers: Name -> classifier.
            readings: Name -> what is equal for classifiers that read documents by the same weights; None: no two do.
                `from_pretrained` knows it.
        """
        if not classifiers:
            raise ConfigError("Panel: classifiers must be there; got none. Name one or more.")
        self.classifiers = dict(classifiers)
        self.folders = {}
        memories: dict[object, dict[tuple[int, ...], Kept]] = {}
        self._memory_of = {name: memories.setdefault((readings or {}).get(name, name), {}) for name in self.classifiers}

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path | Mapping[str, str | Path],
        *,
        base: str | None = None,
        device: str | None = None,
        **options: int | float | str,
    ) -> Panel:
        """Load the questions of a run, or models by name; weights that they have in common are loaded once.

        Args:
            path: A run that asks several questions; or name -> what `Classifier.from_pretrained` takes.
            base: Path or hub id of the base weights, where they moved.
            device: "cpu", "cuda"; None: CUDA where there is one.
            options: As for `Classifier`.

        Raises:
            ArtifactError: No such run, or a file is missing, altered or misshapen.
            HubError: Neither a directory nor a model on the hub that can be had.
            ConfigError, HardwareError: A device that is none, or not here.
        """
        check_device(device)
        folders = {name: find_model(folder) for name, folder in _named(path).items()}
        bundles = load_bundles(folders, base=base, device=device)
        classifiers = {name: Classifier(bundle, **options) for name, bundle in bundles.items()}  # type: ignore[arg-type]
        panel = cls(classifiers, {name: identity_of(folder).reading for name, folder in folders.items()})
        panel.folders = folders
        return panel

    def predict(
        self, texts: Sequence[Text], *, explain: Explain = "none", mode: ExplanationMode = "free"
    ) -> dict[str, list[Prediction]]:
        """Name -> what `Classifier.predict` of that question gives.

        Args:
            texts: Documents, or examples.
            explain: For which rows a reason is written, by the questions that were trained to explain.
            mode: Explanation mode.

        Raises:
            ConfigError, DataError: As for `Classifier.predict`.
        """
        explained = self.explained(explain, mode)
        found: dict[str, list[Prediction]] = {name: [] for name in self.classifiers}
        for window in self._first.windows(texts):
            with self._remembering():
                for name, classifier in self.classifiers.items():
                    found[name] += classifier.predict(window, explain=explained[name], mode=mode)
        return found

    def predict_questions(
        self, document: str, *, explain: Explain = "none", mode: ExplanationMode = "free"
    ) -> dict[str, Prediction]:
        """Name -> the answer about one document."""
        return {name: found for name, (found,) in self.predict([document], explain=explain, mode=mode).items()}

    def predict_proba(self, texts: Sequence[Text]) -> dict[str, NDArray[np.float64]]:
        """Name -> calibrated probabilities (N, C) of that question, columns in the order of its labels."""
        found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in self.classifiers}
        for window in self._first.windows(texts):
            with self._remembering():
                for name, classifier in self.classifiers.items():
                    found[name].append(classifier.predict_proba(window))
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def explained(self, explain: Explain, mode: ExplanationMode) -> dict[str, Explain]:
        """Name -> for which rows it writes a reason: "none" for a question that was not trained to.

        Raises:
            ConfigError: Reasons are wanted and no question was trained to write any, or an unknown value.
        """
        able = [name for name, each in self.classifiers.items() if each.bundle.has_explanations]
        for name in able or self.classifiers:
            self.classifiers[name].check_options(explain=explain, mode=mode)
        return {name: explain if name in able else "none" for name in self.classifiers}

    @property
    def _first(self) -> Classifier:
        return next(iter(self.classifiers.values()))

    @contextmanager
    def _remembering(self) -> Iterator[None]:
        """What one question's model read serves the next one, until this ends."""
        shared = list(self._memory_of.values())
        engines = [(name, classifier.engine) for name, classifier in self.classifiers.items()]
        try:
            for name, engine in engines:
                memory = self._memory_of[name]
                if isinstance(engine, FastEngine) and sum(memory is each for each in shared) > 1:
                    engine.memory = memory
            yield
        finally:
            for name, engine in engines:
                self._memory_of[name].clear()
                if isinstance(engine, FastEngine):
                    engine.memory = None


def question_folders(run: Path) -> dict[str, Path]:
    """Name -> run directory of each question of a run; {} where it asks one."""
    return {folder.name: folder for folder in sorted((run / FOLDER).glob("*")) if (folder / "model").is_dir()}


def _named(path: str | Path | Mapping[str, str | Path]) -> Mapping[str, str | Path]:
    if isinstance(path, Mapping):
        return path
    found = question_folders(Path(path))
    if not found:
        raise ArtifactError(
            f"{path}: a panel must be a run that asks several questions (data.questions); it is none. "
            "Give its run directory, or name -> model directory."
        )
    return found
