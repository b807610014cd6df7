"""The shapes that go over the wire, for the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from ..inference.classifier import Rejection
from ..inference.grammar import MAX_DIGITS
from ..inference.judge import RowRejection

Level = Annotated[float, Field(ge=0, le=255)]
Rows = Annotated[list[Annotated[list[Level], Field(min_length=1)]], Field(min_length=1)]
Text = Annotated[str, Field(description="A file in base64, or a data URI of it.")]
Gray = Rows | Annotated[list[Level], Field(min_length=784, max_length=784)] | Text


class OneImage(BaseModel, extra="forbid"):
    """One image: rows of numbers, 784 numbers, or text.

    0–255, or 0–1 where no value exceeds 1; 8×8 may be 0–16, as scikit-learn's digits are.
    """

    image: Gray


class ManyImages(BaseModel, extra="forbid"):
    """Several images, of any sizes."""

    images: Annotated[list[Gray], Field(min_length=1)]


class Model(BaseModel):
    """Which model answered."""

    name: str
    version: str


class Seen(BaseModel):
    """What the model saw, and what was done to the image before."""

    image: Annotated[str, Field(description="The 28×28 digit, as a data URL of a PNG.")]
    inverted: Annotated[bool, Field(description="The ink was dark on a light ground.")]
    box: Annotated[
        tuple[int, int, int, int] | None,
        Field(description="Left, top, right, bottom of the ink in the upright image's pixels."),
    ]
    boxes: Annotated[
        list[tuple[int, int, int, int]],
        Field(description="The same of each digit, where they are several; else empty."),
    ]
    warnings: list[str]


class Prediction(BaseModel):
    """What one image shows."""

    label: Annotated[
        int | None, Field(ge=0, le=9, description="The most probable digit; null for a blank.")
    ]
    confidence: Annotated[float, Field(ge=0, le=1, description="The label's probability.")]
    probabilities: Annotated[
        list[float], Field(min_length=10, max_length=10, description="Index = digit; sum 1.")
    ]
    rejected: Annotated[
        Rejection | None, Field(description="Null, or why the answer should not be used.")
    ]
    id: Annotated[
        str | None, Field(description="For `/feedback`; only where the operator has it on.")
    ] = None
    seen: Annotated[Seen | None, Field(description="Only with `include=seen`.")] = None


class Answer(BaseModel):
    """One prediction an image, in the order of the request."""

    model: Model
    predictions: Annotated[list[Prediction], Field(min_length=1)]


class Feedback(BaseModel, extra="forbid"):
    """What a picture really shows."""

    id: Annotated[str, Field(description="That of an answer, unchanged.")]
    label: Annotated[
        Annotated[int, Field(strict=True, ge=0, le=9)] | None,
        Field(description="The digit; null for no digit."),
    ]


class NumberFeedback(BaseModel, extra="forbid"):
    """What a row of digits really shows."""

    id: Annotated[str, Field(description="That of a number, unchanged.")]
    text: Annotated[
        Annotated[str, Field(strict=True, pattern=rf"^[0-9]{{1,{MAX_DIGITS}}}$")] | None,
        Field(description="All of its digits, without signs; null for no number."),
    ]


Box = tuple[int, int, int, int]


class NumberDigit(BaseModel):
    """A digit of a number."""

    label: Annotated[int, Field(ge=0, le=9)]
    confidence: Annotated[float, Field(ge=0, le=1, description="The label's probability.")]
    probabilities: Annotated[
        list[float],
        Field(
            min_length=10,
            max_length=10,
            description="Index = digit; sum 1, if the number has as many digits as `text`.",
        ),
    ]
    box: Annotated[
        Box, Field(description="Left, top, right, bottom in the upright image's pixels.")
    ]
    id: Annotated[
        str | None, Field(description="For `/feedback`; only where the operator has it on.")
    ] = None


class Alternative(BaseModel):
    """What a number may be instead."""

    text: str
    confidence: Annotated[float, Field(ge=0, le=1)]


class SeenRow(BaseModel):
    """What the model saw, and what was done to the image before."""

    image: Annotated[
        str | None, Field(description="The digits side by side, 28×28 each: a PNG as a data URL.")
    ]
    inverted: Annotated[bool, Field(description="The ink was dark on a light ground.")]
    box: Annotated[
        Box | None, Field(description="Of the row that was read, in the upright image's pixels.")
    ]


class Number(BaseModel):
    """The number that one image shows."""

    text: Annotated[
        str, Field(description="Its digits, and the signs of `pattern`; empty for a blank.")
    ]
    confidence: Annotated[
        float, Field(ge=0, le=1, description="Probability that all of the text is right.")
    ]
    digits: list[NumberDigit]
    alternatives: Annotated[list[Alternative], Field(max_length=5, description="Likeliest first.")]
    rejected: Annotated[
        RowRejection | None, Field(description="Null, or why the number should not be used.")
    ]
    seen: Annotated[SeenRow | None, Field(description="Only with `include=seen`.")] = None
    id: Annotated[
        str | None,
        Field(description="For `/feedback` with `text`; only where the operator has it on."),
    ] = None


class Numbers(BaseModel):
    """One number an image, in the order of the request."""

    model: Model
    numbers: Annotated[list[Number], Field(min_length=1)]


class ProblemDetails(BaseModel):
    """What went wrong (RFC 9457)."""

    type: Annotated[str, Field(description="Stable, and the address of its explanation.")]
    title: str
    status: int
    detail: str
    request_id: str


class Health(BaseModel):
    """Whether the process can answer, and which model would."""

    status: Literal["ok", "unavailable"]
    model: Model | None = None
    detail: str | None = None
