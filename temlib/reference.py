"""The paper's own numbers, and this run's beside them with a verdict.

Every number stands in `data/paper`, and `claims.csv` says where a run's counterpart is found:
the value of `column` in the row of `<stem>.csv` for which `rows` is true (of several rows their
`statistic`), or a `formula` of other claims' ids, which is then worked out for the paper too.
What a claim says in words is `claim`; `holds` is the same as a formula of ids; where it does not
hold, `fails` says whether that is resolved. A row without `quantity` only feeds formulas.
"""

import ast
import json
from pathlib import Path

import numpy as np
import pandas as pd

from temlib.paths import PAPER_TABLES

AUTHORS_DATA = "zenodo"  # the source for which numbers may be compared with the paper's


def paper_table(name):
    """One table of `data/paper`, as printed in the paper."""
    return pd.read_csv(PAPER_TABLES / f"{name}.csv")


def claims():
    """Every number of the paper: text columns are "" and numeric ones NaN where there is nothing."""
    table = paper_table("claims")
    texts = table.columns.difference(["value", "low", "high"])
    return table.assign(**table[texts].fillna("").astype(str))


def source_of(run_dir):
    """What the run was made from: "simulated", "zenodo", a folder's path, or "unknown"."""
    profile = Path(run_dir) / "profile.json"
    parameters = json.loads(profile.read_text())["parameters"] if profile.is_file() else {}
    return parameters.get("source", "unknown")


def compare(figures_dir, *, source):
    """The paper against a run, number by number.

    Parameters
    ----------
    figures_dir : path
        `runs/<profile>/figures`; csv files that are not there are "not run".
    source : str
        As `source_of` gives it.

    Returns
    -------
    pandas.DataFrame
        One row a claim, in the order of the paper: the columns of `claims`, the run's number
        `run` and its spread `run_spread`, and `verdict`:

        - "reproduced": within the paper's own spread (for a number printed without one: the
          same when rounded as printed), on the authors' data;
        - "differs": outside it, on the authors' data;
        - "not comparable": other data or another computer; followed by "claim holds" or
          "claim differs" (or "claim not resolved", inside the intervals) where the paper says
          something that can be checked on any data;
        - "not measured": the run's table has no such row, or says it could not be measured;
        - "not run": the run has no such table.
    """
    table = claims()
    found = {row.id: _look_up(row, Path(figures_dir)) for row in table.itertuples() if not row.formula}
    numbers = pd.DataFrame({name: [number] for name, (number, _, _) in found.items()}, dtype=float)
    missing = {name: reason for name, (_, _, reason) in found.items()}
    for row in table[table.formula != ""].itertuples():
        numbers[row.id] = numbers.eval(row.formula).astype(float)
        reasons = {missing[name] for name in _names(row.formula)} - {""}
        missing[row.id] = "not run" if "not run" in reasons else next(iter(reasons), "")
    table["run"] = numbers[table.id].iloc[0].to_numpy()
    table["run_spread"] = [found.get(name, (0, np.nan, ""))[1] for name in table.id]
    table["verdict"] = [
        missing[row.id] or verdict(row, numbers, comparable=source == AUTHORS_DATA and row.needs == "data")
        for row in table.itertuples()
    ]
    return table[table.quantity != ""].reset_index(drop=True)


def verdict(claim, numbers, *, comparable):
    """What to say of one number that a run has.

    Parameters
    ----------
    claim : named tuple
        A row of `claims`, with the run's number as `run`.
    numbers : pandas.DataFrame
        One row; a column for every id.
    comparable : bool
        Whether the run's number was measured on what the paper measured.
    """
    if comparable:
        return "reproduced" if claim.low <= claim.run <= claim.high else "differs"
    needed = _names(f"({claim.holds}, {claim.fails})") if claim.fails else _names(claim.holds)
    if not claim.holds or numbers[needed].isna().any(axis=None):
        return "not comparable"
    if numbers.eval(claim.holds).item():
        return "not comparable, claim holds"
    resolved = not claim.fails or numbers.eval(claim.fails).item()
    return f"not comparable, claim {'differs' if resolved else 'not resolved'}"


def _names(formula):
    """The ids in a formula; none in an empty one."""
    return sorted({node.id for node in ast.walk(ast.parse(formula)) if isinstance(node, ast.Name)})


def _look_up(claim, figures_dir):
    """(number, spread, why it is missing) of one claim in the csv files of a run."""
    file = figures_dir / f"{claim.stem}.csv"
    if not file.is_file():
        return np.nan, np.nan, "not run"
    try:
        table = pd.read_csv(file)
        rows = table.query(claim.rows) if claim.rows else table
        numbers = pd.to_numeric(rows[claim.column], errors="coerce").dropna()
        spreads = rows[claim.spread_column] if claim.spread_column else []
    except (pd.errors.EmptyDataError, pd.errors.UndefinedVariableError, KeyError):
        # nothing of the kind could be measured on this source
        return np.nan, np.nan, "not measured"
    if claim.statistic and len(numbers):
        return getattr(numbers, claim.statistic)(), np.nan, ""
    if len(numbers) != 1:
        return np.nan, np.nan, "not measured"
    return numbers.iloc[0], (spreads.iloc[0] if len(spreads) == 1 else np.nan), ""
