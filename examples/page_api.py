"""The page from a program: `concept-edit ui` in one shell, this in another. Every action of the page has a name.

python examples/page_api.py [http://127.0.0.1:7860]
"""

from __future__ import annotations

import sys
from typing import Any

from gradio_client import Client


def main(address: str = "http://127.0.0.1:7860", steps: int = 0) -> dict[str, Any]:
    """Ask whether a word is known, take a style out, look at what the judge saw, turn it down, take the LoRA."""
    page = Client(address, verbose=False)
    print(page.predict(words="Twemoji; Twemojy", api_name="/style_words"))
    *_, result, pictures = page.predict(words="Twemoji", instead="Noto", steps=steps, api_name="/style")
    print(result["sentence"])
    page.predict(strength=0.5, api_name="/style_strength")
    _, lora = page.predict(api_name="/style_lora")
    print(lora)
    return {"result": result, "pictures": pictures, "lora": lora}


if __name__ == "__main__":
    main(*sys.argv[1:2])
