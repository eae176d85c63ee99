"""precision: auto: what is measured, chosen, and kept by a resumed run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from basicsr.archs import build_network
from torch import nn

from mulsr_plugin.models.hsi_sr_model import HSISRModel
from mulsr_plugin.models.precision_choice import PrecisionTiming, time_precisions
from tests.models.tiny import make_options, parsed


@pytest.mark.parametrize(
    ('fp32', 'bf16', 'chosen', 'bearable'),
    [(3.0, 1.5, 'bf16', {'bf16'}), (3.0, 2.9, 'fp32', {'fp32', 'bf16'}), (3.7, 290.0, 'fp32', {'fp32'})],
)
def test_the_faster_is_chosen_and_what_is_much_slower_is_not_kept(fp32, bf16, chosen, bearable):
    timing = PrecisionTiming('a convolution', fp32 / 1e3, bf16 / 1e3)
    assert timing.chosen == chosen
    assert {precision for precision in ('fp32', 'bf16') if timing.is_bearable(precision)} == bearable
    assert str(timing) == f'a convolution takes {fp32:.3g} ms in fp32 and {bf16:.3g} ms in bf16'


@pytest.mark.parametrize(
    ('net', 'work'),
    [
        (nn.Sequential(nn.Conv2d(4, 8, 1), nn.Conv2d(8, 4, 3)), 'a 3x3 convolution from 8 to 4 channels'),
        (nn.Conv2d(6, 6, 5, groups=3), 'a 5x5 convolution from 6 to 6 channels'),
        (nn.Linear(5, 7), 'a linear layer from 5 to 7 values'),
        (nn.Identity(), 'a linear layer from 256 to 256 values'),
    ],
)
def test_the_largest_layer_is_timed_and_no_random_number_drawn(net, work):
    before = torch.get_rng_state()
    timing = time_precisions(net, 'cpu')
    assert timing.work == work and timing.fp32 > 0 and timing.bf16 > 0
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.skipif(sys.platform != 'linux', reason='the switches are those of oneDNN on x86')
def test_a_processor_without_bfloat16_takes_float32():
    """Emulated: oneDNN is kept from AVX-512, as on a processor without it."""
    if torch.backends.mkldnn.is_available() is False or not torch.cpu._is_avx2_supported():
        pytest.skip('no oneDNN or no AVX2')
    code = (
        'from torch import nn; from mulsr_plugin.models.precision_choice import time_precisions;'
        'print(time_precisions(nn.Conv2d(64, 64, 3, padding=1), "cpu").chosen)'
    )
    switches = {'ONEDNN_MAX_CPU_ISA': 'AVX2', 'ATEN_CPU_CAPABILITY': 'avx2', 'OMP_NUM_THREADS': '1'}
    done = subprocess.run([sys.executable, '-c', code], env={**os.environ, **switches}, capture_output=True, text=True)
    assert done.stdout.split() == ['fp32'], done.stderr


def test_auto_is_settled_at_the_start_and_said(tiny_stores, tmp_path, caplog):
    opt = parsed(make_options(tiny_stores, precision='auto'), tmp_path)
    opt['val']['precision'] = 'auto'
    build_network(dict(opt['network_g']))
    with caplog.at_level('INFO', logger='basicsr'):
        model = HSISRModel(opt)
    assert model.precision in ('fp32', 'bf16')
    assert model.opt['train']['precision'] == model.opt['val']['precision'] == model.precision
    assert model.run_options['train: precision'] == model.run_options['val: precision'] == model.precision


@pytest.mark.parametrize('slower', [1.1, 40.0])
def test_a_resumed_run_keeps_its_precision_where_that_can_be_borne(tiny_stores, tmp_path, slower):
    model = HSISRModel(parsed(make_options(tiny_stores, precision='auto'), tmp_path / 'first'))
    state = {
        'epoch': 0,
        'iter': 1,
        'optimizers': [optimizer.state_dict() for optimizer in model.optimizers],
        'schedulers': [scheduler.state_dict() for scheduler in model.schedulers],
        'options': {**model.run_options, 'train: precision': 'bf16'},
    }
    resumed = HSISRModel(parsed(make_options(tiny_stores, precision='auto'), tmp_path / 'second'))
    # what another machine would have measured
    resumed._measured = ['train'], PrecisionTiming('a convolution', 1.0, slower)
    resumed._set_precision('fp32')
    resumed.precision = 'fp32'
    resumed.resume_training(state)
    assert resumed.precision == ('bf16' if slower < 1.5 else 'fp32')
