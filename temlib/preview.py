"""Pictures to look at, with a scale bar: a film of raw beside denoised in one contrast, and particles on their frame.

Arrays and what is known of them in, an mp4 or a png out. For the eye only: eight bits.
"""

import math
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import av
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import uniform_filter

from temlib.paths import whole_file

SMALLEST_PX, LARGEST_PX = 384, 960  # of a panel's longer edge
GAP_PX, FRAMES_PER_SECOND, STILL_FRAMES = 8, 25, 50
BAR_PART = 0.25  # of the panel's width that the scale bar takes at most
LEAST_OVERLAY_PX, LARGEST_OVERLAY_PX = 900, 1800  # of the longer edge of what particles are drawn on
COLOURS = {True: "#ffb000", False: "#ffffff"}  # of particles that are significant, and of those that are not
DASH_DEGREES = 12
SMOOTHED_PX = 3  # of a raw frame that particles are drawn on: at 5 electrons a pixel its own are black or white
UNITS = ((1e3, "µm"), (1.0, "nm"), (1e-3, "pm"))


@contextmanager
def film(path, movie, samples, *, model):
    """Write an mp4; yields a function that adds the next image.

    Parameters
    ----------
    path : path
    movie : movies.Movie
        Its pixel size, interval and unit are shown.
    samples : list of ndarray of shape (M, N)
        Denoised images from the whole movie: they set the contrast of every image, raw and denoised.
    model : str
        Name of the network.

    Yields
    ------
    callable
        `add(raw, denoised, dose_e_per_px)`: two images, and the electrons per pixel recorded so far.
    """
    low, high = np.percentile(np.stack([_panel(image) for image in samples]), (0.1, 99.9))
    margin = 0.05 * (high - low) or 1.0
    low, high = low - margin, high + margin
    number = 0
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"crf": "18", "preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        stream.height, stream.width = _size(_panel(samples[0]).shape)

        def add(raw, denoised, dose_e_per_px):
            nonlocal number
            panels = [((_panel(image) - low) / (high - low)).clip(0, 1) for image in (raw, denoised)]
            picture = _picture(panels, movie, model, _caption(movie, number, dose_e_per_px))
            for _ in range(math.ceil(STILL_FRAMES / movie.shape[0])):  # to be seen at all
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
            number += 1

        yield add
        container.mux(stream.encode())


