#!/usr/bin/env python3
"""Train and evaluate a speech separator on WSJ0-mix or data laid out alike.

> python train.py hparams/dpcl_dprnn.yaml --data_folder=/data/wsj0-mix/2speakers

Everything else is set in the hparams file, and any of its keys on the command
line (`--num_spks=3`). `--test_only` evaluates the best checkpoint of an
earlier run. SpeechBrain's run options, such as `--device`, `--precision`,
`--max_grad_norm`, `--nonfinite_patience` and `--grad_accumulation_factor`,
may stand in either place. Several processes: `torchrun --nproc_per_node=N
train.py ...`.
"""

import dataclasses
import math
import os
import pathlib
import sys

import numpy as np
import speechbrain as sb
import torch
from speechbrain.utils.distributed import if_main_process

from dpcl_dprnn.common.distributed import (
    Shard,
    leave_group,
    lost_process,
    on_main,
    place,
)
from dpcl_dprnn.common.errors import (
    Stopped,
    UserError,
    first_line,
    told_once,
    writing_error,
)
from dpcl_dprnn.common.program import exit_on_sigterm
from dpcl_dprnn.datasets.batches import make_loader, make_training_loader
from dpcl_dprnn.datasets.files import mixture_datasets, training_lengths
from dpcl_dprnn.evaluation.examples import write_examples
from dpcl_dprnn.evaluation.scoring import Evaluation, in_words
from dpcl_dprnn.evaluation.speakers import speaker_groups
from dpcl_dprnn.inference.model_folder import export_model
from dpcl_dprnn.mixtures.live_sets import make_dynamic_sets
from dpcl_dprnn.model.losses import silence_loss
from dpcl_dprnn.model.separator import load_pretrained, stack
from dpcl_dprnn.report.page import write_report
from dpcl_dprnn.training.engine import Engine
from dpcl_dprnn.training.machine import reuse_memory
from dpcl_dprnn.training.options import (
    check_evaluation,
    check_run_options,
    load_hparams,
    parse_command_line,
    settle_run_options,
)
from dpcl_dprnn.training.resuming import Settings
from dpcl_dprnn.unmixing.counting import calibrated
from dpcl_dprnn.unmixing.unmixer import Unmixer
from prepare_data import prepare_manifests


