"""The command `digits`.

Exit status: 0 where every image was read; 1 where any was rejected or could not be read; 2 for
wrong usage; 3 where the work could not be finished, because the service can't be reached or refuses
it, or the results can't be written; 130 when interrupted.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from http import HTTPStatus
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from rich.console import Console

from . import launch
from .arguments import MAX_DIGITS, lengths, seconds, whole
from .client import (
    BATCH_SIZE,
    DEFAULT_URL,
    IN_FLIGHT,
    KEY_VARIABLE,
    TIMEOUT_SECONDS,
    URL_VARIABLE,
    Client,
)
from .errors import (
    BadParameter,
    ConnectionFailed,
    DigitsError,
    InvalidArgument,
    Problem,
    SourceError,
    TimedOut,
)
from .flows import OF_AN_IMAGE
from .local import LocalReader, LocalUnavailable, without_native_info
from .numbers import NumberOutcome, write_csv, write_json, write_table
from .progress import is_read, with_bar
from .results import Outcome
from .retries import Retries
from .rows import Csv, JsonLines, RowWriter, TableRows, names_in
from .sources import Source, UsageError, expand, name_of, reads_stdin

ALL_READ, SOME_NOT_READ, USAGE_ERROR, UNFINISHED, INTERRUPTED = 0, 1, 2, 3, 130
MAX_BATCH_SIZE = 256
CHECKS = ("luhn", "mod97")
PASSED_ON = ("train", "evaluate", "compare", "promote", "rollback")
"""Commands whose arguments are another program's."""
BULK = "bulk"

