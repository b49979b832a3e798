"""Train a population of runs, good and faulty, into a registry, to judge drift detection by.

A population is a hundred runs or more of one kind of network on one data set, all watched through
the Lightning callback with the same probe set: good settings, good ones that start slowly, and
faults of known kinds from mild to strong. What RepWatch can learn from is stored as for any run:
snapshots at initialization, at 1/9 and 1/3 of the first epoch and after every epoch; with each,
`train_loss`, `grad_norm`, `val_loss` and the population's own metrics; and the hyperparameters. The
truth is stored too, in hyperparameters that begin with `truth.`: a detector must not read them.

    python examples/populations digits-mlp --registry digits-mlp.db
    python examples/populations mnist-cnn --registry mnist-cnn.db --mnist mnist10k.npz --runs 120

| population    | networks                          | data                                        |
|---------------|-----------------------------------|---------------------------------------------|
| digits-mlp    | MLPs                              | scikit-learn's digits                       |
| mnist-mlp     | MLPs                              | --mnist                                     |
| mnist-cnn     | small CNNs                        | --mnist                                     |
| sequences-gru | GRUs                              | generated univariate sequences              |
| ssl-digits    | SimCLR, SimSiam, VICReg and VAE   | scikit-learn's digits, labels for the probe |
| ssl-mnist     | the same                          | --mnist, labels for the probe               |
| text-lm       | small GPT-2s from transformers    | --text, bytes of sentences                  |
| mnist-resnet  | small ResNets with BatchNorm      | --mnist, at half the resolution             |
| ssl-twins     | BYOL and Barlow Twins, small CNNs | scikit-learn's digits, labels for the probe |
| tables-mlp    | MLPs                              | a generated table of customers              |

In the last four, most faults are silent: mistakes in code that no hyperparameter shows, such as a
missing causal mask, a frozen backbone, a target that leaks, or category codes that are taken for
numbers. Each module lists them: 12 or more, and two that are held out. Since the loss and the
accuracy of such a run may look good, its outcome is measured after it has ended, on data that no
fault has touched, and stored as `truth.outcome`: the accuracy of predicting the next byte after a
prefix, of predicting classes, or of a linear probe. Use `--where truth.silent=True` to select the
runs whose hyperparameters show nothing.

`--label` labels the runs by how they ended, the bad ones with their fault as the cause, so that
`repwatch backtest` can measure how reliable flags are. `--unseen 24` trains 24 more runs, with two
faults that no other run has (momentum too high and classes missing; for self-supervised runs, wrong
pairs and an encoder that hardly learns; for the last four, see their modules), for a test on which
no choice depends:

    python examples/populations digits-mlp --registry digits-mlp.db --unseen 24 --label
    repwatch backtest --registry digits-mlp.db --hold-out where --where truth.unseen=True

A run that is in the registry and has finished is not trained again, so the same command resumes a
population that was interrupted; use one process at a time for one registry. At the end, a table
shows the outcomes of each regime.

`--mnist` is any .npz with `images` (k, 28, 28) in uint8, k of 7,000 or more, and `labels` (k,),
whole numbers. Where torchvision is installed:

    data = torchvision.datasets.MNIST("data", download=True)
    images, labels = data.data[:10_000].numpy(), data.targets[:10_000].numpy()
    numpy.savez("mnist10k.npz", images=images, labels=labels)

`--text` is a file of UTF-8 text, gzipped or not, with a sentence in two languages, separated by a
tab, on each line, and 2,000 or more pairs of 12 to 32 bytes: any parallel corpus in this format,
for instance from Tatoeba or OPUS (`paste english.txt french.txt | gzip > en-fr.tsv.gz`). The first
language is learned; the second one is what a run with the wrong file learns.
"""
