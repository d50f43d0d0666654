"""What an example's untuned backbone knows: logistic regressions on its hidden states, by place in the prompt.

    python scripts/probe_base.py examples/clinifact.yaml

The prompts are those that the class head reads. Of every layer the last token's state and the mean over the prompt are
read; each fold's regression is fitted on the rows that are not its test role, its strength chosen on those by the log
loss of a grouped cross-validation, and the folds are pooled before the AUROC is computed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from clsgen.config.load import load_config
from clsgen.config.run import RunConfig
from clsgen.data.split import components
from clsgen.model.backbone import body_of
from clsgen.pipeline.build import build
from clsgen.pipeline.rows import LoadedSplit, load_split
from clsgen.types import Example
from measure_results import fold_settings

INVERSE_PENALTIES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
Features = NDArray[np.float32]


def main() -> None:
    """Print the pooled AUROC of every layer, at the last token and of the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()
    configs = [load_config(arguments.config, fold_settings(arguments.folds, fold)) for fold in range(arguments.folds)]
    folds = [load_split(config.data) for config in configs]
    found = read(configs[0], folds[0])
    num_layers = next(iter(found.values())).shape[1]
    print("| layer | last token | mean over the prompt |\n|---|---|---|")
    for layer in range(num_layers):
        last, mean = (
            pooled_auroc(folds, {name: states_PLD[place, layer] for name, states_PLD in found.items()})
            for place in (0, 1)
        )
        print(f"| {layer} | {last:.3f} | {mean:.3f} |", flush=True)


def read(config: RunConfig, loaded: LoadedSplit) -> dict[str, Features]:
    """Row id -> states (2, layers + 1, hidden) of its prompt: at the last token, and their mean; layer 0 embeds."""
    split = loaded.split
    built = build(config.model, loaded.spec, split.roles["train"], seed=0, folder=Path(config.output) / "model")
    body = body_of(built.model.language_model.eval())
    found = {}
    with torch.no_grad():
        for example in (row for rows in split.roles.values() for row in rows):
            ids = built.renderer.prompt(example.document, example.question).ids
            layers = body(torch.tensor([ids]), output_hidden_states=True, use_cache=False).hidden_states
            states = torch.stack([layer[0].float() for layer in layers])
            found[example.id] = torch.stack([states[:, -1], states.mean(1)]).numpy()
    return found


def pooled_auroc(folds: Sequence[LoadedSplit], found: dict[str, Features]) -> float:
    """AUROC over the test rows of all folds, each predicted by a regression that saw none of its group."""
    probs: list[float] = []
    labels: list[bool] = []
    for loaded in folds:
        roles = loaded.split.roles
        seen = [row for role, rows in roles.items() if role != "test" for row in rows]
        model = _fitted(_features(seen, found), _labels(seen, loaded), components(seen))
        probs += model.predict_proba(_features(roles["test"], found))[:, 1].tolist()
        labels += _labels(roles["test"], loaded).tolist()
    return float(roc_auc_score(labels, probs))


def _fitted(features_ND: Features, labels_N: NDArray[np.bool_], groups: Sequence[int]) -> Any:
    """The regression of the strength whose log loss is least on rows of groups that it did not see."""

    def loss(strength: float) -> float:
        probs_NC = cross_val_predict(
            _model(strength), features_ND, labels_N, groups=groups, cv=GroupKFold(5), method="predict_proba"
        )
        return float(log_loss(labels_N, probs_NC[:, 1]))

    return _model(min(INVERSE_PENALTIES, key=loss)).fit(features_ND, labels_N)


def _model(inverse_penalty: float) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=inverse_penalty, max_iter=3000))


def _features(rows: Sequence[Example], found: dict[str, Features]) -> Features:
    return np.stack([found[row.id] for row in rows])


def _labels(rows: Sequence[Example], loaded: LoadedSplit) -> NDArray[np.bool_]:
    return np.array([row.label == loaded.spec.positive for row in rows])


if __name__ == "__main__":
    main()
