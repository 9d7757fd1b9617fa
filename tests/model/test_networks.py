"""The trunk is SpeechBrain's; the embeddings stand on the declared grid."""

import itertools

import pytest
import torch
from speechbrain.lobes.models.dual_path import (
    Dual_Path_Model,
    SBRNNBlock,
    SBTransformerBlock,
)

from dpcl_dprnn.model.dual_path import cut_chunks
from dpcl_dprnn.model.networks import (
    BLSTMSeparator,
    DualPathSeparator,
    EmbeddingHead,
    reinitialize,
    unit_norm,
)

FILTERS, CHANNELS = 12, 8


def rnn_block(layers=1, kind="LSTM"):
    return SBRNNBlock(CHANNELS, 6, num_layers=layers, rnn_type=kind)


def deep_lstm_block():
    return rnn_block(layers=2)


def deep_gru_block():
    return rnn_block(layers=2, kind="GRU")


def transformer_block():
    return SBTransformerBlock(
        1, CHANNELS, nhead=2, d_ffn=16, use_positional_encoding=True
    )


class StockWithoutOverlap(Dual_Path_Model):
    """SpeechBrain's model with chunks that follow one another."""

    def _Segmentation(self, input, K):
        gap = -input.shape[-1] % K
        chunks = torch.nn.functional.pad(input, (0, gap)).unflatten(2, (-1, K))
        return chunks.transpose(2, 3), gap

    def _over_add(self, input, gap):
        joined = input.transpose(2, 3).flatten(2)
        return joined[..., : joined.shape[-1] - gap]


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
    return evaluated(model_class(**{**arguments, **changes}))


def evaluated(model):
    """As in evaluation, but for LSTMs: cuDNN's have no backward pass there."""
    model.eval()
    for part in model.modules():
        if isinstance(part, torch.nn.RNNBase):
            part.dropout = 0.0
            part.train()
    return model


def embedding_head(pool=1, bins=5, size=4):
    return EmbeddingHead(CHANNELS, bins=bins, size=size, pool=pool)


def stock_and_ours(device, dtype=torch.float64, overlap=True, **changes):
    """SpeechBrain's model and ours with its weights.

    All of them are moved a little: a bias of zero could be left out.
    """
    stock_class = Dual_Path_Model if overlap else StockWithoutOverlap
    stock = build(stock_class, **changes).to(device, dtype)
    with torch.no_grad():
        for x in (*stock.parameters(), *stock.buffers()):
            if x.is_floating_point():
                x.add_(0.1 * torch.randn_like(x))
    model = build(DualPathSeparator, overlap=overlap, **changes)
    model.to(device, dtype).load_state_dict(stock.state_dict(), strict=True)
    return stock, model


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"K": 7},
        {"K": 2},
        {"K": 3},
        {"num_spks": 3},
        {"norm": "gln"},
        {"norm": "cln"},
        {"norm": None},
        {"skip_around_intra": False},
        {"block": transformer_block},
        {"linear_layer_after_inter_intra": False, "block": transformer_block},
        {"block": deep_lstm_block},
        {"block": deep_gru_block, "num_spks": 3},
        # Stock takes max_length for the size of the positional encoding
        {"use_global_pos_enc": True, "max_length": CHANNELS},
        {"overlap": False},
        {"overlap": False, "K": 7, "num_spks": 3},
        {"overlap": False, "K": 1},
    ],
    ids=lambda changes: ", ".join(
        f"{key}={getattr(value, '__name__', value)}"
        for key, value in changes.items()
    ),
)
def test_masks_and_gradients_equal_the_stock_model(changes, batch, device):
    stock, model = stock_and_ours(device, **changes)
    names = [name for name, _ in stock.named_parameters()]
    assert names == [name for name, _ in model.named_parameters()]
    for frames in (1, 4, 5, 9, 10, 15, 20, 43):
        x = torch.randn(batch, FILTERS, frames, device=device).double()
        expected = stock(x.requires_grad_()).transpose(0, 1)
        masks, embeddings = model(x)
        assert embeddings is None
        assert masks.transpose(2, 3).is_contiguous()  # as decoders read it
        close = {"rtol": 1e-9, "atol": 1e-10}
        torch.testing.assert_close(masks, expected, **close)
        direction = torch.randn_like(masks)
        gradients = [
            torch.autograd.grad(y, [x, *each.parameters()], direction)
            for y, each in ((masks, model), (expected, stock))
        ]
        for name, *pair in zip(["x", *names], *gradients, strict=True):
            torch.testing.assert_close(
                *pair, **close, msg=lambda text, name=name: f"{name}: {text}"
            )


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
    torch.testing.assert_close(model(x)[0], stock(x).transpose(0, 1))


