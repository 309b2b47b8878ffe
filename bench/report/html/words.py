"""The pages' own words in Chinese; sentences of analysis are those of `bench.report.language`."""

from __future__ import annotations

import re
from functools import cache
from typing import Protocol

from ..language import Language, Say, english
from ..language import chinese as analysed
from .document_words import WORDS as DOCUMENTS
from .topology_words import SCRIPTED as PICTURED
from .topology_words import SENTENCES as TOLD
from .topology_words import WORDS as TOPOLOGY

SCRIPTED = (
    "accept",
    "all nodes",
    "Choose one to see its nodes apart.",
    "copied",
    "copy",
    "details",
    "device",
    "filter",
    "in spreads",
    "inconclusive",
    "metric",
    "no such node",
    "nodes in a column, which shows the worst of them",
    "reject",
    "select and copy by hand",
    "show more",
    "spreads",
    "usual",
    "value",
    "worse by",
    *PICTURED,
)
"""What the page's scripts say by themselves."""

WORDS: dict[str, str] = {
    "skip to content": "跳到正文",
    "light or dark": "浅色或深色",
    "contents": "目录",
    "report": "报告",
    "table": "表格",
    "show": "显示",
    "copied": "已复制",
    "copy": "复制",
    "details": "详情",
    "filter": "筛选",
    "select and copy by hand": "请手动选择并复制",
    "show more": "显示更多",
    "How long an empty message takes (α), and what large ones reach (β).": "空消息的耗时(α)与大消息所能达到的带宽(β)。",
    "Bus bandwidth over the size of the message: points are medians over groups, lines the fit t = α + S/β of each.": "总线带宽随消息大小的变化:点为各组中位数,线为拟合 t = α + S/β。",
    "Collectives": "集合通信",
    "collective": "集合通信",
    "ranks": "进程数",
    "groups": "组数",
    "the time of an empty message": "空消息耗时",
    "bus bandwidth that the largest messages approach": "最大消息趋近的总线带宽",
    "n½": "n½",
    "the size at which half of β is reached": "达到 β 一半时的消息大小",
    "residual": "残差",
    "relative deviation of times about the line": "耗时相对拟合线的偏差",
    "Values by state over the run's time; stages stand above.": "各状态的测量值随时间的分布;上方标出阶段。",
    "temperature when a value was taken": "取值时的温度",
    "power when a value was taken": "取值时的功率",
    "clock when a value was taken": "取值时的频率",
    "Over all devices or nodes: the line is the median, the band reaches from the lowest to the highest; rejected nodes have lines of their own. Where nobody looked there is no line.": "对所有设备或节点:线为中位数,带为最低到最高;被拒节点另有单独的线。无人查看之处没有线。",
    "Conditions over time": "运行条件",
    "conditions over time": "运行条件随时间变化",
    "No temperature, power or clock is known of this run.": "该次测量没有温度、功率或频率数据。",
    "median": "中位数",
    "values": "测量值",
    "values taken while throttled or capped": "在降频或功率封顶时取得的值",
    "values of which no device says whether it throttled": "设备未说明是否降频的值",
    "telemetry": "遥测",
    "no node differs from a majority of its kind": "没有节点与同类多数不同",
    "nodes state no facts": "节点未报告配置",
    "no counter of errors grew, and no line of a kernel's log spoke of hardware": "没有错误计数增长,内核日志未提及硬件",
    "Environment and drift": "环境与配置漂移",
    "nodes that are alike": "相同的节点",
    "the run has no nodes": "该次测量没有节点",
    "nodes": "节点",
    "devices each": "每节点设备数",
    "chip": "芯片",
    "backend": "后端",
    "memory": "内存",
    "firmware": "固件",
    "which": "哪些",
    "node": "节点",
    "fact": "配置项",
    "is": "本节点",
    "others have": "其他节点",
    "share": "占比",
    "of its kind that agree": "同类中一致者",
    "kind": "类别",
    "stage": "阶段",
    "what": "内容",
    "differ by": "相差",
    "hottest": "最热",
    "coolest": "最凉",
    "while": "期间",
    "unevenly cooled devices": "散热不均的设备",
    "facts of a node of the fleet": "机群中一个节点的配置",
    "facts of": "配置:",
    "alike": "个相同",
    "drift": "配置漂移",
    "incidents": "事件",
    "who is slow": "慢者",
    "Pairs and fabric": "配对与网络",
    "A slow pair does not say who is slow: pairs are taken apart into nodes, devices and links, and a culprit is named only beyond what chance explains.": "慢的配对并不说明谁慢:将配对分解为节点、设备与链路,只有超出偶然所能解释的才点名。",
    "the usual pair of each class of link": "各类链路的通常配对",
    "nobody stands out": "没有突出者",
    "What these pairs cannot tell": "这些配对无法说明的",
    "pairs": "配对",
    "where": "位置",
    "class": "类别",
    "usual pair": "通常配对",
    "number": "数量",
    "noise": "噪声",
    "so many looks at a node are one that is shown": "对一个节点每多少次观测显示一次",
    "of a pair around its ends": "配对相对其两端",
    "spread of the ends": "两端离散",
    "slow": "慢",
    "name": "名称",
    "by": "幅度",
    "by chance": "偶然概率",
    "share of healthy fleets that show as much": "健康机群中出现同等偏差的比例",
    "of": "对象",
    "case": "算例",
    "over groups, each by the median over its repeats": "对各组,每组取重复的中位数",
    "expected": "预期",
    "what datasheet and topology predict": "数据手册与拓扑的预测",
    "of it": "达到",
    "how near the median comes to what is expected": "中位数与预期之比",
    "p5 – p95": "p5 – p95",
    "over groups": "对各组",
    "worst": "最差",
    "worst is": "最差者",
    "outside": "超出",
    "groups further out than chance lets a healthy fleet lie": "偏离超出健康机群偶然范围的组",
    "rows": "行数",
    "no case was measured": "没有测量任何算例",
    "Measurements": "测量",
    "Every metric beside what was to be expected of it. A line opens: what the expectation rests on, what other models say, and why values are missing.": "每项指标及其预期。展开一行可见预期的依据、其他模型的说法以及缺失原因。",
    "assumption": "依据",
    "other models": "其他模型",
    "spread over groups": "组间离散",
    "Nodes and metrics": "节点与指标",
    "Each metric against the median of its kind, in spreads of that metric: 0 is usual, red is worse. Choose a column to see a node in full.": "每项指标与同类中位数比较,以该指标的离散度为单位:0 为通常,红色为较差。点选一列可查看该节点全部数据。",
    "the worst first": "最差在前",
    "device": "设备",
    "worst metric": "最差指标",
    "usual": "通常",
    "the median over its kind": "同类中位数",
    "worse by": "差多少",
    "in spreads": "离散度倍数",
    "of that metric, by which devices differ": "该指标在设备间的离散度",
    "far off": "明显偏离",
    "metrics that are worse by five spreads or more": "差五倍离散度及以上的指标",
    "verdict": "结论",
    "run": "测量",
    "suite": "套件",
    "state": "状态",
    "started": "开始",
    "finished": "结束",
    "executor": "执行器",
    "command": "命令",
    "cases": "算例",
    "Provenance": "来源",
    "what the states of a value mean": "各状态的含义",
    "begun": "开始于",
    "took": "耗时",
    "stages": "阶段",
    "event": "事件",
    "text": "内容",
    "events": "事件",
    "the suite as it was": "当时的套件",
    "Each operation by its FLOPs a byte and what it achieved, on logarithmic axes, under the roofs of the datasheet (lines) and those measured in this run (dashed).": "各算子的运算强度与实测性能(对数坐标),实线为数据手册上限,虚线为本次实测上限。",
    "Roofline": "Roofline 模型",
    "What arithmetic and memory of a chip allow, and how near every operation comes.": "芯片算力与内存所允许的上限,以及各算子接近的程度。",
    "of the datasheet": "占数据手册",
    "achieved over the lower roof": "实测与较低上限之比",
    "of the run's best": "占本次最佳",
    "limit": "瓶颈",
    "which roof is the lower one; ?: the other one is unknown": "哪个上限较低;?:另一上限未知",
    "compute": "算力",
    "speed of the Triton kernels over that of the best library": "Triton 算子相对最快库的速度",
    "Each group against the median of its metric: the box holds the middle half, the whiskers 90 %, the cross is the worst. What is worse lies to the right.": "各组与该指标中位数比较:箱体为中间一半,须为 90 %,叉为最差。越靠右越差。",
    "Time of a call in the order of its samples: of the group that stands out, and of one that is usual.": "按采样顺序的单次耗时:突出的组与一个通常的组。",
    "Spread": "离散",
    "How far the groups of each metric lie apart.": "各指标在组间的离散程度。",
    "samples of who stands out": "突出者的样本",
    "No samples were kept of who stands out (--samples suspects keeps them).": "未保留突出者的样本(--samples suspects 可保留)。",
    "sample": "样本",
    "The score of each category out of 100, with its 95 % interval.": "各类别得分(满分 100)及其 95 % 区间。",
    "Verdict and score": "结论与得分",
    "the profile asks for nothing that was measured": "评价档案未要求任何已测项",
    "no value failed, is invalid or is missing": "没有失败、无效或缺失的值",
    "no verdict: nobody has certified these nodes by this run": "没有结论:尚无人据此认证这些节点",
    "share of what is asked for that has a value": "所需项中有值的比例",
    "worth most, in points of the score for one point of efficiency": "最值得改进(效率每提高一个百分点可得的总分)",
    "every metric of the score": "得分的全部指标",
    "nothing was measured": "没有任何测量",
    "values failed, are invalid or are missing": "个值失败、无效或缺失",
    "the chain of efficiencies": "效率链",
    "The run is under way, or its driver died: what is here was measured until now.": "测量仍在进行,或其驱动进程已终止:此处为目前已测的内容。",
    "The run was interrupted: what is here was measured until then.": "测量被中断:此处为中断前已测的内容。",
    "The verdict was given before more was measured: certify the run again.": "结论给出后又有新的测量:请重新认证。",
    "The run failed: what is here was measured until then.": "测量失败:此处为失败前已测的内容。",
    "A step by its phases, and what growing the group costs.": "训练步的各阶段,以及扩大规模的代价。",
    "The phases of a step, each the mean over the ranks; the mark is the median step.": "训练步的各阶段(各进程均值);标记为中位步时间。",
    "Throughput of a device over that of the smallest group; the band is where 95 of 100 further measurements would lie by the line.": "每设备吞吐与最小规模之比;带为按拟合线 95 % 后续测量所在范围。",
    "Training": "训练",
    "time of a step": "步时间",
    "Shares of a step that are lost against the smallest group, by cause.": "相对最小规模损失的步时间占比,按原因。",
    "training": "训练",
    "step p50": "步时间 p50",
    "step p99": "步时间 p99",
    "tokens per second": "每秒 token 数",
    "mfu": "MFU",
    "mfu palm": "MFU(PaLM)",
    "hfu": "HFU",
    "peak memory": "峰值内存",
    "energy per token": "每 token 能耗",
    "from": "来自",
    "scaling efficiency": "扩展效率",
    "where it is lost": "损失在何处",
    "all rejected nodes": "全部被拒节点",
    "Why": "原因",
    "The worst first, each with what it rests on.": "最差在前,各附依据。",
    "found": "发现",
    "evidence": "依据",
    "rejected": "被拒",
    "findings": "发现数",
    "lost while measuring": "测量中丢失",
    "which nodes may join:": "哪些节点可以加入:",
    "notes": "说明",
    "check again": "复查",
    "all that was found": "全部发现",
    "why": "原因",
    "drain": "下线",
    "bring back": "恢复",
    "inconclusive": "无法判定",
    "waived": "豁免",
    "accept": "通过",
    "reject": "拒绝",
    "shown in": "单位",
    "spreads of the metric": "指标的离散度",
    "percent of the median": "中位数的百分比",
    "metrics with": "指标含",
    "heat map of nodes and metrics": "节点与指标热图",
    "show a node": "查看节点",
    "spreads": "离散度",
    "nodes in a column, which shows the worst of them": "每列的节点数,显示其中最差者",
    "Choose one to see its nodes apart.": "点选可展开其中的节点。",
    "all nodes": "全部节点",
    "no such node": "没有此节点",
    "metric": "指标",
    "ok": "正常",
    "contended": "受干扰",
}

