"""Scan maps with the Triton kernels in Triton's interpreter, for test_scan_kernels.py.

A process of its own, since the interpreter must be chosen before Triton is first imported. Prints a JSON list: for each
case the kernel launches of a scan with its derivative and of one without, and the relative errors against the plain
form in float64.
"""

from __future__ import annotations

import json
import os
import sys

os.environ['TRITON_INTERPRET'] = '1'

import torch
import triton.language as tl
from triton.runtime import interpreter

from mulsr_plugin.ops import scan_kernels
from tests.ops.plain_scan import pair_of_scans, relative_error, result_and_gradients


def multiply_bfloat16_as_numbers():
    """Let the interpreter's dot product see numbers where it keeps the bits of bfloat16 in integers."""
    plain_dot = interpreter.InterpreterBuilder.create_dot

    def as_float32(handle):
        if handle.dtype.scalar != tl.bfloat16 or handle.data.dtype.kind == 'f':
            return handle
        data = (handle.data.astype('uint32') << 16).view('float32')
        return interpreter.TensorHandle(data, tl.float32)

    interpreter.InterpreterBuilder.create_dot = lambda self, a, b, *rest: plain_dot(
        self, as_float32(a), as_float32(b), *rest
    )


def convert_scalars_with_numpy_2_5():
    """Let the interpreter use its arrays of one element as numbers: int() of them is an error since NumPy 2.5."""
    patch = interpreter._patch_lang_tensor

    def patch_with_own_index(tensor, *scope):
        patch(tensor, *scope)
        tensor.__index__ = lambda self: self.handle.data.item()

    interpreter._patch_lang_tensor = patch_with_own_index


def count_launches():
    """Let the kernels take maps on the CPU; return the list that each launch is noted in."""
    launches = []
    launch = scan_kernels._launch
    scan_kernels.is_supported = lambda x, weight: True
    scan_kernels._launch = lambda kernel, *args, **options: launches.append(kernel) or launch(kernel, *args, **options)
    return launches


def run_case(launches, lines, shape, kernel_size, dtype, autocast):
    """Scan one map both ways."""
    scan, plain = pair_of_scans(shape[1], lines, kernel_size)
    x = torch.randn(shape, dtype=getattr(torch, dtype))
    if autocast:  # the reference gets the weights that the kernel sees
        for net in (scan, plain):
            net.conv[0].weight.data = net.conv[0].weight.data.bfloat16().float()
    launches.clear()
    ours = result_and_gradients(scan, x, autocast)
    counts = [len(launches)]
    reference = result_and_gradients(plain.double(), x.double())
    launches.clear()
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        without_gradients = scan(x)
    counts.append(len(launches))
    errors = [relative_error(a, b) for a, b in zip([*ours, without_gradients], [*reference, reference[0]])]
    return {'launches': counts, 'failed': scan_kernels._failed, 'errors': errors}


if __name__ == '__main__':
    multiply_bfloat16_as_numbers()
    convert_scalars_with_numpy_2_5()
    noted = count_launches()
    print(json.dumps([run_case(noted, *case) for case in json.loads(sys.argv[1])]))
