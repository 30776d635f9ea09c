"""Held-out loss by domain: against torch's own losses, for texts and conversations, through a recipe's step."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from domain_parts import save

from hubwright.evals._lib.data import tasks_dir
from hubwright.evals._lib.tokens import load_tokenizer, model_tokenizer
from hubwright.evals.harness.step import HarnessConfig
from hubwright.evals.harness.step import evaluate as step
from hubwright.evals.versatune.held_out import Item, loss, mean_loss, perplexity
from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.hub_sync.json_columns import make_dataset
from hubwright.hub_sync.refs import ArtifactRef

TEXTS = {"code": ["def f(x): return x", "x = 1"], "law": ["The court shall decide on the appeal.", "No.", "Art. 2"]}


def mixture(folder: Path, rows: dict[str, list[dict[str, Any]]], form: str, **changed: Any) -> Path:
    """Domains with their held-out rows, as `uses: versatune_mixture` publishes them."""
    save({domain: {"held_out": make_dataset(some)} for domain, some in rows.items()}, folder)
    content = {"form": form, "domains": sorted(rows)} | changed
    (folder / "mixture.json").write_text(json.dumps(content))
    return folder


def texts(folder: Path, **changed: Any) -> Path:
    rows = {
        domain: [{"text": text, "source": "s", "license": "mit", "id": f"{n}"} for n, text in enumerate(some)]
        for domain, some in TEXTS.items()
    }
    return mixture(folder, rows, "text", **changed)


def conversations(folder: Path) -> Path:
    turns = [("user", "What is 2 + 2?"), ("assistant", "4"), ("user", "And 3 + 3?"), ("assistant", "It is 6.")]
    messages = [{"role": role, "content": content} for role, content in turns]
    rows = {name: [{"messages": messages[: 2 + 2 * n], "id": str(n)} for n in range(2)] for name in ("code", "law")}
    return mixture(folder, rows, "messages")


def figures(model: Path, data: Path, tmp_path: Path, **settings: Any) -> dict[str, Any]:
    context = StepContext(
        "loss",
        tmp_path / "work",
        tmp_path / "out",
        {"model": Input(ArtifactRef("model", "org/tiny", "a" * 40), model)},
    )
    for folder in (context.workdir, context.output):
        folder.mkdir(exist_ok=True)
    config = HarnessConfig(
        tasks=["versatune_held_out"], metadata={"versatune_mixture": str(data)}, threads=1, dtype="float32",
        device="cpu", bootstrap_iters=20, **settings,
    )  # fmt: skip
    step(config, context)
    found = json.loads((context.output / "results.json").read_text(encoding="utf-8"))["tasks"]["versatune_held_out"]
    assert found["metrics"]["loss"]["higher_is_better"] is False
    return {name: entry["value"] for name, entry in found["metrics"].items()}


def token_losses(model: Path, before: str, answer: str) -> tuple[float, int]:
    """(sum of the answer's token losses in nats, tokens) behind `before`, or from the first token on."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model))
    lm = AutoModelForCausalLM.from_pretrained(str(model), dtype=torch.float32)
    whole = tokenizer.encode(before + answer)
    start = len(tokenizer.encode(before.rstrip())) if before else 0
    prefix = (
        [] if before else [tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id]
    )
    ids = torch.tensor([prefix + whole])
    with torch.no_grad():
        logps = lm(ids).logits.log_softmax(-1)
    places = range(len(prefix) + start, ids.shape[1])
    return -sum(float(logps[0, n - 1, ids[0, n]]) for n in places), len(places)


def test_held_out_loss_of_texts_is_that_of_torch(tiny_model: Path, tmp_path: Path) -> None:
    found = figures(tiny_model, texts(tmp_path / "mix"), tmp_path, apply_chat_template=False)
    expected = {}
    for domain, some in TEXTS.items():
        pairs = [token_losses(tiny_model, "", text) for text in some]
        expected[domain] = sum(total for total, _ in pairs) / sum(tokens for _, tokens in pairs)
        size = sum(len(text.encode()) for text in some)
        assert found[f"loss_{domain}"] == pytest.approx(expected[domain], rel=1e-4)
        assert found[f"perplexity_{domain}"] == pytest.approx(math.exp(expected[domain]), rel=1e-3)
        assert found[f"loss_per_byte_{domain}"] == pytest.approx(sum(t for t, _ in pairs) / size, rel=1e-4)
        assert found[f"byte_perplexity_{domain}"] == pytest.approx(math.exp(found[f"loss_per_byte_{domain}"]))
        assert found[f"loss_{domain}_ci_low"] <= found[f"loss_{domain}"] <= found[f"loss_{domain}_ci_high"]
    assert found["loss"] == pytest.approx(sum(expected.values()) / 2, rel=1e-4)


@pytest.mark.parametrize("template", [True, False], ids=["template", "plain"])
def test_held_out_loss_of_conversations_is_that_of_the_answers(
    tiny_model: Path, tmp_path: Path, template: bool
) -> None:
    from transformers import AutoTokenizer

    found = figures(tiny_model, conversations(tmp_path / "mix"), tmp_path, apply_chat_template=template)
    first, second = [{"role": "user", "content": "What is 2 + 2?"}], [{"role": "assistant", "content": "4"}]
    later = [*first, *second, {"role": "user", "content": "And 3 + 3?"}]
    pairs = []
    for turns, answer in ((first, "4"), (first, "4"), (later, "It is 6.")):
        if template:
            tokenizer = AutoTokenizer.from_pretrained(str(tiny_model))
            prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        else:
            prompt = "\n\n".join([*(f"{t['role'].capitalize()}: {t['content']}" for t in turns), "Assistant:"])
            answer = f" {answer}"
        pairs.append(token_losses(tiny_model, prompt, answer))
    expected = sum(total for total, _ in pairs) / sum(tokens for _, tokens in pairs)
    assert found["loss_code"] == found["loss_law"] == pytest.approx(expected, rel=1e-4)


def test_held_out_first_documents_are_of_all_domains(tiny_model: Path, tmp_path: Path) -> None:
    found = figures(tiny_model, texts(tmp_path / "mix"), tmp_path, apply_chat_template=False, limit=2)
    first = {domain: token_losses(tiny_model, "", some[0]) for domain, some in TEXTS.items()}
    for domain, (total, tokens) in first.items():
        assert found[f"loss_{domain}"] == pytest.approx(total / tokens, rel=1e-4)
        assert found[f"loss_{domain}_ci_low"] is None  # one document has no interval


def test_losses_put_together_are_weighted_by_tokens() -> None:
    items = [Item("law", -6.0, 2, 9), Item("law", -2.0, 2, 7), Item("code", -1.0, 1, 1)]
    assert (loss(items, "law"), loss(items, "law", per="size"), mean_loss(items)) == (2.0, 0.5, 1.5)
    assert math.isnan(loss(items, "other")) and perplexity([Item("law", -800.0, 1, 1)], "law") == math.inf


def load(data: Path | str, **metadata: Any) -> Any:
    from lm_eval.tasks import TaskManager

    manager = TaskManager(
        include_defaults=False, include_path=str(tasks_dir()), metadata={"versatune_mixture": str(data), **metadata}
    )
    return manager.load(["versatune_held_out"])["tasks"]["versatune_held_out"]


def test_held_out_data_that_cannot_be_scored_are_one_line(tmp_path: Path) -> None:
    row = {"text": "x", "id": "0"}
    for folder, message in (
        (save({"law": {"held_out": make_dataset([row])}}, tmp_path / "a"), "a: has no mixture.json with domains and form"),
        (mixture(tmp_path / "b", {"law": [row]}, "words"), "form 'words', not text or messages"),
        (mixture(tmp_path / "c", {"law": [row]}, "text", domains=[]), r"domains \[\]"),
        (mixture(tmp_path / "d", {"law": [row]}, "text", domains=["code"]), "split 'held_out'"),
        (mixture(tmp_path / "e", {"law": [row | {"text": ""}]}, "text"), "law/held_out has no text to score"),
        (mixture(tmp_path / "f", {"law": [row]}, "messages"), "law/held_out has no column 'messages'"),
        (mixture(tmp_path / "g", {"law": [{"messages": [{"role": "user", "content": "?"}], "id": "0"}]}, "messages"),
         "no text to score"),
        (tmp_path / "nothing", "no such file or folder"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=message) as caught:
            load(folder)
        assert "\n" not in str(caught.value)
    task = load(texts(tmp_path / "mix"))
    with pytest.raises(UsageError, match=r"knows no tokenizer; name it by metadata\.tokenizer"):
        task.build_all_requests(limit=1, rank=0, world_size=1)
    task._tokens[0] = 1
    with pytest.raises(DataError, match="log-likelihood is nan; look at its weights"):
        task.process_results(task.test_docs()[0], [math.nan])


def test_tokenizer_of_the_metadata_goes_before_that_of_the_model(tiny_model: Path) -> None:
    with model_tokenizer(str(tiny_model)):
        assert load_tokenizer("t", None).encode("x")
        with pytest.raises(UsageError, match="tokenizer nobody/nothing cannot be loaded"):
            load_tokenizer("t", {"tokenizer": "nobody/nothing"})
    assert load_tokenizer("t", {"pretrained": str(tiny_model)}).encode("x")
