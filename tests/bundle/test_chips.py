import pytest

from tremap_brevitas.bundle.chips import BundleChip, read_chips, write_chips
from tremap_brevitas.report import ChipResult

WRONG = ChipResult("a", weights_that_differ=2, worst_error=64, accuracy=0.9)
ROWS = (BundleChip(WRONG, "d", 3, True, "image.hex"), BundleChip(ChipResult("b"), "e", 0, False, "x"))


def test_the_words_of_earlier_bundles_are_read(tmp_path):
    write_chips(ROWS, tmp_path / "chips.csv")
    text = (tmp_path / "chips.csv").read_text()
    assert ",True,False,2," in text  # as in every other table
    assert read_chips(tmp_path / "chips.csv") == ROWS
    (tmp_path / "chips.csv").write_text(text.replace("True", "yes").replace("False", "no"))
    assert read_chips(tmp_path / "chips.csv") == ROWS


def test_a_table_without_chips(tmp_path):
    write_chips((), tmp_path / "chips.csv")
    assert read_chips(tmp_path / "chips.csv") == ()


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("True,False,2", "True,True,2", r"2: bit_exact is True, but weights_that_differ is 2"),
        ("True,False,2", "True,False,0", r"2: chip 'a': weights_that_differ is 0, but worst_error is 64; both must be 0"),
        (",2,64,", ",2,-64,", r"2: worst_error is '-64', not a count"),
        ("0.9", "much", r"2: accuracy is 'much', not a number"),
        ("b,e,0,False", "b,e,0,maybe", r"3: member is 'maybe', neither True nor False"),
        ("member,", "chip,", r"1: not a table of chips: its columns are chip,digest,faults,chip,"),
        (",x", ",x,y", r"3: 10 columns, expected 9"),
    ],
)
def test_a_damaged_table(tmp_path, before, after, said):
    write_chips(ROWS, tmp_path / "chips.csv")
    text = (tmp_path / "chips.csv").read_text()
    assert text.count(before) == 1
    (tmp_path / "chips.csv").write_text(text.replace(before, after))
    with pytest.raises(ValueError, match=r"chips\.csv:" + said):
        read_chips(tmp_path / "chips.csv")
