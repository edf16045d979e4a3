"""A tracker that is chosen and not built yet: what benchmarks, comparisons and searches ask of it."""

from collections.abc import Mapping
from typing import Protocol, Self

from followspot.tracking.base import Tracker


class Tunable(Protocol):
    """A tracker whose settings can be searched; it can be pickled."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    def tunable(self) -> Mapping[str, str]:
        """The settings that are worth searching, with their usual ranges as `followspot.jobs.search_space` reads them."""
        ...

    def with_settings(self, settings: Mapping[str, object]) -> Self:
        """The same tracker with other values, also of settings that `tunable` does not list.

        Raises:
            SettingError: an unknown name (names the nearest), or a value out of range.
        """
        ...

    def build(self) -> Tracker:
        """The tracker.

        Raises:
            EncoderError: its weights are missing or unusable.
        """
        ...

    def settings(self) -> Mapping[str, object]:
        """What makes results the same, as JSON has it."""
        ...


class TrackerChoice(Tunable, Protocol):
    """What `followspot.jobs.trackers.find_tracker` gives, whichever kind of tracker it is."""

    @property
    def slug(self) -> str:
        """The name as that of a folder."""
        ...

    @property
    def confidence(self) -> bool:
        """Whether the built tracker remembers how sure it was (`followspot.jobs.confidences.RecordingTracker`)."""
        ...

    def with_confidence(self) -> Self:
        """The same tracker with `confidence`.

        Raises:
            SettingError: it makes no such claim.
        """
        ...
