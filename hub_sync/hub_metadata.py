"""What the Hub accepts in a card's header, checked here so that a mistake costs no upload on any hub."""

from __future__ import annotations

from typing import Any

from .errors import DataError
from .licence_ids import LICENCE_IDS

BASE_MODEL_RELATIONS = frozenset({"adapter", "finetune", "merge", "quantized"})


def check_metadata(data: dict[str, Any]) -> None:
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
    if relation is not None and relation not in BASE_MODEL_RELATIONS:
        use = ", ".join(sorted(BASE_MODEL_RELATIONS))
        raise DataError(f"README.md: base_model_relation {relation!r} is unknown: use one of {use}")
