"""Explanations for the train and validation rows by a teacher: ask, keep, choose, count, write."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from clsgen.artifacts import make_folder, write_json_atomic, write_text_atomic
from clsgen.config.run import RunConfig
from clsgen.config.teacher import TeacherSettings
from clsgen.data.split import Split
from clsgen.data.teacher.asking import Progress, ask_all
from clsgen.data.teacher.asks import ROUNDS, Ask, Asking
from clsgen.data.teacher.extractive import ExtractiveTeacher
from clsgen.data.teacher.filters import Filters, check_selection
from clsgen.data.teacher.outcomes import Judge, Outcome, by_hand, record_of
from clsgen.data.teacher.prompts import load_prompts
from clsgen.data.teacher.store import open_store
from clsgen.data.teacher.tally import ClassTally, tally
from clsgen.errors import ConfigError, TeacherError
from clsgen.llm.chat import Chat
from clsgen.llm.client import OpenAIChat
from clsgen.llm.limits import Budget, Prices, RateLimit
from clsgen.llm.loop import finished
from clsgen.llm.settings import ChatSettings, Limits
from clsgen.pipeline.explanations import EXPLANATIONS, row_hash, teacher_folder
from clsgen.pipeline.rows import load_split
from clsgen.types import Example, TaskSpec

STORE = "answers.sqlite"


class Shown(NamedTuple):
    """Where a run of requests is: round number, rounds in all, requests of the round in all, and what was done."""

    round_number: int
    num_rounds: int
    num_requests: int
    progress: Progress


class Synthesised(NamedTuple):
    """What `synthesise` came to.

    folder: where the files are. tallies: by class. num_sent: requests sent by this run, each further attempt included.
    num_estimated: answers whose tokens the server didn't count. stopped: why it ended early; None where it did not.
    sample: one answer as it came, fit or not; None where there is none, and of a restricted task. causes: why requests
    of this run failed -> how many. tokens_wasted: what failed attempts of all runs may have cost, at most.
    """

    folder: Path
    tallies: Mapping[str, ClassTally]
    num_sent: int
    num_estimated: int
    stopped: str | None
    sample: str | None
    causes: Mapping[str, int]
    tokens_wasted: int


@dataclass(frozen=True, slots=True)
class _Job:
    """What is asked about, and how."""

    config: RunConfig
    spec: TaskSpec
    split: Split
    examples: tuple[Example, ...]
    asking: Asking
    limits: Limits


def synthesise(
    config: RunConfig,
    *,
    allowed_hosts: Sequence[str] = (),
    with_parquet: bool = False,
    on_progress: Callable[[Shown], None] = lambda shown: None,
) -> Synthesised:
    """Ask the teacher for every labelled train and validation row; test and calibration rows are never sent.

    Args:
        config: The run; its `teacher` section says who is asked and how.
        allowed_hosts: Hosts that restricted texts may go to, beside those of the settings.
        with_parquet: Write the explanations as parquet too.
        on_progress: Called after each request.

    Raises:
        ConfigError: Settings that don't go together.
        RestrictedError: Restricted texts, and an endpoint that is not where they may go.
    """
    job = _job(config)
    folder = teacher_folder(config)
    chat = _chat(job, allowed_hosts) if ROUNDS[config.teacher.strategy] else None
    make_folder(folder)
    stopped: str | None = None
    causes = Counter[str]()
    with open_store(folder / STORE, is_private=job.spec.is_restricted) as store:
        judge = Judge(job.asking, store, _filters(config.teacher), config.teacher.selection)
        outcomes = by_hand(job.examples) if chat is None else [Outcome(each) for each in job.examples]
        if chat is not None:
            job.limits.budget.charge(store.spent())
            watch = _watching(causes, on_progress)
            outcomes, stopped = finished(_run(job, chat, judge, outcomes, watch))
        sample = None if job.spec.is_restricted else store.sample()
        tokens_wasted = store.wasted()
    outcomes = _with_fallback(job, outcomes)
    found = Synthesised(
        folder=folder,
        tallies=tally(outcomes, job.spec.labels, job.limits.budget.prices),
        num_sent=getattr(chat, "num_sent", 0),
        num_estimated=getattr(chat, "num_estimated", 0),
        stopped=stopped,
        sample=sample,
        causes=causes,
        tokens_wasted=tokens_wasted,
    )
    _write(job, outcomes, found, with_parquet=with_parquet)
    return found


def _watching(causes: Counter[str], on_progress: Callable[[Shown], None]) -> Callable[[Shown], None]:
    """Passes progress on, and keeps the causes of failures of every round."""
    of_round: dict[int, Counter[str]] = {}

    def watch(shown: Shown) -> None:
        of_round[shown.round_number] = shown.progress.causes
        causes.clear()
        for each in of_round.values():
            causes.update(each)
        on_progress(shown)

    return watch


def first_request(config: RunConfig) -> Ask:
    """The first request that `synthesise` would send, for people who want to see one; nothing is sent.

    Raises:
        ConfigError: The strategy asks nothing.
    """
    job = _job(config)
    for round_ in ROUNDS[config.teacher.strategy]:
        return next(job.asking.asks(job.examples[0], round_))
    raise ConfigError("teacher.strategy: human asks nobody. Choose another to see a request.")


async def _run(
    job: _Job, chat: Chat, judge: Judge, outcomes: list[Outcome], on_progress: Callable[[Shown], None]
) -> tuple[list[Outcome], str | None]:
    """Every round; where the budget or the endpoint ends it, what is there is settled and the reason given."""
    rounds = ROUNDS[job.config.teacher.strategy]
    stopped: str | None = None
    async with chat if isinstance(chat, OpenAIChat) else nullcontext():
        for number, round_ in enumerate(rounds, start=1):
            asked = [each.example for each in outcomes if each.is_open or not round_.is_for_open_rows]
            if stopped is None:
                where = (number, len(rounds), len(asked) * job.asking.num_asks(round_))
                try:
                    await ask_all(
                        chat,
                        (ask for example in asked for ask in job.asking.asks(example, round_)),
                        judge.store,
                        concurrency=job.config.teacher.concurrency,
                        on_progress=_reporter(where, on_progress),
                    )
                except TeacherError as error:
                    stopped = str(error)
            outcomes = judge.settle(outcomes, round_)
    return outcomes, stopped


def _reporter(where: tuple[int, int, int], on_progress: Callable[[Shown], None]) -> Callable[[Progress], None]:
    return lambda progress: on_progress(Shown(*where, progress))


def _job(config: RunConfig) -> _Job:
    settings = config.teacher
    check_selection(settings.selection)
    spec, split, _ = load_split(config.data)
    examples = tuple(row for role in ("train", "validation") for row in split.roles[role] if row.label is not None)
    if settings.model is None and settings.strategy != "human":
        raise ConfigError(
            "teacher.model must name the model that explains, at teacher.endpoint or on this machine; got null. Set it."
        )
    asking = Asking(
        spec=spec,
        prompts=load_prompts(None if settings.prompts is None else Path(settings.prompts)),
        model=str(settings.model),
        num_samples=settings.num_samples,
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_tokens=settings.max_tokens,
        seed=settings.seed,
        extra=settings.extra_body,
        copies=_copies(examples),
    )
    return _Job(config, spec, split, examples, asking, _limits(settings))


def _copies(examples: Sequence[Example]) -> dict[str, int]:
    """Id -> rows before it with the same texts and label."""
    seen = Counter[tuple[str, str, str | None]]()
    found = {}
    for example in examples:
        content = (example.document, example.question, example.label)
        found[example.id] = seen[content]
        seen[content] += 1
    return found


def prices_of(settings: TeacherSettings) -> Prices | None:
    """What tokens cost; None where one of the prices is not known."""
    if settings.input_price is None or settings.output_price is None:
        return None
    return Prices(settings.input_price, settings.output_price)


def _limits(settings: TeacherSettings) -> Limits:
    return Limits(
        RateLimit(settings.requests_per_minute, settings.tokens_per_minute),
        Budget(max_tokens=settings.budget_tokens, max_money=settings.budget_money, prices=prices_of(settings)),
    )


def _filters(settings: TeacherSettings) -> Filters:
    return Filters(**settings.filters.model_dump())


def _chat(job: _Job, allowed_hosts: Sequence[str]) -> Chat:
    settings = job.config.teacher
    if settings.endpoint is None:
        bounds = ("budget_tokens", "budget_money", "requests_per_minute", "tokens_per_minute")
        given = [name for name in bounds if getattr(settings, name) is not None]
        if given:
            raise ConfigError(
                f"teacher.{given[0]} bounds what an endpoint is asked; a model on this machine has no such bound. "
                "Remove it, or set teacher.endpoint."
            )
        # The engine brings torch, which a teacher at an endpoint has no use for.
        from clsgen.inference.local_teacher import LocalChat  # noqa: PLC0415

        return LocalChat.load(str(settings.model), batch_size=settings.concurrency)
    key = None
    if settings.api_key_env is not None:
        key = os.environ.get(settings.api_key_env)
        if key is None:
            raise ConfigError(f"teacher.api_key_env: {settings.api_key_env} must be set in the environment; it is not.")
    return OpenAIChat(
        settings.endpoint,
        str(settings.model),
        api_key=key,
        settings=ChatSettings(
            concurrency=settings.concurrency,
            num_attempts=settings.num_attempts,
            timeout_seconds=settings.timeout_seconds,
            max_tokens_field=settings.max_tokens_field,
            extra_body=settings.extra_body,
            is_restricted=job.spec.is_restricted,
            allowed_hosts=(*settings.allow_hosts, *allowed_hosts),
        ),
        limits=job.limits,
    )


def _with_fallback(job: _Job, outcomes: list[Outcome]) -> list[Outcome]:
    """Open rows with a quote of their document, where the settings ask for it."""
    if job.config.teacher.fallback == "none":
        return outcomes
    teacher = ExtractiveTeacher.fit(job.split.roles["train"], job.spec)
    found = []
    for outcome in outcomes:
        quote = teacher.explain(outcome.example) if outcome.is_open else None
        found.append(outcome if quote is None else replace(outcome, explanation=quote, source="extractive"))
    return found


def _write_parquet(path: Path, records: Sequence[Mapping[str, object]]) -> None:
    import pyarrow  # noqa: PLC0415  (0.3 s, for those who ask for parquet)
    import pyarrow.parquet  # noqa: PLC0415

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path)


def _write(job: _Job, outcomes: Sequence[Outcome], found: Synthesised, *, with_parquet: bool) -> None:
    is_private = job.spec.is_restricted
    records = [
        record_of(
            each,
            strategy=job.config.teacher.strategy,
            prompts_hash=job.asking.prompts.hash,
            row_hash=row_hash(each.example),
        )
        for each in outcomes
        if not each.is_open
    ]
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    if records or not (found.folder / EXPLANATIONS).exists():  # a run that kept nothing leaves an earlier one's
        write_text_atomic(found.folder / EXPLANATIONS, lines, is_private=is_private)
    if with_parquet and records:
        target = (found.folder / EXPLANATIONS).with_suffix(".parquet")
        _write_parquet(target, records)
        if is_private:
            target.chmod(0o600)
    report: dict[str, Any] = {
        "strategy": job.config.teacher.strategy,
        "model": job.config.teacher.model,
        "prompts_hash": job.asking.prompts.hash,
        "stopped": found.stopped,
        "classes": {name: each.to_json() for name, each in found.tallies.items()},
    }
    write_json_atomic(found.folder / "report.json", report, is_private=is_private)