class Separation(Engine):
    """Trains a `dpcl_dprnn.model.separator.Separator` on the mixed loss."""

    @property
    def separator(self):
        """The separator without what distribution and compilation wrap it in."""
        separator = self.modules.separator
        for wrapper in ("module", "_orig_mod"):  # of DDP, of torch.compile
            separator = getattr(separator, wrapper, separator)
        return separator

    def compute_forward(self, batch, stage):
        """Separate a batch.

        Arguments
        ---------
        batch : PaddedBatch
            With `mixture` [B, T] and `sources` [B, T, C].
        stage : sb.Stage

        Returns
        -------
        dict
            `mixture` [B, T], `sources` [B, C, T] and `lengths` [B] as they
            were used, the `separated` of the `Separator`, and `each` of it
            by itself, unless in training.
        """
        batch = batch.to(self.device)
        mixture, relative = batch.mixture
        sources = batch.sources.data.transpose(1, 2)
        lengths = (relative * mixture.shape[1]).round().long()
        if stage == sb.Stage.TRAIN:
            if self.hparams.train_mixing is not None:
                mixture, sources, lengths = self.hparams.train_mixing(
                    mixture, sources, lengths
                )
            self.seed_step(place()[0] + 1)  # dropout is each process's own
            separated = self.modules.separator(mixture)
            each = None
        else:
            each = self.separator.separate_each(
                [x[:n] for x, n in zip(mixture, lengths.tolist(), strict=True)]
            )
            separated = stack(each)
        return {
            "mixture": mixture,
            "sources": sources,
            "lengths": lengths,
            "separated": separated,
            "each": each,
        }

    def compute_objectives(self, predictions, batch, stage):
        """The weighted sum of the losses of the heads that there are.

        Arguments
        ---------
        predictions : dict
            Of `compute_forward`.
        batch : PaddedBatch
        stage : sb.Stage

        Returns
        -------
        torch.Tensor, a scalar
        """
        mixture, sources = predictions["mixture"], predictions["sources"]
        separated, parts = predictions["separated"], {}
        if separated.estimates is not None:
            parts["pit"], permutation = self.hparams.pit_loss(
                separated.estimates, sources, predictions["lengths"]
            )
            parts["silence"] = silence_loss(
                separated.estimates,
                sources,
                permutation,
                predictions["lengths"],
            )
        if separated.embeddings is not None:
            targets, weights = self.separator.dpcl_targets(
                mixture, sources, self.hparams.threshold_db
            )
            parts["dpcl"] = self.hparams.dpcl_loss(
                separated.embeddings, targets, weights
            )
        if stage == sb.Stage.TEST:
            self.score(predictions, batch.id)
        return self.total_loss(parts, self.hparams.loss_weights)

    def score(self, predictions, ids):
        """Score all heads on each utterance of a batch."""
        lengths = predictions["lengths"].tolist()
        for index, (name, length) in enumerate(zip(ids, lengths, strict=True)):
            self.evaluation.add(
                name,
                predictions["mixture"][index, :length],
                predictions["sources"][index, :, :length],
                predictions["each"][index],
            )

    def on_fit_batch_start(self, batch, should_step):
        """Seed a batch.

        Every epoch and batch draws other mixtures, and a resumed run the same
        ones that it would have drawn.
        """
        self.seed_step()

    def on_fit_batch_end(self, batch, outputs, loss, should_step):
        """Let the averaged weights follow."""
        if should_step and self.step_taken:
            self.hparams.averaged_weights.update()

    def seed_step(self, stream=0):
        """Seed PyTorch's random numbers, of which there are several streams."""
        key = [self.hparams.seed, self.epoch, self.step, stream]
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))

    def on_stage_start(self, stage, epoch=None):
        """Validate with averaged weights, if there are any."""
        super().on_stage_start(stage, epoch)
        if stage == sb.Stage.VALID:
            self.hparams.averaged_weights.exchange()

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Log, and save after validation."""
        stats = self.stage_averages()
        if stage == sb.Stage.TRAIN:
            self.train_stats = stats
            self.save_before_validation()
        elif stage == sb.Stage.VALID:
            self.hparams.averaged_weights.exchange()
            rate = self.optimizer.param_groups[0]["lr"]
            self.hparams.epoch_counter.update_metric(stats["loss"])
            self.log({"epoch": epoch, "lr": rate}, self.train_stats, stats)
            self.save(True, meta={"loss": stats["loss"], "epoch": epoch})
        else:
            self.test_stats = stats

    def on_evaluate_start(self, max_key=None, min_key=None):
        """Load the best checkpoint, and of it the averaged weights if it has
        any.
        """
        best = self.checkpointer.recover_if_possible(
            max_key=max_key, min_key=min_key
        )
        if best is None:
            raise UserError(
                f"No checkpoint in {self.hparams.save_folder}: there is "
                "nothing to test. Train first, or set --output_folder to a "
                "trained one."
            )
        averaged = self.hparams.averaged_weights
        if "averaged" in best.paramfiles:  # --test_only may not ask for them
            averaged.load(best.paramfiles["averaged"])
        averaged.exchange()

    def log(self, *stats, **others):
        """Log statistics; there is one logger, on the main process."""

        def log():
            try:
                self.logger.log_stats(*stats, **others)
            except OSError as error:
                raise writing_error(self.hparams.train_log, error) from error

        on_main(log)


def main(argv):
    """Prepare, train and evaluate, as the hparams file says.

    Arguments
    ---------
    argv : list of str
        The command line after the program's name.
    """
    with told_once():
        hparams_file, run_opts, overrides = parse_command_line(argv)
        start_group(run_opts)
        hparams, overrides = load_hparams(hparams_file, overrides)
        hparams_text = pathlib.Path(hparams_file).read_text(encoding="utf-8")
        settings = Settings(
            hparams_text, overrides, settle_run_options(hparams, run_opts)
        )
        if not (run_opts.test_only or run_opts.debug):
            on_main(settings.check, checkpointer=hparams["checkpointer"])
        on_main(
            make_output_folder,
            hparams=hparams,
            hparams_file=hparams_file,
            overrides=overrides,
        )
        with exit_on_sigterm():
            datasets = make_datasets(hparams)
        train_set, valid_set, test_set = make_loaders(
            hparams, datasets, run_opts.test_only
        )
        brain = make_brain(hparams, settings, run_opts)
    if not run_opts.test_only:
        brain.fit(hparams["epoch_counter"], train_set, valid_set)
    brain.evaluation = make_evaluation(brain)
    test(brain, valid_set, test_set)
    if if_main_process():
        write_all(brain, test_set.dataset.dataset, hparams_text, overrides)


def start_group(run_opts):
    """Join the other processes of the run, if there are any."""
    if run_opts.debug and "WORLD_SIZE" in os.environ:
        raise UserError("--debug runs in one process: leave out torchrun.")
    try:
        sb.utils.distributed.ddp_init_group(run_opts)
    except ValueError as error:  # more processes than GPUs
        raise UserError(f"{first_line(error)}") from error
    if run_opts.device == "cpu":
        reuse_memory()


def make_loaders(hparams, datasets, test_only):
    """The loaders of training, if there is to be any, validation and test."""
    check_evaluation(hparams)
    valid_set = make_loader(
        Shard(datasets["valid"]), hparams["valid_dataloader_opts"]
    )
    test_set = make_loader(
        Shard(datasets["test"]), hparams["test_dataloader_opts"]
    )
    train_set = None
    if not test_only:
        train_set = make_training_loader(
            datasets["train"],
            training_lengths(
                datasets["train"],
                training_crop(hparams) / hparams["sample_rate"],
            ),
            hparams["train_dataloader_opts"],
            hparams["max_batch_seconds"],
            hparams["seed"],
        )
    return train_set, valid_set, test_set


def make_brain(hparams, settings, run_opts):
    """The `Brain`, of fresh or given weights, with its one logger."""
    checkpointer = hparams["checkpointer"]
    if hparams["pretrained"] and checkpointer.newest_whole() is None:
        load_pretrained(hparams["separator"], hparams["pretrained"])
    checkpointer.add_recoverable("settings", settings, optional_load=True)
    averaged = hparams["averaged_weights"]
    averaged.follow(hparams["separator"])
    if averaged.decay is not None:
        checkpointer.add_recoverable("averaged", averaged)
    brain = Separation(
        modules=hparams["modules"],
        opt_class=hparams["optimizer"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=checkpointer,
        schedule=hparams["schedule"],
        clip_quantile=hparams["clip_quantile"],
    )
    brain.logger = hparams["train_logger"]() if if_main_process() else None
    brain.groups = speaker_groups(
        hparams["speaker_info"] or as_list(hparams["speech_folder"] or "")[0]
    )
    check_run_options(brain)
    return brain


def make_datasets(hparams):
    """The datasets of all splits, prepared by the main process first."""
    sets = {}
    common = {
        "num_spks": hparams["num_spks"],
        "sample_rate": hparams["sample_rate"],
        "seed": hparams["seed"],
    }
    crop = training_crop(hparams)
    if hparams["data_folder"]:
        if not hparams["skip_prep"]:
            on_main(
                prepare_manifests,
                data_folder=hparams["data_folder"],
                save_folder=hparams["save_folder"],
                num_spks=hparams["num_spks"],
                sample_rate=hparams["sample_rate"],
                mode=hparams["mixture_mode"],
                mixture_type=hparams["mixture_type"],
                train_folder=hparams["train_folder"],
            )
        manifests = {
            "train": hparams["train_data"],
            "valid": hparams["valid_data"],
            "test": hparams["test_data"],
        }
        mixing, spare = hparams["train_mixing"], 1.0
        if mixing is not None:
            mixing.longest, spare = crop, mixing.spare
        sets = mixture_datasets(
            manifests,
            training_crop=math.ceil(crop * spare),
            data_folder=hparams["data_folder"],
            epoch_counter=hparams["epoch_counter"],
            **common,
        )
    if hparams["speech_folder"]:
        dynamic_sets = on_main(
            make_dynamic_sets,
            speech_folder=hparams["speech_folder"],
            cache=hparams["speech_cache"],
            settings=hparams["dynamic_mixing"],
            training_crop=crop,
            training_only=bool(sets),
            **common,
        )
        dynamic_sets["train"].epoch_counter = hparams["epoch_counter"]
        sets.update(dynamic_sets)
        hparams["train_mixing"] = None  # they are new in every epoch
    return sets


def training_crop(hparams):
    """Samples of the longest training mixture: of whole chunks."""
    seconds, rate = hparams["training_crop"], hparams["sample_rate"]
    return hparams["separator"].filled(round(seconds * rate))


def make_output_folder(hparams, hparams_file, overrides):
    """Make the experiment's folder, with its logs and a copy of the hparams."""
    folder = hparams["output_folder"]
    try:
        sb.create_experiment_directory(
            experiment_directory=folder,
            hyperparams_to_save=hparams_file,
            overrides=overrides,
        )
    except OSError as error:
        raise UserError(
            f"output_folder: cannot write to {folder} ({error.strerror}). "
            "Free some space or choose another --output_folder."
        ) from error


