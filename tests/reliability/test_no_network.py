"""Training, validation and inference use no network: every attempt of any of their processes is recorded and refused.

The record is made by an audit hook, which sees what Python's own sockets do, not those that a C library opens.
"""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.formats import write_cube
from tests.models.tiny import make_options, make_stores
from tests.processes import ROOT, run_python

# a sitecustomize runs at the start of every Python, also of spawned workers; forked ones inherit the hook
HOOK = """
import os, socket, sys

EVENTS = {'socket.connect', 'socket.sendto', 'socket.sendmsg', 'socket.getaddrinfo', 'socket.gethostbyname'}
RECORD = os.path.join(os.path.dirname(__file__), 'record.txt')

def hook(event, arguments):
    if event not in EVENTS or getattr(arguments[0], 'family', None) == socket.AF_UNIX:
        return
    with open(RECORD, 'a') as file:
        file.write(f'{event} {arguments[-1]}\\n')
    raise PermissionError(f'no network: {event}')

sys.addaudithook(hook)
open(RECORD, 'a').close()
"""


@pytest.fixture
def hooked(tmp_path):
    """Run Python code with the hook in ``tmp_path``; return what it recorded and the finished process."""
    (tmp_path / 'hook').mkdir()
    (tmp_path / 'hook' / 'sitecustomize.py').write_text(HOOK)

    def run(code):
        (tmp_path / 'program.py').write_text(code)
        done = run_python('program.py', cwd=tmp_path, path=f'{tmp_path / "hook"}:{ROOT}')
        return (tmp_path / 'hook' / 'record.txt').read_text().splitlines(), done

    return run


def test_training_validation_and_inference_use_no_network(hooked, tmp_path):
    make_stores(tmp_path)
    opt = make_options(tmp_path, ema_decay=0.5)
    opt['datasets']['train']['num_worker_per_gpu'] = 2
    opt['logger']['use_tb_logger'] = True
    (tmp_path / 'options.yml').write_text(yaml.safe_dump(opt))
    rng = np.random.default_rng(0)
    write_cube(tmp_path / 'lr.npz', Cube(rng.random((6, 6, 5), dtype=np.float32), 1.0, tuple(range(500, 550, 10))))
    np.save(tmp_path / 'rgb.npy', rng.random((24, 24, 3), dtype=np.float32))
    record, done = hooked(
        'import sys\n'
        'if __name__ == "__main__":\n'
        '    from mulsr_plugin import train\n'
        '    sys.argv = ["train.py", "-opt", "options.yml"]\n'
        '    train.main()\n'
        '    from mulsr_plugin.__main__ import main\n'
        '    weights = ["--weights", "experiments/tiny/models/net_g_latest.pth", "--device", "cpu"]\n'
        '    sys.exit(main(["infer", *weights, "--hsi", "lr.npz", "--guide", "rgb.npy", "--out", "sr.npz"]))\n'
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert record == []
    assert (tmp_path / 'experiments' / 'tiny' / 'metrics_tiny.csv').is_file()  # it has validated
    assert (tmp_path / 'sr.npz').is_file()


@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_a_connection_would_be_noticed(hooked, method):
    """Also in a worker, of a forked or a new Python, and where the program hides the error."""
    record, done = hooked(
        'import multiprocessing, socket\n'
        'def try_network():\n'
        '    for attempt in (\n'
        '        lambda: socket.create_connection(("127.0.0.1", 9), 1),\n'
        '        lambda: socket.socket().connect(("127.0.0.1", 9)),\n'
        '        lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9)),\n'
        '    ):\n'
        '        try:\n'
        '            attempt()\n'
        '        except PermissionError:\n'
        '            pass\n'
        '    try:\n'
        '        socket.socket(socket.AF_UNIX).connect("absent")\n'
        '    except FileNotFoundError:\n'
        '        print("Unix sockets go")\n'
        'if __name__ == "__main__":\n'
        f'    worker = multiprocessing.get_context("{method}").Process(target=try_network)\n'
        '    worker.start()\n'
        '    worker.join()\n'
    )
    assert [line.split()[0] for line in record] == ['socket.getaddrinfo', 'socket.connect', 'socket.sendto'], record
    assert done.stdout == 'Unix sockets go\n', done.stderr
