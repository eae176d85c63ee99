"""Files of cubes that are written some rows at a time: NumPy, ENVI and TIFF, which stay in place.

MATLAB's files lie column by column, compressed archives and pictures know their values only as a whole: they are
written by ``write_cube`` alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from mulsr_plugin.data.cube import Cube, CubeForm
from mulsr_plugin.data.formats.common import as_default_range, default_scale
from mulsr_plugin.data.formats.raster_writers import create_envi, create_tiff, read_rows, write_rows
from mulsr_plugin.utils.files import sync


class RowFile(ABC):
    """A file of a cube that is made first and gets its rows later.

    Args:
        path (Path): The file; of ENVI any name that ``write_cube`` takes.
        form (CubeForm): What the file says of the cube.

    Attributes:
        path (Path): See above.
        form (CubeForm): See above.
        stored_scale (float): What brings stored values to [0, 1].
    """

    def __init__(self, path: Path, form: CubeForm) -> None:
        self.path, self.form = path, form
        self.stored_scale = form.scale

    @abstractmethod
    def create(self) -> None:
        """Make the file, with all that it says of the cube."""

    def stored(self, rows: np.ndarray) -> np.ndarray:
        """Return rows (n, W, L) as the file holds them."""
        return rows

    @abstractmethod
    def write(self, first: int, stored: np.ndarray) -> None:
        """Write rows onto the disk, the first one at row ``first``; see :meth:`stored`."""

    @abstractmethod
    def read(self, first: int, last: int) -> np.ndarray:
        """Read rows that have been written, (last - first, W, L) as they are stored."""


class NpyRows(RowFile):
    """A ``.npy`` file: float32 in [0, 1] where the dtype does not imply the scale."""

    def __init__(self, path: Path, form: CubeForm) -> None:
        super().__init__(path, form)
        empty = self.stored(np.empty((0, 0, 0), form.dtype))
        self._dtype, self.stored_scale = empty.dtype, default_scale(empty.dtype.name)
        self._shape = form.shape

    def create(self) -> None:
        header = {'descr': np.lib.format.dtype_to_descr(self._dtype), 'fortran_order': False, 'shape': self._shape}
        with open(self.path, 'wb') as file:
            np.lib.format.write_array_header_1_0(file, header)
            file.truncate(file.tell() + int(np.prod(self._shape, dtype=np.int64)) * self._dtype.itemsize)
        sync(self.path)

    def stored(self, rows: np.ndarray) -> np.ndarray:
        return as_default_range(Cube(rows, self.form.scale))

    def write(self, first: int, stored: np.ndarray) -> None:
        with open(self.path, 'rb+') as file:
            file.seek(self._place(first))
            file.write(np.ascontiguousarray(stored).data)
        sync(self.path)

    def read(self, first: int, last: int) -> np.ndarray:
        shape = (last - first, *self._shape[1:])
        with open(self.path, 'rb') as file:
            file.seek(self._place(first))
            data = file.read(int(np.prod(shape)) * self._dtype.itemsize)
        return np.frombuffer(data, self._dtype).reshape(shape)

    def _place(self, row: int) -> int:
        """Return where a row begins, counted from the end, so that no header need be read."""
        rest = (self._shape[0] - row) * int(np.prod(self._shape[1:], dtype=np.int64)) * self._dtype.itemsize
        return self.path.stat().st_size - rest


class TiffRows(RowFile):
    """A GeoTIFF."""

    def create(self) -> None:
        create_tiff(self.path, self.form)
        sync(self.path)

    def write(self, first: int, stored: np.ndarray) -> None:
        write_rows(self.path, 'GTiff', first, stored)

    def read(self, first: int, last: int) -> np.ndarray:
        return read_rows(self.path, 'GTiff', first, last)


class EnviRows(RowFile):
    """An ENVI image, header and data."""

    def create(self) -> None:
        create_envi(self.path, self.form)
        sync(self.path.with_suffix('.hdr'))

    def write(self, first: int, stored: np.ndarray) -> None:
        write_rows(self.path.with_suffix('.dat'), 'ENVI', first, stored)

    def read(self, first: int, last: int) -> np.ndarray:
        return read_rows(self.path.with_suffix('.dat'), 'ENVI', first, last)
