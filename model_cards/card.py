"""Cards: README.md rendered from provenance records and from nothing else.

`hubwright verify` renders again and compares, so a figure changed by hand in a card is found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import plots
from .author import AuthorCard
from .licences import UNSTATED
from .parquet import default_config

if TYPE_CHECKING:
    import jinja2

_LIBRARY = "hubwright"
_SIZES = (
    (1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"),
)  # fmt: skip
_BREAK = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")  # what some reader takes for the end of a line
TRIAL_STEPS = 100  # optimiser steps; a training that `max_steps` ends before is called a trial (our choice)
_AUTO = {
    "text-classification": "AutoModelForSequenceClassification", "image-text-to-text": "AutoModelForImageTextToText",
    "zero-shot-image-classification": "AutoModel",
}  # fmt: skip
"""transformers' class of a model by the card's pipeline_tag; AutoModelForCausalLM for others."""
_SEEING = ("image-text-to-text", "zero-shot-image-classification")  # pipeline_tags of models with a processor


def render(records: list[dict[str, Any]]) -> str:
    """The whole README.md, YAML header included, of a repository with these provenance records (oldest first)."""
    making, latest = records[0], records[-1]
    model = making["target"]["type"] == "model"
    author = author_of(records)
    configs = making.get("parquet") or {}
    body = _template().render(
        records=records,
        making=making,
        target=making["target"],
        tag=latest["target"]["tag"] or making["target"]["tag"],
        is_model=model,
        title=_title(making, author),
        author={name: author.get(name) for name in AuthorCard.model_fields},
        trial=_trial(making) if model else None,
        recipes={r["fingerprint"]: recipe(r) for r in records},
        published=next((r["recipe"] for r in records if "recipe" in r), None),
        configs=configs,
        default_config=default_config(configs, making["report"]["card"].get("default_config")),
        columns=_columns(configs),
        meanings=making["report"].get("columns", {}) | author.get("columns", {}),
        example=making.get("example"),
        example_row=json.dumps(making.get("example", {}).get("row"), ensure_ascii=False, indent=2),
        adapter=_is_adapter(making),
        sees=making["report"]["card"].get("pipeline_tag") in _SEEING,
        auto=_AUTO.get(making["report"]["card"].get("pipeline_tag", ""), "AutoModelForCausalLM"),
        code=any(Path(f["path"]).name.startswith("modeling_") for f in making["files"]),
        unstated=UNSTATED,
    )
    return f"---\n{_header(records)}---\n\n{body}"


@cache
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701  Markdown, not HTML: the hub sanitises what it renders
    )
    environment.filters |= {"cell": _cell, "plot": plots.file_name, "short": lambda text: text[:12], "fenced": _fenced}
    return environment.get_template("card.md.jinja")


def author_of(records: list[dict[str, Any]]) -> dict[str, Any]:
    """What the author says: the fields of the step that made the artifact, then those of its reports."""
    return {name: value for record in records for name, value in record.get("author", {}).items()}


def _title(making: Mapping[str, Any], author: Mapping[str, Any]) -> str:
    stated = author.get("title") or making["report"]["card"].get("pretty_name")
    return str(stated or making["target"]["repo_id"].split("/")[1])


def _trial(record: Mapping[str, Any]) -> int | None:
    """The optimiser steps of a training that `max_steps` ended before TRIAL_STEPS; None of any other."""
    steps = record["config"].get("max_steps") if record["step"]["kind"] == "trainer" else None
    return steps if isinstance(steps, int) and 0 < steps < TRIAL_STEPS else None


def recipe(record: Mapping[str, Any]) -> str:
    """A recipe of the one step that made a record, its inputs by commit: run again, it has the same fingerprint."""
    import yaml

    step, target = record["step"], record["target"]
    inputs = {i["role"]: f"{i['repo_id']}@{i['commit']}" for i in record["inputs"] if not i["role"].endswith(".base")}
    publish = {target["type"]: target["repo_id"], "tag": target["tag"]}
    publish["accept_unlicensed"] = record["license"].get("accepted")
    publish = {key: value for key, value in publish.items() if value}
    settings = {"uses": step["uses"], "inputs": inputs, "with": record["config"], "publish": publish}
    whole = {"name": step["recipe"], "steps": {step["name"]: {key: value for key, value in settings.items() if value}}}
    return str(yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=1000))


def _fenced(text: str, language: str) -> str:
    """The text as a code block of Markdown; its fence is longer than any in the text."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _columns(configs: dict[str, Any]) -> list[tuple[list[str], list[list[str]]]]:
    names: dict[str, list[str]] = {}
    columns = {config: next(iter(splits.values()))["columns"] for config, splits in configs.items()}
    for config, own in columns.items():
        names.setdefault(str(own), []).append(config)
    return [(alike, columns[alike[0]]) for alike in names.values()]


