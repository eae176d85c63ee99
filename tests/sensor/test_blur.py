"""The blur operator: written out as sums over pixels, exact adjoint, borders, transfer function, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mulsr_plugin.sensor.blur import BOUNDARIES, StridedBlur

GEOMETRIES = [
    # kernel, offset, stride, blocks
    ((4, 4), (0, 0), 4, (3, 5)),
    ((7, 5), (-3, 2), 3, (4, 3)),
    ((1, 1), (2, 1), 3, (2, 4)),
    ((16, 16), (-9, 1), 8, (1, 2)),  # reaches beyond the image on both sides
    ((3, 3), (-40, 37), 2, (5, 6)),  # lies outside of it altogether
    ((9, 2), (-4, 0), 1, (6, 5)),
]


def blur_of(geometry, boundary, seed=0):
    kernel, offset, stride, blocks = geometry
    rng = np.random.default_rng(seed)
    return StridedBlur(rng.random(kernel), offset, stride, boundary), [stride * n for n in blocks]


def pixel(position, size, boundary):
    """Walk to the pixel that stands for a position, one step at a time."""
    while not 0 <= position < size:
        if boundary == 'edge':
            position += 1 if position < 0 else -1
        elif boundary == 'circular':
            position += size if position < 0 else -size
        else:
            position = -1 - position if position < 0 else 2 * size - 1 - position
    return position


@pytest.mark.parametrize('boundary', BOUNDARIES)
@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_forward_is_the_sum_over_pixels(geometry, boundary):
    blur, (height, width) = blur_of(geometry, boundary)
    x = np.random.default_rng(1).random((height, width))
    (row, column), stride = blur.offset, blur.stride
    expected = np.zeros((height // stride, width // stride))
    for i, j in np.ndindex(expected.shape):
        for a, b in np.ndindex(blur.kernel.shape):
            r, c = pixel(stride * i + row + a, height, boundary), pixel(stride * j + column + b, width, boundary)
            expected[i, j] += blur.kernel[a, b] * x[r, c]
    y = blur.forward(torch.from_numpy(x).expand(2, 3, -1, -1))
    assert y.shape == (2, 3, *expected.shape)
    np.testing.assert_allclose(y, np.broadcast_to(expected, y.shape), rtol=1e-13)


@pytest.mark.parametrize('boundary', BOUNDARIES)
@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_adjoint_is_exact(geometry, boundary):
    blur, size = blur_of(geometry, boundary)
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64)
    y = torch.randn(2, 3, *(n // blur.stride for n in size), generator=generator, dtype=torch.float64)
    forward, backward = blur.forward(x), blur.adjoint(y)
    assert backward.shape == x.shape
    scale = forward.norm() * y.norm()
    assert abs((forward * y).sum() - (x * backward).sum()) <= 1e-15 * scale
    # the gradient of <D x, y> is D^T y, and that of <x, D^T y> is D x
    x.requires_grad_()
    y.requires_grad_()
    torch.testing.assert_close(torch.autograd.grad((blur.forward(x) * y).sum(), x)[0], backward, rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(torch.autograd.grad((blur.adjoint(y) * x).sum(), y)[0], forward, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_transfer_function_gives_the_circular_blur(geometry):
    blur, size = blur_of(geometry, 'circular')
    x = torch.rand(1, 2, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    product = torch.fft.rfft2(x) * blur.transfer((size[0], size[1]), x)
    filtered = torch.fft.irfft2(product, s=size)[..., :: blur.stride, :: blur.stride]
    torch.testing.assert_close(filtered, blur.forward(x), rtol=1e-12, atol=1e-12)


def test_centre_is_the_centroid():
    kernel = np.zeros((3, 5))
    kernel[2, 1] = kernel[2, 2] = 0.5
    assert StridedBlur(kernel, (-4, 7), 4, 'edge').centre == (-2.0, 8.5)


def test_float32_stays_float32():
    blur, size = blur_of(GEOMETRIES[1], 'symmetric')
    x = torch.rand(1, 2, *size)
    assert blur.forward(x).dtype == blur.adjoint(blur.forward(x)).dtype == torch.float32
    torch.testing.assert_close(blur.forward(x).double(), blur.forward(x.double()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((np.ones(3), (0, 0), 2, 'edge'), r'shape \(3,\), expected a matrix'),
        ((np.full((2, 2), np.nan), (0, 0), 2, 'edge'), 'finite numbers'),
        ((np.ones((2, 2)), (0, 0), 0, 'edge'), 'stride is 0'),
        ((np.ones((2, 2)), (0, 0), 2, 'zero'), "boundary is 'zero', expected one of edge, symmetric, circular"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        StridedBlur(*arguments)


@pytest.mark.parametrize('shape', [(3, 8, 8), (1, 3, 7, 8), (1, 3, 8, 6)])
def test_sizes_that_are_no_multiple_are_refused(shape):
    with pytest.raises(ValueError, match='multiples of 4; crop it'):
        StridedBlur(np.ones((4, 4)), (0, 0), 4, 'edge').forward(torch.zeros(shape))