def _steps(shape):
    """How many pixels are averaged into one along each axis, and how often one is then repeated."""
    edge = max(shape)
    return -(-edge // LARGEST_PX), max(1, SMALLEST_PX // edge)


def _panel(image):
    """The image at the size at which it is shown."""
    averaged, repeated = _steps(image.shape)
    rows, columns = (max(n // averaged, 1) for n in image.shape)
    cut = image[: rows * averaged, : columns * averaged]
    means = cut.reshape(rows, cut.shape[0] // rows, columns, cut.shape[1] // columns).mean((1, 3))
    return means.repeat(repeated, axis=0).repeat(repeated, axis=1)


def _caption(movie, number, dose_e_per_px):
    """Time, or the number of the image, and the dose recorded so far, as far as they are known."""
    at = f"{number * movie.interval_s:.4g} s" if movie.interval_s else f"image {number + 1} of {movie.shape[0]}"
    if movie.about.unit != "e-" or dose_e_per_px <= 0:
        return f"{at}     dose not known"
    if not movie.about.pixel_size_nm:
        return f"{at}     cumulative dose {dose_e_per_px:.4g} e-/px"
    return f"{at}     cumulative dose {dose_e_per_px / math.prod(movie.about.pixel_size_nm):.4g} e-/nm2"


def scale_bar(columns, pixel_size_nm):
    """Length of a scale bar in pixels of the image, and its label: 1, 2 or 5 times a power of ten."""
    room_nm = BAR_PART * columns * pixel_size_nm
    power = 10.0 ** math.floor(math.log10(room_nm))
    length_nm = max(step * power for step in (1, 2, 5) if step * power <= room_nm)
    per_unit, unit = next((u for u in UNITS if length_nm >= u[0]), UNITS[-1])
    return length_nm / pixel_size_nm, f"{length_nm / per_unit:.6g} {unit}"


def _font_px(columns):
    return max(14, columns // 26)


def _slot(columns):
    """Room for one panel, wide enough for what is written on it."""
    return max(columns, 18 * _font_px(columns)) + GAP_PX


def _size(panel):
    """Height and width of the picture: two panels and a line of text; even, as the codec wants them."""
    rows, columns = panel
    em = _font_px(columns)
    height, width = max(rows, 6 * em) + 2 * em, 2 * _slot(columns)
    return height + height % 2, width + width % 2


def _picture(panels, movie, model, caption):
    """Two panels of 0..1 with their texts, as uint8."""
    rows, columns = panels[0].shape
    height, width = _size(panels[0].shape)
    em = _font_px(columns)
    foot = max(rows, 6 * em)
    font = _font(em)
    picture = Image.new("L", (width, height))
    draw = ImageDraw.Draw(picture)
    for left, panel, name in zip((0, _slot(columns)), panels, ("raw", f"network output: {model}"), strict=True):
        picture.paste(Image.fromarray((255 * panel).astype(np.uint8)), (left, 0))
        _label(draw, (left + em, em // 2), name, font)
        if movie.about.pixel_size_nm:
            length, text = scale_bar(movie.shape[2], movie.about.pixel_size_nm[1])
            averaged, repeated = _steps(movie.shape[1:])
            end = left + em + length * repeated / averaged
            draw.rectangle((left + em, foot - em, end, foot - em // 2), fill=255, outline=0)
            _label(draw, (left + em, foot - 2.6 * em), text, font)
    draw.text((em, foot + em // 3), caption, fill=255, font=font)
    return np.asarray(picture)


@cache
def _font(em_px):
    """One that has µ, which Pillow's own lacks."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", em_px)


def _label(draw, place, text, font):
    left, top, right, bottom = draw.textbbox(place, text, font=font)
    draw.rectangle((left - 4, top - 4, right + 4, bottom + 4), fill="black")
    draw.text(place, text, fill="white", font=font)


def overlay(path, shown, particles, movie, *, number, model):
    """Write a png of a frame with its particles, numbered as in their table.

    Parameters
    ----------
    path : Path
    shown : sequence of ndarray of shape (M, N)
        Raw and denoised, or the denoised image alone.
    particles : pandas.DataFrame
        particle, row_px, col_px, diameter_nm and significant of each.
    movie : movies.Movie
    number : int
        Of the image in the movie, from 0.
    model : str
        Name of the network.
    """
    scale = _overlay_scale(shown[-1].shape)
    low, high = np.percentile(shown[-1], (0.1, 99.9))
    high += (high - low) * 0.2 or 1.0  # room for the noise of a raw frame
    rows, columns = (round(scale * n) for n in shown[-1].shape)
    em = max(14, columns // 50)
    font = _font(em)
    picture = Image.new("RGB", (max(len(shown) * (columns + GAP_PX) - GAP_PX, 36 * em), rows + int(7.5 * em)))
    write = ImageDraw.Draw(picture)
    names = (f"raw, mean of {SMOOTHED_PX} x {SMOOTHED_PX} px", f"network output: {model}")[-len(shown) :]
    if len(shown) > 1:
        shown = [uniform_filter(np.asarray(shown[0], np.float32), SMOOTHED_PX), shown[1]]
    known = particles.assign(significant=particles["significant"].astype("boolean").fillna(True))
    for panel, (image, name) in enumerate(zip(shown, names, strict=True)):
        grey = Image.fromarray((255 * ((image - low) / (high - low)).clip(0, 1)).astype(np.uint8))
        way = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
        drawn = grey.resize((columns, rows), way).convert("RGB")
        for one in known.itertuples():
            _ring(ImageDraw.Draw(drawn), one, scale, movie, font if panel == len(shown) - 1 else None)
        left = panel * (columns + GAP_PX)
        picture.paste(drawn, (left, 2 * em))
        write.text((left + em, em // 2), name, fill="white", font=font)
    length, text = scale_bar(movie.shape[2], movie.about.square_pixel_nm)
    top = rows + int(2.7 * em)
    write.rectangle((em, top, em + length * scale, top + em // 2), fill="white")
    write.text((2 * em + length * scale, top + em // 4), text, fill="white", font=font, anchor="lm")
    write.text((em, top + em), _said(particles, movie, number), fill="white", font=font, spacing=em // 3)
    with whole_file(path) as partial:
        picture.save(partial, format="png")


def _overlay_scale(shape):
    """Pixels of the picture in one of the image."""
    edge = max(shape)
    return LARGEST_OVERLAY_PX / edge if edge > LARGEST_OVERLAY_PX else max(1, round(LEAST_OVERLAY_PX / edge))


def _ring(draw, particle, scale, movie, font):
    """The rim of a particle, dashed if it is not significant; with its number where there is a font."""
    row, column = ((place + 0.5) * scale for place in (particle.row_px, particle.col_px))
    reach = particle.diameter_nm / movie.about.square_pixel_nm / 2 * scale
    sure = bool(particle.significant)
    for wider, colour in ((1, "black"), (0, COLOURS[sure])):
        box = [column - reach - wider, row - reach - wider, column + reach + wider, row + reach + wider]
        for start in (0,) if sure else range(0, 360, 2 * DASH_DEGREES):
            draw.arc(box, start, start + (360 if sure else DASH_DEGREES), fill=colour, width=2 + 2 * wider)
    if font and particle.particle:
        number = str(particle.particle)
        write = {"font": font, "anchor": "mm", "stroke_width": 2}
        left, top, right, bottom = draw.textbbox((0, 0), number, **write)
        # at the upper left of the rim, as the centres of particles that overlap lie close together
        column, row = (place - reach / math.sqrt(2) for place in (column, row))
        inside = min(max(column, -left), draw.im.size[0] - right), min(max(row, -top), draw.im.size[1] - bottom)
        draw.text(inside, number, COLOURS[sure], stroke_fill="black", **write)


def _said(particles, movie, number):
    """What is to be read below the picture: up to three lines."""
    significant = particles["significant"].astype("boolean")
    said = f"{significant.sum()} particles (full rings), numbered as in the table"
    if significant.isna().any():
        said = f"{len(particles)} particles; which of them noise could have made is not known"
    elif others := int((~significant).sum()):
        said += f"\ndashed: {others} that are not significant, as noise could have made them"
    at = f"image {number + 1} of {movie.shape[0]}" if movie.shape[0] > 1 else ""
    if at and movie.interval_s:
        at += f", {number * movie.interval_s:.4g} s"
    return f"{said}\n{at}"
