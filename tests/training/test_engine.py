"""Steps, what is left out of them, and where a run stops and goes on."""

import copy
import functools
import itertools
import logging
import math
import multiprocessing
import os
import shutil
import signal

import numpy as np
import pytest
import soundfile
import torch
import yaml
from in_process import ends
from ranks import on_ranks
from refusals import refused
from speechbrain.core import Stage
from tiny_run import make_mixtures, train_tiny, where
from toy_engine import (
    LOSS_WEIGHTS,
    Points,
    Toy,
    averages,
    by_hand,
    make_toy,
    weights,
)

import train
from dpcl_dprnn.common.distributed import place
from dpcl_dprnn.common.errors import Stopped, UserError
from dpcl_dprnn.common.precision import use_tf32
from dpcl_dprnn.training.checkpoints import write_sums
from dpcl_dprnn.training.gradients import FEWEST
from dpcl_dprnn.training.schedule import TrapezoidSchedule

CLOSE = {"rtol": 0, "atol": 1e-12}
ADAMW = {"optimizer": torch.optim.AdamW}
LIKE_LENGTH = {
    "points": 17,
    "lengths": [1.0 + 0.17 * n % 3 for n in range(17)],
    "max_seconds": 6.0,  # 10 batches in the first epoch, 11 in the second
}


def losses_by_hand(points, names, weights):
    """The loss of each utterance, in closed form."""
    chosen = [int(name.removeprefix("u")) for name in names]
    x, y = points.x[chosen], points.y[chosen, 0]
    error = x @ weights[:3] + weights[3] - y
    return error**2 + 0.5 * error.abs()


def check_steps(toy, points):
    """Each gradient is that of the mean over the step's utterances."""
    for _, names, before, slope in toy.taken:
        wanted = by_hand(points, names, before)
        torch.testing.assert_close(slope, wanted, **CLOSE)


def weights_before(toy):
    """Those before each step, and after the last."""
    return [before for *_, before, _ in toy.taken] + [weights(toy)]


def terminate_in(toy, *where):
    """Send SIGTERM in a stage, an epoch and a batch of it."""

    def spoil(stage, names, losses):
        if (stage, toy.epoch, toy.step) == where:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses

    toy.spoil = spoil


def stopped(where, *arguments, **options):
    """A toy that SIGTERM has stopped in a stage, an epoch and a batch."""
    toy = make_toy(*arguments, **options)
    terminate_in(toy, *where)
    with pytest.raises(Stopped):
        toy.train()
    return toy


