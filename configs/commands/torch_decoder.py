"""Trains the decoder ``tiny`` in plain PyTorch, data-parallel, as under torchrun.

``torchrun --nproc-per-node 2 torch_decoder.py --steps 50``, or by Hengsuan's benchmark ``command``.
"""

import os
import time

import tiny_decoder as tiny
import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812
from hengsuan_report import Report
from torch import nn


class Block(nn.Module):
    """Grouped-query attention with rotary embeddings, and SwiGLU, each behind a norm."""

    def __init__(self):
        super().__init__()
        kv = tiny.KV_HEADS * tiny.HEAD_DIM
        self.norm1 = nn.RMSNorm(tiny.DIM, eps=tiny.EPSILON)
        self.norm2 = nn.RMSNorm(tiny.DIM, eps=tiny.EPSILON)
        self.q = nn.Linear(tiny.DIM, tiny.DIM, bias=False)
        self.k = nn.Linear(tiny.DIM, kv, bias=False)
        self.v = nn.Linear(tiny.DIM, kv, bias=False)
        self.out = nn.Linear(tiny.DIM, tiny.DIM, bias=False)
        self.gate = nn.Linear(tiny.DIM, tiny.FFN, bias=False)
        self.up = nn.Linear(tiny.DIM, tiny.FFN, bias=False)
        self.down = nn.Linear(tiny.FFN, tiny.DIM, bias=False)

    def forward(self, x, rope):
        """[batch, SEQ, DIM] to the same."""
        h = self.norm1(x)
        q, k, v = (heads(project(h)) for project in (self.q, self.k, self.v))
        repeats = tiny.HEADS // tiny.KV_HEADS
        k, v = rotate(k, rope).repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
        mixed = F.scaled_dot_product_attention(rotate(q, rope), k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Decoder(nn.Module):
    """The model; gives the mean cross-entropy of the next token."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(tiny.VOCAB, tiny.DIM)
        self.blocks = nn.ModuleList(Block() for _ in range(tiny.LAYERS))
        self.norm = nn.RMSNorm(tiny.DIM, eps=tiny.EPSILON)
        self.head = nn.Linear(tiny.DIM, tiny.VOCAB, bias=False)
        for weight in self.parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, std=0.02)
        half = tiny.HEAD_DIM // 2
        rates = tiny.ROPE_BASE ** (-torch.arange(half) / half)
        angles = torch.arange(tiny.SEQ)[:, None] * rates
        self.register_buffer("rope", torch.stack([angles.cos(), angles.sin()]), persistent=False)

    def forward(self, tokens):
        """int64 [batch, SEQ + 1] to a scalar."""
        x = self.embedding(tokens[:, :-1])
        for block in self.blocks:
            x = block(x, self.rope)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def heads(x):
    """[batch, SEQ, width] to [batch, heads, SEQ, HEAD_DIM]."""
    return x.unflatten(-1, (-1, tiny.HEAD_DIM)).transpose(1, 2)


def rotate(x, rope):
    """Rotate pairs (i, i + half) of each head by position."""
    cosine, sine = rope
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)


def main():
    """Train."""
    given = tiny.options()
    dist.init_process_group()  # by MASTER_ADDR, MASTER_PORT, RANK and WORLD_SIZE
    rank, ranks = dist.get_rank(), dist.get_world_size()
    found = torch.accelerator.current_accelerator() if hasattr(torch, "accelerator") else None
    device = torch.device("cpu")
    if found is not None and torch.accelerator.is_available():
        device = torch.device(found.type, int(os.environ["LOCAL_RANK"]))
        torch.accelerator.set_device_index(device.index)
    torch.manual_seed(given.seed)
    plain = Decoder().to(device)
    count = sum(weight.numel() for weight in plain.parameters())
    model = nn.parallel.DistributedDataParallel(plain) if ranks > 1 else plain
    optimizer = torch.optim.AdamW(model.parameters(), lr=tiny.LEARNING_RATE)
    texts = tiny.batches(given.batch, given.seed, rank)
    data = [torch.tensor(text, device=device) for text in texts]
    report = Report("torch", torch.__version__, rank, ranks, parameters=count)
    for number in tiny.numbers(given.steps):
        began = time.perf_counter()
        loss = model(data[number % tiny.BATCHES])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        value = loss.item()
        tokens = given.batch * tiny.SEQ * ranks
        report.step(number, loss=value, tokens=tokens, seconds=time.perf_counter() - began)
    report.done()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
