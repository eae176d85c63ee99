"""Figures of papers: what is drawn, read back from the Matplotlib objects and from the files."""

from __future__ import annotations

import itertools
import json
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('matplotlib')

from mulsr_plugin.__main__ import main
from mulsr_plugin.apps.benchmark import figures as benchmark_figures
from mulsr_plugin.apps.benchmark.drawing import (
    EntryCost,
    band_psnr,
    band_psnr_figure,
    cost_figure,
    entry_styles,
    result_figure,
    save_figure,
    spectra_figure,
)
from mulsr_plugin.apps.benchmark.figures import figures_to_tensorboard, write_benchmark_figures
from mulsr_plugin.apps.benchmark.places import choose_area, choose_pixels
from mulsr_plugin.apps.side_by_side import find_cube
from mulsr_plugin.data.error_maps import angle_map
from mulsr_plugin.data.false_colour import false_colour, stretch_limits

VISIBLE = [400.0 + 10 * band for band in range(31)]


@pytest.fixture
def reference():
    return np.random.default_rng(0).random((24, 33, 31), np.float32)


@pytest.fixture
def results(reference):
    return {'Bicubic': reference + np.float32(0.1), 'UAL': reference - np.float32(0.05), 'MulSR': reference * 1}


def assert_no_overlaps(figure):
    """Pictures, diagrams with their labels, and the legend lie beside one another."""
    figure.draw_without_rendering()
    boxes = [part.get_tightbbox() for part in [*figure.axes, *figure.legends]]
    boxes = [box.padded(-1) for box in boxes if box is not None]  # in pixels
    assert not any(one.overlaps(two) for i, one in enumerate(boxes) for two in boxes[:i])


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def lines_of(axes):
    return {line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith('_')}


# Styles


def test_mulsr_is_red_wherever_it_stands_else_the_first_entry():
    styles = entry_styles(['Bicubic', 'MulSR, 4 modules', 'MulSR, 2 modules', 'UAL'])
    assert [label for label, style in styles.items() if style.colour == '#d40000'] == ['MulSR, 4 modules']
    assert list(styles) == ['Bicubic', 'MulSR, 4 modules', 'MulSR, 2 modules', 'UAL']
    assert entry_styles(['UAL', 'EDSR'])['UAL'].colour == '#d40000'


def test_many_entries_are_told_apart_and_none_is_black():
    styles = entry_styles([f'net {number}' for number in range(29)]).values()
    assert len({(style.colour, style.line) for style in styles}) == 29
    assert '#000000' not in {style.colour for style in styles}


