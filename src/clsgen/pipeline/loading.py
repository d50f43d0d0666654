"""The model of a run, asked as the run's settings say."""

from __future__ import annotations

from clsgen.inference.predictor import Classifier
from clsgen.pipeline.folder import RunFolder


def classifier_of(folder: RunFolder, *, base: str | None = None) -> Classifier:
    """The classifier of a trained run.

    Args:
        folder: The run.
        base: Where the base weights are, if they moved.

    Raises:
        ArtifactError: A file of the model is missing, altered or misshapen.
    """
    settings = folder.config().predict
    return Classifier.from_pretrained(
        folder.model,
        base=base,
        batch_tokens=settings.batch_tokens,
        uncertain_margin=settings.uncertain_margin,
        engine=settings.engine,
    )
