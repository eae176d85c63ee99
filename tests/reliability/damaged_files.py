"""Read damaged files in a process of their own, whose memory is limited.

``python -m tests.reliability.damaged_files FOLDER COUNT`` makes the files in a new folder, COUNT flipped ones of every
kind, and reads them. It prints a line of JSON: their number, and a text for every one that was met with anything else
than a result or a documented error.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import scipy.io
import tifffile

from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.degradation.kernels import read_kernel
from mulsr_plugin.data.formats import read_cube, write_cube
from mulsr_plugin.data.paired_hsi_rgb_dataset import _read_key_list
from mulsr_plugin.data.scene_splits import read_split
from mulsr_plugin.data.sources.cave import cave_scenes
from mulsr_plugin.data.spectral_response import load_spectral_response

FLOATS = np.random.default_rng(0).random((6, 5, 4)).astype(np.float32)
COUNTS = (FLOATS * 255).astype(np.uint8)
SPARE_MEMORY = 1 << 30
SLOWEST = 10.0
DOCUMENTED = (ValueError, FileNotFoundError, PermissionError)

Reader = Callable[[Path], Any]
MAGICS = (
    b'',
    b'\0' * 16,
    b'\xff' * 16,
    b'PK\3\4',
    b'\x89HDF\r\n\x1a\n',
    b'\x93NUMPY\1\0',
    b'II*\0',
    b'ENVI\n',
    b'\x80\4',
)


def make_samples(folder: Path) -> dict[Path, Reader]:
    """Write a sound file of every kind; return what reads each."""
    folder.mkdir(parents=True)
    cube = Cube(FLOATS, 1.0, (400.0, 500.0, 600.0, 700.0))
    files: dict[Path, Reader] = {}
    guide = partial(read_cube, is_guide=True)
    for name in ('written.mat', 'written.npy', 'written.npz', 'written.tif'):
        write_cube(folder / name, cube)
        files[folder / name] = read_cube
    write_cube(folder / 'envi' / 'x.hdr', cube)
    for name in ('x.hdr', 'x.dat'):
        files[folder / 'envi' / name] = lambda path: read_cube(path.with_suffix('.hdr'))
    write_cube(folder / 'bands', Cube(COUNTS, 1 / 255))
    files[sorted((folder / 'bands').iterdir())[0]] = lambda path: read_cube(path.parent)
    for version, compress in (('4', False), ('5', False), ('5', True)):
        path = folder / f'v{version}{"c" * compress}.mat'
        content = {'x': FLOATS[0]} if version == '4' else {'x': FLOATS, 'wavelengths': [400, 500, 600, 700]}
        scipy.io.savemat(path, content, format=version, do_compression=compress)
        files[path] = guide if version == '4' else read_cube
    with h5py.File(folder / 'v73.mat', 'w') as file:
        file.create_dataset('x', data=FLOATS.T, compression='gzip').attrs['MATLAB_class'] = b'double'
    np.savez_compressed(folder / 'packed.npz', x=FLOATS)
    for index, options in enumerate(({'compression': 'zlib'}, {'planarconfig': 'separate'}, {'bigtiff': True})):
        data = FLOATS.transpose(2, 0, 1) if index else FLOATS
        layout = {'planarconfig': 'contig', **options}
        tifffile.imwrite(folder / f't{index}.tif', data, photometric='minisblack', **layout)
    cv2.imwrite(str(folder / 'guide.bmp'), COUNTS[..., :3])
    cv2.imwrite(str(folder / 'guide.jpg'), COUNTS[..., :3])
    files.update({folder / name: read_cube for name in ('v73.mat', 'packed.npz', 't0.tif', 't1.tif', 't2.tif')})
    files.update({folder / name: guide for name in ('guide.bmp', 'guide.jpg')})
    return {**files, **_zip_sample(folder), **_table_samples(folder)}


def _zip_sample(folder: Path) -> dict[Path, Reader]:
    with zipfile.ZipFile(folder / 'cave.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        for band in range(1, 32):
            png = cv2.imencode('.png', (np.full((8, 8), band * 1000, np.uint16)))[1].tobytes()
            archive.writestr(f'a_ms/a_ms/a_ms_{band:02d}.png', png)
    return {folder / 'cave.zip': lambda path: [scene.load() for scene in cave_scenes(path)]}


def _table_samples(folder: Path) -> dict[Path, Reader]:
    """Spectral responses, blur kernels, split lists and lists of scenes."""
    response = np.full((3, 31), 1 / 31)
    kernel = np.full((3, 3), 1 / 9)
    np.save(folder / 'response.npy', response)
    np.savetxt(folder / 'response.csv', response, delimiter=',')
    scipy.io.savemat(folder / 'response.mat', {'r': response})
    with h5py.File(folder / 'response73.mat', 'w') as file:
        file['r'] = response.T
    np.save(folder / 'kernel.npy', kernel)
    (folder / 'split.txt').write_text('# mine\n[train]\nballoons\ncloth\n[test]\nfeathers\n')
    (folder / 'meta_info.txt').write_text('balloons.png (512,512,31) 1\ncloth.png (512,512,31) 1\n')
    responses = {folder / f'response{end}': _read_response for end in ('.npy', '.csv', '.mat', '73.mat')}
    return {
        **responses,
        folder / 'kernel.npy': lambda path: read_kernel(str(path)),
        folder / 'split.txt': read_split,
        folder / 'meta_info.txt': lambda path: _read_key_list(str(path), ['balloons', 'cloth'], 'dataroot_gt'),
    }


def _read_response(path: Path) -> np.ndarray:
    return load_spectral_response(str(path), 31, list(range(400, 710, 10)))


def damaged(data: bytes, num_flipped: int, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield what may become of the bytes of a file, each with a name."""
    for percent in range(100):
        yield f'cut at {percent}%', data[: len(data) * percent // 100]
    for number in range(num_flipped):
        content = bytearray(data)
        for _ in range(rng.choice((1, 1, 1, 8, 64))):
            # the structure of most formats is at their beginning
            content[int(len(data) * rng.random() ** rng.choice((1, 3)))] ^= rng.randrange(1, 256)
        yield f'flipped {number}', bytes(content)
    for magic in MAGICS:
        yield f'magic {magic!r}', magic + data[max(len(magic), 1) :]
    yield 'longer', data + rng.randbytes(100)
    yield 'noise', rng.randbytes(len(data))
    yield 'zeros', bytes(len(data))


def fault_of(read: Reader, path: Path) -> str | None:
    """Read a file and return what was wrong with how that went."""
    start = time.perf_counter()
    try:
        read(path)
    except DOCUMENTED as error:
        if '\n' in str(error).strip():
            return f'several lines: {error!r}'
        if 'mulsr_plugin' not in traceback.extract_tb(error.__traceback__)[-1].filename:
            return 'from elsewhere: ' + ''.join(traceback.format_exception(error)[-3:])
    except BaseException as error:
        return ''.join(traceback.format_exception(type(error), error, error.__traceback__)[-3:])
    seconds = time.perf_counter() - start
    return f'{seconds:.1f} s' if seconds > SLOWEST else None


def main(folder: Path, num_flipped: int) -> None:
    """Read every sound file, then every damaged one in its place."""
    samples = make_samples(folder)
    _limit_memory()
    rng = random.Random(0)
    count, faults = 0, []
    for path, read in samples.items():
        read(path)
        data = path.read_bytes()
        for name, content in damaged(data, num_flipped, rng):
            path.write_bytes(content)
            print(f'{path.name} {name}', file=sys.stderr)  # after a crash the last line tells which it was
            fault = fault_of(read, path)
            count += 1
            if fault is not None:
                faults.append(f'{path.name}, {name}: {fault}')
        path.write_bytes(data)
    print(json.dumps({'count': count, 'faults': faults}))


def _limit_memory() -> None:
    import resource

    now = int(Path('/proc/self/statm').read_text().split()[0]) * os.sysconf('SC_PAGE_SIZE')
    resource.setrlimit(resource.RLIMIT_AS, (now + SPARE_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == '__main__':
    main(Path(sys.argv[1]), int(sys.argv[2]))
