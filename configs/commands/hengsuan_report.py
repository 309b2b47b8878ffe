"""Tells Hengsuan how a training goes: copy this file beside your program. Standard library only.

::

    report = Report("torch", torch.__version__, rank=dist.get_rank(), ranks=dist.get_world_size())
    for number in range(1, steps + 1):
        loss = train_step()
        report.step(number, loss=loss.item(), tokens=batch * seq * ranks)
    report.done()

Give ``rank`` and ``ranks`` as your framework knows them, not as the environment says: that they
agree is what is checked. ``tokens`` are those of the whole job in one step. Report a step when the
device has finished it (``loss.item()`` waits for that), for the time counts when the line comes.
"""

import json
import os


class Report:
    """Reports of one rank, each a line of JSON on standard output."""

    def __init__(self, framework, version, rank, ranks, parameters=None):
        """Say hello. ``parameters``: weights of the whole model, if they are known."""
        self._rank = int(rank)
        self._steps = 0
        self._say(
            "hello",
            framework=str(framework),
            version=str(version),
            ranks=int(ranks),
            parameters=parameters,
        )

    def step(self, step, loss=None, tokens=None, seconds=None):
        """A step has ended. ``seconds``: what you think that it took; it is compared, not used."""
        self._steps += 1
        self._say("step", step=int(step), loss=loss, tokens=tokens, seconds=seconds)

    def done(self):
        """No more steps come; a program that is ended from outside need not say so."""
        self._say("done", steps=self._steps)

    def _say(self, what, **values):
        given = {key: value for key, value in values.items() if value is not None}
        line = json.dumps({"hengsuan": what, "rank": self._rank, **given})
        # In one call, so that lines of several processes do not mix, and past all buffers.
        os.write(1, (line + "\n").encode())
