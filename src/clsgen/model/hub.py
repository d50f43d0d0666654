"""Where a model is, here or on the hub: which names are the hub's, fetching one, and what its refusals mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from clsgen.artifacts import MANIFEST, read_manifest
from clsgen.errors import ClsgenError, ConfigError, HubError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_LOGIN = "`hf auth login` (or set HF_TOKEN) with an account that may"


def is_hub_id(name: str) -> bool:
    """Whether a name has the form of a hub id.

    >>> [is_hub_id(name) for name in ("org/name", "./org/name", "name", "a/b/c", "org/.name")]
    [True, False, False, False, False]
    """
    return _HUB_ID.fullmatch(name) is not None


def find_model(name: str | Path, revision: str | None = None) -> Path:
    """The model directory that a name leads to, wherever one may be given.

    Args:
        name: A model directory, a run directory that holds it, or the id of a model on the hub: a text (no `Path`) of
            the form "org/name", whose first part is no folder here.
        revision: Branch, tag or commit of a model on the hub; None: its main branch.

    Returns:
        The directory, absolute; `name` itself where it holds no model.

    Raises:
        ConfigError: A revision of what is no model on the hub.
        HubError, ArtifactError: As for `fetched`.
    """
    if isinstance(name, str) and is_hub_id(name) and not Path(name.partition("/")[0]).exists():
        return fetched(name, revision)
    if revision is not None:
        raise ConfigError(f"revision must be left out for a model directory; got {revision!r} for {name}.")
    folder = Path(name).absolute()
    is_run = not (folder / "clsgen.json").is_file() and (folder / "model" / "clsgen.json").is_file()
    return folder / "model" if is_run else folder


def fetched(repo_id: str, revision: str | None = None) -> Path:
    """A model directory from the hub, in the hub's cache: the files that its manifest names, all of one commit.

    What the cache has of that commit is not fetched again; with HF_HUB_OFFLINE nothing else is used.

    Raises:
        HubError: No such model or revision, no access, no connection, or no clsgen model.
        ArtifactError: Its manifest is broken.
    """
    with told(repo_id, "be readable"):
        try:
            folder = Path(hf_hub_download(repo_id, MANIFEST, revision=revision)).parent
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            raise HubError(
                f"{repo_id}: the model on the hub must be one of clsgen's ({MANIFEST}); it is not. Check the name."
            ) from None
        for name in read_manifest(folder):
            hf_hub_download(repo_id, name, revision=folder.name)
    return folder


@contextmanager
def told(repo_id: str, what: str) -> Iterator[None]:
    """Say in one sentence what the hub's refusal means.

    Args:
        repo_id: The model.
        what: What it must, in words that follow "must": "be readable".
    """
    try:
        yield
    except ClsgenError:
        raise
    except GatedRepoError:
        raise HubError(
            f"{repo_id} must {what}; it is gated. Accept its terms on the hub, then {_LOGIN} read it."
        ) from None
    except RevisionNotFoundError:
        raise HubError(
            f"{repo_id}: revision must be a branch, tag or commit of it; there is no such one. Check it."
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise HubError(
            f"{repo_id} must {what}; it is no folder here, and the hub has no such model for you. Check the name, or "
            f"{_LOGIN} see it."
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        advice = f"{_LOGIN} do that." if status in (401, 403) else "Try again later."
        message = " ".join((error.server_message or type(error).__name__).split())
        raise HubError(f"{repo_id} must {what}; the hub answered {status}: {message}. {advice}") from None
    except (RuntimeError, ValueError) as error:  # an upload that broke off, a large file that is refused
        raise HubError(f"{repo_id} must {what}; {' '.join(str(error).split())} Try again.") from None
    except (LocalEntryNotFoundError, httpx2.HTTPError, OSError) as error:
        raise HubError(
            f"{repo_id} must {what}; it is no folder here nor in the hub's cache, and the hub can't be reached "
            f"({type(error).__name__}). Check the path, or the connection and HF_HUB_OFFLINE."
        ) from None
