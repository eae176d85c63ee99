"""HSISRModel: what it feeds, how it steps, what it saves and loads, what it refuses."""

from __future__ import annotations

import logging
import os
import pickle
from copy import deepcopy

import pytest
import torch
from basicsr.archs import build_network
from basicsr.data import build_dataset
from basicsr.models import build_model
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from tests.models.tiny import make_options, parsed


def build(folder, tmp_path, change=lambda opt: None, **train):
    opt = make_options(folder, **train)
    opt['model_type'] = 'HSISRModel'
    change(opt)
    torch.manual_seed(0)
    return build_model(parsed(opt, tmp_path))


def batch(folder, phase='train', count=2):
    opt = parsed(make_options(folder), folder / 'unused')
    dataset = build_dataset(opt['datasets'][phase])
    dataset.set_epoch(0, 1)
    return torch.utils.data.default_collate([dataset[i] for i in range(count)])


def test_single_image_network_gets_the_cube_alone(tiny_stores, tmp_path):
    network = {'type': 'RRDBNet', 'num_in_ch': 5, 'num_out_ch': 5, 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4}
    model = build(tiny_stores, tmp_path, lambda opt: opt.update(network_g=network))
    model.feed_data(batch(tiny_stores))
    model.optimize_parameters(1)
    assert not model.is_guided
    assert not model.is_bandwise
    model.test()
    assert model.output.shape == (2, 5, 16, 16)


