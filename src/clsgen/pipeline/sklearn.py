"""`ClsgenClassifier`: training and prediction as a scikit-learn classifier of texts."""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from clsgen.artifacts import make_folder, write_text_atomic
from clsgen.config.fields import leaves
from clsgen.config.load import config_of, read_settings
from clsgen.config.problems import nearest_path
from clsgen.config.render import example_config
from clsgen.config.run import RunConfig
from clsgen.data.source import as_text
from clsgen.data.split import components
from clsgen.errors import ArtifactError, ConfigError, DataError
from clsgen.inference.asked import Text, as_examples
from clsgen.inference.predictor import Classifier
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.labels import Classes, classes_of, is_missing
from clsgen.pipeline.loading import classifier_of
from clsgen.pipeline.train import train_run
from clsgen.types import Example, Explain, ExplanationMode, Prediction

_COLUMNS = {
    "text": ["text"],
    "question": "question",
    "label": "label",
    "explanation": "explanation",
    "group": ["group"],
    "id": "id",
}
_OWN = ("output", "data.task", "data.train", "data.test", "data.questions", "data.question", "data.split.num_folds")
"""Settings that say where rows and runs are, which `fit` and scikit-learn's own splitters decide here."""


class ClsgenClassifier(ClassifierMixin, BaseEstimator):
    """A dual-head model behind scikit-learn's interface: texts in, calibrated probabilities and reasons out.

    `fit` carves validation and calibration rows from the rows given, by group, trains as `clsgen train` does and fits
    calibrator and threshold on the calibration rows. There is no test role: judging is scikit-learn's part.

    Attributes:
        classes_: The labels as they were given, sorted; the order of the columns of `predict_proba`.
        run_: The run directory, with `model/` in it.
    """

    def __init__(
        self, config: str | Path | RunConfig | Mapping[str, Any] | None = None, *, output: str | None = None,
        **settings: Any,
    ) -> None:  # fmt: skip
        """Name the settings; nothing is loaded or checked but their names.

        Args:
            config: A YAML file, a configuration, or nested settings; what it says of files and folders is not used.
                None: the embedded base model with LoRA, and a threshold of one half.
            output: Folder in which each fit makes a run directory of its own; None: a temporary one, which goes with
                the classifier unless that is pickled.
            settings: Any setting by its path with `__` for the dot, `train__learning_rate=1e-4`; they win.

        Raises:
            ConfigError: An unknown setting.
        """
        self.config = config
        self.output = output
        self._put(settings)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """`config`, `output` and every setting that was given."""
        given = {name: value for name, value in vars(self).items() if "__" in name and not name.startswith("_")}
        return {"config": self.config, "output": self.output, **given}

    def set_params(self, **params: Any) -> ClsgenClassifier:
        """Change `config`, `output`, or any setting, given before or not.

        Raises:
            ConfigError: An unknown setting; nothing is changed then.
        """
        own = {name: params.pop(name) for name in ("config", "output") if name in params}
        self._put(params)
        for name, value in own.items():
            setattr(self, name, value)
        return self

    def fit(
        self,
        X: Sequence[Text],
        y: Sequence[Any],
        explanations: Sequence[str | None] | None = None,
        groups: Sequence[Any] | None = None,
    ) -> ClsgenClassifier:
        """Train, calibrate, choose the threshold.

        Args:
            X: Texts: a list, a 1-D array, a pandas Series.
            y: Their labels, of any hashable kind.
            explanations: Why each label holds, None where unknown; by default those of examples. Without any,
                `data__explanations` says what is trained: "column" the class head alone, "extractive" quotes of the
                texts.
            groups: Values that tie rows together (patients), besides the groups of examples; rows that share one have
                one role. None or NaN ties to nothing.

        Raises:
            DataError: Rows, labels or classes that can't be used, or too few of a class for three roles.
            ConfigError: Settings that can't work.
        """
        rows = as_examples(_texts(X))
        if not rows:
            raise DataError("fit: X must hold texts; got 0 samples, and a minimum of 1 is required. Give some.")
        check_consistent_length(rows, y, explanations, groups)
        found = classes_of(y)
        folder = _new_folder(self.output)
        try:
            config = self._config(found, folder, explanations)
            _write(folder / "rows.jsonl", rows, found, explanations, _tied(rows, groups))
            run = train_run(config)
        except BaseException:
            if self.output is None:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        self._forget()
        if self.output is None:
            shutil.rmtree(RunFolder(run).checkpoints, ignore_errors=True)
            self._keeper = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.run_ = run
        self.classes_ = found.values
        self._classifier = classifier_of(RunFolder(run))
        return self

    def predict_proba(self, X: Sequence[Text]) -> NDArray[np.float64]:
        """Calibrated probabilities (N, C), columns in the order of `classes_`."""
        return self.classifier().predict_proba(_texts(X))

    def predict(self, X: Sequence[Text]) -> NDArray[Any]:
        """The decided label of each text (N,).

        Two classes: by the model's threshold, which is not the likeliest label unless that is one half.
        """
        classifier = self.classifier()
        at = {label: index for index, label in enumerate(classifier.labels)}
        decided = [at[row.decision] for row in classifier.predict(_texts(X))]
        chosen: NDArray[Any] = self.classes_[np.array(decided, dtype=np.int64)]
        return chosen

    def explain(
        self, X: Sequence[Text], *, explain: Explain = "all", mode: ExplanationMode = "free"
    ) -> list[Prediction]:  # fmt: skip
        """Probability, decision and the reason in words, as `Classifier.predict` gives them.

        Args:
            X: Texts.
            explain: For which of them a reason is written.
            mode: free: the text states its own answer; decision: it argues for the decision.

        Raises:
            ConfigError: The model was trained without explanations.
        """
        return self.classifier().predict(_texts(X), explain=explain, mode=mode)

    def classifier(self) -> Classifier:
        """The trained model itself; after unpickling it is loaded when it is first asked for.

        Raises:
            NotFittedError: Before `fit`.
            ArtifactError: The run directory has gone, or a file of it was altered.
        """
        check_is_fitted(self, "run_")
        if "_classifier" not in vars(self):
            if not Path(self.run_).is_dir():
                raise ArtifactError(
                    f"ClsgenClassifier: its run must be at {self.run_}, which is gone. Give output= before fitting, "
                    "and keep that folder with the pickled classifier."
                )
            self._classifier = classifier_of(RunFolder(Path(self.run_)))
        return self._classifier

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle holds: settings, labels and the path of the run, which stays on the disk from now on."""
        keeper = vars(self).get("_keeper")
        if keeper is not None:
            keeper.detach()
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name not in ("_classifier", "_keeper")}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags

    def _put(self, settings: Mapping[str, Any]) -> None:
        known = {setting.path for setting in leaves()}
        for name in settings:
            path = name.replace("__", ".")
            if path not in known or path in _OWN or path.startswith("data.columns."):
                raise ConfigError(f"ClsgenClassifier: {name!r} must be a setting of a run. {_advice(path)}")
        for name, value in settings.items():
            setattr(self, name, value)

    def _config(self, found: Classes, folder: Path, explanations: Sequence[str | None] | None) -> RunConfig:
        """The configuration of the run; what `fit` decides replaces what the settings say of it."""
        values = _nested(self.config)
        for name, value in self.get_params().items():
            if "__" in name:
                _set(values, name.split("__"), value)
        data = values.setdefault("data", {})
        named = data.get("labels")
        if named is not None and sorted(named) != sorted(found.names):
            raise ConfigError(f"data.labels must be the labels of y, {found.names!r}; got {named!r}. Leave it out.")
        if explanations is not None and data.get("explanations", "column") not in ("column", "extractive"):
            raise ConfigError(
                f"data.explanations must be column or extractive where fit is given explanations; got "
                f"{data['explanations']!r}, which would not use them. Set it, or give none."
            )
        data |= {
            "task": None,
            "train": str(folder / "rows.jsonl"),
            "test": None,
            "questions": {},
            "question": None,
            "columns": _COLUMNS,
            "labels": list(found.names),
            "split": (data.get("split") or {}) | {"test": 0.0, "num_folds": None, "fold": 0},
        }
        return config_of(values | {"output": str(folder / "run")}, where="ClsgenClassifier")

    def _forget(self) -> None:
        """Let go of what an earlier fit left."""
        keeper = self.__dict__.pop("_keeper", None)
        if keeper is not None:
            keeper()


def _texts(given: Sequence[Text]) -> Sequence[Text]:
    """What can be read one by one: some containers only know how to become an array."""
    return given if hasattr(given, "__iter__") else np.asarray(given).tolist()


def _advice(path: str) -> str:
    if path in _OWN or path.startswith("data.columns."):
        return "Rows and folders are given to fit, and scikit-learn splits them: leave it out."
    nearest = nearest_path(path)
    return "See `clsgen init`." if nearest is None else f"Did you mean {nearest.replace('.', '__')!r}?"


def _new_folder(output: str | None) -> Path:
    """A new folder for one fit, readable by its owner alone."""
    if output is not None:
        make_folder(Path(output))
    return Path(tempfile.mkdtemp(prefix="fit-" if output is not None else "clsgen-", dir=output)).absolute()


def _nested(config: str | Path | RunConfig | Mapping[str, Any] | None) -> dict[str, Any]:
    """Settings as nested JSON values, free to be changed."""
    if config is None:
        base = example_config().model_dump(mode="json")
        return {"model": base["model"], "train": base["train"], "calibrate": {"threshold": "half"}}
    if isinstance(config, RunConfig):
        return config.model_dump(mode="json")
    if isinstance(config, str | Path):
        return read_settings(Path(config))
    if not isinstance(config, Mapping):
        kind = type(config).__name__
        raise ConfigError(f"ClsgenClassifier: config must be a file, a configuration, a mapping or None; got a {kind}.")
    copied: dict[str, Any] = json.loads(json.dumps(config, default=_plain))
    return copied


def _plain(value: Any) -> Any:
    """A number or array of numpy as Python has it: what a grid of settings is made of."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise ConfigError(f"ClsgenClassifier: a setting must be text, a number, a list or None; got {value!r}.")


