"""Transforms: array in, array out, their random numbers passed in."""

from celeiro.feeding.transforms.center_crop import CenterCrop
from celeiro.feeding.transforms.color_jitter import ColorJitter
from celeiro.feeding.transforms.compose import Compose
from celeiro.feeding.transforms.cutmix import CutMix
from celeiro.feeding.transforms.horizontal_flip import HorizontalFlip
from celeiro.feeding.transforms.mean_subtract import MeanSubtract
from celeiro.feeding.transforms.mixup import MixUp
from celeiro.feeding.transforms.normalize import Normalize
from celeiro.feeding.transforms.on_batch import OnBatch
from celeiro.feeding.transforms.one_hot import OneHot
from celeiro.feeding.transforms.patch import Patch
from celeiro.feeding.transforms.random_crop import RandomCrop
from celeiro.feeding.transforms.random_resized_crop import RandomResizedCrop
from celeiro.feeding.transforms.resize import Resize
from celeiro.feeding.transforms.to_chw import ToCHW
from celeiro.feeding.transforms.to_float import ToFloat

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "CutMix",
    "HorizontalFlip",
    "MeanSubtract",
    "MixUp",
    "Normalize",
    "OnBatch",
    "OneHot",
    "Patch",
    "RandomCrop",
    "RandomResizedCrop",
    "Resize",
    "ToCHW",
    "ToFloat",
]
