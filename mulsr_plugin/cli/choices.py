"""What the command line offers to choose from, known without importing what it chooses.

A test compares each with the original.
"""

from __future__ import annotations

import json
from pathlib import Path

_PACKAGE = Path(__file__).parent.parent

AXES = ('hwb', 'whb', 'bhw', 'bwh', 'hbw', 'wbh')
PRECISIONS = ('fp32', 'tf32', 'bf16')
DEFAULT_HALO = 64
"""Of tiles, in pixels of the result."""
NORMALISATIONS = ('scene', 'common')
MASK_TREATMENTS = ('keep', 'zero')
AUTHOR_NETWORKS = ('CoarseNet', 'MoGDCN', 'MulSR', 'PSRT', 'PZResNet', 'UAL')
"""Networks whose authors' checkpoints can be converted."""
CUBE_SUFFIXES = ('.mat', '.npy', '.npz', '.hdr', '.dat', '.img', '.envi', '.tif', '.tiff')
"""Of the cubes that can be written; a name without a suffix is a folder of PNGs."""
READ_SUFFIXES = ('.mat', '.npy', '.npz', '.h5', '.hdf5', '.he5', '.nc', '.hdr', '.tif', '.tiff')
"""Of the files that are cubes of a folder of cubes."""
EXPORT_SUFFIXES = ('.onnx', '.pt2')
WEIGHTS_SUFFIXES = ('.pth', '.safetensors')
LARGEST_DEMO_SCENE = 2048
"""Pixels."""
METHODS = ('SensorFusion', 'GSA', 'MTFGLP', 'CNMF', 'HySure', 'BicubicUpsampler')
"""Networks that need no weights."""
LAUNCHERS = ('none', 'pytorch', 'slurm')
"""Of BasicSR."""


def shipped_weights() -> list[str]:
    """Return the names of the weights that come with the package."""
    return list(json.loads((_PACKAGE / 'checkpoints' / 'shipped' / 'registry.json').read_text(encoding='utf-8')))


def shipped_splits() -> list[str]:
    """Return the names of the split lists that come with the package."""
    return sorted(path.stem for path in (_PACKAGE / 'data' / 'splits').glob('*.txt'))
