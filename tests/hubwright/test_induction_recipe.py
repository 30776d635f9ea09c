"""recipes/kv_shifting/induction.yaml as it is shipped: data, two models, lm-eval on what was published, one card with both curves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_shipped_recipe_shows_the_effect(hubwright, api, tmp_path: Path, namespace: str) -> None:
    run = hubwright("run", "induction", "--set", f"namespace={namespace}", timeout=600)
    assert run.returncode == 0, run.stderr[-3000:]
    folder = Path(api.snapshot_download(f"{namespace}/induction-kv-shift", revision="v1.0.0"))
    record = json.loads((folder / "provenance.json").read_text())["records"][-1]["report"]
    table = record["tables"][0]
    assert table["columns"] == ["metric", "induction-vanilla", "induction-kv-shift"]
    accuracy = next(row for row in table["rows"] if row[0] == "acc")
    plain, shifted = (float(str(cell).split()[0]) for cell in accuracy[1:])
    assert plain < 0.2 and shifted > 0.95
    curves = {curve["title"]: curve["series"] for curve in record["curves"]}
    assert set(curves) == {"Loss, both models", "Accuracy, both models"}
    drawn = curves["Accuracy, both models"]
    assert set(drawn) == {"induction-vanilla", "induction-kv-shift"} and drawn["induction-kv-shift"][-1][1] > 0.95
    card = (folder / "README.md").read_text()
    assert "trust_remote_code=True" in card and 'code_revision="v1.0.0"' in card
    assert (folder / "plots" / "accuracy-both-models.png").stat().st_size > 5000
    checked = hubwright("verify", f"models/{namespace}/induction-kv-shift@v1.0.0")
    assert checked.returncode == 0, checked.stdout + checked.stderr