def test_colours_differ_for_colour_blind_readers():
    """Machado et al. 2009, protanopia and deuteranopia at severity 1, on linear RGB; then distance in Lab."""
    deficiencies = [
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    ]
    styles = entry_styles([f'net {number}' for number in range(8)])
    codes = [style.colour for style in styles.values()] + ['#000000']
    colours = np.array([[int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)] for code in codes])
    for matrix in deficiencies:
        seen = np.clip(colours**2.2 @ np.array(matrix).T, 0, 1) ** (1 / 2.2)
        lab = cv2.cvtColor(seen[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0]
        distances = np.linalg.norm(lab[:, None] - lab, axis=-1) + 1e3 * np.eye(len(lab))
        assert distances.min() > 9


# PSNR per band


def test_band_psnr_of_known_errors():
    reference = np.full((7, 5, 4), 0.5)
    errors = np.array([0.1, 0.01, 0.25, 0.0])
    np.testing.assert_allclose(band_psnr(reference + errors, reference), [20, 40, 20 * np.log10(4), np.inf])
    assert band_psnr(np.full((3, 3, 1), 7.0), np.full((3, 3, 1), 0.9)) == pytest.approx(20)  # clipped to 1 first


def test_band_psnr_averages_to_the_metric(reference, results):
    from mulsr_plugin.metrics.psnr import calculate_mpsnr

    noisy = np.clip(results['Bicubic'], 0, 1)
    assert band_psnr(noisy, reference).mean() == pytest.approx(calculate_mpsnr(noisy, reference), abs=1e-4)


def test_band_figure_holds_the_numbers_and_leaves_out_the_infinite():
    values = {'UAL': np.array([30.0, np.inf, 32.0]), 'MulSR': np.array([40.0, 41.0, 42.0])}
    figure = band_psnr_figure(values, [500.0, 600.0, 700.0])
    (axes,) = figure.axes
    lines = lines_of(axes)
    np.testing.assert_array_equal(lines['MulSR'].get_xydata(), [[500, 40], [600, 41], [700, 42]])
    assert np.isnan(lines['UAL'].get_ydata()).tolist() == [False, True, False]
    assert lines['MulSR'].get_color() == '#d40000'
    assert (axes.get_xlabel(), axes.get_ylabel()) == ('Wavelength (nm)', 'PSNR (dB)')
    assert band_psnr_figure(values).axes[0].get_xlabel() == 'Band'
    assert_no_overlaps(figure)


# Pixels and area


@pytest.mark.parametrize('shape', [(24, 33, 31), (5, 40, 3), (2, 2, 7), (1, 4, 31), (9, 9, 1)])
def test_chosen_pixels_are_different_and_inside(shape):
    pixels = choose_pixels(np.random.default_rng(1).random(shape, np.float32), 4)
    assert len(set(pixels)) == 4
    assert all(0 <= row < shape[0] and 0 <= column < shape[1] for row, column in pixels)
    assert pixels == choose_pixels(np.random.default_rng(1).random(shape, np.float32), 4)


def test_chosen_pixels_lie_in_the_coloured_patches():
    """Three coloured squares on grey: one pixel in each, inside of its edges."""
    scene = np.full((60, 60, 9), 0.5, np.float32)
    corners = [(5, 5), (5, 40), (40, 20)]
    for number, (top, left) in enumerate(corners):
        scene[top : top + 15, left : left + 15] = 0.1
        scene[top : top + 15, left : left + 15, 3 * number : 3 * number + 3] = 0.9
    found = choose_pixels(scene, 3)
    for top, left in corners:
        assert sum(top < row < top + 14 and left < column < left + 14 for row, column in found) == 1


def test_pixels_of_a_grey_and_of_an_undefined_scene_are_still_different():
    for value in (0.0, 0.5, np.nan):
        assert len(set(choose_pixels(np.full((12, 12, 5), value, np.float32), 4))) == 4
    with pytest.raises(ValueError, match='5 pixels were asked for in a scene of 2 x 2'):
        choose_pixels(np.zeros((2, 2, 3)), 5)


def test_area_is_where_the_results_differ():
    scene = np.random.default_rng(0).random((50, 70, 3)).astype(np.float32)
    good, bad, broken = (np.full((50, 70), 0.01) for _ in range(3))
    bad[30:40, 50:60] = 0.03
    broken[5:15, 5:15] = 0.9  # one bad result alone does not decide
    top, left, _, _ = choose_area(scene, errors=[good, bad, bad, broken])
    assert abs(top - 30) <= 1 and abs(left - 50) <= 1


def test_ground_truth_is_drawn_above_the_results(reference, results):
    figure = spectra_figure(results, reference, [(0, 0)], VISIBLE)
    lines = lines_of(figure.axes[1])
    others = [line.get_zorder() for label, line in lines.items() if label != 'Ground truth']
    assert lines['Ground truth'].get_zorder() > max(others)


def test_number_of_scenes_is_said():
    assert band_psnr_figure({'MulSR': np.ones(3)}, scenes=6).axes[0].get_ylabel() == 'PSNR (dB), mean of 6 scenes'
    assert cost_figure({'MulSR': EntryCost(40, 2)}, 'GFLOPs', 1).axes[0].get_ylabel() == 'PSNR (dB), 1 scene'


def test_area_is_where_the_detail_is():
    scene = np.full((50, 70, 3), 0.5, np.float32)
    scene[30:40, 50:60] = np.indices((10, 10)).sum(0)[..., None] % 2
    top, left, height, width = choose_area(scene)
    assert (height, width) == (10, 10)
    assert abs(top - 30) <= 1 and abs(left - 50) <= 1
    assert choose_area(np.zeros((4, 6, 3))) == (0, 0, 4, 4)


# Results


def test_result_figure_shows_every_entry_with_one_stretch_and_one_colour_scale(reference, results):
    area = (3, 5, 8, 10)
    figure = result_figure(results, reference, reference[::8, ::8], VISIBLE, area, {'MulSR': '40.00 dB'})
    assert titles(figure) == ['Input\n3 x 5', 'Bicubic', 'UAL', 'MulSR\n40.00 dB', 'Ground truth']
    rows = [[axes.images[0] for axes in figure.axes[start : start + 5] if axes.images] for start in (0, 5, 10)]
    limits = stretch_limits(reference, VISIBLE)
    for picture, cube in ((rows[0][1], results['Bicubic']), (rows[0][4], reference)):
        np.testing.assert_array_equal(picture.get_array(), false_colour(cube, VISIBLE, limits))
    np.testing.assert_array_equal(rows[1][4].get_array(), rows[0][4].get_array()[3:11, 5:15])
    maps = rows[2]
    np.testing.assert_allclose(maps[0].get_array(), 0.1, rtol=1e-5)
    np.testing.assert_allclose(maps[1].get_array(), 0.05, rtol=1e-5)
    for image in maps:
        assert image.get_clim() == (0, pytest.approx((0.1 * 0.05) ** 0.5, rel=1e-4))  # MulSR has no error here
    assert {image.get_cmap().name for image in maps} == {'viridis'}
    assert len(figure.findobj(lambda artist: getattr(artist, '_text', '') == 'RMSE over bands')) == 1
    bars = {axes.get_ylabel(): axes._colorbar for axes in figure.findobj(lambda a: hasattr(a, '_colorbar'))}
    assert {label: bar.extend for label, bar in bars.items()}['RMSE over bands'] == 'max'
    angles = figure.axes[15 + 1].images[0].get_array()
    np.testing.assert_allclose(angles, angle_map(results['Bicubic'], reference).clip(0, 2 * angles.max()), atol=1e-3)
    assert_no_overlaps(figure)


@pytest.mark.parametrize('shape', [(40, 40, 31), (64, 9, 31), (9, 64, 31), (1, 1, 1), (7, 5, 128)])
def test_any_size_and_one_entry(shape):
    cube = np.random.default_rng(0).random(shape, np.float32)
    drawn = [
        result_figure({'Only': cube}, cube),
        spectra_figure({'Only': cube}, cube),
        band_psnr_figure({'Only': band_psnr(cube * 0.9, cube)}),
    ]
    for figure in drawn:
        assert_no_overlaps(figure)


def test_many_long_labels_go_on_below_and_fit():
    cube = np.random.default_rng(0).random((12, 12, 5), np.float32)
    labels = [f'MulSR with {n} modules, without DSCA, Averyveryveryverylongword' for n in range(9)]
    figure = result_figure(dict.fromkeys(labels, cube), cube, max_columns=4)
    assert len(titles(figure)) == 10
    assert_no_overlaps(figure)
    assert_no_overlaps(spectra_figure(dict.fromkeys(labels, cube), cube))
    assert_no_overlaps(band_psnr_figure({label: np.arange(30.0, 35) for label in labels}))
    assert_no_overlaps(cost_figure({label: EntryCost(30, 5, 10**6) for label in labels}, 'GFLOPs'))


def test_tensors_and_undefined_results_are_drawn(reference):
    broken = torch.from_numpy(reference.copy())
    broken[0, 0] = float('nan')
    figure = result_figure({'Broken': broken}, torch.from_numpy(reference))
    assert np.isfinite(figure.axes[4].images[0].get_array()).all()


# Spectra


def test_spectra_are_those_of_the_pixels(reference, results):
    pixels = [(0, 0), (23, 32), (7, 11)]
    figure = spectra_figure(results, reference, pixels, VISIBLE)
    assert titles(figure) == ['A: row 0, column 0', 'B: row 23, column 32', 'C: row 7, column 11']
    assert [text.get_text() for text in figure.axes[0].texts] == ['A', 'B', 'C']
    for pixel, axes in zip(pixels, figure.axes[1:]):
        lines = lines_of(axes)
        np.testing.assert_array_equal(lines['Ground truth'].get_ydata(), reference[pixel])
        np.testing.assert_array_equal(lines['UAL'].get_ydata(), results['UAL'][pixel])
        np.testing.assert_array_equal(lines['MulSR'].get_xdata(), VISIBLE)
        assert (lines['Ground truth'].get_color(), lines['MulSR'].get_color()) == ('#000000', '#d40000')
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ['Ground truth', *results]
    assert_no_overlaps(figure)


# Cost


def test_cost_figure_has_a_marker_for_each_and_a_line_for_what_is_free():
    entries = {
        'Bicubic': EntryCost(33.0, 0),
        'MulSR': EntryCost(45.0, 500.0, 2_500_000),
        'UAL': EntryCost(43.0, 2000.0, 7_500_000),
    }
    figure = cost_figure(entries, 'GFLOPs per scene')
    (axes,) = figure.axes
    markers = {markers.get_label(): markers for markers in axes.collections}
    assert list(markers) == ['MulSR (2.50\u00a0M)', 'UAL (7.50\u00a0M)']
    mulsr, ual = markers.values()
    np.testing.assert_array_equal(mulsr.get_offsets(), [[500, 45]])
    assert ual.get_sizes()[0] == pytest.approx(3 * mulsr.get_sizes()[0])
    assert mulsr.get_zorder() > ual.get_zorder()  # the smaller one in front
    assert list(lines_of(axes)['Bicubic'].get_ydata()) == [33, 33]
    assert (axes.get_xscale(), axes.get_xlabel()) == ('log', 'GFLOPs per scene')
    assert_no_overlaps(figure)


@pytest.mark.parametrize('costs', [[0.0], [3.0], [1e-4, 1e6], [0.9, 1.1], [7.0, 7.0]])
def test_any_range_of_costs(costs):
    figure = cost_figure({f'net {i}': EntryCost(30 + i, cost) for i, cost in enumerate(costs)}, 'Seconds per scene')
    assert_no_overlaps(figure)
    (axes,) = figure.axes
    shown = [t.get_window_extent() for t in axes.get_xticklabels() if t.get_text()]
    low, high = axes.get_window_extent().intervalx
    shown = sorted(box.intervalx.tolist() for box in shown if low - 1 <= sum(box.intervalx) / 2 <= high + 1)
    assert len(shown) >= 1
    assert all(left[1] < right[0] for left, right in itertools.pairwise(shown))


# Files


def test_files_hold_the_legend_too_and_are_reproducible(tmp_path, reference, results):
    figure = band_psnr_figure({label: band_psnr(cube, reference) for label, cube in results.items()})
    png, pdf = save_figure(figure, tmp_path / 'new' / 'a.b')
    assert (png.name, pdf.name) == ('a.b.png', 'a.b.pdf')
    height, width = cv2.imread(str(png)).shape[:2]
    expected_width, expected_height = figure.get_size_inches()
    assert width == pytest.approx(300 * expected_width, abs=50) and height > 300 * expected_height + 50
    assert pdf.read_bytes().startswith(b'%PDF')
    first = pdf.read_bytes(), png.read_bytes()
    save_figure(figure, tmp_path / 'new' / 'a.b')
    assert first == (pdf.read_bytes(), png.read_bytes())


def test_the_users_settings_change_nothing_and_are_kept(reference, results):
    import matplotlib

    with matplotlib.rc_context({'font.size': 30}):
        figure = spectra_figure(results, reference)
        assert matplotlib.rcParams['font.size'] == 30
    assert figure.axes[1].xaxis.label.get_fontsize() == 8
    assert 'matplotlib.pyplot' not in sys.modules or not sys.modules['matplotlib.pyplot'].get_fignums()


def test_figures_go_to_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    save_figure(band_psnr_figure({'MulSR': np.array([40.0, 41.0])}), tmp_path / 'figures' / 'cave' / 'psnr_per_band')
    assert figures_to_tensorboard(tmp_path) == 1
    events = EventAccumulator(str(tmp_path / 'tb_logger')).Reload()
    assert events.Tags()['images'] == ['figures/cave/psnr_per_band']


# Mistakes


def test_mistakes_are_told(reference, results):
    with pytest.raises(ValueError, match='no entries to draw'):
        result_figure({}, reference)
    with pytest.raises(ValueError, match='they must be equal'):
        result_figure({'Small': reference[:5]}, reference)
    with pytest.raises(ValueError, match='leaves the scene of 24 x 33'):
        result_figure(results, reference, area=(20, 0, 5, 5))
    with pytest.raises(ValueError, match=r'Pixel \(24, 0\) is outside the scene of 24 x 33'):
        spectra_figure(results, reference, [(24, 0)])
    with pytest.raises(ValueError, match='no pixels'):
        spectra_figure(results, reference, [])
    with pytest.raises(ValueError, match='30 entries for 31 bands'):
        band_psnr_figure({'MulSR': np.zeros(31)}, VISIBLE[:30])
    with pytest.raises(ValueError, match='different numbers of bands'):
        band_psnr_figure({'MulSR': np.zeros(31), 'UAL': np.zeros(30)})
    with pytest.raises(ValueError, match='cost of UAL is -1'):
        cost_figure({'UAL': EntryCost(40, -1)}, 'GFLOPs')


def test_missing_matplotlib_is_told(monkeypatch, reference, results):
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    monkeypatch.delitem(sys.modules, 'matplotlib.style', raising=False)
    with pytest.raises(ImportError, match=r"need Matplotlib: pip install 'mulsr-plugin\[plots\]'"):
        result_figure(results, reference)


# Benchmarks


class TwoScenes:
    """A data set of two scenes of 16 x 24 with constant spectra."""

    wavelengths = tuple(VISIBLE)
    keys = ['first', 'second']

    def __getitem__(self, index):
        gt = torch.rand(31, 16, 24, generator=torch.Generator().manual_seed(index)) * 0.8
        return {'gt': gt, 'lq': gt[:, ::8, ::8], 'lq_path': self.keys[index]}


@pytest.fixture
def benchmark(tmp_path, monkeypatch):
    """Folder of a benchmark: bicubic off by 0.1 in every band, MulSR by 0.01; UAL has failed on one image."""
    monkeypatch.setattr(benchmark_figures, 'build_dataset', lambda options: TwoScenes())
    folder = tmp_path / 'results' / 'tiny'
    data, rows = TwoScenes(), []
    for entry, error, images in (('Bicubic', 0.1, 2), ('UAL', 0.05, 1), ('MulSR', 0.01, 2)):
        for index in range(images):
            cube = data[index]['gt'].permute(1, 2, 0).numpy() + np.float32(error)
            path = folder / 'cubes' / 'Tiny' / entry / f'{data.keys[index]}.npy'
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, cube)
            cost = {'parameters': 0 if entry == 'Bicubic' else 10**6, 'gflops': 0.0 if entry == 'Bicubic' else 5.0}
            row = {'dataset': 'Tiny', 'entry': entry, 'image': data.keys[index], 'psnr': -20 * np.log10(error)}
            rows.append({**row, **cost, 'seconds': 0.5})
    content = {
        'entries': ['Bicubic', 'UAL', 'MulSR'],
        'datasets': {'Tiny': {'options': {}, 'protocol': '', 'images': data.keys}},
        'metrics': {'psnr': {'type': 'calculate_hsi_psnr'}},
        'scale': 8,
        'crop_size': None,
        'rows': rows,
    }
    (folder / 'results.json').write_text(json.dumps(content))
    return folder


