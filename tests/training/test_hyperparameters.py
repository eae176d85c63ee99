"""A training leaves its options and metrics for TensorBoard's HParams view; TensorBoard's own code reads them back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.tiny import make_stores
from tests.test_train import run, write_options

event_accumulator = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
plugin_data_pb2 = pytest.importorskip('tensorboard.plugins.hparams.plugin_data_pb2')


def test_hyperparameters_of_a_training(tmp_path: Path) -> None:
    def change(opt: dict) -> None:
        opt['logger']['use_tb_logger'] = True
        opt['val']['val_freq'] = 2
        opt['train']['total_iter'] = 4
        opt['train']['optim_g']['lr'] = 0.0123

    make_stores(tmp_path)
    run(tmp_path, '-opt', write_options(tmp_path, 'shown', change))
    events = event_accumulator.EventAccumulator(str(tmp_path / 'tb_logger' / 'shown')).Reload()
    tags = events.PluginTagToContent('hparams')
    read = {tag: plugin_data_pb2.HParamsPluginData.FromString(content) for tag, content in tags.items()}
    options = read['_hparams_/session_start_info'].session_start_info.hparams
    assert options['train: optim_g: lr'].number_value == 0.0123
    assert options['network_g: type'].string_value == 'MulSR'
    metrics = [info.name.tag for info in read['_hparams_/experiment'].experiment.metric_infos]
    assert metrics and set(metrics) <= set(events.Tags()['scalars'])
    assert [event.step for event in events.Scalars(metrics[0])] == [2, 4]
