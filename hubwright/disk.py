"""About how much disk the steps to come need, from what the hub and their settings tell before they work."""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .hub_sync.adapters import adapter_base
from .hub_sync.errors import HubError
from .hub_sync.files import list_files
from .hub_sync.hub import translate_errors
from .hub_sync.pull import list_remote_files
from .hub_sync.refs import ArtifactRef
from .hub_sync.step import Size
from .recipe import PlannedStep
from .sources import places

# Of the data that are read: a builder leaves 2.9 times its file (`python -m benchmarks.growth instructions`), and
# an evaluation adds prompts and answers to its data.
ROWS_FACTOR = 3


@dataclass(frozen=True)
class Need:
    """What a step needs, in bytes.

    Attributes:
        fetch: inputs that go to the cache of huggingface_hub and are not there yet.
        write: at most, below `runs/` until the step is published; None where nothing tells it.
    """

    fetch: int
    write: int | None


def disk_needs(
    steps: Sequence[PlannedStep],
    published: Mapping[str, ArtifactRef | None],
    at_commit: Callable[[ArtifactRef], ArtifactRef],
) -> dict[str, Need]:
    """What each step needs that has not worked yet, by name.

    Inputs that a step fetches itself (a served model) and files of a URL are not counted.

    Args:
        steps: the steps to come, in the order in which they run.
        published: commit of every earlier step by name; None where it has none.
        at_commit: gives an outside reference its commit.
    """
    made: dict[str, Size | None] = {}
    fetched: set[str] = set()
    needs: dict[str, Need] = {}

    def size_of(source: str | ArtifactRef) -> tuple[int, Size | None]:
        """(bytes to fetch, size) of an input; what another step will publish is fetched from the hub like any."""
        key = str(source)
        try:
            if isinstance(source, str) and source in made:
                size = made[source]
                missing = size.bytes if size else 0
            elif (ref := published.get(source) if isinstance(source, str) else at_commit(source)) is not None:
                missing, size = _remote_size(ref)
                key = f"{ref.repo_type} {ref}"
            else:
                return 0, None
        except HubError:
            return 0, None
        new = key not in fetched
        fetched.add(key)
        return missing if new else 0, size

    for step in steps:
        held: dict[str, Size] = {}
        named = list(places(step.config.model_dump(mode="json")))
        inputs: dict[str, str | ArtifactRef] = {f"source {p}": p for p in named if isinstance(p, ArtifactRef)}
        inputs |= {role: source for role, source in step.inputs.items() if not step.spec.is_endpoint(role)}
        fetch = 0
        for role, source in inputs.items():
            missing, size = size_of(source)
            fetch += missing
            if role in step.spec.folding([role]) and (base := _base(source)):
                missing, size = size_of(base)
                fetch += missing
            if size is not None:
                held[role] = size
        write, made[step.name] = _write(step, held, [path for path in named if isinstance(path, Path)])
        needs[step.name] = Need(fetch, write)
    return needs


def lacking(needs: Iterable[Need], runs: Path) -> str:
    """One line that says which disk is too small for these steps; "" where they fit.

    Args:
        runs: folder of work in progress, of which each step's goes before the next begins.
    """
    from huggingface_hub import constants

    needs = list(needs)
    wanted: dict[int, tuple[int, Path]] = {}
    for folder, size in (
        (Path(constants.HF_HUB_CACHE), sum(need.fetch for need in needs)),
        (runs, max((need.write or 0 for need in needs), default=0)),
    ):
        place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        device = place.stat().st_dev
        wanted[device] = (wanted.get(device, (0, place))[0] + size, place)
    for size, place in wanted.values():
        free = shutil.disk_usage(place).free
        if size > free:
            return (
                f"the steps to come need about {gigabytes(size)} on the disk of {place}, which has {gigabytes(free)}"
            )
    return ""


def gigabytes(size: int) -> str:
    """`3.9 GB`; below a tenth in MB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _write(step: PlannedStep, held: Mapping[str, Size], here: list[Path]) -> tuple[int | None, Size | None]:
    """(bytes written, size of what is published), by the settings' own estimate, or by the data that are read."""
    estimate = getattr(step.config, "disk", None)
    if callable(estimate):
        return estimate(held) or (None, None)
    if step.spec.kind == "card":
        return 0, None
    files = [file for path in here for file in (list_files(path) if path.is_dir() else [path])]
    read = sum(file.stat().st_size for file in files) + sum(s.bytes for s in held.values() if not s.weights)
    return (ROWS_FACTOR * read, Size(read)) if read else (None, None)


def _base(source: str | ArtifactRef) -> ArtifactRef | None:
    """The base of an adapter from outside."""
    try:
        return None if isinstance(source, str) else adapter_base(source)
    except HubError:
        return None


def _remote_size(ref: ArtifactRef) -> tuple[int, Size]:
    """(bytes that the cache lacks, size) of a revision. Raises HubError."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import NotASafetensorsRepoError, SafetensorsParsingError

    files = list_remote_files(ref).values()
    place: dict[str, Any] = {"repo_id": ref.repo_id, "repo_type": ref.repo_type, "revision": ref.revision}
    missing = sum(
        file.size for file in files if not isinstance(try_to_load_from_cache(filename=file.path, **place), str)
    )
    weights = 0
    if ref.repo_type == "model":
        with translate_errors(f"model {ref}"), suppress(NotASafetensorsRepoError, SafetensorsParsingError):
            weights = sum(int(n) for n in HfApi().get_safetensors_metadata(**place).parameter_count.values())
    return missing, Size(sum(file.size for file in files), weights)
