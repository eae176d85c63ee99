"""Any one mistake in a shipped option file is one sentence of this plugin, before PyTorch or BasicSR meet it."""

from __future__ import annotations

import os
import sys
import traceback
from unittest.mock import patch

import pytest
import yaml
from basicsr.models import build_model
from basicsr.utils.options import parse_options
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mulsr_plugin.apps.benchmark.options import load_benchmark_options
from mulsr_plugin.models.schema import check_option_file
from tests.models.tiny import make_stores
from tests.reliability.option_mutations import JUNK, OPTIONS, changed, places, run, tiny_options

BENCHMARKS = sorted(path for path in OPTIONS.glob('benchmark_*.yml') if path.stem != 'benchmark_train_cave_x8')
FILES = sorted(set(OPTIONS.rglob('*.yml')) - set(BENCHMARKS))
# networks that take milliseconds once they are small
BUILT = [
    OPTIONS / f'{name}.yml'
    for name in (
        'train_mulsr_cave_x8',
        'train_mulsr_cave_x8_joint_bf16',
        'train_mulsr_cave_mixed',
        'train_coarsenet_cave_x8',
        'test_mulsr_cave_x8',
    )
]
# MULSR_FUZZ=100 tries a hundred times as many
EXAMPLES = int(os.environ.get('MULSR_FUZZ', '1'))
JUNK_VALUES = st.one_of(
    st.sampled_from(JUNK), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=3)
)
CHANGES = st.one_of(st.just(('missing', None)), st.just(('key', None)), JUNK_VALUES.map(lambda value: ('value', value)))


def fuzz(examples):
    return settings(
        max_examples=examples * EXAMPLES,
        derandomize=EXAMPLES == 1,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope='module')
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp('stores')
    make_stores(folder, num_bands=31, num_test=1)
    return folder


def assert_one_sentence(action):
    """Either the change is legal, or it is told in one sentence that this package wrote."""
    try:
        action()
    except (ValueError, FileNotFoundError) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        assert 'mulsr_plugin' in place.filename, f'{place.filename}:{place.lineno}: {error!r}'
        assert '\n' not in str(error).strip()
        assert len(str(error)) > 30, 'a sentence says more than this'


@fuzz(300)
@given(data=st.data())
def test_every_file_is_checked(data):
    opt = yaml.safe_load(data.draw(st.sampled_from(FILES)).read_text(encoding='utf-8'))
    opt = changed(opt, data.draw(st.sampled_from(list(places(opt)))), *data.draw(CHANGES))
    assert_one_sentence(lambda: check_option_file({**opt, 'is_train': 'train' in opt}))


@fuzz(40)
@given(data=st.data())
def test_what_passes_the_check_can_be_trained(stores, data):
    file = data.draw(st.sampled_from(BUILT))
    opt = tiny_options(file, stores)
    mutant = changed(opt, data.draw(st.sampled_from(list(places(opt)))), *data.draw(CHANGES))
    assert_one_sentence(lambda: run(mutant, stores, is_train='train' in opt))


@fuzz(100)
@given(data=st.data())
def test_benchmark_files_are_checked(tmp_path_factory, data):
    opt = yaml.safe_load(data.draw(st.sampled_from(BENCHMARKS)).read_text(encoding='utf-8'))
    opt = changed(opt, data.draw(st.sampled_from(list(places(opt)))), *data.draw(CHANGES))
    path = tmp_path_factory.getbasetemp() / 'benchmark.yml'
    path.write_text(yaml.safe_dump(opt), encoding='utf-8')
    assert_one_sentence(lambda: load_benchmark_options(path))


FORCED = [
    ('train:total_iter=many', "train: total_iter is 'many', expected a whole number"),
    ('train:band_update=jiont', "band_update is 'jiont', expected one of per_band, joint"),
    ('network_g:num_moduls=1', "Unknown option 'num_moduls' in network_g; did you mean 'num_modules'"),
    ('datasets:train:crops_per_image=0', 'crops_per_image is 0, expected'),
    ('val:tile_halo=8', 'tile_halo has no effect without tile_size'),
]


