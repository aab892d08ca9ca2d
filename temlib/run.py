"""Run the notebooks of a profile, in order: `python -m temlib.run [PROFILE]`, behind `run_all.sh`.

Exit status: 0 all done, 1 done without the inputs that were left out, 2 not done.
"""

import fcntl
import json
import logging
import os
import sys
import time
import warnings
from contextlib import contextmanager
from typing import Annotated

import papermill
import typer
from papermill.exceptions import PapermillExecutionError

from temlib import errors
from temlib.errors import ProfileError, TemlibError
from temlib.paths import NOTEBOOKS, RUNS, whole_file
from temlib.provenance import git_state
from temlib.publishing import check_publishable, publish_results
from temlib.settings import load_profile, notebook_parameters, notebook_paths

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    profile: Annotated[str, typer.Argument(help="A file of params/, such as smoke, laptop or paper.")] = "laptop",
    start: Annotated[str, typer.Option("--from", metavar="NN", help="Begin with this notebook.")] = "",
    only: Annotated[str, typer.Option("--only", metavar="NN", help="Run this notebook alone.")] = "",
    publish: Annotated[bool, typer.Option("--publish", help="Then copy the results to figures/.")] = False,
):
    """Regenerate every table and figure of the paper; goes on from what an earlier run left."""
    try:
        parameters = load_profile(profile)
        chosen = _choose(start, only)
        with _claimed(RUNS / profile, profile, parameters) as run_dir:
            if publish:
                check_publishable(run_dir)
            for notebook in chosen:
                _execute(notebook, run_dir, parameters)
            if publish:
                publish_results(run_dir, chosen)
            report = run_dir / "figures" / "report.html"
            renewed = report.is_file() and chosen[-1] == notebook_paths()[-1]  # by the last notebook
            print(f"Done. The report is {os.path.relpath(report)}" if renewed else "Done.")
            if left_out := _left_out(run_dir):
                sys.exit(_say(left_out, 1))
    except TemlibError as error:
        sys.exit(_say(error, 2))
    except KeyboardInterrupt:
        sys.exit(_say("stopped; the same command goes on from here.", 130))


def _say(message, status):
    print(f"error: {message}", file=sys.stderr)
    return status


def _choose(start, only):
    """The notebooks to run, of those in the house."""
    if start and only:
        raise ProfileError("--from runs a notebook and those after it, --only one alone: give one of the two.")
    paths = notebook_paths()
    numbers = [path.name[:2] for path in paths]
    for option, number in (("--from", start), ("--only", only)):
        if number and number not in numbers:
            raise ProfileError(f"{option} {number}: there is no such notebook; choose one of {', '.join(numbers)}.")
    if only:
        return [path for path in paths if path.name[:2] == only]
    return [path for path in paths if path.name[:2] >= start]


