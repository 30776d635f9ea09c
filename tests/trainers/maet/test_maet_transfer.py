"""MAET's algebra with planted truth: changes that are known come out exactly, tensor by tensor."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from merge_parts import SHAPES, Tensors, opened, put, read

from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.hub_sync.refs import ArtifactRef
from hubwright.trainers.maet.config import LocateConfig, TransferConfig
from hubwright.trainers.maet.importance import change
from hubwright.trainers.maet.masks import check_fit, load_masks, save_masks
from hubwright.trainers.maet.select import key_neurons
from hubwright.trainers.maet.transfer import Parts, measure, select, transfer
from hubwright.trainers.maet.transfer_step import transfer_step
from hubwright.trainers.merge.checkpoint import open_checkpoint


def dyadic(seed: int, share: float = 1.0) -> Tensors:
    """Multiples of 1/256 between -1 and 1, so that float32 adds them without rounding; a share of them is not zero."""
    random = torch.Generator().manual_seed(seed)
    return {
        name: torch.randint(-256, 257, shape, generator=random) / 256 * (torch.rand(shape, generator=random) < share)
        for name, shape in SHAPES.items()
    }


def plus(*parts: Tensors) -> Tensors:
    return {name: sum(part[name] for part in parts) for name in SHAPES}  # type: ignore[misc]


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> tuple[Path, dict[str, Tensors]]:
    """theta_0, a (the ability), e (English), l and m (languages), and the models made of them, float32."""
    folder = tmp_path_factory.mktemp("planted")
    held = {name: dyadic(n, 0.3 if name == "a" else 1.0) for n, name in enumerate(("base", "a", "e", "l", "m"))}
    base = held["base"]
    models = {"base": base, "ability": plus(base, held["a"], held["e"]), "general": plus(base, held["e"])}
    models |= {"l": plus(base, held["l"]), "m": plus(base, held["m"])}
    for name, one in models.items():
        put(folder / name, one, torch.float32)
        (folder / name / "config.json").write_text('{"model_type": "none"}')
    return folder, held


def parts(folder: Path, general: bool = True, languages: str = "lm") -> Parts:
    held = opened({name: folder / name for name in ("base", "ability", "general", "l", "m")})
    return Parts(
        held["base"], {"x": held["ability"]}, {"x": held["general"]} if general else {}, {},
        {name: held[name] for name in languages},
    )  # fmt: skip


def made(out: Path, config: TransferConfig, of: Parts) -> tuple[Tensors, dict[str, set[str]]]:
    chosen = select(config, measure(config, of))
    transfer(config, of, chosen, out, "plan")
    return read(out), chosen


ONE = {"alpha": 1.0, "beta": 1.0, "gamma": 1.0}


def test_the_ability_is_lifted_out_exactly(tmp_path: Path, planted: Any) -> None:
    """alpha = beta = 1: R(A) = a, English goes; and a + l stand on the base where all tensors are taken."""
    folder, held = planted
    config = TransferConfig(abilities={"x": ONE}, select={"keep": "all"})
    found, chosen = made(tmp_path / "all", config, parts(folder, languages="l"))
    wanted = plus(held["base"], held["a"], held["l"])
    assert all(torch.equal(found[name], wanted[name]) for name in SHAPES) and chosen == {"x": set(SHAPES)}
    measured = measure(config, parts(folder, languages="l"))
    for name, one in measured.items():
        a, lang = (held[key][name].double().reshape(-1) for key in "al")
        assert one.norms["x"] == pytest.approx(float(a.norm()), rel=1e-14)
        assert one.cosines["x"] == pytest.approx(float(a @ lang / (a.norm() * lang.norm() or 1)), rel=1e-12, abs=1e-15)


LAYER = "model.layers.0."
NET = {
    f"{LAYER}mlp.gate_proj.weight": (12, 8), f"{LAYER}mlp.up_proj.weight": (12, 8),
    f"{LAYER}mlp.down_proj.weight": (8, 12), f"{LAYER}self_attn.q_proj.weight": (8, 8),
}  # fmt: skip


def planted_neurons(granularity: str, random: torch.Generator) -> dict[str, torch.Tensor]:
    """Some of a small net's weights, rows, columns or channels, as masks of the tensors' own shapes."""
    shapes = {name: shape for name, shape in NET.items() if granularity != "ffn_channel" or "mlp" in name}
    if granularity == "element":
        return {name: torch.rand(shape, generator=random) < 0.2 for name, shape in shapes.items()}
    channels = torch.randperm(12, generator=random)[:3]
    found = {}
    for name, shape in shapes.items():
        by_row = granularity == "row" or (granularity == "ffn_channel" and "down" not in name)
        units = torch.zeros(shape[0] if by_row else shape[1], dtype=torch.bool)
        units[channels if granularity == "ffn_channel" else torch.randperm(len(units), generator=random)[:2]] = True
        found[name] = (units[:, None] if by_row else units[None]).expand(shape)
    return found


@pytest.mark.parametrize("granularity", ["element", "row", "column", "ffn_channel"])
def test_planted_neurons_are_found_and_lifted_out(tmp_path: Path, granularity: str) -> None:
    """Locate, extract and transfer, with trainings whose changes are known: the planted ability comes out to the bit."""
    random = torch.Generator().manual_seed(5)

    def grid(low: int, high: int) -> Tensors:
        return {
            name: torch.randint(low, high, shape, generator=random) / 256
            * (2 * torch.randint(0, 2, shape, generator=random) - 1)
            for name, shape in NET.items()
        }  # fmt: skip

    bits = planted_neurons(granularity, random)
    base, strong, noise, english, spanish = (grid(*ends) for ends in ((0, 256), (64, 256), (0, 16), (0, 64), (0, 256)))
    inside = {name: bits.get(name, torch.zeros(shape, dtype=torch.bool)) for name, shape in NET.items()}
    ability = {name: strong[name] * inside[name] for name in NET}

    def model(name: str, *parts: Tensors) -> Any:
        total = {n: (sum(part[n] for part in parts) + base[n]).float() for n in NET}
        return open_checkpoint(put(tmp_path / name, total, torch.float32), name)

    theta_0 = model("base")
    looked_at = sum(math.prod(NET[name]) for name in bits)
    share = (sum(int(one.sum()) for one in bits.values()) + 0.5) / looked_at
    config = LocateConfig(granularity=granularity, fraction=share, max_steps=1)
    save_masks(tmp_path / "masks", key_neurons(config, change(theta_0, model("short", ability, noise))))
    masks = load_masks(tmp_path / "masks", "masks")
    for name, one in inside.items():
        held = np.broadcast_to(masks.whole(name), NET[name]) if name in masks.shapes else np.zeros(NET[name], np.bool_)
        assert (held == one.numpy()).all(), name

    drift = {name: english[name] * inside[name] for name in NET}
    parts = Parts(
        theta_0,
        {"x": model("ability", ability, drift)},
        {"x": model("general", drift)},
        {},
        {"l": model("l", spanish)},
    )
    found, _ = made(tmp_path / "out", TransferConfig(abilities={"x": ONE}, select={"keep": "all"}), parts)
    assert all(torch.equal(found[name], base[name] + ability[name] + spanish[name]) for name in NET)


def test_each_factor_is_where_the_equations_have_it(tmp_path: Path, planted: Any) -> None:
    folder, held = planted
    config = TransferConfig(
        abilities={"x": {"alpha": 0.5, "beta": 0.25, "gamma": 2.0}},
        languages={"l": {"mu": 0.5}, "m": {"mu": -1.0}},
        eta=0.25,
        select={"keep": "lowest", "fraction": 0.5},
    )
    found, chosen = made(tmp_path / "out", config, parts(folder))
    assert len(chosen["x"]) == 3
    for name in SHAPES:
        base, a, e, es, fr = (held[key][name] for key in ("base", "a", "e", "l", "m"))
        language = 0.5 * es - fr
        wanted = base + language
        if name in chosen["x"]:
            wanted = base + 2.0 * (0.5 * (a + e) - 0.25 * e) + 0.25 * language
        assert torch.equal(found[name], wanted), name


def test_abilities_have_their_own_tensors_and_factors(tmp_path: Path, planted: Any) -> None:
    folder, held = planted
    of = opened({name: folder / name for name in ("base", "ability", "general", "l", "m")})
    both = Parts(of["base"], {"x": of["ability"], "y": of["m"]}, {"x": of["general"]}, {}, {"l": of["l"]})
    config = TransferConfig(
        abilities={"x": ONE, "y": {"alpha": 0.5, "beta": 0.0, "gamma": 4.0}}, select={"fraction": 0.5}, eta=0.5
    )
    found, chosen = made(tmp_path / "out", config, both)
    assert chosen["x"] != chosen["y"] and len(chosen["x"]) == len(chosen["y"]) == 3
    for name in SHAPES:
        wanted = held["base"][name] + held["l"][name] * (0.5 if name in chosen["x"] | chosen["y"] else 1.0)
        if name in chosen["x"]:
            wanted = wanted + held["a"][name]
        if name in chosen["y"]:
            wanted = wanted + 2.0 * held["m"][name]
        assert torch.equal(found[name], wanted), name


def test_ends_of_the_settings(tmp_path: Path, planted: Any) -> None:
    """gamma = 0 or no tensor taken: languages alone; no subtraction: English stays; no language: the ability alone."""
    folder, held = planted
    language = plus(held["base"], held["l"])
    for n, config in enumerate(
        (
            TransferConfig(abilities={"x": ONE | {"gamma": 0.0}}, select={"keep": "all"}),
            TransferConfig(abilities={"x": ONE}, select={"fraction": 0.0}),
        )
    ):
        found, _ = made(tmp_path / f"language{n}", config, parts(folder, languages="l"))
        assert all(torch.equal(found[name], language[name]) for name in SHAPES)
    config = TransferConfig(abilities={"x": {"alpha": 1.0, "beta": 0.0, "gamma": 1.0}}, select={"keep": "all"})
    found, _ = made(tmp_path / "english", config, parts(folder, general=False, languages=""))
    wanted = plus(held["base"], held["a"], held["e"])
    assert all(torch.equal(found[name], wanted[name]) for name in SHAPES)


def test_tensors_are_ranked_by_cosine(planted: Any) -> None:
    folder, held = planted

    def chosen(**how: Any) -> set[str]:
        config = TransferConfig(abilities={"x": ONE}, select=how)
        return select(config, measure(config, parts(folder, languages="l")))["x"]

    def cosine(name: str) -> float:
        a, lang = (held[key][name].double().reshape(-1) for key in "al")
        return float(a @ lang / (a.norm() * lang.norm() or 1))

    touched = sorted((name for name in SHAPES if held["a"][name].any()), key=cosine)
    assert chosen(keep="lowest", fraction=0.5) == set(touched[: round(0.5 * len(touched))])
    assert chosen(keep="highest", fraction=0.5) == set(touched[-round(0.5 * len(touched)) :])
    assert chosen(keep="all") == set(touched)
    draws = {frozenset(chosen(keep="random", fraction=0.5, seed=n)) for n in range(8)}
    assert len(draws) > 1 and {len(draw) for draw in draws} == {round(0.5 * len(touched))}
    assert "embed" not in chosen(keep="lowest", fraction=1.0, exclude=["emb"])


def test_blocks_shards_and_threads_change_no_byte(tmp_path: Path) -> None:
    """Numbers that do round, bfloat16."""
    random = torch.Generator().manual_seed(0)
    for name in ("base", "ability", "general", "l", "m"):
        put(tmp_path / name, {key: torch.randn(shape, generator=random) for key, shape in SHAPES.items()})
    found = []
    for n, how in enumerate(({"block_mb": 1, "threads": 1}, {"block_mb": 50, "threads": 2, "shard_size": "300KB"})):
        config = TransferConfig(dtype="float32", select={"fraction": 0.5}, **how)
        found.append(made(tmp_path / f"out{n}", config, parts(tmp_path)))
    assert found[0][1] == found[1][1]
    assert all(torch.equal(found[0][0][name], found[1][0][name]) for name in SHAPES)


@settings(deadline=None, max_examples=30)
@given(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from(["element", "row", "column"]), st.integers(0, 2**32 - 1)
)
def test_masks_are_read_as_they_were_written(tmp_path_factory, rows: int, width: int, form: Any, seed: int) -> None:
    folder = tmp_path_factory.mktemp("masks")
    random = np.random.default_rng(seed)
    shape = (rows, width)
    bits = random.random({"element": shape, "row": (rows,), "column": (width,)}[form]) < 0.3
    save_masks(folder, {"w": (form, shape, np.packbits(bits))})
    found = load_masks(folder, "masks")
    spread = {"element": bits, "row": bits[:, None], "column": bits[None]}[form]
    whole = np.broadcast_to(spread.reshape(spread.shape if form != "element" else shape), shape)
    assert np.array_equal(np.broadcast_to(found.whole("w"), shape), whole) and found.count("w") == whole.sum()
    first, last = sorted(random.integers(0, rows + 1, 2))
    assert np.array_equal(np.broadcast_to(found.rows("w", first, last), whole[first:last].shape), whole[first:last])
    assert not found.rows("other", 0, 3).any()


def test_masks_that_do_not_fit_are_named(tmp_path: Path, planted: Any) -> None:
    folder, _ = planted
    kinds = open_checkpoint(folder / "base", "me/base").kinds
    with pytest.raises(DataError, match=r"me/m: no masks.safetensors: is it what a maet_locate step published"):
        load_masks(folder / "base", "me/m")
    for name, shape, said in (("few", (4,), r"\[4\] is \[3\] there in me/base"), ("no", (3,), "not there in me/base")):
        save_masks(tmp_path / name, {name: ("element", shape, np.packbits(np.ones(shape, np.bool_)))})
        with pytest.raises(DataError, match=said):
            check_fit(load_masks(tmp_path / name, "me/m"), kinds, "me/base")
    (tmp_path / "few" / "masks.safetensors").write_bytes(b"no")
    with pytest.raises(DataError, match=r"masks.safetensors cannot be read \(.*\): locate again"):
        load_masks(tmp_path / "few", "me/m")


def test_the_step_masks_reports_and_refuses(tmp_path: Path, planted: Any) -> None:
    folder, held = planted
    bits = {name: held["e"][name] > 0 for name in ("embed", "vector")}
    save_masks(tmp_path / "masks", {n: ("element", SHAPES[n], np.packbits(one.numpy())) for n, one in bits.items()})

    def run(config: dict[str, Any], out: str, **paths: str) -> Any:
        inputs = {
            role: Input(ArtifactRef("model", f"me/{name}", "a" * 40), (tmp_path if name == "masks" else folder) / name)
            for role, name in paths.items()
        }
        context = StepContext("merged", tmp_path / out / "work", tmp_path / out / "made", inputs)
        transfer_step(TransferConfig(**config), context)
        return context

    pairs = {"base": "base", "ability_x": "ability", "general_x": "general", "language_l": "l"}
    said = {"abilities": {"x": ONE}, "select": {"keep": "all"}}
    report = run(said, "out", **pairs, mask_x="masks").report
    found = read(tmp_path / "out" / "made")
    for name in SHAPES:
        wanted = held["base"][name] + held["l"][name]
        if name in bits:
            wanted = wanted + held["a"][name] * bits[name]
        assert torch.equal(found[name], wanted), name
    rows = json.loads((tmp_path / "out" / "made" / "maet_report.json").read_text())["tensors"]
    assert {row["tensor"] for row in rows if row["chosen"]} == set(bits) and len(rows) == len(SHAPES)
    assert report.card["base_model_relation"] == "merge" and report.metrics["tensors_with_x"] == 2
    for config, given_, reason in (
        (said, {"base": "base"}, "nothing to add"),
        (said, {"base": "base", "language_l": "l"}, "abilities: x: there is no input ability_x"),
        ({}, {"base": "base", "ability_x": "ability"}, "beta is 0.2: give the input general_x, or set beta: 0"),
        ({}, {"base": "base", "language_l": "l", "general_x": "general"}, "general_x belongs to no input ability_x"),
        ({"abilities": {"x": {"beta": 0}}}, pairs, "general_x has no use while"),
        ({"languages": {"q": {}}}, pairs, "languages: q: there is no input language_q"),
    ):
        with pytest.raises(UsageError, match=f"step merged: .*{reason}"):
            run(config, "refused", **given_)
    assert not (tmp_path / "refused" / "made").exists()
