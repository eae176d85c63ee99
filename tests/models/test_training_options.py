"""Options that make a training faster or steadier: what they change, what they leave exactly as it is."""

from __future__ import annotations

import logging
import os
import shutil

import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.models import build_model
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from mulsr_plugin.data.degradation import build_degradation
from mulsr_plugin.models.band_graph import BandStep
from mulsr_plugin.models.mulsr_model import spread_groups
from tests.models.test_hsi_sr_model import batch
from tests.models.tiny import make_options, parsed

SGD = {'type': 'SGD', 'lr': 0.05, 'momentum': 0.5}
# where Adam is meant and rounding differs: with its usual eps it makes steps of full length from rounding alone
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
SMOOTH_ADAM = {'type': 'Adam', 'lr': 0.05, 'eps': 0.01}


def build(folder, tmp_path, change=lambda opt: None, **train):
    """A tiny model; `num_gpu`, `model_type` and others go through `change`."""
    opt = make_options(folder, **train)
    change(opt)
    torch.manual_seed(0)
    return build_model(parsed(opt, tmp_path))


def train(model, batches, first=1):
    for iteration, data in enumerate(batches, first):
        model.update_learning_rate(iteration)
        model.feed_data(data)
        model.optimize_parameters(iteration)
    return model


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.net_g.parameters()])


def halves(data):
    """One batch of four as two of two."""
    return [{key: value[part] for key, value in data.items()} for part in (slice(0, 2), slice(2, 4))]


def log_of(action):
    """Run `action` and return what BasicSR's logger was told at level WARNING."""
    lines = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger('basicsr')
    logger.addHandler(handler)
    try:
        action()
    finally:
        logger.removeHandler(handler)
    return lines


@pytest.mark.parametrize('band_update', ['joint', 'per_band'])
def test_bf16_goes_where_fp32_goes(tiny_stores, tmp_path, band_update):
    data = batch(tiny_stores)
    moves, logs = [], []
    for precision in ('fp32', 'bf16'):
        model = build(tiny_stores, tmp_path, precision=precision, band_update=band_update, optim_g=dict(SGD))
        before = weights(model)
        train(model, [data])
        assert all(parameter.dtype == parameter.grad.dtype == torch.float32 for parameter in model.net_g.parameters())
        moves.append(weights(model) - before)
        logs.append(model.log_dict['l_pix'])
    assert logs[1] == pytest.approx(logs[0], rel=0.01)
    assert logs[1] != logs[0]
    assert nn.functional.cosine_similarity(*moves, dim=0) > 0.99


def test_validation_in_parts_chosen_by_memory_or_given(tiny_stores, tmp_path):
    outputs = {}
    for name, change in {
        'default': {},
        'auto': {'bands_per_chunk': 'auto'},
        'two': {'bands_per_chunk': 2},
        'tiles with all of the image around them': {'tile_size': 16, 'tile_halo': 16},
        'tiles without': {'tile_size': 16, 'tile_halo': 0},
    }.items():
        model = build(tiny_stores, tmp_path, lambda opt, change=change: opt['val'].update(change))
        model.feed_data(batch(tiny_stores, 'val', count=1))
        model.test()
        outputs[name] = model.output
    different = outputs.pop('tiles without')
    for name, output in outputs.items():
        torch.testing.assert_close(output, outputs['two'], rtol=1e-5, atol=1e-6, msg=name)
    assert (different - outputs['two']).abs().max() > 1e-4


def test_bf16_validation_leaves_training_alone(tiny_stores, tmp_path):
    data = batch(tiny_stores)
    results = []
    for precision in ('fp32', 'bf16'):
        model = build(tiny_stores, tmp_path, lambda opt, p=precision: opt['val'].update(precision=p))
        model.feed_data(data)
        model.test()
        assert model.output.dtype == torch.float32
        results.append(model.output)
        assert model.precision == 'fp32'
    assert not torch.equal(*results)
    torch.testing.assert_close(*results, rtol=0, atol=0.02)


