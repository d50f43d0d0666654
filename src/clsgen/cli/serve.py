"""`clsgen serve`: a model over HTTP."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from clsgen.cli.console import console, quiet_libraries
from clsgen.cli.models import ModelName, Revision
from clsgen.errors import ConfigError

KEY_VARIABLE = "CLSGEN_API_KEY"


def serve(
    model: ModelName,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0: any that is free.")] = 8000,
    keys: Annotated[
        Path | None, typer.Option(help=f"File of hashed API keys; a single key may be in {KEY_VARIABLE} instead.")
    ] = None,
    new_key: Annotated[
        bool, typer.Option("--new-key", help="Print a new key once, add its hash to --keys, and exit.")
    ] = False,
    served_name: Annotated[str | None, typer.Option(help="What clients call the model; else its task's name.")] = None,
    origin: Annotated[list[str] | None, typer.Option(help="Origin that browsers may ask from; repeatable.")] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Host name it may be asked by without a key; repeatable.")
    ] = None,
    max_body_bytes: Annotated[int, typer.Option(help="Longest request body.")] = 1_000_000,
    max_texts: Annotated[int, typer.Option(help="Texts in one request.")] = 64,
    max_tokens: Annotated[int, typer.Option(help="Tokens of a text, before any is cut.")] = 32_768,
    max_queued: Annotated[int, typer.Option(help="Texts that wait to be read; further ones get 429.")] = 256,
    batch_tokens: Annotated[int, typer.Option(help="Tokens read at a time, between two steps of writing.")] = 4096,
    deadline: Annotated[float, typer.Option(help="Seconds after which a request is given up.")] = 120.0,
    body_timeout: Annotated[float, typer.Option(help="Seconds in which a body must have come in.")] = 20.0,
    drain: Annotated[float, typer.Option(help="Seconds that requests in flight have to end on SIGTERM.")] = 60.0,
    base: Annotated[str | None, typer.Option(help="Where the base weights are, if they moved.")] = None,
    revision: Revision = None,
) -> None:
    """Answer requests with the probability first, then the reason; SIGTERM ends what is in flight and exits 0."""
    from clsgen.serve.settings import ServeSettings, check_packages

    quiet_libraries()
    check_packages()
    if new_key:
        _make_key(keys)
        return
    from clsgen.inference.predictor import Classifier
    from clsgen.serve.server import serve as run

    settings = ServeSettings(
        host=host,
        port=port,
        keys=_known_keys(keys),
        origins=tuple(origin or ()),
        names=tuple(allow_host or ()),
        max_body_bytes=max_body_bytes,
        max_texts=max_texts,
        max_tokens=max_tokens,
        max_queued=max_queued,
        batch_tokens=batch_tokens,
        deadline_s=deadline,
        body_timeout_s=body_timeout,
        drain_s=drain,
    )
    if not settings.is_loopback and not settings.keys:
        console.print("Warning: others can reach this server, and no key is set (--keys): whoever can, may ask.")
    classifier = Classifier.from_pretrained(model, revision=revision, base=base)
    has_answered = run(classifier, served_name or classifier.spec.name, settings, on_start=_tell_address)
    console.print("Stopped." if has_answered else "Stopped; some requests were not answered in time.")
    if not has_answered:
        raise typer.Exit(1)


def _tell_address(url: str) -> None:
    console.print(f"Listening on {url} (Ctrl-C stops)", soft_wrap=True)


def _known_keys(file: Path | None) -> tuple[str, ...]:
    """Hashes of the keys of a file and of the environment.

    Raises:
        ConfigError: A file that can't be read, or holds something else.
    """
    from clsgen.serve.guard import hashed

    given = os.environ.get(KEY_VARIABLE)
    if given is not None and not (given.strip() and given.isascii()):
        raise ConfigError(f"serve: {KEY_VARIABLE} must be a key of ASCII characters; it is not. Set it, or unset it.")
    own = () if given is None else (hashed(given.strip()),)
    if file is None:
        return own
    try:
        lines = [line.split("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"serve: --keys must be a file of hashes; {error}. Make one with --new-key.") from error
    hashes = [line for line in lines if line]
    if not hashes:
        raise ConfigError(f"serve: {file} must hold a key's hash or more; it holds none. Make one with --new-key.")
    if not all(len(line) == 64 and set(line) <= set("0123456789abcdef") for line in hashes):
        raise ConfigError(f"serve: {file} must hold a SHA-256 a line, in hex; keys themselves don't belong there.")
    return (*own, *hashes)


def _make_key(file: Path | None) -> None:
    from clsgen.serve.guard import hashed, new_key

    if file is None:
        raise ConfigError("serve: --new-key goes with --keys FILE, where its hash is kept. Name the file.")
    key = new_key()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise ConfigError(f"serve: --keys must be a file that can be written; {error}. Name another.") from error
    with os.fdopen(descriptor, "a", encoding="utf-8") as out:
        out.write(hashed(key) + "\n")
    console.print(key, soft_wrap=True)
