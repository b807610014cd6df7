"""The release page: its dry run of signing, which needs no network, is run as it stands there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

RELEASE = (ROOT / "docs" / "release.md").read_text("utf-8")
STEPS = re.findall(r"^ +(openssl .*|\(cd dist .*)$", RELEASE, re.MULTILINE)


@pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl here")
def test_what_is_signed_is_what_is_verified(tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    wheel = tmp_path / "dist" / "digits.whl"
    for name in ("digits.whl", "digits.tar.gz", "image.cdx.json"):
        (tmp_path / "dist" / name).write_bytes(name.encode())
    [checksums] = re.findall(r"`(\(cd dist && sha256sum .*?SHA256SUMS)`", RELEASE)
    assert len(STEPS) == 5
    *signing, check = (
        re.sub(r"/\w+(?=/(?:key|pub|sums)\.)", str(tmp_path), step) for step in STEPS
    )
    run = {"shell": True, "cwd": tmp_path, "capture_output": True, "text": True}
    for step in (checksums, *signing, check):
        done = subprocess.run(step, check=False, **run)  # type: ignore[call-overload]
        assert done.returncode == 0, f"{step}: {done.stderr}"
    wheel.write_bytes(b"another wheel")
    assert subprocess.run(check, check=False, **run).returncode != 0  # type: ignore[call-overload]


def test_every_lock_is_audited() -> None:
    [locks] = re.findall(r"for lock in ([\w ]+); do", RELEASE)
    assert {"serve", "train", "test"} <= set(locks.split())
    assert "pip-audit --require-hashes" in RELEASE
