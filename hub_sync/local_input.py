"""Inputs of a step outside a recipe: folders here, or repositories that are pulled."""

import json
from pathlib import Path

from .adapters import CONFIG, adapter_base, holds_adapter
from .context import Input
from .errors import DataError, UsageError
from .pull import pull
from .refs import ArtifactRef, RepoType


def local_input(role: str, source: str | Path, repo_type: RepoType, folds: bool = False) -> dict[str, Input]:
    """The input by its role and, of an adapter that is folded into its base, the base as `ROLE.base`.

    Args:
        source: a folder, or `org/name@revision` of the hub.

    Raises UsageError or HubError for what is neither, or cannot be pulled; DataError for an adapter without a base.
    """
    path, base = Path(source).expanduser(), None
    if path.is_dir():
        found = Input(ArtifactRef(repo_type, f"local/{role}", "0" * 40), path)
        if folds and holds_adapter(file.name for file in path.iterdir()):
            try:
                name = json.loads((path / CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"]
                if Path(str(name)).is_dir():
                    return {role: found} | local_input(f"{role}.base", str(name), repo_type)
                base = ArtifactRef.parse(str(name), "model")
            except (ValueError, KeyError, TypeError, UsageError) as error:
                raise DataError(
                    f"input {role}: {path} is an adapter, and base_model_name_or_path in its {CONFIG} names no model "
                    f"({error}): write the repository or folder that it was trained on"
                ) from error
    else:
        try:
            ref = ArtifactRef.parse(str(source), repo_type).resolve()
        except UsageError as error:
            raise UsageError(f"input {role}: {source} is no folder here, and {error}") from error
        found = Input(ref, pull(ref))
        base = adapter_base(ref) if folds else None
    further = {} if base is None else {f"{role}.base": Input(ref := base.resolve(), pull(ref))}
    return {role: found} | further
