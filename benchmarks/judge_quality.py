"""How far a small embedded judge agrees with the published one: the same answers, the same checklists, item by item.

    hubwright hub seed qwen2.5-coder-1.5b-gguf
    python -m benchmarks.judge_quality --judgements .../model_judgment/gpt-4o-2024-08-06 --out runs/judge-quality

The published verdicts of gpt-4o-2024-08-06 are the reference. Samples are drawn by seed, the same number of every
scenario and task type, one tested model's answer for each, and cut in two halves by sample. Every variant is asked on
half one; the one with the highest kappa there is chosen, and it and the published protocol are reported on half two,
which took no part in the choice. A logprob's threshold is calibrated on half one as well.

May be killed and run again: every reply is recorded below --out. Prints an estimate before anything is asked.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import json
import sys
import time
import weakref
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hubwright.evals._lib.judging.agreement import Pair, compare, pair, spread
from hubwright.evals._lib.judging.cases import Case, ItemVerdict, JudgeInfo, verdict_rows
from hubwright.evals._lib.judging.stage import AskConfig, judge_row, prompt_hash
from hubwright.evals._lib.judging.verdicts import read_stored
from hubwright.evals.fbbench.answers import read_answers
from hubwright.evals.fbbench.verdicts import official_rows
from hubwright.hub_sync.errors import HubwrightError, UsageError
from hubwright.inference.serving import serve
from hubwright.inference.stage import run_stage

Row = dict[str, Any]
JUDGE = "embedded:Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF"
# One attempt: at temperature 0 the engine gives the same reply again. The length is our choice: 512 tokens hold the
# reasons on the longest chosen checklist several times over, and end a reply that repeats itself.
VARIANTS: dict[str, dict[str, Any]] = {
    "text, published prompt, zh": {"method": "text", "max_tokens": 512},
    "text, brief prompt, zh": {"method": "text", "prompt": "brief", "json_schema": True, "max_tokens": 128},
    "logprob, zh": {"method": "logprob"},
    "logprob, en": {"method": "logprob", "language": "en"},
}
BASELINE = "text, published prompt, zh"
CALIBRATED = ", threshold from half one"
READS, WRITES = 80.0, 26.0  # tokens/s of the judge on two quiet cores: measured once, for the estimate alone


def chosen_answers(folder: Path, per_cell: int, max_chars: int, seed: int) -> list[tuple[Case, list[Row], str]]:
    """(answer, its published verdict rows, tested model): `per_cell` of every scenario and task type, by seed.

    One answer per dialogue; only dialogues and answers that together have at most `max_chars` characters and a whole
    published judgement.
    """
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise UsageError(f"{folder}: holds no judgement files (*.jsonl)")
    by_cell: dict[tuple[str, str], dict[str, list[tuple[str, Case, list[Row], str]]]] = defaultdict(dict)
    for path in files:
        verdicts: dict[str, list[Row]] = defaultdict(list)
        for row in read_stored(path, (official_rows,)).rows:
            verdicts[row["id"]].append(row)
        for answer in read_answers(path):
            text = answer.answer or ""
            size = sum(len(turn["content"]) for turn in answer.messages) + len(text)
            rows = verdicts[answer.id]
            if size > max_chars or answer.answer_state != "ok" or {row["state"] for row in rows} != {"complete"}:
                continue
            draw = hashlib.sha256(f"{seed}:{path.stem}:{answer.id}".encode()).hexdigest()
            cell = by_cell[answer.labels["scenario"], answer.labels["task"]]
            cell.setdefault(answer.id, []).append((draw, answer, rows, path.stem))
    found = []
    for _, dialogues in sorted(by_cell.items()):
        one_each = [min(options, key=lambda option: option[0]) for options in dialogues.values()]
        found += sorted(one_each, key=lambda option: option[0])[:per_cell]
    return [(answer, rows, model) for _, answer, rows, model in found]


def halves(count: int) -> tuple[list[int], list[int]]:
    """Every other one: the samples stand cell by cell, so both halves have every scenario and task type."""
    return list(range(0, count, 2)), list(range(1, count, 2))


async def ask_all(row: Row, config: Mapping[str, Any], chat: Any) -> Row:
    """All variants on one answer, and no other answer meanwhile: so they share the dialogue in the engine's cache."""
    async with _turns.setdefault(chat, asyncio.Lock()):
        replies = await asyncio.gather(*(judge_row(row, question, chat) for _, question in config["questions"]))
    names = [name for name, _ in config["questions"]]
    return {"id": row["id"], "variants": dict(zip(names, replies, strict=True))}