@pytest.mark.parametrize('band_update', ['joint', 'per_band'])
def test_accumulated_batches_are_one_large_batch(tiny_stores, tmp_path, band_update):
    data = batch(tiny_stores, count=4)
    options = {'band_update': band_update, 'ema_decay': 0.5, 'grad_clip': 0.05, 'optim_g': dict(SGD)}
    large = train(build(tiny_stores, tmp_path, **{**options, 'optim_g': dict(SGD)}), [data])
    small = build(tiny_stores, tmp_path, **options, accumulate=2)
    start = weights(small)
    first, second = halves(data)
    train(small, [first])
    assert torch.equal(weights(small), start)
    train(small, [second], first=2)
    assert not torch.equal(weights(small), start)
    torch.testing.assert_close(weights(small), weights(large), rtol=0, atol=1e-6)
    for average, expected in zip(small.net_g_ema.parameters(), large.net_g_ema.parameters()):
        torch.testing.assert_close(average, expected, rtol=0, atol=1e-6)
    assert small.log_dict['grad_norm'] == pytest.approx(large.log_dict['grad_norm'], rel=1e-4)


def test_clipping_bounds_the_step_and_logs_the_norm_before(tiny_stores, tmp_path):
    data = batch(tiny_stores)
    plain = {'band_update': 'joint', 'optim_g': {'type': 'SGD', 'lr': 1.0}}
    free = build(tiny_stores, tmp_path, **plain)
    start = weights(free)
    norm = (weights(train(free, [data])) - start).norm().item()
    assert free.log_dict['grad_norm'] == pytest.approx(norm, rel=1e-3)

    plain['optim_g'] = {'type': 'SGD', 'lr': 1.0}
    clipped = train(build(tiny_stores, tmp_path, **plain, grad_clip=norm / 10), [data])
    assert clipped.log_dict['grad_norm'] == pytest.approx(norm, rel=1e-3)
    assert (weights(clipped) - start).norm().item() == pytest.approx(norm / 10, rel=1e-3)

    plain['optim_g'] = {'type': 'SGD', 'lr': 1.0}
    roomy = train(build(tiny_stores, tmp_path, **plain, grad_clip=norm * 10), [data])
    assert torch.equal(weights(roomy), weights(free))


def test_memory_format_changes_rounding_alone(tiny_stores, tmp_path):
    data = batch(tiny_stores)
    outputs = []
    for channels_last, expected in ((None, True), (True, True), (False, False)):
        model = build(tiny_stores, tmp_path, channels_last=channels_last)
        model.feed_data(data)
        assert model.rgb.is_contiguous(memory_format=torch.channels_last) is expected
        model.test()
        outputs.append(model.output)
    assert torch.equal(outputs[0], outputs[1])
    torch.testing.assert_close(outputs[2], outputs[0], rtol=1e-5, atol=1e-6)


def resumed(folder, tmp_path, iteration, change, **train):
    """A new model that goes on from the files of `iteration`, as BasicSR loads them."""

    def from_files(opt):
        change(opt)
        opt['path']['pretrain_network_g'] = str(tmp_path / 'models' / f'net_g_{iteration}.pth')

    model = build(folder, tmp_path, from_files, **train)
    state = torch.load(tmp_path / 'training_states' / f'{iteration}.state', weights_only=True)
    model.resume_training({**state, 'is_exact': True})
    return model


