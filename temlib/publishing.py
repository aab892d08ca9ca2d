"""From a run's figures to the committed reference results: all by one clean commit, or none."""

import json
import os
import shutil

from temlib import standard_errors
from temlib.errors import ProfileError, TemlibError
from temlib.paths import FIGURES
from temlib.provenance import git_state
from temlib.settings import notebook_paths

CALIBRATION = "09_calibration.csv"


def check_publishable(run_dir):
    """Refuse to begin what could not be published at its end."""
    commit, dirty = git_state()
    begun_by = json.loads((run_dir / "profile.json").read_text())["git_commit"]
    if commit is None or dirty:
        raise ProfileError("--publish needs a clean git tree, so that the figures have a commit: commit first.")
    if begun_by != commit:
        raise ProfileError(
            f"--publish: {run_dir.name} was begun by commit {str(begun_by)[:8]}, the code is now {commit[:8]}: "
            "delete the run's folder and run again."
        )


def publish_results(run_dir, chosen):
    """Replace the committed reference results by this run's, if this code made every one of them.

    The study's, which take hours, stand apart in figures/study and are replaced notebook by notebook. Its table of
    standard errors is also what `temlib measure` states from then on.
    """
    of_study = run_dir.name == "study"
    notebooks = chosen if of_study else notebook_paths()
    finished = json.loads((run_dir / "minutes.json").read_text())
    if missing := [path.stem for path in notebooks if path.stem not in finished]:
        raise ProfileError(f"--publish: {missing[0]} has not run in {run_dir.name}: run all notebooks first.")
    numbers = tuple(f"{path.stem[:2]}_" for path in notebooks)
    results = sorted((run_dir / "figures").glob("[!.]*.*"))
    results = [file for file in results if not of_study or file.name.startswith(numbers)]
    _check_makers([file for file in results if file.suffix == ".json"])
    target = FIGURES / "study" if of_study else FIGURES
    fresh, old = (FIGURES.with_name(f".figures.{name}") for name in ("partial", "old"))
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        fresh.mkdir()
        kept = [path for path in target.glob("*") if of_study and not path.name.startswith(numbers)]
        for file in kept + results:
            shutil.copy2(file, fresh)
        if not of_study and (FIGURES / "study").is_dir():
            shutil.copytree(FIGURES / "study", fresh / "study")
        if target.is_dir():
            target.rename(old)
        target.parent.mkdir(exist_ok=True)
        fresh.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise TemlibError(
            f"--publish: {target} could not be replaced ({error}): mend that, and publish again."
        ) from error
    if of_study and CALIBRATION in [file.name for file in results]:
        shutil.copy2(target / CALIBRATION, standard_errors.FILE)
    print(f"Copied the results to {os.path.relpath(target)}: look at them, then commit them.")


def _check_makers(provenance_files):
    """Refuse results that other code made, or this code with changes."""
    commit, _ = git_state()
    for file in provenance_files:
        made_by = json.loads(file.read_text())
        if made_by["git_commit"] != commit or made_by["git_dirty"]:
            changed = " with changes" if made_by["git_dirty"] else ""
            raise ProfileError(
                f"--publish: {file.stem} was made by commit {str(made_by['git_commit'])[:8]}{changed}, the code is "
                f"now {commit[:8]}: run its notebook again."
            )
