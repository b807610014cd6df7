"""The types of the command's arguments, for argparse: text -> value, or what it should be."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Callable
from contextlib import suppress

from .client import MAX_TIMEOUT_SECONDS, Lengths

MAX_DIGITS = 32
"""Digits of a number, at most. The client does without the service: a test holds it to the same."""


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return the type of a whole number within limits."""
    limits = f"from {least} on" if most is None else f"from {least} to {most}"

    def number(text: str) -> int:
        with suppress(ValueError):
            value = int(text)
            if least <= value and (most is None or value <= most):
                return value
        raise ArgumentTypeError(f"{text!r} is no whole number {limits}.")

    return number


def seconds(text: str) -> float:
    """Return how long a request may take."""
    with suppress(ValueError):
        if 0 < (value := float(text)) <= MAX_TIMEOUT_SECONDS:
            return value
    raise ArgumentTypeError(
        f"{text!r} is no number of seconds above 0 and at most {MAX_TIMEOUT_SECONDS:,.0f}."
    )


def lengths(text: str) -> Lengths:
    """Return how many digits there are, at least and at most."""
    match = re.fullmatch(r"(\d*)(-?)(\d*)", text, re.ASCII)
    least, dash, most = match.groups() if match else ("", "", "")
    given = [int(digits) for digits in (least, most) if digits]
    if not given or not 1 <= given[0] <= given[-1] <= MAX_DIGITS:
        raise ArgumentTypeError(
            f"{text!r} is no length. Give 4, or 2-6, 2- or -6, of 1 to {MAX_DIGITS} digits."
        )
    if not dash:
        return given[0], given[0]
    return int(least) if least else None, int(most) if most else None


def part(text: str) -> tuple[int, int]:
    """Return which share, and of how many."""
    share, _, shares = text.partition("/")
    with suppress(ValueError):
        if 1 <= int(share) <= int(shares):
            return int(share), int(shares)
    raise ArgumentTypeError(f"{text!r} is no share. Give K/N with K from 1 to N, such as 1/4.")