def test_a_network_of_another_package_is_guided_by_its_second_argument(tiny_stores, tmp_path):
    class Stacked(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Conv2d(8, 5, 3, padding=1)

        def forward(self, cube, image):
            return self.mix(torch.cat([nn.functional.interpolate(cube, scale_factor=4), image], dim=1))

    if 'Stacked' not in ARCH_REGISTRY:
        ARCH_REGISTRY.register(Stacked)
    model = build(tiny_stores, tmp_path, lambda opt: opt.update(network_g={'type': 'Stacked'}))
    before = deepcopy(model.net_g.state_dict())
    model.feed_data(batch(tiny_stores))
    model.optimize_parameters(1)
    assert model.is_guided
    assert not torch.equal(before['mix.weight'], model.net_g.state_dict()['mix.weight'])


def test_a_guided_network_asks_for_its_guide(tiny_stores, tmp_path):
    model = build(tiny_stores, tmp_path)
    with pytest.raises(ValueError, match='MulSR takes a guide image, but the data set gives no rgb'):
        model.feed_data({'lq': torch.rand(1, 5, 4, 4)})


def test_chunks_of_bands_change_neither_gradient_nor_result(tiny_stores, tmp_path):
    data = batch(tiny_stores)
    results = []
    for chunk in (None, 1, 2, 5):
        opt = make_options(tiny_stores, bands_per_chunk=chunk)
        opt['val']['bands_per_chunk'] = chunk
        torch.manual_seed(0)
        model = build_model(parsed(opt, tmp_path))
        model.feed_data(data)
        model.test()
        output = model.output
        loss = model.backward_in_chunks(range(5))['l_pix']
        gradient = torch.cat([p.grad.flatten() for p in model.net_g.parameters()])
        results.append((output, loss, gradient))
    for output, loss, gradient in results[1:]:
        torch.testing.assert_close(output, results[0][0], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(loss, results[0][1], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gradient, results[0][2], rtol=1e-4, atol=1e-6)


def test_loss_is_that_of_a_plain_loop(tiny_stores, tmp_path):
    model = build(tiny_stores, tmp_path)
    data = batch(tiny_stores)
    expected = (model.net_g(data['lq'], data['rgb']) - data['gt']).abs().mean()
    model.feed_data(data)
    model.optimize_parameters(1)
    assert model.log_dict['l_pix'] == pytest.approx(expected.item(), rel=1e-5)


def test_saved_files_are_basicsr_s_and_load_again(tiny_stores, tmp_path):
    model = build(tiny_stores, tmp_path, ema_decay=0.9)
    for iteration in (1, 2):
        model.feed_data(batch(tiny_stores))
        model.optimize_parameters(iteration)
    model.save(0, 2)
    saved = torch.load(tmp_path / 'models' / 'net_g_2.pth', weights_only=True)
    assert set(saved) == {'params', 'params_ema', 'mulsr_plugin'}
    plain = build_network(make_options(tiny_stores)['network_g'])
    plain.load_state_dict(saved['params'])
    assert not all(torch.equal(saved['params'][key], saved['params_ema'][key]) for key in saved['params'])

    path = str(tmp_path / 'models' / 'net_g_2.pth')
    again = build(tiny_stores, tmp_path, lambda opt: opt['path'].update(pretrain_network_g=path), ema_decay=0.9)
    for key, value in saved['params'].items():
        assert torch.equal(again.net_g.state_dict()[key], value)
        assert torch.equal(again.net_g_ema.state_dict()[key], saved['params_ema'][key])
    state = torch.load(tmp_path / 'training_states' / '2.state', weights_only=True)
    assert {'epoch', 'iter', 'optimizers', 'schedulers'} <= set(state)


@pytest.mark.parametrize('kind', ['AdamW', 'SGD', 'RMSprop'])
def test_optimisers_that_basicsr_1_4_2_does_not_know(tiny_stores, tmp_path, kind):
    model = build(tiny_stores, tmp_path, lambda opt: opt['train']['optim_g'].update(type=kind))
    assert type(model.optimizer_g).__name__ == kind
    assert model.get_current_learning_rate() == [1e-3]


def test_a_cube_without_guide_for_networks_that_take_none(tiny_stores, tmp_path):
    network = {'type': 'RRDBNet', 'num_in_ch': 5, 'num_out_ch': 5, 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4}
    model = build(tiny_stores, tmp_path, lambda opt: opt.update(network_g=network))
    opt = parsed(make_options(tiny_stores), tmp_path)
    sample = build_dataset({**opt['datasets']['val'], 'spectral_response': 'none'})[0]
    assert 'rgb' not in sample
    model.feed_data(torch.utils.data.default_collate([sample]))
    assert model.predict()['result'].shape == (1, 5, 32, 32)


@pytest.mark.parametrize(('mark', 'warns'), [({}, True), ({'is_exact': True}, False)])
def test_resuming_through_basicsr_s_script_says_that_the_epoch_restarts(tiny_stores, tmp_path, mark, warns, caplog):
    model = build(tiny_stores, tmp_path)
    model.save_training_state(1, 2)
    state = torch.load(tmp_path / 'training_states' / '2.state', weights_only=True)
    logger = logging.getLogger('basicsr')
    logger.addHandler(caplog.handler)
    model.resume_training({**state, **mark})
    logger.removeHandler(caplog.handler)
    assert ('Epoch 1 is restarted from its beginning' in caplog.text) is warns
    # the next loader must not draw the crops of the first epoch again
    assert (torch.initial_seed() == 3 + 2) is warns


def test_failed_saving_keeps_the_old_file(tiny_stores, tmp_path, monkeypatch):
    model = build(tiny_stores, tmp_path)
    model.save(0, 2)
    path = tmp_path / 'models' / 'net_g_2.pth'
    before = path.read_bytes()

    def full_disk(fd):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full_disk)
    with pytest.raises(OSError, match=r'Cannot write .*net_g_latest\.pth .*No space left.*untouched'):
        model.save(-1, -1)
    model.save(0, 2)  # in the middle of a run it is logged, and the run goes on
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ['net_g_2.pth']


class Evil:
    def __reduce__(self):
        return (os.mkdir, ('pwned',))


def test_weights_never_run_code(tiny_stores, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'evil.pth').write_bytes(pickle.dumps({'params': Evil()}))
    with pytest.raises(ValueError, match=r'evil\.pth is damaged or is not a checkpoint of tensors alone'):
        build(tiny_stores, tmp_path, lambda opt: opt['path'].update(pretrain_network_g='evil.pth'))
    assert not (tmp_path / 'pwned').exists()


def test_weights_of_another_network_are_refused_in_one_sentence(tiny_stores, tmp_path):
    other = build_network({'type': 'MulSR', 'upscale': 4, 'num_feat': 8, 'num_modules': 2})
    torch.save({'params': other.state_dict()}, tmp_path / 'other.pth')
    path = str(tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=r'does not fit network MulSR: \d+ unknown \(first: inter_body') as caught:
        build(tiny_stores, tmp_path, lambda opt: opt['path'].update(pretrain_network_g=path))
    assert '\n' not in str(caught.value)


def test_missing_weights(tiny_stores, tmp_path):
    with pytest.raises(FileNotFoundError, match='There is no checkpoint nowhere.pth'):
        build(tiny_stores, tmp_path, lambda opt: opt['path'].update(pretrain_network_g='nowhere.pth'))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda opt: opt['train'].update(total_iters=3), "'total_iters' in train; did you mean 'total_iter'"),
        (lambda opt: opt['train'].update(bands_per_chunk=0), 'bands_per_chunk is 0, expected a whole number'),
        (lambda opt: opt['train']['optim_g'].update(lr='1e-4'), 'write !!float 1e-4'),
        (lambda opt: opt['train']['optim_g'].update(beta=[0.9, 0.99]), "did you mean 'betas'"),
        (lambda opt: opt['train']['optim_g'].update(type='adam'), 'optim_g: type is .adam., expected one of Adam'),
        (lambda opt: opt['train']['scheduler'].update(milestone=[1]), "did you mean 'milestones'"),
        (lambda opt: opt['train']['pixel_opt'].update(type='L1loss'), "No loss named 'L1loss'.* mean 'L1Loss'"),
        (lambda opt: opt['val'].update(crop_sise=8), "'crop_sise' in val; did you mean 'crop_size'"),
        (lambda opt: opt['val'].update(save_cube='png'), 'save_cube is .png., expected one of mat, npy'),
        (lambda opt: opt['val']['metrics']['sam'].update(zero_spektra='x'), "did you mean 'zero_spectra'"),
        (lambda opt: opt['val']['metrics']['sam'].update(type='calculate_samm'), "did you mean 'calculate_sam'"),
        (lambda opt: opt['network_g'].update(num_module=3), "'num_module' in network_g; did you mean 'num_modules'"),
        (lambda opt: opt['network_g'].update(type='MullSR'), "No network named 'MullSR'.* did you mean 'MulSR'"),
        (lambda opt: opt['path'].update(pretrained_network_g='x'), "did you mean 'pretrain_network_g'"),
        (lambda opt: opt.update(model_typ='x'), "'model_typ' in the option file; did you mean 'model_type'"),
        (lambda opt: opt.update(num_gpu=1), 'num_gpu is 1, but PyTorch sees no GPU'),
        (lambda opt: opt.update(num_gpu=None), 'num_gpu is None, expected a whole number'),
        (lambda opt: opt['train'].update(ema_decay=None), 'ema_decay is None, expected a number'),
        (lambda opt: opt['train']['pixel_opt'].update(reduction='sum'), 'reduction is .sum., expected one of mean'),
        (lambda opt: opt['val'].pop('save_img'), "val has no 'save_img'"),
        (
            lambda opt: opt['val'].update(crop_size=18),
            "crop_size 18 is not a multiple of the scale 4 of data set 'tiny'",
        ),
        (lambda opt: opt['val']['metrics']['psnr'].update(type='calculate_psnr'), 'measures 8-bit pictures, not cubes'),
        (lambda opt: opt['logger'].pop('print_freq'), "logger has no 'print_freq'"),
        (lambda opt: opt['datasets'].update(val_2=opt['datasets']['val']), "both named 'tiny'"),
    ],
)
def test_mistakes_in_the_option_file(tiny_stores, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        build(tiny_stores, tmp_path, change)
