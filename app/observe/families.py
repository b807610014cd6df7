"""The metrics that there are: name, unit, labels, and how several workers' values become one.

Names and units follow https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
STEP_SECONDS = (0.0001, 0.00025, 0.0005, *SECONDS[:-1])
BYTES = tuple(4.0**power for power in range(4, 14))
"""256 bytes to 64 MiB."""
IMAGES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
CONFIDENCES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)


@dataclass(frozen=True, slots=True)
class Family:
    """A metric, and its series by label values.

    Attributes:
        kind: Counters and histograms add up over all workers, dead ones too: what was counted
            stays counted. A gauge is the sum over living workers, unless each has a series of its
            own by the label `worker`. An info is 1 where a living worker says so, or is not there.
        name: Its name in Prometheus, with the unit.
        description: One sentence, for `# HELP`.
        labels: Names of its labels.
        bounds: Upper bounds of a histogram's buckets, without infinity.
    """

    kind: Literal["counter", "gauge", "info", "histogram"]
    name: str
    description: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """Numbers of a series: 1, or a histogram's buckets, the last infinite, and its sum."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1


REQUEST_SECONDS = Family(
    "histogram",
    "digits_http_request_duration_seconds",
    "From a request's headers to the last byte of its response.",
    ("route", "method", "status"),
    SECONDS,
)
REQUEST_BYTES = Family(
    "histogram", "digits_http_request_size_bytes", "Content of requests.", ("route",), BYTES
)
RESPONSE_BYTES = Family(
    "histogram", "digits_http_response_size_bytes", "Content of responses.", ("route",), BYTES
)
IN_PROGRESS = Family("gauge", "digits_http_requests_in_progress", "Requests not yet answered.")

STEPS = Family(
    "histogram",
    "digits_step_duration_seconds",
    "Duration of a step: decode, normalize and inference of a batch, queue of a request.",
    ("step",),
    STEP_SECONDS,
)
BATCH_IMAGES = Family("histogram", "digits_batch_images", "Images in a model call.", (), IMAGES)

PREDICTIONS = Family(
    "counter",
    "digits_predictions_total",
    "Images answered, by the most probable digit; `none` for blank ones.",
    ("version", "label"),
)
REJECTIONS = Family(
    "counter", "digits_rejections_total", "Images whose answer should not be used.", ("reason",)
)
CONFIDENCE = Family(
    "histogram",
    "digits_prediction_confidence",
    "Calibrated probability of the label, for images that are not blank.",
    (),
    CONFIDENCES,
)

NUMBERS = Family(
    "counter",
    "digits_numbers_total",
    "Rows answered, by the reason not to use the number; `none` where there is no reason.",
    ("version", "rejected"),
)
NUMBER_CONFIDENCE = Family(
    "histogram",
    "digits_number_confidence",
    "Calibrated probability that all of a number is right, for rows in which one was read.",
    (),
    CONFIDENCES,
)

SHADOW = Family(
    "counter",
    "digits_shadow_images_total",
    "Images that the shadow version read too, by how its answer compares with the live one's.",
    ("version", "outcome"),
)

SHADOW_NUMBERS = Family(
    "counter",
    "digits_shadow_numbers_total",
    "Rows that the shadow version read too, by how its number compares with the live one's.",
    ("version", "outcome"),
)

RELOADS = Family(
    "counter", "digits_reloads_total", "Attempts to go to another version.", ("outcome",)
)
MODEL = Family("info", "digits_model_info", "A version that is live.", ("name", "version"))
PROMOTION = Family(
    "info",
    "digits_promotion_info",
    "How the live version became that; not there where the pointer did not make it live.",
    ("version", "previous", "promoted", "forced"),
)
BUILD = Family("info", "digits_build_info", "The program that runs.", ("version", "python"))


class DriftFamilies(NamedTuple):
    """The metrics of a window of `drift.py`, which gives their values when they are read."""

    distance: Family
    expected_accuracy: Family
    reference_accuracy: Family
    images: Family


