"""Publish a folder as one version of a Hub repository: all of it, or nothing.

Order of things, so that a kill at any moment leaves `main` whole and a rerun continues:
1. everything that can be wrong is checked before a byte is sent: file kinds, secrets, card, tag;
2. a commit that already carries the fingerprint ends the call (only a missing tag is added);
3. content goes to the content-addressed store, which changes no branch;
4. ONE commit with `parent_commit` moves `main`; a large upload is first committed in parts to a pull request,
   compared file by file, and merged in one step;
5. the tag.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .errors import ConflictError, DataError, HubError
from .files import PICKLES, list_files
from .hub import endpoint_url, translate_errors
from .licence_ids import LICENCE_IDS
from .provenance import RECIPE_FILES
from .pull import list_remote_files, matches
from .refs import ArtifactRef

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger("hubwright")

TRAILER = "Hubwright-Fingerprint: "
CARD_TRAILER = "Hubwright-Card: "
"""Followed by what `card_mark` gives for the author's part of the card, and the fingerprint that it belongs to."""
# Above either limit the upload is staged on a pull request, in parts of STAGE_FILES.
LARGE_BYTES = 5 << 30
LARGE_FILES = 1_000
STAGE_FILES = 500
_ATTEMPTS = 5

_LITTER = re.compile(r"(^|/)(\.tmp|.*\.tmp$|.*\.incomplete$|.*\.lock$|__pycache__|\.cache)(/|$)?")
_TOKEN = re.compile(rb"hf_[A-Za-z0-9]{30,}")
_TEXT_LIMIT = 10 << 20
_RELATIONS = frozenset({"adapter", "finetune", "merge", "quantized"})


@dataclass(frozen=True)
class Published:
    """The commit that holds the artifact, its tag and whether this call made the commit."""

    ref: ArtifactRef
    tag: str | None
    created: bool

    @property
    def url(self) -> str:
        """The artifact's page on the hub in use."""
        return f"{endpoint_url()}/{self.ref.hub_path}/tree/{self.tag or self.ref.revision}"


def publish(
    folder: Path,
    target: ArtifactRef,
    *,
    fingerprint: str,
    title: str,
    tag: str | None = None,
    private: bool = False,
    keep_other_files: bool = False,
    parent_commit: str | None = None,
    card: str = "none",
) -> Published:
    """Make `folder` the content of `target`'s main branch, in one commit, and tag it.

    Args:
        folder: what to publish; must hold README.md.
        target: the repository (its revision is not used); created if absent.
        fingerprint: hash of what determined the content; a second publish of it makes no commit.
        title: first line of the commit message.
        tag: name for the commit; must not name another commit already.
        private: visibility of a repository that this call creates.
        keep_other_files: add to what is there instead of replacing it.
        parent_commit: refuse unless main is still this commit; without it, a moved main is read again.
        card: mark of the author's part of the card.

    Raises:
        DataError: a file that must not be published, or a card the hub refuses.
        ConflictError: the tag or the branch says something else.
        HubError: refused or out of reach.
    """
    from huggingface_hub import HfApi

    check_folder(folder)
    api = HfApi()
    label = f"{target.repo_type} {target.repo_id}"
    check_card(folder / "README.md", target.repo_type)
    with translate_errors(label):
        _ensure_repo(api, target, private)
        done = earlier = find_published(target, fingerprint)
        if done is None:
            if tag and (taken := _tags(api, target).get(tag)):
                raise ConflictError(
                    f"{label}: tag {tag} already names commit {taken[:12]} with other content; "
                    "raise the version in the recipe (tags are never moved)"
                )
            done = _commit(api, folder, target, fingerprint, title, keep_other_files, parent_commit, card)
        _ensure_tag(api, done, tag)
    return Published(done, tag, created=earlier is None)


