"""Single faults in six architectures, and healthy runs, to judge vital signs by.

A run is an MLP, a CNN with BatchNorm, a small ResNet, a GRU, a tiny GPT, or an encoder trained by
SimCLR, on scikit-learn's digits or on generated waves and sentences, for 4 epochs of 30 or 45
steps under Lightning with `RepWatch(registry=..., run_name=..., draw_map=False)`: a first run, with
no landmark to compare it with. Half of the runs have one fault each, mild or strong, from a
learning rate that is too high to a causal mask that is missing. The others are healthy in many
ways: wide, deep, warmed up, with dropout, with parts that start at zero, fine-tuned, frozen on
purpose, with adapters, with noisy labels, with one output, an autoencoder, a GAN.

    python -m examples.faults train FOLDER               # all of it, about 1.5 hours on one core
    python -m examples.faults train FOLDER --size 0.1    # a tenth, of all kinds
    python -m examples.faults evaluate FOLDER            # Markdown tables

Each run has a registry of its own in the folder. A run that has finished is not trained again, so
the same command resumes a matrix that was interrupted, and a larger `--size` extends a smaller one.

`evaluate` applies the rules of `repwatch.vitals` to the stored runs as if they were running, and,
for comparison, rules on the loss alone (not finite, exploding, not decreasing, overfit). A fault is
found by a flag, and named correctly if a flag's likely causes lead to it (`accepted`). Half of the
runs, drawn by their names, are held out: no threshold was chosen on them.

- `networks`, `tasks`: the architectures, and what they learn.
- `training`: one run, made of parts that a fault can change. `injected`: the faults.
- `healthy`: the healthy runs. `matrix`: all runs, in the order in which they are trained.
- `loss_rules`, `accepted`, `judge`: the evaluation. `command`: the command.
"""
