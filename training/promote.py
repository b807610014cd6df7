"""Promotion: a candidate passes the gate and becomes the live version.

    python -m training.promote 7                     the gate, then live
    python -m training.promote 7 --images FOLDER     your own images are part of the gate
    python -m training.promote 7 --force "why"       without the gate; the card keeps the reason
    python -m training.promote --rollback            back to the version before; again: forth

Exit codes: 0 it is live; 1 the gate refuses it; 2 it can't be promoted. In the last two nothing has
changed. Servers follow the pointer within DIGITS_RELOAD_SECONDS, unless DIGITS_MODEL_VERSION pins
them. `training.gate` has the checks. `digits promote` and `digits rollback` are the same commands.

The pointer says what is live and why; the card of each version has all of its own promotions.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

from app.errors import ModelError
from app.inference import loading, pointer
from app.inference.pointer import Pointer
from app.inference.registry import version_to_serve
from training.corpora import data, folder


class Refused(Exception):
    """The candidate did not pass the gate."""


def promote(options: argparse.Namespace) -> Pointer:
    """Make a version live if it passes the gate; return the new pointer.

    Raises:
        Refused: It did not pass.
        ModelError: It, or the live version, can't be loaded.
        DataError: The gate's images can't be read.
    """
    models: Path = options.models
    live = version_to_serve(models)
    candidate = version_to_serve(models, pinned=options.version)
    if live == candidate:
        return turned(models, options.version, "It was live already.")
    passed = pass_gate(live, candidate, options)
    why = f"It passed the {passed} checks of the gate against version {live.name}."
    with recorded(candidate, why, forced=False):
        return turned(models, options.version, why)


def pass_gate(live: Path, candidate: Path, options: argparse.Namespace) -> int:
    """Run the gate, and print it; return the number of checks that were passed: all."""
    from training import gate  # noqa: PLC0415 -- TensorFlow takes seconds, and a rollback has none

    split = data.load(options.data, any_data=options.any_data)
    own = folder.read(options.images) if options.images else None
    for word in own.words() if own else ():
        print(word)
    print("Making the images of the gate", flush=True)
    collection = gate.collect(split.validation, own)
    print(f"Measuring version {candidate.name} against version {live.name}", flush=True)
    with redirect_stdout(sys.stderr):  # for the log of loading
        results = gate.run(live, candidate, collection)
    for result in results:
        print(result)
    failed = [result.check.name for result in results if not result.passed]
    if failed:
        raise Refused(
            f"Version {candidate.name} is refused: {', '.join(failed)}. Version {live.name} stays "
            'live; --force "why" overrules the gate.'
        )
    return len(results)


def force(models: Path, version: int, why: str) -> Pointer:
    """Make a version live that can be loaded, whatever its figures; return the new pointer.

    Raises:
        ModelError: It can't be loaded.
    """
    candidate = version_to_serve(models, pinned=version)
    with redirect_stdout(sys.stderr):
        loading.load(candidate)
    with recorded(candidate, why, forced=True):
        return turned(models, version, why, forced=True)


@contextmanager
def recorded(version: Path, why: str, *, forced: bool) -> Iterator[None]:
    """Add a promotion to a version's card, unless it does not come about.

    The version's files have just been verified: the manifest is written anew, over the card, too.
    """
    from training import export  # noqa: PLC0415 -- TensorFlow takes seconds, and a rollback has none

    before = {name: (version / name).read_bytes() for name in (export.CARD, export.MANIFEST)}
    card = export.read_card(version)
    entry = {"promoted": now().isoformat(), "why": why, "forced": forced}
    export.write_card(version, card | {"promotions": [*card.get("promotions", []), entry]})
    try:
        yield
    except BaseException:
        export.replace(version, before)
        raise


def now() -> datetime:
    """Return the time to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def rollback(models: Path) -> Pointer:
    """Turn the pointer back to the version before; return the new pointer.

    The files are verified and no model is loaded, so that it takes no time: it was live before.

    Raises:
        ModelError: There is no version before, or its files have changed.
    """
    current = pointer.read(models)
    if current is None or current.previous is None:
        raise ModelError(f"{models}: no version was live before this one.")
    loading.verify(version_to_serve(models, pinned=current.previous))
    return turned(models, current.previous, f"Rolled back from version {current.version}.")


def turned(models: Path, version: int, why: str, *, forced: bool = False) -> Pointer:
    """Write the pointer to `version`, and return it."""
    try:
        live = int(version_to_serve(models).name)
    except ModelError:  # it leads nowhere, which is what is put right
        live = None
    if live == version:
        current = pointer.read(models)
        live = current.previous if current else None
    new = Pointer(
        version=version,
        previous=live,
        promoted=now(),
        why=why,
        forced=forced,
    )
    pointer.write(models, new)
    return new


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.promote", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("version", type=int, nargs="?", help="the number of the candidate's folder")
    add("--rollback", action="store_true", help="turn back to the version that was live before")
    add("--force", metavar="WHY", help="promote it without the gate, for this reason")
    add("--images", type=Path, metavar="FOLDER", help="labelled images of your own")
    add("--data", type=Path, default=data.path_from_environment(), help="a local mnist.npz")
    add("--any-data", action="store_true", help="accept arrays that are not MNIST's")
    add("--models", type=Path, default=Path("models/digits"), help="where versions are")
    options = parser.parse_args(argv)
    if (options.version is None) != options.rollback:
        parser.error("name a version, or --rollback")
    if options.force is not None and not options.force.strip():
        parser.error("--force wants a reason")
    return options


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = parse(argv)
    try:
        if options.rollback:
            new = rollback(options.models)
        elif options.force:
            new = force(options.models, options.version, options.force)
        else:
            new = promote(options)
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    except (ModelError, data.DataError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"Version {new.version} is live. {new.why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
