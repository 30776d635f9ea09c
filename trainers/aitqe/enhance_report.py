"""What `aitqe_enhance` tells: the cost before it rewrites, and what was done and why."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...hub_sync.context import StepContext
from ...hub_sync.provenance import source_columns
from .gallery import rewritten

if TYPE_CHECKING:
    from datasets import Dataset

    from .enhance import EnhanceConfig
    from .rating import Pairs

logger = logging.getLogger("hubwright.trainers")
COLUMNS = {
    "id": "of the pair",
    "raw_text": "the text as it was",
    "text": "the text as it is now",
    "decision": "keep, rewrite or drop",
    "reason": "why",
    "score": "of the raw text by the first scorer, 1 to 10; null if it could not be scored",
    "second_before": "of the raw text by the second scorer; null where nothing was rewritten",
    "second_after": "of the new caption by the second scorer; null the same",
    "retention": "share of the raw text's names and numbers in the new caption; null if it has none",
    "recaption": "the new caption, taken or not; null if there is none",
}


def features() -> dict[str, Any]:
    """Columns of the decisions and their types."""
    from datasets import Value

    numbers = ("score", "second_before", "second_after", "retention")
    return {name: Value("float64" if name in numbers else "string") for name in COLUMNS}


def forecast(config: EnhanceConfig, context: StepContext, pairs: int) -> None:
    """Say what the work is, as far as it is known before a model is opened.

    With `rewrite_rate` the number of new captions is known but for rounding and pairs that cannot be scored; else it
    is at most that of the pairs.
    """
    role = "second" if "second" in context.inputs else "model"
    rate, word = (1.0, "at most") if config.rewrite_rate is None else (config.rewrite_rate, "about")
    new = round(rate * pairs)
    logger.info(
        "%s: %s pairs to be scored%s; then %s %s new captions of at most %s tokens (%s in all), and %s scores by the "
        "input %s", context.step, f"{pairs:,}", ", and the samples of dev" if "dev" in context.inputs else "", word,
        f"{new:,}", config.max_new_tokens, f"{new * config.max_new_tokens:,}", f"{2 * new:,}", role,
    )  # fmt: skip


def estimate(config: EnhanceConfig, context: StepContext, pairs: int, low: int) -> None:
    """Say how much is written before it begins."""
    role = "second" if "second" in context.inputs else "model"
    logger.info(
        "%s: %s of %s pairs (%.1f %%) are below the threshold: %s new captions of at most %s tokens, and %s scores by "
        "the input %s", context.step, f"{low:,}", f"{pairs:,}", 100 * low / pairs, f"{low:,}", config.max_new_tokens,
        f"{2 * low:,}", role,
    )  # fmt: skip


def fill(
    config: EnhanceConfig,
    context: StepContext,
    pairs: Pairs,
    decisions: Dataset,
    faults: Mapping[str, int],
    origin: str,
) -> None:
    """Fill the report, and write the contact sheet beside the data."""
    report, source, model = context.report, context.inputs["dataset"].ref, context.inputs["model"].ref
    second = context.inputs.get("second")
    judge = f"`{second.ref}`" if second else "the same scorer, which may prefer its own words"
    report.card |= {
        "pretty_name": f"{source.repo_id}, texts scored and rewritten",
        "default_config": "enhanced",
        "tags": ["image-text", "aitqe"],
    }
    report.summary = (
        f"The pairs of `{source}`. `{model}` scored every text; those below the threshold were written anew, and a "
        f"new caption was taken if {judge} preferred it by {config.delta:g} points, it held {config.retention:g} of "
        f"the names and numbers, and had at most {config.max_words} words. Every decision is in the config "
        "`decisions`. "
        f"The threshold is {origin}. After AITQE (arXiv:2410.16166); the rule is our choice."
    )
    names = [name for name in pairs.rows.column_names if name not in COLUMNS]
    report.columns |= source_columns(context.inputs["dataset"].path, source.repo_id, names) | COLUMNS
    counts = Counter(decisions["decision"])
    report.counts |= {"pairs": len(decisions), **{name: counts[name] for name in ("keep", "rewrite", "drop")}}
    report.counts |= {f"not scored: {reason}": number for reason, number in faults.items()}
    reasons = Counter(zip(decisions["decision"], decisions["reason"], strict=True))
    table = [[decision, reason, number] for (decision, reason), number in reasons.most_common()]
    report.table("Decisions", ["decision", "reason", "pairs"], table)
    columns = decisions.select_columns(["decision", "second_before", "second_after"])
    gain = sum(row["second_after"] - row["second_before"] for row in columns if row["decision"] == "rewrite")
    report.metrics |= {
        "keep_rate": counts["keep"] / len(decisions), "rewrite_rate": counts["rewrite"] / len(decisions),
        "drop_rate": counts["drop"] / len(decisions),
        "second_score_gain": gain / counts["rewrite"] if counts["rewrite"] else None,
    }  # fmt: skip
    rewritten(context, pairs, decisions, config.gallery)
