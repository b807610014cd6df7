"""SBOMs of the image and the wheel, CycloneDX 1.6, from the lock files: `make sbom`.

    python deploy/sbom.py --out sbom

`image.cdx.json` has what `requirements/serve.txt` locks, by hash, with the libraries of the pages.
`wheel.cdx.json` has what the wheel needs without extras, at the versions that the tests have. The
base image's own packages are its publisher's to list, or a scanner's (docs/release.md). Equal locks
give equal bytes.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
VENDOR = ROOT / "app" / "web" / "vendor"
VENDORED = {"swagger-ui": ("swagger-ui-dist", "Apache-2.0"), "redoc": ("redoc", "MIT")}
"""npm package and licence of the folders `<name>-<version>` in `VENDOR`."""

Document = dict[str, Any]


def locked(file: Path) -> dict[str, str]:
    """Return the lines of each requirement of a lock file, by its name."""
    blocks = re.split(r"^(?=\S)", file.read_text("utf-8"), flags=re.MULTILINE)
    return {Requirement(block.split("\\")[0]).name: block for block in blocks if block.strip()}


def closure(wanted: Iterable[str], lock: Mapping[str, str]) -> set[str]:
    """Return the names of what these requirements need, as this environment has it installed."""
    found: set[str] = set()
    waiting = [Requirement(line).name for line in wanted]
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found or name not in lock:
            continue
        found.add(name)
        for line in metadata.requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


def document(requirements: str) -> Document:
    """Return the SBOM of requirements, as cyclonedx-bom makes and validates it."""
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", "-"]
    command += [f"--pyproject={ROOT / 'pyproject.toml'}", "--output-reproducible", "--validate"]
    command += ["--spec-version=1.6", "--output-format=JSON"]
    done = subprocess.run(  # noqa: S603 -- this interpreter
        command, input=requirements, capture_output=True, text=True, check=True
    )
    made: Document = json.loads(done.stdout)
    for component in made["components"]:
        del component["description"]  # the line of the lock
        if expression := licence_of(component["name"]):
            component["licenses"] = [{"expression": expression}]
    return made


def licence_of(name: str) -> str | None:
    """Return the SPDX expression that an installed package states, if it does."""
    try:
        stated = metadata.metadata(name)
    except metadata.PackageNotFoundError:  # of another platform
        return None
    expression = stated.json.get("license_expression")
    return str(expression) if expression else None


def vendored() -> list[Document]:
    """Return the libraries of the pages as components."""
    components = []
    for folder in sorted(path for path in VENDOR.iterdir() if path.is_dir()):
        name, _, version = folder.name.rpartition("-")
        package, licence = VENDORED[name]
        purl = f"pkg:npm/{package}@{version}"
        components.append(
            {
                "bom-ref": purl,
                "type": "library",
                "name": package,
                "version": version,
                "purl": purl,
                "licenses": [{"license": {"id": licence}}],
            }
        )
    return components


def main() -> None:
    """Write both documents."""
    parser = argparse.ArgumentParser(prog="python deploy/sbom.py", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("sbom"), help="folder to write to")
    out: Path = parser.parse_args().out
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    serve = locked(ROOT / "requirements" / "serve.txt")
    test = locked(ROOT / "requirements" / "test.txt")
    needed = closure(project["dependencies"], test)
    out.mkdir(parents=True, exist_ok=True)
    for name, lines in (
        ("image", serve.values()),
        ("wheel", [block for package, block in test.items() if package in needed]),
    ):
        made = document("".join(lines))
        made["components"] += vendored()
        file = out / f"{name}.cdx.json"
        file.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(f"{file}: {len(made['components'])} components")


if __name__ == "__main__":
    main()
