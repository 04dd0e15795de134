"""Whether the server is still the one this page came from: a line at the foot of the page says when it is not."""

from __future__ import annotations

import json
import secrets

from ui.workshop.kept import App, Receive, Scope, Send

PATH = "/alive"
GONE = "The server does not answer. What stands in the fields stays there; this line goes when it is back."
ANEW = (
    "The server was started anew, so the history of this page is gone. What stands in the fields is still here: press "
    "“Solve and paint” to have the edit again. After a reload, “My last recipe” brings it back."
)
_SCRIPT = """
<script>
(() => {
  let first = null;
  const line = () => document.getElementById('pulse') || document.body.appendChild(
    Object.assign(document.createElement('div'), {id: 'pulse', role: 'alert', hidden: true}));
  const say = text => { line().hidden = !text; if (line().textContent !== text) line().textContent = text; };
  async function look() {
    try {
      const answer = await fetch('PATH', {cache: 'no-store', signal: AbortSignal.timeout(15000)});
      const name = await answer.text();
      if (!answer.ok) return;
      first = first || name;
      say(name === first ? '' : ANEW);
    } catch { say(GONE); }
  }
  const again = () => (document.hidden ? Promise.resolve() : look()).finally(() => setTimeout(again, EVERY));
  if (document.readyState === 'complete') again(); else window.addEventListener('load', again);
})();
</script>
"""


def head(every: float = 4.0) -> str:
    """The script for the page's head; it looks every so many seconds while the page is seen."""
    known = {"PATH": f".{PATH}", "ANEW": json.dumps(ANEW), "GONE": json.dumps(GONE), "EVERY": str(int(1000 * every))}
    text = _SCRIPT
    for name, value in known.items():
        text = text.replace(name, value)
    return text


class Pulse:
    """ASGI middleware that answers GET /alive with a name drawn at the server's start. It tells nothing else."""

    def __init__(self, app: App) -> None:
        self.app, self.name = app, secrets.token_hex(8).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("GET", PATH):
            await self.app(scope, receive, send)
            return
        headers = [(b"content-type", b"text/plain"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.name})
