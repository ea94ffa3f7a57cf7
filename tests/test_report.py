# SPDX-License-Identifier: Apache-2.0
import numpy as np
from PIL import Image

from panoptic_gs.report import contact_sheet, error_map, match_objects
from panoptic_gs.report.contact_sheet import CORRECT, NOT_SCORED, WRONG_CATEGORY, WRONG_OBJECT


def test_the_error_map_tells_wrong_objects_from_wrong_categories():
    truth = np.array([[1, 1, 1, 2, 2, 0, 3]])
    predicted = np.array([[7, 7, 8, 8, 8, 9, 0]])
    pairs = match_objects([predicted], [truth])
    assert pairs == {7: 1, 8: 2}
    predicted_category = np.zeros(10, int)
    predicted_category[[7, 8, 9]] = [5, 5, 1]
    true_category = np.array([0, 5, 5, 4])
    picture = error_map(predicted, truth, predicted_category, true_category, pairs)
    expected = [CORRECT, CORRECT, WRONG_OBJECT, CORRECT, CORRECT, NOT_SCORED, WRONG_CATEGORY]
    assert [tuple(pixel) for pixel in picture[0].tolist()] == expected


def test_objects_are_paired_one_to_one_over_all_views():
    # Predicted 4 overlaps true 1 most in the first view, but is true 2 over both; 5 is a piece of 2 and stays alone.
    first, second = np.array([[4, 4, 4, 0]]), np.array([[4, 4, 4, 4, 4, 5]])
    truth_first, truth_second = np.array([[1, 1, 2, 2]]), np.array([[2, 2, 2, 2, 2, 2]])
    assert match_objects([first, second], [truth_first, truth_second]) == {4: 2}
    assert match_objects([np.zeros((2, 2), int)], [np.ones((2, 2), int)]) == {}


def test_the_sheet_shows_every_picture(tmp_path):
    red, blue = (np.full((40, 60, 3), color, np.uint8) for color in ((255, 0, 0), (0, 0, 255)))
    contact_sheet(tmp_path / "sheet.png", {"view 1": [red, blue], "view 2": [blue, red]}, ["one", "two"], "a line")
    pixels = np.asarray(Image.open(tmp_path / "sheet.png")).reshape(-1, 3)
    for color in (red, blue):
        assert (pixels == color[0, 0]).all(axis=1).sum() == 2 * 40 * 60
