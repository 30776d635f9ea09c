"""The YAML files of this folder that differ in a category of BFCL only, and their groups.

python -m hubwright.evals.tasks.button.generate
"""

from pathlib import Path

from ..._lib.task_files import group_file, task_file, write

SINGLE_TURN = (
    "simple_python", "multiple", "parallel", "parallel_multiple", "irrelevance", "live_simple", "live_multiple",
    "live_parallel", "live_parallel_multiple", "live_irrelevance", "live_relevance",
)  # fmt: skip
MULTI_TURN = ("base", "miss_func", "miss_param", "long_context")
CLASS = "!function hubwright.evals.bfcl"
SINGLE = """\
The mean over categories, each counted once. It is not the leaderboard's overall figure, which has Java, JavaScript,
multi-turn and agentic categories as well, and weights of its own."""
FC = """\
As button_bfcl, with functions and calls as JSON: what the leaderboard calls FC, in the form of the `toolcall` task."""
TURNS = """\
The mean over the four categories, each counted once. Turns from the gold state: not the leaderboard's figure."""
AGENT = "The mean over the four categories, each counted once. For the model `interactive` alone."


def files() -> dict[str, str]:
    """YAML text by task or group."""
    result = {}
    for group, place, comment in (
        ("button_bfcl", "task.BFCLTask", SINGLE),
        ("button_bfcl_fc", "fc_task.BFCLFunctionCallTask", FC),
    ):
        tasks = {f"{group}_{category}": category for category in SINGLE_TURN}
        settings = {"class": f"{CLASS}.{place}"}
        for task, category in tasks.items():
            result[task] = task_file(task, "_bfcl.yaml", **settings, test_split=category)
        result[group] = group_file(group, tasks, ["acc"], comment)
    for group, include, metrics, comment in (
        ("button_bfcl_multi_turn", "_bfcl_multi_turn.yaml", ["turn_acc", "call_acc"], TURNS),
        ("button_bfcl_agent", "_bfcl_agent.yaml", ["acc", "turns_passed", "stopped"], AGENT),
    ):
        tasks = {f"{group}_{category}": category for category in MULTI_TURN}
        for task, category in tasks.items():
            result[task] = task_file(task, include, test_split=f"multi_turn_{category}")
        result[group] = group_file(group, tasks, metrics, comment)
    return result


if __name__ == "__main__":
    write(files(), Path(__file__).parent)
