"""Which pieces are of one voice."""

import torch
from ideal import ideal_unmixer, tones

from dpcl_dprnn.unmixing.grouping import group_alike, voice_embeddings


def test_group_alike_joins_silent_pieces_first():
    sums = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 0.0]])
    assert group_alike(sums, 2).tolist() == [0, 1, 0]
    assert group_alike(sums, 1).tolist() == [0, 0, 0]
    assert group_alike(sums, 3).tolist() == [0, 1, 2]


def test_group_alike_goes_by_directions_not_by_sizes():
    sums = torch.tensor([[9.0, 1], [0.1, 3], [0.9, 0.2], [0.01, 0.1]])
    assert group_alike(sums, 2).tolist() == [0, 1, 0, 1]


def test_voice_embeddings_are_weighted_sums():
    unmixer = ideal_unmixer(2)
    sources = tones(300, 2500)
    embeddings = torch.nn.functional.normalize(torch.randn(51, 33, 5), dim=-1)
    got = voice_embeddings(unmixer.separator, sources, embeddings)
    encoded = unmixer.separator.grid_encoder(sources)  # [C, F, L]
    magnitude = encoded.sum(dim=0).abs()
    weights = magnitude * (magnitude > 0.01 * magnitude.max())
    weights = (weights / weights.sum()).T  # [L, F]
    for index in range(2):
        share = encoded[index].abs() ** 2 / (encoded.abs() ** 2).sum(dim=0)
        expected = ((weights * share.T)[..., None] * embeddings).sum((0, 1))
        torch.testing.assert_close(got[index], expected, atol=1e-6, rtol=0)