def _header(records: list[dict[str, Any]]) -> str:
    """The YAML header: Hub metadata, in the Hub's own words."""
    import yaml

    making = records[0]
    card = {key: value for key, value in making["report"]["card"].items() if key != "default_config"}
    author = author_of(records)
    tags = [t for t in dict.fromkeys([*card.pop("tags", []), *author.get("tags", [])]) if t != _LIBRARY]
    card |= {"language": author["language"]} if "language" in author else {}
    card |= {"pretty_name": author["title"]} if "title" in author else {}
    licence = making["license"]
    data: dict[str, Any] = {"license": licence["id"]}
    if licence["id"] == "other":
        # The Hub wants a name and a link beside "other"; the link is the section of this very card.
        data["license_name"] = licence["name"] or UNSTATED
        data["license_link"] = "#licence"
    if "language" in card:
        data["language"] = card.pop("language")
    kind = making["target"]["type"]
    if kind == "model":
        data |= _model_metadata(records)
    elif kind == "dataset":
        data |= _dataset_metadata(making)
    else:  # a Space: the Hub asks for a title and for what runs it; a metric module runs nowhere by itself
        data |= {"title": _title(making, author), "sdk": "static"}
        card.pop("pretty_name", None)
    data |= {key: value for key, value in sorted(card.items()) if value}
    data["tags"] = [_LIBRARY, *tags]
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)


def _model_metadata(records: list[dict[str, Any]]) -> dict[str, Any]:
    making = records[0]
    # A model that lends its tokenizer alone is no base; the base of an adapter is the adapter's.
    models = [i for i in making["inputs"] if i["type"] == "model" and not i["role"].endswith(".base")]
    base = [i["repo_id"] for i in models if i["role"] != "tokenizer"]
    library = "peft" if _is_adapter(making) else "transformers"
    data: dict[str, Any] = {"library_name": library, "pipeline_tag": "text-generation"}
    if base:
        data["base_model"] = base if len(base) > 1 else base[0]
        data["base_model_relation"] = "adapter" if _is_adapter(making) else "finetune"
    if datasets := sorted({i["repo_id"] for i in making["inputs"] if i["type"] == "dataset"}):
        data["datasets"] = datasets
    return data


def _dataset_metadata(making: Mapping[str, Any]) -> dict[str, Any]:
    configs = making.get("parquet") or {}
    default = default_config(configs, making["report"]["card"].get("default_config"))
    rows = sum(split["rows"] for splits in configs.values() for split in splits.values())
    data: dict[str, Any] = {"size_categories": [next((name for n, name in _SIZES if rows < n), "n>1T")]}
    sources = sorted({i["repo_id"] for i in making["inputs"] if i["type"] == "dataset"})
    if sources:
        data["source_datasets"] = sources
    if configs:
        data["configs"] = [
            {
                "config_name": name,
                **({"default": True} if len(configs) > 1 and name == default else {}),
                "data_files": [{"split": split, "path": entry["path"]} for split, entry in splits.items()],
            }
            for name, splits in configs.items()
        ]
    return data


def _is_adapter(record: Mapping[str, Any]) -> bool:
    return any(f["path"] == "adapter_config.json" for f in record["files"])


def _cell(value: Any) -> str:
    """A table cell: figures to four digits, no character that would break the row."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return _BREAK.sub(" ", str(value).replace("|", "\\|"))
