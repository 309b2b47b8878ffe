"""Which configurations there are: the keys of the tables and their constants. Imports no torch.

A *key* names one kernel, or kernels that are configured together; operations ask for it with facts
of their case, and the tables (``tuned/<arch>.yaml``) answer with constants. What is declared here
is what tables may say (`tables`), what a benchmark's ``config`` axis may say, and what
`hengsuan tune` tries (`candidates`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Constants = Mapping[str, int]
Facts = Mapping[str, int]

SWITCHES = (
    "tma",
    "flatten",
    "subtile",
    "specialize",
    "first_loads",
    "first_stores",
    "one_pass",
    "early",
    "paired",
)
"""Constants that are 1 or 0, which is the same as none."""
COMPILER = ("num_warps", "num_stages", "maxnreg")
"""Constants that are passed on to the compiler. No search tries ``maxnreg``, the most registers of
a thread: not every compiler takes it."""


def _none_held(chosen: Constants, facts: Facts) -> int:
    """Registers limit nothing."""
    return 0


def _none_shared(chosen: Constants, facts: Facts, size: int) -> int:
    """Shared memory limits nothing."""
    return 0


@dataclass(frozen=True)
class Space:
    """One key.

    ``ops`` are the operations that ask for it and ``facts`` what they tell of a case. A
    configuration has every constant of one of ``forms``, whose values are those to try, and any of
    `COMPILER` and the constants that occur in ``ways``. ``held`` gives the fp32 values that a
    program keeps in registers, ``shared`` the bytes that it stages in shared memory.
    ``product``: a kernel of matrix products, which keeps sums rather than operands.
    """

    ops: tuple[str, ...]
    facts: tuple[str, ...]
    forms: tuple[Mapping[str, tuple[int, ...]], ...]
    held: Callable[[Constants, Facts], int] = _none_held
    shared: Callable[[Constants, Facts, int], int] = _none_shared
    warps: tuple[int, ...] = (4, 8)
    stages: tuple[int, ...] = ()
    ways: tuple[Mapping[str, int], ...] = ({},)
    product: bool = False

    @property
    def constants(self) -> tuple[str, ...]:
        """Every constant that a configuration of this key may have."""
        sizes = (name for form in self.forms for name in form)
        others = (name for way in self.ways for name in way)
        return tuple(dict.fromkeys((*sizes, *COMPILER, *others)))


def power_of_2(value: int) -> int:
    """The smallest power of two that is not below ``value``."""
    return 1 << max(0, value - 1).bit_length()


def decoded_rows(block_m: int, rows: int) -> int:
    """Rows of a program of `decode_attention` where there are so many; no product has under 16."""
    return max(16, min(block_m, power_of_2(rows)))


def _blocks(low: int, high: int) -> tuple[int, ...]:
    """Powers of two from ``low`` to ``high``."""
    return tuple(1 << n for n in range(low.bit_length() - 1, high.bit_length()))


def _tile(c: Constants, facts: Facts) -> int:
    return c["block_m"] * c["block_n"]


def _operands(c: Constants, facts: Facts, size: int) -> int:
    return c.get("num_stages", 1) * (c["block_m"] + c["block_n"]) * c["block_k"] * size


def _rows(c: Constants, facts: Facts) -> int:
    """Whole rows, or a block of one."""
    return c["rows"] * power_of_2(facts["width"]) if "rows" in c else c["block"]


def _rows_ahead(c: Constants, facts: Facts, size: int) -> int:
    """Of x, dy and a gradient to add, all but one of the stages."""
    return (c.get("num_stages", 1) - 1) * 3 * _rows(c, facts) * size


def _blocks_ahead(c: Constants, facts: Facts, size: int) -> int:
    return (c.get("num_stages", 1) - 1) * 2 * c["block"] * size


def _forward(c: Constants, facts: Facts) -> int:
    return c["block_m"] * (facts["head_dim"] + c["block_n"])


def _key_value(c: Constants, facts: Facts) -> int:
    return 2 * c["block_n"] * (facts["head_dim"] + c["block_m"])


def _query(c: Constants, facts: Facts) -> int:
    return c["block_m"] * (facts["head_dim"] + 2 * c["block_n"])


def _keys(c: Constants, facts: Facts, size: int) -> int:
    return c.get("num_stages", 1) * 2 * c["block_n"] * facts["head_dim"] * size


def _decoded(c: Constants, facts: Facts) -> int:
    """Sums and scores of its rows."""
    return decoded_rows(c["block_m"], facts["rows"]) * (facts["head_dim"] + c["block_n"])


def _queries(c: Constants, facts: Facts, size: int) -> int:
    return c.get("num_stages", 1) * 2 * c["block_m"] * facts["head_dim"] * size


def _ahead(c: Constants, facts: Facts, size: int) -> int:
    return (c.get("num_stages", 1) - 1) * c["block"] * size


_MATRIX = {
    "block_m": _blocks(32, 256),
    "block_n": _blocks(32, 256),
    "block_k": _blocks(16, 256),
    "group_m": (8,),
}
_PAIR = {"block_m": _blocks(16, 128), "block_n": _blocks(16, 128)}
_ROWS = (1, 2, 4, 8, 16)
_WARPS = (1, 2, 4, 8, 16, 32)
_WAVES = (1, 2, 3, 4, 8)
_LONG = _blocks(1024, 16384)
_PERSISTENT = {"tma": 1, "waves": 1, "flatten": 1}
_HEADS = ("head_dim", "causal")
_FIRST: tuple[Mapping[str, int], ...] = (
    {},
    {"first_stores": 1},
    {"first_loads": 1, "first_stores": 1},
)
"""What the cache gives up first where no element is used again."""
_DESCRIBED: tuple[Mapping[str, int], ...] = ({}, {"tma": 1})
_OWN: tuple[Mapping[str, int], ...] = (
    {"tma": 1, "arch_variant": 1},
    {"tma": 1, "arch_variant": 1, "waves": 1},
)
"""An architecture's own kernel, a program a block or programs that walk blocks."""
_WHOLE = tuple({**way, "one_pass": 1} for way in _OWN)
"""One for all gradients at once: `attention_query` is not asked then."""


