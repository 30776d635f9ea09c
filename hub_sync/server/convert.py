"""GGUF to a plain transformers folder: safetensors, tokenizer, chat template. Run as a process of its own.

`python -m hubwright.hub_sync.server.convert FILE.gguf OUTPUT DTYPE`: the process keeps the gigabyte this needs, and
the libraries' environment, apart from the caller. The weights are dequantized, not improved: quantization error stays.
"""

import json
import sys
from pathlib import Path

# Raised whenever the same source would give other bytes: part of the cache key and of the card.
VERSION = 1
# Keys that tell about this machine or this call, not about the model.
_LOCAL_KEYS = ("_name_or_path", "_model_name_or_path", "is_local", "local_files_only", "name_or_path")


def convert(gguf: Path, output: Path, dtype: str) -> None:
    """Write the model in `gguf` to the folder `output`, weights as `dtype` (a torch dtype's name)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    torch.set_num_threads(1)
    # Without dequantize=True the model carries a quantizer and refuses to be saved or trained.
    model = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent),
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=getattr(torch, dtype),
    )
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    model.save_pretrained(str(output))
    tokenizer.save_pretrained(str(output))
    for path in sorted(output.glob("*.json")):
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict) and any(key in value for key in _LOCAL_KEYS):
            plain = {key: item for key, item in value.items() if key not in _LOCAL_KEYS}
            path.write_text(json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    for path in output.iterdir():
        path.chmod(0o644)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
