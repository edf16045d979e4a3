"""What tests of readers need: pictures on disk, and what a reader says of them."""

import numpy as np
import pytest
from PIL import Image

from followspot.datasets.sources.base import LeftOut


@pytest.fixture
def put_picture():
    """Writes a noisy picture."""

    def write(path, *, height=60, width=80):
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(len(str(path))).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(values).save(path)
        return path

    return write


@pytest.fixture
def put_ids():
    """Writes an indexed PNG."""

    def write(path, ids):
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(np.asarray(ids, np.uint8))
        picture.putpalette(list(range(256)) * 3)
        picture.save(path)

    return write


@pytest.fixture
def boxes_of():
    """What a source shows: ``{(video, track, frame): box}``, and how many objects it left out by reason."""

    def read(source):
        shown, left_out = {}, dict(source.left_out)
        for video in source.videos:
            for found in video.read():
                if isinstance(found, LeftOut):
                    left_out[found.reason] = left_out.get(found.reason, 0) + 1
                else:
                    shown |= {(video.name, thing.track, found.number): thing.box for thing in found.objects}
        return shown, left_out

    return read
