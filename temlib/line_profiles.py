"""Diameter, edge width and separation of particles from a straight line, as the paper does it.

Arrays in, numbers out: no plotting, no files. Intensities may have any unit, because everything is
judged against the background found on the same line. Positions along a line are distances from its
start [nm]; places in an image are (row, column) [px].
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.stats import f as f_distribution
from skimage.measure import profile_line

ALPHA = 0.01  # how often a flat profile may pass for a sphere
FEWEST_POINTS = 6  # three parameters are fitted, so three are left to judge the fit by


def line_profile(image, start_px, stop_px, *, pixel_size_nm, width_px=1):
    """Mean intensity along a straight line, averaged across its width.

    Parameters
    ----------
    image : ndarray of shape (M, N)
        Intensities; any unit, returned unchanged.
    start_px, stop_px : tuple of float
        End points as (row, column) [px], both included.
    pixel_size_nm : float
        Edge of one pixel on the specimen [nm].
    width_px : int, default 1
        Number of parallel lines averaged, one pixel apart.

    Returns
    -------
    distance_nm, intensity : ndarray of shape (L,)
        L = ceil(length in pixels) + 1.

    Raises
    ------
    ValueError
        If the end points coincide.

    Notes
    -----
    Averaging w lines of independent noise divides its standard deviation by
    sqrt(w), so `width_px` belongs in every caption. Between pixels the
    intensity is interpolated linearly.
    """
    length_px = float(np.hypot(*np.subtract(stop_px, start_px)))
    if length_px == 0:
        raise ValueError(f"The line starts and stops at {tuple(start_px)}: two different points are needed.")
    intensity = profile_line(image, start_px, stop_px, linewidth=width_px, order=1, mode="nearest")
    return np.linspace(0, length_px * pixel_size_nm, len(intensity)), intensity


def sphere_profile(distance_nm, centre_nm, diameter_nm, depth, background=1.0):
    """Intensity along a line through the centre of a sphere.

    Parameters
    ----------
    distance_nm : ndarray of shape (L,)
        Positions along the line [nm].
    centre_nm, diameter_nm : float
        Of the sphere, along the line [nm].
    depth : float
        tau = 2R/L: diameter over the thickness L that leaves 1/e of the electrons.
    background : float
        Intensity beside the sphere.

    Notes
    -----
    Mass-thickness law I = B exp(-t/L) with the chord t = 2 sqrt(R^2 - (x - x0)^2) of a sphere, so
    t/L = tau sqrt(1 - (x - x0)^2/R^2). Then ln(B/I)^2 = (4/L^2) (R^2 - (x - x0)^2) is a parabola, whose
    value at the centre gives R/L and whose curvature gives L. A profile that is flat at its bottom
    therefore holds no diameter, however deep.
    """
    from_centre = 2 * (distance_nm - centre_nm) / diameter_nm
    return background * np.exp(-depth * np.sqrt(np.clip(1 - from_centre**2, 0, None)))


@dataclass(frozen=True)
class SphereFit:
    """One particle on one line; `note` says why lengths are NaN that could not be measured."""

    used: np.ndarray  # (L,) bool: the points fitted, the circles of the paper's figures
    fitted: np.ndarray  # (L,) the sphere law on those points, NaN elsewhere
    background: float
    background_se: float
    centre_nm: float = np.nan
    centre_se_nm: float = np.nan
    diameter_nm: float = np.nan
    diameter_se_nm: float = np.nan
    attenuation_nm: float = np.nan
    pseudo_diameter_nm: float = np.nan
    edge_width_nm: float = np.nan
    edge_width_se_nm: float = np.nan
    p_value: float = np.nan
    note: str = ""

    @property
    def measurable(self):
        return bool(np.isfinite(self.diameter_nm))


def fit_sphere(distance_nm, intensity, outside, *, centre_nm, diameter_nm, central_fraction, allowed=None):
    """Fit the sphere law to the central points of a profile, with the background fixed outside.

    Parameters
    ----------
    distance_nm, intensity : ndarray of shape (L,)
        A line profile, as `line_profile` gives it.
    outside : ndarray of bool, shape (L,)
        Points of empty background; their mean is B.
    centre_nm, diameter_nm : float
        Where the particle is looked for, and about how large: the start of the search [nm].
    central_fraction : float
        Part of the diameter whose points are fitted. The edge is left out because the point spread,
        the fringe and a network smear it. The points follow the fitted diameter until they stay.
    allowed : ndarray of bool, shape (L,), optional
        Points that may be used at all; a neighbour's are not, and end the search for a crossing.

    Returns
    -------
    SphereFit

    Notes
    -----
    Least squares of `sphere_profile` for x0, R and tau, not of the parabola of ln(B/I)^2, because noise
    makes I zero or larger than B, where that logarithm is lost.

    *Uncertainty.* With the Jacobian J of the fit, C = k s^2 (J^T J)^-1 plus the shift
    (J^T J)^-1 J^T (dI/dB) of the parameters per background, times the background's standard error.
    s^2 is the variance about the fit. k = (1 + rho)/(1 - rho), with rho the correlation of neighbouring
    deviations from fit and background, is the variance of a mean of first-order autoregressive noise
    over that of independent points: interpolation, film texture and networks correlate neighbours. All
    this knows the scatter on this line, not an error that a network makes on the particle as a whole.

    *Significance.* The sphere is tested against a flat profile of any level, which is its limit
    R -> infinity at fixed tau and has two parameters fewer: F = (S_flat - S_sphere)/(2 k s^2), on 2 and
    n - 3 degrees of freedom. Not measurable: p above 0.01; points that do not settle, as where a law for
    spheres meets something else; a parameter at the limit of its search (R from 0.4 to 2.5 times the
    start, centre within one start radius); a standard error above a third of the diameter.

    *Edge width.* Half of pseudo-diameter minus diameter; the pseudo-diameter is the distance between
    the points where the profile first reaches B, going outwards. A crossing is uncertain by the stretch
    before it on which the profile is less than one standard deviation below B: on a slope that is noise
    divided by slope, past the foot of a sharp edge the points it takes until noise exceeds B. One point's
    spacing is added in quadrature, because the profile is known at its points only. Beyond a sharp edge
    every other point exceeds B by noise, so such an edge reads about one and a half points wide, not 0.
    """
    allowed = np.ones(len(distance_nm), bool) if allowed is None else allowed
    level = intensity[outside]
    background, spread = (level.mean(), level.std(ddof=1)) if len(level) > 1 else (np.nan, np.nan)
    background_se = spread / np.sqrt(max(len(level), 1))
    nothing = np.zeros(len(distance_nm), bool)

    def failed(note, used=nothing, p_value=np.nan):
        fitted = np.full(len(distance_nm), np.nan)
        return SphereFit(used, fitted, background, background_se, p_value=p_value, note=note)

    if len(level) < FEWEST_POINTS:
        return failed("too little background on the line")
    if background <= 0:
        return failed("the background is not above zero")

    radius = diameter_nm / 2
    start = np.array([centre_nm, radius, 0.5])
    lowest = np.array([centre_nm - radius, 0.4 * radius, 0.0])
    highest = np.array([centre_nm + radius, 2.5 * radius, 20.0])

    def law(parameters, x):
        x0, r, tau = parameters
        return sphere_profile(x, x0, 2 * r, tau, background)

    tried = []
    used = allowed & (np.abs(distance_nm - centre_nm) <= central_fraction * radius)
    while True:
        if used.sum() < FEWEST_POINTS:
            return failed("too few points on the particle", used)
        x, y = distance_nm[used], intensity[used]
        fit = least_squares(
            lambda p, x=x, y=y: law(p, x) - y, start, bounds=(lowest, highest), x_scale=(radius, radius, 1)
        )
        tried.append(used)
        x0, r, tau = fit.x
        used = allowed & (np.abs(distance_nm - x0) <= central_fraction * r)
        if any(np.array_equal(used, before) for before in tried):  # settled, or going in circles
            used = tried[-1]
            break

    residual = np.full(len(distance_nm), np.nan)
    residual[outside] = level - background
    residual[used] = fit.fun
    k = _inflation(residual)
    background_se *= np.sqrt(k)
    s2 = np.sum(fit.fun**2) / (used.sum() - 3)
    gain = np.sum((y - y.mean()) ** 2) - np.sum(fit.fun**2)
    p_value = float(f_distribution.sf(gain / (2 * k * s2), 2, used.sum() - 3))
    if not p_value <= ALPHA:
        return failed("no sphere stands out from the noise", used, p_value)
    if np.abs(x - x0).max() > 0.95 * r:  # going in circles; a point on the edge, where the law is steep
        return failed("the points do not settle on a diameter", used, p_value)
    if np.any(fit.active_mask[:2]) or np.linalg.matrix_rank(fit.jac) < 3:
        return failed("no diameter fits within the search", used, p_value)

    inverse = np.linalg.inv(fit.jac.T @ fit.jac)
    per_background = inverse @ fit.jac.T @ (law(fit.x, x) / background)
    covariance = k * s2 * inverse + background_se**2 * np.outer(per_background, per_background)
    x0_se, r_se, _ = np.sqrt(np.diag(covariance))
    if r_se > r / 3:
        return failed("standard error above a third of the diameter", used, p_value)

    fitted = np.where(used, law(fit.x, distance_nm), np.nan)
    noise = np.sqrt(spread**2 + background_se**2)
    rise = np.where(allowed, intensity - background, np.nan)
    (left, left_se), (right, right_se) = (_crossing(distance_nm, rise, noise, x0, side) for side in (-1, 1))
    return SphereFit(
        used,
        fitted,
        background,
        background_se,
        centre_nm=x0,
        centre_se_nm=x0_se,
        diameter_nm=2 * r,
        diameter_se_nm=2 * r_se,
        attenuation_nm=2 * r / tau,
        pseudo_diameter_nm=right - left,
        edge_width_nm=(right - left) / 2 - r,
        edge_width_se_nm=np.sqrt(left_se**2 + right_se**2 + (2 * r_se) ** 2) / 2,
        p_value=p_value,
        note="" if np.isfinite(right - left) else "no edge width: the profile does not reach the background",
    )


def _inflation(residual):
    """Variance of a mean over that of independent points; `residual` is NaN where there is none."""
    pairs = residual[:-1] * residual[1:]
    power = np.nanmean(residual**2)
    rho = np.clip(np.nanmean(pairs) / power, 0, 0.9) if power > 0 and np.isfinite(pairs).any() else 0.0
    return (1 + rho) / (1 - rho)


def _crossing(distance_nm, rise, noise, centre_nm, side):
    """Where a profile first reaches the background (rise = 0) on one side of a centre, and its error."""
    ahead = np.flatnonzero((distance_nm - centre_nm) * side > 0)[::side]
    x, rise = distance_nm[ahead], rise[ahead]
    ended = np.flatnonzero(~(rise < 0))  # at the background, or where another particle begins (NaN)
    below = np.flatnonzero(rise[: ended[0]] < -noise) if len(ended) else ended
    if not len(below) or np.isnan(rise[ended[0]]):
        return np.nan, np.nan
    i, j = ended[0], below[-1]
    crossing = np.interp(0, rise[i - 1 : i + 1], x[i - 1 : i + 1])
    stretch = crossing - np.interp(-noise, rise[j : j + 2], x[j : j + 2])
    return crossing, np.hypot(stretch, x[1] - x[0])


def valley_depth(distance_nm, intensity, outside, centres_nm, diameters_nm):
    """How far the intensity between two particles rises above that of the weaker one, and its error.

    Parameters
    ----------
    distance_nm, intensity : ndarray of shape (L,)
        Profile along the line through both centres.
    outside : ndarray of bool, shape (L,)
        Points of empty background, whose scatter is the noise.
    centres_nm, diameters_nm : pair of float
        Where the particles are [nm], known beforehand: at places chosen by looking for the highest and
        the lowest point, noise alone would make a valley.

    Returns
    -------
    depth, depth_se : float
        Mean over the middle half of the gap (at least the nearest point) minus the larger of the means
        over each particle's central third, in the unit of `intensity`; NaN without background.
    """
    (c1, c2), (d1, d2) = centres_nm, diameters_nm
    if outside.sum() < FEWEST_POINTS:
        return np.nan, np.nan
    middle, gap = (c1 + d1 / 2 + c2 - d2 / 2) / 2, (c2 - d2 / 2) - (c1 + d1 / 2)
    from_middle = np.abs(distance_nm - middle)
    between = intensity[from_middle <= max(gap / 4, from_middle.min())]
    cores = [intensity[np.abs(distance_nm - c) <= max(d / 6, 0.51 * distance_nm[1])] for c, d in ((c1, d1), (c2, d2))]
    weaker = max(cores, key=np.mean)
    residual = np.where(outside, intensity - intensity[outside].mean(), np.nan)
    variance = _inflation(residual) * intensity[outside].var(ddof=1)
    return between.mean() - weaker.mean(), np.sqrt(variance * (1 / len(between) + 1 / len(weaker)))