IMAGES_EPILOG = f"""\
images:
  seven.png *.jpg    files, sent whatever their names
  scans/             a folder and those in it: the files with an image's suffix
  -                  standard input
  @list.txt          a list with the name of a file or folder in each line

exit status:
  0  every image was read
  1  some were rejected, or could not be read
  2  wrong usage
  3  not finished: the service can't be reached or refuses, or there is no place to write to

{URL_VARIABLE} is the service's address where there is no --url, {KEY_VARIABLE} the key to send.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    given = [*sys.argv[1:]] if arguments is None else [*arguments]
    _open_closed_streams()
    parser = build_parser()
    try:
        if given and given[0] in PASSED_ON:
            launch.train(given[0], given[1:])
        if given and given[0] == BULK:
            launch.become(["digits.bulk", *given[1:]], os.environ)
        options = parser.parse_args(given)
        run: Callable[[argparse.Namespace], int] = options.run
        return run(options)
    except (UsageError, LocalUnavailable, BadParameter, InvalidArgument) as error:
        _complain(str(error))
        return USAGE_ERROR
    except DigitsError as error:
        _complain(f"{error}{_way_out(error)}")
        return UNFINISHED
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNFINISHED
    except OSError as error:
        _complain(f"{error.filename or 'The output'}: {error.strerror}")
        return UNFINISHED
    except KeyboardInterrupt:
        _complain("Interrupted.")
        return INTERRUPTED


def _way_out(error: DigitsError) -> str:
    """Return what to do where nothing answers, or what answers has no such page."""
    if isinstance(error, ConnectionFailed) and not isinstance(error, TimedOut):
        return " Is the service started? --url names another; `digits predict --local` needs none."
    if isinstance(error, Problem) and error.status == HTTPStatus.NOT_FOUND:
        return " --url is the service's own address, such as http://localhost:8000."
    return ""


def _open_closed_streams() -> None:
    """Put nothing in place of a standard stream that was closed, which Python has as None."""
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(prog="digits", description="Reads handwritten digits.")
    parser.add_argument("--version", action="version", version=_version())
    parser.set_defaults(run=lambda _: _say_how(parser))
    commands = parser.add_subparsers(metavar="command")
    _add_predict(commands)
    _add_read(commands)
    serve = commands.add_parser("serve", help="start the service", description="Start the service.")
    serve.add_argument("--host", help="address to listen on (DIGITS_HOST, else 127.0.0.1)")
    serve.add_argument("--port", type=int, help="port to listen on (DIGITS_PORT, else 8000)")
    serve.set_defaults(run=_serve)
    versions = commands.add_parser(
        "versions", help="say which model answers", description="Say which model answers."
    )
    _add_place(versions)
    versions.add_argument("--json", action="store_true", help="the model's whole card, as JSON")
    versions.set_defaults(run=_versions)
    for name in PASSED_ON:
        module, *words = launch.program_of(name)
        program = " ".join([f"training.{module}", *words])
        commands.add_parser(name, help=f"run {program}, in a checkout", add_help=False)
    commands.add_parser(BULK, help="read a folder or Parquet file into Parquet", add_help=False)
    return parser


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser(
        "predict",
        help="read images",
        description="Read images.",
        epilog=IMAGES_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.add_argument("images", nargs="*", metavar="IMAGE", help="see below")
    predict.add_argument(
        "--from-file", action="append", default=[], metavar="LIST", help="read names from a list"
    )
    _add_place(predict)
    form = predict.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="write a JSON object a line")
    form.add_argument("--csv", action="store_true", help="write CSV")
    predict.add_argument(
        "--output", type=Path, metavar="FILE", help="write there: CSV or, by default, JSON lines"
    )
    predict.add_argument(
        "--resume", action="store_true", help="leave out the images that FILE has already"
    )
    predict.add_argument(
        "--as-it-is",
        action="store_true",
        help="images are 28×28, white ink on black, and are not normalized",
    )
    predict.add_argument(
        "--no-pictures", action="store_true", help="no pictures of what the model saw"
    )
    predict.add_argument(
        "--batch-size",
        type=whole(1, MAX_BATCH_SIZE),
        default=BATCH_SIZE,
        metavar="N",
        help="images in a request (%(default)s)",
    )
    predict.add_argument(
        "--in-flight",
        type=whole(1, 64),
        default=IN_FLIGHT,
        metavar="N",
        help="requests at once (%(default)s)",
    )
    predict.set_defaults(run=_predict)


def _add_read(commands: Any) -> None:
    read = commands.add_parser(
        "read",
        help="read numbers",
        description="Read numbers of one or more digits in a row, one an image. What is known of "
        "them helps to read them.",
        epilog=IMAGES_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    read.add_argument("images", nargs="+", metavar="IMAGE", help="see below")
    form = read.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="write a JSON object a line")
    form.add_argument("--csv", action="store_true", help="write CSV")
    read.add_argument(
        "--length", type=lengths, metavar="N", help=f"digits: 4, or 2-6, 2- or -6 (1-{MAX_DIGITS})"
    )
    read.add_argument(
        "--pattern", help="how they are written, such as '#,##9.99', or --pattern='-##9'"
    )
    read.add_argument("--check", choices=CHECKS, help="the rule that their check digits obey")
    _add_service(read, read.add_mutually_exclusive_group())
    read.set_defaults(run=_read)


def _say_how(parser: argparse.ArgumentParser) -> int:
    parser.print_help(sys.stderr)
    return USAGE_ERROR


def _add_place(parser: argparse.ArgumentParser) -> None:
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--local", action="store_true", help="do without a service")
    _add_service(parser, place)


def _add_service(parser: argparse.ArgumentParser, place: Any) -> None:
    place.add_argument("--url", help=f"the service ({URL_VARIABLE}, else {DEFAULT_URL})")
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=TIMEOUT_SECONDS,
        metavar="SECONDS",
        help="seconds for a request (%(default)s)",
    )
    parser.add_argument(
        "--attempts",
        type=whole(1, 100),
        default=Retries().attempts,
        metavar="N",
        help="requests at most until the service answers (%(default)s)",
    )


def _client(options: argparse.Namespace) -> Client:
    retries = Retries(attempts=options.attempts)
    return Client(options.url, timeout_seconds=options.timeout, retries=retries)


def _predict(options: argparse.Namespace) -> int:
    if not options.images and not options.from_file:
        raise UsageError("No image is named; `digits predict --help` shows how.")
    if options.resume and not options.output:
        raise UsageError("--resume goes on with a file: it needs --output FILE.")
    done = _already_done(options)
    with ExitStack() as stack:
        output = _open_output(options, stack)
        stack.callback(output.writer.close)
        sources = (source for source in _sources(options) if name_of(source) not in done)
        outcomes = _outcomes(options, sources, stack, include_seen=output.has_pictures)
        if not output.is_terminal and sys.stderr.isatty():
            outcomes = with_bar(outcomes, _count(options, done))
        status = ALL_READ
        for outcome in outcomes:
            output.writer.write(outcome)
            if not is_read(outcome):
                status = SOME_NOT_READ
    return status


def _read(options: argparse.Namespace) -> int:
    status = ALL_READ

    def watched(outcomes: Iterator[NumberOutcome]) -> Iterator[NumberOutcome]:
        nonlocal status
        for outcome in outcomes:
            if not outcome.is_read:
                status = SOME_NOT_READ
            yield outcome

    with _client(options) as client:
        outcomes = watched(_number_outcomes(client, options))
        if options.json:
            write_json(outcomes, sys.stdout)
        elif options.csv:
            write_csv(outcomes, sys.stdout)
        else:
            write_table(outcomes, Console(highlight=False))
    return status


def _number_outcomes(client: Client, options: argparse.Namespace) -> Iterator[NumberOutcome]:
    """Ask for each image by itself: one that can't be read costs no other anything."""
    for source in expand(options.images, []):
        name = name_of(source)
        try:
            number = client.read(
                source, length=options.length, pattern=options.pattern, check=options.check
            )
        except (SourceError, *OF_AN_IMAGE) as error:
            yield NumberOutcome(name, None, error)
        else:
            yield NumberOutcome(name, number)