def _linear(*ops: str, block: tuple[int, ...] = _blocks(512, 16384), **more: int) -> Space:
    """A kernel over blocks of one long row."""
    forms = ({"block": block, **{name: _blocks(1, most) for name, most in more.items()}},)
    return Space(ops, ("size",), forms, held=lambda c, facts: c["block"], warps=(4, 8, 16))


def _wide(
    *ops: str, rows: bool = True, block: bool = False, ways: tuple[Mapping[str, int], ...] = ({},)
) -> Space:
    """A kernel over rows of ``width``: whole ones, blocks of one, or either."""
    forms: list[Mapping[str, tuple[int, ...]]] = []
    if rows:
        forms.append({"rows": _ROWS})
    if block:
        forms.append({"block": _blocks(512, 65536)})
    return Space(ops, ("width",), tuple(forms), held=_rows, warps=_WARPS, ways=ways)


SPACES: Mapping[str, Space] = {
    "gemm": Space(
        ("gemm",),
        ("size", "rows", "turned", "turned_a", "aligned"),
        (_MATRIX,),
        _tile,
        _operands,
        stages=(2, 3, 4, 5),
        ways=(
            {},
            _PERSISTENT,
            {**_PERSISTENT, "subtile": 1},
            {**_PERSISTENT, "specialize": 1},
        ),
        product=True,
    ),
    "gate_up": Space(
        ("gate_up",),
        ("size", "aligned"),
        (_MATRIX,),
        lambda c, facts: 2 * _tile(c, facts),
        lambda c, facts, size: _operands({**c, "block_n": 2 * c["block_n"]}, facts, size),
        stages=(2, 3, 4),
        ways=(
            {},
            {"waves": 1},
            {"tma": 1, "waves": 1},
            _PERSISTENT,
            {**_PERSISTENT, "paired": 1},
        ),
        product=True,
    ),
    "grouped_gemm": Space(
        ("grouped_gemm",),
        ("size", "aligned"),
        (_MATRIX,),
        _tile,
        _operands,
        stages=(2, 3, 4),
        ways=({}, {"tma": 1, "waves": 1}, _PERSISTENT, {**_PERSISTENT, "subtile": 1}),
        product=True,
    ),
    "grouped_gemm_weight": Space(
        ("grouped_gemm",),
        ("size", "aligned"),
        ({name: values for name, values in _MATRIX.items() if name != "group_m"},),
        _tile,
        _operands,
        stages=(2, 3, 4),
        ways=_DESCRIBED,
        product=True,
    ),
    "attention": Space(
        ("attention",),
        _HEADS,
        (_PAIR,),
        _forward,
        _keys,
        stages=(1, 2, 3),
        ways=(
            *_DESCRIBED,
            {"tma": 1, "specialize": 1},
            *_OWN,
        ),
        product=True,
    ),
    "attention_key_value": Space(
        ("attention",),
        _HEADS,
        (_PAIR,),
        _key_value,
        _queries,
        stages=(1, 2, 3),
        ways=(*_DESCRIBED, *_OWN, *_WHOLE),
        product=True,
    ),
    "attention_query": Space(
        ("attention",),
        _HEADS,
        (_PAIR,),
        _query,
        _keys,
        stages=(1, 2, 3),
        ways=(*_DESCRIBED, *_OWN),
        product=True,
    ),
    "decode_attention": Space(
        ("decode_attention",),
        ("head_dim", "rows"),
        ({"block_m": _blocks(16, 64), "block_n": _blocks(16, 128), "waves": (1, 2, 4, 8)},),
        _decoded,
        _keys,
        warps=(2, 4, 8),
        stages=(1, 2, 3, 4),
    ),
    "stream": Space(
        ("stream",),
        ("size",),
        ({"block": _blocks(512, 16384)},),
        lambda c, facts: c["block"],
        _blocks_ahead,
        warps=(4, 8, 16),
        stages=(1, 4),
        ways=(
            *_FIRST,
            {"waves": 2},
            {"waves": 2, "first_stores": 1},
            {"waves": 4},
            {"waves": 4, "first_stores": 1},
        ),
    ),
    "stream_sum": _linear("stream", steps=16),
    "adamw": _linear("adamw", block=_blocks(256, 4096)),
    "local_reduce": Space(
        ("local_reduce",),
        ("size", "buffers"),
        ({"block": _blocks(256, 8192)},),
        held=lambda c, facts: c["block"],
    ),
    "quantize": _linear("quantize", steps=16),
    "quantize_block": Space(
        ("quantize",),
        ("size",),
        ({"groups": _blocks(1, 128)},),
        held=lambda c, facts: 128 * c["groups"],
    ),
    "transpose": Space(
        ("transpose",),
        ("size",),
        (_PAIR,),
        _tile,
        lambda c, facts, size: _tile(c, facts) * size,
    ),
    "rmsnorm": Space(
        ("rmsnorm", "layernorm"),
        ("width", "add"),
        ({"rows": _ROWS}, {"block": _LONG}),
        held=_rows,
        warps=_WARPS,
        ways=({}, {"early": 1}, {"first_stores": 1}, {"early": 1, "first_loads": 1}),
    ),
    "rmsnorm_backward": Space(
        ("rmsnorm", "layernorm"),
        ("width",),
        ({"rows": _ROWS, "waves": _WAVES}, {"block": _LONG, "waves": _WAVES}),
        _rows,
        _rows_ahead,
        warps=_WARPS,
        stages=(1, 3),
    ),
    "softmax": _wide("softmax", block=True),
    "softmax_backward": _wide("softmax", block=True),
    "cross_entropy": Space(
        ("cross_entropy", "linear_cross_entropy"),
        ("width",),
        ({"block": _blocks(512, 65536)},),
        held=_rows,
        shared=_ahead,
        warps=(1, 2, 4, 8, 16, 32),
        stages=(1, 3, 4, 5),
        ways=({}, {"waves": 1}, {"waves": 1, "arch_variant": 1}),
    ),
    "linear_cross_entropy": Space(
        ("linear_cross_entropy",), (), ({"rows": _blocks(256, 16384)},), warps=()
    ),
    "swiglu": _wide("swiglu", rows=False, block=True, ways=_FIRST),
    "swiglu_backward": _wide("swiglu", rows=False, block=True, ways=_FIRST),
    "embedding": _wide("embedding", rows=False, block=True),
    "embedding_backward": _wide("embedding", rows=False, block=True),
    "moe_route": _wide("moe"),
    "moe": _wide("moe", rows=False, block=True),
    "rope": Space(
        ("rope",),
        ("head_dim",),
        ({"heads": _blocks(1, 64)},),
        held=lambda c, facts: c["heads"] * power_of_2(facts["head_dim"]),
        warps=(1, 2, 4, 8),
    ),
}
"""Every key of the tables."""