def make_evaluation(brain):
    """Collects the scores of all heads."""
    hparams = brain.hparams
    unmixer = Unmixer(
        brain.separator,
        hparams.num_spks,
        mixture_consistency=hparams.mixture_consistency,
    )
    if hasattr(hparams, "kmeans"):  # not of a mask head alone
        unmixer = dataclasses.replace(
            unmixer, kmeans=hparams.kmeans, threshold_db=hparams.threshold_db
        )
    return Evaluation(
        unmixer,
        hparams.output_folder,
        hparams.sample_rate,
        hparams.perceptual_scores,
        groups=brain.groups,
    )


def test(brain, valid_set, test_set):
    """Score the best checkpoint on the test set."""
    hparams, evaluation = brain.hparams, brain.evaluation
    brain.on_evaluate_start(min_key="loss")
    brain.separator.eval()
    # By one process for all: the last digits may differ between devices.
    fitted = on_main(
        calibrated,
        unmixer=evaluation.unmixer,
        dataset=valid_set.dataset.dataset,
    )
    evaluation.unmixer = dataclasses.replace(evaluation.unmixer, **fitted)
    utterances = test_set.dataset.dataset
    heard = range(min(hparams.num_audio, len(utterances)))
    evaluation.audio_ids = {utterances[index]["id"] for index in heard}
    with evaluation.scoring(hparams.scoring_workers):
        brain.evaluate(test_set, min_key="loss")
    evaluation.collect()
    brain.log(
        {"epoch loaded": hparams.epoch_counter.current},
        test_stats=brain.test_stats,
    )