def _sources(options: argparse.Namespace) -> Iterator[Source]:
    return expand(options.images, options.from_file)


def _outcomes(
    options: argparse.Namespace,
    sources: Iterator[Source],
    stack: ExitStack,
    *,
    include_seen: bool,
) -> Iterator[Outcome]:
    normalize = not options.as_it_is
    if options.local:
        return _local_reader().predict_many(sources, normalize=normalize, include_seen=include_seen)
    client = stack.enter_context(_client(options))
    return client.predict_many(
        sources,
        normalize=normalize,
        include_seen=include_seen,
        batch_size=options.batch_size,
        in_flight=options.in_flight,
    )


def _local_reader() -> LocalReader:
    with without_native_info():
        return LocalReader()


def _is_csv(options: argparse.Namespace) -> bool:
    """Return whether rows are CSV: as asked for, or as the file's name says."""
    by_name = options.output is not None and options.output.suffix.lower() == ".csv"
    return bool(options.csv or (by_name and not options.json))


def _already_done(options: argparse.Namespace) -> set[str]:
    output: Path | None = options.output
    if output is None or not output.exists() or not output.is_file():
        return set()
    if not options.resume:
        raise UsageError(f"{output} exists. Go on with it by --resume, or give another --output.")
    return names_in(output, is_csv=_is_csv(options))


class Output(NamedTuple):
    """Where rows go, whether they have pictures, and whether a terminal shows them."""

    writer: RowWriter
    has_pictures: bool
    is_terminal: bool


def _open_output(options: argparse.Namespace, stack: ExitStack) -> Output:
    if options.output is not None:
        # By lines: what an interruption leaves is whole rows.
        file: TextIO = stack.enter_context(
            options.output.open("a", 1, encoding="utf-8", errors="surrogateescape", newline="")
        )
        writer = Csv(file, has_header=file.tell() > 0) if _is_csv(options) else JsonLines(file)
        return Output(writer, has_pictures=False, is_terminal=False)
    is_terminal = sys.stdout.isatty()
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal need not have every character
        sys.stdout.reconfigure(errors="backslashreplace")
    if options.json or options.csv:
        writer = Csv(sys.stdout) if options.csv else JsonLines(sys.stdout)
        return Output(writer, has_pictures=False, is_terminal=is_terminal)
    console = Console(highlight=False)
    pictures = _can_show_pictures(console) and not options.no_pictures
    return Output(TableRows(console, pictures=pictures), pictures, is_terminal)


def _can_show_pictures(console: Console) -> bool:
    has_colors = console.color_system in ("truecolor", "256")
    return console.is_terminal and has_colors and console.encoding.startswith("utf")


def _count(options: argparse.Namespace, done: set[str]) -> int | None:
    """Return how many images there will be; None where finding out would use up standard input."""
    if reads_stdin(options.images, options.from_file):
        return None
    return sum(name_of(source) not in done for source in _sources(options))


def _versions(options: argparse.Namespace) -> int:
    with _local_reader() if options.local else _client(options) as reader:
        card = reader.card()
    if options.json:
        text = json.dumps(card)
    else:
        text = f"{card.get('name')} {card.get('version')}, of {card.get('created', 'unknown date')}"
    sys.stdout.write(text + "\n")
    return ALL_READ


def _serve(options: argparse.Namespace) -> int:
    launch.serve(host=options.host, port=options.port)


def _version() -> str:
    try:
        return importlib.metadata.version("digits")
    except importlib.metadata.PackageNotFoundError:
        return "a checkout, not installed"


def _complain(message: str) -> None:
    sys.stderr.write(f"digits: {message}\n")
