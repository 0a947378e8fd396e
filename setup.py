import re

from setuptools import find_namespace_packages, setup


def text(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


setup(
    name="cannon-fx",
    version=re.findall(r'^__version__ = "(.+)"$', text("cannon_fx/__init__.py"), re.MULTILINE)[0],
    description="A PyTorch compiler for communication-aware sparse networks on tiled in-memory-computing chips",
    long_description=text("README.md"),
    long_description_content_type="text/markdown",
    author="The cannon_fx authors",
    license="Apache-2.0",
    keywords=["pytorch", "compiler", "sparsity", "in-memory computing", "network-on-chip"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    # A plain .pth when editable, so that type checkers follow it.
    package_dir={"": "."},
    # Follows the links cannon_fx/kernels and cannon_fx/hw to the folders at the top.
    packages=find_namespace_packages(include=["cannon_fx", "cannon_fx.*"]),
    package_data={
        "cannon_fx": ["py.typed"],
        "cannon_fx.hw": ["chips/*.toml", "dsent.json"],
        "cannon_fx.kernels.cpu": ["*.cpp", "*.h"],
        "cannon_fx.kernels.triton": ["tuned/*.json"],
        "cannon_fx.report": ["*.j2"],
        "cannon_fx.zoo.lists": ["*.txt"],
    },
    install_requires=[
        "torch>=2.11,<2.14",
        # What torch asks for on a GPU: 3.6 with torch 2.11, 3.7 with 2.13. Its CPU builds come without.
        "triton>=3.6,<3.8; platform_system == 'Linux'",
        "numpy",
        "scipy>=1.15",
        "sympy",
        "numba",
        "pydantic>=2",
        "safetensors",
        "rich",
        "tyro>=0.9",
        "matplotlib",
        "jinja2",
        "resvg-py",
        "pillow",
        "scikit-learn",
    ],
    extras_require={
        "compare": ["torch-pruning"],
        "study": ["optuna>=4.2"],
        "onnx": ["onnx", "onnxscript", "onnxruntime", "onnx2torch"],
        "dev": ["optuna>=4.2", "pytest", "pytest-xdist", "hypothesis", "ruff", "mypy", "pdoc"],
    },
    entry_points={
        "console_scripts": ["cannon = cannon_fx.cli:main"],
        "torch_dynamo_backends": ["cannon = cannon_fx.backend:cannon"],
    },
)
