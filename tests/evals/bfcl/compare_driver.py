"""Judge gold and mutated calls by the package's checker and by ours: `compare_driver.py WHEEL TRIES`; prints JSON.

Every case is judged twice: as values, and as the text of a reply that each side reads by itself. The text is that of
Python, and in one case of four has a sign, a sum or `**` written into it.

The package's tables of model providers and its readers of Java and JavaScript need libraries that are not wanted here
and decide nothing for Python calls; names stand in for them.
"""

from __future__ import annotations

import copy
import json
import random
import re
import sys
import types
import zipfile

from hubwright.environments.calls import Call, as_python, python_calls
from hubwright.evals.bfcl.matcher import matches
from hubwright.evals.bfcl.scorer import score

CATEGORIES = (
    "simple_python", "multiple", "parallel", "parallel_multiple", "live_simple", "live_multiple", "live_parallel",
    "live_parallel_multiple",
)  # fmt: skip


class Providers(dict):
    def __getitem__(self, key):
        return types.SimpleNamespace(underscore_to_dot=False)


def stand_in(name, **members):
    module = types.ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module


def realise(rng, value):
    """One of the calls that an accepted value stands for; objects hold lists of accepted values."""
    if isinstance(value, dict):
        chosen = {k: rng.choice(v) if isinstance(v, list) and v else v for k, v in value.items()}
        return {k: v for k, v in chosen.items() if not (v == "" and "" in value[k])}
    return [realise(rng, item) for item in value] if isinstance(value, list) else value


def mutate(rng, value):
    if isinstance(value, bool):
        return rng.choice([not value, int(value), str(value)])
    if isinstance(value, int):
        return rng.choice([value + 1, float(value), str(value), True, -value])
    if isinstance(value, float):
        return rng.choice([value + 0.5, int(value), str(value)])
    if isinstance(value, str):
        other = [value.upper(), f" {value}.", f"{value}x", 5, [value], "", value.replace(" ", "_")]
        return rng.choice([*other, value.replace('"', "'")])
    if isinstance(value, list) and value:
        place, whole = rng.randrange(len(value)), copy.deepcopy(value)
        inner = [*whole[:place], mutate(rng, whole[place]), *whole[place + 1 :]]
        return rng.choice([whole[::-1], whole[:-1], [*whole, whole[0]], tuple(whole), inner, [], "x"])
    if isinstance(value, dict) and value:
        key, whole = rng.choice(list(value)), dict(value)
        changed = whole | {key: mutate(rng, whole[key])}
        del whole[key]
        return rng.choice([whole, changed, changed, value | {"zz": 1}, [value]])
    return rng.choice([None, 0, "", [1], {"a": 1}])


def calls_of(rng, gold, harm):
    calls = []
    for expected in gold:
        ((name, accepted),) = expected.items()
        arguments = {}
        for key, values in accepted.items():
            value = rng.choice(values) if values else None
            if value == "" and "" in values and rng.random() < 0.8:
                continue
            value = realise(rng, value)
            arguments[key] = mutate(rng, value) if harm and rng.random() < 0.25 else value
        if harm and rng.random() < 0.05:
            arguments["one_more"] = 1
        if harm and arguments and rng.random() < 0.05:
            arguments.pop(rng.choice(list(arguments)))
        calls.append({name + "x" * (harm and rng.random() < 0.03): arguments})
    if harm and rng.random() < 0.3:
        rng.shuffle(calls)
    if harm and rng.random() < 0.06:
        calls = rng.choice([calls[:-1], calls + calls[:1]])
    return calls


