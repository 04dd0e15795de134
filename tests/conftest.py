"""One thread for every test and every process a test starts.

Two threads add in another order than one, which is a last bit in a picture: pixels are compared at equal thread count.
For the same reason tests run on the CPU, also where a GPU would be chosen.
"""

from __future__ import annotations

import os
import shutil
import tempfile

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ["CONCEPT_EDIT_CACHE"] = tempfile.mkdtemp()  # nothing is kept in the home of who runs the tests
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import torch

from concept_edit.models.operators import mend_torchvision

torch.set_num_threads(1)
# Tests import diffusers themselves, also where an extra has brought a torchvision of another build.
mend_torchvision()


def pytest_unconfigure() -> None:
    """What was read once for all tests goes with them."""
    shutil.rmtree(os.environ["CONCEPT_EDIT_CACHE"], ignore_errors=True)
