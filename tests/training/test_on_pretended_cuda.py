"""The rules of devices, without a device: a step neither mixes devices, nor
waits for one more than once, nor sends it anything but the batch.
"""

import collections
import dataclasses
import types
import warnings

import numpy as np
import pytest
import speechbrain as sb
import torch
from ideal import ideal_counting
from model_folder import HPARAMS, _load
from pretended_cuda import in_a_child, pretended_cuda
from speechbrain.dataio.batch import PaddedBatch

import train
from dpcl_dprnn.evaluation import scoring
from dpcl_dprnn.model import networks
from dpcl_dprnn.unmixing.windows import separate_windows

LENGTH = 2000  # samples
SYSTEMS = sorted(path.stem for path in HPARAMS.glob("*.yaml"))


def make_brain(system, count, device="cpu"):
    hparams, _, _ = _load(count, system, {})
    return train.Separation(
        modules=hparams["modules"],
        opt_class=hparams["optimizer"],
        hparams=hparams,
        run_opts={"device": device},
        checkpointer=hparams["checkpointer"],
        clip_quantile=0.5,
        averaged=hparams["averaged_weights"],
    )


def make_batch(count):
    """Mixtures of so many speakers; none of their numbers can be told."""
    return PaddedBatch(
        [
            {
                "id": f"u{n}",
                "mixture": torch.zeros(LENGTH),
                "sources": torch.zeros(LENGTH, count),
            }
            for n in range(3)
        ]
    )


def assert_the_batch(sent):
    """Whether it alone was sent: two tensors with their lengths, in shares of
    the longest and in samples.
    """
    places = collections.Counter(place.split(":")[0] for place in sent)
    assert places == {"train.py": 5}


def assert_lines(places, starts, times):
    """Whether the lines of code at places, each so often, start so."""
    lines = [place.split(" ", 1)[1] for place in places]
    assert len(lines) == times * len(starts), lines
    for line in lines:
        assert line.startswith(tuple(starts)), line


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
        brain.step = 1  # in which shares of the gradient are told, too
        brain.fit_batch(make_batch(count))
        for brain.step in (2, 3):
            watch.waits.clear()
            watch.sent.clear()
            value = brain.fit_batch(make_batch(count))
            assert value.device.type == "cpu"
            (wait,) = watch.waits
            assert "engine.py" in wait and ".cpu()" in wait
            assert_the_batch(watch.sent)
        gradients = [p.grad for p in brain.separator.parameters()]
        assert all(each is None for each in gradients)  # stepped


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_step_on_a_gpu(system, device):
    """The same, where there is one, as its driver sees it."""
    if device.type == "cpu":
        pytest.skip("needs a GPU: --device cuda")
    brain = make_brain(system, 2, str(device))
    brain.train_sampler = None
    brain.averaged.follow(brain.separator)
    brain.init_optimizers()
    brain.on_stage_start(sb.Stage.TRAIN, 1)
    for brain.step in (1, 2):
        brain.fit_batch(make_batch(2))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            brain.step = 3
            brain.fit_batch(make_batch(2))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits = [each for each in said if "synchronizing" in str(each.message)]
    assert len(waits) == 1, [str(each.message) for each in waits]


def pack_nothing():
    """Leave sequences padded: packing takes numbers, which do not exist."""
    networks.pack_padded_sequence = lambda padded, *_, **__: padded
    networks.pad_packed_sequence = lambda padded, _: (padded, None)


@pytest.mark.parametrize("system", SYSTEMS)
@in_a_child
def test_evaluation(system):
    """Of validation the loss is waited for. The test set is separated by both
    heads, and counted; what is scored beside, by the CPU, comes back.
    """
    brain = make_brain(system, 2)
    counting = ideal_counting(2) if system == "mini" else []
    unmixer = dataclasses.replace(
        brain.hparams.unmixer,
        output_gains=[1.0, 1.0],
        speaker_counting=counting,
    )
    pack_nothing()
    scoring.audible = lambda sources: sources  # which is by their numbers
    with pretended_cuda(brain.separator, integer=LENGTH) as watch:
        brain.device = "cuda"
        brain.modules.eval()
        brain.evaluation = brain.hparams.evaluation(unmixer)
        for _ in range(2):  # the second time nothing is new
            watch.waits.clear()
            watch.sent.clear()
            brain.on_stage_start(sb.Stage.VALID, 1)
            brain.evaluate_batch(make_batch(2), sb.Stage.VALID)
        assert len(watch.waits) == 1  # SpeechBrain's, for the loss
        assert_the_batch(watch.sent)
        watch.waits.clear()
        brain.on_stage_start(sb.Stage.TEST, 1)
        brain.evaluate_batch(make_batch(2), sb.Stage.TEST)
        heads = brain.separator.heads
        assert list(brain.evaluation.scores) == list(heads)
        back = ["sources =", "mixture =", *["estimates ="] * len(heads)]
        if "kmeans" in heads:
            back += ["embeddings[0].float().cpu().numpy(),", "weights[0]"]
        if counting:
            back += ["separated.embeddings[0]", "weights[0]", "powers ="]
        assert_lines(watch.waits[:-1], back, times=3)


@pytest.mark.parametrize("system", SYSTEMS)
@in_a_child
def test_use(system):
    """Signals of several lengths: nothing is waited for. In windows, one is
    sent and its pieces come back.
    """
    brain = make_brain(system, 2)
    unmixer = dataclasses.replace(
        brain.hparams.unmixer, output_gains=[1.0, 1.0]
    )
    blocks = [np.zeros(750, np.float32)] * 4
    pack_nothing()
    brain.modules.eval()
    with pretended_cuda(brain.separator) as watch:
        mixtures = [torch.zeros(n, device="cuda") for n in (2000, 1500)]
        for each in brain.separator.separate_each(mixtures):
            for part in each:
                assert part is None or part.device.type == "cuda"
        assert watch.waits == watch.sent == []
        for head in brain.separator.heads:
            watch.waits.clear()
            watch.sent.clear()
            voices = list(
                separate_windows(
                    *(unmixer, blocks, 2, 1500, 250, head),
                    unmixer.expectation(head),
                )
            )
            assert sum(each.shape[1] for each in voices) == 3000
            back = {"masks": [], "kmeans": ["embeddings[0]", "weights[0]"]}
            sums = ["None if sums"] * ("kmeans" in brain.separator.heads)
            assert_lines(watch.waits, ["pieces", *back[head], *sums], times=3)
            there = {"masks": "gains =", "kmeans": "masks ="}[head]
            assert_lines(watch.sent, ["mixture =", there], times=3)


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
