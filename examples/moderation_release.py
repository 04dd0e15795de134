"""A moderation team releases a model: suppress, balance, keep; measure; two people sign; bake; verify; roll back.

python examples/moderation_release.py --out out/moderation
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

import concept_edit as ce
from concept_edit.audit.release import EDIT, Decision, verify, write_release
from concept_edit.audit.signing import require_release, sign
from concept_edit.balance.debias import Plan, debias
from concept_edit.evaluation import Settings
from concept_edit.identity import matrices_digest

REVIEWERS = ("ada", "ben")
RECIPE = ce.Recipe(
    edits=[
        ce.Moderate("bomb"),
        ce.Moderate("syringe"),
        ce.Debias("doctor", across={"man": 0.5, "woman": 0.5}),
    ],
    preserve=["cat", "balloon", "red apple", "Noto", "Lobe"],
)


def make_keys(folder: Path) -> None:
    """A key for each reviewer. In earnest each person makes their own, and nobody else ever holds it."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    folder.mkdir(exist_ok=True)
    for name in REVIEWERS:
        key, public = ec.generate_private_key(ec.SECP256R1()), form.PublicFormat.SubjectPublicKeyInfo
        private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
        (folder / f"{name}.pem").write_bytes(private)
        (folder / f"{name}.pub").write_bytes(key.public_key().public_bytes(form.Encoding.PEM, public))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/moderation"))
    parser.add_argument("--prompts", type=int, default=8, help="prompts of each set")
    parser.add_argument("--pictures", type=int, default=160, help="pictures of a concept in a round, at most")
    parser.add_argument("--rounds", type=int, default=8, help="rounds of balancing, at most")
    parser.add_argument("--steps", type=int, help="denoising steps")
    args = parser.parse_args(arguments)
    out, painting = args.out, Settings(steps=args.steps, batch_size=4)
    out.mkdir(parents=True, exist_ok=True)

    model = ce.open_model("demo")
    original = matrices_digest(model)
    plan = Plan(most=args.pictures, batch=min(16, args.pictures), rounds=args.rounds, check=0, confusion=4)
    balance = debias(model, RECIPE, plan=plan, settings=painting, out=out / "balance")
    print(f"balanced with {balance.images} pictures in {len(balance.rounds)} rounds")

    report = ce.evaluate(
        model, balance.edit, out=out / "run", per_set=args.prompts, settings=painting, barred=["syringe"]
    )
    decision = Decision(
        "Released for the children's library.", REVIEWERS, ("syringe",), "use the folder of the original"
    )
    diagnosis = ce.diagnose(model, balance.edit)
    release = write_release(model, balance.edit, out / "release", report=report, diagnosis=diagnosis, decision=decision)

    make_keys(out / "keys")
    for name in REVIEWERS:
        sign(release.folder, name, out / "keys" / f"{name}.pem")
    require_release(release.folder / EDIT, model, {name: out / "keys" / f"{name}.pub" for name in REVIEWERS})
    baked = ce.export_checkpoint(balance.edit, model, out / f"model-{release.manifest[:8]}")

    found = verify(release.folder / EDIT, model)
    print(found.table())
    shipped = ce.open_model(str(baked.path)).weights()
    with balance.edit.applied(model):
        same = [torch.equal(shipped[name], weight.half().float()) for name, weight in model.weights().items()]
    assert all(same), "the baked checkpoint is the edited model, rounded once to its own half precision"
    assert matrices_digest(ce.open_model("demo")) == original, "the original is where the rollback finds it"
    print(f"baked {len(baked.changed)} matrices into {baked.path}; rollback: {decision.rollback}")


if __name__ == "__main__":
    main()
