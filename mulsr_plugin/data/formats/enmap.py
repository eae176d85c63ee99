"""EnMAP products: GeoTIFFs ``...-SPECTRAL_IMAGE.TIF`` beside ``...-METADATA.XML``, which has what the TIFF lacks.

By the layout of DLR's "EnMAP HSI Level 1B / Level 1C / Level 2A Product Specification" and public readers; none was at
hand. For each ``bandID`` the metadata have ``wavelengthCenterOfBand`` in nm, ``GainOfBand`` and ``OffsetOfBand``,
with which the value is gain x stored + offset: reflectance (L2A) or radiance (L1B, L1C); ``backgroundValue`` is where
there is no data. An L1B product has one file for each of its detectors, ``..._VNIR.TIF`` and ``..._SWIR.TIF``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from mulsr_plugin.data.formats.common import FormatError, RawImage, ReadOptions
from mulsr_plugin.data.formats.raster import read_tiff

IMAGE_NAME = re.compile(r'(.+)-SPECTRAL_IMAGE(?:_(VNIR|SWIR))?\.tiff?', re.IGNORECASE)
# the document must not unpack to more than it is: it declares no entities
ENTITY = b'<!ENTITY'


class BandRecord(NamedTuple):
    """What the metadata say of one band: its number, its centre in nm, and from stored to physical values."""

    number: int
    centre: float
    gain: float
    offset: float


def is_enmap(path: Path) -> bool:
    """Return whether a file is named as EnMAP's images are and has its metadata beside it."""
    return _metadata_file(path) is not None


def read_enmap(path: Path, options: ReadOptions) -> RawImage:
    """Read an image of an EnMAP product.

    Raises:
        ImportError: rasterio is not installed.
        FormatError: Image or metadata are damaged, or do not have the same bands.
    """
    metadata = _metadata_file(path)
    raw = read_tiff(path, options)
    root = _parsed(path if metadata is None else metadata)
    records = _records_of(path, root, raw.values.shape[0])
    raw = replace(raw, wavelengths=tuple(record.centre for record in records), unit='nm')
    if raw.scale is not None or raw.gains is not None or raw.values.dtype.kind == 'f':
        note = 'EnMAP: gains of the metadata are not applied, since the image has its own scale'
        return replace(raw, notes=(*raw.notes, note))
    raw = replace(raw, notes=(*raw.notes, 'EnMAP: values by the gains and offsets of the metadata'))
    named = raw.nodata if isinstance(raw.nodata, tuple) else (raw.nodata,)
    markers = sorted({value for value in (_number(root, 'backgroundValue'), *named) if value is not None})
    gains, offsets = (tuple(getattr(each, name) for each in records) for name in ('gain', 'offset'))
    if not any(offsets) and len(set(gains)) == 1 and len(markers) < 2:
        return replace(raw, scale=gains[0], nodata=markers[0] if markers else None)
    gaps = np.isin(raw.values, markers) if raw.gaps is None else np.isin(raw.values, markers) | raw.gaps
    return replace(raw, gains=gains, offsets=offsets, nodata=None, gaps=gaps)


def _metadata_file(path: Path) -> Path | None:
    match = IMAGE_NAME.fullmatch(path.name)
    names = [f'{match[1]}-METADATA{suffix}' for suffix in ('.XML', '.xml')] if match else []
    return next((path.with_name(name) for name in names if path.with_name(name).is_file()), None)


def _parsed(metadata: Path) -> ElementTree.Element:
    content = metadata.read_bytes()
    if ENTITY in content:
        raise FormatError(
            f'{metadata} declares entities, which metadata of EnMAP do not; get it again from its source.'
        )
    try:
        return ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise FormatError(f'{metadata} is damaged ({error}); copy it again.') from error


def _records_of(path: Path, root: ElementTree.Element, num_bands: int) -> list[BandRecord]:
    """Return the records of the bands of this file, in their order."""
    records = []
    for element in root.iter():
        fields = {_name(child): (child.text or '').strip() for child in element}
        if _name(element) == 'bandID' and 'wavelengthCenterOfBand' in fields:
            try:
                numbers = [float(fields[f'{name}OfBand']) for name in ('wavelengthCenter', 'Gain', 'Offset')]
                records.append(BandRecord(int(element.get('number', '')), *numbers))
            except (KeyError, ValueError) as error:
                raise FormatError(f'{path}: its metadata lack numbers of a band ({error}); copy them again.') from error
    records.sort()
    detector = IMAGE_NAME.fullmatch(path.name)
    if detector is not None and detector[2] and len(records) != num_bands:
        first = _channels(root, 'vnir')
        records = records[:first] if detector[2].upper() == 'VNIR' else records[first:]
    if len(records) != num_bands:
        raise FormatError(
            f'{path} has {num_bands} bands, but its metadata describe {len(records)}: they belong to another product, '
            'or bands were taken out; move the metadata away and give --wavelengths.'
        )
    return records


def _channels(root: ElementTree.Element, detector: str) -> int:
    """Return how many of the bands are those of a detector; VNIR's come first."""
    parts = (part for part in root.iter() if _name(part) == detector)
    counts = (child.text or '' for part in parts for child in part if _name(child) == 'channels')
    return int(next((text for text in counts if text.strip().isdigit()), 0))


def _number(root: ElementTree.Element, name: str) -> float | None:
    texts = (element.text or '' for element in root.iter() if _name(element) == name)
    try:
        return float(next(texts))
    except (StopIteration, ValueError):
        return None


def _name(element: ElementTree.Element) -> str:
    """Return the name of an element without its namespace."""
    return element.tag.rpartition('}')[2]
