"""`trustjax` and `python -m trustjax`: the command, from its first import on."""

from trustjax import _ending


def main() -> None:
    """Runs the command line; a missing package or Ctrl-C is one line, here as well."""
    with _ending.in_one_line():
        from trustjax import cli

        cli.run()


if __name__ == "__main__":
    main()