@pytest.mark.parametrize(
    'options',
    [
        {'precision': 'bf16', 'band_update': 'joint'},
        {'precision': 'tf32', 'channels_last': False},
        {'grad_clip': 0.01, 'bands_per_chunk': 2, 'band_update': 'joint'},
        {'accumulate': 2, 'band_update': 'joint'},
        {'accumulate': 2},
        {'optim_g': {'type': 'Adam', 'lr': 1e-3, 'fused': True}},
    ],
    ids=lambda options: '-'.join(options),
)
def test_resume_is_exact(tiny_stores, tmp_path, options):
    batches = [*halves(batch(tiny_stores, count=4)), *halves(batch(tiny_stores, count=8, phase='train'))]
    options = {'ema_decay': 0.9, **options}

    def copy():
        return {key: dict(value) if isinstance(value, dict) else value for key, value in options.items()}

    whole = build(tiny_stores, tmp_path, **copy())
    train(whole, batches[:2])
    whole.save(0, 2)
    train(whole, batches[2:], first=3)
    again = train(resumed(tiny_stores, tmp_path, 2, lambda opt: None, **copy()), batches[2:], first=3)
    assert torch.equal(weights(again), weights(whole))
    for average, expected in zip(again.net_g_ema.parameters(), whole.net_g_ema.parameters()):
        assert torch.equal(average, expected)


def test_fused_adam_and_going_over_to_it(tiny_stores, tmp_path):
    batches = halves(batch(tiny_stores, count=4))
    plain = train(build(tiny_stores, tmp_path, optim_g=dict(SMOOTH_ADAM)), batches[:1])
    plain.save(0, 1)
    later = resumed(tiny_stores, tmp_path, 1, lambda opt: None, optim_g={**SMOOTH_ADAM, 'fused': True})
    assert later.optimizer_g.param_groups[0]['fused'] is True
    train(later, batches[1:], first=2)
    train(plain, batches[1:], first=2)
    # Adam divides by the root of tiny averages, so the order of its sums shows: 2.5e-6 on an AMD EPYC, 1e-6 on a Xeon
    torch.testing.assert_close(weights(later), weights(plain), rtol=1e-5, atol=1e-5)
    assert (weights(later) - weights(plain)).abs().mean() < 1e-7


@torch.library.custom_op('mulsr_tests::doubled', mutates_args=())
def doubled(x: torch.Tensor) -> torch.Tensor:
    return 2 * x


@doubled.register_fake
def _(x):
    raise RuntimeError('no shapes for the compiler')


doubled.register_autograd(lambda context, gradient: 2 * gradient)


class SmallNet(nn.Module):
    """Quick to compile; `compilable` false puts an operation into it that no compiler can trace."""

    def __init__(self, compilable: bool):
        super().__init__()
        self.compilable = compilable
        self.mix = nn.Conv2d(8, 5, 3, padding=1)

    def forward(self, lq, rgb):
        x = self.mix(torch.cat([nn.functional.interpolate(lq, scale_factor=4), rgb], dim=1)).tanh()
        return x if self.compilable else doubled(x)


def small_net(compilable):
    if 'SmallNet' not in ARCH_REGISTRY:
        ARCH_REGISTRY.register(SmallNet)
    network = {'type': 'SmallNet', 'compilable': compilable}
    return lambda opt: opt.update(network_g=dict(network), model_type='HSISRModel')


@pytest.mark.skipif(shutil.which(os.environ.get('CXX', 'g++')) is None, reason='torch.compile needs a C++ compiler')
def test_compiled_training_equals_plain_training(tiny_stores, tmp_path):
    batches = halves(batch(tiny_stores, count=4))
    plain = train(build(tiny_stores, tmp_path, small_net(True), ema_decay=0.9, optim_g=dict(SMOOTH_ADAM)), batches)
    model = build(tiny_stores, tmp_path, small_net(True), ema_decay=0.9, optim_g=dict(SMOOTH_ADAM), compile=True)
    warnings = log_of(lambda: train(model, batches))
    assert warnings == []
    assert model.compiled is not None
    torch.testing.assert_close(weights(model), weights(plain), rtol=1e-5, atol=1e-6)
    assert list(model.net_g.state_dict()) == list(plain.net_g.state_dict()) == ['mix.weight', 'mix.bias']
    assert 'forward' not in vars(model.net_g)  # copies for inference are copies of the network itself
    model.save(0, 2)
    again = resumed(tiny_stores, tmp_path, 2, small_net(True), ema_decay=0.9, compile=True)
    assert torch.equal(weights(again), weights(model))


