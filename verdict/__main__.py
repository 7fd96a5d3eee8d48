"""``python -m verdict …`` is ``verdict …``."""

from verdict.pipelines.cli.app import main

if __name__ == "__main__":
    main()
