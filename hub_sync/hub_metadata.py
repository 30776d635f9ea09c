"""What the Hub accepts in a card's header, checked here so that a mistake costs no upload on any hub."""

from __future__ import annotations

from typing import Any

from .errors import DataError

# Licence ids of the Hub's documentation (repositories, licences), 2026.
LICENCE_IDS = frozenset(
    """
    afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
    bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
    cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0
    etalab-2.0 eupl-1.1 eupl-1.2 fair-noncommercial-research-license gemma gfdl gpl gpl-2.0 gpl-3.0
    grok2-community h-research intel-research isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2
    llama3.3 llama4 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 openmdw-1.0 openrail openrail++
    osl-3.0 other pddl postgresql unknown unlicense wtfpl zlib
    """.split()
)
BASE_MODEL_RELATIONS = frozenset({"adapter", "finetune", "merge", "quantized"})


def check_metadata(data: dict[str, Any]) -> None:
    """Raise DataError in one line for a header the Hub would refuse or show wrongly."""
    licences = data.get("license")
    for licence in licences if isinstance(licences, list) else [licences]:
        if licence is None:
            raise DataError(
                "README.md: the metadata has no 'license'; write a Hub licence id, or other with license_name"
            )
        if licence not in LICENCE_IDS:
            raise DataError(
                f"README.md: license {licence!r} is no licence id of the Hub; write other with license_name"
            )
    if licences == "other" and not data.get("license_name"):
        raise DataError("README.md: license 'other' needs a license_name")
    relation = data.get("base_model_relation")
    if relation is not None and relation not in BASE_MODEL_RELATIONS:
        known = ", ".join(sorted(BASE_MODEL_RELATIONS))
        raise DataError(f"README.md: base_model_relation {relation!r} is unknown: use one of {known}")
