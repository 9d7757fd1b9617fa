"""Which pieces of a mixture are of one voice: those whose embeddings are alike.

Axis letters are in model.py.
"""

import torch
import torch.nn.functional as F

from ..model.targets import bin_weights, power_of


def voice_embeddings(separator, voices, embeddings, threshold_db=40.0):
    """The embeddings of the bins of each voice, summed.

    A bin belongs to voices in proportion to their power in it.

    Arguments
    ---------
    separator : separator.Separator
        For its grid.
    voices : torch.Tensor, [C, T]
    embeddings : torch.Tensor, [L, F, D]
    threshold_db : float
        See `targets.bin_weights`, by which bins are weighted. The weights of
        all bins sum to 1.

    Returns
    -------
    torch.Tensor, [C, D]; zeros for a silent voice
    """
    encoded = separator.grid_encoder(voices)  # [C, F, L]
    power = power_of(encoded)
    shares = power / power.sum(dim=0).clamp_min(1e-20)
    weights = bin_weights(encoded.sum(dim=0, keepdim=True), threshold_db)[0]
    weights = weights / weights.sum().clamp_min(1e-20)
    owned = (shares.transpose(1, 2) * weights).flatten(1)  # [C, L * F]
    return owned @ embeddings.float().flatten(0, 1)


def group_alike(sums, count):
    """Which pieces are of one voice: those whose embeddings are most alike.

    A system for three speakers hears three in a mixture of two, one of them
    in pieces.

    Arguments
    ---------
    sums : torch.Tensor, [P, D]
        Of `voice_embeddings`, of each piece.
    count : int
        Voices, C.

    Returns
    -------
    torch.Tensor, [P], int64
        The voice of each piece, from 0 to C - 1; on the CPU.

    Example
    -------
    >>> group_alike(torch.tensor([[1.0, 0.1], [0.0, 1.0], [2.0, 0.0]]), 2)
    tensor([0, 1, 0])
    """
    groups, sums = [[index] for index in range(len(sums))], list(sums.cpu())
    while len(groups) > count:
        directions = F.normalize(torch.stack(sums), dim=1)
        likeness = directions @ directions.T
        silent = torch.stack(sums).norm(dim=1) == 0  # joins first
        likeness[silent] = likeness[:, silent] = 2.0
        rows, columns = torch.tril_indices(len(sums), len(sums), -1)
        best = int(likeness[rows, columns].argmax())
        gone, kept = int(rows[best]), int(columns[best])
        groups[kept] += groups.pop(gone)
        sums[kept] = sums[kept] + sums.pop(gone)
    voices = torch.zeros(sum(map(len, groups)), dtype=torch.int64)
    for voice, pieces in enumerate(groups):
        voices[pieces] = voice
    return voices
