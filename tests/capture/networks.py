"""Small networks of the kinds that people write themselves."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class TokenEncoder(nn.Module):
    """PyTorch's own transformer."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True)
        self.embed = nn.Embedding(50, 16)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.encoder(self.embed(x)).mean(1))


class Recurrent(nn.Module):
    """Two recurrent layers, of the second of which only the last state is used."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(50, 8), nn.Linear(10, 3)
        self.first, self.second = kind(8, 10, batch_first=True), kind(10, 10, batch_first=True)

    def forward(self, x: torch.Tensor) -> Any:
        state = self.second(self.first(self.embed(x))[0])[1]
        return self.head(state[0][-1] if isinstance(state, tuple) else state[-1])


class Translator(nn.Module):
    """An encoder whose last state begins a decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.source_embed, self.target_embed = nn.Embedding(50, 8), nn.Embedding(50, 8)
        self.encoder = nn.LSTM(8, 12, batch_first=True)
        self.decoder = nn.LSTM(8, 12, batch_first=True)
        self.head = nn.Linear(12, 50)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> Any:
        state = self.encoder(self.source_embed(source))[1]
        return self.head(self.decoder(self.target_embed(target), state)[0])


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut; one activation for both."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> Any:
        return self.act(x + self.bn2(self.conv2(self.act(self.bn1(self.conv1(x))))))


class Residual(nn.Module):
    """A ResNet of four stages of two blocks, by timm's names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.act1, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(2)
        self.layer1 = nn.Sequential(BasicBlock(4), BasicBlock(4))
        self.layer2 = nn.Sequential(BasicBlock(4), BasicBlock(4))
        self.layer3 = nn.Sequential(BasicBlock(4), BasicBlock(4))
        self.layer4 = nn.Sequential(BasicBlock(4), BasicBlock(4))
        self.global_pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.maxpool(self.act1(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.global_pool(x).flatten(1))


class DenseLayer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(width), nn.Conv2d(width, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> Any:
        return torch.cat([x, self.conv(self.norm(x).relu())], 1)


class Dense(nn.Module):
    """A DenseNet of two blocks of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.block1 = nn.Sequential(DenseLayer(4), DenseLayer(8))
        self.transition1 = self._transition()
        self.block2 = nn.Sequential(DenseLayer(4), DenseLayer(8))
        self.transition2 = self._transition()
        self.norm, self.fc = nn.BatchNorm2d(4), nn.Linear(4, 3)

    def _transition(self) -> nn.Module:
        parts = (nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 4, 1), nn.AvgPool2d(2))
        return nn.Sequential(*parts)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.transition1(self.block1(self.stem(x)))
        x = self.norm(self.transition2(self.block2(x)))
        return self.fc(x.relu().mean((2, 3)))


def two_convolutions(before: int, after: int) -> nn.Sequential:
    first, second = nn.Conv2d(before, after, 3, padding=1), nn.Conv2d(after, after, 3, padding=1)
    return nn.Sequential(first, nn.BatchNorm2d(after), nn.ReLU(), second, nn.ReLU())


class DoubleConvolution(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.body = two_convolutions(before, after)

    def forward(self, x: torch.Tensor) -> Any:
        return self.body(x)


class UNet(nn.Module):
    """Skips lead around everything but the two ends."""

    def __init__(self, block: Any = DoubleConvolution) -> None:
        super().__init__()
        self.down1, self.down2, self.middle = block(3, 4), block(4, 8), block(8, 8)
        self.pool, self.scale = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)
        self.up2, self.up1, self.out = block(16, 4), block(8, 4), nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> Any:
        first = self.down1(x)
        second = self.down2(self.pool(first))
        x = self.middle(self.pool(second))
        x = self.up2(torch.cat([self.scale(x), second], 1))
        return self.out(self.up1(torch.cat([self.scale(x), first], 1)))


class WithHead(nn.Module):
    """A linear layer on the mean over space of another network."""

    def __init__(self, backbone: nn.Module, width: int) -> None:
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.backbone(x).mean((2, 3)))


class Around(nn.Module):
    """A module that holds nothing but the network, as a LightningModule does."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


class Variational(nn.Module):
    """Two heads in the middle, and noise."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(16, 4), nn.Linear(16, 4)
        self.decoder = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 20))

    def forward(self, x: torch.Tensor) -> Any:
        hidden = self.encoder(x)
        mean, spread = self.mean(hidden), self.log_variance(hidden)
        return self.decoder(mean + torch.randn_like(mean) * (spread / 2).exp()), mean, spread


class GraphLayer(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.neighbors, self.own = nn.Linear(before, after), nn.Linear(before, after)

    def forward(self, x: torch.Tensor, adjacency: torch.Tensor) -> Any:
        return (self.neighbors(adjacency @ x) + self.own(x)).relu()


class GraphNet(nn.Module):
    """Graphs of equally many nodes, each with a dense adjacency."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([GraphLayer(5, 8), GraphLayer(8, 8), GraphLayer(8, 8)])
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor, adjacency: torch.Tensor) -> Any:
        for layer in self.layers:
            x = layer(x, adjacency)
        return self.head(x.mean(1))


class Experts(nn.Module):
    """A gate, and what it weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, 3)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
            for _ in range(3)
        )

    def forward(self, x: torch.Tensor) -> Any:
        weights = self.gate(x).softmax(1)
        return x + sum(weights[:, i : i + 1] * expert(x) for i, expert in enumerate(self.experts))


