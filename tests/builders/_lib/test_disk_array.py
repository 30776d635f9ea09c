"""Numbers of rows in a file."""

from pathlib import Path

from hubwright.builders._lib.disk_array import DiskArray


def test_disk_array_gives_what_was_appended_and_replaces_an_earlier_file(tmp_path: Path) -> None:
    numbers = DiskArray(tmp_path / "folder" / "numbers")
    assert numbers.values().tolist() == []
    for number in (7, 0, 2**64 - 1):
        numbers.append(number)
    assert numbers.values().tolist() == [7, 0, 2**64 - 1]
    numbers.append(1)
    assert numbers.values().tolist() == [7, 0, 2**64 - 1, 1]
    assert DiskArray(tmp_path / "folder" / "numbers").values().tolist() == []