def test_what_cannot_be_compiled_is_trained_without(tiny_stores, tmp_path):
    batches = halves(batch(tiny_stores, count=4))
    plain = train(build(tiny_stores, tmp_path, small_net(False)), batches)
    model = build(tiny_stores, tmp_path, small_net(False), compile=True)
    (warning,) = log_of(lambda: train(model, batches))
    assert warning.startswith('The network cannot be compiled (')
    assert warning.endswith('training goes on without.')
    assert '\n' not in warning
    assert torch.equal(weights(model), weights(plain))


def band_step(model):
    """A recorded step of the model's batch, not yet recorded."""
    return BandStep(model.losses_of_triples, model.take_step, model.optimizer_g, (model.lq, model.rgb, model.gt))


def head(opt):
    opt['network_g']['small_scale_head'] = True
    opt['train']['small_scale_opt'] = dict(opt['train']['pixel_opt'])


@pytest.mark.parametrize('change', [lambda opt: None, head], ids=['large', 'both'])
def test_a_band_step_with_the_band_as_data_is_the_step_of_that_band(tiny_stores, tmp_path, change):
    """The step that a GPU records, run without recording."""
    batches = halves(batch(tiny_stores, count=4))
    plain = train(build(tiny_stores, tmp_path, change, grad_clip=0.05, optim_g=dict(SMOOTH_ADAM)), batches)
    model = build(tiny_stores, tmp_path, change, grad_clip=0.05, optim_g=dict(SMOOTH_ADAM))
    start = weights(model)
    step = None
    for data in batches:
        model.feed_data(data)
        step = step or band_step(model)
        losses = step.run(model.lq, model.rgb, model.gt)
    assert (weights(model) - start).abs().max() > 1e-3
    torch.testing.assert_close(weights(model), weights(plain), rtol=1e-5, atol=1e-6)
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(plain.log_dict[name], rel=1e-5)
    assert isinstance(model.optimizer_g.param_groups[0]['lr'], float)


@pytest.mark.parametrize('steps', [0, 1])
def test_warming_up_leaves_weights_and_optimiser_as_they_were(tiny_stores, tmp_path, steps):
    data = batch(tiny_stores)
    model, untouched = (train(build(tiny_stores, tmp_path), [data] * steps) for _ in range(2))
    model.feed_data(data)
    step = band_step(model)
    with step._undone():
        step._compute_step()
        assert not torch.equal(weights(model), weights(untouched))
    assert torch.equal(weights(model), weights(untouched))
    train(model, [data], first=steps + 1)
    train(untouched, [data], first=steps + 1)
    assert torch.equal(weights(model), weights(untouched))


@pytest.mark.parametrize(('size', 'same'), [(1, {}), (5, {'band_update': 'joint'}), (9, {'band_update': 'joint'})])
def test_bands_per_step_lies_between_per_band_and_joint(tiny_stores, tmp_path, size, same):
    data = batch(tiny_stores)
    grouped = train(build(tiny_stores, tmp_path, bands_per_step=size, optim_g=dict(SGD)), [data] * 2)
    expected = train(build(tiny_stores, tmp_path, **same, optim_g=dict(SGD)), [data] * 2)
    torch.testing.assert_close(weights(grouped), weights(expected), rtol=0, atol=1e-7)
    assert grouped.log_dict['l_pix'] == pytest.approx(expected.log_dict['l_pix'], rel=1e-6)


