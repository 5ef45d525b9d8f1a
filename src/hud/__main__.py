"""`python -m hud` is the `hud` command."""

from hud.cli.main import main

if __name__ == "__main__":
    main()
