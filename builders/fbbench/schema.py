"""The official FB-Bench JSON: its labels, its rules, and the typed row each record becomes.

Labels and counts were read from the published `fb_bench_dataset_v3.json` (arXiv:2410.09412, 591 rows). What a record
must satisfy is what every published row satisfies; a record that does not would be judged or scored wrongly later.
"""

import hashlib
import math
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from ...hub_sync.errors import RowRejected
from ...hub_sync.text import utf8

EC = "Error Correction"
RM = "Response Maintenance"
SCENARIOS = (EC, RM)
SUB_TASKS: dict[str, tuple[str, ...]] = {
    "Mathematics": ("Algebra", "Arithmetic", "Combinatorial Probability", "Equations and Inequalities", "Geometry"),
    "Reasoning": ("Common Sense Reasoning", "IQ Questions"),
    "Coding": ("Code Debugging", "Code Generation", "Code Knowledge"),
    "Text Extraction": ("Information Extraction", "Summary", "Title Extraction"),
    "Text Error Correction": ("Grammar Checking", "Text Checking", "Typo Detection"),
    "Text Creation": ("Generation", "Rewriting"),
    "Knowledge Q&A": ("Concept Explanation", "Experience Advice", "Objective Facts", "Reasoning Analysis"),
    "Text Translation": ("Chinese to English", "English to Chinese"),
}
Deficiency = Literal[
    "Factual Error", "Incomplete Answer", "Logical Error", "Not Following Instructions", "Unprofessional Answer"
]
CorrectionFeedback = Literal[
    "Clarifying Intent", "Detailed Explanation", "Hinting Guidance", "Pointing Out Errors", "Raising Objections",
    "Simple Questioning",
]  # fmt: skip
MaintenanceFeedback = Literal["Credibility Support", "Misinformation", "Simple Questioning", "Unreasonable Requests"]
DEFICIENCIES = get_args(Deficiency)
FEEDBACK = {EC: get_args(CorrectionFeedback), RM: get_args(MaintenanceFeedback)}
WEIGHT_TOLERANCE = 1e-9  # every published row sums to 1.0 within one unit in the last place

Text = Annotated[str, StringConstraints(pattern=r"\S")]
Weight = Annotated[float, Field(gt=0, le=1)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    task_type: Literal[tuple(SUB_TASKS)]  # type: ignore[valid-type]
    sub_task_type: str
    user_query: Text
    origin_first_response: Text
    feedback: Text
    reference_second_response: Text | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = SUB_TASKS[self.task_type]
        if self.sub_task_type not in names:
            raise ValueError(f"sub_task_type = {self.sub_task_type!r}: {self.task_type} has {', '.join(names)}")
        for field in ("error_type", "feedback_type", "checklist"):
            values = getattr(self, field) or []
            texts = [value[0] if isinstance(value, tuple) else value for value in values]
            if len(set(texts)) < len(texts):
                raise ValueError(f"{field}: write each item once")
        return self


class _Correction(_Record):
    bench_type: Literal["Error Correction"]
    error_type: list[Deficiency] = Field(min_length=1)
    feedback_type: list[CorrectionFeedback] = Field(min_length=1)
    checklist: list[Annotated[tuple[Text, Weight], Strict(False)]] = Field(min_length=1)

    @model_validator(mode="after")
    def _weights_sum_to_one(self) -> Self:
        total = sum(weight for _, weight in self.checklist)
        if not math.isclose(total, 1.0, abs_tol=WEIGHT_TOLERANCE, rel_tol=0):
            raise ValueError(f"checklist: the weights sum to {total:.6g} instead of 1")
        return self


class _Maintenance(_Record):
    bench_type: Literal["Response Maintenance"]
    error_type: None
    feedback_type: list[MaintenanceFeedback] = Field(min_length=1)
    checklist: list[Text] = Field(min_length=1)


_RECORD: TypeAdapter[_Correction | _Maintenance] = TypeAdapter(
    Annotated[_Correction | _Maintenance, Field(discriminator="bench_type")]
)


def sample_id(user_query: str) -> str:
    """A stable id: "fb-" and the first 12 hex digits of the SHA-1 of the query (our choice; upstream has none)."""
    return "fb-" + hashlib.sha1(utf8(user_query), usedforsecurity=False).hexdigest()[:12]


def to_row(record: Any) -> dict[str, Any]:
    """The typed row of a record; nothing of the record is lost and no text is stored twice.

    Raises RowRejected with field, value and rule for the first rule that a record breaks.
    """
    try:
        item = _RECORD.validate_python(record)
    except ValidationError as error:
        raise _rejection(error) from None
    return {
        "id": sample_id(item.user_query),
        "bench_type": item.bench_type,
        "task_type": item.task_type,
        "sub_task_type": item.sub_task_type,
        "messages": [
            {"role": "user", "content": item.user_query},
            {"role": "assistant", "content": item.origin_first_response},
            {"role": "user", "content": item.feedback},
        ],
        "error_types": item.error_type or [],
        "feedback_types": item.feedback_type,
        "checklist": [
            {"index": index, "text": text, "weight": weight}
            for index, (text, weight) in enumerate(
                item.checklist if isinstance(item, _Correction) else [(text, None) for text in item.checklist]
            )
        ],
        "any_of": isinstance(item, _Maintenance),
        "reference_response": item.reference_second_response,
    }


def _rejection(error: ValidationError) -> RowRejected:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"] if part not in SCENARIOS)
    message = first["msg"].removeprefix("Value error, ")
    if not place:  # of the whole record: its scenario, or a rule above, whose message begins with the field
        field = (
            "bench_type" if first["type"].startswith("union_tag") else message.partition(" = ")[0].partition(":")[0]
        )
        return RowRejected(field, message)
    value = "" if first["type"] == "missing" else f" = {first['input']!r:.60}"
    return RowRejected(place.partition(".")[0], f"{place}{value}: {message}")


def features() -> Any:
    """`datasets.Features` of a row. Labels are strings: `load_dataset` users filter and group by name."""
    from datasets import Features, List, Value

    text = Value("string")
    return Features(
        {
            **dict.fromkeys(("id", "bench_type", "task_type", "sub_task_type"), text),
            "messages": List({"role": text, "content": text}),
            "error_types": List(text),
            "feedback_types": List(text),
            "checklist": List({"index": Value("int32"), "text": text, "weight": Value("float64")}),
            "any_of": Value("bool"),
            "reference_response": text,
        }
    )
