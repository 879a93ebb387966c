from tremap_brevitas.bundle.chips import BundleChip, read_chips, write_chips


def test_the_words_of_earlier_bundles_are_read(tmp_path):
    rows = (
        BundleChip("a", "d", 3, True, False, 2, 64, 0.9, "image.hex"),
        BundleChip("b", "e", 0, False, True, 0, 0, None, "x"),
    )
    write_chips(rows, tmp_path / "chips.csv")
    text = (tmp_path / "chips.csv").read_text()
    assert ",True,False,2," in text  # as in every other table
    assert read_chips(tmp_path / "chips.csv") == rows
    (tmp_path / "chips.csv").write_text(text.replace("True", "yes").replace("False", "no"))
    assert read_chips(tmp_path / "chips.csv") == rows
