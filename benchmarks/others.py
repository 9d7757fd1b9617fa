"""Others' systems, of the sizes of this project's: the recipe of SpeechBrain, out
of the installed library, and Asteroid.

Each function makes what `teams.Contender.make` describes; shapes are in the
letters of dpcl_dprnn/model/networks.py.
"""

import functools
import importlib
import itertools

import numpy as np
import torch
from contenders import load, separation_of
from signals import voices
from speechbrain.augment.time_domain import SpeedPerturb
from speechbrain.lobes.models.dual_path import (
    Decoder,
    Dual_Path_Model,
    Encoder,
    SBRNNBlock,
)
from speechbrain.nnet.losses import get_si_snr_with_pitwrapper
from turns import Absent


class Stock(torch.nn.Module):
    """The separator of SpeechBrain's recipe, with the sizes of this project's
    hparams.
    """

    def __init__(self, hparams):
        super().__init__()
        filters, channels = hparams["num_filters"], hparams["num_channels"]
        kernel = hparams["kernel_size"]
        self.speakers = hparams["num_spks"]
        self.encoder = Encoder(kernel_size=kernel, out_channels=filters)
        self.masknet = Dual_Path_Model(
            in_channels=filters,
            out_channels=channels,
            intra_model=SBRNNBlock(channels, hparams["hidden_size"], 1),
            inter_model=SBRNNBlock(channels, hparams["hidden_size"], 1),
            num_layers=hparams["num_layers"],
            K=hparams["chunk_length"],
            norm="ln",
            num_spks=self.speakers,
        )
        self.decoder = Decoder(
            filters, 1, kernel_size=kernel, stride=kernel // 2, bias=False
        )

    def forward(self, mixture):
        """Separate [B, T] to [B, T, C], speaker by speaker, as the recipe."""
        encoded = self.encoder(mixture)
        masks = self.masknet(encoded)  # [C, B, F, L]
        masked = torch.stack([encoded] * self.speakers) * masks
        estimates = torch.cat(
            [self.decoder(each).unsqueeze(-1) for each in masked], dim=-1
        )
        missing = mixture.shape[1] - estimates.shape[1]
        if missing > 0:
            return torch.nn.functional.pad(estimates, (0, 0, 0, missing))
        return estimates[:, : mixture.shape[1]]


def stock_training(system, device, hparams, folder):
    """A training step of SpeechBrain's recipe: its data path, its loss."""
    hparams = load(system, folder, hparams)
    speeds = hparams["train_mixing"].perturb.speeds
    perturb = SpeedPerturb(hparams["sample_rate"], speeds, device=device)
    numbers = itertools.count(1)

    @torch.no_grad()
    def mix(sources):
        # Ours draws from this seed: the same speeds, and so the same lengths.
        key = [hparams["seed"], 1, next(numbers), 0]
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
        targets = torch.stack(sources, dim=-1).to(device)
        changed = [perturb(each) for each in targets.unbind(dim=-1)]
        shortest = min(each.shape[-1] for each in changed)
        shape = len(targets), shortest, len(changed)
        targets = torch.zeros(shape, device=device)
        for number, each in enumerate(changed):
            targets[..., number] = each[:, :shortest]
        return targets.sum(dim=-1), targets

    def loss(estimates, targets):
        return get_si_snr_with_pitwrapper(targets, estimates)

    return training_of(hparams, device, Stock(hparams), mix, loss)


def training_of(hparams, device, net, mix, loss):
    """A plain training step: Adam, and gradients clipped to a norm of 5."""
    net = net.to(device).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.00015)

    def step(sources):
        mixture, targets = mix(sources)
        loss(net(mixture), targets).mean().backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5)
        optimizer.step()
        optimizer.zero_grad()

    def make_input(seconds, batch):
        samples = round(seconds * hparams["sample_rate"])
        sources = voices(batch, hparams["num_spks"], samples)
        return functools.partial(step, list(sources.unbind(dim=1)))

    return make_input


def stock_inference(system, device, hparams, folder):
    """SpeechBrain's separator without gradients."""
    hparams = load(system, folder, hparams)
    return separation_of(hparams, device, Stock(hparams).to(device).eval())


def asteroid_net(hparams):
    """Asteroid's DPRNNTasNet of the same sizes."""
    models = optional("asteroid.models")
    return models.DPRNNTasNet(
        n_src=hparams["num_spks"],
        bn_chan=hparams["num_channels"],
        hid_size=hparams["hidden_size"],
        chunk_size=hparams["chunk_length"],
        n_repeats=hparams["num_layers"],
        n_filters=hparams["num_filters"],
        kernel_size=hparams["kernel_size"],
        stride=hparams["kernel_size"] // 2,
        sample_rate=hparams["sample_rate"],
    )


def asteroid_training(system, device, hparams, folder):
    """A training step as Asteroid's recipes do it, without new speeds."""
    hparams = load(system, folder, hparams)
    net, losses = asteroid_net(hparams), optional("asteroid.losses")
    loss = losses.PITLossWrapper(losses.pairwise_neg_sisdr, pit_from="pw_mtx")

    def mix(sources):
        targets = torch.stack(sources, dim=1).to(device)
        return targets.sum(dim=1), targets

    return training_of(hparams, device, net, mix, loss)


def asteroid_inference(system, device, hparams, folder):
    """Asteroid's separator without gradients."""
    hparams = load(system, folder, hparams)
    net = asteroid_net(hparams).to(device).eval()
    return separation_of(hparams, device, net)


@torch.no_grad()
def same_weights(system, folder, hparams):
    """Whether the stock separator and ours compute the same: what they differ
    by when they have the same weights.

    The stock one is given the mixture with the padding that our encoder adds.
    """
    hparams = load(system, folder, hparams)
    stock, separator = Stock(hparams).eval(), hparams["separator"].eval()
    separator.encoder.load_state_dict(stock.encoder.state_dict())
    separator.model.load_state_dict(stock.masknet.state_dict())
    separator.decoder.load_state_dict(stock.decoder.state_dict())
    sources = voices(2, hparams["num_spks"], hparams["sample_rate"] // 2)
    mixture = sources.sum(dim=1)
    stride = separator.encoder.stride
    tail = -mixture.shape[1] % stride
    padded = torch.nn.functional.pad(mixture, (stride, stride + tail))
    theirs = stock(padded)[:, stride : stride + mixture.shape[1]]
    ours = separator(mixture).estimates
    their_loss = get_si_snr_with_pitwrapper(sources.transpose(1, 2), theirs)
    our_loss, _ = hparams["pit_loss"](ours, sources)
    return {
        "estimates, same weights, relative difference": float(
            (ours.transpose(1, 2) - theirs).norm() / theirs.norm()
        ),
        "their loss, dB difference": float((our_loss - their_loss).abs().max()),
    }


def optional(name):
    """Import a module; `Absent` where it is not, or does not go with what is."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise Absent("not installed") from None
    except Exception as error:  # of an old package with new ones
        raise Absent(f"cannot be imported: {error}") from None
