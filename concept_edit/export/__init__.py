"""Files other tools read: LoRA, K/V dumps, patched checkpoints, diffusers folders, a folder for the hub."""

from concept_edit.export.checkpoint import WrittenCheckpoint, export_checkpoint
from concept_edit.export.hub import Pushed, push
from concept_edit.export.imported import ImportedDump, import_kv_dump
from concept_edit.export.kv import WrittenDump, export_kv
from concept_edit.export.lora import WrittenLora, export_lora

__all__ = [
    "ImportedDump",
    "Pushed",
    "WrittenCheckpoint",
    "WrittenDump",
    "WrittenLora",
    "export_checkpoint",
    "export_kv",
    "export_lora",
    "import_kv_dump",
    "push",
]
