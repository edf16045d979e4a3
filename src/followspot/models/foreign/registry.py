"""The published layouts by name."""

from importlib import import_module
from pathlib import Path
from typing import Literal, cast, get_args

from followspot.errors import EncoderError
from followspot.io.files import nearest
from followspot.models.foreign.conversion import Conversion

Layout = Literal["corrflow", "timecycle", "videowalk", "siammask"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
"""Each is a module of this package with a function ``convert``."""


def convert_checkpoint(path: Path, layout: str) -> Conversion:
    """Read a published checkpoint into one of our networks. Nothing in the file is run.

    Args:
        path: the file as its authors published it.
        layout: one of :data:`LAYOUTS`: whose file it is.

    Raises:
        EncoderError: there is no such layout, or the file is unusable or of another network.
    """
    if layout not in LAYOUTS:
        meant = nearest(layout, LAYOUTS) or LAYOUTS[0]
        raise EncoderError(f"no published layout is called {layout!r}; did you mean {meant!r}? There are {', '.join(LAYOUTS)}")
    return cast(Conversion, import_module(f"followspot.models.foreign.{layout}").convert(path))
