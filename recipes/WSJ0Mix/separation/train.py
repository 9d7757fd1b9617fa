#!/usr/bin/env python3
"""Train and evaluate a speech separator on WSJ0-mix or data laid out alike.

> python train.py hparams/dpcl_dprnn.yaml --data_folder=/data/wsj0-mix/2speakers

Everything else is set in the hparams file, and any of its keys on the command
line (`--num_spks=3`). `--test_only` evaluates the best checkpoint of an
earlier run. `--dry_run` only tells what memory and how many operations a
system would take, without data. SpeechBrain's run options, such as `--device`,
`--precision`, `--max_grad_norm`, `--nonfinite_patience` and
`--grad_accumulation_factor`, may stand in either place. Several processes:
`torchrun --nproc_per_node=N train.py ...`.
"""

import dataclasses
import os
import pathlib
import sys
import tempfile

import speechbrain as sb
from speechbrain.utils.distributed import if_main_process

from dpcl_dprnn.common.distributed import Shard, leave_group, on_main, place
from dpcl_dprnn.common.errors import UserError, told_once
from dpcl_dprnn.common.program import exit_on_sigterm, run_program
from dpcl_dprnn.datasets.batches import make_loader, make_training_loader
from dpcl_dprnn.datasets.files import training_lengths
from dpcl_dprnn.evaluation.examples import write_examples
from dpcl_dprnn.evaluation.scoring import in_words
from dpcl_dprnn.evaluation.speakers import speaker_groups
from dpcl_dprnn.inference.model_folder import export_model
from dpcl_dprnn.inference.separator import WINDOW
from dpcl_dprnn.model.losses import level_loss
from dpcl_dprnn.model.separator import load_pretrained, stack
from dpcl_dprnn.report.page import write_report
from dpcl_dprnn.training.engine import Engine
from dpcl_dprnn.training.machine import count_costs
from dpcl_dprnn.training.options import (
    begin,
    check_evaluation,
    load_hparams,
    open_loggers,
    parse_command_line,
)
from dpcl_dprnn.unmixing.calibration import calibrated


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
        """Separate a batch, with `mixture` [B, T] and `sources` [B, T, C].

        Returns
        -------
        dict
            `mixture` [B, T], `sources` [B, C, T] and `lengths` [B] as they
            were used, the `samples` of each mixture that came, the
            `separated` of the `Separator` and, unless in training, `each` of
            it by itself.
        """
        padded, relative = batch.mixture
        lengths = (relative * padded.shape[1]).round().long()
        samples = lengths.tolist()  # while they are on the CPU
        batch = batch.to(self.device, non_blocking=True)
        mixture, sources = batch.mixture.data, batch.sources.data
        sources = sources.transpose(1, 2)
        lengths, each = lengths.to(self.device, non_blocking=True), None
        if stage == sb.Stage.TRAIN:
            mixing = self.hparams.train_mixing
            if mixing is not None:
                mixture, sources, lengths = mixing(mixture, sources, lengths)
            self.seed_step(place()[0] + 1)  # dropout is each process's own
            separated = self.modules.separator(mixture)
        else:
            each = self.separator.separate_each(
                [x[:n] for x, n in zip(mixture, samples, strict=True)]
            )
            separated = stack(each)
        return {
            "mixture": mixture,
            "sources": sources,
            "lengths": lengths,
            "separated": separated,
            "each": each,
            "samples": samples,
        }

    def compute_objectives(self, predictions, batch, stage):
        """The weighted sum, a scalar, of the losses of the heads there are."""
        mixture, sources = predictions["mixture"], predictions["sources"]
        lengths, separated = predictions["lengths"], predictions["separated"]
        parts = {}
        if separated.estimates is not None:
            parts["pit"], permutation = self.hparams.pit_loss(
                separated.estimates, sources, lengths
            )
            if self.hparams.loss_weights.get("level"):
                parts["level"] = level_loss(
                    separated.estimates, sources, permutation, lengths
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
        names = ("mixture", "sources", "samples", "each")
        rows = zip(ids, *(predictions[name] for name in names), strict=True)
        for name, mixture, sources, length, separated in rows:
            self.evaluation.add(
                name, mixture[:length], sources[:, :length], separated
            )

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Log, and save after validation."""
        stats = self.stage_averages()
        if stage == sb.Stage.TRAIN:
            self.train_stats = stats
            self.save_before_validation()
        elif stage == sb.Stage.VALID:
            self.hparams.epoch_counter.update_metric(stats["loss"])
            rate = self.optimizer.param_groups[0]["lr"]
            self.log({"epoch": epoch, "lr": rate}, self.train_stats, stats)
            self.save(True, meta={"loss": stats["loss"], "epoch": epoch})
        else:
            self.test_stats = stats


def main(argv):
    """Prepare, train and evaluate, as the command line and hparams file say."""
    if any(word.startswith("--dry_run") for word in argv):
        return dry_run([w for w in argv if not w.startswith("--dry_run")])
    with told_once():
        hparams_file, hparams, run_opts, settings = begin(argv)
        on_main(
            make_folder,
            folder=hparams["output_folder"],
            hparams_file=hparams_file,
            overrides=settings.overrides,
        )
        with exit_on_sigterm():
            datasets = make_datasets(hparams)
        check_evaluation(hparams)
        valid_set, test_set = (
            make_loader(Shard(datasets[split]), options, run_opts.device)
            for split, options in (
                ("valid", hparams["valid_dataloader_opts"]),
                ("test", hparams["test_dataloader_opts"]),
            )
        )
        if not run_opts.test_only:
            check_levels(hparams, datasets["train"])
            seconds = training_crop(hparams) / hparams["sample_rate"]
            train_set = make_training_loader(
                datasets["train"],
                training_lengths(datasets["train"], seconds),
                hparams["train_dataloader_opts"],
                hparams["max_batch_seconds"],
                hparams["seed"],
                run_opts.device,
            )
        brain = make_brain(hparams, run_opts, settings)
    if not run_opts.test_only:
        brain.fit(hparams["epoch_counter"], train_set, valid_set)
    test(brain, datasets, test_set)
    if if_main_process():
        write_all(brain, datasets["test"], settings)
    leave_group()


def make_folder(folder, hparams_file, overrides):
    """Make the experiment's folder, with its logs, the hparams and this file."""
    try:
        sb.create_experiment_directory(folder, hparams_file, overrides)
    except OSError as error:
        raise UserError(
            f"output_folder: cannot write to {folder} ({error.strerror}). "
            "Free some space or choose another --output_folder."
        ) from error


def make_datasets(hparams):
    """The datasets of all splits: of files, and of mixtures on the fly."""
    sets, crop = {}, training_crop(hparams)
    if hparams["data_folder"]:
        if not hparams["skip_prep"]:
            on_main(hparams["prepare"])
        sets = hparams["file_datasets"](
            training_crop=crop, mixing=hparams["train_mixing"]
        )
    if hparams["speech_folder"]:
        live = on_main(
            hparams["live_datasets"],
            training_crop=crop,
            training_only=bool(sets),
        )
        live["train"].epoch_counter = hparams["epoch_counter"]
        sets.update(live)
        hparams["train_mixing"] = None  # they are new in every epoch
    return sets


def training_crop(hparams):
    """Samples of the longest training mixture: of whole chunks."""
    seconds, rate = hparams["training_crop"], hparams["sample_rate"]
    return hparams["separator"].filled(round(seconds * rate))


def check_levels(hparams, mixtures):
    """Refuse outputs without a speaker, of which no loss asks to be silent."""
    weights, most = hparams["loss_weights"], hparams["num_spks"]
    if "pit" not in weights or weights.get("level"):
        return
    rows = getattr(mixtures, "data", None)
    if rows is None:  # mixed on the fly
        numbers = hparams["dynamic_mixing"]["speakers"]
        fewest = min(numbers) if isinstance(numbers, list) else numbers
    else:
        last = f"s{most}_wav"
        fewest = most if all(row[last] for row in rows.values()) else most - 1
    if fewest < most:
        raise UserError(
            f"Some mixtures have fewer speakers than num_spks, {most}, and no "
            "loss asks the outputs that are left over to be silent. Set "
            "--loss_weights='{level: 0.2}', or another num_spks."
        )


def make_brain(hparams, run_opts, settings):
    """The `Brain`, of fresh or given weights."""
    checkpointer = hparams["checkpointer"]
    if hparams["pretrained"] and checkpointer.newest_whole() is None:
        load_pretrained(hparams["separator"], hparams["pretrained"])
    checkpointer.add_recoverable("settings", settings, optional_load=True)
    hparams["averaged_weights"].follow(hparams["separator"])
    brain = Separation(
        modules=hparams["modules"],
        opt_class=hparams["optimizer"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=checkpointer,
        seed=hparams["seed"],
        schedule=hparams["schedule"],
        clip_quantile=hparams["clip_quantile"],
        averaged=hparams["averaged_weights"],
        loggers=open_loggers(
            hparams["train_logger"],
            hparams["extra_logger"],
            hparams["output_folder"],
        ),
    )
    brain.groups = speaker_groups(
        hparams["speaker_info"] or hparams["speech_folder"]
    )
    return brain


def test(brain, datasets, test_set):
    """Score the best checkpoint on the test set."""
    hparams, utterances = brain.hparams, datasets["test"]
    brain.on_evaluate_start(min_key="loss")
    brain.separator.eval()
    # By one process for all: the last digits may differ between devices.
    fitted = on_main(
        calibrated, unmixer=hparams.unmixer, dataset=datasets["valid"]
    )
    heard = range(min(hparams.num_audio, len(utterances)))
    brain.evaluation = hparams.evaluation(
        dataclasses.replace(hparams.unmixer, **fitted),
        audio_ids={utterances[index]["id"] for index in heard},
        groups=brain.groups,
    )
    with brain.evaluation.scoring(hparams.scoring_workers):
        brain.evaluate(test_set, min_key="loss")
    brain.evaluation.collect()
    brain.log(
        {"epoch loaded": hparams.epoch_counter.current},
        test_stats=brain.test_stats,
    )


def write_all(brain, utterances, settings):
    """Write the scores, the model folder and the report, and say where."""
    hparams, evaluation = brain.hparams, brain.evaluation
    folder = pathlib.Path(hparams.output_folder)
    summary = evaluation.write(
        experiment=hparams.experiment_name,
        seed=hparams.seed,
        num_spks=hparams.num_spks,
        sample_rate=hparams.sample_rate,
        data_folder=hparams.data_folder,
        speech_folder=hparams.speech_folder,
        licence=hparams.model_licence,
        epoch=hparams.epoch_counter.current,
        parameters=sum(p.numel() for p in brain.separator.parameters()),
        losses=brain.test_stats,
    )
    print(f"\n{in_words(summary)}")
    print(f"Results:  {folder}")
    export_model(
        folder / "model",
        settings.text,
        settings.overrides,
        evaluation.unmixer,
        summary,
        hparams.model_dtype,
    )
    print(f"Model:    {folder / 'model'}")
    if hparams.num_audio:
        print(f"Listen:   {folder / 'separated'}")
    write_examples(evaluation, utterances)
    print(f"Report:   {write_report(folder)}")


def dry_run(argv):
    """Tell what a step and the use of a system would cost, in fp32."""
    if "WORLD_SIZE" in os.environ:
        raise UserError("--dry_run is of one process: leave out torchrun.")
    with tempfile.TemporaryDirectory() as folder:
        hparams_file, run_opts, overrides = parse_command_line(
            [*argv, "--device=cpu", f"--output_folder={folder}"]
        )
        hparams, _ = load_hparams(hparams_file, overrides, data="none")
        options = {
            "device": "cpu",
            "precision": "fp32",
            "eval_precision": "fp32",
        }
        if "grad_accumulation_factor" in run_opts.overridden_args:
            options["grad_accumulation_factor"] = (
                run_opts.grad_accumulation_factor
            )
        brain = Separation(
            modules=hparams["modules"],
            opt_class=hparams["optimizer"],
            hparams=hparams | {"train_mixing": None},
            run_opts=options,
            checkpointer=hparams["checkpointer"],
            averaged=hparams["averaged_weights"],
        )
        samples = training_crop(hparams)
        seconds = samples / hparams["sample_rate"]
        batch = hparams["train_dataloader_opts"]["batch_size"]
        if hparams["max_batch_seconds"] is not None:
            batch = max(1, int(hparams["max_batch_seconds"] / seconds))
        costs = count_costs(brain, batch, samples, WINDOW)
    print(costs.in_words(batch, seconds, WINDOW))


def run(argv):
    """Run `main`, with the user's errors told in one line."""
    status = run_program("train.py", main, argv, sigterm=False)
    if status:
        sys.exit(status)


if __name__ == "__main__":
    run(sys.argv[1:])
