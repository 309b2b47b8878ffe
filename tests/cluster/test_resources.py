"""Who gives a process its devices: Ray for accelerators that it knows, the agent for all."""

import json
import subprocess
import sys
import textwrap

from bench.backends.ascend import Ascend
from bench.backends.cambricon import Cambricon

SCRIPT = """
    import json, ray
    ray.init(address="local", num_cpus=1, resources={"NPU": 2, "ACME": 2}, include_dashboard=False,
             log_to_driver=False, logging_level="ERROR", object_store_memory=80_000_000)

    @ray.remote(num_cpus=0)
    class Asked:
        def said(self):
            import os
            ids = ray.get_runtime_context().get_accelerator_ids()
            return ids, os.environ.get("ASCEND_RT_VISIBLE_DEVICES"), os.environ.get("ACME_VISIBLE")

    known = Asked.options(resources={"NPU": 2}).remote()
    custom = Asked.options(resources={"ACME": 2}).remote()
    print(json.dumps([ray.get(known.said.remote()), ray.get(custom.said.remote())]))
    ray.shutdown()
"""


def test_ray_gives_ids_of_what_it_knows_and_none_of_a_custom_resource():
    """Why the agent gives every rank its devices itself, whatever Ray did."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (ids, visible, _), (none, _, unset) = json.loads(done.stdout.splitlines()[-1])
    assert ids["NPU"] == ["0", "1"]
    assert visible == "0,1"
    assert not any(none.values())
    assert unset is None
    # The agent's environment of a rank is the same with and without Ray's help.
    assert Ascend().environment([0, 1], 1) == {"ASCEND_RT_VISIBLE_DEVICES": "0,1"}
    assert Cambricon().environment([0, 1], 1) == {"MLU_VISIBLE_DEVICES": "0,1"}
