"""The library said aloud: `celeiro pack`, `celeiro info`.

Data goes to stdout, progress and words to stderr. Exit codes: 0 done, 1 something is wrong with
the files, 2 with the command; 130 after Ctrl-C.
"""

from __future__ import annotations

import sys

import typer

from celeiro._version import __version__
from celeiro.cli.bench import bench
from celeiro.cli.doctor import doctor
from celeiro.cli.features import features
from celeiro.cli.info import info
from celeiro.cli.pack import joined, pack
from celeiro.cli.probe import probe
from celeiro.cli.repack import repack
from celeiro.cli.salvage import salvage
from celeiro.cli.similar import similar
from celeiro.cli.verify import verify
from celeiro.cli.words import say
from celeiro.errors import CeleiroError, OptionError

app = typer.Typer(
    name="celeiro",
    help="Store image datasets for deep learning in plain HDF5.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(pack)
app.command()(info)
app.command()(verify)
app.command()(salvage)
app.command()(repack)
app.command()(doctor)
app.command()(bench)
app.command()(features)
app.command()(probe)
app.command()(similar)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version.", is_eager=True),
) -> None:
    if version:
        sys.stdout.write(f"{__version__}\n")
        raise typer.Exit


def main() -> None:
    """Entry point of the command `celeiro`."""
    try:
        app(joined(sys.argv[1:]), prog_name="celeiro")
    except OptionError as error:
        say(f"celeiro: {error}")
        sys.exit(2)
    except CeleiroError as error:
        say(f"celeiro: {error}")
        sys.exit(1)
    except OSError as error:
        say(f"celeiro: {_in_words(error)}")
        sys.exit(1)
    except KeyboardInterrupt:
        say("celeiro: stopped.")
        sys.exit(130)


def _in_words(error: OSError) -> str:
    """What the system refused, without its number."""
    if error.filename is None or error.strerror is None:
        return str(error)
    name = error.filename
    return f"{name if isinstance(name, str) else repr(name)}: {error.strerror}."


__all__ = ["app", "main"]
