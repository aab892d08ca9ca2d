"""The paper's own numbers, and this run's beside them with a verdict.

Every number stands in `data/paper`, and `claims.csv` says where a run's counterpart is found:
the value of `column` in the row of `<stem>.csv` for which `rows` is true (of several rows their
`statistic`), or a `formula` of other claims' ids, which is then worked out for the paper too.
`spread_column` holds its standard error or deviation; for a formula it is one itself, in which
`<id>_spread` is that of an id. What a claim says in words is `claim`; `holds` is the same as a
formula of ids; where it does not hold, `fails` says whether that is resolved (of fitted numbers:
by two standard errors of their difference). `needs` lists what must be the paper's own before a
number can be reproduced: the "data", the treatment ("faithful"), the "field" of view of Fig. 4, the
"computer". A run picks its own field, so the last two never are. A row without `quantity` only
feeds formulas.
"""

import ast
import json
from pathlib import Path

import numpy as np
import pandas as pd

from temlib.dataset import ZENODO_FOLDER
from temlib.paths import PAPER_TABLES, ROOT

LOST = "not comparable, claim differs (not measurable)"
# why there is no number, as far as the verdict goes; of a formula's reasons the first counts
REASONS = ("not run", "not measured", LOST, "not measurable", "")


def paper_table(name):
    """One table of `data/paper`, as printed in the paper."""
    return pd.read_csv(PAPER_TABLES / f"{name}.csv")


def claims():
    """Every number of the paper: text columns are "" and numeric ones NaN where there is nothing."""
    table = paper_table("claims")
    texts = table.columns.difference(["value", "low", "high"])
    return table.assign(**table[texts].fillna("").astype(str))


def origin_of(run_dir):
    """What a run was made from and how, as `compare` takes it.

    Returns
    -------
    dict of str
        source: "simulated", "zenodo" or a folder's path; mode: "corrected" or "faithful";
        each "unknown" where no profile tells it.
    """
    profile = Path(run_dir) / "profile.json"
    parameters = json.loads(profile.read_text())["parameters"] if profile.is_file() else {}
    return {name: parameters.get(name, "unknown") for name in ("source", "mode")}


def is_authors_data(source):
    """Whether a source is the record that the authors published: "zenodo", or the folder it is fetched to.

    A copy elsewhere is not recognised, because nothing in it tells what it is.
    """
    return source == "zenodo" or (ROOT / Path(source).expanduser()).resolve() == ZENODO_FOLDER.resolve()


def compare(figures_dir, *, source, mode="corrected"):
    """The paper against a run, number by number.

    Parameters
    ----------
    figures_dir : path
        `runs/<profile>/figures`; csv files that are not there are "not run".
    source, mode : str
        As `origin_of` gives them.

    Returns
    -------
    pandas.DataFrame
        One row a claim, in the order of the paper: the columns of `claims`, the run's number
        `run` and its spread `run_spread`, and `verdict`:

        - "reproduced": measured on what the claim `needs`, and within the paper's own spread (for
          a number printed without one: the same when rounded as printed);
        - "differs": measured on the same and outside it, or found not measurable there;
        - "not comparable": other data, treatment, field of view or computer, or nothing printed
          to compare with; followed by "claim holds" or "claim differs" (or "claim not resolved",
          inside the intervals) where the paper says something that can be checked all the same,
          and by "claim differs (not measurable)" where that cannot be seen in this run at all,
          such as the diameter of a particle that the network has lost;
        - "not measurable": looked for and not found, where the paper says nothing that can be
          checked, or where the HDE image that it is compared with is at fault;
        - "not measured": the run has nothing of the kind: no such particle, no GPU;
        - "not run": the run has no such table.
    """
    table = claims()
    found = {row.id: _look_up(row, Path(figures_dir)) for row in table.itertuples() if not row.formula}
    known = {name: number for name, (number, _, _) in found.items()}
    known |= {f"{name}_spread": spread for name, (_, spread, _) in found.items()}
    missing = {name: reason for name, (_, _, reason) in found.items()}
    numbers = pd.DataFrame(known, index=[0], dtype=float)
    for row in table[table.formula != ""].itertuples():
        numbers[row.id] = numbers.eval(row.formula).astype(float)
        numbers[f"{row.id}_spread"] = numbers.eval(row.spread_column) if row.spread_column else np.nan
        missing[row.id] = min((missing[name] for name in _names(row.formula)), key=REASONS.index)
    table["run"] = numbers[table.id].iloc[0].to_numpy()
    table["run_spread"] = numbers[table.id + "_spread"].iloc[0].to_numpy()
    same = {"data", mode} if is_authors_data(source) else {mode}
    table["verdict"] = [
        verdict(row, numbers, missing=missing[row.id], comparable=same.issuperset(row.needs.split(", ")))
        for row in table.itertuples()
    ]
    return table[table.quantity != ""].reset_index(drop=True)


def verdict(claim, numbers, *, missing, comparable):
    """What to say of one number.

    Parameters
    ----------
    claim : named tuple
        A row of `claims`, with the run's number as `run`.
    numbers : pandas.DataFrame
        One row; a column for every id, and for its spread.
    missing : str
        One of `REASONS`, "" where the run has the number.
    comparable : bool
        Whether the run's number was measured on what the paper measured.
    """
    if missing in ("not run", "not measured"):
        return missing
    if comparable and pd.notna(claim.low):
        return "reproduced" if claim.low <= claim.run <= claim.high else "differs"
    if missing:
        return LOST if missing == LOST and claim.holds else "not measurable"
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
        cells = pd.to_numeric(rows[claim.column], errors="coerce")
        spreads = rows[claim.spread_column] if claim.spread_column else pd.Series(np.nan, rows.index)
    except (pd.errors.EmptyDataError, pd.errors.UndefinedVariableError, KeyError):
        # nothing of the kind is there on this source
        return np.nan, np.nan, "not measured"
    numbers = cells.dropna()
    if numbers.empty:
        return np.nan, np.nan, "not measured" if cells.empty else LOST if claim.holds else "not measurable"
    if claim.statistic:
        return getattr(numbers, claim.statistic)(), np.nan, ""
    if len(cells) != 1:
        return np.nan, np.nan, "not measured"
    return numbers.iloc[0], spreads.iloc[0], ""
