#!/usr/bin/env bash
# The whole chain on a fresh machine: install into .venv, draw small synthetic scenes in CAVE's folder layout, prepare
# the LMDBs, test the weights that come with the package, train a small MulSR with BasicSR's own train.py, test it,
# compare both with bicubic interpolation.
# Writes demo_result.png. Runs on CPU in minutes; everything it makes lies in .demo/, experiments/ and results/.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/install.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
install_plugin
python() { "$VENV_PYTHON" "$@"; }

python scripts/link_basicsr.py
rm -rf .demo  # of an earlier run; holds nothing but what the next lines make
python scripts/make_demo_scenes.py .demo/complete_ms_data --num-scenes 8 --size 192
python scripts/prepare_dataset.py cave --input .demo/complete_ms_data --output .demo/data --test-scenes demo_07,demo_08

# no training: weights that come with the package, trained on the scenes of CAVE
python basicsr/test.py -opt options/demo_test_bicubic_x8.yml
python basicsr/test.py -opt options/demo_test_mulsr_x8.yml \
    --force_yml name=demo_shipped_x8 network_g:num_feat=32 path:pretrain_network_g=mulsr_cave_x8_small
python scripts/compare_results.py results/demo_bicubic_x8 results/demo_shipped_x8

python basicsr/train.py -opt options/demo_mulsr_x8.yml
python basicsr/test.py -opt options/demo_test_mulsr_x8.yml

python scripts/compare_results.py results/demo_bicubic_x8 results/demo_shipped_x8 results/demo_mulsr_x8
python scripts/plot_results.py -opt options/demo_test_mulsr_x8.yml --out demo_result.png \
    Bicubic=results/demo_bicubic_x8 MulSR=results/demo_mulsr_x8
