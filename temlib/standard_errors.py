"""Standard errors that hold: what the fits' own lack, found on simulated fields, and what `temlib measure` states.

A fit knows the noise; it knows neither what a network did to the frame, nor that particles are no spheres. So there are
two: of spheres, a factor times the fit's own and, of strong ones, a floor added in squares, as fringes and what a
network did become no smaller with the dose; of any shape, a share of the diameter, too.
Tables in, tables out.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from temlib.bootstrap import shares
from temlib.measure import DETECTABLE, seen

FILE = Path(__file__).parent / "weights" / "diameter_errors.csv"  # what is stated: the study's 09_calibration
FILE_PIXEL_NM = 2.9885  # of the study's frames
ERROR, ANY_SHAPE = "diameter_error_nm", "diameter_error_any_shape_nm"
NINETY = 1.645  # standard errors of a 90 % interval
SPHERES, BODIES = "sized", "second"  # specimens
MOST_MISFIT = 2.0  # of a group of particles whose standard errors are believed
STRONG = 40.0  # d' from which noise is little beside all else
LEVELS = (0.0, DETECTABLE, 8.0, 15.0, STRONG)  # of d' as far as it is seen, at which a class begins
# of a calibration: what tells a class, where what touches is in classes of its own; what is known; of how many
TERMS = ["factor", "floor_nm", "of_diameter"]
COLUMNS = ["touching", "least_d_prime", *TERMS, "spheres", "bodies"]


def calibration(found):
    """Factors, floors and shares with which 90 % intervals hold nine of ten true diameters.

    Parameters
    ----------
    found : pandas.DataFrame
        Particles of one method whose true diameter is known: specimen, error_nm, diameter_nm with diameter_error_nm,
        touching, d_prime and shown.

    Returns
    -------
    pandas.DataFrame
        A row a class: touching, least_d_prime, factor (90th percentile of |error| / standard error of spheres, over
        1.645), floor_nm (0 but for strong ones, which have the factor of the class below and need it beside: 90th
        percentile of what is no noise), of_diameter (the share of their diameter that the second phantom's bodies need
        beside both, the same; NaN without any; the same for all classes that touch, or do not), and spheres and bodies,
        of how many.
    """
    found = found.assign(touching=found["touching"].astype(bool), least_d_prime=_least_d_prime(found))
    parts = []
    for touching, group in found.groupby("touching"):
        spheres, bodies = (group[group["specimen"] == name] for name in (SPHERES, BODIES))
        bodies = bodies[seen(bodies) >= DETECTABLE]
        pull = (spheres["error_nm"] / spheres[ERROR]).abs() / NINETY
        classes = pull.groupby(spheres["least_d_prime"]).agg([("factor", lambda x: x.quantile(0.9)), ("spheres", len)])
        classes = classes.reset_index().assign(touching=touching, floor_nm=0.0, of_diameter=np.nan, bodies=len(bodies))
        if len(classes) > 1 and classes["least_d_prime"].iloc[-1] == STRONG:
            classes.loc[classes.index[-1], "factor"] = classes["factor"].iloc[-2]
            strong = spheres[spheres["least_d_prime"] == STRONG]
            classes.loc[classes.index[-1], "floor_nm"] = _unexplained_nm(strong, classes).quantile(0.9)
        if len(bodies) and len(classes):
            classes["of_diameter"] = (_unexplained_nm(bodies, classes) / bodies["diameter_nm"]).quantile(0.9)
        parts.append(classes)
    return pd.concat(parts, ignore_index=True)[COLUMNS] if parts else pd.DataFrame(columns=COLUMNS)


def _unexplained_nm(found, classes):
    """The standard error that each particle's own error asks for beside that of a sphere; 0 where it asks for none."""
    explained_nm = _of_spheres_nm(found, _look_up(found, classes))
    return np.sqrt(((found["error_nm"] / NINETY) ** 2 - explained_nm**2).clip(lower=0))


def _of_spheres_nm(table, told):
    return np.hypot(told["factor"] * table[ERROR], told["floor_nm"])


def stated(table, calibrated):
    """Particles with standard errors that hold.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `measure.measure`, by one method.
    calibrated : pandas.DataFrame
        Of `calibration`, of that method.

    Returns
    -------
    pandas.DataFrame
        With other diameter_error_nm, and diameter_error_any_shape_nm after it; NaN for what is touching, or not, if
        nothing is known of such, and where spheres do not describe what is there (MOST_MISFIT). What has an error as
        large as itself is not significant.
    """
    told = _look_up(table, calibrated).where(~(table["misfit"] > MOST_MISFIT))
    of_spheres_nm = _of_spheres_nm(table, told)
    significant = table["significant"] & ~(of_spheres_nm >= table["diameter_nm"])
    table = table.assign(**{ERROR: of_spheres_nm}, significant=significant)
    of_any_shape_nm = np.hypot(of_spheres_nm, told["of_diameter"] * table["diameter_nm"])
    table.insert(table.columns.get_loc(ERROR) + 1, ANY_SHAPE, of_any_shape_nm)
    return table


def calibrations(rows):
    """`calibration` of each method, with the column method first."""
    found = _of_known(rows)
    parts = {method: calibration(group) for method, group in found.groupby("method", sort=False)}
    return pd.concat(parts, names=["method"]).reset_index("method").reset_index(drop=True)


def cross_calibrated(rows):
    """Rows with standard errors as they are stated, after the `calibrations` of the other half of the fields.

    So that whether they hold is judged on fields that the factors are not from.
    """
    half = rows["field"].map({field: number % 2 for number, field in enumerate(rows["field"].unique())})
    parts = []
    for number in (0, 1):
        known = calibrations(rows[half != number]).groupby("method")
        for method, group in rows[half == number].groupby("method", sort=False):
            of_method = known.get_group(method) if method in known.groups else pd.DataFrame(columns=COLUMNS)
            parts.append(stated(group, of_method))
    return pd.concat(parts, ignore_index=True)


def held(rows, by, *, seed, column=ERROR):
    """Share of the 90 % intervals of significant particles of known diameter that hold.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of `cross_calibrated`.
    by : list of str
    seed : int
        Of the bootstrap over fields.
    column : str
        The standard errors that tell the intervals.

    Returns
    -------
    pandas.DataFrame
        Of `shares`: the columns of `by`, n particles, held and the ends of its interval.
    """
    found = _of_known(rows)
    found = found[found["significant"].astype(bool) & found[column].notna()]
    holds = found["error_nm"].abs() <= NINETY * found[column]
    return shares(found.assign(held=holds), by, "held", seed=seed)


def _of_known(rows):
    """Particles that are found with a standard error, and whose true diameter is known."""
    found = rows[(rows["kind"] == "matched") & np.isfinite(rows[ERROR]) & ~(rows["misfit"] > MOST_MISFIT)]
    return found[found["specimen"].isin([SPHERES, BODIES]) & ~found["true_at_border"].astype(bool)]


def _least_d_prime(table):
    return np.array(LEVELS)[np.searchsorted(LEVELS, seen(table).astype(float), side="right").clip(1) - 1]


def _look_up(table, calibrated):
    """TERMS of each particle: of its class, or of the next lower one that is known."""
    told = pd.DataFrame(np.nan, table.index, TERMS)
    for touching, classes in calibrated.sort_values("least_d_prime").groupby("touching"):
        here = table["touching"].eq(touching).fillna(False).astype(bool)
        place = np.searchsorted(classes["least_d_prime"], seen(table[here]).astype(float), side="right") - 1
        told[here] = classes[TERMS].to_numpy()[place.clip(0)]
    return told