def publish_card(folder: Path, match: Match, *, fingerprint: str, title: str, card: str) -> ArtifactRef:
    """The commit that replaces the card of a published result, and nothing else of it.

    Args:
        folder: README.md, provenance.json and what is published beside them.
        match: where the result is published; its `head` has to be the head of main still.

    Raises:
        DataError: a card the hub refuses.
        ConflictError: main moved.
        HubError: refused or out of reach.
    """
    from huggingface_hub import HfApi

    target = match.ref
    check_folder(folder)
    check_card(folder / "README.md", target.repo_type)
    with translate_errors(f"{target.repo_type} {target.repo_id}"):
        commit = HfApi().create_commit(
            **target.place,
            operations=_operations(folder, list_files(folder), ()),
            commit_message=title,
            commit_description=f"{CARD_TRAILER}{card} {fingerprint}",
            parent_commit=match.head,
        )
    return replace(target, revision=commit.oid)


def add_tag(ref: ArtifactRef, tag: str) -> None:
    """Name a commit. A tag of that name stays where it is."""
    from huggingface_hub import HfApi

    with translate_errors(f"{ref.repo_type} {ref.repo_id}"):
        HfApi().create_tag(**ref.place, tag=tag, revision=ref.revision, exist_ok=True)


def check_folder(folder: Path) -> None:
    """Refuse litter, links, pickles and tokens. Raises DataError in one line naming the file."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise DataError(f"{name} is a symbolic link: publish the file itself")
        if path.is_dir():
            continue
        if _LITTER.search(name) and name not in RECIPE_FILES:
            raise DataError(f"{name} is a left-over temporary file: remove it before publishing")
        if path.suffix.lower() in PICKLES:
            raise DataError(f"{name} may hold a pickle, which runs code when it is loaded: use safetensors")
        if path.stat().st_size <= _TEXT_LIMIT and _TOKEN.search(path.read_bytes()):
            raise DataError(f"{name} contains what looks like a Hub token: remove it and revoke the token")


def check_card(path: Path, repo_type: str) -> None:
    """Validate README.md locally and with the hub's own rules. Raises DataError naming the first fault."""
    import yaml
    from huggingface_hub import RepoCard

    if not path.is_file():
        raise DataError("README.md is missing: every published repository has a card")
    text = path.read_text(encoding="utf-8")
    try:
        card = RepoCard(text)
        if not card.data.to_dict():
            raise DataError("README.md has no metadata block: start it with a YAML header between --- lines")
        _check_metadata(card.data.to_dict())
        with translate_errors("README.md"):
            card.validate(repo_type=repo_type)
    except yaml.YAMLError as error:
        raise DataError(f"README.md: the metadata is not valid YAML ({' '.join(str(error).split())})") from error
    except ValueError as error:
        raise DataError(f"README.md: the hub refuses the metadata ({' '.join(str(error).split())})") from error


def _check_metadata(data: dict[str, Any]) -> None:
    """Raise DataError in one line for a header the Hub would refuse or show wrongly."""
    licences = data.get("license")
    for licence in licences if isinstance(licences, list) else [licences]:
        if licence not in LICENCE_IDS:
            fault = (
                "the metadata has no 'license'" if licence is None else f"{licence!r} is not a licence id of the Hub"
            )
            raise DataError(f"README.md: {fault}; write a Hub licence id, or other with license_name")
    if licences == "other" and not data.get("license_name"):
        raise DataError("README.md: license 'other' needs a license_name")
    relation = data.get("base_model_relation")
    if relation is not None and relation not in _RELATIONS:
        use = ", ".join(sorted(_RELATIONS))
        raise DataError(f"README.md: base_model_relation {relation!r} is unknown: use one of {use}")


@dataclass(frozen=True)
class Match:
    """Where a result is published.

    Attributes:
        ref: the commit of its content.
        latest: the newest commit that changed its card alone, or else `ref`.
        head: main.
        card: mark of the author's part of the card on `head`; None if the history does not tell.
    """

    ref: ArtifactRef
    latest: ArtifactRef
    head: str
    card: str | None


