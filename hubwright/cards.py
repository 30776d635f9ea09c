"""The card of a step's result: written when it is published, and replaced when only the author's part has changed."""

import logging
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .hub_sync import provenance
from .hub_sync.errors import ConflictError
from .hub_sync.files import write_atomic
from .hub_sync.publish import Match, find_match, publish_card
from .hub_sync.pull import pull, same_model
from .hub_sync.refs import ArtifactRef
from .making import Job
from .published_recipe import PublishedRecipe
from .recipe import PlannedStep

logger = logging.getLogger("hubwright")


def write(
    folder: Path, records: list[dict[str, Any]], record: dict[str, Any], author: Mapping[str, Any],
    recipe: PublishedRecipe | None,
) -> None:  # fmt: skip
    """Write provenance.json, README.md and the recipe beside what a step made.

    Args:
        folder: what is published.
        records: all of the repository, oldest first.
        record: the step's own among them; it gets the author's part and the recipe.
        author: what the author says.
        recipe: None to leave the one that the repository has.

    Raises DataError for columns and plots that the result has not.
    """
    from .model_cards import card
    from .model_cards.author import check_author

    columns = [name for splits in record["parquet"].values() for name, _ in next(iter(splits.values()))["columns"]]
    check_author(author, record["step"]["name"], columns, (f["path"] for one in records for f in one["files"]))
    record.pop("author", None)
    record |= {"author": dict(author)} if author else {}
    texts: dict[str, str] = {}
    if recipe is not None:
        for one in records:
            one.pop("recipe", None)
        texts = recipe.files
        files = [provenance.file_entry(name, text) for name, text in texts.items()]
        record["recipe"] = {"files": files, "needs": recipe.needs}
    texts = {**texts, provenance.FILE_NAME: provenance.dump(records), "README.md": card.render(records)}
    for name, text in texts.items():
        # Written beside the folder: what a kill leaves of it is not published.
        write_atomic(folder.parent / name, text)
        (folder.parent / name).replace(folder / name)


def replace_card(
    job: Job, match: Match, tag: str | None, form: Callable[[], PublishedRecipe | None], title: str
) -> ArtifactRef | None:
    """The commit that gives a published result the author's part and the tag of the recipe; None if it has them.

    None too if main no longer holds the result: its card is that of a later one.

    Args:
        match: where the result is published.
        tag: None to leave the one that the card names.
        form: gives the recipe to publish.
        title: of the commit.

    Raises DataError as `write`; ConflictError if main moves twice.
    """
    mark = provenance.card_mark(job.step.author)
    for attempt in range(2):
        head = ArtifactRef(match.ref.repo_type, match.ref.repo_id, match.head)
        records = provenance.load(pull(head, [provenance.FILE_NAME]) / provenance.FILE_NAME)
        record = next((one for one in records if one["fingerprint"] == job.fingerprint), None)
        if record is None:
            if match.card not in (None, mark):
                logger.warning("warning: %s: main holds a later result, whose card is left as it is", job.step.name)
            return None
        if record.get("author", {}) == job.step.author and tag in (None, record["target"]["tag"]):
            return None
        record["target"]["tag"] = tag or record["target"]["tag"]
        with tempfile.TemporaryDirectory(prefix="hubwright-card-") as place:
            folder = Path(place) / "card"
            folder.mkdir()
            write(folder, records, record, job.step.author, form())
            try:
                return publish_card(folder, match, fingerprint=job.fingerprint, title=title, card=mark)
            except ConflictError:
                moved = find_match(match.ref, job.fingerprint)
                if attempt or moved is None:
                    raise
                match = moved
    raise AssertionError("unreachable")


def parent_of_report(step: PlannedStep, inputs: Mapping[str, ArtifactRef]) -> ArtifactRef:
    """The commit a report goes on top of: the head of main where it still is the evaluated model, else that commit.

    The head may have reports already; with other weights on it, publishing on the evaluated commit is refused.
    """
    head, model = step.target.resolve(), inputs["model"]
    return head if same_model(head, model) else model


def records_before_report(inputs: Mapping[str, ArtifactRef], parent: ArtifactRef) -> list[dict[str, Any]]:
    """Provenance that a report is added to; an earlier report of the same result, or other model, is replaced."""

    def shown(commits: Mapping[str, Any]) -> Any:
        return next(((role, commits[role]) for role in ("result", "other") if role in commits), None)

    records = provenance.load(pull(parent, [provenance.FILE_NAME]) / provenance.FILE_NAME)
    ours = shown({role: ref.revision for role, ref in inputs.items()})
    return [record for record in records if shown({i["role"]: i["commit"] for i in record["inputs"]}) != ours]
