"""A bundle that carries its groups of channels: what is kept, and what is refused."""

import json
import shutil

import numpy as np
import pytest
from groups import Group, signed

import tremap_brevitas as tm
from tremap_brevitas.bundle.manifest import NAME, Manifest
from tremap_brevitas.order import ChannelGroup, Side, groups_digest, save_groups


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """(group, report of its channels, the bundle)."""
    group = Group("linear")
    report = tm.prepare.channel_groups(group.net, group.x)
    return group, report, group.export(tmp_path_factory.mktemp("ordered") / "group_0", groups=report)


def test_groups_come_back(bundle, tmp_path):
    group, report, folder = bundle
    assert groups_digest(tm.Bundle.load(folder).groups()) == groups_digest(report.groups)
    again = group.export(tmp_path / "again", groups=report.groups)  # groups themselves will do
    assert groups_digest(tm.Bundle.load(again).groups()) == groups_digest(report.groups)
    assert "groups.npz" in Manifest.read(folder).files


def test_groups_are_an_option(bundle, tmp_path):
    group, _, _ = bundle
    plain = group.export(tmp_path / "plain")
    with pytest.raises(
        ValueError, match=r"plain: has no groups of channels; export it with groups=tm\.prepare\.channel_groups"
    ):
        tm.Bundle.load(plain).groups()
    content = json.loads((plain / NAME).read_text())
    assert content["groups"] is None
    assert Manifest.read(plain).groups is None
    with pytest.raises(ValueError, match="groups is empty: no channel of the network may stand in another order"):
        group.export(tmp_path / "b", groups=[])
    with pytest.raises(TypeError, match="groups must be groups of channels, .* got str"):
        group.export(tmp_path / "b", groups="all")
    far = ChannelGroup("far", 99, (Side("0", 0, np.arange(99)[:, None]),))
    with pytest.raises(ValueError, match="group 'far'"):
        group.export(tmp_path / "b", groups=[far])
    assert not (tmp_path / "b").exists()


def test_damaged_or_foreign_groups(bundle, tmp_path):
    _, _, folder = bundle
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / "groups.npz"
    whole = path.read_bytes()
    at = len(whole) // 2
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert tm.verify_bundle(copy, []).problems[0].startswith("groups.npz: damaged or replaced: SHA-256 is")
    path.write_bytes(whole[:at])
    signed(copy)
    assert "groups.npz: not a tremap channel groups file, or damaged" in str(tm.verify_bundle(copy, []))
    save_groups([ChannelGroup("fc", 2, (Side("fc", 0, np.arange(2)[:, None]),))], path)
    signed(copy)
    assert "groups.npz: group 'fc'" in str(tm.verify_bundle(copy, []))
    path.unlink()
    assert "groups.npz: missing" in tm.verify_bundle(copy, []).problems