class Mixture(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks = nn.Linear(6, 8), nn.ModuleList([Experts(8), Experts(8)])
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Detached(nn.Module):
    """A backbone that runs without gradients."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(3, 2)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self.backbone(x)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.features(x))


class Refuses(Detached):
    """A backbone that fails with gradients on."""

    def features(self, x: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            raise RuntimeError("this runs in evaluation only")
        return self.backbone(x)


class Opaque(Detached):
    """A backbone whose output has been through another library."""

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tensor(self.backbone(x).detach().numpy())


class Adapter(nn.Module):
    """A layer of weights and a product of two small ones beside it, by the names of peft."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.base_layer = layer
        self.lora_A = nn.ModuleDict({"default": nn.Linear(layer.in_features, 2, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(2, layer.out_features, bias=False)})

    def forward(self, x: torch.Tensor) -> Any:
        return self.base_layer(x) + self.lora_B["default"](self.lora_A["default"](x))


def with_adapters(model: nn.Module) -> nn.Module:
    for holder in list(model.modules()):
        for name, module in list(holder.named_children()):
            if isinstance(module, nn.Linear):
                setattr(holder, name, Adapter(module))
    return model


def generator() -> nn.Sequential:
    up1, up2 = nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.ConvTranspose2d(8, 3, 4, 2, 1)
    first = (nn.Linear(8, 64), nn.Unflatten(1, (16, 2, 2)))
    return nn.Sequential(*first, up1, nn.BatchNorm2d(8), nn.ReLU(), up2, nn.Tanh())


def plain_mlp(depth: int = 3) -> nn.Sequential:
    hidden: list[nn.Module] = [nn.Linear(6, 8), nn.ReLU()]
    for _ in range(depth - 2):
        hidden += [nn.Linear(8, 8), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(8, 3))


def plain_cnn() -> nn.Sequential:
    parts: list[nn.Module] = []
    for before, after in ((1, 4), (4, 8), (8, 8)):
        conv = nn.Conv2d(before, after, 3, padding=1)
        parts += [conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    return nn.Sequential(*parts, nn.Flatten(), nn.Dropout(), nn.Linear(32, 8), nn.ReLU())


class ConvolutionBlock(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after)

    def forward(self, x: torch.Tensor) -> Any:
        return functional.relu(self.norm(self.conv(x)))


class BlockCNN(nn.Module):
    """Blocks without shortcuts, in a list."""

    def __init__(self) -> None:
        super().__init__()
        widths = ((1, 4), (4, 4), (4, 8))
        self.blocks = nn.ModuleList(ConvolutionBlock(*pair) for pair in widths)
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> Any:
        for block in self.blocks:
            x = block(x)
        return self.head(self.pool(x).flatten(1))


class Aggregation(nn.Module):
    """The sum over neighbors."""

    def forward(self, x: torch.Tensor, adjacency: torch.Tensor) -> Any:
        return adjacency @ x


class GraphConvolution(nn.Module):
    """A linear layer whose bias is added after the aggregation."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.aggregate, self.lin = Aggregation(), nn.Linear(before, after, bias=False)
        self.bias = nn.Parameter(torch.ones(after))

    def forward(self, x: torch.Tensor, adjacency: torch.Tensor) -> Any:
        return self.aggregate(self.lin(x), adjacency) + self.bias


class ConvolutionalGraphNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = GraphConvolution(5, 8), GraphConvolution(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor, adjacency: torch.Tensor) -> Any:
        x = self.conv1(x, adjacency).relu()
        return self.head(self.conv2(x, adjacency).relu().mean(1))


class NormAndActivation(nn.BatchNorm2d):
    """A normalization that holds the non-linearity after it, as timm's."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.act = Swish()

    def forward(self, x: torch.Tensor) -> Any:
        return self.act(super().forward(x))


class Swish(nn.Module):
    """A non-linearity of one's own class."""

    def forward(self, x: torch.Tensor) -> Any:
        return x * x.sigmoid()


class Scale(nn.Module):
    """A normalization of one's own class."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width, 1, 1))

    def forward(self, x: torch.Tensor) -> Any:
        return self.weight * x / x.norm(dim=1, keepdim=True)


class OwnClasses(nn.Module):
    """Blocks between a stem and a last convolution, whose norms and activations are one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn1 = nn.Conv2d(3, 4, 3), NormAndActivation(4)
        self.blocks = nn.Sequential(BasicBlock(4), BasicBlock(4))
        self.scale = Scale(4)
        self.conv_head, self.bn2 = nn.Conv2d(4, 6, 1), NormAndActivation(6)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.scale(self.blocks(self.bn1(self.conv_stem(x))))
        return self.fc(self.bn2(self.conv_head(x)).mean((2, 3)))


class Selection(nn.Module):
    """A weighted sum of columns, each of which has a linear layer that it was given."""

    def __init__(self, scalers: nn.ModuleDict) -> None:
        super().__init__()
        self.scalers, self.weights = scalers, nn.Linear(len(scalers) * 8, len(scalers))

    def forward(self, x: torch.Tensor) -> Any:
        columns = [layer(x[:, i : i + 1]) for i, layer in enumerate(self.scalers.values())]
        weights = self.weights(torch.cat(columns, 1)).softmax(1)
        return (torch.stack(columns, 1) * weights[:, :, None]).sum(1)


class ByColumns(nn.Module):
    """Two selections of the columns of a table, with the same layers for each column."""

    def __init__(self) -> None:
        super().__init__()
        self.scalers = nn.ModuleDict({name: nn.Linear(1, 8) for name in ("a", "b", "c")})
        self.first, self.second = Selection(self.scalers), Selection(self.scalers)
        self.mix, self.head = nn.Linear(16, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.mix(torch.cat([self.first(x), self.second(x)], 1)).relu())
