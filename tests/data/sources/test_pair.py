"""Pairs without ground truth: the command line, the data set that reads them, and what is refused."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import scipy.io
import torch
from basicsr.utils.registry import ARCH_REGISTRY

from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.formats import write_cube
from mulsr_plugin.data.paired_hsi_rgb_dataset import PairedHSIRGBDataset
from mulsr_plugin.data.sources.pair import pair_scenes, read_pair_list, scale_of_pair
from mulsr_plugin.data.store.reader import CubeStore

RNG = np.random.default_rng(0)


def image(height: int, width: int, bands: int, top: int = 2047) -> np.ndarray:
    return RNG.integers(0, top, (height, width, bands)).astype(np.uint16)


def options(folder, prefix: str = '', **changes) -> dict:
    roots = {f'dataroot_{kind}': str(folder / f'{prefix}{kind}.lmdb') for kind in ('lq', 'rgb')}
    return {'name': 'x', 'phase': 'test', 'scale': 4, 'io_backend': {'type': 'lmdb'}, **roots, **changes}


@pytest.mark.parametrize('channels', [1, 3, 4])
@pytest.mark.parametrize('scale', [2, 3, 4])
def test_pair_becomes_stores_that_the_data_set_reads(main, tmp_path, capsys, channels, scale):
    ms, guide = image(16, 12, 5), image(16 * scale, 12 * scale, channels)
    write_cube(tmp_path / 'ms.tif', Cube(ms, 1 / 2047, (430.0, 480.0, 550.0, 660.0, 830.0)))
    write_cube(tmp_path / 'guide.npz', Cube(guide, 1 / 4095))
    arguments = ['pair', '--input', str(tmp_path / 'ms.tif'), '--guide', str(tmp_path / 'guide.npz')]
    assert main([*arguments, '--output', str(tmp_path / 'out'), '--name', 'city']) == 0
    out = capsys.readouterr().out
    assert f'city: scale {scale}, guide of {channels} channel' in out
    assert ('an odd scale, which MulSR cannot take' in out) == (scale == 3)
    assert 'city: scale 0.00048852 as the file says' in out
    lq, rgb = (CubeStore(tmp_path / 'out' / f'{kind}.lmdb') for kind in ('lq', 'rgb'))
    np.testing.assert_array_equal(lq.read('city'), ms)
    np.testing.assert_array_equal(rgb.read('city'), guide)
    assert lq.header('city').wavelengths == (430.0, 480.0, 550.0, 660.0, 830.0)
    data = PairedHSIRGBDataset(options(tmp_path / 'out', scale=scale))
    sample = data[0]
    assert (data.num_bands, data.num_guide_ch) == (5, channels)
    assert 'gt' not in sample
    np.testing.assert_allclose(sample['lq'].numpy(), ms.transpose(2, 0, 1) / 2047, rtol=1e-6)
    np.testing.assert_allclose(sample['rgb'].numpy(), guide.transpose(2, 0, 1) / 4095, rtol=1e-6)


def test_reduced_resolution_for_training_and_test(main, tmp_path, capsys):
    ms, pan = image(33, 20, 5), image(132, 80, 1)
    scipy.io.savemat(tmp_path / 'both.mat', {'ms': ms, 'pan': pan[..., 0]})
    both = str(tmp_path / 'both.mat')
    arguments = ['pair', '--input', both, '--key', 'ms', '--guide', both, '--guide-key', 'pan', '--scale', '1/2047']
    arguments += ['--guide-scale', '1/2047', '--reduced', '--output', str(tmp_path / 'out')]
    assert main([*arguments, '--verify']) == 0
    assert capsys.readouterr().out.count('sound') == 8
    out = tmp_path / 'out'
    # three quarters of 33 rows, to whole pixels of the reduced resolution, and what is left
    np.testing.assert_array_equal(CubeStore(out / 'train.lmdb').read('both'), ms[:24])
    np.testing.assert_array_equal(CubeStore(out / 'test.lmdb').read('both'), ms[24:32])
    train = options(out, 'train_', phase='train', dataroot_gt=str(out / 'train.lmdb'), gt_size=16)
    train.update(batch_size_per_gpu=1, num_worker_per_gpu=0, use_roll=False)
    sample = PairedHSIRGBDataset(train)[0]
    assert [tuple(sample[kind].shape) for kind in ('gt', 'lq', 'rgb')] == [(5, 16, 16), (5, 4, 4), (1, 16, 16)]
    # instead of the stored cube the data set may degrade at random
    del train['dataroot_lq']
    assert tuple(PairedHSIRGBDataset(train)[0]['lq'].shape) == (5, 4, 4)
    test = PairedHSIRGBDataset(options(out, 'test_', dataroot_gt=str(out / 'test.lmdb')))[0]
    np.testing.assert_allclose(test['gt'].numpy(), ms[24:32].transpose(2, 0, 1) / 2047, rtol=1e-6)
    window = np.exp(-((np.arange(4) - 1.5) ** 2) / 2)
    window /= window.sum()
    block = np.einsum('abc,a,b->c', pan[96:100, 4:8] / 2047, window, window)
    np.testing.assert_allclose(test['rgb'][:, 0, 1].numpy(), block, atol=1e-6)


@pytest.mark.parametrize(('share', 'names'), [(0, ['lq', 'rgb', 'train']), (1, ['lq', 'rgb', 'test'])])
def test_all_rows_for_one_phase(tmp_path, share, names):
    for name, cube in (('a.npy', image(8, 8, 3, 65535)), ('b.npy', image(16, 16, 1, 65535))):
        np.save(tmp_path / name, cube)
    (tmp_path / 'list.txt').write_text('a.npy, b.npy\n')
    scenes = pair_scenes(read_pair_list(tmp_path / 'list.txt'), reduced=True, test_part=share)
    assert [scene.phase for scene in scenes] == ['', names[-1]]
    assert scenes[-1].load().gt.values.shape == (8, 8, 3)
    thin = pair_scenes(read_pair_list(tmp_path / 'list.txt'), reduced=True, test_part=0.95)
    with pytest.raises(ValueError, match='part of 0 rows is smaller than one pixel at the reduced resolution'):
        thin[1].load()
    with pytest.raises(ValueError, match='test_part is 2, expected a share of the rows'):
        pair_scenes([], test_part=2)


@pytest.mark.parametrize('option', [['--test-part', '0.5'], ['--degradation', 'average']])
def test_options_of_the_reduction_need_it(main, tmp_path, capsys, option):
    assert main(['pair', '--input', 'a.npy', '--guide', 'b.npy', '--output', str(tmp_path / 'out'), *option]) == 1
    assert 'say how pairs are reduced: add --reduced, or leave them out' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_list_of_pairs(main, tmp_path, capsys):
    (tmp_path / 'data').mkdir()
    for name in 'ab':
        np.save(tmp_path / 'data' / f'{name}.npy', image(6, 5, 4, 65535))
    lines = '# pairs of June\na.npy; guide.npz\n\nb.npy\tguide.npz\tsecond\n'
    np.savez(tmp_path / 'data' / 'guide.npz', image(12, 10, 3, 65535))
    (tmp_path / 'data' / 'list.txt').write_text(lines)
    command = ['pair', '--input', str(tmp_path / 'data' / 'list.txt'), '--output', str(tmp_path / 'out')]
    assert main(command) == 0
    assert CubeStore(tmp_path / 'out' / 'rgb.lmdb').keys() == ['a', 'second']
    assert main(command) == 1
    assert 'lq.lmdb exists already and is left as it is' in capsys.readouterr().err
    for text, message in (
        ('a.npy\n', 'line 1: expected "cube, guide" or "cube, guide, name", got \'a.npy\''),
        ('a.npy,,x\n', 'line 1: expected'),
        ('# nothing\n', 'lists no pair'),
        ('a.npy, guide.npz\na.npy, guide.npz', 'Several pairs give the same scene a'),
        ('absent.npy, guide.npz', 'There is no file'),
        ('a.npy, a.npy', 'a.npy are not a pair: The guide has 6x5 pixels and the cube 6x5'),
        ('a.npy, guide.npz, ä', "Scene name 'ä' cannot be a key"),
    ):
        (tmp_path / 'data' / 'list.txt').write_text(text, encoding='utf-8')
        assert main([*command[:-1], str(tmp_path / 'new')]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / 'new').exists()


def test_single_pair_without_its_guide_is_told(main, tmp_path, capsys):
    np.save(tmp_path / 'ms.npy', image(6, 5, 4, 65535))
    (tmp_path / 'bands').mkdir()
    for name, message in (
        (
            'ms.npy',
            'ms.npy is not a text file with a list of pairs; of a single pair name the other image with --guide.',
        ),
        ('bands', 'bands is not a text file with a list of pairs'),
        ('absent.txt', 'There is no file'),
    ):
        assert main(['pair', '--input', str(tmp_path / name), '--output', str(tmp_path / 'out')]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_degradation_of_the_reduced_pair(main, tmp_path, capsys):
    for name, cube in (('a.npy', image(16, 8, 3, 65535)), ('b.npy', image(32, 16, 1, 65535))):
        np.save(tmp_path / name, cube)
    command = ['pair', '--input', str(tmp_path / 'a.npy'), '--guide', str(tmp_path / 'b.npy'), '--reduced']
    command += ['--output', str(tmp_path / 'out'), '--degradation']
    with pytest.raises(SystemExit):
        main([*command, '[average]'])
    assert 'is neither a preset nor a preset with options such as' in capsys.readouterr().err
    assert main([*command, '{preset: sensor_mtf, nyquist_gain: 0.2}']) == 0
    assert 'sensor_mtf x2: MTF 0.2 at Nyquist' in CubeStore(tmp_path / 'out' / 'train_lq.lmdb').header('a').source


def test_ratio_of_the_sides():
    assert scale_of_pair((419, 658), (1676, 2632)) == 4
    assert scale_of_pair((72, 58), (216, 174)) == 3
    with pytest.raises(
        ValueError,
        match=r'guide has 1676x2630 pixels and the cube 419x658, 4 and 3\.997 times as many, expected one whole ratio; '
        r'cut .* the cube to 419x657 and the guide to 1676x2628 for scale 4',
    ):
        scale_of_pair((419, 658), (1676, 2630))
    with pytest.raises(ValueError, match=r'2\.5 and 2\.5 times as many'):
        scale_of_pair((40, 40), (100, 100))
    for guide in ((72, 72), (24, 24)):
        with pytest.raises(ValueError, match='must be at least twice as large as the cube; are the two exchanged'):
            scale_of_pair((72, 72), guide)


def test_guides_of_different_channels_are_refused(tmp_path, main, capsys):
    np.save(tmp_path / 'c.npy', image(6, 5, 4, 65535))
    for channels in (1, 3):
        np.save(tmp_path / f'g{channels}.npy', image(12, 10, channels, 65535))
    (tmp_path / 'list.txt').write_text('c.npy, g1.npy, a\nc.npy, g3.npy, b\n')
    assert main(['pair', '--input', str(tmp_path / 'list.txt'), '--output', str(tmp_path / 'out')]) == 1
    assert 'Scene b has 3 bands of the guide, but a has 1' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('name', ['PZResNet', 'MoGDCN', 'UAL', 'CoarseNet', 'SSRNet', 'PSRT'])
def test_networks_named_for_odd_scales_take_them_with_one_channel(name):
    network = ARCH_REGISTRY.get(name)
    bands = {'num_bands': 8} if 'num_bands' in inspect.signature(network).parameters else {}
    network = network(upscale=3, num_guide_ch=1, **bands).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 8, 5, 4), torch.rand(1, 1, 15, 12)).shape == (1, 8, 15, 12)
    with pytest.raises(ValueError, match='upscale is 3, expected an even whole number'):
        ARCH_REGISTRY.get('MulSR')(upscale=3)


def test_hyperion_and_pan_at_scale_3(real_data, main, tmp_path, capsys):
    path = str(real_data / 'ParisHyperionALI' / 'paris_data_hs_pan.mat')
    arguments = ['pair', '--input', path, '--key', 'HSim', '--scale', 'max', '--guide', path, '--guide-key', 'PCim']
    assert main([*arguments, '--guide-scale', 'max', '--output', str(tmp_path / 'out'), '--name', 'paris']) == 0
    assert 'paris: scale 3, guide of 1 channel; an odd scale, which MulSR cannot take' in capsys.readouterr().out
    data = PairedHSIRGBDataset(options(tmp_path / 'out', scale=3))
    content = scipy.io.loadmat(path)
    expected = content['HSim'].transpose(2, 0, 1) / content['HSim'].max()
    np.testing.assert_allclose(data[0]['lq'].numpy(), expected, rtol=1e-6)
    assert (data.num_bands, data.num_guide_ch, tuple(data[0]['rgb'].shape)) == (128, 1, (1, 216, 174))
