"""ENVI headers: their fields, what in them cannot be read as an image, and which data file is theirs.

Used are ``samples``, ``lines``, ``bands``, ``data type``, ``interleave``, ``byte order``, ``header offset``, ``data
ignore value``, ``bbl``, ``wavelength``, ``wavelength units``, ``map info``, ``coordinate system string``, and of the
radiometry ``reflectance scale factor``, ``data gain values`` with ``data offset values``, and ``data reflectance gain
values`` with ``data reflectance offset values``. Refused: other file types than ENVI Standard, frame offsets.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mulsr_plugin.data.formats.errors import FormatError

DATA_SUFFIXES = ('', '.dat', '.img', '.raw', '.bsq', '.bil', '.bip', '.bin', '.envi')
IMAGE_TYPES = ('', 'envi', 'envi standard')
BYTE_ORDER_MARKS = (b'\xef\xbb\xbf', b'\xff\xfe', b'\xfe\xff')
_FIELD = re.compile(r'^([^=;{}\n]+?)\s*=\s*(\{[^}]*\}|[^\n]*)', re.MULTILINE)


class EnviHeader(NamedTuple):
    """A header: its text and its fields, by lower-case names with underscores."""

    text: str
    fields: dict[str, str]


def read_header(path: Path) -> EnviHeader:
    """Read a header in any encoding that editors save.

    Raises:
        FormatError: It is not a header of an ENVI image.
    """
    content = path.read_bytes()
    encoding = 'utf-16' if content.startswith(BYTE_ORDER_MARKS[1:]) else 'utf-8-sig'
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode('latin-1')
    text = text.replace('\r\n', '\n').replace('\r', '\n')
    if not text.lstrip().upper().startswith('ENVI'):
        raise FormatError(
            f'{path} is not an ENVI header, which begins with the line ENVI; if it belongs to another format (ESRI, '
            'Analyze, Radiance), convert the image first, such as by gdal_translate -of ENVI.'
        )
    fields = {re.sub(r'\s+', '_', name.strip().lower()): value.strip() for name, value in _FIELD.findall(text)}
    _check_type(path, fields)
    return EnviHeader(text, fields)


def envi_calibration(header: Path, fields: Mapping[str, str], bands: int) -> dict[str, Any]:
    """Return scale, or gains and offsets, for a ``RawImage``; those that lead to reflectance go before others.

    Raises:
        FormatError: The fields do not fit the bands, or a scale and gains contradict each other.
    """
    prefix = next((name for name in ('data_reflectance', 'data') if f'{name}_gain_values' in fields), 'data')
    gains = _of_bands(header, fields, f'{prefix}_gain_values', bands, 1.0)
    offsets = _of_bands(header, fields, f'{prefix}_offset_values', bands, 0.0)
    calibrated = any(offsets) or set(gains) != {1.0}
    factor = numbers_of(fields.get('reflectance_scale_factor', ''))
    scale = 1 / factor[0] if factor and factor[0] > 0 else None
    if calibrated and factor and factor[0] != 1:
        raise FormatError(
            f'{header} names a reflectance scale factor and gains or offsets of the bands, of which only one can hold; '
            'remove the other from it.'
        )
    if calibrated and (any(offsets) or len(set(gains)) > 1):
        return {'gains': gains, 'offsets': offsets}
    return {'scale': gains[0] if calibrated else scale}


def bad_bands(header: Path, fields: Mapping[str, str], bands: int) -> tuple[int, ...]:
    """Return the bands, from 0, that ``bbl`` marks as bad.

    Raises:
        FormatError: The list has another number of bands.
    """
    return tuple(band for band, good in enumerate(_of_bands(header, fields, 'bbl', bands, 1.0)) if good == 0)


def numbers_of(text: str) -> tuple[float, ...]:
    """Read the numbers of a header field such as ``{400, 410}``; a field of anything else counts as absent."""
    try:
        return tuple(float(part) for part in text.strip('{} \n').replace(',', ' ').split())
    except ValueError:
        return ()


def envi_files(path: Path) -> tuple[Path, Path]:
    """Return header and data file of an ENVI image named by either.

    Raises:
        FileNotFoundError: One of them is missing.
        FormatError: Several files could be the data of a header.
    """
    if path.suffix.lower() == '.hdr':
        return path, _data_of(path)
    headers = [Path(f'{path}.hdr'), path.with_suffix('.hdr'), Path(f'{path}.HDR'), path.with_suffix('.HDR')]
    header = next((candidate for candidate in headers if candidate.is_file()), None)
    if header is None:
        what = 'an ERDAS Imagine file; convert it: gdal_translate -of ENVI' if _is_erdas(path) else None
        raise FileNotFoundError(
            f'There is no ENVI header beside {path}: ' + (f'it is {what}.' if what else f'expected {headers[1].name}.')
        )
    return header, path


def data_candidates(header: Path) -> list[Path]:
    """Return the files that may be the data of a header, without those that have a header of their own."""
    names = [header.with_suffix(suffix) for suffix in DATA_SUFFIXES]
    names += [name.with_suffix(name.suffix.upper()) for name in names[1:]]
    found: list[Path] = []
    for name in names:
        own = Path(f'{name}.hdr')
        # on some systems x.DAT is x.dat
        if name.is_file() and (own == header or not own.is_file()) and not any(name.samefile(each) for each in found):
            found.append(name)
    return found


@contextlib.contextmanager
def for_gdal(header: Path, data: Path, text: str) -> Iterator[Path]:
    """Yield the name of the data under which GDAL finds this header: another one may stand beside, or begin oddly."""
    chosen = data.with_suffix('.hdr')
    plain = not header.read_bytes().startswith(BYTE_ORDER_MARKS)
    if plain and (header == chosen or not chosen.is_file()):
        yield data
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / 'image.dat'
        link.symlink_to(data.absolute())
        link.with_suffix('.hdr').write_text(text, encoding='utf-8')
        yield link


def _data_of(header: Path) -> Path:
    found = data_candidates(header)
    if not found:
        raise FileNotFoundError(
            f'There is no data file beside the ENVI header {header}: expected {header.stem} with no suffix or one of '
            f'{" ".join(DATA_SUFFIXES[1:])}.'
        )
    if len(found) > 1:
        raise FormatError(
            f'{header} may be the header of {" or ".join(file.name for file in found)}: name the data file instead.'
        )
    return found[0]


def _check_type(path: Path, fields: Mapping[str, str]) -> None:
    kind = fields.get('file_type', '').lower()
    if kind not in IMAGE_TYPES:
        raise FormatError(
            f'{path} says file type = {fields["file_type"]}, expected an image (ENVI Standard); name the file that '
            'holds the image.'
        )
    for name in ('major_frame_offsets', 'minor_frame_offsets'):
        if any(numbers_of(fields.get(name, ''))):
            raise FormatError(f'{path} has {name.replace("_", " ")}, which are not read; save the image without them.')
    if fields.get('bands', '1') != '1' and fields.get('interleave', '').lower() not in ('bsq', 'bil', 'bip'):
        raise FormatError(
            f'{path} cannot be read as ENVI: its interleave is {fields.get("interleave") or "not named"}, expected '
            'bsq, bil or bip; correct it.'
        )


def _of_bands(header: Path, fields: Mapping[str, str], name: str, bands: int, default: float) -> tuple[float, ...]:
    if name not in fields:
        return (default,) * bands
    numbers = numbers_of(fields[name])
    if len(numbers) != bands:
        raise FormatError(
            f'{header} has {len(numbers)} numbers in {name.replace("_", " ")}, expected one for each of its {bands} '
            'bands; correct it.'
        )
    return numbers


def _is_erdas(path: Path) -> bool:
    if not path.is_file():
        return False
    with open(path, 'rb') as file:
        return file.read(15) == b'EHFA_HEADER_TAG'
