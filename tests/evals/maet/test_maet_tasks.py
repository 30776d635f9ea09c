"""maet: every task, upstream's prompts, and real runs in which the right model gets all and silence nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hubwright.evals._lib.data import tasks_dir
from hubwright.evals.maet.words import FLEXIBLE, WORDS
from hubwright.hub_sync.errors import DataError, HubError

MGSM = sorted(WORDS)
MSVAMP = [language for language in MGSM if language != "te"]
EXAMS = "ar bg de es fr hr hu it lt mk pl pt sq sr tr vi".split()
GENERAL = ["en", "es", "fr"]
TASKS = {
    **{f"maet_{b}{ll}_{n}": f"{b}_{n}" for b in ("mgsm", "msvamp") for ll in ("", "_ll") for n in MGSM if b == "mgsm" or n in MSVAMP},
    **{f"maet_exams{ll}_{n}": f"exams_{n}" for ll in ("", "_ll") for n in EXAMS},
}  # fmt: skip
QUESTIONS = {
    "en": "A shelf has 3 rows of 4 cups. How many cups are there?",
    "bn": "একটি তাকে ৩টি সারি আছে, প্রতিটিতে ৪টি কাপ। মোট কতটি কাপ আছে?",
    "th": "ชั้นวางมี 3 แถว แถวละ 4 ใบ มีทั้งหมดกี่ใบ?",
    "zh": "架子有3排，每排4个杯子。一共有几个杯子？",
}


def problem(language: str, number: int = 0, answer: str = "12", solution: str = "") -> dict[str, Any]:
    question = QUESTIONS.get(language, QUESTIONS["en"])
    row = {"id": f"{language}-{number}", "ability": "math", "language": language, "source": "hand"}
    row |= {"question": f"{question} ({number})" if number else question, "choices": [], "answer": answer}
    return row | {"solution": solution, "text": question}


def exam(language: str, number: int) -> dict[str, Any]:
    row = {"id": f"{language}-{number}", "ability": "science", "language": language, "source": "hand"}
    choices = ["iron", "water", "a gas"] if number % 2 else ["the moon", "a very long answer", "Mars", "Venus"]
    row |= {"question": f" Which one, {number}? ", "choices": choices, "answer": "CB"[number % 2]}
    return row | {"solution": "", "text": ""}


def save(folder: Path, configs: dict[str, dict[str, list[dict[str, Any]]]], default: bool = False) -> Path:
    """Configs with their splits, laid out as the runner publishes them; the one without a name as `data/`."""
    from datasets import Dataset, Features, List, Value

    head = []
    for config, splits in configs.items():
        files = []
        for split, rows in splits.items():
            path = f"{'data' if default else config}/{split}-00000-of-00001.parquet"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            kinds = {name: List(Value("string")) if name == "choices" else Value("string") for name in rows[0]}
            Dataset.from_list(rows, features=Features(kinds)).to_parquet(str(folder / path))
            files.append({"split": split, "path": path})
        head.append({"config_name": "default" if default else config, "data_files": files})
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': head})}---\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def ability(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every config of the data set, three rows a split."""
    configs: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for language in MGSM:
        rows = [problem(language, number, ("12", "14.5", "1200")[number]) for number in range(3)]
        configs[f"mgsm_{language}"] = {"test": rows}
        shown = [problem(language, 7 + number, solution="3 * 4 = 12.") for number in range(3)]
        configs[f"msvamp_{language}"] = {"train": shown, "test": rows}
    for language in EXAMS:
        rows = [exam(language, number) for number in range(3)]
        configs[f"exams_{language}"] = {"test": rows} if language == "ar" else {"train": rows, "test": rows}
    return save(tmp_path_factory.mktemp("ability"), configs)


def summary(source: str, text: str) -> dict[str, str]:
    return {"text": text, "source": source, "license": "cc-by-sa-4.0", "id": text[:4]}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [summary(f"wikipedia-{n}-summaries", f"{n} Größe,\n 12 words {k}") for n in GENERAL for k in range(3)]
    return save(tmp_path_factory.mktemp("corpus"), {"": {"train": rows, "test": rows[::2]}}, default=True)


def manager(*data: Path | str, defaults: bool = False) -> Any:
    from lm_eval.tasks import TaskManager

    metadata = dict(zip(("dataset", "corpus"), map(str, data), strict=False))
    return TaskManager(include_defaults=defaults, include_path=str(tasks_dir()), metadata=metadata)


def load(name: str, *data: Path | str) -> Any:
    return manager(*data).load([name])["tasks"][name]


