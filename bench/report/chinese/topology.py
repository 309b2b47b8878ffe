"""What the fabric's picture says, and the sentences beside it."""

from __future__ import annotations

TOPOLOGY: dict[str, str] = {
    "against the usual pair": "相典型配对",
    "all metrics of this node": "该节点的全部指标",
    "fewer than two pairs: nothing is known": "不足两个配对：无从得知",
    "in no pair": "不在任何配对中",
    "named as slow": "被点名为慢",
    "not known": "未知",
    "slow link": "慢链路",
    "slow links": "慢链路",
    "slow links that have no line here": "此处未画线的慢链路",
    "slow links that lead out of what is shown": "通向图外的慢链路",
    "slower": "较慢",
    "slowest": "最慢",
    "without": "无",
    "grouped by": "分组",
    "shown part of the fleet": "所示的机群部分",
    "node or device": "节点或设备",
    "What is estimated of each, as a table": "各项估计（表格）",
    "the slowest first, of each case": "各算例最慢者在前",
    "Boxes are groups of nodes by their labels, the outermost around the others; a box shows the slowest that it holds. Lines are single links that the model names. Choose a box to see what is in it; arrow keys go from box to box, Escape goes out.": "框为按标签分组的节点，最外层包围其余；每个框显示其中最慢者。线为模型点名的单条链路。选中一个框可查看其内部；方向键在框间移动，Escape 返回外层。",
    "Every pair against the usual (median) pair of its case: red is slower. Grey pairs never met. Rows stand as the nodes are grouped, and lines part the groups.": "每对与该算例的典型（中位）对比较：红色为较慢；灰色为未配对。行按节点分组排列，线为组间分界。",
    "One node: there is no fabric between nodes.": "只有一个节点：没有节点间网络。",
    "No label groups these nodes: they stand in the order of the inventory.": "没有标签对这些节点分组：按清单顺序排列。",
    "Labels that do not nest have a picture each: {=}": "互不嵌套的标签各有一图：{0}",
    "Not drawn are labels that do not nest in these: {=}.": "未画出与之不嵌套的标签：{0}。",
    "{#} of {#} nodes carry no label {=}.": "{1} 个节点中 {0} 个没有标签 {2}。",
    "The first {#} of {#} cases are drawn.": "仅画出 {1} 个算例中的前 {0} 个。",
    "the slowest of each case, {#} of {#}": "各算例的最慢者，{1} 项中的 {0} 项",
}
