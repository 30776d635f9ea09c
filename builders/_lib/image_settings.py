"""Settings of builders that publish images: licences of pixels, and what a URL may cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from ...hub_sync.settings import SPEED, Settings
from ...inference.media.images import ImageSettings
from .image_licences import PUBLISHABLE

if TYPE_CHECKING:
    from ...inference.media.fetch import FetchLimits

Name = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class FetchSettings(Settings):
    """What a URL may cost. Defaults are our choice."""

    deadline: float = Field(
        30.0, gt=0, allow_inf_nan=False, description="Seconds for a URL in all: names, redirects, retries, the body."
    )
    redirects: int = Field(5, ge=0, le=20, description="Redirects that are followed, each checked like the URL.")
    attempts: int = Field(
        3, ge=1, description="Requests for a URL whose failure may pass (5xx, 429, lost connections)."
    )
    concurrency: int = Field(64, ge=1, le=1024, json_schema_extra=SPEED, description="URLs at once.")
    per_host: int = Field(4, ge=1, le=64, json_schema_extra=SPEED, description="URLs of one host at once.")
    robots_tag: bool = Field(True, description="Leave out images whose X-Robots-Tag forbids indexing or training.")
    private_hosts: tuple[Name, ...] = Field(
        (),
        description="Hosts, or HOST:PORT, that may have a private address: of an intranet. All others are refused "
        "unless every address of theirs is public. They stand in the published provenance.",
    )


class PixelSettings(ImageSettings):
    """Which pixels are published, and whether URLs are asked for. Defaults are our choice."""

    image_license: str | None = Field(None, description="Licence of the images whose row states none; null: none.")
    attribution: str | None = Field(None, description="Credit of the images whose row states none.")
    pixel_licenses: tuple[Name, ...] = Field(
        PUBLISHABLE,
        description="Licences of images whose pixels are published; of others there are URL, hashes and size alone. "
        "By default those that ask for attribution at most.",
    )
    unlicensed_pixels: Literal["drop", "local"] = Field(
        "drop",
        description="drop: pixels without such a licence are left out. local: they are kept for training here, and "
        "the data set counts as one without a licence, which is not published in public.",
    )
    fetch: bool | FetchSettings = Field(
        False,
        description="Fetch images that are known by URL: true, or settings. Those that do not come are left out.",
    )

    def fetch_limits(self) -> FetchLimits | None:
        """The limits of fetching; None without it."""
        if self.fetch is False:
            return None
        from ...inference.media.fetch import FetchLimits

        settings = FetchSettings.model_validate({}) if self.fetch is True else self.fetch
        return FetchLimits(max_bytes=self.image_limits().max_bytes, **settings.model_dump())
