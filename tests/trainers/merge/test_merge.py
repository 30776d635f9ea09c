"""The merger against the formulas, on whole tensors; its bytes under other blocks, shards, threads and kills."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from merge_parts import KILLED, arc, elected, in_the_middle, merged, opened, put, read, stock, tensors, trimmed
from pydantic import ValidationError

from hubwright.hub_sync.errors import DataError, StorageError
from hubwright.trainers.merge.checkpoint import fold_adapter, open_checkpoint, same_tensors
from hubwright.trainers.merge.config import MergeConfig
from hubwright.trainers.merge.engine import merge_models
from hubwright.trainers.merge.measure import kth_magnitudes

WEIGHTS = {"a": 0.5, "b": -0.3, "c": 0.8}
PLAIN = {name: {"weight": weight} for name, weight in WEIGHTS.items()}
SPARSE = {name: one | {"density": 0.3} for name, one in PLAIN.items()}
CRUMBS = {name: one | {"gamma": 0.05} for name, one in SPARSE.items()}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> tuple[Path, dict[str, Path]]:
    """A base and three models near it, bfloat16."""
    folder = tmp_path_factory.mktemp("models")
    base = tensors(0)
    near = {name: put(folder / name, tensors(n, base)) for n, name in enumerate(WEIGHTS, 1)}
    return put(folder / "base", base), near


def as_float(folder: Path) -> dict[str, torch.Tensor]:
    return {name: one.float() for name, one in read(folder).items()}


@pytest.mark.parametrize(
    ("method", "said", "formula", "ulps"),
    [
        ("linear", {"models": PLAIN}, lambda b, m: sum(w * x for w, x in zip(WEIGHTS.values(), m)) / 1.0, 2),
        ("linear", {"models": PLAIN, "normalize": False},
         lambda b, m: sum(w * x for w, x in zip(WEIGHTS.values(), m)), 2),
        ("task_arithmetic", {"models": PLAIN, "scale": 0.7},
         lambda b, m: b + 0.7 * sum(w * (x - b) for w, x in zip(WEIGHTS.values(), m)), 2),
        ("ties", {"models": SPARSE},
         lambda b, m: elected(b, [trimmed(x - b, 0.3) for x in m], list(WEIGHTS.values())), 1),
        ("breadcrumbs", {"models": CRUMBS},
         lambda b, m: b + sum(w * in_the_middle(x - b, 0.3, 0.05) for w, x in zip(WEIGHTS.values(), m)), 1),
        ("breadcrumbs_ties", {"models": CRUMBS},
         lambda b, m: elected(b, [in_the_middle(x - b, 0.3, 0.05) for x in m], list(WEIGHTS.values())), 1),
        ("dare_linear", {"models": PLAIN},
         lambda b, m: b + sum(w * (x - b) for w, x in zip(WEIGHTS.values(), m)), 1),
        ("model_stock", {}, stock, 2),
    ],
)  # fmt: skip
def test_a_method_is_its_formula(tmp_path: Path, models: Any, method: str, said: Any, formula: Any, ulps: int) -> None:
    folder, near = models
    found = merged(tmp_path / "out", folder, near, method=method, **said)
    base, others = as_float(folder), [as_float(one) for one in near.values()]
    assert list(found) and sorted(found) == sorted(base)
    for name, one in base.items():
        wanted = formula(one, [other[name] for other in others])
        # Where terms cancel, the last place is that of the largest term.
        size = torch.stack([one, *(other[name] for other in others)]).abs().amax(0)
        assert ((found[name] - wanted).abs() <= ulps * 2.0**-23 * size).all(), (name, method)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_slerp(tmp_path: Path, models: Any, t: float) -> None:
    folder, near = models
    far = put(tmp_path / "far", tensors(9))
    for other in (near["a"], far):  # nearly the same direction, and another one
        found = merged(tmp_path / f"out-{other.name}", folder, {"a": other}, method="slerp", t=t)
        for name, one in as_float(folder).items():
            wanted = arc(one, as_float(other)[name], t)
            assert torch.allclose(found[name].double(), wanted, rtol=3e-7, atol=3e-7), name


def test_what_is_dropped_is_made_up_for(tmp_path: Path, models: Any) -> None:
    folder, near = models
    base, one = as_float(folder), as_float(near["a"])
    said = {"models": {"a": {"density": 0.25}}}
    for rescale in ("none", "expected", "l1"):
        out = tmp_path / rescale
        found = merged(out, folder, {"a": near["a"]}, method="dare_linear", rescale=rescale, **said)
        change, whole = found["vector"] - base["vector"], one["vector"] - base["vector"]
        kept = change != 0
        share = float(kept.sum() / (whole != 0).sum())
        assert abs(share - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 46_000)
        factor = {"none": 1, "expected": 4, "l1": float(whole.abs().sum() / whole[kept].abs().sum())}[rescale]
        assert torch.allclose(change[kept], whole[kept] * factor, rtol=1e-4, atol=1e-6)
    other = merged(tmp_path / "seed", folder, {"a": near["a"]}, method="dare_linear", seed=1, **said)
    assert not torch.equal(other["vector"], found["vector"])


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("linear", {"models": PLAIN}), ("ties", {"models": SPARSE}), ("breadcrumbs", {"models": CRUMBS}),
        ("dare_linear", {"models": SPARSE}), ("dare_ties", {"models": SPARSE, "rescale": "l1"}), ("model_stock", {}),
    ],
)  # fmt: skip
def test_blocks_shards_and_threads_change_no_byte(tmp_path: Path, models: Any, method: str, said: Any) -> None:
    folder, near = models
    ways = [("5GB", 1, 1), ("300KB", 4, 2), ("1MB", 100, 2)]
    found = [
        merged(
            tmp_path / str(n), folder, near, method=method, shard_size=size, block_mb=block, threads=threads, **said
        )
        for n, (size, block, threads) in enumerate(ways)
    ]
    for other in found[1:]:
        for name, one in found[0].items():
            assert torch.equal(one.view(torch.int32), other[name].view(torch.int32)), name
    assert len(list((tmp_path / "0").glob("*.safetensors"))) == 1
    index = json.loads((tmp_path / "1" / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in (tmp_path / "1").glob("*.safetensors"))
    assert len(files) > 2 and sorted(set(index["weight_map"].values())) == files
    assert sorted(index["weight_map"]) == sorted(found[0]) and not (tmp_path / "1" / "journal.jsonl").exists()
    # What was written in shards is read like any other model.
    again = merged(tmp_path / "again", tmp_path / "1", {"a": tmp_path / "2"}, method="slerp", t=0.0)
    assert torch.equal(again["embed"], found[0]["embed"])


@settings(deadline=None)
@given(
    st.lists(st.floats(-4, 4, width=32) | st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-45]), min_size=1, max_size=60),
    st.data(),
)
def test_the_kth_magnitude_is_that_of_sorting(numbers: list[float], data: st.DataObject) -> None:
    tensor = np.array(numbers, np.float32)
    k, cut = data.draw(st.integers(1, len(numbers))), data.draw(st.integers(0, len(numbers)))
    whole = [tensor, -tensor[::-1]]  # the same magnitudes, elsewhere
    found, other = kth_magnitudes(lambda: ([one[:cut] for one in whole], [one[cut:] for one in whole]), [k, k])
    assert found == other
    size = abs(tensor)
    assert found.value == float(np.sort(size)[-k])
    assert found.above == int((size > found.value).sum()) and found.equal == int((size == found.value).sum())


def test_rounded_once(tmp_path: Path, models: Any) -> None:
    folder, near = models
    said = {"method": "task_arithmetic", "models": PLAIN}
    exact = merged(tmp_path / "exact", folder, near, **said)
    for dtype in ("bfloat16", "float16"):
        found = merged(tmp_path / dtype, folder, near, dtype=dtype, **said)
        assert all(torch.equal(found[name], one.to(getattr(torch, dtype))) for name, one in exact.items())
    assert merged(tmp_path / "own", folder, near, dtype=None, **said)["few"].dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("said", "dtype"),
    [({"models": {"a": {"weight": 1e6}, "b": {"weight": 1}}, "normalize": False}, "float16"),
     ({"models": {"a": {"weight": 1}, "b": {"weight": -1}}}, "float32")],
)  # fmt: skip
def test_an_output_that_is_not_finite_is_refused(tmp_path: Path, models: Any, said: Any, dtype: str) -> None:
    folder, near = models
    two = {name: near[name] for name in "ab"}
    with pytest.raises(DataError, match=f"the merged numbers are too large for {dtype}"):
        merged(tmp_path / "out", folder, two, method="linear", dtype=dtype, **said)
    with pytest.raises(DataError):
        open_checkpoint(tmp_path / "out", "out")


def test_what_is_no_number_is_the_bases(tmp_path: Path) -> None:
    steps = torch.arange(7)
    for name, add in (("base", 0), ("a", 1)):
        (tmp_path / name).mkdir()
        held = {"w": torch.ones(4, 2) + add, "steps": steps + add, "none": torch.empty(0, 3)}
        from safetensors.torch import save_file

        save_file(held, tmp_path / name / "model.safetensors")
    found = merged(tmp_path / "out", tmp_path / "base", {"a": tmp_path / "a"}, method="task_arithmetic")
    assert torch.equal(found["steps"], steps) and found["w"].eq(2).all() and found["none"].shape == (0, 3)


def test_an_adapter_is_folded_in_exactly(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from tiny_model import save_tiny_model
    from transformers import AutoModelForCausalLM

    folder = save_tiny_model(tmp_path / "base")
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        LoraConfig(r=4, lora_alpha=6, target_modules="all-linear", init_lora_weights=False, use_rslora=True),
    )
    model.save_pretrained(tmp_path / "adapter")
    base = open_checkpoint(folder, "base")
    folded = fold_adapter(base, tmp_path / "adapter", "adapter")
    wanted = model.merge_and_unload().state_dict()
    assert len(folded.adapter) == 14
    for name, kind in base.kinds.items():
        parts = [folded.rows(name, n, min(n + 7, kind.shape[0])) for n in range(0, kind.shape[0], 7)]
        found = np.concatenate(parts)
        assert np.array_equal(found, folded.rows(name, 0, kind.shape[0]))
        assert torch.allclose(torch.from_numpy(found), wanted[name], rtol=0, atol=2**-22), name
    said = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    for change, reason in (
        ({"use_dora": True}, "use_dora=True"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    ):
        (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(said | change))
        with pytest.raises(DataError, match=f"adapter: {reason}"):
            fold_adapter(base, tmp_path / "adapter", "adapter")
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(said))
    (tmp_path / "adapter" / "adapter_model.safetensors").rename(tmp_path / "kept")
    with pytest.raises(DataError, match="adapter: no adapter_model"):
        fold_adapter(base, tmp_path / "adapter", "adapter")
    (tmp_path / "kept").rename(tmp_path / "adapter" / "adapter_model.safetensors")
    with pytest.raises(DataError, match="does not fit other: is it an adapter of another model"):
        fold_adapter(open_checkpoint(put(tmp_path / "other", tensors(0)), "other"), tmp_path / "adapter", "adapter")


def test_a_kill_while_the_files_get_their_names(tmp_path: Path, models: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, near = models
    said = {"method": "linear", "models": PLAIN, "shard_size": "300KB"}
    wanted = merged(tmp_path / "whole", folder, near, **said)
    renamed: list[Path] = []
    rename = Path.replace

    def killed(source: Path, target: Path) -> Path:
        if Path(target).suffix == ".safetensors":
            if len(renamed) == 2:
                raise KeyboardInterrupt
            renamed.append(target)
        return rename(source, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        merged(tmp_path / "cut", folder, near, **said)
    monkeypatch.undo()
    with pytest.raises(DataError):
        open_checkpoint(tmp_path / "cut", "cut")
    found = merged(tmp_path / "cut", folder, near, **said)
    assert all(torch.equal(found[name], one) for name, one in wanted.items())
    assert len(list((tmp_path / "cut").iterdir())) == len(list((tmp_path / "whole").iterdir()))


def test_only_what_is_left_is_made(tmp_path: Path, models: Any) -> None:
    folder, near = models
    config = MergeConfig(method="linear", models=PLAIN, threads=1)
    seen: list[int] = []

    def told(done: int, total: int) -> None:
        seen.append(done)
        if done > total / 2:
            raise KeyboardInterrupt

    base = open_checkpoint(folder, "base")
    with pytest.raises(KeyboardInterrupt):
        merge_models(config, base, opened(near), tmp_path / "out", "plan", told)
    before = seen[-1]
    seen.clear()
    merge_models(config, base, opened(near), tmp_path / "out", "plan", lambda done, total: seen.append(done))
    assert seen[0] >= before and seen[-1] == sum(kind.elements for kind in base.kinds.values())


def test_another_plan_begins_anew(tmp_path: Path, models: Any) -> None:
    folder, near = models
    base = open_checkpoint(folder, "base")

    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge_models(MergeConfig(method="linear"), base, opened(near), tmp_path / "out", "first", stop)
    found = merged(tmp_path / "out", folder, near, method="linear", models=PLAIN)
    wanted = merged(tmp_path / "new", folder, near, method="linear", models=PLAIN)
    assert all(torch.equal(found[name], one) for name, one in wanted.items())


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda held: held.pop("few"), "a has no tensor few, which base has"),
        (lambda held: held.update(more=torch.ones(1)), "base has no tensor more, which a has"),
        (lambda held: held.update(few=torch.ones(4)), r"few: \[3\] in base, \[4\] in a"),
        (lambda held: held["embed"].__setitem__((2999, 63), math.nan), "a: embed holds a number that is not finite"),
        (lambda held: held["few"].__setitem__(0, math.inf), "a: few holds a number that is not finite"),
    ],
)
def test_models_that_do_not_fit_are_named(tmp_path: Path, models: Any, harm: Any, said: str) -> None:
    held = tensors(5)
    harm(held)
    base, other = open_checkpoint(models[0], "base"), opened({"a": put(tmp_path / "a", held)})
    with pytest.raises(DataError, match=said):
        same_tensors(base, other)
        merge_models(MergeConfig(method="task_arithmetic"), base, other, tmp_path / "out", {})
    with pytest.raises(DataError):
        open_checkpoint(tmp_path / "out", "out")


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    for name, text in (("pytorch_model.bin", b"x"), ("model.safetensors", b"x"), ("none.txt", b"")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_bytes(text)
        said = {"pytorch_model.bin": "is a pickle", "model.safetensors": "is no safetensors file"}.get(
            name, "no model."
        )
        with pytest.raises(DataError, match=f"me: .*{said}"):
            open_checkpoint(folder, "me")
    index = tmp_path / "index"
    index.mkdir()
    for said, reason in (
        ('{"weight_map": {"w": "model-1.safetensors"}}', "model-1.safetensors is missing"),
        ('{"weight_map": {"w": "../model.safetensors"}}', "which is no safetensors file beside it"),
        ('{"weight_map": {"w": "model.bin"}}', "which is no safetensors file beside it"),
        ('{"weight_map": 1}', "cannot be read"),
        ("[]", "cannot be read"),
        ("{", "cannot be read"),
    ):
        (index / "model.safetensors.index.json").write_text(said)
        with pytest.raises(DataError, match=reason):
            open_checkpoint(index, "me")
    put(tmp_path / "w", {"v": torch.ones(2)})
    (tmp_path / "w" / "model.safetensors.index.json").write_text('{"weight_map": {"w": "model.safetensors"}}')
    with pytest.raises(DataError, match=r"w is not in model.safetensors, where .* says it is"):
        open_checkpoint(tmp_path / "w", "me")


def test_no_model_is_written_over(tmp_path: Path, models: Any) -> None:
    """Nor is what lies there touched, also where the folder or the file is a link."""
    put(tmp_path / "base", tensors(0))
    link, cache = tmp_path / "link", tmp_path / "cache"
    link.symlink_to(tmp_path / "base")
    cache.mkdir()
    (cache / "model.safetensors").symlink_to(tmp_path / "base" / "model.safetensors")
    before = (tmp_path / "base" / "model.safetensors").read_bytes()
    base = open_checkpoint(tmp_path / "base", "me/base")
    for folder in (tmp_path / "base", link, cache):
        with pytest.raises(DataError, match="is where me/base lies: write to another folder"):
            merge_models(MergeConfig(method="task_arithmetic"), base, opened({"a": models[1]["a"]}), folder, {})
    assert (tmp_path / "base" / "model.safetensors").read_bytes() == before


def test_a_full_disk_is_told_before_anything_is_computed(tmp_path: Path, models: Any) -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("mount namespaces are not permitted here")
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f"mount -t tmpfs -o size=1m none {disk} || exit 99\n{sys.executable} -c '{KILLED}' \"$@\"; ls {disk}/out | wc -l\n"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "--", str(Path(__file__).parents[1]), str(disk / "out"), str(models[0].parent)],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode == 99:
        pytest.skip("no file system can be mounted here")
    assert f"{StorageError.__name__}: " in done.stderr and "needs 0.00 GB" in done.stderr, done.stderr
    assert done.stdout.strip() == "0"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"method": "slerp"}, "t and method: slerp go together"),
        ({"method": "linear", "t": 0.5}, "t and method: slerp go together"),
        ({"method": "linear", "models": {"a": {"density": 0.5}}}, "models: a: density has no meaning for linear"),
        ({"method": "ties", "models": {"a": {"gamma": 0.5}}}, "models: a: gamma has no meaning for ties"),
        ({"method": "model_stock", "models": {"a": {"weight": 2}}}, "models: a: weight has no meaning"),
        ({"method": "ties", "seed": 3}, "seed has no meaning for ties"),
        ({"method": "linear", "shard_size": "5"}, "'5' is no size: write a number with KB, MB or GB"),
        ({"method": "best"}, "Input should be 'linear'"),
    ],
)
def test_settings_without_a_meaning_are_refused(said: Any, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        MergeConfig(**said)