@pytest.mark.parametrize('accumulate', [1, 2])
def test_a_group_of_bands_takes_one_step_on_its_mean_loss(tiny_stores, tmp_path, accumulate):
    data = batch(tiny_stores, count=4)
    options = {'bands_per_step': 2, 'accumulate': accumulate}
    model = build(tiny_stores, tmp_path, **options, optim_g=dict(SGD))
    train(model, [data] if accumulate == 1 else halves(data))

    by_hand = build(tiny_stores, tmp_path, optim_g=dict(SGD))
    by_hand.feed_data(data)
    losses = []
    for bands in ([0, 3], [1, 4], [2]):  # five bands
        by_hand.optimizer_g.zero_grad()
        result = by_hand.net_g(by_hand.lq, by_hand.rgb, bands=bands)
        loss = nn.functional.l1_loss(result, by_hand.gt[:, bands])
        loss.backward()
        by_hand.optimizer_g.step()
        losses.append(loss.item() * len(bands) / 5)
    torch.testing.assert_close(weights(model), weights(by_hand), rtol=0, atol=1e-6)
    if accumulate == 1:
        assert model.log_dict['l_pix'] == pytest.approx(sum(losses), rel=1e-5)


@pytest.mark.parametrize(('num_bands', 'size'), [(31, 8), (31, 1), (31, 31), (31, 40), (8, 3), (1, 4)])
def test_groups_hold_every_band_once_and_are_about_equal(num_bands, size):
    groups = spread_groups(num_bands, size)
    assert sorted(band for group in groups for band in group) == list(range(num_bands))
    assert max(map(len, groups)) <= size
    assert max(map(len, groups)) - min(map(len, groups)) <= 1


def test_a_cpu_trains_without_cuda_graph(tiny_stores, tmp_path):
    data = batch(tiny_stores)
    plain = train(build(tiny_stores, tmp_path), [data] * 2)
    model = build(tiny_stores, tmp_path, cuda_graph=True)
    (warning,) = log_of(lambda: train(model, [data] * 2))
    assert warning == (
        'The step of a band cannot be recorded as a CUDA graph (this needs one process with one GPU); training goes '
        'on without.'
    )
    assert torch.equal(weights(model), weights(plain))


def on_device(opt):
    opt['datasets']['train']['device_degradation'] = True


def stored_batch(folder, tmp_path, count=4, **changes):
    options = {**make_options(folder)['datasets']['train'], 'phase': 'train', 'scale': 4, **changes}
    dataset = build_dataset(options)
    dataset.set_epoch(0, 1)
    return torch.utils.data.default_collate([dataset[index] for index in range(count)])


def test_a_batch_of_stored_crops_becomes_the_samples_of_the_cpu(tiny_stores, tmp_path):
    preset = {'preset': 'authors_random', 'noise_sigma': 0.0}

    def noiseless(opt):
        on_device(opt)
        opt['datasets']['train']['degradation'] = preset

    model = build(tiny_stores, tmp_path, noiseless)
    data = stored_batch(tiny_stores, tmp_path, device_degradation=True)
    model.feed_data(data)
    cpu = stored_batch(tiny_stores, tmp_path)
    assert torch.equal(model.gt, cpu['gt'])
    torch.testing.assert_close(model.rgb, cpu['rgb'], rtol=0, atol=1e-6)
    degradation = build_degradation(preset, 4)
    for lq, gt, seed in zip(model.lq, model.gt, data['seed'].tolist()):
        expected = degradation(gt.numpy(), np.random.default_rng(seed))
        np.testing.assert_allclose(lq.numpy(), expected, rtol=0, atol=1e-5)
    model.optimize_parameters(1)


def test_a_batch_of_stored_crops_is_made_the_same_again(tiny_stores, tmp_path):
    data = stored_batch(tiny_stores, tmp_path, device_degradation=True)
    made = []
    for seed in (0, 1):
        model = build(tiny_stores, tmp_path, on_device)
        torch.manual_seed(seed)
        model.feed_data(data)
        made.append((model.lq, model.gt, model.rgb))
    for first, second in zip(*made):
        assert torch.equal(first, second)


