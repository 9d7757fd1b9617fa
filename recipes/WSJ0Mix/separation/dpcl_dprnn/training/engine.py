"""A SpeechBrain `Brain` that counts every utterance once, loses no run and
lets no number go wrong silently.

The parent's loop over epochs and batches is kept. What is done to a batch, and
what is kept of a run, is not the parent's: it drops the last batches of an
epoch that do not fill an accumulation, averages processes whatever their
batches hold, steps on a loss that is not finite, and resumes to other averages.
"""

import dataclasses
import itertools
import math
import sys
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

from ..common.distributed import (
    gather,
    highest,
    lost_process,
    on_main,
    place,
)
from ..common.errors import Stopped, UserError, few, writing_error
from ..common.precision import use_tf32
from ..common.program import sigterm_calls
from .averaging import AveragedWeights
from .gradients import AutoClip, gradient_shares

logger = get_logger(__name__)

OUTSIDE = "All that was trained is saved."
LOST = "Another process had ended: the steps since the last save are lost."
GO_ON, SAVE, STOP = range(3)  # what to do after a step


@dataclasses.dataclass
class Sums:
    """What a process has added up in a stage."""

    # Of the parts of the loss
    totals: dict = dataclasses.field(default_factory=dict)
    count: int = 0  # utterances in them: those whose loss is finite
    left_out: int = 0  # steps, or batches of validation, whose loss is not
    norms: float = 0.0  # of the gradients before clipping
    steps: int = 0  # in them
    shares: dict = dataclasses.field(default_factory=dict)  # of the gradient
    seconds: float = 0.0  # that the stage took

    def add(self, parts, finite):
        """Add the parts of the loss [B] of those utterances where it is
        finite, on their device: no waiting.
        """
        for name, values in parts.items():
            kept = torch.where(finite, values.detach(), 0.0).sum()
            self.totals[name] = self.totals.get(name, 0.0) + kept
        self.count = self.count + finite.sum()

    def in_numbers(self):
        """The same in Python's numbers."""
        totals = {name: float(total) for name, total in self.totals.items()}
        return dataclasses.replace(self, totals=totals, count=int(self.count))


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
    seed : int
        Decides, with the epoch and the batch, what is drawn in it.
    clip_quantile : float, optional
        See `gradients.AutoClip`; the most is `max_grad_norm`.
    averaged : averaging.AveragedWeights, optional
        Follow the steps, are validated and tested, and kept if they have a
        decay.
    loggers : list
        SpeechBrain's, on the main process alone.
    *args, **kwargs
        Of the parent.
    """

    clock = staticmethod(time.monotonic)  # of `max_minutes`, in seconds

    def __init__(
        self,
        *args,
        seed=0,
        schedule=None,
        clip_quantile=None,
        averaged=None,
        loggers=(),
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.seed = seed
        self.schedule = schedule
        self.averaged = averaged or AveragedWeights()
        self.loggers = loggers
        if self.averaged.decay is not None:
            self.checkpointer.add_recoverable("averaged", self.averaged)
        self.clip = AutoClip(clip_quantile)
        self.tf32 = torch.backends.cuda.matmul.allow_tf32  # in training
        self.stage = None
        self.resumed = None  # `Sums` of the epoch that a resumed run is in
        self.steps_since = 0  # the last checkpoint
        self.epoch = 1
        self.stepped = 0  # batches of the epoch that are in a step
        self.seconds = 0.0  # of the whole run, at the last step or save
        self.began = self.clock()  # less what earlier runs took
        self.asked_to_stop = False
        self.due = GO_ON  # what all processes have agreed on

    def fit(self, epoch_counter, train_set, valid_set=None, **options):
        """See the parent; `train_set` is one of `batches.make_training_loader`.
        Raises `Stopped` after SIGTERM, when all is saved.
        """
        self.train_sampler = train_set.batch_sampler
        with sigterm_calls(self.on_sigterm):
            try:
                super().fit(epoch_counter, train_set, valid_set, **options)
            except RuntimeError as error:
                # Of those that are stopped between stages, some stop first.
                between = self.asked_to_stop and not self.steps_since
                if not (between and lost_process(error)):
                    raise
                saved = LOST if self.stage == sb.Stage.TRAIN else OUTSIDE
                raise Stopped(saved, together=False) from error

    def on_sigterm(self, *_):
        """Stop after the step, or now if nothing would be lost by it.

        Clusters send SIGTERM before they kill.
        """
        self.asked_to_stop = True
        if self.stage != sb.Stage.TRAIN:
            raise Stopped(OUTSIDE, together=False)

    def on_fit_start(self):
        """Recover; a run that has had all its steps gets no more epochs."""
        super().on_fit_start()
        self.train_sampler.start = self.step
        self.began = self.clock() - self.seconds
        counter = self.hparams.epoch_counter
        if getattr(self.schedule, "max_minutes", None) is not None:
            counter.limit = sys.maxsize
        self.epoch = counter.current + 1
        if self.step == 0 and self._optimizer_step_limit_exceeded:
            counter.should_stop = True

    def on_stage_start(self, stage, epoch=None):
        """Begin the sums of the stage, or go on with those of before."""
        self.stage, self.epoch = stage, epoch
        use_tf32(self.tf32 and stage == sb.Stage.TRAIN)
        going_on = None
        if stage == sb.Stage.TRAIN:
            self.stepped, going_on = self.step, self.resumed
        elif self.asked_to_stop:
            raise Stopped(OUTSIDE, together=False)
        self.sums, self.resumed = going_on or Sums(), None
        self.started = time.time() - self.sums.seconds
        self.saved, self.steps_since = time.time(), 0
        self.names = []  # of the utterances of the present step
        self.suspects = []  # those, of it or the stage, of no finite loss
        if stage == sb.Stage.VALID:
            self.averaged.exchange()

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

    def seed_step(self, stream=0):
        """Seed PyTorch's random numbers, of which there are several streams:
        every batch draws others, and a resumed run what it would have drawn.
        """
        key = [self.seed, self.epoch, self.step, stream]
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))

    def step_of(self, batch):
        """The last batch of the present step, and the share of this one's mean
        loss in it.

        Shares are such that gradients, averaged over processes and added over
        batches, are that of the mean over all utterances.
        """
        factor = self.grad_accumulation_factor
        first = (self.step - 1) // factor * factor + 1
        last = first + factor - 1
        if self.train_sampler is None:
            return last, 1 / factor
        last = min(last, len(self.train_sampler))
        if self.debug:
            last = min(last, self.debug_batches)
        utterances = self.train_sampler.utterances(first, last)
        return last, len(batch) * place()[1] / utterances

    def fit_batch(self, batch):
        """Add the gradient of a batch, and step if it is the step's last."""
        last, share = self.step_of(batch)
        should_step = self.step == last
        self.seed_step()
        self.on_fit_batch_start(batch, should_step)
        if should_step and self.schedule is not None:
            rate = self.schedule.rate(self.optimizer_step + 1, self.done)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
        with self.no_sync(not should_step):
            with self.training_ctx:
                outputs = self.compute_forward(batch, sb.Stage.TRAIN)
                loss = self.compute_objectives(outputs, batch, sb.Stage.TRAIN)
            if self.step == 1:
                self.sums.shares = self.gradient_shares()
            self.weighted = {}  # which hold the graph
            self.scaler.scale(loss * share).backward()
        self.names += batch.id
        if should_step:
            value = self.optimizers_step(batch, loss.detach())
        else:
            value = loss.detach().cpu()
            self.suspect(batch, value)
        self.on_fit_batch_end(batch, outputs, loss, should_step)
        return value

    def suspect(self, batch, value):
        """Keep the utterances of a loss, on the CPU, that is not finite."""
        if not torch.isfinite(value):
            self.suspects += self.not_finite(batch)

    def optimizers_step(self, batch, loss):
        """Step, unless a process has seen a loss that is not finite. Return
        that of the step's last batch, on the CPU.

        All processes decide alike, also on whether to save and to stop.
        """
        optimizers = self.freeze_optimizers(self.optimizers_dict).values()
        for optimizer in optimizers:
            self.scaler.unscale_(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(
            self.modules.parameters(), self.clip.limit(self.max_grad_norm)
        )
        # The one wait of a step for its device
        loss, norm = torch.stack([loss.to(norm), norm]).cpu()
        self.suspect(batch, loss)
        norm = float(norm)
        self.steps_since += 1
        # Of fp16, which overflows now and then, the scaler takes care, until
        # it can scale no further down.
        finite = math.isfinite(norm)
        overflow = not finite and self.scaler.get_scale() <= 1
        bad, self.due, self.seconds = highest(
            [
                bool(self.suspects) or overflow,
                self.wish(),
                self.clock() - self.began,
            ],
            self.device,
        )
        if bad:
            self.leave_out()
        else:
            for optimizer in optimizers:
                self.scaler.step(optimizer)
            self.averaged.update()
            if finite:
                self.sums.norms += norm
                self.sums.steps += 1
                self.clip.norms.append(norm)
        self.scaler.update()
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        self.optimizer_step += 1
        self.stepped = self.step
        self.names, self.suspects = [], []
        return loss

    def wish(self):
        """What this process would do after the step."""
        minutes, steps = self.ckpt_interval_minutes, self.ckpt_interval_steps
        late = 0 < minutes < (time.time() - self.saved) / 60
        if self.asked_to_stop:
            return STOP
        return SAVE if late or 0 < steps <= self.steps_since else GO_ON

    def leave_out(self):
        """Count and name a step that is not taken; too many end the run."""
        self.sums.left_out += 1
        suspects = sum(gather(self.suspects), [])
        if not suspects:  # the loss is finite, its gradient is not
            suspects = sum(gather(self.names), [])
        message = (
            f"The loss or its gradient is not finite in batch {self.step} of "
            f"epoch {self.epoch}: {few(suspects, 16)}."
        )
        if self.sums.left_out > self.nonfinite_patience:
            raise UserError(
                f"{message} This is step {self.sums.left_out} of the epoch "
                "that is not taken, and nonfinite_patience is "
                f"{self.nonfinite_patience}. Check these utterances (python "
                "prepare_data.py check), or lower --lr.",
                everywhere=True,
            )
        if place()[0] == 0:
            logger.warning(f"{message} The step is not taken.")

    def not_finite(self, batch):
        """The utterances of samples or, if none, losses that are not finite."""
        mixing = getattr(self.hparams, "train_mixing", None)
        dealt = getattr(mixing, "shuffle", False)
        checked = [
            getattr(batch, name).data.flatten(1)
            for name in ("mixture", "sources")
            if hasattr(batch, name)
        ]
        # Of sources that were dealt anew, losses are of other mixtures.
        if self.stage != sb.Stage.TRAIN or not dealt:
            checked.append(self.losses[:, None])
        for values in checked:
            bad = ~torch.isfinite(values).all(dim=1)
            names = list(itertools.compress(batch.id, bad.tolist()))
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
        """The weighted sum of the parts of the loss, `{name: tensor [B]}`, kept
        for the log; its mean over the batch is returned, a scalar tensor.
        """
        self.weighted = {name: weights[name] * v for name, v in parts.items()}
        total = sum(self.weighted.values())
        self.losses = total.detach()
        self.sums.add({**parts, "loss": total}, torch.isfinite(self.losses))
        return total.mean()

    def on_evaluate_start(self, max_key=None, min_key=None):
        """Load the best checkpoint, and of it the averaged weights if it has
        any.
        """
        best = self.checkpointer.recover_if_possible(
            max_key=max_key, min_key=min_key
        )
        if best is None:
            raise UserError(
                f"No checkpoint in {self.checkpointer.checkpoints_dir}: there "
                "is nothing to test. Train first, or set --output_folder to a "
                "trained one."
            )
        if "averaged" in best.paramfiles:  # --test_only may not ask for them
            self.averaged.load(best.paramfiles["averaged"])
        self.averaged.exchange()

    def log(self, *stats, **others):
        """Give statistics to the loggers, see SpeechBrain's `TrainLogger`."""

        def _log():
            for logger in self.loggers:
                try:
                    logger.log_stats(*stats, **others)
                except OSError as error:
                    path = getattr(logger, "save_file", "the log")
                    raise writing_error(path, error) from error

        on_main(_log)

    def evaluate_batch(self, batch, stage):
        """See the parent; a loss that is not finite is counted."""
        loss = super().evaluate_batch(batch, stage)
        if not torch.isfinite(loss):
            self.sums.left_out += 1
            self.suspects += self.not_finite(batch)
        return loss

    def stage_averages(self):
        """Averages of the stage, over all processes, by name.

        Of each part of the loss, over utterances; in training also the
        gradient's norm before clipping, the parts' shares of the gradient and
        the seconds. The number of steps, or batches, with a loss that is not
        finite, if there are any.
        """
        if self.stage == sb.Stage.VALID:
            self.averaged.exchange()
        sums, suspects = self.sums_of_all(), sum(gather(self.suspects), [])
        if suspects:  # of validation or test; a step names its own
            logger.warning(
                f"The loss is not finite: {few(suspects, 16)}. It does not "
                f"count in the averages of {self.stage.name}."
            )
        if not sums.count and self.stage == sb.Stage.VALID:
            raise UserError(
                "No validation mixture has a finite loss. Check the data "
                "(python prepare_data.py check), or lower --lr.",
                everywhere=True,
            )
        count = sums.count or math.nan
        stats = {name: total / count for name, total in sums.totals.items()}
        if sums.steps:
            stats["grad_norm"] = sums.norms / sums.steps
        stats |= {f"grad_share_{n}": share for n, share in sums.shares.items()}
        if sums.left_out:
            stats["nonfinite"] = sums.left_out
        if self.stage == sb.Stage.TRAIN:
            stats["seconds"] = round(sums.seconds, 1)
        return stats

    def sums_of_all(self):
        """The `Sums` of all processes together.

        A step, its norm and whether it is left out are the same on all, and
        the first one has the shares.
        """
        self.sums.seconds = time.time() - self.started
        each = gather(self.sums.in_numbers())
        names = sorted({name for sums in each for name in sums.totals})
        together = dataclasses.replace(
            each[0], totals={}, count=sum(sums.count for sums in each)
        )
        for name in names:
            parts = [sums.totals.get(name, 0.0) for sums in each]
            together.totals[name] = sum(parts)
        if self.stage != sb.Stage.TRAIN:
            together.left_out = sum(sums.left_out for sums in each)
        return together

    def _should_save_intra_epoch_ckpt(self, last_ckpt_time, steps_since_ckpt):
        """Between two steps only: half a step's gradient is not kept."""
        return self.due != GO_ON

    def _save_intra_epoch_ckpt(self):
        self.save(end_of_epoch=False, meta={INTRA_EPOCH_CKPT_FLAG: True})
        due, self.due = self.due, GO_ON
        self.saved, self.steps_since = time.time(), 0
        if due == STOP:
            raise Stopped(
                f"Saved after batch {self.step} of epoch {self.epoch}."
            )

    def save_before_validation(self):
        """Validation may be long, and must not cost the epoch its training."""
        wish = STOP if self.asked_to_stop else GO_ON
        (self.due,) = highest([wish], self.device)
        if self.steps_since or self.due == STOP:
            self._save_intra_epoch_ckpt()

    def save(self, end_of_epoch, meta):
        """Save a checkpoint with its `meta`, and delete what is neither new nor
        good: two of each are kept, so that one is left if the other is damaged.
        """
        (self.seconds,) = highest([self.clock() - self.began], self.device)
        self.sums_to_save = self.sums_of_all()
        self.checkpointer.save_checkpoint(meta=meta, end_of_epoch=end_of_epoch)
        self.checkpointer.delete_checkpoints(num_to_keep=2, min_keys=["loss"])

    @mark_as_saver
    def _save(self, path):
        state = {
            "step": self.step,
            "ranks": place()[1],
            "optimizer_step": self.optimizer_step,
            "seconds": self.seconds,
            "last_norms": list(self.clip.norms),
            "avg_train_loss": float(self.avg_train_loss),
            "sums": dataclasses.asdict(self.sums_to_save),
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
        self.clip.norms.clear()
        self.clip.norms.extend(state.get("last_norms", []))
        self.step, self.avg_train_loss, self.resumed = 0, 0.0, None
        if not end_of_epoch:
            self.step = state["step"]
            self.avg_train_loss = state["avg_train_loss"]
            self.resumed = Sums(**state["sums"])
            if rank > 0:  # the sums of all are with the first
                self.resumed.totals, self.resumed.count = {}, 0
        if state["ranks"] != ranks:
            # By its utterances where it was, or up to a step before.
            self.step = self.step * state["ranks"] // ranks
            self.step -= self.step % self.grad_accumulation_factor
            logger.warning(
                f"The run had {state['ranks']} processes and goes on with "
                f"{ranks}: its steps are of other sizes from here on."
            )
