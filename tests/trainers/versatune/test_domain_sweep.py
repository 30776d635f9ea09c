"""A sweep of small trainings: the table that it publishes, its mixtures, and that no training is done twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from column_parts import check_columns
from mixture_parts import DOMAINS, save_mixture
from pretrain_parts import TINY
from trainer_parts import context

from hubwright.trainers.versatune import sweep


def test_sweep_publishes_weights_and_losses_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = save_mixture(tmp_path / "data", rows=8)
    config = sweep.SweepConfig(**TINY | {"runs": 2, "seeds": 2, "max_steps": 1, "seed": 7})
    trained, real = [], sweep.pretrain

    def killed(one: Any, step: Any) -> None:
        trained.append((round(one.weights["law"], 6), one.seed))
        if len(trained) == 3:
            raise KeyboardInterrupt
        real(one, step)

    monkeypatch.setattr(sweep, "pretrain", killed)
    with pytest.raises(KeyboardInterrupt):
        sweep.sweep(config, context(tmp_path, {"dataset": data}))
    step = context(tmp_path, {"dataset": data})
    rows = sweep.sweep(config, step)["train"]
    check_columns("versatune_sweep", {"train": rows}, step.report)
    assert len(trained) == 5 and trained[2] == trained[3] and len(set(trained)) == 4
    assert rows.column_names == ["run", "seed", *(f"weight_{d}" for d in DOMAINS), *(f"loss_{d}" for d in DOMAINS)]
    assert rows["run"][:] == [0, 0, 1, 1] and rows["seed"][:] == [7, 8, 7, 8]
    for row in rows:
        assert sum(row[f"weight_{name}"] for name in DOMAINS) == pytest.approx(1)
        assert all(2 < row[f"loss_{name}"] < 5 for name in DOMAINS)
    assert rows[0]["loss_law"] != rows[1]["loss_law"] != rows[2]["loss_law"] and step.report.metrics["trainings"] == 4


def test_mixtures_follow_from_their_number_and_lie_around_the_start() -> None:
    prior = np.array([0.6, 0.4, 0.0])
    many = np.array([sweep.mixture(prior, 1.0, 0, run) for run in range(2000)])
    assert many.sum(axis=1) == pytest.approx(np.ones(2000)) and (many[:, 2] == 0).all() and (many[:, :2] > 0).all()
    assert many.mean(axis=0) == pytest.approx(prior, abs=0.02)
    assert (sweep.mixture(prior, 1.0, 0, 5) == many[5]).all() and (sweep.mixture(prior, 1.0, 1, 5) != many[5]).any()
    assert np.isfinite(sweep.mixture(prior, 1e-6, 0, 0)).all()


@pytest.mark.parametrize("settings", [{"strategy": "odm"}, {"reference_losses": {"law": 1.0}}, {"runs": 0}])
def test_settings_that_a_sweep_does_not_have_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"strategy|the weights of a run stay|greater than or equal to 1"):
        sweep.SweepConfig(**settings)
