#!/usr/bin/env bash
# The whole chain on a fresh machine: install into .venv, draw small synthetic scenes in CAVE's folder layout, prepare
# the LMDBs, fuse the test scenes without training (interpolation, a classical method, SensorFusion), test the weights
# that come with the package, train a small MulSR for a minute, compare all of them, infer from files.
# Writes demo_result.png, and demo_report.html, a page to explore the results with. Runs on CPU in minutes; everything
# else that it makes lies in .demo/, experiments/ and results/.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/install.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
install_plugin
mulsr() { "$VENV_PYTHON" -m mulsr_plugin "$@"; }
export OMP_WAIT_POLICY=PASSIVE  # threads that wait by spinning would hold up other programs, and each other

rm -rf .demo  # of an earlier run; holds nothing but what the next lines make
mulsr demo-scenes .demo/complete_ms_data --num-scenes 8 --size 192
mulsr prepare cave .demo/complete_ms_data --out .demo/data --test-scenes demo_07,demo_08

# without training; CNMF is given the blur, SensorFusion finds it
mulsr test -opt demo_test_bicubic_x8
mulsr test -opt demo_test_bicubic_x8 \
    --force_yml name=demo_cnmf_x8 network_g:type=CNMF network_g:degradation=authors_fixed
mulsr test -opt demo_test_bicubic_x8 --force_yml name=demo_sensorfusion_x8 network_g:type=SensorFusion

# weights that come with the package, trained on the scenes of CAVE
mulsr test -opt demo_test_mulsr_x8 \
    --force_yml name=demo_shipped_x8 network_g:num_feat=32 path:pretrain_network_g=mulsr_cave_x8_small

mulsr train -opt demo_mulsr_x8
mulsr test -opt demo_test_mulsr_x8

mulsr compare results/demo_bicubic_x8 results/demo_cnmf_x8 results/demo_sensorfusion_x8 \
    results/demo_shipped_x8 results/demo_mulsr_x8
mulsr plot -opt demo_test_mulsr_x8 --out demo_result.png Bicubic=results/demo_bicubic_x8 \
    CNMF=results/demo_cnmf_x8 SensorFusion=results/demo_sensorfusion_x8 MulSR=results/demo_shipped_x8
mulsr report -opt demo_test_mulsr_x8 --out demo_report.html --force Bicubic=results/demo_bicubic_x8 \
    CNMF=results/demo_cnmf_x8 SensorFusion=results/demo_sensorfusion_x8 MulSR=results/demo_shipped_x8
