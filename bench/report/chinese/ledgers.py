"""Where the wall time of jobs went: parts, and what is wrong with the time between samples."""

from __future__ import annotations

LEDGERS: dict[str, str] = {
    "Where the time went": "时间去向",
    "Wall time of jobs by what it was spent on: the parts of each sum to the whole. Of jobs on several ranks it is that of the one that took longest.": "各任务的墙钟时间及其去向：各部分之和等于总和。多进程任务取用时最长的进程。",
    "Seconds of wall time by benchmark, in the parts of a job from its beginning to its end.": "各基准测试的墙钟秒数，按任务从开始到结束的各部分。",
    "shares of the wall time of each benchmark's jobs": "占各基准测试任务墙钟时间的比例",
    "benchmark": "基准测试",
    "jobs": "任务数",
    "wall time": "墙钟时间",
    # parts
    "start of processes": "进程启动",
    "forming of the group": "组建通信组",
    "set-up": "准备",
    "sanity check": "结果校验",
    "warm-up": "预热",
    "samples": "样本",
    "time between samples": "样本之间",
    "meetings of ranks": "进程会合",
    "tear-down": "收尾",
    "measuring before": "先前的测量",
    "rest": "其余",
    "rank processes started and imported what they need; once, in their first job": "进程启动并导入所需模块；仅计入其首个任务",
    "ranks met to form the group; once, in the first job of a visit": "各进程会合组成通信组；仅计入该组的首个任务",
    "set-up: data allocated and filled": "准备：分配并填充数据",
    "sanity checks, before and after": "计时前后的结果校验",
    "warm-up and calibration: calls that no sample holds": "预热与校准：不计入样本的调用",
    "samples: what is timed": "样本：被计时的部分",
    "between samples on purpose: caches flushed, data renewed, telemetry read, the end decided, a throttled device left to cool": "样本之间有意为之：冲刷缓存、更新数据、读取遥测、判断是否结束、让降频的设备冷却",
    "ranks met between blocks of samples, to go on or to end together": "各进程在样本块之间会合，以便一同继续或结束",
    "figures computed, all given back": "计算结果并归还一切",
    "measured before, while other work used its cores, and thrown away": "先前在核心被其他任务占用时测得，已舍弃",
    "what nothing accounts for: commands on their way, ranks that had ended and waited": "未归入任何部分：传送中的命令、已结束并等待的进程",
    # what is wrong with it
    "rank {#} worked on for {#} s behind its last sample, beside {#} s of samples ({#} %): they hold no more than its beginning": "进程 {0} 在最后一个样本之后仍工作了 {1} s，而样本仅 {2} s（{3} %）：样本只包含工作的开始",
    "between samples of rank {#} passes time that nothing accounts for: {#} % ({#} ms beside {#} ms of samples)": "进程 {0} 的样本之间有未归属的时间：{1} %（样本 {3} ms 之外的 {2} ms）",
    "rank {#} comes late to meetings between samples: others wait {#} ms beside {#} ms of samples ({#} %), which no sample holds": "进程 {0} 在样本之间的会合中迟到：其他进程在 {2} ms 样本之外等待 {1} ms（{3} %），不含在任何样本中",
    # in which part a job ended
    "not done at its limit of {#} s": "到达 {0} s 时限仍未完成",
    "not done at its limit of {#} s a part": "到达每部分 {0} s 的时限仍未完成",
    "hangs: no sign of life after {#} s": "挂起：{0} s 后无响应",
    "hangs: no sign of life after {#} s a part": "挂起：每部分 {0} s 后无响应",
    "is stopped, as by SIGSTOP": "已停止，如被 SIGSTOP",
    "in its {}": "当时处于{0}",
    "after {#} s of {}": "此前{1}用时 {0} s",
}
