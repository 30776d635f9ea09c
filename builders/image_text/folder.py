"""A folder (or zip archive) of images with a text file beside each, or with a table that names them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ...hub_sync.errors import DataError, RowRejected, UsageError, first_line
from .._lib.image_files import ImageFiles, is_hidden
from .._lib.image_pairs import Pair, Pairs, Part
from .._lib.source_files import File
from .._lib.sources import UNPACKING
from .._lib.tables import READERS, split_of, suffix_of
from .table import file_parts

if TYPE_CHECKING:
    from .build import ImageTextConfig

CAPTIONS = (".txt", ".caption")
TABLES = ("metadata", "captions", "labels", "results")
LONGEST = 1_000_000  # bytes of a text file; our choice


def parts(config: ImageTextConfig, files: Sequence[File], chosen: Sequence[File], name: str) -> Iterator[Part]:
    """The images of the source with their texts. What is left over on either side is rejected with its reason.

    Args:
        files: all of the source.
        chosen: those that `files` of the settings names; they are tables, or the text files to read.

    Raises UsageError for a source without images.
    """
    images = ImageFiles(files, config.image_limits().max_bytes)
    if not len(images):
        raise UsageError(f"source {name}: holds no image file (.jpg, .png, .webp, .gif, .bmp, .tif; .tar)")
    named = [file for file in chosen if suffix_of(file.name) in READERS and not is_hidden(file.name)]
    tables = named if config.files else [f for f in named if PurePosixPath(f.name).name.startswith(TABLES)]
    if tables:
        used: set[str] = set()
        yield from file_parts(config, tables, images, used)
        rest: Pairs = (_alone(path) for path in images if path not in used)
        yield Part(name, None, rest)
        return
    if config.columns or config.keep:
        raise UsageError(f"source {name}: columns and keep are of a table, and there is no metadata.csv or .jsonl")
    texts: dict[str, File] = {}
    second: list[File] = []
    for suffix in CAPTIONS:
        for file in chosen:
            path = PurePosixPath(file.name)
            if path.suffix.lower() == suffix and not is_hidden(file.name):
                second += [file] if texts.setdefault(str(path.with_suffix("")), file) is not file else []
    if not texts:
        raise UsageError(
            f"source {name}: no text file beside the images (cat.jpg, cat.txt), and no metadata.csv or .jsonl with a "
            "column file_name; add one, or name the table in `files`"
        )
    splits = {path: split_of(path) for path in images}
    for split in dict.fromkeys(splits.values()) if any(splits.values()) else [None]:
        own = [path for path in images if split is None or splits[path] == split]
        yield Part(name, split, _with_texts(config, images, own, texts))
    yield Part(name, None, (RowRejected("a text without an image", file.name) for file in texts.values()))
    yield Part(name, None, (RowRejected("a second text file of this name", file.name) for file in second))


def _alone(path: str) -> RowRejected:
    return RowRejected("an image without a text", path)


def _with_texts(config: ImageTextConfig, images: ImageFiles, paths: Sequence[str], texts: dict[str, File]) -> Pairs:
    """The pairs of some images; their text files are taken out of `texts`."""
    for path in paths:
        stem = str(PurePosixPath(path).with_suffix(""))
        file = texts.pop(stem, None) or texts.pop(path, None)
        if file is None:
            yield _alone(path)
            continue
        try:
            with file.open() as stream:
                content = stream.read(LONGEST + 1)
            text = content.decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            yield RowRejected("a text that is not UTF-8", f"{file.name}: byte {error.start}")
            continue
        except (DataError, *UNPACKING) as error:  # such as an archive that is called .txt
            yield RowRejected("a text file that cannot be read", f"{file.name}: {first_line(error)}")
            continue
        if len(content) > LONGEST:
            yield RowRejected(f"a text file of more than {LONGEST} bytes", file.name)
            continue
        name = PurePosixPath(path).name
        lines = [line.strip() for line in text.splitlines() if line.strip()] if config.caption_lines else [text]
        for line in lines or [""]:
            yield Pair(image=partial(images.read, path), name=name, text=line, image_id=stem)
