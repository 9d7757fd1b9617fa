#!/usr/bin/env python3
"""Write a model as an ONNX file, for programs without Python or PyTorch.

    python export_onnx.py voices.onnx

The file takes `mixture` [1, samples], at the model's sampling rate, and gives
`voices` [1, speakers, samples]: what separate.py gives by masks for as many
voices as the model has. It needs more packages: pip install onnx onnxruntime
onnxscript.
"""

import argparse
import sys

from dpcl_dprnn.common.program import positive, run_program


def make_parser():
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        prog="export_onnx.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("output", help="file to write, .onnx")
    add(
        "--model",
        help="model folder, or user/name on the Hub; by default the model of "
        "real voices that comes along",
    )
    add(
        "--seconds",
        type=positive,
        help="the only length to take; by default any from 0.25 s on",
    )
    add(
        "--trust_model",
        action="store_true",
        help="let the model folder run any program, if it wants to",
    )
    return parser


def run(args):
    """Load, export and compare."""
    # Not before the options are read: these imports take seconds.
    from dpcl_dprnn.inference import SpeechSeparator
    from dpcl_dprnn.inference.loading import MODEL
    from dpcl_dprnn.inference.onnx_export import export_onnx

    separator = SpeechSeparator.from_hparams(
        source=args.model or MODEL, safe=not args.trust_model
    )
    worst = export_onnx(separator, args.output, args.seconds)
    print(
        f"{args.output}: {separator.num_spks} voices at "
        f"{separator.sample_rate} Hz, up to {worst:.1e} from PyTorch's."
    )


def main(argv=None):
    """Export what the command line names; return the exit status."""
    return run_program("export_onnx.py", run, make_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
