"""Peers are locked, serve with the same TensorFlow, and read images as their users do."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import catalog, digit, environments
from benchmarks.peers.catalog import PEERS, Peer
from benchmarks.peers.environments import InstallError
from tests.conftest import ROOT, png

NAMES = [peer.name for peer in PEERS]


@pytest.mark.parametrize("peer", PEERS, ids=NAMES)
def test_peers_are_locked_and_run_the_same_tensorflow(peer: Peer) -> None:
    ours = (ROOT / "requirements" / "test.txt").read_text()
    locked = peer.requirements.read_text().splitlines()
    assert all(re.fullmatch(r"[\w.-]+(\[[\w,-]+\])?==[\w.]+( ; .+)?", line) for line in locked)
    tensorflow = next(line for line in locked if line.startswith("tensorflow"))
    assert f"\n{tensorflow.split(' ')[0]} " in ours
    wanted = peer.requirements.with_suffix(".in").read_text().splitlines()
    names = {line.split(" ")[0] for line in locked}
    assert {re.sub(r"\[.*\]", "", line) for line in wanted} <= {
        re.sub(r"\[.*\]", "", name) for name in names
    }
    assert (catalog.REQUIREMENTS / f"{peer.name}.py").is_file()


def test_environment_of_other_requirements_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "ENVIRONMENTS", tmp_path)
    peer = PEERS[0]
    assert not peer.is_installed
    peer.python.parent.mkdir(parents=True)
    peer.python.touch(0o755)
    stamp = peer.folder / catalog.STAMP
    stamp.write_text("other==1.0\n")
    assert not peer.is_installed
    stamp.write_bytes(peer.requirements.read_bytes())
    assert peer.is_installed


def test_a_missing_python_is_said() -> None:
    with pytest.raises(InstallError, match=r"needs Python 2\.5"):
        environments.find_python("2.5")


def test_peers_invert_bright_images() -> None:
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 12:16] = 255
    assert (digit.read(png(image)) == image).all()
    assert (digit.read(png(255 - image)) == image).all()


def test_peers_lay_transparency_on_white() -> None:
    ink = np.zeros((28, 28), np.uint8)
    ink[4:24, 12:16] = 255
    black = np.zeros_like(ink)
    assert (digit.read(png(np.dstack([black, black, black, ink]))) == ink).all()