@pytest.mark.parametrize("overlap", [True, False])
def test_embedding_head_reads_the_overlap_added_trunk(overlap, device):
    """Of the stock model's blocks, by its own ways to cut and to join."""
    stock, model = stock_and_ours(device, overlap=overlap)
    head = model.embedding_head = embedding_head(pool=2).to(device).double()
    x = torch.randn(2, FILTERS, 43, device=device).double()
    chunks, gap = stock._Segmentation(stock.conv1d(stock.norm(x)), stock.K)
    for layer in stock.dual_mdl:
        chunks = layer(chunks)
    expected = head(stock._over_add(stock.prelu(chunks), gap), frames=20)
    embeddings = model(x, grid_frames=20)[1]
    torch.testing.assert_close(embeddings, expected)


@pytest.mark.parametrize("overlap", [True, False])
@torch.no_grad()
def test_bf16_masks_are_off_by_no_more_than_the_stock_ones(overlap, device):
    stock, model = stock_and_ours(device, torch.float32, overlap)
    x = torch.randn(2, FILTERS, 43, device=device)
    exact = model(x)[0]
    with torch.autocast(device.type, torch.bfloat16):
        ours, theirs = model(x)[0], stock(x).transpose(0, 1)
    errors = [(y.float() - exact).norm() / exact.norm() for y in (ours, theirs)]
    assert errors[0] < 3 * torch.finfo(torch.bfloat16).eps
    assert errors[0] < 1.5 * errors[1]


def test_an_output_that_fell_silent_still_learns(device):
    """With sigmoids as masks; with ReLUs, as the parent's, it has no slope."""
    features = torch.rand(1, FILTERS, 70, device=device)
    for activation, learns in (("sigmoid", True), ("relu", False)):
        ours = build(DualPathSeparator, mask_activation=activation)
        ours = ours.to(device)
        ours.add_mask_bias(0.5)
        with torch.no_grad():
            ours.end_conv1x1.weight.zero_()
            ours.end_conv1x1.bias.fill_(-5.0)
        masks, _ = ours(features)
        assert masks.max() < 0.01
        masks.sum().backward()
        assert bool(ours.end_conv1x1.bias.grad.any()) == learns


def test_other_activations_are_refused():
    with pytest.raises(
        ValueError, match="mask_activation is 'tanh'; .* sigmoid"
    ):
        build(DualPathSeparator, mask_activation="tanh")


@pytest.mark.parametrize("cuts", [0, 2.5])
def test_numbers_of_cuts_that_cannot_be_are_refused(cuts):
    with pytest.raises(ValueError, match=f"cuts is {cuts}"):
        build(DualPathSeparator, cuts=cuts)


@pytest.mark.parametrize("overlap", [True, False])
def test_recomputed_blocks_have_the_same_gradients_in_less_memory(
    overlap, device
):
    """Also by two backward passes, as for the shares of the gradient."""
    features = torch.randn(2, FILTERS, 60, device=device)
    results = []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = build(
            DualPathSeparator, overlap=overlap, recompute=recompute
        ).to(device)
        kept = {}

        def keep(tensor, kept=kept):
            kept[tensor.untyped_storage().data_ptr()] = tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            masks = model(features)[0]
        loss, parameters = masks.square().sum(), list(model.parameters())
        torch.autograd.grad(
            loss, parameters, retain_graph=True, allow_unused=True
        )
        loss.backward()
        grads = [p.grad for p in parameters if p.grad is not None]
        results.append((sum(kept.values()), [masks, *grads]))
    (all_of_it, expected), (less, found) = results
    exact = device.type == "cpu"  # cuDNN may add up in another order
    close = {"atol": 0 if exact else 1e-6, "rtol": 0 if exact else 1e-5}
    torch.testing.assert_close(found, expected, **close)
    assert less < 0.5 * all_of_it


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


