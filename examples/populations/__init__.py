"""Train a population of runs, good and faulty, into a registry, to judge drift detection by.

A population is a hundred runs or more of one kind of network on one set of data, all watched
through the Lightning callback with the same probe set: good settings, good ones that start slowly,
and faults of known kinds from mild to strong. What RepWatch can learn from is stored as for any
run: snapshots at initialization, at 1/9 and 1/3 of the first epoch and after every epoch; beside
each, `train_loss`, `grad_norm`, `val_loss` and what the population measures of its own; and the
hyperparameters. The truth is stored too, in hyperparameters that begin with `truth.`: a detector
must not read them.

    python examples/populations digits-mlp --registry digits-mlp.db
    python examples/populations mnist-cnn --registry mnist-cnn.db --mnist mnist10k.npz --runs 120

| population    | networks                          | data                                        |
|---------------|-----------------------------------|---------------------------------------------|
| digits-mlp    | MLPs                              | scikit-learn's digits                       |
| mnist-mlp     | MLPs                              | --mnist                                     |
| mnist-cnn     | small CNNs                        | --mnist                                     |
| sequences-gru | GRUs                              | sequences of one number, generated          |
| ssl-digits    | SimCLR, SimSiam, VICReg and VAE   | scikit-learn's digits, labels for the probe |
| ssl-mnist     | the same                          | --mnist, labels for the probe               |
| text-lm       | GPT-2 of transformers, small      | --text, bytes of sentences                  |
| mnist-resnet  | small ResNets with BatchNorm      | --mnist, at half the resolution             |
| ssl-twins     | BYOL and Barlow Twins, small CNNs | scikit-learn's digits, labels for the probe |
| tables-mlp    | MLPs                              | a table of customers, generated             |

In the last four most faults are silent: mistakes in code that no hyperparameter shows, such as a
causal mask that is missing, a frozen backbone, a target that leaks, or codes of categories that are
taken for numbers. The module of each has their list, 12 or more and two that are held out. Since
the loss and the accuracy of such a run may look well, its outcome is measured after it has ended,
on data that no fault has touched, and stored as `truth.outcome`: the accuracy of the next byte
after a beginning, of classes, or of a linear probe. Go by `--where truth.silent=True` for the runs
whose hyperparameters show nothing.

`--label` labels the runs by how they ended, the bad ones with their fault as the cause, so that
`repwatch backtest` can measure how reliable flags are. `--unseen 24` trains as many further runs
of two faults that no other run has (momentum too high and classes missing; without labels, wrong
pairs and an encoder that hardly learns; for the last four see their modules), for a look that no
choice depends on:

    python examples/populations digits-mlp --registry digits-mlp.db --unseen 24 --label
    repwatch backtest --registry digits-mlp.db --hold-out where --where truth.unseen=True

A run that is in the registry and finished is not trained again, so that the same command takes up
a population where it was broken off; use one process at a time for one registry. At the end a
table says how the runs of each regime came out.

`--mnist` is any .npz with `images` (k, 28, 28) in uint8, k of 7,000 or more, and `labels` (k,),
whole numbers. Where torchvision is installed:

    data = torchvision.datasets.MNIST("data", download=True)
    images, labels = data.data[:10_000].numpy(), data.targets[:10_000].numpy()
    numpy.savez("mnist10k.npz", images=images, labels=labels)

`--text` is a file of UTF-8 text, gzip or not, each line a sentence in two languages with a tab
between them, 2,000 pairs of 12 to 32 bytes or more: any parallel corpus, of Tatoeba or OPUS for
instance, that is written so (`paste english.txt french.txt | gzip > en-fr.tsv.gz`). The first
language is learned; the second one is what a run with the wrong file learns.
"""
