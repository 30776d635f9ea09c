"""The builders: steps that publish data sets."""

from typing import Any

from ..hub_sync.step import Role, StepSpec

DATA, TEACHER = Role("dataset", optional=True), Role("model", optional=True, endpoint=True)
DECONTAMINATE = {"decontaminate_against_*": Role("dataset")}
CONVERSATIONS = ("messages", "tools")


def _builder(config: str, help: str, **more: Any) -> StepSpec:
    """A step whose config is "module:Class" below this package and whose function is `build` of that module."""
    module = f"hubwright.builders.{config.partition(':')[0]}"
    return StepSpec("builder", f"hubwright.builders.{config}", f"{module}:build", "dataset", help, **more)


STEPS: dict[str, StepSpec] = {
    "fbbench": _builder(
        "fbbench:FBBenchConfig", "FB-Bench rows, typed, from the official JSON or from our own bilingual sample"
    ),
    "constraints": _builder(
        "constraints:ConstraintsConfig",
        "CFBench, SysBench and FollowBench as conversations with criteria, from their files",
    ),
    "feedback_drills": _builder(
        "feedback_drills:FeedbackDrillsConfig",
        "seeded two-turn feedback dialogues with one exactly scorable answer",
        columns=("prompt", "completion", "chosen", "rejected"),
    ),
    "image_text": _builder(
        "image_text:ImageTextConfig",
        "images and texts that belong together: folders, COCO, CC12M, COYO, DataComp, PD12M, WebDataset, the Hub",
        inputs={"dataset": DATA},
        extra="vision",
    ),
    "image_text_signals": _builder(
        "image_text_signals:SignalsConfig",
        "lengths, DataComp's basic filter, and by a dual encoder cosines of every pair of images and texts",
        inputs={"dataset": Role("dataset"), "encoder": Role("model", optional=True)},
        extra="vision",
        loads_models=True,
    ),
    "landmarks": _builder(
        "landmarks:LandmarksConfig",
        "photographs of landmarks, with questions at several levels: Google Landmarks v2, folders, tables",
        extra="vision",
    ),
    "entity_ranks": _builder(
        "entity_ranks:EntityRanksConfig",
        "of every image the rank of its true name under a dual encoder: known and unknown entities, and subsets",
        inputs={
            "dataset": Role("dataset"),
            "encoder": Role("model", optional=True),
            "encoder_*": Role("model", optional=True),
        },
        extra="vision",
        loads_models=True,
    ),
    "aitqe_samples": _builder(
        "aitqe:SamplesConfig",
        "twins of good and bad texts for images of image_text, with scores by aspect and what to write instead",
        inputs={"dataset": Role("dataset"), "teacher": TEACHER},
        extra="vision",
        columns=("image", "raw_text", "kind", "recaption", "scores"),
    ),
    "toolcalls": _builder(
        "toolcalls:ToolCallsConfig",
        "function-calling conversations, validated, in TRL's messages + tools form",
        version=2,
        columns=CONVERSATIONS,
    ),
    "rows": _builder(
        "rows:RowsConfig",
        "rows that one already has (CSV, JSON, Parquet, folders, Hub data sets) as chats, pairs, texts or images",
        inputs={"dataset": DATA},
    ),
    "mix": _builder(
        "mix:MixConfig",
        "several data sets of conversations as one, in proportions that are told",
        inputs={"part_*": Role("dataset")},
        version=2,
        columns=("messages",),
    ),
    "induction": _builder(
        "sequences.induction:InductionConfig",
        "sequences in which a token that recurs has the successor that it had before",
    ),
    "ngram": _builder(
        "sequences.ngram:NgramConfig", "random sequences with fixed rules: after these words comes that word"
    ),
    "hop_k": _builder(
        "sequences.hop_k:HopKConfig", "k-hop induction: from letter to letter by their last occurrences, k times"
    ),
    "arithmetic": _builder(
        "sequences.arithmetic:ArithmeticConfig",
        "word problems in modular arithmetic over a graph of quantities, solved step by step",
    ),
    "corpus": _builder(
        "corpus:CorpusConfig",
        "documents for language modelling from files, archives and Hub data sets",
        inputs={"decontaminate_against": DATA} | DECONTAMINATE,
        columns=("text", "source", "license", "id"),
    ),
    "ability": _builder(
        "ability:AbilityConfig",
        "mathematics (GSM8K, MGSM, MSVAMP) and science (EXAMS, ARC) by language, kept apart from their tests",
    ),
    "bfcl": _builder(
        "bfcl:BFCLConfig",
        "the Berkeley Function-Calling Leaderboard, with its worlds, from the wheel of bfcl-eval",
        version=2,
    ),
    "seal_tools": _builder(
        "seal_tools:SealToolsConfig",
        "Seal-Tools: requests with the function calls that serve them, some nested, and the functions",
        version=2,
    ),
    "nestful": _builder(
        "nestful:NestfulConfig",
        "NESTFUL: requests served by sequences of nested calls, from the wheel of nestful-wrapper",
        version=2,
    ),
    "button_dataset": _builder(
        "button.collect:ButtonDatasetConfig",
        "rows of call_graphs, call_graphs_reworded and button as configs of one data set",
        inputs=dict.fromkeys(("executed", "stubs", "verified", "faithful"), DATA),
        version=3,
    ),
    "lawbench": _builder(
        "domain_benchmarks.lawbench:LawBenchConfig", "LawBench: 20 subtasks of Chinese law, a config each"
    ),
    "fineval": _builder(
        "domain_benchmarks.exams:FinEvalConfig", "FinEval: multiple-choice questions on finance in Chinese"
    ),
    "financeiq": _builder(
        "domain_benchmarks.exams:FinanceIQConfig", "FinanceIQ: multiple-choice questions of finance examinations"
    ),
    "scieval": _builder(
        "domain_benchmarks.scieval:SciEvalConfig", "SciEval: questions on physics, chemistry and biology"
    ),
    "code_problems": _builder(
        "domain_benchmarks.code_problems:CodeProblemsConfig", "HumanEval or MBPP from its own file"
    ),
    "tool_query": _builder(
        "tool_query:ToolQueryConfig",
        "tool-query: requests about a to-do list with the list itself, from AgentGym's files",
    ),
    "agent_trajectories": _builder(
        "agent_trajectories.build:TrajectoriesConfig",
        "an expert's episodes of text games, replayed: trajectories, their steps, and one training row per step",
        extra="games",
        version=2,
    ),
    "agent_rollouts": _builder(
        "agent_trajectories.rollouts:RolloutsConfig",
        "a model's own episodes of text games, with the expert's action in every state it came to",
        inputs={"model": Role("model", folds=True), "dataset": DATA},
        extra="train",
        loads_models=True,
        version=2,
    ),
    "agent_trajectories_import": _builder(
        "agent_trajectories.importer:ImportConfig",
        "agents' trajectories in FireAct's, ETO's and AgentGym's files as rows of agent_trajectories",
        version=2,
    ),
    "call_graphs": _builder(
        "call_graphs:CallGraphsConfig",
        "verified multi-turn function calling: compositions of tools that run, without a language model",
        inputs={"decontaminate_against": DATA, "definitions": DATA} | DECONTAMINATE,
        version=5,
        columns=CONVERSATIONS,
    ),
    "button": _builder(
        "button:ButtonConfig",
        "BUTTON's own pipeline: a served teacher invents tasks bottom-up and plays them out top-down",
        inputs={"teacher": TEACHER, "dataset": DATA, "embedder": Role("model", optional=True)} | DECONTAMINATE,
        version=5,
        extra="llm",
        columns=CONVERSATIONS,
    ),
    "button_import": _builder(
        "button.importer:ImportConfig",
        "BUTTONInstruct's own file as rows of BUTTON's shared form, every line kept byte for byte",
        version=3,
        columns=CONVERSATIONS,
    ),
    "call_graphs_reworded": _builder(
        "call_graphs.reworded:RewordedConfig",
        "rows of call_graphs in which a served teacher says what the user says, checked again",
        inputs={"dataset": Role("dataset"), "teacher": TEACHER} | DECONTAMINATE,
        version=4,
        extra="llm",
        columns=CONVERSATIONS,
    ),
    "versatune_probe": _builder(
        "versatune.probe:ProbeConfig",
        "a base model's own samples, classified into domains by judges: what it knows, with intervals",
        inputs={
            "model": Role("model", optional=True, folds=True),
            "served_model": TEACHER,
            "judge": Role("model", optional=True, folds=True),
            "served_judge": TEACHER,
            "judge_*": Role("model", folds=True),
        },
        extra="train",
        loads_models=True,
    ),
    "versatune_mixture": _builder(
        "versatune.mixture:MixtureConfig",
        "data sets of several domains, a config each, with held-out slices and the weights to draw them with",
        inputs={"domain_*": Role("dataset"), "probe": DATA, "runs": DATA, "tokenizer": Role("model", optional=True)}
        | {"decontaminate_against": DATA}
        | DECONTAMINATE,
    ),
}
