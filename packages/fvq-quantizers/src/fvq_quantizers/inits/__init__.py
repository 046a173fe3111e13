"""How the raw codebook is initialized."""

from .codebook_init import CodebookInit
from .file_init import FileInit
from .kmeans_init import KMeansInit
from .latent_init import LatentInit
from .normal_init import NormalInit
from .uniform_init import UniformInit

__all__ = ['CodebookInit', 'FileInit', 'KMeansInit', 'LatentInit', 'NormalInit', 'UniformInit']
