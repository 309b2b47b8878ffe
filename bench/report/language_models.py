"""What `hengsuan expect` says in Chinese: the assumptions behind predictions, and their models.

Patterns as of `language`, which holds whole sentences against them.
"""

from __future__ import annotations

MODEL_WORDS = {
    "run": "测量",
    "case": "算例",
    "expected": "预期",
    "of it": "达到预期",
    "other models": "其他模型",
    "fleet p5 – p95": "机群 p5 – p95",
    "worst": "最差",
    "outside": "离群",
    "assumption": "预期所依据的假设",
    "beyond": "超出预期",
    "of it: how near the median comes to what datasheet and topology allow": "达到预期:中位数与数据手册和拓扑所允许值之比",
    "outside: groups further from the median than chance lets a healthy fleet lie": "离群:偏离中位数超出健康机群偶然范围的组",
    "ring": "环",
    "tree": "树",
    "direct": "直连",
    "direct, measured α": "直连(实测 α)",
    "gradients hidden": "梯度通信完全掩盖",
    "gradients exposed": "梯度通信完全暴露",
    "counted": "逐项计数",
    "measured compute": "实测算力上限",
    "measured memory": "实测带宽上限",
    "an unknown figure": "未知",
    "inside a node": "节点内",
    "between nodes": "节点间",
    "device's link in the node": "节点内设备链路",
    "node's network": "节点网络",
    "pairs of this run": "本次测量的设备对",
    "lines through this run's collectives": "本次集合通信的拟合直线",
}
"""Columns, models and places."""

MODEL_SENTENCES = [
    (r"no model predicts it", "没有模型可预测"),
    (r"no model predicts it here: (.+)", "此处没有模型可预测:{0}"),
    (r"no ratio to what is expected can be taken", "无法与预期值求比值"),
    (
        r"roofline: the lower of (.+) (\S+) and FLOPs a byte × (.+) of memory, every byte moved once",
        "屋顶线:{1} 峰值 {0} 与 每字节运算量 × 内存带宽 {2} 的较低者,每字节只搬一次",
    ),
    (r"the host link: (.+), in both directions at once", "主机链路:{0},双向同时"),
    (r"the host link: (.+)", "主机链路:{0}"),
    (
        r"(\w+) of (.+) on (\d+) ranks (inside a node|between nodes): (\d+) step\(s\) × α, then "
        r"S × (\S+) over the slowest link; models take α (.+) and β (.+) of "
        r"(pairs of this run|lines through this run's collectives|datasheet)",
        "{0},{1},{2} 个 rank({3}):{4} 步 × α,再加最慢链路上的 S × {5};模型取 α {6}、β {7}(据{8})",
    ),
    (
        r"groups of several sizes or places: no one model holds for all",
        "组的大小或位置不一:没有一个模型适用于全部",
    ),
    (
        r"pairs inside nodes and between them: no one link predicts all",
        "节点内与节点间的设备对并存:没有一种链路可预测全部",
    ),
    (
        r"α \+ S/β of the (.+): β (.+), α as the run was told, else nothing",
        "{0}的 α + S/β:β {1},α 取测量时给定的值,否则为零",
    ),
    (r"(.+); a step at least: (.+)", "{0};一步至少:{1}"),
    (
        r"(\S+) FLOPs a token at (.+) (\S+) a device, nothing waited for, but (\S+) of the step in "
        r"the pipeline",
        "每 token {0} FLOPs,每设备 {2} 峰值 {1},除流水线占一步的 {3} 外无等待",
    ),
    (
        r"(\S+) FLOPs a token at (.+) (\S+) a device, nothing waited for",
        "每 token {0} FLOPs,每设备 {2} 峰值 {1},无等待",
    ),
    (
        r"weights, moments, gradients, what the backward pass needs, logits and buffers at the "
        r"highest point: (.+)",
        "峰值时刻的权重、动量、梯度、反向所需激活、logits 与缓冲:{0}",
    ),
    (
        r"weights, moments, gradients, what the backward pass needs, logits and buffers: counted "
        r"for PyTorch's own operations only",
        "权重、动量、梯度、反向所需激活、logits 与缓冲:只对 PyTorch 自带算子计数",
    ),
    (
        r"roofline of each step: prompts at the peak, tokens at the memory's bandwidth",
        "逐步屋顶线:提示按峰值算力,生成按内存带宽",
    ),
    (r"equal work gives equal bits", "相同的计算应得到逐位相同的结果"),
    (
        r"α \+ what all senders send over the receiver's one link or network",
        "α + 所有发送方经接收方唯一链路或网络发送的数据量",
    ),
    (r"the shorter of both hidden whole behind the longer", "较短者完全掩盖在较长者之后"),
    (
        r"(\S+) of what is expected: the datasheet, the model or the measurement is wrong",
        "为预期的 {0}:数据手册、模型或测量有误",
    ),
]
"""Sentences."""
