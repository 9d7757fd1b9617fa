"""A SpeechBrain `Brain` that counts every utterance once, loses no run and
lets no number go wrong silently.

The parent's loop over epochs and batches is kept. What is done to a batch, and
what is kept of a run, is not the parent's: it drops the last batches of an
epoch that do not fill an accumulation, averages processes whatever their
batches hold, steps on a loss that is not finite, and resumes to other averages.
"""

import collections
import contextlib
import math
import signal
import sys
import threading
import time

import numpy as np
import speechbrain as sb
import torch
import yaml
from speechbrain.core import INTRA_EPOCH_CKPT_FLAG
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.logger import get_logger

from ..common.distributed import gather, highest, place
from ..common.errors import Stopped, UserError, few, lost_process
from .gradients import gradient_shares

logger = get_logger(__name__)

OUTSIDE = "All that was trained is saved."
CLIP_WINDOW = 512  # steps whose norms tell what is usual
CLIP_FEWEST = 16  # before which it is not known
LOST = "Another process had ended: the steps since the last save are lost."


@register_checkpoint_hooks
class Engine(sb.Brain):
    """Trains in steps that are the same on any number of processes.

    A subclass defines `compute_forward`, and `compute_objectives`, which ends
    in `total_loss`. A step is one of the optimiser: of `grad_accumulation_factor`
    batches of every process, or of what is left of them at the end of an epoch.

    Arguments
    ---------
    schedule : schedule.TrapezoidSchedule, optional
        Sets the learning rate of each step, and ends the run.
    clip_quantile : float, optional
        Gradients are clipped to this quantile of the norms of the last 512
        steps, and never above `max_grad_norm` (AutoClip, Seetharaman et al.,
        arXiv 2007.14469).
    *args, **kwargs
        Of the parent.
    """

    clock = staticmethod(time.monotonic)  # of `max_minutes`, in seconds

    def __init__(self, *args, schedule=None, clip_quantile=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.schedule = schedule
        self.clip_quantile = clip_quantile
        self.stage = None
        self.progress = None  # of the epoch that a resumed run is in
        self.scaled = None  # by which its batches have changed, if they have
        self.steps_since = 0  # the last checkpoint
        self.epoch = 1
        self.stepped = 0  # batches of the epoch that are in a step
        self.step_taken = False  # whether the last one was not left out
        self.seconds = 0.0  # of the whole run, at the last step or save
        self.began = self.clock()  # less what earlier runs took
        self.last_norms = collections.deque(maxlen=CLIP_WINDOW)
        self.asked_to_stop = self.save_now = self.stop_now = False

    def fit(self, epoch_counter, train_set, valid_set=None, **options):
        """See the parent.

        Arguments
        ---------
        epoch_counter : iterable
        train_set : torch.utils.data.DataLoader
            Of `batches.make_training_loader`.
        valid_set : torch.utils.data.DataLoader, optional
        **options
            Further ones of the parent.

        Raises
        ------
        Stopped
            After SIGTERM, when all is saved.
        """
        self.train_sampler = train_set.batch_sampler
        with self.listening_to_sigterm():
            try:
                super().fit(epoch_counter, train_set, valid_set, **options)
            except RuntimeError as error:
                # Of those that are stopped between stages, some stop first.
                between = self.asked_to_stop and not self.steps_since
                if not (between and lost_process(error)):
                    raise
                saved = LOST if self.stage == sb.Stage.TRAIN else OUTSIDE
                raise Stopped(saved, together=False) from error

    @contextlib.contextmanager
    def listening_to_sigterm(self):
        """Save and stop at SIGTERM, as clusters send it before they kill."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python's handlers belong to the main thread
            return
        before = signal.signal(signal.SIGTERM, self.on_sigterm)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def on_sigterm(self, *_):
        """Stop after the step, or now if nothing would be lost by it."""
        self.asked_to_stop = True
        if self.stage != sb.Stage.TRAIN:
            raise Stopped(OUTSIDE, together=False)

    def on_fit_start(self):
        """Recover; a run that has had all its steps gets no more epochs."""
        super().on_fit_start()
        if self.scaled is not None:
            self.go_on_at(*self.scaled)
        self.train_sampler.start = self.step
        self.began = self.clock() - self.seconds
        counter = self.hparams.epoch_counter
        if self.schedule is not None and self.schedule.max_minutes is not None:
            counter.limit = sys.maxsize
        between_epochs = self.step == 0
        self.epoch = counter.current + 1
        if self._optimizer_step_limit_exceeded and between_epochs:
            counter.should_stop = True

    def go_on_at(self, factor, batches):
        """Find the place in the epoch of a run of another number of processes.

        Arguments
        ---------
        factor : float
            By which their batches were larger than now, all together.
        batches : int
            That the epoch had.
        """
        if self.step == batches:
            self.step = len(self.train_sampler)
        elif factor != 1:
            self.step = int(self.step * factor)
            self.step -= self.step % self.grad_accumulation_factor

    def on_stage_start(self, stage, epoch=None):
        """Begin the sums of the stage, or go on with those of before."""
        self.stage, self.epoch = stage, epoch
        if stage == sb.Stage.TRAIN:
            self.stepped = self.step
        if self.asked_to_stop and stage != sb.Stage.TRAIN:
            raise Stopped(OUTSIDE, together=False)
        progress = (stage == sb.Stage.TRAIN and self.progress) or {}
        self.progress = None
        self.totals = dict(progress.get("totals", {}))
        self.count = progress.get("count", 0)
        self.left_out = progress.get("left_out", 0)
        self.norms = progress.get("norms", 0.0)
        self.shares = progress.get("shares", {})
        self.steps = progress.get("steps", 0)
        self.started = time.time() - progress.get("seconds", 0.0)
        self.saved, self.steps_since = time.time(), 0
        self.names = []  # of the utterances of the present step
        self.suspects = []  # those, of it or the stage, of no finite loss

    @property
    def done(self):
        """The share of the run that is done, the same on all processes."""
        if self.schedule is None:
            return 0.0
        epochs = self.epoch - 1 + self.stepped / len(self.train_sampler)
        return self.schedule.done(self.optimizer_step, epochs, self.seconds)

    @property
    def _optimizer_step_limit_exceeded(self):
        return super()._optimizer_step_limit_exceeded or self.done >= 1

    def set_learning_rate(self):
        """Set that of the coming step, where there is a schedule."""
        if self.schedule is not None:
            rate = self.schedule.rate(self.optimizer_step + 1, self.done)
            for group in self.optimizer.param_groups:
                group["lr"] = rate

    def step_of(self, batch):
        """The batches of the present step, and this one's share of its loss.

        Returns
        -------
        last : int
            The number of the last batch of the step.
        share : float
            Times the mean loss of this batch gives a gradient that, averaged
            over processes and added over batches, is that of the mean over
            all utterances.
        """
        factor = self.grad_accumulation_factor
        first = (self.step - 1) // factor * factor + 1
        last = first + factor - 1
        if self.train_sampler is None:
            return last, 1 / factor
        most = len(self.train_sampler)
        if self.debug:
            most = min(most, self.debug_batches)
        last = min(last, most)
        _, ranks = place()
        utterances = self.train_sampler.utterances(first, last)
        return last, len(batch) * ranks / utterances

    def fit_batch(self, batch):
        """Add the gradient of a batch, and step if it is the step's last."""
        last, share = self.step_of(batch)
        should_step = self.step == last
        self.on_fit_batch_start(batch, should_step)
        if should_step:
            self.set_learning_rate()
        with self.no_sync(not should_step):
            with self.training_ctx:
                outputs = self.compute_forward(batch, sb.Stage.TRAIN)
                loss = self.compute_objectives(outputs, batch, sb.Stage.TRAIN)
            if self.step == 1:
                self.shares = self.gradient_shares()
            self.weighted = {}  # which hold the graph
            self.scaler.scale(loss * share).backward()
        value = loss.detach().cpu()
        self.names += batch.id
        if not torch.isfinite(value):
            self.suspects += self.not_finite(batch)
        if should_step:
            self.optimizers_step()
        self.on_fit_batch_end(batch, outputs, loss, should_step)
        return value

    def optimizers_step(self):
        """Step, unless a process has seen a loss that is not finite.

        All processes decide alike, also on whether to save and to stop.
        """
        optimizers = self.freeze_optimizers(self.optimizers_dict).values()
        for optimizer in optimizers:
            self.scaler.unscale_(optimizer)
        norm = float(  # the one wait for it
            torch.nn.utils.clip_grad_norm_(
                self.modules.parameters(), self.clipping_norm()
            )
        )
        self.steps_since += 1
        # Of fp16, which overflows now and then, the scaler takes care, until
        # it can scale no further down.
        finite = math.isfinite(norm)
        overflow = not finite and self.scaler.get_scale() <= 1
        bad, self.stop_now, self.save_now, self.seconds = highest(
            [
                bool(self.suspects) or overflow,
                self.asked_to_stop,
                self.is_due(),
                self.clock() - self.began,
            ],
            self.device,
        )
        if bad:
            self.leave_out()
        else:
            for optimizer in optimizers:
                self.scaler.step(optimizer)
            if finite:
                self.norms += norm
                self.last_norms.append(norm)
                self.steps += 1
        self.scaler.update()
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        self.optimizer_step += 1
        self.stepped, self.step_taken = self.step, not bad
        self.names, self.suspects = [], []

    def clipping_norm(self):
        """The norm that the gradient of the present step is clipped to."""
        if self.clip_quantile is None or len(self.last_norms) < CLIP_FEWEST:
            return self.max_grad_norm
        usual = float(np.quantile(self.last_norms, self.clip_quantile))
        return min(self.max_grad_norm, usual)

    def leave_out(self):
        """Count and name a step that is not taken; too many end the run."""
        self.left_out += 1
        suspects = [name for names in gather(self.suspects) for name in names]
        if not suspects:  # the loss is finite, its gradient is not
            suspects = [name for names in gather(self.names) for name in names]
        message = (
            f"The loss or its gradient is not finite in batch {self.step} of "
            f"epoch {self.epoch}: {few(suspects, 16)}."
        )
        if self.left_out > self.nonfinite_patience:
            raise everywhere(
                f"{message} This is step {self.left_out} of the epoch that is "
                f"not taken, and nonfinite_patience is "
                f"{self.nonfinite_patience}. Check these utterances (python "
                "prepare_data.py check), or lower --lr."
            )
        if place()[0] == 0:
            logger.warning(f"{message} The step is not taken.")

    def not_finite(self, batch):
        """The utterances that have samples or, if none, losses that are not
        finite.
        """
        kinds = [getattr(batch, name, None) for name in ("mixture", "sources")]
        mixing = getattr(self.hparams, "train_mixing", None)
        dealt = self.stage == sb.Stage.TRAIN and getattr(
            mixing, "shuffle", False
        )
        sound = [
            torch.isfinite(kind.data).flatten(1).all(dim=1)
            for kind in kinds
            if kind is not None
        ]
        if not dealt:  # the losses are of mixtures of the loaded names
            sound.append(torch.isfinite(self.losses))
        for good in sound:
            names = [
                name
                for name, fine in zip(batch.id, good.tolist(), strict=True)
                if not fine
            ]
            if names:
                return names
        return list(batch.id)

    def gradient_shares(self):
        """What each part of the loss adds to the gradient, see `gradients`."""
        if self.compile or place()[0] > 0:
            return {}  # a compiled graph cannot be gone through twice
        scale = self.scaler.get_scale()  # else fp16 would lose small ones
        parts = {
            name: scale * values.mean()
            for name, values in self.weighted.items()
            if values.requires_grad
        }
        parameters = [p for p in self.modules.parameters() if p.requires_grad]
        return gradient_shares(parts, parameters)

    def total_loss(self, parts, weights):
        """The weighted sum of the parts of the loss, kept for the log.

        Arguments
        ---------
        parts : dict of str to torch.Tensor, [B]
        weights : dict of str to float

        Returns
        -------
        torch.Tensor, a scalar: the mean over the batch
        """
        self.weighted = {name: weights[name] * v for name, v in parts.items()}
        total = sum(self.weighted.values())
        self.losses = total.detach()
        finite = torch.isfinite(self.losses)
        for name, values in {**parts, "loss": total}.items():
            kept = torch.where(finite, values.detach(), 0.0).sum()
            self.totals[name] = self.totals.get(name, 0.0) + kept
        self.count = self.count + finite.sum()  # on the device: no waiting
        return total.mean()

    def evaluate_batch(self, batch, stage):
        """See the parent; a loss that is not finite is counted."""
        loss = super().evaluate_batch(batch, stage)
        if not torch.isfinite(loss):
            self.left_out += 1
            self.suspects += self.not_finite(batch)
        return loss

    def stage_averages(self):
        """Averages of the stage, over all processes.

        Returns
        -------
        dict of str to float
            Of each part of the loss, over utterances; in training also the
            gradient's norm before clipping, the parts' shares of the gradient
            and the seconds. The number of steps, or batches, with a loss
            that is not finite, if there are any.
        """
        shares = gather(self.sums())
        suspects = [name for names in gather(self.suspects) for name in names]
        if suspects:  # of validation or test; a step names its own
            logger.warning(
                f"The loss is not finite: {few(suspects, 16)}. It does not "
                f"count in the averages of {self.stage.name}."
            )
        totals, count = added(shares)
        if not count and self.stage == sb.Stage.VALID:
            raise everywhere(
                "No validation mixture has a finite loss. Check the data "
                "(python prepare_data.py check), or lower --lr."
            )
        stats = {n: total / (count or math.nan) for n, total in totals.items()}
        training = self.stage == sb.Stage.TRAIN
        if training and self.steps:
            stats["grad_norm"] = self.norms / self.steps
        for name, share in (shares[0]["shares"] if training else {}).items():
            stats[f"grad_share_{name}"] = share
        left_out = [share["left_out"] for share in shares]
        if any(left_out):
            stats["nonfinite"] = max(left_out) if training else sum(left_out)
        if training:
            stats["seconds"] = round(time.time() - self.started, 1)
        return stats

    def sums(self):
        """What this process has added up in the stage, in Python's numbers."""
        return {
            "totals": {name: float(sum_) for name, sum_ in self.totals.items()},
            "count": int(self.count),
            "left_out": self.left_out,
            "norms": self.norms,
            "steps": self.steps,
            "shares": self.shares,
            "seconds": time.time() - self.started,
        }

    def is_due(self):
        """Whether it is time for a checkpoint within the epoch."""
        minutes, steps = self.ckpt_interval_minutes, self.ckpt_interval_steps
        late = 0 < minutes < (time.time() - self.saved) / 60
        return late or 0 < steps <= self.steps_since

    def _should_save_intra_epoch_ckpt(self, last_ckpt_time, steps_since_ckpt):
        """Between two steps only: half a step's gradient is not kept."""
        due, self.save_now = self.save_now or self.stop_now, False
        return due

    def _save_intra_epoch_ckpt(self):
        self.save(end_of_epoch=False, meta={INTRA_EPOCH_CKPT_FLAG: True})
        self.saved, self.steps_since = time.time(), 0
        if self.stop_now:
            raise Stopped(
                f"Saved after batch {self.step} of epoch {self.epoch}."
            )

    def save_before_validation(self):
        """Validation may be long, and must not cost the epoch its training."""
        (self.stop_now,) = highest([self.asked_to_stop], self.device)
        if self.steps_since or self.stop_now:
            self._save_intra_epoch_ckpt()

    def save(self, end_of_epoch, meta):
        """Save a checkpoint, and delete what is neither new nor good.

        Two of each are kept, so that there is one if the other is damaged.

        Arguments
        ---------
        end_of_epoch : bool
        meta : dict
        """
        (self.seconds,) = highest([self.clock() - self.began], self.device)
        shares = gather(self.sums())
        totals, count = added(shares)
        self.sums_of_all = {**shares[0], "totals": totals, "count": count}
        self.checkpointer.save_checkpoint(meta=meta, end_of_epoch=end_of_epoch)
        self.checkpointer.delete_checkpoints(num_to_keep=2, min_keys=["loss"])

    @mark_as_saver
    def _save(self, path):
        _, ranks = place()
        state = {
            "step": self.step,
            "batches": len(self.train_sampler),
            "ranks": ranks,
            "optimizer_step": self.optimizer_step,
            "seconds": self.seconds,
            "last_norms": list(self.last_norms),
            "avg_train_loss": float(self.avg_train_loss),
            "sums": self.sums_of_all,
        }
        with open(path, "w", encoding="utf-8") as file:
            yaml.safe_dump(state, file)

    @mark_as_loader
    def _recover(self, path, end_of_epoch):
        with open(path, encoding="utf-8") as file:
            state = yaml.safe_load(file)
        rank, ranks = place()
        self.optimizer_step = state["optimizer_step"]
        self.seconds = state.get("seconds", 0.0)
        self.last_norms.clear()
        self.last_norms.extend(state.get("last_norms", []))
        self.step, self.avg_train_loss, self.progress = 0, 0.0, None
        if not end_of_epoch:
            self.step = state["step"]
            self.avg_train_loss = state["avg_train_loss"]
            self.progress = state["sums"]
            if rank > 0:  # the sums of all are with the first
                self.progress = {**self.progress, "totals": {}, "count": 0}
        self.scaled = state["ranks"] / ranks, state["batches"]
        if state["ranks"] != ranks:
            logger.warning(
                f"The run had {state['ranks']} processes and goes on with "
                f"{ranks}: its steps are of other sizes from here on."
            )


def added(shares):
    """The totals, and the number of utterances, of what processes have summed.

    Arguments
    ---------
    shares : list of dict
        `Engine.sums` of each process.

    Returns
    -------
    totals : dict of str to float
    count : int
    """
    names = sorted({name for share in shares for name in share["totals"]})
    totals = {
        name: sum(share["totals"].get(name, 0.0) for share in shares)
        for name in names
    }
    return totals, sum(share["count"] for share in shares)


def everywhere(message):
    """A `UserError` that all processes raise."""
    error = UserError(message)
    error.everywhere = True
    return error
