"""Many images -> Parquet: the command `digits bulk`.

The input is cut into chunks by what is known before a row is read. A process a core loads the model
once and writes a file for each chunk, whole or not at all; the job, called again, does the chunks
whose files are not there. A chunk and the one that waits behind it are all that a process holds.

Processes and pyarrow instead of Ray Data: one machine reads as many images as its cores allow
either way, and several machines take a share each by `--part 1/4`. Images a second come to those of
the bare predictor (`python -m benchmarks.bulk`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .arguments import part, whole
from .errors import DigitsError
from .images import Item, batches
from .local import LocalReader
from .sources import UsageError, expand

if TYPE_CHECKING:
    import pyarrow as pa

DESCRIPTION = """\
Read many images, without a service, into Parquet.

    digits bulk scans/ answers/                            a folder and those in it
    digits bulk scans.parquet answers/ --column image      a column of images' bytes

answers/ gets a Parquet file for each 2,048 images or fewer, whole or not at all. Stopped, the same
command goes on where it was."""

CHUNK_ROWS = 2048
"""Images of a chunk: a second or two of work, all that is lost when a process is killed."""
CHUNK_BYTES = 32 * 2**20
"""Bytes of a chunk's images, by the average of a Parquet file."""
CALL_IMAGES = 64
"""Images that share a call of the predictor."""
WAITING = 2
"""Chunks of a process that are given to it: in work, and next."""
JOB_FILE = "_job.json"
"""Readers of a folder of Parquet files pass over names that begin so."""
UNFINISHED = 3

_reader: LocalReader
"""Of a worker process."""


Names = list[str] | range
"""Of images: their paths in the folder, or their rows in the file."""
Images = list[Path] | list[bytes | None]
"""Where each is, or its file's bytes; None for a row without."""
Slice = tuple[Names, Images]


class Chunk(NamedTuple):
    """Images of the input, and the file that gets their answers."""

    file: Path
    names: Names
    images: Images


