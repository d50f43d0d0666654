"""TRIPOD+AI and TRIPOD-LLM: which items a run can answer by itself, answered; the rest is left to the authors.

Items are numbered as in Collins et al. (2024), BMJ 385:e078378, and Gallifant et al. (2025), Nature Medicine 31; their
topics are in our own words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from clsgen.report.results import Results
from clsgen.report.wording import count, figure, number, percent


class Item(NamedTuple):
    """One item; `answer` is "" where only the authors can fill it in."""

    guideline: str
    number: str
    topic: str
    answer: str


Answer = Callable[[Results], str]


def checklist(results: Results) -> list[Item]:
    """Every item of both checklists in order, with what the run can say."""
    return [
        Item(guideline, number_, topic, "" if answer is None else answer(results))
        for guideline, items in (("TRIPOD+AI", _AI), ("TRIPOD-LLM", _LLM))
        for number_, topic, answer in items
    ]


def _rows(results: Results) -> str:
    rows = results.manifest.get("rows") or {}
    parts = [f"{role} {count(sum(labels.values()))}" for role, labels in rows.items()]
    return f"Rows by role: {', '.join(parts)}; roles share no group unless the audit says so."


def _source(results: Results) -> str:
    data = results.settings["data"]
    name = data["task"] or data["train"]
    if data["test"]:
        name += f", test rows from {data['test']}"
    return f"{name}; the files' SHA-256 and the split's seed stand in the run's manifest."


def _preparation(results: Results) -> str:
    dropped = ", ".join(f"{reason} {number_}" for reason, number_ in results.manifest.get("dropped", {}).items())
    cut = percent(results.metrics.get("truncated_share"))
    return (
        f"Rows left out: {dropped or 'none'}. Documents longer than {results.settings['model']['max_length_tokens']} "
        f"tokens are cut ({results.settings['model']['truncation']}): {cut} of the test rows."
    )


def _outcome(results: Results) -> str:
    return f"Labels: {', '.join(results.spec.labels)}. Asked: {results.spec.instruction}"


def _predictors(results: Results) -> str:
    return "The document and, where there is one, the question; nothing else is input to the model."


def _size(results: Results) -> str:
    by_label = ", ".join(f"{count(n)} {label}" for label, n in results.metrics["num_by_label"].items())
    return (
        f"{count(results.metrics['num_rows'])} test rows in {count(results.metrics['num_groups'])} groups: {by_label}."
    )


def _missing(results: Results) -> str:
    dropped = results.manifest.get("dropped", {})
    empty = dropped.get("empty_text", 0)
    held_out = dropped.get("unlabelled_held_out", 0) + results.metrics.get("num_unlabelled", 0)
    return (
        f"Rows without text are left out ({empty}), and rows without label of the test, calibration and validation "
        f"roles ({held_out})."
    )


def _building(results: Results) -> str:
    settings = results.settings
    return (
        f"{_base(results)} tuned by {results.model['tuning']}; {settings['train']['epochs']:g} epochs at most, "
        f"checkpoint chosen by {settings['train']['monitor']} on validation rows; all settings in config.yaml."
    )


def _measures(results: Results) -> str:
    bootstrap = results.metrics["bootstrap"]
    return (
        f"{', '.join(results.metrics['metrics'])}; intervals: {bootstrap['num_draws']} cluster-bootstrap draws "
        f"by group, {percent(bootstrap['confidence'])}."
    )


def _recalibration(results: Results) -> str:
    calibrator = results.model["calibrator"]
    rows = sum(calibrator.get("class_counts") or [])
    return f"Calibrator: {calibrator['method']}, fitted on {count(rows)} {calibrator['fitted_on']} rows."


def _imbalance(results: Results) -> str:
    weights = results.settings["train"]["class_weights"]
    return f"Class weights: {weights}; they enter as logit adjustment, so probabilities stay on the natural prevalence."


def _fairness(results: Results) -> str:
    columns = [name for name in results.metrics.get("subgroups", {}) if not name.startswith("words of")]
    return f"Figures by {', '.join(columns)} stand in the subgroup table." if columns else ""


def _output(results: Results) -> str:
    rule = results.model["decision"]
    if rule.get("threshold") is None:
        return "A calibrated probability of each label; the likeliest is decided."
    return (
        f"A calibrated probability of {results.spec.positive}; decided from {number(rule['threshold'])} upwards "
        f"(policy {rule['policy']}, chosen on {rule['chosen_on']} rows)."
    )


def _difference(results: Results) -> str:
    shared = {role: n for role, n in (results.manifest.get("shared_with_test") or {}).items() if n}
    if shared:
        return f"Test rows share a group or document with other roles: {shared}."
    if test := results.settings["data"]["test"]:
        return f"Test rows come from a file of their own, {test}, and share no group or document with other roles."
    return "Test rows come from the same source, and share no group or document with other roles."


def _code(results: Results) -> str:
    version, commit = results.manifest["packages"].get("clsgen", ""), results.manifest.get("commit") or "unknown"
    return f"clsgen {version}, commit {commit}; versions of all packages in the manifest."


def _specification(results: Results) -> str:
    return "The model directory: weights or adapter, head, tokenizer, template, calibrator, threshold."


def _performance(results: Results) -> str:
    return _figures(results, ("auroc", "auprc", "brier", "ece", "sensitivity", "ppv"))


def _figures(results: Results, names: Sequence[str]) -> str:
    return "; ".join(f"{name} {figure(results.figure(name))}" for name in names if results.value(name) is not None)


def _base(results: Results) -> str:
    base = results.model["base"]
    revision = f", revision {base['revision']}" if base.get("revision") else ""
    return f"{base['name']}{revision} (weights {str(base.get('weights_sha256'))[:12]})"


def _generation(results: Results) -> str:
    predict, model = results.settings["predict"], results.settings["model"]
    return (
        f"Greedy, at most {model['max_explanation_tokens']} tokens, mode {predict['mode']}, for rows: "
        f"{predict['explain']}; the prompt's template and its hash stand in the model directory."
    )


def _tuning(results: Results) -> str:
    sources = ", ".join(f"{name} {n}" for name, n in (results.manifest.get("explanation_sources") or {}).items() if n)
    return f"{results.model['tuning']}; explanations trained on: {sources or 'as the data has them'}."


def _compute(results: Results) -> str:
    seconds = next((e["train_runtime"] for e in results.manifest.get("history", []) if "train_runtime" in e), None)
    device = results.manifest.get("platform", "")
    return f"Training took {seconds:.0f} s on {device}." if seconds is not None else ""


def _reasons(results: Results) -> str:
    return _figures(results, ("auroc_alignment", "rli", "r_lkappa", "readability"))


_AI: tuple[tuple[str, str, Answer | None], ...] = (
    ("1", "Title: a prediction model, its population and outcome", None),
    ("2", "Abstract", None),
    ("3a", "Context, and why the model is needed", None),
    ("3b", "Whom it is for, and where in the pathway", None),
    ("3c", "Known inequalities between groups", None),
    ("4", "Aims: development, evaluation or both", None),
    ("5a", "Sources of the data for each role", _source),
    ("5b", "Dates of the data", None),
    ("6a", "Setting and centres", None),
    ("6b", "Who was eligible", None),
    ("6c", "Treatments received", None),
    ("7", "Preparation of the data", _preparation),
    ("8a", "The outcome and how it was assessed", _outcome),
    ("8b", "Who assessed it, if by judgement", None),
    ("8c", "Whether the assessment was blind", None),
    ("9a", "How predictors were chosen", _predictors),
    ("9b", "The predictors and how they were measured", _predictors),
    ("9c", "Who assessed predictors, if by judgement", None),
    ("10", "Sample size", _size),
    ("11", "Missing data", _missing),
    ("12a", "How the data were used: roles", _rows),
    ("12b", "How predictors were handled", _predictors),
    ("12c", "Kind of model, building, internal validation", _building),
    ("12d", "Differences between clusters", None),
    ("12e", "Measures of performance", _measures),
    ("12f", "Updating, such as recalibration", _recalibration),
    ("12g", "How predictions are computed", _specification),
    ("13", "Class imbalance", _imbalance),
    ("14", "Fairness", _fairness),
    ("15", "Output, and how thresholds were chosen", _output),
    ("16", "Differences between development and evaluation data", _difference),
    ("17", "Ethical approval", None),
    ("18a", "Funding", None),
    ("18b", "Conflicts of interest", None),
    ("18c", "Protocol", None),
    ("18d", "Registration", None),
    ("18e", "Data sharing", None),
    ("18f", "Code sharing", _code),
    ("19", "Involvement of patients and public", None),
    ("20a", "Flow of participants", _rows),
    ("20b", "Characteristics of participants", None),
    ("20c", "Development against evaluation data", None),
    ("21", "Rows and events in each analysis", _size),
    ("22", "The full model", _specification),
    ("23a", "Performance with intervals, in subgroups too", _performance),
    ("23b", "Heterogeneity between clusters", None),
    ("24", "Results of updating", None),
    ("25", "Interpretation", None),
    ("26", "Limitations", None),
    ("27a", "How poor or missing input is handled", _preparation),
    ("27b", "What users must do and know", None),
    ("27c", "Next steps", None),
)
_LLM: tuple[tuple[str, str, Answer | None], ...] = (
    ("5", "Data: sources, dates, preparation", _source),
    ("6", "The language model: name, version, how it was tuned", _building),
    ("6", "How text is generated: prompt, settings", _generation),
    ("6", "How probabilities and thresholds are made", _output),
    ("7", "How the output is judged", _measures),
    ("8", "Annotation: guidelines, agreement", None),
    ("9", "Prompting: how prompts were made and chosen", _outcome),
    ("11", "Instruction tuning and alignment", _tuning),
    ("12", "Compute", _compute),
    ("14", "Open science: code, data, protocol", _code),
    ("16", "Rows and their characteristics", _rows),
    ("17", "Performance on the task", _performance),
    ("17", "Agreement of text and decision", _reasons),
    ("19", "Interpretation, limits, use", None),
)