def write_all(brain, utterances, hparams_text, overrides):
    """Write the scores, the model folder and the report, and say where."""
    hparams, evaluation = brain.hparams, brain.evaluation
    folder = pathlib.Path(hparams.output_folder)
    summary = evaluation.write(
        experiment=hparams.experiment_name,
        seed=hparams.seed,
        num_spks=hparams.num_spks,
        sample_rate=hparams.sample_rate,
        data_folder=", ".join(as_list(hparams.data_folder)),
        speech_folder=", ".join(as_list(hparams.speech_folder)),
        licence=hparams.model_licence,
        epoch=hparams.epoch_counter.current,
        parameters=sum(p.numel() for p in brain.separator.parameters()),
        losses=brain.test_stats,
    )
    print(f"\n{in_words(summary)}")
    print(f"Results:  {folder}")
    export_model(
        folder / "model", hparams_text, overrides, evaluation.unmixer, summary
    )
    print(f"Model:    {folder / 'model'}")
    if hparams.num_audio:
        print(f"Listen:   {folder / 'separated'}")
    write_examples(evaluation, utterances)
    print(f"Report:   {write_report(folder)}")


def as_list(value):
    """The items of a list, or a single item; none of an empty text."""
    return list(value) if isinstance(value, list | tuple) else [value or ""]


def run(argv):
    """Run `main`, with errors of the user's told in one line."""
    try:
        main(argv)
        leave_group()
    except (UserError, OSError) as error:
        # The last line, as one of a loader's worker has its traceback before.
        line = str(error).strip().splitlines()[-1]
        line = line.removeprefix("dpcl_dprnn.common.errors.UserError: ")
        if if_main_process() or not getattr(error, "everywhere", False):
            print(f"train.py: error: {line}", file=sys.stderr)
        sys.exit(1)
    except RuntimeError as error:
        line = lost_process(error)
        if line is None:
            raise
        print(f"train.py: error: {line}", file=sys.stderr)
        sys.exit(1)
    except Stopped as error:
        if if_main_process():
            print(
                f"train.py: stopped by SIGTERM. {error} The same command goes "
                "on from there.",
                file=sys.stderr,
                flush=True,
            )
        if place()[1] > 1 and not error.together:
            os._exit(143)  # nobody waits for this process, nor it for them
        leave_group()
        sys.exit(143)
    except KeyboardInterrupt:
        print("train.py: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    run(sys.argv[1:])
