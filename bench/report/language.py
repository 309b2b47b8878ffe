"""Scores in Chinese: words, and the sentences that analysis says in English.

A sentence that is not listed, such as a reason that a host gave, stays in the language that it was
written in: nothing is dropped because nobody translated it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, TypeAlias

from .language_models import MODEL_SENTENCES, MODEL_WORDS

Language: TypeAlias = Literal["en", "zh"]
Say: TypeAlias = Callable[[str], str]

WORDS = {
    "metric": "指标",
    "achieved": "实测",
    "95 % interval": "95% 区间",
    "reference": "参考",
    "efficiency": "效率",
    "confidence": "可信度",
    "provenance": "来源",
    "one point is worth": "提高1个百分点可得",
    "clause": "条款",
    "category": "类别",
    "overall": "总分",
    "compute": "计算",
    "memory": "内存",
    "host links": "主机链路",
    "intra-node fabric": "节点内互连",
    "inter-node fabric": "节点间互连",
    "training": "训练",
    "scaling": "扩展性",
    "stability": "稳定性",
    "reliability": "可靠性",
    "energy": "能耗",
    "software maturity": "软件成熟度",
    "at least": "至少",
    "at most": "至多",
    "score": "得分",
    "weight": "权重",
    "coverage": "覆盖率",
    "factor": "因子",
    "value": "数值",
    "what it is made of": "构成",
    "high": "高",
    "medium": "中",
    "low": "低",
    "declared": "申报",
    "none": "无",
    "measured": "实测",
    "simulated": "仿真",
    "stand-in": "替代设备",
    "imported": "导入",
    "projected": "推算",
    "datasheet": "数据手册",
    "profile": "评价档案",
    "absent": "缺失",
    "note": "说明",
    "single": "单值",
    "criterion": "未达标",
    "undecided": "无法判定",
    "above-reference": "高于参考值",
    "incomplete": "未完成",
    "skipped": "跳过",
    "failed": "失败",
    "invalid": "无效",
    "missing": "缺失",
    "contended": "受干扰",
    "drift": "配置不一致",
    "stall": "停顿",
    "uneven": "分配不均",
    "slow-node": "慢节点",
    "slow-device": "慢设备",
    "slow-link": "慢链路",
    "slow-pair": "慢对",
    "MFU of one device": "单卡 MFU",
    "token/s a device on one node over that on one device": "节点内扩展效率 η",
    "token/s a device on all nodes over that on one node": "节点间扩展效率 η",
    "share of an interrupted training's time that was productive and kept": "有效训练时间占比(goodput)",
    "MFU of one device × η inside a node × η between nodes × goodput": "端到端效率 = 单卡MFU × 节点内η × 节点间η × goodput",
    "achieved over peak FLOP/s of the largest training": "算力利用率(实际/峰值 FLOPS)",
    "allocated over available device-hours, declared": "算力利用率(已分配/可用卡时,申报)",
    "achieved FLOP/s over IT power × PUE, these two declared": "每瓦设施功率的实际算力(IT 功率与 PUE 为申报值)",
    "FLOPs of a joule that devices took while training": "训练时设备每焦耳的运算量",
    "weak scaling at the largest size that was measured": "弱扩展效率(最大实测规模)",
    "strong scaling at the largest size that was measured": "强扩展效率(最大实测规模)",
    "speed of the Triton kernels over that of the best library, on equal cases": "Triton 算子相对最快厂商库的速度",
    "operations and dtypes that Triton kernels compute rightly, of those asked for": "Triton 支持的算子与数据类型占比",
    "share of the bits of a format that the result of a matrix product keeps": "矩阵乘结果保留的有效位占比",
    "FLOP/s of the slowest device over the median one": "最慢设备相对中位设备的算力",
    "median training step over the 99th percentile": "训练步时间 p50/p99",
    "share of streams that never stood still": "无停顿数据流占比",
    "good values over those that failed, are missing or are invalid, and they": "有效测量值占比",
    "share of devices that answered": "可用设备占比",
    "share of repetitions with equal results, bit by bit": "逐位一致的重复计算占比",
    "declared devices × datasheet peak": "峰值算力(申报数量 × 数据手册峰值)",
    "declared devices × measured matrix product": "实测算力(申报数量 × 实测矩阵乘)",
    "η inside a node": "节点内 η",
    "η between nodes": "节点间 η",
    "goodput": "有效训练时间占比",
    "weak": "弱扩展",
    "strong": "强扩展",
    "devices": "设备数",
    "nodes that were measured": "已测量节点数",
    "storage capacity, declared": "存储容量(申报)",
    "facility energy over IT energy, declared": "PUE(申报)",
    "parameters of the model that it trains, projected": "可训练的模型参数量(推算)",
    "kinds of chip that were measured together": "共同测量的芯片种类",
    "token/s of a pool of several kinds of chip over the sum of its parts": "异构算力池相对各部分之和的效率",
    **MODEL_WORDS,
}
"""Words of tables and findings, and what derived metrics are about."""

_SENTENCES = [
    (r"the suite (.+) does not measure it", "套件 {0} 未测量此项"),
    (r"shown only: the profile compares it with nothing", "仅展示:评价档案未设参考值"),
    (r"no threshold '(.+)' is given in SYSTEM.yaml", "SYSTEM.yaml 未给出阈值 {0}"),
    (r"no datasheet says what it could be", "数据手册未给出参考值"),
    (r"no ceiling is measured for it", "未测得其上限"),
    (r"no ratio of (.+) to (.+) can be taken", "{0} 与 {1} 无法求比值"),
    (r"no reference: no datasheet of '(.+)' is known", "无参考值:没有 {0} 的数据手册"),
    (
        r"no reference: the datasheet of (.+) does not predict it: (.+)",
        "无参考值:{0} 的数据手册不能预测此项:{1}",
    ),
    (r"it gives no undisputed memory bandwidth", "未给出无争议的内存带宽"),
    (r"it gives no undisputed (.+) peak", "未给出无争议的 {0} 峰值"),
    (r"it gives no link to the host", "未给出主机链路"),
    (r"it gives no link between devices and no network of a node", "未给出设备间链路与节点网络"),
    (r"it gives no link between devices", "未给出设备间链路"),
    (r"it gives no network of a node", "未给出节点网络"),
    (
        r"no reference: the datasheet of (.+) does not predict it",
        "无参考值:{0} 的数据手册不能预测此项",
    ),
    (r"no reference: the run has no devices", "无参考值:该次测量没有设备"),
    (r"no common reference: devices of several kinds \((.+)\)", "无共同参考值:多种设备({0})"),
    (
        r"no common reference: groups of several kinds of chip \((.+)\)",
        "无共同参考值:多种芯片的组({0})",
    ),
    (r"no group for it here", "此处没有可测的组"),
    (r"not reached", "未执行到"),
    (r"measured, but it gave no value", "已测量但没有数值"),
    (r"no training was measured", "未测量训练"),
    (r"one node: nothing lies between nodes", "单节点:不存在节点间互连"),
    (r"no failure struck the training that was to be interrupted", "受测训练期间没有发生故障"),
    (r"no training on one device was measured", "未测量单卡训练"),
    (r"no training on one node was measured", "未测量单节点训练"),
    (r"no training on several nodes was measured", "未测量多节点训练"),
    (r"no training on several devices of one node was measured", "未测量单节点多卡训练"),
    (r"the MFU of one device is not known: .+", "单卡 MFU 未知:其芯片与数据类型的峰值未知"),
    (
        r"no peak of its chip and dtype is known, so that no MFU is",
        "其芯片与数据类型的峰值未知,因此没有 MFU",
    ),
    (
        r"no interrupted training was measured \(`hengsuan goodput`\)",
        "未测量带故障的训练(hengsuan goodput)",
    ),
    (r"not measured: (.+)", "未测量:{0}"),
    (r"(.+?) (?:is |are )?not declared in SYSTEM.yaml", "SYSTEM.yaml 未申报 {0}"),
    (r"not declared: no --system SYSTEM.yaml", "未申报:没有 --system SYSTEM.yaml"),
    (
        r"IT power is declared of (\d+) devices, and training was measured on (\d+)",
        "IT 功率对应 {0} 个设备,而训练在 {1} 个设备上测量",
    ),
    (r"no device says what energy it takes", "没有设备报告能耗"),
    (
        r"no (weak|strong) scaling was measured \(suite `scaling`\)",
        "未测量{0}(套件 scaling)",
    ),
    (
        r"no operation was measured with Triton and with a library, on equal cases",
        "没有同一算例的 Triton 与厂商库测量",
    ),
    (r"no operation was asked of Triton", "未要求 Triton 执行任何算子"),
    (r"no precision was measured", "未测量精度"),
    (r"no matrix product was measured on two devices or more", "未在两个以上设备上测量矩阵乘"),
    (r"no stream was watched for stalls", "未观测数据流停顿"),
    (r"no value was measured", "没有测量值"),
    (r"no device was measured by itself", "未单独测量设备"),
    (r"no result was compared bit by bit", "未逐位比较结果"),
    (r"no device is known", "没有已知设备"),
    (r"no datasheet is known of (.+)", "没有 {0} 的数据手册"),
    (r"no undisputed (.+) peak is known of (.+)", "{1} 没有无争议的 {0} 峰值"),
    (r"no (.+) matrix product was measured on (.+)", "未在 {1} 上测量 {0} 矩阵乘"),
    (r"SYSTEM.yaml does not say which chips (.+) carries", "SYSTEM.yaml 未说明 {0} 承载哪些芯片"),
    (r"no projection is given .+", "未提供推算结果(--projection)"),
    (r"no group of several kinds of chip was measured", "未测量由多种芯片组成的组"),
    (
        r"no training was measured over several kinds of chip, and over each by itself",
        "未同时测量多种芯片的联合训练与各自训练",
    ),
    (r"datasheet of (.+)", "{0} 数据手册"),
    (r"threshold (.+)", "阈值 {0}"),
    (r"measured (compute|memory) ceiling", "实测上限({0})"),
    (r"measured (\S+) matrix product over peak", "实测 {0} 矩阵乘与峰值之比"),
    (r"stand-in for (.+)", "替代 {0}"),
    (r"(\d+) of (\d+) declared self-reliant(.*)", "申报 {1} 中 {0} 为自主可控{2}"),
    (r"(\d+) of (\d+) devices measured, (\S+): (.+)", "{1} 个设备中测量了 {0} 个,{2}:{3}"),
    (r"(.+), (\S+): ((?:below|of|above) the class .+)", "{0},{1}:{2}"),
    (r"below the class (.+)", "低于 {0}"),
    (r"of the class (.+)", "属于 {0}"),
    (r"above the class (.+)", "高于 {0}"),
    (r"100-300 P, a heterogeneous cluster of high performance", "100–300 P 异构高性能计算集群"),
    (r"1,000-3,000 P, a test platform for chips", "1,000–3,000 P 芯片试验平台"),
    (r", (\d+) of unknown origin", ",{0} 个来源不明"),
    (
        r"(\S+) of (\S+) PFLOP/s: declared devices times measured (\S+) FLOP/s \((.+)\)",
        "{1} PFLOP/s 中的 {0}:申报设备数 × 实测 {2} FLOP/s({3})",
    ),
    (r"(\S+), (\S+) trillion parameters(.*)", "{0},{1} 万亿参数{2}"),
    (r", (\d+) devices(.*)", ",{0} 个设备{1}"),
    (r", mfu (\S+%)(.*)", ",mfu {0}{1}"),
    (r", (\S+) days(.*)", ",{0} 天{1}"),
    (r", fits at no layout", ",没有可容纳的布局"),
    (r"(\d+) of (\d+) streams stood still", "{1} 个数据流中 {0} 个曾停顿"),
    (
        r"(\d+) of (\d+) values failed, are missing or invalid",
        "{1} 个数值中 {0} 个失败、缺失或无效",
    ),
    (r"(\d+) of (\d+) devices", "{1} 个设备中 {0} 个应答"),
    (r"(\S+) of (\S+) repetitions were wrong", "{1} 次重复中 {0} 次有误"),
    (r"(\d+) operation\(s\), (\d+) case\(s\)", "{0} 个算子,{1} 个算例"),
    (r"(\d+) asked for, without (.+)", "要求 {0} 项,缺少 {1}"),
    (r"(\d+) asked for", "要求 {0} 项"),
    (r"of ((?:\S+, )*\S+)", "数据类型 {0}"),
    (r"(.+), step p50 over p99", "{0},步时间 p50 与 p99 之比"),
    (r"(.+), (\d+) device\(s\) against (\d+)", "{0},{1} 个设备对 {2} 个"),
    (r"(.+), (\d+) device\(s\)", "{0},{1} 个设备"),
    (r"token/s a device, (\d+) device\(s\) over (\d+)", "每设备 token/s,{0} 个设备对 {1} 个"),
    (r"(\d+) of (\d+) measurements (\w+): (.+)", "{1} 个测量值中 {0} 个{2}:{3}"),
    (
        r"no value of any of its cases counts, all were contended: (.+)",
        "所有算例都受干扰,没有有效值:{0}",
    ),
    (r"no value counts(?:: )?(.*)", "没有有效值 {0}"),
    (r"nothing predicts it", "没有模型可预测"),
    (r"no Triton target on this device", "此设备没有 Triton 目标"),
    (r"the run is (\w+), not complete", "该次测量未完成({0})"),
    (r"mfu \(causal-exact\) on (\d+) device\(s\): (.+)", "MFU(因果精确),{0} 个设备:{1}"),
    (r"(\S+) of (\S+) device-hours, (.+)", "{1} 卡时中已分配 {0},{2}"),
    (
        r"over (\S+) W of IT \((.+)\) × PUE (\S+) \((.+)\), both declared",
        "除以 IT 功率 {0} W({1})× PUE {2}({3}),均为申报值",
    ),
    (r"(\S+), (\d+) failure\(s\)", "{0},{1} 次故障"),
    (r"(.+); of (.+) one value is known, taken as exact", "{0};{1} 只有单个数值,按精确值计"),
    (
        r"MFU of one device × η inside a node × η between nodes × goodput = (.+)",
        "单卡 MFU × 节点内 η × 节点间 η × 有效训练时间占比 = {0}",
    ),
    (
        r"MFU of one device × η inside a node × goodput = (.+); one node, nothing between nodes",
        "单卡 MFU × 节点内 η × 有效训练时间占比 = {0};单节点,不存在节点间互连",
    ),
    (r"(\S+), efficiency", "{0}(效率)"),
    (r"(.+) in all", "{0}(合计)"),
    (
        r"(\S+) (.+), (at least|at most) (.+) is required(?: \((.+)\))?",
        "{0} 为 {1},要求{2} {3}({4})",
    ),
    (r"(\S+) (at least|at most) (.+) is required: (.+)", "{0} 要求{1} {2}:{3}"),
    (
        r"(\S+) (at least|at most) (.+) is required, and (\d+) of (\d+) groups have no value: (.+)",
        "{0} 要求{1} {2},而 {4} 组中 {3} 组没有数值:{5}",
    ),
    (r"(.+) is required to reach a target: (.+)", "{0} 要求达标:{1}"),
    (
        r"(\S+) (.+) is (\S+) better than the (.+) that datasheet and topology allow: (.+)",
        "{0} 为 {1},比数据手册与拓扑所允许的 {3} 高 {2}:{4}",
    ),
    (r"one of them is wrong", "两者必有一误"),
    (r"what stands in for (.+) is faster, and counts as equal", "替代 {0} 的设备更快,按相等计"),
    (
        r"pulls (.+) down: (\S+) below the median device over (\d+) metric\(s\)",
        "拉低类别 {0}:{2} 项指标合计比中位设备低 {1}",
    ),
    (
        r"pulls (.+) down: (\S+) below the median device over (\d+) metric\(s\); (\d+) more do",
        "拉低类别 {0}:{2} 项指标合计比中位设备低 {1};另有 {3} 项",
    ),
]
_KNOWN = [
    (re.compile(pattern, re.DOTALL), chinese)
    for pattern, chinese in (*_SENTENCES, *MODEL_SENTENCES)
]
_SKIPPED = re.compile(r"(skipped|failed|invalid|missing|contended): (.*)", re.DOTALL)


def english(text: str) -> str:
    """The text itself."""
    return text


def chinese(text: str) -> str:
    """The text in Chinese where it is known, else itself."""
    if text in WORDS:
        return WORDS[text]
    if status := _SKIPPED.fullmatch(text):
        return f"{WORDS[status[1]]}:{chinese(status[2])}"
    for pattern, translated in _KNOWN:
        if found := pattern.fullmatch(text):
            return translated.format(*map(_part, found.groups(""))).replace("()", "")
    return text


def _part(text: str) -> str:
    """What a sentence names: a word, a list of words, or a sentence of its own."""
    named = [WORDS.get(one, "") for one in text.split(", ")]
    if all(named):
        return "、".join(named)
    told = chinese(text)
    if told == text and text.count(" ") == 2:  # two names
        return text.replace(" and ", "、")
    return told


def speaker(language: Language) -> Say:
    """What says a text in a language."""
    return chinese if language == "zh" else english
