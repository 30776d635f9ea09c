"""Judge gold and mutated multi-turn replies by the package's checker and by ours: `play_driver.py WHEEL TRIES`."""

from __future__ import annotations

import json
import random
import sys
import zipfile

from hubwright.environments.calls import Call, as_python, python_calls
from hubwright.evals.bfcl.world_driver import MODULES
from hubwright.evals.bfcl.worlds import Worlds, play

FOLDER = "bfcl_eval/eval_checker/multi_turn_eval/func_source_code"
CATEGORIES = ("base", "miss_func", "miss_param", "long_context")


def mutate(rng, call):
    arguments = dict(call.arguments)
    key = rng.choice(list(arguments)) if arguments else None
    value = arguments.get(key)
    ways = [None, call, Call(call.name + "s", arguments), Call(call.name, arguments | {"one_more": 1})]
    if key is not None:
        other = value + 1 if isinstance(value, int) else f"{value}x"
        changed = Call(call.name, arguments | {key: other}, call.positional)
        ways += [changed, changed, Call(call.name, {k: v for k, v in arguments.items() if k != key}, call.positional)]
    return rng.choice(ways)


def replies_of(rng, gold, harm):
    """The gold calls by turn, some of them changed, dropped, doubled or moved to the turn before."""
    turns = []
    for texts in gold:
        calls = [call for text in texts for call in python_calls(text)]
        if harm:
            calls = [m for c in calls if (m := mutate(rng, c) if rng.random() < 0.15 else c) is not None]
            if calls and rng.random() < 0.1:
                calls.append(rng.choice(calls))
            if rng.random() < 0.1:
                rng.shuffle(calls)
            if calls and turns and rng.random() < 0.1:
                turns[-1].append(calls.pop(0))
        turns.append(calls)
    return turns


def main():
    wheel, tries = sys.argv[1], int(sys.argv[2])
    sys.path.insert(0, wheel)
    from bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker import multi_turn_checker

    found = {"cases": 0, "valid": 0, "gold": 0, "empty": 0, "differ": []}
    with zipfile.ZipFile(wheel) as archive:
        names = [*MODULES.values(), "long_context"]
        with Worlds({name: archive.read(f"{FOLDER}/{name}.py").decode() for name in names}) as worlds:
            for category in CATEGORIES:
                rows, answers = (
                    [
                        json.loads(line)
                        for line in archive.read(
                            f"bfcl_eval/data/{part}BFCL_v4_multi_turn_{category}.json"
                        ).splitlines()
                    ]
                    for part in ("", "possible_answer/")
                )
                golds = {row["id"]: row["ground_truth"] for row in answers}
                for row in rows:
                    rng, gold = random.Random(row["id"]), golds[row["id"]]
                    found["empty"] += play(worlds, row, [], gold)[1] == ""
                    for turn in range(tries):
                        replies = replies_of(rng, gold, turn > 0)
                        ours = play(worlds, row, replies, gold)[1]
                        # One step for all calls of a turn, as the package joins them anyhow; none is an empty list.
                        theirs = multi_turn_checker(
                            [[[as_python(c) for c in calls]] if calls else [] for calls in replies], gold, row,
                            f"multi_turn_{category}", f"try{turn}",
                        )["valid"]  # fmt: skip
                        found["cases"] += 1
                        found["valid"] += theirs
                        found["gold"] += turn == 0 and ours == ""
                        if (ours == "") != theirs:
                            found["differ"].append(
                                [row["id"], turn, ours, [[as_python(c) for c in t] for t in replies]]
                            )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
