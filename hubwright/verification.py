"""`hubwright verify REPO@REV`: check a published artifact against its own provenance, and that against the hub."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .hub_sync import provenance
from .hub_sync.errors import HubError, UsageError
from .hub_sync.files import sha256_file
from .hub_sync.hub import require_hub, translate_errors
from .hub_sync.publish import TRAILER, commits_of, is_card_commit
from .hub_sync.pull import pull
from .hub_sync.refs import ArtifactRef

_PREFIXES = {"datasets/": "dataset", "models/": "model", "spaces/": "space"}


@dataclass(frozen=True)
class Check:
    """One thing that was checked; `ok` is None where it could not be (an input on another hub, say)."""

    name: str
    ok: bool | None
    detail: str


def find_artifact(text: str) -> ArtifactRef:
    """`datasets/org/name@rev`, `models/org/name@rev`, or `org/name@rev` where only one type has that name."""
    require_hub()
    for prefix, repo_type in _PREFIXES.items():
        if text.startswith(prefix):
            return ArtifactRef.parse(text.removeprefix(prefix), repo_type)
    from huggingface_hub import HfApi

    either = [ArtifactRef.parse(text, t) for t in ("model", "dataset")]
    with translate_errors(text):
        existing = [r for r in either if HfApi().repo_exists(r.repo_id, repo_type=r.repo_type)]
    if len(existing) == 2:
        raise UsageError(f"{text} is both a model and a data set: write models/{text} or datasets/{text}")
    return existing[0] if existing else either[0]


def verify(ref: ArtifactRef) -> tuple[ArtifactRef, list[Check]]:
    """Resolve, pull and check `ref`. Returns the commit and every check; raises only where nothing can be read."""
    commit = ref.resolve()
    folder = pull(commit)
    checks = [Check("files are what the hub recorded", True, "every hash compared after download")]
    records = provenance.load(folder / provenance.FILE_NAME)
    checks += [
        _check_manifest(folder, records),
        _check_fingerprints(records),
        _check_card(folder, records),
        _check_commit_message(commit, records),
        _check_inputs(records),
    ]
    return commit, checks


def _check_manifest(folder: Path, records: list[dict[str, Any]]) -> Check:
    files = [[*record["files"], *record.get("recipe", {}).get("files", ())] for record in records]
    stated = {file["path"]: file["sha256"] for some in files for file in some}
    actual = _hashes(folder)
    wrong = sorted(p for p in stated if actual.get(p) != stated[p])
    extra = sorted(set(actual) - set(stated))
    if wrong:
        return Check("files match provenance.json", False, f"{wrong[0]} is missing or has another SHA-256")
    if extra:
        return Check("files match provenance.json", False, f"{extra[0]} is in the repository and in no record")
    return Check("files match provenance.json", True, f"{len(stated)} files by SHA-256")


def _hashes(folder: Path) -> dict[str, str]:
    """Path -> SHA-256 of a pulled snapshot, whose files are links into the cache's content store."""
    names = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    derived = provenance.DERIVED_FILES - set(provenance.RECIPE_FILES)
    return {n: sha256_file(p) for n, p in sorted(names.items()) if n not in derived}


def _check_fingerprints(records: list[dict[str, Any]]) -> Check:
    for record in records:
        if provenance.recompute_fingerprint(record) != record["fingerprint"]:
            name = record["step"]["name"]
            return Check("fingerprints follow from the records", False, f"step {name}: config or inputs were edited")
    return Check("fingerprints follow from the records", True, f"{len(records)} recomputed")


def _check_card(folder: Path, records: list[dict[str, Any]]) -> Check:
    from .model_cards import card

    name = "the card says what provenance.json says"
    text = (folder / "README.md").read_text(encoding="utf-8")
    expected = card.render(records)
    if text == expected:
        return Check(name, True, "rendered again, identical")
    pairs = zip(text.splitlines(), expected.splitlines(), strict=False)
    line = next((i for i, (a, b) in enumerate(pairs, 1) if a != b), min(text.count("\n"), expected.count("\n")) + 1)
    made_with = records[-1]["code"]["hubwright"]
    return Check(name, False, f"README.md differs from line {line} (made with hubwright {made_with})")


def _check_commit_message(ref: ArtifactRef, records: list[dict[str, Any]]) -> Check:
    mark = records[-1]["fingerprint"]
    name = "the commit names the fingerprint"
    by_hand = 0
    for commit in commits_of(ref):
        if f"{TRAILER}{mark}" in commit["message"]:
            later = "later commits changed the repository by hand"
            return Check(name, False, later) if by_hand else Check(name, True, mark[:16])
        by_hand += not is_card_commit(commit)
    return Check(name, None, "history was squashed or merged")


def _check_inputs(records: list[dict[str, Any]]) -> Check:
    from huggingface_hub import HfApi

    name = "input commits exist on this hub"
    inputs = {(i["type"], i["repo_id"], i["commit"]) for r in records for i in r["inputs"]}
    if not inputs:
        return Check(name, True, "no inputs from a hub")
    for repo_type, repo_id, commit in sorted(inputs):
        ref = replace(ArtifactRef.parse(repo_id, repo_type), revision=commit)
        try:
            with translate_errors(f"{repo_type} {ref}"):
                HfApi().repo_info(repo_id, repo_type=repo_type, revision=commit)
        except HubError as error:
            return Check(name, None, str(error))
    return Check(name, True, f"{len(inputs)} commits")
