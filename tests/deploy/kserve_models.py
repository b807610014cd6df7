"""Holds resources against the models that KServe publishes, run in its client's environment.

Reads a JSON list of resources, and writes one of what is wrong with them: unknown fields, values of
other types, and whatever else the models refuse.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

from kserve import models
from kubernetes import client

PLAIN: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (int, float),
}


def problems(value: Any, kind: str, place: str) -> Iterator[str]:
    """What is wrong with `value`, which should be of the type that a model names `kind`."""
    if listed := re.fullmatch(r"list\[(.+)\]", kind):
        if not isinstance(value, list):
            yield f"{place} is no list"
            return
        for index, each in enumerate(value):
            yield from problems(each, listed[1], f"{place}[{index}]")
    elif mapped := re.fullmatch(r"dict\(str, (.+)\)", kind):
        if not isinstance(value, dict):
            yield f"{place} is no object"
            return
        for name, each in value.items():
            yield from problems(each, mapped[1], f"{place}.{name}")
    elif kind in PLAIN:
        if not isinstance(value, PLAIN[kind]) or isinstance(value, bool) != (kind == "bool"):
            yield f"{place} is no {kind}"
    elif (model := model_of(kind)) is not None:
        yield from problems_of_model(value, model, place)


def model_of(kind: str) -> Any:
    """The model of that name; None where its values are free, such as a quantity."""
    name = re.sub(r"^K8sIo\w+?(?=V\d)", "", kind)
    return getattr(models, kind, None) or getattr(client, name, None)


def problems_of_model(value: Any, model: Any, place: str) -> Iterator[str]:
    """What is wrong with `value`, which should be of the model's fields."""
    if not isinstance(value, dict):
        yield f"{place} is no object"
        return
    fields = {field: name for name, field in model.attribute_map.items()}
    for field, each in value.items():
        if field in fields:
            yield from problems(each, model.openapi_types[fields[field]], f"{place}.{field}")
        else:
            yield f"{place}.{field} is unknown"
    try:
        model(**{fields[field]: each for field, each in value.items() if field in fields})
    except ValueError as error:
        yield f"{place}: {error}"


def main() -> None:
    """Check what comes by the standard input."""
    found = []
    for resource in json.load(sys.stdin):
        version = resource["apiVersion"].rpartition("/")[2].capitalize()
        kind = f"{version}{resource['kind']}"
        if getattr(models, kind, None) is None:
            found.append(f"{kind} is unknown")
        else:
            found += problems(resource, kind, resource["kind"])
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
