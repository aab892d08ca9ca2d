"""The command line: `temlib simulate | fetch | index | denoise | adapt | bench | measure | validate`.

Exit status of every command: 0 all done, 1 some inputs refused (each with its sentence),
2 nothing usable or wrong usage, 130 interrupted.
"""

from temlib import data_commands, denoising_commands, measuring_commands  # noqa: F401  each adds its commands
from temlib.commands import app

__all__ = ["app"]
