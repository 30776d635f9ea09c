"""Output of the stock command as a step: taken as it is, and refused where it is about something else."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from column_parts import check_columns
from huggingface_hub import HfApi

from hubwright.evals.fbbench.answers import read_answers

RECIPE = """\
name: imported
namespace: {namespace}
steps:
  rows:
    uses: fbbench
    with: {{source: sample}}
    publish: {{dataset: rows}}
  answers:
    uses: lm_eval_output
    inputs: {{model: {namespace}/tiny, dataset: steps.rows}}
    with: {{source: out}}
    publish: {{dataset: answers, tag: v1.0.0}}
"""


@pytest.mark.slow
def test_the_stock_commands_answers_become_a_data_set(
    hubwright_in_process: Callable[..., subprocess.CompletedProcess[str]],
    api: HfApi,
    namespace: str,
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    api.create_repo(f"{namespace}/tiny")
    api.upload_folder(repo_id=f"{namespace}/tiny", folder_path=tiny_model)
    api.upload_file(
        repo_id=f"{namespace}/tiny",
        path_or_fileobj=b"---\nlicense: apache-2.0\n---\n\nA tiny model.\n",
        path_in_repo="README.md",
    )
    (tmp_path / "imported.yaml").write_text(RECIPE.format(namespace=namespace))
    rows = hubwright_in_process("run", "imported.yaml", "--only", "rows")
    assert rows.returncode == 0, rows.stderr
    early = hubwright_in_process("run", "imported.yaml")
    assert early.returncode == 3 and "no results_*.json" in early.stderr
    metadata = json.dumps({"dataset": f"{namespace}/rows"})
    evaluated = hubwright_in_process(
        *("eval", "fbbench", "--model", "hf", "--model_args", f"pretrained={namespace}/tiny", "--device", "cpu"),
        *("--metadata", metadata, "--predict_only", "--gen_kwargs", "max_gen_toks=4", "--batch_size", "16"),
        *("--limit", "6", "--log_samples", "--output_path", "out"),
    )
    assert evaluated.returncode == 0, evaluated.stderr[-2000:]
    # A commit that changes the card alone is the same model.
    api.upload_file(
        repo_id=f"{namespace}/tiny",
        path_or_fileobj=b"---\nlicense: apache-2.0\n---\n\nA tiny model, described anew.\n",
        path_in_repo="README.md",
    )
    done = hubwright_in_process("run", "imported.yaml")
    assert done.returncode == 0, done.stderr
    folder = Path(api.snapshot_download(f"{namespace}/answers", repo_type="dataset", revision="v1.0.0"))
    check_columns("lm_eval_output", folder)
    answers = read_answers(folder)
    assert len(answers) == 6 and all(answer.answer for answer in answers)
    card = (folder / "README.md").read_text()
    assert "A trial on the first 6" in card and str(tmp_path) not in card + (folder / "results.json").read_text()

    (samples,) = tmp_path.glob("out/*/samples_fbbench_*.jsonl")
    whole = samples.read_text()
    again = ["run", "imported.yaml", "--only", "answers", "--set", "steps.answers.publish.tag=v2.0.0"]

    samples.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    short = hubwright_in_process(*again)
    assert short.returncode == 3 and "holds 5 documents, results say 6" in short.stderr

    samples.write_text(whole.replace('"bench_type": "Error', '"bench_type": "Any Error'))
    foreign = hubwright_in_process(*again)
    assert foreign.returncode == 3 and "is not a row of" in foreign.stderr

    samples.write_text(whole)
    api.upload_file(repo_id=f"{namespace}/tiny", path_or_fileobj=b"{}", path_in_repo="generation_config.json")
    other = hubwright_in_process(*again, "--update")
    assert other.returncode == 3 and "not about the step's model" in other.stderr
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "out").mkdir()
    empty = hubwright_in_process(*again)
    assert empty.returncode == 3 and "no results_*.json" in empty.stderr
