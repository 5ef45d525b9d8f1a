"""Which runs this server has heard of lately, and to which jobs they belong: saves asking twice."""

from __future__ import annotations

import time
from collections import OrderedDict

_MOST = 50_000
_REMEMBERED_S = 60.0
_HEARD_EVERY_S = 5.0


class KnownRuns:
    """Remembers runs for a minute, and when each job was last written to be heard of."""

    def __init__(self) -> None:
        self._jobs_of: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()
        self._heard: OrderedDict[tuple[str, str], float] = OrderedDict()

    def job_of(self, team: str, run_id: str) -> str | None:
        """Return the run's job, "" where it is not known yet, None for a run to look up."""
        job_id, until = self._jobs_of.get((team, run_id), ("", 0.0))
        return job_id if until > time.monotonic() else None

    def note(self, team: str, run_id: str, job_id: str) -> None:
        """Remember a run that is in the store."""
        remembered_s = _REMEMBERED_S if job_id else _HEARD_EVERY_S
        self._jobs_of[team, run_id] = (job_id, time.monotonic() + remembered_s)
        self._jobs_of.move_to_end((team, run_id))
        if len(self._jobs_of) > _MOST:
            self._jobs_of.popitem(last=False)

    def is_due(self, team: str, job_id: str) -> bool:
        """Tell, and note, whether it is time to write that a job was heard of."""
        now = time.monotonic()
        if not job_id or now - self._heard.get((team, job_id), -_HEARD_EVERY_S) < _HEARD_EVERY_S:
            return False
        self._heard[team, job_id] = now
        self._heard.move_to_end((team, job_id))
        if len(self._heard) > _MOST:
            self._heard.popitem(last=False)
        return True

    def has_heard(self, team: str, job_id: str) -> bool:
        """Tell whether somebody has reported of a job to this server."""
        return (team, job_id) in self._heard

    def forget(self) -> None:
        """Look everything up anew: something was deleted."""
        self._jobs_of.clear()
        self._heard.clear()
