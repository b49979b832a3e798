"""RepWatch in TensorBoard: `summary` writes figures into event files, `plugin` shows them.

Nothing is imported here: TensorBoard reads `loader` at its start, and what fails there would take
TensorBoard down.
"""
