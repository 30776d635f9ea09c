"""Weights that a model's class has and its files lack, which each load would draw at random.

transformers' own loader says so, on the meta device: it reads headers and holds no weights. It needs several hundred
megabytes of its own, so it runs in another process unless this one has loaded it anyway.
"""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

from ...hub_sync.errors import DataError, first_line
from .parents import Parent, parent

logger = logging.getLogger("hubwright")


def refuse_incomplete(of: Parent) -> None:
    """Raise DataError if weights are missing. A model is not checked if its config has code of its own or names no
    class. If transformers cannot load it, a warning says that it is not checked."""
    if of.config.get("auto_map") or not of.config.get("architectures"):
        return
    if "transformers.modeling_utils" in sys.modules:
        result = look(of.folder)
    else:
        command = [sys.executable, "-m", __name__, str(of.folder)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        last = (run.stdout if run.returncode == 0 else run.stderr).splitlines()[-1:] or [f"status {run.returncode}"]
        result = json.loads(last[0]) if run.returncode == 0 else {"unknown": last[0]}
    if "unknown" in result:
        logger.warning("%s is not checked for missing weights: %s", of.called, result["unknown"])
    elif missing := result["missing"]:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DataError(
            f"{of.called} has no weights for {missing[0]}{more}, and they would be drawn at random at each load: "
            "download the model again, or save all of it"
        )


def look(folder: Path) -> dict[str, Any]:
    """Which parameters the files in a model folder lack. Returns `{"missing": [name, ...]}`, or `{"unknown": reason}`
    if transformers cannot load the model."""
    import transformers

    config = parent(folder, "").config
    try:
        model_class = getattr(transformers, str(config["architectures"][0]))
        _, info = model_class.from_pretrained(
            str(folder), config=model_class.config_class.from_dict(dict(config)), device_map="meta",
            use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True,
        )  # fmt: skip
    except Exception as error:  # transformers, safetensors and torch raise classes of their own
        return {"unknown": first_line(error)}
    return {"missing": sorted(info["missing_keys"])}


if __name__ == "__main__":
    print(json.dumps(look(Path(sys.argv[1]))))
