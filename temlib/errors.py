"""What can be wrong with an input, each told in one sentence: what came, what is needed, what to do.

The command line and the runner print the sentence after `error:` and no traceback, so an
exception from here is for the person at the keyboard; anything else that escapes is a bug.
"""


class TemlibError(Exception):
    """An input, file or setting that cannot be used as it is."""


class FrameError(TemlibError):
    """A file that is no usable single-channel image."""


class PairMismatchError(TemlibError):
    """An HDE and an LDE frame that cannot be compared pixel by pixel."""


class ProfileError(TemlibError):
    """A run profile with an unknown, missing or unusable key."""


class ModelFileError(TemlibError):
    """A checkpoint, weights file or card that cannot be used."""


class DownloadError(TemlibError):
    """A data set that could not be fetched whole."""
