"""Fixtures shared by all tests."""

from __future__ import annotations

import logging
import os
import threading

os.environ.setdefault('OMP_NUM_THREADS', '1')  # read when torch and OpenCV are first imported

from pathlib import Path

import pytest
from tqdm import tqdm

from mulsr_plugin.data.prepare import prepare_dataset, split_scenes
from mulsr_plugin.data.sources.cave import cave_scenes
from mulsr_plugin.data.sources.demo_scenes import make_demo_scenes

# BasicSR's logger keeps writing to the captured, by then closed stream of the test that made it
logging.raiseExceptions = False

# tqdm's own lock is shared with forked processes, and stays locked for ever when one is killed that holds it
tqdm.set_lock(threading.RLock())


@pytest.fixture(scope='session')
def real_data() -> Path:
    """Folder of real scenes beside the checkout; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / 'shared' / 'data'
    if not folder.is_dir():
        pytest.skip('the folder of real scenes is not beside this checkout')
    return folder


@pytest.fixture(scope='session')
def demo_scenes(tmp_path_factory) -> Path:
    """Synthetic scenes demo_01 to demo_03 of 48 x 48 x 31 in CAVE's layout; read only."""
    folder = tmp_path_factory.mktemp('demo') / 'complete_ms_data'
    make_demo_scenes(folder, num_scenes=3, size=48, seed=1)
    return folder


@pytest.fixture(scope='session')
def demo_dataset(tmp_path_factory, demo_scenes) -> Path:
    """The same, prepared: train.lmdb (demo_01, demo_02), test.lmdb (demo_03), and both with suffix _rgb; read only."""
    folder = tmp_path_factory.mktemp('prepared')
    scenes = cave_scenes(demo_scenes, with_rgb=True)
    chosen = split_scenes(scenes, test_scenes=['demo_03'])
    prepare_dataset(scenes, folder, chosen, with_rgb=True, progress=False)
    return folder