def _set(values: dict[str, Any], parts: Sequence[str], value: Any) -> None:
    for part in parts[:-1]:
        if values.get(part) is None:
            values[part] = {}
        values = values[part]
    values[parts[-1]] = json.loads(json.dumps(value, default=_plain))


def _tied(rows: Sequence[Example], groups: Sequence[Any] | None) -> list[str]:
    """One value a row that says which rows belong together; "" for a row on its own."""
    given = [""] * len(rows) if groups is None else ["" if is_missing(each) else str(each) for each in groups]
    if not any(row.groups for row in rows):
        return given
    both = [
        replace(row, groups=(*row.groups, f"group:{group}") if group else row.groups)
        for row, group in zip(rows, given, strict=True)
    ]
    return [str(component) for component in components(both)]


def _write(
    path: Path,
    rows: Sequence[Example],
    found: Classes,
    explanations: Sequence[str | None] | None,
    groups: Sequence[str],
) -> None:
    """The rows as the file that the run reads."""
    reasons = [row.explanation for row in rows] if explanations is None else [as_text(each) for each in explanations]
    lines = []
    for number, (row, at, reason, group) in enumerate(zip(rows, found.indices, reasons, groups, strict=True)):
        record = {"id": str(number), "text": row.document, "question": row.question, "label": found.names[at]}
        lines.append(json.dumps(record | {"explanation": reason, "group": group}) + "\n")
    write_text_atomic(path, "".join(lines), is_private=True)
