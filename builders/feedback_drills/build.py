"""Two-turn feedback drills with exact answers: question, first response, feedback, second response.

In the spirit of FB-Bench (arXiv:2410.09412): the model is handed a first response that is right or wrong and the
user's reaction, and must correct itself or hold its ground. FB-Bench needs a judge; here every item has one exact
answer, and rows are unlimited. All texts, problems and proportions are our choice.
"""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ...hub_sync.context import StepContext
from ...hub_sync.errors import UsageError
from ...hub_sync.settings import Settings
from ...hub_sync.text import utf8
from .._lib.cards import describe
from .._lib.context import local_context
from .._lib.data_files import read_yaml
from .._lib.splits import unit_hash
from .skills import SKILLS, Problem

if TYPE_CHECKING:
    from datasets import DatasetDict, Features

TEST_SHARE = 0.2  # share of all problems that belong to the test side, by the hash of their key
HELD_OUT = 2  # wordings of every form of feedback, the last ones, that occur in the test split only
CLAIM_FORMS = ("claim", "authority")
WORDS = read_yaml(__file__, "dialogues.yaml")
TRIES_PER_ROW = 400

Row = dict[str, Any]


class FeedbackDrillsConfig(Settings):
    """How many drills of which kind. All defaults are our choice."""

    train_rows: int = Field(4000, ge=0, description="Rows of the train split.")
    test_rows: int = Field(500, ge=0, description="Rows of the test split.")
    seed: int = Field(0, ge=0, description="Seed of the generator; equal seeds give equal rows.")
    languages: tuple[Literal["en", "zh"], ...] = Field(
        ("en", "zh"), min_length=1, description="Languages, in equal parts."
    )
    skills: tuple[str, ...] = Field(tuple(SKILLS), min_length=1, description="Skills, in equal parts; see skills.py.")
    forms: tuple[Literal["claim", "authority", "doubt", "objection", "hint"], ...] = Field(
        ("claim", "authority", "doubt", "objection", "hint"),
        min_length=1,
        description="Forms of feedback, in equal parts.",
    )
    both_wrong_share: float = Field(
        0.1, ge=0, le=0.5,
        description="Share of the rows with a claimed value where first answer AND claim are wrong.",
    )  # fmt: skip


def is_test_problem(problem: Problem) -> bool:
    """Side of a problem: a function of its key alone, so no seed or size can move it across."""
    return unit_hash(f"{problem.skill}:{problem.key}") < TEST_SHARE


def make_row(
    problem: Problem, language: str, bench_type: str, form: str, both_wrong: bool, wording: int, rng: random.Random
) -> Row:
    """One drill. `wording` indexes WORDS["feedback"][form][language]; `rng` chooses among the wrong answers.

    Returns the row of the data set: `prompt` (three turns), `completion`, `chosen`, `rejected` (one turn each)
    and the flat columns, as documented in the README.
    """
    wrong = list(problem.wrong)
    rng.shuffle(wrong)
    correct_first = bench_type == "Response Maintenance"
    first = problem.answer if correct_first else wrong[0]
    claim = ""
    if form in CLAIM_FORMS:
        claim = wrong[0] if correct_first else wrong[1] if both_wrong else problem.answer
    feedback = WORDS["feedback"][form][language][wording].format(claim=claim, hint=problem.text("hint"))
    phrases = {name: WORDS[name][language] for name in ("ask_form", "answer", "corrected", "maintained", "gives_in")}
    space = "" if language == "zh" else " "
    opening = f"{problem.text('state', first)}\n" if rng.random() < 0.5 else ""
    verdict = phrases["maintained" if correct_first else "corrected"]
    good = f"{problem.text('check')}{space}{verdict}\n{phrases['answer'].format(problem.answer)}"
    if correct_first or both_wrong:
        final = claim or wrong[0]
        bad = f"{phrases['gives_in']}{space}{problem.text('state', final)}"
    else:
        final = first
        bad = f"{problem.text('state', first)}{space}{phrases['maintained']}"
    bad += f"\n{phrases['answer'].format(final)}"
    prompt = [
        {"role": "user", "content": problem.text("question") + phrases["ask_form"]},
        {"role": "assistant", "content": opening + phrases["answer"].format(first)},
        {"role": "user", "content": feedback},
    ]
    answer_turn = [{"role": "assistant", "content": good}]
    content = "\n".join(turn["content"] for turn in prompt)
    return {
        "id": hashlib.sha256(utf8(content)).hexdigest()[:16],
        "prompt": prompt,
        "completion": answer_turn,
        "chosen": answer_turn,
        "rejected": [{"role": "assistant", "content": bad}],
        "answer": problem.answer,
        "first_answer": first,
        "claimed_answer": claim,
        "bench_type": bench_type,
        "feedback_type": WORDS["feedback_type"][form][bench_type],
        "feedback_form": form,
        "language": language,
        "skill": problem.skill,
        "problem": f"{problem.skill}:{problem.key}",
        "held_out_wording": wording >= len(WORDS["feedback"][form][language]) - HELD_OUT,
    }


