"""The output folder of a tracking run: what is finished, what to go on from.

out/
  masks/00000.png ...   id maps with the DAVIS palette, named after the source's frames
  maps/00000.npy ...    soft maps, float16 (L, H, W), if soft maps were given
  tracks.json           everything else: boxes, points, confidence, times; written last but one
  tracks.csv            the same as a table
  overlay.mp4           the picture for people
  .followspot/          only while the run is unfinished:
    run.json              which run this is
    frames.jsonl          one answer a line, in order
    checkpoint.npz        the tracker's state after a frame; what came later is done again
    backward.npy          label maps of the backward pass
"""

import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from followspot.errors import OutputError
from followspot.io.export import frame_from_dict, frame_to_dict
from followspot.io.files import output_error, write_atomic
from followspot.types import TrackedFrame

RESULTS = ("tracks.json", "tracks.csv", "overlay.mp4", "masks", "maps", ".followspot")
"""What a run leaves, in the order of removal: without ``tracks.json`` nothing looks finished any more."""


class RunFolder:
    """One run's folder.

    Args:
        path: the folder; made if it is missing.
        fingerprint: says which run it is: source, annotations and settings. A run goes on only under the same fingerprint.
        overwrite: remove results of other runs first, and finished ones of this run; an unfinished one still goes on.

    Raises:
        OutputError: the folder holds results of another run, or cannot be written.
    """

    def __init__(self, path: Path, *, fingerprint: str, overwrite: bool) -> None:
        self.path = path
        self.fingerprint = fingerprint
        self.work = path / ".followspot"
        self.complete = False
        with _writing(self.work):
            if overwrite and self._fingerprint_in(self.work / "run.json") != fingerprint:
                self._clear()
            found = [name for name in RESULTS if (path / name).exists()]
            if found:
                self._recognize(found)
            if not self.complete:
                self._begin()

    def _begin(self) -> None:
        try:
            self.work.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError as error:  # where folders cannot be made at all, such as /proc
            raise OutputError(f"{self.work} cannot be made; choose another --out") from error
        try:
            write_atomic(self.work / "run.json", json.dumps({"fingerprint": self.fingerprint}))
        except OutputError:
            self.leave()
            raise

    def _clear(self) -> None:
        for name in RESULTS:
            place = self.path / name
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)

    def _recognize(self, found: list[str]) -> None:
        whose = self._fingerprint_in(self.work / "run.json")
        if whose == self.fingerprint:
            return
        if whose is None and self._fingerprint_in(self.path / "tracks.json") == self.fingerprint:
            self.finish()  # it was stopped while tidying up
            return
        if found == [".followspot"] and not self._worth_keeping():
            shutil.rmtree(self.work)
            return
        what = "an unfinished run with other settings" if whose else f"results of another run ({', '.join(found)})"
        raise OutputError(f"{self.path} holds {what}; choose another --out, or add --overwrite to replace them")

    @staticmethod
    def _fingerprint_in(path: Path) -> str | None:
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError):
            return None
        value = content.get("fingerprint") if isinstance(content, dict) else None
        return value if isinstance(value, str) else None

    @property
    def journal(self) -> Path:
        """The answers so far, one JSON object a line."""
        return self.work / "frames.jsonl"

    def frames(self) -> Iterator[TrackedFrame]:
        """The answers so far (without masks and maps)."""
        if self.journal.exists():
            with self.journal.open() as lines:
                for line in lines:
                    yield frame_from_dict(json.loads(line))

    def append(self, frame: TrackedFrame) -> None:
        """Adds one answer to the journal."""
        with _writing(self.journal), self.journal.open("a") as journal:
            journal.write(json.dumps(frame_to_dict(frame)) + "\n")

    def save_checkpoint(self, *, done: int, state: Mapping[str, Any] | None) -> None:
        """Remembers that `done` frames are written and how the tracker stands after them."""
        arrays, plain = _flatten(state) if state is not None else ({}, None)
        buffer = io.BytesIO()
        with self.journal.open("rb") as journal:
            os.fsync(journal.fileno())  # after a power cut the journal must hold what the checkpoint counts on
        about = {"done": done, "journal": self.journal.stat().st_size, "state": plain}
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        np.savez(buffer, allow_pickle=False, **arrays)
        write_atomic(self.work / "checkpoint.npz", buffer.getvalue())

    def load_checkpoint(self) -> tuple[int, dict[str, Any] | None]:
        """How many frames are done, and the tracker's state after them; cuts off of the journal what came later."""
        path = self.work / "checkpoint.npz"
        if not path.exists():
            self.journal.unlink(missing_ok=True)
            return 0, None
        with np.load(path) as content:
            about = json.loads(content["about"].tobytes())
            state = _unflatten(about["state"], content) if about["state"] is not None else None
        with self.journal.open("r+") as journal:
            journal.truncate(about["journal"])
        return about["done"], state

    def finish(self) -> None:
        """Removes what is needed only for going on."""
        with _writing(self.work):
            (self.work / "run.json").unlink(missing_ok=True)  # first: a kill in the middle leaves a finished run, not a broken one
            if self.work.exists():
                shutil.rmtree(self.work)
        self.complete = True

    def leave(self) -> None:
        """After an error: if there is nothing to go on from, leave no trace, so that the mended command meets no other run."""
        if not self._worth_keeping() and not any((self.path / name).exists() for name in RESULTS[:-1]):
            shutil.rmtree(self.work, ignore_errors=True)
            with suppress(OSError):
                self.path.rmdir()  # only if nothing else is in it

    def _worth_keeping(self) -> bool:
        return self.journal.exists() or any(self.work.glob("*backward*"))


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise (output_error(error, path) or error) from error


def _flatten(state: Mapping[str, Any]) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """Takes the arrays out of a tracker's state; the rest is plain data for JSON. What has no label maps has no arrays."""
    if "labels" not in state:
        return {}, dict(state)
    arrays: dict[str, np.ndarray[Any, Any]] = {"labels": state["labels"]}
    arrays |= {f"recent-{i}": labels for i, labels in enumerate(state["recent"])}
    arrays |= {f"reference-{i}": labels for i, labels in state["references"].items()}
    arrays |= {f"anchor-{i}": labels for i, labels in state["anchors"].items()}
    plain = {name: state[name] for name in ("channels", "frame", "anchor_of")}
    counts = {"recent": len(state["recent"]), "references": list(state["references"]), "anchors": list(state["anchors"])}
    return arrays, plain | counts


def _unflatten(plain: Mapping[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    if "labels" not in arrays:
        return dict(plain)
    return {
        "channels": plain["channels"],
        "frame": plain["frame"],
        "anchor_of": plain["anchor_of"],
        "labels": arrays["labels"],
        "recent": [arrays[f"recent-{i}"] for i in range(plain["recent"])],
        "references": {i: arrays[f"reference-{i}"] for i in plain["references"]},
        "anchors": {i: arrays[f"anchor-{i}"] for i in plain["anchors"]},
    }
