"""What a file says about its numbers: pixel size, electrons per count, exposure.

Takes the dicts that RosettaSciIO returns; opens no file. What is missing or not credible comes
back as None with a sentence in `notes`; nothing is guessed.
"""

import math
import re
import unicodedata
from datetime import datetime, timedelta
from xml.etree import ElementTree

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
SYMBOLS = {1e9: "m", 1e6: "mm", 1e3: "µm", 1.0: "nm", 1e-3: "pm", 0.1: "Å"}
SECONDS_PER_UNIT = {
    name: seconds
    for seconds, names in {
        1.0: "s sec second seconds",
        1e-3: "ms msec millisecond milliseconds",
        1e-6: "us usec microsecond microseconds",
        60.0: "min minute minutes",
        3600.0: "h hour hours",
    }.items()
    for name in names.split()
}
# As they come out where Shift-JIS or UTF-8 bytes were read as Latin.
MISREAD = {"ƒÊ": "µ", "Âµ": "µ", "Î¼": "µ", "Ã…": "Å"}
NO_UNIT = {"", "none", "<undefined>", "t.undefined", "px", "pixel", "pixels"}
SMALLEST_NM, LARGEST_NM = 1e-3, 1e4

RECIPROCAL = re.compile(r"^1\s*/|[-−]\s*1$|\b[mµ]?rad\b")
ELECTRONS = re.compile(r"(e|e-|el|electrons?)\s*(\(.*\))?\s*(/\s*(px|pixel))?")
STAY_COUNTS = "so they stay counts"
EXPOSURE_KEYS = ("Exposure Time (s)", "Exposure (s)", "exposure (s)", "ExposureTime", "exposure", "exp_time")
FILETIME_KEY, FILETIME_START = "Acquisition Time (OS)", datetime(1601, 1, 1)


def unit_name(unit):
    """The unit as plain lower-case text: 'µm', 'ƒÊm' and 'Micrometer ' give 'um', 'um', 'micrometer'."""
    text = str(unit if unit is not None else "")
    for misread, meant in MISREAD.items():
        text = text.replace(misread, meant)
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)  # as ImageJ escapes
    return unicodedata.normalize("NFKC", text).strip(" \0").casefold().replace("μ", "u")


def is_reciprocal(unit):
    """Whether a unit belongs to a diffraction pattern: an inverse length or an angle."""
    return bool(RECIPROCAL.search(unit_name(unit)))


def is_energy(unit):
    """Whether a unit belongs to the energy axis of a spectrum."""
    return unit_name(unit) in ("ev", "kev")


def pixel_size_nm(signal, notes):
    """Pixel edges of an image on the specimen.

    Parameters
    ----------
    signal : dict
        One data set as RosettaSciIO returns it; its last two axes are those of the image.
    notes : list of str
        Gets a sentence where there is no calibration.

    Returns
    -------
    tuple of float or None
        (row, column) [nm]; None where an axis has no unit, an unknown unit, or a size that is
        not above zero, below 1 pm or above 10 um.
    """
    # RosettaSciIO passes on the scale that ImageJ wrote, but of its units only "micron".
    description = str(signal.get("original_metadata", {}).get("ImageDescription", ""))
    imagej = re.search(r"^unit=(.*)$", description, re.MULTILINE) if description.startswith("ImageJ=") else None
    axes = signal["axes"][-2:]
    if not any(axis.get("units") for axis in axes):
        axes = _ome_axes(description, axes) or axes
    edges = []
    for axis in axes:
        stated = axis.get("units") or (imagej and imagej[1])
        unit, scale = unit_name(stated), axis.get("scale")
        if scale is None or unit in NO_UNIT:
            notes.append("the file gives no pixel size, so lengths stay in pixels")
            return None
        if unit not in NM_PER_UNIT:
            notes.append(f"its pixel size has the unknown unit {stated!r} and is not used")
            return None
        edge = _number(scale) * NM_PER_UNIT[unit]
        if not SMALLEST_NM <= edge <= LARGEST_NM:
            notes.append(f"its pixel size of {edge:g} nm is outside 1 pm to 10 um and is not used")
            return None
        edges.append(edge)
    return tuple(edges)


