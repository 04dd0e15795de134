"""The command line: `styles sample | rank | control | rewrite | dissect | turn | sweep | pairs | relight |
train-relighter | convert`."""

from __future__ import annotations

import sys
import warnings

import typer

from styles.commands import finding, lighting, rewriting, turning

app = typer.Typer(
    help="Find the StyleGAN units behind a marked region, and turn them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for verb in (
    turning.sample, finding.rank, finding.control, rewriting.rewrite, finding.dissect, turning.turn, turning.sweep,
    turning.pairs, lighting.relight, turning.convert,
):  # fmt: skip
    app.command()(verb)
app.command("train-relighter")(lighting.train)


def main() -> None:
    """Console entry point: bad input ends with `error: ...` and code 2, an interruption with 130."""
    warnings.showwarning = lambda message, *_: print(f"note: {message}", file=sys.stderr)
    try:
        app()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
