"""The card of a model on the hub: use, data, figures with their intervals, limits, licence. No text of a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from huggingface_hub import EvalResult, ModelCardData

from clsgen.model.card import in_a_line, labels_of
from clsgen.types import CONTRACT_SENTENCE, EMBEDDED, TaskSpec

FIGURE = "reliability.png"
_PROBABILITY = ("auroc", "auprc", "brier", "log_loss", "ece", "ece_reference", "smooth_ece", "calibration_slope",
                "accuracy", "f1", "sensitivity", "specificity", "ppv", "npv", "mcc")  # fmt: skip
_REASON = ("auroc_alignment", "rli", "r_lkappa", "unparsed_rate", "readability", "grounding")
_HUB_NAMES = {"auroc": "roc_auc", "brier": "brier_score", "mcc": "matthews_correlation", "sensitivity": "recall",
              "ppv": "precision"}  # fmt: skip
"""What the hub calls a metric that has a name there."""


class Licence(NamedTuple):
    """A licence as a card's front matter names it: identifier, and name and link where the identifier is "other"."""

    identifier: str
    name: str | None = None
    link: str | None = None


class Judged(NamedTuple):
    """What a model is worth.

    Attributes:
        metrics: The run's metrics.json.
        statements: Heading and sentences of what the figures say.
        figure: The reliability figure, PNG; None: there is none.
    """

    metrics: Mapping[str, Any]
    statements: Sequence[tuple[str, str]]
    figure: bytes | None


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card says.

    Attributes:
        repo_id: The model on the hub.
        record: The model directory's clsgen.json.
        calibrator: Its calibrator.json.
        rule: Its decision.json.
        licence: Of the base, or the one that was named; None: not known.
        run: The run's manifest; None: the model was pushed without its run.
        judged: What it is worth; None: it was not judged.
        has_data: Whether rows and predictions are pushed too.
    """

    repo_id: str
    record: Mapping[str, Any]
    calibrator: Mapping[str, Any]
    rule: Mapping[str, Any]
    licence: Licence | None
    run: Mapping[str, Any] | None
    judged: Judged | None
    has_data: bool

    @property
    def spec(self) -> TaskSpec:
        """The task."""
        return TaskSpec.from_record(self.record["spec"])

    @property
    def name(self) -> str:
        """The model's name, without whose it is."""
        return self.repo_id.partition("/")[2]

    @property
    def base_id(self) -> str | None:
        """The base on the hub; None where it is not from there."""
        name = str(self.record["base"]["name"])
        return name if "/" in name else None


def hub_card(facts: CardFacts) -> str:
    """Markdown with its YAML front matter."""
    parts = [f"---\n{_front_matter(facts)}\n---", f"# {facts.name}", _intended(facts)]
    parts += [_use(facts), _data(facts), _figures(facts), _limits(facts), _licence(facts)]
    return "\n\n".join(parts) + "\n"


def _front_matter(facts: CardFacts) -> str:
    licence, base = facts.licence, facts.base_id
    data = ModelCardData(
        library_name="clsgen",
        pipeline_tag="text-classification",
        tags=["clsgen", "text-classification", "calibration", "explanation"],
        license=None if licence is None else licence.identifier,
        license_name=None if licence is None else licence.name,
        license_link=None if licence is None else licence.link,
        base_model=base,
        base_model_relation=None if base is None else ("finetune" if _is_whole(facts) else "adapter"),
        model_name=facts.name,
        eval_results=list(_results(facts)) or None,
    )
    return str(data.to_yaml()).strip()


def _results(facts: CardFacts) -> Iterator[EvalResult]:
    """The figures as the hub's model-index has them; the interval stands in the name, which it has no field for."""
    if facts.judged is None:
        return
    metrics, task = facts.judged.metrics, facts.spec.name
    share = round(100 * metrics["bootstrap"]["confidence"])
    for name, entry in _entries(metrics):
        ends = "" if entry["low"] is None else f", {share}% interval {entry['low']:.4f} to {entry['high']:.4f}"
        yield EvalResult(
            task_type="text-classification",
            dataset_type=task,
            dataset_name=task,
            dataset_split=metrics["split"],
            metric_type=_HUB_NAMES.get(name, name),
            metric_name=f"{name}{ends}",
            metric_value=round(entry["value"], 4),
        )