def evaluate(
    tasks: list[str], known: Any, reply: Callable[[dict[str, Any]], str], favours: bool = True, **settings: Any
) -> dict[str, Any]:
    """lm-eval's evaluator with a model that replies as told and finds the right option likeliest, or least likely."""
    import lm_eval
    from lm_eval.api.model import LM

    class Scripted(LM):
        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            return [reply(request.doc) for request in requests]

        def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
            right = [request.idx == request.doc["gold"] for request in requests]
            return [(-1.0 if hit == favours else -100.0, False) for hit in right]

        def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
            return [-float(len(request.args[0].encode())) for request in requests]

    return lm_eval.simple_evaluate(model=Scripted(), tasks=tasks, task_manager=known, bootstrap_iters=2, **settings)


@pytest.fixture(scope="module")
def known(ability: Path, corpus: Path) -> Any:
    """A task manager that has loaded all of maet once."""
    found = manager(ability, corpus)
    loaded = found.load(["maet"])
    found.load = lambda names: loaded
    return found


def test_every_task_loads_and_is_in_its_group(known):
    found = known.load(["maet"])
    general = [f"maet_general_{language}" for language in GENERAL]
    assert set(found["tasks"]) == {*TASKS, *general} == {n for n in known.all_subtasks if n.startswith("maet")}
    sizes = {"maet_math": 21, "maet_math_ll": 21, "maet_science": 16, "maet_science_ll": 16, "maet_general": 3}
    for group, size in sizes.items():
        assert len(found["groups"][group].get_all_tasks()) == size
    for name, task in found["tasks"].items():
        assert len(task.test_docs()) > 0 and task.config.task == name
        if name in TASKS:
            assert task.config.dataset_name == TASKS[name]


def upstream(name: str, rows: list[dict[str, Any]]) -> Any:
    """An installed task of lm-eval over rows of ours in its own data set's form."""
    import lm_eval
    from datasets import Dataset, DatasetDict
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    folder = Path(lm_eval.__file__).parent / "tasks" / "mgsm"
    (path,) = folder.rglob(f"{name}.yaml")
    config = load_yaml(path, resolve_func=True)
    splits = DatasetDict(
        train=Dataset.from_list([row for row in rows if row["answer"]]),
        test=Dataset.from_list([row for row in rows if not row["answer"]]),
    )
    config = {k: v for k, v in config.items() if k != "tag"}
    return ConfigurableTask(config={**config, "custom_dataset": lambda **_: splits, "metadata": {"version": 1}})


def asked(language: str) -> list[dict[str, Any]]:
    """One worked example and one question as `juletxara/mgsm` has them."""
    words, question = WORDS[language], QUESTIONS.get(language, QUESTIONS["en"])
    shown = {"question": f"{words.question} {question}", "answer": f"{words.steps} 3 * 4 = 12.", "answer_number": 12}
    return [shown, {"question": question, "answer": None, "answer_number": 12}]


@pytest.mark.parametrize("language", MGSM)
def test_prompts_stops_and_patterns_are_upstreams(language, tmp_path):
    shown, row = problem(language, solution="3 * 4 = 12."), problem(language)
    data = save(tmp_path, {f"mgsm_{language}": {"train": [shown], "test": [row]}})
    for ours, theirs in (("mgsm", "native_cot"), ("mgsm_ll", "direct")):
        one, other = load(f"maet_{ours}_{language}", data), upstream(f"mgsm_{theirs}_{language}", asked(language))
        context = one.fewshot_context(one.test_docs()[0], 0)
        assert context == other.fewshot_context(other.test_docs()[0], 0)
        if ours == "mgsm":
            assert one.fewshot_context(one.test_docs()[0], 1) == other.fewshot_context(other.test_docs()[0], 1)
            assert one.config.generation_kwargs == other.config.generation_kwargs | {"temperature": 0.0}
            strict, flexible = (f["filter"][0]["regex_pattern"] for f in other.config.filter_list)
            ascii_only = WORDS[language].strict.replace(r"\d", "0-9").replace("\\ ", " ").replace("(?:", "")
            begins, _, rest = strict.partition("(")
            assert begins in ascii_only and rest.replace("\\", "") in ascii_only
            assert FLEXIBLE.replace(r"\d+", "[0-9]+").replace(r"\d", "0-9") == flexible


