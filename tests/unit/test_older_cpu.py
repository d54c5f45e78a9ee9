"""The numeric tests once more, as an older CPU runs them: with AVX2 and neither AVX-512 nor VNNI nor bf16.

PyTorch, oneDNN and FBGEMM read at their start which instructions they may use, so this takes processes of its own. An
older CPU's choices follow from its kernels: weights of eight bits have seven, bf16 layers stay plain.
"""

import os
import platform
import subprocess
import sys

import pytest

from tests.e2e.servers import ROOT

OLDER = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "FBGEMM_ENABLE_INSTRUCTIONS": "AVX2"}
NUMERIC = (
    "tests/parity/test_generation.py",
    "tests/parity/test_logits.py",
    "tests/parity/test_vision.py",
    "tests/unit/test_attention.py",
    "tests/unit/test_cpu_features.py",
    "tests/unit/test_cpu_image_attention.py",
    "tests/unit/test_cpu_rope.py",
    "tests/unit/test_decode.py",
    "tests/unit/test_drafts.py",
    "tests/unit/test_linear.py",
)
REPORT = """
import torch
from models.paddleocr_vl.cpu_products import PRODUCTS, works
print(torch.backends.cpu.get_cpu_capability(), torch.ops.mkldnn._is_mkldnn_bf16_supported())
print(*(works(PRODUCTS[name], torch.float32) for name in ("fp16", "int8", "int8 by oneDNN", "int8 by 7 bits")))
"""

pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="AVX2 is x86's")


def run_as_older_cpu(*arguments: str, most: str = "AVX2") -> subprocess.CompletedProcess[str]:
    """`most`: the instructions that may be used at most, as oneDNN names them."""
    command, env = [sys.executable, *arguments], os.environ | OLDER | {"ONEDNN_MAX_CPU_ISA": most}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_the_simulated_cpu_has_neither_avx512_nor_bf16_nor_exact_products_of_eight_bits_on_both_sides() -> None:
    done = run_as_older_cpu("-c", REPORT)
    assert done.stdout.split() == ["AVX2", "False", "True", "False", "False", "True"], done.stderr


def test_the_numeric_tests_pass_on_an_older_cpu() -> None:
    done = run_as_older_cpu("-m", "pytest", "-q", "-p", "no:cacheprovider", *NUMERIC)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


def test_our_kernels_pass_on_a_cpu_that_has_vnni_but_not_avx512() -> None:
    """As those for homes since 2021; one without it plays an older one again."""
    kernels = ("tests/unit/test_linear.py", "tests/unit/test_cpu_image_attention.py", "tests/unit/test_cpu_rope.py")
    done = run_as_older_cpu("-m", "pytest", "-q", "-p", "no:cacheprovider", *kernels, most="AVX2_VNNI")
    assert done.returncode == 0, done.stdout + done.stderr
