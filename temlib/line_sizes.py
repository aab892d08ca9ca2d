"""Tables of what lines through particles measure, image by image, and how far it is from the truth.

Arrays and tables in, tables out: no plotting, no files.
"""

import numpy as np
import pandas as pd

from temlib.line_profiles import fit_sphere, line_profile, valley_depth

IMAGES = ("HDE", "LDE", "output", "noise-free")
SIZE_COLUMNS = (
    "image particle expected_nm diameter_nm diameter_se_nm pseudo_diameter_nm edge_width_nm edge_width_se_nm "
    "centre_nm centre_se_nm separation_nm separation_se_nm criterion valley_depth valley_depth_se "
    "expected_gap_nm p_value measurable note"
).split()

ERROR_COLUMNS = "image material particles failed compared mean_error_nm std_error_nm rms_error_percent pull".split()


def measure_line(images, line, *, pixel_size_nm, width_px, central_fraction):
    """Profiles along one line in several images, and the sizes that they give.

    Parameters
    ----------
    images : dict of str to ndarray of shape (M, N)
        Images of the same field, by name.
    line : Line
    pixel_size_nm : float
    width_px : int
        Parallel lines averaged.
    central_fraction : float
        Part of the diameter that is fitted (see `line_profiles.fit_sphere`).

    Returns
    -------
    points : pandas.DataFrame
        One row a point: image, distance_nm, row_px, col_px, intensity, background, fitted, and
        particle, which is 1 or 2 where the point was used to fit that particle, else 0.
    sizes : pandas.DataFrame
        One row an image and particle, as `06_sizes.csv` has it. Of a pair both rows hold the distance
        of the fitted centres, the criterion (d1 + d2)/2 < l, and the valley's depth in the unit of
        the image; where one fit failed, distance and criterion are empty and the valley remains,
        which needs no fit. `expected_nm` is where the search for the diameter began, `expected_gap_nm`
        the gap between the two edges by those diameters.
    """
    points, sizes = [], []
    for name, image in images.items():
        distance_nm, intensity = line_profile(
            image, line.start_px, line.stop_px, pixel_size_nm=pixel_size_nm, width_px=width_px
        )
        fits = [
            fit_sphere(
                distance_nm,
                intensity,
                line.outside,
                centre_nm=centre_nm,
                diameter_nm=diameter_nm,
                central_fraction=central_fraction,
                allowed=_not_of_the_other(distance_nm, line, k),
            )
            for k, (centre_nm, diameter_nm) in enumerate(zip(line.centres_nm, line.diameters_nm, strict=True))
        ]
        particle, fitted = np.zeros(len(distance_nm), int), np.full(len(distance_nm), np.nan)
        for number, fit in enumerate(fits, 1):
            particle[fit.used] = number
            fitted[fit.used] = fit.fitted[fit.used]
        points.append(
            pd.DataFrame(
                {
                    "image": name,
                    "distance_nm": distance_nm,
                    "row_px": line.points_px[:, 0],
                    "col_px": line.points_px[:, 1],
                    "intensity": intensity,
                    "background": fits[0].background,
                    "outside": line.outside,
                    "particle": particle,
                    "fitted": fitted,
                }
            )
        )
        shared = _pair_numbers(fits, line, distance_nm, intensity) if line.kind == "pair" else {}
        for number, fit in enumerate(fits, 1):
            sizes.append(_size_row(name, number, line, fit) | shared)
    return pd.concat(points, ignore_index=True), pd.DataFrame(sizes, columns=SIZE_COLUMNS)


def _not_of_the_other(distance_nm, line, k):
    """Points that belong to particle `k` alone, because two overlapping chords add up."""
    allowed = np.ones(len(distance_nm), bool)
    for other, (centre_nm, diameter_nm) in enumerate(zip(line.centres_nm, line.diameters_nm, strict=True)):
        if other != k:
            allowed &= np.abs(distance_nm - centre_nm) > diameter_nm / 2
    return allowed


def _size_row(name, number, line, fit):
    lengths = (
        "diameter_nm diameter_se_nm pseudo_diameter_nm edge_width_nm edge_width_se_nm centre_nm centre_se_nm p_value"
    )
    return {
        "image": name,
        "particle": number,
        "expected_nm": line.diameters_nm[number - 1],
        "measurable": fit.measurable,
        "note": fit.note,
    } | {column: getattr(fit, column) for column in lengths.split()}


def _pair_numbers(fits, line, distance_nm, intensity):
    depth, depth_se = valley_depth(distance_nm, intensity, line.outside, line.centres_nm, line.diameters_nm)
    gap_nm = np.ptp(line.centres_nm) - line.diameters_nm.mean()
    numbers = {"valley_depth": depth, "valley_depth_se": depth_se, "expected_gap_nm": gap_nm}
    one, two = fits
    if one.measurable and two.measurable:
        separation = abs(two.centre_nm - one.centre_nm)
        numbers["separation_nm"] = separation
        numbers["separation_se_nm"] = np.hypot(one.centre_se_nm, two.centre_se_nm)
        numbers["criterion"] = bool((one.diameter_nm + two.diameter_nm) / 2 < separation)
    return numbers


def field_images(pair, output):
    """The images of one field on a common scale, where the empty background is 1.

    Parameters
    ----------
    pair : dict of ndarray
        As `pairs/<field>.npz` holds it.
    output : ndarray of shape (M, N)
        What a network made of the first LDE frame; left on its own scale.

    Returns
    -------
    dict of str to ndarray of shape (M, N)
        HDE (left out where it could not be aligned: a line would meet another place), LDE (the first
        frame), output, and noise-free where the specimen is simulated.
    """
    images = {
        "HDE": pair["hde"] / pair["hde_background_e"],
        "LDE": pair["lde"][0] / pair["background_e"][0],
        "output": output,
    }
    if not pair.get("aligned", True):
        del images["HDE"]
    if "transmission" in pair:
        images["noise-free"] = pair["transmission"]
    return images