def test_every_figure_of_a_benchmark_is_written(benchmark, monkeypatch):
    drawn = {}
    monkeypatch.setattr(benchmark_figures._Figures, '_save', lambda self, f, name: [drawn.setdefault(name, f)])
    write_benchmark_figures(benchmark, images=['second'], pixels=[(3, 4)], area=(0, 0, 8, 8))
    names = ['psnr_against_flops', 'psnr_against_seconds', 'psnr_per_band', 'second_results', 'second_spectra']
    assert sorted(drawn) == names
    lines = lines_of(drawn['psnr_per_band'].axes[0])
    assert list(lines) == ['Bicubic', 'MulSR']  # means over other images do not compare
    np.testing.assert_allclose(lines['Bicubic'].get_ydata(), 20, rtol=1e-4)
    np.testing.assert_allclose(lines['MulSR'].get_ydata(), 40, rtol=1e-4)
    assert titles(drawn['second_results'])[1] == 'Bicubic\n20.00 dB'
    assert titles(drawn['second_spectra']) == ['A: row 3, column 4']


def test_benchmark_without_cubes_has_figures_of_cost(benchmark):
    for cube in benchmark.glob('cubes/**/*.npy'):
        cube.unlink()
    files = write_benchmark_figures(benchmark, entries=['MulSR'])
    stems = ['psnr_against_flops', 'psnr_against_seconds']
    assert files == [benchmark / 'figures' / 'Tiny' / f'{stem}.{form}' for stem in stems for form in ('png', 'pdf')]
    assert all(file.stat().st_size > 1000 for file in files)


