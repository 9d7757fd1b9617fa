#!/usr/bin/env python3
"""Is a training that is killed again and again the same as one that is not?

    python benchmarks/kills.py --kills 50 --out kills.json

Small trainings, of some seconds each, run undisturbed first. Then they run
once more, are killed at random instants (while data are prepared, in steps,
while checkpoints are written and deleted, in validation, test and writing of
results) and started anew by the same command, until there were as many kills
as asked for. What they end with has to be bit-identical: weights, optimiser,
counters, averages in the log, scores. The exit status is 1 if anything
differs, or if a checkpoint is lost or not whole.

All is imported once, and each start is a fork of this process.
"""

import argparse
import contextlib
import dataclasses
import importlib
import json
import multiprocessing
import os
import pathlib
import pkgutil
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import speechbrain as sb
import torch

import dpcl_dprnn
from dpcl_dprnn.training.checkpoints import damage

ROOT = pathlib.Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "WSJ0Mix" / "separation"
sys.path += [str(RECIPE), str(ROOT / "tests")]
outcomes = importlib.import_module("outcomes")
tiny_run = importlib.import_module("tiny_run")

PATIENCE = 60  # seconds in which a process has to end by itself
QUOTA = "full disks as well, of so many kB; to mount them takes root"
HANGS = 600  # seconds after which a run is taken to hang
TINY = (
    *("--device=cpu", "--distributed_backend=gloo", "--noprogressbar"),
    *("--precision=fp32", "--batch_size=2", "--training_crop=0.5"),
    *("--num_layers=1", "--hidden_size=8", "--num_channels=16"),
    *("--chunk_length=20", "--lr=0.01", "--num_audio=1"),
    *("--ckpt_interval_minutes=0", "--ckpt_interval_steps=3"),
)
MINI = ("hparams/mini.yaml", *TINY, "--embedding_size=4", "--warmup_steps=5")
# 13 mixtures are 7 batches, so that the last step of an epoch has fewer.
SPEECH = "--dynamic_mixing={train: 13, valid: 2, test: 2}"
ALL = "--train_dataloader_opts={drop_last: False}"
WORKER = "--train_dataloader_opts={drop_last: False, num_workers: 1}"
TRAININGS = {
    "mixtures": (*MINI, ALL, "--grad_accumulation_factor=2"),
    "speech": (*MINI, ALL, SPEECH, "--grad_accumulation_factor=3"),
    "mixtures, stops early": (
        *("hparams/dprnn.yaml", *TINY, ALL, "--num_workers=0"),
        "--early_stopping_epochs=3",
        *("--kernel_size=64", "--num_filters=32", "--perceptual_scores=False"),
    ),
    "speech, by a worker": (*MINI, WORKER, SPEECH),
}


class Failed(Exception):
    """A run has ended in an error, or has not ended."""


