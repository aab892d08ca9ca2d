"""Low-dose TEM frames of nanoparticles through a U-Net: simulate, read, train, measure, denoise."""

__all__ = ["denoise"]


def __getattr__(name):
    if name == "denoise":  # not before it is asked for: loading the runtime takes a second
        from temlib.inference import denoise

        return denoise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
