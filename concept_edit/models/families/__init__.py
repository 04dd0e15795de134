"""The model families, one row each. Nothing else in the package asks which family a model is of."""

from concept_edit.models.families.row import Family, Reader, Route, Tower, readers_of
from concept_edit.models.families.table import FAMILIES, family_of

__all__ = ["FAMILIES", "Family", "Reader", "Route", "Tower", "family_of", "readers_of"]
