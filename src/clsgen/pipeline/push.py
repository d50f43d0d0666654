"""A model with its card to the hub; what must not leave the machine is refused before anything is sent."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from clsgen.artifacts import (
    MANIFEST,
    compare_manifest,
    read_manifest,
    read_record,
    sha256_of,
    write_bytes_atomic,
    write_json_atomic,
    write_text_atomic,
)
from clsgen.errors import ArtifactError, ConfigError, RestrictedError
from clsgen.export.hub import DATA, Pushed, upload
from clsgen.export.hub_card import FIGURE, CardFacts, Licence, hub_card
from clsgen.inference.panel import question_folders
from clsgen.model.hub import is_hub_id
from clsgen.pipeline.card import judged_of, licence_of
from clsgen.pipeline.folder import RunFolder
from clsgen.types import EMBEDDED, ROLES

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PushSettings:
    """How a model is pushed.

    Attributes:
        repo_id: "org/name".
        is_public: Whether everybody may see it.
        base: Hub id of the base, for a model that was trained on a local copy of it; None: as recorded.
        licence: Identifier of the licence; None: that of the base.
        with_data: Whether rows and predictions go too.
    """

    repo_id: str
    is_public: bool = False
    base: str | None = None
    licence: str | None = None
    with_data: bool = False


class _Source(NamedTuple):
    """A model directory, what it records, and the run that it stands in; None: it stands alone."""

    model: Path
    record: dict[str, Any]
    run: RunFolder | None


def push(path: Path, settings: PushSettings, *, notify: Notify = lambda message: None) -> Pushed:
    """Put a model on the hub, with a card made from its run.

    Args:
        path: A model directory, or the run that holds it.
        settings: Where to, and what goes with it.
        notify: Called with what the card lacks.

    Raises:
        RestrictedError: The model was made from data under an access agreement.
        ArtifactError: No model, one whose files are not those it was saved with, or extra files in it.
        ConfigError: No hub id, a base that others can't have, or data of a model without a run.
        HubError: As for `upload`.
    """
    source = _source(path)
    _refuse_restricted(source)
    if not is_hub_id(settings.repo_id):
        raise ConfigError(f"push: the name must be ORG/NAME; got {settings.repo_id!r}. Write both.")
    _check_files(source.model)
    record = _shared_record(source, settings)
    if settings.with_data and source.run is None:
        raise ConfigError("push: --include-data needs the run that the model stands in. Give the run.")
    with tempfile.TemporaryDirectory(prefix="clsgen-push-") as made:
        files = _files(Path(made), source, record, settings, notify)
        message = f"Model of the task {record['spec']['name']}"
        return upload(files, settings.repo_id, is_private=not settings.is_public, message=message)


def _source(path: Path) -> _Source:
    if (path / "clsgen.json").is_file():
        is_in_run = path.resolve().name == "model" and (path.resolve().parent / "config.yaml").is_file()
        run = RunFolder(path.resolve().parent) if is_in_run else None
        return _Source(path, read_record(path / "clsgen.json"), run)
    if (path / "config.yaml").is_file() and question_folders(path):
        names = ", ".join(str(folder) for folder in question_folders(path).values())
        raise ConfigError(f"push: a run of several questions has a model each. Push them one at a time: {names}.")
    folder = RunFolder(path)
    if not (folder.model / "clsgen.json").is_file():
        raise ArtifactError(f"{path} must be a model directory, or the run that holds it; it is not. Train one first.")
    return _Source(folder.model, read_record(folder.model / "clsgen.json"), folder)


def _refuse_restricted(source: _Source) -> None:
    """Whatever says that the data is restricted counts: the model, the run's record, its settings."""
    is_restricted = bool(source.record["spec"]["is_restricted"])
    if source.run is not None:
        is_restricted |= bool(read_record(source.run.manifest).get("restricted"))
        is_restricted |= source.run.config().data.restricted
    if is_restricted:
        raise RestrictedError(
            "push: a model made from restricted data must stay where its access agreement holds. It can't be pushed."
        )


def _check_files(model: Path) -> None:
    found = compare_manifest(model)
    if any(found):
        raise ArtifactError(
            f"{model}: what is pushed must be the files that were saved, and no others; got {found}. Restore or remove "
            "them; rows and predictions of the run are pushed by --include-data alone."
        )


def _shared_record(source: _Source, settings: PushSettings) -> dict[str, Any]:
    """clsgen.json as others can use it: the base by a name that they can have, and no path of this machine."""
    base = dict(source.record["base"])
    if settings.base is not None:
        if not is_hub_id(settings.base) or base["name"] in (EMBEDDED, "scratch"):
            raise ConfigError(
                f"push: --base must be the hub id of a base that was trained on as a local copy; got {settings.base!r} "
                f"for {base['name']!r}. Leave it out, or write ORG/NAME."
            )
        base |= {"name": settings.base, "revision": None, "relative_path": None}
    elif base["relative_path"] is not None:
        raise ConfigError(
            f"push: the base {base['name']!r} must be one that others can have; it is a folder of this machine. Say "
            "which model of the hub it is a copy of (--base ORG/NAME), or train with --merge."
        )
    return source.record | {"base": base}


def _files(
    made: Path, source: _Source, record: Mapping[str, Any], settings: PushSettings, notify: Notify
) -> dict[str, Path]:
    """Name in the repository -> file: those that the model's manifest names, and new ones that are put into `made`."""
    hashes = read_manifest(source.model)
    files = {name: source.model / name for name in hashes}
    if record != source.record:
        write_json_atomic(made / "clsgen.json", record)
        if "adapter_config.json" in files:
            adapter = read_record(files["adapter_config.json"])
            write_json_atomic(
                made / "adapter_config.json", adapter | {"base_model_name_or_path": record["base"]["name"]}
            )
    licence = licence_of(record["base"]) if settings.licence is None else Licence(settings.licence)
    if licence is None and record["base"]["name"] != "scratch":
        notify(f"The licence of the base {record['base']['name']} is not known, and the card says so (--license).")
    facts = _facts(source, record, settings, licence)
    if facts.judged is None:
        notify("The model was not judged since it was made: the card has no figures. Run `clsgen eval` first.")
    elif facts.judged.figure is not None:
        write_bytes_atomic(made / FIGURE, facts.judged.figure)
    write_text_atomic(made / "README.md", hub_card(facts))
    new = {file.name: file for file in made.iterdir()}
    write_json_atomic(made / MANIFEST, dict(sorted((hashes | {name: sha256_of(new[name]) for name in new}).items())))
    return files | new | {MANIFEST: made / MANIFEST} | (_data_files(source.run) if settings.with_data else {})


def _facts(source: _Source, record: Mapping[str, Any], settings: PushSettings, licence: Licence | None) -> CardFacts:
    return CardFacts(
        repo_id=settings.repo_id,
        record=record,
        calibrator=read_record(source.model / "calibrator.json"),
        rule=read_record(source.model / "decision.json"),
        licence=licence,
        run=None if source.run is None else read_record(source.run.manifest),
        judged=None if source.run is None else judged_of(source.run),
        has_data=settings.with_data,
    )


def _data_files(run: RunFolder | None) -> dict[str, Path]:
    """Rows and predictions of a run, those that it has."""
    if run is None:
        return {}
    files = (*(run.data(role) for role in ROLES), run.predictions)
    return {f"{DATA}/{file.name}": file for file in files if file.is_file() and file.stat().st_size}
