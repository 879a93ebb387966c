"""Fixtures: one bundle for all tests of a folder, and a copy for each that does something to it."""

import shutil

import pytest
from groups import Group
from helpers import a_chip

__all__ = ["copied", "exported", "group"]


@pytest.fixture(scope="package")
def group():
    return Group()


@pytest.fixture(scope="package")
def exported(group, tmp_path_factory):
    """(folder, chips): the members, one that is none, and one that is bit-exact without being one."""
    chips = [*group.chips, a_chip(group.placement, rate=0.001), group.exact_chip(range(5, 2000, 7))]

    def evaluate(model):
        return float(model(group.x).sum() > 0)

    report = group.net.evaluate(group.chips, evaluate, progress=False)
    folder = tmp_path_factory.mktemp("bundles") / "group_0"
    group.export(folder, chips=chips, report=report, dynamo=True)
    return folder, chips


@pytest.fixture
def copied(exported, tmp_path):
    return shutil.copytree(exported[0], tmp_path / "group_0"), exported[1]
