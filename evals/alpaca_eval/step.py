"""Recipe step `alpaca_eval`: win rates from AlpacaEval's annotations, with a row for each prompt."""

from typing import Any

from pydantic import Field

from ...hub_sync.context import StepContext
from ...hub_sync.settings import Settings
from .._lib.data import write_parquet
from .._lib.judging import preferences
from .._lib.results import figure_table, write_json
from .benchmark import ALPACA_EVAL


class AlpacaEvalConfig(Settings):
    """How the annotations are scored."""

    bootstrap: int = Field(1000, ge=0, description="Resamples of the 95 % interval; 0: none.")
    seed: int = Field(1234, ge=0, description="Seed of the bootstrap.")
    max_failed: float = Field(0.05, ge=0, le=1, description="Most annotations without a preference, as a share.")


def score_annotations(config: AlpacaEvalConfig, context: StepContext) -> None:
    """Write a row for each prompt and `results.json` below `context.output`.

    Raises DataError for unusable annotations, and for more without a preference than `max_failed`.
    """
    source = context.inputs["dataset"]
    stored = ALPACA_EVAL.read(source.path)
    report = ALPACA_EVAL.score(stored, resamples=config.bootstrap, seed=config.seed, max_failed=config.max_failed)
    write_parquet(preferences.table(stored.comparisons), context.output / "data", "comparisons")
    figures = _figures(report)
    counts = report["counts"]
    about = {name: report[name] for name in ("model", "baseline", "judges")}
    task = {"metrics": figures, "n": counts["comparisons"], "n_available": counts["comparisons"]}
    write_json({"tasks": {"alpaca_eval": task}, "about": about}, context.output / "results.json")
    card = context.report
    card.card.setdefault("pretty_name", f"AlpacaEval: {stored.model} against {stored.baseline}")
    card.card.setdefault("tags", ["evaluation", "llm-as-a-judge", "alpaca_eval"])
    card.summary = (
        f"Preferences of {', '.join(stored.judges) or 'a judge'} between answers of `{stored.model}` and of "
        f"`{stored.baseline}`, from `{source.ref}`; not length-controlled."
    )
    card.columns |= preferences.COLUMNS
    card.counts |= counts
    card.metrics |= {f"alpaca_eval/{name}": entry["value"] for name, entry in figures.items()}
    columns, rows = next(part for part in preferences.shown(report) if not isinstance(part, str))
    note = "Lengths are about equal within 20 % of the longer answer."
    card.tables.append(figure_table("alpaca_eval", figures, f"{counts['scored']} comparisons."))
    card.table("Wins and losses", list(columns), [list(row) for row in rows], note)


def _figures(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    values = {"win_rate": report["win_rate"], "discrete_win_rate": report["discrete_win_rate"]}
    values |= {"win_rate_matched": report["matched"]["win_rate"]}
    if report["interval"]:
        values |= {f"win_rate_ci_{end}": report["interval"][end] for end in ("low", "high")}
    errors = {"win_rate": report["standard_error"], "win_rate_matched": report["matched"]["standard_error"]}
    return {
        name: {"value": value, "stderr": errors.get(name), "higher_is_better": True} for name, value in values.items()
    }
