"""How long a run is, and its learning rate, in closed form."""

import pytest

from dpcl_dprnn.training.schedule import TrapezoidSchedule


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


def test_what_came_before_the_fall_is_the_same_in_a_longer_run():
    short = TrapezoidSchedule(1.0, warmup_steps=5, total_steps=40)
    longer = TrapezoidSchedule(1.0, warmup_steps=5, total_steps=80)
    assert rates(short, 30) == rates(longer, 30)


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


@pytest.mark.parametrize(
    "limits, named",
    [
        ({}, "one of max_minutes"),
        ({"total_steps": 0}, "total_steps is 0"),
        ({"max_minutes": -1}, "max_minutes is -1"),
        ({"total_steps": 5, "fall": 1.5}, "fall is 1.5"),
    ],
)
def test_unfit_settings_are_named(limits, named):
    with pytest.raises(ValueError, match=named):
        TrapezoidSchedule(1.0, **limits)
