"""Every mistake in an option block is one sentence that names the block, the key and the cure."""

from __future__ import annotations

import pytest

from mulsr_plugin.utils.options import (
    BOOLEAN,
    check_block,
    check_constructor_options,
    check_keys,
    choice,
    either,
    integer,
    list_of,
    number,
    require,
)


def test_unknown_key_suggests_the_closest():
    with pytest.raises(ValueError, match=r"Unknown option 'ema_decya' in train; did you mean 'ema_decay'\?"):
        check_keys({'ema_decya': 0.9}, ['ema_decay', 'total_iter'], 'train')


def test_unknown_key_without_a_close_one_lists_what_is_known():
    with pytest.raises(ValueError, match='known options are ema_decay, total_iter'):
        check_keys({'zzz': 1}, ['total_iter', 'ema_decay'], 'train')


def test_a_block_that_is_no_mapping_is_named():
    with pytest.raises(ValueError, match="train is 'fast', expected a block of options"):
        check_keys('fast', ['ema_decay'], 'train')


@pytest.mark.parametrize(
    ('rule', 'good', 'bad'),
    [
        (integer(1), [1, 7], [0, 1.5, '3', True, [1]]),
        (number(0, 1), [0, 0.5, 1], [-0.1, 1.1, float('nan'), float('inf'), '0.5', True]),
        (number(0), [1e9], [float('inf'), -1]),
        (choice('joint', 'per_band'), ['joint'], ['Joint', 1, ['joint']]),
        (BOOLEAN, [True, False], [1, 'true']),
        (list_of(integer(0)), [[0, 3], (1,)], [[], [1.5], 3, 'ab']),
        (either(integer(1), list_of(integer(0))), [3, [0]], [0, ['a'], 'a']),
    ],
)
def test_rules(rule, good, bad):
    for value in good:
        check_block({'key': value}, {'key': rule}, 'val')
    for value in bad:
        with pytest.raises(ValueError, match='val: key is .*, expected .*'):
            check_block({'key': value}, {'key': rule}, 'val')


def test_none_stands_for_not_given():
    check_block({'key': None}, {'key': integer(1)}, 'val')


def test_a_number_that_yaml_reads_as_text_is_explained():
    with pytest.raises(ValueError, match='write !!float 1e-4'):
        check_block({'lr': '1e-4'}, {'lr': number(0)}, 'train: optim_g')


def test_missing_option():
    with pytest.raises(ValueError, match="train has no 'optim_g'"):
        require({'optim_g': None}, ['optim_g'], 'train')


def test_constructor_options():
    class Network:
        def __init__(self, num_in_ch, num_feat=64):
            pass

    check_constructor_options({'type': 'Network', 'num_in_ch': 3}, Network, 'network_g')
    with pytest.raises(ValueError, match="'num_feats' in network_g; did you mean 'num_feat'"):
        check_constructor_options({'num_in_ch': 3, 'num_feats': 32}, Network, 'network_g')
    with pytest.raises(ValueError, match="network_g has no 'num_in_ch'"):
        check_constructor_options({'num_feat': 32}, Network, 'network_g')
