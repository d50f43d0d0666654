"""The report for a person in a hurry: what the figures say, in sentences, with what speaks against them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from clsgen.evaluation.curves import Gain
from clsgen.evaluation.subgroups import SMALL_CLASS, SMALL_GROUPS, SMALL_ROWS
from clsgen.report.results import Results
from clsgen.report.wording import count, figure, number, percent, rows_read

Tone = Literal["plain", "good", "caution"]


class Statement(NamedTuple):
    """One sentence or two under a short heading; `caution` is what a reader must know before acting on it."""

    heading: str
    text: str
    tone: Tone = "plain"


def summary(results: Results, gain: Gain | None) -> list[Statement]:
    """The statements, the most important first, cautions last.

    Args:
        results: The run.
        gain: What deciding at the threshold is worth; None with more than two classes, or where it is undefined.
    """
    found = [
        _rows(results),
        *_ranking(results),
        *_calibration(results),
        *_decision(results),
        *_benefit(results, gain),
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
    is_grouped = results.metrics["num_groups"] < results.metrics["num_rows"]
    rows = "independent rows" if is_grouped else "rows like these"
    text = f"ECE {number(error)}; perfect probabilities of {rows} stay below {number(reference)} 19 times in 20. "
    found = []
    if side := _off(results, "calibration_in_the_large", 0):
        value = figure(results.figure("calibration_in_the_large"), 2)
        direction = "low" if side == "above" else "high"
        found.append(f"As a whole they are too {direction}: calibration in the large is {value}, 0 is the best.")
    if side := _off(results, "calibration_slope", 1):
        value = figure(results.figure("calibration_slope"), 2)
        direction = "timid: they should lie further apart" if side == "above" else "extreme"
        found.append(f"They look too {direction}: the slope is {value}, 1 is the best.")
    if error > reference and is_grouped:
        found.insert(0, "This is more; rows of one group that share their fate can make it so by chance.")
    elif error > reference:
        found.insert(0, "The probabilities are off beyond chance.")
    text += " ".join(found) or "No evidence of miscalibration."
    yield Statement("Calibration", text, "caution" if found else "good")


def _off(results: Results, name: str, best: float) -> str | None:
    """On which side of its best value the interval of a figure lies; None where it holds it, or there is none."""
    entry = results.figure(name)
    low, high = entry.get("low"), entry.get("high")
    if low is None or high is None or low <= best <= high:
        return None
    return "above" if low > best else "below"


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
        f"on {rule['chosen_on']} rows): {1000 * alerts:.0f} of 1,000 rows. {_share(results, 'sensitivity')} of "
        f"the {positive} rows are found; {_share(results, 'ppv')} of the decisions for {positive} are right.",
    )


def _share(results: Results, name: str) -> str:
    """A share in percent, with its counts where metrics.json holds them."""
    entry = results.figure(name)
    return percent(entry.get("value")) + (f" ({rows_read(entry)})" if "denominator" in entry else "")


def _benefit(results: Results, gain: Gain | None) -> Iterator[Statement]:
    if gain is None:
        return
    more = {"value": gain.model - gain.default, "low": gain.low, "high": gain.high}
    text = (
        f"At the threshold {number(results.model['decision']['threshold'])} the net benefit is {number(gain.model)}; "
        f"deciding everybody or nobody positive gives {number(gain.default)}. The gain is {figure(more)}."
    )
    is_sure = gain.low is not None and gain.low > 0
    if not is_sure and gain.model > gain.default:
        text += " These rows don't show that it is one." if gain.low is not None else ""
    yield Statement("Use", text, "good" if is_sure else "caution")


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
    if metrics["num_groups"] < SMALL_GROUPS:
        text = f"Intervals are from draws of {count(metrics['num_groups'])} groups; from so few they are too narrow."
        yield Statement("Few groups", text, "caution")
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
