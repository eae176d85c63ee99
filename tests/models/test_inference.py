"""Super-resolution in parts: exact where it must be, within the memory where it is asked to."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from basicsr.archs import build_network

from mulsr_plugin.archs.bicubic_arch import BicubicUpsampler
from mulsr_plugin.archs.coarsenet_arch import CoarseNet
from mulsr_plugin.archs.mulsr_arch import MulSR
from mulsr_plugin.archs.ual_arch import UAL
from mulsr_plugin.models import inference
from mulsr_plugin.models.inference import (
    Tile,
    apply_network,
    choose_bands_per_chunk,
    choose_tile,
    is_bandwise,
    is_guided,
    measure_tile_deviation,
    memory_need,
)


def scene(height: int = 8, width: int = 10, num_bands: int = 7, scale: int = 4, batch: int = 1, guide: int = 3):
    generator = torch.Generator().manual_seed(0)
    lq = torch.rand(batch, num_bands, height, width, generator=generator)
    return lq, torch.rand(batch, guide, height * scale, width * scale, generator=generator)


def mulsr(**options) -> MulSR:
    torch.manual_seed(1)
    return MulSR(**{'upscale': 4, 'num_feat': 8, 'num_modules': 1, **options})


@pytest.fixture
def free(monkeypatch):
    """Set the free memory to some bytes."""
    return lambda size: monkeypatch.setattr(inference, 'free_memory', lambda device: size)


# chunks of bands


@pytest.mark.parametrize('bands_per_chunk', [1, 2, 3, None, 'auto'])
def test_chunks_do_not_change_the_result(bands_per_chunk):
    net, (lq, rgb) = mulsr(), scene(batch=2)
    with torch.no_grad():
        expected = net(lq, rgb, bands=[6, 0, 3, 2, 5])
    result = apply_network(net, lq, rgb, [6, 0, 3, 2, 5], bands_per_chunk)
    assert result.shape == (2, 5, 32, 40)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)


def test_network_is_left_as_it_is():
    net, (lq, rgb) = mulsr().train(), scene()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    apply_network(net, lq, rgb)
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


@pytest.mark.parametrize(
    'options',
    [
        {'type': 'PZResNet', 'upscale': 4, 'num_bands': 7},
        {'type': 'CoarseNet', 'upscale': 4, 'num_feat': 4, 'num_units': 1},
        {'type': 'BicubicUpsampler', 'upscale': 4},
        {
            'type': 'StackedGuide',
            'upscale': 4,
            'num_bands': 7,
            'network': {'type': 'RRDBNet', 'num_in_ch': 10, 'num_out_ch': 7, 'scale': 1, 'num_feat': 4, 'num_block': 1},
            'size_multiple': 4,
        },
    ],
    ids=lambda options: options['type'],
)
def test_every_kind_of_network(options):
    torch.manual_seed(0)
    net, (lq, rgb) = build_network(options).eval(), scene()
    with torch.no_grad():
        expected = net(lq, rgb) if is_guided(net) else net(lq)
    torch.testing.assert_close(apply_network(net, lq, rgb), expected, rtol=1e-5, atol=1e-6)
    part = apply_network(net, lq, rgb, [4, 1], 1)
    torch.testing.assert_close(part, expected[:, [4, 1]], rtol=1e-5, atol=1e-6)


def test_bfloat16_is_close_and_returned_as_float32():
    net, (lq, rgb) = mulsr(), scene()
    fine, coarse = (apply_network(net, lq, rgb, precision=precision) for precision in ('fp32', 'bf16'))
    assert coarse.dtype == torch.float32
    # eight bits of mantissa
    assert 1e-6 < (coarse - fine).abs().max() < 0.05 * fine.abs().max()


def test_progress_counts_tiles_times_chunks():
    calls = []
    apply_network(
        mulsr(), *scene(), bands_per_chunk=4, tile=Tile(16, 4), progress=lambda done, total: calls.append((done, total))
    )
    # 8 and 10 rows and columns at 4 per tile: 2 x 3 tiles; 7 bands at 4 per chunk: 2 chunks
    assert calls == [(number, 12) for number in range(1, 13)]


# tiles


def test_tiles_are_exact_where_the_halo_covers_the_receptive_field():
    net, (lq, rgb) = mulsr(use_dsca=False), scene(16, 24, num_bands=3)
    whole = apply_network(net, lq, rgb)
    torch.testing.assert_close(apply_network(net, lq, rgb, tile=Tile(32, 32)), whole, rtol=1e-5, atol=1e-6)
    assert (apply_network(net, lq, rgb, tile=Tile(32, 0)) - whole).abs().max() > 1e-3


def test_tiles_of_a_network_without_bands_are_exact_too():
    torch.manual_seed(0)
    net, (lq, rgb) = UAL(upscale=2, num_bands=4), scene(14, 11, num_bands=4, scale=2)
    whole = apply_network(net, lq, rgb)
    # 17 convolutions of 3x3 on the longest way, and a pixel of the input on either side for the interpolation
    torch.testing.assert_close(apply_network(net, lq, rgb, tile=Tile(14, 20)), whole, rtol=1e-5, atol=1e-6)


def test_tiles_of_an_unguided_network():
    net, (lq, _) = BicubicUpsampler(4), scene(9, 11)
    expected = net(lq)
    # cubic interpolation reads two pixels of the input on either side
    torch.testing.assert_close(apply_network(net, lq, tile=Tile(12, 8)), expected, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(apply_network(net, lq, tile=Tile(12, 4)), expected, atol=1e-4)


def test_deviation_is_that_of_the_tiles_and_shrinks_with_the_halo():
    net, (lq, rgb) = mulsr(), scene(24, 24, num_bands=3)
    narrow, wide = (measure_tile_deviation(net, lq, rgb, Tile(96 - 2 * halo, halo)) for halo in (4, 24))
    assert (narrow.height, narrow.width) == (wide.height, wide.width) == (96, 96)
    assert 0 < wide.rmse < narrow.rmse / 2
    assert narrow.rmse < narrow.maximum
    whole, tiled = (apply_network(net, lq, rgb, tile=tile).clamp(0, 1) for tile in (None, Tile(48, 4)))
    assert narrow.maximum == pytest.approx(float((tiled - whole).abs().max()), rel=1e-3)


def test_deviation_without_scans_is_rounding():
    deviation = measure_tile_deviation(mulsr(use_dsca=False), *scene(24, 24, num_bands=3), Tile(32, 32))
    assert deviation.maximum < 1e-5


# memory


def test_memory_bounds_the_chunks(free, monkeypatch):
    monkeypatch.setattr(inference, '_MOST_PIXELS_ON_CPU', 1 << 40)
    net, (lq, rgb) = mulsr(), scene(16, 16, num_bands=31)
    pixels, need = 64 * 64, memory_need(net, lq, rgb)
    result = 4 * 31 * pixels
    sizes = []
    for bands in (0.5, 1.5, 5.5, 1000):
        free(int((result + pixels * (need.shared + bands * need.per_band)) / inference._USABLE_SHARE) + 1)
        sizes.append(choose_bands_per_chunk(net, lq, rgb))
    assert sizes == [1, 1, 5, 31]


def test_cpu_takes_no_more_bands_than_pay(free):
    free(1 << 50)
    net = mulsr()
    assert choose_bands_per_chunk(net, *scene(32, 32, num_bands=31)) == 4  # of 128 x 128 pixels
    assert choose_bands_per_chunk(net, *scene(96, 96, num_bands=31)) == 1


def test_network_that_walks_through_the_bands_gets_all(free):
    free(1)
    net = CoarseNet(upscale=4, num_feat=16, num_units=1)
    assert memory_need(net, *scene(num_bands=9)).walks_through_bands
    assert not memory_need(mulsr(num_feat=16), *scene(num_bands=9)).walks_through_bands
    assert choose_bands_per_chunk(net, *scene(num_bands=9)) == 9


def test_tile_is_chosen_only_where_the_image_does_not_fit(free):
    net, (lq, rgb) = mulsr(), scene(64, 64, num_bands=3)
    free(1 << 40)
    assert choose_tile(net, lq, rgb) is None
    need = memory_need(net, lq, rgb)
    result = 4 * 3 * 256 * 256
    free(int((result + 160 * 160 * (need.shared + need.per_band)) / inference._USABLE_SHARE) + 100)
    assert choose_tile(net, lq, rgb, halo=30) == Tile(160 - 2 * 32, 32)
    free(0)
    with pytest.raises(MemoryError, match='A tile of 64 pixels with a halo of 64 does not fit into the free memory'):
        choose_tile(net, lq, rgb)


PEAK = """
import torch
from mulsr_plugin.archs.mulsr_arch import MulSR
from mulsr_plugin.models.inference import memory_need, apply_network
net = MulSR(8, {features})
lq, rgb = torch.rand(1, 5, 48, 48), torch.rand(1, 3, 384, 384)
apply_network(net, lq[..., :4, :4], rgb[..., :32, :32])
need = memory_need(net, lq, rgb)
def kilobytes(field):  # ru_maxrss would count what the parent took before this process began
    return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith(field))
