"""What the commands of each page lead to: counts, figures and cards of what they published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Reader = Any
"""`Reader` of test_pages.py."""


def check_first_model(reader: Reader) -> None:
    assert reader.rows("me/requests", "train") + reader.rows("me/requests", "test") == 30
    before, after = (
        reader.figure(f"me/requests-{name}", "requests_test", "exact_match") for name in ("before", "after")
    )
    assert before == 0 and after >= 0.5
    assert "| exact_match | 0 |" in reader.card("me/smollm2-requests")
    assert reader.output("python ask.py").split()[-1].lower() in ("account", "billing", "shipping")


def check_sft(reader: Reader) -> None:
    assert reader.output("python -c 'from peft").split()[-1] == "8"
    assert "adapter_model.safetensors" in reader.api.list_repo_files("me/smollm2-lora")
    assert 0 <= reader.figure("me/smollm2-lora-scores", "feedback_drills", "acc") <= 1
    (record,) = reader.read_json("me/smollm2-full", "provenance.json", "model")["records"]
    assert record["config"]["trainer_args"] == {"neftune_noise_alpha": 5.0, "optim": "adafactor"}
    assert record["report"]["metrics"]["train_loss_last"] < 10


def check_dpo(reader: Reader) -> None:
    (record,) = reader.read_json("me/smollm2-aligned", "provenance.json", "model")["records"]
    assert abs(record["report"]["metrics"]["train_loss_first"] - 0.693) < 0.01
    assert reader.rows("me/pairs") == 8


def check_merge(reader: Reader) -> None:
    assert reader.output("python -c 'from transformers").split()[-1] == "torch.bfloat16"
    for name in ("smollm2-merged", "merged"):
        header = reader.card(f"me/{name}").split("---")[1]
        assert "base_model_relation: merge" in header and "- me/smollm2-one" in header


def check_readme(reader: Reader) -> None:
    assert 0 <= reader.figure("me/smollm2-drills-scores", "feedback_drills", "acc") <= 1
    assert "| acc |" in reader.card("me/smollm2-drills")
    assert reader.rows("me/feedback-drills") == 448


def check_own_data(reader: Reader) -> None:
    assert reader.rows("me/tickets") == 12
    card = Path(reader.api.hf_hub_download("me/tickets", "README.md", repo_type="dataset")).read_text()
    assert "## One row" in card and "| messages | turns with role and content" in card and "sha256" in card
    before, after = (
        reader.figure(f"me/tickets-{name}", "tickets_test", "exact_match") for name in ("before", "after")
    )
    assert before == 0 <= after
    assert "tickets_test" in reader.card("me/smollm2-tickets")


def check_images_and_texts(reader: Reader) -> None:
    assert reader.rows("me/pictures") == 8 and reader.rows("me/picture-samples") == 7 * 3 * 2
    (record,) = reader.read_json("me/pictures", "provenance.json")["records"]
    counts = record["report"]["counts"]
    assert counts["rows_with_pixels"] == 7 and counts["rejected: no such image file in the source"] == 1
    assert "num_rows" in reader.output("python -c 'from datasets")


def check_pretrain(reader: Reader) -> None:
    (record,) = reader.read_json("me/my-lm", "provenance.json", "model")["records"]
    first, last = (record["report"]["metrics"][f"train_loss_{name}"] for name in ("first", "last"))
    assert first > 5 and last < 3
    assert reader.output("python -c 'from transformers").splitlines()[-1].startswith("The hen")


def check_own_evaluation(reader: Reader) -> None:
    for name in ("capitals-scores", "capitals-served"):
        assert reader.figure(f"me/{name}", "capitals", "names_it") > 0.3
        assert reader.rows(f"me/{name}") == 6
    files = reader.api.list_repo_files("me/capitals-scores", repo_type="dataset")
    assert {"tasks/my_tasks/capitals.yaml", "tasks/my_tasks/score.py"} <= set(files)
    card = Path(reader.api.hf_hub_download("me/capitals-served", "README.md", repo_type="dataset")).read_text()
    assert "Not pinned" in card


def check_function_calling(reader: Reader) -> None:
    assert reader.rows("me/calls", "train") == 60
    for name in ("before", "after"):
        assert 0 <= reader.figure(f"me/calls-{name}", "call_graphs", "call_exact") <= 1
    assert "call_exact" in reader.card("me/smollm2-calls")


def check_judging(reader: Reader) -> None:
    names = reader.api.list_repo_files("me/chats-verdicts", repo_type="dataset", revision="v1.1.0")
    assert any("recording" in name for name in names) and "results.json" in names
    assert reader.rows("me/chats-answers") == 4


def check_own_step(reader: Reader) -> None:
    (record,) = reader.read_json("me/short-questions", "provenance.json")["records"]
    assert record["report"]["counts"] == {"rows read": 4, "rows": 2}


def check_several_gpus(reader: Reader) -> None:
    (record,) = reader.read_json("me/smollm2-two", "provenance.json", "model")["records"]
    assert record["report"]["metrics"]["processes"] == 2


def check_vision(reader: Reader) -> None:
    assert reader.rows("me/pictures") == 192
    (record,) = reader.read_json("me/finder", "provenance.json", "model")["records"]
    assert record["report"]["metrics"]["eval_text_to_image_recall_at_10"] > 0.5
    assert "| text to image | 1 |" in reader.card("me/finder")
    assert 0 <= reader.figure("me/seer-scores", "what_is_it", "exact_match") <= 1
    assert "| image | 56 x 56 pixels, 17 tokens |" in reader.card("me/seer")
    assert "a blue square" in reader.output("python ask.py")


def check_air_gapped(reader: Reader) -> None:
    assert reader.api.model_info("HuggingFaceTB/SmolLM2-135M-Instruct").sha


def check_add_an_eval(reader: Reader) -> None:
    assert "squares_sum" in reader.output("hubwright eval")


def check_fb_bench(reader: Reader) -> None:
    assert reader.rows("me/fb-bench") == 591
    assert reader.api.space_info("me/fb_bench").sha


CHECKS: dict[str, Callable[[Reader], None]] = {
    "README": check_readme,
    "first-model": check_first_model,
    "own-data": check_own_data,
    "images-and-texts": check_images_and_texts,
    "sft": check_sft,
    "dpo": check_dpo,
    "pretrain": check_pretrain,
    "merge": check_merge,
    "vision": check_vision,
    "own-evaluation": check_own_evaluation,
    "function-calling": check_function_calling,
    "judging": check_judging,
    "own-step": check_own_step,
    "several-gpus": check_several_gpus,
    "ray-and-vllm": lambda reader: None,  # what it prints without Ray and vLLM is on the page
    "air-gapped": check_air_gapped,
    "fb-bench": check_fb_bench,
    "add-an-eval": check_add_an_eval,
}
"""What the commands of a page lead to, by page."""
