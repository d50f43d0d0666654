"""The hub card of a model, made from the files of its run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

from clsgen.artifacts import read_record
from clsgen.evaluation.curves import curves
from clsgen.evaluation.table import tabulate
from clsgen.export.hub_card import FIGURE, CardFacts, Licence, hub_card
from clsgen.model.embedded import EMBEDDED_FOLDER
from clsgen.pipeline.evaluate import is_predicted
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.report import results_of
from clsgen.report.figures import render, report_drawings
from clsgen.report.summary import summary
from clsgen.types import EMBEDDED, TaskSpec


def write_card(
    folder: Path, run: RunFolder | None, repo_id: str, *, licence: Licence | None, has_data: bool = False
) -> None:
    """Write README.md, and the reliability figure where there is one, into a model directory.

    Args:
        folder: The model directory; a README.md there is replaced.
        run: The run that it is of, which gives data and figures; None: not known.
        repo_id: The model's name on the hub.
        licence: Of the base; None: not known.
        has_data: Whether rows and predictions go to the hub too.
    """
    record = read_record(folder / "clsgen.json")
    metrics, statements, has_figure = None, [], False
    if run is not None and is_predicted(run):
        results = results_of(run, show_text=False)
        drawn = curves(tabulate(results.predictions, results.spec), settings=run.config().evaluate)
        pictures = [render(each).png for each in report_drawings(drawn, None) if each.name == "reliability"]
        for picture in pictures:
            (folder / FIGURE).write_bytes(picture)
        benefit = drawn.get(results.spec.positive or "", {}).get("net_benefit")
        statements = [(each.heading, each.text) for each in summary(results, benefit)]
        metrics, has_figure = results.metrics, bool(pictures)
    facts = CardFacts(
        repo_id=repo_id,
        spec=TaskSpec(**record["spec"] | {"labels": tuple(record["spec"]["labels"]), "proxies": ()}),
        record=record,
        calibrator=read_record(folder / "calibrator.json"),
        rule=read_record(folder / "decision.json"),
        licence=licence,
        run=None if run is None else read_record(run.manifest),
        metrics=metrics,
        statements=statements,
        has_figure=has_figure,
        has_data=has_data,
    )
    (folder / "README.md").unlink(missing_ok=True)
    (folder / "README.md").write_text(hub_card(facts), encoding="utf-8")


def licence_of(base: Mapping[str, Any]) -> Licence | None:
    """The licence that the base's own card names; None where it has no card, or names none.

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
    card = vars(ModelCard(file.read_text(encoding="utf-8")).data)
    if not isinstance(card.get("license"), str):
        return None
    return Licence(card["license"], card.get("license_name"), card.get("license_link"))
