"""RepWatch in TensorBoard: `plugin` shows the page of a registry in a tab, live.

Nothing is imported here: TensorBoard reads `loader` at its start, and what fails there would take
TensorBoard down.
"""