before = kilobytes('VmRSS')
apply_network(net, lq, rgb, list(range({bands})), {bands})
grown = 1024 * (kilobytes('VmHWM') - before)
print(grown / (384**2 * (need.shared + {bands} * need.per_band)))
"""


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='needs /proc')
@pytest.mark.parametrize('features, bands', [(32, 1), (16, 2)])
def test_need_of_memory_is_what_the_process_grows_by(features, bands):
    script = PEAK.format(features=features, bands=bands)
    run = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True)
    assert 0.6 < float(run.stdout) < 1 / inference._USABLE_SHARE


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_need_of_memory_is_what_cuda_allocates(precision):
    net = mulsr(upscale=8, num_feat=64, num_modules=2).cuda()
    lq, rgb = (each.cuda() for each in scene(48, 48, num_bands=4, scale=8))
    need = memory_need(net, lq, rgb, precision)
    apply_network(net, lq, rgb, bands_per_chunk=4, precision=precision)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    apply_network(net, lq, rgb, bands_per_chunk=4, precision=precision)
    grown = torch.cuda.max_memory_allocated() - before
    assert 0.6 < grown / (384**2 * (need.shared + 4 * need.per_band)) < 1 / inference._USABLE_SHARE


# mistakes


def test_kinds_of_networks():
    assert is_guided(mulsr()) and is_bandwise(mulsr())
    assert not is_guided(BicubicUpsampler(4)) and not is_bandwise(BicubicUpsampler(4))


@pytest.mark.parametrize(
    'options, message',
    [
        ({'rgb': None}, 'MulSR takes a guide image, but there is none: give rgb.'),
        ({'bands_per_chunk': 0}, "bands_per_chunk is 0, expected a positive whole number, 'auto' or None: correct it."),
        ({'tile': Tile(30, 8)}, 'The tile has size 30 and halo 8, expected multiples of the scale 4'),
        ({'tile': Tile(0, 8)}, 'The tile has size 0 and halo 8'),
        ({'bands': [7]}, 'Band(s) [7] were asked for'),
        ({'precision': 'fp8'}, "precision is 'fp8', expected one of fp32, tf32, bf16"),
    ],
)
def test_mistakes_are_named(options, message):
    lq, rgb = scene()
    with pytest.raises(ValueError) as error:
        apply_network(mulsr(), **{'lq': lq, 'rgb': rgb, 'bands_per_chunk': 2, **options})
    assert str(error.value).startswith(message)


def test_images_much_longer_than_wide():
    net, (lq, rgb) = mulsr(use_dsca=False), scene(3, 40, num_bands=3)
    whole = apply_network(net, lq, rgb)
    assert math.prod(whole.shape) == 3 * 12 * 160
    torch.testing.assert_close(apply_network(net, lq, rgb, tile=Tile(40, 32)), whole, rtol=1e-5, atol=1e-6)
