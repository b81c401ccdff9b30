"""The classes that people know, under their old names, safe underneath.

    HDF5Dataset(dims, output_path, data_key="imagens", buffer_size=500)     the article's
    HDF5DatasetWriter(dims, outputPath, dataKey="images", bufSize=1000)     the book's
    HDF5DatasetGenerator(dbPath, batchSize, preprocessors=None, …)          the book's reader

The article is C. Melo, "Armazenamento de grandes quantidades de dados com HDF5" (2019); the book
is A. Rosebrock, "Deep Learning for Computer Vision with Python".
"""

from celeiro.classic.dataset import HDF5Dataset, HDF5DatasetWriter
from celeiro.classic.generator import HDF5DatasetGenerator

__all__ = ["HDF5Dataset", "HDF5DatasetGenerator", "HDF5DatasetWriter"]