def _entries(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Figures that are defined, in their order."""
    for part, names in (("metrics", _PROBABILITY), ("explanations", _REASON)):
        for name in names:
            entry = metrics[part].get(name)
            if entry is not None and entry["value"] is not None:
                yield name, entry


def _intended(facts: CardFacts) -> str:
    spec, rule = facts.spec, facts.rule
    labels = labels_of(spec)
    decided = "the label with the largest probability"
    if rule["threshold"] is not None:
        chosen = f"policy `{rule['policy']}`, chosen on {rule['chosen_on']} rows"
        decided = f"`{spec.positive}` from a probability of {rule['threshold']:.4f} upwards ({chosen})"
    if rule.get("abstention") is not None:
        decided += f"; rows may be left undecided (policy `{rule['abstention']['policy']}`)"
    reason = "The language head writes a reason." if facts.record["has_explanations"] else "It writes no reasons."
    rows = {
        "asked": " ".join(spec.instruction.replace("|", r"\|").split()),
        "base": facts.record["base"]["name"],
        "tuning": facts.record["tuning"],
        "calibrator": f"{facts.calibrator['method']}, fitted on {sum(facts.calibrator['class_counts'])} rows",
        "decision": decided,
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"""A class head on a causal language model gives calibrated probabilities of {labels}. {reason}
{CONTRACT_SENTENCE}

| | |
|---|---|
{table}"""


def _use(facts: CardFacts) -> str:
    base = facts.base_id
    note = ""
    if base is not None and not _is_whole(facts):
        note = f"\n\nThe weights of the base, `{base}`, are fetched from the hub; their hash must be the recorded one."
    ask = '[prediction] = classifier.predict(["a text"], explain="all")\nprediction.explanation'
    code = ask if facts.record["has_explanations"] else 'classifier.predict(["a text"])'
    return f"""## Use

```python
from clsgen import Classifier

classifier = Classifier.from_pretrained("{facts.repo_id}")  # revision= pins a commit
classifier.predict_proba(["a text"])  # columns in the order of classifier.labels
{code}
```{note}"""


def _data(facts: CardFacts) -> str:
    if facts.run is None:
        return "## Data\n\nThe model was pushed without its run: what it was trained on is not known here."
    labels = facts.spec.labels
    rows = facts.run.get("rows") or {}
    lines = ["| role | rows | " + " | ".join(map(in_a_line, labels)) + " |", "|---|---:|" + "---:|" * len(labels)]
    for role, counts in rows.items():
        cells = [str(sum(counts.values())), *(str(counts.get(label, 0)) for label in labels)]
        lines.append(f"| {role} | " + " | ".join(cells) + " |")
    found = [
        "## Data",
        f"Task `{facts.spec.name}`. Roles share no group and no document unless said below; validation chose the "
        "checkpoint, calibration rows fitted calibrator and threshold, test rows judged once.",
        "\n".join(lines),
    ]
    left_out = _counts(facts.run.get("dropped") or {})
    sources = _counts(facts.run.get("explanation_sources") or {})
    found += [f"Left out: {left_out}."] if left_out else []
    found += [f"Explanations: {sources}."] if sources else []
    found += ["Rows and predictions stand in `data/`."] if facts.has_data else ["The rows are not part of the model."]
    return "\n\n".join(found)


def _figures(facts: CardFacts) -> str:
    if facts.judged is None:
        return "## Figures\n\nThis model was not judged on held-out rows before it was pushed."
    metrics, statements, picture = facts.judged
    bootstrap = metrics["bootstrap"]
    share = round(100 * bootstrap["confidence"])
    lines = [f"| figure | value | {share}% interval | n | definition |", "|---|---:|---|---:|---|"]
    for name, entry in _entries(metrics):
        ends = "" if entry["low"] is None else f"{entry['low']:.3f} to {entry['high']:.3f}"
        meaning = str(entry["definition"]).replace("|", r"\|")
        lines.append(f"| {name} | {entry['value']:.3f} | {ends} | {entry['n']} | {meaning} |")
    table = "\n".join(lines)
    figure = f"![Reliability: observed share against probability]({FIGURE})\n\n" if picture is not None else ""
    said = "\n".join(f"- **{heading}.** {text}" for heading, text in statements)
    return f"""## Figures

On {metrics["num_rows"]} {metrics["split"]} rows in {metrics["num_groups"]} groups. Intervals: {bootstrap["method"]}.

{table}

{figure}{said}"""


def _limits(facts: CardFacts) -> str:
    lines = [
        "Probabilities hold for texts like the calibration rows. At a site with another prevalence pass `prior=`, and "
        "calibrate on rows of your own before anybody acts on them.",
        f"Reasons can be wrong. {CONTRACT_SENTENCE}",
    ]
    shared = {role: number for role, number in ((facts.run or {}).get("shared_with_test") or {}).items() if number}
    if shared:
        lines.append(f"Test rows share groups or documents with other roles ({_counts(shared)}): figures are too good.")
    if facts.record["base"]["name"] == "scratch":
        lines.append("The tokenizer was made from the training texts: its vocabulary holds fragments of them.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _licence(facts: CardFacts) -> str:
    base, licence = facts.record["base"]["name"], facts.licence
    if licence is None and base == "scratch":
        said = "The model was trained from random weights, and no licence was named for it."
    elif licence is None:
        said = f"The files of the base, {base}, name no licence. Look it up before you use the model."
    else:
        link = f" ({licence.link})" if licence.link else ""
        name = "clsgen's embedded model" if base == EMBEDDED else base
        of = "" if base == "scratch" else f" The base is {name}: its terms hold for what is derived from it."
        said = f"{licence.name or licence.identifier}{link}.{of}"
    return f"## Licence\n\n{said}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items()) if number)


def _is_whole(facts: CardFacts) -> bool:
    return facts.record["base"].get("weights_sha256") is None
