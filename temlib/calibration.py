"""What a file says about its numbers: pixel size, electrons per count, exposure.

Takes the dicts that RosettaSciIO returns; opens no file. What is missing or not credible comes
back as None with a sentence in `notes`; nothing is guessed.
"""

import math
import re
import unicodedata

NM_PER_UNIT = {
    name: nanometres
    for nanometres, names in {
        1e9: "m meter meters metre metres",
        1e6: "mm millimeter millimeters millimetre millimetres",
        1e3: "um micron microns micrometer micrometers micrometre micrometres",
        1.0: "nm nanometer nanometers nanometre nanometres",
        1e-3: "pm picometer picometers picometre picometres",
        0.1: "a å angstrom angstroms ångstrom ångström ångströms",
    }.items()
    for name in names.split()
}
# "µ" as it comes out where Shift-JIS or UTF-8 bytes were read as Latin, and as ImageJ escapes it.
MISREAD_MICRO = ("ƒÊ", "Âµ", "Î¼", r"\u00b5", r"\u00B5", r"\u03bc", r"\u03BC")
NO_UNIT = {"", "none", "<undefined>", "t.undefined", "px", "pixel", "pixels"}
SMALLEST_NM, LARGEST_NM = 1e-3, 1e4

RECIPROCAL = re.compile(r"^1\s*/|/\s*\w*m$|\^?\s*[-−]\s*1$|⁻¹|\brad\b|mrad", re.IGNORECASE)
ENERGY = {"ev", "kev"}
ELECTRONS = re.compile(r"(e|e-|el|electrons?)\s*(\(.*\))?\s*(/\s*(px|pixel))?", re.IGNORECASE)
EXPOSURE_KEYS = ("Exposure Time (s)", "Exposure (s)", "exposure (s)", "ExposureTime", "exposure", "exp_time")


def unit_name(unit):
    """The unit as plain lower-case text: 'µm', 'ƒÊm' and 'Micrometer ' give 'um', 'um', 'micrometer'."""
    text = str(unit if unit is not None else "")
    for misread in MISREAD_MICRO:
        text = text.replace(misread, "u")
    return unicodedata.normalize("NFKC", text).strip(" \0").casefold().replace("μ", "u")


def is_reciprocal(unit):
    """Whether a unit belongs to a diffraction pattern: an inverse length or an angle."""
    return bool(RECIPROCAL.search(unit_name(unit)))


def is_energy(unit):
    """Whether a unit belongs to the energy axis of a spectrum."""
    return unit_name(unit) in ENERGY


def pixel_size_nm(axes, notes):
    """Pixel edges of an image on the specimen.

    Parameters
    ----------
    axes : sequence of two dict
        The row axis and the column axis, with `scale` and `units`.
    notes : list of str
        Gets a sentence where there is no calibration.

    Returns
    -------
    tuple of float or None
        (row, column) [nm]; None where an axis has no unit, an unknown unit, or a size that is
        not above zero, below 1 pm or above 10 um.
    """
    edges = []
    for axis in axes:
        unit, scale = unit_name(axis.get("units")), axis.get("scale")
        if scale is None or unit in NO_UNIT:
            notes.append("the file gives no pixel size, so lengths stay in pixels")
            return None
        if unit not in NM_PER_UNIT:
            notes.append(f"its pixel size has the unknown unit {axis['units']!r} and is not used")
            return None
        edge = float(scale) * NM_PER_UNIT[unit]
        if not SMALLEST_NM <= edge <= LARGEST_NM:
            notes.append(f"its pixel size of {edge:g} nm is outside 1 pm to 10 um and is not used")
            return None
        edges.append(edge)
    return tuple(edges)


def electron_calibration(signal, notes):
    """Origin and scale that turn the stored numbers into electrons.

    Parameters
    ----------
    signal : dict
        One data set as RosettaSciIO returns it.
    notes : list of str
        Gets a sentence where the numbers stay counts.

    Returns
    -------
    tuple of float or None
        (origin in counts, electrons per count), so that electrons = (counts - origin) x scale;
        None where the file's unit is not electrons.
    """
    unit, origin, scale = _intensity(signal)
    name = unit_name(unit).translate(str.maketrans("⁻−–", "---", "$^{} "))
    if not ELECTRONS.fullmatch(name):
        said = f"in {unit!r}" if name else "without a unit"
        notes.append(f"its intensities are stored {said}, not as electrons, and stay counts")
        return None
    if not (math.isfinite(scale) and scale > 0 and math.isfinite(origin)):
        notes.append(f"its {scale:g} electrons per count, from {origin:g}, cannot be, so they stay counts")
        return None
    return origin, scale


def _intensity(signal):
    """Unit, origin and scale as the file states them: DM tags, Gatan TIFF tags, HyperSpy metadata."""
    original = signal.get("original_metadata", {})
    brightness = _at(original, "ImageList", "TagGroup0", "ImageData", "Calibrations", "Brightness")
    if brightness:
        return brightness.get("Units") or "", float(brightness["Origin"]), float(brightness["Scale"])
    if "65022" in original:
        return original["65022"], float(original.get("65024", 0)), float(original.get("65025", 1))
    quality = signal.get("metadata", {}).get("Signal", {})
    noise = _at(quality, "Noise_properties", "Variance_linear_model") or {}
    return quality.get("quantity", ""), float(noise.get("gain_offset", 0)), float(noise.get("gain_factor", 1))


def _at(tree, *path):
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def exposure_s(*trees):
    """Exposure found in nested dicts of metadata [s]; None where there is none, or several that differ."""
    for key in EXPOSURE_KEYS:
        found = {value for tree in trees for value in _values(tree, key)}
        if len(found) == 1:
            return found.pop()
    return None


def _values(tree, wanted):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _values(value, wanted)
        elif key == wanted:
            try:
                seconds = float(value)
            except (TypeError, ValueError):
                continue
            if math.isfinite(seconds) and seconds > 0:
                yield seconds
