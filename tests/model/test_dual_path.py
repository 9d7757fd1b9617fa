"""The dual path is SpeechBrain's, with channels last and fewer copies."""

import pytest
import torch
from speechbrain.lobes.models.dual_path import (
    Dual_Computation_Block,
    Dual_Path_Model,
    IdentityBlock,
    SBRNNBlock,
    select_norm,
)
from torch.utils._python_dispatch import TorchDispatchMode

from dpcl_dprnn.model.dual_path import (
    add_chunks,
    along_first,
    block,
    cut_chunks,
    normalised,
    pointwise,
)

CHANNELS = 6
SIZES = pytest.mark.parametrize("size", [2, 3, 4, 5, 9, 10])
BATCHES = pytest.mark.parametrize("batch", [1, 2, 3])


def features(*shape, device):
    return torch.randn(*shape, dtype=torch.float64, device=device)


def stock(size):
    """SpeechBrain's model, for its ways to cut and to join."""
    none = IdentityBlock()
    return Dual_Path_Model(
        1, 1, none, none, K=size, linear_layer_after_inter_intra=False
    )


def perturb(module):
    """Let no weight, bias or running average be what makes no difference."""
    with torch.no_grad():
        for x in (*module.parameters(), *module.buffers()):
            if x.is_floating_point():
                x.add_(0.1 * torch.randn_like(x))


def lstm():
    return SBRNNBlock(CHANNELS, 4, num_layers=1)


# Chunks


@SIZES
def test_chunks_are_the_stock_ones(size, device):
    parent = stock(size)
    for length in range(1, 3 * size + 2):
        x = torch.randn(2, length, CHANNELS, device=device)
        chunks = cut_chunks(x, size)
        expected, _ = parent._Segmentation(x.transpose(1, 2), size)
        assert torch.equal(chunks, expected.permute(0, 2, 3, 1)), length
        assert chunks.is_contiguous()


@SIZES
def test_added_chunks_are_the_stock_ones(size, device):
    parent = stock(size)
    for length in range(1, 3 * size + 2):
        shape = 2, CHANNELS, length
        chunks, gap = parent._Segmentation(torch.zeros(shape), size)
        chunks = torch.randn(chunks.shape, device=device)
        expected = parent._over_add(chunks, gap).transpose(1, 2)
        added = add_chunks(chunks.permute(0, 2, 3, 1), length)
        assert torch.equal(added, expected), length


@SIZES
def test_overlapping_chunks_add_up_to_twice_the_input(size, device):
    for length in range(1, 3 * size + 2):
        x = torch.randn(2, length, CHANNELS, device=device)
        assert torch.equal(add_chunks(cut_chunks(x, size), length), 2 * x)


@pytest.mark.parametrize("size", [1, 2, 3, 9, 10])
def test_joining_chunks_without_overlap_is_the_identity(size, device):
    for length in range(1, 3 * size + 2):
        x = torch.randn(2, length, CHANNELS, device=device)
        chunks = cut_chunks(x, size, overlap=False)
        assert chunks.shape == (2, size, -(-length // size), CHANNELS)
        assert torch.equal(chunks[:, 0, 0], x[:, 0])
        assert chunks.is_contiguous()
        assert torch.equal(add_chunks(chunks, length, overlap=False), x)


# Layers


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("times", [1, 2])
def test_pointwise_is_the_convolution(times, bias, device):
    """The sum of the convolution's results is that of the sum."""
    xs = features(times, 2, 7, CHANNELS, device=device)
    convolution = torch.nn.Conv1d(CHANNELS, 4, 1, bias=bias).to(xs)
    expected = sum(convolution(x.transpose(1, 2)).transpose(1, 2) for x in xs)
    got = pointwise(convolution, xs.sum(dim=0), times)
    torch.testing.assert_close(got, expected)

    xs = features(times, 2, 7, 5, CHANNELS, device=device)
    convolution = torch.nn.Conv2d(CHANNELS, 4, 1, bias=bias).to(xs)
    expected = sum(convolution(x.movedim(-1, 1)).movedim(1, -1) for x in xs)
    got = pointwise(convolution, xs.sum(dim=0), times)
    torch.testing.assert_close(got, expected)


@BATCHES
@pytest.mark.parametrize("name", ["ln", "gln", "cln"])
def test_normalised_is_the_norm_of_contiguous_features(name, batch, device):
    x = features(batch, 5, 7, CHANNELS, device=device)
    norm = select_norm(name, CHANNELS, 4).to(x)
    perturb(norm)
    expected = norm(x.movedim(-1, 1).contiguous()).movedim(1, -1)
    torch.testing.assert_close(normalised(norm, x), expected)


@BATCHES
@pytest.mark.parametrize("transposed", [False, True])
def test_along_first_runs_over_the_first_axis_of_the_grid(
    transposed, batch, device
):
    x = features(batch, 5, 7, CHANNELS, device=device)
    x = x.transpose(1, 2) if transposed else x
    got = along_first(lambda x: x.cumsum(dim=1), lambda x: 2 * x, None, x)
    torch.testing.assert_close(got, 2 * x.cumsum(dim=1))


@BATCHES
@pytest.mark.parametrize("transposed", [False, True])
def test_norm_gets_channels_last(transposed, batch, device):
    """Norms copy what has other strides, even where those are of one item.

    `is_contiguous` says nothing of that: it passes over such axes.
    """
    x = features(batch, 5, 7, CHANNELS, device=device)
    seen = []
    along_first(
        lambda x: x,
        None,
        lambda x: seen.append(x) or x,
        x.transpose(1, 2) if transposed else x,
    )
    expected = torch.empty(seen[0].shape).to(memory_format=torch.channels_last)
    assert seen[0].stride() == expected.stride()


class Copies(TorchDispatchMode):
    """Counts the copies of tensors, those that PyTorch makes too."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += "clone" in str(function) or "copy_" in str(function)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "batch, transposed, count",
    [(1, False, 0), (1, True, 1), (2, False, 2), (2, True, 2)],
)
def test_copies_of_the_features(batch, transposed, count):
    """None within chunks and one across, of a single utterance, on a CPU."""
    layer = Dual_Computation_Block(lstm(), lstm(), CHANNELS)
    x = torch.randn(batch, 5, 7, CHANNELS)
    x = x.transpose(1, 2) if transposed else x
    with Copies() as copies:
        along_first(layer.intra_mdl, layer.intra_linear, layer.intra_norm, x)
    assert copies.count == count


# The block


@BATCHES
def test_what_a_block_gives_lies_in_memory_as_what_it_takes(batch):
    layer = Dual_Computation_Block(lstm(), lstm(), CHANNELS)
    assert block(layer, torch.randn(batch, 5, 7, CHANNELS)).is_contiguous()
