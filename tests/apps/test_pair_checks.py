"""What is warned of before a pair is super-resolved."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from basicsr.utils import get_root_logger

from mulsr_plugin import degrade, read_cube, super_resolve, write_cube
from mulsr_plugin.data.cube import Cube, Doubt, GeoReference
from mulsr_plugin.data.registration import note_on_places, places_apart
from mulsr_plugin.data.sources.demo_scenes import demo_scene


@pytest.fixture
def warnings():
    """Warnings of the log."""
    records: list[str] = []
    handler, logger = logging.Handler(logging.WARNING), get_root_logger()
    handler.emit = lambda record: records.append(record.getMessage())
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield records
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture(scope='module')
def pair():
    cube = demo_scene(192, seed=5)
    return degrade(cube, 8, wavelengths=np.arange(400, 701, 10.0))


@pytest.mark.parametrize('weights', ['mulsrcube_cave', None])
def test_dimmed_guides_are_warned_of_where_the_response_is_known(weights, pair, warnings):
    lq, guide = pair
    how = {'weights': weights, 'device': 'cpu', 'spectral_response': None if weights else 'nikon_d700'}
    super_resolve(lq, guide, **how)
    assert not any('brightness' in line for line in warnings)
    super_resolve(lq, np.float32(0.4) * guide, **how)
    assert any('should be otherwise bright' in line and '--guide-value-scale) 2.5' in line for line in warnings)


def test_counts_of_fewer_bits_are_asked_for(pair):
    lq, guide = pair
    with pytest.raises(ValueError, match='1/4095 for 12 bits'):
        super_resolve(np.rint(4095 * lq).astype(np.uint16), guide)


def test_what_decides_the_result_is_a_warning(pair, warnings):
    lq, guide = pair
    super_resolve(np.rint(255 * lq).astype(np.uint8), guide, value_scale=1e-6)
    assert any('makes the largest value only' in line for line in warnings)


def placed(name: str, side: int, pixel: float, east: float, crs: str) -> Cube:
    cube = Cube(np.full((side, side, 4), 0.5, np.float32), 1.0)
    north = 4.6e6
    write_cube(name, Cube(cube.values, 1.0, geo=GeoReference((pixel, 0, east, 0, -pixel, north), crs)))
    return read_cube(name, is_guide=True)


@pytest.mark.parametrize('low', ['lr.tif', 'lr.hdr', 'lr.npz'])
@pytest.mark.parametrize('high', ['rgb.tif', 'rgb.hdr', 'rgb.npz'])
def test_places_are_compared_in_any_formats(low, high, tmp_path, monkeypatch):
    rasterio = pytest.importorskip('rasterio')
    monkeypatch.chdir(tmp_path)
    # ENVI has the words of Esri for a coordinate system, TIFF those of EPSG
    crs = rasterio.crs.CRS.from_epsg(2056).to_wkt()
    cube = placed(low, 8, 8.0, 500000.0, crs)
    assert note_on_places(cube, placed(high, 32, 2.0, 500001.0, crs)) is None
    note = note_on_places(cube, placed(f'far_{high}', 32, 2.0, 500016.0, crs))
    assert isinstance(note, Doubt) and 'up to 2.0 pixels of the cube apart' in note


def test_map_info_alone_and_other_systems_are_compared(tmp_path, monkeypatch):
    rasterio = pytest.importorskip('rasterio')
    from rasterio.warp import transform

    monkeypatch.chdir(tmp_path)
    np.full((4, 8, 8), 0.5, np.float32).tofile('lr.img')
    text = (
        'ENVI\nsamples = 8\nlines = 8\nbands = 4\nheader offset = 0\ndata type = 4\ninterleave = bsq\nbyte order = 0\n'
    )
    (tmp_path / 'lr.hdr').write_text(
        f'{text}byte order = 0\nmap info = {{UTM, 1, 1, 500000, 4600000, 8, 8, 32, North, WGS-84}}\n'
    )
    cube = read_cube('lr.hdr')
    utm, degrees = rasterio.crs.CRS.from_epsg(32632), rasterio.crs.CRS.from_epsg(4326)
    assert places_apart(cube.geo, GeoReference((2.0, 0, 5e5, 0, -2.0, 4.6e6), utm.to_wkt()), (8, 8), (32, 32)) < 1e-3
    (west, east), (north, south) = transform(utm, degrees, [500000, 500064], [4600000, 4600000 - 64])
    there = GeoReference(((east - west) / 32, 0, west, 0, (south - north) / 32, north), degrees.to_wkt())
    assert places_apart(cube.geo, there, (8, 8), (32, 32)) < 0.1
    assert places_apart(cube.geo, there.moved(0, 6), (8, 8), (32, 32)) == pytest.approx(1.5, abs=0.1)


def test_what_cannot_be_compared_is_said():
    cube = GeoReference((8.0, 0, 5e5, 0, -8.0, 4.6e6), 'LOCAL_CS["Arbitrary",UNIT["metre",1]]')
    assert places_apart(cube, GeoReference((2.0, 0, 5e5, 0, -2.0, 4.6e6)), (8, 8), (32, 32)) is None
    assert places_apart(None, cube, (8, 8), (32, 32)) is None
    turned = GeoReference((0.0, 8.0, 5e5, 8.0, 0.0, 4.6e6))
    assert places_apart(turned, turned.refined(4), (8, 8), (32, 32)) == pytest.approx(0, abs=1e-6)
