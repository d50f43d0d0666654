"""Settings of `clsgen synth`: who writes explanations, how they are asked for, which are kept, what it may cost."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from clsgen.config.section import Section


class FilterSettings(Section):
    """What an explanation must be to be kept; each filter counts what it drops under a reason of its own."""

    min_words: int = Field(8, ge=1, description="Fewest words; below it an explanation is degenerate.")
    max_words: int = Field(120, ge=10, description="Most words; above it an explanation is too_long.")
    leak_phrases: tuple[str, ...] = Field(
        (), description="Phrases that give away that the label was told, beside the built-in ones (as the label says)."
    )
    outcome_words: tuple[str, ...] = Field(
        (), description="Words from after the index time, such as autopsy; dropped unless the document has them."
    )
    is_language_checked: bool = Field(
        True, description="Whether an explanation in another language than its document's is dropped."
    )


class TeacherSettings(Section):
    """Explanations written by another model (`clsgen synth`), and where they are kept."""

    folder: str | None = Field(
        None, description="Folder of the store and of the explanations; null: `teacher` in the run directory."
    )
    endpoint: str | None = Field(
        None, description="Address of an OpenAI-compatible API, as in http://localhost:8000/v1; null: a local model."
    )
    model: str | None = Field(
        None, description="Name of the model at the endpoint; without an endpoint a hub id, path or embedded."
    )
    api_key_env: str | None = Field(
        None, description="Environment variable that holds the API key; null: the endpoint needs none."
    )
    strategy: Literal["blind", "hinted", "blind_then_hinted", "both_sides", "human"] = Field(
        "blind_then_hinted",
        description="blind: the label is not told, right answers are kept; hinted: it is told; blind_then_hinted: a "
        "hint only where every blind answer failed; both_sides: each label is argued for, the better supported kept; "
        "human: the explanation column as it is.",
    )
    num_samples: int = Field(4, ge=1, description="Answers asked for a row and round, each with a seed of its own.")
    selection: tuple[str, ...] = Field(
        ("grounding", "agreement", "length"),
        min_length=1,
        description="What chooses among the answers kept, in order: grounding (share of quotes found in the document), "
        "agreement (likeness to the other answers), length (shorter first).",
    )
    fallback: Literal["none", "extractive"] = Field(
        "none", description="extractive: rows that are still without an explanation quote a sentence of their document."
    )
    prompts: str | None = Field(
        None,
        description="Folder of edited prompts (`clsgen synth --write-prompts` makes one); null: the built-in.",
    )
    temperature: float | None = Field(
        0.7, ge=0, le=2, description="0 takes the likeliest token each time; null: not sent, for models that refuse it."
    )
    top_p: float | None = Field(
        0.95, gt=0, le=1, description="Share of the probability mass that tokens are drawn from; null: not sent."
    )
    max_tokens: int = Field(1024, ge=16, description="Most tokens an answer, thinking included.")
    seed: int = Field(0, ge=0, description="Seed of the first sample of each prompt.")
    concurrency: int = Field(16, ge=1, description="Requests under way at a time; local: rows a batch.")
    num_attempts: int = Field(6, ge=1, description="Times a request is sent before it counts as failed.")
    timeout_seconds: float = Field(600.0, gt=0, description="Longest wait for one answer.")
    requests_per_minute: int | None = Field(None, ge=1, description="Requests started in any 60 seconds; null: off.")
    tokens_per_minute: int | None = Field(None, ge=1, description="Tokens in any 60 seconds; null: off.")
    budget_tokens: int | None = Field(None, ge=1, description="Tokens in all, earlier runs included; null: off.")
    budget_money: float | None = Field(None, gt=0, description="Money in all, earlier runs included; null: off.")
    input_price: float | None = Field(None, ge=0, description="Money for a million tokens read; null: not known.")
    output_price: float | None = Field(None, ge=0, description="Money for a million tokens written; null: not known.")
    max_tokens_field: str = Field(
        "max_tokens", description="What the endpoint calls it; some reasoning models want max_completion_tokens."
    )
    extra_body: dict[str, Any] = Field(
        {}, description="Further fields of each request, such as chat_template_kwargs of vLLM."
    )
    allow_hosts: tuple[str, ...] = Field(
        (), description="Hosts that restricted texts may be sent to besides this machine."
    )
    filters: FilterSettings = Field(FilterSettings(), description="What an explanation must be to be kept.")
