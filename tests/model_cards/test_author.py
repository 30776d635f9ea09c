"""What authors write into `card:` as they do: taken as it is meant, or refused in one line with the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.model_cards.author import AuthorCard, author_part, check_author, read_markdown
from hubwright.recipe import load_plan

RECIPE = """\
name: small
namespace: me
card: {{{whole}}}
steps:
  drills:
    uses: feedback_drills
    publish:
      dataset: drills
      card:
        {own}
"""


def plan_of(folder: Path, own: str = "title: Drills", whole: str = "") -> Any:
    path = folder / "small.yaml"
    path.write_text(RECIPE.format(own=own.replace("\n", "\n        "), whole=whole))
    return load_plan(path)


SLOPPY = {
    "an unknown field": ("autor: Ada", "unknown key 'autor'; did you mean 'authors'?"),
    "a file that is missing": ("text: about.md", "there is no file 'about.md' beside the recipe: create it"),
    "a file elsewhere": ("text: ../about.md", "'../about.md' is not beside the recipe: put the file there"),
    "a header of its own": ("text: |\n  ---\n  license: mit\n  ---\n  Text", "it begins with a '---' header"),
    "a tag that is a number": ("tags: [drills, 2026]", "2026 is not text: put it in quotes (found"),
    "several tags in one text": ("tags: drills, feedback", "'drills, feedback' is several tags: write a list"),
    "a licence as a tag": ("tags: ['license:mit']", "'license:mit' is no tag: write publish.license"),
    "Norwegian": ("language: no", "False is not text: put it in quotes"),
    "a language by its name": ("language: English", "'English' is not a language code"),
    "a local image": ("text: 'See ![curve](images/loss.png)'", "image 'images/loss.png' is a local file"),
    "a local image in HTML": ("limits: '<img width=9 src=\"loss.png\">'", "image 'loss.png' is a local file"),
    "a local image by reference": ("text: |\n  ![a][b]\n\n  [b]: ./a.png", "image 'a.png' is a local file"),
    "an image by file URL": ("text: '![a](file:///home/me/a.png)'", "image 'file:///home/me/a.png' is a local file"),
    "a code block left open": ("text: |\n  ```python\n  x = 1", "a code block is not closed: end it with a line ```"),
    "a code block left open behind its mark": ("text: |\n  ```\n  x = '```", "a code block is not closed"),
    "a local video": ("text: '<video src=\"a.mp4\"></video>'", "image 'a.mp4' is a local file"),
    "a comment left open": ("text: |\n  <!-- to do\n  more", "a comment <!-- is not closed"),
    "an element left open": (
        "intended_use: |\n  <details>\n\n  more",
        "<details> is not closed: end it with </details>",
    ),
    "an empty text": ("text: '  '", "it is empty: write something, or drop it"),
    "a title of two lines": ("title: |\n  Drills\n  more", "it has several lines: write one"),
    "a title as Markdown": ("title: '# Drills'", "a title is text without '#'"),
    "a title that is a number": ("title: 2026", "it is not text: put it in quotes (found 2026)"),
    "columns as a list": ("columns: [prompt]", "it is not a mapping; write `key: value` lines (found a list)"),
    "a column without text": ("columns: {prompt: 3}", "it is not text: put it in quotes (found 3)"),
    "a token": ("contact: hf_" + "a" * 34, "this looks like a key or password"),
}


@pytest.mark.parametrize("name", SLOPPY)
def test_sloppy_card_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    own, message = SLOPPY[name]
    with pytest.raises(UsageError) as refused:
        plan_of(tmp_path, own)
    text = str(refused.value)
    assert message in text and "\n" not in text and text.startswith(f"{tmp_path}/small.yaml:"), text
    assert ": steps.drills.publish.card." in text, text


def test_card_of_all_steps_has_no_columns(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"small.yaml:3: card.columns: unknown key 'columns'"):
        plan_of(tmp_path, whole="columns: {prompt: x}")


def test_columns_of_a_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "name: r\nnamespace: me\nsteps:\n  a:\n    uses: report\n    inputs: {model: me/m}\n"
        "    publish: {model: m, card: {columns: {prompt: x}}}\n"
    )
    with pytest.raises(UsageError, match="a model has no columns: leave them out"):
        load_plan(path)


def test_files_beside_the_recipe_are_read_when_it_is_checked(tmp_path: Path) -> None:
    (tmp_path / "about.md").write_bytes(b"\xef\xbb\xbfA line.\r\n\r\n```\r\ncode\r\n```\r\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "my limits.MD").write_text("- few rows\n")
    plan = plan_of(tmp_path, "text: about.md\nlimits: docs/my limits.MD")
    assert plan.steps[0].author == {"text": "A line.\n\n```\ncode\n```", "limits": "- few rows"}
    assert plan.value["steps"]["drills"]["publish"]["card"]["limits"] == "- few rows\n"
    (tmp_path / "about.md").write_bytes(b"\xff")
    with pytest.raises(UsageError, match=r"card.text: 'about.md' is not UTF-8 text \(byte 0\): save it as UTF-8"):
        plan_of(tmp_path, "text: about.md")


def test_fields_of_a_step_come_before_those_of_the_recipe(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path, "authors: Ada\ncontact:\ntags: [own]", "authors: [Bob], contact: b@x.org, tags: a, limits: L"
    )
    assert plan.steps[0].author == {"authors": ["Ada"], "tags": ["own"], "limits": "L"}
    assert author_part(None, None) == {}


@pytest.mark.parametrize(
    "text",
    [
        "Plain, with a rule\n\n---\n\nand [a link](other.md).",
        "```md\n![x](local.png) <details>\n```",
        "> ```\n> quoted\n> ```",
        "- one\n\n  ````\n  ```\n  ````",
        "![x](https://example.org/a.png) ![y](plots/loss.png) ![z](data:image/png;base64,AA==)",
        "<details><summary>More</summary>\n\ntext\n\n</details>",
        "2 < 3, a <b> tag, `<details>` and <!-- a comment -->",
        "| a | b |\n|---|---|\n| 1 | 2 |",
    ],
)
def test_markdown_that_a_card_can_hold_is_taken(text: str) -> None:
    assert AuthorCard(text=text).text == text


def test_plots_that_are_shown_have_to_be_published_and_others_are_prose() -> None:
    text = "See plots/other.png, https://example.org/plots/x.png and ![y](https://example.org/plots/y.png).\n\n![l](./plots/l.png)"
    author = author_part(None, AuthorCard(text=text, columns={"a": "x"}))
    check_author(author, "s", ["a"], ["plots/l.png"])
    with pytest.raises(
        DataError, match=r"step s: card: the result has no 'plots/l\.png'; did you mean 'plots/ll\.png'"
    ):
        check_author(author, "s", ["a"], ["plots/ll.png"])


def test_text_of_one_line_that_names_no_file_is_text(tmp_path: Path) -> None:
    assert read_markdown("See about.md for more.", tmp_path) == "See about.md for more."
    assert read_markdown("One\nabout.md", tmp_path) == "One\nabout.md"