_STANDS = {"rejected": "被拒", "inconclusive": "无法判定", "accepted": "通过"}
_COUNTED = re.compile(r"(?:, (\d+) )?\b(rejected|inconclusive|accepted)\b")
_SENTENCES = [
    (re.compile(pattern, re.DOTALL), told)
    for pattern, told in (
        (
            r"(\d+) of (\d+) nodes? (rejected|inconclusive|accepted)((?:, \d+ [a-z]+)*)",
            "{1} 个节点中 {0} 个{2}{3}",
        ),
        (
            r"(\S+(?: for .+?)?); suite (.+), profile (.+), run (.+), (\S+) to (\S+) by hengsuan (\S+)",
            "{0};套件 {1},评价档案 {2},测量 {3},{4} 至 {5},hengsuan {6}",
        ),
        (
            r"(\d+) values measured, (\d+) of them again \((.+)\)",
            "测量 {0} 个值,其中 {1} 个复测({2})",
        ),
        (r"stopped early: (.*)", "提前停止:{0}"),
        *TOLD,
    )
]
"""Sentences of a verdict (`bench.report.evidence`), in which figures and names stand."""


class Speaks(Protocol):
    """What says words in a page's language."""

    @property
    def language(self) -> Language:
        """The page's."""
        ...

    @property
    def say(self) -> Say:
        """A text in it."""
        ...


class Voice:
    """Speaks a language, where there is no run that does."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self.say = speaker(language)


def speaker(language: Language) -> Say:
    """What says a text of a page in a language."""
    return chinese if language == "zh" else english


@cache
def chinese(text: str) -> str:
    """The text in Chinese where it is known, else itself."""
    if found := WORDS.get(text) or DOCUMENTS.get(text) or TOPOLOGY.get(text):
        return found
    for pattern, told in _SENTENCES:
        if parts := pattern.fullmatch(text):
            said = [_COUNTED.sub(_counted, part or "") for part in parts.groups()]
            # What stands first is a number or a provenance; suites and runs keep their names.
            return told.format(analysed(said[0]), *said[1:])
    return analysed(text)


def _counted(found: re.Match[str]) -> str:
    """``, 5 inconclusive`` of a verdict, and the words that stand alone in it."""
    return f",{found[1]} 个{_STANDS[found[2]]}" if found[1] else _STANDS[found[2]]