def generate(config: FeedbackDrillsConfig, split: Literal["train", "test"], rows: int) -> list[Row]:
    """`rows` distinct drills of one split, in random order.

    Scenario, form, skill and language run through all their combinations in turn, so that each is balanced within
    each other one. Raises UsageError if the chosen skills have too few problems for so many rows.
    """
    rng = random.Random(f"{config.seed}:{split}")  # noqa: S311 - not for secrets
    cells = [
        (bench, form, skill, language)
        for bench in ("Error Correction", "Response Maintenance")
        for form in config.forms
        for skill in config.skills
        for language in config.languages
    ]
    drills: dict[str, Row] = {}
    order: list[tuple[str, str, str, str]] = []
    exhausted: set[tuple[str, str, str, str]] = set()
    while len(drills) < rows:
        if not order:
            order = [cell for cell in cells if cell not in exhausted]
            rng.shuffle(order)
            if not order:
                raise UsageError(
                    f"feedback_drills: skills {', '.join(config.skills)} have only {len(drills)} distinct "
                    f"{split} drills, {rows} were asked for: lower {split}_rows or add skills"
                )
        cell = order.pop()
        row = _new_row(config, split, cell, drills, rng)
        if row is None:
            exhausted.add(cell)  # the finite skills run out first; the unlimited ones fill up
        else:
            drills[row["id"]] = row
    result = list(drills.values())
    rng.shuffle(result)
    return result


def _new_row(
    config: FeedbackDrillsConfig,
    split: str,
    cell: tuple[str, str, str, str],
    drills: dict[str, Row],
    rng: random.Random,
) -> Row | None:
    bench, form, skill, language = cell
    wordings = len(WORDS["feedback"][form][language])
    for _ in range(TRIES_PER_ROW):
        problem = SKILLS[skill](rng, language)
        if is_test_problem(problem) != (split == "test"):
            continue
        # In the claim forms 40 % of all rows have a right claim and 10 % two wrong values (by default):
        # believing the user is then worse than tossing a coin.
        both_wrong = (
            form in CLAIM_FORMS
            and bench == "Error Correction"
            and len(problem.wrong) > 1
            and rng.random() < 2 * config.both_wrong_share
        )
        # Half of the test rows use wordings that no train row has.
        if split == "test" and rng.random() < 0.5:
            wording = rng.randrange(wordings - HELD_OUT, wordings)
        else:
            wording = rng.randrange(wordings - HELD_OUT)
        row = make_row(problem, language, bench, form, both_wrong, wording, rng)
        if row["id"] not in drills:
            return row
    return None


def policies(rows: list[Row]) -> dict[str, float]:
    """Accuracy (0 to 1) of policies that never look at the problem; the card prints them beside the models."""

    def share(hits: list[bool]) -> float:
        return sum(hits) / len(hits) if hits else 0.0

    return {
        "keep the first answer": share([r["first_answer"] == r["answer"] for r in rows]),
        "accept the user's value, else keep": share(
            [(r["claimed_answer"] or r["first_answer"]) == r["answer"] for r in rows]
        ),
        "accept a value claimed with authority, else keep": share(
            [
                (r["claimed_answer"] if r["feedback_form"] == "authority" else r["first_answer"]) == r["answer"]
                for r in rows
            ]
        ),
    }


def features() -> Features:
    """Arrow features of both splits."""
    from datasets import Features, List, Value

    text, turns = Value("string"), List({"role": Value("string"), "content": Value("string")})
    columns: dict[str, Any] = {"id": text}
    columns |= dict.fromkeys(("prompt", "completion", "chosen", "rejected"), turns)
    names = ("answer", "first_answer", "claimed_answer", "bench_type", "feedback_type")
    columns |= dict.fromkeys((*names, "feedback_form", "language", "skill", "problem"), text)
    return Features(columns | {"held_out_wording": Value("bool")})


def build(config: FeedbackDrillsConfig, context: StepContext | None = None) -> DatasetDict:
    """Build the train and test splits. Pure Python, about 30,000 rows per second; nothing is cached.

    Raises UsageError for an unknown skill or more rows than the chosen skills have.
    """
    from datasets import Dataset, DatasetDict

    context = context or local_context()
    unknown = sorted(set(config.skills) - set(SKILLS))
    if unknown:
        raise UsageError(f"feedback_drills: skill {unknown[0]!r} is unknown: use some of {', '.join(SKILLS)}")
    splits = {
        "train": generate(config, "train", config.train_rows),
        "test": generate(config, "test", config.test_rows),
    }
    _report(config, context, splits)
    return DatasetDict({name: Dataset.from_list(rows, features=features()) for name, rows in splits.items() if rows})


def _report(config: FeedbackDrillsConfig, context: StepContext, splits: dict[str, list[Row]]) -> None:
    report, rows = context.report, splits["train"] + splits["test"]
    describe(report, __file__)
    report.card["language"] = sorted(config.languages)
    report.counts |= {f"{name}_rows": len(part) for name, part in splits.items()}
    report.counts["both_wrong_rows"] = sum(
        bool(r["claimed_answer"]) and r["answer"] not in (r["first_answer"], r["claimed_answer"]) for r in rows
    )
    scored = splits["test"] or splits["train"]
    report.table(
        "Chance baseline: policies that do not read the problem (test split)",
        ["policy", "accuracy"],
        [[name, round(value, 4)] for name, value in policies(scored).items()],
        "A model has learnt something only where it is clearly above these.",
    )
    for column in ("skill", "feedback_form", "bench_type", "language"):
        values = sorted({r[column] for r in rows})
        report.table(
            f"Rows by {column}",
            [column, *splits],
            [[v, *(sum(r[column] == v for r in part) for part in splits.values())] for v in values],
        )
