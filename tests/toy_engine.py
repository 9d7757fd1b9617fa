"""A regression in the engine, small enough to compute each step by hand."""

import torch

from dpcl_dprnn.common.distributed import Shard
from dpcl_dprnn.datasets.batches import make_loader, make_training_loader
from dpcl_dprnn.training.checkpoints import AtomicCheckpointer
from dpcl_dprnn.training.engine import Engine
from dpcl_dprnn.training.schedule import EarlyStopping

LOSS_WEIGHTS = {"square": 1.0, "distance": 0.5}


class Points(torch.utils.data.Dataset):
    """Utterances `u0`, `u1`, ... of three numbers, of which some may be NaN,
    with one to predict.
    """

    def __init__(self, count, seed=0, nan=()):
        rng = torch.Generator().manual_seed(seed)
        drawn = torch.randn(count, 4, generator=rng, dtype=torch.float64)
        self.x, self.y = drawn.split([3, 1], dim=1)
        self.x[list(nan), 1] = torch.nan

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        x, y = self.x[index], self.y[index]
        return {"id": f"u{index}", "mixture": x, "target": y}


class Toy(Engine):
    """Fits a line, and keeps what it does.

    Attributes
    ----------
    taken : list of tuple
        Of each step: its epoch, this process's utterances, the weights before
        and the gradient; weights and gradient are [4], the bias is last.
    rates : list of float
        The learning rate of each step.
    log : list of tuple
        Of each stage: its name, its epoch and the averages.
    spoil : callable, optional
        Is given the stage, the batch's IDs and its losses [B], and returns
        the losses to go on with.
    """

    spoil = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.taken, self.log, self.rates = [], [], []

    def compute_forward(self, batch, stage):
        return self.modules.layer(batch.mixture.data).squeeze(1)

    def compute_objectives(self, predictions, batch, stage):
        error = predictions - batch.target.data.squeeze(1)
        parts = {"square": error**2, "distance": error.abs()}
        if self.spoil is not None:
            parts["square"] = self.spoil(stage.name, batch.id, parts["square"])
        return self.total_loss(parts, LOSS_WEIGHTS)

    def optimizers_step(self, *args):
        self.taken.append((self.epoch, self.names, weights(self), slope(self)))
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        return super().optimizers_step(*args)

    def on_stage_end(self, stage, stage_loss, epoch=None):
        stats = self.stage_averages()
        self.log.append((stage.name, epoch, stats))
        if stage.name == "TRAIN":
            self.save_before_validation()
        else:
            self.save(True, meta={"loss": stats["loss"], "epoch": epoch})

    def train(self):
        """Train as `make_toy` was told to, and save."""
        counter = self.hparams.epoch_counter
        self.fit(counter, self.hparams.train_set, self.hparams.valid_set)
        return self


def make_toy(
    folder,
    points=10,
    valid=3,
    batch_size=2,
    epochs=1,
    shuffle=True,
    drop_last=False,
    lengths=None,
    max_seconds=None,
    workers=0,
    optimizer=torch.optim.SGD,
    schedule=None,
    clip_quantile=None,
    cls=Toy,
    **run_opts,
):
    """A `Toy` that has its data and its checkpoints in a folder.

    `points` and `valid` may be numbers of utterances, or datasets.
    """
    points = Points(points) if isinstance(points, int) else points
    valid = Points(valid, seed=1) if isinstance(valid, int) else valid
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 1).double()
    counter = EarlyStopping(epochs, 1000, 0, "min")
    train_set = make_training_loader(
        points,
        lengths or [1.0] * len(points),
        {
            "batch_size": batch_size,
            "shuffle": shuffle,
            "drop_last": drop_last,
            "num_workers": workers,
        },
        max_seconds,
    )
    recoverables = {"layer": layer, "counter": counter}
    return cls(
        modules={"layer": layer},
        opt_class=lambda parameters: optimizer(parameters, lr=0.05),
        hparams={
            "epoch_counter": counter,
            "train_set": train_set,
            "valid_set": make_loader(Shard(valid), {"batch_size": 1}),
        },
        run_opts={
            "device": "cpu",
            "distributed_backend": "gloo",
            "max_grad_norm": 1e9,  # no clipping
            "noprogressbar": True,
            "nonfinite_patience": 3,
            **run_opts,
        },
        checkpointer=AtomicCheckpointer(folder, recoverables),
        schedule=schedule,
        clip_quantile=clip_quantile,
    )


def weights(toy):
    """All weights, [4]."""
    return torch.cat([p.detach().flatten() for p in toy.modules.parameters()])


def slope(toy):
    """The gradient of all weights, [4]."""
    return torch.cat([p.grad.flatten() for p in toy.modules.parameters()])


def by_hand(points, names, weights, parts=LOSS_WEIGHTS):
    """Gradient of the mean loss of some utterances, in closed form, [4]."""
    chosen = [int(name.removeprefix("u")) for name in names]
    x, y = points.x[chosen], points.y[chosen]
    x = torch.cat([x, torch.ones_like(y)], dim=1)  # 1: for the bias
    error = x @ weights[:, None] - y
    factor = parts.get("square", 0) * 2 * error
    factor = factor + parts.get("distance", 0) * error.sign()
    return (factor * x).mean(dim=0)


def averages(log):
    """A `Toy.log` without the time that stages took."""
    return [
        (stage, epoch, {k: v for k, v in stats.items() if k != "seconds"})
        for stage, epoch, stats in log
    ]
