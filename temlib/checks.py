"""Do these data look like the paper's? Numbers of a set that the paper or its real frames state.

Arrays and tables in, tables out. A range is what the paper says, or what was measured on six
real LDE frames and two HDE panels of its data set.
"""

import numpy as np
import pandas as pd

from temlib.preprocess import LDE_PERCENTILES, background_level, faithful_scale, min_max_scale

# quantity: (low, high, where the range comes from); ratios are of one material
EXPECTED = {
    "LDE mean [e-/px]": (4.0, 4.8, "real frames: 4.1 to 4.6"),
    "LDE maximum [e-]": (20.0, 28.0, "real frames: 23 to 26; paper, Fig. 5: 24"),
    "LDE pixels at zero": (0.10, 0.18, "real frames: 0.12 to 0.16"),
    "LDE dose rate [e-/nm2/s]": (50.0, 500.0, "paper: about 10^2"),
    "HDE background [e-/px]": (950.0, 1250.0, "paper: about 1000; Fig. 5: 1200"),
    "HDE background, min-max scale": (0.65, 0.80, "paper, Fig. 5: 0.7 to 0.8; real panels: 0.70"),
    "L1 of LDE to HDE, faithful scale": (0.30, 0.36, "paper: 0.34; real frames: 0.32 to 0.33"),
}
EXPECTED_RATIO = {
    "Ni": (0.30, 0.90, "paper: weak and strong mixed"),
    "FeNi": (0.15, 0.50, "paper: below 0.5"),
    "SiC": (0.80, 0.95, "paper: almost 0.9"),
    "silicate": (0.50, 0.75, "paper, Fig. 5: 0.6 for 100 nm"),
    "alumina": (0.80, 0.95, "paper: almost 0.9"),
}


def set_numbers(hde, hde_faithful, lde, *, pixel_size_nm, exposure_s, particles=None):
    """The quantities of `EXPECTED` for one set.

    Parameters
    ----------
    hde, hde_faithful : ndarray of shape (M, N)
        Area mean and the authors' resize of the HDE frame [e- per HDE pixel].
    lde : ndarray of shape (M, N)
        LDE frame [e-/px].
    pixel_size_nm, exposure_s : float or None
        Of the LDE frame; None leaves the dose rate out.
    particles : pandas.DataFrame, optional
        Rows of `truth.csv` in the coordinates of the HDE frame.

    Returns
    -------
    dict of float
    """
    background = background_level(hde, 1.0)
    scaled_hde = min_max_scale(hde_faithful)
    numbers = {
        "LDE mean [e-/px]": lde.mean(),
        "LDE maximum [e-]": lde.max(),
        "LDE pixels at zero": np.mean(lde == 0),
        "HDE background [e-/px]": background,
        "HDE background, min-max scale": background_level(scaled_hde, 1.0),
        "L1 of LDE to HDE, faithful scale": np.abs(faithful_scale(lde, *LDE_PERCENTILES) - scaled_hde).mean(),
    }
    if pixel_size_nm and exposure_s:
        numbers["LDE dose rate [e-/nm2/s]"] = lde.mean() / pixel_size_nm**2 / exposure_s
    if particles is not None and len(particles):
        row, col = np.indices(hde.shape)
        inside = np.zeros(hde.shape, bool)
        for p in particles.itertuples():
            # inner half of the diameter: present whatever the shape
            inside |= np.hypot(row - p.row_px, col - p.col_px) < p.diameter_nm / 4 / pixel_size_nm
        if inside.any():
            numbers["particle / background"] = hde[inside].mean() / background
    return numbers


def check_table(numbers):
    """Medians per quantity (per material for the ratio) against what is expected.

    Parameters
    ----------
    numbers : pandas.DataFrame
        One row a set: field, material and the keys of `set_numbers`.

    Returns
    -------
    pandas.DataFrame
        quantity, material, value (median over sets), low, high, source, ok.
    """
    rows = []
    for quantity, (low, high, source) in EXPECTED.items():
        if quantity in numbers:
            rows.append((quantity, "all", numbers[quantity].median(), low, high, source))
    for material, (low, high, source) in EXPECTED_RATIO.items():
        of_material = numbers[numbers["material"] == material]
        if "particle / background" in numbers and of_material["particle / background"].notna().any():
            value = of_material["particle / background"].median()
            rows.append(("particle / background", material, value, low, high, source))
    table = pd.DataFrame(rows, columns=["quantity", "material", "value", "low", "high", "source"])
    table["ok"] = table["value"].between(table["low"], table["high"])
    return table
