"""Say whether the notes are fit to be published, in colours."""

import sys
import time
from pathlib import Path

GREEN, RED, DIM, BOLD, END = "\033[32m", "\033[1;31m", "\033[2m", "\033[1m", "\033[0m"


def say(text: str) -> None:
    """Write it at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def main() -> int:
    """Check, with a bar that moves."""
    for done in range(0, 101, 20):
        bar = "█" * (done // 5) + "░" * (20 - done // 5)
        say(f"\rreading {bar} {done:3d}%")
        time.sleep(0.01)
    say(f"\r\033[Kread {BOLD}notes.md{END}\n")
    path = Path("notes.md")
    text = path.read_text() if path.exists() else ""
    wanted = [line.split()[0] for line in Path("CHANGES.txt").read_text().splitlines()]
    failed = 0
    for number in wanted:
        is_there = f"#{number}" in text
        failed += not is_there
        mark = f"{GREEN}✓{END}" if is_there else f"{RED}✗{END}"
        say(f"  {mark} #{number} {DIM}{'kept' if is_there else 'missing'}{END}\n")
    say(f"{GREEN if not failed else RED}{len(wanted) - failed} of {len(wanted)} kept{END}\n")
    return 1 if failed > 3 else 0


if __name__ == "__main__":
    sys.exit(main())