@dataclasses.dataclass
class Run:
    """A command line and the folder it writes to, of one process or more."""

    words: tuple
    folder: pathlib.Path
    ranks: int = 1

    @property
    def said(self):
        """What the processes have printed, in all starts."""
        path = self.folder.with_name(f"{self.folder.name}.txt")
        return path.read_text(encoding="utf-8", errors="replace")

    @contextlib.contextmanager
    def started(self):
        """Fork the processes; none outlives the block."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        fork = multiprocessing.get_context("fork").Process
        processes = [
            fork(target=self._work, args=(rank, port))
            for rank in range(self.ranks)
        ]
        for process in processes:
            process.start()
        try:
            yield processes
        finally:
            for process in processes:
                with contextlib.suppress(OSError):  # its workers too
                    os.killpg(process.pid, signal.SIGKILL)
                process.kill()
                process.join()

    def _work(self, rank, port):
        os.setpgid(0, 0)
        said = open(self.folder.with_name(f"{self.folder.name}.txt"), "ab")
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        os.chdir(RECIPE)
        if self.ranks > 1:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            os.environ |= {"WORLD_SIZE": str(self.ranks)}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        words = [*self.words, f"--output_folder={self.folder}"]
        sys.modules["train"].run(words)

    def to_its_end(self, allowed=(0,)):
        """Run undisturbed, and give the seconds that it took."""
        began = time.monotonic()
        with self.started() as processes:
            wait(processes, HANGS)
            self.check(processes, allowed)
        return time.monotonic() - began

    def check(self, processes, allowed):
        """Raise `Failed` where a status of the processes is not allowed."""
        statuses = [process.exitcode for process in processes]
        if not {*statuses} <= {*allowed}:
            raise Failed(
                f"{self.folder.name}: the processes have ended with "
                f"{statuses}, not {allowed}: ...{self.said[-2000:]}"
            )

    def damaged(self):
        """The names of checkpoints that are not whole."""
        names = [p.name for p in self.folder.glob("save/CKPT+*") if damage(p)]
        return names + [p.name for p in self.folder.glob("save/damaged*")]


def wait(processes, seconds):
    """Wait for all processes, but no longer than some time."""
    end = time.monotonic() + seconds
    for process in processes:
        process.join(max(0, end - time.monotonic()))


def disturbed(run, seconds, kills, rng, sigterm):
    """Start a run anew until it ends by itself, killing it now and then.

    The kills, of which there are so many at the most, are uniform over the
    seconds that it takes undisturbed. A share of them are SIGTERM, to all
    processes as from a cluster; the others are SIGKILL, to any or all. Yields
    a row on each.
    """
    for count in range(kills + 1):
        began = time.time()
        with run.started() as processes:
            wait(
                processes, HANGS if count == kills else rng.uniform(0, seconds)
            )
            alive = [each for each in processes if each.exitcode is None]
            if not alive or count == kills:
                run.check(processes, [0])
                return
            run.check(processes, [0, None])
            asked = rng.random() < sigterm
            victims = alive
            if not asked:
                victims = rng.choice([alive, *([each] for each in alive)])
            before, killed = outcomes.newest(run.folder), time.time()
            for each in victims:
                os.kill(each.pid, signal.SIGTERM if asked else signal.SIGKILL)
            wait(processes, PATIENCE)
            took = time.time() - killed
            # SIGTERM before Python listens to it is as good as 143.
            run.check(processes, [0, 143, -15] if asked else [0, 1, -9])
        after = outcomes.newest(run.folder)
        yield {
            "training": run.folder.name,
            "signal": "SIGTERM" if asked else "SIGKILL",
            "ranks": [processes.index(each) for each in victims],
            "statuses": [each.exitcode for each in processes],
            "seconds": killed - began,
            "seconds_to_end": took,
            "seconds_lost": max(0, killed - max(began, after[-1])),
            "optimizer_step": after[0],
            "within_an_epoch": not after[1],
            "partial": len([*run.folder.glob("save/partial*")]),
            "lost": after < before,
            "damaged": run.damaged(),
        }


def kill_all(args, wanted, make):
    """Kill trainings in turn until there were enough kills.

    `wanted` has the seconds and the outcome of each, undisturbed, and `make`
    its `Run` from its name and that of a folder. Returns a row of each kill,
    and by training what differs or how it failed.
    """
    rng, rows, wrong = random.Random(args.seed), [], {}
    while len(rows) < args.kills and len(wrong) < 3:
        for name, (seconds, outcome) in wanted.items():
            left = args.kills - len(rows)
            if not left:
                break
            run = make(name, f"{name} {len(rows)}")
            try:
                for row in disturbed(run, seconds, left, rng, args.sigterm):
                    rows.append(row)
                    tell(f"{len(rows)} {row}")
                got = outcomes.outcome(run.folder)
                found = outcomes.differences(got, outcome)
            except Failed as error:
                found = str(error)
            tell(f"{run.folder.name}: {found or 'identical'}")
            if found:
                wrong[run.folder.name] = found
    return rows, wrong


def full_disk(run, wanted, size):
    """Run on a disk of so many kB, then make space; what is wrong then."""
    run.folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "none", str(run.folder), "-o")
    subprocess.run([*mount, f"size={size}k"], check=True)
    try:
        run.to_its_end(allowed=(0, 1))  # 0: it was large enough
        found, errors = run.damaged(), run.said.count("train.py: error: ")
        if errors > 1 or "Traceback" in run.said:
            found.append(f"not one error in one line: {run.said[-1000:]}")
        tell(f"{outcomes.newest(run.folder)} {run.said[-300:]}")
        subprocess.run([*mount, "remount,size=100m"], check=True)
        run.to_its_end()
        got = outcomes.outcome(run.folder)
        return found + outcomes.differences(got, wanted)
    except Failed as error:
        return str(error)
    finally:
        subprocess.run(["umount", str(run.folder)], check=True)


def summary(rows, wrong):
    """The figures on all kills."""
    lost = [row["seconds_lost"] for row in rows] or [0.0]
    failed = {name for name, found in wrong.items() if isinstance(found, str)}
    return {
        "kills": len(rows),
        "resumed": sum(row["training"] not in failed for row in rows),
        "lost_checkpoints": sum(row["lost"] for row in rows),
        "damaged_checkpoints": sum(len(row["damaged"]) for row in rows),
        "identical": not wrong,
        "wrong": wrong,
        "kills_while_saving_or_deleting": sum(r["partial"] > 0 for r in rows),
        "median_seconds_lost": statistics.median(lost),
        "worst_seconds_lost": max(lost),
        "longest_seconds_to_end": {
            kind: max(
                [r["seconds_to_end"] for r in rows if r["signal"] == kind],
                default=None,
            )
            for kind in ("SIGKILL", "SIGTERM")
        },
    }


def import_all():
    """Import what a training needs, once for all starts."""
    torch.set_num_threads(1)  # a pool of threads would not outlive a fork
    modules = pkgutil.walk_packages(dpcl_dprnn.__path__, "dpcl_dprnn.")
    names = [module.name for module in modules]
    for name in (*names, "train", "torch._dynamo", "matplotlib.pyplot"):
        importlib.import_module(name)
    # Its pip takes longer than a run.
    sb.utils.logger.get_environment_description = str


def tell(text):
    """Show progress."""
    print(text, file=sys.stderr, flush=True)


def command_line():
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--kills", type=int, default=50)
    add("--seed", type=int, default=0, help="of the instants")
    add("--ranks", type=int, default=1, help="processes of a training")
    add("--sigterm", type=float, default=0.2, help="share of SIGTERM")
    add("--steps", type=int, default=80, help="of a training, or its epochs")
    add("--trainings", nargs="+", choices=[*TRAININGS], default=[*TRAININGS])
    add("--quota", nargs="+", type=int, default=[], help=QUOTA)
    add("--no_report", action="store_true", help="leave out its pictures")
    add("--out", help="JSON file, with a row for each kill")
    return parser.parse_args()


def main():
    """Kill, compare and tell."""
    args = command_line()
    import_all()
    if args.no_report:
        sys.modules["train"].write_report = str
    with tempfile.TemporaryDirectory() as temporary:
        folder, wanted = pathlib.Path(temporary), {}
        tiny_run.make_mixtures(folder / "mixtures", [1.0] * 13, others=2)
        tiny_run.make_speech(folder / "speech")

        def make(name, other):
            kind = name.split(",")[0]
            option = {"mixtures": "data_folder"}.get(kind, "speech_folder")
            steps = "number_of_epochs" if "early" in name else "total_steps"
            data = (f"--{option}={folder / kind}", f"--{steps}={args.steps}")
            return Run((*TRAININGS[name], *data), folder / other, args.ranks)

        for name in args.trainings:
            run = make(name, f"{name} undisturbed")
            seconds = run.to_its_end()
            wanted[name] = seconds, outcomes.outcome(run.folder)
            tell(f"{run.folder.name}: {seconds:.1f} s")
        rows, wrong = kill_all(args, wanted, make)
        for size in args.quota:
            run = make(args.trainings[0], f"disk of {size} kB")
            found = full_disk(run, wanted[args.trainings[0]][1], size)
            tell(f"{run.folder.name}: {found or 'identical'}")
            if found:
                wrong[run.folder.name] = found
    found = summary(rows, wrong)
    print(json.dumps(found, indent=1))
    if args.out:
        text = json.dumps({**found, "rows": rows}, indent=1)
        pathlib.Path(args.out).write_text(f"{text}\n", encoding="utf-8")
    bad = wrong or found["lost_checkpoints"] or found["damaged_checkpoints"]
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
