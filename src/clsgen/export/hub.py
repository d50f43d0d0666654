"""Uploads files to the hub: one commit, into a repository whose visibility is the one that was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

from clsgen.artifacts import MANIFEST, read_manifest
from clsgen.errors import HubError
from clsgen.model.hub import told

DATA = "data"
"""Folder of a repository that holds rows and predictions, beside the model and named by no manifest."""


class Pushed(NamedTuple):
    """Where a model is now.

    Attributes:
        url: Its page.
        revision: The commit that holds it.
        num_files: Files of the model, and of its data where it was asked for.
        is_private: Whether only those with access see it.
    """

    url: str
    revision: str
    num_files: int
    is_private: bool


def upload(files: Mapping[str, Path], repo_id: str, *, is_private: bool, message: str) -> Pushed:
    """Put files into a model repository, which is made if need be.

    Files of an earlier model and its data that are no longer there are removed in the same commit; what else the
    repository holds stays.

    Args:
        files: Name in the repository -> file; a model with its manifest.
        repo_id: "org/name".
        is_private: The visibility that the repository gets, or must have.
        message: Of the commit.

    Raises:
        HubError: No access, no connection, a repository of the other visibility, or one that leaves files out.
    """
    api = HfApi()
    with told(repo_id, "take the model"):
        try:
            found = bool(api.repo_info(repo_id).private)
        except RepositoryNotFoundError:
            api.create_repo(repo_id, private=is_private)
            found = is_private
        if found != is_private:
            raise HubError(
                f"{repo_id}: the repository must be {_word(is_private)}; it is {_word(found)}. "
                + ("Add --public if that is meant." if is_private else "Make it public on the hub first.")
            )
        present = set(api.list_repo_files(repo_id))
        gone = sorted((_earlier(repo_id, present) & present) - files.keys())
        commit = api.create_commit(
            repo_id,
            [
                *(CommitOperationDelete(name, is_folder=False) for name in gone),
                *(CommitOperationAdd(name, str(files[name])) for name in sorted(files)),
            ],
            commit_message=message,
        )
        left_out = sorted(files.keys() - set(api.list_repo_files(repo_id, revision=commit.oid)))
    if left_out:
        raise HubError(
            f"{repo_id}: the hub must take every file; it left out {', '.join(left_out)}. Remove the repository's "
            ".gitignore."
        )
    return Pushed(f"{api.endpoint}/{repo_id}", commit.oid, len(files), is_private)


def _earlier(repo_id: str, present: set[str]) -> set[str]:
    """Files that an earlier push left: those of its manifest, and its data."""
    data = {name for name in present if name.startswith(f"{DATA}/")}
    try:
        return data | set(read_manifest(Path(hf_hub_download(repo_id, MANIFEST)).parent))
    except EntryNotFoundError:
        return data


def _word(is_private: bool) -> str:
    return "private" if is_private else "public"
