"""Which particle of an image of a movie is which in the next."""

import numpy as np
import trackpy

FARTHEST_DIAMETERS = 0.5  # that a particle moves from one image to the next, of the median diameter
LOST_IMAGES = 3  # in which a particle may be missing


class Tracks:
    """Numbers of the particles of a movie: one that is seen again keeps its own.

    By trackpy, whose method is that of Crocker and Grier (1996). From image to image a particle moves at most
    FARTHEST_DIAMETERS of the median diameter in the first image that has any, and is missing in at most LOST_IMAGES.
    """

    def __init__(self, pixel_size_nm):
        self.pixel_size_nm, self._next, self._linked = pixel_size_nm, [], None

    def _places(self):
        while True:
            yield self._next.pop()

    def numbers(self, table):
        """Numbers, from 1, of the particles of the next image (`measure.measure`); 0 for those not significant."""
        sure = table["significant"].astype("boolean").fillna(True).to_numpy(bool)
        numbers = np.zeros(len(table), int)
        if self._linked is None:
            if not sure.any():
                return numbers
            farthest_px = FARTHEST_DIAMETERS * table.loc[sure, "diameter_nm"].median() / self.pixel_size_nm
            trackpy.quiet()
            options = {"memory": LOST_IMAGES, "adaptive_stop": 1.0}
            self._linked = trackpy.link_iter(self._places(), farthest_px, **options)
        self._next.append(table.loc[sure, ["row_px", "col_px"]].to_numpy(float))
        _, found = next(self._linked)
        numbers[sure] = np.array(found, int) + 1
        return numbers
