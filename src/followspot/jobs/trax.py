"""Our trackers speak TraX, so that vot-toolkit and other clients can drive them.

Čehovin, "TraX: the visual Tracking eXchange protocol and library", Neurocomputing 2017. The client starts this process, sends an image and
a region, then images, and gets a region for each; it may start the tracker anew at any time.
"""

import io
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from followspot.benchmarks.vot_regions import answer_region, start_box
from followspot.errors import FollowspotError, SettingError, VideoError
from followspot.io.images import read_image
from followspot.io.regions import Region
from followspot.io.source import as_rgb
from followspot.tracking.base import Tracker
from followspot.types import Frame

_NOWHERE = np.array([-2.0, -2.0, 1.0, 1.0])
"""The answer where nothing is left of the object: TraX wants a region, and this one covers no pixel of the image."""

FPS = 30.0
"""Of the time stamps, which TraX does not send."""


def serve(tracker: Tracker, *, name: str) -> int:
    """Talks with a client over standard input and output (or the socket that it names in ``TRAX_SOCKET``) until it is done.

    Rectangles and polygons are understood; images as files, in memory (RGB or grey) and as JPEG or PNG data.

    Args:
        tracker: followed by one client, one object at a time.
        name: what the client calls the tracker.

    Returns:
        How many frames were answered.

    Raises:
        SettingError: vot-trax is not installed, the client went away, or it sent a region that is neither rectangle nor polygon.
        VideoError: an image is missing, damaged, or of another size than those before.
    """
    trax = load_trax()
    server = trax.Server(
        [trax.Region.RECTANGLE, trax.Region.POLYGON],
        [trax.Image.PATH, trax.Image.MEMORY, trax.Image.BUFFER],
        tracker_name=name,
        tracker_description=f"{name} of followspot",
        tracker_family="followspot",
    )
    frames = 0
    try:
        while (request := _next_request(server, trax)).type != "quit":
            server.status([(_to_trax(_answer(tracker, request, index=frames), trax), {})])
            frames += 1
    except FollowspotError as error:
        server.quit(str(error))
        raise
    server.quit()
    return frames


def load_trax() -> ModuleType:
    """The module ``trax`` of the extra ``eval``.

    Raises:
        SettingError: it is not installed.
    """
    try:
        import trax
    except ImportError as error:
        raise SettingError(
            "TraX needs the package vot-trax, which is not installed; install it with: pip install 'followspot[eval]'"
        ) from error
    module: ModuleType = trax
    return module


def _next_request(server: Any, trax: ModuleType) -> Any:  # noqa: ANN401 vot-trax has no types
    try:
        return server.wait()
    except trax.TraxException as error:
        raise SettingError(f"the TraX client went away ({error}); this command is started by a client such as vot-toolkit") from error


def _answer(tracker: Tracker, request: Any, *, index: int) -> Region:  # noqa: ANN401
    frame = Frame(image=_picture(request.image), index=index, time_seconds=index / FPS, name=f"{index:05d}")
    if request.type != "initialize":
        found = answer_region(tracker.step(frame))
        return _NOWHERE if found is None else found
    if len(request.objects) != 1:
        raise SettingError(f"the TraX client sent {len(request.objects)} objects; this tracker follows one, so start one process an object")
    region = _from_trax(request.objects[0][0])
    tracker.start(frame, [start_box(region)])
    return region


def _picture(images: dict[str, Any]) -> NDArray[np.uint8]:
    """The colour image of a request."""
    if "color" not in images:
        raise VideoError(f"the TraX client sent the channels {', '.join(images)} without color; send color images")
    image = images["color"]
    readers: dict[str, Callable[[], NDArray[np.uint8]]] = {
        "path": lambda: read_image(Path(image.path())),
        "memory": lambda: as_rgb(image.array(), what="the TraX client's image"),
        "buffer": lambda: _decoded(image.buffer()),
    }
    return readers[image.type()]()


def _decoded(data: bytes) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as opened:
            return np.array(opened.convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise VideoError(f"the TraX client's image cannot be decoded ({error}); send JPEG or PNG") from error


def _from_trax(region: Any) -> Region:  # noqa: ANN401
    if region.type == "rectangle":
        return np.array(region.bounds(), float)
    if region.type == "polygon":
        return np.array(list(region), float).ravel()
    raise SettingError(f"the TraX client sent a {region.type}; this tracker takes rectangles and polygons")


def _to_trax(region: Region, trax: ModuleType) -> Any:  # noqa: ANN401
    if len(region) == 4:
        return trax.Rectangle.create(*(float(number) for number in region))
    return trax.Polygon.create([(float(x), float(y)) for x, y in region.reshape(-1, 2)])
