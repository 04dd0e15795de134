"""`python -m ui` and `concept-edit ui`: serve the page."""

from __future__ import annotations

import ipaddress
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

program = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

Host = Annotated[str, typer.Option("--host", help="Address to listen on; another than loopback needs --auth-file.")]
AuthFile = Annotated[
    Path | None, typer.Option("--auth-file", help="Who may come in: one name:password a line.", show_default=False)
]


@program.command()
def serve(
    *,
    host: Host = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="0 takes the first free one from 7860 on.")
    ] = 7860,
    share: Annotated[
        bool, typer.Option("--share", help="A public address by Gradio's tunnel; needs --auth-file.")
    ] = False,
    auth_file: AuthFile = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    dtype: Annotated[
        Literal["float32", "float16", "bfloat16"] | None, typer.Option("--dtype", help="Precision; the file's if none.")
    ] = None,
    offload: Annotated[bool, typer.Option("--offload", help="Keep resting parts of a model in main memory.")] = False,
    checkpoints: Annotated[
        Path | None, typer.Option("--checkpoints", help="Folder whose .safetensors files the page offers.")
    ] = None,
    language: Annotated[
        str, typer.Option("--language", help="One more language model: a hub id, or a folder of transformers.")
    ] = "",
    upload_gb: Annotated[
        float | None,
        typer.Option("--upload-gb", min=0, help="Largest model a visitor may send. [20 on this machine alone, else 0]"),
    ] = None,
) -> None:
    """Serve the page, on this machine alone unless told otherwise."""
    users = allowed(host, share, auth_file)
    if checkpoints is not None and not checkpoints.is_dir():
        raise ValueError(f"--checkpoints {checkpoints} is no folder; make it, or name another")

    from ui.app import build_app, launch
    from ui.workshop.session import Settings, Workshop

    own = 20 if loopback(host) and not share else 0
    limit = int(1e9 * (own if upload_gb is None else upload_gb))
    workshop = Workshop(Settings(device, dtype, offload, checkpoints, language, limit))
    workshop.check()
    _, url, public = launch(build_app(workshop), server_name=host, server_port=port or None, share=share, auth=users)
    print(f"Concept Edit is at {public or url}  (Ctrl-C stops it)", flush=True)
    threading.Thread(target=workshop.warm, name="warm", daemon=True).start()
    threading.Event().wait()


def allowed(host: str, share: bool, auth_file: Path | None) -> list[tuple[str, str]] | None:
    """The names and passwords that may come in; None on loopback without a file.

    Raises:
        ValueError: others could reach the page without a password, or the file is not name:password lines.
        OSError: the file cannot be read.
    """
    if auth_file is None:
        if share or not loopback(host):
            what = "--share" if share else f"--host {host}"
            raise ValueError(f"{what} lets others in; name who with --auth-file FILE (one name:password a line)")
        return None
    lines = [line.strip() for line in auth_file.read_text(encoding="utf-8").splitlines() if line.strip()]
    pairs = [line.partition(":") for line in lines]
    wrong = [number for number, (name, _, password) in enumerate(pairs, 1) if not name or not password]
    if wrong or not pairs:
        where = f"line {wrong[0]} of {auth_file} is" if wrong else f"{auth_file} has"
        raise ValueError(f"{where} no name:password; write one a line")
    return [(name, password) for name, _, password in pairs]


def loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def run(arguments: Sequence[str]) -> int:
    """Serve until Ctrl-C; the exit code: 0, 2 for bad input, 130 for Ctrl-C."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        program(list(arguments), standalone_mode=False, prog_name="concept-edit ui")
        return 0
    except (KeyboardInterrupt, typer.Abort):
        return _fail("stopped", 130)
    except (ValueError, OSError) as error:
        return _fail(str(error))
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return _fail(error.format_message())


def _fail(message: str, code: int = 2) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
