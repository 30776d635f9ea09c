"""Expert, training, the model's own episodes and inspection as a recipe on the hub, read by unmodified clients."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest
from trainer_parts import make_model

RECIPE = """
name: taxi
namespace: {namespace}
steps:
  expert:
    uses: agent_trajectories
    with: {{games: [{{game: taxi, episodes: {{train: 3, test: 2, test_seeds: 2}}}}], history: 0}}
    publish: {{dataset: taxi-expert, tag: v1.0.0}}
  clone:
    uses: sft
    inputs: {{model: "{namespace}/tiny@main", dataset: steps.expert}}
    with:
      {{dataset_configs: [sft], max_steps: 1, max_length: 1024, device: cpu, bf16: false, threads: 1, lora: {{r: 2}}, chat_template: chatml_tools}}
    publish: {{model: taxi-clone, tag: v1.0.0}}
  rollouts:
    uses: agent_rollouts
    inputs: {{model: steps.clone, dataset: steps.expert}}
    with: {{splits: [train], max_new_tokens: 4, device: cpu, threads: 1}}
    publish: {{dataset: taxi-rollouts, tag: v1.0.0}}
  pairs:
    uses: stepagent_inspect
    inputs: {{model: steps.clone, dataset: steps.rollouts}}
    with: {{max_rows: 8, max_new_tokens: 4, device: cpu, threads: 1}}
    publish: {{dataset: taxi-pairs, tag: v1.0.0}}
"""


@pytest.mark.slow
def test_recipe_publishes_what_trainers_and_load_dataset_read(
    hubwright_in_process, api, tmp_path: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # datasets counts uses of its parquet reader elsewhere
    monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)
    api.create_repo(f"{namespace}/tiny")
    (make_model(tmp_path / "tiny") / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    api.upload_folder(repo_id=f"{namespace}/tiny", folder_path=tmp_path / "tiny")
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(namespace=namespace))
    run = hubwright_in_process("run", "recipe.yaml")
    assert run.returncode == 0, run.stderr[-3000:]

    def load(name: str, config: str | None, split: str) -> datasets.Dataset:
        return datasets.load_dataset(
            f"{namespace}/{name}", config, split=split, revision="v1.0.0", cache_dir=str(tmp_path)
        )

    expert, own = load("taxi-expert", None, "train"), load("taxi-rollouts", "trajectories", "train")
    assert "messages" in expert.column_names and expert["panel"] == own["panel"]
    assert len(load("taxi-expert", "trajectories", "test_seeds")) == 2 == len(load("taxi-expert", None, "test"))
    assert set(load("taxi-rollouts", "steps", "train")["expert_action"]) <= set(load("taxi-expert", "steps", "train")[0]["admissible"])  # fmt: skip
    assert len(load("taxi-pairs", "pairs", "train")) == 8
    card = (Path(api.snapshot_download(f"{namespace}/taxi-expert", repo_type="dataset")) / "README.md").read_text()
    assert "SHA-256 of the panel" in card and "You drive a taxi" in card
