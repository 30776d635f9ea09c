"""Settings of the builder `landmarks`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ...hub_sync.errors import did_you_mean
from ...hub_sync.licence_ids import LicenceId
from ...hub_sync.step import Preview
from .._lib.data_files import read_yaml
from .._lib.image_settings import Name, PixelSettings
from .._lib.rejections import max_rejected_share
from .._lib.sources import Source, Timeout

TEMPLATES: dict[str, dict[str, dict[str, list[str]]]] = read_yaml(__file__, "templates.yaml")
COLUMN_NAMES: dict[str, list[str]] = read_yaml(__file__, "columns.yaml")
Config = Literal["pairs", "questions", "landmarks"]
Level = Literal["natural_or_human_made", "hierarchical_label", "supercategory", "name", "caption"]
CONFIGS: tuple[Config, ...] = ("pairs", "questions", "landmarks")
SPLITS = ("train", "validation", "test", "unseen")
LEVELS: tuple[Level, ...] = ("natural_or_human_made", "hierarchical_label", "supercategory", "name", "caption")
FILE_KINDS = ("images", "clean", "attribution", "category", "hierarchy", "solution")
PAIRS = (
    "image", "image_id", "landmark_id", "name", "aliases", "supercategory", "hierarchical_label",
    "natural_or_human_made", "category_url", "url", "license", "author", "title", "width", "height", "sha256", "phash",
    "fold", "text",
)  # fmt: skip

Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
GLDV2_LICENCE = "cc-by-4.0"


class LandmarksConfig(PixelSettings):
    """Where the photographs and lists are, and what is made of them. Defaults are our choice."""

    source: str = Field(
        min_length=1,
        description="Folder of lists and images, table, archive (.tar, .zip), or Hub data set `org/name@revision`.",
    )
    format: Literal["gldv2", "folder", "table"] = Field(
        description="gldv2: the lists of Google Landmarks v2, and images as a/b/c/ID.jpg or in its tar files. folder: "
        "images whose folder is called as their landmark. table: CSV, JSON or Parquet that names image and landmark."
    )
    part: Literal["train", "index", "test"] = Field(
        "train", description="Part of Google Landmarks v2. Landmark ids of train and test are one numbering, those of "
        "index another one.",
    )  # fmt: skip
    lists: dict[str, Name | None] = Field(
        default_factory=dict,
        description="File of the source by kind, of format gldv2: images, clean, attribution, category, hierarchy, "
        "solution; null: none. Those that are not named have their official names, such as train_attribution.csv.",
    )
    part_of: dict[str, Literal["train", "index", "test"]] = Field(
        default_factory=dict,
        description="Part by file, for lists whose name and columns do not tell it, such as {labels.csv: train}.",
    )
    clean: bool = Field(False, description="Only images of train_clean.csv (format gldv2).")
    no_landmark: Literal["drop", "keep"] = Field(
        "drop", description="Images of part test without a landmark, which are most: keep makes rows of them whose "
        "landmark_id and name are null, in config pairs.",
    )  # fmt: skip
    files: str | None = Field(
        None, description="Which tables of format table are read, as a pattern in which `*` stands for any "
        "characters, slashes too; null: all.",
    )  # fmt: skip
    columns: dict[str, Name | None] = Field(
        default_factory=dict,
        description="Column by what it holds, of format table: image, url, image_id, landmark, name, license, author, "
        "title; null: none. Those that are not named are known by usual names (columns.yaml).",
    )
    hierarchy: Source | Literal["builtin"] | None = Field(
        None,
        description="Table of landmarks, YAML or CSV: landmark, name, aliases, supercategory, hierarchical_label, "
        "natural_or_human_made; aliases in CSV with | between. It completes what the source says. builtin: the 15 "
        "landmarks of hierarchy.yaml, by us.",
    )
    unnamed: Literal["identifier", "reject"] | None = Field(
        None, description="Landmarks without a name. identifier: the words of folder or label are the name. null: "
        "identifier, and of format gldv2, whose ids are numbers, reject.",
    )  # fmt: skip
    license: LicenceId | None = Field(
        None, description="Licence of lists and labels (Hub identifier); null: cc-by-4.0 of format gldv2."
    )
    require_image: bool = Field(
        True, description="Leave out rows whose image is not at hand; false: they stay, with URL and no pixels."
    )
    max_missing_share: float = Field(
        0.25, ge=0, le=1, description="Refuse to build if the images of more rows than this are missing; 1 if only "
        "some of the tar files are there.",
    )  # fmt: skip
    deduplicate: Literal["exact", "near"] | None = Field(
        "near",
        description="exact: of equal files the first is kept. near: of images that look the same, too. null: all are "
        "kept, in one split and fold. An image that looks like one of another landmark is left out in any case.",
    )
    phash_distance: int = Field(
        3, ge=0, le=8, description="Bits of 64 in which perceptual hashes of images that look the same may differ."
    )
    validation: Share = Field(0.1, description="Share of each seen landmark's images in split validation.")
    test: Share = Field(0.2, description="Share of each seen landmark's images in split test.")
    unseen: Share = Field(0.0, description="Share of the landmarks, all of whose images are in split unseen.")
    folds: int = Field(3, ge=1, le=100, description="Folds to cross-fit encoders by.")
    seed: int = Field(0, ge=0, description="Seed of splits, folds and templates.")
    configs: tuple[Config, ...] = Field(
        CONFIGS, min_length=1, description="Configs that are published. questions holds each image once per level."
    )
    levels: tuple[Level, ...] = Field(LEVELS, min_length=1, description="Levels of the questions.")
    languages: tuple[str, ...] = Field(
        ("en",),
        min_length=1,
        description="Languages of the questions. Others than en have the levels name and caption alone, whose answers "
        "need no translation.",
    )
    max_rows: int | None = Field(None, ge=1, description="Stop after so many images; null: all.")
    max_rejected_share: float = max_rejected_share(0.25)
    delimiter: str | None = Field(
        None, min_length=1, max_length=1, description="Delimiter of CSV; null: comma, semicolon, tab or bar, as found."
    )
    timeout: Timeout = 60.0

    @field_validator("languages")
    @classmethod
    def _languages_are_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := next((name for name in value if name not in TEMPLATES), None):
            raise ValueError(f"{unknown!r} has no templates; there are {', '.join(TEMPLATES)}")
        return value

    @model_validator(mode="after")
    def _settings_apply(self) -> Self:
        for field, names in (("lists", FILE_KINDS), ("columns", tuple(COLUMN_NAMES))):
            if unknown := next((name for name in getattr(self, field) if name not in names), None):
                raise ValueError(f"{field}: {unknown!r} is unknown{did_you_mean(unknown, names)}")
        of_gldv2: dict[str, Any] = {"part": "train", "lists": {}, "part_of": {}, "clean": False, "no_landmark": "drop"}
        of_table: dict[str, Any] = {"files": None, "columns": {}, "delimiter": None}
        for form, defaults in (("gldv2", of_gldv2), ("table", of_table)):
            set_here = [name for name, default in defaults.items() if getattr(self, name) != default]
            if set_here and self.format != form:
                raise ValueError(f"{set_here[0]} is of format {form}; leave it out")
        if self.clean and self.part != "train":
            raise ValueError(f"clean is of part train, and part is {self.part}; leave it out")
        if self.no_landmark == "keep" and self.part != "test":
            raise ValueError(f"no_landmark: keep is of part test, and part is {self.part}; leave it out")
        if self.validation + self.test >= 1:
            raise ValueError(f"validation and test: {self.validation + self.test:g} leave no image for train")
        if self.license is None and self.format != "gldv2":
            raise ValueError("license is missing; write that of the labels, such as cc-by-4.0, or other for your own")
        if self.format == "folder" and self.image_license is None and self.unlicensed_pixels == "drop":
            raise ValueError(
                "no image of format folder states a licence, so that no pixels could be published; set image_license "
                "if you know it, or unlicensed_pixels: local for training here"
            )
        if self.fetch and self.format == "folder":
            raise ValueError("fetch is of lists with URLs; format folder has none: leave it out")
        return self

    @property
    def licence_of_lists(self) -> str:
        """Licence of lists and labels."""
        return self.license or GLDV2_LICENCE

    @property
    def result_license(self) -> str | None:
        """Licence of the data set as far as the settings tell: with pixels of any licence, none is stated."""
        return "other" if self.unlicensed_pixels == "local" else self.licence_of_lists

    def names_identifiers(self) -> bool:
        """Whether a landmark's identifier is its name where no list has one."""
        return self.unnamed == "identifier" or (self.unnamed is None and self.format != "gldv2")

    def lacks(self) -> str:
        """The package that is not installed, with the remedy; "" if there is none."""
        needed = ("PIL", "imagehash", *(["aiohttp"] if self.fetch else []))
        absent = next((name for name in needed if find_spec(name) is None), None)
        return f"images need {absent}: pip install 'hubwright[vision]'" if absent else ""

    def preview(self, inputs: Mapping[str, Preview]) -> Preview:
        """The data set that will be published."""
        return Preview(columns=PAIRS)
