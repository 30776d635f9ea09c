"""The tasks on synthetic sequences and the kv_shifting group: scores against torch's own argmax, pins, errors."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from hubwright.builders import sequences
from hubwright.evals._lib.data import tasks_dir
from hubwright.evals._lib.statistics import wilson
from hubwright.evals.harness.step import HarnessConfig, evaluate, find_tasks
from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import DataError, HubError, UsageError
from hubwright.hub_sync.refs import ArtifactRef

SETS: dict[str, tuple[Any, Any]] = {
    "induction": (sequences.build_induction, sequences.InductionConfig(train_rows=1, test_rows=40)),
    "ngram": (sequences.build_ngram, sequences.NgramConfig(train_rows=1, test_rows=40)),
    "hop_k": (sequences.build_hop_k, sequences.HopKConfig(train_rows=1, test_rows=40, hops=(1, 2, 4))),
    "arithmetic": (
        sequences.build_arithmetic,
        sequences.ArithmeticConfig(
            train_rows=1, test_rows=12, test_hard_rows=5, min_ops=1, max_ops=3, hard_ops=4, distractors=1
        ),
    ),
}
TASKS = [
    ("kv_induction", "induction", "test", None),
    ("kv_ngram", "ngram", "test", None),
    ("kv_hop_k", "hop_k", "test", "hops"),
    ("kv_modular_arithmetic", "arithmetic", "test", "difficulty"),
    ("kv_modular_arithmetic_hard", "arithmetic", "test_hard", "difficulty"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each set, in the layout that the runner publishes."""
    root = tmp_path_factory.mktemp("sets")
    for name, (build, config) in SETS.items():
        folder = root / name / "data"
        folder.mkdir(parents=True)
        for split, rows in build(config, StepContext("s", root, root)).items():
            rows.to_parquet(str(folder / f"{split}-00000-of-00001.parquet"))
    return root


