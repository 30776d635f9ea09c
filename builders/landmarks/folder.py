"""A folder of landmarks, each a folder of images; in a directory, a zip archive, or tar files."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ...hub_sync.errors import RowRejected, UsageError
from .._lib.image_files import TAR_SUFFIXES, ImageFiles, is_hidden
from .._lib.image_pairs import Pair, Pairs, Part
from .._lib.source_files import File, read_files
from .._lib.tables import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from ...hub_sync.context import StepContext
    from .about import About
    from .config import LandmarksConfig

ARCHIVES = (".zip", ".whl")


def read_source(config: LandmarksConfig, context: StepContext, about: About) -> tuple[list[File], str]:
    """(files of the source, its name for errors)."""
    from pathlib import Path

    path = Path(config.source).expanduser()
    remote = config.source.startswith(("http://", "https://"))
    single = (path.is_file() or remote) and not config.source.lower().endswith(ARCHIVES)
    files, origin = read_files(
        config.source, None if single else "*", None, config.timeout, context.workdir / "sources"
    )
    about.origins.append(origin)
    return files, config.source.rstrip("/").rpartition("/")[2]


def parts(config: LandmarksConfig, context: StepContext, about: About) -> Iterator[Part]:
    """The images of the source by the name of their folder. Raises UsageError for a source without images."""
    files, name = read_source(config, context, about)
    images = open_images(config, files, about)
    if not len(images):
        raise UsageError(f"source {name}: holds no image file (.jpg, .png, .webp, .gif, .bmp, .tif; .tar)")
    if not any(PurePosixPath(path).parent.name for path in images):
        raise UsageError(
            f"source {name}: its images lie in no folder, so that nothing names their landmarks; put them into one "
            "folder per landmark, or use `format: table`"
        )
    yield Part(name, None, _pairs(images))


def open_images(config: LandmarksConfig, files: list[File], about: About) -> ImageFiles:
    """The images among files. Other files are counted."""
    images = ImageFiles(files, config.image_limits().max_bytes)
    used = (*IMAGE_SUFFIXES, *TAR_SUFFIXES)
    others = (file for file in files if not is_hidden(file.name) and not file.name.lower().endswith(used))
    about.passed_over = sum(1 for _ in others) + images.others
    about.has_images = bool(len(images))
    return images


def _pairs(images: ImageFiles) -> Pairs:
    for path in images.replaced:
        yield RowRejected("a file of a tar archive that a later one of the same path replaces", path)
    for path in images:
        landmark = PurePosixPath(path).parent.name
        if not landmark or landmark == "..":
            yield RowRejected("an image outside of a landmark's folder", path)
            continue
        meta: dict[str, Any] = {"landmark": landmark, "others": [], "title": None}
        yield Pair(image=partial(images.read, path), name=PurePosixPath(path).name, image_id=path, meta=meta)
