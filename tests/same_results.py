"""Whether two versions of the package publish the same bytes. Run as a program:

    python tests/same_results.py OLD_PYTHON NEW_PYTHON [--rename OLD_STEP=NEW_STEP ...]

Each interpreter has its version installed. Both run one small recipe on a hub of their own: feedback drills, induction,
executed call graphs, two trainings from random weights, their merge, a mask and a training within it. Prints a line for
each data file (Parquet, safetensors, JSON of tokenizers and configs) and exits 1 if one differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

RECIPE = """\
name: same
namespace: me
steps:
  drills: {{uses: feedback_drills, with: {{train_rows: 200, test_rows: 24}}, publish: {{dataset: drills}}}}
  induction: {{uses: induction, with: {{train_rows: 512}}, publish: {{dataset: induction}}}}
  graphs:
    uses: {call_graphs}
    with: {{train_rows: 60, test_rows: 12, function_test_rows: 12}}
    publish: {{dataset: graphs}}
  a:
    uses: pretrain
    inputs: {{dataset: steps.induction}}
    with: &training
      architecture: {{model_type: kv_shift, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2,
                      num_attention_heads: 4}}
      tokenizer: {{kind: words}}
      max_length: 48
      max_steps: 20
      per_device_train_batch_size: 16
      threads: 1
      use_cpu: true
    publish: {{model: a}}
  b:
    uses: pretrain
    inputs: {{dataset: steps.induction}}
    with: {{<<: *training, seed: 1}}
    publish: {{model: b}}
  merged:
    uses: merge
    inputs: {{base: steps.a, model_b: steps.b}}
    with: {{method: ties, models: {{b: {{density: 0.5}}}}}}
    publish: {{model: merged}}
  located:
    uses: maet_locate
    inputs: {{model: steps.a, dataset: steps.induction}}
    with: &run {{max_length: 48, max_steps: 5, per_device_train_batch_size: 16, threads: 1, use_cpu: true}}
    publish: {{dataset: located}}
  summed:
    uses: maet_locate
    inputs: {{model: steps.a, dataset: steps.induction}}
    with: {{<<: *run, importance: gradient}}
    publish: {{dataset: summed}}
  masked:
    uses: maet_extract
    inputs: {{model: steps.a, dataset: steps.induction, masks: steps.located}}
    with: *run
    publish: {{model: masked}}
"""
REPOSITORIES = {
    "drills": "dataset", "induction": "dataset", "graphs": "dataset", "a": "model", "b": "model", "merged": "model",
    "located": "dataset", "summed": "dataset", "masked": "model",
}  # fmt: skip
OWN = ("README.md", "provenance.json", "recipe.yaml", "recipe.lock", ".gitattributes")  # versions, times, names
PROGRAM = """
import json, sys
from pathlib import Path
from huggingface_hub import snapshot_download
from hubwright.hub_sync.server.embedded import start_hub_process
import os, subprocess
root, recipe, repositories = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
hub = start_hub_process(root / "hub", 0)
try:
    os.environ.update(hub.env)
    subprocess.run([sys.executable, "-m", "hubwright", "run", recipe], cwd=root, env=os.environ, check=True)
    for name, kind in repositories.items():
        command = [sys.executable, "-c",
                   "import sys; from huggingface_hub import snapshot_download as s; "
                   "s(sys.argv[1], repo_type=sys.argv[2], local_dir=sys.argv[3])",
                   f"me/{name}", kind, str(root / "out" / name)]
        subprocess.run(command, env=os.environ, check=True)
finally:
    hub.stop()
"""


def files_of(python: str, recipe: str, root: Path) -> dict[str, str]:
    """SHA-256 of every data file that a version publishes, by repository and name."""
    path = root / "same.yaml"
    path.write_text(_without_anchors(recipe), encoding="utf-8")
    environment = os.environ | {"HF_HOME": str(root / "home"), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [python, "-c", PROGRAM, str(root), str(path), json.dumps(REPOSITORIES)], env=environment, cwd=root, check=True
    )
    out = root / "out"
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in OWN and path.suffix != ".png" and ".cache" not in path.parts
    }


def _without_anchors(text: str) -> str:
    """Recipes refuse anchors: what they stand for is written out."""
    return json.dumps(yaml.safe_load(text), indent=1)  # JSON is YAML


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--rename", action="append", default=[], metavar="STEP=OLD", help="the old name of a step")
    arguments = parser.parse_args()
    renamed = dict(pair.split("=") for pair in arguments.rename)
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for name, python in (("old", arguments.old), ("new", arguments.new)):
            word = renamed.get("call_graphs", "call_graphs") if name == "old" else "call_graphs"
            root = Path(folder) / name
            root.mkdir()
            found.append(files_of(python, RECIPE.format(call_graphs=word), root))
    old, new = found
    for name in sorted(old.keys() | new.keys()):
        print("same" if old.get(name) == new.get(name) else "DIFFERS", name)
    return int(old != new)


if __name__ == "__main__":
    sys.exit(main())