def find_published(target: ArtifactRef, fingerprint: str) -> ArtifactRef | None:
    """The commit of `target` that already carries this fingerprint, or None."""
    match = find_match(target, fingerprint)
    return None if match is None else match.ref


def find_match(target: ArtifactRef, fingerprint: str) -> Match | None:
    """Where this fingerprint is published in `target`, or None.

    Commits are read newest first, page by page, up to the match. The message's trailer is enough to find it (a merged
    pull request keeps its title only, so the mark is there too); where history was squashed, main's provenance.json is
    read.
    """
    import json

    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

    head = latest = card = None
    try:
        for commit in commits_of(replace(target, revision="main")):
            head = head or commit["id"]
            if card is None and (line := re.search(rf"{CARD_TRAILER}(\w+) {fingerprint}", commit["message"])):
                card = line[1]
            by_trailer = f"{TRAILER}{fingerprint}" in commit["message"]
            if by_trailer or _mark(fingerprint) in commit["title"]:
                ref = replace(target, revision=commit["id"])
                newest = ref if latest is None else replace(target, revision=latest)
                return Match(ref, newest, head, card or ("none" if by_trailer else None))
            if is_card_commit(commit):
                latest = latest or commit["id"]
            elif card is None:
                latest = None
    except RepositoryNotFoundError:
        return None
    if head is None:
        return None
    try:
        path = hf_hub_download(**target.place, filename="provenance.json", revision=head)
        records = json.loads(Path(path).read_text(encoding="utf-8"))["records"]
    except (EntryNotFoundError, ValueError, KeyError):
        return None
    ref = replace(target, revision=head)
    return Match(ref, ref, head, card) if records[-1].get("fingerprint") == fingerprint else None


def is_card_commit(commit: dict[str, Any]) -> bool:
    """Whether a commit of `commits_of` replaced a card and left the content as it was."""
    return CARD_TRAILER in commit["message"] and TRAILER not in commit["message"]


def commits_of(ref: ArtifactRef) -> Iterator[dict[str, Any]]:
    """The commits up to `ref`, newest first, page by page (`HfApi.list_repo_commits` reads every page before it
    returns): `id`, `title`, `message` (without the title)."""
    from huggingface_hub.utils import build_hf_headers, paginate

    revision = quote(ref.revision, safe="")
    address = f"{endpoint_url()}/api/{ref.repo_type}s/{ref.repo_id}/commits/{revision}"
    yield from paginate(address, params={}, headers=build_hf_headers())


def _mark(fingerprint: str) -> str:
    return f"[{fingerprint[:16]}]"


def _ensure_repo(api: HfApi, target: ArtifactRef, private: bool) -> None:
    if api.repo_exists(**target.place):
        if private and not api.repo_info(**target.place).private:
            raise ConflictError(
                f"{target.repo_type} {target.repo_id} is public and the recipe says private: "
                "make it private on the hub, or publish under another name"
            )
        return
    sdk = "static" if target.repo_type == "space" else None
    api.create_repo(**target.place, private=private, exist_ok=True, space_sdk=sdk)


def _tags(api: HfApi, target: ArtifactRef) -> dict[str, str]:
    return {tag.name: tag.target_commit for tag in api.list_repo_refs(**target.place).tags}


def _ensure_tag(api: HfApi, ref: ArtifactRef, tag: str | None) -> None:
    if tag is None:
        return
    taken = _tags(api, ref).get(tag)
    if taken is None:
        api.create_tag(**ref.place, tag=tag, revision=ref.revision)
    elif taken != ref.revision:
        raise ConflictError(
            f"{ref.repo_type} {ref.repo_id}: tag {tag} names commit {taken[:12]}, not {ref.revision[:12]}; "
            "raise the version in the recipe (tags are never moved)"
        )


