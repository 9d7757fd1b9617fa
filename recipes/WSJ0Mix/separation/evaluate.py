#!/usr/bin/env python3
"""Score a model on mixtures whose sources are known.

    python evaluate.py --data_folder data/2speakers --output results/mine

separates the test mixtures of a data set in any layout that train.py knows
(one that has a test set alone will do), and writes what train.py writes of a
test: scores of each head as CSV files, summary.json, separated voices and
report.html, into a folder of its own.
"""

import argparse
import pathlib
import sys

from dpcl_dprnn.common.errors import UserError
from dpcl_dprnn.common.program import not_negative, run_program


def make_parser():
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        prog="evaluate.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data_folder", required=True, nargs="+", help="folders of mixtures")
    add("--output", required=True, help="folder to write, without scores")
    add(
        "--model",
        help="model folder, or user/name on the Hub; by default the model of "
        "real voices that comes along",
    )
    add(
        "--num_spks",
        type=int,
        help="speakers in a mixture, in several folders the most; by default "
        "as many as the model was trained for. More are separated by k-means",
    )
    add("--mixture_mode", choices=("min", "max"), default="min")
    add(
        "--mixture_type",
        choices=("clean", "both"),
        default="clean",
        help="both: with noise, of data that have such mixtures",
    )
    add("--perceptual", action="store_true", help="PESQ and STOI too")
    add(
        "--num_audio",
        type=not_negative,
        default=5,
        help="mixtures to write voices of",
    )
    add("--speaker_info", help="CSV file with speaker and gender")
    add(
        "--scoring_workers",
        type=not_negative,
        default=0,
        help="processes beside the one that separates; 0: it scores",
    )
    add("--device", help="such as cpu, cuda or cuda:1")
    add(
        "--trust_model",
        action="store_true",
        help="let the model folder run any program, if it wants to",
    )
    return parser


def run(args):
    """Load, separate and score; return the exit status."""
    # Not before the options are read: these imports take seconds.
    import torch
    import tqdm

    from dpcl_dprnn.datasets.files import mixture_dataset
    from dpcl_dprnn.datasets.manifests import prepare_manifests
    from dpcl_dprnn.evaluation.examples import write_examples
    from dpcl_dprnn.evaluation.scoring import Evaluation, in_words
    from dpcl_dprnn.evaluation.speakers import speaker_groups
    from dpcl_dprnn.inference import SpeechSeparator
    from dpcl_dprnn.inference.loading import MODEL
    from dpcl_dprnn.report.page import write_report

    folder = pathlib.Path(args.output)
    if (folder / "summary.json").exists():
        raise UserError(
            f"{folder} has scores already. Choose another --output."
        )
    separator = SpeechSeparator.from_hparams(
        source=args.model or MODEL,
        safe=not args.trust_model,
        run_opts={"device": args.device} if args.device else None,
    )
    rate = separator.sample_rate
    num_spks, _ = separator.unmixer.check(args.num_spks, None)
    manifests = prepare_manifests(
        args.data_folder,
        folder,
        num_spks,
        rate,
        args.mixture_mode,
        args.mixture_type,
        splits=("test",),
    )
    dataset = mixture_dataset(manifests["test"], num_spks, rate)
    evaluation = Evaluation(
        separator.unmixer,
        folder,
        rate,
        args.perceptual,
        audio_ids=dataset.data_ids[: args.num_audio],
        groups=speaker_groups(args.speaker_info),
        heads=separator.unmixer.heads_for(num_spks),
    )
    with evaluation.scoring(args.scoring_workers), torch.no_grad():
        for item in tqdm.tqdm(dataset, "evaluating", unit="mixture"):
            mixture = item["mixture"].to(separator.device)
            sources = item["sources"].T.to(separator.device)
            (separated,) = separator.mods.separator.separate_each([mixture])
            evaluation.add(item["id"], mixture, sources, separated)
    evaluation.collect()
    summary = evaluation.write(
        experiment=str(args.model or "the model that comes along"),
        num_spks=num_spks,
        sample_rate=rate,
        data_folder=args.data_folder,
    )
    write_examples(evaluation, dataset)
    print(f"\n{in_words(summary)}")
    print(f"Results:  {folder}")
    print(f"Report:   {write_report(folder)}")
    return 0


def main(argv=None):
    """Score what the command line names; return the exit status."""
    args = make_parser().parse_args(argv)
    return run_program("evaluate.py", run, args)


if __name__ == "__main__":
    sys.exit(main())