@pytest.fixture(scope="module")
def word_model(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A random 1-layer Llama whose tokens are the words of all sets, with weights large enough to tell words apart."""
    import datasets
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = {
        word
        for path in sorted(data.rglob("*.parquet"))
        for row in datasets.Dataset.from_parquet(str(path))
        for word in [*row["text"].split(" "), *filter(None, row["targets"])]
    }
    vocab = {word: number for number, word in enumerate(["<pad>", "<unk>", *sorted(words)])}
    bare = Tokenizer(models.WordLevel(vocab=vocab, unk_token="<unk>"))
    bare.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    folder = tmp_path_factory.mktemp("word-model")
    PreTrainedTokenizerFast(
        tokenizer_object=bare, pad_token="<pad>", unk_token="<unk>", eos_token="<pad>", model_max_length=512
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocab),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.5,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=0,
    )
    model = LlamaForCausalLM(config).float()
    with torch.no_grad():  # the first choice is mostly one of few words, so that it is right now and then
        model.lm_head.weight[[vocab[word] for word in ("t0", "t1", "t2", "t3", "1", "2", "3")]] *= 6
    model.save_pretrained(folder)
    return folder


def by_hand(model: Path, folder: Path, split: str) -> list[tuple[dict[str, Any], bool, float]]:
    """(row, the target is the most probable word, its negative log-probability), from the row's whole text."""
    import datasets
    import torch
    from transformers import AutoModelForCausalLM

    vocab = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    lm = AutoModelForCausalLM.from_pretrained(model).eval()
    found = []
    for row in datasets.Dataset.from_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet")):
        place = len(row["context"].split(" ")) - 1
        ids = torch.tensor([[vocab[word] for word in row["text"].split(" ")]])
        with torch.no_grad():
            logits = lm(input_ids=ids).logits[0, place].double()
        target = vocab[row["target"]]
        found.append((row, int(logits.argmax()) == target, -float(logits.log_softmax(-1)[target])))
    return found


def run(task: str, model: Path, folder: Path, work: Path, **settings: Any) -> StepContext:
    inputs = {
        "model": Input(ArtifactRef("model", "org/words", "a" * 40), model),
        "dataset": Input(ArtifactRef("dataset", "org/rows", "b" * 40), folder),
    }
    for name in ("work", "out"):
        (work / name).mkdir(parents=True)
    context = StepContext("scores", work / "work", work / "out", inputs)
    values = {"tasks": [task], "batch_size": 8, "threads": 1, "dtype": "float32", "apply_chat_template": False}
    evaluate(HarnessConfig.model_validate(values | settings), context)
    return context


@pytest.mark.parametrize(("task", "name", "split", "column"), TASKS)
def test_scores_are_those_of_torch(
    task: str, name: str, split: str, column: str | None, data: Path, word_model: Path, tmp_path: Path
) -> None:
    context = run(task, word_model, data / name, tmp_path)
    expected = by_hand(word_model, data / name, split)
    metrics = json.loads((context.output / "results.json").read_text(encoding="utf-8"))["tasks"][task]["metrics"]
    n, hits = len(expected), sum(hit for _, hit, _ in expected)
    assert metrics["acc"]["value"] == hits / n
    losses = [loss for *_, loss in expected]
    assert metrics["loss"]["value"] == pytest.approx(math.fsum(losses) / n, abs=1e-4)
    assert metrics["loss"]["higher_is_better"] is False and metrics["acc"]["higher_is_better"] is True
    assert (metrics["acc_ci_low"]["value"], metrics["acc_ci_high"]["value"]) == pytest.approx(wilson(hits, n))
    spread = math.sqrt(sum((loss - sum(losses) / n) ** 2 for loss in losses) / (n - 1) / n)
    assert metrics["loss"]["stderr"] == pytest.approx(spread, rel=1e-3)
    groups = {row[column] for row, *_ in expected} if column else set()
    assert {key for key in metrics if re.fullmatch(r"acc_\d+", key)} == {f"acc_{group}" for group in groups}
    for group in groups:
        part = [hit for row, hit, _ in expected if row[column] == group]
        assert metrics[f"acc_{group}"]["value"] == sum(part) / len(part)
    assert context.report.metrics[f"{task}/acc"] == hits / n

    import datasets

    answers = datasets.load_dataset(str(context.output), split="samples")
    for answer, (row, hit, loss) in zip(answers, expected, strict=True):
        assert answer["target"] == f" {row['target']}" and json.loads(answer["doc"])["text"] == row["text"]
        assert json.loads(answer["metrics"])["acc"] == hit
        assert json.loads(answer["metrics"])["loss"] == pytest.approx(loss, abs=1e-4)


def test_some_answers_are_right_and_some_wrong(data: Path, word_model: Path) -> None:
    """Otherwise the comparison above would hold for a constant as well."""
    hits = [hit for name in ("hop_k", "ngram") for _, hit, _ in by_hand(word_model, data / name, "test")]
    assert 0 < sum(hits) < len(hits)


def test_a_target_is_one_token(data: Path, word_model: Path) -> None:
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(pretrained=str(word_model), device="cpu", dtype="float32")
    for row, *_ in by_hand(word_model, data / "hop_k", "test")[:5]:
        context, target = lm._encode_pair(row["context"], f" {row['target']}")
        assert len(context) == len(row["context"].split(" ")) and len(target) == 1


def test_nothing_is_put_before_a_sequence_and_predict_only_stores(
    data: Path, word_model: Path, tmp_path: Path
) -> None:
    more = {"system_instruction": "Answer!", "num_fewshot": 2}
    plain = run("kv_hop_k", word_model, data / "hop_k", tmp_path / "a", predict_only=True)
    told = run("kv_hop_k", word_model, data / "hop_k", tmp_path / "b", predict_only=True, **more)
    import datasets

    one, other = (datasets.load_dataset(str(c.output), split="samples") for c in (plain, told))
    assert one["arguments"] == other["arguments"] and one["resps"] == other["resps"]
    assert plain.report.counts["kv_hop_k: documents answered"] == 40 and not plain.report.metrics


def test_wrong_data_are_one_line(data: Path, word_model: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="the data set has no column 'hops'; build it with `hubwright run sequences --only hop_k"
    ):
        run("kv_hop_k", word_model, data / "induction", tmp_path / "a")


def test_a_missing_data_set_says_how_to_build_it() -> None:
    manager, names = find_tasks(["kv_ngram"], {"dataset": "nobody/ngram@v1.0.0"})
    with pytest.raises(HubError, match="hubwright run sequences --only ngram"):
        manager.load(names)


class Loader(yaml.SafeLoader):
    """Reads `!function` as its text."""


Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def group() -> dict[str, Any]:
    return yaml.load((tasks_dir() / "kv" / "kv_shifting.yaml").read_text(encoding="utf-8"), Loader=Loader)


def test_every_benchmark_of_the_group_is_pinned_to_a_commit() -> None:
    members = group()["task"]
    assert [m.get("task") or m.get("group") for m in members] == [
        "lambada_openai", "winogrande", "hellaswag", "arc_easy", "arc_challenge", "cmmlu", "mmlu", "hendrycks_math",
    ]  # fmt: skip
    readme = (tasks_dir().parent / "kv_shifting" / "README.md").read_text(encoding="utf-8")
    for member in members:
        assert re.fullmatch(r"[0-9a-f]{40}", member["dataset_kwargs"]["revision"])
        assert member["dataset_kwargs"]["revision"] in readme


@pytest.mark.slow
def test_the_pins_reach_every_task_of_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """All 136 tasks as lm-eval builds them, without their data."""
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.config.task import TaskConfig

    built: dict[str, dict[str, Any]] = {}

    def note(self: Any, *, config: dict[str, Any], **_: Any) -> None:
        self._config = TaskConfig(**config)
        built[config["task"]] = config | {"type": type(self).__name__}

    monkeypatch.setattr(ConfigurableTask, "__init__", note)
    manager, names = find_tasks(["kv_shifting"])
    assert names == ["kv_shifting"]
    loaded = manager.load(names)
    assert len(built) == len(loaded["tasks"]) == 5 + 67 + 57 + 7
    pins = {member.get("task") or member.get("group"): member["dataset_kwargs"] for member in group()["task"]}
    for name, config in built.items():
        pin = next(kwargs for start, kwargs in pins.items() if name.startswith(start))
        assert config["dataset_kwargs"] == pin
        assert config["type"] == ("CMMLUTask" if name.startswith("cmmlu") else "ConfigurableTask")
    assert {c["num_fewshot"] for n, c in built.items() if n.startswith(("mmlu", "cmmlu"))} == {5}


def cmmlu_archive(path: Path) -> Path:
    """An archive in the form of CMMLU's, with one subject."""
    with zipfile.ZipFile(path, "w") as archive:
        for split, rows in (("dev", 5), ("test", 3)):
            text = io.StringIO()
            writer = csv.writer(text)
            writer.writerow(["", "Question", "A", "B", "C", "D", "Answer"])
            for i in range(rows):
                writer.writerow([i, f"{split}问题{i}，选哪个？", "1.50", "是", "NA", "否", "ABCD"[i % 4]])
            archive.writestr(f"{split}/agronomy.csv", text.getvalue().encode())
    return path


def test_cmmlu_is_read_from_its_archive_at_the_commit(api: Any, namespace: str, tmp_path: Path) -> None:
    import lm_eval.tasks

    from hubwright.evals.kv_shifting.task import CMMLUTask

    repo = f"{namespace}/cmmlu"
    api.create_repo(repo, repo_type="dataset")
    api.upload_file(
        path_or_fileobj=cmmlu_archive(tmp_path / "a.zip"),
        path_in_repo="cmmlu_v1_0_1.zip",
        repo_id=repo,
        repo_type="dataset",
    )
    commit = api.repo_info(repo, repo_type="dataset").sha
    from lm_eval.tasks._yaml_loader import load_yaml

    upstream = Path(lm_eval.tasks.__file__).parent / "cmmlu" / "cmmlu_agronomy.yaml"
    config = load_yaml(upstream, resolve_func=True) | {"dataset_path": repo, "class": CMMLUTask}
    task = CMMLUTask(config | {"dataset_kwargs": {"revision": commit}, "num_fewshot": 5})
    docs = list(task.test_docs())
    assert [task.doc_to_target(doc) for doc in docs] == [0, 1, 2]
    # Texts are those of the file: no number, no missing value is made of them.
    assert task.doc_to_text(docs[0]) == "test问题0，选哪个？\nA. 1.50\nB. 是\nC. NA\nD. 否\n答案："
    assert len(list(task.fewshot_docs())) == 5
    with pytest.raises(UsageError, match="dataset_kwargs has no revision"):
        CMMLUTask(config)
    with pytest.raises(DataError, match=r"dev/anatomy\.csv cannot be read"):
        CMMLUTask(config | {"dataset_name": "anatomy", "dataset_kwargs": {"revision": commit}})


def test_a_group_of_our_own_tasks_is_reported(data: Path, word_model: Path, tmp_path: Path) -> None:
    """Groups have no documents of their own: their row in the report says so."""
    from hubwright.evals.harness.samples import report_results

    context = StepContext(
        "s", tmp_path, tmp_path, {"model": Input(ArtifactRef("model", "org/m", "a" * 40), word_model)}
    )
    metric = {"value": 0.5, "stderr": 0.1, "higher_is_better": True}
    of_task = {"metrics": {"acc": metric}, "n": 2, "n_available": 2, "version": 1.0, "task_hash": "0" * 64}
    of_group = {"metrics": {"acc": metric}, "n": None, "n_available": None, "version": 1.0, "task_hash": "0" * 64}
    summary = {
        "tasks": {"mmlu": of_group, "mmlu_virology": of_task, "kv_shifting": of_group | {"metrics": {}}},
        "config": {"tasks": ["kv_shifting"]},
        "packages": {"lm_eval": "0.4.13"},
    }
    report_results(context, summary, 2, predict_only=False, limit=None)
    assert [table["title"] for table in context.report.tables] == ["mmlu", "mmlu_virology"]
    assert context.report.tables[0]["note"] == "The tasks of the group together."
    assert context.report.card["tags"] == ["evaluation", "lm-eval", "kv_shifting"]
    assert context.report.counts == {"samples": 2}