def _commit(
    api: HfApi, folder: Path, target: ArtifactRef, fingerprint: str, title: str, keep_other_files: bool,
    parent_commit: str | None, card: str,
) -> ArtifactRef:  # fmt: skip
    """Move main in one step; on a moved main read it again, on a lost answer look before trying again."""
    description = f"{TRAILER}{fingerprint}" + (f"\n{CARD_TRAILER}{card} {fingerprint}" if card != "none" else "")
    for attempt in range(_ATTEMPTS):
        head = parent_commit or api.repo_info(**target.place).sha
        remote = list_remote_files(replace(target, revision=str(head)))
        changed = [p for p in list_files(folder) if not matches(p, remote.get(p.relative_to(folder).as_posix()))]
        gone = [n for n in remote if n != ".gitattributes" and not keep_other_files and not (folder / n).is_file()]
        size = sum(p.stat().st_size for p in changed)
        try:
            with translate_errors(f"{target.repo_type} {target.repo_id}"):
                if len(changed) > LARGE_FILES or size > LARGE_BYTES:
                    commit = _commit_by_pull_request(api, folder, target, changed, gone, title, fingerprint)
                else:
                    commit = api.create_commit(
                        **target.place,
                        operations=_operations(folder, changed, gone),
                        commit_message=title,
                        commit_description=description,
                        parent_commit=head,
                    ).oid
            done = replace(target, revision=commit)
        except (ConflictError, HubError) as error:
            # Never sent twice blindly: the answer to a commit that succeeded may have been lost.
            earlier = find_published(target, fingerprint)
            if earlier is None:
                if isinstance(error, HubError) or parent_commit is not None or attempt == _ATTEMPTS - 1:
                    raise
                logger.info("%s moved while publishing; reading it again", target.repo_id)
                continue
            done = earlier
        _verify_remote(folder, done)
        return done
    raise AssertionError("unreachable")


def _operations(folder: Path, paths: Iterable[Path], gone: Iterable[str]) -> list[Any]:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    adds = [CommitOperationAdd(path.relative_to(folder).as_posix(), str(path)) for path in paths]
    return [*adds, *map(CommitOperationDelete, gone)]


def _commit_by_pull_request(
    api: HfApi, folder: Path, target: ArtifactRef, changed: list[Path], gone: list[str], title: str, fingerprint: str
) -> str:
    """Stage in parts on a pull request and merge it. An open one of the same fingerprint is continued."""
    place, description = target.place, f"{TRAILER}{fingerprint}"
    # The listing of pull requests and the merge commit show titles only, so the fingerprint is in the title too.
    name = f"{title} {_mark(fingerprint)}"
    requests = api.get_repo_discussions(**place, discussion_type="pull_request")
    begun = next((one for one in requests if one.title == name and one.status in ("draft", "open")), None)
    request = begun or api.create_pull_request(**place, title=name, description=description)
    branch = f"refs/pr/{request.num}"
    staged = list_remote_files(replace(target, revision=branch))
    left = [p for p in changed if not matches(p, staged.get(p.relative_to(folder).as_posix()))]
    operations = _operations(folder, left, [name for name in gone if name in staged])
    for start in range(0, len(operations), STAGE_FILES):
        part = operations[start : start + STAGE_FILES]
        logger.info("staging %s: %d of %d files", target.repo_id, start + len(part), len(operations))
        api.create_commit(
            **place,
            operations=part,
            commit_message=f"{title} (part {start // STAGE_FILES + 1})",
            commit_description=description,
            revision=branch,
        )
    _verify_remote(folder, replace(target, revision=branch))
    if request.status == "draft":
        api.change_discussion_status(**place, discussion_num=request.num, new_status="open")
    api.merge_pull_request(**place, discussion_num=request.num, comment=description)
    return str(api.repo_info(**place).sha)


def _verify_remote(folder: Path, ref: ArtifactRef) -> None:
    """Compare what the hub now holds with the local files, by hash."""
    remote = list_remote_files(ref)
    for path in list_files(folder):
        name = path.relative_to(folder).as_posix()
        if name != ".gitattributes" and not matches(path, remote.get(name)):
            raise HubError(f"{ref.repo_type} {ref}: the hub does not hold {name} as it was sent")
