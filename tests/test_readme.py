"""What the README prints works as printed. In a file of its own, so that it runs beside test_end_to_end.py."""

import re
from pathlib import Path

from tiny_model import save_tiny_model


def test_readme_recipe_as_printed_runs_without_gpu(hubwright, hubwright_in_process, api, namespace, tmp_path):
    """README's recipe and lines, with a tiny model in the place of SmolLM2."""
    folder = save_tiny_model(tmp_path / "tiny")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A tiny random model\n")
    api.create_repo(f"{namespace}/tiny")
    api.upload_folder(folder_path=folder, repo_id=f"{namespace}/tiny")
    readme = (Path(__file__).resolve().parent.parent / "README.md").read_text()
    recipe = re.search(r"```yaml\n(name: my-model.*?)```", readme, re.DOTALL).group(1)
    (tmp_path / "my-model.yaml").write_text(recipe.replace("HuggingFaceTB/SmolLM2-135M-Instruct", f"{namespace}/tiny"))
    changes = ["--set", f"namespace={namespace}", "--set", "steps.scores.with.gen_kwargs={max_gen_toks: 8}"]
    run = hubwright("run", "my-model.yaml", *changes, env={"CUDA_VISIBLE_DEVICES": ""})
    assert run.returncode == 0, run.stderr[-3000:]
    assert "\nscores:\n" in run.stdout and "feedback_drills/" in run.stdout
    checked = hubwright_in_process("verify", f"models/{namespace}/smollm2-drills@v1.0.0")
    assert checked.returncode == 0, checked.stdout
