"""Recording and patching any torch model: seen, changed, undone, and never silently without effect."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from concept_edit.search.hooks import Place, changed, recorded, skipped


class Pair(nn.Module):
    """A block that returns a tuple, as older transformers' blocks do."""

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        return self.linear(x).tanh(), "weights"


class Net(nn.Module):
    """A tuple block, a tensor block, a head; one module that is never called."""

    def __init__(self, width: int = 5):
        super().__init__()
        self.first, self.second = Pair(width), nn.Linear(width, width)
        self.head, self.idle = nn.Linear(width, 2), nn.Linear(width, width)

    def forward(self, x):
        return self.head(self.second(self.first(x)[0]))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


def test_recording_sees_inputs_outputs_and_tuples(net):
    x = torch.randn(3, 5)
    places = [Place("first"), Place("second", "input"), Place("second")]
    with recorded(net, places) as seen:
        net(x)
    assert torch.equal(seen[places[0]], net.first(x)[0])
    assert torch.equal(seen[places[1]], seen[places[0]])
    assert torch.equal(seen[places[2]], net.second(net.first(x)[0]))
    assert seen.tuples == {"first"}
    assert not any(value.requires_grad for value in seen.values())


def test_recorded_graph_gives_gradients(net):
    with recorded(net, [Place("first")], graph=True) as seen:
        total = net(torch.randn(3, 5)).sum()
    (gradient,) = torch.autograd.grad(total, [seen[Place("first")]])
    assert torch.allclose(gradient, (net.head.weight @ net.second.weight).sum(0).expand(3, 5), atol=1e-6)


@pytest.mark.parametrize(
    "place", [Place("first"), Place("second", "input"), Place("second"), Place("first.linear", "input")]
)
def test_a_transplant_makes_the_other_run_and_is_undone(net, place):
    here, there = torch.randn(3, 5), torch.randn(3, 5)
    plain = net(here)
    with recorded(net, [place]) as seen:
        wanted = net(there)
    with changed(net, {place: lambda _: seen[place]}):
        assert torch.equal(net(here), wanted)
    assert torch.equal(net(here), plain)


def test_changes_are_undone_after_an_exception(net):
    x = torch.randn(3, 5)
    plain = net(x)
    with pytest.raises(KeyError), changed(net, {Place("second"): lambda h: h + 1}):
        raise KeyError
    assert torch.equal(net(x), plain)


def test_what_changes_nothing_is_an_error(net):
    x = torch.randn(3, 5)
    with pytest.raises(ValueError, match="changed nothing"), changed(net, {Place("second"): lambda h: h}):
        net(x)
    with pytest.raises(ValueError, match="idle was not reached"), changed(net, {Place("idle"): lambda h: h + 1}):
        net(x)
    with pytest.raises(ValueError, match="idle was not reached"), recorded(net, [Place("idle")]):
        net(x)


def test_a_change_in_place_is_noticed_as_a_change(net):
    x = torch.randn(3, 5)
    with changed(net, {Place("second"): lambda h: h.add_(1)}):
        net(x)


def test_wrong_shapes_and_names_are_told(net):
    with pytest.raises(ValueError, match="has no module third"), recorded(net, [Place("third")]):
        pass
    with pytest.raises(ValueError, match="cannot take the place"), changed(net, {Place("second"): lambda h: h[:1]}):
        net(torch.randn(3, 5))


def test_skipping_starts_from_a_given_state(net):
    here, there = torch.randn(3, 5), torch.randn(3, 5)
    plain = net(here)
    with recorded(net, [Place("first")]) as seen:
        wanted = net(there)
    with skipped(net, {"first": seen[Place("first")]}, seen.tuples):
        assert torch.equal(net(here), wanted)
    assert torch.equal(net(here), plain)
