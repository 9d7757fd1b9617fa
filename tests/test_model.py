"""The trunk is SpeechBrain's; the embeddings stand on the declared grid."""

import itertools

import pytest
import torch
from speechbrain.lobes.models.dual_path import (
    Dual_Path_Model,
    SBRNNBlock,
    SBTransformerBlock,
)

from dpcl_dprnn.model import (
    BLSTMSeparator,
    DualPathSeparator,
    EmbeddingHead,
    reinitialize,
)

FILTERS, CHANNELS = 12, 8


def rnn_block():
    return SBRNNBlock(CHANNELS, 6, num_layers=1, bidirectional=True)


def transformer_block():
    return SBTransformerBlock(1, CHANNELS, nhead=2, d_ffn=16)


def build(model_class, block=rnn_block, **changes):
    arguments = {
        "in_channels": FILTERS,
        "out_channels": CHANNELS,
        "intra_model": block(),
        "inter_model": block(),
        "num_layers": 3,
        "norm": "ln",
        "K": 10,
        "num_spks": 2,
    }
    return model_class(**{**arguments, **changes}).eval()


def embedding_head(pool=1, bins=5, size=4):
    return EmbeddingHead(CHANNELS, bins=bins, size=size, pool=pool)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"K": 7},
        {"num_spks": 3},
        {"norm": "gln"},
        {"skip_around_intra": False},
        {"linear_layer_after_inter_intra": False, "block": transformer_block},
        # Stock takes max_length for the size of the positional encoding
        {"use_global_pos_enc": True, "max_length": CHANNELS},
    ],
    ids=str,
)
def test_masks_equal_the_stock_model(changes, device):
    stock = build(Dual_Path_Model, **changes).to(device)
    model = build(DualPathSeparator, **changes).to(device)
    model.load_state_dict(stock.state_dict(), strict=True)
    for frames in (1, 9, 10, 43):
        x = torch.randn(2, FILTERS, frames, device=device)
        masks, embeddings = model(x)
        assert embeddings is None
        assert torch.equal(masks, stock(x).transpose(0, 1))


def test_stock_checkpoint_lacks_only_the_embedding_head(device):
    stock = build(Dual_Path_Model).to(device)
    model = build(DualPathSeparator, embedding_head=embedding_head())
    model.to(device)
    result = model.load_state_dict(stock.state_dict(), strict=False)
    assert result.unexpected_keys == []
    assert set(result.missing_keys) == {
        f"embedding_head.{name}" for name in model.embedding_head.state_dict()
    }
    x = torch.randn(2, FILTERS, 43, device=device)
    assert torch.equal(model(x)[0], stock(x).transpose(0, 1))


@pytest.mark.parametrize("block", [rnn_block, transformer_block])
def test_every_layer_has_initial_weights_of_its_own(block):
    model = build(DualPathSeparator, block)
    layers = [dict(layer.named_parameters()) for layer in model.dual_mdl]
    for name in layers[0]:
        for one, other in itertools.combinations(layers, 2):
            if one[name].unique().numel() > 1:  # not a constant
                assert not torch.equal(one[name], other[name]), name


def test_recurrent_weights_are_orthogonal_in_every_layer():
    model = build(DualPathSeparator)
    weights = [p for n, p in model.named_parameters() if "weight_hh" in n]
    assert len(weights) == 3 * 2 * 2  # layers, intra and inter, directions
    for weight in weights:
        gram = weight.T @ weight
        torch.testing.assert_close(gram, torch.eye(6), atol=1e-5, rtol=0)


def test_reinitialize_draws_as_the_constructor_does():
    """Fresh weights have the spread of those of a new layer."""
    layer = build(DualPathSeparator).dual_mdl[1]
    before = {n: p.detach().clone() for n, p in layer.named_parameters()}
    reinitialize(layer)
    for name, parameter in layer.named_parameters():
        if before[name].unique().numel() == 1:
            assert torch.equal(parameter, before[name]), name
        else:
            assert not torch.equal(parameter, before[name]), name
            ratio = parameter.std() / before[name].std()
            assert 0.5 < ratio < 2, name


@pytest.mark.parametrize("chunk", [2, 3, 4, 5, 9, 10])
def test_overlap_add_of_the_segments_is_twice_the_input(chunk, device):
    model = build(DualPathSeparator, K=chunk)
    for frames in range(1, 3 * chunk + 2):
        x = torch.randn(2, CHANNELS, frames, device=device)
        segments, gap = model._Segmentation(x, chunk)
        assert segments.shape[2] == chunk
        assert torch.equal(model._over_add(segments, gap), 2 * x), frames


