import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from training.corpora import canvases, fonts
from training.corpora.data import DataError

SHIPPED = Path(mpl.get_data_path()) / "fonts" / "ttf"
FAMILIES = {"caveat": "DejaVuSans.ttf", "kalam": "DejaVuSerif.ttf"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fonts of matplotlib under the names of two families, and a lock of them."""
    entries = {}
    for family, name in FAMILIES.items():
        content = (SHIPPED / name).read_bytes()
        fonts.file_of(tmp_path, family).write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        entries[family] = {"version": "5.0.0", "license": "OFL-1.1", "sha256": sha256}
    lock = tmp_path / "lock.json"
    lock.write_text(json.dumps(entries))
    monkeypatch.setattr(fonts, "LOCK", lock)
    return tmp_path


def test_the_lock_names_version_licence_and_sum_of_every_family() -> None:
    assert len(fonts.lock()) >= 60
    for entry in fonts.lock().values():
        assert set(entry) == {"version", "license", "sha256"}
        assert entry["license"] in {"OFL-1.1", "Apache-2.0"}
        assert len(entry["sha256"]) == 64


def test_held_back_families_are_in_the_lock_and_never_learned() -> None:
    held_back = fonts.families(held_back=True)
    assert held_back == sorted(fonts.HELD_BACK)
    learned = fonts.families(held_back=False)
    assert not set(held_back) & set(learned)
    assert sorted(held_back + learned) == sorted(fonts.lock())
    assert not set(fonts.LEFT_OUT) & set(fonts.lock())


def test_a_pool_has_every_digit_of_every_family_in_turn(folder: Path) -> None:
    made = fonts.pool(folder, count=20, seed=1)
    assert made.kind_names.tolist() == ["kalam"]
    assert np.array_equal(made.labels, np.arange(20) % 10)
    assert made.digits.shape == (20, 28, 28)
    assert made.digits.reshape(20, -1).max(axis=1).min() > 100
    again = fonts.pool(folder, count=20, seed=1)
    assert np.array_equal(made.digits, again.digits)
    held_back = fonts.pool(folder, count=20, seed=1, held_back=True)
    assert held_back.kind_names.tolist() == ["caveat"]
    assert not np.array_equal(made.digits, held_back.digits)


def test_a_plain_digit_fills_the_box(folder: Path) -> None:
    eight = canvases.fitted(fonts.glyph(fonts.file_of(folder, "kalam"), "8"))
    rows = np.flatnonzero(eight.any(axis=1))
    assert rows[-1] - rows[0] + 1 == 20


def test_another_font_than_the_lock_s_is_refused(folder: Path) -> None:
    fonts.file_of(folder, "kalam").write_bytes(b"another")
    with pytest.raises(DataError, match=r"kalam.*SHA-256"):
        fonts.verify(folder)
    fonts.file_of(folder, "kalam").unlink()
    with pytest.raises(DataError, match="make fonts"):
        fonts.pool(folder, count=1, seed=1)


def npm_that_packs(content: bytes) -> Any:
    """What `npm pack` does: an archive in the folder that its words name."""

    def run(words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        place = Path(words[words.index("--pack-destination") + 1])
        family = words[-1].removeprefix("@fontsource/").partition("@")[0]
        member = tarfile.TarInfo(f"package/files/{family}-latin-400-normal.woff")
        member.size = len(content)
        with tarfile.open(place / "some.tgz", "w:gz") as archive:
            archive.addfile(member, io.BytesIO(content))
        return subprocess.CompletedProcess(words, 0, "", "")

    return run


def test_what_is_missing_is_fetched_and_checked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = fonts.file_of(folder, "kalam")
    content = file.read_bytes()
    file.unlink()
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", npm_that_packs(b"tampered"))
    with pytest.raises(DataError, match="SHA-256"):
        fonts.fetch(folder)
    assert not file.exists()
    monkeypatch.setattr(subprocess, "run", npm_that_packs(content))
    fonts.fetch(folder)
    assert file.read_bytes() == content


def test_without_npm_or_package_the_error_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert fonts.main(["fetch", "--fonts", str(folder)]) == 2
    failed = subprocess.CompletedProcess([], 1, "", "404 Not Found")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(DataError, match="404"):
        fonts.packed("npm", "kalam", "5.0.0")


def test_the_command_writes_a_pool(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "pool.npz"
    words = ["pool", "--fonts", str(folder), "--count", "10", "--out", str(out)]
    assert fonts.main(words) == 0
    with np.load(out) as pool:
        assert pool["digits"].shape == (10, 28, 28)
        assert pool["kind_names"].tolist() == ["kalam"]
