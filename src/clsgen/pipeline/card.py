"""What a card on the hub says that stands in other files: figures in the run, the licence in the base's own card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError
from yaml import YAMLError

from clsgen.evaluation.curves import curves, net_benefit_gain
from clsgen.evaluation.table import tabulate
from clsgen.export.hub_card import Judged, Licence
from clsgen.model.embedded import EMBEDDED_FOLDER
from clsgen.pipeline.evaluate import is_predicted
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.report import results_of
from clsgen.report.figures import render, report_drawings
from clsgen.report.summary import summary
from clsgen.types import EMBEDDED


def judged_of(run: RunFolder) -> Judged | None:
    """What a run's model is worth, without the text of any row; None where it was not judged since it was made."""
    if not is_predicted(run):
        return None
    results = results_of(run, show_text=False)
    table, settings = tabulate(results.predictions, results.spec), run.config().evaluate
    drawn = curves(table, settings=settings)
    pictures = [render(each).png for each in report_drawings(drawn, None) if each.name == "reliability"]
    gain = net_benefit_gain(table, settings=settings)
    statements = [(each.heading, each.text) for each in summary(results, gain)]
    return Judged(results.metrics, statements, pictures[0] if pictures else None)


def licence_of(base: Mapping[str, Any]) -> Licence | None:
    """The licence that the base's own card names; None where it has no card, a broken one, or one that names none.

    Args:
        base: The base as clsgen.json records it.
    """
    name = str(base["name"])
    if name == EMBEDDED:
        file = EMBEDDED_FOLDER / "README.md"
    elif "/" in name:
        try:
            file = Path(hf_hub_download(name, "README.md", revision=base.get("revision")))
        except (HfHubHTTPError, OSError):  # no card, or no access to it: the licence stays unknown, and is told so
            return None
    else:
        return None
    try:
        card = vars(ModelCard(file.read_text(encoding="utf-8"), ignore_metadata_errors=True).data)
    except (ValueError, YAMLError):  # somebody else's front matter, which names nothing that can be read
        return None
    if not isinstance(card.get("license"), str):
        return None
    return Licence(card["license"], card.get("license_name"), card.get("license_link"))