@dataclass(frozen=True)
class Input:
    """What a job reads.

    Attributes:
        path: A folder of images, or a Parquet file.
        column: The file's column of images: bytes, or as `datasets` has them, `{bytes, path}`.
    """

    path: Path
    column: str

    @cached_property
    def _found(self) -> list[Path]:
        """The images in the folder."""
        return [Path(os.fspath(source)) for source in expand([str(self.path)])]  # type: ignore[arg-type]

    @property
    def fingerprint(self) -> str:
        """Tells inputs apart, and one from what became of it: by names, sizes and times."""
        digest = hashlib.sha256(self.column.encode())
        for file in [self.path] if self.path.is_file() else self._found:
            digest.update(os.fsencode(f"{file}\0{_state_of(file)}\n"))
        return digest.hexdigest()

    def chunks(self, output: Path) -> Iterator[Chunk]:
        """Yield all chunks, the same at each call."""
        for index, (names, images) in enumerate(self._slices()):
            yield Chunk(output / f"part-{index:06}.parquet", names, images)

    def _slices(self) -> Iterator[Slice]:
        return self._rows() if self.path.is_file() else self._files()

    def _files(self) -> Iterator[Slice]:
        for start in range(0, len(self._found), CHUNK_ROWS):
            files = self._found[start : start + CHUNK_ROWS]
            yield [_text(file.relative_to(self.path).as_posix()) for file in files], files

    def _rows(self) -> Iterator[Slice]:
        import pyarrow as pa  # noqa: PLC0415 -- an extra

        try:
            yield from self._rows_of_parquet()
        except (pa.ArrowException, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise UsageError(f"{self.path} can't be read as Parquet: {reason}") from error

    def _rows_of_parquet(self) -> Iterator[Slice]:
        import pyarrow.parquet as pq  # noqa: PLC0415 -- an extra

        first = 0
        with (
            self.path.open("rb") as raw,
            pq.ParquetFile(raw, buffer_size=2**20, pre_buffer=False) as file,
        ):
            if self.column not in file.schema_arrow.names:
                raise UsageError(f"{self.path} has no column {self.column!r}: --column NAME.")
            groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
            size = sum(group.total_byte_size for group in groups)
            rows = CHUNK_BYTES * file.metadata.num_rows // max(1, size)
            rows = max(1, min(rows, CHUNK_ROWS))
            for batch in file.iter_batches(rows, columns=[self.column], use_threads=False):
                images = batch.column(0).to_pylist()
                files = [each.get("bytes") if isinstance(each, dict) else each for each in images]
                yield range(first, first + len(files)), files
                first += len(files)


def _text(path: str) -> str:
    r"""Return a path as text; bytes of it that are no UTF-8, which Arrow has not, as `\xff`."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _state_of(file: Path) -> str:
    """Size and time of a file; nothing of one that can't be read, whose row will say why."""
    try:
        status = file.stat()
    except OSError:
        return ""
    return f"{status.st_size}\0{status.st_mtime_ns}"


def run(source: Input, output: Path, *, processes: int, part: tuple[int, int] = (1, 1)) -> int:
    """Do the chunks of `source` that have no file in `output` yet.

    Args:
        source: What is read.
        output: Folder for the files; it is made.
        processes: How many read at once.
        part: Which of how many shares of the chunks to do.

    Returns:
        How many images were read now.

    Raises:
        UsageError: The folder holds the answers for another input, or that can't be read.
        OSError: The folder can't be written.
        DigitsError: The model can't be used, or a process was killed.
    """
    output.mkdir(parents=True, exist_ok=True)
    _claim(output, source.fingerprint)
    share, shares = part
    done = 0
    # Not forked: threads of the model's libraries would be missing in the copies.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawn, initializer=_start) as pool:
        running: set[Future[int]] = set()
        try:
            for index, chunk in enumerate(source.chunks(output)):
                if index % shares != share - 1 or chunk.file.exists():
                    continue
                if len(running) == processes * WAITING:
                    finished, running = wait(running, return_when=FIRST_COMPLETED)
                    done += sum(each.result() for each in finished)
                running.add(pool.submit(_write, chunk))
            done += sum(each.result() for each in running)
        except BrokenProcessPool:
            raise DigitsError(
                "A process was killed, for want of memory perhaps. Called again, the job goes on."
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
    return done


def _claim(output: Path, fingerprint: str) -> None:
    """Make the folder this input's; its answers are then not mixed with those of another."""
    job = output / JOB_FILE
    if not job.exists():
        job.write_text(json.dumps({"input": fingerprint}))
    elif _claimed(job) != {"input": fingerprint}:
        raise UsageError(f"{output} is for another input, or it has changed; take a new folder.")


def _claimed(job: Path) -> object:
    """What the file of a job says; None where it is damaged."""
    try:
        return json.loads(job.read_bytes())
    except ValueError:
        return None


def _start() -> None:
    """Load the model in a worker process."""
    import cv2  # noqa: PLC0415 -- an extra

    global _reader  # noqa: PLW0603 -- a process of the pool has nothing else to keep it in
    cv2.setNumThreads(1)  # the processes are the parallelism
    _reader = LocalReader()


def _write(chunk: Chunk) -> int:
    """Read a chunk's images and write its file; return how many there were."""
    import pyarrow as pa  # noqa: PLC0415 -- an extra
    import pyarrow.parquet as pq  # noqa: PLC0415

    first = 0
    tables = []
    images = (b"" if image is None else image for image in chunk.images)
    for batch in batches(images, CALL_IMAGES):
        names = chunk.names[first : first + len(batch)]
        tables.append(_answers(names, _outcomes(batch)))
        first += len(batch)
    partial = chunk.file.with_name(f"_{chunk.file.name}.{os.getpid()}")
    with partial.open("wb") as file:
        pq.write_table(pa.concat_tables(tables), file, compression="zstd")
    partial.replace(chunk.file)
    return len(chunk.names)


def _answers(names: Sequence[str | int], outcomes: list[Any]) -> pa.Table:
    import numpy as np  # noqa: PLC0415 -- an extra
    import pyarrow as pa  # noqa: PLC0415

    nothing = np.full(10, np.nan, np.float32)
    predictions = [None if isinstance(each, DigitsError) else each for each in outcomes]
    rows = [nothing if each is None else each.probabilities for each in predictions]
    probabilities = pa.array(np.concatenate(rows), pa.float32())
    return pa.table(
        {
            "image": pa.array(names, pa.int64() if isinstance(names, range) else pa.string()),
            "label": pa.array([each and each.label for each in predictions], pa.int8()),
            "confidence": pa.array(
                [None if each is None else float(each.confidence) for each in predictions],
                pa.float32(),
            ),
            "probabilities": pa.FixedSizeListArray.from_arrays(
                probabilities, 10, mask=pa.array([each is None for each in predictions])
            ),
            "rejected": pa.array(
                [each and each.rejected and str(each.rejected) for each in predictions], pa.string()
            ),
            "error": pa.array(
                [str(each) if isinstance(each, DigitsError) else None for each in outcomes],
                pa.string(),
            ),
        }
    )


def _outcomes(batch: list[Item]) -> list[Any]:
    """The service's prediction for each image, or why there is none."""
    results = iter(_reader.predict_raw([item.content for item in batch if item.content]))
    outcomes = [item.error or next(results) for item in batch]
    return [each if isinstance(each, DigitsError) else each[0] for each in outcomes]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; return the exit status: 2 for wrong usage, 3 where it is not finished."""
    parser = argparse.ArgumentParser("digits bulk", description=DESCRIPTION)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("input", type=Path, help="a folder of images, or a Parquet file")
    parser.add_argument("output", type=Path, help="a folder for Parquet files")
    parser.add_argument("--column", default="image", help="the Parquet file's column (image)")
    parser.add_argument(
        "--processes",
        type=whole(1),
        default=os.cpu_count(),
        metavar="N",
        help="processes, each with a model (one a core, %(default)s)",
    )
    parser.add_argument(
        "--part",
        type=part,
        default=(1, 1),
        metavar="K/N",
        help="this machine's share of the images: 1/4 is the first of four",
    )
    options = parser.parse_args(arguments)
    try:
        if not options.input.exists():
            raise UsageError(f"There is no {options.input}.")
        source = Input(options.input, options.column)
        done = run(source, options.output, processes=options.processes, part=options.part)
    except (UsageError, ImportError) as error:
        print(f"digits bulk: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except DigitsError as error:
        print(f"digits bulk: {error}", file=sys.stderr)  # noqa: T201
        return UNFINISHED
    except OSError as error:
        print(f"digits bulk: {error.filename}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return UNFINISHED
    print(f"{done:,} images read into {_text(str(options.output))}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
