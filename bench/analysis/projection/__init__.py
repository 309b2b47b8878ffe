"""What a training step of a model would take on a cluster that need not exist yet.

Pure arithmetic: a model (`workload`), how it is spread (`plan`), chips and networks (`machine`),
how well software uses them (`software`, `rates`) give seconds (`layer`, `step`) and bytes
(`memory`); from these follow days, energy and goodput (`training`), the best layout (`search`) and
what limits it (`bottleneck`). `calibration` puts measurements of a run in the place of typical
efficiencies; `published` and `validate` hold it all against training runs that others measured.
"""