def test_stored_crops_at_mixed_scales(tiny_stores, tmp_path):
    def mixed(opt):
        on_device(opt)
        opt['network_g']['upscale'] = [2, 4]
        opt['datasets']['train']['degrade'] = False

    model = build(tiny_stores, tmp_path, mixed, scales=[2, 4])
    data = stored_batch(tiny_stores, tmp_path, device_degradation=True, degrade=False)
    sides = set()
    for iteration in range(1, 9):
        model.update_learning_rate(iteration)
        model.feed_data(data)
        sides.add(model.lq.shape[-1])
    assert sides == {4, 8}


def test_a_model_that_cannot_draw_scales_refuses_their_data_set(tiny_stores, tmp_path):
    def without_lq(opt):
        opt['model_type'] = 'HSISRModel'
        opt['datasets']['train']['degrade'] = False

    with pytest.raises(ValueError, match='degrade: false is for MulSRModel with train: scales'):
        build(tiny_stores, tmp_path, without_lq)


def on_gpu(opt):
    opt['num_gpu'] = 1
    opt['train']['scheduler'] = {'type': 'MultiStepLR', 'milestones': [2], 'gamma': 0.1}


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_a_replayed_band_step_equals_the_plain_one(tiny_stores, tmp_path, precision):
    batches = halves(batch(tiny_stores, count=4)) * 2
    options = {'precision': precision, 'grad_clip': 0.05, 'ema_decay': 0.9}
    plain = train(build(tiny_stores, tmp_path, on_gpu, **options, optim_g=dict(SMOOTH_ADAM)), batches)
    model = build(tiny_stores, tmp_path, on_gpu, **options, optim_g=dict(SMOOTH_ADAM), cuda_graph=True)
    assert log_of(lambda: train(model, batches)) == []
    assert model.cuda_graph
    tolerance = {'rtol': 1e-4, 'atol': 1e-5} if precision == 'fp32' else {'rtol': 2e-2, 'atol': 2e-3}
    torch.testing.assert_close(weights(model), weights(plain), **tolerance)
    assert model.log_dict['l_pix'] == pytest.approx(plain.log_dict['l_pix'], rel=1e-2)
    model.save(0, 4)
    again = resumed(tiny_stores, tmp_path, 4, on_gpu, **options, optim_g=dict(SMOOTH_ADAM), cuda_graph=True)
    train(again, batches[:1], first=5)
    train(model, batches[:1], first=5)
    torch.testing.assert_close(weights(again), weights(model), **tolerance)


