"""Initial weights of our own: angles are kept, similar tokens meet in one slot, position codes are smooth."""

import pytest
import torch
from torch import nn

from stages.discovery.blocks.decoder import BroadcastDecoder
from stages.discovery.blocks.grid import coordinates
from stages.discovery.blocks.invariant import InvariantSlotAttention
from stages.discovery.blocks.slot_attention import SlotAttention
from stages.discovery.blocks.start import (
    cluster,
    keep_scale,
    paint_quietly,
    pass_through,
    slower_encoder,
    spread,
    waves,
)
from stages.discovery.blocks.temporal import TemporalBinder
from tests.stages.discovery.making_solv import noise

WIDTH, SLOTS, ROWS, COLUMNS = 64, 6, 6, 8


def attention(kind: str, seed: int = 0) -> SlotAttention | InvariantSlotAttention:
    torch.manual_seed(seed)
    if kind == "invariant":
        return InvariantSlotAttention(WIDTH, SLOTS, ROWS, COLUMNS, hidden=32, dropout=0.0)
    return SlotAttention(WIDTH, SLOTS, 3, 32, "learned", norm_inputs=False, extra_pass=True)


def groups(count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (4, N, WIDTH), normalised, near one of ``count`` directions; and which, (N,)."""
    which = torch.arange(ROWS * COLUMNS) % count
    tokens = noise(count, WIDTH, seed=5)[which] + noise(4, len(which), WIDTH, seed=6)
    return nn.functional.layer_norm(tokens, [WIDTH]), which


def purity(model: SlotAttention | InvariantSlotAttention) -> float:
    """Share of pairs of tokens that share a slot if they share a group, and else don't."""
    tokens, which = groups()
    with torch.no_grad():
        winner = model(tokens)[1].argmax(dim=1)
    together = winner[:, :, None] == winner[:, None]
    return float((together == (which[:, None] == which)).float().mean())


@pytest.mark.parametrize("kind", ["plain", "invariant"])
def test_spread_queries_and_keys_keep_angles(kind: str) -> None:
    attend = attention(kind)
    spread(attend)
    x = noise(10, WIDTH)
    with torch.no_grad():
        assert torch.allclose(attend.to_q(x) @ attend.to_k(x).T, x @ x.T, atol=1e-4)
    assert attend.initial.vectors.std() > 0.5


@pytest.mark.parametrize("kind", ["plain", "invariant"])
def test_tokens_cluster_before_any_training(kind: str) -> None:
    found, published = [], []
    for seed in range(5):
        attend = attention(kind, seed)
        published.append(purity(attend))
        cluster(attend)
        found.append(purity(attend))
    assert min(found) > 0.8, "two slots may share a group"
    assert min(found) > max(published)


def test_a_slot_is_what_it_gathered() -> None:
    attend = attention("plain")
    cluster(attend)
    tokens, _ = groups(1)
    with torch.no_grad():
        slots = attend(tokens)[0]
    means = tokens.mean(dim=1, keepdim=True)
    assert torch.cosine_similarity(slots, means, dim=-1).median() > 0.9


def test_linear_layers_keep_the_scale() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH))
    keep_scale(model)
    x = noise(100, WIDTH)
    with torch.no_grad():
        assert torch.allclose(model(x).norm(dim=1), x.norm(dim=1), rtol=1e-4)


def test_a_binder_passes_slots_through() -> None:
    torch.manual_seed(0)
    binder = TemporalBinder(WIDTH, 3, hidden=32).eval()
    slots = nn.functional.layer_norm(noise(2, 3, SLOTS, WIDTH), [WIDTH])

    def kept() -> float:
        with torch.no_grad():
            return float(torch.cosine_similarity(binder(slots, torch.ones(2, 3).bool()), slots, dim=-1).min())

    assert kept() < 0.95
    pass_through(binder)
    assert kept() > 0.98


def test_wave_codes_are_alike_where_positions_are_near() -> None:
    torch.manual_seed(0)
    grid = coordinates(8, 10)
    codes = waves(grid, 64)
    assert codes.shape == (80, 64)
    assert codes.std().item() == pytest.approx(1.0, abs=1e-5)
    apart = torch.cdist(grid, grid)
    alike = torch.cosine_similarity(codes[:, None], codes[None], dim=-1)
    near = (apart > 0) & (apart < 0.35)
    assert alike[near].mean() > 0.7
    assert alike[apart > 1.5].mean() < 0.2


def test_quiet_painting_and_a_slower_encoder() -> None:
    decoder = BroadcastDecoder(8, 5, 12, [6], relative_grid=True)
    before = decoder.last.weight.clone()
    paint_quietly(decoder, coordinates(3, 4))
    assert torch.allclose(decoder.last.weight, before * 0.1)
    assert 0.5 < decoder.position_embedding.std() < 2
    model = nn.ModuleDict({"decoder": decoder, "other": nn.Linear(2, 2)})
    slow, fast = slower_encoder(model, decoder, 0.01, 0.1)
    assert slow["lr"] == pytest.approx(0.001) and fast["lr"] == 0.01
    assert len(slow["params"]) == 2 and len(fast["params"]) == len(list(decoder.parameters()))
