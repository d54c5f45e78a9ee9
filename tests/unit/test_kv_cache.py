import torch

from engine.kv_cache import KVCache


def test_an_exchange_swaps_only_the_given_length_of_two_slots() -> None:
    class Config:
        num_hidden_layers, num_key_value_heads, head_dim = 2, 1, 4

    cache = KVCache(Config, slots=3, length=5, device=torch.device("cpu"), dtype=torch.float32)
    cache.entries.copy_(torch.arange(cache.entries.numel()).view(cache.entries.shape))
    before = cache.entries.clone()
    cache.exchange(0, 2, 3)
    assert torch.equal(cache.entries[:, 0, ..., :3, :], before[:, 2, ..., :3, :])
    assert torch.equal(cache.entries[:, 2, ..., :3, :], before[:, 0, ..., :3, :])
    assert torch.equal(cache.entries[:, :, ..., 3:, :], before[:, :, ..., 3:, :])
    assert torch.equal(cache.entries[:, 1], before[:, 1])