PREDICTION_DRIFT = DriftFamilies(
    Family(
        "gauge",
        "digits_drift",
        "Jensen-Shannon distance of what came lately from the reference; NaN for too little.",
        ("feature",),
    ),
    Family(
        "gauge",
        "digits_expected_accuracy",
        "Accuracy of what was answered lately, estimated from its confidence; NaN for too little.",
        ("answers",),
    ),
    Family("gauge", "digits_reference_accuracy", "Accuracy on the card's reference.", ("answers",)),
    Family("gauge", "digits_drift_images", "Images that drift is estimated from."),
)
NUMBER_DRIFT = DriftFamilies(
    Family(
        "gauge",
        "digits_number_drift",
        "Jensen-Shannon distance of the numbers that came lately from their reference.",
        ("feature",),
    ),
    Family(
        "gauge",
        "digits_number_expected_accuracy",
        "Share of the numbers answered lately that is right, estimated from their confidence.",
        ("answers",),
    ),
    Family(
        "gauge",
        "digits_number_reference_accuracy",
        "Share of right numbers on their reference.",
        ("answers",),
    ),
    Family("gauge", "digits_drift_numbers", "Numbers that their drift is estimated from."),
)
DERIVED = (*PREDICTION_DRIFT, *NUMBER_DRIFT)

WAITING = Family("gauge", "digits_waiting_images", "Images admitted and not yet answered.")
WAITING_LIMIT = Family("gauge", "digits_waiting_images_limit", "Images that may wait; above, 503.")
BODY_BYTES = Family("gauge", "digits_body_bytes", "Bodies being received or worked on.")
BODY_BYTES_LIMIT = Family(
    "gauge", "digits_body_bytes_limit", "Bytes that bodies may take; above, requests wait."
)
WORKING_BYTES = Family("gauge", "digits_working_bytes", "Memory charged for parsing and decoding.")
WORKING_BYTES_LIMIT = Family(
    "gauge", "digits_working_bytes_limit", "Bytes that may be charged; above, requests wait."
)
MODEL_REFUSED = Family(
    "gauge", "digits_model_refused", "Workers that can't serve the version that they should."
)
LEVELS = {
    family.name.removeprefix("digits_"): family
    for family in (
        WAITING,
        WAITING_LIMIT,
        BODY_BYTES,
        BODY_BYTES_LIMIT,
        WORKING_BYTES,
        WORKING_BYTES_LIMIT,
    )
}

# prometheus_client's own figures are those of the one worker that is scraped.
CPU_SECONDS = Family(
    "counter", "process_cpu_seconds_total", "Processor time, user and system.", ("worker",)
)
RESIDENT_BYTES = Family("gauge", "process_resident_memory_bytes", "Memory in use.", ("worker",))
OPEN_DESCRIPTORS = Family("gauge", "process_open_fds", "Open files and sockets.", ("worker",))
MAX_DESCRIPTORS = Family(
    "gauge", "process_max_fds", "Files and sockets that may be open.", ("worker",)
)
START_TIME = Family(
    "gauge", "process_start_time_seconds", "Start of the process, in Unix time.", ("worker",)
)
MEMORY_LIMIT = Family(
    "gauge", "process_memory_limit_bytes", "Share of the container's memory.", ("worker",)
)

FAMILIES = (
    REQUEST_SECONDS,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    IN_PROGRESS,
    STEPS,
    BATCH_IMAGES,
    PREDICTIONS,
    REJECTIONS,
    CONFIDENCE,
    NUMBERS,
    NUMBER_CONFIDENCE,
    SHADOW,
    SHADOW_NUMBERS,
    RELOADS,
    MODEL,
    MODEL_REFUSED,
    PROMOTION,
    BUILD,
    *LEVELS.values(),
    CPU_SECONDS,
    RESIDENT_BYTES,
    OPEN_DESCRIPTORS,
    MAX_DESCRIPTORS,
    START_TIME,
    MEMORY_LIMIT,
)