def disturb(rng, text):
    """The text with a value, or the arguments, written in another way."""
    numbers = list(re.finditer(r"(?<![\w.'\"])\d+(?![\w.'\"])", text))
    if numbers and rng.random() < 0.8:
        at = rng.choice(numbers)
        forms = [
            "+{}",
            "~{}",
            "not {}",
            "-(-{})",
            "+(+{})",
            "{}|0",
            "{}^1",
            "{}<<1",
            "{}*1",
            "{}+0",
            "-{}",
            "({},)",
            "{}.0",
            "{}==1",
            "[{}]+[]",
            "'{}'*1",
            "x[{}]",
            "g({})",
            "g(a=+{})",
            "{} if 1 else 2",
            "{}j",
            "b'{}'",
        ]
        return text[: at.start()] + rng.choice(forms).format(at[0]) + text[at.end() :]
    return re.sub(r"\)\]$", rng.choice([", **{})]", ", **{'a': 1})]", ", **x)]", ", a)]", ")", ")]]", ")];"]), text)


def theirs_of(reader, checker, text):
    """The package's verdict on a reply; its decoding errors are a wrong reply, as its runner counts them."""
    try:
        calls = reader(text)
    except Exception:
        return False
    try:
        return bool(calls) and checker(calls)
    except Exception:
        return None  # the package's checker ends in an error: it has no verdict


def read(reader, text):
    try:
        return reader(text)
    except Exception:
        return None


def main():
    wheel, tries = sys.argv[1], int(sys.argv[2])
    sys.path.insert(0, wheel)
    stand_in("bfcl_eval.constants.model_config", MODEL_CONFIG_MAPPING=Providers())
    converters = "bfcl_eval.eval_checker.ast_eval.type_convertor"
    stand_in(f"{converters}.java_type_converter", java_type_converter=None)
    stand_in(f"{converters}.js_type_converter", js_type_converter=None)
    parsers = "bfcl_eval.model_handler.parser"
    for kind in ("java", "js", "json"):
        name = "javascript" if kind == "js" else kind
        stand_in(f"{parsers}.{kind}_parser", **{f"parse_{name}_function_call": None})
    stand_in(f"{parsers}.xml_parser", parse_concise_xml_function_call=None, parse_verbose_xml_function_call=None)
    stand_in("bfcl_eval.utils")
    from bfcl_eval.constants.enums import Language
    from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker
    from bfcl_eval.model_handler.utils import default_decode_ast_prompting

    found = {
        "cases": 0,
        "valid": 0,
        "differ": [],
        "not_read_back": [],
        "texts": 0,
        "texts_differ": [],
        "no_verdict": 0,
    }
    with zipfile.ZipFile(wheel) as archive:
        for category in CATEGORIES:
            rows, answers = (
                [
                    json.loads(line)
                    for line in archive.read(f"bfcl_eval/data/{folder}BFCL_v4_{category}.json").splitlines()
                ]
                for folder in ("", "possible_answer/")
            )
            golds = {row["id"]: row["ground_truth"] for row in answers}
            for row in rows:
                rng, gold = random.Random(row["id"]), golds[row["id"]]
                for turn in range(tries):
                    calls = calls_of(rng, gold, turn > 0)
                    theirs = ast_checker(row["function"], copy.deepcopy(calls), gold, Language.PYTHON, category, "x")
                    mine = [Call(*next(iter(call.items()))) for call in calls]
                    ours = matches(mine, gold, row["function"], category) == ""
                    found["cases"] += 1
                    found["valid"] += ours
                    if ours != theirs["valid"]:
                        found["differ"].append([row["id"], calls])
                    text = f"[{', '.join(as_python(call) for call in mine)}]"
                    if (
                        all(part.isidentifier() for call in mine for part in call.name.split("."))
                        and all(key.isidentifier() for call in mine for key in call.arguments)
                        and read(python_calls, text) != mine
                    ):
                        found["not_read_back"].append(text)
                    if rng.random() < 0.25:
                        text = disturb(rng, text)
                    theirs = theirs_of(
                        default_decode_ast_prompting,
                        lambda calls: ast_checker(row["function"], calls, gold, Language.PYTHON, category, "x")[
                            "valid"
                        ],
                        text,
                    )
                    found["texts"] += 1
                    found["no_verdict"] += theirs is None
                    if theirs is not None and theirs != (score(text, gold, row["function"], category)["acc"] == 1.0):
                        found["texts_differ"].append([row["id"], text, theirs])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
