"""The private TIFF tags of a DigitalMicrograph export (65003 to 65027): make them, and read the binary one.

Tag 65027 holds what a DM4 file holds beside its image, as the same tree of tags. RosettaSciIO reads
every tag but this one; its DM reader can parse it, and the exposure is nowhere else in the file.
"""

import io
import struct

from rsciio.digitalmicrograph._api import DigitalMicrographReader

# "µm" as DigitalMicrograph writes it on the Japanese Windows of the paper's camera: simulated
# frames then go through the same reading as the paper's own.
MICROMETRE = "\N{GREEK SMALL LETTER MU}m".encode("shift_jis")
ASCII, SLONG, DOUBLE, BYTE = "s", "i", "d", "B"  # TIFF types as tifffile names them
GROUP, DATA, FLOAT64 = 20, 21, 7  # tag kinds and type of a DM4 stream


def tiff_tags(*, pixel_size_nm, exposure_s, counts_per_e, interval_s=None):
    """Gatan's private tags, in the form that `tifffile.imwrite(extratags=...)` takes.

    Parameters
    ----------
    pixel_size_nm : tuple of float or None
        Pixel edges (row, column) [nm]; None leaves the axes uncalibrated.
    exposure_s : float or None
        Exposure [s]; None leaves tag 65027 out.
    counts_per_e : float or None
        Counts per electron; None leaves the intensity in counts.
    interval_s : float or None
        From one image of a stack to the next [s]; None leaves its axis uncalibrated.

    Notes
    -----
    Codes, types and meaning as in the paper's frames: 65003/65004 unit of x/y, 65006/65007 origin,
    65009/65010 pixel size, 65012/65013 name of the unit, 65022 to 65025 unit, its name, origin and
    scale of the intensity; 65015, 65016 and 65026 mark what is calibrated. 65005, 65008 and 65011
    are unit, origin and scale of a stack's axis, as RosettaSciIO reads them.
    """
    tags = []
    if pixel_size_nm is not None:
        row_um, column_um = (1e-3 * float(edge) for edge in pixel_size_nm)
        tags += [(code, ASCII, 0, MICROMETRE) for code in (65003, 65004)]
        tags += [(code, DOUBLE, 1, 0.0) for code in (65006, 65007)]
        tags += [(65009, DOUBLE, 1, column_um), (65010, DOUBLE, 1, row_um)]
        tags += [(code, ASCII, 0, "micrometer") for code in (65012, 65013)]
        tags += [(code, SLONG, 1, 1) for code in (65015, 65016)]
    if counts_per_e is not None:
        tags += [(code, ASCII, 0, "e-") for code in (65022, 65023)]
        tags += [(65024, DOUBLE, 1, 0.0), (65025, DOUBLE, 1, 1 / counts_per_e), (65026, SLONG, 1, 1)]
    if interval_s is not None:
        tags += [(65005, ASCII, 0, "s"), (65008, DOUBLE, 1, 0.0), (65011, DOUBLE, 1, float(interval_s))]
    if exposure_s is not None:
        stream = _dm4_stream(
            {
                "Acquisition": {"Parameters": {"High Level": {"Exposure (s)": exposure_s}}},
                "DataBar": {"Exposure Time (s)": exposure_s},
            }
        )
        tags.append((65027, BYTE, len(stream), stream))
    return [(*tag, True) for tag in tags]


def _dm4_stream(tree):
    """A DM4 file that holds nothing but the nested dict `tree` of numbers."""
    body = _group(tree)
    # Version, size of what follows the header without the 8 zeros that end the stream, and "numbers
    # are little-endian" (lengths and versions are big-endian all the same).
    return struct.pack(">iqi", 4, len(body), 1) + body + bytes(8)


def _group(tree):
    """A group's flags "sorted" and "closed", its number of tags, and the tags."""
    content = struct.pack(">bbq", 1, 0, len(tree))
    for name, value in tree.items():
        if isinstance(value, dict):
            kind, payload = GROUP, _group(value)
        else:  # one element in the type description, its type, the number
            kind, payload = DATA, struct.pack(">4sqq", b"%%%%", 1, FLOAT64) + struct.pack("<d", value)
        encoded = name.encode()
        content += struct.pack(">bh", kind, len(encoded)) + encoded + struct.pack(">q", len(payload)) + payload
    return content


def tag_tree(stream):
    """The nested dict in a Gatan TIFF's tag 65027; empty where the bytes are no DM stream."""
    reader = DigitalMicrographReader(io.BytesIO(stream))
    try:
        reader.parse_file()
    except Exception:  # its parser fails in as many ways as bytes can be wrong, and the image does not need them
        return {}
    return reader.tags_dict
