"""How long a training is, and how its learning rate goes."""


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
        for name, value in (
            ("max_minutes", max_minutes),
            ("total_steps", total_steps),
            ("number_of_epochs", number_of_epochs),
        ):
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value}; it must be above 0")
        if max_minutes is total_steps is number_of_epochs is None:
            raise ValueError(
                "one of max_minutes, total_steps and number_of_epochs is needed"
            )
        if not 0 <= fall <= 1:
            raise ValueError(f"fall is {fall}; it must be from 0 to 1")
        self.lr = lr
        self.warmup_steps = warmup_steps
        self.fall = fall
        self.max_minutes = max_minutes
        self.total_steps = total_steps
        self.number_of_epochs = number_of_epochs

    def done(self, steps, epochs=0.0, seconds=0.0):
        """The share of the run that is done.

        Arguments
        ---------
        steps : int
        epochs : float
        seconds : float

        Returns
        -------
        float
            1 or more: it is over.
        """
        if self.max_minutes is not None:
            return seconds / 60 / self.max_minutes
        if self.total_steps is not None:
            return steps / self.total_steps
        return epochs / self.number_of_epochs

    def rate(self, step, done):
        """The learning rate of a step.

        Arguments
        ---------
        step : int
            From 1.
        done : float
            The share of the run that was done before it.

        Returns
        -------
        float
        """
        warm = min(1.0, step / max(1, self.warmup_steps))
        left = min(1.0, max(0.0, 1.0 - done) / self.fall) if self.fall else 1.0
        return self.lr * warm * left
