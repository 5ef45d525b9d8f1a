"""Sessions of one served environment: who holds which suspended task, and what is parked.

A session outlives its connection only while it holds a task. Session ids are addresses, not
secrets; who may reach the control port at all is decided elsewhere.
"""

from __future__ import annotations

from hud._core.errors import HudError
from hud._core.ids import new_id
from hud.environment.episode import Episode

MAX_PARKED = 1024


class NoSuchSession(HudError):
    """The session asked for is unknown, still connected, or cannot be told apart."""

    code = "no_such_session"


class Session:
    """One client's place on the server: at most one suspended task, connected or parked."""

    __slots__ = ("connected", "episode", "id")

    def __init__(self, session_id: str) -> None:
        self.id = session_id
        self.episode: Episode | None = None
        self.connected = True

    def take(self) -> Episode | None:
        """Remove and return the suspended task."""
        episode, self.episode = self.episode, None
        return episode


class SessionTable:
    """All sessions of one server, by id."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def open(self) -> Session:
        session = Session(new_id())
        self._sessions[session.id] = session
        return session

    def resume(self, session_id: str) -> Session:
        """Reconnect a parked session.

        Raises:
            NoSuchSession: when it is unknown or another connection holds it.
        """
        session = self._sessions.get(session_id)
        if session is None:
            raise NoSuchSession(f"unknown session {session_id[:64]!r}")
        if session.connected:
            raise NoSuchSession(f"session {session_id!r} is live on another connection")
        session.connected = True
        return session

    def adopt(self) -> Episode:
        """Take over the one parked task; its session is then forgotten.

        Raises:
            NoSuchSession: when none is parked, or several are.
        """
        parked = [session for session in self._sessions.values() if not session.connected]
        held = [session.episode for session in parked if session.episode is not None]
        if not held:
            raise NoSuchSession("no task in progress")
        if len(parked) > 1:
            ids = ", ".join(session.id for session in parked[:8])
            raise NoSuchSession(
                f"{len(parked)} tasks are parked: say hello with one of their session ids: {ids}"
            )
        self.forget(parked[0])
        return held[0]

    def disconnect(self, session: Session) -> Episode | None:
        """Park a session whose connection ended, or forget it when it holds no task.

        Returns the task of an older parked session that had to make room, for closing.
        """
        session.connected = False
        if session.episode is None:
            self._sessions.pop(session.id, None)
            return None
        parked = [held for held in self._sessions.values() if not held.connected]
        return self.forget(parked[0]) if len(parked) > MAX_PARKED else None

    def forget(self, session: Session) -> Episode | None:
        """Drop a session and return its suspended task, for closing."""
        self._sessions.pop(session.id, None)
        return session.take()

    def forget_parked(self) -> list[Episode]:
        """Drop the sessions that nobody is connected to, and return their tasks, for closing."""
        parked = [session for session in self._sessions.values() if not session.connected]
        held = [self.forget(session) for session in parked]
        return [episode for episode in held if episode is not None]

    def forget_all(self) -> list[Episode]:
        """Drop every session and return the suspended tasks, for closing."""
        episodes = [session.take() for session in self._sessions.values()]
        self._sessions.clear()
        return [episode for episode in episodes if episode is not None]
