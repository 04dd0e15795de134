"""Language models behind one contract: where their facts sit, rewriting them, and measuring what the model then knows.

    lm = open_language_model("smollm2")
    lm.layers                                            # 30 blocks
    lm.site("memory", 5)                                 # input of the down projection of block 5
    lm.probabilities(["The Eiffel Tower is in"], ["Paris", "Rome"])
    lm.subject_rows("The Eiffel Tower is in", "The Eiffel Tower")      # (0, 1, 2, ...)

Axes: `prompts`, `answers`, `tokens`, `layers`, `d_model` width of the hidden state, `d_key` width of an MLP's memory.
"""

from concept_edit.language.model import LanguageModel
from concept_edit.language.open import open_language_model
from concept_edit.language.sites import KINDS, Site

__all__ = ["KINDS", "LanguageModel", "Site", "open_language_model"]
