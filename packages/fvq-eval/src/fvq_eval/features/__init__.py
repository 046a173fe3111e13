"""Networks whose features stand for images. Importing the room registers them."""

from .backbone import Backbone
from .feature_extractor import FeatureExtractor
from .inception import InceptionV3
from .random_features import RandomFeatures
from .torchscript import TorchScriptFeatures

__all__ = ['Backbone', 'FeatureExtractor', 'InceptionV3', 'RandomFeatures', 'TorchScriptFeatures']