GOLDEN = {
    "en": "Question: A shelf has 3 rows of 4 cups. How many cups are there? (1)\nStep-by-Step Answer: The answer is 14.5.\n\n"
    "Question: A shelf has 3 rows of 4 cups. How many cups are there?\nStep-by-Step Answer:",
    "zh": "问题： 架子有3排，每排4个杯子。一共有几个杯子？ (1)\n逐步解答: 答案是 14.5。\n\n"
    "问题： 架子有3排，每排4个杯子。一共有几个杯子？\n逐步解答:",
}


@pytest.mark.parametrize("language", GOLDEN)
def test_examples_without_a_solution_show_the_sentence_and_are_never_the_row_itself(language, tmp_path):
    rows = [problem(language), problem(language, 1, "14.5")]
    task = load(f"maet_mgsm_{language}", save(tmp_path, {f"mgsm_{language}": {"test": rows}}))
    for seed in range(4):
        task.set_fewshot_seed(seed)
        assert task.fewshot_context(task.test_docs()[0], 1) == GOLDEN[language]


def test_examples_are_of_the_train_split_where_there_is_one(ability):
    assert "3 * 4 = 12." in (task := load("maet_msvamp_th", ability)).fewshot_context(task.test_docs()[0], 2)
    assert load("maet_exams_ar", ability).config.fewshot_split == "test"
    assert load("maet_exams_bg", ability).config.fewshot_split == "train"


def test_prompts_of_a_choice(ability):
    task = load("maet_mgsm_ll_bn", ability)
    doc = task.test_docs()[0]
    requests = task.construct_requests(
        doc, task.fewshot_context(doc, 0), metadata=("t", 0, 1), apply_chat_template=False
    )
    assert [r.args[0] for r in requests] == [f"প্রশ্ন: {QUESTIONS['bn']}\nAnswer:"] * 4
    assert [float(r.args[1]) for r in requests] == sorted(float(text) for text in doc["options"])
    assert requests[doc["gold"]].args[1] == " 12"

    task = load("maet_exams_bg", ability)
    doc = task.test_docs()[0]
    assert task.fewshot_context(doc, 0) == (
        "Which one, 0?\nA. the moon\nB. a very long answer\nC. Mars\nD. Venus\nAnswer:"
    )
    assert (doc["options"], doc["gold"]) == (list("ABCD"), 2)
    assert task.fewshot_context(task.test_docs()[1], 1).count("Answer: ") == 1
    task = load("maet_exams_ll_bg", ability)
    doc = task.test_docs()[1]
    assert task.fewshot_context(doc, 0) == "Question: Which one, 1?\nAnswer:"
    assert (doc["options"], doc["gold"]) == (["iron", "water", "a gas"], 1)


GENERATED = ("maet_mgsm", "maet_msvamp", "maet_math")
CHOSEN = ("maet_mgsm_ll", "maet_msvamp_ll", "maet_math_ll", "maet_science", "maet_science_ll")


@pytest.mark.parametrize("right", [True, False], ids=["gold", "silence"])
def test_through_lm_eval(right, known):
    def reply(doc: dict[str, Any]) -> str:
        return f"3 * 4 is it. {WORDS[doc['language']].sentence(doc['answer'])}" if right else ""

    found = evaluate(["maet"], known, reply, favours=right)
    generated = [f"{m},{f}" for m in ("exact_match", "number_match") for f in ("strict-match", "flexible-extract")]
    for names, keys in ((GENERATED, generated), (CHOSEN, ["acc,none", "acc_norm,none"])):
        for name in (*names, *(task for group in names for task in found["group_subtasks"][group])):
            assert {key: found["results"][name][key] for key in keys} == dict.fromkeys(keys, float(right)), name
    for group in CHOSEN:
        values = found["groups"][group]
        assert (values["choice_loss,none"] < 1e-9) == right and values["loss_per_byte,none"] > 0
    better = found["higher_is_better"]["maet_mgsm_ll_en"]
    assert {metric for metric, up in better.items() if not up} == {"choice_loss", "loss_per_byte"}
    assert all(found["higher_is_better"]["maet_mgsm_en"].values()) and found["n-shot"]["maet_mgsm_en"] == 0

    for language in GENERAL:
        values = found["results"][f"maet_general_{language}"]
        assert values["bits_per_byte,none"] == pytest.approx(1 / math.log(2))
        assert values["byte_perplexity,none"] == pytest.approx(math.e)
        size = len(f"{language} Größe,\n 12 words 0".encode())
        assert values["word_perplexity,none"] == pytest.approx(math.exp(size / 5))
    assert found["groups"]["maet_general"]["bits_per_byte,none"] == pytest.approx(1 / math.log(2))
    better = found["higher_is_better"]["maet_general_en"]
    assert not any(better[metric] for metric in ("word_perplexity", "byte_perplexity", "bits_per_byte"))


