"""What is worth saying beside a result: warnings that the command line prints as one line each."""

from __future__ import annotations


class Note(UserWarning):
    """Not wrong, but to be known."""


class CutWarning(Note):
    """A prompt longer than the tokenizer takes."""


class MethodWarning(Note):
    """A written recipe that names no method."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} names no method and is read as 'uce', as when it was written; add the line 'method: guarded' to "
            "hold still what it does not name, or 'method: uce' to go on as before"
        )


class DeviceWarning(Note):
    """Work that goes to another device than the CPU, unasked."""

    def __init__(self, device: str) -> None:
        super().__init__(f"running on {device}, which is here; device 'cpu' (--device cpu) runs on the processor")
