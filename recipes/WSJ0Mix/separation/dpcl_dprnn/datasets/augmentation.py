"""What training does to a batch of files."""

import torch
import torch.nn.functional as F
from speechbrain.augment.time_domain import SpeedPerturb

from ..common.distributed import place


class RandomMixing(torch.nn.Module):
    """Make new mixtures out of a training batch.

    The sources may be sped up or slowed down, dealt anew to the mixtures, and
    scaled by random gains; the mixture is the sum of what comes out, and of
    what noise there was in the mixture. Random numbers are PyTorch's: of a
    batch that several processes share, each of them has to have the same, and
    takes those of its own utterances. Sources are dealt within a process.

    Arguments
    ---------
    sample_rate : int
        Sampling rate in Hz.
    batch_speeds : list of int
        Speeds to choose from, in percent: one for all first sources of a
        batch, one for all second ones, and so on. [100] changes nothing.
    shuffle : bool
        Whether to deal the sources of the batch anew. With S speakers in
        the data, one mixture in S then holds the same voice twice.
    source_gain_db : float
        Gains are uniform between minus and plus this, in dB; one for each
        source of each mixture.

    Attributes
    ----------
    longest : int or None
        Samples that mixtures are cut to, once speeds have changed.

    Example
    -------
    >>> mixing = RandomMixing(sample_rate=8000, batch_speeds=[95, 100, 105])
    >>> sources = torch.randn(4, 2, 8000)
    >>> mixture, sources, lengths = mixing(
    ...     sources.sum(dim=1), sources, torch.full((4,), 8000))
    >>> bool((mixture - sources.sum(dim=1)).abs().max() < 1e-5)
    True
    """

    def __init__(
        self,
        sample_rate,
        batch_speeds=(100,),
        shuffle=False,
        source_gain_db=0.0,
    ):
        super().__init__()
        self.shuffle = shuffle
        self.gain_db = source_gain_db
        self.longest = None
        self.spare = max(batch_speeds) / 100  # of `longest`, for the fastest
        self.perturb = None
        if list(batch_speeds) != [100]:
            self.perturb = SpeedPerturb(sample_rate, list(batch_speeds))

    def forward(self, mixture, sources, lengths):
        """From a mixture [B, T], its sources [B, C, T] and lengths [B], in
        valid samples, to new ones of T' samples.
        """
        noise = mixture - sources.sum(dim=1)  # all that is not a source
        batch, count, before = sources.shape
        device = sources.device
        lengths = lengths.unsqueeze(1).expand(batch, count)
        if self.perturb is not None:
            sources, lengths = self.change_speeds(sources, lengths)
        if self.shuffle:
            order = self.draw(batch, count, device).argsort(dim=0)
            columns = torch.arange(count, device=device)
            sources, lengths = sources[order, columns], lengths[order, columns]
        if self.gain_db:
            gains = 2 * self.draw(batch, count, device).unsqueeze(-1) - 1
            sources = sources * 10 ** (self.gain_db * gains / 20)
        sources = sources[..., : self.longest]
        # The shortest source ends the mixture, as in wsj0-mix "min".
        lengths = lengths.min(dim=1).values
        lengths = lengths.clamp(max=sources.shape[-1])
        steps = torch.arange(sources.shape[-1], device=device)
        valid = steps < lengths[:, None, None]  # [B, 1, T']
        sources = sources * valid
        noise = F.pad(noise, (0, len(steps) - before)) * valid.squeeze(1)
        return sources.sum(dim=1) + noise, sources, lengths

    def draw(self, batch, count, device):
        """Uniform random numbers [B, C] for this process's utterances."""
        rank, ranks = place()
        drawn = torch.rand(batch * ranks, count, device=device)
        return drawn[rank::ranks]

    def change_speeds(self, sources, lengths):
        """Perturb the speed of each source of the batch by itself."""
        before = sources.shape[-1]
        self.perturb.device = sources.device  # SpeechBrain's default: the CPU
        changed = [self.perturb(s) for s in sources.unbind(dim=1)]
        scales = [s.shape[-1] / before for s in changed]
        shortest = min(s.shape[-1] for s in changed)
        sources = torch.stack([s[:, :shortest] for s in changed], dim=1)
        columns = zip(lengths.unbind(dim=1), scales, strict=True)
        lengths = torch.stack([each * scale for each, scale in columns], dim=1)
        lengths = lengths.long().clamp(1, shortest)
        return sources, lengths