def beside_truth(points):
    """Profiles of `measure_line` with the noise-free one as a column `truth`, NaN where it is not known."""
    true = points[points["image"] == "noise-free"].set_index("distance_nm")["intensity"]
    measured = points[points["image"] != "noise-free"]
    return measured.assign(truth=measured["distance_nm"].map(true).astype(float))


def with_truth(sizes, line):
    """Rows of `measure_line` with those of the noise-free image replaced by what was simulated.

    Parameters
    ----------
    sizes : pandas.DataFrame
        Unchanged where there are no such rows.
    line : Line
        Made from the particles of `truth.csv`.

    Returns
    -------
    pandas.DataFrame
        The image of the new rows is "truth". Their standard errors are 0 and their valley's depth is
        that of the noise-free image.
    """
    noise_free = sizes["image"] == "noise-free"
    truth = sizes[noise_free].assign(image="truth", note="simulated", measurable=True, p_value=np.nan)
    if not len(truth):
        return sizes
    exact = {"edge_width_nm": 0.0, "diameter_se_nm": 0.0, "edge_width_se_nm": 0.0, "centre_se_nm": 0.0}
    exact |= {name: line.diameters_nm for name in ("diameter_nm", "pseudo_diameter_nm")}
    exact["centre_nm"] = line.centres_nm
    if line.kind == "pair":
        separation_nm = np.ptp(line.centres_nm)
        exact |= {"separation_nm": separation_nm, "separation_se_nm": 0.0, "valley_depth_se": 0.0}
        exact["criterion"] = bool(line.diameters_nm.mean() < separation_nm)
    return pd.concat([sizes[~noise_free], truth.assign(**exact)], ignore_index=True)


def add_reference(sizes, *, truth_known):
    """Beside each diameter the one that is believed, `reference_nm`, and the difference `error_nm`.

    Parameters
    ----------
    sizes : pandas.DataFrame
        Rows of `measure_line` with line and, where the truth is known, shape.
    truth_known : bool
        Whether `expected_nm` is true, which then is the reference of spheres (others have no diameter
        that a law for spheres could find); else the diameter on the same line of the HDE image is,
        for the other images.
    """
    if truth_known:
        reference = sizes["expected_nm"].where(sizes["shape"] == "sphere")
    else:
        hde = sizes[sizes["image"] == "HDE"].set_index(["line", "particle"])["diameter_nm"]
        places = pd.MultiIndex.from_frame(sizes[["line", "particle"]])
        reference = pd.Series(hde.reindex(places).to_numpy(), sizes.index).where(sizes["image"] != "HDE")
    return sizes.assign(reference_nm=reference, error_nm=sizes["diameter_nm"] - reference)


def diameters_text(sizes):
    """The diameters of one line for reading: "58.9 ± 2.3 nm and 72.6 ± 2.8 nm", or "not measurable"."""
    if not sizes["measurable"].any():
        return "not measurable"
    return " and ".join(
        _length(row.diameter_nm, row.diameter_se_nm) if row.measurable else "not measurable"
        for row in sizes.itertuples()
    )


def separation_text(sizes):
    """What the two rows of a pair say about its gap: distance, criterion, valley."""
    row, texts = sizes.iloc[0], []
    if sizes["measurable"].all():
        margin_nm = row.separation_nm - sizes["diameter_nm"].mean()
        margin_se_nm = np.hypot(row.separation_se_nm, np.hypot(*sizes["diameter_se_nm"]) / 2)
        texts.append(f"distance {_length(row.separation_nm, row.separation_se_nm)}")
        holds = "holds" if row.criterion else "fails"
        texts.append(f"the criterion {holds} by {_length(abs(margin_nm), margin_se_nm)}")
    if row.valley_depth_se > 0:
        texts.append(f"valley {row.valley_depth:.3f} ± {row.valley_depth_se:.3f}")
    return ", ".join(texts)


def _length(value_nm, se_nm):
    return f"{value_nm:.1f} ± {se_nm:.1f} nm" if se_nm else f"{value_nm:.1f} nm"


def error_table(sizes):
    """How many particles could be measured, and how wrong, by image and material.

    Parameters
    ----------
    sizes : pandas.DataFrame
        Of `add_reference`, with a column material.

    Returns
    -------
    pandas.DataFrame
        particles, failed (fits not significant), compared (measured, with a reference), then of the
        errors their mean and standard deviation [nm], the root mean square in percent of the
        diameter, and `pull`, the root mean square of error over standard error: about 1 where the
        standard errors tell the whole uncertainty. HDE first; materials as they come, "all" last.
    """
    both = pd.concat([sizes, sizes.assign(material="all")])
    both = both.sort_values("image", key=lambda image: image.map(IMAGES.index), kind="stable")
    rows = []
    for (image, material), group in both.groupby(["image", "material"], sort=False):
        good = group[group["error_nm"].notna()]
        error = good["error_nm"]
        rows.append(
            {
                "image": image,
                "material": material,
                "particles": len(group),
                "failed": int((~group["measurable"].astype(bool)).sum()),
                "compared": len(good),
                "mean_error_nm": error.mean(),
                "std_error_nm": error.std(),
                "rms_error_percent": 100 * np.sqrt(np.mean((error / good["reference_nm"]) ** 2)),
                "pull": np.sqrt(np.mean((error / good["diameter_se_nm"]) ** 2)),
            }
        )
    return pd.DataFrame(rows, columns=ERROR_COLUMNS)
