"""Verbs that measure, and what stands around measuring."""

from __future__ import annotations

from .pages import CONFIGURATION, RUNS, Page

PAGES = {
    "run": Page(
        {
            "hengsuan run quick": "a minute on this machine",
            "hengsuan run standard --address HEAD:6379": "a cluster that runs Ray",
            "hengsuan run quick --cluster small": "a simulated fleet",
            "hengsuan run my-suite.yaml --dry-run": "the plan, measuring nothing",
            "hengsuan run standard --only 'stream *' --set size=4GiB": "a part, with another axis",
            "hengsuan run --resume RUN": "go on after the driver died",
            "hengsuan run quick --metrics-port 9464": "scraped by Prometheus while it measures",
        },
        {**RUNS, **CONFIGURATION},
        ("watch", "results show", "score", "show suites"),
    ),
    "watch": Page(
        {
            "hengsuan watch": "the newest run of ./results that has not ended",
            "hengsuan watch --out /shared/results": "one of another host, through shared files",
            "hengsuan watch RUN --json": "wait for its end, then say how it ended",
        },
        RUNS,
        ("run", "certify", "results show"),
    ),
    "certify": Page(
        {
            "hengsuan certify --address HEAD:6379": "every node of a cluster",
            "hengsuan certify --address HEAD:6379 --nodes gpu-07 --baseline RUN": "one new node, "
            "against a fleet that is proven",
            "hengsuan certify --address HEAD:6379 --soak 24h --budget 30h": "with a day of load",
            "hengsuan certify --from RUN --markdown verdict.md": "judge a run that is there",
            "hengsuan certify --resume RUN": "go on after the driver died",
            "hengsuan certify --executor local --every 24h --idle-only": "this machine, daily, "
            "only while nobody else works on it",
        },
        {**RUNS, "results/RUN/verdict.json": "what was found of each node, with evidence"},
        ("certificate sign", "watch", "results facts", "results fabric"),
    ),
    "goodput": Page(
        {
            "hengsuan goodput --path /mnt/checkpoints --work 5m --mtbf 1m": "five minutes of steps",
            "hengsuan goodput --path /mnt/checkpoints --interval 20s": "another interval",
        },
        RUNS,
        ("run", "project"),
    ),
    "doctor": Page(
        {
            "hengsuan doctor": "this machine",
            "hengsuan doctor --address HEAD:6379": "every node of a cluster as well",
            "hengsuan doctor --quiet": "whether it is quiet enough to measure, in a line",
        },
        see=("backend list", "backend check", "run"),
    ),
    "tune": Page(
        {
            "hengsuan tune gemm attention --budget 1h": "search on this machine's device",
            "hengsuan tune softmax --dry-run --arch sm_90": "what would be tried, without a device",
            "hengsuan tune gemm --out kernels/tuned": "write the built-in table, in a checkout",
        },
        {"~/.config/hengsuan/tuned/ARCH.yaml": "configurations that kernels take first"},
        ("run", "show config"),
    ),
    "deploy slurm": Page(
        {
            "hengsuan deploy slurm --nodes 40 --backend cuda --devices 8 > job.sh": "then sbatch",
            "hengsuan deploy slurm --nodes 2 --suite quick --partition debug": "a small job",
        },
        see=("run", "certify"),
    ),
    "deploy kubernetes": Page(
        {"hengsuan deploy kubernetes --nodes 4 --image registry/stack:1": "a RayJob for KubeRay"},
        see=("run", "certify"),
    ),
    "deploy ssh": Page(
        {"hengsuan deploy ssh --nodes 2 --hosts a,b > start.sh": "a script for two hosts"},
        see=("run", "certify"),
    ),
    "deploy systemd": Page(
        {
            "hengsuan deploy systemd --every 24h --idle-only > hengsuan.service": "daily, where "
            "nobody works",
            "hengsuan deploy systemd --metrics-file /var/lib/metrics/hengsuan.prom": "for "
            "node_exporter as well",
        },
        {"/etc/systemd/system/hengsuan.service": "where to put it"},
        ("certify", "deploy alerts"),
    ),
    "deploy cronjob": Page(
        {"hengsuan deploy cronjob --nodes 40 --image NAME > cronjob.yaml": "every night at three"},
        see=("certify", "deploy kubernetes"),
    ),
    "deploy dashboard": Page(
        {"hengsuan deploy dashboard > hengsuan.json": "to import into Grafana"},
        see=("run", "deploy alerts"),
    ),
    "deploy alerts": Page(
        {"hengsuan deploy alerts > hengsuan.yaml": "to be named in rule_files of Prometheus"},
        see=("certify", "deploy dashboard"),
    ),
    "backend list": Page(
        {
            "hengsuan backend list": "which are here, and why others are not",
            "hengsuan backend list --quiet": "their names alone",
        },
        see=("doctor", "backend check"),
    ),
    "backend new": Page(
        {"hengsuan backend new acme --device-type npu": "hengsuan-acme/, to be filled in"},
        {"hengsuan-NAME/": "class, datasheet, test, pyproject, README"},
        ("backend check",),
    ),
    "backend check": Page(
        {
            "hengsuan backend check acme": "all checks",
            "hengsuan backend check acme --only 'op-*' --junit report.xml": "some, for a service",
            "hengsuan backend check acme --list": "which there are",
        },
        see=("backend new", "doctor", "submission pack"),
    ),
    "tokens new": Page(
        {"hengsuan tokens new /mnt/data/set.tokens --size 8GiB": "a set that fits no cache"},
        see=("tokens verify", "run"),
    ),
    "tokens verify": Page(
        {"hengsuan tokens verify /mnt/data/set.tokens": "after it was copied"},
        see=("tokens new",),
    ),
    "completion": Page(
        {
            "hengsuan completion bash >> ~/.bash_completion": "bash",
            "hengsuan completion zsh > ~/.zfunc/_hengsuan": "zsh, with ~/.zfunc in fpath",
            "hengsuan completion fish > ~/.config/fish/completions/hengsuan.fish": "fish",
        },
    ),
}
