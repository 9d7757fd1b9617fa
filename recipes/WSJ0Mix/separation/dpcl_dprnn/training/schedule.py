"""How long a training is, and how its learning rate goes."""

import torch
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.epoch_loop import EpochCounterWithStopper


class TrapezoidSchedule:
    """Warm-up, plateau, and a linear fall to nothing at the end.

    On the plateau nothing depends on how long the run is to be: it can be
    lengthened, by more steps or minutes, and stopped at any time. The length is
    counted in what is given, minutes before steps before epochs.

    Arguments
    ---------
    lr : float
        The learning rate of the plateau.
    warmup_steps : int
        Steps in which it is reached, in a straight line.
    fall : float
        The share of the run, at its end, in which it falls.
    max_minutes : float, optional
        Of training and validation, in all runs that went on with it.
    total_steps : int, optional
    number_of_epochs : int, optional

    Example
    -------
    >>> schedule = TrapezoidSchedule(lr=1.0, warmup_steps=8, total_steps=64)
    >>> [schedule.rate(step, schedule.done(step)) for step in (4, 40, 56)]
    [0.5, 1.0, 0.5]
    """

    def __init__(
        self,
        lr,
        warmup_steps=0,
        fall=0.25,
        max_minutes=None,
        total_steps=None,
        number_of_epochs=None,
    ):
        self.lr = lr
        self.warmup_steps = warmup_steps
        self.fall = fall
        self.max_minutes = max_minutes
        self.total_steps = total_steps
        self.number_of_epochs = number_of_epochs

    def done(self, steps, epochs=0.0, seconds=0.0):
        """The share of the run that is done; from 1 on it is over."""
        if self.max_minutes is not None:
            return seconds / 60 / self.max_minutes
        if self.total_steps is not None:
            return steps / self.total_steps
        return epochs / self.number_of_epochs

    def rate(self, step, done):
        """The learning rate of a step, from 1, before which a share of the run
        was done.
        """
        warm = min(1.0, step / max(1, self.warmup_steps))
        left = min(1.0, max(0.0, 1.0 - done) / self.fall) if self.fall else 1.0
        return self.lr * warm * left


@register_checkpoint_hooks
class EarlyStopping(EpochCounterWithStopper):
    """SpeechBrain's early stopping, mended for metrics below zero.

    The parent asks for a relative improvement of 1e-6 but gets its sign
    wrong for negative metrics, such as a loss in -dB: a constant value then
    counts as an improvement for ever. Here any improvement counts. The number
    of the epoch, `current`, is in shared memory, where the workers of a
    loader that lives for several epochs see it too.

    Example
    -------
    >>> counter = EarlyStopping(
    ...     limit=10, limit_to_stop=2, limit_warmup=0, direction="min")
    >>> for epoch in counter:
    ...     counter.update_metric(-10.0)
    >>> epoch
    3
    """

    def __init__(self, limit, limit_to_stop, limit_warmup, direction):
        self._current = torch.zeros((), dtype=torch.int64).share_memory_()
        super().__init__(limit, limit_to_stop, limit_warmup, direction)
        self.min_delta = 0.0

    @property
    def current(self):
        """The number of the epoch, from 1; 0 before the first."""
        return int(self._current)

    @current.setter
    def current(self, number):
        """Set the number, for all processes that share it."""
        self._current.fill_(number)

    @mark_as_saver
    def _save(self, path):
        """See the parent, who is not registered: of it, checkpoints would
        have the number of the epoch alone.
        """
        super()._save(path)

    @mark_as_loader
    def _recover(self, path, end_of_epoch=True):
        """See the parent; the limits are those of now."""
        super()._recover(path, end_of_epoch)
        waited = self.current - self.best_limit
        self.should_stop = (
            self.current > self.limit_warmup and waited >= self.limit_to_stop
        )