_turns: weakref.WeakKeyDictionary[Any, asyncio.Lock] = weakref.WeakKeyDictionary()


def ask(
    answers: Sequence[Case], variants: Sequence[str], judge: str, settings: Mapping[str, Any], out: Path
) -> dict[str, list[Row]]:
    """Verdict rows by variant."""
    configs = {name: AskConfig(**VARIANTS[name], attempts=1, **settings) for name in variants}
    rows = [
        {
            "id": case.id,
            "messages": [dict(turn) for turn in case.messages],
            "answer": case.answer,
            "items": list(case.items),
            "weights": list(case.weights),
        }
        for case in answers
    ]
    questions = {name: config.question() for name, config in configs.items()}
    key = hashlib.sha256(json.dumps([sorted(questions.items()), rows], ensure_ascii=False).encode()).hexdigest()[:12]
    with ExitStack() as resources:
        endpoint = serve(judge, next(iter(configs.values())), resources)
        done = run_stage(
            "benchmarks.judge_quality:ask_all",
            rows,
            {"questions": list(questions.items())},  # a list: in this order those of one language share the dialogue
            endpoint=endpoint,
            folder=out / f"stage-{key}",
            recording=out / "recording",
            shard_rows=8,
            max_failed=0,
            progress=_progress(time.monotonic()),
        )
    found: dict[str, list[Row]] = {name: [] for name in variants}
    for case, row in zip(answers, done.rows, strict=True):
        for name, reply in row["variants"].items():
            question = questions[name]
            found[name] += verdict_rows(
                case,
                [ItemVerdict(*one) for one in reply["verdicts"]],
                JudgeInfo(endpoint.model, endpoint.revision, question["method"], question["language"]),
                state=reply["state"],
                attempts=reply["attempts"],
                prompt_hash=prompt_hash(case, question),
                answers=len(answers),
            )
    return found


def _progress(started: float) -> Any:
    def show(done: int, total: int) -> None:
        spent = time.monotonic() - started
        left = spent / max(done, 1) * (total - done)
        print(f"{done}/{total} answers, {spent / 60:.1f} min, about {left / 60:.0f} min left", file=sys.stderr)

    return show


def with_threshold(rows: Sequence[Row], threshold: float) -> list[Row]:
    """Label verdicts read again from their probabilities."""
    return [
        row if row["p_yes"] is None else {**row, "verdict": "yes" if row["p_yes"] >= threshold else "no"}
        for row in rows
    ]


def calibrated(rows: Sequence[Row], reference: Sequence[Row]) -> float:
    """The threshold with the highest kappa; of equal ones the nearest to 0.5."""
    values = sorted({row["p_yes"] for row in rows if row["p_yes"] is not None})
    candidates = [0.5, *((a + b) / 2 for a, b in itertools.pairwise(values))]

    def merit(threshold: float) -> tuple[float, float]:
        return _kappa(pair(with_threshold(rows, threshold), reference)), -abs(threshold - 0.5)

    return max(candidates, key=merit)


def _kappa(pairs: Sequence[Pair]) -> float:
    value = compare(pairs, resamples=0)["overall"]["kappa"]["value"]
    return -1.0 if value is None else float(value)


def estimate(answers: Sequence[Case], variants: Sequence[str]) -> float:
    """Seconds on two quiet cores, from characters: 0.7 tokens a character of Chinese text (our rule of thumb)."""
    total = 0.0
    for answer in answers:
        dialogue = 0.7 * (sum(len(turn["content"]) for turn in answer.messages) + len(answer.answer or ""))
        items = len(answer.items)
        checklist = 0.7 * sum(len(item) for item in answer.items)
        languages = {VARIANTS[name].get("language", "zh") for name in variants}
        reads = len(languages) * (dialogue + 80)
        writes = 0.0
        for name in variants:
            logprob, brief = VARIANTS[name]["method"] == "logprob", VARIANTS[name].get("prompt") == "brief"
            reads += checklist + (110 * items if logprob else 60 if brief else 220)
            writes += items * (1 if logprob else 8 if brief else 70)
        total += reads / READS + writes / WRITES
    return total


