"""Weights that a model's class has and its files lack, which each load would draw at random.

transformers' own loader says so, on the meta device: it reads headers and holds no weights. It needs several hundred
megabytes of its own, so it runs in another process unless this one has loaded it anyway.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ...hub_sync.errors import DataError
from .parents import Parent, parent


def refuse_incomplete(of: Parent) -> None:
    """Raise DataError if weights are missing.

    A model is not checked if its config names code of its own or no class of transformers, or if that cannot load it.
    """
    if of.config.get("auto_map") or not of.config.get("architectures"):
        return
    if "transformers.modeling_utils" in sys.modules:
        missing = missing_weights(of.folder)
    else:
        command = [sys.executable, "-m", __name__, str(of.folder)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        missing = json.loads(run.stdout.splitlines()[-1])
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DataError(
            f"{of.called} has no weights for {missing[0]}{more}, and they would be drawn at random at each load: "
            "download the model again, or save all of it"
        )


def missing_weights(folder: Path) -> list[str]:
    """Names of the parameters that the files in a model folder lack; none if transformers cannot load the model."""
    import transformers

    config = parent(folder, "").config
    try:
        model_class = getattr(transformers, str(config["architectures"][0]))
        _, info = model_class.from_pretrained(
            str(folder), config=model_class.config_class.from_dict(dict(config)), device_map="meta",
            use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True,
        )  # fmt: skip
    except Exception:  # transformers, safetensors and torch raise classes of their own
        return []
    return sorted(info["missing_keys"])


if __name__ == "__main__":
    print(json.dumps(missing_weights(Path(sys.argv[1]))))