def test_mistakes_with_benchmarks_are_told(benchmark, tmp_path):
    with pytest.raises(FileNotFoundError, match='holds no results.json'):
        write_benchmark_figures(tmp_path)
    with pytest.raises(ValueError, match="no image 'third'; it has first, second"):
        write_benchmark_figures(benchmark, images=['third'])
    with pytest.raises(ValueError, match="no entry 'EDSR'; it has Bicubic, UAL, MulSR"):
        write_benchmark_figures(benchmark, entries=['EDSR'])
    (benchmark / 'results.json').write_text('{"entries": []}')
    with pytest.raises(ValueError, match='is not a result of `mulsr benchmark`'):
        write_benchmark_figures(benchmark)


@pytest.fixture
def command(monkeypatch):
    """Run `mulsr plot` as if Matplotlib were missing; return its exit status."""
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    monkeypatch.delitem(sys.modules, 'matplotlib.style', raising=False)

    def run(*arguments):
        return main(['plot', *map(str, arguments)])

    return run


def test_command_tells_mistakes_in_a_line(benchmark, command, capsys):
    assert command(benchmark) == 1
    assert capsys.readouterr().err == "error: The figures need Matplotlib: pip install 'mulsr-plugin[plots]'.\n"
    assert command(benchmark / 'absent') == 1
    assert 'holds no results.json' in capsys.readouterr().err
    for wrong in (['--pixels', '1,2,3'], ['--area', '1,2']):
        with pytest.raises(SystemExit):
            command(benchmark, *wrong)
    for wrong, message in (['-opt', 'a.yml'], 'belong together'), (['-opt', 'a.yml', '--out', 'a.png'], 'LABEL=FOLDER'):
        assert command(benchmark, *wrong) == 1
        assert message in capsys.readouterr().err


