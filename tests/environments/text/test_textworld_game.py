"""TextWorld, where a user has installed it."""

from __future__ import annotations

import random
from importlib.util import find_spec

import pytest

from hubwright.environments.text.panel import panel
from hubwright.environments.text.play import play
from hubwright.environments.text.pool import GamePool

pytestmark = pytest.mark.skipif(find_spec("textworld") is None, reason="textworld is not here")


def test_play_expert_wins_also_after_random_actions(tmp_path):
    rng = random.Random(0)

    def policy(views):
        return [
            rng.choice(view.answers["admissible"]) if len(view.actions) < 5 else view.answers["expert"]
            for view in views
        ]

    with GamePool("textworld/coin_collector", {"level": 5, "folder": str(tmp_path)}) as pool:
        assert "folder" not in pool.options
        rows = play(pool, panel(pool, "test", 2), policy, asked=["expert", "admissible"])
    assert all(row.success and row.score == 1.0 and all(row.valid) for row in rows)
    assert len(list(tmp_path.glob("*.z8"))) == 2
