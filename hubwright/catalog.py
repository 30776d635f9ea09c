"""The words a recipe can use, and where the code behind each one is. Nothing is imported until it is needed."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .hub_sync.errors import UsageError
from .hub_sync.refs import RepoType

if TYPE_CHECKING:
    from pydantic import BaseModel

Room = Literal["builder", "trainer", "eval", "card"]
_ENDING = re.compile(r"[A-Za-z0-9_.-]+\Z")


@dataclass(frozen=True)
class StepKind:
    """One word a step's `uses:` may say.

    Attributes:
        room: which part of the house runs it; decides how its output is laid out and which card it gets.
        config: "module:Class" of the pydantic model behind `with:`.
        run: "module:function" called with (config, context).
        publishes: type of the repository it publishes.
        help: one line for `hubwright recipes --kinds` and the schema.
        inputs: role -> repository type; every role is required unless it is in `optional`. A role that ends with "*"
            stands for any number of roles that begin so and end with a name, none included.
        served: roles whose files the step fetches itself, as a model server does; the runner reads their cards alone.
        folds: roles whose adapter is folded into its base, which becomes an input of its own, ROLE.base.
        version: raised when the method changes its output for the same config; part of the fingerprint.
        extra: the pip extra it needs.
        order: a role with "*" of which the names, in the recipe's order, are written into the setting `order`.
        loads_models: True where it loads models through transformers' Auto classes, which then know ours as well.
    """

    room: Room
    config: str
    run: str
    publishes: RepoType
    help: str
    inputs: dict[str, RepoType] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    served: frozenset[str] = frozenset()
    folds: frozenset[str] = frozenset()
    version: int = 1
    extra: str = ""
    order: str = ""
    loads_models: bool = False

    def input_type(self, role: str) -> RepoType | None:
        """Type of the repository that a role takes; None where there is no such role."""
        for name, kind in self.inputs.items():
            begin = name.removesuffix("*")
            if role == name == begin or (name != begin and role.startswith(begin) and _ENDING.match(role, len(begin))):
                return kind
        return None

    def roles(self) -> list[str]:
        """The roles as a user reads them: `part_NAME` for any number of roles that begin with `part_`."""
        return [role.replace("*", "NAME") for role in self.inputs]


CATALOG: dict[str, StepKind] = {
    "fbbench": StepKind(
        "builder",
        "hubwright.builders.fbbench:FBBenchConfig",
        "hubwright.builders.fbbench:build",
        "dataset",
        "FB-Bench rows, typed, from the official JSON or from our own bilingual sample",
    ),
    "feedback_drills": StepKind(
        "builder",
        "hubwright.builders.feedback_drills:FeedbackDrillsConfig",
        "hubwright.builders.feedback_drills:build",
        "dataset",
        "seeded two-turn feedback dialogues with one exactly scorable answer",
    ),
    "toolcalls": StepKind(
        "builder",
        "hubwright.builders.toolcalls:ToolCallsConfig",
        "hubwright.builders.toolcalls:build",
        "dataset",
        "function-calling conversations, validated, in TRL's messages + tools form",
        version=2,
    ),
    "instructions": StepKind(
        "builder",
        "hubwright.builders.instructions:InstructionsConfig",
        "hubwright.builders.instructions:build",
        "dataset",
        "conversations without functions, from Alpaca's, ShareGPT's and OpenAI's files",
        version=2,
    ),
    "mix": StepKind(
        "builder",
        "hubwright.builders.mix:MixConfig",
        "hubwright.builders.mix:build",
        "dataset",
        "several data sets of conversations as one, in proportions that are told",
        inputs={"part_*": "dataset"},
        version=2,
    ),
    "induction": StepKind(
        "builder",
        "hubwright.builders.sequences:InductionConfig",
        "hubwright.builders.sequences:build_induction",
        "dataset",
        "sequences in which a token that recurs has the successor that it had before",
    ),
    "ngram": StepKind(
        "builder",
        "hubwright.builders.sequences:NgramConfig",
        "hubwright.builders.sequences:build_ngram",
        "dataset",
        "random sequences with fixed rules: after these words comes that word",
    ),
    "hop_k": StepKind(
        "builder",
        "hubwright.builders.sequences:HopKConfig",
        "hubwright.builders.sequences:build_hop_k",
        "dataset",
        "k-hop induction: from letter to letter by their last occurrences, k times",
    ),
    "arithmetic": StepKind(
        "builder",
        "hubwright.builders.sequences:ArithmeticConfig",
        "hubwright.builders.sequences:build_arithmetic",
        "dataset",
        "word problems in modular arithmetic over a graph of quantities, solved step by step",
    ),
    "corpus": StepKind(
        "builder",
        "hubwright.builders.corpus:CorpusConfig",
        "hubwright.builders.corpus:build",
        "dataset",
        "documents for language modelling from files, archives and Hub data sets",
        inputs={"against": "dataset", "against_*": "dataset"},
        optional=frozenset({"against"}),
    ),
    "ability": StepKind(
        "builder",
        "hubwright.builders.ability:AbilityConfig",
        "hubwright.builders.ability:build",
        "dataset",
        "mathematics (GSM8K, MGSM, MSVAMP) and science (EXAMS, ARC) by language, kept apart from their tests",
    ),
    "bfcl": StepKind(
        "builder",
        "hubwright.builders.bfcl:BFCLConfig",
        "hubwright.builders.bfcl:build",
        "dataset",
        "the Berkeley Function-Calling Leaderboard, with its worlds, from the wheel of bfcl-eval",
        version=2,
    ),
    "seal_tools": StepKind(
        "builder",
        "hubwright.builders.seal_tools:SealToolsConfig",
        "hubwright.builders.seal_tools:build",
        "dataset",
        "Seal-Tools: requests with the function calls that serve them, some nested, and the functions",
        version=2,
    ),
    "nestful": StepKind(
        "builder",
        "hubwright.builders.nestful:NestfulConfig",
        "hubwright.builders.nestful:build",
        "dataset",
        "NESTFUL: requests served by sequences of nested calls, from the wheel of nestful-wrapper",
        version=2,
    ),
    "button": StepKind(
        "builder",
        "hubwright.builders.button.collect:ButtonConfig",
        "hubwright.builders.button.collect:build",
        "dataset",
        "rows of button_gold, button_verified and button_faithful as configs of one data set",
        inputs={"gold": "dataset", "stubs": "dataset", "verified": "dataset", "faithful": "dataset"},
        optional=frozenset({"gold", "stubs", "verified", "faithful"}),
        version=2,
    ),
    "tool_query": StepKind(
        "builder",
        "hubwright.builders.tool_query:ToolQueryConfig",
        "hubwright.builders.tool_query:build",
        "dataset",
        "tool-query: requests about a to-do list with the list itself, from AgentGym's files",
    ),
    "button_gold": StepKind(
        "builder",
        "hubwright.builders.button.gold:GoldConfig",
        "hubwright.builders.button.gold:build",
        "dataset",
        "verified multi-turn function calling: compositions of tools that run, without a language model",
        inputs={"against": "dataset", "against_*": "dataset", "definitions": "dataset"},
        optional=frozenset({"against", "definitions"}),
        version=4,
    ),
    "button_faithful": StepKind(
        "builder",
        "hubwright.builders.button.faithful:FaithfulConfig",
        "hubwright.builders.button.faithful:build",
        "dataset",
        "BUTTON's own pipeline: a served teacher invents tasks bottom-up and plays them out top-down",
        inputs={"teacher": "model", "dataset": "dataset", "embedder": "model", "against_*": "dataset"},
        optional=frozenset({"teacher", "dataset", "embedder"}),
        served=frozenset({"teacher"}),
        version=4,
        extra="llm",
    ),
    "button_import": StepKind(
        "builder",
        "hubwright.builders.button.importer:ImportConfig",
        "hubwright.builders.button.importer:build",
        "dataset",
        "BUTTONInstruct's own file as rows of BUTTON's shared form, every line kept byte for byte",
        version=2,
    ),
    "button_verified": StepKind(
        "builder",
        "hubwright.builders.button.verified:VerifiedConfig",
        "hubwright.builders.button.verified:build",
        "dataset",
        "rows of button_gold in which a served teacher says what the user says, checked again",
        inputs={"dataset": "dataset", "teacher": "model", "against_*": "dataset"},
        optional=frozenset({"teacher"}),
        served=frozenset({"teacher"}),
        version=3,
        extra="llm",
    ),
    "sft": StepKind(
        "trainer",
        "hubwright.trainers.sft:SFTConfig",
        "hubwright.trainers.sft:train",
        "model",
        "supervised fine-tuning on TRL's SFTTrainer",
        inputs={"model": "model", "dataset": "dataset"},
        folds=frozenset({"model"}),
        version=2,
        extra="train",
    ),
    "dpo": StepKind(
        "trainer",
        "hubwright.trainers.dpo:DPOConfig",
        "hubwright.trainers.dpo:train",
        "model",
        "direct preference optimisation on TRL's DPOTrainer",
        inputs={"model": "model", "dataset": "dataset"},
        folds=frozenset({"model"}),
        version=2,
        extra="train",
    ),
    "pretrain": StepKind(
        "trainer",
        "hubwright.trainers.pretrain:PretrainConfig",
        "hubwright.trainers.pretrain:train",
        "model",
        "pre-training from random weights, or of a trained model further, on transformers' Trainer",
        inputs={"dataset": "dataset", "model": "model", "tokenizer": "model"},
        optional=frozenset({"model", "tokenizer"}),
        folds=frozenset({"model"}),
        version=2,
        extra="train",
    ),
    "merge": StepKind(
        "trainer",
        "hubwright.trainers.merge.config:MergeConfig",
        "hubwright.trainers.merge.step:merge",
        "model",
        "several models as one: linear, SLERP, task arithmetic, TIES, DARE, breadcrumbs, Model Stock",
        inputs={"base": "model", "model_*": "model"},
        optional=frozenset({"base"}),
        version=2,
        extra="train",
        order="model_*",
    ),
    "maet_locate": StepKind(
        "trainer",
        "hubwright.trainers.maet.config:LocateConfig",
        "hubwright.trainers.maet.locate:locate",
        "dataset",
        "MAET: which weights an ability calls for, as masks with a table",
        inputs={"model": "model", "dataset": "dataset"},
        extra="train",
    ),
    "maet_extract": StepKind(
        "trainer",
        "hubwright.trainers.maet.config:ExtractConfig",
        "hubwright.trainers.maet.extract:extract",
        "model",
        "MAET: training in which only the weights of a mask move",
        inputs={"model": "model", "dataset": "dataset", "masks": "dataset"},
        version=2,
        extra="train",
    ),
    "maet_transfer": StepKind(
        "trainer",
        "hubwright.trainers.maet.config:TransferConfig",
        "hubwright.trainers.maet.transfer_step:transfer_step",
        "model",
        "MAET: abilities learned in one language and other languages' weights, added to a base tensor by tensor",
        inputs={
            "base": "model",
            "ability_*": "model",
            "general_*": "model",
            "language_*": "model",
            "mask_*": "dataset",
        },
        version=2,
        extra="train",
    ),
    "lm_eval": StepKind(
        "eval",
        "hubwright.evals.harness:HarnessConfig",
        "hubwright.evals.harness:evaluate",
        "dataset",
        "lm-eval tasks on a model; every answer and figure as a data set",
        inputs={"model": "model", "dataset": "dataset"},
        optional=frozenset({"dataset"}),
        folds=frozenset({"model"}),
        extra="eval",
        loads_models=True,
        version=2,
    ),
    "lm_eval_output": StepKind(
        "eval",
        "hubwright.evals.imported:LmEvalOutputConfig",
        "hubwright.evals.imported:collect",
        "dataset",
        "what the stock lm_eval command wrote, as a data set like that of an lm_eval step",
        inputs={"model": "model", "dataset": "dataset"},
        optional=frozenset({"dataset"}),
        extra="eval",
    ),
    "answers": StepKind(
        "eval",
        "hubwright.evals.answering:AnswersConfig",
        "hubwright.evals.answering:answer",
        "dataset",
        "a served model's answers to the conversations of a data set",
        inputs={"dataset": "dataset", "model": "model"},
        optional=frozenset({"model"}),
        served=frozenset({"model"}),
        extra="llm",
        version=2,
    ),
    "judge": StepKind(
        "eval",
        "hubwright.evals.judge_step:JudgeStepConfig",
        "hubwright.evals.judge_step:judge",
        "dataset",
        "a model's verdicts on answers, one row per checklist item, and the scores that follow",
        inputs={"answers": "dataset", "judge": "model", "dataset": "dataset"},
        optional=frozenset({"judge", "dataset"}),
        served=frozenset({"judge"}),
        extra="llm",
        version=2,
    ),
    "agreement": StepKind(
        "eval",
        "hubwright.evals.agreement_step:AgreementConfig",
        "hubwright.evals.agreement_step:agreement",
        "dataset",
        "how far two judges' verdicts on the same answers agree",
        inputs={"a": "dataset", "b": "dataset"},
    ),
    "metric": StepKind(
        "eval",
        "hubwright.evals.metric_step:MetricConfig",
        "hubwright.evals.metric_step:write_metric",
        "space",
        "one of our scorers as a module for evaluate.load",
    ),
    "report": StepKind(
        "card",
        "hubwright.model_cards.report:ReportConfig",
        "hubwright.model_cards.report:report",
        "model",
        "evaluation results and plots added to a published model's card",
        inputs={
            "model": "model",
            "result": "dataset",
            "baseline": "dataset",
            "answers": "dataset",
            "other": "model",
            "arm_*": "dataset",
        },
        optional=frozenset({"result", "baseline", "answers", "other"}),
    ),
}


def kind_of(uses: str) -> StepKind:
    """The entry behind a recipe's `uses:`. Raises UsageError with a suggestion."""
    if uses not in CATALOG:
        raise UsageError(f"{uses!r} is no known step{did_you_mean(uses, CATALOG)}")
    return CATALOG[uses]


def did_you_mean(word: str, known: Any) -> str:
    """`; did you mean 'x'?`, or the list of what is known when nothing is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"


def load(target: str, extra: str = "") -> Any:
    """Import "module:name". Raises UsageError that names the pip extra where a dependency is absent."""
    module, _, name = target.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("hubwright"):
            raise
        hint = f"pip install 'hubwright[{extra}]'" if extra else f"pip install {error.name}"
        raise UsageError(f"{error.name} is not installed: {hint}") from error


def config_class(kind: StepKind) -> type[BaseModel]:
    """The pydantic model behind `with:`."""
    return load(kind.config, kind.extra)


def run_function(kind: StepKind) -> Callable[..., Any]:
    """The function that does the step's work."""
    found = load(kind.run, kind.extra)
    if kind.loads_models:
        register_architectures()
    return found


def register_architectures() -> None:
    """Make transformers know the architectures that are ours. Trainers do so themselves; evals cannot import them."""
    load("hubwright.trainers.kv_shift:register", "eval")()