def interval_s(signal):
    """Time from one image of a stack to the next [s], by its first axis or ImageJ's description; None if unknown."""
    axis = signal["axes"][0]
    per_unit = SECONDS_PER_UNIT.get(unit_name(axis.get("units")))
    description = str(signal.get("original_metadata", {}).get("ImageDescription", ""))
    interval = _number(axis.get("scale")) * per_unit if per_unit else _imagej_interval_s(description)
    return interval if math.isfinite(interval) and interval > 0 else None


def _imagej_interval_s(description):
    """What ImageJ's description says of the time between two images [s]; NaN where it does not, or in no known unit."""
    if not description.startswith("ImageJ="):
        return math.nan
    found, unit = (re.search(rf"^{name}=(.*)$", description, re.MULTILINE) for name in ("finterval", "tunit"))
    per_unit = SECONDS_PER_UNIT.get(unit_name(unit[1]), math.nan) if unit else 1.0
    return _number(found and found[1]) * per_unit


def _ome_axes(description, axes):
    """Scale and unit of both axes in the XML of an OME-TIFF, which RosettaSciIO does not read; None without them."""
    try:
        images = ElementTree.fromstring(description.strip(" \0")).iterfind(".//{*}Pixels")
    except ElementTree.ParseError:  # no XML, or a damaged one
        return None
    wanted = [str(axis["size"]) for axis in axes]
    found = {
        tuple(
            (image.get(f"PhysicalSize{xy}"), image.get(f"PhysicalSize{xy}Unit", "µm")) for xy in "YX"
        )  # OME's default
        for image in images
        if [image.get(f"Size{xy}") for xy in "YX"] == wanted
    }
    # of several images as large as this one, none is told to be this one
    return [{"scale": scale, "units": unit} for scale, unit in found.pop()] if len(found) == 1 else None


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
    name = unit_name(unit).translate(str.maketrans("−–", "--", "$^{} "))
    if not ELECTRONS.fullmatch(name):
        said = f"the unit {unit!r}" if name else "no unit"
        notes.append(f"its intensities have {said} where electrons would be needed, {STAY_COUNTS}")
        return None
    if not (math.isfinite(scale) and scale > 0 and math.isfinite(origin)):
        notes.append(f"its scale of {scale:g} electrons per count is not usable, so intensities stay counts")
        return None
    return origin, scale


def _intensity(signal):
    """Unit, origin and scale as the file states them: DM tags, Gatan TIFF tags, HyperSpy metadata."""
    original = signal.get("original_metadata", {})
    brightness = _at(original, "ImageList", "TagGroup0", "ImageData", "Calibrations", "Brightness")
    if brightness:
        return brightness.get("Units") or "", *map(_number, (brightness.get("Origin"), brightness.get("Scale")))
    if "65022" in original:
        return original["65022"], *map(_number, (original.get("65024", 0), original.get("65025")))
    quality = signal.get("metadata", {}).get("Signal", {})
    noise = _at(quality, "Noise_properties", "Variance_linear_model") or {}
    # Without a scale, what is called electrons is electrons.
    return (
        quality.get("quantity", ""),
        _number(noise.get("gain_offset", 0)),
        _number(noise.get("gain_factor", 1)),
    )


def _number(value):
    """A float; NaN for what is none, as the tags of a damaged file may be."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _at(tree, *path):
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def exposure_s(*trees):
    """Exposure found in nested dicts of metadata [s]; None where there is none, or several that differ."""
    # TVIPS's own tags tell it in milliseconds; RosettaSciIO gives it in seconds beside them
    trees = [{name: value for name, value in tree.items() if name != "TVIPS"} for tree in trees]
    for key in EXPOSURE_KEYS:
        found = {value for tree in trees for value in _numbers(tree, key)}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def recorded_at(*trees):
    """When the image was taken, as a datetime, by what nested dicts of metadata say; None if they do not."""
    for tree in trees:
        general = tree.get("General", {})
        try:
            for ticks in _numbers(tree, FILETIME_KEY):  # of 100 ns
                return FILETIME_START + timedelta(microseconds=ticks / 10)
            if general.get("date") and general.get("time"):
                return datetime.fromisoformat(f"{general['date']}T{general['time']}").replace(tzinfo=None)
        except (ValueError, OverflowError):
            return None
    return None


def _numbers(tree, wanted):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _numbers(value, wanted)
        elif key == wanted:
            number = _number(value)
            if math.isfinite(number) and number > 0:
                yield number
