"""A bundle in a model repository of the Hugging Face hub, by huggingface_hub.

The token is where huggingface_hub looks for it (`hf auth login`, HF_TOKEN), the hub is HF_ENDPOINT.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    RepoFile,
    hf_hub_download,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from model.errors import BundleError
from model.manifest import MANIFEST
from model.progress import ByteCounter

ADDRESS = re.compile(r"hf://([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?")
OF_THE_HUB = (".gitattributes", "README.md")
"""Files of a repository that are no part of a bundle: the hub makes the first, people the other."""


class HubStore:
    """A bundle in a repository. See `BundleStore`.

    Args:
        address: hf://owner/name[@revision].
        public: Whether a repository may be pushed to that everybody reads, and a new one is so.
    """

    def __init__(self, address: str, *, public: bool = False) -> None:
        match = ADDRESS.fullmatch(address)
        if match is None:
            raise BundleError(
                f"{address}: give owner and name of a model, as in hf://owner/name or "
                "hf://owner/name@revision"
            )
        self.address = address
        self._repository, self._revision = match[1], match[2]
        self._public = public
        self._api = HfApi()

    @cached_property
    def _commit(self) -> str | None:
        """The commit of the revision, so that all files are of one; None without a repository."""
        with self._reporting():
            try:
                info = self._api.repo_info(self._repository, revision=self._revision)
            except (RepositoryNotFoundError, RevisionNotFoundError) as error:
                if isinstance(error, GatedRepoError):
                    raise
                return None
            return str(info.sha)

    def list_files(self) -> dict[str, int]:
        """See `BundleStore.list_files`."""
        if self._commit is None:
            return {}
        with self._reporting():
            tree = self._api.list_repo_tree(self._repository, recursive=True, revision=self._commit)
            return {
                entry.path: entry.size
                for entry in tree
                if isinstance(entry, RepoFile) and entry.path not in OF_THE_HUB
            }

    def read_manifest(self) -> bytes | None:
        """See `BundleStore.read_manifest`."""
        if MANIFEST not in self.list_files():
            return None
        with tempfile.TemporaryDirectory() as folder:
            self.fetch(MANIFEST, Path(folder), lambda _: None)
            return (Path(folder) / MANIFEST).read_bytes()

    def fetch(self, name: str, folder: Path, count: ByteCounter) -> None:
        """See `BundleStore.fetch`."""
        with self._reporting():
            hf_hub_download(
                self._repository,
                name,
                revision=self._commit,
                local_dir=folder,
                endpoint=self._api.endpoint,
                tqdm_class=_counting_bar(count),
            )
        shutil.rmtree(folder / ".cache", ignore_errors=True)  # huggingface_hub's notes

    def publish(
        self, folder: Path, names: Sequence[str], removed: Sequence[str], count: ByteCounter
    ) -> None:
        """See `BundleStore.publish`; all files come in one commit."""
        there = self.list_files()
        with self._reporting():
            self._api.create_repo(self._repository, private=not self._public, exist_ok=True)
            if not self._public and not self._api.repo_info(self._repository).private:
                raise BundleError(
                    f"{self.address} is a repository that everybody can read: make it private on "
                    "the hub, name another one, or give --public"
                )
            if self._revision is not None:
                self._api.create_branch(self._repository, branch=self._revision, exist_ok=True)
            additions = [
                CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name)
                for name in (*names, MANIFEST)
            ]
            removals = [
                CommitOperationDelete(path_in_repo=name) for name in removed if name in there
            ]
            self._api.create_commit(
                self._repository,
                [*additions, *removals],
                commit_message="Push a bundle of Nightdraft",
                revision=self._revision,
            )
        count(sum((folder / name).stat().st_size for name in (*names, MANIFEST)))

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """A block in which an error of the hub is one sentence."""
        try:
            yield
        except BundleError:
            raise
        except LocalTokenNotFoundError as error:
            raise BundleError(
                f"{self.address} needs a token: `hf auth login`, or HF_TOKEN"
            ) from error
        except (HfHubHTTPError, OSError, ValueError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise BundleError(
                f"{self.address} cannot be read or written ({reason}); "
                "check the name, the token (`hf auth login`, or HF_TOKEN) and what it may do"
            ) from error


def _counting_bar(count: ByteCounter) -> type[Any]:
    """A class for huggingface_hub's progress that counts bytes and shows nothing."""
    from huggingface_hub.utils import tqdm

    class CountingBar(tqdm):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            count(int(n or 0))
            return None

    return CountingBar
