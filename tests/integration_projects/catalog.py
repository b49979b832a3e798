"""The projects that are tried: what each needs, and where its training is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

__all__ = ["PROJECTS", "Project"]


@dataclass(frozen=True)
class Project:
    """A library and one training with it.

    Args:
        name: The module in `projects/` that trains it.
        title: What is trained, for the table.
        package: The distribution whose version the table shows.
        requirements: What pip installs besides what the tests need.
        namespace: The library whose callbacks the training takes: "lightning.pytorch",
            "pytorch_lightning" or "transformers".
        arguments: What `RepWatch` is given, where it needs an argument.
    """

    name: str
    title: str
    package: str
    requirements: tuple[str, ...] = ()
    namespace: str = "lightning.pytorch"
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def callback_path(self) -> tuple[str, str]:
        """The module and the name of RepWatch's callback for this library."""
        if self.namespace == "transformers":
            return "repwatch.transformers", "RepWatchCallback"
        return "repwatch", "RepWatch"

    @property
    def callback(self) -> str:
        """The name of that callback."""
        return self.callback_path[1]

    @property
    def environment(self) -> str:
        """The folder of its environment; projects with the same requirements share one."""
        return "+".join(re.sub(r"\W+", "-", one).strip("-") for one in self.requirements)


_PYTORCH_LIGHTNING = "pytorch_lightning"

PROJECTS = (
    Project(
        "pytorch_forecasting_tft",
        "PyTorch Forecasting: Temporal Fusion Transformer",
        "pytorch-forecasting",
        ("pytorch-forecasting",),
    ),
    Project("gluonts_deepar", "GluonTS: DeepAR", "gluonts", ("gluonts",)),
    Project(
        "neuralforecast_nhits",
        "NeuralForecast: NHITS",
        "neuralforecast",
        ("neuralforecast",),
        _PYTORCH_LIGHTNING,
    ),
    Project("darts_tcn", "Darts: TCN", "darts", ("darts[torch]",), _PYTORCH_LIGHTNING),
    Project(
        "pytorch_tabular_category",
        "PyTorch Tabular: category embeddings",
        "pytorch-tabular",
        ("pytorch-tabular",),
        _PYTORCH_LIGHTNING,
    ),
    Project("lightly_simclr", "Lightly: SimCLR", "lightly", ("lightly",), _PYTORCH_LIGHTNING),
    Project("lightly_byol", "Lightly: BYOL", "lightly", ("lightly",), _PYTORCH_LIGHTNING),
    Project("timm_resnet", "timm: ResNet-18", "timm", ("timm",)),
    Project("timm_vit", "timm: ViT", "timm", ("timm",)),
    Project(
        "smp_unet",
        "Segmentation Models: U-Net",
        "segmentation-models-pytorch",
        ("segmentation-models-pytorch",),
    ),
    Project("monai_unet", "MONAI: U-Net in three dimensions", "monai", ("monai",)),
    Project("diffusers_unet", "Diffusers: UNet2DModel", "diffusers", ("diffusers",)),
    Project(
        "pyg_gcn",
        "PyTorch Geometric: GCN on the nodes of a graph",
        "torch-geometric",
        ("torch-geometric",),
    ),
    Project(
        "pyg_graphs",
        "PyTorch Geometric: GIN on many graphs",
        "torch-geometric",
        ("torch-geometric",),
    ),
    Project("peft_lora", "PEFT: LoRA on GPT-2", "peft", ("peft",)),
    Project("lora_by_hand", "Transformers: GPT-2 with LoRA by hand", "transformers"),
    Project("bert_padded", "Transformers: BERT without `forward`", "transformers"),
    Project("t5_seq2seq", "Transformers: T5", "transformers"),
    Project(
        "hf_trainer",
        "Transformers: its Trainer, BERT",
        "transformers",
        ("accelerate",),
        "transformers",
    ),
    Project(
        "sentence_transformers",
        "Sentence Transformers: its Trainer, BERT",
        "sentence-transformers",
        ("sentence-transformers", "accelerate", "datasets"),
        "transformers",
    ),
    Project("metrics_classifier", "TorchMetrics: a CNN with collections", "torchmetrics"),
    Project("gan", "Lightning: its GAN example", "lightning"),
)
