"""Artifact references: `org/name@revision`, and their resolution to a commit hash.

A revision read by name can move between two reads, and `load_dataset(..., revision=)` silently returns another
cached version when the hub is away. So every input is resolved to a 40-digit commit once, before any work, and
only the commit is read afterwards.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

from .errors import HubError, UsageError

RepoType = Literal["dataset", "model", "space"]
REPO_TYPES: tuple[str, ...] = get_args(RepoType)

_COMMIT = re.compile(r"^[0-9a-f]{40}$")
# The Hub's own rule for names: 1 to 96 characters, no '--' or '..', not ending in '.git'.
_NAME = re.compile(r"^(?!.*(?:--|\.\.))(?!.*\.git$)[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$")


@dataclass(frozen=True)
class ArtifactRef:
    """One artifact: repository type, id (`org/name`) and revision (branch, tag, `refs/pr/N` or commit)."""

    repo_type: RepoType
    repo_id: str
    revision: str = "main"

    @classmethod
    def parse(cls, text: str, repo_type: str) -> ArtifactRef:
        """Read `org/name` or `org/name@revision`. Raises UsageError that names the text and the remedy."""
        if repo_type not in REPO_TYPES:
            raise UsageError(f"repo type {repo_type!r} is unknown: use one of {', '.join(REPO_TYPES)}")
        repo_id, at, revision = text.partition("@")
        org, slash, name = repo_id.partition("/")
        if not slash or not _NAME.match(org) or not _NAME.match(name) or (at and not revision):
            raise UsageError(f"{repo_type} {text!r} is not an artifact reference: write org/name or org/name@revision")
        return cls(cast(RepoType, repo_type), repo_id, revision or "main")

    @property
    def pinned(self) -> bool:
        """True where the revision is a full commit hash."""
        return bool(_COMMIT.match(self.revision))

    @property
    def place(self) -> dict[str, Any]:
        """`repo_id` and `repo_type`, as huggingface_hub's calls take them."""
        return {"repo_id": self.repo_id, "repo_type": self.repo_type}

    @property
    def hub_path(self) -> str:
        """The path of the repository's page below the endpoint."""
        return self.repo_id if self.repo_type == "model" else f"{self.repo_type}s/{self.repo_id}"

    def __str__(self) -> str:
        return f"{self.repo_id}@{self.revision}"

    def resolve(self, endpoint: str | None = None, token: str | None = None) -> ArtifactRef:
        """Ask the hub for the commit this reference means now. No request where it already is a commit. Raises
        HubError in one line where the repository or revision is absent, private, or out of reach."""
        if self.pinned:
            return self
        from huggingface_hub import HfApi
        from huggingface_hub.errors import RepositoryNotFoundError

        from .hub import translate_errors

        api = HfApi(endpoint=endpoint, token=token)
        try:
            with translate_errors(f"{self.repo_type} {self}"):
                info = api.repo_info(**self.place, revision=self.revision)
        except HubError as error:
            if isinstance(error.__cause__, RepositoryNotFoundError):
                for other in REPO_TYPES:
                    if other != self.repo_type and api.repo_exists(self.repo_id, repo_type=other):
                        raise HubError(f"{self.repo_id} is a {other}: name a {self.repo_type} here") from error
            raise
        if not info.sha:
            raise HubError(f"{self.repo_type} {self}: the hub gave no commit for this revision")
        return replace(self, revision=info.sha)
