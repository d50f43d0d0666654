"""Settings of the rows: where they come from, which column is what, how they are split."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clsgen.config.section import Section


class ColumnSettings(Section):
    """Which column of the user's own file is what. Unused with a built-in task."""

    text: tuple[str, ...] = Field(
        ("text",), min_length=1, description="Column(s) of the document; several are joined in order."
    )
    question: str | None = Field(None, description="Column of what is asked of the document; null: none.")
    label: str = Field("label", description="Column of the label; labels stay strings.")
    explanation: str | None = Field(None, description="Column of the explanation; null: none.")
    group: tuple[str, ...] = Field(
        (), description="Column(s) that tie rows together (patient, trial); connected components are kept whole."
    )
    id: str | None = Field(None, description="Column of the row's id; null: derived from the row number.")
    subgroups: tuple[str, ...] = Field(
        (), description="Column(s) to judge by apart (sex, site): kept beside the row, never read by the model."
    )


class QuestionSettings(Section):
    """One of several things asked of the same texts: a label column of its own, and the words that ask for it."""

    label: str = Field(description="Column of the label; labels stay strings.")
    explanation: str | None = Field(None, description="Column of the explanation; null: none.")
    labels: tuple[str, ...] | None = Field(None, description="The classes in order; null: those found, sorted.")
    positive: str | None = Field(None, description="Two classes: the label reported; null: the second.")
    instruction: str | None = Field(None, description="What to decide, in words; null: made from the labels.")


class SplitSettings(Section):
    """How rows are dealt into the four roles, by group."""

    validation: float = Field(0.1, gt=0, lt=0.5, description="Share of the train rows carved for validation.")
    calibration: float = Field(0.15, gt=0, lt=0.5, description="Share of the train rows carved for calibration.")
    test: float = Field(
        0.15,
        ge=0,
        lt=0.5,
        description="Share of the rows carved for test, where the source has no test rows; 0: none, for rows that are "
        "judged elsewhere.",
    )
    seed: int = Field(0, ge=0, description="Seed of the deal; apart from train.seed so that seeds share a split.")
    num_folds: int | None = Field(
        None, ge=2, description="Grouped k-fold over all rows (published test rows included); null: off."
    )
    fold: int = Field(0, ge=0, description="Which fold is the test role, from 0; read only with num_folds.")


class DataSettings(Section):
    """The rows and the task."""

    task: str | None = Field(
        None, description="Built-in task (clinifact, evidence_inference, pubmedqa, esnli, lcd, synthetic-notes)."
    )
    variant: str | None = Field(
        None, description="Variant of the built-in task, such as `binary` or `decided`; null: the task's own default."
    )
    root: str | None = Field(
        None, description="Folder of the built-in task's files; null: $CLSGEN_SHARED/data, else ../shared/data."
    )
    train: str | None = Field(
        None, description="Own data: csv, tsv, jsonl(.gz), parquet, a `datasets` directory or hub id."
    )
    test: str | None = Field(None, description="Own data: the held-out file; null: carved from train by group.")
    columns: ColumnSettings = Field(ColumnSettings(), description="Column mapping of own data.")
    labels: tuple[str, ...] | None = Field(
        None, description="Own data: the classes in order; null: those found in train, sorted."
    )
    positive: str | None = Field(
        None, description="Own data, two classes: the label whose probability is reported; null: the second label."
    )
    instruction: str | None = Field(
        None, description="What to decide, in words; null: the task's own, or one made from the labels."
    )
    questions: dict[str, QuestionSettings] = Field(
        {},
        description="Own data: several tasks over the same texts, trained into one model: name -> label (a column), "
        "explanation, labels, positive, instruction. A text has one role for all of them.",
    )
    question: str | None = Field(
        None, description="One of `questions` to be asked alone, over the same roles; null: all of them, or none set."
    )
    restricted: bool = Field(
        False, description="Data under an access agreement: texts stay on the machine and off the screen."
    )
    explanations: Literal["column", "teacher", "extractive", "none"] = Field(
        "column",
        description="column: as the data has them; teacher: those that `clsgen synth` made; extractive: quotes chosen "
        "by a teacher fitted on train rows where a row has none; none: the class head alone.",
    )
    num_rows: int | None = Field(
        None, ge=20, description="synthetic-notes: rows generated; null: the task's default of 2,000."
    )
    length: Literal["short", "lcd"] = Field(
        "short", description="synthetic-notes: short (about 120 words) or lcd (median 1,700 words)."
    )
    prevalence: float = Field(0.3, gt=0.005, lt=0.9, description="synthetic-notes: share of positive rows.")
    seed: int = Field(0, ge=0, description="synthetic-notes: seed of the generator.")
    split: SplitSettings = Field(SplitSettings(), description="How rows are dealt into roles.")
    allow_leaks: bool = Field(
        False,
        description="Train although groups or documents stand in two roles (a published split that leaks); "
        "the leak is counted and shown either way.",
    )