@contextmanager
def _claimed(run_dir, name, parameters):
    """The run's folder, locked against a second run and made with these parameters only."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with open(run_dir / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ProfileError(
                f"Another run of {name!r} is at work in runs/{name}: wait for it, or end it first."
            ) from error
        for left in run_dir.rglob(".*.partial*"):  # by a run that was killed
            left.unlink(missing_ok=True)
        profile_file = run_dir / "profile.json"
        commit, _ = git_state()
        this = {"name": name, "parameters": parameters, "git_commit": commit}
        if profile_file.is_file():
            before = json.loads(profile_file.read_text())
            changed = [key for key in parameters if before["parameters"].get(key) != parameters[key]]
            if changed or before["parameters"].keys() - parameters.keys():
                raise ProfileError(
                    f"runs/{name} was made with other values of {', '.join(changed) or 'its keys'}: delete or move "
                    "that folder to start afresh, or put the values back to go on."
                )
            if before["git_commit"] != commit:
                print(
                    f"Note: runs/{name} was begun by other code ({str(before['git_commit'])[:8]}, now "
                    f"{str(commit)[:8]}); delete the folder to compute everything anew."
                )
        else:
            if any(file.name not in (".lock", "log.txt") for file in run_dir.iterdir()):
                raise ProfileError(
                    f"runs/{name} holds results but no profile.json that tells what they were made with: delete or "
                    "move that folder to start afresh."
                )
            with whole_file(profile_file) as partial:
                partial.write_text(json.dumps(this, indent=2) + "\n")
        yield run_dir


class _Tee:
    """What a notebook prints, to the terminal and to the log."""

    def __init__(self, log):
        self.log = log

    def write(self, text):
        self.log.write(text)
        for line in text.splitlines():
            if line.strip():
                print(f"    {line}", flush=True)

    def flush(self):
        self.log.flush()


@contextmanager
def _stderr_to(file):
    """Send this process's stderr, and its children's, to a file: kernels chat there."""
    terminal = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


def _execute(notebook, run_dir, parameters):
    """One notebook, with the keys that it knows; its traceback goes to the log."""
    known = notebook_parameters(notebook)
    given = {key: value for key, value in parameters.items() if key in known}
    executed = run_dir / "notebooks" / notebook.name
    executed.parent.mkdir(exist_ok=True)
    log_file = run_dir / "log.txt"
    print(f"{notebook.stem}", flush=True)
    os.environ["OMP_NUM_THREADS"] = str(parameters["threads"])
    started = time.perf_counter()
    with open(log_file, "a") as log, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        handler = logging.StreamHandler(log)
        logging.getLogger("papermill").addHandler(handler)
        try:
            with _stderr_to(log):
                papermill.execute_notebook(
                    notebook,
                    executed,
                    {"run_dir": os.path.relpath(run_dir, NOTEBOOKS), **given},
                    cwd=str(NOTEBOOKS),
                    kernel_name="python3",
                    progress_bar=False,
                    stdout_file=_Tee(log),
                    stderr_file=log,
                )
        except PapermillExecutionError as error:
            print(error, file=log)
            place = f"cell [{error.exec_count}] of {os.path.relpath(executed)}"
            raise TemlibError(
                f"{notebook.stem} stopped in {place}: {_reason(error)} "
                f"(more in {os.path.relpath(log_file)}; the same command goes on from here)"
            ) from error
        except (RuntimeError, OSError) as error:  # as a kernel's death and silence are told
            words = " ".join(str(error).split())[:200]
            print(repr(error), file=log)
            raise TemlibError(
                f"{notebook.stem} was cut off ({type(error).__name__}: {words}): memory or disk may have run out; "
                "free some, and the same command goes on from here."
            ) from error
        finally:
            logging.getLogger("papermill").removeHandler(handler)
    minutes = (time.perf_counter() - started) / 60
    print(f"  {notebook.stem} took {minutes:.1f} min", flush=True)
    _remember_minutes(run_dir / "minutes.json", notebook.stem, minutes)


def _reason(error):
    """The sentence of an error that is meant for the user; else the error's name and words."""
    words = " ".join(str(error.evalue).split())
    return words if hasattr(errors, error.ename) else f"{error.ename}: {words[:300]}"


def _remember_minutes(path, stem, minutes):
    """Keep how long each notebook took; a run that only went on does not replace a longer one."""
    table = json.loads(path.read_text()) if path.is_file() else {}
    table[stem] = round(max(minutes, table.get(stem, 0)), 2)
    with whole_file(path) as partial:
        partial.write_text(json.dumps(table, indent=2) + "\n")


def _left_out(run_dir):
    """One line on the files and sets that the notebooks could not use; None where they used all."""
    sentences, places = set(), []
    for executed in [run_dir / "notebooks" / path.name for path in notebook_paths()]:
        try:
            cells = json.loads(executed.read_text())["cells"]
        except (FileNotFoundError, ValueError):  # not run yet, or cut off while papermill wrote it
            continue
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        lines = "".join("".join(output.get("text", "")) for output in outputs).splitlines()
        if told := {line for line in lines if line.startswith("left out: ")}:
            sentences |= told
            places.append(os.path.relpath(executed))
    if sentences:
        return (
            f"{len(sentences)} of the input's files or sets are left out, as they cannot be used: a sentence on each "
            f"begins with 'left out:' in {' and '.join(places)}. Everything else is done."
        )


if __name__ == "__main__":
    app(prog_name="./run_all.sh")
