"""Trains the decoder ``tiny`` in PaddlePaddle, data-parallel.

``python -m paddle.distributed.launch --nproc_per_node 2 paddle_decoder.py --steps 50``, or by
Hengsuan's benchmark ``command`` with ``kind: paddle``.
"""

import contextlib
import os
import time

import paddle
import paddle.distributed as dist
import paddle.nn.functional as F  # noqa: N812
import tiny_decoder as tiny
from hengsuan_report import Report
from paddle import nn


def linear(width, to):
    """A matrix without bias, drawn as GPT-2 draws."""
    drawn = paddle.ParamAttr(initializer=nn.initializer.Normal(std=0.02))
    return nn.Linear(width, to, weight_attr=drawn, bias_attr=False)


class Norm(nn.Layer):
    """x / rms(x) times a weight."""

    def __init__(self):
        super().__init__()
        one = nn.initializer.Constant(1.0)
        self.weight = self.create_parameter([tiny.DIM], default_initializer=one)

    def forward(self, x):
        """[..., DIM] to the same."""
        return x * paddle.rsqrt((x * x).mean(-1, keepdim=True) + tiny.EPSILON) * self.weight


class Block(nn.Layer):
    """Grouped-query attention with rotary embeddings, and SwiGLU, each behind a norm."""

    def __init__(self):
        super().__init__()
        kv = tiny.KV_HEADS * tiny.HEAD_DIM
        self.norm1, self.norm2 = Norm(), Norm()
        self.q, self.k, self.v = (
            linear(tiny.DIM, tiny.DIM),
            linear(tiny.DIM, kv),
            linear(tiny.DIM, kv),
        )
        self.out = linear(tiny.DIM, tiny.DIM)
        self.gate, self.up = linear(tiny.DIM, tiny.FFN), linear(tiny.DIM, tiny.FFN)
        self.down = linear(tiny.FFN, tiny.DIM)

    def forward(self, x, rope):
        """[batch, SEQ, DIM] to the same."""
        h = self.norm1(x)
        q, k, v = (heads(project(h)) for project in (self.q, self.k, self.v))
        repeats = tiny.HEADS // tiny.KV_HEADS
        k, v = rotate(k, rope).repeat_interleave(repeats, 2), v.repeat_interleave(repeats, 2)
        mixed = F.scaled_dot_product_attention(rotate(q, rope), k, v, is_causal=True)
        x = x + self.out(mixed.flatten(2))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Decoder(nn.Layer):
    """The model; gives the mean cross-entropy of the next token."""

    def __init__(self):
        super().__init__()
        drawn = paddle.ParamAttr(initializer=nn.initializer.Normal(std=0.02))
        self.embedding = nn.Embedding(tiny.VOCAB, tiny.DIM, weight_attr=drawn)
        self.blocks = nn.LayerList([Block() for _ in range(tiny.LAYERS)])
        self.norm = Norm()
        self.head = linear(tiny.DIM, tiny.VOCAB)
        half = tiny.HEAD_DIM // 2
        rates = tiny.ROPE_BASE ** (-paddle.arange(half, dtype="float32") / half)
        angles = paddle.arange(tiny.SEQ, dtype="float32").unsqueeze(1) * rates
        # [2, SEQ, 1, HEAD_DIM / 2]: heads come behind positions here.
        self.rope = paddle.stack([angles.cos(), angles.sin()]).unsqueeze(2)

    def forward(self, tokens):
        """int64 [batch, SEQ + 1] to a scalar."""
        x = self.embedding(tokens[:, :-1])
        for block in self.blocks:
            x = block(x, self.rope)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def heads(x):
    """[batch, SEQ, width] to [batch, SEQ, heads, HEAD_DIM]."""
    return x.reshape([x.shape[0], x.shape[1], -1, tiny.HEAD_DIM])


def rotate(x, rope):
    """Rotate pairs (i, i + half) of each head by position."""
    cosine, sine = rope[0], rope[1]
    first, second = x.chunk(2, axis=-1)
    return paddle.concat([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


def main():
    """Train."""
    given = tiny.options()
    if paddle.get_device() == "cpu":  # as paddle.distributed.launch does
        os.environ.setdefault("PADDLE_DISTRI_BACKEND", "gloo")
    # Its newer store aborts now and then (3.3.1, an assertion of libuv) where ranks meet late.
    with contextlib.suppress(ValueError):  # of a version that has no other
        paddle.set_flags({"FLAGS_tcp_store_using_libuv": False})
    dist.init_parallel_env()  # by PADDLE_TRAINER_ID, PADDLE_TRAINER_ENDPOINTS and so on
    rank, ranks = dist.get_rank(), dist.get_world_size()
    paddle.seed(given.seed)
    plain = Decoder()
    count = int(sum(weight.size for weight in plain.parameters()))
    model = paddle.DataParallel(plain) if ranks > 1 else plain
    optimizer = paddle.optimizer.AdamW(tiny.LEARNING_RATE, parameters=model.parameters())
    texts = tiny.batches(given.batch, given.seed, rank)
    data = [paddle.to_tensor(text, dtype="int64") for text in texts]
    report = Report("paddle", paddle.__version__, rank, ranks, parameters=count)
    for number in tiny.numbers(given.steps):
        began = time.perf_counter()
        loss = model(data[number % tiny.BATCHES])
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        value = loss.item()
        tokens = given.batch * tiny.SEQ * ranks
        report.step(number, loss=value, tokens=tokens, seconds=time.perf_counter() - began)
    report.done()


if __name__ == "__main__":
    main()
