"""What all commands share: the app, one sentence for what is wrong, the files that are named, a bar of progress."""

import sys
from contextlib import contextmanager
from importlib import metadata
from typing import Annotated

import typer

from temlib.errors import TemlibError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # else it takes "[px]" for a colour
)


def _tell_version(wanted):
    if wanted:
        print(f"temlib {metadata.version('temlib')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Tell the version and end.")
    ] = False,
):
    """Low-dose TEM frames of nanoparticles: denoise and measure yours, simulate some, fetch the paper's."""


def refuse(sentence):
    print(f"error: {sentence}", file=sys.stderr)


def not_computed(path, error, remedy="take a smaller network (--model fast)"):
    """What the runtime of a network fails with, in one sentence."""
    reason = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":")
    return (
        f"{path.name} was not computed ({reason:.200}): more free memory may be needed. Close other programs and try "
        f"again, or {remedy}."
    )


def shown_on(bar):
    """What shows the progress of images or fields, `progress(done, total)`, on a bar."""

    def progress(done, total):
        bar.total = total
        bar.update(done - bar.n)

    return progress


@contextmanager
def one_sentence():
    """Turn what is wrong with an input into one line and exit status 2."""
    try:
        yield
    except (TemlibError, OSError) as error:
        refuse(error)
        raise typer.Exit(2) from error


def found(inputs, *, denoised=False):
    """Files and movies that the arguments of a command name, and how many of these were refused; see `inputs.find`."""
    from temlib.inputs import find

    paths, refusals, notes = find(inputs, denoised=denoised)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    for sentence in refusals:
        refuse(sentence)
    return paths, len(refusals)