def test_answers_alone(ability, corpus):
    names = ["maet_mgsm_en", "maet_mgsm_ll_en", "maet_general_fr"]
    found = evaluate(names, manager(ability, corpus), lambda doc: "12", predict_only=True)
    for name in names:
        kept = {key: value for key, value in found["results"][name].items() if "," in key and "_stderr" not in key}
        filters = ("strict-match", "flexible-extract") if name == names[0] else ("none",)
        assert kept == {f"bypass,{one}": 0.0 for one in filters}
    assert len(found["samples"][names[1]]) == 3


def test_data_that_cannot_be_scored_are_one_line(tmp_path, corpus):
    def broken(name: str, config: str, **changed: Any) -> Path:
        row = {k: v for k, v in (problem("en") | changed).items() if v is not None}
        return save(tmp_path / name, {config: {"test": [row]}})

    for data, task, said in (
        (broken("a", "mgsm_en", answer="twelve"), "maet_mgsm_en", "mgsm_en/test: row 'en-0': .* not a number"),
        (broken("b", "exams_bg", answer="E", choices=["x", "y"]), "maet_exams_bg", "'E' is not one of its 2 choices"),
        (broken("c", "mgsm_en", solution=None), "maet_mgsm_ll_en", "no column 'solution'; give a data set of `uses:"),
        (broken("d", "mgsm_en"), "maet_mgsm_bn", "config 'mgsm_bn' cannot be read"),
        (broken("e", "default"), "maet_general_en", "is not a corpus; give one of `uses: corpus`"),
    ):
        with pytest.raises(DataError, match=said) as caught:
            load(task, data)
        assert "\n" not in str(caught.value)
    only_french = save(tmp_path / "f", {"": {"test": [summary("wikipedia-fr-summaries", "x")]}}, default=True)
    with pytest.raises(DataError, match="no row of 'test' has source 'wikipedia-es-summaries'"):
        load("maet_general_es", only_french)
    with pytest.raises(HubError, match="hubwright run ability"):
        load("maet_mgsm_en", "nobody/ability")


def test_from_the_hub_and_as_a_step(api, namespace, tmp_path, ability, corpus, tiny_model, quiet_progress):
    """Published with the unmodified client, read by a tag, scored by a real model as a recipe's step."""
    from hubwright.evals.harness.step import HarnessConfig
    from hubwright.evals.harness.step import evaluate as step
    from hubwright.hub_sync.context import Input, StepContext
    from hubwright.hub_sync.refs import ArtifactRef

    for name, folder in (("ability", ability), ("wiki-summaries", corpus)):
        api.create_repo(f"{namespace}/{name}", repo_type="dataset")
        api.upload_folder(folder_path=str(folder), repo_id=f"{namespace}/{name}", repo_type="dataset")
        api.create_tag(f"{namespace}/{name}", tag="v1.0.0", repo_type="dataset")
    metadata = {"dataset": f"{namespace}/ability@v1.0.0", "corpus": f"{namespace}/wiki-summaries@v1.0.0"}
    tasks = ["maet_mgsm_ll_th", "maet_exams_ll_vi", "maet_msvamp_sw", "maet_general"]
    for name in ("work", "out"):
        (tmp_path / name).mkdir()
    context = StepContext(
        "scores",
        tmp_path / "work",
        tmp_path / "out",
        {"model": Input(ArtifactRef("model", "org/tiny", "a" * 40), tiny_model)},
    )
    settings = {"apply_chat_template": False, "threads": 1, "dtype": "float32", "gen_kwargs": {"max_gen_toks": 4}}
    step(HarnessConfig(tasks=tasks, metadata=metadata, num_fewshot=1, **settings), context)
    found = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))["tasks"]
    assert set(found["maet_mgsm_ll_th"]["metrics"]) == {
        *("acc", "acc_norm", "choice_loss", "loss_per_byte", "acc_ci_low", "acc_ci_high")
    }
    assert 0 < found["maet_mgsm_ll_th"]["metrics"]["choice_loss"]["value"] < 20
    assert found["maet_msvamp_sw"]["num_fewshot"] == 1 and found["maet_general_en"]["num_fewshot"] == 0
    assert found["maet_general_en"]["metrics"]["bits_per_byte"]["value"] > 0
    assert context.report.metrics["maet_general/bits_per_byte"] > 0
