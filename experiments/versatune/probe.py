"""What do base models know by domain, do soft and hard labels agree, and does a code model lean to code?

    python experiments/versatune/probe.py --work DIR --judge FOLDER MODEL_FOLDER [MODEL_FOLDER ...]
        [--samples 300] [--tokens 64] [--hard argmax|generate] [--threads N] [--out FILE]

Every model folder is probed with the judge folder (transformers): samples from the start token alone, temperature 1,
the full distribution. Prints the shares with intervals of 95 %, soft beside hard; with two models also the difference
of their shares of code with its interval. What is done in DIR is not done again.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any


def probe(model: Path, judge: Path, work: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """`distribution.json` of one model, with the seconds of this run."""
    from hubwright.builders.versatune.probe import ProbeConfig, build
    from hubwright.hub_sync.context import Input, StepContext
    from hubwright.hub_sync.files import sha256_file
    from hubwright.hub_sync.refs import ArtifactRef

    def given(folder: Path) -> Input:
        """The folder, named by the hash of its configuration, so that another model is no resume of this one."""
        return Input(ArtifactRef("model", f"local/{folder.name}", sha256_file(folder / "config.json")[:40]), folder)

    folder, began = work / f"{model.name}-by-{judge.name}", time.perf_counter()
    context = StepContext("probe", folder / "work", folder / "output", {"model": given(model), "judge": given(judge)})
    build(ProbeConfig.model_validate(settings), context)
    result = json.loads((folder / "output" / "distribution.json").read_text())
    return result | {"seconds": round(time.perf_counter() - began, 1)}


def cell(one: dict[str, Any]) -> str:
    if one["share"] is None:
        return "-"
    return f"{one['share']:.1%} ({one['ci_low']:.1%} to {one['ci_high']:.1%})"


def show(name: str, result: dict[str, Any]) -> None:
    judge = result["judges"]["judge"]
    print(f"\n{name}: {result['n']} samples judged, dropped {result['dropped'] or 'none'}, labels hold "
          f"{judge['mean_mass']:.1%}, off label {judge['off_label']:.1%}, {result['seconds']} s")  # fmt: skip
    print("| domain | soft | hard |\n|---|---|---|")
    for domain in result["domains"]:
        print(f"| {domain} | {cell(result['soft'][domain])} | {cell(result['hard'][domain])} |")
    for pair, one in result["agreement"].items():
        print(f"{pair}: {one}")


def difference(one: dict[str, Any], other: dict[str, Any], domain: str = "code") -> str:
    """Difference of two soft shares with the interval of independent samples, from the halves of theirs."""
    a, b = one["soft"][domain], other["soft"][domain]
    half = math.hypot(*((share["ci_high"] - share["ci_low"]) / 2 for share in (a, b)))
    gap = b["share"] - a["share"]
    return f"{gap:+.1%} ({gap - half:+.1%} to {gap + half:+.1%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--hard", choices=("argmax", "generate"), default="argmax")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--allow-weak-judge", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    settings = {"samples": given.samples, "max_new_tokens": given.tokens, "hard": given.hard,
                "threads": given.threads, "device": "cpu", "allow_weak_judge": given.allow_weak_judge}  # fmt: skip
    results = {}
    for model in given.models:
        results[model.name] = probe(model, given.judge, given.work, settings)
        show(model.name, results[model.name])
    if len(results) == 2:
        first, second = results
        print(f"\nsoft share of code, {second} minus {first}: {difference(results[first], results[second])}")
    if given.out:
        given.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
