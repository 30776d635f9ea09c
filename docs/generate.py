"""Reference pages that are made from the code: steps, commands, tasks, Python objects, the packages' imports.

    python docs/generate.py

They are written to docs/reference/ and are not committed; `make docs` runs this before mkdocs.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).parent / "reference"
PUBLIC = {
    "Recipes and single steps": ["hubwright.api"],
    "Training": ["hubwright.trainers.sft", "hubwright.trainers.dpo", "hubwright.trainers.pretrain"],
    "Images": [
        "hubwright.trainers.vision_sft", "hubwright.trainers.dual_encoder", "hubwright.inference.media.embeddings",
        "hubwright.inference.media.images", "hubwright.inference.media.loading",
    ],
    "Trainer classes": [
        "hubwright.trainers.sft.trainer", "hubwright.trainers.dpo.trainer", "hubwright.trainers.pretrain.trainer",
        "hubwright.trainers.maet.trainer", "hubwright.trainers.vision_sft.trainer",
        "hubwright.trainers.dual_encoder.trainer",
    ],
    "Merging": ["hubwright.trainers.merge.config", "hubwright.trainers.merge.step"],
    "The contract of a step": ["hubwright.hub_sync.step", "hubwright.hub_sync.context", "hubwright.hub_sync.errors"],
    "The Hub": ["hubwright.hub_sync.refs", "hubwright.hub_sync.pull", "hubwright.hub_sync.publish"],
    "Asking models": ["hubwright.inference.client", "hubwright.inference.stage"],
}  # fmt: skip


def steps_page() -> str:
    """Every step with its inputs and settings."""
    from hubwright.catalog import catalog, config_class
    from hubwright.cli.steps import settings

    lines = ["# Steps", "", "What `uses:` may say, by kind. `hubwright schema` has the same as JSON Schema, and "
             "`hubwright recipes --kinds STEP` explains one step.", ""]  # fmt: skip
    for kind in ("builder", "trainer", "eval", "card"):
        lines += [f"## {kind}", ""]
        for name, spec in catalog().items():
            if spec.kind != kind:
                continue
            lines += [f"### {name}", "", f"{spec.help[0].upper()}{spec.help[1:]}. Publishes a {spec.publishes}.", ""]
            if spec.inputs:
                lines += ["| input | type | |", "|---|---|---|"]
                for role, shown in zip(spec.inputs.items(), spec.role_names(), strict=True):
                    notes = [word for word in ("optional", "endpoint", "folds", "ordered") if getattr(role[1], word)]
                    lines.append(f"| `{shown}` | {role[1].type} | {', '.join(notes)} |")
                lines.append("")
            lines += ["| setting | type | default | meaning |", "|---|---|---|---|"]
            lines += [f"| `{key}` | {' | '.join(map(_cell, cells))} |" for key, *cells in settings(config_class(spec))]
            lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    text = " ".join(text.split()).replace("|", "\\|")
    return text if len(text) < 400 else text[:400] + " …"


def commands_page() -> str:
    """The help of every command."""
    from typer.main import get_command

    from hubwright.cli import app

    lines = ["# Commands", ""]

    def add(command: Any, path: str) -> None:
        import click

        with click.Context(command, info_name=path) as context:
            if getattr(command, "commands", None):
                for name, inner in sorted(command.commands.items()):
                    add(inner, f"{path} {name}")
                return
            lines.extend([f"## {path}", "", "```text", command.get_help(context), "```", ""])

    add(get_command(app), "hubwright")
    return "\n".join(lines)


def tasks_page() -> str:
    """The lm-eval tasks by folder."""
    from hubwright.evals._lib.data import tasks_dir

    folders: dict[str, list[str]] = defaultdict(list)
    for path in sorted(tasks_dir().rglob("*.yaml")):
        if not path.name.startswith("_"):
            folders[path.parent.relative_to(tasks_dir()).as_posix()].append(path.stem)
    lines = ["# Tasks", "", "`lm_eval --tasks NAME` finds them after `pip install`.", ""]
    for folder, names in sorted(folders.items()):
        lines += [f"## {folder if folder != '.' else 'all'}", "", ", ".join(f"`{name}`" for name in names), ""]
    return "\n".join(lines)


def python_page() -> str:
    """Directives for mkdocstrings."""
    lines = ["# Python", ""]
    for title, modules in PUBLIC.items():
        lines += [f"## {title}", "", *(f"::: {module}" for module in modules), ""]
    return "\n".join(lines)


def packages_page() -> str:
    """The imports between packages, and between the folders of a package, as Mermaid graphs.

    Needs an installed copy on the path: static tools do not follow setuptools' editable finder.
    """
    import grimp

    graph = grimp.build_graph("hubwright")
    edges: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for module in graph.modules:
        for other in graph.find_modules_directly_imported_by(module):
            (package, folder), (to_package, to_folder) = (_place(name) for name in (module, other))
            if package != to_package:
                edges[""].add((package, to_package))
            elif folder != to_folder:
                edges[package].add((folder, to_folder))
    lines = ["# Packages", "", "Drawn from the imports by `docs/generate.py`; an arrow is an import.", ""]
    for package in ("", "builders", "trainers", "evals"):
        lines += [f"## {package or 'hubwright'}", "", "```mermaid", "graph TD"]
        lines += [f"  {mine} --> {other}" for mine, other in sorted(edges[package])]
        lines += ["```", ""]
    return "\n".join(lines)


def _place(module: str) -> tuple[str, str]:
    """Package and folder of a module: hubwright.evals._lib.data -> evals, _lib."""
    packages = ("builders", "trainers", "evals", "model_cards", "inference", "environments", "hub_sync")
    parts = [*module.split(".")[1:], "", ""]
    return (parts[0], parts[1]) if parts[0] in packages else ("hubwright", parts[0])


PAGES = {
    "steps": steps_page, "commands": commands_page, "tasks": tasks_page, "python": python_page,
    "packages": packages_page,
}  # fmt: skip


def main() -> None:
    for name, page in PAGES.items():
        (REFERENCE / f"{name}.md").write_text(page() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