def test_picture_of_tests_needs_no_matplotlib(demo_dataset, tmp_path, command, capsys):
    block = {'name': 'Demo', 'type': 'PairedHSIRGBDataset', 'dataroot_gt': str(demo_dataset / 'test.lmdb')}
    options = {'scale': 8, 'datasets': {'test_1': {**block, 'io_backend': {'type': 'lmdb'}}}}
    (tmp_path / 'test.yml').write_text(json.dumps(options))
    cube = tmp_path / 'bicubic' / 'visualization' / 'Demo' / 'demo_03_bicubic.npy'
    cube.parent.mkdir(parents=True)
    np.save(cube, np.zeros((48, 48, 31), np.float32))
    arguments = ['-opt', tmp_path / 'test.yml', '--out', tmp_path / 'out.png', f'Bicubic={tmp_path / "bicubic"}']
    assert command(*arguments) == 0
    assert cv2.imread(str(tmp_path / 'out.png')).shape[0] > 500
    assert command(*arguments, '--images', 'demo_04') == 1
    assert "no scene 'demo_04'; it has demo_03" in capsys.readouterr().err


def test_cube_of_the_right_scene_and_data_set(tmp_path):
    for name in ('Other/a_test', 'Demo/a_b_test', 'Demo/a_test'):
        file = tmp_path / 'visualization' / f'{name}.npy'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    dataset = SimpleNamespace(opt={'name': 'Demo'}, keys=['a', 'a_b'])
    assert find_cube(tmp_path, dataset, 'a') == tmp_path / 'visualization' / 'Demo' / 'a_test.npy'
    assert find_cube(tmp_path, dataset, 'a_b') == tmp_path / 'visualization' / 'Demo' / 'a_b_test.npy'
    (tmp_path / 'visualization' / 'Demo' / 'a_test.npy').unlink()
    with pytest.raises(FileNotFoundError, match='has no cube of a in data set Demo'):
        find_cube(tmp_path, dataset, 'a')