# Steps


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("count", [8, 9, 11, 12])
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_step_is_that_of_the_mean_over_its_utterances(
    factor, count, drop_last, tmp_path
):
    """Also of what is left at the end of an epoch, whatever its size."""
    points = Points(count)
    options = {"drop_last": drop_last, "grad_accumulation_factor": factor}
    toy = make_toy(tmp_path, points, epochs=2, **options).train()
    batches = count // 2 if drop_last else -(-count // 2)
    assert len(toy.taken) == toy.optimizer_step == 2 * -(-batches // factor)
    check_steps(toy, points)
    for epoch in (1, 2):
        used = [n for e, names, *_ in toy.taken if e == epoch for n in names]
        assert len(used) == len(set(used)) == min(count, 2 * batches)


def test_steps_of_batches_of_like_length(tmp_path):
    """They hold different numbers of utterances, and all count alike."""
    options = {**LIKE_LENGTH, "points": Points(17)}
    toy = make_toy(tmp_path, **options, grad_accumulation_factor=2).train()
    sizes = {len(batch) for batch in toy.train_sampler.batches}
    assert len(sizes) > 2
    assert sum(len(names) for _, names, *_ in toy.taken) == 17
    check_steps(toy, options["points"])


def test_hooks_of_a_batch_are_called_as_by_speechbrain(tmp_path):
    """Around each batch, with whether it ends a step."""
    calls = []

    class Hooked(Toy):
        def on_fit_batch_start(self, batch, should_step):
            calls.append(("start", *batch.id, should_step))

        def on_fit_batch_end(self, batch, outputs, loss, should_step):
            calls.append(("end", *batch.id, should_step))

    options = {"points": 4, "batch_size": 1, "shuffle": False}
    make_toy(
        tmp_path, cls=Hooked, grad_accumulation_factor=2, **options
    ).train()
    assert calls == [
        (when, f"u{n}", n % 2 == 1)
        for n in range(4)
        for when in ("start", "end")
    ]


SCHEDULE = TrapezoidSchedule(0.05, warmup_steps=4, total_steps=16)


@pytest.mark.parametrize(
    "steps, arguments",
    [
        (6, {"points": 8, "optimizer_step_limit": 6}),
        (16, {"points": 20, "schedule": SCHEDULE}),
    ],
)
def test_limit_ends_the_run_and_no_run_goes_beyond(steps, arguments, tmp_path):
    """In the middle of an epoch; one that is started again has no more."""
    toy = make_toy(tmp_path, epochs=9, **arguments).train()
    assert len(toy.taken) == steps
    assert [entry[:2] for entry in toy.log] == [
        *(("TRAIN", 1), ("VALID", 1), ("TRAIN", 2), ("VALID", 2))
    ]
    again = make_toy(tmp_path, epochs=9, **arguments).train()
    assert not again.taken and not again.log
    assert torch.equal(weights(again), weights(toy))


@pytest.mark.parametrize("quantile", [None, 0.5])
def test_norm_in_the_log_is_that_before_clipping(quantile, tmp_path):
    """And a clipped step of plain descent is as long as it may be, whatever
    is usual.
    """
    points = Points(40)
    options = {"clip_quantile": quantile, "max_grad_norm": 0.1}
    toy = make_toy(tmp_path, points, **options).train()
    slopes = [by_hand(points, *entry[1:3]) for entry in toy.taken]
    norms = [float(slope.norm()) for slope in slopes]
    assert min(norms) > 0.1
    (_, _, stats), _ = toy.log
    assert stats["grad_norm"] == pytest.approx(sum(norms) / 20, rel=1e-9)
    for before, after in itertools.pairwise(weights_before(toy)):
        length = float((after - before).norm())
        assert length == pytest.approx(0.05 * 0.1, rel=1e-4)


def test_averages_are_over_utterances(tmp_path):
    """A last batch that is smaller counts for less."""
    points, valid = Points(5), Points(3, seed=1)
    toy = make_toy(tmp_path, points, valid).train()
    (_, _, training), (_, _, validation) = toy.log
    losses = torch.cat(
        [losses_by_hand(points, *entry[1:3]) for entry in toy.taken]
    )
    assert len(losses) == 5
    assert training["loss"] == pytest.approx(float(losses.mean()), rel=1e-6)
    wanted = losses_by_hand(valid, ["u0", "u1", "u2"], weights(toy)).mean()
    assert validation["loss"] == pytest.approx(float(wanted), rel=1e-6)
    for stats in (training, validation):
        parts = sum(LOSS_WEIGHTS[n] * stats[n] for n in LOSS_WEIGHTS)
        assert stats["loss"] == pytest.approx(parts, rel=1e-6)


# Shares of the gradient


def test_shares_of_the_gradient(tmp_path):
    points = Points(6)
    toy = make_toy(tmp_path, points).train()
    _, names, before, whole = toy.taken[0]
    (_, _, stats), (_, _, validation) = toy.log
    shares = {}
    for name, weight in LOSS_WEIGHTS.items():
        part = by_hand(points, names, before, {name: weight})
        shares[name] = float(part @ whole / (whole @ whole))
        share = stats[f"grad_share_{name}"]
        assert share == pytest.approx(shares[name], abs=1e-12)
    assert sum(shares.values()) == pytest.approx(1, abs=1e-12)
    assert min(abs(share) for share in shares.values()) > 0.01
    assert not [key for key in validation if "share" in key]


@pytest.mark.parametrize("factor", [1, 2])
def test_shares_of_the_gradient_change_nothing(factor, tmp_path):
    class Plain(Toy):
        def gradient_shares(self):
            return {}

    options = {"grad_accumulation_factor": factor, **ADAMW}
    runs = [
        make_toy(tmp_path / cls.__name__, 7, cls=cls, **options).train()
        for cls in (Toy, Plain)
    ]
    assert "grad_share_square" in runs[0].log[0][2]
    assert "grad_share_square" not in runs[1].log[0][2]
    assert torch.equal(*map(weights, runs))


def test_no_shares_of_a_gradient_that_is_none(tmp_path):
    """0 / 0 does not get into the log."""
    toy = make_toy(tmp_path)
    toy.spoil = lambda stage, names, losses: 0 * losses
    toy.compute_forward = lambda batch, stage: batch.target.data[:, 0] + 0 * (
        toy.modules.layer(batch.mixture.data).squeeze(1)
    )
    toy.train()
    assert not [key for key in toy.log[0][2] if "share" in key]


# What is not finite


def spoil_batch(kind, stage, names, losses):
    """Give u3 a loss, or the batch of u3 a gradient of NaN."""
    if stage != "TRAIN" or "u3" not in names:
        return losses
    if kind == "gradient":
        losses = losses.clone()
        losses.register_hook(lambda slope: slope * math.nan)
        return losses
    chosen = torch.tensor([name == "u3" for name in names])
    return torch.where(chosen, float(kind), losses)


def spoilt(kind):
    """Points and a `Toy.spoil` of which u3 cannot be trained on."""
    if kind == "nan sample":
        return Points(10, nan=[3]), None
    points = Points(10)
    if kind == "inf target":
        points.y[3] = math.inf
        return points, None
    return points, functools.partial(spoil_batch, kind)


KINDS = ["nan sample", "inf target", "nan", "inf", "-inf", "gradient"]


@pytest.fixture
def warnings(caplog):
    """The warnings so far."""
    caplog.set_level(logging.WARNING)
    return lambda: [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_step_that_is_not_finite_is_not_taken(kind, tmp_path, warnings):
    """Neither weights nor the optimiser change, and later steps go on."""
    points, spoil = spoilt(kind)
    toy = make_toy(tmp_path, points, epochs=2, **ADAMW)
    states = []

    def watch(stage, names, losses):
        if stage == "TRAIN":
            states.append(copy.deepcopy(toy.optimizer.state_dict()["state"]))
        return losses if spoil is None else spoil(stage, names, losses)

    toy.spoil = watch
    toy.train()
    ends = weights_before(toy)[1:]
    states.append(toy.optimizer.state_dict()["state"])
    for number, (epoch, names, before, _) in enumerate(toy.taken):
        same = torch.equal(ends[number], before)
        assert same == ("u3" in names)
        if same:
            assert flat(states[number]) == flat(states[number + 1])
            who = ", ".join(names) if kind == "gradient" else "u3"
            text = f"in batch {number % 5 + 1} of epoch {epoch}: {who}. The"
            assert len([w for w in warnings() if text in w]) == 1
    assert len(warnings()) == 2  # one in each epoch
    for stage, epoch, stats in toy.log:
        assert all(math.isfinite(value) for value in stats.values())
        assert stats.get("nonfinite") == (1 if stage == "TRAIN" else None)
        if stage == "TRAIN":
            kept = [
                losses_by_hand(points, [name], before)
                for e, names, before, _ in toy.taken
                for name in names
                if e == epoch and (kind == "gradient" or name != "u3")
            ]
            wanted = float(torch.cat(kept).mean())
            assert stats["loss"] == pytest.approx(wanted, rel=1e-6)


def flat(state):
    """An optimiser's state as plain numbers."""
    return {
        (index, name): torch.as_tensor(value).tolist()
        for index, values in state.items()
        for name, value in values.items()
    }


def test_norms_and_shares_leave_out_what_is_not_finite(tmp_path):
    """Also where it is the first batch, of which the shares are."""
    toy = make_toy(tmp_path, Points(6, nan=[0]), shuffle=False).train()
    norms = [float(entry[3].norm()) for entry in toy.taken[1:]]
    stats = toy.log[0][2]
    assert stats["grad_norm"] == pytest.approx(sum(norms) / 2, rel=1e-9)
    assert not [key for key in stats if "share" in key]
    assert stats["nonfinite"] == 1


def test_samples_that_are_not_finite_are_named_before_losses(
    tmp_path, warnings
):
    toy = make_toy(tmp_path, Points(4, nan=[2]), batch_size=4)
    toy.spoil = functools.partial(spoil_batch, "nan")
    toy.train()
    assert "of epoch 1: u2. The step is not taken." in warnings()[0]


def test_whole_step_is_left_out_when_batches_are_added_up(tmp_path):
    points, _ = spoilt("nan sample")
    toy = make_toy(
        tmp_path, points, shuffle=False, grad_accumulation_factor=2
    ).train()
    names = [name for _, names, *_ in toy.taken for name in names]
    assert names == [f"u{n}" for n in range(10)]
    assert [len(names) for _, names, *_ in toy.taken] == [4, 4, 2]
    assert torch.equal(toy.taken[0][2], toy.taken[1][2])
    assert not torch.equal(toy.taken[1][2], toy.taken[2][2])
    wanted = by_hand(points, *toy.taken[1][1:3])
    torch.testing.assert_close(toy.taken[1][3], wanted, **CLOSE)


def test_patience_ends(tmp_path):
    points = Points(12, nan=[1, 4, 7])
    toy = make_toy(tmp_path, points, shuffle=False, nonfinite_patience=2)
    with refused() as caught:
        toy.train()
    message = str(caught.value)
    assert "in batch 4 of epoch 1: u7." in message
    assert "step 3 of the epoch" in message
    assert "nonfinite_patience is 2" in message
    assert "prepare_data.py check" in message and "--lr" in message
    assert torch.isfinite(weights(toy)).all()


def test_patience_is_that_of_an_epoch(tmp_path):
    points, options = Points(12, nan=[1, 7]), {"nonfinite_patience": 2}
    toy = make_toy(tmp_path, points, epochs=3, shuffle=False, **options).train()
    assert [s.get("nonfinite") for *_, s in toy.log] == [2, None] * 3


def test_validation_leaves_out_what_is_not_finite(tmp_path, warnings):
    valid = Points(4, seed=1, nan=[1])
    toy = make_toy(tmp_path, valid=valid).train()
    _, (_, _, stats) = toy.log
    wanted = losses_by_hand(valid, ["u0", "u2", "u3"], weights(toy)).mean()
    assert stats["loss"] == pytest.approx(float(wanted), rel=1e-6)
    assert stats["nonfinite"] == 1
    (warning,) = warnings()
    assert "not finite: u1." in warning and "VALID" in warning


def test_validation_without_a_finite_loss(tmp_path):
    valid = Points(2, seed=1)
    valid.y[:] = math.inf
    with refused() as caught:
        make_toy(tmp_path, valid=valid).train()
    assert "validation" in str(caught.value) and "check" in str(caught.value)


# Several processes


def toy_run(folder, points=11, **arguments):
    """What a run did in one process."""
    spoil = arguments.pop("spoil", None)
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger("dpcl_dprnn").addHandler(handler)
    toy = make_toy(folder, points, **arguments)
    toy.spoil = spoil
    try:
        toy.train()
    except UserError as error:
        lines.append(error)
    logging.getLogger("dpcl_dprnn").removeHandler(handler)
    return {
        "weights": weights(toy),
        "taken": toy.taken,
        "log": averages(toy.log),
        "lines": lines,
    }


LENGTHS = [1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0]
SHARED = {
    "tail": {"epochs": 2},
    "no tail": {"points": 12, "epochs": 2},
    "clipped": {"points": 40, "epochs": 3, "clip_quantile": 0.5},
    "without the tail": {"drop_last": True, "epochs": 2},
    "added up": {"grad_accumulation_factor": 2, "epochs": 2},
    "three added up": {"grad_accumulation_factor": 3, "epochs": 2},
    "like length": {"lengths": LENGTHS, "max_seconds": 5.0, "epochs": 2},
}


def all_shared_runs(folder, ranks):
    """All of `SHARED`, with batches of 4 in all."""
    runs = {}
    for name, arguments in SHARED.items():
        arguments = {**arguments, **ADAMW, "batch_size": 4 // ranks}
        if "max_seconds" in arguments:
            arguments["max_seconds"] *= 2 / ranks
        runs[name] = toy_run(folder / name, **arguments)
    return runs


@pytest.fixture(scope="module")
def shared_runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    return alone_and_by_two(all_shared_runs, folder, (1, 2))


@pytest.mark.parametrize("name", SHARED)
def test_two_processes_take_the_steps_of_one(name, shared_runs):
    alone, two = shared_runs[0][name], [run[name] for run in shared_runs[1]]
    assert len(alone["taken"]) == len(two[0]["taken"]) > 1
    for one, *others in zip(
        alone["taken"], *(run["taken"] for run in two), strict=True
    ):
        names = [name for other in others for name in other[1]]
        assert sorted(names) == sorted(one[1])
        for other in others:
            torch.testing.assert_close(other[3], one[3], **CLOSE)
    for run in two:
        torch.testing.assert_close(run["weights"], alone["weights"], **CLOSE)
        for (*key, stats), (*wanted_key, wanted) in zip(
            run["log"], alone["log"], strict=True
        ):
            assert key == wanted_key
            assert stats.keys() == wanted.keys()
            for part in ("loss", "square", "distance", "grad_norm"):
                if part in wanted:
                    assert stats[part] == pytest.approx(wanted[part], abs=1e-6)


def test_two_processes_hold_unequal_parts(shared_runs):
    """Or the tests above would not tell a mean of means from a mean."""
    _, two = shared_runs
    for name in ("tail", "added up", "three added up", "like length"):
        sizes = zip(
            *([len(e[1]) for e in run[name]["taken"]] for run in two),
            strict=True,
        )
        assert any(first != second for first, second in sizes), name


def spoilt_runs(folder, batch_size):
    """A run with each kind of step that is not finite, and some more."""
    runs = {}
    size = {"batch_size": batch_size}
    for kind in KINDS:
        points, spoil = spoilt(kind)
        options = {"spoil": spoil, **size, **ADAMW}
        runs[kind] = toy_run(folder / kind, points, **options)
    points = Points(12, nan=[1, 5, 9])
    options = {"shuffle": False, "nonfinite_patience": 2, **size}
    runs["impatient"] = toy_run(folder / "impatient", points, **options)
    valid = Points(4, seed=1, nan=[1, 2, 3])
    runs["valid"] = toy_run(folder / "valid", valid=valid)
    return runs


def alone_and_by_two(run, folder, sizes):
    """What a run gives in one process, and in each of two."""
    alone = run(folder / "alone", sizes[0])
    both = functools.partial(run, folder / "two", sizes[1])
    return alone, on_ranks(both, folder / "ranks")


@pytest.fixture(scope="module")
def runs_that_are_spoilt(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spoilt")
    return alone_and_by_two(spoilt_runs, folder, (2, 1))


def stopped_weights(*arguments, **options):
    """What a process has when its run was stopped."""
    return weights(stopped(*arguments, **options))


@pytest.mark.parametrize("kind", KINDS)
def test_all_processes_leave_out_a_step_alike(kind, runs_that_are_spoilt):
    """Though only one of them sees what is wrong."""
    alone, two = runs_that_are_spoilt
    for run in two:
        torch.testing.assert_close(
            run[kind]["weights"], alone[kind]["weights"], **CLOSE
        )
        assert run[kind]["log"][0][2]["nonfinite"] == 1
    (line,) = alone[kind]["lines"]
    (told,) = two[0][kind]["lines"]
    # Who is in a batch is told in order of rank.
    assert sorted(told.split()) == sorted(line.split()) or kind == "gradient"
    assert "u3" in told
    assert not two[1][kind]["lines"]


def test_all_processes_lose_patience_alike(runs_that_are_spoilt):
    alone, two = runs_that_are_spoilt
    messages = [str(r["impatient"]["lines"][-1]) for r in (alone, *two)]
    assert len(set(messages)) == 1
    assert "u9" in messages[0] and "nonfinite_patience is 2" in messages[0]


def test_validation_of_all_processes_names_what_is_left_out(
    runs_that_are_spoilt,
):
    """u1 and u3 are with the second, u2 with the first."""
    _, two = runs_that_are_spoilt
    told = " ".join(two[0]["valid"]["lines"])
    assert [n for n in range(4) if f"u{n}" in told] == [1, 2, 3]
    for run in two:
        assert run["valid"]["log"][1][2]["nonfinite"] == 3


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("before, after", [(1, 2), (2, 1)])
def test_going_on_with_other_processes(before, after, factor, tmp_path):
    """By its utterances a run is where it was, or up to a step before."""
    folder = tmp_path / "run"
    arguments = {"points": 24, "grad_accumulation_factor": factor}
    batch = {1: 6, 2: 4}[before]  # 12 or 16 of 24 utterances
    where = ("TRAIN", 1, batch)
    stop = functools.partial(stopped_weights, where, folder, **arguments)
    goes_on = functools.partial(toy_run, folder, **arguments)
    if before == 1:
        stop()
        runs = on_ranks(goes_on, tmp_path / "ranks")
    else:
        on_ranks(stop, tmp_path / "ranks")
        runs = [goes_on()]
    (line,) = [x for x in runs[0]["lines"] if "processes" in x]
    assert f"had {before} processes and goes on with {after}" in line
    # Of two processes 3 of 6 batches are done, with a factor of 2 half a step.
    steps = {(1, 1): 3, (1, 2): 2, (2, 1): 4, (2, 2): 2}[before, factor]
    points = Points(24)
    for run in runs:
        assert len(run["taken"]) == steps
    for parts in zip(*(run["taken"] for run in runs), strict=True):
        names = [name for part in parts for name in part[1]]
        assert len(names) == len(set(names)) == 2 * after * factor
        wanted = by_hand(points, names, parts[0][2])
        torch.testing.assert_close(parts[0][3], wanted, **CLOSE)


# Learning rate and clipping


def test_schedule_sets_each_rate(tmp_path):
    toy = make_toy(tmp_path, 20, epochs=9, schedule=SCHEDULE).train()
    wanted = [SCHEDULE.rate(n + 1, n / 16) for n in range(16)]
    assert toy.rates == wanted and wanted[5] == 0.05 > wanted[-1] > 0


def test_run_is_lengthened(tmp_path):
    """What it did on the plateau is what a longer one does."""
    short = TrapezoidSchedule(0.05, warmup_steps=4, total_steps=20)
    longer = TrapezoidSchedule(0.05, warmup_steps=4, total_steps=40)
    arguments = {"points": 20, "epochs": 9}
    whole = make_toy(tmp_path / "a", schedule=longer, **arguments).train()
    arguments["folder"] = tmp_path / "b"
    first = stopped(("TRAIN", 2, 3), schedule=short, **arguments)
    second = make_toy(schedule=longer, **arguments).train()
    assert len(first.taken) == 13
    assert first.rates + second.rates == whole.rates
    assert torch.equal(weights(second), weights(whole))


@pytest.mark.parametrize("factor", [1, 3])
def test_epochs_count_with_their_fractions(factor, tmp_path):
    """Those of the batches before a step; the last one has a rate too."""
    schedule = TrapezoidSchedule(0.05, fall=1.0, number_of_epochs=2)
    options = {"schedule": schedule, "grad_accumulation_factor": factor}
    toy = make_toy(tmp_path, 16, epochs=2, **options).train()
    before = [e * 8 + n for e in (0, 1) for n in range(0, 8, factor)]
    assert toy.rates == pytest.approx([0.05 * (1 - n / 16) for n in before])


def clocked(folder, minutes, begin, step=1, validation=0, points=20):
    """A toy whose clock goes on by some minutes in each step, and in each
    batch of validation.
    """
    schedule = TrapezoidSchedule(0.05, fall=0.5, max_minutes=minutes)
    toy = make_toy(folder, points, epochs=2, schedule=schedule, **ADAMW)
    now = [60.0 * begin]

    def pass_time(stage, names, losses):
        now[0] += 60 * (step if stage == "TRAIN" else validation)
        return losses

    toy.clock, toy.spoil = (lambda: now[0]), pass_time
    return toy


def test_run_by_the_clock(tmp_path):
    """However many epochs; a run that goes on has the minutes left."""
    toy = clocked(tmp_path, 10, begin=100)
    pass_time = toy.spoil
    terminate_in(toy, "TRAIN", 1, 3)
    terminate = toy.spoil
    toy.spoil = lambda *batch: terminate(*batch[:2], pass_time(*batch))
    with pytest.raises(Stopped):
        toy.train()
    assert toy.rates == [0.05] * 3 and toy.seconds == 180
    toy = clocked(tmp_path, 10, begin=1000).train()
    assert toy.seconds == 600
    # Of ten minutes 3 to 9 are gone before a step.
    rest = [0.05, 0.05, 0.05, 0.04, 0.03, 0.02, 0.01]
    assert toy.rates == pytest.approx(rest)
    assert not clocked(tmp_path, 10, begin=0).train().taken


def test_clock_goes_on_in_validation(tmp_path):
    """Three batches of it after each epoch of two steps."""
    toy = clocked(tmp_path, 20, begin=0, validation=2, points=4).train()
    assert [entry[:2] for entry in toy.log] == [
        (stage, epoch) for epoch in (1, 2, 3) for stage in ("TRAIN", "VALID")
    ]
    assert toy.seconds == 60 * 3 * (2 + 3 * 2)
    newest = toy.checkpointer.newest_whole()
    state = yaml.safe_load((newest / "brain.ckpt").read_text())
    assert state["seconds"] == toy.seconds


def at_its_own_pace(folder):
    """A run whose two processes have clocks of their own."""
    rank, _ = place()
    toy = clocked(folder, 10, begin=rank, step=1 + rank).train()
    return {"rates": toy.rates, "weights": weights(toy)}


def test_processes_agree_on_the_time(tmp_path):
    """It is that of the one whose clock is ahead."""
    run = functools.partial(at_its_own_pace, tmp_path / "run")
    one, other = on_ranks(run, tmp_path / "ranks")
    assert one["rates"] == other["rates"]
    assert one["rates"] == pytest.approx([0.05, 0.05, 0.05, 0.04, 0.02])
    assert torch.equal(one["weights"], other["weights"])


@pytest.mark.parametrize("quantile", [0.25, 0.5])
def test_gradients_are_clipped_to_what_is_usual(quantile, tmp_path):
    """By plain SGD a step is the gradient, at most of the quantile's norm."""
    toy = make_toy(tmp_path, 60, epochs=2, clip_quantile=quantile).train()
    before = weights_before(toy)
    norms = [float(slope.norm()) for *_, slope in toy.taken]
    clipped = 0
    for number, (*_, start, slope) in enumerate(toy.taken):
        most = 1e9
        if number >= FEWEST:
            most = np.quantile(norms[:number], quantile)
        clipped += norms[number] > most
        taken = slope * min(1.0, most / norms[number])
        torch.testing.assert_close(
            before[number + 1], start - 0.05 * taken, rtol=0, atol=1e-6
        )
    assert 5 < clipped < 55


# Stopping and going on


@pytest.mark.parametrize(
    "arguments, where, taken",
    [
        *(
            (
                {"points": 13, "grad_accumulation_factor": factor},
                ("TRAIN", 2, batch),
                -(-7 // factor) + -(-batch // factor),
            )
            for factor in (1, 2)
            for batch in (1, 3, 4, 7)
        ),
        # The epoch's training is not done again.
        ({"points": 8}, ("VALID", 1, 2), 4),
        ({"points": 60, "clip_quantile": 0.5}, ("TRAIN", 1, 25), 25),
        (LIKE_LENGTH, ("VALID", 2, 1), 21),
    ],
)
def test_stopped_run_goes_on_bit_for_bit(arguments, where, taken, tmp_path):
    arguments = {**ADAMW, **arguments, "epochs": 3}
    whole = make_toy(tmp_path / "whole", **arguments).train()
    before = signal.getsignal(signal.SIGTERM)
    first = stopped(where, tmp_path / "stopped", **arguments)
    assert signal.getsignal(signal.SIGTERM) == before
    second = make_toy(tmp_path / "stopped", **arguments).train()
    assert len(first.taken) + len(second.taken) == len(whole.taken)
    assert len(first.taken) == taken
    assert where[0] == "TRAIN" or first.step == where[2]  # at once
    assert torch.equal(weights(first), second.taken[0][2])
    assert torch.equal(weights(second), weights(whole))
    log, first_log, second_log = (
        averages(toy.log) for toy in (whole, first, second)
    )
    assert first_log == log[: len(first_log)]
    assert second_log == log[-len(second_log) :]
    assert len(first_log) + len(second_log) >= len(log)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_killed_run_goes_on_from_within_the_epoch(steps, tmp_path):
    """From a checkpoint of every so many steps."""
    arguments = {**ADAMW, "points": 14, "epochs": 2}
    whole = make_toy(tmp_path / "whole", **arguments).train()
    first = make_toy(
        tmp_path / "killed", **arguments, ckpt_interval_steps=steps
    )

    def die(stage, names, losses):
        if len(first.taken) == 5:
            raise KeyboardInterrupt
        return losses

    first.spoil = die
    with pytest.raises(KeyboardInterrupt):
        first.train()
    second = make_toy(tmp_path / "killed", **arguments).train()
    kept = 5 // steps * steps
    assert len(second.taken) == 14 - kept
    assert torch.equal(weights(second), weights(whole))
    assert averages(second.log) == averages(whole.log)


def test_time_for_a_checkpoint(tmp_path, monkeypatch):
    """Minutes are counted from the last one."""
    now = [0.0]
    monkeypatch.setattr("dpcl_dprnn.training.engine.time.time", lambda: now[0])
    toy = make_toy(tmp_path, 12, ckpt_interval_minutes=2)
    saved = []

    def pass_time(stage, names, losses):
        if stage == "TRAIN":
            now[0] += 50
        return losses

    toy.spoil = pass_time
    save = toy._save_intra_epoch_ckpt

    def count():
        saved.append(toy.step)
        save()

    toy._save_intra_epoch_ckpt = count
    toy.train()
    assert saved == [3, 6]  # after 150 seconds each


def test_left_out_steps_are_remembered(tmp_path):
    """A run that goes on does not get its patience back."""
    points = Points(12, nan=[1, 9])
    arguments = {"shuffle": False, "nonfinite_patience": 1}
    stopped(("TRAIN", 1, 2), tmp_path, points, **arguments)
    with refused("step 2 of the epoch"):
        make_toy(tmp_path, points, **arguments).train()


# The recipe


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Eight training mixtures, the last of them shorter."""
    folder = tmp_path_factory.mktemp("data")
    return make_mixtures(folder, [0.5] * 7 + [0.3], others=2)


@pytest.mark.parametrize("when", ["TRAIN", "VALID"])
def test_recipe_stops_and_goes_on(when, data, tmp_path, monkeypatch, capsys):
    """With workers, that a cluster sends SIGTERM as well."""
    words = (
        *("--batch_size=2", "--grad_accumulation_factor=2"),
        *("--average_decay=0.5", "--total_steps=5", "--clip_quantile=0.4"),
        "--train_dataloader_opts={drop_last: False, num_workers: 2}",
    )
    whole, weights = train_tiny(*words, *where(data, tmp_path / "whole"))
    words += where(data, tmp_path / "stopped")
    objectives = train.Separation.compute_objectives

    def terminate(brain, predictions, batch, stage):
        if (stage.name, brain.epoch, brain.step) == (when, 2, 1):
            for process in multiprocessing.active_children():
                os.kill(process.pid, signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
        return objectives(brain, predictions, batch, stage)

    with monkeypatch.context() as patch:
        patch.setattr(train.Separation, "compute_objectives", terminate)
        start = "train.py: stopped by SIGTERM. "
        options = {"main": train.run, "start": start}
        line = ends(capsys, 143, train_tiny, *words, **options)
    assert line.endswith(" The same command goes on from there.")
    if when == "TRAIN":
        assert "Saved after batch 2 of epoch 2." in line
    history, got = train_tiny(*words)
    assert without_seconds(history) == without_seconds(whole)[1:]
    assert all(torch.equal(got[key], weights[key]) for key in weights)


@pytest.fixture(scope="module")
def averaged_run(data, tmp_path_factory):
    """A run with averaged weights, tested; its folder and what was left."""
    folder = tmp_path_factory.mktemp("averaged")
    words = ("--batch_size=2", "--number_of_epochs=1", "--average_decay=0.9")
    _, left = train_tiny(*words, *where(data, folder), evaluate=True)
    return folder, left


def weights_of(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def same(state, other):
    return all(torch.equal(state[key], other[key]) for key in other)


def exported(folder):
    return weights_of(folder / "model" / "separator.ckpt")


@pytest.fixture
def again(averaged_run, tmp_path):
    """A copy of the run."""
    return shutil.copytree(averaged_run[0], tmp_path / "again")


def test_averaged_weights_are_tested_and_exported(data, averaged_run, tmp_path):
    """And those that are trained go on as if there were none."""
    folder, left = averaged_run
    words = ("--batch_size=2", "--number_of_epochs=1")
    _, plain = train_tiny(*words, *where(data, tmp_path))
    *_, checkpoint = sorted((folder / "save").glob("CKPT+*"))
    raw = weights_of(checkpoint / "separator.ckpt")
    kept = weights_of(checkpoint / "averaged.ckpt")
    assert kept["steps"] == 4 and set(kept["average"]) == set(plain)
    assert same(raw, plain) and same(exported(folder), kept["average"])
    assert same(left, exported(folder)) and not same(raw, left)


def test_best_checkpoint_is_tested(averaged_run, again, data):
    """By its loss, whatever is newer."""
    *_, best = sorted((again / "save").glob("CKPT+*"))
    worse = best.with_name("CKPT+2100-01-01+00-00-00+00")
    shutil.copytree(best, worse)
    state = weights_of(worse / "separator.ckpt")
    nothing = {name: 0 * value for name, value in state.items()}
    torch.save(nothing, worse / "separator.ckpt")
    torch.save({"steps": 1, "average": {}}, worse / "averaged.ckpt")
    for path, loss, moment in ((best, -99.0, 1e9), (worse, 99.0, 2e9)):
        meta = {"end-of-epoch": True, "epoch": 1, "loss": loss}
        meta["unixtime"] = moment
        (path / "CKPT.yaml").write_text(yaml.safe_dump(meta))
        write_sums(path)
    words = ("--test_only", "--batch_size=2")
    train_tiny(*words, *where(data, again), evaluate=True)
    assert same(exported(again), averaged_run[1])


def test_averaged_weights_without_being_asked_for(
    averaged_run, again, data, tmp_path
):
    """By --test_only and --pretrained: it is they that were the best."""
    folder, left = averaged_run
    scores = (again / "test_results.csv").read_text()
    words = ("--test_only", "--batch_size=2")
    train_tiny(*words, *where(data, again), evaluate=True)
    assert (again / "test_results.csv").read_text() == scores
    assert same(exported(again), left)
    words = ("--number_of_epochs=1", "--lr=0", "--batch_size=2")
    pretrained = f"--pretrained={folder / 'save'}"
    _, tuned = train_tiny(*words, pretrained, *where(data, tmp_path / "tuned"))
    assert same(tuned, left)


def without_seconds(history):
    for stats in history:
        stats["train"].pop("seconds", None)
    return history


def test_recipe_leaves_out_files_that_are_not_sound(data, tmp_path):
    """NaN in training; in validation, which refuses that, samples whose
    squares are infinite. A first run makes the lists.
    """
    shutil.copytree(data, tmp_path / "data")
    words = where(tmp_path / "data", tmp_path / "out")
    train_tiny(*words, "--number_of_epochs=1", "--batch_size=2")
    for name in ("tr/mix/tr5.wav", "tr/s2/tr5.wav", "cv/s1/cv1.wav"):
        path = tmp_path / "data" / "wav8k" / "min" / name
        samples, rate = soundfile.read(path, dtype="float32")
        factor = math.nan if name.startswith("tr") else 1e31
        soundfile.write(path, factor * samples, rate, subtype="FLOAT")
    history, weights = train_tiny(
        *words, "--skip_prep=True", "--batch_size=2", "--number_of_epochs=3"
    )
    assert [stats["epoch"] for stats in history] == [2, 3]
    for stats in history:
        for stage in ("train", "valid"):
            assert stats[stage].pop("nonfinite") == 1
            assert all(map(math.isfinite, stats[stage].values()))
    assert all(torch.isfinite(value).all() for value in weights.values())
    log = (tmp_path / "out" / "log.txt").read_text(encoding="utf-8")
    warned = [x for x in log.splitlines() if "not finite" in x]
    assert [("tr5." in x, "cv1." in x) for x in warned] == [
        *((True, False), (False, True), (True, False), (False, True))
    ]
    train_log = (tmp_path / "out" / "train_log.txt").read_text()
    assert train_log.count("nonfinite: 1") == 4


def items(samples, level=0.1):
    """Mixtures of noises, of some samples each, or silent."""
    rng = torch.Generator().manual_seed(0)
    drawn = [level * torch.randn(n, 2, generator=rng) for n in samples]
    return [
        {"id": f"u{number}", "mixture": each.sum(dim=1), "sources": each}
        for number, each in enumerate(drawn)
    ]


class DeadlyItems(list):
    """Of which the last kills who takes it."""

    def __getitem__(self, index):
        if index == len(self) - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def train_on(items, monkeypatch, data, folder, *words, **options):
    """Train with other items than those of the folder."""
    make, lengths = train.make_datasets, [1.0] * len(items)

    def replace(hparams):
        monkeypatch.setattr(train, "training_lengths", lambda *_: lengths)
        return {**make(hparams), "train": items}

    monkeypatch.setattr(train, "make_datasets", replace)
    return train_tiny(*where(data, folder), *words, **options)


@pytest.mark.parametrize("mixing", ["", "--train_mixing=null"])
@pytest.mark.parametrize(
    "given",
    [
        items([1] * 4),
        items([1, 4000, 1, 2, 63, 64, 65, 3]),
        items([4000] * 4, level=0.0),
        items([1] * 4, level=0.0),
    ],
    ids=["one sample", "short and long", "silence", "a silent sample"],
)
def test_recipe_survives_crops_of_nothing(
    given, mixing, data, tmp_path, monkeypatch
):
    words = ("--batch_size=2", "--number_of_epochs=1", *mixing.split())
    (stats,), weights = train_on(given, monkeypatch, data, tmp_path, *words)
    assert "nonfinite" not in stats["train"]
    assert all(map(math.isfinite, stats["train"].values()))
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_worker_that_dies(data, tmp_path, monkeypatch, capsys):
    deadly = DeadlyItems(items([400] * 8))
    line = ends(
        *(capsys, 1, train_on, deadly, monkeypatch, data, tmp_path),
        "--batch_size=2",
        "--train_dataloader_opts={num_workers: 2, shuffle: False}",
        start="train.py: error: A worker that loads data has died",
        main=train.run,
    )
    assert "--num_workers" in line


@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_is_for_training_alone(allowed, tmp_path):
    kinds = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [kind.allow_tf32 for kind in kinds]
    try:
        use_tf32(allowed)
        toy, seen = make_toy(tmp_path), {}
        for stage in (Stage.TRAIN, Stage.VALID, Stage.TRAIN, Stage.TEST):
            toy.on_stage_start(stage, 1)
            seen[stage] = [kind.allow_tf32 for kind in kinds]
        assert seen == {
            Stage.TRAIN: [allowed, allowed],
            Stage.VALID: [False, False],
            Stage.TEST: [False, False],
        }
    finally:
        for kind, was in zip(kinds, before, strict=True):
            kind.allow_tf32 = was
