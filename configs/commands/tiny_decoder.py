"""What the examples train, whatever the framework: sizes, options and a text that can be learnt.

The sizes are those of the model ``tiny``, text and optimizer those of the benchmark ``train``.
"""

import argparse
import random

DIM, LAYERS, HEADS, KV_HEADS, FFN, VOCAB, SEQ = 128, 2, 4, 2, 352, 512, 64
HEAD_DIM = DIM // HEADS
EPSILON, ROPE_BASE, LEARNING_RATE = 1e-5, 500_000.0, 1e-3
CLASSES, BATCHES = 16, 8


def options():
    """``--steps 0`` trains until somebody ends it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def batches(batch, seed, rank):
    """Lists [BATCHES][batch][SEQ + 1]: a cycle over CLASSES tokens, a tenth of them noise."""
    draw = random.Random(seed + 1000 * rank)
    return [[_line(draw) for _ in range(batch)] for _ in range(BATCHES)]


def _line(draw):
    start = draw.randrange(CLASSES)
    return [
        draw.randrange(CLASSES) if draw.random() < 0.1 else (start + place) % CLASSES
        for place in range(SEQ + 1)
    ]


def numbers(steps):
    """1, 2, ... up to ``steps``; without end where that is 0."""
    number = 0
    while not steps or number < steps:
        number += 1
        yield number