def keys_of(op: str) -> list[str]:
    """The keys that an operation asks for, in any of its variants."""
    return [key for key, space in SPACES.items() if op in space.ops]


def problem(key: str, chosen: Constants) -> str:
    """What is wrong with constants for a key that there is, in words; empty if nothing is.

    What a compiler may refuse (a block that is no power of two, too much shared memory) is left
    to it: compilers differ.
    """
    space = SPACES[key]
    known = ", ".join(space.constants)
    for name, value in chosen.items():
        if name not in space.constants:
            return f"{key} has no constant {name!r}; known: {known}"
        if type(value) is not int or value < 0:
            return f"{name} of {key} must be a whole number, not {value!r}"
        if value == 0 and name not in SWITCHES:
            return f"{name} of {key} must be at least 1"
    needed = [[name for name in form if name not in chosen] for form in space.forms]
    if all(needed):
        missing = " or ".join(" and ".join(names) for names in needed)
        return f"{key} also needs {missing}"
    if key == "attention_key_value" and chosen["block_n"] % chosen["block_m"]:
        return f"block_n of {key} must be a multiple of block_m"
    return ""


def by_pointers(key: str, chosen: Constants) -> dict[str, int]:
    """The same blocks without tensor descriptors, and without what only kernels of these take."""
    names = {name for form in SPACES[key].forms for name in form} | {*COMPILER}
    return {name: value for name, value in chosen.items() if name in names}


def spell(key: str, chosen: Constants) -> str:
    """``gemm block_m=128 block_n=256 ...``: as a ``config`` axis writes it."""
    return " ".join([key, *(f"{name}={value}" for name, value in chosen.items())])


def parse(text: str, keys: Sequence[str]) -> tuple[str, dict[str, int]]:
    """A configuration from how `spell` writes it: its key, which is one of ``keys``, and constants.

    Raises ValueError in a sentence that names what there is.
    """
    key, *words = text.split()
    if key not in keys:
        raise ValueError(f"{key!r} is none of its keys: {', '.join(keys)}")
    chosen: dict[str, int] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not value.isdecimal():
            raise ValueError(f"{word!r} is not CONSTANT=NUMBER, such as num_warps=8")
        if name in chosen:
            raise ValueError(f"{name} is given twice")
        chosen[name] = int(value)
    wrong = problem(key, chosen)
    if wrong:
        raise ValueError(wrong)
    return key, chosen
