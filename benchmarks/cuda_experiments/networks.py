"""Names twenty networks whose convolutions differ, for the workspaces of cuDNN.

Each takes float32 [batch, 3, *frames, side, side], and returns a tensor or several.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """One network, and the images that it is trained on."""

    class_path: str
    name: str | None = None
    """The model's name, where the class is timm's `create_model`."""
    side: int = 224
    frames: tuple[int, ...] = ()
    """Frames of a film, for convolutions in three dimensions."""

    def shape(self, batch_size: int) -> list[int]:
        """Return the shape of a batch of images."""
        return [batch_size, 3, *self.frames, self.side, self.side]


def _timm(name: str, side: int = 224) -> Network:
    return Network("timm.create_model", name, side)


NETWORKS = {
    "vgg11": Network("torchvision.models.vgg11"),
    "resnet50": Network("torchvision.models.resnet50"),
    "resnet18": Network("torchvision.models.resnet18"),
    "gernet_s": _timm("gernet_s"),
    "nf_resnet26": _timm("nf_resnet26"),
    "repvgg_b2": _timm("repvgg_b2"),
    "regnety_160": _timm("regnety_160"),
    "levit_conv_192": _timm("levit_conv_192"),
    "seresnet18": _timm("seresnet18"),
    "efficientnet_es": _timm("efficientnet_es"),
    "mobilenetv3_large_150d": _timm("mobilenetv3_large_150d"),
    "ese_vovnet57b": _timm("ese_vovnet57b"),
    "convnext_tiny": _timm("convnext_tiny"),
    "unet": Network("workloads.Unet"),
    "resnext50_32x4d": Network("torchvision.models.resnext50_32x4d"),
    "ecaresnet50d": _timm("ecaresnet50d"),
    "densenet121": Network("torchvision.models.densenet121"),
    "inception_v3": _timm("inception_v3", side=299),
    "efficientnet_b0": _timm("efficientnet_b0"),
    "r3d_18": Network("torchvision.models.video.r3d_18", side=112, frames=(8,)),
}
"""The networks by name, those first whose measured memory was farthest from the simulation's."""