@pytest.mark.gpu
@needs_cuda
def test_a_step_that_waits_is_not_recorded_and_training_goes_on(tiny_stores, tmp_path):
    batches = halves(batch(tiny_stores, count=4))
    plain = train(build(tiny_stores, tmp_path, on_gpu, optim_g=dict(SMOOTH_ADAM)), batches)
    model = build(tiny_stores, tmp_path, on_gpu, optim_g=dict(SMOOTH_ADAM), cuda_graph=True)
    take_step = model.take_step
    model.take_step = lambda: (take_step(), weights(model).sum().item())
    (warning,) = log_of(lambda: train(model, batches))
    assert warning.startswith('The step of a band cannot be recorded as a CUDA graph (')
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    torch.testing.assert_close(weights(model), weights(plain), rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@needs_cuda
def test_joint_training_with_all_that_is_fast_on_a_gpu(tiny_stores, tmp_path):
    def fast(opt):
        on_gpu(opt)
        on_device(opt)

    data = stored_batch(tiny_stores, tmp_path, device_degradation=True)
    data = {key: value.pin_memory() if torch.is_tensor(value) else value for key, value in data.items()}
    options = {'band_update': 'joint', 'precision': 'bf16', 'channels_last': True, 'grad_clip': 1.0}
    plain = train(build(tiny_stores, tmp_path, fast, **options, optim_g=dict(SMOOTH_ADAM)), [data] * 2)
    fused = {**SMOOTH_ADAM, 'fused': True}
    model = build(tiny_stores, tmp_path, fast, **options, optim_g=fused, compile=True)
    assert log_of(lambda: train(model, [data] * 2)) == []
    assert model.compiled is not None
    torch.testing.assert_close(weights(model), weights(plain), rtol=2e-2, atol=5e-3)


@pytest.mark.gpu
@needs_cuda
def test_a_batch_made_on_a_gpu_is_that_of_the_cpu(tiny_stores, tmp_path):
    def noiseless(opt):
        on_device(opt)
        opt['datasets']['train']['degradation'] = {'preset': 'authors_random', 'noise_sigma': 0.0}

    data = stored_batch(tiny_stores, tmp_path, device_degradation=True)
    cpu = build(tiny_stores, tmp_path, noiseless)
    gpu = build(tiny_stores, tmp_path, lambda opt: (on_gpu(opt), noiseless(opt)))
    for model in (gpu, cpu):
        model.feed_data(data)
    for name in ('gt', 'rgb', 'lq'):
        assert getattr(gpu, name).is_cuda
        torch.testing.assert_close(getattr(gpu, name).cpu(), getattr(cpu, name), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'precision': 'fp16'}, 'train: precision is .fp16., expected one of fp32, tf32, bf16'),
        ({'channels_last': 'yes'}, 'channels_last is .yes., expected true or false'),
        ({'compile': 1}, 'compile is 1, expected true or false'),
        ({'grad_clip': 0}, 'grad_clip is 0, expected a number above 0'),
        ({'accumulate': 0}, 'accumulate is 0, expected a whole number of at least 1'),
        ({'accumulate': 3}, 'total_iter is 4, no multiple of train: accumulate, 3, .*; try 3'),
        ({'accumulate': 4}, 'save_checkpoint_freq is 2, no multiple of train: accumulate, 4, .*; try 4'),
        ({'cuda_graph': True, 'band_update': 'joint'}, 'needs band_update: per_band without accumulate'),
        ({'cuda_graph': True, 'accumulate': 2}, 'needs band_update: per_band without accumulate'),
        ({'bands_per_step': 2, 'band_update': 'joint'}, 'bands_per_step groups the steps of band_update: per_band'),
        ({'bands_per_step': 2, 'cuda_graph': True}, 'per_band without cuda_graph; change these or remove'),
        ({'bands_per_step': 0}, 'bands_per_step is 0, expected a whole number of at least 1'),
        ({'cuda_graph': True, 'optim_g': dict(SGD)}, 'does not go with optimiser SGD, expected one of Adam, AdamW'),
    ],
)
def test_mistakes_in_the_training_block_are_one_sentence(tiny_stores, tmp_path, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        build(tiny_stores, tmp_path, **options)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'precision': 'fp8'}, 'val: precision is .fp8., expected one of fp32, tf32, bf16'),
        (
            {'bands_per_chunk': 'all'},
            'bands_per_chunk is .all., expected a whole number of at least 1 and below 2..31, or one',
        ),
        ({'tile_size': 30}, "tile_size 30 is not a multiple of the scale 4 of data set 'tiny'"),
        ({'tile_size': 32, 'tile_halo': 6}, 'tile_halo 6 is not a multiple of the scale 4'),
        ({'tile_halo': 32}, 'tile_halo has no effect without tile_size'),
    ],
)
def test_mistakes_in_the_validation_block_are_one_sentence(tiny_stores, tmp_path, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        build(tiny_stores, tmp_path, lambda opt: opt['val'].update(options))
    assert '\n' not in str(caught.value)


def test_the_small_image_is_not_cut(tiny_stores, tmp_path):
    def cut(opt):
        head(opt)
        opt['val']['tile_size'] = 16

    with pytest.raises(ValueError, match='tile_size does not go with network_g: small_scale_head'):
        build(tiny_stores, tmp_path, cut)
