"""The report for a person in a hurry: what the figures say, in sentences, with what speaks against them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from clsgen.evaluation.net_benefit import decision_curve
from clsgen.evaluation.subgroups import SMALL_CLASS, SMALL_ROWS
from clsgen.report.results import Results
from clsgen.report.wording import count, figure, number, percent

Tone = Literal["plain", "good", "caution"]


class Statement(NamedTuple):
    """One sentence or two under a short heading; `caution` is what a reader must know before acting on it."""

    heading: str
    text: str
    tone: Tone = "plain"


def summary(results: Results, net_benefit: Mapping[str, Any] | None) -> list[Statement]:
    """The statements, the most important first, cautions last.

    Args:
        results: The run.
        net_benefit: Curve of the positive label; None with more than two classes, or where it is undefined.
    """
    found = [
        _rows(results),
        *_ranking(results),
        *_calibration(results),
        *_decision(results),
        *_benefit(results, net_benefit),
        *_reasons(results),
        *_cautions(results),
    ]
    return found


def _rows(results: Results) -> Statement:
    metrics = results.metrics
    shares = ", ".join(f"{count(number_)} {label}" for label, number_ in metrics["num_by_label"].items())
    text = f"{count(metrics['num_rows'])} {metrics['split']} rows in {count(metrics['num_groups'])} groups: {shares}."
    return Statement("Judged on", text)


def _ranking(results: Results) -> Iterator[Statement]:
    entry = results.figure("auroc")
    if entry.get("value") is None:
        yield Statement("Ranking", f"AUROC is undefined: {entry.get('reason', 'not computed')}.", "caution")
        return
    low = entry.get("low")
    is_above = low is not None and low > 0.5
    text = f"AUROC {figure(entry)}; 0.5 is chance."
    if not is_above:
        text += " The interval reaches chance: these rows don't show that the model ranks at all."
    yield Statement("Ranking", text, "good" if is_above else "caution")


def _calibration(results: Results) -> Iterator[Statement]:
    error, reference = results.value("ece"), results.value("ece_reference")
    if error is None or reference is None:
        return
    is_good = error <= reference
    text = f"ECE {number(error)}; perfect probabilities would stay below {number(reference)} on 95% of such samples. "
    text += "No evidence of miscalibration." if is_good else "The probabilities are off beyond chance."
    slope = results.figure("calibration_slope")
    low, high = slope.get("low"), slope.get("high")
    if low is not None and high is not None and not low <= 1 <= high:
        direction = "too timid: they should lie further apart" if low > 1 else "too extreme"
        text += f" But the slope is {figure(slope, 2)}: the probabilities look {direction}."
        is_good = False
    yield Statement("Calibration", text, "good" if is_good else "caution")


def _decision(results: Results) -> Iterator[Statement]:
    rule, positive = results.model["decision"], results.spec.positive
    if positive is None:
        yield Statement(
            "Decisions", f"The likeliest label is decided; {percent(results.value('accuracy'))} of the rows are right."
        )
        return
    alerts = sum(row.decision == positive for row in results.predictions) / max(1, len(results.predictions))
    yield Statement(
        "Decisions",
        f"“{positive}” is decided from a probability of {number(rule['threshold'])} upwards ({rule['policy']}, chosen "
        f"on {rule['chosen_on']} rows): {1000 * alerts:.0f} of 1,000 rows. {percent(results.value('sensitivity'))} of "
        f"the {positive} rows are found; {percent(results.value('ppv'))} of the decisions for {positive} are right.",
    )


def _benefit(results: Results, curve: Mapping[str, Any] | None) -> Iterator[Statement]:
    threshold = results.model["decision"].get("threshold")
    if curve is None or threshold is None or not 0 < threshold < 1:
        return
    labelled = [row for row in results.predictions if row.label is not None]
    prob = [row.probs[str(results.spec.positive)] for row in labelled]
    exact = decision_curve(prob, [row.label == results.spec.positive for row in labelled], [threshold])
    model, best = float(exact.model[..., 0]), max(0.0, float(exact.treat_all[..., 0]))
    is_useful = model > best
    text = (
        f"At the threshold {number(threshold)} the net benefit is {number(model)}; deciding everybody or "
        f"nobody positive gives {number(best)}."
    )
    yield Statement("Use", text, "good" if is_useful else "caution")


def _reasons(results: Results) -> Iterator[Statement]:
    error = results.value("rli")
    if error is None:
        return
    text = f"The text states the decided label in {percent(1 - error)} of the parsed explanations"
    unparsed = results.value("unparsed_rate")
    text += f" ({percent(unparsed)} could not be parsed)." if unparsed else "."
    readable = results.value("readability")
    if readable is not None:
        text += f" {percent(readable)} are readable."
    grounded = results.value("grounding")
    if grounded is not None:
        text += f" {percent(grounded)} of the quotes stand in the document."
    yield Statement("Reasons", text)


def _cautions(results: Results) -> Iterator[Statement]:
    metrics, shared = results.metrics, results.manifest.get("shared_with_test") or {}
    if any(shared.values()):
        roles = ", ".join(f"{count(number_)} with {role}" for role, number_ in shared.items() if number_)
        yield Statement(
            "Leak",
            f"Test rows share a group or a document with other roles ({roles}): figures are too good.",
            "caution",
        )
    fewest = min(metrics["num_by_label"].values())
    if metrics["num_rows"] < SMALL_ROWS or fewest < SMALL_CLASS:
        yield Statement("Few rows", "So few test rows carry no fine judgement; read the intervals.", "caution")
    if metrics.get("truncated_share"):
        yield Statement(
            "Cut documents", f"{percent(metrics['truncated_share'])} of the documents were cut to fit.", "caution"
        )
    if results.stale:
        text = f"{', '.join(results.stale)}: of earlier predictions, left out here. Run those commands again."
        yield Statement("Out of date", text, "caution")
    yield Statement(
        "One training run",
        "Intervals cover the sampling of test rows, not the seed of training: train several.",
        "caution",
    )
