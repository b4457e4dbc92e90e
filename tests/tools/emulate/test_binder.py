"""What is said about the image that Binder would build."""

import pytest

from tools.emulate import binder

COPY = "COPY --chown=0:0 src/ ${REPO_DIR}/\n"
INSTALL = '${MAMBA_EXE} env update -p ${NB_PYTHON_PREFIX} --file "environment.yml"\n'
TAKEN = "Building conda environment for python=3.11\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (TAKEN + COPY + INSTALL, None),
        (COPY + INSTALL, "does not take Python 3.11"),
        (TAKEN.replace("3.11", "3.10") + COPY + INSTALL, "does not take Python 3.11"),
        (TAKEN + COPY, "does not install from environment.yml"),
        (TAKEN + INSTALL + COPY, "installs before the repository is there"),
    ],
)
def test_a_dockerfile_is_judged(text, problem):
    assert binder.judged(text, "3.11") == ([problem] if problem else [])


def test_only_pytorch_for_a_cpu_alone_is_right():
    good = ["numpy==2.0", "torch==2.13.0+cpu"]
    assert binder.too_much(good) == []
    assert binder.too_much(["numpy==2.0"]) == ["not for a CPU alone: no PyTorch"]
    cuda = ["nvidia-cublas==13.1", "torch==2.13.0", "triton==3.7"]
    assert len(binder.too_much(cuda)) == 3


def test_what_cannot_be_resolved_is_said(tmp_path):
    chosen, error = binder.resolved(tmp_path, "3.11", ["not a requirement"])
    assert chosen == []
    assert error.startswith("what it would choose is not known: ")