def table(title: str, measured: Mapping[str, tuple[list[Row], list[Row]]], resamples: int) -> str:
    """A Markdown table: variant -> (judge's rows, reference rows)."""
    lines = [
        f"\n{title}\n",
        "| variant | items | agreement | Cohen's kappa | yes, judge | yes, published | unparsable |",
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for name, (rows, reference) in measured.items():
        figures = compare(pair(rows, reference), resamples=resamples)["overall"]
        shares = [f"{figures[key]['value']:.1%}" for key in ("a_yes", "b_yes") if figures[key]["value"] is not None]
        cells = [figures["items"], spread(figures["agreement"]), spread(figures["kappa"]), *(shares or ["–", "–"])]
        lines.append(f"| {name} | {' | '.join(str(c) for c in cells)} | {spread(figures['a_unparsable'])} |")
    return "\n".join(lines)


def constant(reference: Sequence[Row], word: str) -> list[Row]:
    """A judge that always says the same: what any agreement has to be compared with."""
    return [{**row, "verdict": word} for row in reference]


def main() -> None:
    """Choose, estimate, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judgements", type=Path, required=True, help="folder of the published judgement files")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the record and the result; run again to go on"
    )
    parser.add_argument("--judge", default=JUDGE, help="embedded:ORG/NAME[@REV][#FILE] or openai:MODEL@URL")
    parser.add_argument("--per-cell", type=int, default=8, help="answers per scenario and task type (16 cells)")
    parser.add_argument("--max-chars", type=int, default=900, help="longest dialogue with answer, in characters")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="CPU threads of an embedded judge")
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--estimate", action="store_true", help="print the estimate and stop")
    arguments = parser.parse_args()
    try:
        _run(arguments)
    except HubwrightError as error:
        sys.exit(f"judge_quality: {error}")


def _run(arguments: argparse.Namespace) -> None:
    found = chosen_answers(arguments.judgements, arguments.per_cell, arguments.max_chars, arguments.seed)
    one, two = ([found[n] for n in half] for half in halves(len(found)))
    items = sum(len(answer.items) for answer, _, _ in found)
    first = estimate([answer for answer, _, _ in one], list(VARIANTS))
    second = estimate([answer for answer, _, _ in two], [BASELINE, "logprob, zh"])
    cells = {(answer.labels["scenario"], answer.labels["task"]) for answer, _, _ in found}
    print(
        f"{len(found)} answers of {len({model for *_, model in found})} models, {items} checklist items, {len(cells)} "
        f"cells; dialogue and answer at most {arguments.max_chars} characters; seed {arguments.seed}.\n"
        f"Estimate on two quiet cores: half one {first / 60:.0f} min ({len(VARIANTS)} variants), half two about "
        f"{second / 60:.0f} min (the published protocol and the chosen variant)."
    )
    if arguments.estimate:
        return
    settings = {"threads": arguments.threads} if arguments.threads else {}
    reference = [[row for _, rows, _ in half for row in rows] for half in (one, two)]
    answers = [[answer for answer, _, _ in half] for half in (one, two)]
    asked = ask(answers[0], list(VARIANTS), arguments.judge, settings, arguments.out)
    thresholds = {name: calibrated(rows, reference[0]) for name, rows in asked.items() if name.startswith("logprob")}
    variants = dict(asked)
    variants |= {name + CALIBRATED: with_threshold(asked[name], value) for name, value in thresholds.items()}
    best = max(variants, key=lambda name: _kappa(pair(variants[name], reference[0])))
    source = best.removesuffix(CALIBRATED)
    final = ask(answers[1], list(dict.fromkeys([BASELINE, source])), arguments.judge, settings, arguments.out)
    if source in thresholds:
        final[source + CALIBRATED] = with_threshold(final[source], thresholds[source])

    def measured(rows: Mapping[str, list[Row]], half: int) -> dict[str, tuple[list[Row], list[Row]]]:
        always = {f"always {word}": constant(reference[half], word) for word in ("yes", "no")}
        return {name: (own, reference[half]) for name, own in {**rows, **always}.items()}

    text = table(f"Half one: {len(one)} answers, all variants", measured(variants, 0), arguments.resamples)
    text += f"\n\nChosen on half one: {best}"
    text += "".join(f"; {name}: threshold {value:.4f}" for name, value in thresholds.items())
    text += "\n" + table(
        f"Half two: {len(two)} answers, not used for the choice", measured(final, 1), arguments.resamples
    )
    print(text)
    (arguments.out / "result.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
