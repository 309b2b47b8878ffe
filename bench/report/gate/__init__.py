"""What the gate says, for people and for continuous integration; `outputs.write_outputs` is all."""