@pytest.mark.parametrize(('entry', 'message'), FORCED)
def test_forced_values_are_checked_like_written_ones(stores, tmp_path, entry, message):
    opt = tiny_options(OPTIONS / 'train_mulsr_cave_x8.yml', stores)
    with pytest.raises(ValueError, match=message):
        run(opt, tmp_path, '--force_yml', 'train:warmup_iter=2', entry, is_train=True)
    assert [path.name for path in tmp_path.iterdir()] == ['fuzzed.yml'], 'nothing is made before the check'


@pytest.mark.parametrize(
    'entry', ['total_iter', 'train:total_iter', 'trian:total_iter=1', 'a=b=c', 'train:scheduler:milestones=[1,,2]', '=']
)
def test_forced_values_that_set_nothing(stores, tmp_path, entry):
    opt = tiny_options(OPTIONS / 'train_mulsr_cave_x8.yml', stores)
    with pytest.raises(ValueError, match=r'--force_yml .* (does not set an option|cannot be read)|Unknown option'):
        run(opt, tmp_path, '--force_yml', entry, is_train=True)


@pytest.mark.parametrize(('entry', 'message'), FORCED)
def test_the_stock_script_checks_forced_values_too(stores, tmp_path, entry, message):
    """As BasicSR's train.py does it: parse, build the data sets, build the model."""
    from basicsr.data import build_dataset

    (tmp_path / 'x.yml').write_text(yaml.safe_dump(tiny_options(OPTIONS / 'train_mulsr_cave_x8.yml', stores)))
    with patch.object(sys, 'argv', ['train.py', '-opt', str(tmp_path / 'x.yml'), '--force_yml', entry]):
        opt, _ = parse_options(str(tmp_path))
    with pytest.raises(ValueError, match=message):
        build_dataset(opt['datasets']['train'])
        build_model(opt)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'network_g': {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 31, 'num_feat': 4, 'num_block': 1, 'upscale': 8}},
         r'Network EDSR cannot compute a batch of lq \(1, 31, 2, 2\) .*; make network_g fit'),
        ({'network_g': {'type': 'RRDBNet', 'num_in_ch': 31, 'num_out_ch': 1, 'num_feat': 4, 'num_block': 1}},
         r'Network RRDBNet returns \(1, 1, 8, 8\), expected \(1, 31, 16, 16\)'),
        ({'network_g': {'type': 'EDSR', 'num_in_ch': 31, 'num_out_ch': 31, 'num_feat': 'a'}},
         'network_g: nothing can be built from these options'),
        ({'network_g': {'type': 'MulSR', 'use_mii': 'no'}}, "use_mii is 'no', expected true or false"),
        ({'network_g': {'type': 'MulSR', 'num_modules': True}}, 'num_modules is True, expected a positive whole'),
        ({'network_g': {'type': 'MulSR', 'num_modules': 10**30}}, 'num_modules is 10*, expected at most 65536'),
    ],
)  # fmt: skip
def test_networks_that_do_not_fit_the_data(stores, tmp_path, change, message):
    opt = tiny_options(OPTIONS / 'train_edsr_cave_x8.yml', stores)
    with pytest.raises(ValueError, match=message):
        run({**opt, **change}, tmp_path, is_train=True)


@pytest.mark.parametrize('name', ['../elsewhere', '/tmp/elsewhere', 'a/../../b', '..', ''])
def test_names_never_lead_out_of_their_folder(stores, tmp_path, name):
    opt = tiny_options(OPTIONS / 'train_mulsr_cave_x8.yml', stores)
    with pytest.raises(ValueError, match='name'):
        run({**opt, 'name': name}, tmp_path, is_train=True)
    for path in (('datasets', 'val', 'name'), ('val', 'suffix')):
        changed_opt = changed({**opt, 'val': {**opt['val'], 'suffix': 'x'}}, path, 'value', name or 'a/b')
        with pytest.raises(ValueError, match='without slashes'):
            run(changed_opt, tmp_path, is_train=True)