@pytest.mark.parametrize("chunk", [1, 2, 3, 9, 10])
def test_joining_chunks_without_overlap_is_the_identity(chunk, device):
    model = build(DualPathSeparator, K=chunk, overlap=False)
    for frames in range(1, 3 * chunk + 2):
        x = torch.randn(2, CHANNELS, frames, device=device)
        segments, gap = model._Segmentation(x, chunk)
        assert segments.shape == (2, CHANNELS, chunk, -(-frames // chunk))
        assert torch.equal(segments[:, :, 0, 0], x[:, :, 0])
        assert torch.equal(model._over_add(segments, gap), x), frames


def test_masks_without_overlap_have_the_shape_of_masks_with_it(device):
    x = torch.randn(2, FILTERS, 43, device=device)
    shapes = [
        build(DualPathSeparator, overlap=overlap).to(device)(x)[0].shape
        for overlap in (True, False)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("frames", [1, 4, 9, 10, 11, 43])
@pytest.mark.parametrize("num_spks", [2, 3])
def test_shapes_and_unit_norm(frames, num_spks, device):
    head = embedding_head(bins=5, size=4)
    model = build(DualPathSeparator, num_spks=num_spks, embedding_head=head)
    x = torch.randn(2, FILTERS, frames, device=device)
    masks, embeddings = model.to(device)(x)
    assert masks.shape == (2, num_spks, FILTERS, frames)
    assert (masks >= 0).all()
    assert embeddings.shape == (2, frames, 5, 4)
    norms = embeddings.norm(dim=-1)
    torch.testing.assert_close(norms, torch.ones_like(norms))


@pytest.mark.parametrize("pool", [1, 2, 3, 4, 8])
def test_grid_frame_holds_the_trunk_frames_nearest_to_its_centre(pool, device):
    """Grid frame g is centred on trunk frame g * pool; ties may go up."""
    head = embedding_head(pool, bins=1, size=1).to(device)
    # Unit embeddings of size 1 tell only signs: look at what linear sees.
    seen = []
    head.linear.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    trunk_frames = 6 * pool + 1
    for frame in range(trunk_frames):
        x = torch.zeros(1, CHANNELS, trunk_frames, device=device)
        x[..., frame] = 1
        head(x, frames=7)
        grid = seen.pop()[0, :, 0].nonzero().flatten().tolist()
        assert len(grid) == 1, frame
        assert abs(grid[0] * pool - frame) <= pool / 2, frame


@pytest.mark.parametrize("pool", [1, 2, 4])
def test_pooled_frame_is_a_mean(pool, device):
    head = embedding_head(pool).to(device)
    x = torch.randn(2, CHANNELS, 12 * pool, device=device)
    got = head(x, frames=10)[:, 1:]
    for frame in range(1, 10):
        first = frame * pool - pool // 2
        mean = x[..., first : first + pool].mean(dim=-1)
        expected = head.linear(mean).reshape(2, 5, 4)
        expected = expected / expected.norm(dim=-1, keepdim=True)
        torch.testing.assert_close(got[:, frame - 1], expected)


@pytest.mark.parametrize("length", [1, 15, 16, 63, 64, 65, 100, 1000])
def test_pooled_grid_of_every_length(length, device):
    """A learned encoder of stride 16 with an STFT grid of hop 64."""
    trunk_frames, grid_frames = -(-length // 16) + 1, length // 64 + 1
    x = torch.randn(2, CHANNELS, trunk_frames, device=device)
    embeddings = embedding_head(pool=4).to(device)(x, grid_frames)
    assert embeddings.shape == (2, grid_frames, 5, 4)
    assert embeddings.isfinite().all()


@pytest.mark.parametrize("frames", [1, 20])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_blstm_shapes(frames, num_layers, device):
    head = EmbeddingHead(12, bins=FILTERS, size=4)
    model = BLSTMSeparator(
        FILTERS, head, hidden_size=6, num_layers=num_layers, dropout=0.0
    )
    x = torch.randn(2, FILTERS, frames, device=device)
    masks, embeddings = model.to(device)(x)
    assert masks is None
    assert embeddings.shape == (2, frames, FILTERS, 4)


def test_blstm_reads_both_directions(device):
    head = EmbeddingHead(12, bins=FILTERS, size=4)
    model = BLSTMSeparator(FILTERS, head, hidden_size=6).to(device).eval()
    x = torch.randn(1, FILTERS, 20, device=device, requires_grad=True)
    model(x)[1][0, 10].sum().backward()
    assert (x.grad.abs().sum(dim=1) > 0).all()


def models_of_each_kind(device):
    head = {"bins": 5, "size": 3}
    dual = {
        "in_channels": 12,
        "out_channels": 8,
        "num_layers": 2,
        "K": 10,
        "num_spks": 2,
    }
    for overlap in (True, False):
        blocks = {
            name: SBRNNBlock(8, 6, num_layers=1, bidirectional=True)
            for name in ("intra_model", "inter_model")
        }
        yield DualPathSeparator(
            EmbeddingHead(8, **head), overlap, **blocks, **dual
        )
    yield BLSTMSeparator(12, EmbeddingHead(12, **head), 6, 2, dropout=0.0)


@pytest.mark.parametrize("lengths", [(1,), (37, 40, 37, 1, 9, 10, 11, 50)])
@torch.no_grad()
def test_forward_each_is_forward_of_each(lengths, device):
    for model in models_of_each_kind(device):
        model = model.to(device).eval()
        features = [torch.randn(1, 12, n, device=device) for n in lengths]
        results = model.forward_each(features, list(lengths))
        assert len(results) == len(lengths)
        for each, length, result in zip(
            features, lengths, results, strict=True
        ):
            alone = model(each, length)
            for got, expected in zip(result, alone, strict=True):
                assert (got is None) == (expected is None)
                if got is not None:
                    torch.testing.assert_close(
                        got, expected, atol=1e-5, rtol=1e-4
                    )
