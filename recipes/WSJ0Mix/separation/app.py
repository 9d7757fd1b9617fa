#!/usr/bin/env python3
"""A page in the browser that separates recordings with a trained model.

    python app.py

serves it at http://127.0.0.1:7860 to this computer only, until Ctrl-C. It
needs no network. What is uploaded and made lies in a temporary folder.
"""

import argparse
import contextlib
import ipaddress
import os
import signal
import socket
import sys
import tempfile

from dpcl_dprnn.apps.page import build_page, import_gradio, theme
from dpcl_dprnn.common.errors import UserError
from dpcl_dprnn.common.program import positive, run_program
from dpcl_dprnn.inference.loading import MODEL

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def port_number(text):
    """A port to listen on, for argparse."""
    number = int(text)
    if not 0 < number < 65536:
        raise argparse.ArgumentTypeError(f"{text} is not in 1 to 65535")
    return number


def parse(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="app.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", default=MODEL, help="model folder; one comes along")
    add("--device", default="cpu", help="cpu, cuda, cuda:1 (default: cpu)")
    add(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 lets other computers in "
        "(default: 127.0.0.1)",
    )
    add("--port", type=port_number, default=7860, help="(default: 7860)")
    add(
        "--max_mb",
        type=positive,
        default=50,
        help="largest upload, in MB (default: 50)",
    )
    add(
        "--max_seconds",
        type=positive,
        default=300,
        help="longest mixture, in seconds (default: 300)",
    )
    add(
        "--trust_model",
        action="store_true",
        help="let the model folder run any program, if it wants to",
    )
    return parser.parse_args(argv)


def check_address(host, port):
    """Bind to an address for a moment, for a clear error if it is taken."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, _, _, address = found[0]
        with socket.socket(family, kind) as probe:
            # As the server does: a port closed a moment ago is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:  # a part of over 63 characters
        why = getattr(error, "strerror", None) or "Not a name of a host"
        raise UserError(
            f"Cannot listen on {host}, port {port}: {why}. "
            "Choose another --port or --host."
        ) from error


def is_loopback(host):
    """Whether only this computer can reach a host.

    Example
    -------
    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "0.0.0.0")]
    [True, True, False]
    """
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def serve(separator, args):
    """Show the page until a signal comes; return its number."""
    # Blocked in all threads and waited for, so that none comes in between
    # while the folder is removed.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    page = build_page(separator, args.max_seconds)
    page.launch(
        prevent_thread_lock=True,
        server_name=f"[{args.host}]" if ":" in args.host else args.host,
        server_port=args.port,
        max_file_size=round(args.max_mb * 2**20),
        theme=theme(),
        show_error=True,
        quiet=True,
        share=False,
        footer_links=[],
        run_history=False,  # the browser would keep the sound
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
    )
    print(f"Open {page.local_url} (Ctrl-C ends it)", flush=True)
    ended = signal.sigwait(ENDING)
    page.close(verbose=False)
    return ended


def run(args):
    """Load the model and serve the page; return the exit status."""
    import_gradio()
    check_address(args.host, args.port)
    if not os.path.isdir(args.model):  # or it would be sought in the network
        raise UserError(
            f"{args.model} is not a folder. Give a model folder, such as "
            "OUTPUT_FOLDER/model."
        )
    from dpcl_dprnn.inference import SpeechSeparator

    separator = SpeechSeparator.from_hparams(
        source=args.model,
        run_opts={"device": args.device},
        safe=not args.trust_model,
    )
    if not is_loopback(args.host):
        print(
            f"app.py: warning: --host {args.host} lets other computers use "
            "the page, without a password",
            file=sys.stderr,
        )
    return 128 + serve(separator, args)


def run_in_scratch(args):
    """Run with a folder for the page's files, which is removed at the end."""
    # Gradio asks its own server whether it is up: not through a proxy.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"
    with tempfile.TemporaryDirectory(
        prefix="dpcl_dprnn_app_", ignore_cleanup_errors=True
    ) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # it is read by the import
        return run(args)


def main(argv=None):
    """Serve the page.

    Arguments
    ---------
    argv : list, optional
        The command line; that of the process by default.

    Returns
    -------
    int
        Exit status: 1 after an error of the user, 128 and the number of the
        signal after a signal.
    """
    args = parse(argv)
    signal.signal(signal.SIGHUP, lambda number, _: sys.exit(128 + number))
    return run_program("app.py", run_in_scratch, args)


if __name__ == "__main__":
    status = main()
    os._exit(status)  # without waiting for a separation that still runs
