"""How long a run is: its learning rate in closed form, and stopping early."""

import pytest

from dpcl_dprnn.training.schedule import EarlyStopping, TrapezoidSchedule


def rates(schedule, steps):
    return [schedule.rate(n + 1, schedule.done(n)) for n in range(steps)]


def test_warm_up_plateau_and_fall():
    schedule = TrapezoidSchedule(2.0, warmup_steps=4, total_steps=40)
    got = rates(schedule, 40)
    assert got[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert got[4:31] == [2.0] * 27
    assert got[31:] == pytest.approx(
        [2.0 * (40 - n) / 10 for n in range(31, 40)]
    )
    assert min(got) > 0


def test_without_warm_up_or_fall_it_is_constant():
    schedule = TrapezoidSchedule(2.0, fall=0.0, total_steps=5)
    assert rates(schedule, 5) == [2.0] * 5


@pytest.mark.parametrize(
    "limits, done",
    [
        ({"max_minutes": 2, "total_steps": 7, "number_of_epochs": 9}, 0.75),
        ({"total_steps": 8, "number_of_epochs": 9}, 0.5),
        ({"number_of_epochs": 10}, 0.25),
    ],
)
def test_minutes_count_before_steps_before_epochs(limits, done):
    schedule = TrapezoidSchedule(1.0, **limits)
    assert schedule.done(steps=4, epochs=2.5, seconds=90) == done


def epochs_until_stop(metrics, **options):
    counter = EarlyStopping(20, 3, 0, **{"direction": "min", **options})
    for epoch in counter:
        counter.update_metric(metrics(epoch))
    return epoch


@pytest.mark.parametrize("start", [-10.0, 0.0, 0.005, 10.0])
@pytest.mark.parametrize(
    "slope, direction, epochs",
    [
        # The first is the best, three are no better.
        *((0.0, "min", 4), (0.0, "max", 4), (1.0, "min", 4)),
        (-1e-3, "min", 20),  # any improvement
    ],
)
def test_metric_that_is_no_better_stops(start, slope, direction, epochs):
    def metric(epoch):
        return start + slope * epoch

    assert epochs_until_stop(metric, direction=direction) == epochs


def test_patience_starts_anew_with_an_improvement():
    metrics = [-1, -2, -1, -1, -3, -1, -1, -1, -9]
    assert epochs_until_stop(lambda n: metrics[n - 1]) == 8
