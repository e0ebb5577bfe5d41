"""``python -m ges_history``: the same as the command ``ges-backups``."""

from ges_history.cli import main

if __name__ == "__main__":
    main()
