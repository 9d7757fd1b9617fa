"""The rules of devices, without a device: a step neither mixes devices, nor
waits for one more than once, nor sends it anything but the batch.
"""

import types

import pytest
import speechbrain as sb
import torch
from model_folder import HPARAMS, _load
from pretended_cuda import in_a_child, pretended_cuda
from speechbrain.dataio.batch import PaddedBatch

import train

SYSTEMS = sorted(path.stem for path in HPARAMS.glob("*.yaml"))


def make_brain(system, count):
    hparams, _, _ = _load(count, system, {})
    return train.Separation(
        modules=hparams["modules"],
        opt_class=hparams["optimizer"],
        hparams=hparams,
        run_opts={"device": "cpu"},
        checkpointer=hparams["checkpointer"],
        clip_quantile=0.5,
        averaged=hparams["averaged_weights"],
    )


def make_batch(count, size=3):
    """Mixtures of several lengths, of so many speakers."""
    return PaddedBatch(
        [
            {
                "id": f"u{n}",
                "mixture": torch.zeros(4000 - 100 * n),
                "sources": torch.zeros(4000 - 100 * n, count),
            }
            for n in range(size)
        ]
    )


@pytest.mark.parametrize("system", SYSTEMS)
@in_a_child
def test_a_step(system):
    count = 3 if system == "voices" else 2
    brain = make_brain(system, count)
    mixing = brain.hparams.train_mixing
    beside = []  # what SpeechBrain moves when it is first used
    if mixing is not None and mixing.perturb is not None:
        beside = [each.resampler for each in mixing.perturb.resamplers]
    with pretended_cuda(brain.separator, beside=beside) as watch:
        brain.device, brain.train_sampler = "cuda", None
        brain.averaged.follow(brain.separator)
        brain.init_optimizers()
        brain.on_stage_start(sb.Stage.TRAIN, 1)
        batch = make_batch(count)
        brain.step = 1  # in which shares of the gradient are told, too
        brain.fit_batch(batch)
        first = set(watch.sent)
        assert {"train.py"} <= {place.split(":")[0] for place in first}
        for brain.step in (2, 3):
            watch.waits.clear()
            watch.sent.clear()
            value = brain.fit_batch(batch)
            assert value.device.type == "cpu"
            (wait,) = watch.waits
            assert "engine.py" in wait and ".cpu()" in wait
            assert watch.sent == []
        gradients = [p.grad for p in brain.separator.parameters()]
        assert all(each is None for each in gradients)  # stepped


# Packing sequences takes numbers, of lengths on the CPU, which do not exist.
@pytest.mark.parametrize("system", sorted({*SYSTEMS} - {"dpcl"}))
@in_a_child
def test_signals_of_several_lengths(system):
    """As in validation, and in use: no device is mixed or waited for."""
    brain = make_brain(system, 2)
    with pretended_cuda(brain.separator) as watch, torch.no_grad():
        mixtures = [torch.zeros(n, device="cuda") for n in (4000, 3000)]
        for each in brain.separator.separate_each(mixtures):
            for part in each:
                assert part is None or part.device.type == "cuda"
        assert watch.waits == watch.sent == []


# What the test above finds, planted


def item(x):
    return x.sum().item()


def truth(x):
    return bool(x.any())


def to_cpu(x):
    return x.cpu()


def made_on_the_cpu(x):
    return x + torch.arange(3).to(x.device)


def sent_each_time(x):
    return x + torch.tensor([1.0, 2.0, 3.0], device=x.device)


@pytest.mark.parametrize(
    "mistake, kind",
    [
        *((item, "waits"), (truth, "waits"), (to_cpu, "waits")),
        *((made_on_the_cpu, "sent"), (sent_each_time, "sent")),
    ],
)
@in_a_child
def test_a_mistake_is_found(mistake, kind):
    with pretended_cuda() as watch:
        mistake(torch.zeros(3, device="cuda"))
        assert len(getattr(watch, kind)) == 1
        other = {"waits": "sent", "sent": "waits"}[kind]
        assert getattr(watch, other) == []


@in_a_child
def test_mixed_devices_are_found():
    with (
        pretended_cuda(),
        pytest.raises(RuntimeError, match="two devices"),
    ):
        torch.zeros(3, device="cuda") + torch.zeros(3)


@in_a_child
def test_a_buffer_that_stays_behind_is_found():
    """As of a module that is in no one's care."""
    window = types.SimpleNamespace(values=None)
    with pretended_cuda() as watch:
        window.values = torch.ones(3)
        with pytest.raises(RuntimeError, match="two devices"):
            torch.zeros(3, device="cuda") * window.values
        assert watch.sent == []
