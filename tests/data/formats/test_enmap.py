"""EnMAP: miniatures with the layout that DLR's product specification has; rasterio and the XML text are independent."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

from mulsr_plugin.data.formats import FormatError, read_cube

NM = (418.24, 550.5, 902.2, 911.57, 2445.3)
STORED = np.random.default_rng(0).integers(1, 10000, (5, 7, 6)).astype(np.int16)
NAME = 'ENMAP01-____L2A-DT0000001049_20220612T105735Z_028_V010303_20230922T131826Z'
TRANSFORM = rasterio.Affine(30, 0, 600000, 0, -30, 5500000)


def save(folder, part='', stored=STORED, gains=(1e-4,) * 5, offsets=(0,) * 5, nodata=None, background=-32768):
    """Write an image and the metadata of five bands, three of them VNIR."""
    path = folder / f'{NAME}-SPECTRAL_IMAGE{part}.TIF'
    bands, height, width = stored.shape
    profile = {'height': height, 'width': width, 'count': bands, 'dtype': stored.dtype.name, 'nodata': nodata}
    with rasterio.open(path, 'w', driver='GTiff', crs='EPSG:32632', transform=TRANSFORM, **profile) as file:
        file.write(stored)
    records = ''.join(
        f'<bandID number="{number}"><wavelengthCenterOfBand>{wave}</wavelengthCenterOfBand><FWHMOfBand>7</FWHMOfBand>'
        f'<GainOfBand>{gain}</GainOfBand><OffsetOfBand>{offset}</OffsetOfBand></bandID>'
        for number, (wave, gain, offset) in reversed(list(enumerate(zip(NM, gains, offsets), 1)))
    )
    (folder / f'{NAME}-METADATA.XML').write_text(
        '<?xml version="1.0" encoding="UTF-8"?><level_X xmlns:x="http://www.w3.org/2001/XMLSchema-instance"><specific>'
        f'<backgroundValue>{background}</backgroundValue><bandCharacterisation>{records}</bandCharacterisation>'
        '<deadPixelMap><bandID number="9">1</bandID></deadPixelMap></specific><product><image>'
        '<vnir><channels>3</channels></vnir><swir><channels>2</channels></swir></image></product></level_X>'
    )
    return path


def test_reflectances_with_wavelengths_background_and_place(tmp_path):
    stored = STORED.copy()
    stored[:, 0, :2] = -32768
    path = save(tmp_path, stored=stored)
    with pytest.raises(FormatError, match=r'has 10 NaN, infinite or no-data \(-32768\) values'):
        read_cube(path)
    cube = read_cube(path, fill=0)
    with rasterio.open(path) as file:
        expected = np.where(file.read() == -32768, 0, file.read()) * 1e-4
        assert cube.geo.transform == tuple(file.transform)[:6]
    np.testing.assert_allclose(cube.values.transpose(2, 0, 1) * cube.scale, expected, rtol=1e-12)
    assert (cube.values.dtype, cube.wavelengths) == (np.int16, NM)
    assert 'EnMAP: values by the gains and offsets of the metadata' in cube.notes


def test_gains_and_offsets_of_their_own(tmp_path):
    gains, offsets = (1e-4, 2e-4, 5e-5, 1e-4, 1e-4), (0.01, 0, 0, 0.002, 0)
    stored = (STORED // 3).astype(np.int16)
    stored[2, 3, 3] = -32768
    cube = read_cube(save(tmp_path, stored=stored, gains=gains, offsets=offsets), fill=0.25, clip=True)
    expected = stored * np.array(gains)[:, None, None] + np.array(offsets)[:, None, None]
    expected[2, 3, 3] = 0.25
    np.testing.assert_allclose(cube.values.transpose(2, 0, 1), expected, atol=1e-6)


def test_detectors_of_level_1b(tmp_path):
    assert read_cube(save(tmp_path, '_VNIR', STORED[:3])).wavelengths == NM[:3]
    assert read_cube(save(tmp_path, '_SWIR', STORED[3:])).wavelengths == NM[3:]


def test_scale_of_the_image_itself_comes_first(tmp_path):
    path = save(tmp_path, stored=(STORED / 20000).astype(np.float32))
    cube = read_cube(path)
    np.testing.assert_array_equal(cube.values.transpose(2, 0, 1), (STORED / 20000).astype(np.float32))
    assert any('are not applied' in note for note in cube.notes)


def test_metadata_that_do_not_fit_are_refused(tmp_path):
    path = save(tmp_path, stored=STORED[:4])
    with pytest.raises(FormatError, match='has 4 bands, but its metadata describe 5'):
        read_cube(path)
    metadata = tmp_path / f'{NAME}-METADATA.XML'
    text = metadata.read_text()
    for damaged, message in (
        (text[:-300], 'is damaged'),
        (text.replace('<GainOfBand>0.0001</GainOfBand>', '', 1), 'lack numbers of a band'),
        ('<!DOCTYPE a [<!ENTITY b "c">]>' + text.partition('?>')[2], 'declares entities'),
    ):
        metadata.write_text(damaged)
        with pytest.raises(FormatError, match=message):
            read_cube(path)
    metadata.unlink()
    assert read_cube(path, value_scale=1e-4).wavelengths is None
