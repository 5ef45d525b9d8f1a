"""What changed in a workspace, found by looking at its files, and told as diffs.

The daemon is `FileTracker`; what it says on the wire is `feed`, what becomes of it on a trace is
`hud.trace.file_steps`.
"""

from hud.environment.filetracking.scan import EXCLUDED
from hud.environment.filetracking.tracker import FileTracker
from hud.trace.file_steps import PROTOCOL

__all__ = ["EXCLUDED", "PROTOCOL", "FileTracker"]