@pytest.mark.parametrize("size", [4, 5, 9, 10])
@pytest.mark.parametrize("overlap", [True, False])
def test_chunks_that_are_filled_hold_no_frame_more(overlap, size):
    """By counting chunks: one frame more would need another."""
    model = build(DualPathSeparator, K=size, overlap=overlap)

    def chunks(frames):
        x = torch.zeros(1, FILTERS, frames)
        return cut_chunks(model.read(x), model.K, overlap).shape[2]

    full = [n for n in range(1, 5 * size) if chunks(n + 1) > chunks(n)]
    assert len(full) >= 4
    for frames in range(1, 5 * size):
        known = [n for n in full if n <= frames]
        assert model.filled(frames) == (known[-1] if known else frames)


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("frames", [1, 9, 43])
@torch.no_grad()
def test_cuts_are_averaged_in_evaluation_alone(frames, overlap, device):
    """Chunks that begin later are those of a signal with zeros before it: by
    half of the frames after which another chunk of 10 begins.
    """
    model = build(DualPathSeparator, overlap=overlap).to(device)
    offset = 2 if overlap else 5
    x = torch.randn(2, frames, CHANNELS, device=device)
    (once,) = model.trunk([x])
    (late,) = model.trunk([torch.nn.functional.pad(x, (0, 0, offset, 0))])
    model.cuts = 2
    (twice,) = model.trunk([x])
    torch.testing.assert_close(twice, (once + late[:, offset:]) / 2)
    assert frames == 1 or not torch.allclose(twice, once)
    (training,) = model.train().trunk([x])
    torch.testing.assert_close(training, once)


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1, 3, 20])
def test_unit_norm_is_normalize(size, dtype, device):
    x = torch.randn(2, 5, 7, size, device=device).to(dtype).requires_grad_()
    before = x.detach().clone()
    expected = torch.nn.functional.normalize(x.float(), dim=-1)
    got = unit_norm(x)
    assert torch.equal(x, before)
    torch.testing.assert_close(got, expected)
    direction = torch.randn_like(got)
    torch.testing.assert_close(
        torch.autograd.grad(got, x, direction),
        torch.autograd.grad(expected, x, direction),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_unit_norm_of_nothing_is_finite(dtype, device):
    x = torch.zeros(3, 20, device=device, dtype=dtype, requires_grad=True)
    y = unit_norm(x)
    y.square().sum().backward()
    assert y.isfinite().all()
    assert x.grad.isfinite().all()


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


def test_blstm_reads_both_directions(device):
    head = EmbeddingHead(12, bins=FILTERS, size=4)
    model = evaluated(BLSTMSeparator(FILTERS, head, hidden_size=6).to(device))
    x = torch.randn(1, FILTERS, 20, device=device, requires_grad=True)
    model(x)[1][0, 10].sum().backward()
    assert (x.grad.abs().sum(dim=1) > 0).all()


def models_of_each_kind():
    for overlap, cuts in ((True, 1), (True, 2), (False, 1), (False, 3)):
        options = {"num_layers": 2, "overlap": overlap, "cuts": cuts}
        yield build(
            DualPathSeparator, embedding_head=embedding_head(), **options
        )
    head = EmbeddingHead(12, bins=5, size=3)
    yield BLSTMSeparator(FILTERS, head, 6, 2, dropout=0.0)


@pytest.mark.parametrize("lengths", [(1,), (37, 40, 37, 1, 9, 10, 11, 50)])
@torch.no_grad()
def test_forward_each_is_forward_of_each(lengths, device):
    for model in models_of_each_kind():
        model = model.to(device).double().eval()
        features = [
            torch.randn(1, 12, n, device=device).double() for n in lengths
        ]
        results = model.forward_each(features, list(lengths))
        assert len(results) == len(lengths)
        for each, length, result in zip(
            features, lengths, results, strict=True
        ):
            alone = model(each, length)
            for got, expected in zip(result, alone, strict=True):
                assert (got is None) == (expected is None)
                if got is not None:
                    torch.testing.assert_close(got, expected)
