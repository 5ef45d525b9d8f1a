"""Command line of `python -m hud.runtimes.warm`: the warm parent, or one fresh interpreter."""

from __future__ import annotations

import sys


def main() -> None:
    """Run what the eval process or the warm parent started this interpreter for."""
    if sys.argv[1] == "--fresh":
        from hud.runtimes.warm import fresh

        fresh.main(sys.argv[2])
    numbers = [int(number) for number in sys.argv[1:]]
    if len(numbers) > 3:
        from hud.packaging import inside

        inside.enter(numbers.pop(0))
    from hud.runtimes.warm import parent

    parent.main(*numbers)


if __name__ == "__main__":
    main()
